//! The rules: what a command does, or why it is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::command::{Command, Movements, Operation, Settlement, Timestamp};
use super::configuration::{ALLOCATED, CONSUMED, CUMULATIVE_ALLOCATED, Configuration};
use super::explanation::{Explanation, explain};
use super::formula::{Formula, Slot};
use super::groups::GroupPath;
use super::quantity::{InvalidQuantity, Quantity};
use super::refusal::{Refusal, Shortage};
use super::schedule::{Days, Schedule, day_of};
use super::state::{Balance, Measures, Reservation, ReservationId, Stock, movements_of_consume};

/// Everything that a granted command does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// What moves at the command's path, and so in every total on its chain.
    pub movements: Movements,
    /// The balance of the command's group path.
    pub balance: Option<(GroupPath, Balance)>,
    /// The balance of the group path that a reallocation takes from.
    pub source_balance: Option<(GroupPath, Balance)>,
    /// The reservation made or freed.
    pub reservation: Option<(ReservationId, Reservation)>,
    /// What an unreserve offered back beyond what remained.
    pub excess: Option<Quantity>,
    /// Measures that were set, and the time that holds for them.
    pub set_at: Vec<(Slot, Timestamp)>,
    /// All that is scheduled at the command's path after it.
    pub schedule: Option<Schedule>,
    /// Why, where the command asks for it.
    pub explanation: Option<Box<Explanation>>,
}

/// What a granted command answers, and answers again whenever it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// How many events there were at and below the shallowest node of the chain.
    pub version: u64,
    /// The balance of the command's group path after it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub balance: Option<Balance>,
    /// The balance that a reallocation left behind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_balance: Option<Balance>,
    /// What may still be allocated at the command's path.
    pub available_to_allocate: Quantity,
    /// The reservation made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reservation_id: Option<ReservationId>,
    /// What an unreserve offered back beyond what remained.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub excess: Option<Quantity>,
    /// Why, where the command asked for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub explanation: Option<Box<Explanation>>,
    /// What it moved, by measure, where the command does not tell: a set says what there is, and an
    /// unreserve does not name the measure. Not kept of the events of before this was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moved: Option<BTreeMap<String, Quantity>>,
}

/// Decides a command over a state that holds its whole chain. Changes nothing.
///
/// `received_at` is when the service took the command in; only a set of on-hand stock that
/// brings no time of its own goes by it, and what of a schedule has passed.
///
/// # Errors
/// Says why the command is refused.
pub fn decide(
    stock: &Stock,
    configuration: &Configuration,
    command: &Command,
    received_at: Timestamp,
) -> Result<Effects, Refusal> {
    let rules = Rules { stock, configuration, command };
    let mut effects = match &command.operation {
        Operation::Allocate { groups, quantity } => rules.allocate(groups, *quantity),
        Operation::Unallocate { groups, quantity } => rules.unallocate(groups, *quantity),
        Operation::Reallocate { source, target, quantity } => rules.reallocate(source, target, *quantity),
        Operation::Consume { groups, quantity, modifiers } => rules.consume(groups, *quantity, modifiers),
        Operation::Reserve { measure, quantity, checked } => rules.reserve(*measure, *quantity, *checked),
        Operation::GiveBack { measure, quantity } => rules.give_back(*measure, *quantity),
        Operation::Unreserve { reservation, quantity } => rules.unreserve(*reservation, *quantity),
        Operation::ChangeOnHand { changes, settlement } => rules.change_on_hand(changes, settlement.as_ref()),
        Operation::SetOnHand { values, modified_at } => {
            rules.set_on_hand(values, modified_at.unwrap_or(received_at))
        }
        Operation::ChangeSchedule { changes } => rules.change_schedule(changes, received_at),
    }?;
    rules.check_sums(&effects)?;
    effects.explanation = why(stock, configuration, command);
    Ok(effects)
}

/// Why a command is decided as it is over a state, where it asks for that.
pub fn why(stock: &Stock, configuration: &Configuration, command: &Command) -> Option<Box<Explanation>> {
    command.explain.then(|| Box::new(explain(stock, configuration, command)))
}

