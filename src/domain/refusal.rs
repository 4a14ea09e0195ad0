//! Why a request is refused. A refusal is an answer, not a failure: it says what was asked,
//! what there was and what limited it.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::dimensions::Pairs;
use super::name::Value;
use super::quantity::{InvalidQuantity, Quantity};

/// One fault of a request's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: a JSON pointer (RFC 6901) into the body.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(pointer: impl Into<String>, detail: impl fmt::Display) -> Fault {
        Fault { pointer: pointer.into(), detail: detail.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => write!(formatter, "the body {}", self.detail),
            pointer => write!(formatter, "{pointer} {}", self.detail),
        }
    }
}

/// Appends a property's name to a JSON pointer.
pub fn pointer(parent: &str, property: &str) -> String {
    format!("{parent}/{}", property.replace('~', "~0").replace('/', "~1"))
}

/// A place in the dimension or allocation hierarchy, as names with values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(pub Vec<(String, Value)>);

impl Place {
    /// The same as pairs.
    pub fn pairs(&self) -> Pairs<'_> {
        self.0.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("the product as a whole");
        }
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

/// An object of names and values.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The opposite of [`Serialize`]: for what the service itself wrote.
impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
        struct PlaceVisitor;
        impl<'de> Visitor<'de> for PlaceVisitor {
            type Value = Place;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Place, A::Error> {
                let mut values = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    values.push((name, value));
                }
                Ok(Place(values))
            }
        }
        deserializer.deserialize_map(PlaceVisitor)
    }
}

/// More was asked for than an availability on the chain allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What was asked for.
    pub requested: Quantity,
    /// The least availability on the chain.
    pub available: Quantity,
    /// The node that has it; the deepest, when several have.
    pub limited_by: Place,
}

/// Why a command was refused. The text of [`fmt::Display`] is for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request's form is wrong.
    #[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("; "))]
    InvalidRequest(Vec<Fault>),
    /// A property that the request does not have.
    #[error("{pointer} is not a property of this request; it has {}", .known.join(", "))]
    UnknownProperty {
        /// Where.
        pointer: String,
        /// The properties that it has.
        known: Vec<String>,
    },
    /// A command without its id.
    #[error(
        "give the event an id of its own, as \"id\" or as the header Idempotency-Key, so that sending it again is safe"
    )]
    MissingId,
    /// A group that the configuration does not have.
    #[error("{pointer} is not an allocation group; the groups are {}", list(.known))]
    UnknownGroup {
        /// Where.
        pointer: String,
        /// The configured groups, in order.
        known: Vec<String>,
    },
    /// A group was given without one above it.
    #[error("{pointer}: {given} was given without {missing}, which is above it in the allocation hierarchy")]
    HierarchyGap {
        /// Where.
        pointer: String,
        /// The lowest group given.
        given: String,
        /// The group left out.
        missing: String,
    },
    /// A dimension that the configuration does not have.
    #[error("{pointer} is not a dimension; the dimensions are {}", list(.known))]
    UnknownDimension {
        /// Where.
        pointer: String,
        /// The configured dimensions, in order.
        known: Vec<String>,
    },
    /// A measure that the configuration does not have.
    #[error("{pointer} is not a measure{}", .why)]
    UnknownMeasure {
        /// Where.
        pointer: String,
        /// More of why, or nothing.
        why: String,
    },
    /// A text that is not a quantity, or one that is out of bounds.
    #[error("{pointer} is {text}, which {reason}")]
    InvalidQuantity {
        /// Where.
        pointer: String,
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: InvalidQuantity,
    },
    /// An allocation or reservation without a required dimension.
    #[error("{pointer} lacks {}, which allocations and reservations must give", .missing.join(" and "))]
    MissingRequiredDimension {
        /// Where.
        pointer: String,
        /// The dimensions left out.
        missing: Vec<String>,
    },
    /// A consume that would modify a measure whose data source is read-only to consumption.
    #[error(
        "{measure} belongs to a data source that is read-only to consumption: only an on-hand change may move it"
    )]
    ReadOnlyDataSource {
        /// The measure.
        measure: String,
    },
    /// A consume that would change what is available to allocate.
    #[error("{}", not_neutral(.change))]
    ConsumptionNotNeutral {
        /// By how much the pool would grow; negative when it would shrink.
        change: Quantity,
    },
    /// No such reservation.
    #[error("there is no reservation {0} of this organization at these dimensions")]
    UnknownReservation(String),
    /// The product is not enabled for allocation, in an environment that requires it.
    #[error(
        "the product {product} of {organization} is not enabled for allocation; PUT allocation/products enables it"
    )]
    ProductNotEnabled {
        /// The owner.
        organization: Value,
        /// The product.
        product: Value,
    },
    /// The pool does not hold what was asked for.
    #[error("{} asked for, {} available, limited at {}", .0.requested, .0.available, .0.limited_by)]
    InsufficientAvailableToAllocate(Shortage),
    /// The stock does not allow the reservation.
    #[error("{} asked for, {} available for reservation, limited at {}", .0.requested, .0.available, .0.limited_by)]
    InsufficientAvailableToReserve(Shortage),
    /// The group does not hold what was asked for.
    #[error("{requested} asked for, {available} {what} {groups}")]
    InsufficientAllocation {
        /// What was asked for.
        requested: Quantity,
        /// What the group path holds.
        available: Quantity,
        /// What it is that it holds.
        what: &'static str,
        /// The group path.
        groups: Place,
    },
    /// More was given back than is reserved.
    #[error("{requested} given back, but {available} is reserved there")]
    NothingReserved {
        /// What was to be given back.
        requested: Quantity,
        /// What is reserved.
        available: Quantity,
    },
    /// An on-hand set that is older than the last one.
    #[error("{measure} was set later than this already, so an older value would bring back the past")]
    OutdatedSet {
        /// The measure.
        measure: String,
    },
    /// A formula that would let protected stock be taken.
    #[error("{0}")]
    UnprotectedFormula(Fault),
    /// A configuration that the stored data contradicts.
    #[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("; "))]
    ConfigurationInUse(Vec<Fault>),
    /// The id belongs to another event.
    #[error("the id {id} was used for another event before, {difference}; give every event an id of its own")]
    IdReused {
        /// The id.
        id: Value,
        /// What differs.
        difference: String,
    },
}

fn list(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

fn not_neutral(change: &Quantity) -> String {
    let amount = change.abs();
    if *change > Quantity::ZERO {
        return format!(
            "this consume would release {amount} to the pool, so that the same stock could be sold twice: \
             what it takes back from the allocation must be taken elsewhere, by a subtraction from an \
             on-hand measure or an addition to a reservation measure that the formula subtracts"
        );
    }
    format!(
        "this consume would deduct {amount} from the pool twice: the stock left it already when it was \
         allocated, so one deduction too many is among its modifiers"
    )
}
