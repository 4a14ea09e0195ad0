//! The history: events of an environment in the order of the ledger or against it, some of them
//! or all. Events of a product that was erased are gone.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::domain::command::Timestamp;
use crate::domain::history::Filter;
use crate::domain::name::Value;

use super::ledger::Row;
use super::{StoreError, text};

/// Events that one statement looks at, whether they are asked for or not: it takes some tens of
/// milliseconds.
const SCANNED_MAX: i64 = 10_000;
/// How far the clocks of instances may be apart. Events are looked up by time in the order of the
/// ledger, which is that of their times but for this.
const CLOCKS_APART_MAX: Timestamp = Timestamp(600_000_000);
/// Events that are not worth halving.
const NEAR: i64 = 500;

/// Which events are read.
pub struct Wanted<'a> {
    /// The isolated tenant.
    pub environment: &'a Value,
    /// What they must fit.
    pub filter: &'a Filter,
    /// Only those behind this id.
    pub after: i64,
    /// Only those up to this id.
    pub until: i64,
    /// Whether the last comes first.
    pub newest_first: bool,
    /// Most events.
    pub most: usize,
}

/// Events that were found.
pub struct Page {
    /// In the order asked for.
    pub rows: Vec<Row>,
    /// The id up to which the ledger was gone through (or down to which); `None` when that is all
    /// that was asked for.
    pub reached: Option<i64>,
}

/// An event that was looked at.
struct Scanned {
    event_id: i64,
    environment_id: String,
    organization_id: String,
    product_id: String,
    id: String,
    operation: String,
    dimensions: Vec<String>,
    groups: Option<Vec<String>>,
    source_groups: Option<Vec<String>>,
    quantity: Option<String>,
    detail: Option<String>,
    configuration_version: i64,
    version: i64,
    received_at: OffsetDateTime,
    outcome: String,
    reference: Option<String>,
    reason: Option<String>,
    actor: Option<String>,
    /// Whether it is asked for.
    fits: bool,
    /// Whether it is the last that the statement may look at: it is answered in any case.
    is_last: bool,
}

impl Scanned {
    fn row(self) -> Row {
        Row {
            event_id: self.event_id,
            environment_id: self.environment_id,
            organization_id: self.organization_id,
            product_id: self.product_id,
            id: self.id,
            operation: self.operation,
            dimensions: self.dimensions,
            groups: self.groups,
            source_groups: self.source_groups,
            quantity: self.quantity,
            detail: self.detail,
            configuration_version: self.configuration_version,
            version: self.version,
            received_at: self.received_at,
            outcome: self.outcome,
            reference: self.reference,
            reason: self.reason,
            actor: self.actor,
        }
    }
}

/// `$key` is what comes before the event in an index, which is read from one event to another. (Rows
/// that are compared as wholes would find the first, but not end behind the last: all that comes
/// later in the index would be looked at.) `domain/history.rs` has the same filter.
macro_rules! scan {
    ($connection:ident, $wanted:ident, $key:expr, $order:expr) => {{
        let Filter { organization, product, dimensions, groups, operations, actor, reference, from, to } =
            $wanted.filter;
        let as_text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
        let (places, values): (Vec<i32>, Vec<String>) =
            dimensions.iter().map(|(place, value)| (*place as i32 + 1, value.to_string())).unzip();
        let path = groups.as_ref().map(|groups| groups.path.iter().map(Value::to_string).collect::<Vec<_>>());
        sqlx::query_as!(
            Scanned,
            r#"SELECT s.event_id AS "event_id!", s.environment_id AS "environment_id!", s.organization_id AS "organization_id!",
                      s.product_id AS "product_id!", s.id AS "id!", s.operation AS "operation!", s.dimensions AS "dimensions!",
                      s.groups, s.source_groups, s.quantity::text AS quantity, s.detail::text AS detail,
                      s.configuration_version AS "configuration_version!", s.version AS "version!",
                      s.received_at AS "received_at!", s.outcome::text AS "outcome!", s.reference, s.reason, s.actor,
                      s.fits AS "fits!", s.is_last AS "is_last!"
               FROM (
                   SELECT l.*, row_number() OVER (ORDER BY "# + $order + r#") = $4 AS is_last,
                          l.environment_id = $1
                          AND ($5::text IS NULL OR l.organization_id = $5)
                          AND ($6::text IS NULL OR l.product_id = $6)
                          AND (cardinality($7::text[]) = 0 OR l.operation = ANY($7))
                          AND ($8::text IS NULL OR coalesce(l.actor = $8, false))
                          AND ($9::text IS NULL OR coalesce(l.reference = $9, false))
                          AND ($10::timestamptz IS NULL OR l.received_at >= $10)
                          AND ($11::timestamptz IS NULL OR l.received_at < $11)
                          AND NOT EXISTS (SELECT FROM unnest($12::int[], $13::text[]) AS f (place, value)
                                          WHERE coalesce(l.dimensions[f.place], '') <> f.value)
                          AND ($14::text[] IS NULL
                               OR coalesce(l.groups[:cardinality($14)] = $14
                                           AND ($15 OR cardinality(l.groups) = cardinality($14)), false)
                               OR coalesce(l.source_groups[:cardinality($14)] = $14
                                           AND ($15 OR cardinality(l.source_groups) = cardinality($14)), false))
                          AND NOT EXISTS (SELECT FROM erasure x
                                          WHERE x.environment_id = l.environment_id
                                            AND x.organization_id = l.organization_id
                                            AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)
                          AS fits
                   FROM ledger l
                   WHERE "# + $key + r#" AND l.event_id > $2 AND l.event_id <= $3
                   ORDER BY "# + $order + r#" LIMIT $4
               ) s
               WHERE s.fits OR s.is_last
               LIMIT $16"#,
            $wanted.environment.as_str(),
            $wanted.after,
            $wanted.until,
            SCANNED_MAX,
            as_text(organization),
            as_text(product),
            operations as &[&str],
            as_text(actor),
            as_text(reference),
            from.map(text::time),
            to.map(text::time),
            &places,
            &values,
            path.as_deref(),
            groups.as_ref().is_none_or(|groups| groups.below),
            $wanted.most as i64,
        )
        .fetch_all($connection)
        .await?
    }};
    ($connection:ident, $wanted:ident, $key:expr) => {
        match $wanted.newest_first {
            false => scan!($connection, $wanted, $key, "l.event_id"),
            true => scan!($connection, $wanted, $key, "l.event_id DESC"),
        }
    };
}

