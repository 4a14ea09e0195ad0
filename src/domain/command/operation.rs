//! Reading what a request is to do.

use crate::domain::configuration::{CONSUMED, Configuration, PREDEFINED_SOURCE, SOFT_RESERVED};
use crate::domain::formula::Slot;
use crate::domain::groups::GroupPath;
use crate::domain::quantity::{InvalidQuantity, Quantity};
use crate::domain::refusal::{Refusal, pointer};
use crate::domain::state::ReservationId;

use super::{
    Direction, Groups, Movements, Operation, PerMeasure, Quantities, Request, ReserveForm, Settlement,
    invalid, schedule,
};

pub(super) fn read(
    configuration: &Configuration,
    groups: Groups,
    request: &Request<'_>,
) -> Result<Operation, Refusal> {
    match request {
        Request::Allocate { quantity, .. } => {
            Ok(Operation::Allocate { quantity: positive("/quantity", quantity)?, groups: groups.target()? })
        }
        Request::Unallocate { quantity, .. } => {
            Ok(Operation::Unallocate { quantity: positive("/quantity", quantity)?, groups: groups.target()? })
        }
        Request::Reallocate { quantity, .. } => {
            let quantity = positive("/quantity", quantity)?;
            let source = groups.source.clone().ok_or_else(|| invalid("/sourceGroups", "must be given"))?;
            let target = groups.target()?;
            if source == target {
                return Err(invalid(
                    "/sourceGroups",
                    "is the same group path as groups; a reallocation needs two",
                ));
            }
            Ok(Operation::Reallocate { source, target, quantity })
        }
        Request::Consume { quantity, physical_measures, .. } => {
            let quantity = positive("/quantity", quantity)?;
            let modifiers = modifiers(configuration, physical_measures, quantity)?;
            Ok(Operation::Consume { groups: groups.target()?, quantity, modifiers })
        }
        Request::Reserve { quantities, form, checked } => reserve(configuration, quantities, *form, *checked),
        Request::Unreserve { reservation, quantity } => {
            let quantity = positive("/OffsetQty", quantity)?;
            let unknown = || Refusal::UnknownReservation(shortened(reservation));
            let reservation = ReservationId::parse(reservation).ok_or_else(unknown)?;
            Ok(Operation::Unreserve { reservation, quantity })
        }
        Request::ChangeOnHand { quantities, .. } => change_on_hand(configuration, groups.target, quantities),
        Request::SetOnHand { quantities, modified_at } => {
            let values = on_hand(configuration, "/quantities", quantities)?;
            Ok(Operation::SetOnHand { values, modified_at: *modified_at })
        }
        Request::ChangeSchedule { by_day, today } => schedule::change(configuration, by_day, *today),
    }
}

fn quantity(
    pointer: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<Quantity, InvalidQuantity>,
) -> Result<Quantity, Refusal> {
    parse(text).map_err(|reason| {
        let text = shortened(text);
        Refusal::InvalidQuantity { pointer: pointer.to_owned(), text, reason }
    })
}

/// Enough of a text to know it again.
fn shortened(text: &str) -> String {
    if text.chars().count() > 40 {
        return text.chars().take(40).chain("…".chars()).collect();
    }
    text.to_owned()
}

fn positive(pointer: &str, text: &str) -> Result<Quantity, Refusal> {
    quantity(pointer, text, Quantity::parse_positive)
}

/// Puts movements in order; one measure named twice (in two letter cases) is an error.
fn in_order(mut movements: Movements, pointer: &str) -> Result<Movements, Refusal> {
    movements.sort_by_key(|&(slot, _)| slot);
    if movements.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(invalid(pointer, "gives a measure twice"));
    }
    Ok(movements)
}

fn modifiers(
    configuration: &Configuration,
    given: &PerMeasure<'_, Direction>,
    quantity: Quantity,
) -> Result<Movements, Refusal> {
    let mut modifiers = Movements::new();
    for (source, measures) in given {
        for (measure, direction) in measures {
            let place = || pointer(&pointer("/physicalMeasures", source), measure);
            let slot = user_measure(configuration, place, source, measure, true)?;
            let signed = if *direction == Direction::Addition { quantity } else { -quantity };
            modifiers.push((slot, signed));
        }
    }
    let reserving = |&&(slot, delta): &&(Slot, Quantity)| {
        delta > Quantity::ZERO && configuration.is_for_reservation(slot)
    };
    if modifiers.iter().filter(reserving).count() > 1 {
        return Err(invalid(
            "/physicalMeasures",
            "adds to two reservation measures; a consume makes one reservation at most",
        ));
    }
    in_order(modifiers, "/physicalMeasures")
}

