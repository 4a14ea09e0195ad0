//! What is kept of one product: stock nodes with their balances, and reservations.

use hashbrown::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::command::{Movements, Timestamp};
use super::configuration::{ALLOCATED, CONSUMED, CUMULATIVE_ALLOCATED, CUMULATIVE_CONSUMED, Configuration};
use super::dimensions::DimensionPath;
use super::formula::{Formula, Slot};
use super::groups::GroupPath;
use super::name::Value;
use super::quantity::Quantity;
use super::schedule::Schedule;

/// Quantities by slot; a measure that was never moved is 0.
#[derive(Clone, Debug, Default)]
pub struct Measures(Vec<Quantity>);

impl Measures {
    /// Takes quantities in the order of their slots.
    pub fn new(quantities: Vec<Quantity>) -> Measures {
        Measures(quantities)
    }

    /// The quantity of a measure.
    pub fn get(&self, slot: Slot) -> Quantity {
        self.0.get(slot.0).copied().unwrap_or_default()
    }

    /// The quantities in the order of their slots; those behind the last are 0.
    pub fn as_slice(&self) -> &[Quantity] {
        &self.0
    }

    pub(super) fn add(&mut self, slot: Slot, delta: Quantity) {
        if self.0.len() <= slot.0 {
            self.0.resize(slot.0 + 1, Quantity::ZERO);
        }
        self.0[slot.0] += delta;
    }
}

/// Trailing zeros mean nothing.
impl PartialEq for Measures {
    fn eq(&self, other: &Measures) -> bool {
        (0..self.0.len().max(other.0.len())).all(|slot| self.get(Slot(slot)) == other.get(Slot(slot)))
    }
}

/// What one group path holds at one stock node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// What can still be consumed.
    pub allocated: Quantity,
    /// What was consumed and not settled yet.
    pub consumed: Quantity,
    /// What was allocated in all, less what was given back.
    pub cumulative_allocated: Quantity,
    /// What was consumed in all.
    pub cumulative_consumed: Quantity,
}

impl Balance {
    /// Invariant 1 of the model.
    pub fn is_consistent(&self) -> bool {
        self.allocated == self.cumulative_allocated - self.cumulative_consumed
            && self.allocated >= Quantity::ZERO
            && self.consumed >= Quantity::ZERO
            && self.consumed <= self.cumulative_consumed
    }

    /// The balance as quantities of the measures that it is part of.
    pub fn measures(&self) -> [(Slot, Quantity); 4] {
        [
            (ALLOCATED, self.allocated),
            (CONSUMED, self.consumed),
            (CUMULATIVE_ALLOCATED, self.cumulative_allocated),
            (CUMULATIVE_CONSUMED, self.cumulative_consumed),
        ]
    }
}

/// A reservation's own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReservationId(pub Uuid);

impl ReservationId {
    /// Reads an id. To a client it is any text: one that is not like those that are made here is
    /// of no reservation.
    pub fn parse(text: &str) -> Option<ReservationId> {
        Uuid::parse_str(text).ok().map(ReservationId)
    }
}

/// Stock taken for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Where.
    pub path: DimensionPath,
    /// In which measure.
    pub measure: Slot,
    /// How much at first.
    pub quantity: Quantity,
    /// How much of it is not freed yet.
    pub remaining: Quantity,
}

/// The product at one dimension path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// How many events there were at and below this node; 0 when nothing ever was.
    pub version: u64,
    /// What was posted at exactly this path.
    pub own: Measures,
    /// The sum of `own` over this node and everything below it.
    pub total: Measures,
    /// When each measure was last set.
    pub set_at: Vec<(Slot, Timestamp)>,
    /// What the group paths hold here.
    pub balances: HashMap<GroupPath, Balance>,
}

/// One product of one organization: all that a command may touch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stock {
    /// The stock nodes by path.
    pub nodes: HashMap<DimensionPath, Node>,
    /// The reservations by id.
    pub reservations: HashMap<ReservationId, Reservation>,
    /// What is scheduled at the paths, as far as anything is.
    pub schedules: HashMap<DimensionPath, Schedule>,
    /// Whether the product is enabled for allocation; known only where the configuration asks.
    pub is_enabled: Option<bool>,
}

