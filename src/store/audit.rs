//! What is kept of the ledger beside the books, held against the ledger, for verification: the pieces by
//! which times are found, what was done with what is set aside, and how far who follows says to be. In
//! SQL, because most of it is sums.

use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;

use super::StoreError;

/// A piece of the ledger, with what the ledger has there.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its first event id.
    pub first: i64,
    /// Its last.
    pub last: i64,
    /// How many events it had.
    pub events: i64,
    /// When the earliest of them was received.
    pub earliest: OffsetDateTime,
    /// The last event id of the piece before; 0 where there is none.
    pub before: i64,
    /// How many events there are now: fewer, where some were erased.
    pub found: i64,
    /// When the earliest of those was received.
    pub found_earliest: Option<OffsetDateTime>,
    /// Events between the piece before and this one.
    pub missed: i64,
}

/// Reads the pieces, in their order.
///
/// # Errors
/// When the database does not answer.
pub async fn pieces(connection: &mut PgConnection) -> Result<Vec<Piece>, StoreError> {
    let pieces = sqlx::query_as!(
        Piece,
        r#"SELECT p.first_event_id AS first, p.last_event_id AS last, p.events, p.earliest, p.before AS "before!",
                  l.found AS "found!", l.found_earliest, m.missed AS "missed!"
           FROM (SELECT *, coalesce(lag(last_event_id) OVER (ORDER BY first_event_id), 0) AS before FROM ledger_piece) p
           CROSS JOIN LATERAL (
               SELECT count(*) AS found, min(received_at) AS found_earliest FROM ledger l
               WHERE l.event_id >= p.first_event_id AND l.event_id <= p.last_event_id
                 AND NOT EXISTS (SELECT FROM erasure x
                                 WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                                   AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)
           ) l
           CROSS JOIN LATERAL (
               SELECT count(*) AS missed FROM ledger l
               WHERE l.event_id > p.before AND l.event_id < p.first_event_id
                 AND NOT EXISTS (SELECT FROM erasure x
                                 WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                                   AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)
           ) m
           ORDER BY p.first_event_id"#
    )
    .fetch_all(connection)
    .await?;
    Ok(pieces)
}

/// Counts the events behind one and up to another that no erasure declares gone.
///
/// # Errors
/// When the database does not answer.
pub async fn events(connection: &mut PgConnection, after: i64, until: i64) -> Result<i64, StoreError> {
    let events = sqlx::query_scalar!(
        r#"SELECT count(*) AS "events!" FROM ledger l
           WHERE l.event_id > $1 AND l.event_id <= $2
             AND NOT EXISTS (SELECT FROM erasure x
                             WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                               AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)"#,
        after,
        until,
    )
    .fetch_one(connection)
    .await?;
    Ok(events)
}

/// Something that says how far it is, and is further than the ledger.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// A follower, or the erasure of a product.
    pub what: String,
    /// The event that it reaches to.
    pub reached: i64,
}

/// Finds what reaches beyond an event.
///
/// # Errors
/// When the database does not answer.
pub async fn ahead(connection: &mut PgConnection, last: i64) -> Result<Vec<Ahead>, StoreError> {
    let ahead = sqlx::query_as!(
        Ahead,
        r#"SELECT 'the follower ' || name AS "what!", reached_event_id AS "reached!" FROM follower
           WHERE reached_event_id > $1
           UNION ALL
           SELECT format('environment %s: the erasure of %s/%s', environment_id, organization_id, product_id),
                  until_event_id
           FROM erasure WHERE until_event_id > $1
           ORDER BY 1"#,
        last,
    )
    .fetch_all(connection)
    .await?;
    Ok(ahead)
}

/// Finds the places that have activity and are not there, each with the count of its rows.
///
/// # Errors
/// When the database does not answer.
pub async fn placeless(connection: &mut PgConnection) -> Result<Vec<(i64, i64)>, StoreError> {
    let places = sqlx::query!(
        r#"SELECT a.place_id, count(*) AS "rows!" FROM activity a
           WHERE NOT EXISTS (SELECT FROM activity_place p WHERE p.place_id = a.place_id)
           GROUP BY 1 ORDER BY 1"#
    )
    .fetch_all(connection)
    .await?;
    Ok(places.into_iter().map(|row| (row.place_id, row.rows)).collect())
}

