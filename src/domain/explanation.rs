//! Why a command is decided as it is: the formula with its terms and values, the chain that was
//! walked, the node that limits; and where a balance, a reservation or neutrality decides, those.
//!
//! Everything is as the decision saw it, so before the command. Measures and dimensions go by their
//! names: an explanation is kept with the event, and is still to be read when those have changed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::{Command, Movements, Operation};
use super::configuration::Configuration;
use super::formula::{Formula, Slot};
use super::groups::GroupPath;
use super::name::Value;
use super::quantity::Quantity;
use super::refusal::Place;
use super::state::{Balance, ReservationId, Stock, movements_of_consume};

/// Why a command is decided as it is; all of it as it was before the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The rule that decides, in words.
    #[schema(value_type = String)]
    pub rule: Cow<'static, str>,
    /// The formula of what is available, as it is configured: what is added, then what is subtracted.
    pub formula: String,
    /// The nodes that the command counts at, the shallowest first.
    pub chain: Vec<ExplainedNode>,
    /// The least that the formula gives on the chain.
    pub available: Quantity,
    /// The node that has it; the deepest, where several have.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub limited_by: Place,
    /// The balance that decides, where one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(required = false)]
    pub balance: Option<ExplainedBalance>,
    /// What a consume does to the pool; only of a consume.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(required = false)]
    pub neutrality: Option<Neutrality>,
    /// What is reserved; only where something is freed or given back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(required = false)]
    pub reservation: Option<ExplainedReservation>,
}

/// A node of the chain with what the formula gives there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedNode {
    /// Which node.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub dimensions: Place,
    /// The formula's terms.
    pub terms: Vec<Term>,
    /// Their sum.
    pub available: Quantity,
}

/// One term of a formula.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FormulaTerm)]
pub struct Term {
    /// The measure, with its data source.
    pub measure: String,
    /// Its coefficient in the formula; 0 where the formula does not have it.
    pub coefficient: Quantity,
    /// The measure's total at the node; of a consume's neutrality, by how much the consume moves it.
    pub value: Quantity,
    /// The one times the other.
    pub amount: Quantity,
}

/// What a group path holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedBalance {
    /// Whose balance.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub groups: Place,
    /// What can still be consumed.
    pub allocated: Quantity,
    /// What was consumed and not settled yet.
    pub consumed: Quantity,
}

/// What a consume does to what is available to allocate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Neutrality {
    /// What the consume moves: an amount above 0 releases stock to the pool, one below 0 deducts it.
    pub terms: Vec<Term>,
    /// Their sum. A consume is neutral when it is 0.
    pub change: Quantity,
}

/// What is reserved before something is given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedReservation {
    /// The reservation, where one is named and known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, required = false)]
    pub reservation_id: Option<ReservationId>,
    /// How much it was at first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(required = false)]
    pub quantity: Option<Quantity>,
    /// How much of it remains.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(required = false)]
    pub remaining: Option<Quantity>,
    /// What the reservation measure holds at exactly these dimensions.
    pub held: Quantity,
}

/// Explains how a command is decided over a state that holds its whole chain.
pub fn explain(stock: &Stock, configuration: &Configuration, command: &Command) -> Explanation {
    let explained = Explained { stock, configuration, command };
    let formula = match command.operation {
        Operation::Reserve { measure, .. } => configuration.available_for_reservation(measure),
        _ => None,
    };
    let formula = formula.unwrap_or(configuration.available_to_allocate());
    let required = configuration.dimensions().required();
    let (available, limited_by) = stock.available(formula, &command.path, required);
    Explanation {
        rule: Cow::Borrowed(rule(&command.operation)),
        formula: configuration.shown(formula),
        chain: command.path.chain(required).map(|path| explained.node(formula, path)).collect(),
        available,
        limited_by: configuration.dimensions().place(limited_by),
        balance: explained.balance(),
        neutrality: explained.neutrality(),
        reservation: explained.reservation(),
    }
}

