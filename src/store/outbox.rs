//! The outbox: what is to be delivered to webhooks, taken by one instance at a time per product
//! and webhook.
//!
//! Whoever takes a lane has it for a time; when they die, another has it after that, and sends
//! what was being sent again. All that is done to a lane is done behind a lock on its row, so
//! that a lane is gone only when nothing is pending in it.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::postgres::types::PgInterval;
use sqlx::types::time::OffsetDateTime;
use sqlx::{Connection, PgConnection};

use crate::domain::webhook::Secret;

use super::StoreError;

/// Writes the deliveries of notices to all webhooks that want them.
pub(super) async fn enqueue(
    connection: &mut PgConnection,
    environment: &str,
    sequences: &[i64],
) -> Result<(), StoreError> {
    enqueue_for(connection, environment, None, sequences).await.map(|_| ())
}

/// Writes the deliveries of notices to one webhook or all; those that are there are to be made again.
pub(super) async fn enqueue_for(
    connection: &mut PgConnection,
    environment: &str,
    webhook: Option<&str>,
    sequences: &[i64],
) -> Result<u64, StoreError> {
    // Lanes first, in their order: whoever locks several does it in the same.
    sqlx::query!(
        "WITH wanted AS (
             SELECT name, watches FROM webhook
             WHERE environment_id = $1 AND ($2::text IS NULL OR name = $2) FOR KEY SHARE
         ), lanes AS (
             SELECT DISTINCT w.name, n.organization_id, n.product_id
             FROM notice n JOIN wanted w ON w.watches IS NULL OR n.watch = ANY(w.watches)
             WHERE n.sequence = ANY($3)
             ORDER BY w.name, n.organization_id, n.product_id
         )
         INSERT INTO lane AS l (environment_id, webhook, organization_id, product_id, due_at)
         SELECT $1, name, organization_id, product_id, now() FROM lanes
         ON CONFLICT (environment_id, webhook, organization_id, product_id) DO UPDATE SET due_at = l.due_at",
        environment,
        webhook,
        sequences,
    )
    .execute(&mut *connection)
    .await?;
    let written = sqlx::query!(
        "INSERT INTO delivery (environment_id, webhook, sequence, organization_id, product_id, state)
         SELECT $1, w.name, n.sequence, n.organization_id, n.product_id, 'pending'
         FROM notice n JOIN webhook w ON w.environment_id = $1 AND ($2::text IS NULL OR w.name = $2)
           AND (w.watches IS NULL OR n.watch = ANY(w.watches))
           AND EXISTS (SELECT FROM lane l WHERE l.environment_id = $1 AND l.webhook = w.name
                         AND l.organization_id = n.organization_id AND l.product_id = n.product_id)
         WHERE n.sequence = ANY($3)
         ON CONFLICT (environment_id, webhook, sequence) DO UPDATE
         SET state = 'pending', since = now(), attempts = 0, attempted_at = NULL, status = NULL, error = NULL",
        environment,
        webhook,
        sequences,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected())
}

/// The deliveries of one product to one webhook, while they are whoever took it's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The environment.
    pub environment: String,
    /// The webhook.
    pub webhook: String,
    /// The owner of the product.
    pub organization: String,
    /// The product.
    pub product: String,
    /// Until when. Another time there is another's.
    until: OffsetDateTime,
}

/// How many lanes may be taken at once.
#[derive(Clone, Copy, Debug)]
pub struct Each {
    /// Of one webhook.
    pub webhook: i64,
    /// Of all of an environment.
    pub environment: i64,
}

