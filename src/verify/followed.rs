//! What is kept of the ledger beside the books, held against the ledger.

use sqlx::PgConnection;

use crate::domain::configuration::Configuration;
use crate::domain::name::Value;
use crate::store::audit::{Ahead, Piece};
use crate::store::{StoreError, audit, follow, horizon};

/// Who cuts the ledger into pieces.
const CUTTER: &str = "snapshots";
/// Who keeps what was done.
const ACTIVITY: &str = "activity";

/// Finds what says of itself that it is further than the ledger ever was: who follows it would never take
/// what comes until then, and an erasure would declare that gone.
pub(super) async fn ahead(
    connection: &mut PgConnection,
    differences: &mut Vec<String>,
) -> Result<(), StoreError> {
    let last = horizon::last_id(connection).await?;
    for Ahead { what, reached } in audit::ahead(connection, last).await? {
        differences.push(format!("{what} reaches to event {reached}, but the last id was {last}"));
    }
    Ok(())
}

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
    let missed = audit::events(connection, last, reached).await?;
    if missed > 0 {
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

/// Finds what was done at places that there are not.
pub(super) async fn placeless(
    connection: &mut PgConnection,
    differences: &mut Vec<String>,
) -> Result<(), StoreError> {
    for (place_id, rows) in audit::placeless(connection).await? {
        differences.push(format!("the place {place_id} is not there, but has {rows} rows in activity"));
    }
    Ok(())
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
