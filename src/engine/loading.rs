//! Reading what the books lack.

use sqlx::PgConnection;

use crate::store::{StoreError, state, switches};

use super::Submission;
use super::books::{Part, Wanted};
use super::writer::commands_of;

/// Reads what the books lack. Nodes first: what is read after a node is at least as new as
/// the node, so that the version of the root speaks for all of it.
pub(super) async fn load(
    connection: &mut PgConnection,
    open: &[Submission],
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
    let asked: Vec<_> = wanted.switches.into_iter().collect();
    if !asked.is_empty() {
        let found = switches::enabled(connection, &asked).await?;
        parts.extend(asked.into_iter().zip(found).map(|(key, is_enabled)| Part::Switch(key, is_enabled)));
    }
    for (id, key) in wanted.reservations {
        let Some((_, versioned)) = commands_of(open).find(|(command, _)| command.product == key) else {
            continue;
        };
        if let Some(reservation) = state::reservation(connection, &key, id, &versioned.configuration).await? {
            parts.push(Part::Reservation(key, id, reservation));
        }
    }
    Ok(parts)
}
