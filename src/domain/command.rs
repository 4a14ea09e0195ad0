//! What was asked, validated: a [`Command`] that exists is well formed under the
//! configuration that it was made with.

mod operation;
mod schedule;

use std::borrow::Cow;
use std::sync::Arc;

use time::Date;

use super::configuration::Configuration;
use super::dimensions::{DimensionPath, Pairs};
use super::formula::Slot;
use super::groups::GroupPath;
use super::name::Value;
use super::quantity::Quantity;
use super::refusal::{Fault, Refusal};
use super::schedule::Days;
use super::state::ReservationId;

/// A point in time: microseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// One product of one owner in one environment. Whatever may affect one another shares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductKey {
    /// The isolated tenant.
    pub environment: Value,
    /// The owner.
    pub organization: Value,
    /// The thing stocked.
    pub product: Value,
}

impl ProductKey {
    /// Environment, organization and product.
    pub fn as_strs(&self) -> [&str; 3] {
        [self.environment.as_str(), self.organization.as_str(), self.product.as_str()]
    }
}

/// What a client notes about a command: kept on its event, and no part of what it means. So it is
/// not compared where commands are, and a repeat leaves the note as it was first given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// What it belongs to, such as an order and its line.
    pub reference: Option<Value>,
    /// Why.
    pub reason: Option<Value>,
    /// Who.
    pub actor: Option<Value>,
}

impl Note {
    /// The note, where anything was noted.
    pub fn kept(self) -> Option<Arc<Note>> {
        (self != Note::default()).then(|| Arc::new(self))
    }
}

/// One event as a client asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The client's name for the event, unique in its environment for ever.
    pub id: Value,
    /// What is moved.
    pub product: ProductKey,
    /// Where.
    pub path: DimensionPath,
    /// How.
    pub operation: Operation,
    /// What is noted about it: nothing of most, and the same of all that a key sends with no more.
    pub note: Option<Arc<Note>>,
    /// Whether the answer is to say why. No part of what the event means.
    pub explain: bool,
}

/// Measures with quantities, in the order of their slots, none twice.
pub type Movements = Vec<(Slot, Quantity)>;

/// What a command does. Quantities are greater than 0 unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are the model's own words")]
pub enum Operation {
    /// Sets stock of the common pool aside for a group path.
    Allocate { groups: GroupPath, quantity: Quantity },
    /// Gives it back to the pool.
    Unallocate { groups: GroupPath, quantity: Quantity },
    /// Moves it to another group path.
    Reallocate { source: GroupPath, target: GroupPath, quantity: Quantity },
    /// Takes it for an order; `modifiers` are signed.
    Consume { groups: GroupPath, quantity: Quantity, modifiers: Movements },
    /// Takes stock that is not allocated for an order.
    Reserve { measure: Slot, quantity: Quantity, checked: bool },
    /// Gives back what was reserved, without naming the reservation.
    GiveBack { measure: Slot, quantity: Quantity },
    /// Frees a reservation, or part of it.
    Unreserve { reservation: ReservationId, quantity: Quantity },
    /// Reports that stock moved; `changes` are signed or 0.
    ChangeOnHand { changes: Movements, settlement: Option<Settlement> },
    /// Reports what stock there is; `values` may be 0 or negative.
    SetOnHand { values: Movements, modified_at: Option<Timestamp> },
    /// Says what is expected to happen; `changes` are signed or 0, and move nothing yet.
    ChangeSchedule { changes: Days },
}

