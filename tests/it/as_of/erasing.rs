//! What is erased was never there, whenever one asks about.

use ringfence::domain::name::Value as Name;
use ringfence::store::erasing::{Order, Partition, empty};
use ringfence::store::snapshots::Source;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::requests::{JSON, allocation, changed, stock};
use crate::schedule::scheduling;
use crate::support::{Service, database, eventually};

use super::{alone, ask, connect, follow, last_event, questions, run, snapshots};

/// A service with a bicycle and a helmet, eight events of each.
async fn service() -> (Service, PgConnection) {
    let service = Service::start_on(database().await, &["--allow-erasing"]).await;
    service.configure(scheduling(30)).await;
    let connection = alone(&service).await;
    for product in ["Bike", "Helmet"] {
        let of = |body| changed(body, json!({"productId": product}));
        for index in 0..7 {
            service.grant("onhand", of(stock(&format!("{product} {index}"), 1))).await;
        }
        service.grant("allocation/allocate", of(allocation(&format!("{product} a"), "Online/VIP", 3))).await;
    }
    (service, connection)
}

fn bike() -> Partition {
    Partition { organization: Name::parse("usmf").unwrap(), product: Name::parse("Bike").unwrap() }
}

/// How many rows there are of a product, of whatever is kept of the past.
async fn kept(connection: &mut PgConnection, product: &str) -> (i64, i64) {
    let due = sqlx::query_scalar("SELECT count(*) FROM snapshot_due WHERE product_id = $1").bind(product);
    (snapshots(connection, product).await, due.fetch_one(connection).await.unwrap())
}

async fn erase(service: &Service) {
    let path = "/api/environment/test/partitions/cleanupalldata";
    let answer = service.send(reqwest::Method::DELETE, path, &[JSON], r#"["usmf/Bike"]"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn snapshots_go_with_their_product_and_nothing_of_it_is_told_any_more() {
    let (service, mut connection) = service().await;
    follow(&mut connection, 0, 3).await;
    assert_eq!(
        (kept(&mut connection, "Bike").await, kept(&mut connection, "Helmet").await),
        ((2, 1), (2, 1))
    );
    let last = last_event(&mut connection).await;
    erase(&service).await;
    assert_eq!(
        (kept(&mut connection, "Bike").await, kept(&mut connection, "Helmet").await),
        ((0, 0), (2, 1))
    );
    // It begins anew, at higher ids: about then there is still nothing.
    service.grant("onhand", stock("Bike 0", 40)).await;
    for question in questions() {
        for point in [3, 8, last] {
            let answer = ask(&service, "test", &question, Some(json!(point))).await;
            assert!(!answer.text.contains("Bike"), "{question:?} as of {point}: {}", answer.text);
        }
    }
    let answer = ask(&service, "test", &questions()[4], Some(json!(last + 1))).await;
    let found = answer.json();
    assert_eq!(
        (&found[0]["productId"], &found[0]["quantities"]["pos"]["inbound"]),
        (&json!("Bike"), &json!(40))
    );
    assert_eq!(found[1]["quantities"]["pos"]["inbound"], 7);
    service.verify().await;
    service.stop().await;
}

/// Events that count as gone and are not deleted yet make no snapshots and no answers.
#[tokio::test]
async fn events_that_are_still_to_be_deleted_are_gone_already() {
    let (service, mut connection) = service().await;
    let last = last_event(&mut connection).await;
    empty(&mut connection, "test", &[bike()], Order::EnvironmentFirst).await.unwrap();
    follow(&mut connection, 0, 3).await;
    assert_eq!(kept(&mut connection, "Bike").await, (0, 0));
    let answer = ask(&service, "test", &questions()[0], Some(json!(last))).await;
    assert_eq!(answer.text, "[]");
    service.stop().await;
}

/// Whoever takes snapshots has read the events, and somebody wants to erase the product.
#[tokio::test]
async fn what_was_read_before_an_erasure_is_not_written_after_it() {
    let (service, mut connection) = service().await;
    let (mut taking, until) = (connect(&service).await, last_event(&mut connection).await);
    let mut taking = taking.begin().await.unwrap();
    run(&mut taking, "SELECT name FROM follower WHERE name = 'snapshots' FOR UPDATE").await;
    let mut eraser = connect(&service).await;
    let erasing = tokio::spawn(async move {
        empty(&mut eraser, "test", &[bike()], Order::EnvironmentFirst).await.unwrap().stock_nodes
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND query LIKE '%FROM follower%' AND datname = current_database()";
    eventually("who erases waits", async || {
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut connection).await.unwrap();
        waiting > 0
    })
    .await;
    ringfence::store::snapshots::follow(&mut taking, (0, until), Source::Ledger, 3).await.unwrap();
    taking.commit().await.unwrap();
    assert!(erasing.await.unwrap() > 0);
    assert_eq!(
        (kept(&mut connection, "Bike").await, kept(&mut connection, "Helmet").await),
        ((0, 0), (2, 1))
    );
    service.stop().await;
}
