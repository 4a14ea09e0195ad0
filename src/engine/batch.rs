//! Deciding a batch: commands folded over the books in order, one verdict for each
//! submission. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::domain::command::{Command, ProductKey, Timestamp};
use crate::domain::decide::{Outcome, apply, decide, why};
use crate::domain::dimensions::DimensionPath;
use crate::domain::explanation::Explanation;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::refusal::Refusal;
use crate::domain::state::ReservationId;
use crate::store::commit::Batch;
use crate::store::configuration::Versioned;
use crate::store::ledger::Event;

use super::books::Books;

#[cfg(test)]
mod tests;

/// The environment and id of an event.
pub(super) type EventName = (Value, Value);

/// The name of a command's event.
pub(super) fn name_of(command: &Command) -> EventName {
    (command.product.environment.clone(), command.id.clone())
}

/// The shallowest node of a command's chain: every event that could affect the command
/// changes its version.
pub(super) fn root<'a>(command: &'a Command, versioned: &Versioned) -> &'a [Value] {
    let required = versioned.configuration.dimensions().required();
    &command.path.values()[..*command.path.chain_lengths(required).start()]
}

/// Where the event of a granted command is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In this batch.
    New(usize),
    /// In this batch too: the command repeats another one of it.
    SameAs(usize),
    /// In the ledger.
    Known(Arc<Event>),
}

/// What is decided of one submission.
pub(super) enum Verdict {
    /// All its commands are granted, or were before.
    Granted(Vec<Place>),
    /// One of them is refused, and so all are.
    Refused {
        /// The first that is refused.
        index: usize,
        /// Why.
        refusal: Refusal,
        /// What the refusal rests on.
        ground: Ground,
        /// How it came about, where the command asks for it.
        explanation: Option<Box<Explanation>>,
    },
}

/// What a refusal rests on.
#[derive(Clone, Copy)]
pub(super) enum Ground {
    /// The ledger, in which an event stays until it is erased; the batch is guarded against that.
    Ledger,
    /// The books, once the rest of the batch is committed.
    Books,
    /// The books, with this version of the root: what was applied to them since is undone.
    Version(u64),
}

/// The commands granted, with all that they change.
#[derive(Default)]
pub(super) struct Granted<'a> {
    events: Vec<(&'a Arc<Command>, &'a Arc<Versioned>, Outcome)>,
    /// The paths of the commands; the chains of these are among the nodes.
    paths: HashSet<(&'a ProductKey, &'a DimensionPath)>,
    /// Every node of every chain, with the version that it had before. In order, so that
    /// two instances lock rows in the same order.
    nodes: BTreeMap<(&'a ProductKey, &'a [Value]), u64>,
    balances: BTreeSet<(&'a ProductKey, &'a DimensionPath, &'a GroupPath)>,
    reservations: BTreeMap<ReservationId, (&'a ProductKey, &'a Arc<Versioned>)>,
    schedules: BTreeSet<(&'a ProductKey, &'a DimensionPath)>,
    places: HashMap<EventName, usize>,
    /// The environments, and versions of their configurations, in which an event was known from
    /// memory: one that was erased since is not, and an erasure makes a new version.
    recalled: BTreeSet<(&'a Value, i64)>,
}

/// The part of a submission that is decided on.
pub(super) type Unit<'a> = (&'a [Arc<Command>], &'a Arc<Versioned>);

/// Decides submissions in order. What is granted is applied to the books.
pub(super) fn judge<'a>(
    books: &mut Books,
    known: &HashMap<EventName, Arc<Event>>,
    units: impl Iterator<Item = Unit<'a>>,
    received_at: Timestamp,
) -> (Vec<Verdict>, Granted<'a>) {
    let mut granted = Granted::default();
    let verdicts = units.map(|unit| granted.judge(books, known, unit, received_at)).collect();
    (verdicts, granted)
}

impl<'a> Granted<'a> {
    fn judge(
        &mut self,
        books: &mut Books,
        known: &HashMap<EventName, Arc<Event>>,
        (commands, versioned): Unit<'a>,
        received_at: Timestamp,
    ) -> Verdict {
        let mut places = Vec::with_capacity(commands.len());
        for (index, command) in commands.iter().enumerate() {
            match self.find(known, command, versioned).transpose() {
                Some(Ok(place)) => places.push(place),
                Some(Err(refusal)) => {
                    self.undo(books, commands);
                    return Verdict::Refused { index, refusal, ground: Ground::Ledger, explanation: None };
                }
                None => match self.grant(books, command, versioned, received_at) {
                    Ok(place) => places.push(place),
                    Err(refusal) => {
                        let ground = self.ground(commands, command, versioned, books);
                        let explanation =
                            why(books.stock(&command.product), &versioned.configuration, command);
                        self.undo(books, commands);
                        return Verdict::Refused { index, refusal, ground, explanation };
                    }
                },
            }
        }
        Verdict::Granted(places)
    }

    /// The event that the command repeats. The same id with another meaning is refused.
    fn find(
        &mut self,
        known: &HashMap<EventName, Arc<Event>>,
        command: &'a Command,
        versioned: &Versioned,
    ) -> Result<Option<Place>, Refusal> {
        let name = name_of(command);
        if let Some(event) = known.get(&name) {
            self.recalled.insert((&command.product.environment, versioned.version));
            check_same(command, &event.command)?;
            return Ok(Some(Place::Known(Arc::clone(event))));
        }
        let Some(&place) = self.places.get(&name) else { return Ok(None) };
        check_same(command, self.events[place].0)?;
        Ok(Some(Place::SameAs(place)))
    }

