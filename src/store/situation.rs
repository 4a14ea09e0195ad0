//! What proposals are made of: a stock node's chain, its balances and what was done with them, all of
//! one moment.

use sqlx::{Connection, PgConnection};

use crate::domain::command::ProductKey;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::quantity::Quantity;
use crate::domain::state::{Balance, Stock};

use super::configuration::Versioned;
use super::{StoreError, query, state, switches};

/// A stock node as it is at one moment.
pub struct Situation {
    /// How many events there were at and below the shallowest node of its chain.
    pub version: u64,
    /// What may be allocated there.
    pub available: Quantity,
    /// Whether anything may be.
    pub may_allocate: bool,
    /// The balances there, in the order of their group paths.
    pub balances: Vec<(GroupPath, Balance)>,
}

/// Reads a stock node; `None` when the configuration is not the current one. `most` bounds the balances.
///
/// # Errors
/// When the database does not answer.
pub async fn read(
    connection: &mut PgConnection,
    key: &ProductKey,
    path: &DimensionPath,
    versioned: &Versioned,
    most: i64,
) -> Result<Option<Situation>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let configuration = &versioned.configuration;
    let required = configuration.dimensions().required();
    let found = query::balances(&mut transaction, key, path, &[], most).await?;
    let chain: Vec<_> =
        path.chain(required).map(|values| (key.clone(), DimensionPath::new(values.to_vec()))).collect();
    let nodes = state::nodes(&mut transaction, &chain).await?;
    let is_enabled = match configuration.requires_enabled_products() {
        true => switches::enabled(&mut transaction, std::slice::from_ref(key)).await? == [true],
        false => true,
    };
    transaction.rollback().await?;
    if found.configuration != Some(versioned.version) {
        return Ok(None);
    }
    let mut stock = Stock::default();
    for ((_, path), node) in chain.into_iter().zip(nodes) {
        stock.nodes.insert(path, node.unwrap_or_default());
    }
    let root = stock.node(&path.values()[..*path.chain_lengths(required).start()]);
    Ok(Some(Situation {
        version: root.map_or(0, |root| root.version),
        available: stock.available(configuration.available_to_allocate(), path, required).0,
        may_allocate: is_enabled,
        balances: found.balances,
    }))
}
