//! What is measured of the service, as Prometheus reads it.

mod trouble;

use reqwest::Method;
use ringfence::store::{configuration, overview};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use super::requests::{allocation, changed, consumption, stock};
use super::support::{Service, eventually};

/// The value of a series: of the line that begins with its name and has all of these labels.
pub fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let is_it = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<&str> = text.lines().filter(is_it).collect();
    assert!(found.len() < 2, "{name} {labels:?} are several: {found:?}");
    found.first().map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

pub async fn scrape(service: &Service) -> String {
    let answer = service.get("/metrics").await;
    let kind = answer.header("content-type").unwrap();
    assert_eq!((answer.status, kind), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.text.ends_with("# EOF\n"), "{}", answer.text);
    answer.text
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status_and_refusals_by_code() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online/VIP", 3)).await;
    for id in ["c1", "c2"] {
        service
            .refuse("Allocation/Consume/", consumption(id, "Online/VIP", 4), "insufficient-allocation")
            .await;
    }
    let lines = json!([stock("s1", 1), {"id": "wrong"}]);
    assert_eq!(service.post("onhand/bulk", lines).await.status, 207);
    service.get("/no/such/page").await;

    let text = scrape(&service).await;
    let route = |rest: &str| format!("http_route=\"/api/environment/{{environmentId}}/{rest}\"");
    let consume = route("allocation/consume");
    let count = "http_server_request_duration_seconds_count";
    let post = "http_request_method=\"POST\"";
    assert_eq!(value(&text, count, &[&consume, post, "status_code=\"409\""]), 2.0);
    assert_eq!(value(&text, count, &[&consume, post, "status_code=\"200\""]), 0.0);
    assert_eq!(value(&text, count, &[&route("allocation/allocate"), post, "status_code=\"200\""]), 1.0);
    assert_eq!(value(&text, count, &["http_route=\"\"", "status_code=\"404\""]), 1.0);
    assert!(text.contains("http_server_request_duration_seconds_bucket{le=\"0.005\""), "{text}");
    assert_eq!(value(&text, "http_server_active_requests", &[]), 1.0, "the one that asks");

    let refusals = "ringfence_refusals_total";
    assert_eq!(value(&text, refusals, &["code=\"insufficient-allocation\"", &consume]), 2.0);
    // A line of a bulk is refused as a request is.
    assert_eq!(value(&text, refusals, &["code=\"invalid-request\"", &route("onhand/bulk")]), 1.0);
    service.stop().await;
}

#[tokio::test]
async fn refusals_of_one_route_are_counted_by_their_operation() {
    let service = Service::with_stock(1).await;
    let path = "/api/environment/test/watches/none";
    for (times, method) in [(1, Method::GET), (2, Method::DELETE)] {
        for _ in 0..times {
            assert_eq!(service.send(method.clone(), path, &[], "").await.status, 404);
        }
    }
    let text = scrape(&service).await;
    for (method, times) in [("GET", 1.0), ("DELETE", 2.0), ("PUT", 0.0)] {
        let method = format!("http_request_method=\"{method}\"");
        let labels = ["code=\"unknown-watch\"", &method, "/watches/{name}\""];
        assert_eq!(value(&text, "ringfence_refusals_total", &labels), times, "{method}");
    }
    service.stop().await;
}

#[tokio::test]
async fn batches_commits_and_what_is_in_memory_are_measured() {
    let service = Service::with_stock(10).await;
    for id in ["a1", "a2", "a3"] {
        service.grant("allocation/allocate", allocation(id, "Online/VIP", 1)).await;
    }
    // To look for the database takes a second at most, and a busy machine may need more.
    let is_up = async || value(&scrape(&service).await, "ringfence_database_up", &[]) == 1.0;
    eventually("the database is seen", is_up).await;
    let text = scrape(&service).await;
    assert_eq!(value(&text, "ringfence_commit_duration_seconds_count", &[]), 4.0);
    assert_eq!(value(&text, "ringfence_batch_commands_sum", &[]), 4.0);
    assert_eq!(value(&text, "ringfence_queue_wait_seconds_count", &[]), 4.0);
    let lookups = |result| value(&text, "ringfence_books_lookups_total", &[result]);
    assert!(lookups("result=\"hit\"") > 0.0 && lookups("result=\"miss\"") > 0.0, "{text}");
    assert_eq!(value(&text, "ringfence_queue_commands", &["shard=\"0\""]), 0.0);
    assert_eq!(value(&text, "ringfence_oldest_command_seconds", &["shard=\"0\""]), 0.0);
    // What is done together or not at all is one batch, of as many commands as it has.
    let lines = json!([stock("s1", 1), stock("s2", 1), stock("s3", 1)]);
    assert_eq!(service.post("onhand/bulk?atomic=true", lines).await.status, 200);
    let text = scrape(&service).await;
    assert_eq!(value(&text, "ringfence_batch_commands_sum", &[]), 7.0);
    assert_eq!(value(&text, "ringfence_batch_commands_count", &[]), 5.0);
    service.stop().await;
}

