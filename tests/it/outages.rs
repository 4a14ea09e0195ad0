//! When the service cannot: it says so, says when to try again, and a repeat tells the truth.

use std::sync::Arc;

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::load::Client;
use super::proxy::{Line, Proxy};
use super::raw::{begin, end, head};
use super::requests::{allocation, check_problem, event, problem, stock, without};
use super::support::{Service, bicycles, database, eventually};

/// A service whose line to the database can be cut, and a client that asks again where so little time for an
/// exchange was not enough.
async fn service(round_trip_max_ms: &str) -> (Service, Client, Proxy) {
    let proxy = Proxy::to(&database().await).await;
    let limits = ["--round-trip-max-ms", round_trip_max_ms];
    let service = Service::start_on(proxy.database.clone(), &limits).await;
    let client = Client::new(&service.base);
    client.configure().await;
    client.done("onhand", stock("stock", 10)).await;
    (service, client, proxy)
}

/// What is refused, though it is asked again where it could not be told.
async fn refused(client: &Client, path: &str, body: serde_json::Value, code: &str) {
    problem(&client.settle(path, &body).await, code);
}

#[tokio::test]
async fn without_its_database_it_says_that_it_cannot_tell_and_goes_on_afterwards() {
    let (service, client, proxy) = service("1000").await;
    proxy.set(Line::Cut);
    let code = "database-unavailable";
    let problem = service.refuse("allocation/allocate", allocation("a", "Online", 8), code).await;
    assert_eq!(problem["id"], "a");
    service.refuse("allocation/query", without(event("", json!({})), "id"), code).await;
    self::problem(&service.configure(bicycles()).await, code);
    self::problem(&service.get("/readyz").await, code);
    assert_eq!(service.get("/healthz").await.status, 200);
    let lines = service.post("onhand/bulk", json!([stock("line", 1)])).await;
    assert_eq!(lines.status, 207);
    check_problem(&lines.json()[0], code);

    proxy.set(Line::Open);
    eventually("it is ready", async || service.get("/readyz").await.status == 200).await;
    let granted = client.done("allocation/allocate", allocation("a", "Online", 8)).await.json();
    assert_eq!((&granted["availableToAllocate"], &granted["version"]), (&json!(2), &json!(2)));
    let code = "insufficient-available-to-allocate";
    refused(&client, "allocation/allocate", allocation("b", "Online", 3), code).await;
    assert_eq!(service.verify().await, 2);
    service.stop().await;
}

#[tokio::test]
async fn a_query_that_is_not_answered_is_given_up_with_its_connection() {
    let (service, client, proxy) = service("1000").await;
    let query = || without(event("", json!({})), "id");
    // More often than there are connections: none may be lost by it.
    for _ in 0..5 {
        proxy.set(Line::Open);
        client.done("allocation/query", query()).await;
        // The connection was in use a moment ago, so nobody asks whether it lives.
        proxy.set(Line::Mute);
        service.refuse("allocation/query", query(), "database-unavailable").await;
    }
    proxy.set(Line::Open);
    for _ in 0..8 {
        client.done("allocation/query", query()).await;
    }
    service.stop().await;
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_told_by_a_repeat() {
    let (service, client, proxy) = service("5000").await;
    client.done("allocation/allocate", allocation("before", "Online", 1)).await;
    let mut connection = PgConnection::connect_with(&proxy.direct).await.unwrap();
    proxy.set(Line::Mute);
    let lost = allocation("lost", "Online", 8);
    service.refuse("allocation/allocate", lost.clone(), "database-unavailable").await;
    eventually("it is done", async || {
        let done = "SELECT FROM ledger WHERE id = 'lost'";
        connection.fetch_optional(done).await.unwrap().is_some()
    })
    .await;
    proxy.set(Line::Open);
    let repeat = client.done("allocation/allocate", lost).await;
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"), "it was done, unheard");
    assert_eq!(repeat.json()["availableToAllocate"], json!(1));
    let code = "insufficient-available-to-allocate";
    refused(&client, "allocation/allocate", allocation("more", "Online", 2), code).await;
    assert_eq!(service.verify().await, 3);
    service.stop().await;
}

#[tokio::test]
async fn when_too_much_is_waiting_more_is_sent_away_and_can_come_again() {
    let tight = ["--shards", "1", "--queue-commands-max", "1", "--batch-commands-max", "1"];
    let service = Arc::new(Service::start_on(database().await, &tight).await);
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 100)).await;
    // As long as this row is locked, nothing is committed.
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let mut lock = connection.begin().await.unwrap();
    sqlx::query("SELECT FROM environment FOR UPDATE").execute(&mut *lock).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let service = Arc::clone(&service);
        tasks.spawn(async move {
            let body = allocation(&task.to_string(), "Online", 1);
            (task, service.post("allocation/allocate", body).await)
        });
    }
    // One is being committed and one waits: six at least are not taken.
    let mut away = Vec::new();
    while away.len() < 6 {
        let (task, answer) = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(problem(&answer, "overloaded")["id"], task.to_string());
        away.push(task);
    }
    lock.rollback().await.unwrap();
    while let Some(ended) = tasks.join_next().await {
        let (task, answer) = ended.unwrap();
        // A seventh, if all came before the first was taken from the queue.
        match answer.status {
            503 => away.push(task),
            _ => assert_eq!(answer.status, 200, "{}", answer.text),
        }
    }
    assert!(away.len() < 8, "the queue takes one at least");
    for task in away {
        service.grant("allocation/allocate", allocation(&task.to_string(), "Online", 1)).await;
    }
    assert_eq!(service.balances(json!({})).await, json!([["Online", 8, 0, 8, 0]]));
    Arc::into_inner(service).unwrap().stop().await;
}

#[tokio::test]
async fn while_it_stops_it_finishes_what_was_begun_and_is_not_ready() {
    let service = Service::with_stock(10).await;
    let address = service.base.strip_prefix("http://").unwrap().to_owned();
    let ready = begin(&service, "GET /readyz HTTP/1.1\r\nHost: it\r\n").await;
    let body = allocation("a", "Online", 8).to_string();
    let command = begin(&service, &head(&format!("Content-Length: {}", body.len()))).await;
    // Connections are accepted in order: once this one is answered, the others are open.
    let last = begin(&service, "GET /healthz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n").await;
    assert!(end(last, "\r\n").await.0.starts_with("http/1.1 200"));
    let database = service.database.clone();
    let stopped = tokio::spawn(service.stop());
    eventually("the address is free", || async { TcpStream::connect(&address).await.is_err() }).await;

    let (head, answer) = end(ready, "\r\n").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert!(head.contains("\r\nretry-after: 1") && head.contains("application/problem+json"), "{head}");
    check_problem(&answer, "shutting-down");
    let (head, answer) = end(command, &body).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(answer["availableToAllocate"], json!(2));
    stopped.await.unwrap();

    let service = Service::start_on(database, &[]).await;
    assert_eq!(service.balances(json!({})).await, json!([["Online", 8, 0, 8, 0]]));
    service.stop().await;
}
