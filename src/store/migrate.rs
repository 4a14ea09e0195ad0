//! Bringing the schema up to date, while other instances may be at it too.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::{Instant, sleep};

/// Which of the database's advisory locks whoever migrates holds: "ringfenc".
const LOCK: i64 = 0x7269_6e67_6665_6e63;
/// Longest that another instance is waited for. To make an index over a large ledger takes long.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1800);
const LOCK_WAIT_STEP: Duration = Duration::from_millis(100);

/// Runs the migrations that a database does not have yet, over a connection of its own.
///
/// The lock is asked for again and again: a statement that waits for it is one that an index
/// which is made concurrently waits for, so that neither would ever be done.
///
/// # Errors
/// When a migration fails, or another instance takes too long.
pub async fn migrate(mut connection: PgConnection, migrations: &Migrator) -> Result<(), MigrateError> {
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    while !try_lock(&mut connection).await? {
        if Instant::now() > deadline {
            let why = format!("another instance has been migrating for {LOCK_WAIT_MAX:?}");
            return Err(MigrateError::Execute(sqlx::Error::Protocol(why)));
        }
        sleep(LOCK_WAIT_STEP).await;
    }
    drop_halves(&mut connection, migrations).await?;
    let mut migrator = Migrator::with_migrations(migrations.iter().cloned().collect());
    migrator.set_locking(false);
    migrator.run(&mut connection).await?;
    // The lock ends with the connection.
    Ok(connection.close().await?)
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let got = sqlx::query_scalar!("SELECT pg_try_advisory_lock($1)", LOCK).fetch_one(connection).await?;
    Ok(got == Some(true))
}

/// An index that was being made concurrently when its maker was killed is there, by name, and
/// good for nothing; its migration would fail over it for ever.
async fn drop_halves(connection: &mut PgConnection, migrations: &Migrator) -> Result<(), sqlx::Error> {
    let halves = sqlx::query_scalar!(
        r#"SELECT relname::text AS "name!" FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
           WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace"#
    )
    .fetch_all(&mut *connection)
    .await?;
    for name in halves {
        // Others are not ours to drop.
        if migrations.iter().any(|migration| migration.sql.as_str().contains(&name)) {
            tracing::warn!(index = name, "an index that was not finished is made again");
            connection.execute(AssertSqlSafe(format!(r#"DROP INDEX CONCURRENTLY "{name}""#))).await?;
        }
    }
    Ok(())
}
