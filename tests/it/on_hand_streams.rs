//! Long answers: written as they are read, whole or cut off, and in nobody's way.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::load::Client;
use super::proxy::{Line, Proxy};
use super::requests::{JSON, allocation, event, stock, without};
use super::support::{Service, bicycles, database, eventually};

/// Stock of one product at so many colours of one location, put where it belongs.
async fn many(service: &Service, colors: i32) {
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    sqlx::query(
        "INSERT INTO stock_node (environment_id, organization_id, product_id, dimensions, version, own, total)
         SELECT 'test', 'usmf', 'Bike', ARRAY['1', '11', repeat('color', 25) || i], 1, q, q
         FROM generate_series(0, $1 - 1) i, LATERAL (SELECT ARRAY[0, 0, 0, 0, 0, 0, i::numeric, 0]) AS q (q)",
    )
    .bind(colors)
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
}

fn query(group_by: &str) -> Value {
    let filters = json!({"organizationId": ["usmf"], "productId": [], "siteId": ["1"], "locationId": ["11"]});
    json!({"filters": filters, "groupByValues": [group_by]})
}

#[tokio::test]
async fn ten_thousand_nodes_are_one_plain_array() {
    let service = Service::start().await;
    many(&service, 10_000).await;
    let answer = service.post("onhand/indexquery", query("colorId")).await;
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, Some("chunked")));
    let answer = answer.json();
    let inbound = |record: &Value| record["quantities"]["pos"]["inbound"].as_i64().unwrap();
    let records = answer.as_array().unwrap();
    assert_eq!((records.len(), records.iter().map(inbound).sum()), (10_000, 9_999 * 10_000 / 2));
    assert!(records.is_sorted_by_key(|record| record["dimensions"]["colorId"].as_str().unwrap().to_owned()));
    // By what is not in the order of the hierarchy, it is one record, with one sum.
    let answer = service.post("onhand/indexquery", query("sizeId")).await.json();
    assert_eq!(answer.as_array().unwrap().iter().map(inbound).collect::<Vec<_>>(), [9_999 * 10_000 / 2]);
    service.stop().await;
}

/// The database's processes that are reading an answer.
async fn reading(service: &Service) -> Vec<i32> {
    ask(
        service,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
         AND query LIKE '%RECURSIVE every%' AND pid <> pg_backend_pid()",
    )
    .await
}

async fn ask(service: &Service, statement: &'static str) -> Vec<i32> {
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let found = sqlx::query_scalar(statement).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    found
}

/// Waits until these processes have ended: they were not let go on with nobody to read them.
async fn have_ended(service: &Service, processes: &[i32]) {
    eventually("the statement ends", async || {
        let alive = ask(service, "SELECT pid FROM pg_stat_activity WHERE pid IS NOT NULL").await;
        !processes.iter().any(|process| alive.contains(process))
    })
    .await;
}

/// Asks for a long answer and reads how it begins, but no further.
async fn begin(service: &Service) -> TcpStream {
    let address = service.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = query("colorId").to_string();
    let request = format!(
        "POST /api/environment/test/onhand/indexquery HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = vec![0; 4096];
    stream.read_exact(&mut start).await.unwrap();
    let start = String::from_utf8(start).unwrap();
    assert!(start.starts_with("HTTP/1.1 200") && start.contains(r#"[{"organizationId":"usmf""#), "{start}");
    stream
}

/// Longer than all the buffers on its way.
const LONG: i32 = 60_000;

#[tokio::test]
async fn the_first_records_come_while_the_others_are_not_read_and_who_leaves_ends_it() {
    let service = Service::start().await;
    many(&service, LONG).await;
    let stream = begin(&service).await;
    let reading = reading(&service).await;
    assert_eq!(reading.len(), 1, "the answer was read to its end before its start was sent");
    drop(stream);
    have_ended(&service, &reading).await;
    service.stop().await;
}

/// The rest of an answer: whether it has an end.
async fn is_whole(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest).await;
    read.is_ok() && rest.ends_with(b"\r\n0\r\n\r\n")
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let service = Service::start().await;
    many(&service, LONG).await;
    assert!(is_whole(begin(&service).await).await);
    let stream = begin(&service).await;
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let statement =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
                     AND query LIKE '%RECURSIVE every%' AND state = 'active' AND pid <> pg_backend_pid()";
    let ended: Vec<bool> = sqlx::query_scalar(statement).fetch_all(&mut connection).await.unwrap();
    assert_eq!(ended, [true]);
    connection.close().await.unwrap();
    assert!(!is_whole(stream).await);
    assert!(is_whole(begin(&service).await).await, "the next one is");
    service.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_waited_for() {
    let service = Service::start_on(database().await, &["--write-time-max-ms", "300"]).await;
    many(&service, LONG).await;
    let stream = begin(&service).await;
    let reading = reading(&service).await;
    have_ended(&service, &reading).await;
    assert!(!is_whole(stream).await);
    service.stop().await;
}

#[tokio::test]
async fn clients_that_read_slowly_hold_up_only_their_own_kind() {
    let service =
        Service::start_on(database().await, &["--readers-max", "1", "--round-trip-max-ms", "5000"]).await;
    many(&service, LONG).await;
    let path = "/api/environment/other/configuration";
    assert_eq!(service.send(Method::PUT, path, &[JSON], bicycles().to_string()).await.status, 200);
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push(begin(&service).await);
    }
    service.grant("onhand", stock("in", 10)).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    assert_eq!(service.balances(json!({})).await, json!([["Online", 8, 0, 8, 0]]));
    // The database itself would answer, and answers who is of another environment.
    service.refuse("onhand/indexquery", query("sizeId"), "overloaded").await;
    let path = "/api/environment/other/onhand/indexquery";
    let of_other = service.send(Method::POST, path, &[JSON], query("sizeId").to_string()).await;
    assert_eq!((of_other.status, &*of_other.text), (200, "[]"));
    // It took longer than one exchange with the database may, and is whole all the same.
    assert!(is_whole(slow.pop().unwrap()).await);
    eventually("there is room again", async || {
        service.post("onhand/indexquery", query("sizeId")).await.status == 200
    })
    .await;
    drop(slow);
    service.stop().await;
}

#[tokio::test]
async fn a_service_that_stops_does_not_wait_for_a_client_that_does_not_read() {
    let service = Service::start_on(database().await, &["--drain-time-max-ms", "200"]).await;
    many(&service, LONG).await;
    let stream = begin(&service).await;
    tokio::time::timeout(Duration::from_secs(8), service.stop()).await.unwrap();
    assert!(!is_whole(stream).await);
}

#[tokio::test]
async fn without_its_database_a_query_is_a_problem() {
    let proxy = Proxy::to(&database().await).await;
    let service = Service::start_on(proxy.database.clone(), &["--round-trip-max-ms", "500"]).await;
    // In so little time a busy machine may need to be asked again.
    let client = Client::new(&service.base);
    client.configure().await;
    client.done("onhand", stock("in", 10)).await;
    let whole = json!({"filters": {"organizationId": ["usmf"], "productId": []}});
    client.done("onhand/indexquery", whole.clone()).await;
    for line in [Line::Cut, Line::Mute] {
        proxy.set(line);
        service.refuse("onhand/indexquery", whole.clone(), "database-unavailable").await;
        proxy.set(Line::Open);
        eventually("it goes on", async || {
            service.post("onhand/indexquery", whole.clone()).await.status == 200
        })
        .await;
    }
    // The query of balances, which has other connections, goes on too.
    client.done("allocation/query", without(event("", json!({})), "id")).await;
    service.stop().await;
}