/// Takes lanes that are due: as many of each webhook and environment as it may have at once, less
/// those that `busy` says it has here already, and `most` in all. Where there are more, those of the
/// environments that have the fewest come first, and of one what has been due for longest: so nobody's
/// slow receivers hold up what is for others.
///
/// # Errors
/// When the database does not answer.
pub async fn take(
    connection: &mut PgConnection,
    busy: &HashMap<(String, String), i64>,
    each: Each,
    most: i64,
    hold: Duration,
) -> Result<Vec<Lane>, StoreError> {
    let environments: Vec<&str> = busy.keys().map(|(environment, _)| environment.as_str()).collect();
    let webhooks: Vec<&str> = busy.keys().map(|(_, webhook)| webhook.as_str()).collect();
    let counts: Vec<i64> = busy.values().copied().collect();
    // What is due is compared with the time of the statement, which an index can be asked for.
    let rows = sqlx::query!(
        r#"WITH busy AS (
               SELECT * FROM unnest($1::text[], $2::text[], $6::bigint[]) AS b (environment_id, webhook, count)
           ), due AS (
               SELECT l.*, coalesce((SELECT sum(b.count) FROM busy b WHERE b.environment_id = l.environment_id), 0)
                           + row_number() OVER (PARTITION BY l.environment_id ORDER BY l.due_at) AS turn
               FROM webhook w
               LEFT JOIN busy b ON b.environment_id = w.environment_id AND b.webhook = w.name
               CROSS JOIN LATERAL (
                   SELECT l.environment_id, l.webhook, l.organization_id, l.product_id, l.due_at FROM lane l
                   WHERE l.environment_id = w.environment_id AND l.webhook = w.name AND l.due_at <= now()
                   ORDER BY l.due_at LIMIT greatest($3::bigint - coalesce(b.count, 0), 0)
               ) l
               WHERE w.enabled
           ), chosen AS (
               SELECT l.environment_id, l.webhook, l.organization_id, l.product_id
               FROM due d
               JOIN lane l ON l.environment_id = d.environment_id AND l.webhook = d.webhook
                 AND l.organization_id = d.organization_id AND l.product_id = d.product_id AND l.due_at <= now()
               WHERE d.turn <= $7::bigint
               ORDER BY d.turn, d.due_at LIMIT $4 FOR UPDATE OF l SKIP LOCKED
           )
           UPDATE lane SET due_at = clock_timestamp() + $5 FROM chosen d
           WHERE lane.environment_id = d.environment_id AND lane.webhook = d.webhook
             AND lane.organization_id = d.organization_id AND lane.product_id = d.product_id
           RETURNING lane.environment_id, lane.webhook, lane.organization_id, lane.product_id, lane.due_at"#,
        &environments as &[&str],
        &webhooks as &[&str],
        each.webhook,
        most,
        interval(hold),
        &counts,
        each.environment,
    )
    .fetch_all(connection)
    .await?;
    let lane = rows.into_iter().map(|row| Lane {
        environment: row.environment_id,
        webhook: row.webhook,
        organization: row.organization_id,
        product: row.product_id,
        until: row.due_at,
    });
    Ok(lane.collect())
}

/// What is to be sent next.
pub struct Next {
    /// The notice.
    pub sequence: i64,
    /// How often it was sent before.
    pub attempts: i32,
    /// The message's stable name.
    pub message_id: String,
    /// The message.
    pub payload: String,
    /// Where to.
    pub url: String,
    /// What it is signed with.
    pub secrets: Vec<Secret>,
    /// What time it is, in seconds since 1970.
    pub time: i64,
}

/// Reads what is next in a lane; nothing where nothing is pending, or its webhook is disabled or gone.
///
/// # Errors
/// When the database does not answer.
pub async fn next(connection: &mut PgConnection, lane: &Lane) -> Result<Option<Next>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT d.sequence, d.attempts, n.message_id, n.payload, w.url, w.secret,
                  CASE WHEN w.old_secret_until > now() THEN w.old_secret END AS old_secret,
                  extract(epoch FROM clock_timestamp())::bigint AS "time!"
           FROM delivery d
           JOIN notice n ON n.sequence = d.sequence
           JOIN webhook w ON w.environment_id = d.environment_id AND w.name = d.webhook AND w.enabled
           WHERE d.environment_id = $1 AND d.webhook = $2 AND d.organization_id = $3 AND d.product_id = $4
             AND d.state = 'pending'
           ORDER BY d.sequence LIMIT 1"#,
        lane.environment,
        lane.webhook,
        lane.organization,
        lane.product,
    )
    .fetch_optional(connection)
    .await?;
    let next = row.map(|row| {
        let secrets = [Some(row.secret), row.old_secret];
        let secrets = secrets.iter().flatten().map(|text| Secret::parse(text).map_err(StoreError::Rejected));
        Ok::<_, StoreError>(Next {
            sequence: row.sequence,
            attempts: row.attempts,
            message_id: row.message_id,
            payload: row.payload,
            url: row.url,
            secrets: secrets.collect::<Result<_, _>>()?,
            time: row.time,
        })
    });
    next.transpose()
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The HTTP status that was answered, where one was.
    pub status: Option<u16>,
    /// What was wrong; nothing where it was delivered.
    pub error: Option<String>,
    /// When it is tried again; nothing where it was delivered, or will not be.
    pub again_in: Option<Duration>,
    /// Whether the webhook is to get nothing more.
    pub is_gone: bool,
}

