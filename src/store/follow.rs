//! How far those are who follow the ledger. Whoever has the row of one in a transaction is the only
//! one who takes events for it: what it keeps of them and that it has them is one commit.

use sqlx::PgConnection;

use super::StoreError;

/// Makes the row of one that is new: it has everything before it.
///
/// # Errors
/// When the database does not answer.
pub async fn introduce(connection: &mut PgConnection, name: &str) -> Result<(), StoreError> {
    sqlx::query!("INSERT INTO follower (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", name)
        .execute(connection)
        .await?;
    Ok(())
}

/// Locks the row until the transaction ends. Answers the last event that was taken, or nothing
/// where somebody else has the row.
///
/// # Errors
/// When the database does not answer.
pub async fn take_turn(connection: &mut PgConnection, name: &str) -> Result<Option<i64>, StoreError> {
    let reached = sqlx::query_scalar!(
        "SELECT reached_event_id FROM follower WHERE name = $1 FOR UPDATE SKIP LOCKED",
        name
    )
    .fetch_optional(connection)
    .await?;
    Ok(reached)
}

/// Says that everything up to an event was taken.
///
/// # Errors
/// When the database does not answer.
pub async fn reach(connection: &mut PgConnection, name: &str, event_id: i64) -> Result<(), StoreError> {
    sqlx::query!("UPDATE follower SET reached_event_id = $2 WHERE name = $1", name, event_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Reads the last event that was taken; 0 where nothing was.
///
/// # Errors
/// When the database does not answer.
pub async fn reached(connection: &mut PgConnection, name: &str) -> Result<i64, StoreError> {
    let reached = sqlx::query_scalar!("SELECT reached_event_id FROM follower WHERE name = $1", name)
        .fetch_optional(connection)
        .await?;
    Ok(reached.unwrap_or(0))
}

/// Reads the last event that anybody took; 0 where nothing was. Nobody takes what is not settled, so
/// everything up to it is.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn furthest(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let reached =
        sqlx::query_scalar!("SELECT max(reached_event_id) FROM follower").fetch_one(connection).await?;
    Ok(reached.unwrap_or(0))
}

/// Keeps all who follow from taking anything, until the transaction ends: for who erases what they
/// keep. Waits for those that are in the middle of it.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn hold_up(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query_scalar!("SELECT name FROM follower ORDER BY name FOR UPDATE").fetch_all(connection).await?;
    Ok(())
}
