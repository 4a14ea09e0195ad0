//! Allocate, unallocate, reallocate, consume, and the query of balances.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::command::{Direction, Request};
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::refusal::Place;
use crate::domain::state::Balance;
use crate::store::{StoreError, query};

use super::body::Sent;
use super::commands::{Line, Unreadable, finish, groups_name, header_id, json, read_product, read_target};
use super::form::Form;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment, commands, schema};

/// Most balances that one query answers.
const BALANCES_MAX: usize = 100_000;

/// The properties of an allocation and its like.
pub(super) const ALLOCATE: &[&str] = &[
    "id",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "groups",
    "targetGroups",
    "quantity",
];
/// The properties of a reallocation.
pub(super) const REALLOCATE: &[&str] = &[
    "id",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "sourceGroups",
    "groups",
    "targetGroups",
    "quantity",
];
/// The properties of a consume.
pub(super) const CONSUME: &[&str] = &[
    "id",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "groups",
    "targetGroups",
    "quantity",
    "physicalMeasures",
];
/// The properties of a query of balances.
pub(super) const QUERY: &[&str] =
    &["organizationId", "productId", "dimensionDataSource", "dimensions", "groups", "targetGroups", "rollup"];

fn read<'a>(
    sent: &'a Sent,
    known: &'static [&'static str],
    request: impl FnOnce(&mut Form<'a>, &'static str) -> Request<'a>,
) -> Line<'a> {
    let header_id = header_id(&sent.headers);
    let read = || {
        let mut form = Form::read(&sent.body, known)?;
        let target = read_target(&mut form, &sent.environment.id, header_id)?;
        let groups = groups_name(&mut form);
        let request = request(&mut form, groups);
        finish(form, target, request)
    };
    read().map_err(|problem| Unreadable::new(problem, &sent.body, header_id))
}

/// Sets stock of the common pool aside for a group path.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/allocate", tag = "allocation", operation_id = "allocate",
    params(Environment), request_body = schema::AllocateRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn allocate(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    let asked = read(&sent, ALLOCATE, |form, groups| Request::Allocate {
        groups: form.pairs(groups),
        quantity: form.quantity("quantity"),
    })?;
    Ok(app.run(&sent.environment, asked).await)
}

/// Gives what was set aside back to the common pool.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/unallocate", tag = "allocation", operation_id = "unallocate",
    params(Environment), request_body = schema::AllocateRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn unallocate(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    let asked = read(&sent, ALLOCATE, |form, groups| Request::Unallocate {
        groups: form.pairs(groups),
        quantity: form.quantity("quantity"),
    })?;
    Ok(app.run(&sent.environment, asked).await)
}

/// Moves what was set aside to another group path.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/reallocate", tag = "allocation", operation_id = "reallocate",
    params(Environment), request_body = schema::ReallocateRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn reallocate(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    let asked = read(&sent, REALLOCATE, |form, groups| Request::Reallocate {
        source_groups: form.pairs("sourceGroups"),
        groups: form.pairs(groups),
        quantity: form.quantity("quantity"),
    })?;
    Ok(app.run(&sent.environment, asked).await)
}

/// Takes what was set aside for an order.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/consume", tag = "allocation", operation_id = "consume",
    params(Environment), request_body = schema::ConsumeRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn consume(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    let asked = read(&sent, CONSUME, |form, groups| Request::Consume {
        groups: form.pairs(groups),
        quantity: form.quantity("quantity"),
        physical_measures: form
            .nested("physicalMeasures", "Addition or Subtraction", direction)
            .unwrap_or_default(),
    })?;
    Ok(app.run(&sent.environment, asked).await)
}

fn direction(raw: &str) -> Option<Direction> {
    let text: Cow<'_, str> = serde_json::from_str(raw).ok()?;
    match () {
        () if text.eq_ignore_ascii_case("Addition") => Some(Direction::Addition),
        () if text.eq_ignore_ascii_case("Subtraction") => Some(Direction::Subtraction),
        () => None,
    }
}

