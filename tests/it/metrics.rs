//! What is measured of the service, as Prometheus reads it.

use serde_json::json;

use super::requests::{allocation, consumption, stock};
use super::support::Service;

/// The value of a series: of the line that begins with its name and has all of these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let is_it = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<&str> = text.lines().filter(is_it).collect();
    assert!(found.len() < 2, "{name} {labels:?} are several: {found:?}");
    found.first().map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

async fn scrape(service: &Service) -> String {
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
async fn batches_commits_and_what_is_in_memory_are_measured() {
    let service = Service::with_stock(10).await;
    for id in ["a1", "a2", "a3"] {
        service.grant("allocation/allocate", allocation(id, "Online/VIP", 1)).await;
    }
    let text = scrape(&service).await;
    assert_eq!(value(&text, "ringfence_commit_duration_seconds_count", &[]), 4.0);
    assert_eq!(value(&text, "ringfence_batch_commands_sum", &[]), 4.0);
    assert_eq!(value(&text, "ringfence_queue_wait_seconds_count", &[]), 4.0);
    let lookups = |result| value(&text, "ringfence_books_lookups_total", &[result]);
    assert!(lookups("result=\"hit\"") > 0.0 && lookups("result=\"miss\"") > 0.0, "{text}");
    assert_eq!(value(&text, "ringfence_queue_commands", &["shard=\"0\""]), 0.0);
    assert_eq!(value(&text, "ringfence_database_up", &[]), 1.0);
    service.stop().await;
}
