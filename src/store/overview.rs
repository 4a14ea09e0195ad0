//! What is measured of what is stored: how far those are who follow the ledger, what waits for
//! webhooks, and how many nodes are over-allocated. Each reads no more than so much.

use std::time::Duration;

use sqlx::PgConnection;

use crate::domain::configuration::Configuration;

use super::StoreError;

/// How far behind one is who follows the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Its name.
    pub follower: String,
    /// How many event ids it is behind; some of these may belong to nothing.
    pub events: i64,
    /// How long ago the first event that it has not was received.
    pub age: Duration,
}

/// Reads how far behind those are who follow.
///
/// # Errors
/// When the database does not answer.
pub async fn lags(connection: &mut PgConnection) -> Result<Vec<Lag>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT f.name,
                  greatest(coalesce((SELECT max(event_id) FROM ledger), 0) - f.reached_event_id, 0) AS "events!",
                  coalesce(extract(epoch FROM clock_timestamp() - (
                      SELECT l.received_at FROM ledger l WHERE l.event_id > f.reached_event_id
                      ORDER BY l.event_id LIMIT 1
                  )) * 1000000, 0)::bigint AS "age!"
           FROM follower f"#
    )
    .fetch_all(connection)
    .await?;
    let lag = rows.into_iter().map(|row| Lag {
        follower: row.name,
        events: row.events,
        age: Duration::from_micros(u64::try_from(row.age).unwrap_or_default()),
    });
    Ok(lag.collect())
}

/// What is on its way to webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Lanes that could be delivered now and are not, up to [`COUNTED_MAX`].
    pub due: i64,
    /// For how long the first of them could be.
    pub overdue: Duration,
    /// Messages that were given up, up to [`COUNTED_MAX`].
    pub dead: i64,
}

/// Further than that nothing is counted.
pub const COUNTED_MAX: i64 = 10_000;

/// Counts what is on its way to webhooks that are enabled, and what was given up.
///
/// # Errors
/// When the database does not answer.
pub async fn deliveries(connection: &mut PgConnection) -> Result<Deliveries, StoreError> {
    let row = sqlx::query!(
        r#"SELECT due.count AS "due!", due.overdue AS "overdue!", dead.count AS "dead!"
           FROM (
               SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(due_at)) * 1000000, 0)::bigint
                        AS overdue
               FROM (
                   SELECT l.due_at FROM webhook w CROSS JOIN LATERAL (
                       SELECT due_at FROM lane
                       WHERE environment_id = w.environment_id AND webhook = w.name AND due_at <= clock_timestamp()
                       ORDER BY due_at LIMIT $1
                   ) l
                   WHERE w.enabled LIMIT $1
               ) AS lanes
           ) AS due, (
               SELECT count(*) FROM (
                   SELECT FROM webhook w CROSS JOIN LATERAL (
                       SELECT FROM delivery
                       WHERE environment_id = w.environment_id AND webhook = w.name AND state = 'dead' LIMIT $1
                   ) d
                   LIMIT $1
               ) AS deliveries
           ) AS dead"#,
        COUNTED_MAX,
    )
    .fetch_one(connection)
    .await?;
    let overdue = Duration::from_micros(u64::try_from(row.overdue).unwrap_or_default());
    Ok(Deliveries { due: row.due, overdue, dead: row.dead })
}

/// The environment behind one, in the order of their names.
///
/// # Errors
/// When the database does not answer.
pub async fn environment_behind(
    connection: &mut PgConnection,
    environment: &str,
) -> Result<Option<String>, StoreError> {
    let next = sqlx::query_scalar!(
        "SELECT environment_id FROM environment WHERE environment_id > $1 ORDER BY environment_id LIMIT 1",
        environment
    )
    .fetch_optional(connection)
    .await?;
    Ok(next)
}

/// Where a walk over the nodes of an environment has come to: the last node that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    organization: String,
    product: String,
    dimensions: Vec<String>,
}

/// Counts the over-allocated ones among the next nodes of an environment: those from whose stock more
/// is set aside than there is. Answers where the walk has come to, or nothing when it is over.
///
/// # Errors
/// When the database does not answer.
pub async fn over_allocated(
    connection: &mut PgConnection,
    environment: &str,
    configuration: &Configuration,
    after: Option<&Place>,
    most: i64,
) -> Result<(i64, Option<Place>), StoreError> {
    let terms = configuration.available_to_allocate().terms().iter();
    let (places, coefficients): (Vec<i64>, Vec<String>) =
        terms.map(|(slot, coefficient)| (slot.index() as i64 + 1, coefficient.to_string())).unzip();
    let row = sqlx::query!(
        r#"WITH page AS MATERIALIZED (
               SELECT organization_id, product_id, dimensions, total FROM seen_stock_node
               WHERE environment_id = $1 AND (organization_id, product_id, dimensions) > ($2, $3, $4)
               ORDER BY environment_id, organization_id, product_id, dimensions LIMIT $5
           ), last AS (
               SELECT organization_id, product_id, dimensions FROM page
               ORDER BY organization_id DESC, product_id DESC, dimensions DESC LIMIT 1
           )
           SELECT (SELECT count(*) FROM page) AS "looked_at!",
                  (SELECT count(*) FROM page n
                   WHERE (SELECT sum(coalesce(n.total[f.place], 0) * f.coefficient::numeric)
                          FROM unnest($6::bigint[], $7::text[]) AS f (place, coefficient)) < 0) AS "count!",
                  (SELECT organization_id FROM last) AS organization,
                  (SELECT product_id FROM last) AS product, (SELECT dimensions FROM last) AS dimensions"#,
        environment,
        after.map_or("", |place| &place.organization),
        after.map_or("", |place| &place.product),
        after.map_or(&[][..], |place| &place.dimensions),
        most,
        &places,
        &coefficients,
    )
    .fetch_one(connection)
    .await?;
    let place = match (row.organization, row.product, row.dimensions) {
        (Some(organization), Some(product), Some(dimensions)) if row.looked_at == most => {
            Some(Place { organization, product, dimensions })
        }
        _ => None,
    };
    Ok((row.count, place))
}