/// Applies what [`decide`] granted over the same state.
pub fn apply(
    stock: &mut Stock,
    configuration: &Configuration,
    command: &Command,
    effects: Effects,
) -> Outcome {
    let required = configuration.dimensions().required();
    let path = &command.path;
    stock.apply_movements(path, required, &effects.movements);
    let moved = matches!(command.operation, Operation::SetOnHand { .. } | Operation::Unreserve { .. });
    let named = |&(slot, delta): &(Slot, Quantity)| (configuration.measure_name(slot).to_string(), delta);
    let moved = moved.then(|| effects.movements.iter().map(named).collect());
    let balance = effects.balance.as_ref().map(|&(_, balance)| balance);
    let source_balance = effects.source_balance.as_ref().map(|&(_, balance)| balance);
    let reservation_id = match command.operation {
        Operation::Unreserve { .. } => None,
        _ => effects.reservation.as_ref().map(|&(id, _)| id),
    };
    if let Some(node) = stock.nodes.get_mut(path) {
        node.balances.extend(effects.balance);
        node.balances.extend(effects.source_balance);
        for (slot, time) in effects.set_at {
            match node.set_at.iter_mut().find(|(own, _)| *own == slot) {
                Some(entry) => entry.1 = time,
                None => node.set_at.push((slot, time)),
            }
        }
    }
    stock.reservations.extend(effects.reservation);
    stock.schedules.extend(effects.schedule.map(|schedule| (path.clone(), schedule)));
    Outcome {
        version: stock
            .node(&path.values()[..*path.chain_lengths(required).start()])
            .map_or(0, |node| node.version),
        balance,
        source_balance,
        available_to_allocate: stock.available(configuration.available_to_allocate(), path, required).0,
        reservation_id,
        excess: effects.excess,
        explanation: effects.explanation,
        moved,
    }
}

struct Rules<'a> {
    stock: &'a Stock,
    configuration: &'a Configuration,
    command: &'a Command,
}

