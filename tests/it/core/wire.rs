//! The same request, answer and configuration for the core and for the naive model.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ringfence::domain::command::{Direction, Request, ReserveForm, Timestamp};
use ringfence::domain::configuration::Configuration;
use ringfence::domain::decide::Outcome;
use ringfence::domain::dimensions::Pairs;
use ringfence::domain::document::{
    AllocationDocument, DataSourceDocument, Document, ReservationDocument, ScheduleDocument,
};
use ringfence::domain::name::Value;
use ringfence::domain::quantity::Quantity;
use ringfence::domain::refusal::{Refusal, Shortage};
use ringfence::domain::state::{Balance, ReservationId};

use time::Date;

use super::{GROUPS, ON_HAND};
use crate::naive::{self, Answer, Config, Formula, No, ONE};

/// The day of the core's commands, which are all taken in at the time 0 or soon after.
pub(crate) const EPOCH: Date = time::macros::date!(1970 - 01 - 01);
/// More days than any test schedules for.
const PERIOD_DAYS: u16 = 30;

pub(crate) fn value(text: &str) -> Value {
    if text.is_empty() { Value::empty() } else { Value::parse(text).unwrap() }
}

/// `1/11/red` as a path; the empty text is the empty path.
pub(crate) fn texts(slashed: &str) -> Vec<String> {
    slashed.split('/').filter(|_| !slashed.is_empty()).map(str::to_owned).collect()
}

/// Names with values as a careless client may send them: backwards, the names in capitals,
/// and what is empty left out unless it is the last.
pub(crate) fn pairs<'a>(names: &[&str], values: &'a [String]) -> Pairs<'a> {
    let given = names.iter().zip(values).enumerate();
    let given = given.filter(|&(index, (_, value))| !value.is_empty() || index + 1 == values.len());
    given.rev().map(|(_, (name, value))| (name.to_uppercase().into(), value.into())).collect()
}

fn number(millionths: i128) -> Cow<'static, str> {
    format!("{millionths}e-6").into()
}

fn exact(quantity: Quantity) -> i128 {
    exactly(&quantity.to_string())
}

/// A written number as a count of 10^-12.
pub(crate) fn exactly(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<12}").parse().unwrap()
}

pub(crate) fn millionths(quantity: Quantity) -> i128 {
    let exact = exact(quantity);
    assert_eq!(exact % ONE, 0, "{quantity} is finer than a millionth");
    exact / ONE
}

pub(crate) fn quantities(balance: &Balance) -> [i128; 4] {
    let Balance { allocated, consumed, cumulative_allocated, cumulative_consumed } = *balance;
    [allocated, consumed, cumulative_allocated, cumulative_consumed].map(millionths)
}

/// A request as it is written on the wire, and when it is taken in.
pub(crate) fn written(
    request: &naive::Request,
    made: impl Fn(&str) -> Option<ReservationId>,
) -> (Request<'_>, Timestamp) {
    let groups = |path| pairs(&GROUPS, path);
    let split = |measure: &str| {
        let (source, measure) = measure.split_once('.').unwrap();
        (Cow::from(source.to_uppercase()), Cow::from(measure.to_uppercase()))
    };
    let on_hand = |list: &[(String, i128)]| {
        let one = |(measure, quantity): &(String, i128)| {
            let (source, measure) = split(measure);
            (source, vec![(measure, number(*quantity))])
        };
        list.iter().map(one).collect::<Vec<_>>()
    };
    let reserve = |(source, measure), quantity: i128, checked| Request::Reserve {
        quantities: vec![(source, vec![(measure, number(quantity))])],
        form: ReserveForm::Modifier,
        checked,
    };
    let mut received_at = Timestamp(0);
    let written = match request {
        naive::Request::Allocate { groups: to, quantity, .. } => {
            Request::Allocate { groups: groups(to), quantity: number(*quantity) }
        }
        naive::Request::Unallocate { groups: from, quantity, .. } => {
            Request::Unallocate { groups: groups(from), quantity: number(*quantity) }
        }
        naive::Request::Reallocate { source, groups: to, quantity, .. } => Request::Reallocate {
            source_groups: groups(source),
            groups: groups(to),
            quantity: number(*quantity),
        },
        naive::Request::Consume { groups: by, quantity, modifiers, .. } => {
            let one = |(measure, addition): &(String, bool)| {
                let (source, measure) = split(measure);
                let direction = if *addition { Direction::Addition } else { Direction::Subtraction };
                (source, vec![(measure, direction)])
            };
            let physical_measures = modifiers.iter().map(one).collect();
            Request::Consume { groups: groups(by), quantity: number(*quantity), physical_measures }
        }
        naive::Request::Reserve { measure, quantity, checked, .. } => {
            let (source, measure) = split(measure);
            reserve((source, measure), *quantity, *checked)
        }
        naive::Request::GiveBack { measure, quantity, .. } => {
            let (source, measure) = split(measure);
            reserve((source, measure), -quantity, false)
        }
        naive::Request::Unreserve { reservation, quantity } => Request::Unreserve {
            reservation: made(reservation).map(|id| id.0).unwrap_or_default().to_string().into(),
            quantity: number(*quantity),
        },
        naive::Request::OnHand { deltas, settle, .. } => {
            let mut quantities = on_hand(deltas);
            let settled = settle.iter().map(|(_, quantity)| ("@iv.@consumed".to_owned(), -quantity));
            quantities.extend(on_hand(&settled.collect::<Vec<_>>()));
            Request::ChangeOnHand { quantities, groups: settle.as_ref().map(|(of, _)| groups(of)) }
        }
        naive::Request::SetOnHand { values, at, .. } => {
            // A time of its own or that of its arrival: the same to the rule.
            received_at = Timestamp(*at);
            let modified_at = (at % 2 == 0).then_some(received_at);
            Request::SetOnHand { quantities: on_hand(values), modified_at }
        }
        naive::Request::Schedule { changes, .. } => {
            let mut by_day = BTreeMap::<i64, Vec<(String, i128)>>::new();
            for (day, measure, delta) in changes {
                by_day.entry(*day).or_default().push((measure.clone(), *delta));
            }
            let date = |day| Cow::from((EPOCH + time::Duration::days(day)).to_string());
            let by_day = by_day.iter().map(|(&day, changes)| (date(day), on_hand(changes))).collect();
            Request::ChangeSchedule { by_day, today: Some(EPOCH) }
        }
    };
    (written, received_at)
}

