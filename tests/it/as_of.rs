//! Questions about the past, held against what was answered then.

mod erasing;
mod history;
mod points;
mod snapshots;
mod times;

use reqwest::Method;
use ringfence::store::snapshots::Source;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::requests::{changed, stock};
use super::schedule::scheduling;
use super::support::{Answer, Service, eventually, unguarded};

/// The last event that there is.
pub async fn last_event(connection: &mut PgConnection) -> i64 {
    let last = sqlx::query_scalar("SELECT coalesce(max(event_id), 0) FROM ledger");
    last.fetch_one(connection).await.unwrap()
}

/// Takes snapshots of all that happened behind an event, one every so many events of a product.
pub async fn follow(connection: &mut PgConnection, after: i64, events: u64) -> i64 {
    let until = last_event(connection).await;
    follow_by(connection, (after, until), Source::Ledger, events).await
}

/// The same up to another event, from either source. Noted as a follower does.
pub async fn follow_by(
    connection: &mut PgConnection,
    (after, until): (i64, i64),
    source: Source,
    events: u64,
) -> i64 {
    let mut transaction = connection.begin().await.unwrap();
    ringfence::store::snapshots::follow(&mut transaction, (after, until), source, events).await.unwrap();
    ringfence::store::follow::reach(&mut transaction, "snapshots", until).await.unwrap();
    transaction.commit().await.unwrap();
    until
}

/// How many snapshots there are of a product.
pub async fn snapshots(connection: &mut PgConnection, product: &str) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM snapshot WHERE product_id = $1").bind(product);
    count.fetch_one(connection).await.unwrap()
}

/// A service whose configuration has days to schedule for, with so many red bicycles.
pub async fn with_stock(quantity: i64) -> Service {
    let service = Service::start().await;
    assert_eq!(service.configure(scheduling(30)).await.status, 200);
    service.grant("onhand", stock("stock", quantity)).await;
    service
}

/// A connection for a test that takes the snapshots itself: the service's own follower does not see its
/// row any more, so it never has its turn.
pub async fn alone(service: &Service) -> PgConnection {
    let mut connection = connect(service).await;
    eventually("it follows", async || {
        run(&mut connection, "SELECT FROM follower WHERE name = 'snapshots'").await == 1
    })
    .await;
    // Waits for a chunk that it is in the middle of.
    let hide = "CREATE POLICY apart ON follower USING (name <> 'snapshots');
                ALTER TABLE follower ENABLE ROW LEVEL SECURITY";
    run(&mut connection, hide).await;
    let nothing = "DELETE FROM snapshot_due; DELETE FROM ledger_piece;
                   UPDATE follower SET reached_event_id = 0 WHERE name = 'snapshots'";
    run(&mut connection, nothing).await;
    connection
}

pub async fn connect(service: &Service) -> PgConnection {
    PgConnection::connect_with(&unguarded(&service.database)).await.unwrap()
}

pub async fn run(connection: &mut PgConnection, statement: &str) -> u64 {
    connection.execute(AssertSqlSafe(statement)).await.unwrap().rows_affected()
}

/// Every kind of question that there is, each with a method and a path behind the environment's.
pub fn questions() -> Vec<(Method, String, Value)> {
    let filters = |members: Value| changed(json!({"organizationId": ["usmf"], "productId": []}), members);
    let at = |path: &str, members: Value| (Method::POST, path.to_owned(), members);
    let balances = |members: Value| {
        let place = json!({"siteId": "1", "locationId": "11", "colorId": "red"});
        let body = json!({"organizationId": "usmf", "productId": "Bike", "dimensions": place});
        at("allocation/query", changed(body, members))
    };
    let get = |query: &str| (Method::GET, format!("onhand?organizationId=usmf&{query}"), Value::Null);
    let exact =
        json!({"dimensions": ["locationId", "colorId"], "values": [["11", "red"], ["12", ""], ["11", ""]]});
    vec![
        balances(json!({})),
        balances(json!({"rollup": true})),
        balances(json!({"rollup": true, "groups": {"customerGroup": "VIP"}})),
        balances(json!({"productId": "Helmet", "dimensions": {"siteId": "1", "locationId": "12"}})),
        at("onhand/indexquery", json!({"filters": filters(json!({})), "returnNegative": true})),
        at(
            "onhand/indexquery",
            json!({"filters": filters(json!({"siteId": ["1"]})), "groupByValues": ["sizeId", "colorId"]}),
        ),
        at(
            "onhand/indexquery",
            json!({"filters": filters(json!({"productId": ["Bike", "Lamp"]})), "groupByValues": ["colorId"], "queryATP": true}),
        ),
        at(
            "onhand/indexquery",
            json!({"filters": filters(json!({"locationId": ["11", ""], "colorId": []})), "queryATP": true}),
        ),
        at(
            "onhand/exactquery",
            json!({"filters": filters(exact), "returnNegative": true, "groupByValues": ["sizeId"]}),
        ),
        get("siteId=1&groupBy=locationId,colorId&returnNegative=true"),
        get("productId=Helmet&productId=Bike&groupBy=sizeId"),
    ]
}

/// Asks a question in an environment, about a point where one is given.
pub async fn ask(
    service: &Service,
    environment: &str,
    (method, path, body): &(Method, String, Value),
    as_of: Option<Value>,
) -> Answer {
    let (mut path, mut body) = (format!("/api/environment/{environment}/{path}"), body.clone());
    if let Some(point) = as_of {
        let text = point.as_str().map_or(point.to_string(), str::to_owned);
        match body.is_null() {
            true => path += &format!("&asOf={}", text.replace('+', "%2B")),
            false => body["asOf"] = point,
        }
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = service.send(method.clone(), &path, &[super::requests::JSON], body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer
}

/// The event that an answer is as of.
pub fn point_of(answer: &Answer) -> i64 {
    answer.header("ringfence-as-of").unwrap().parse().unwrap()
}
