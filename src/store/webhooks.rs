//! Webhooks, and what was delivered to them.

use sqlx::types::time::OffsetDateTime;
use sqlx::{Connection, PgConnection};

use crate::domain::command::Timestamp;
use crate::domain::webhook::Secret;

use super::{StoreError, text};

/// For how long a secret that was replaced signs too.
const OLD_SECRET_HOURS: i32 = 24;

/// A webhook as it is kept, but for its secret.
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Where it sends to.
    pub url: String,
    /// Of which watches; none for all.
    pub watches: Option<Vec<String>>,
    /// Whether it sends.
    pub enabled: bool,
    /// Why the service itself disabled it.
    pub disabled_because: Option<String>,
}

/// Reads an environment's webhooks, in the order of their names; `most` of them.
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
        "SELECT name, url, watches, enabled, disabled_because FROM webhook
         WHERE environment_id = $1 ORDER BY name LIMIT $2",
        environment,
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Reads one webhook.
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
        "SELECT name, url, watches, enabled, disabled_because FROM webhook WHERE environment_id = $1 AND name = $2",
        environment,
        name,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// What became of a webhook that was to be made or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new, and has the secret made for it.
    Made,
    /// It is another one now.
    Replaced,
    /// There is no room for a new one.
    NoRoom,
}

/// Makes or replaces a webhook. A new one has the secret `given`, or else `made`; one that is there
/// keeps its secret unless another is given, beside which the old one signs for a while.
///
/// # Errors
/// When the database does not answer.
pub async fn put(
    connection: &mut PgConnection,
    environment: &str,
    webhook: &Kept,
    (given, made): (Option<&Secret>, &Secret),
    most: i64,
) -> Result<Put, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    // One at a time: or two new ones would both find room for one.
    sqlx::query!("SELECT version FROM environment WHERE environment_id = $1 FOR SHARE", environment)
        .fetch_optional(&mut *transaction)
        .await?;
    let given = given.map(Secret::reveal);
    let replaced = sqlx::query!(
        "UPDATE webhook SET url = $3, watches = $4, enabled = $5, disabled_because = NULL,
             old_secret = CASE WHEN $6::text <> secret THEN secret ELSE old_secret END,
             old_secret_until = CASE WHEN $6::text <> secret THEN now() + make_interval(hours => $7)
                                     ELSE old_secret_until END,
             secret = coalesce($6, secret)
         WHERE environment_id = $1 AND name = $2",
        environment,
        webhook.name,
        webhook.url,
        webhook.watches.as_deref(),
        webhook.enabled,
        given,
        OLD_SECRET_HOURS,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    let mut outcome = Put::Replaced;
    if replaced == 0 {
        let secret = given.unwrap_or_else(|| made.reveal());
        let written = sqlx::query!(
            "INSERT INTO webhook (environment_id, name, url, watches, enabled, secret)
             SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM webhook WHERE environment_id = $1) < $7",
            environment,
            webhook.name,
            webhook.url,
            webhook.watches.as_deref(),
            webhook.enabled,
            secret,
            most,
        )
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        outcome = if written > 0 { Put::Made } else { Put::NoRoom };
    } else if webhook.enabled {
        // What waited for an address that is another now, or for a pause that is over, waits no more.
        sqlx::query!(
            "UPDATE lane SET due_at = least(due_at, now()) WHERE environment_id = $1 AND webhook = $2",
            environment,
            webhook.name,
        )
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(outcome)
}

/// Deletes a webhook, with what it has delivered and what it has not. Answers whether there was one.
///
/// # Errors
/// When the database does not answer.
pub async fn delete(
    connection: &mut PgConnection,
    environment: &str,
    name: &str,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    // First: whoever enqueues for it keeps it from being deleted, and finds none after.
    let deleted =
        sqlx::query!("DELETE FROM webhook WHERE environment_id = $1 AND name = $2", environment, name)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    sqlx::query!("DELETE FROM lane WHERE environment_id = $1 AND webhook = $2", environment, name)
        .execute(&mut *transaction)
        .await?;
    sqlx::query!("DELETE FROM delivery WHERE environment_id = $1 AND webhook = $2", environment, name)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(deleted > 0)
}

