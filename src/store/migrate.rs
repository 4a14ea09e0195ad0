//! Bringing the schema up to date, beside services that are at work and others that start.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;

/// The schema, forward only.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Names the lock that whoever migrates holds.
const LOCK: i64 = 0x7269_6e67_6665_6e63;
/// How often another one is asked whether it is done.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Brings the schema up to date. One at a time, and the others ask again and again: whoever
/// waits inside a statement keeps an index that is made beside the work from being finished,
/// and the migrator's own lock would be waited for so.
///
/// # Errors
/// When the database does not do it.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateError> {
    while !sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "is_ours!""#, LOCK)
        .fetch_one(&mut *connection)
        .await?
    {
        tokio::time::sleep(ASK_AGAIN).await;
    }
    drop_unfinished(connection).await?;
    let migrated = MIGRATIONS.run(&mut *connection).await;
    sqlx::query_scalar!("SELECT pg_advisory_unlock($1)", LOCK).fetch_one(connection).await?;
    migrated
}

/// An index that is made beside the work and not finished stays, and is good for nothing. Nobody
/// is making one now.
async fn drop_unfinished(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let unfinished = sqlx::query_scalar!(
        r#"SELECT i.indexrelid::regclass::text AS "name!" FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
           WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace"#
    )
    .fetch_all(&mut *connection)
    .await?;
    for name in unfinished {
        // As the database itself writes it, quotation marks included.
        let statement = sqlx::AssertSqlSafe(format!("DROP INDEX CONCURRENTLY {name}"));
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    Ok(())
}
