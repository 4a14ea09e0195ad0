//! What the readers of requests make of a text, with nothing done of it: for who throws hostile
//! input at them. `tests/fuzz/` does.

use crate::domain::command::Command;
use crate::domain::configuration::Configuration;
use crate::domain::document::Document;
use crate::domain::name::Value;

use super::allocation::{Reader, read_allocate, read_consume, read_reallocate, read_unallocate};
use super::form::items;
use super::onhand::{LINES_MAX, read_change, read_set};
use super::problem::Problem;
use super::{balances, configuration, onhand_query, onhand_records};

/// A command, or the body of the answer that says why it is none.
pub type Line = Result<Command, String>;

/// Every path that [`read`] knows, as it stands behind the environment's.
pub const PATHS: [&str; 10] = [
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
];

/// Reads a text as the body of a request to a path, under a configuration: the commands that
/// it asks for, of which a query has none.
pub fn read(path: &str, text: &[u8], configuration: &Configuration) -> Vec<Line> {
    // What the service itself names is a value.
    let environment = Value::stored("test");
    let one = |reader: Reader| vec![command(text, &environment, configuration, reader)];
    match path {
        "allocation/allocate" => one(read_allocate),
        "allocation/unallocate" => one(read_unallocate),
        "allocation/reallocate" => one(read_reallocate),
        "allocation/consume" => one(read_consume),
        "onhand" => one(read_change),
        "onhand/bulk" => lines(text, &environment, configuration, read_change),
        "setonhand/pos/bulk" => lines(text, &environment, configuration, |line, environment, _| {
            read_set(line, environment, "pos")
        }),
        "allocation/query" => none(balances(text, &environment, configuration)),
        "onhand/indexquery" => none(on_hand(onhand_query::read_index(text, None), configuration)),
        "onhand/exactquery" => none(on_hand(onhand_query::read_exact(text, None), configuration)),
        _ => vec![Err(said(Problem::NotFound))],
    }
}

/// Reads a text as the parameters of `GET onhand`, under a configuration.
///
/// # Errors
/// The body of the answer that says why they are none.
pub fn read_parameters(text: &str, configuration: &Configuration) -> Result<(), String> {
    on_hand(onhand_query::read_address(Some(text)), configuration).map_err(said)
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
    Command::new(configuration, &asked.target, &asked.request).map_err(|refusal| said(refusal.into()))
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
    read: Result<(onhand_records::Asked, crate::domain::query::Question<'_>), Problem>,
    configuration: &Configuration,
) -> Result<(), Problem> {
    let (asked, question) = read?;
    onhand_records::select(configuration, &asked, &question)?;
    Ok(())
}

fn none(query: Result<(), Problem>) -> Vec<Line> {
    query.err().map(|problem| Err(said(problem))).into_iter().collect()
}

fn said(problem: Problem) -> String {
    // A structure of strings and numbers always becomes JSON.
    serde_json::to_string(&problem.body(None, None)).unwrap_or_default()
}
