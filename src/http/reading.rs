//! What the readers of requests make of a text, with nothing done of it: for who throws hostile
//! input at them. `tests/fuzz/` does.

use std::borrow::Cow;

use time::macros::date;

use crate::domain::command::{Command, Timestamp};
use crate::domain::configuration::Configuration;
use crate::domain::document::Document;
use crate::domain::inventory_visibility;
use crate::domain::name::Value;
use crate::domain::query::Question;
use crate::domain::watch::{Label, Watch};

use super::allocation::{read_allocate, read_consume, read_reallocate, read_unallocate};
use super::commands::Asked;
use super::form::items;
use super::onhand::{LINES_MAX, read_change, read_set};
use super::problem::Problem;
use super::reserve::{read_reserve, read_unreserve};
use super::running::Reader;
use super::{
    alerts, analytics_question, balances, configuration, deliveries, events, hardupdate, keys, onhand_query,
    onhand_records, partitions, products, proposals, reservations, schedule, watches, webhooks,
};

/// A command, or the body of the answer that says why it is none.
pub type Line = Result<Command, String>;

/// Every request that [`read`] knows: a path as it stands behind the environment's. One that
/// ends in a question mark has its query in the address. New ones come last: the corpus of
/// `tests/fuzz/` counts them.
pub const REQUESTS: &[&str] = &[
    "allocation/allocate",
    "allocation/unallocate",
    "allocation/reallocate",
    "allocation/consume",
    "allocation/query",
    "onhand",
    "onhand/bulk",
    "setonhand/pos/bulk",
    "onhand/indexquery",
    "onhand/exactquery",
    "onhand?",
    "onhand/reserve",
    "onhand/reserve/bulk",
    "onhand/unreserve",
    "onhand/unreserve/bulk",
    "reservations?",
    "onhand/changeschedule",
    "onhand/changeschedule/bulk",
    "configuration/hardupdate",
    "allocation/products",
    "partitions/cleanupalldata",
    "allocation/proposals",
    "allocation/analytics?",
    "events?",
    "watches/low",
    "webhooks/one",
    "keys",
    "alerts?",
    "webhooks/one/deliveries?",
    "webhooks/one/replay",
];

/// Reads a text as a request, under a configuration: the commands that it asks for, of which a
/// query has none.
pub fn read(request: &str, text: &[u8], configuration: &Configuration) -> Vec<Line> {
    // What the service itself names is a value.
    let environment = Value::stored("test");
    let one = |reader: Reader| vec![command(text, &environment, configuration, reader)];
    let many = |reader: Reader| lines(text, &environment, configuration, reader);
    let on_hand = |read| none(on_hand(read, configuration));
    match request {
        "allocation/allocate" => one(read_allocate),
        "allocation/unallocate" => one(read_unallocate),
        "allocation/reallocate" => one(read_reallocate),
        "allocation/consume" => one(read_consume),
        "allocation/query" => none(balances(text, &environment, configuration)),
        "onhand" => one(read_change),
        "onhand/bulk" => many(read_change),
        "setonhand/pos/bulk" => many(|line, environment, _| read_set(line, environment, "pos")),
        "onhand/indexquery" => on_hand(onhand_query::read_index(text, None)),
        "onhand/exactquery" => on_hand(onhand_query::read_exact(text, None)),
        "onhand?" => on_hand(onhand_query::read_address(Some(&address(text)))),
        "onhand/reserve" => one(read_reserve),
        "onhand/reserve/bulk" => many(read_reserve),
        "onhand/unreserve" => one(read_unreserve),
        "onhand/unreserve/bulk" => many(read_unreserve),
        "reservations?" => none(reservations::Asked::read_address(&address(text)).and_then(|asked| {
            asked.place(configuration)?;
            Ok(())
        })),
        "onhand/changeschedule" => one(read_schedule),
        "onhand/changeschedule/bulk" => many(read_schedule),
        "configuration/hardupdate" => none(foreign(text)),
        "allocation/products" => none(products::read(text).map(drop)),
        "partitions/cleanupalldata" => none(partitions::read(text).map(drop)),
        "allocation/proposals" => none(proposals::Asked::read(text, &environment).and_then(|asked| {
            asked.place(configuration)?;
            Ok(())
        })),
        "allocation/analytics?" => none(analytics(&address(text), configuration)),
        "watches/low" => none(watch(text, configuration)),
        "webhooks/one" => none(webhook(text)),
        "keys" => none(key(text, &environment, configuration)),
        "alerts?" => none(alerts::read(Some(&address(text))).map(drop)),
        "webhooks/one/deliveries?" => none(deliveries::read(Some(&address(text))).map(drop)),
        "webhooks/one/replay" => none(deliveries::read_replay(text).map(drop)),
        "events?" => none(events::Asked::read(&address(text)).and_then(|asked| {
            asked.filter(configuration)?;
            Ok(())
        })),
        _ => vec![Err(said(Problem::NotFound))],
    }
}

