//! What the tests ask, in one line each, and what they expect of every answer.

use reqwest::Method;
use ringfence::verify::verify;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::support::{Answer, Service, bicycles};

pub const JSON: (&str, &str) = ("content-type", "application/json");

/// Where the red bicycle is.
pub fn red() -> Value {
    json!({"siteId": "1", "locationId": "11", "colorId": "red"})
}

/// The group path of values for the first groups: `Online/VIP/US`.
pub fn groups(path: &str) -> Value {
    let names = ["channel", "customerGroup", "region"];
    names.iter().zip(path.split('/')).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// A body with some members replaced or added.
pub fn changed(mut body: Value, members: Value) -> Value {
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

/// A body without a member.
pub fn without(mut body: Value, name: &str) -> Value {
    body.as_object_mut().unwrap().remove(name).unwrap();
    body
}

/// An event of the red bicycle.
pub fn event(id: &str, members: Value) -> Value {
    let body = json!({"id": id, "organizationId": "usmf", "productId": "Bike", "dimensions": red()});
    changed(body, members)
}

pub fn stock(id: &str, quantity: impl Into<Value>) -> Value {
    event(id, json!({"quantities": {"pos": {"inbound": quantity.into()}}}))
}

pub fn allocation(id: &str, path: &str, quantity: impl Into<Value>) -> Value {
    event(id, json!({"groups": groups(path), "quantity": quantity.into()}))
}

/// A consume that takes the stock from the shops.
pub fn consumption(id: &str, path: &str, quantity: impl Into<Value>) -> Value {
    changed(allocation(id, path, quantity), json!({"physicalMeasures": {"pos": {"inbound": "Subtraction"}}}))
}

pub fn reallocation(id: &str, from: &str, to: &str, quantity: impl Into<Value>) -> Value {
    changed(allocation(id, to, quantity), json!({"sourceGroups": groups(from)}))
}

/// A balance as a command answers it.
pub fn balance(allocated: i64, consumed: i64, in_all: (i64, i64)) -> Value {
    json!({
        "allocated": allocated, "consumed": consumed,
        "cumulativeAllocated": in_all.0, "cumulativeConsumed": in_all.1,
    })
}

/// The wire contract's table: code, HTTP status, `statusCode`.
pub const PROBLEMS: &[(&str, u16, u16)] = &[
    ("malformed-json", 400, 400),
    ("invalid-request", 400, 400),
    ("unknown-property", 400, 400),
    ("unknown-group", 400, 400),
    ("hierarchy-gap", 400, 400),
    ("unknown-dimension", 400, 400),
    ("unknown-measure", 400, 400),
    ("invalid-quantity", 400, 400),
    ("missing-required-dimension", 400, 500),
    ("read-only-data-source", 400, 400),
    ("consumption-not-neutral", 400, 400),
    ("missing-id", 400, 400),
    ("unauthenticated", 401, 401),
    ("forbidden", 403, 403),
    ("unknown-environment", 404, 404),
    ("unknown-reservation", 404, 404),
    ("unknown-watch", 404, 404),
    ("unknown-webhook", 404, 404),
    ("unknown-delivery", 404, 404),
    ("not-found", 404, 404),
    ("insufficient-available-to-allocate", 409, 500),
    ("insufficient-allocation", 409, 500),
    ("insufficient-available-to-reserve", 409, 500),
    ("nothing-reserved", 409, 500),
    ("product-not-enabled", 409, 500),
    ("configuration-in-use", 409, 409),
    ("unprotected-formula", 409, 409),
    ("precondition-failed", 412, 412),
    ("payload-too-large", 413, 413),
    ("unsupported-media-type", 415, 415),
    ("id-reused", 422, 422),
    ("rate-limited", 429, 429),
    ("overloaded", 503, 503),
    ("database-unavailable", 503, 503),
    ("shutting-down", 503, 503),
];

/// Every table that the service keeps something in.
const TABLES: [&str; 9] = [
    "environment",
    "configuration",
    "ledger",
    "stock_node",
    "balance",
    "reservation",
    "schedule",
    "product_switch",
    "erasure",
];

/// Holds a problem's body against the row of its code.
pub fn check_problem(body: &Value, code: &str) {
    let row = PROBLEMS.iter().find(|row| row.0 == code);
    let &(_, status, status_code) = row.unwrap_or_else(|| panic!("{code} is not in the table"));
    assert_eq!(body["code"], json!(code), "{body}");
    assert_eq!(body["status"], json!(status), "{body}");
    assert_eq!(body["statusCode"], json!(status_code), "{body}");
    assert_eq!(body["type"], json!(format!("/problems/{code}")));
    assert_eq!(body["processingStatus"], json!("failure"));
    for member in ["title", "detail", "message"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {body}");
    }
}

/// Holds an answer against the row of a code, and answers its body.
pub fn problem(answer: &Answer, code: &str) -> Value {
    let body = answer.json();
    check_problem(&body, code);
    assert_eq!(json!(answer.status), body["status"]);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let comes_again = answer.status == 503 || (answer.status == 429 && !answer.text.contains("never fit"));
    assert_eq!(answer.header("retry-after").is_some(), comes_again, "{body}");
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    assert_eq!(answer.header("idempotent-replayed"), None);
    body
}

/// Every pointer of a problem's faults, in order.
pub fn pointers(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let mut pointers: Vec<String> =
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
    pointers.sort();
    pointers
}

impl Service {
    /// A service with the bicycles' configuration, and so many red ones in the shop.
    pub async fn with_stock(quantity: i64) -> Service {
        let service = Service::start().await;
        assert_eq!(service.configure(bicycles()).await.status, 200);
        service.grant("onhand", stock("stock", quantity)).await;
        service
    }

    /// Posts a command that is granted for the first time.
    pub async fn grant(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("idempotent-replayed"), None, "{}", answer.text);
        answer.json()
    }

    /// Posts a request that is refused.
    pub async fn refuse(&self, path: &str, body: Value, code: &str) -> Value {
        problem(&self.post(path, body).await, code)
    }

    /// Posts a text to a path of the environment `test`.
    pub async fn post_text(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(Method::POST, &format!("/api/environment/test/{path}"), &[JSON], body).await
    }

    /// What the group paths hold at the red bicycle: values, and the four quantities.
    pub async fn balances(&self, members: Value) -> Value {
        let answer = self.post("allocation/query", without(event("", members), "id")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json().as_array().unwrap().iter().map(short).collect()
    }

    /// Everything that is kept, as text: equal when nothing changed.
    pub async fn books(&self) -> String {
        let mut connection = PgConnection::connect_with(&self.database).await.unwrap();
        let mut books = String::new();
        for table in TABLES {
            let statement = format!("SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM {table} t");
            let rows: Option<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut connection).await.unwrap();
            books += &format!("{table}\n{}\n", rows.unwrap_or_default());
        }
        connection.close().await.unwrap();
        books
    }

    /// Replays the ledger: what it adds up to is what is stored. Answers how many events
    /// it has.
    pub async fn verify(&self) -> usize {
        let mut connection = PgConnection::connect_with(&self.database).await.unwrap();
        let report = verify(&mut connection).await.unwrap();
        assert!(report.differences.is_empty(), "{:#?}", report.differences);
        connection.close().await.unwrap();
        report.events
    }
}

/// `["Online/VIP", 5, 3, 8, 3]`.
fn short(record: &Value) -> Value {
    let groups = record["groups"].as_object().unwrap();
    let names = ["channel", "customerGroup", "region"];
    let path: Vec<&str> = names.iter().filter_map(|name| groups.get(*name)?.as_str()).collect();
    assert_eq!(path.len(), groups.len(), "{record}");
    let quantities = &record["quantities"]["@iv"];
    let quantity = |name: &str| quantities[name].clone();
    json!([
        path.join("/"),
        quantity("@allocated"),
        quantity("@consumed"),
        quantity("@cumulative_allocated"),
        quantity("@cumulative_consumed"),
    ])
}

/// Runs tasks at once, and answers their results in order.
pub async fn all<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let handles: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(handles.len());
    for handle in handles {
        results.push(handle.await.unwrap());
    }
    results
}
