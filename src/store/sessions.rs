//! What goes on in the database beside the service.

use std::time::Duration;

use sqlx::PgConnection;

use super::StoreError;

/// For how long the oldest transaction of the database has been open; 0 where there is none. One
/// that is open for long keeps the database from clearing away what was updated since.
///
/// # Errors
/// When the database does not answer.
pub async fn oldest_transaction(connection: &mut PgConnection) -> Result<Duration, StoreError> {
    let microseconds = sqlx::query_scalar!(
        r#"SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start) * 1000000), 0)::bigint AS "age!"
           FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"#
    )
    .fetch_one(connection)
    .await?;
    Ok(Duration::from_micros(u64::try_from(microseconds).unwrap_or_default()))
}
