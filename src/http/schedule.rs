//! Schedules of on-hand changes.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use time::{Date, OffsetDateTime};

use crate::domain::command::Request;
use crate::domain::name::Value;

use super::body::Sent;
use super::commands::{Asked, Unreadable, finish, read_target};
use super::form::Form;
use super::onhand::{BulkOptions, Options, read_bulk, run_bulk};
use super::problem::{Problem, ProblemBody};
use super::{App, Environment, commands, schema};

/// The properties of a change of the schedule.
pub(super) const CHANGE: &[&str] = &[
    "id",
    "dryRun",
    "explain",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "quantitiesByDate",
    "reference",
    "reason",
    "actor",
];

/// The day that it is.
#[allow(clippy::disallowed_methods, reason = "which days can be given is decided when a command is made")]
pub(super) fn today() -> Date {
    OffsetDateTime::now_utc().date()
}

pub(super) fn read_change<'a>(
    body: &'a [u8],
    environment: &Value,
    header_id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    read_change_on(today(), body, environment, header_id)
}

/// The same on any day.
pub(super) fn read_change_on<'a>(
    today: Date,
    body: &'a [u8],
    environment: &Value,
    header_id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    let mut form = Form::read(body, CHANGE)?;
    let target = read_target(&mut form, environment, header_id)?;
    let by_day = form.dated_quantities("quantitiesByDate");
    finish(form, target, Request::ChangeSchedule { by_day, today: Some(today) })
}

/// Schedules on-hand changes, for today or a day to come: as many days as `schedule.periodDays` of
/// the configuration says, in UTC. No stock is moved by it. When a change has happened, report it
/// as an on-hand change, and take it off the schedule by its negative. What nobody took off
/// counts until its day is over.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/changeschedule", tag = "on hand", operation_id = "changeSchedule",
    params(Environment), request_body = schema::ScheduleChange,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn change(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    app.run_sent(&sent, read_change).await
}

/// Schedules many on-hand changes at once.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/changeschedule/bulk", tag = "on hand", operation_id = "changeScheduleInBulk",
    params(Environment, BulkOptions), request_body = [schema::ScheduleChange],
    responses(
        (status = 200, body = [commands::LineAnswer]), (status = 207, body = [commands::LineAnswer]),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn change_bulk(
    State(app): State<App>,
    options: Options,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let lines = read_bulk(&body, |line| read_change(line, &environment.id, None));
    run_bulk(&app, &environment, options, lines).await
}
