//! Reading what the books lack.

use std::sync::Arc;

use hashbrown::HashMap;
use sqlx::PgConnection;

use crate::domain::command::Command;
use crate::domain::configuration::Configuration;
use crate::domain::name::Value;
use crate::store::configuration::Versioned;
use crate::store::{StoreError, schedule, state, switches};

use super::books::{Part, Wanted};

/// Reads what the books lack. Nodes first: what is read after a node is at least as new as
/// the node, so that the version of the root speaks for all of it.
pub(super) async fn load<'a>(
    connection: &mut PgConnection,
    commands: impl Iterator<Item = (&'a Command, &'a Arc<Versioned>)>,
    wanted: Wanted,
) -> Result<Vec<Part>, StoreError> {
    let mut parts = Vec::new();
    let nodes: Vec<_> = wanted.nodes.into_iter().collect();
    if !nodes.is_empty() {
        let found = state::nodes(connection, &nodes).await?;
        parts.extend(nodes.into_iter().zip(found).map(|((key, path), node)| Part::Node(key, path, node)));
    }
    let balances: Vec<_> = wanted.balances.into_iter().collect();
    if !balances.is_empty() {
        let found = state::balances(connection, &balances).await?;
        let found = balances.into_iter().zip(found);
        parts.extend(found.map(|((key, path, groups), balance)| Part::Balance(key, path, groups, balance)));
    }
    if !wanted.reservations.is_empty() {
        let rules: HashMap<&Value, &Configuration> = commands
            .map(|(command, versioned)| (&command.product.environment, &versioned.configuration))
            .collect();
        let reservations: Vec<_> = wanted.reservations.into_iter().collect();
        let found = state::reservations(connection, &reservations, &rules).await?;
        let found = reservations.into_iter().zip(found);
        parts.extend(found.filter_map(|((key, id), found)| Some(Part::Reservation(key, id, found?))));
    }
    let schedules: Vec<_> = wanted.schedules.into_iter().collect();
    if !schedules.is_empty() {
        let found = schedule::schedules(connection, &schedules).await?;
        let found = schedules.into_iter().zip(found);
        parts.extend(found.map(|((key, path), schedule)| Part::Schedule(key, path, schedule)));
    }
    let asked: Vec<_> = wanted.switches.into_iter().collect();
    if !asked.is_empty() {
        let found = switches::enabled(connection, &asked).await?;
        parts.extend(asked.into_iter().zip(found).map(|(key, is_enabled)| Part::Switch(key, is_enabled)));
    }
    Ok(parts)
}
