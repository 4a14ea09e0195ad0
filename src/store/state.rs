//! Reading what is kept of products.

use hashbrown::HashMap;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::command::{ProductKey, Timestamp};
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::DimensionPath;
use crate::domain::formula::{MeasureName, Slot};
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::state::{Balance, Measures, Node, Reservation, ReservationId};

use super::{StoreError, text};

/// The columns of a list of products, as statements take them.
#[derive(Default)]
pub(super) struct Keys<'a> {
    pub(super) environments: Vec<&'a str>,
    pub(super) organizations: Vec<&'a str>,
    pub(super) products: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(keys: &'a [ProductKey]) -> Keys<'a> {
        let mut columns = Keys::default();
        keys.iter().for_each(|key| columns.push(key));
        columns
    }

    fn push(&mut self, key: &'a ProductKey) {
        self.environments.push(key.environment.as_str());
        self.organizations.push(key.organization.as_str());
        self.products.push(key.product.as_str());
    }
}

pub(super) fn columns<'a>(
    keys: impl Iterator<Item = (&'a ProductKey, &'a [Value])>,
) -> (Keys<'a>, Vec<String>) {
    let mut columns = Keys::default();
    let paths = keys
        .map(|(key, path)| {
            columns.push(key);
            text::array(path)
        })
        .collect();
    (columns, paths)
}

/// Reads stock nodes without their balances. Answers, in the same order, what is stored of each.
///
/// # Errors
/// When the database does not answer.
pub async fn nodes(
    connection: &mut PgConnection,
    wanted: &[(ProductKey, DimensionPath)],
) -> Result<Vec<Option<Node>>, StoreError> {
    let (keys, paths) = columns(wanted.iter().map(|(key, path)| (key, path.values())));
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!", n.version AS "version!", n.own::text[] AS "own!: Vec<String>",
                  n.total::text[] AS "total!: Vec<String>", n.set_at AS "set_at: Vec<Option<i64>>"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
                AS k (environment_id, organization_id, product_id, dimensions, place)
           JOIN seen_stock_node n ON n.environment_id = k.environment_id AND n.organization_id = k.organization_id
                AND n.product_id = k.product_id AND n.dimensions = k.dimensions::text[]"#,
        &keys.environments as &[&str],
        &keys.organizations as &[&str],
        &keys.products as &[&str],
        &paths,
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![None; wanted.len()];
    for row in rows {
        found[row.place as usize - 1] = Some(node(row.version, &row.own, &row.total, row.set_at)?);
    }
    Ok(found)
}

pub(super) fn node(
    version: i64,
    own: &[String],
    total: &[String],
    set_at: Option<Vec<Option<i64>>>,
) -> Result<Node, StoreError> {
    let measures = |texts: &[String]| -> Result<Measures, StoreError> {
        Ok(Measures::new(texts.iter().map(|text| text::quantity(text)).collect::<Result<_, _>>()?))
    };
    let times = set_at.unwrap_or_default().into_iter().enumerate();
    Ok(Node {
        version: version as u64,
        own: measures(own)?,
        total: measures(total)?,
        set_at: times.filter_map(|(slot, at)| Some((Slot(slot), Timestamp(at?)))).collect(),
        balances: Default::default(),
    })
}

/// Reads balances. Answers, in the same order, what is stored of each.
///
/// # Errors
/// When the database does not answer.
pub async fn balances(
    connection: &mut PgConnection,
    wanted: &[(ProductKey, DimensionPath, GroupPath)],
) -> Result<Vec<Option<Balance>>, StoreError> {
    let (keys, paths) = columns(wanted.iter().map(|(key, path, _)| (key, path.values())));
    let groups: Vec<String> = wanted.iter().map(|(_, _, groups)| text::array(groups.values())).collect();
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!", b.allocated::text AS "allocated!", b.consumed::text AS "consumed!",
                  b.cumulative_allocated::text AS "cumulative_allocated!",
                  b.cumulative_consumed::text AS "cumulative_consumed!"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
                AS k (environment_id, organization_id, product_id, dimensions, groups, place)
           JOIN seen_balance b ON b.environment_id = k.environment_id AND b.organization_id = k.organization_id
                AND b.product_id = k.product_id AND b.dimensions = k.dimensions::text[]
                AND b.groups = k.groups::text[]"#,
        &keys.environments as &[&str],
        &keys.organizations as &[&str],
        &keys.products as &[&str],
        &paths,
        &groups,
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![None; wanted.len()];
    for row in rows {
        let texts = [&row.allocated, &row.consumed, &row.cumulative_allocated, &row.cumulative_consumed];
        found[row.place as usize - 1] = Some(balance(texts)?);
    }
    Ok(found)
}

