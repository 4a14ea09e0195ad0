//! Reading an environment whole, for verification.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::state::{Reservation, ReservationId, Stock};

use super::{StoreError, schedule, state, text};

/// Everything that is kept of an environment's products.
#[derive(Default)]
pub struct Whole {
    /// The products by their keys.
    pub products: HashMap<ProductKey, Stock>,
    /// The rows that cannot be read, and why: in words.
    pub unreadable: Vec<String>,
}

/// Reads everything that is kept of an environment's products.
///
/// # Errors
/// When the database does not answer.
pub async fn read(
    connection: &mut PgConnection,
    environment: &str,
    configuration: &Configuration,
) -> Result<Whole, StoreError> {
    let Whole { mut products, mut unreadable } = Whole::default();
    let key = |organization: &str, product: &str| ProductKey {
        environment: Value::stored(environment),
        organization: Value::stored(organization),
        product: Value::stored(product),
    };
    let nodes = sqlx::query!(
        r#"SELECT organization_id, product_id, dimensions, version, own::text[] AS "own!: Vec<String>",
                  total::text[] AS "total!: Vec<String>", set_at AS "set_at: Vec<Option<i64>>"
           FROM stock_node WHERE environment_id = $1"#,
        environment,
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in nodes {
        match state::node(row.version, &row.own, &row.total, row.set_at) {
            Ok(node) => {
                let stock = products.entry(key(&row.organization_id, &row.product_id)).or_default();
                stock.nodes.insert(DimensionPath::new(text::values(&row.dimensions)), node);
            }
            Err(error) => unreadable.push(format!(
                "the stock node {}/{} {:?} is not readable: {}",
                row.organization_id,
                row.product_id,
                row.dimensions,
                error.of_stored()
            )),
        }
    }
    let balances = sqlx::query!(
        r#"SELECT organization_id, product_id, dimensions, groups, allocated::text AS "allocated!",
                  consumed::text AS "consumed!", cumulative_allocated::text AS "cumulative_allocated!",
                  cumulative_consumed::text AS "cumulative_consumed!"
           FROM balance WHERE environment_id = $1"#,
        environment,
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in balances {
        let texts = [&row.allocated, &row.consumed, &row.cumulative_allocated, &row.cumulative_consumed];
        match state::balance(texts) {
            Ok(balance) => {
                let stock = products.entry(key(&row.organization_id, &row.product_id)).or_default();
                let node = stock.nodes.entry(DimensionPath::new(text::values(&row.dimensions))).or_default();
                node.balances.insert(GroupPath::stored(text::values(&row.groups)), balance);
            }
            Err(error) => unreadable.push(format!(
                "the balance {}/{} {:?} {:?} is not readable: {}",
                row.organization_id,
                row.product_id,
                row.dimensions,
                row.groups,
                error.of_stored()
            )),
        }
    }
    let reservations = sqlx::query!(
        r#"SELECT organization_id, product_id, reservation_id, dimensions, measure, quantity::text AS "quantity!",
                  remaining::text AS "remaining!"
           FROM reservation WHERE environment_id = $1"#,
        environment,
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in reservations {
        let reservation = || -> Result<Reservation, StoreError> {
            Ok(Reservation {
                path: DimensionPath::new(text::values(&row.dimensions)),
                measure: state::slot(configuration, &row.measure)?,
                quantity: text::quantity(&row.quantity)?,
                remaining: text::quantity(&row.remaining)?,
            })
        };
        match reservation() {
            Ok(reservation) => {
                let stock = products.entry(key(&row.organization_id, &row.product_id)).or_default();
                stock.reservations.insert(ReservationId(row.reservation_id), reservation);
            }
            Err(error) => unreadable.push(format!(
                "reservation {} is not readable: {}",
                row.reservation_id,
                error.of_stored()
            )),
        }
    }
    for (organization, product, path, stored) in schedule::whole(connection, environment).await? {
        match stored {
            Ok(schedule) => {
                let stock = products.entry(key(&organization, &product)).or_default();
                stock.schedules.insert(path, schedule);
            }
            Err(error) => unreadable.push(format!(
                "the schedule {organization}/{product} {:?} is not readable: {}",
                path.values(),
                error.of_stored()
            )),
        }
    }
    Ok(Whole { products, unreadable })
}

/// Finds what is kept of environments that there are not: each with a table and the count of its
/// rows there. Of whatever tables there are, so no statement that is known when this is built.
///
/// # Errors
/// When the database does not answer.
pub async fn orphans(connection: &mut PgConnection) -> Result<Vec<(String, String, i64)>, StoreError> {
    let tables = sqlx::query_scalar!(
        r#"SELECT table_name::text AS "table_name!"
           FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
           WHERE table_schema = current_schema() AND column_name = 'environment_id' AND table_type = 'BASE TABLE'
           ORDER BY 1"#,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut orphans = Vec::new();
    for table in tables {
        let count = format!(
            r#"SELECT kept.environment_id, count(*) FROM "{table}" kept
               LEFT JOIN environment ON environment.environment_id = kept.environment_id
               WHERE environment.environment_id IS NULL GROUP BY 1 ORDER BY 1"#
        );
        let rows: Vec<(String, i64)> =
            sqlx::query_as(AssertSqlSafe(count)).fetch_all(&mut *connection).await?;
        orphans.extend(rows.into_iter().map(|(environment, rows)| (environment, table.clone(), rows)));
    }
    Ok(orphans)
}
