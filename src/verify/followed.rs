//! What is kept of the ledger beside the books, held against the ledger.

use sqlx::PgConnection;

use crate::domain::configuration::Configuration;
use crate::domain::name::Value;
use crate::store::audit::Piece;
use crate::store::{StoreError, audit, follow, horizon};

/// Who cuts the ledger into pieces.
const CUTTER: &str = "snapshots";
/// Who keeps what was done.
const ACTIVITY: &str = "activity";

/// Holds the pieces of the ledger against it: every event that was cut is in one, and none says that its
/// earliest event came later than it did, or earlier where no event of it was erased. What an erased
/// event was like cannot be known any more.
pub(super) async fn pieces(
    connection: &mut PgConnection,
    differences: &mut Vec<String>,
) -> Result<(), StoreError> {
    let reached = follow::reached(connection, CUTTER).await?;
    let mut last = 0;
    for piece in audit::pieces(connection).await? {
        let wrong = wrong(&piece, reached);
        let place = format!("the piece of the ledger from event {} to {}", piece.first, piece.last);
        differences.extend(wrong.into_iter().map(|wrong| format!("{place} {wrong}")));
        last = piece.last;
    }
    // One that is ahead of all ids that were given is held off by somebody, and cuts nothing.
    let is_held_off = reached > horizon::last_id(connection).await?;
    let missed = audit::events(connection, last, reached).await?;
    if missed > 0 && !is_held_off {
        differences
            .push(format!("{missed} events of the ledger behind {last} up to {reached} are in no piece"));
    }
    Ok(())
}

fn wrong(piece: &Piece, reached: i64) -> Vec<String> {
    let Piece { first, last, events, earliest, before, found, found_earliest, missed } = piece;
    let mut wrong = Vec::new();
    if first <= before || first > last {
        wrong.push(format!("begins before the one before it ends, at {before}, or ends before it begins"));
    }
    if *last > reached {
        wrong.push(format!("goes further than the ledger was cut, up to {reached}"));
    }
    if *missed > 0 {
        wrong.push(format!("has {missed} events before it that are in no piece"));
    }
    if found > events {
        wrong.push(format!("is said to have had {events} events, the ledger has {found}"));
    }
    if let Some(found_earliest) = found_earliest
        && (earliest > found_earliest || (earliest < found_earliest && found == events))
    {
        wrong.push(format!("has {earliest} as its earliest time, the ledger gives {found_earliest}"));
    }
    wrong
}

/// Holds what was done in an environment, as it is kept for analytics, against the ledger. What demand
/// was not met is in no ledger, and is not held against anything.
pub(super) async fn activity(
    connection: &mut PgConnection,
    environment: &str,
    configuration: &Configuration,
    differences: &mut Vec<String>,
) -> Result<(), StoreError> {
    let reached = follow::reached(connection, ACTIVITY).await?;
    for found in audit::activity(connection, environment, reached).await? {
        let values = |texts: &[String]| texts.iter().map(|text| Value::stored(text)).collect::<Vec<_>>();
        let place = configuration.dimensions().place(&values(&found.dimensions));
        let groups = configuration.groups().place(&values(&found.groups));
        let (organization, product) = (&found.organization, &found.product);
        differences.push(format!(
            "environment {environment}: product {organization}/{product} at {place}: the activity of {groups} is {}, the ledger gives {}",
            found.kept.as_deref().unwrap_or("not stored"),
            found.found,
        ));
    }
    Ok(())
}
