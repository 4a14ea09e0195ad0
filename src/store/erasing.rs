//! Erasing products: their stock, balances, reservations and events, so that their ids can be
//! used again.
//!
//! One short transaction makes the products empty, for all instances at once: it makes a new
//! version of the environment's configuration, which every batch is guarded by, and whoever
//! meets a new version forgets what it held in memory. A node that begins again at version 1
//! can so never be taken for the old one, nor an event in memory for one in the ledger. The
//! events, which may be millions, count as gone from then on and are deleted in pieces.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::domain::name::Value;

use super::{StoreError, configuration, follow};

/// Longest wait for a batch that may itself wait for what is locked already: who erases gives
/// way, long before PostgreSQL would look for a deadlock.
const LOCK_MAX: Duration = Duration::from_millis(200);
/// Events that one statement goes through.
const PIECE_EVENTS: i64 = 5_000;

/// What a client may erase at once: the stock of one product of one organization.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// The owner.
    pub organization: Value,
    /// The product.
    pub product: Value,
}

/// How many rows were erased.
#[derive(Clone, Copy, Debug, Default)]
pub struct Erased {
    /// Stock nodes.
    pub stock_nodes: u64,
    /// Balances.
    pub balances: u64,
    /// Reservations.
    pub reservations: u64,
}

/// What is locked first. A batch that is tried without a lock takes the environment's row and
/// then the nodes, one that waits for its turn the nodes and then the row. Whoever locks in the
/// same order only waits; against the other kind it may have to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The environment's row.
    EnvironmentFirst,
    /// The stock nodes.
    NodesFirst,
}

/// Makes products empty, all in one moment. Those that nothing is kept of do no harm.
///
/// # Errors
/// [`StoreError::Conflict`] where a batch was in the way: nothing was done then.
pub async fn empty(
    connection: &mut PgConnection,
    environment: &str,
    partitions: &[Partition],
    order: Order,
) -> Result<Erased, StoreError> {
    let organizations: Vec<&str> =
        partitions.iter().map(|partition| partition.organization.as_str()).collect();
    let products: Vec<&str> = partitions.iter().map(|partition| partition.product.as_str()).collect();
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    // First, while nobody waits for this transaction: who follows may be in the middle of a chunk
    // with events of these products, and would write down what is to be gone.
    follow::hold_up(&mut transaction).await?;
    let mut version = None;
    match order {
        Order::EnvironmentFirst => version = configuration::lock(&mut transaction, environment).await?,
        Order::NodesFirst => {
            sqlx::query!(
                "SELECT s.version FROM stock_node s
                 JOIN unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
                   ON s.organization_id = p.organization_id AND s.product_id = p.product_id
                 WHERE s.environment_id = $1
                 ORDER BY s.environment_id, s.organization_id, s.product_id, s.dimensions
                 FOR UPDATE OF s",
                environment,
                &organizations as &[&str],
                &products as &[&str],
            )
            .fetch_all(&mut *transaction)
            .await?;
        }
    }
    let patience = format!("{}ms", LOCK_MAX.as_millis());
    sqlx::query_scalar!("SELECT set_config('lock_timeout', $1, true)", patience)
        .fetch_one(&mut *transaction)
        .await?;
    if order == Order::NodesFirst {
        version = configuration::lock(&mut transaction, environment).await?;
    }
    let Some(version) = version else { return Ok(Erased::default()) };
    let stock_nodes = sqlx::query!(
        "DELETE FROM stock_node s USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
         WHERE s.environment_id = $1 AND s.organization_id = p.organization_id AND s.product_id = p.product_id",
        environment,
        &organizations as &[&str],
        &products as &[&str],
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if stock_nodes == 0 {
        // Every event leaves a node, so there is nothing else.
        transaction.rollback().await?;
        return Ok(Erased::default());
    }
    let balances = sqlx::query!(
        "DELETE FROM balance b USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
         WHERE b.environment_id = $1 AND b.organization_id = p.organization_id AND b.product_id = p.product_id",
        environment,
        &organizations as &[&str],
        &products as &[&str],
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    let reservations = sqlx::query!(
        "DELETE FROM reservation r USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
         WHERE r.environment_id = $1 AND r.organization_id = p.organization_id AND r.product_id = p.product_id",
        environment,
        &organizations as &[&str],
        &products as &[&str],
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    sqlx::query!(
        "DELETE FROM schedule s USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
         WHERE s.environment_id = $1 AND s.organization_id = p.organization_id AND s.product_id = p.product_id",
        environment,
        &organizations as &[&str],
        &products as &[&str],
    )
    .execute(&mut *transaction)
    .await?;
    super::alerts::erase(&mut transaction, environment, &organizations, &products).await?;
    forget_past(&mut transaction, environment, (&organizations, &products)).await?;
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM activity_place a USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
             WHERE a.environment_id = $1 AND a.organization_id = p.organization_id AND a.product_id = p.product_id
             RETURNING a.place_id
         ), demanded AS (
             DELETE FROM unmet_demand u USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
             WHERE u.environment_id = $1 AND u.organization_id = p.organization_id AND u.product_id = p.product_id
         ), marked AS (
             DELETE FROM unmet_taken u USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
             WHERE u.environment_id = $1 AND u.organization_id = p.organization_id AND u.product_id = p.product_id
         )
         DELETE FROM activity a USING gone WHERE a.place_id = gone.place_id",
        environment,
        &organizations as &[&str],
        &products as &[&str],
    )
    .execute(&mut *transaction)
    .await?;
    // No batch of the environment is under way, so all events of the products are there.
    sqlx::query!(
        "INSERT INTO erasure AS e (environment_id, organization_id, product_id, until_event_id, reached)
         SELECT $1, p.organization_id, p.product_id, (SELECT max(l.event_id) FROM ledger l), ''
         FROM unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
         ON CONFLICT (environment_id, organization_id, product_id) DO UPDATE
         SET until_event_id = excluded.until_event_id, reached = ''",
        environment,
        &organizations as &[&str],
        &products as &[&str],
    )
    .execute(&mut *transaction)
    .await?;
    configuration::renew(&mut transaction, environment, version).await?;
    transaction.commit().await?;
    Ok(Erased { stock_nodes, balances, reservations })
}

/// Deletes the snapshots of products. Whoever takes some is held up meanwhile.
async fn forget_past(
    connection: &mut PgConnection,
    environment: &str,
    (organizations, products): (&[&str], &[&str]),
) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM snapshot s USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
         WHERE s.environment_id = $1 AND s.organization_id = p.organization_id AND s.product_id = p.product_id",
        environment,
        organizations as &[&str],
        products as &[&str],
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM snapshot_due s USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
         WHERE s.environment_id = $1 AND s.organization_id = p.organization_id AND s.product_id = p.product_id",
        environment,
        organizations as &[&str],
        products as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the next piece of an environment's events of erased products. Answers how many, and
/// `None` when none are left.
///
/// # Errors
/// When the database does not answer.
pub async fn delete_events(
    connection: &mut PgConnection,
    environment: &str,
) -> Result<Option<u64>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    // Who has the rows deletes; another instance waits for its turn.
    let open = sqlx::query!(
        "SELECT organization_id, product_id, reached FROM erasure WHERE environment_id = $1
         ORDER BY organization_id, product_id FOR UPDATE",
        environment,
    )
    .fetch_all(&mut *transaction)
    .await?;
    let Some(from) = open.iter().map(|row| row.reached.as_str()).min() else { return Ok(None) };
    // What is erased from now on has its own way through the events to go.
    let (organizations, products): (Vec<&str>, Vec<&str>) =
        open.iter().map(|row| (row.organization_id.as_str(), row.product_id.as_str())).unzip();
    let piece = sqlx::query!(
        r#"WITH piece AS (
               SELECT l.event_id, l.id FROM ledger l
               WHERE l.environment_id = $1 AND l.id > $2 ORDER BY l.id LIMIT $3
           )
           SELECT (SELECT max(id) FROM piece) AS reached, delete_erased($1, ARRAY(SELECT event_id FROM piece)) AS "deleted!""#,
        environment,
        from,
        PIECE_EVENTS,
    )
    .fetch_one(&mut *transaction)
    .await?;
    match &piece.reached {
        Some(reached) => {
            sqlx::query!(
                "UPDATE erasure x SET reached = $2
                 FROM unnest($3::text[], $4::text[]) AS p (organization_id, product_id)
                 WHERE x.environment_id = $1 AND x.organization_id = p.organization_id
                   AND x.product_id = p.product_id AND x.reached < $2",
                environment,
                reached,
                &organizations as &[&str],
                &products as &[&str],
            )
            .execute(&mut *transaction)
            .await?;
        }
        None => {
            sqlx::query!(
                "DELETE FROM erasure x USING unnest($2::text[], $3::text[]) AS p (organization_id, product_id)
                 WHERE x.environment_id = $1 AND x.organization_id = p.organization_id
                   AND x.product_id = p.product_id",
                environment,
                &organizations as &[&str],
                &products as &[&str],
            )
            .execute(&mut *transaction)
            .await?;
        }
    }
    transaction.commit().await?;
    Ok(Some(piece.deleted as u64))
}

