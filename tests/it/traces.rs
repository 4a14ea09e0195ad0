//! Traces: one from a request through its batch to the commit, and nothing where none is asked for.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::collector::{Collector, Span};
use super::receiver::Receiver;
use super::requests::{allocation, consumption, stock};
use super::support::{Answer, Service, bicycles, database, eventually, settings};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn service(arguments: &[&str]) -> Service {
    let service = Service::start_on(database().await, arguments).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 1000)).await;
    service
}

/// Sends a command in a trace.
async fn send_in(service: &Service, trace: &str, path: &str, body: Value) -> Answer {
    let headers = [("content-type", "application/json"), ("traceparent", trace)];
    let path = format!("/api/environment/test/{path}");
    service.send(Method::POST, &path, &headers, body.to_string()).await
}

fn traceparent(number: u32, flags: &str) -> String {
    format!("00-{number:032x}-{PARENT}-{flags}")
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.text("name") == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

#[tokio::test]
async fn one_trace_goes_from_the_request_through_the_batch_to_the_commit() {
    let collector = Collector::start().await;
    let service = service(&["--otlp-endpoint", &collector.url, "--trace-ratio", "0"]).await;
    let before = now();
    let header = format!("00-{TRACE}-{PARENT}-01");
    let answer = send_in(&service, &header, "Allocation/Allocate/", allocation("a", "Online/VIP", 3)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    eventually("four spans come", async || collector.spans_of(TRACE).len() == 4).await;

    let spans = collector.spans_of(TRACE);
    let route = "/api/environment/{environmentId}/allocation/allocate";
    let request = only(&spans, &format!("POST {route}"));
    assert_eq!((request.text("parentSpanId"), &request.0["kind"]), (PARENT, &json!(2)));
    assert_eq!(request.attribute("http.request.method"), "POST");
    assert_eq!(request.attribute("http.route"), route);
    assert_eq!(request.attribute("http.response.status_code"), "200");
    assert_eq!(request.attribute("url.path"), "/api/environment/test/allocation/allocate");
    assert_eq!(request.attribute("ringfence.request.id"), answer.header("x-request-id").unwrap());
    let (queue, batch, commit) = (only(&spans, "queue"), only(&spans, "batch"), only(&spans, "commit"));
    assert_eq!(queue.text("parentSpanId"), request.text("spanId"));
    assert_eq!(batch.text("parentSpanId"), request.text("spanId"));
    assert_eq!(commit.text("parentSpanId"), batch.text("spanId"));
    assert_eq!(queue.links(), [batch.name()]);
    assert_eq!(batch.links(), []);
    assert_eq!(batch.attribute("ringfence.batch.commands"), "1");
    assert_eq!((&commit.0["kind"], commit.attribute("db.system.name")), (&json!(3), json!("postgresql")));
    // Each in its time, and in that of what it is a part of.
    let (began, ended) = request.times();
    assert!(before <= began && ended <= now(), "{spans:#?}");
    assert!(began <= queue.times().0 && queue.times().1 == batch.times().0, "{spans:#?}");
    assert!(batch.times().0 <= commit.times().0 && commit.times().0 < commit.times().1, "{spans:#?}");
    assert!(commit.times().1 <= batch.times().1, "{spans:#?}");

    let resource = &collector.messages()[0]["resourceSpans"][0]["resource"]["attributes"][0];
    assert_eq!(*resource, json!({"key": "service.name", "value": {"stringValue": "ringfence"}}));
    service.stop().await;
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// However many requests are committed together, each is one step from the commit.
#[tokio::test]
async fn every_request_of_a_batch_has_a_link_to_it_and_it_has_a_link_to_each() {
    const REQUESTS: u32 = 40;
    let collector = Collector::start().await;
    let service = service(&["--otlp-endpoint", &collector.url, "--shards", "1"]).await;
    let requests = (1..=REQUESTS).map(|number| {
        let body = allocation(&format!("a{number}"), "Online/VIP", 1);
        let header = traceparent(number, "01");
        let service = &service;
        async move { send_in(service, &header, "allocation/allocate", body).await.status }
    });
    assert!(futures_util::future::join_all(requests).await.iter().all(|status| *status == 200));
    // Not the trace of the configuration and the stock, if chance had them traced.
    let ours = || -> Vec<Span> {
        let is_ours = |span: &Span| span.text("traceId").starts_with("0000000000000000");
        collector.spans().into_iter().filter(is_ours).collect()
    };
    let named = |name: &str| ours().into_iter().filter(|span| span.text("name") == name).collect::<Vec<_>>();
    eventually("all batches come", async || {
        let batches = named("batch");
        let commands = batches.iter().map(|batch| batch.attribute("ringfence.batch.commands"));
        commands.map(|count| count.as_str().unwrap().parse::<u32>().unwrap()).sum::<u32>() == REQUESTS
            && named("queue").len() == REQUESTS as usize
    })
    .await;
    let batches = named("batch");
    assert!(batches.len() < REQUESTS as usize, "none was shared: nothing is shown");
    for queue in named("queue") {
        let (trace, parent) = (queue.text("traceId").to_owned(), queue.text("parentSpanId").to_owned());
        let batch = batches.iter().find(|batch| queue.links() == [batch.name()]).unwrap();
        let is_child = batch.text("traceId") == trace && batch.text("parentSpanId") == parent;
        assert!(is_child != batch.links().contains(&(trace, parent)), "{queue:?} {batch:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn what_waits_is_sent_when_the_service_stops() {
    let collector = Collector::start().await;
    let all_came = async |number: u32| {
        let service = service(&["--otlp-endpoint", &collector.url, "--trace-ratio", "0"]).await;
        let body = allocation("a", "Online/VIP", 1);
        let sent = send_in(&service, &traceparent(number, "01"), "allocation/allocate", body).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        service.stop().await;
        collector.spans_of(&format!("{number:032x}")).len() == 4
    };
    // It has a second for that, and a busy machine may need more: what is never sent is missing each time.
    let came = all_came(1).await || all_came(2).await || all_came(3).await;
    assert!(came, "{:#?}", collector.spans());
}

#[tokio::test]
async fn what_is_not_to_be_recorded_is_not_sent() {
    let collector = Collector::start().await;
    let service = service(&["--otlp-endpoint", &collector.url, "--trace-ratio", "1"]).await;
    for number in 1..=20 {
        let body = allocation(&format!("a{number}"), "Online/VIP", 1);
        let header = traceparent(number, "00");
        assert_eq!(send_in(&service, &header, "allocation/allocate", body).await.status, 200);
    }
    let refused = consumption("c", "Online/VIP", 5000);
    let header = traceparent(77, "01");
    assert_eq!(send_in(&service, &header, "allocation/consume", refused).await.status, 409);
    // What comes last is there, so what is not there when it has stopped was not to be sent.
    let last = format!("{:032x}", 77);
    eventually("the last is sent", async || !collector.spans_of(&last).is_empty()).await;
    service.stop().await;
    // Whatever waited was sent when the service stopped: those that come without a trace of their own
    // are all recorded here, and of the others those that say so.
    let spans = collector.spans();
    let of =
        |number: u32| spans.iter().filter(|span| span.text("traceId") == format!("{number:032x}")).count();
    assert!((1..=20).all(|number| of(number) == 0), "{spans:#?}");
    let put = "PUT /api/environment/{environmentId}/configuration";
    assert_eq!(spans.iter().filter(|span| span.text("name") == put).count(), 1, "{spans:#?}");
    // Nothing is committed of what is refused.
    let refused = collector.spans_of(&last);
    let request = only(&refused, "POST /api/environment/{environmentId}/allocation/consume");
    assert_eq!(request.attribute("http.response.status_code"), "409");
    assert!(refused.iter().all(|span| span.text("name") != "commit"), "{refused:#?}");
}

/// The number of a counter.
async fn counted(service: &Service, name: &str) -> u64 {
    let text = service.get("/metrics").await.text;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_gone_slows_nobody() {
    let hanging = Collector::that_hangs().await;
    let gone = "http://127.0.0.1:9";
    for endpoint in [&hanging.url, gone] {
        let service = service(&["--otlp-endpoint", endpoint, "--trace-ratio", "1"]).await;
        // Whoever waited for the collector would wait for it each time, as long as a message may take.
        let began = Instant::now();
        for number in 1..=50 {
            let body = allocation(&format!("a{number}"), "Online/VIP", 1);
            service.grant("allocation/allocate", body).await;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{endpoint}: {:?}", began.elapsed());
        eventually("what is not taken is dropped and counted", async || {
            counted(&service, "ringfence_trace_spans_dropped_total").await > 0
        })
        .await;
        assert_eq!(counted(&service, "ringfence_trace_spans_sent_total").await, 0);
        let began = Instant::now();
        service.stop().await;
        assert!(began.elapsed() < Duration::from_secs(20), "{endpoint}: {:?}", began.elapsed());
    }
    assert!(!hanging.messages().is_empty());
}

#[tokio::test]
async fn an_attempt_to_deliver_is_a_trace_that_its_receiver_is_told() {
    let collector = Collector::start().await;
    let receiver = Receiver::answering(|_, before| [503, 204][before.min(1)]).await;
    let traced = ["--otlp-endpoint", &collector.url, "--trace-ratio", "1"];
    let quick = ["--allow-private-webhooks", "--webhook-retry-ms", "20"];
    let service = service(&[&traced[..], &quick].concat()).await;
    assert_eq!(service.put("webhooks/one", &json!({"url": receiver.url})).await.status, 200);
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    service.grant("allocation/allocate", allocation("a", "Online", 1)).await;
    let delivered = || -> Vec<Span> {
        collector.spans().into_iter().filter(|span| span.text("name") == "deliver").collect()
    };
    eventually("two attempts are told", async || delivered().len() == 2).await;
    let spans = delivered();
    let messages = receiver.messages();
    assert_eq!(messages.len(), 2);
    for ((message, status), before) in messages.iter().zip(["503", "204"]).zip(["0", "1"]) {
        let told = message.header("traceparent");
        let span = spans
            .iter()
            .find(|span| told == format!("00-{}-{}-01", span.text("traceId"), span.text("spanId")));
        let span = span.unwrap_or_else(|| panic!("{told} is none of {spans:#?}"));
        assert_eq!((span.text("parentSpanId"), &span.0["kind"]), ("", &json!(3)));
        assert_eq!(span.attribute("http.response.status_code"), status);
        assert_eq!(span.attribute("http.request.resend_count"), before);
        assert_eq!(span.attribute("messaging.message.id"), message.id());
        assert_eq!(span.attribute("ringfence.webhook"), "one");
        let has_failed = span.0["status"]["code"] == 2;
        assert_eq!(has_failed, status == "503", "{span:?}");
        assert_eq!(span.attribute("error.type"), if has_failed { json!("503") } else { Value::Null });
        assert!(span.times().0 < span.times().1, "{span:?}");
    }
    assert_ne!(spans[0].text("traceId"), spans[1].text("traceId"));
    service.stop().await;
}

/// A share of none: nothing is recorded, and nobody is told of a trace that there is not.
#[tokio::test]
async fn an_attempt_that_is_not_recorded_tells_of_no_trace() {
    let collector = Collector::start().await;
    let receiver = Receiver::start().await;
    let traced = ["--otlp-endpoint", &collector.url, "--trace-ratio", "0", "--allow-private-webhooks"];
    let service = service(&traced).await;
    assert_eq!(service.put("webhooks/one", &json!({"url": receiver.url})).await.status, 200);
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    service.grant("allocation/allocate", allocation("a", "Online", 1)).await;
    eventually("it comes", async || receiver.messages().len() == 1).await;
    assert_eq!(receiver.messages()[0].headers.get("traceparent"), None);
    service.stop().await;
    assert!(collector.spans().iter().all(|span| span.text("name") != "deliver"));
}

#[test]
fn the_service_has_a_name_in_traces_that_can_be_set() {
    let database = sqlx::postgres::PgConnectOptions::new_without_pgpass();
    let endpoint = ["--otlp-endpoint", "http://127.0.0.1:4318"];
    let named = |more: &[&str]| settings(&database, &[&endpoint, more].concat()).collector().unwrap().service;
    assert_eq!(named(&[]), "ringfence");
    assert_eq!(named(&["--otlp-service-name", "shop"]), "shop");
}
