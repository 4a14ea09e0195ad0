//! Receivers that take their time, and others that have to wait for none of it.

use std::collections::HashMap;
use std::time::Duration;

use ringfence::store::outbox::{self, Each};
use sqlx::Executor;

use super::*;

const TARPITS: usize = 10;
const PRODUCTS: usize = 8;
/// Deliveries of one environment that are on their way at once.
const OF_ONE: usize = 32;

/// Another environment, whose alerts somebody else is told of.
async fn other(service: &Service, receiver: &Receiver) {
    let path = |path: &str| format!("/api/environment/other/{path}");
    let send = async |method: Method, at: &str, body: Value| {
        let answer = service.send(method, &path(at), &[JSON], body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    send(Method::PUT, "configuration", bicycles()).await;
    send(Method::PUT, "watches/low", json!({"rule": {"balanceAtOrBelow": 5}})).await;
    send(Method::PUT, "webhooks/one", json!({"url": receiver.url})).await;
    send(Method::POST, "onhand", stock("stock", 10)).await;
    send(Method::POST, "allocation/allocate", allocation("share", "Online", 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_receivers_of_one_environment_hold_up_those_of_no_other() {
    // Longer than anything here waits.
    let service = service(&["--allow-private-webhooks", "--webhook-time-max-ms", "60000"]).await;
    let (tarpit, receiver) = (Receiver::answering(|_, _| NEVER).await, Receiver::start().await);
    let hook = |enabled: bool| json!({"url": tarpit.url, "enabled": enabled});
    for number in 0..TARPITS {
        assert_eq!(service.put(&format!("webhooks/slow-{number}"), &hook(false)).await.status, 200);
    }
    for number in 0..PRODUCTS {
        service.run_low(&format!("P{number}")).await;
    }
    for number in 0..TARPITS {
        assert_eq!(service.put(&format!("webhooks/slow-{number}"), &hook(true)).await.status, 200);
    }
    eventually("the slow ones have all that they may", async || tarpit.messages().len() >= OF_ONE).await;
    other(&service, &receiver).await;
    eventually("the other one is told", async || receiver.messages().len() == 1).await;
    assert_eq!(tarpit.messages().len(), OF_ONE);
    service.stop().await;
}

#[tokio::test]
async fn those_are_taken_first_whose_environment_has_the_fewest_and_none_beyond_its_share() {
    let mut connection = PgConnection::connect_with(&database().await).await.unwrap();
    let lanes = "INSERT INTO webhook (environment_id, name, url, enabled, secret)
             SELECT e, 'hook-' || w, 'https://example.com/', true, '' FROM unnest('{busy,other}'::text[]) e, generate_series(1, 5) w;
         INSERT INTO lane SELECT 'busy', 'hook-' || w, 'usmf', 'P' || p, now() - interval '1 hour'
             FROM generate_series(1, 5) w, generate_series(1, 5) p;
         INSERT INTO lane SELECT 'other', 'hook-1', 'usmf', 'P' || p, now() - p * interval '1 second'
             FROM generate_series(1, 5) p";
    connection.execute(lanes).await.unwrap();
    let each = Each { webhook: 3, environment: 4 };
    let mut busy = HashMap::new();
    let mut take = async |busy: &HashMap<(String, String), i64>, most: i64| {
        let taken = outbox::take(&mut connection, busy, each, most, Duration::from_secs(60)).await.unwrap();
        let of = |name: &str| taken.iter().filter(|lane| lane.environment == name).count();
        let longest_due = taken.iter().any(|lane| lane.environment == "other" && lane.product == "P5");
        (of("busy"), of("other"), longest_due)
    };
    // As if nothing was on its way: by turns, though one has been due for much longer.
    assert_eq!(take(&busy, 2).await, (1, 1, true));
    busy.insert(("busy".to_owned(), "hook-1".to_owned()), 2);
    assert_eq!(take(&busy, 2).await, (0, 2, false));
    // As many as there may be: of one's webhook, and of another environment.
    assert_eq!(take(&busy, 64).await, (2, 2, false));
    busy.insert(("busy".to_owned(), "hook-2".to_owned()), 2);
    assert_eq!(take(&busy, 64).await, (0, 0, false));
}
