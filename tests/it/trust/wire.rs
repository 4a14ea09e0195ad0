//! Requests of the naive model as a client sends them, and answers as the model gives them.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use time::{Date, Duration, OffsetDateTime};
use uuid::Uuid;

use crate::core::wire::{exactly, texts};
use crate::core::{DIMENSIONS, GROUPS};
use crate::naive::{Answer, No, ONE, Request};

/// A reservation, as who made it was told of it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The id of the event that made it.
    pub(crate) event: String,
    pub(crate) path: Vec<String>,
    /// What the service calls it.
    pub(crate) name: String,
}

/// Where a request is about; `made` is the reservation that it frees.
pub(crate) fn path_of(request: &Request, made: Option<&Made>) -> Vec<String> {
    match request {
        Request::Allocate { path, .. }
        | Request::Unallocate { path, .. }
        | Request::Reallocate { path, .. }
        | Request::Consume { path, .. }
        | Request::Reserve { path, .. }
        | Request::GiveBack { path, .. }
        | Request::OnHand { path, .. }
        | Request::SetOnHand { path, .. }
        | Request::Schedule { path, .. } => path.clone(),
        Request::Unreserve { .. } => made.map_or(texts("1/1/1/1"), |made| made.path.clone()),
    }
}

/// The day that the model counts days from: that on which the tests began.
pub(crate) fn first_day() -> Date {
    static TODAY: OnceLock<Date> = OnceLock::new();
    *TODAY.get_or_init(|| OffsetDateTime::now_utc().date())
}

/// The path and body of a request about a product; `None` where it cannot be sent. `made` is the
/// reservation that it frees, if it is one that there is.
pub(crate) fn written(
    id: &str,
    product: &str,
    request: &Request,
    made: Option<&Made>,
) -> Option<(String, Value)> {
    let (word, path, members) = match request {
        Request::Allocate { path, groups, quantity } => {
            ("allocation/allocate", path, held(groups, *quantity))
        }
        Request::Unallocate { path, groups, quantity } => {
            ("allocation/unallocate", path, held(groups, *quantity))
        }
        Request::Reallocate { path, source, groups, quantity } => {
            let mut members = held(groups, *quantity);
            members.insert("sourceGroups".to_owned(), object(&GROUPS, source));
            ("allocation/reallocate", path, members)
        }
        Request::Consume { path, groups, quantity, modifiers } => {
            let mut members = held(groups, *quantity);
            let direction = |addition: bool| json!(if addition { "Addition" } else { "Subtraction" });
            let modifiers = modifiers.iter().map(|(measure, addition)| (measure, direction(*addition)));
            members.insert("physicalMeasures".to_owned(), by_source(modifiers));
            ("allocation/consume", path, members)
        }
        Request::OnHand { path, deltas, settle } => {
            let settled = settle.iter().map(|(_, quantity)| ("@iv.@consumed".to_owned(), -quantity));
            let deltas: Vec<_> = deltas.iter().cloned().chain(settled).collect();
            let deltas = deltas.iter().map(|(measure, delta)| (measure, json!(decimal(*delta))));
            let mut members = Map::from_iter([("quantities".to_owned(), by_source(deltas))]);
            members.extend(settle.iter().map(|(groups, _)| ("groups".to_owned(), object(&GROUPS, groups))));
            ("onhand", path, members)
        }
        Request::SetOnHand { path, values, at } => {
            let source = values[0].0.split_once('.')?.0;
            if values.iter().any(|(measure, _)| measure.split_once('.').is_none_or(|(own, _)| own != source))
            {
                return None;
            }
            let values = values.iter().map(|(measure, value)| (measure, json!(decimal(*value))));
            let mut line = Map::from_iter([("quantities".to_owned(), by_source(values))]);
            let (minutes, seconds) = (at / 60, at % 60);
            let time = format!("2026-01-01T{:02}:{:02}:{seconds:02}Z", minutes / 60, minutes % 60);
            line.insert("modifiedDateTimeUTC".to_owned(), json!(time));
            let line = Value::Object(addressed(id, product, path, line));
            return Some((format!("setonhand/{source}/bulk"), json!([line])));
        }
        Request::Reserve { path, measure, quantity, checked } => {
            ("onhand/reserve", path, reserved(measure, *quantity, *checked))
        }
        Request::GiveBack { path, measure, quantity } => {
            ("onhand/reserve", path, reserved(measure, -quantity, false))
        }
        Request::Unreserve { quantity, .. } => {
            let name = made.map_or(Uuid::nil().to_string(), |made| made.name.clone());
            let dimensions = object(&DIMENSIONS, &path_of(request, made));
            // It names no product: that is the reservation's.
            let body = json!({
                "id": id, "organizationId": "usmf", "reservationId": name, "dimensions": dimensions,
                "OffsetQty": decimal(*quantity),
            });
            return Some(("onhand/unreserve".to_owned(), body));
        }
        Request::Schedule { path, changes } => {
            let mut days = Map::new();
            for (day, measure, delta) in changes {
                let date = (first_day() + Duration::days(*day)).to_string();
                let (source, measure) = measure.split_once('.')?;
                days.entry(date).or_insert_with(|| json!({}))[source][measure] = json!(decimal(*delta));
            }
            let members = Map::from_iter([("quantitiesByDate".to_owned(), Value::Object(days))]);
            ("onhand/changeschedule", path, members)
        }
    };
    Some((word.to_owned(), Value::Object(addressed(id, product, path, members))))
}