/// Reads the partitions of an environment in the order of their keys: `most` of those behind an
/// organization and a product. Those whose events are still being deleted are among them.
///
/// # Errors
/// When the database does not answer.
pub async fn partitions(
    connection: &mut PgConnection,
    environment: &str,
    (organization, product): (&str, &str),
    most: i64,
) -> Result<Vec<Partition>, StoreError> {
    let rows = sqlx::query!(
        r#"WITH RECURSIVE kept (organization_id, product_id) AS (
               (SELECT s.organization_id, s.product_id FROM stock_node s
                WHERE s.environment_id = $1 AND (s.organization_id, s.product_id) > ($2, $3)
                ORDER BY s.organization_id, s.product_id LIMIT 1)
               UNION ALL
               SELECT n.organization_id, n.product_id FROM kept k CROSS JOIN LATERAL (
                   SELECT s.organization_id, s.product_id FROM stock_node s
                   WHERE s.environment_id = $1
                     AND (s.organization_id, s.product_id) > (k.organization_id, k.product_id)
                   ORDER BY s.organization_id, s.product_id LIMIT 1) n
           ), first AS (
               SELECT organization_id, product_id FROM kept LIMIT $4
           )
           SELECT organization_id AS "organization_id!", product_id AS "product_id!" FROM first
           UNION
           SELECT x.organization_id, x.product_id FROM erasure x
           WHERE x.environment_id = $1 AND (x.organization_id, x.product_id) > ($2, $3)
           ORDER BY 1, 2
           LIMIT $4"#,
        environment,
        organization,
        product,
        most,
    )
    .fetch_all(connection)
    .await?;
    let partition = |organization: &str, product: &str| Partition {
        organization: Value::stored(organization),
        product: Value::stored(product),
    };
    Ok(rows.into_iter().map(|row| partition(&row.organization_id, &row.product_id)).collect())
}