impl Operation {
    /// The operation's name in the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Allocate { .. } => "allocate",
            Operation::Unallocate { .. } => "unallocate",
            Operation::Reallocate { .. } => "reallocate",
            Operation::Consume { .. } => "consume",
            Operation::Reserve { .. } => "reserve",
            Operation::GiveBack { .. } => "give-back",
            Operation::Unreserve { .. } => "unreserve",
            Operation::ChangeOnHand { .. } => "change-on-hand",
            Operation::SetOnHand { .. } => "set-on-hand",
            Operation::ChangeSchedule { .. } => "change-schedule",
        }
    }

    /// The group paths whose balances it changes.
    pub fn groups(&self) -> impl Iterator<Item = &GroupPath> {
        let (first, second) = match self {
            Operation::Allocate { groups, .. }
            | Operation::Unallocate { groups, .. }
            | Operation::Consume { groups, .. } => (Some(groups), None),
            Operation::Reallocate { source, target, .. } => (Some(source), Some(target)),
            Operation::ChangeOnHand { settlement, .. } => {
                (settlement.as_ref().map(|settlement| &settlement.groups), None)
            }
            Operation::Reserve { .. }
            | Operation::GiveBack { .. }
            | Operation::Unreserve { .. }
            | Operation::SetOnHand { .. }
            | Operation::ChangeSchedule { .. } => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// Consumed stock that has left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settlement {
    /// Whose.
    pub groups: GroupPath,
    /// How much.
    pub quantity: Quantity,
}

/// What a request gives per data source and measure.
pub type PerMeasure<'a, T> = Vec<(Cow<'a, str>, Vec<(Cow<'a, str>, T)>)>;

/// Quantities per data source and measure: each number as its text.
pub type Quantities<'a> = PerMeasure<'a, Cow<'a, str>>;

/// What a request says beyond its product and id, its form checked and nothing else.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the wire's own words")]
pub enum Request<'a> {
    Allocate {
        groups: Pairs<'a>,
        quantity: Cow<'a, str>,
    },
    Unallocate {
        groups: Pairs<'a>,
        quantity: Cow<'a, str>,
    },
    Reallocate {
        source_groups: Pairs<'a>,
        groups: Pairs<'a>,
        quantity: Cow<'a, str>,
    },
    Consume {
        groups: Pairs<'a>,
        quantity: Cow<'a, str>,
        physical_measures: PerMeasure<'a, Direction>,
    },
    Reserve {
        quantities: Quantities<'a>,
        form: ReserveForm,
        checked: bool,
    },
    Unreserve {
        reservation: Cow<'a, str>,
        quantity: Cow<'a, str>,
    },
    ChangeOnHand {
        quantities: Quantities<'a>,
        groups: Option<Pairs<'a>>,
    },
    SetOnHand {
        quantities: Quantities<'a>,
        modified_at: Option<Timestamp>,
    },
    /// `today` is where the days that may be given begin. None for a repeat: its days were right
    /// when they were first given.
    ChangeSchedule {
        by_day: Vec<(Cow<'a, str>, Quantities<'a>)>,
        today: Option<Date>,
    },
}

impl Request<'_> {
    /// The same request as one that repeats what was granted before, on whatever day it was.
    #[must_use]
    pub fn as_repeat(&self) -> Self {
        match self {
            Request::ChangeSchedule { by_day, .. } => {
                Request::ChangeSchedule { by_day: by_day.clone(), today: None }
            }
            other => other.clone(),
        }
    }
}

/// How a request says what it reserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveForm {
    /// `quantityDataSource`, `modifier` and `quantity`.
    Modifier,
    /// `quantities`.
    Quantities,
}

/// Whether a consume adds its quantity to a measure or takes it from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `Addition`.
    Addition,
    /// `Subtraction`.
    Subtraction,
}

/// Who, what and where of a request.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The client's name for the event.
    pub id: Value,
    /// What is moved.
    pub product: ProductKey,
    /// Whose names for dimensions are used.
    pub dimension_data_source: Option<Cow<'a, str>>,
    /// Where.
    pub dimensions: Pairs<'a>,
    /// What is noted about it.
    pub note: Option<Arc<Note>>,
}

