//! What commands would do: judged as a writer judges them, by the same code, on one consistent read of
//! the database. Nothing is written, nothing waits in a writer's queue, and nothing is remembered.

use std::sync::Arc;

use hashbrown::HashMap;
use sqlx::{Connection, PgConnection};

use crate::domain::command::Command;
use crate::store::configuration::Versioned;
use crate::store::{StoreError, configuration, ledger};

use super::batch::{Unit, Verdict, judge, name_of};
use super::books::{Books, Wanted};
use super::loading::load;
use super::writer::{now, receipt};
use super::{Failure, Rejection, Reply};

/// The place in the ledger of an event that did not happen: those that did begin at 1.
pub const NOWHERE: i64 = 0;

/// Judges commands in order, of which those of one unit are done together or not at all; each sees
/// what those before it would have done. Answers what each unit would be; `None` when the
/// configuration that they were made under is not the current one.
///
/// # Errors
/// When the database does not answer.
pub async fn rehearse(
    connection: &mut PgConnection,
    units: &[Vec<Arc<Command>>],
    versioned: &Arc<Versioned>,
) -> Result<Option<Vec<Reply>>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let replies = rehearse_within(&mut transaction, units, versioned).await;
    transaction.rollback().await?;
    replies
}

async fn rehearse_within(
    connection: &mut PgConnection,
    units: &[Vec<Arc<Command>>],
    versioned: &Arc<Versioned>,
) -> Result<Option<Vec<Reply>>, StoreError> {
    let commands = || units.iter().flatten().map(|command| (&**command, versioned));
    let Some((first, _)) = commands().next() else {
        return Ok(Some(units.iter().map(|_| Ok(Vec::new())).collect()));
    };
    let environment = first.product.environment.as_str();
    if configuration::version(connection, environment).await? != Some(versioned.version) {
        return Ok(None);
    }
    let named: Vec<_> = commands().map(|(command, versioned)| (command, &versioned.configuration)).collect();
    let known = ledger::find_unconfirmed(connection, &named).await?.into_iter().flatten();
    let known: HashMap<_, _> = known.map(|event| (name_of(&event.command), Arc::new(event))).collect();
    // They hold one request's commands, and are gone with it.
    let mut books = Books::new(usize::MAX);
    let mut wanted = Wanted::default();
    for (command, versioned) in commands() {
        books.want(command, &versioned.configuration, &mut wanted);
    }
    let parts = load(connection, commands(), wanted).await?;
    parts.into_iter().for_each(|part| books.hold(part));
    let received_at = now();
    let units = units.iter().map(|commands| -> Unit<'_> { (commands, versioned) });
    let (verdicts, granted) = judge(&mut books, &known, units, received_at);
    let events = granted.into_events(&vec![NOWHERE; named.len()], received_at);
    let replies = verdicts.into_iter().map(|verdict| match verdict {
        Verdict::Granted(places) => Ok(places.into_iter().map(|place| receipt(place, &events)).collect()),
        Verdict::Refused { index, refusal, explanation, .. } => {
            Err(Rejection { index, failure: Failure::Refused(refusal), explanation })
        }
    });
    Ok(Some(replies.collect()))
}