/// A balance in the answer of a query.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AllocationRecord)]
pub(super) struct Record<'a> {
    /// The owner.
    #[schema(value_type = String)]
    organization_id: &'a Value,
    /// The product.
    #[schema(value_type = String)]
    product_id: &'a Value,
    /// Where.
    #[schema(value_type = BTreeMap<String, String>)]
    dimensions: &'a Place,
    /// The group path.
    #[schema(value_type = BTreeMap<String, String>)]
    groups: Place,
    /// What it holds.
    #[schema(value_type = schema::AllocationQuantities)]
    quantities: Quantities,
}

#[derive(Serialize)]
struct Quantities {
    #[serde(rename = "@iv")]
    predefined: Measures,
}

#[derive(Serialize)]
struct Measures {
    #[serde(rename = "@allocated")]
    allocated: Quantity,
    #[serde(rename = "@consumed")]
    consumed: Quantity,
    #[serde(rename = "@cumulative_allocated")]
    cumulative_allocated: Quantity,
    #[serde(rename = "@cumulative_consumed")]
    cumulative_consumed: Quantity,
}

/// Answers the balances at exactly these dimensions, in the order of the hierarchy. With
/// `rollup`, each with all that is below it.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/query", tag = "allocation", operation_id = "queryAllocations",
    params(Environment), request_body = schema::AllocationQuery,
    responses((status = 200, body = [Record<'_>]), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn query(
    State(app): State<App>,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let mut form = Form::read(&body, QUERY)?;
    let key = read_product(&mut form, &environment.id);
    let source = form.optional_text("dimensionDataSource");
    let dimensions = form.pairs("dimensions");
    let groups_name = groups_name(&mut form);
    let groups = form.optional_pairs(groups_name).unwrap_or_default();
    let rollup = form.boolean("rollup").unwrap_or(false);
    form.finish()?;
    // Other instances change configurations too, and a query has no guard that would notice.
    let versioned = app.environments.current(&environment.id).await?;
    let configuration = &versioned.configuration;
    let groups = configuration.groups().filter("/groups", &groups)?;
    let path = configuration.path(source.as_deref(), &dimensions)?;
    let mut connection = app.readers.acquire().await.map_err(StoreError::from)?;
    let balances = query::balances(&mut connection, &key, &path, &groups, BALANCES_MAX as i64 + 1).await?;
    drop(connection);
    if balances.len() > BALANCES_MAX {
        let detail = format!("agrees with more than {BALANCES_MAX} balances; give more groups");
        return Err(Problem::invalid("/groups", detail));
    }
    let balances: BTreeMap<Vec<Value>, Balance> =
        balances.into_iter().map(|(groups, balance)| (groups.values().to_vec(), balance)).collect();
    let lowest_given = groups.iter().rposition(Option::is_some).map_or(1, |lowest| lowest + 1);
    let balances = if rollup { roll_up(balances, lowest_given) } else { balances };
    let place = configuration.dimensions().place(path.values());
    let records: Vec<Record<'_>> = balances
        .into_iter()
        .map(|(groups, balance)| Record {
            organization_id: &key.organization,
            product_id: &key.product,
            dimensions: &place,
            groups: configuration.groups().place(&groups),
            quantities: Quantities {
                predefined: Measures {
                    allocated: balance.allocated,
                    consumed: balance.consumed,
                    cumulative_allocated: balance.cumulative_allocated,
                    cumulative_consumed: balance.cumulative_consumed,
                },
            },
        })
        .collect();
    Ok(json(StatusCode::OK, &records))
}

/// Sums every balance into each path above it, from the lowest group given downwards: those
/// above do not agree with it.
fn roll_up(balances: BTreeMap<Vec<Value>, Balance>, lowest_given: usize) -> BTreeMap<Vec<Value>, Balance> {
    let mut sums: BTreeMap<Vec<Value>, Balance> = BTreeMap::new();
    for (path, balance) in balances {
        for length in lowest_given..=path.len() {
            let sum = sums.entry(path[..length].to_vec()).or_default();
            sum.allocated += balance.allocated;
            sum.consumed += balance.consumed;
            sum.cumulative_allocated += balance.cumulative_allocated;
            sum.cumulative_consumed += balance.cumulative_consumed;
        }
    }
    sums
}