/// What was done at a group path, where it is kept otherwise than the ledger has it: what was allocated,
/// returned, consumed, reallocated in and reallocated out, and when it was last consumed.
#[derive(Clone, Debug)]
pub struct Activity {
    /// The owner.
    pub organization: String,
    /// The product.
    pub product: String,
    /// Where.
    pub dimensions: Vec<String>,
    /// For whom.
    pub groups: Vec<String>,
    /// What is kept; nothing where there is no row.
    pub kept: Option<String>,
    /// What the ledger gives.
    pub found: String,
}

/// Finds what is kept of an environment's activity up to an event and is not what the ledger gives.
///
/// # Errors
/// When the database does not answer.
pub async fn activity(
    connection: &mut PgConnection,
    environment: &str,
    until: i64,
) -> Result<Vec<Activity>, StoreError> {
    let differences = sqlx::query_as!(
        Activity,
        r#"WITH moved AS (
               SELECT l.organization_id, l.product_id, l.dimensions, g.groups, l.received_at, l.quantity,
                      CASE WHEN g.is_source THEN 'reallocate out' ELSE l.operation END AS operation
               FROM ledger l CROSS JOIN LATERAL (VALUES (l.groups, false), (l.source_groups, true)) AS g (groups, is_source)
               WHERE l.environment_id = $1 AND l.event_id <= $2 AND g.groups IS NOT NULL
                 AND l.operation IN ('allocate', 'unallocate', 'reallocate', 'consume')
                 AND NOT EXISTS (SELECT FROM erasure x
                                 WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                                   AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)
           ), found AS (
               SELECT organization_id, product_id, dimensions, groups,
                      ARRAY[coalesce(sum(quantity) FILTER (WHERE operation = 'allocate'), 0),
                            coalesce(sum(quantity) FILTER (WHERE operation = 'unallocate'), 0),
                            coalesce(sum(quantity) FILTER (WHERE operation = 'consume'), 0),
                            coalesce(sum(quantity) FILTER (WHERE operation = 'reallocate'), 0),
                            coalesce(sum(quantity) FILTER (WHERE operation = 'reallocate out'), 0)] AS totals,
                      max(received_at) FILTER (WHERE operation = 'consume') AS last_consumed_at
               FROM moved GROUP BY 1, 2, 3, 4
           ), kept AS (
               SELECT p.organization_id, p.product_id, p.dimensions, p.groups, p.totals[1:5] AS totals, p.last_consumed_at,
                      -- Its last minute has the same totals, those of what was not met too; and none is before
                      -- its first.
                      p.totals IS DISTINCT FROM (SELECT a.totals FROM activity a WHERE a.place_id = p.place_id
                                                 ORDER BY a.minute DESC LIMIT 1) AS is_torn,
                      p.first_minute > (SELECT a.minute FROM activity a WHERE a.place_id = p.place_id
                                        ORDER BY a.minute LIMIT 1) AS begins_late
               FROM activity_place p WHERE p.environment_id = $1
           )
           SELECT organization_id AS "organization!", product_id AS "product!", dimensions AS "dimensions!", groups AS "groups!",
                  kept.totals::text || coalesce(' last at ' || kept.last_consumed_at, '')
                      || CASE WHEN kept.is_torn THEN ', and otherwise in its last minute' ELSE '' END
                      || CASE WHEN kept.begins_late THEN ', and begins before its first minute' ELSE '' END AS kept,
                  coalesce(found.totals, '{0,0,0,0,0}')::text || coalesce(' last at ' || found.last_consumed_at, '') AS "found!"
           FROM kept FULL JOIN found USING (organization_id, product_id, dimensions, groups)
           WHERE kept.totals IS DISTINCT FROM coalesce(found.totals, '{0,0,0,0,0}') OR kept.is_torn OR kept.begins_late
              OR kept.last_consumed_at IS DISTINCT FROM found.last_consumed_at
           ORDER BY 1, 2, 3, 4"#,
        environment,
        until,
    )
    .fetch_all(connection)
    .await?;
    Ok(differences)
}
