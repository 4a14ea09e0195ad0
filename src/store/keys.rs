//! API keys. To revoke one makes a new version of the environment's configuration, so that commands
//! are guarded against it as against any change of that: no instance commits one for the key later.

use std::sync::Arc;

use sqlx::types::time::OffsetDateTime;
use sqlx::{Connection, PgConnection};

use crate::domain::access::{Role, Scope};
use crate::domain::command::{Note, Timestamp};
use crate::domain::key::{self, Digest};
use crate::domain::name::Value;
use crate::domain::rate::{PerSecond, Rate};

use super::{StoreError, configuration};

/// Most keys of an environment that are neither revoked nor expired.
pub const KEYS_MAX: i64 = 1_000;

/// A key, but for its text.
pub struct Key {
    /// The part of the text that is no secret.
    pub prefix: String,
    /// Where it is for.
    pub environment: Value,
    /// Whose it is.
    pub name: Value,
    /// What it may.
    pub role: Role,
    /// What that is narrowed to.
    pub scope: Scope,
    /// How much it may send, where that is not what all may.
    pub rates: PerSecond,
    /// Since when it is.
    pub created_at: Timestamp,
    /// Until when it is.
    pub expires_at: Timestamp,
    /// Since when it is not any more.
    pub revoked_at: Option<Timestamp>,
}

/// A key as it is looked up.
pub struct Found {
    /// The key.
    pub key: Key,
    /// What its text is known by.
    pub digest: Digest,
    /// What is noted about its commands: who sent them.
    pub note: Arc<Note>,
    /// Which version the environment's configuration had at that moment; 0 where it has none.
    pub version: i64,
}

/// A key that is to be made.
#[derive(Debug)]
pub struct Draft {
    /// Where it is for.
    pub environment: Value,
    /// Whose it is.
    pub name: Value,
    /// What it may.
    pub role: Role,
    /// What that is narrowed to.
    pub scope: Scope,
    /// For how many days.
    pub days: i32,
    /// How much it may send, where that is not what all may.
    pub rates: PerSecond,
}

struct Row {
    prefix: String,
    environment_id: String,
    name: String,
    role: String,
    organizations: Vec<String>,
    group_names: Vec<String>,
    group_values: Vec<String>,
    requests_per_second: Option<i32>,
    commands_per_second: Option<i32>,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    revoked_at: Option<OffsetDateTime>,
}

fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp(i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX))
}

fn rate(stored: Option<i32>) -> Option<Rate> {
    Rate::new(stored?.unsigned_abs())
}

fn stored(rate: Option<Rate>) -> Option<i32> {
    i32::try_from(rate?.per_second()).ok()
}

impl TryFrom<Row> for Key {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Key, StoreError> {
        let role = Role::parse(&row.role)
            .ok_or_else(|| StoreError::Rejected(format!("a stored key has the role {:?}", row.role)))?;
        let values = row.group_values.iter().map(|value| Value::stored(value));
        Ok(Key {
            prefix: row.prefix,
            environment: Value::stored(&row.environment_id),
            name: Value::stored(&row.name),
            role,
            scope: Scope {
                organizations: row.organizations.iter().map(|value| Value::stored(value)).collect(),
                groups: row.group_names.into_iter().zip(values).collect(),
            },
            rates: PerSecond {
                requests: rate(row.requests_per_second),
                commands: rate(row.commands_per_second),
            },
            created_at: timestamp(row.created_at),
            expires_at: timestamp(row.expires_at),
            revoked_at: row.revoked_at.map(timestamp),
        })
    }
}