fn addressed(
    id: &str,
    product: &str,
    path: &[String],
    mut members: Map<String, Value>,
) -> Map<String, Value> {
    members.insert("id".to_owned(), json!(id));
    members.insert("organizationId".to_owned(), json!("usmf"));
    members.insert("productId".to_owned(), json!(product));
    members.insert("dimensions".to_owned(), object(&DIMENSIONS, path));
    members
}

fn held(groups: &[String], quantity: i128) -> Map<String, Value> {
    let quantity = ("quantity".to_owned(), json!(decimal(quantity)));
    Map::from_iter([("groups".to_owned(), object(&GROUPS, groups)), quantity])
}

fn reserved(measure: &str, quantity: i128, checked: bool) -> Map<String, Value> {
    let (source, measure) = measure.split_once('.').unwrap();
    Map::from_iter([
        ("quantityDataSource".to_owned(), json!(source)),
        ("modifier".to_owned(), json!(measure)),
        ("quantity".to_owned(), json!(decimal(quantity))),
        ("ifCheckAvailForReserv".to_owned(), json!(checked)),
    ])
}

fn object(names: &[&str], values: &[String]) -> Value {
    names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

fn by_source<'a>(members: impl Iterator<Item = (&'a String, Value)>) -> Value {
    let mut sources = Map::new();
    for (name, value) in members {
        let (source, measure) = name.split_once('.').unwrap();
        sources.entry(source).or_insert_with(|| json!({}))[measure] = value;
    }
    Value::Object(sources)
}

fn decimal(millionths: i128) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    format!("{sign}{}.{:06}", millionths.abs() / ONE, millionths.abs() % ONE)
}

/// A number as it is written: nothing is lost to a float.
type Number<'a> = &'a RawValue;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Held<'a> {
    #[serde(borrow)]
    allocated: Number<'a>,
    #[serde(borrow)]
    consumed: Number<'a>,
    #[serde(borrow)]
    cumulative_allocated: Number<'a>,
    #[serde(borrow)]
    cumulative_consumed: Number<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    code: Option<&'a str>,
    version: Option<u64>,
    #[serde(borrow)]
    balance: Option<Held<'a>>,
    #[serde(borrow)]
    source_balance: Option<Held<'a>>,
    #[serde(borrow)]
    available_to_allocate: Option<Number<'a>>,
    reservation_id: Option<&'a str>,
    /// How much more was to be freed than there was.
    #[serde(borrow, rename = "totalInvalidOffsetQtyByReservId")]
    excess: Option<Number<'a>>,
    #[serde(borrow)]
    requested: Option<Number<'a>>,
    #[serde(borrow)]
    available: Option<Number<'a>>,
    limited_by: Option<HashMap<String, String>>,
}

/// The one line of a bulk, or what is none.
fn line(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

/// What the service calls the reservation that was made or freed.
pub(crate) fn reservation(text: &str) -> Option<String> {
    let body: Body<'_> = serde_json::from_str(line(text)).unwrap();
    body.reservation_id.map(str::to_owned)
}

/// What the service answered to a request, as the model says it. A bulk has one line.
pub(crate) fn read(request: &Request, text: &str) -> Result<Answer, No> {
    let body: Body<'_> = serde_json::from_str(line(text)).unwrap_or_else(|error| panic!("{error}: {text}"));
    let millionths = |number: Number<'_>| {
        let exact = exactly(number.get());
        assert_eq!(exact % ONE, 0, "{number} is finer than a millionth");
        exact / ONE
    };
    let balance = |held: Held<'_>| {
        [held.allocated, held.consumed, held.cumulative_allocated, held.cumulative_consumed].map(millionths)
    };
    let requested = body.requested.map(millionths);
    let limited_at = || {
        let limits = body.limited_by.as_ref().unwrap();
        DIMENSIONS.iter().map_while(|name| limits.get(*name).cloned()).collect()
    };
    match body.code {
        None => Ok(Answer {
            version: body.version.unwrap(),
            balance: body.balance.map(balance),
            source_balance: body.source_balance.map(balance),
            available: exactly(body.available_to_allocate.unwrap().get()),
            freed: match request {
                Request::Unreserve { quantity, .. } => Some(quantity - millionths(body.excess.unwrap())),
                _ => None,
            },
            reservation: body.reservation_id.is_some() && !matches!(request, Request::Unreserve { .. }),
        }),
        Some("insufficient-available-to-reserve") => Err(No::InsufficientAfr {
            requested: requested.unwrap(),
            available: exactly(body.available.unwrap().get()),
            limited_at: limited_at(),
        }),
        Some("nothing-reserved") => Err(No::NothingReserved),
        Some("unknown-reservation") => Err(No::UnknownReservation),
        Some("insufficient-available-to-allocate") => Err(No::InsufficientAta {
            requested: requested.unwrap(),
            available: exactly(body.available.unwrap().get()),
            limited_at: limited_at(),
        }),
        Some("insufficient-allocation") => Err(No::InsufficientAllocation {
            requested: requested.unwrap(),
            available: millionths(body.available.unwrap()),
        }),
        Some("consumption-not-neutral") => Err(No::NotNeutral),
        Some("read-only-data-source") => Err(No::ReadOnly),
        Some("id-reused") => Err(No::IdReused),
        Some("precondition-failed") => Err(No::Superseded),
        Some("invalid-request") if text.contains("\"/sourceGroups\"") => Err(No::SameGroups),
        Some(_) => panic!("the naive model does not refuse with {text}"),
    }
}
