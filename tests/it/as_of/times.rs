//! A point named by a time is the last event that was received up to it.

use serde_json::json;
use sqlx::PgConnection;

use crate::requests::stock;
use crate::support::Service;

use super::{alone, ask, follow, point_of, questions, run};

/// Every event with the seconds at which it was received.
async fn received(connection: &mut PgConnection) -> Vec<(i64, i64)> {
    let rows = "SELECT event_id, extract(epoch FROM received_at)::bigint FROM ledger ORDER BY event_id";
    sqlx::query_as(rows).fetch_all(connection).await.unwrap()
}

async fn check(service: &Service, connection: &mut PgConnection, what: &str) {
    let received = received(connection).await;
    let mut seconds: Vec<i64> = received.iter().flat_map(|&(_, at)| [at - 1, at, at + 1]).collect();
    seconds.sort_unstable();
    seconds.dedup();
    for second in seconds {
        let last = received.iter().filter(|&&(_, at)| at <= second).map(|&(event_id, _)| event_id).max();
        let time = time::OffsetDateTime::from_unix_timestamp(second).unwrap();
        let time = time.format(&time::format_description::well_known::Rfc3339).unwrap();
        let question = &questions()[4];
        let answer = ask(service, "test", question, Some(json!(time))).await;
        assert_eq!(point_of(&answer), last.unwrap_or(0), "{what}: {time}");
        let found = answer.json();
        let count = received.iter().filter(|&&(event_id, _)| Some(event_id) <= last).count();
        assert_eq!(
            found[0]["quantities"]["pos"]["inbound"].as_u64().unwrap_or(0),
            count as u64,
            "{what}: {time}"
        );
    }
}

#[tokio::test]
async fn a_time_means_the_last_event_that_was_received_up_to_it() {
    let service = Service::start().await;
    service.configure(crate::support::bicycles()).await;
    for index in 0..24 {
        service.grant("onhand", stock(&format!("event {index}"), 1)).await;
    }
    let mut connection = alone(&service).await;
    // In order; then with clocks that differ by up to a minute, one of them in the far past.
    for (what, offset) in [
        ("in order", "event_id * 10"),
        ("clocks differ", "event_id * 10 + (event_id * 37) % 60"),
        ("one is far behind", "event_id * 10 - CASE WHEN event_id % 7 = 3 THEN 100 ELSE 0 END"),
    ] {
        run(&mut connection, &format!("UPDATE ledger SET received_at = '2020-01-01Z'::timestamptz + ({offset}) * interval '1 second'")).await;
        for pieces in [
            // All of it is behind the pieces, then some, then nothing.
            "",
            "INSERT INTO ledger_piece SELECT 1, 12, 12, min(received_at) FROM ledger WHERE event_id <= 12",
            "INSERT INTO ledger_piece SELECT min(event_id), max(event_id), 5, min(received_at) FROM ledger GROUP BY event_id / 5",
        ] {
            run(&mut connection, "TRUNCATE ledger_piece").await;
            run(&mut connection, pieces).await;
            check(&service, &mut connection, &format!("{what}, {pieces:?}")).await;
        }
    }
    // As they are cut in earnest.
    run(&mut connection, "TRUNCATE ledger_piece").await;
    let reached = follow(&mut connection, 0, 5).await;
    check(&service, &mut connection, "cut").await;
    service.grant("onhand", stock("later", 1)).await;
    run(&mut connection, "UPDATE ledger SET received_at = '2020-01-01Z' WHERE id = 'later'").await;
    check(&service, &mut connection, "with more").await;
    follow(&mut connection, reached, 5).await;
    check(&service, &mut connection, "cut again").await;
    service.stop().await;
}

/// Where all events of a piece up to that time are gone, it is the last one before.
#[tokio::test]
async fn what_was_erased_is_stepped_over() {
    let service = Service::start().await;
    service.configure(crate::support::bicycles()).await;
    for index in 0..9 {
        service.grant("onhand", stock(&format!("event {index}"), 1)).await;
    }
    let mut connection = alone(&service).await;
    run(&mut connection, "TRUNCATE ledger_piece; UPDATE ledger SET received_at = '2020-01-01Z'::timestamptz + event_id * interval '1 second';
        INSERT INTO ledger_piece SELECT min(event_id), max(event_id), 3, min(received_at) FROM ledger GROUP BY (event_id - 1) / 3;
        DELETE FROM ledger WHERE event_id IN (4, 5, 7, 8, 9)").await;
    // The pieces begin with 4 and with 7, of which the last has nothing any more.
    let point = async |time: &str| point_of(&ask_empty(&service, time).await);
    assert_eq!(point("2020-01-01T00:00:20Z").await, 6);
    assert_eq!(point("2020-01-01T00:00:05Z").await, 3);
    service.stop().await;
}

/// Asks of a product that there is not: what is left of the others cannot be replayed.
async fn ask_empty(service: &Service, time: &str) -> crate::support::Answer {
    let (method, path, mut body) = questions()[4].clone();
    body["filters"]["productId"] = json!(["Nothing"]);
    ask(service, "test", &(method, path, body), Some(json!(time))).await
}
