//! Deliveries by several instances, and by one that is killed in the middle.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::load::{Client, allocation, consume, on_hand};
use super::process::Program;
use super::receiver::{NEVER, Receiver};
use super::support::{database, eventually, service_url};

const PRODUCTS: usize = 12;
/// Each is filled and emptied so often: an alert opens and closes.
const ROUNDS: usize = 3;

/// An instance that waits so long for a receiver.
async fn instance(url: &str, time_max_ms: &str) -> Program {
    let webhooks = ["--allow-private-webhooks", "--webhook-retry-ms", "20"];
    let arguments = ["--database-url", url, "--webhook-time-max-ms", time_max_ms];
    Program::serve(&[&arguments[..], &webhooks].concat()).await
}

/// An environment that watches for what is empty, and tells a receiver.
async fn watched(base: &str, receiver: &Receiver) -> Client {
    let client = Client::new(base);
    client.configure().await;
    let empty = json!({"rule": {"balanceAtOrBelow": 0}});
    assert_eq!(client.send(Method::PUT, "watches/empty", &empty).await.unwrap().status, 200);
    let hook = json!({"url": receiver.url});
    assert_eq!(client.send(Method::PUT, "webhooks/one", &hook).await.unwrap().status, 200);
    client
}

async fn open(client: &Client) -> usize {
    let alerts = client.send(Method::GET, "alerts?state=open", &Value::Null).await.unwrap();
    alerts.json().as_array().unwrap().len()
}

/// Empties and fills all products, and sees the alerts open and close.
async fn run(client: &Client, round: usize) {
    for number in 0..PRODUCTS {
        let product = format!("P{number}");
        client.done("onhand", on_hand(&format!("s{number}-{round}"), &product, 5)).await;
        client.done("allocation/allocate", allocation(&format!("a{number}-{round}"), &product, 5)).await;
    }
    eventually("all are closed", async || open(client).await == 0).await;
    for number in 0..PRODUCTS {
        client
            .done("allocation/consume", consume(&format!("c{number}-{round}"), &format!("P{number}"), 5))
            .await;
    }
    eventually("all are open", async || open(client).await == PRODUCTS).await;
}

/// The kinds of messages that each product got, in the order in which they came first.
fn told(receiver: &Receiver) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for message in receiver.messages() {
        let of_product = told.entry(message.product()).or_default();
        if !of_product.iter().any(|(id, _)| id == message.id()) {
            of_product.push((message.id().to_owned(), message.kind()));
        }
    }
    told.into_iter()
        .map(|(product, messages)| (product, messages.into_iter().map(|(_, kind)| kind).collect()))
        .collect()
}

fn is_all(told: &BTreeMap<String, Vec<String>>) -> bool {
    told.len() == PRODUCTS && told.values().all(|kinds| kinds.len() == 2 * ROUNDS - 1)
}

fn in_order(told: &BTreeMap<String, Vec<String>>) -> bool {
    let expected = ["alert.opened", "alert.closed"].iter().cycle();
    told.values().all(|kinds| kinds.iter().zip(expected.clone()).all(|(kind, expected)| kind == expected))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_deliver_each_message_once_and_in_order() {
    let database = database().await;
    let url = service_url(&database);
    let receiver = Receiver::start().await;
    // What a busy machine answers late is not sent again.
    let programs = [instance(&url, "60000").await, instance(&url, "60000").await];
    let client = watched(&programs[0].base, &receiver).await;
    for round in 0..ROUNDS {
        run(&client, round).await;
    }
    eventually("all was told", async || is_all(&told(&receiver))).await;
    for program in programs {
        program.stop().await;
    }
    assert!(in_order(&told(&receiver)), "{:?}", told(&receiver));
    assert_eq!(receiver.messages().len(), PRODUCTS * (2 * ROUNDS - 1), "none came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_killed_between_sending_and_recording_loses_nothing() {
    let database = database().await;
    let url = service_url(&database);
    // The first message of each product is taken, but nobody is told so.
    let receiver = Receiver::answering(|_, before| if before == 0 { NEVER } else { 200 }).await;
    let program = instance(&url, "1000").await;
    let client = watched(&program.base, &receiver).await;
    for number in 0..PRODUCTS {
        let product = format!("P{number}");
        client.done("onhand", on_hand(&format!("s{number}"), &product, 5)).await;
        client.done("allocation/allocate", allocation(&format!("a{number}"), &product, 5)).await;
        client.done("allocation/consume", consume(&format!("c{number}"), &product, 5)).await;
    }
    eventually("some are on their way", async || !receiver.messages().is_empty()).await;
    program.kill().await;
    receiver.answer(|_, _| 200);
    let before = receiver.messages();
    let program = instance(&url, "1000").await;
    let client = Client::new(&program.base);
    let mut delivered = Vec::new();
    eventually("all are delivered", async || {
        let path = "webhooks/one/deliveries?state=delivered";
        delivered =
            client.send(Method::GET, path, &Value::Null).await.unwrap().json().as_array().unwrap().clone();
        delivered.len() == PRODUCTS
    })
    .await;
    let messages = receiver.messages();
    for lost in &before {
        let again = messages.iter().filter(|message| message.id() == lost.id() && message.body == lost.body);
        assert!(again.count() >= 2, "{} was not sent again", lost.id());
    }
    let alerts = client.send(Method::GET, "alerts", &Value::Null).await.unwrap().json();
    assert_eq!(alerts.as_array().unwrap().len(), PRODUCTS, "{alerts}");
    program.stop().await;
}
