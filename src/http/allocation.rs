//! Allocate, unallocate, reallocate and consume.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;

use crate::domain::command::{Direction, Request};
use crate::domain::name::Value;

use super::body::Sent;
use super::commands::{Asked, Unreadable, finish, groups_name, read_target};
use super::form::Form;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment, commands, schema};

/// The properties of an allocation and its like.
pub(super) const ALLOCATE: &[&str] = &[
    "id",
    "dryRun",
    "explain",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "groups",
    "targetGroups",
    "quantity",
    "reference",
    "reason",
    "actor",
];
/// The properties of a reallocation.
pub(super) const REALLOCATE: &[&str] = &[
    "id",
    "dryRun",
    "explain",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "sourceGroups",
    "groups",
    "targetGroups",
    "quantity",
    "reference",
    "reason",
    "actor",
];
/// The properties of a consume.
pub(super) const CONSUME: &[&str] = &[
    "id",
    "dryRun",
    "explain",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "groups",
    "targetGroups",
    "quantity",
    "physicalMeasures",
    "reference",
    "reason",
    "actor",
];

fn read<'a>(
    body: &'a [u8],
    environment: &Value,
    header_id: Option<&str>,
    known: &'static [&'static str],
    request: impl FnOnce(&mut Form<'a>, &'static str) -> Request<'a>,
) -> Result<Asked<'a>, Problem> {
    let mut form = Form::read(body, known)?;
    let target = read_target(&mut form, environment, header_id)?;
    let groups = groups_name(&mut form);
    let request = request(&mut form, groups);
    finish(form, target, request)
}

pub(super) fn read_allocate<'a>(
    body: &'a [u8],
    environment: &Value,
    id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    read(body, environment, id, ALLOCATE, |form, groups| Request::Allocate {
        groups: form.pairs(groups),
        quantity: form.quantity("quantity"),
    })
}

pub(super) fn read_unallocate<'a>(
    body: &'a [u8],
    environment: &Value,
    id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    read(body, environment, id, ALLOCATE, |form, groups| Request::Unallocate {
        groups: form.pairs(groups),
        quantity: form.quantity("quantity"),
    })
}

pub(super) fn read_reallocate<'a>(
    body: &'a [u8],
    environment: &Value,
    id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    read(body, environment, id, REALLOCATE, |form, groups| Request::Reallocate {
        source_groups: form.pairs("sourceGroups"),
        groups: form.pairs(groups),
        quantity: form.quantity("quantity"),
    })
}

pub(super) fn read_consume<'a>(
    body: &'a [u8],
    environment: &Value,
    id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    read(body, environment, id, CONSUME, |form, groups| Request::Consume {
        groups: form.pairs(groups),
        quantity: form.quantity("quantity"),
        physical_measures: form
            .nested("physicalMeasures", "Addition or Subtraction", direction)
            .unwrap_or_default(),
    })
}

/// Sets stock of the common pool aside for a group path.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/allocate", tag = "allocation", operation_id = "allocate",
    params(Environment), request_body = schema::AllocateRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn allocate(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    app.run_sent(&sent, read_allocate).await
}

/// Gives what was set aside back to the common pool.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/unallocate", tag = "allocation", operation_id = "unallocate",
    params(Environment), request_body = schema::AllocateRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn unallocate(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    app.run_sent(&sent, read_unallocate).await
}

/// Moves what was set aside to another group path.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/reallocate", tag = "allocation", operation_id = "reallocate",
    params(Environment), request_body = schema::ReallocateRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn reallocate(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    app.run_sent(&sent, read_reallocate).await
}

/// Takes what was set aside for an order.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/consume", tag = "allocation", operation_id = "consume",
    params(Environment), request_body = schema::ConsumeRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn consume(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    app.run_sent(&sent, read_consume).await
}

fn direction(raw: &str) -> Option<Direction> {
    let text: Cow<'_, str> = serde_json::from_str(raw).ok()?;
    match () {
        () if text.eq_ignore_ascii_case("Addition") => Some(Direction::Addition),
        () if text.eq_ignore_ascii_case("Subtraction") => Some(Direction::Subtraction),
        () => None,
    }
}
