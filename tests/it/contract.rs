//! Holds every answer that a test gets against the service's own OpenAPI document.

use std::sync::OnceLock;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::support::Answer;

/// The document as the program prints it.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(ringfence::http::openapi()).unwrap())
}

/// Panics where an answer is not as the document says: its status, its type, its body.
pub fn check(method: &Method, path: &str, answer: &Answer) {
    let Some(operation) = operation(method, path) else {
        // Pages, and what the service does not have.
        if answer.status >= 400 {
            conforms(&json!({"$ref": "#/components/schemas/Problem"}), answer);
        }
        return;
    };
    let responses = operation["responses"].as_object().unwrap();
    let response = responses.get(&answer.status.to_string()).or_else(|| responses.get("default"));
    let response = response.unwrap_or_else(|| panic!("{method} {path} does not document {}", answer.status));
    let contents = response["content"].as_object().unwrap();
    let kind = answer.header("content-type").unwrap_or_default();
    let content = contents.get(kind);
    let content = content.unwrap_or_else(|| panic!("{method} {path} answers {kind}: {}", answer.text));
    // Other kinds have no schema to speak of.
    if kind.ends_with("json") {
        conforms(&content["schema"], answer);
    }
}

fn conforms(schema: &Value, answer: &Answer) {
    let faults = faults(schema, &answer.json(), "");
    assert!(faults.is_empty(), "{faults:#?} in {}", answer.text);
}

/// The operation that a request's path means.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next()?.trim_end_matches('/').to_lowercase();
    let words: Vec<&str> = path.split('/').collect();
    let is_it = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == words.len()
            && template.iter().zip(&words).all(|(own, word)| own.starts_with('{') || own == word)
    };
    let paths = document()["paths"].as_object()?;
    let (_, operations) = paths.iter().find(|(template, _)| is_it(template))?;
    operations.get(method.as_str().to_lowercase())
}

/// Follows a reference.
pub fn resolve(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(place) => document().pointer(&place[1..]).unwrap(),
        None => schema,
    }
}

/// The properties of an object, also of one that is made of parts.
pub fn properties(schema: &Value) -> Map<String, Value> {
    let schema = resolve(schema);
    let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
    for part in parts(schema, "allOf") {
        properties.extend(self::properties(part));
    }
    properties
}

fn parts<'a>(schema: &'a Value, word: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    schema[word].as_array().into_iter().flatten()
}

/// What in a value is not as its schema says.
fn faults(schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let schema = resolve(schema);
    let fault = |what: String| vec![format!("{place}: {what}")];
    if let Some(kinds) = schema["oneOf"].as_array() {
        let tried: Vec<_> = kinds.iter().map(|kind| faults(kind, value, place)).collect();
        return if tried.iter().any(Vec::is_empty) { Vec::new() } else { tried.concat() };
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        Value::Null => Vec::new(),
        kind => vec![kind.clone()],
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(kind.as_str().unwrap(), value)) {
        return fault(format!("{value} is not {kinds:?}"));
    }
    match value {
        Value::Object(members) => object_faults(schema, members, place),
        Value::Array(items) => {
            let item = |(index, item)| faults(&schema["items"], item, &format!("{place}/{index}"));
            items.iter().enumerate().flat_map(item).collect()
        }
        _ => Vec::new(),
    }
}

fn object_faults(schema: &Value, members: &Map<String, Value>, place: &str) -> Vec<String> {
    let (properties, rest) = (properties(schema), &schema["additionalProperties"]);
    let mut faults = Vec::new();
    for part in parts(schema, "allOf").map(resolve).chain([schema]) {
        let missing = parts(part, "required").filter(|name| !members.contains_key(name.as_str().unwrap()));
        faults.extend(missing.map(|name| format!("{place} lacks {name}")));
    }
    for (name, value) in members {
        match properties.get(name).or_else(|| Some(rest).filter(|rest| !rest.is_null())) {
            Some(property) => faults.extend(self::faults(property, value, &format!("{place}/{name}"))),
            None => faults.push(format!("{place}/{name} is not documented")),
        }
    }
    faults
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is not a type of JSON Schema"),
    }
}
