//! Forgets what is old of alerts: closed ones, the notices that told of them, and their deliveries.
//!
//! An environment is gone through page by page, in the order of the notices, on the index that lists
//! them by their times. A page is one short transaction, and passes by every row that somebody else
//! has locked: it waits for nobody, and what it left is looked at in the next round. So any number of
//! instances may be at it, and need no agreement.

use sqlx::types::time::OffsetDateTime;
use sqlx::{Connection, PgConnection};

use super::StoreError;

/// How many times as long what was given up is kept as what was delivered.
pub const DEAD_TIMES: i32 = 3;

/// Where a walk has come to: the last notice that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    happened_at: OffsetDateTime,
    sequence: i64,
}

/// A page of old notices.
struct Page<'a> {
    environment: &'a str,
    sequences: Vec<i64>,
    days: i32,
}

/// Forgets what is older than so many days of the next old notices of an environment, `most` of them.
/// Answers where the walk has come to, or nothing when it is over.
///
/// # Errors
/// When the database does not do it.
pub async fn page(
    connection: &mut PgConnection,
    environment: &str,
    after: Option<Place>,
    days: i32,
    most: i64,
) -> Result<Option<Place>, StoreError> {
    let after = after.unwrap_or(Place { happened_at: OffsetDateTime::UNIX_EPOCH, sequence: 0 });
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let places = sqlx::query_as!(
        Place,
        "SELECT happened_at, sequence FROM notice
         WHERE environment_id = $1 AND (happened_at, sequence) > ($2, $3)
           AND happened_at < now() - make_interval(days => $4)
         ORDER BY environment_id, happened_at, sequence LIMIT $5",
        environment,
        after.happened_at,
        after.sequence,
        days,
        most,
    )
    .fetch_all(&mut *transaction)
    .await?;
    let sequences = places.iter().map(|place| place.sequence).collect();
    let page = Page { environment, sequences, days };
    if !places.is_empty() {
        page.give_up(&mut transaction).await?;
        page.forget_deliveries(&mut transaction).await?;
        page.forget_alerts(&mut transaction).await?;
        page.forget_notices(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(places.last().copied().filter(|_| places.len() as i64 == most))
}

impl Page<'_> {
    /// What could not be sent for so long is dead, and shown as such: for a webhook that is disabled,
    /// or that takes less than comes, nothing piles up for ever. A lane in which nothing is pending
    /// any more goes with it.
    async fn give_up(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let lanes = sqlx::query!(
            r#"WITH old AS MATERIALIZED (
                   SELECT DISTINCT d.webhook, d.organization_id, d.product_id
                   FROM webhook w JOIN delivery d ON d.environment_id = w.environment_id AND d.webhook = w.name
                   WHERE w.environment_id = $1 AND d.sequence = ANY($2) AND d.state = 'pending'
                     AND d.since < now() - make_interval(days => $3)
               ), locked AS MATERIALIZED (
                   SELECT l.webhook, l.organization_id, l.product_id FROM old o
                   JOIN lane l ON l.environment_id = $1 AND l.webhook = o.webhook
                     AND l.organization_id = o.organization_id AND l.product_id = o.product_id
                   FOR UPDATE OF l SKIP LOCKED
               )
               UPDATE delivery d
               SET state = 'dead', since = now(),
                   error = concat_ws('; ', d.error, 'it has waited for ' || $3::integer || ' days, and is given up')
               FROM locked l
               WHERE d.environment_id = $1 AND d.webhook = l.webhook AND d.sequence = ANY($2)
                 AND d.organization_id = l.organization_id AND d.product_id = l.product_id
                 AND d.state = 'pending' AND d.since < now() - make_interval(days => $3)
               RETURNING d.webhook, d.organization_id, d.product_id"#,
            self.environment,
            &self.sequences,
            self.days,
        )
        .fetch_all(&mut *connection)
        .await?;
        if lanes.is_empty() {
            return Ok(());
        }
        let webhooks: Vec<String> = lanes.iter().map(|lane| lane.webhook.clone()).collect();
        let organizations: Vec<String> = lanes.iter().map(|lane| lane.organization_id.clone()).collect();
        let products: Vec<String> = lanes.into_iter().map(|lane| lane.product_id).collect();
        // A statement of its own, behind the locks: it sees what was enqueued before those were had.
        sqlx::query!(
            "DELETE FROM lane l USING unnest($2::text[], $3::text[], $4::text[]) AS k (webhook, organization_id, product_id)
             WHERE l.environment_id = $1 AND l.webhook = k.webhook AND l.organization_id = k.organization_id
               AND l.product_id = k.product_id
               -- Looked up for each, and never joined.
               AND (SELECT NOT EXISTS (SELECT FROM delivery d
                                       WHERE d.environment_id = $1 AND d.webhook = l.webhook
                                         AND d.organization_id = l.organization_id AND d.product_id = l.product_id
                                         AND d.state = 'pending'))",
            self.environment,
            &webhooks,
            &organizations,
            &products,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn forget_deliveries(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        sqlx::query!(
            "WITH old AS MATERIALIZED (
                 SELECT d.webhook, d.sequence
                 FROM webhook w JOIN delivery d ON d.environment_id = w.environment_id AND d.webhook = w.name
                 WHERE w.environment_id = $1 AND d.sequence = ANY($2)
                   AND d.since < now() - make_interval(days => CASE d.state WHEN 'delivered' THEN $3::integer
                                                                            WHEN 'dead' THEN $4::integer END)
                 FOR UPDATE OF d SKIP LOCKED
             )
             DELETE FROM delivery d USING old o
             WHERE d.environment_id = $1 AND d.webhook = o.webhook AND d.sequence = o.sequence",
            self.environment,
            &self.sequences,
            self.days,
            self.days.saturating_mul(DEAD_TIMES),
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// An alert is as old as the notice of its closing, which has its sequence.
    async fn forget_alerts(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM alert WHERE environment_id = $1 AND sequence = ANY($2) AND closed_at IS NOT NULL",
            self.environment,
            &self.sequences,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// A notice is kept as long as any of its deliveries is.
    async fn forget_notices(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        // Whoever replays one locks it too: they are waited for by nobody, and found below.
        let locked = sqlx::query_scalar!(
            "SELECT n.sequence FROM notice n
             WHERE n.environment_id = $1 AND n.sequence = ANY($2)
               AND NOT EXISTS (SELECT FROM webhook w JOIN delivery d ON d.environment_id = w.environment_id AND d.webhook = w.name
                               WHERE w.environment_id = $1 AND d.sequence = n.sequence)
             FOR UPDATE OF n SKIP LOCKED",
            self.environment,
            &self.sequences,
        )
        .fetch_all(&mut *connection)
        .await?;
        sqlx::query!(
            "DELETE FROM notice n
             WHERE n.environment_id = $1 AND n.sequence = ANY($2)
               AND NOT EXISTS (SELECT FROM webhook w JOIN delivery d ON d.environment_id = w.environment_id AND d.webhook = w.name
                               WHERE w.environment_id = $1 AND d.sequence = n.sequence)",
            self.environment,
            &locked,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
