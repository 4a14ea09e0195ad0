//! An event as the history and the feed show it.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::access::Scope;
use crate::domain::command::{Movements, Operation, Timestamp};
use crate::domain::configuration::Configuration;
use crate::domain::groups::GroupPath;
use crate::domain::history::{Account, ByMeasure, by_measure};
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::refusal::Place;
use crate::domain::state::Balance;
use crate::store::ledger::Event;

/// An event of the ledger: what was asked, in the words of the request, and what was answered.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(super) struct EventRecord<'a> {
    /// The event's place in the ledger.
    event_id: i64,
    /// The client's own id of the event.
    #[schema(value_type = String)]
    id: &'a str,
    /// What was asked for.
    #[schema(value_type = super::schema::EventOperation)]
    operation: &'static str,
    /// When the service took it in.
    #[schema(format = DateTime)]
    received_at: String,
    /// The owner.
    #[schema(value_type = String)]
    organization_id: &'a str,
    /// The product.
    #[schema(value_type = String)]
    product_id: &'a str,
    /// Where.
    #[schema(value_type = BTreeMap<String, String>)]
    dimensions: Place,
    /// For whom. A key that is narrowed to a group path sees neither the groups of another, be they these
    /// or `sourceGroups`, nor their balances.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    groups: Option<Place>,
    /// From whom a reallocation takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    source_groups: Option<Place>,
    /// How much: of an unreserve, what was offered back; of an on-hand change with `groups`, what of
    /// `@iv.@consumed` was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Quantity>,
    /// Of a consume: where the stock was taken from, or what it was added to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, super::schema::Direction>>>)]
    physical_measures: Option<BTreeMap<String, BTreeMap<String, &'static str>>>,
    /// Of an on-hand change or set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, Quantity>>>)]
    quantities: Option<ByMeasure>,
    /// The data source of the measure that was reserved in or given back from.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity_data_source: Option<&'a str>,
    /// The measure that was reserved in or given back from.
    #[serde(skip_serializing_if = "Option::is_none")]
    modifier: Option<&'a str>,
    /// Of a reserve: whether there had to be enough available.
    #[serde(skip_serializing_if = "Option::is_none")]
    if_check_avail_for_reserv: Option<bool>,
    /// The reservation that was made or freed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<Uuid>,
    /// Of a set: when that was the case, if the request said so.
    #[serde(rename = "modifiedDateTimeUTC", skip_serializing_if = "Option::is_none")]
    #[schema(rename = "modifiedDateTimeUTC", format = DateTime)]
    modified_at: Option<String>,
    /// Of a change of the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<super::schema::QuantitiesByDate>)]
    quantities_by_date: Option<BTreeMap<String, ByMeasure>>,
    /// What it belongs to, as the request noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reference: Option<&'a Value>,
    /// Why, as the request noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<&'a Value>,
    /// Who asked for it, as the request noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    actor: Option<&'a Value>,
    /// How many events there were at and below the shallowest node of the chain: of the product at
    /// these required dimensions.
    version: u64,
    /// The version of the configuration that it was decided under.
    configuration_version: i64,
    /// What moved at these dimensions, by data source and measure. Absent where that was not kept:
    /// of sets, and of freed reservations, of before the service had a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, Quantity>>>)]
    effects: Option<ByMeasure>,
    /// The balance of `groups` before the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance_before: Option<Balance>,
    /// The balance of `groups` after the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
    /// The balance of `sourceGroups` before the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_balance_before: Option<Balance>,
    /// The balance of `sourceGroups` after the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_balance: Option<Balance>,
    /// What could still be allocated at these dimensions after the event.
    available_to_allocate: Quantity,
    /// How much of what an unreserve offered back could not be freed.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_invalid_offset_qty_by_reserv_id: Option<Quantity>,
}

impl<'a> EventRecord<'a> {
    /// Shows an event that was decided under a version of the configuration, with today's names.
    pub(super) fn of(event: &'a Event, configuration: &'a Configuration, decided_under: i64) -> Self {
        let (command, outcome) = (&*event.command, &event.outcome);
        let account = Account::of(command, outcome, configuration);
        let note = command.note.as_deref();
        let record = EventRecord {
            event_id: event.event_id,
            id: command.id.as_str(),
            operation: command.operation.name(),
            received_at: shown(event.received_at),
            organization_id: command.product.organization.as_str(),
            product_id: command.product.product.as_str(),
            dimensions: configuration.dimensions().place(command.path.values()),
            reservation_id: outcome.reservation_id.map(|id| id.0),
            reference: note.and_then(|note| note.reference.as_ref()),
            reason: note.and_then(|note| note.reason.as_ref()),
            actor: note.and_then(|note| note.actor.as_ref()),
            version: outcome.version,
            configuration_version: decided_under,
            effects: account.effects,
            balance_before: account.balance_before,
            balance: outcome.balance,
            source_balance_before: account.source_balance_before,
            source_balance: outcome.source_balance,
            available_to_allocate: outcome.available_to_allocate,
            total_invalid_offset_qty_by_reserv_id: outcome.excess,
            ..EventRecord::default()
        };
        record.asking(&command.operation, configuration)
    }