fn rule(operation: &Operation) -> &'static str {
    match operation {
        Operation::Allocate { .. } => {
            "an allocation is granted up to the least that the formula gives on the chain"
        }
        Operation::Unallocate { .. } => "a group path gives back at most what is allocated to it here",
        Operation::Reallocate { .. } => {
            "a reallocation takes at most what is allocated to its source here, and leaves the pool alone"
        }
        Operation::Consume { .. } => {
            "a group path consumes at most what is allocated to it here, and leaves the pool as it was"
        }
        Operation::Reserve { checked: true, .. } => {
            "a reservation is granted up to the least that the formula gives on the chain"
        }
        Operation::Reserve { checked: false, .. } => {
            "the check is switched off, so the reservation is granted whatever the formula gives"
        }
        Operation::GiveBack { .. } => "at most what the reservation measure holds here is given back",
        Operation::Unreserve { .. } => {
            "as much is freed as remains of the reservation, and as its measure still holds here"
        }
        Operation::ChangeOnHand { settlement: Some(_), .. } => {
            "at most what the group path consumed here is settled; what moved is never refused"
        }
        Operation::ChangeOnHand { settlement: None, .. } => "what moved is never refused for lack of stock",
        Operation::SetOnHand { .. } => "what there is is never refused, unless it was set later already",
        Operation::ChangeSchedule { .. } => "what is scheduled moves nothing yet, and is never refused",
    }
}

struct Explained<'a> {
    stock: &'a Stock,
    configuration: &'a Configuration,
    command: &'a Command,
}

impl Explained<'_> {
    fn node(&self, formula: &Formula, path: &[Value]) -> ExplainedNode {
        let node = self.stock.node(path);
        let total = |slot| node.map_or(Quantity::ZERO, |node| node.total.get(slot));
        let terms = formula.terms().iter().map(|&(slot, coefficient)| {
            let value = total(slot);
            self.term(slot, coefficient, value)
        });
        ExplainedNode {
            dimensions: self.configuration.dimensions().place(path),
            terms: terms.collect(),
            available: formula.evaluate(total),
        }
    }

    fn term(&self, slot: Slot, coefficient: Quantity, value: Quantity) -> Term {
        let measure = self.configuration.measure_name(slot).to_string();
        Term { measure, coefficient, value, amount: value.times(coefficient) }
    }

    fn balance(&self) -> Option<ExplainedBalance> {
        let groups: &GroupPath = match &self.command.operation {
            Operation::Unallocate { groups, .. } | Operation::Consume { groups, .. } => groups,
            Operation::Reallocate { source, .. } => source,
            Operation::ChangeOnHand { settlement, .. } => &settlement.as_ref()?.groups,
            _ => return None,
        };
        let Balance { allocated, consumed, .. } = self.stock.balance(&self.command.path, groups);
        let groups = self.configuration.groups().place(groups.values());
        Some(ExplainedBalance { groups, allocated, consumed })
    }

    fn neutrality(&self) -> Option<Neutrality> {
        let Operation::Consume { quantity, modifiers, .. } = &self.command.operation else { return None };
        let formula = self.configuration.available_to_allocate();
        let movements: Movements = movements_of_consume(*quantity, modifiers);
        let terms = movements.iter().map(|&(slot, delta)| self.term(slot, formula.coefficient(slot), delta));
        Some(Neutrality { terms: terms.collect(), change: formula.change(&movements) })
    }

    fn reservation(&self) -> Option<ExplainedReservation> {
        let own = |slot| {
            let node = self.stock.node(self.command.path.values());
            node.map_or(Quantity::ZERO, |node| node.own.get(slot))
        };
        match self.command.operation {
            Operation::GiveBack { measure, .. } => Some(ExplainedReservation {
                reservation_id: None,
                quantity: None,
                remaining: None,
                held: own(measure),
            }),
            Operation::Unreserve { reservation, .. } => {
                let found = self.stock.reservations.get(&reservation)?;
                Some(ExplainedReservation {
                    reservation_id: Some(reservation),
                    quantity: Some(found.quantity),
                    remaining: Some(found.remaining),
                    held: own(found.measure),
                })
            }
            _ => None,
        }
    }
}
