//! Watches: what their clients wrote.

use sqlx::{Connection, PgConnection};

use super::StoreError;

/// A watch as it is kept.
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its document.
    pub document: String,
}

/// Reads an environment's watches, in the order of their names; `most` of them.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    connection: &mut PgConnection,
    environment: &str,
    most: i64,
) -> Result<Vec<Kept>, StoreError> {
    let rows = sqlx::query_as!(
        Kept,
        r#"SELECT name, document::text AS "document!" FROM watch WHERE environment_id = $1 ORDER BY name LIMIT $2"#,
        environment,
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Reads one watch.
///
/// # Errors
/// When the database does not answer.
pub async fn get(
    connection: &mut PgConnection,
    environment: &str,
    name: &str,
) -> Result<Option<Kept>, StoreError> {
    let row = sqlx::query_as!(
        Kept,
        r#"SELECT name, document::text AS "document!" FROM watch WHERE environment_id = $1 AND name = $2"#,
        environment,
        name,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// Makes or replaces a watch. Answers whether there was room for it among `most`.
///
/// # Errors
/// When the database does not answer.
pub async fn put(
    connection: &mut PgConnection,
    environment: &str,
    watch: &Kept,
    most: i64,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    // One at a time: or two new ones would both find room for one.
    count_change(&mut transaction).await?;
    let written = sqlx::query!(
        "INSERT INTO watch AS w (environment_id, name, document)
         SELECT $1, $2, $3::text::json
         WHERE (SELECT count(*) FROM watch WHERE environment_id = $1 AND name <> $2) < $4
         ON CONFLICT (environment_id, name) DO UPDATE SET document = excluded.document",
        environment,
        watch.name,
        watch.document,
        most,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    Ok(written > 0)
}

/// Deletes a watch. Answers whether there was one.
///
/// # Errors
/// When the database does not answer.
pub async fn delete(
    connection: &mut PgConnection,
    environment: &str,
    name: &str,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    count_change(&mut transaction).await?;
    let deleted =
        sqlx::query!("DELETE FROM watch WHERE environment_id = $1 AND name = $2", environment, name)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    transaction.commit().await?;
    Ok(deleted > 0)
}

async fn count_change(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("UPDATE watching SET changes = changes + 1").execute(connection).await?;
    Ok(())
}

/// How far watches are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// A number that is another after every change of a watch, or of a configuration by which one is
    /// read: the changes, and in the lower half of its bits the versions.
    pub state: i64,
    /// That for which everything there is was judged.
    pub swept: i64,
    /// How many pages of it were.
    pub pages: i64,
}

/// Reads how far watches are judged.
///
/// # Errors
/// When the database does not answer.
pub async fn progress(connection: &mut PgConnection) -> Result<Progress, StoreError> {
    let progress = sqlx::query_as!(
        Progress,
        r#"SELECT w.changes * 4294967296 + coalesce((SELECT sum(e.version) FROM environment e
                                        WHERE e.environment_id IN (SELECT DISTINCT environment_id FROM watch)), 0)::bigint
                      AS "state!",
                  w.swept, w.pages
           FROM watching w WHERE w.one"#
    )
    .fetch_one(connection)
    .await?;
    Ok(progress)
}

/// Writes that pages were judged; with the last of them, everything.
///
/// # Errors
/// When the database does not answer.
pub async fn advance(connection: &mut PgConnection, progress: Progress) -> Result<(), StoreError> {
    sqlx::query!("UPDATE watching SET swept = $1, pages = $2 WHERE one", progress.swept, progress.pages)
        .execute(connection)
        .await?;
    Ok(())
}

/// Reads the environments that have watches, or alerts that are still open.
///
/// # Errors
/// When the database does not answer.
pub async fn environments(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let environments = sqlx::query_scalar!(
        "SELECT e.environment_id FROM environment e
         WHERE EXISTS (SELECT FROM watch w WHERE w.environment_id = e.environment_id)
            OR EXISTS (SELECT FROM alert a WHERE a.environment_id = e.environment_id AND a.closed_at IS NULL)
         ORDER BY e.environment_id"
    )
    .fetch_all(connection)
    .await?;
    Ok(environments)
}