    /// The same without what is of group paths that a caller may not see.
    pub(super) fn within(self, scope: Option<&Scope>) -> Self {
        let Some(scope) = scope else { return self };
        let is_seen = |place: &Option<Place>| {
            place.as_ref().is_none_or(|place| scope.check_groups(&place.pairs()).is_ok())
        };
        let (target, source) = (is_seen(&self.groups), is_seen(&self.source_groups));
        EventRecord {
            groups: self.groups.filter(|_| target),
            balance_before: self.balance_before.filter(|_| target),
            balance: self.balance.filter(|_| target),
            source_groups: self.source_groups.filter(|_| source),
            source_balance_before: self.source_balance_before.filter(|_| source),
            source_balance: self.source_balance.filter(|_| source),
            ..self
        }
    }

    pub(super) fn event_id(&self) -> i64 {
        self.event_id
    }

    /// What only some operations have, as their requests do.
    fn asking(self, operation: &'a Operation, configuration: &'a Configuration) -> Self {
        let place = |groups: &GroupPath| Some(configuration.groups().place(groups.values()));
        let measures = |movements: &Movements| Some(by_measure(configuration, movements));
        match operation {
            Operation::Allocate { groups, quantity } | Operation::Unallocate { groups, quantity } => {
                EventRecord { groups: place(groups), quantity: Some(*quantity), ..self }
            }
            Operation::Reallocate { source, target, quantity } => EventRecord {
                groups: place(target),
                source_groups: place(source),
                quantity: Some(*quantity),
                ..self
            },
            Operation::Consume { groups, quantity, modifiers } => EventRecord {
                groups: place(groups),
                quantity: Some(*quantity),
                physical_measures: directions(configuration, modifiers),
                ..self
            },
            Operation::Reserve { measure, quantity, .. } | Operation::GiveBack { measure, quantity } => {
                let name = configuration.measure_name(*measure);
                EventRecord {
                    quantity: Some(*quantity),
                    quantity_data_source: Some(name.source.as_str()),
                    modifier: Some(name.measure.as_str()),
                    if_check_avail_for_reserv: match operation {
                        Operation::Reserve { checked, .. } => Some(*checked),
                        _ => None,
                    },
                    ..self
                }
            }
            Operation::Unreserve { reservation, quantity } => {
                EventRecord { reservation_id: Some(reservation.0), quantity: Some(*quantity), ..self }
            }
            Operation::ChangeOnHand { changes, settlement } => EventRecord {
                quantities: measures(changes),
                groups: settlement.as_ref().and_then(|settlement| place(&settlement.groups)),
                quantity: settlement.as_ref().map(|settlement| settlement.quantity),
                ..self
            },
            Operation::SetOnHand { values, modified_at } => {
                EventRecord { quantities: measures(values), modified_at: modified_at.map(shown), ..self }
            }
            Operation::ChangeSchedule { changes } => {
                let days = changes.iter();
                let by_day = days.map(|(day, changes)| (day.to_string(), by_measure(configuration, changes)));
                EventRecord { quantities_by_date: Some(by_day.collect()), ..self }
            }
        }
    }
}

/// A consume's measures as its request gave them.
fn directions(
    configuration: &Configuration,
    modifiers: &Movements,
) -> Option<BTreeMap<String, BTreeMap<String, &'static str>>> {
    let direction = |delta| if delta > Quantity::ZERO { "Addition" } else { "Subtraction" };
    let of_source = |measures: BTreeMap<String, Quantity>| {
        measures.into_iter().map(|(name, delta)| (name, direction(delta))).collect()
    };
    let measures = by_measure(configuration, modifiers).into_iter();
    let measures: BTreeMap<_, _> = measures.map(|(source, of_it)| (source, of_source(of_it))).collect();
    (!measures.is_empty()).then_some(measures)
}

/// A time as RFC 3339 has it, to the microsecond.
pub(super) fn shown(Timestamp(microseconds): Timestamp) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1000);
    // Every timestamp comes from a date of four digits, so it is in range.
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&format).unwrap_or_default()
}