/// An address has no bytes that are no text.
fn address(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// Reads a text as the body of `PUT configuration`.
///
/// # Errors
/// The body of the answer that says why it is none.
pub fn read_document(text: &[u8]) -> Result<Document, String> {
    configuration::read(text).map_err(said)
}

fn command(text: &[u8], environment: &Value, configuration: &Configuration, reader: Reader) -> Line {
    let asked = reader(text, environment, None).map_err(said)?;
    asked.command(configuration).map_err(|refusal| said(refusal.into()))
}

fn lines(text: &[u8], environment: &Value, configuration: &Configuration, reader: Reader) -> Vec<Line> {
    match items(text, LINES_MAX) {
        Ok(items) => items
            .into_iter()
            .map(|line| command(line.get().as_bytes(), environment, configuration, reader))
            .collect(),
        Err(problem) => vec![Err(said(problem))],
    }
}

fn balances(text: &[u8], environment: &Value, configuration: &Configuration) -> Result<(), Problem> {
    balances::Asked::read(text, environment)?.place(configuration)?;
    Ok(())
}

fn on_hand(
    read: Result<(onhand_records::Asked, Question<'_>), Problem>,
    configuration: &Configuration,
) -> Result<(), Problem> {
    let (asked, question) = read?;
    onhand_records::select(configuration, &asked, &question)?;
    Ok(())
}

fn watch(text: &[u8], configuration: &Configuration) -> Result<(), Problem> {
    Watch::new(configuration, &watches::read(text, None)?)?;
    Ok(())
}

fn webhook(text: &[u8]) -> Result<(), Problem> {
    let name = Label::parse("one").map_err(|error| Problem::invalid("/name", error))?;
    webhooks::read(text, &name, false).map(drop)
}

fn key(text: &[u8], environment: &Value, configuration: &Configuration) -> Result<(), Problem> {
    let draft = keys::read(text, environment)?;
    if !draft.scope.groups.is_empty() {
        configuration.groups().path("/groups", &draft.scope.pairs())?;
    }
    Ok(())
}

/// On one day, so that what is kept of a run is read the same for ever.
fn read_schedule<'a>(
    text: &'a [u8],
    environment: &Value,
    header_id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    schedule::read_change_on(date!(2026 - 12 - 01), text, environment, header_id)
}

/// What time it is makes no difference to what can be read.
fn analytics(address: &str, configuration: &Configuration) -> Result<(), Problem> {
    let now = Timestamp(1_795_000_000_000_000);
    analytics_question::Asked::read_address(address, now)?.filters(configuration)?;
    Ok(())
}

/// Reads a document of Inventory Visibility as far as a configuration.
fn foreign(text: &[u8]) -> Result<(), Problem> {
    let (foreign, _) = hardupdate::read(text)?;
    let reading = inventory_visibility::read(&foreign)?;
    match Configuration::new(reading.document, &[]) {
        Ok(configuration) => {
            inventory_visibility::write(&configuration);
            Ok(())
        }
        Err(refusal) => Err(inventory_visibility::in_its_words(refusal).into()),
    }
}

fn none(query: Result<(), Problem>) -> Vec<Line> {
    query.err().map(|problem| Err(said(problem))).into_iter().collect()
}

fn said(problem: Problem) -> String {
    // A structure of strings and numbers always becomes JSON.
    serde_json::to_string(&problem.body(None, None)).unwrap_or_default()
}
