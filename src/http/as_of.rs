//! `asOf`: a query's answer as it would have been right after an event, or at a time.
//!
//! A point in the past is an event of the environment: the last one up to an id, or the last one that was
//! received up to a time. The answer has all events of its products up to that one. A header says
//! which it was, so that the same answer can be had again. What other environments write changes nothing of it.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Response};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::domain::command::Timestamp;
use crate::domain::name::Value;
use crate::domain::schedule::day_of;
use crate::store::past::{self, Named};
use crate::store::{self, Sight, StoreError, horizon};

use super::App;
use super::form::Form;
use super::onhand::parse_time;
use super::problem::Problem;

/// The name of the property, and of the parameter.
pub(super) const AS_OF: &str = "asOf";
/// Says which event an answer is as of.
static HEADER: HeaderName = HeaderName::from_static("ringfence-as-of");
/// Longest wait for who writes events that come before the point.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);
const EXPECTED: &str = "must be the id of an event, or a time such as 2026-11-23T12:00:00Z";

/// A point in the past, as the document shows it.
pub(super) struct AsOf;

impl PartialSchema for AsOf {
    fn schema() -> RefOr<Schema> {
        let event = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(0))
            .description(Some(
                "Right after the event of this id, or the last one before it: with all events of lower ids, and \
                 none of higher ones. Refused where the environment has no such event yet.",
            ));
        let time = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "Right after the environment's last event that was received up to this time, by the clock of the \
                 instance that received it. Where clocks differ, events before that one count too, whatever \
                 their time. Refused where it is in the future. Of the last moments some events may still be on \
                 their way: the header ringfence-as-of has the event, with which the same answer can be had again.",
            ));
        let point = OneOfBuilder::new().item(event).item(time);
        point.description(Some("A point in the past: the id of an event, or a time.")).into()
    }
}

impl ToSchema for AsOf {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("AsOf")
    }
}

/// A point in the past, in an address.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of what `parse` reads")]
pub(super) struct AsOfParameter {
    /// The point in the past that is asked about; without it, now. In the address of a next page it
    /// is the event of the page before, and goes before what a body says.
    #[param(value_type = Option<AsOf>)]
    as_of: Option<String>,
}

/// A point of the ledger that is settled: nothing will appear before it any more.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) event_id: i64,
    /// The day on which it was received, in UTC.
    pub(super) day: Date,
}

/// Reads a point: digits are an id, anything else must be a time.
pub(super) fn parse(text: &str) -> Result<Named, &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Named::Event).map_err(|_| EXPECTED);
    }
    parse_time(text).map(Named::Time).ok_or(EXPECTED)
}

/// Reads the property, a number or a string.
pub(super) fn read(form: &mut Form<'_>) -> Option<Named> {
    let text = form.number_or_text(AS_OF, EXPECTED)?;
    let read = parse(&text);
    if let Err(detail) = read {
        form.reject(AS_OF, detail);
    }
    read.ok()
}

/// Finds a point in the ledger, and waits until nothing can appear before it any more.
///
/// # Errors
/// When it is in the future, or events before it take long to be written.
pub(super) async fn find(app: &App, environment: &Value, named: Named) -> Result<Point, Problem> {
    if let Named::Time(time) = named {
        check_past(time)?;
    }
    let environment = environment.as_str();
    let found = store::read(&app.readers, Sight::Of(environment), async |connection| {
        let until = match named {
            Named::Event(event_id) => event_id,
            Named::Time(time) => past::last_until(connection, environment, time).await?,
        };
        let last = horizon::last_of(connection, environment, until).await?;
        let newest = match last {
            Some((event_id, _)) if event_id == until => until,
            _ => horizon::last_id_of(connection, environment, i64::MAX).await?,
        };
        let horizon = app.horizon.read(connection, SETTLED_WITHIN).await?;
        Ok::<_, StoreError>((until, last, newest, horizon))
    });
    let (until, last, newest, horizon) = found.await?;
    if until > newest {
        let detail = format!(
            "is beyond the environment's ledger, whose last event is {newest}: what comes is not known yet"
        );
        return Err(Problem::invalid("/asOf", detail));
    }
    if until > horizon {
        return Err(Problem::Overloaded);
    }
    let (event_id, day) = last.map_or((0, Date::MIN), |(event_id, at)| (event_id, day_of(at)));
    Ok(Point { event_id, day })
}

#[allow(clippy::disallowed_methods, reason = "whether a time has come is asked here")]
fn check_past(time: Timestamp) -> Result<(), Problem> {
    let now = OffsetDateTime::now_utc();
    if i128::from(time.0) * 1000 <= now.unix_timestamp_nanos() {
        return Ok(());
    }
    let now = now.format(&Rfc3339).unwrap_or_default();
    let detail = format!("is in the future, here it is {now}; leave it out for how things stand now");
    Err(Problem::invalid("/asOf", detail))
}

/// Says in an answer which event it is as of.
pub(super) fn tell<T>(response: &mut Response<T>, point: Option<Point>) {
    if let Some(Point { event_id, .. }) = point {
        response.headers_mut().insert(&HEADER, HeaderValue::from(event_id));
    }
}
