//! Requests of the naive model as a client sends them, and answers as the model gives them.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::core::wire::exactly;
use crate::core::{DIMENSIONS, GROUPS};
use crate::naive::{Answer, No, ONE, Request};

/// The path and body of a request about a product; `None` where it cannot be sent.
pub(crate) fn written(id: &str, product: &str, request: &Request) -> Option<(String, Value)> {
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
        Request::Reserve { .. } | Request::GiveBack { .. } | Request::Unreserve { .. } => return None,
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
    #[serde(borrow)]
    requested: Option<Number<'a>>,
    #[serde(borrow)]
    available: Option<Number<'a>>,
    limited_by: Option<HashMap<String, String>>,
}

/// What the service answered, as the model says it. A bulk has one line.
pub(crate) fn read(text: &str) -> Result<Answer, No> {
    let line = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let body: Body<'_> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"));
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
            freed: None,
            reservation: body.reservation_id.is_some(),
        }),
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