/// Finds a measure that a request may move: one of the user's, or a reservation measure
/// where the request says so.
fn user_measure(
    configuration: &Configuration,
    place: impl FnOnce() -> String,
    source: &str,
    measure: &str,
    reservations: bool,
) -> Result<Slot, Refusal> {
    match configuration.measure(source, measure) {
        None => {
            Err(Refusal::UnknownMeasure { pointer: place(), why: " of a configured data source".to_owned() })
        }
        Some(slot) if slot == SOFT_RESERVED && reservations => Ok(slot),
        Some(slot) if slot <= SOFT_RESERVED => Err(Refusal::UnknownMeasure {
            pointer: place(),
            why: " that a request may move: allocations and reservations move it".to_owned(),
        }),
        Some(slot) => Ok(slot),
    }
}

pub(super) fn on_hand(
    configuration: &Configuration,
    place: &str,
    quantities: &Quantities<'_>,
) -> Result<Movements, Refusal> {
    let mut movements = Movements::new();
    for (source, measures) in quantities {
        for (measure, text) in measures {
            let place = pointer(&pointer(place, source), measure);
            let slot = user_measure(configuration, || place.clone(), source, measure, false)?;
            movements.push((slot, quantity(&place, text, Quantity::parse)?));
        }
    }
    if movements.is_empty() {
        return Err(invalid(place, "must give one measure at least"));
    }
    in_order(movements, place)
}

fn change_on_hand(
    configuration: &Configuration,
    groups: Option<GroupPath>,
    given: &Quantities<'_>,
) -> Result<Operation, Refusal> {
    let mut rest = given.clone();
    let mut settled = Vec::new();
    for (source, measures) in &mut rest {
        let place = pointer("/quantities", source);
        measures.retain(|(measure, text)| {
            let is_consumed = configuration.measure(source, measure) == Some(CONSUMED);
            if is_consumed {
                settled.push((pointer(&place, measure), text.clone()));
            }
            !is_consumed
        });
    }
    if settled.len() > 1 {
        return Err(invalid("/quantities", "gives a measure twice"));
    }
    rest.retain(|(source, measures)| !measures.is_empty() || !source.eq_ignore_ascii_case(PREDEFINED_SOURCE));
    let settlement = match (settled.pop(), groups) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(invalid(
                "/groups",
                "is only for settling @iv.@consumed, which is not among the quantities",
            ));
        }
        (Some(_), None) => {
            return Err(invalid("/groups", "must give the group path whose consumed quantity is settled"));
        }
        (Some((place, text)), Some(groups)) => {
            let delta = quantity(&place, &text, Quantity::parse)?;
            if delta >= Quantity::ZERO {
                return Err(invalid(place, "can only be decreased by an on-hand change"));
            }
            Some(Settlement { groups, quantity: -delta })
        }
    };
    let changes = if rest.is_empty() && settlement.is_some() {
        Movements::new()
    } else {
        on_hand(configuration, "/quantities", &rest)?
    };
    Ok(Operation::ChangeOnHand { changes, settlement })
}

fn reserve(
    configuration: &Configuration,
    quantities: &Quantities<'_>,
    form: ReserveForm,
    checked: bool,
) -> Result<Operation, Refusal> {
    let mut given = quantities
        .iter()
        .flat_map(|(source, measures)| measures.iter().map(move |(measure, text)| (source, measure, text)));
    let (Some((source, measure, text)), None) = (given.next(), given.next()) else {
        return Err(invalid("/quantities", "must give exactly one measure, the one that is reserved"));
    };
    let (of_measure, of_quantity) = match form {
        ReserveForm::Modifier => ("/modifier".to_owned(), "/quantity".to_owned()),
        ReserveForm::Quantities => {
            let place = pointer(&pointer("/quantities", source), measure);
            (place.clone(), place)
        }
    };
    let slot = configuration
        .measure(source, measure)
        .filter(|&slot| configuration.available_for_reservation(slot).is_some())
        .ok_or_else(|| Refusal::UnknownMeasure {
            pointer: of_measure,
            why: " that the configuration lists for reservation".to_owned(),
        })?;
    let signed = quantity(&of_quantity, text, Quantity::parse)?;
    if signed > Quantity::ZERO {
        return Ok(Operation::Reserve { measure: slot, quantity: signed, checked });
    }
    if signed < Quantity::ZERO && !checked {
        return Ok(Operation::GiveBack { measure: slot, quantity: -signed });
    }
    // There is nothing to check when stock is given back, so who asks for it means something else.
    let reason = match signed < Quantity::ZERO {
        true => InvalidQuantity::GivesBackChecked,
        false => InvalidQuantity::NotPositive,
    };
    Err(Refusal::InvalidQuantity { pointer: of_quantity, text: shortened(text), reason })
}