impl Stock {
    /// The node at a path.
    pub fn node(&self, path: &[Value]) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// A group path's balance at a node.
    pub fn balance(&self, path: &DimensionPath, groups: &GroupPath) -> Balance {
        self.nodes.get(path).and_then(|node| node.balances.get(groups)).copied().unwrap_or_default()
    }

    /// What may still be placed at a path: the least value of the formula on its chain. And
    /// the node that has it, the deepest when several do.
    pub fn available<'a>(
        &self,
        formula: &Formula,
        path: &'a DimensionPath,
        required: usize,
    ) -> (Quantity, &'a [Value]) {
        let value = |path: &'a [Value]| {
            let node = self.node(path);
            (formula.evaluate(|slot| node.map_or(Quantity::ZERO, |node| node.total.get(slot))), path)
        };
        let mut least = value(path.values());
        for node in path.chain(required).rev().skip(1) {
            let candidate = value(node);
            if candidate.0 < least.0 {
                least = candidate;
            }
        }
        least
    }

    pub(super) fn apply_movements(&mut self, path: &DimensionPath, required: usize, movements: &Movements) {
        for length in path.chain_lengths(required) {
            let node = match self.nodes.get_mut(&path.values()[..length]) {
                Some(node) => node,
                None => self.nodes.entry(DimensionPath::new(path.values()[..length].to_vec())).or_default(),
            };
            node.version += 1;
            for &(slot, delta) in movements {
                node.total.add(slot, delta);
                if length == path.values().len() {
                    node.own.add(slot, delta);
                }
            }
        }
    }

    /// The model's invariants 1 to 4, over a product that is held whole.
    ///
    /// # Errors
    /// Names the first thing that does not add up.
    pub fn check_invariants(&self, configuration: &Configuration) -> Result<(), String> {
        let required = configuration.dimensions().required();
        for (path, node) in &self.nodes {
            let place = configuration.dimensions().place(path.values());
            for (groups, balance) in &node.balances {
                if !balance.is_consistent() {
                    return Err(format!("balance of {groups:?} at {place} is inconsistent: {balance:?}"));
                }
            }
            let children: Vec<&Node> = self
                .nodes
                .iter()
                .filter(|(other, _)| {
                    path.values().len() >= required
                        && other.values().len() == path.values().len() + 1
                        && other.values().starts_with(path.values())
                })
                .map(|(_, child)| child)
                .collect();
            let slots = (0..configuration.slots().len()).map(Slot);
            for slot in slots {
                let below: Quantity = children.iter().map(|child| child.total.get(slot)).sum();
                if node.total.get(slot) != node.own.get(slot) + below {
                    return Err(format!(
                        "total of {} at {place} is {}, but own {} and below {below}",
                        configuration.measure_name(slot),
                        node.total.get(slot),
                        node.own.get(slot),
                    ));
                }
            }
            for slot in [ALLOCATED, CONSUMED, CUMULATIVE_ALLOCATED, CUMULATIVE_CONSUMED] {
                let balances = node.balances.values().flat_map(Balance::measures);
                let sum: Quantity =
                    balances.filter(|&(own, _)| own == slot).map(|(_, quantity)| quantity).sum();
                if node.own.get(slot) != sum {
                    return Err(format!(
                        "own {} at {place} is {}, but the balances there hold {sum}",
                        configuration.measure_name(slot),
                        node.own.get(slot),
                    ));
                }
            }
        }
        for (id, reservation) in &self.reservations {
            let held = reservation.remaining;
            if held < Quantity::ZERO
                || held > reservation.quantity
                || !self.nodes.contains_key(&reservation.path)
            {
                return Err(format!("reservation {} is inconsistent: {reservation:?}", id.0));
            }
        }
        Ok(())
    }
}

/// What a consume moves at its path.
pub(super) fn movements_of_consume(quantity: Quantity, modifiers: &Movements) -> Movements {
    let mut movements = vec![(ALLOCATED, -quantity), (CONSUMED, quantity), (CUMULATIVE_CONSUMED, quantity)];
    movements.extend(modifiers);
    movements
}