impl Rules<'_> {
    fn allocate(&self, groups: &GroupPath, quantity: Quantity) -> Result<Effects, Refusal> {
        self.check_enabled()?;
        self.check_available(self.configuration.available_to_allocate(), quantity)
            .map_err(Refusal::InsufficientAvailableToAllocate)?;
        Ok(Effects {
            movements: vec![(ALLOCATED, quantity), (CUMULATIVE_ALLOCATED, quantity)],
            balance: Some((groups.clone(), self.given(groups, quantity))),
            ..Effects::default()
        })
    }

    /// Only what leaves the pool is held up: what is allocated already can be moved, given back
    /// and consumed.
    fn check_enabled(&self) -> Result<(), Refusal> {
        if !self.configuration.requires_enabled_products() || self.stock.is_enabled == Some(true) {
            return Ok(());
        }
        let product = &self.command.product;
        Err(Refusal::ProductNotEnabled {
            organization: product.organization.clone(),
            product: product.product.clone(),
        })
    }

    fn unallocate(&self, groups: &GroupPath, quantity: Quantity) -> Result<Effects, Refusal> {
        self.check_allocated(groups, quantity)?;
        Ok(Effects {
            movements: vec![(ALLOCATED, -quantity), (CUMULATIVE_ALLOCATED, -quantity)],
            balance: Some((groups.clone(), self.given(groups, -quantity))),
            ..Effects::default()
        })
    }

    fn reallocate(
        &self,
        source: &GroupPath,
        target: &GroupPath,
        quantity: Quantity,
    ) -> Result<Effects, Refusal> {
        self.check_allocated(source, quantity)?;
        Ok(Effects {
            balance: Some((target.clone(), self.given(target, quantity))),
            source_balance: Some((source.clone(), self.given(source, -quantity))),
            ..Effects::default()
        })
    }

    fn consume(
        &self,
        groups: &GroupPath,
        quantity: Quantity,
        modifiers: &Movements,
    ) -> Result<Effects, Refusal> {
        self.check_modifiers(quantity, modifiers)?;
        let mut balance = self.check_allocated(groups, quantity)?;
        balance.allocated += -quantity;
        balance.consumed += quantity;
        balance.cumulative_consumed += quantity;
        let reserved = modifiers
            .iter()
            .find(|&&(slot, delta)| delta > Quantity::ZERO && self.configuration.is_for_reservation(slot));
        Ok(Effects {
            movements: movements_of_consume(quantity, modifiers),
            balance: Some((groups.clone(), balance)),
            reservation: reserved.map(|&(measure, _)| self.new_reservation(measure, quantity)),
            ..Effects::default()
        })
    }

    /// A consume must leave the measures alone that only on-hand changes may move, and the
    /// pool as it was: the stock left it when it was allocated.
    fn check_modifiers(&self, quantity: Quantity, modifiers: &Movements) -> Result<(), Refusal> {
        let rules = self.configuration;
        if let Some(&(slot, _)) = modifiers.iter().find(|&&(slot, _)| rules.is_read_only(slot)) {
            return Err(Refusal::ReadOnlyDataSource { measure: rules.measure_name(slot).to_string() });
        }
        let change = rules.available_to_allocate().change(&movements_of_consume(quantity, modifiers));
        if change.is_zero() || rules.allows_pool_changing_consumption() {
            return Ok(());
        }
        Err(Refusal::ConsumptionNotNeutral { change })
    }

    fn reserve(&self, measure: Slot, quantity: Quantity, checked: bool) -> Result<Effects, Refusal> {
        if checked && let Some(formula) = self.configuration.available_for_reservation(measure) {
            self.check_available(formula, quantity).map_err(Refusal::InsufficientAvailableToReserve)?;
        }
        Ok(Effects {
            movements: vec![(measure, quantity)],
            reservation: Some(self.new_reservation(measure, quantity)),
            ..Effects::default()
        })
    }

    fn give_back(&self, measure: Slot, quantity: Quantity) -> Result<Effects, Refusal> {
        let available = self.own(measure);
        if quantity > available {
            return Err(Refusal::NothingReserved { requested: quantity, available });
        }
        Ok(Effects { movements: vec![(measure, -quantity)], ..Effects::default() })
    }

    /// What was given back without naming a reservation may have been any one's, so a
    /// reservation frees at most what its measure still holds here: stock that is not reserved
    /// any more is not given back again, and the measure never goes below zero. What is asked
    /// for counts off what remains either way: its owner does not hold it any more.
    fn unreserve(&self, id: ReservationId, quantity: Quantity) -> Result<Effects, Refusal> {
        let reservation = self
            .stock
            .reservations
            .get(&id)
            .filter(|reservation| reservation.path == self.command.path)
            .ok_or_else(|| Refusal::UnknownReservation(id.0.to_string()))?;
        let returned = quantity.min(reservation.remaining);
        let freed = returned.min(self.own(reservation.measure).max(Quantity::ZERO));
        let remaining = reservation.remaining - returned;
        Ok(Effects {
            movements: vec![(reservation.measure, -freed)],
            reservation: Some((id, Reservation { remaining, ..reservation.clone() })),
            excess: Some(quantity - freed).filter(|excess| !excess.is_zero()),
            ..Effects::default()
        })
    }

    fn change_on_hand(
        &self,
        changes: &Movements,
        settlement: Option<&Settlement>,
    ) -> Result<Effects, Refusal> {
        let mut effects = Effects { movements: changes.clone(), ..Effects::default() };
        if let Some(Settlement { groups, quantity }) = settlement {
            let mut balance = self.stock.balance(&self.command.path, groups);
            if *quantity > balance.consumed {
                return Err(self.insufficient(
                    groups,
                    *quantity,
                    balance.consumed,
                    "consumed and not settled by",
                ));
            }
            balance.consumed += -*quantity;
            effects.movements.push((CONSUMED, -*quantity));
            effects.balance = Some((groups.clone(), balance));
        }
        Ok(effects)
    }

    fn set_on_hand(&self, values: &Movements, at: Timestamp) -> Result<Effects, Refusal> {
        let node = self.stock.nodes.get(&self.command.path);
        let last_set = |slot: Slot| {
            node.and_then(|node| node.set_at.iter().find(|&&(own, _)| own == slot)).map(|&(_, time)| time)
        };
        if let Some(&(slot, _)) =
            values.iter().find(|&&(slot, _)| last_set(slot).is_some_and(|last| last > at))
        {
            return Err(Refusal::OutdatedSet { measure: self.configuration.measure_name(slot).to_string() });
        }
        Ok(Effects {
            movements: values.iter().map(|&(slot, value)| (slot, value - self.own(slot))).collect(),
            set_at: values.iter().map(|&(slot, _)| (slot, at)).collect(),
            ..Effects::default()
        })
    }

    /// The movements are none: nothing has moved yet. What has passed counts no more, so that it
    /// goes here keeps a schedule as short as its period.
    fn change_schedule(&self, changes: &Days, received_at: Timestamp) -> Result<Effects, Refusal> {
        let mut schedule = self.stock.schedules.get(&self.command.path).cloned().unwrap_or_default();
        schedule.forget_before(day_of(received_at));
        for &(day, ref movements) in changes {
            for &(slot, delta) in movements {
                if !schedule.add(day, slot, delta) {
                    return Err(Refusal::InvalidQuantity {
                        pointer: format!("/quantitiesByDate/{day}"),
                        text: delta.to_string(),
                        reason: InvalidQuantity::SumTooLarge,
                    });
                }
            }
        }
        Ok(Effects { schedule: Some(schedule), ..Effects::default() })
    }

    fn own(&self, slot: Slot) -> Quantity {
        self.stock.nodes.get(&self.command.path).map_or(Quantity::ZERO, |node| node.own.get(slot))
    }

    fn check_available(&self, formula: &Formula, requested: Quantity) -> Result<(), Shortage> {
        let required = self.configuration.dimensions().required();
        let (available, node) = self.stock.available(formula, &self.command.path, required);
        if requested <= available {
            return Ok(());
        }
        Err(Shortage { requested, available, limited_by: self.configuration.dimensions().place(node) })
    }

    fn check_allocated(&self, groups: &GroupPath, requested: Quantity) -> Result<Balance, Refusal> {
        let balance = self.stock.balance(&self.command.path, groups);
        if requested <= balance.allocated {
            return Ok(balance);
        }
        Err(self.insufficient(groups, requested, balance.allocated, "allocated to"))
    }

    fn insufficient(
        &self,
        groups: &GroupPath,
        requested: Quantity,
        available: Quantity,
        what: &'static str,
    ) -> Refusal {
        let groups = self.configuration.groups().place(groups.values());
        Refusal::InsufficientAllocation { requested, available, what, groups }
    }

    /// A group path's balance after it was given so much; less than 0 takes it away.
    fn given(&self, groups: &GroupPath, quantity: Quantity) -> Balance {
        let mut balance = self.stock.balance(&self.command.path, groups);
        balance.allocated += quantity;
        balance.cumulative_allocated += quantity;
        balance
    }

    fn new_reservation(&self, measure: Slot, quantity: Quantity) -> (ReservationId, Reservation) {
        let reservation =
            Reservation { path: self.command.path.clone(), measure, quantity, remaining: quantity };
        (self.reservation_id(), reservation)
    }

    /// Made from the event's own name, so that a repeat or a replay gives the same.
    fn reservation_id(&self) -> ReservationId {
        let name = format!("{}\0{}", self.command.product.environment, self.command.id);
        ReservationId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }

    /// A sum that could not be kept exactly is an error, never a wrap.
    fn check_sums(&self, effects: &Effects) -> Result<(), Refusal> {
        let too_large = |quantity: Quantity| Refusal::InvalidQuantity {
            pointer: match self.command.operation {
                Operation::ChangeOnHand { .. } | Operation::SetOnHand { .. } => "/quantities".to_owned(),
                _ => "/quantity".to_owned(),
            },
            text: quantity.to_string(),
            reason: InvalidQuantity::SumTooLarge,
        };
        let unfit = |quantities: &Measures| {
            effects.movements.iter().find(|&&(slot, delta)| !quantities.get(slot).can_add(delta))
        };
        let required = self.configuration.dimensions().required();
        let chain = self.command.path.chain(required).filter_map(|path| self.stock.node(path));
        let own = self.stock.node(self.command.path.values()).map(|node| &node.own);
        match chain.map(|node| &node.total).chain(own).find_map(unfit) {
            Some(&(_, delta)) => Err(too_large(delta)),
            None => Ok(()),
        }
    }
}
