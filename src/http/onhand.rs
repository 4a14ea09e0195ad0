//! On-hand stock: changes and sets.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::Response;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use utoipa::IntoParams;

use crate::domain::command::{Request, Timestamp};
use crate::domain::name::Value;

use super::body::Sent;
use super::commands::{Asked, Line, Unreadable, finish, groups_name, read_target};
use super::form::{Form, items};
use super::problem::{Problem, ProblemBody};
use super::rehearsing::{check_explained, is_dry_run};
use super::{App, Environment, commands, schema};

/// Most lines of a bulk.
pub(crate) const LINES_MAX: usize = 5_000;

/// The properties of an on-hand change.
pub(super) const CHANGE: &[&str] = &[
    "id",
    "dryRun",
    "explain",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "quantities",
    "groups",
    "targetGroups",
    "reference",
    "reason",
    "actor",
];
/// The properties of a set.
pub(super) const SET: &[&str] = &[
    "id",
    "dryRun",
    "explain",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "quantities",
    "modifiedDateTimeUTC",
    "reference",
    "reason",
    "actor",
];

pub(super) fn read_change<'a>(
    body: &'a [u8],
    environment: &Value,
    header_id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    let mut form = Form::read(body, CHANGE)?;
    let target = read_target(&mut form, environment, header_id)?;
    let groups_name = groups_name(&mut form);
    let groups = form.optional_pairs(groups_name);
    let quantities = form.quantities("quantities");
    finish(form, target, Request::ChangeOnHand { quantities, groups })
}

pub(super) fn read_set<'a>(body: &'a [u8], environment: &Value, source: &str) -> Result<Asked<'a>, Problem> {
    let mut form = Form::read(body, SET)?;
    let target = read_target(&mut form, environment, None)?;
    let quantities = form.quantities("quantities");
    let foreign = quantities.iter().find(|(name, _)| name.to_lowercase() != source.to_lowercase());
    if let Some((name, _)) = foreign {
        form.reject("quantities", format!("has the data source {name:?}, but the path says {source:?}"));
    }
    let modified_at = form.optional_text("modifiedDateTimeUTC").map(|text| parse_time(&text));
    if let Some(None) = modified_at {
        form.reject("modifiedDateTimeUTC", "must be a time such as 2026-11-23T12:00:00Z");
    }
    finish(form, target, Request::SetOnHand { quantities, modified_at: modified_at.flatten() })
}

/// Reads a time; one without an offset is UTC, as the property's name says.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let bare = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second][optional [.[subsecond]]]");
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(text, &bare).map(PrimitiveDateTime::assume_utc))
        .ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1000).ok().map(Timestamp)
}

/// Reports that stock moved. Physical truth is never refused for lack of stock.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand", tag = "on hand", operation_id = "changeOnHand",
    params(Environment), request_body = schema::OnHandChange,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn change(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    app.run_sent(&sent, read_change).await
}

/// How a bulk is done.
#[derive(serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BulkOptions {
    /// Whether all lines are done or none.
    #[serde(default)]
    #[param(required = false, default = false)]
    atomic: bool,
    /// Whether it is only answered what would happen: each line as after those before it, and
    /// nothing is done. The lines may say so themselves, all of them or none.
    #[serde(default, rename = "dryRun")]
    #[param(required = false, default = false)]
    dry_run: bool,
}

pub(super) type Options = Result<Query<BulkOptions>, axum::extract::rejection::QueryRejection>;

/// Reads the lines of a bulk, each as its single call would be.
pub(super) fn read_bulk<'a>(
    body: &'a [u8],
    read: impl Fn(&'a [u8]) -> Result<Asked<'a>, Problem>,
) -> Result<Vec<Line<'a>>, Problem> {
    let read = |line: &'a RawValue| {
        let body = line.get().as_bytes();
        read(body).map_err(|problem| Unreadable::new(problem, body, None))
    };
    Ok(items(body, LINES_MAX)?.into_iter().map(read).collect())
}

/// Does the lines of a bulk, independently of each other or all or none.
pub(super) async fn run_bulk(
    app: &App,
    environment: &Environment,
    options: Options,
    lines: Result<Vec<Line<'_>>, Problem>,
) -> Result<Response<Body>, Problem> {
    let Query(options) = options
        .map_err(|_| Problem::invalid("", "is not the matter: ?atomic and ?dryRun must be true or false"))?;
    let lines = lines?;
    app.count_lines(environment, lines.len())?;
    let dry_run = is_dry_run(options.dry_run, &lines)?;
    check_explained(&lines)?;
    match options.atomic {
        true => app.run_together(environment, lines, dry_run).await,
        false => app.run_lines(environment, lines, dry_run).await,
    }
}

/// Reports many movements at once.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/bulk", tag = "on hand", operation_id = "changeOnHandInBulk",
    params(Environment, BulkOptions), request_body = [schema::OnHandChange],
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

/// Reports what stock a data source has. Not older than the last report.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/setonhand/{dataSource}/bulk", tag = "on hand", operation_id = "setOnHandInBulk",
    params(Environment, BulkOptions, ("dataSource" = String, Path, description = "The data source that reports.")),
    request_body = [schema::OnHandSet],
    responses(
        (status = 200, body = [commands::LineAnswer]), (status = 207, body = [commands::LineAnswer]),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn set_bulk(
    State(app): State<App>,
    Path((_, source)): Path<(String, String)>,
    options: Options,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let lines = read_bulk(&body, |line| read_set(line, &environment.id, &source));
    run_bulk(&app, &environment, options, lines).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_an_offset_are_utc() {
        let noon = parse_time("2026-11-23T12:00:00Z");
        assert!(noon.is_some());
        assert_eq!(parse_time("2026-11-23T12:00:00"), noon);
        assert_eq!(parse_time("2026-11-23T13:00:00.0+01:00"), noon);
        assert_eq!(parse_time("2026-11-23T12:00:00.5").map(|time| time.0), noon.map(|time| time.0 + 500_000));
        assert_eq!(parse_time("yesterday"), None);
    }
}
