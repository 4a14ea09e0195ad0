//! What proposals are made of: a stock node's chain, its balances and what was done with them, all of
//! one moment.

use hashbrown::HashMap;
use sqlx::{Connection, PgConnection};

use crate::domain::analytics::Pace;
use crate::domain::command::{ProductKey, Timestamp};
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::proposal::Holding;
use crate::domain::quantity::Quantity;
use crate::domain::state::Stock;

use super::configuration::Versioned;
use super::{StoreError, analytics, query, state, switches};

/// A stock node as it is now.
pub struct Now {
    /// How many events there were at and below the shallowest node of its chain.
    pub version: u64,
    /// What may be allocated there.
    pub available: Quantity,
    /// Whether anything may be.
    pub may_allocate: bool,
    /// The balances there, in the order of their group paths, with what was done with them.
    pub holdings: Vec<Holding>,
    /// How long before now that was, in seconds.
    pub window_seconds: i64,
}

/// Reads a stock node; `None` when the configuration is not the current one. `most` bounds the balances.
/// What was done with them is as old as the follower is that counts it: a second, mostly.
///
/// # Errors
/// When the database does not answer.
pub async fn read(
    connection: &mut PgConnection,
    key: &ProductKey,
    path: &DimensionPath,
    versioned: &Versioned,
    (window_seconds, now): (i64, Timestamp),
    most: i64,
) -> Result<Option<Now>, StoreError> {
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
    // Each is a holding: where there are more, there are too many of those.
    let most_paces = most.try_into().unwrap_or(usize::MAX);
    let paces = analytics::paces(&mut transaction, key, path, (window_seconds, now), most_paces).await?;
    transaction.rollback().await?;
    if found.configuration != Some(versioned.version) {
        return Ok(None);
    }
    let mut stock = Stock::default();
    for ((_, path), node) in chain.into_iter().zip(nodes) {
        stock.nodes.insert(path, node.unwrap_or_default());
    }
    let root = stock.node(&path.values()[..*path.chain_lengths(required).start()]);
    let window_seconds = paces.first().map_or(window_seconds, |pace| pace.seconds);
    let mut done: HashMap<Vec<Value>, Pace> =
        paces.into_iter().map(|pace| (pace.groups.clone(), pace)).collect();
    let holdings = found.balances.into_iter().map(|(groups, balance)| {
        let pace = done.remove(groups.values());
        let (consumed, unmet) = pace.map(|pace| (pace.consumed, pace.unmet_quantity)).unwrap_or_default();
        Holding { groups, allocated: balance.allocated, consumed, unmet }
    });
    let mut holdings: Vec<Holding> = holdings.collect();
    // Who was refused may never have held anything.
    holdings.extend(done.into_values().map(|pace| Holding {
        groups: GroupPath::stored(pace.groups),
        allocated: Quantity::ZERO,
        consumed: pace.consumed,
        unmet: pace.unmet_quantity,
    }));
    Ok(Some(Now {
        version: root.map_or(0, |root| root.version),
        available: stock.available(configuration.available_to_allocate(), path, required).0,
        may_allocate: is_enabled,
        holdings,
        window_seconds,
    }))
}