/// What the naive model would have answered where the core answers this.
pub(crate) fn answer(request: &naive::Request, outcome: &Outcome) -> Answer {
    let excess = outcome.excess.map(millionths);
    let freed = match request {
        naive::Request::Unreserve { quantity, .. } => Some(quantity - excess.unwrap_or(0)),
        _ => None,
    };
    assert!(excess.is_none_or(|excess| freed.is_some() && excess > 0), "an excess of {excess:?}");
    Answer {
        version: outcome.version,
        balance: outcome.balance.as_ref().map(quantities),
        source_balance: outcome.source_balance.as_ref().map(quantities),
        available: exact(outcome.available_to_allocate),
        freed,
        reservation: outcome.reservation_id.is_some(),
    }
}

/// What the naive model would have refused with where the core refuses with this.
pub(crate) fn no(refusal: Refusal) -> No {
    let shortage = |Shortage { requested, available, limited_by }| {
        let limited_at = limited_by.0.into_iter().map(|(_, value)| value.to_string()).collect();
        (millionths(requested), exact(available), limited_at)
    };
    match refusal {
        Refusal::ConsumptionNotNeutral { .. } => No::NotNeutral,
        Refusal::ReadOnlyDataSource { .. } => No::ReadOnly,
        Refusal::InvalidRequest(faults) if faults[0].pointer == "/sourceGroups" => No::SameGroups,
        Refusal::InsufficientAvailableToAllocate(short) => {
            let (requested, available, limited_at) = shortage(short);
            No::InsufficientAta { requested, available, limited_at }
        }
        Refusal::InsufficientAvailableToReserve(short) => {
            let (requested, available, limited_at) = shortage(short);
            No::InsufficientAfr { requested, available, limited_at }
        }
        Refusal::InsufficientAllocation { requested, available, .. } => {
            No::InsufficientAllocation { requested: millionths(requested), available: millionths(available) }
        }
        Refusal::NothingReserved { .. } => No::NothingReserved,
        Refusal::UnknownReservation(_) => No::UnknownReservation,
        Refusal::OutdatedSet { .. } => No::Superseded,
        other => panic!("the naive model does not refuse with {other:?}"),
    }
}

pub(crate) fn configuration(config: &Config) -> Configuration {
    Configuration::new(document(config), &[]).unwrap()
}

/// The naive configuration as a document. Whether a formula protects what is allocated is
/// not asked here: what is granted must be right either way.
pub(crate) fn document(config: &Config) -> Document {
    let formula = |formula: &Formula| {
        let term = |(measure, coefficient): &(String, i128)| {
            let sign = if *coefficient < 0 { '-' } else { '+' };
            let (whole, fraction) = (coefficient.abs() / ONE, coefficient.abs() % ONE);
            format!("{sign} {whole}.{fraction:06} * {measure}")
        };
        formula.iter().map(term).collect::<Vec<_>>().join(" ")
    };
    let mut data_sources = BTreeMap::<String, DataSourceDocument>::new();
    for measure in ON_HAND {
        let (source, measure) = measure.split_once('.').unwrap();
        let document = data_sources.entry(source.to_owned()).or_default();
        document.measures.push(measure.to_owned());
        document.read_only = config.read_only.iter().any(|read_only| read_only == source);
    }
    Document {
        dimensions: config.dimensions.clone(),
        required_dimensions: config.required,
        data_sources,
        allocation: AllocationDocument {
            groups: GROUPS.map(str::to_owned).to_vec(),
            available_to_allocate: formula(&config.ata),
            allow_pool_changing_consumption: config.allow_pool_changing_consumption,
            ..AllocationDocument::default()
        },
        reservation: ReservationDocument {
            measures: config
                .reservations
                .iter()
                .map(|(own, checked)| (own.clone(), formula(checked)))
                .collect(),
            allow_unprotected: true,
            ..ReservationDocument::default()
        },
        schedule: ScheduleDocument { period_days: PERIOD_DAYS, measures: Vec::new() },
        ..Document::default()
    }
}