/// Finds a key by its prefix, whatever became of it.
///
/// # Errors
/// When the database does not answer.
pub async fn find(connection: &mut PgConnection, prefix: &str) -> Result<Option<Found>, StoreError> {
    // One statement is one moment: the key was so at this version of the configuration.
    let row = sqlx::query!(
        r#"SELECT k.prefix, k.digest, k.environment_id, k.name, k.role, k.organizations, k.group_names, k.group_values,
                  k.requests_per_second, k.commands_per_second,
                  k.created_at, k.expires_at, k.revoked_at, coalesce(e.version, 0) AS "version!"
           FROM api_key k LEFT JOIN environment e ON e.environment_id = k.environment_id
           WHERE k.prefix = $1"#,
        prefix,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let digest = Digest::stored(&row.digest)
        .ok_or_else(|| StoreError::Rejected(format!("the stored key {} has no digest", row.prefix)))?;
    let version = row.version;
    let key = Row {
        prefix: row.prefix,
        environment_id: row.environment_id,
        name: row.name,
        role: row.role,
        organizations: row.organizations,
        group_names: row.group_names,
        group_values: row.group_values,
        requests_per_second: row.requests_per_second,
        commands_per_second: row.commands_per_second,
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
    };
    let key: Key = key.try_into()?;
    let note = Arc::new(Note { actor: Some(key.name.clone()), ..Note::default() });
    Ok(Some(Found { key, digest, note, version }))
}

/// Makes a key, and answers it with its text, which is not to be had again; `None` when the
/// environment has as many as it may.
///
/// # Errors
/// When the database does not answer, or the system has no random numbers.
pub async fn create(
    connection: &mut PgConnection,
    draft: &Draft,
) -> Result<Option<(Key, String)>, StoreError> {
    let mut random = [0; key::RANDOM_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| StoreError::Rejected(format!("the system has no random numbers: {error}")))?;
    let text = key::of_random(random);
    let prefix = key::prefix_of(&text).unwrap_or_default();
    let digest = Digest::of(&text);
    let organizations: Vec<&str> = draft.scope.organizations.iter().map(Value::as_str).collect();
    let group_names: Vec<&str> = draft.scope.groups.iter().map(|(name, _)| name.as_str()).collect();
    let group_values: Vec<&str> = draft.scope.groups.iter().map(|(_, value)| value.as_str()).collect();
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO api_key (prefix, digest, environment_id, name, role, organizations, group_names, group_values, expires_at,
                              requests_per_second, commands_per_second)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(days => $9), $11, $12
         WHERE (SELECT count(*) FROM api_key
                WHERE environment_id = $3 AND revoked_at IS NULL AND expires_at > now()) < $10
         RETURNING prefix, environment_id, name, role, organizations, group_names, group_values,
                   requests_per_second, commands_per_second, created_at, expires_at, revoked_at",
        prefix,
        digest.as_bytes(),
        draft.environment.as_str(),
        draft.name.as_str(),
        draft.role.as_str(),
        &organizations as &[&str],
        &group_names as &[&str],
        &group_values as &[&str],
        draft.days,
        KEYS_MAX,
        stored(draft.rates.requests),
        stored(draft.rates.commands),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((row.try_into()?, text))).transpose()
}

/// Reads an environment's keys, those too that are not in force any more: `most` of those behind
/// one, in the order of their prefixes.
///
/// # Errors
/// When the database does not answer.
pub async fn page(
    connection: &mut PgConnection,
    environment: &str,
    after: &str,
    most: i64,
) -> Result<Vec<Key>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT prefix, environment_id, name, role, organizations, group_names, group_values,
                requests_per_second, commands_per_second, created_at, expires_at, revoked_at
         FROM api_key WHERE environment_id = $1 AND prefix > $2 ORDER BY prefix LIMIT $3",
        environment,
        after,
        most,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Key::try_from).collect()
}

/// Revokes a key, if it is not revoked yet. What commits later commits without it. Answers whether
/// there is such a key.
///
/// # Errors
/// When the database does not answer.
pub async fn revoke(
    connection: &mut PgConnection,
    environment: &str,
    prefix: &str,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let version = configuration::lock(&mut transaction, environment).await?;
    let revoked = sqlx::query!(
        "UPDATE api_key SET revoked_at = now() WHERE environment_id = $1 AND prefix = $2 AND revoked_at IS NULL",
        environment,
        prefix,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if revoked == 0 {
        let exists = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM api_key WHERE environment_id = $1 AND prefix = $2) AS "exists!""#,
            environment,
            prefix,
        );
        return Ok(exists.fetch_one(&mut *transaction).await?);
    }
    if let Some(version) = version {
        configuration::renew(&mut transaction, environment, version).await?;
    }
    transaction.commit().await?;
    Ok(true)
}