    fn grant(
        &mut self,
        books: &mut Books,
        command: &'a Arc<Command>,
        versioned: &'a Arc<Versioned>,
        received_at: Timestamp,
    ) -> Result<Place, Refusal> {
        let stock = books.stock(&command.product);
        let rules = &versioned.configuration;
        let effects = decide(stock, rules, command, received_at)?;
        if self.paths.insert((&command.product, &command.path)) {
            for node in command.path.chain(rules.dimensions().required()) {
                let version = stock.node(node).map_or(0, |node| node.version);
                self.nodes.entry((&command.product, node)).or_insert(version);
            }
        }
        for groups in command.operation.groups() {
            self.balances.insert((&command.product, &command.path, groups));
        }
        if effects.schedule.is_some() {
            self.schedules.insert((&command.product, &command.path));
        }
        let reservation = effects.reservation.as_ref().map(|&(id, _)| id);
        let outcome = apply(stock, rules, command, effects);
        if let Some(id) = reservation {
            self.reservations.insert(id, (&command.product, versioned));
            books.reserved(&command.product);
        }
        let place = self.events.len();
        self.places.insert(name_of(command), place);
        self.events.push((command, versioned, outcome));
        Ok(Place::New(place))
    }

    fn ground(
        &self,
        commands: &[Arc<Command>],
        command: &'a Command,
        versioned: &Versioned,
        books: &mut Books,
    ) -> Ground {
        if commands.len() == 1 {
            return Ground::Books;
        }
        let root = root(command, versioned);
        let held = books.stock(&command.product).node(root).map_or(0, |node| node.version);
        Ground::Version(self.nodes.get(&(&command.product, root)).copied().unwrap_or(held))
    }

    /// Commands that are done together or not at all are a batch of their own, so to undo
    /// them is to forget all that the batch did.
    fn undo(&mut self, books: &mut Books, commands: &[Arc<Command>]) {
        if commands.len() == 1 {
            return;
        }
        for command in commands {
            books.forget(&command.product);
        }
        *self = Granted { recalled: std::mem::take(&mut self.recalled), ..Granted::default() };
    }

    /// Every configuration that something was decided under. Around a change of it, commands
    /// made under the old one and under the new one may wait side by side: both are guarded
    /// then, so that the batch conflicts, and the old ones are sent back to be made again.
    fn configurations(&self) -> BTreeSet<(&'a Value, i64)> {
        let events = self.events.iter();
        let decided =
            events.map(|&(command, versioned, _)| (&command.product.environment, versioned.version));
        decided.chain(self.recalled.iter().copied()).collect()
    }

    /// The environments and versions that have to be current for what was known from memory.
    pub(super) fn recalled(&self) -> &BTreeSet<(&'a Value, i64)> {
        &self.recalled
    }

    /// What the granted commands add up to; `None` when there is nothing.
    pub(super) fn write_down(&self, books: &mut Books, received_at: Timestamp) -> Option<Batch> {
        if self.events.is_empty() {
            return None;
        }
        let mut batch = Batch::new(received_at);
        for (environment, version) in self.configurations() {
            batch.guard_configuration(environment, version);
        }
        for &(command, versioned, ref outcome) in &self.events {
            batch.event(command, versioned, outcome);
        }
        for (&(product, path), &expected) in &self.nodes {
            if let Some(node) = books.stock(product).node(path) {
                batch.node(product, path, expected, node);
            }
        }
        for &(product, path, groups) in &self.balances {
            batch.balance(product, path, groups, &books.stock(product).balance(path, groups));
        }
        for (&id, &(product, versioned)) in &self.reservations {
            if let Some(reservation) = books.stock(product).reservations.get(&id) {
                batch.reservation(product, id, reservation, &versioned.configuration);
            }
        }
        for &(product, path) in &self.schedules {
            let schedule = books.stock(product).schedules.get(path).cloned();
            batch.schedule(product, path, schedule.unwrap_or_default());
        }
        Some(batch)
    }

    /// The granted commands as events of the ledger, once they have their places in it.
    pub(super) fn into_events(self, event_ids: &[i64], received_at: Timestamp) -> Vec<Arc<Event>> {
        let events = self.events.into_iter().zip(event_ids);
        events
            .map(|((command, _, outcome), &event_id)| {
                Arc::new(Event { event_id, command: Arc::clone(command), received_at, outcome })
            })
            .collect()
    }
}

/// The same id with the same meaning is a repeat; with another, an error.
fn check_same(command: &Command, event: &Command) -> Result<(), Refusal> {
    if command.means_the_same_as(event) {
        return Ok(());
    }
    let difference = if command.product != event.product {
        "of another product"
    } else if command.path != event.path {
        "at other dimensions"
    } else if std::mem::discriminant(&command.operation) != std::mem::discriminant(&event.operation) {
        "of another kind"
    } else {
        "with other groups, quantities or measures"
    };
    Err(Refusal::IdReused { id: command.id.clone(), difference: difference.to_owned() })
}