#[tokio::test]
async fn nodes_from_whose_stock_more_is_set_aside_than_there_is_are_counted() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online/VIP", 6)).await;
    let fine = changed(stock("other", 5), json!({"productId": "Trike"}));
    service.grant("onhand", fine).await;
    let name = "ringfence_over_allocated_nodes";
    assert_eq!(value(&scrape(&service).await, name, &[]), 0.0);
    // An external system corrects the stock: it is not asked whether that is set aside. The node and the
    // one above it have three, of which six are set aside.
    service.grant("onhand", stock("correction", -7)).await;

    // However long a page is.
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    connection.execute("SET ringfence.environments = '{test}'").await.unwrap();
    let of_now = configuration::read(&mut connection, "test", None).await.unwrap().unwrap().configuration;
    for most in [1, 2, 3, 4, 5] {
        let (mut counts, mut after) = (Vec::new(), None);
        loop {
            let page = overview::over_allocated(&mut connection, "test", &of_now, after.as_ref(), most).await;
            let (count, place) = page.unwrap();
            counts.push(count);
            after = place;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(
            (counts.iter().sum::<i64>(), counts.len() as i64),
            (2, 4 / most + 1),
            "{most}: {counts:?}"
        );
    }
    // Another instance counts as soon as it starts.
    let other = Service::start_on(service.database.clone(), &[]).await;
    eventually("it is counted", async || value(&scrape(&other).await, name, &[]) == 2.0).await;
    other.stop().await;
    service.stop().await;
}

#[tokio::test]
async fn how_far_those_are_behind_who_follow_is_measured() {
    let service = Service::with_stock(10).await;
    let of = |name: &str| format!("follower=\"{name}\"");
    let (events, age) = ("ringfence_follower_behind_events", "ringfence_follower_behind_seconds");
    // Each begins anew when it panics, and whoever only works beside them too.
    for name in ["activity", "watches", "snapshots", "unmet", "over-allocated", "forgetting", "delivery"] {
        let panics = "ringfence_follower_panics_total";
        assert!(scrape(&service).await.contains(&format!("{panics}{{{}}} 0\n", of(name))), "{name}");
    }
    let followers = ["activity", "watches", "snapshots"];
    eventually("all have everything", async || {
        let text = scrape(&service).await;
        followers.iter().all(|name| {
            text.contains(&format!("{events}{{{}}} 0\n", of(name)))
                && text.contains(&format!("{age}{{{}}} 0.0\n", of(name)))
        })
    })
    .await;
    // As long as somebody else has its row, it takes nothing.
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    transaction.execute("SELECT FROM follower WHERE name = 'activity' FOR UPDATE").await.unwrap();
    for id in ["a1", "a2"] {
        service.grant("allocation/allocate", allocation(id, "Online/VIP", 1)).await;
    }
    eventually("one is behind, and another is not", async || {
        let text = scrape(&service).await;
        value(&text, events, &[&of("activity")]) == 2.0
            && value(&text, age, &[&of("activity")]) > 0.5
            && value(&text, events, &[&of("snapshots")]) == 0.0
    })
    .await;
    transaction.rollback().await.unwrap();
    eventually("it is not any more", async || {
        value(&scrape(&service).await, events, &[&of("activity")]) == 0.0
    })
    .await;
    service.stop().await;
}