/// A notice on its way to a webhook.
pub struct Delivery {
    /// The notice's place in the order of all.
    pub sequence: i64,
    /// The message's stable name.
    pub message_id: String,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// How often it was sent.
    pub attempts: i32,
    /// When it was last sent.
    pub attempted_at: Option<Timestamp>,
    /// What was answered then.
    pub status: Option<i32>,
    /// What was wrong then.
    pub error: Option<String>,
    /// When it is sent next, at the earliest, where it is its turn.
    pub due_at: Option<Timestamp>,
    /// The message.
    pub payload: String,
}

struct Row {
    sequence: i64,
    message_id: String,
    state: String,
    attempts: i32,
    attempted_at: Option<OffsetDateTime>,
    status: Option<i32>,
    error: Option<String>,
    due_at: Option<OffsetDateTime>,
    payload: String,
}

impl Row {
    fn delivery(self) -> Delivery {
        let Row { sequence, message_id, state, attempts, attempted_at, status, error, due_at, payload } =
            self;
        let (attempted_at, due_at) = (attempted_at.map(text::timestamp), due_at.map(text::timestamp));
        Delivery { sequence, message_id, state, attempts, attempted_at, status, error, due_at, payload }
    }
}

/// Reads the deliveries of a webhook before one, the latest first: those in a state, or all.
///
/// # Errors
/// When the database does not answer.
pub async fn deliveries(
    connection: &mut PgConnection,
    (environment, webhook): (&str, &str),
    state: Option<&str>,
    before: Option<i64>,
    most: i64,
) -> Result<Vec<Delivery>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT d.sequence, n.message_id, d.state, d.attempts, d.attempted_at, d.status, d.error, n.payload,
                  CASE WHEN d.state = 'pending'
                       THEN (SELECT l.due_at FROM lane l
                             WHERE l.environment_id = d.environment_id AND l.webhook = d.webhook
                               AND l.organization_id = d.organization_id AND l.product_id = d.product_id) END AS due_at
           FROM delivery d
           JOIN notice n ON n.sequence = d.sequence
           WHERE d.environment_id = $1 AND d.webhook = $2 AND d.sequence < $4 AND ($3::text IS NULL OR d.state = $3)
           ORDER BY d.sequence DESC LIMIT $5"#,
        environment,
        webhook,
        state,
        before.unwrap_or(i64::MAX),
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Row::delivery).collect())
}

/// Which notices are delivered again.
#[derive(Clone, Copy, Debug)]
pub enum Replay {
    /// One.
    One(i64),
    /// Those of a time, both ends included.
    Between(Timestamp, Timestamp),
}

/// Delivers notices to a webhook again, also such as came before it, in their order and as if they
/// had never been sent. Answers how many; nothing
/// where they are more than `most`, and then none is.
///
/// # Errors
/// When the database does not answer.
pub async fn replay(
    connection: &mut PgConnection,
    (environment, webhook): (&str, &str),
    replay: Replay,
    most: i64,
) -> Result<Option<u64>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    // Locked, so that none is forgotten before it is enqueued.
    let sequences = match replay {
        Replay::One(sequence) => {
            sqlx::query_scalar!(
                "SELECT n.sequence FROM delivery d JOIN notice n ON n.sequence = d.sequence
                 WHERE d.environment_id = $1 AND d.webhook = $2 AND d.sequence = $3
                 FOR KEY SHARE OF n",
                environment,
                webhook,
                sequence,
            )
            .fetch_all(&mut *transaction)
            .await?
        }
        Replay::Between(from, to) => {
            sqlx::query_scalar!(
                "SELECT n.sequence FROM notice n
                 JOIN webhook w ON w.environment_id = n.environment_id AND w.name = $2
                 WHERE n.environment_id = $1 AND n.happened_at BETWEEN $3 AND $4
                   AND (w.watches IS NULL OR n.watch = ANY(w.watches))
                 LIMIT $5 FOR KEY SHARE OF n",
                environment,
                webhook,
                text::time(from),
                text::time(to),
                most + 1,
            )
            .fetch_all(&mut *transaction)
            .await?
        }
    };
    if sequences.len() as i64 > most {
        return Ok(None);
    }
    let deliveries =
        super::outbox::enqueue_for(&mut transaction, environment, Some(webhook), &sequences).await?;
    transaction.commit().await?;
    Ok(Some(deliveries))
}