impl Command {
    /// Reads a request under a configuration. What is wrong is answered in the wire
    /// contract's order: group paths (source first), dimensions, quantity, source equal to
    /// target. What a configuration forbids though it can be said, such as a consume that is
    /// not neutral, is decided later: the command may repeat one of a time when it was allowed.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn new(
        configuration: &Configuration,
        target: &Target<'_>,
        request: &Request<'_>,
    ) -> Result<Command, Refusal> {
        let groups = Groups::read(configuration, request)?;
        let path = configuration.path(target.dimension_data_source.as_deref(), &target.dimensions)?;
        check_key(target, &path, &groups)?;
        let reports = matches!(
            request,
            Request::ChangeOnHand { .. } | Request::SetOnHand { .. } | Request::ChangeSchedule { .. }
        );
        if !reports {
            configuration.dimensions().require(&path)?;
        }
        if matches!(request, Request::Reserve { .. }) {
            configuration.check_reservable(target.dimension_data_source.as_deref(), &target.dimensions)?;
        }
        let operation = operation::read(configuration, groups, request)?;
        let Target { id, product, note, .. } = target;
        Ok(Command {
            id: id.clone(),
            product: product.clone(),
            path,
            operation,
            note: note.clone(),
            explain: false,
        })
    }

    /// Whether another command means the same, whatever its id, what is noted about it, and however
    /// it was written.
    pub fn means_the_same_as(&self, other: &Command) -> bool {
        self.product == other.product && self.path == other.path && self.operation == other.operation
    }
}

/// Most bytes of a product and a path together, and of a group path: the database looks
/// stock up by all of them, and its index has no entries of more than 2,704 bytes.
const KEY_BYTES_MAX: usize = 1_200;

fn check_key(target: &Target<'_>, path: &DimensionPath, groups: &Groups) -> Result<(), Refusal> {
    // A value in an array takes up to 8 bytes of its own.
    let bytes = |values: &[Value]| values.iter().map(|value| value.as_str().len() + 8).sum::<usize>();
    let ProductKey { environment, organization, product } = &target.product;
    let place = bytes(path.values()) + bytes(&[environment.clone(), organization.clone(), product.clone()]);
    for (pointer, length) in [
        ("/dimensions", place),
        ("/sourceGroups", groups.source.as_ref().map_or(0, |groups| bytes(groups.values()))),
        ("/groups", groups.target.as_ref().map_or(0, |groups| bytes(groups.values()))),
    ] {
        if length > KEY_BYTES_MAX {
            let detail = format!(
                "has {length} bytes in all, with what belongs to it; at most {KEY_BYTES_MAX} are kept"
            );
            return Err(invalid(pointer, detail));
        }
    }
    Ok(())
}

/// The group paths of a request, read before all else.
#[derive(Default)]
struct Groups {
    source: Option<GroupPath>,
    target: Option<GroupPath>,
}

impl Groups {
    fn read(configuration: &Configuration, request: &Request<'_>) -> Result<Groups, Refusal> {
        let read = |parent: &str, given: &Pairs<'_>| configuration.groups().path(parent, given);
        let (source, target) = match request {
            Request::Reallocate { source_groups, groups, .. } => (Some(source_groups), Some(groups)),
            Request::Allocate { groups, .. }
            | Request::Unallocate { groups, .. }
            | Request::Consume { groups, .. } => (None, Some(groups)),
            Request::ChangeOnHand { groups, .. } => (None, groups.as_ref()),
            Request::Reserve { .. }
            | Request::Unreserve { .. }
            | Request::SetOnHand { .. }
            | Request::ChangeSchedule { .. } => (None, None),
        };
        Ok(Groups {
            source: source.map(|given| read("/sourceGroups", given)).transpose()?,
            target: target.map(|given| read("/groups", given)).transpose()?,
        })
    }

    fn target(self) -> Result<GroupPath, Refusal> {
        self.target.ok_or_else(|| invalid("/groups", "must be given"))
    }
}

fn invalid(pointer: impl Into<String>, detail: impl std::fmt::Display) -> Refusal {
    Refusal::InvalidRequest(vec![Fault::new(pointer, detail)])
}
