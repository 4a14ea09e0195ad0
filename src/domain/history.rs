//! The history of events: which of them are asked for, and what an event did.
//!
//! An event keeps what was asked and what was answered. What it did is told by those two, so
//! nothing else is kept of it.

use std::collections::BTreeMap;

use super::command::{Command, Movements, Operation, Timestamp};
use super::configuration::{ALLOCATED, CONSUMED, CUMULATIVE_ALLOCATED, Configuration};
use super::decide::Outcome;
use super::name::Value;
use super::quantity::Quantity;
use super::state::{Balance, movements_of_consume};
use super::watch::Subject;

/// The operations by the names that the ledger has for them.
pub const OPERATIONS: [&str; 10] = [
    "allocate",
    "unallocate",
    "reallocate",
    "consume",
    "reserve",
    "give-back",
    "unreserve",
    "change-on-hand",
    "set-on-hand",
    "change-schedule",
];

/// Which events of an environment are asked for: those that everything given here fits.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The owner.
    pub organization: Option<Value>,
    /// The product.
    pub product: Option<Value>,
    /// Dimensions, by their places in the hierarchy, with the value that each must have.
    pub dimensions: Vec<(usize, Value)>,
    /// The group path; of a reallocation, either of the two.
    pub groups: Option<GroupFilter>,
    /// Some of [`OPERATIONS`]; all where there is none.
    pub operations: Vec<&'static str>,
    /// Who asked for it.
    pub actor: Option<Value>,
    /// What it belongs to.
    pub reference: Option<Value>,
    /// The first moment.
    pub from: Option<Timestamp>,
    /// The first moment that is too late.
    pub to: Option<Timestamp>,
}

/// A group path, and perhaps all below it.
#[derive(Clone, Debug)]
pub struct GroupFilter {
    /// The path.
    pub path: Vec<Value>,
    /// Whether all below it counts too.
    pub below: bool,
}

impl GroupFilter {
    fn admits(&self, path: &[Value]) -> bool {
        path.starts_with(&self.path) && (self.below || path.len() == self.path.len())
    }
}

impl Filter {
    /// Whether an event of the environment is asked for.
    pub fn admits(&self, command: &Command, received_at: Timestamp) -> bool {
        let fits = |wanted: &Option<Value>, own: Option<&Value>| {
            wanted.as_ref().is_none_or(|wanted| own == Some(wanted))
        };
        let note = command.note.as_deref();
        let path = command.path.values();
        // A value that is left out is empty.
        let at = |place: usize| path.get(place).map_or("", Value::as_str);
        fits(&self.organization, Some(&command.product.organization))
            && fits(&self.product, Some(&command.product.product))
            && fits(&self.actor, note.and_then(|note| note.actor.as_ref()))
            && fits(&self.reference, note.and_then(|note| note.reference.as_ref()))
            && (self.operations.is_empty() || self.operations.contains(&command.operation.name()))
            && self.dimensions.iter().all(|(place, value)| at(*place) == value.as_str())
            && self.from.is_none_or(|from| received_at >= from)
            && self.to.is_none_or(|to| received_at < to)
            && self
                .groups
                .as_ref()
                .is_none_or(|wanted| command.operation.groups().any(|groups| wanted.admits(groups.values())))
    }
}

impl Filter {
    /// Whether an alert of the environment is asked for: where it is asked for by what it is about, and
    /// not by what only events have.
    pub fn admits_alert(&self, subject: &Subject) -> bool {
        let at = |place: usize| subject.path.values().get(place).map_or("", Value::as_str);
        let of_groups = |wanted: &GroupFilter| {
            subject.groups.as_ref().is_some_and(|groups| wanted.admits(groups.values()))
        };
        self.organization.as_ref().is_none_or(|wanted| *wanted == subject.organization)
            && self.product.as_ref().is_none_or(|wanted| *wanted == subject.product)
            && self.dimensions.iter().all(|(place, value)| at(*place) == value.as_str())
            && self.groups.as_ref().is_none_or(of_groups)
            && self.operations.is_empty()
            && self.actor.is_none()
            && self.reference.is_none()
    }
}