pub(super) fn balance(texts: [&String; 4]) -> Result<Balance, StoreError> {
    let [allocated, consumed, cumulative_allocated, cumulative_consumed] =
        texts.map(|text| text::quantity(text));
    Ok(Balance {
        allocated: allocated?,
        consumed: consumed?,
        cumulative_allocated: cumulative_allocated?,
        cumulative_consumed: cumulative_consumed?,
    })
}

/// Reads reservations, each under the configuration of its environment. Answers, in the same
/// order, what is stored of each.
///
/// # Errors
/// [`StoreError::Conflict`] when a reservation's measure is newer than the configuration; else
/// when the database does not answer.
pub async fn reservations(
    connection: &mut PgConnection,
    wanted: &[(ProductKey, ReservationId)],
    rules: &HashMap<&Value, &Configuration>,
) -> Result<Vec<Option<Reservation>>, StoreError> {
    let (keys, _) = columns(wanted.iter().map(|(key, _)| (key, &[][..])));
    let ids: Vec<Uuid> = wanted.iter().map(|(_, id)| id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!", r.dimensions, r.measure, r.quantity::text AS "quantity!",
                  r.remaining::text AS "remaining!"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) WITH ORDINALITY
                AS k (environment_id, organization_id, product_id, reservation_id, place)
           JOIN reservation r ON r.environment_id = k.environment_id AND r.organization_id = k.organization_id
                AND r.product_id = k.product_id AND r.reservation_id = k.reservation_id"#,
        &keys.environments as &[&str],
        &keys.organizations as &[&str],
        &keys.products as &[&str],
        &ids,
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![None; wanted.len()];
    for row in rows {
        let place = row.place as usize - 1;
        let configuration = rules.get(&wanted[place].0.environment).ok_or(StoreError::Conflict(""))?;
        found[place] = Some(Reservation {
            path: DimensionPath::new(text::values(&row.dimensions)),
            measure: slot(configuration, &row.measure)?,
            quantity: text::quantity(&row.quantity)?,
            remaining: text::quantity(&row.remaining)?,
        });
    }
    Ok(found)
}

/// The slot of a stored measure. A configuration older than the row may not know it: then
/// what was decided under it is out of date.
pub(super) fn slot(configuration: &Configuration, name: &str) -> Result<Slot, StoreError> {
    let name = MeasureName::parse(name).map_err(StoreError::Rejected)?;
    let index = configuration.slots().iter().position(|known| *known == name);
    index.map(Slot).ok_or(StoreError::Conflict(""))
}

/// One stock node with what has to be the case for a refusal at it to be true now.
pub struct Freshness {
    /// The node's version, 0 when it is not stored.
    pub version: u64,
    /// The version of the environment's configuration.
    pub configuration: i64,
}

/// Reads the versions that refusals were decided on, in the same order.
///
/// # Errors
/// When the database does not answer.
pub async fn freshness(
    connection: &mut PgConnection,
    wanted: &[(&ProductKey, &[Value])],
) -> Result<Vec<Freshness>, StoreError> {
    let (keys, paths) = columns(wanted.iter().copied());
    let rows = sqlx::query!(
        r#"SELECT coalesce(n.version, 0) AS "version!", coalesce(e.version, 0) AS "configuration!"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
                AS k (environment_id, organization_id, product_id, dimensions, place)
           LEFT JOIN environment e ON e.environment_id = k.environment_id
           LEFT JOIN seen_stock_node n ON n.environment_id = k.environment_id AND n.organization_id = k.organization_id
                AND n.product_id = k.product_id AND n.dimensions = k.dimensions::text[]
           ORDER BY k.place"#,
        &keys.environments as &[&str],
        &keys.organizations as &[&str],
        &keys.products as &[&str],
        &paths,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Freshness { version: row.version as u64, configuration: row.configuration })
        .collect())
}

/// Locks stock nodes until the transaction ends, in an order that all writers share.
///
/// # Errors
/// When the database does not answer.
pub async fn lock(
    connection: &mut PgConnection,
    wanted: &[(&ProductKey, &[Value])],
) -> Result<(), StoreError> {
    let (keys, paths) = columns(wanted.iter().copied());
    sqlx::query!(
        r#"SELECT n.version
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
                AS k (environment_id, organization_id, product_id, dimensions)
           JOIN seen_stock_node n ON n.environment_id = k.environment_id AND n.organization_id = k.organization_id
                AND n.product_id = k.product_id AND n.dimensions = k.dimensions::text[]
           ORDER BY n.environment_id, n.organization_id, n.product_id, n.dimensions
           FOR UPDATE OF n"#,
        &keys.environments as &[&str],
        &keys.organizations as &[&str],
        &keys.products as &[&str],
        &paths,
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}