/// Records an attempt, and holds the lane on where there is more to be sent at once. Answers
/// whether it is still held.
///
/// # Errors
/// When the database does not answer.
pub async fn record(
    connection: &mut PgConnection,
    lane: &mut Lane,
    sequence: i64,
    attempt: &Attempt,
    hold: Duration,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    // In the order in which all lock: webhooks, lanes, deliveries.
    if attempt.is_gone {
        sqlx::query!(
            "UPDATE webhook SET enabled = false,
                 disabled_because = 'it answered 410 Gone at ' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
             WHERE environment_id = $1 AND name = $2",
            lane.environment,
            lane.webhook,
        )
        .execute(&mut *transaction)
        .await?;
    }
    let is_ours = lock(&mut transaction, lane).await?;
    let state = match (&attempt.error, attempt.again_in) {
        (None, _) => "delivered",
        (Some(_), Some(_)) => "pending",
        (Some(_), None) => "dead",
    };
    // Whoever lost the lane may still say that it was delivered, and nothing else.
    if is_ours || state == "delivered" {
        sqlx::query!(
            "UPDATE delivery SET state = $4, attempts = attempts + 1, attempted_at = now(), status = $5, error = $6,
                 since = CASE WHEN state = $4 THEN since ELSE now() END
             WHERE environment_id = $1 AND webhook = $2 AND sequence = $3
               AND (state = 'pending' OR state = 'dead' AND $4 = 'delivered')",
            lane.environment,
            lane.webhook,
            sequence,
            state,
            attempt.status.map(i32::from),
            attempt.error,
        )
        .execute(&mut *transaction)
        .await?;
    }
    let is_held = is_ours && release(&mut transaction, lane, attempt.again_in, hold).await?;
    transaction.commit().await?;
    Ok(is_held && attempt.again_in.is_none())
}

/// Gives a lane back for later, or for good where nothing is pending.
///
/// # Errors
/// When the database does not answer.
pub async fn give_back(
    connection: &mut PgConnection,
    lane: &mut Lane,
    again_in: Duration,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    if lock(&mut transaction, lane).await? {
        release(&mut transaction, lane, Some(again_in), Duration::ZERO).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Locks a lane's row until the transaction ends. Answers whether it is still held.
async fn lock(connection: &mut PgConnection, lane: &Lane) -> Result<bool, StoreError> {
    let until = sqlx::query_scalar!(
        "SELECT due_at FROM lane
         WHERE environment_id = $1 AND webhook = $2 AND organization_id = $3 AND product_id = $4 FOR UPDATE",
        lane.environment,
        lane.webhook,
        lane.organization,
        lane.product,
    )
    .fetch_optional(connection)
    .await?;
    Ok(until == Some(lane.until))
}

/// What a locked lane is from now on: due later, held on, or gone. Answers whether it is there.
async fn release(
    connection: &mut PgConnection,
    lane: &mut Lane,
    again_in: Option<Duration>,
    hold: Duration,
) -> Result<bool, StoreError> {
    // A statement of its own, behind the lock: it sees what was enqueued before that was given.
    let until = sqlx::query_scalar!(
        "UPDATE lane SET due_at = clock_timestamp() + $5
         WHERE environment_id = $1 AND webhook = $2 AND organization_id = $3 AND product_id = $4
           AND EXISTS (SELECT FROM delivery d
                       WHERE d.environment_id = $1 AND d.webhook = $2 AND d.organization_id = $3 AND d.product_id = $4
                         AND d.state = 'pending')
         RETURNING due_at",
        lane.environment,
        lane.webhook,
        lane.organization,
        lane.product,
        interval(again_in.unwrap_or(hold)),
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(until) = until {
        lane.until = until;
        return Ok(true);
    }
    sqlx::query!(
        "DELETE FROM lane
         WHERE environment_id = $1 AND webhook = $2 AND organization_id = $3 AND product_id = $4",
        lane.environment,
        lane.webhook,
        lane.organization,
        lane.product,
    )
    .execute(connection)
    .await?;
    Ok(false)
}

fn interval(duration: Duration) -> PgInterval {
    // Settings are far below 2^63 microseconds.
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}