/// Quantities by data source and measure.
pub type ByMeasure = BTreeMap<String, BTreeMap<String, Quantity>>;

/// What an event did.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// What moved at its path. Not known of sets, and of freed reservations, of a time when that was
    /// not kept.
    pub effects: Option<ByMeasure>,
    /// The balance of its group path before it.
    pub balance_before: Option<Balance>,
    /// The balance that a reallocation took from, before it.
    pub source_balance_before: Option<Balance>,
}

impl Account {
    /// The account of an event.
    pub fn of(command: &Command, outcome: &Outcome, configuration: &Configuration) -> Account {
        let (balance, source) = (outcome.balance, outcome.source_balance);
        let (balance_before, source_balance_before) = match &command.operation {
            Operation::Allocate { quantity, .. } => (ungiven(balance, *quantity), None),
            Operation::Unallocate { quantity, .. } => (ungiven(balance, -*quantity), None),
            Operation::Reallocate { quantity, .. } => {
                (ungiven(balance, *quantity), ungiven(source, -*quantity))
            }
            Operation::Consume { quantity, .. } => {
                let before = |after: Balance| Balance {
                    allocated: after.allocated + *quantity,
                    consumed: after.consumed - *quantity,
                    cumulative_consumed: after.cumulative_consumed - *quantity,
                    ..after
                };
                (balance.map(before), None)
            }
            Operation::ChangeOnHand { settlement: Some(settlement), .. } => {
                let before =
                    |after: Balance| Balance { consumed: after.consumed + settlement.quantity, ..after };
                (balance.map(before), None)
            }
            _ => (None, None),
        };
        let effects = match movements_of(&command.operation) {
            Some(movements) => Some(by_measure(configuration, &movements)),
            None => outcome.moved.as_ref().map(by_name),
        };
        Account { effects, balance_before, source_balance_before }
    }
}

/// A balance as it was before it was given so much.
fn ungiven(balance: Option<Balance>, quantity: Quantity) -> Option<Balance> {
    balance.map(|after| Balance {
        allocated: after.allocated - quantity,
        cumulative_allocated: after.cumulative_allocated - quantity,
        ..after
    })
}

/// What an operation moves at its path, where it says so itself.
fn movements_of(operation: &Operation) -> Option<Movements> {
    Some(match operation {
        Operation::Allocate { quantity, .. } => {
            vec![(ALLOCATED, *quantity), (CUMULATIVE_ALLOCATED, *quantity)]
        }
        Operation::Unallocate { quantity, .. } => {
            vec![(ALLOCATED, -*quantity), (CUMULATIVE_ALLOCATED, -*quantity)]
        }
        Operation::Consume { quantity, modifiers, .. } => movements_of_consume(*quantity, modifiers),
        Operation::Reserve { measure, quantity, .. } => vec![(*measure, *quantity)],
        Operation::GiveBack { measure, quantity } => vec![(*measure, -*quantity)],
        Operation::ChangeOnHand { changes, settlement } => {
            let settled = settlement.iter().map(|settlement| (CONSUMED, -settlement.quantity));
            changes.iter().copied().chain(settled).collect()
        }
        // From one group path to another, and on days to come: nothing moves at the path as a whole.
        Operation::Reallocate { .. } | Operation::ChangeSchedule { .. } => Movements::new(),
        Operation::Unreserve { .. } | Operation::SetOnHand { .. } => return None,
    })
}

/// Movements by data source and measure.
pub fn by_measure(configuration: &Configuration, movements: &Movements) -> ByMeasure {
    let mut quantities = ByMeasure::new();
    for &(slot, delta) in movements {
        let name = configuration.measure_name(slot);
        *quantities
            .entry(name.source.to_string())
            .or_default()
            .entry(name.measure.to_string())
            .or_default() += delta;
    }
    quantities
}

fn by_name(moved: &BTreeMap<String, Quantity>) -> ByMeasure {
    let mut quantities = ByMeasure::new();
    for (name, &delta) in moved {
        let (source, measure) = name.split_once('.').unwrap_or(("", name));
        quantities.entry(source.to_owned()).or_default().insert(measure.to_owned(), delta);
    }
    quantities
}