/// Reads events: as many as are wanted, or as many as are among those that one statement may look
/// at.
///
/// # Errors
/// When the database does not answer.
pub async fn page(connection: &mut PgConnection, wanted: &Wanted<'_>) -> Result<Page, StoreError> {
    let filter = wanted.filter;
    let scanned = if filter.reference.is_some() {
        scan!(connection, wanted, "l.environment_id = $1 AND l.reference = $9")
    } else if filter.organization.is_some() && filter.product.is_some() {
        scan!(connection, wanted, "l.environment_id = $1 AND l.organization_id = $5 AND l.product_id = $6")
    } else {
        scan!(connection, wanted, "l.environment_id = $1")
    };
    let stopped = scanned.len() == wanted.most || scanned.last().is_some_and(|last| last.is_last);
    let reached = scanned.last().map(|last| last.event_id).filter(|_| stopped);
    let rows = scanned.into_iter().filter(|scanned| scanned.fits).map(Scanned::row).collect();
    Ok(Page { rows, reached })
}

/// Reads the events of all environments between two ids.
///
/// # Errors
/// When the database does not answer.
pub async fn all(
    connection: &mut PgConnection,
    after: i64,
    until: i64,
    most: i64,
) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT event_id, environment_id, organization_id, product_id, id, operation, dimensions, groups, source_groups,
                  quantity::text AS quantity, detail::text AS detail, configuration_version, version, received_at,
                  outcome::text AS "outcome!", reference, reason, actor
           FROM ledger l WHERE event_id > $1 AND event_id <= $2
             AND NOT EXISTS (SELECT FROM erasure x
                             WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                               AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)
           ORDER BY event_id LIMIT $3"#,
        after,
        until,
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Finds a stretch of the ledger, within the given one, that has all events of an environment of a time.
///
/// # Errors
/// When the database does not answer.
pub async fn stretch(
    connection: &mut PgConnection,
    environment: &str,
    (after, until): (i64, i64),
    filter: &Filter,
) -> Result<(i64, i64), StoreError> {
    let Timestamp(apart) = CLOCKS_APART_MAX;
    let first = match filter.from {
        Some(Timestamp(from)) => {
            first_since(connection, environment, (after, until), Timestamp(from - apart)).await?.0
        }
        None => after,
    };
    let last = match filter.to {
        Some(Timestamp(to)) => {
            first_since(connection, environment, (after, until), Timestamp(to + apart)).await?.1
        }
        None => until,
    };
    Ok((first, last.max(first)))
}

/// Halves a stretch of the ledger, as long as that is worth it, until all events up to its lower
/// end are from before a time, and all behind its upper end are not.
async fn first_since(
    connection: &mut PgConnection,
    environment: &str,
    (mut after, mut until): (i64, i64),
    time: Timestamp,
) -> Result<(i64, i64), StoreError> {
    while until - after > NEAR {
        let middle = after + (until - after) / 2;
        let found = sqlx::query!(
            "SELECT event_id, received_at FROM ledger
             WHERE environment_id = $1 AND event_id > $2 AND event_id <= $3
             ORDER BY event_id LIMIT 1",
            environment,
            middle,
            until,
        )
        .fetch_optional(&mut *connection)
        .await?;
        match found {
            Some(event) if text::timestamp(event.received_at) < time => after = event.event_id,
            _ => until = middle,
        }
    }
    Ok((after, until))
}
