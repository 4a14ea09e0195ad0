//! What is bounded, and what is at its bound.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::proxy::{Line, Proxy};
use crate::requests::{allocation, event, problem, stock, without};
use crate::support::{Service, bicycles, database, eventually};

/// How long something has to stay as it is to be taken for so.
const STAYS: Duration = Duration::from_millis(300);
/// How long something that happens may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bulk that takes its part of the room for all bodies, and sends nothing of it.
async fn take_room(service: &Service) -> TcpStream {
    let mut stream = TcpStream::connect(service.base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /api/environment/test/onhand/bulk HTTP/1.1\r\nhost: it\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        8 << 20
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    // It is told to go on once it has its room.
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn large_bodies_wait_for_room_and_commands_do_not() {
    let times = ["--body-time-max-ms", "600000", "--request-time-max-ms", "600000"];
    let service = Service::start_on(database().await, &times).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let mut holders = Vec::new();
    for _ in 0..8 {
        holders.push(take_room(&service).await);
    }
    let large = stock("large", 1).to_string() + &" ".repeat(20 << 10);
    let mut waiting = Box::pin(service.post_text("onhand", large));
    assert!(tokio::time::timeout(STAYS, &mut waiting).await.is_err(), "there was more room than 64 MiB");
    let small = tokio::time::timeout(PATIENCE, service.grant("onhand", stock("small", 1))).await;
    assert!(small.is_ok(), "a command waits for room");
    holders.pop();
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap().status, 200);
    drop(holders);
    service.stop().await;
}

#[tokio::test]
async fn a_bulk_leaves_room_in_the_queue() {
    let limits = ["--shards", "1", "--queue-commands-max", "4", "--batch-commands-max", "4"];
    let service = Service::start_on(database().await, &limits).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 100)).await;
    // As long as this row is locked, nothing is committed.
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let mut lock = connection.begin().await.unwrap();
    sqlx::query("SELECT FROM environment FOR UPDATE").execute(&mut *lock).await.unwrap();
    let lines: Vec<_> = (0..20).map(|line| stock(&format!("line-{line}"), 1)).collect();
    let bulk = service.post("onhand/bulk", json!(lines));
    let single = async {
        eventually("a batch waits for the lock", async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                           AND datname = current_database()";
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *lock).await.unwrap() > 0
        })
        .await;
        let mut single = Box::pin(service.post("allocation/allocate", allocation("single", "Online", 1)));
        let early = tokio::time::timeout(STAYS, &mut single).await;
        assert!(early.is_err(), "it was not let in: {early:?}");
        lock.rollback().await.unwrap();
        single.await
    };
    let (bulk, single) = tokio::join!(bulk, single);
    assert_eq!((bulk.status, single.status), (200, 200), "{} {}", bulk.text, single.text);
    service.stop().await;
}

#[tokio::test]
async fn where_nothing_is_nobody_is_told_what_to_send() {
    let service = Service::start().await;
    for path in ["/", "/api/environment/test", "/api/environment/test/allocation/nothing"] {
        let answer = service.send(Method::POST, path, &[("content-type", "text/plain")], "x").await;
        problem(&answer, "not-found");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_reader_that_falls_silent_on_its_way_back_is_replaced() {
    let proxy = Proxy::to(&database().await).await;
    let limits = ["--readers-max", "1", "--round-trip-max-ms", "3000"];
    let service = Service::start_on(proxy.database.clone(), &limits).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    let expected = json!([["Online", 8, 0, 8, 0]]);
    // What it asks is prepared from then on: one exchange, and then it goes back.
    assert_eq!(service.balances(json!({})).await, expected);
    for round in 0..3 {
        proxy.set(Line::Last);
        assert_eq!(service.balances(json!({})).await, expected);
        eventually("it was asked whether it lives", async || proxy.unheard() > round).await;
        proxy.set(Line::Open);
        let query = || without(event("", json!({})), "id");
        eventually("there is a reader again", async || {
            service.post("allocation/query", query()).await.status == 200
        })
        .await;
        assert_eq!(service.balances(json!({})).await, expected);
    }
    service.stop().await;
}
