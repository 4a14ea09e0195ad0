//! Which points can be asked about, and what is said of the others.

use reqwest::Method;
use ringfence::store::snapshots::Source;
use serde_json::{Value, json};

use crate::load::Client;
use crate::requests::{JSON, all, allocation, balance, consumption, event, pointers, stock};
use crate::support::{Answer, Service};

use super::{alone, ask, follow, point_of, questions, run, with_stock};

/// The answer of a question about a point that is refused.
async fn refused(service: &Service, as_of: Value) -> Value {
    let mut last = None;
    for (method, path, body) in questions() {
        let text = as_of.as_str().map_or(as_of.to_string(), str::to_owned).replace('+', "%2B");
        let (path, body) = match body.is_null() {
            true => (format!("/api/environment/test/{path}&asOf={text}"), String::new()),
            false => {
                let mut body = body;
                body["asOf"] = as_of.clone();
                (format!("/api/environment/test/{path}"), body.to_string())
            }
        };
        let answer = service.send(method, &path, &[JSON], body).await;
        let problem = crate::requests::problem(&answer, "invalid-request");
        assert_eq!(pointers(&problem), ["/asOf"], "{problem}");
        last = Some(problem);
    }
    last.unwrap()
}

#[tokio::test]
async fn before_the_first_event_there_was_nothing() {
    let service = with_stock(10).await;
    for point in [json!(0), json!("0"), json!("1999-12-31T23:59:59Z"), json!("2001-02-03T04:05:06+02:00")] {
        for question in questions() {
            let answer = ask(&service, "test", &question, Some(point.clone())).await;
            assert_eq!((answer.text.as_str(), point_of(&answer)), ("[]", 0), "{point} {question:?}");
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn what_is_to_come_is_not_known_and_what_is_no_point_is_refused() {
    let service = with_stock(10).await;
    let problem = refused(&service, json!(2)).await;
    assert!(problem["detail"].as_str().unwrap().contains("whose last event is 1"), "{problem}");
    refused(&service, json!(i64::MAX)).await;
    let problem = refused(&service, json!("2999-01-01T00:00:00Z")).await;
    assert!(problem["detail"].as_str().unwrap().contains("is in the future, here it is 20"), "{problem}");
    for point in [
        json!("yesterday"),
        json!("9223372036854775808"),
        json!(-1),
        json!(1.5),
        json!("2026-13-01T00:00:00Z"),
    ] {
        let problem = refused(&service, point).await;
        assert!(
            problem["detail"].as_str().unwrap().contains("must be the id of an event, or a time"),
            "{problem}"
        );
    }
    for body in [json!({"asOf": true}), json!({"asOf": {}}), json!({"asOf": [1]})] {
        let body =
            crate::requests::changed(body, json!({"filters": {"organizationId": ["usmf"], "productId": []}}));
        let problem = service.refuse("onhand/indexquery", body, "invalid-request").await;
        assert_eq!(pointers(&problem), ["/asOf"]);
    }
    service.stop().await;
}

/// What one asks about with an id between two others, or of another environment, is the last
/// event before.
#[tokio::test]
async fn an_id_that_is_no_event_of_the_environment_is_a_point_all_the_same() {
    let service = with_stock(10).await;
    let other = crate::support::bicycles().to_string();
    service.send(Method::PUT, "/api/environment/other/configuration", &[JSON], other).await;
    let path = "/api/environment/other/onhand";
    let body = stock("elsewhere", 5).to_string();
    let elsewhere = service.send(Method::POST, path, &[JSON], body).await.json()["eventId"].as_i64().unwrap();
    service.grant("onhand", stock("more", 7)).await;
    let question = &questions()[4];
    let answer = ask(&service, "test", question, Some(json!(elsewhere))).await;
    assert_eq!(answer.json()[0]["quantities"]["pos"]["inbound"], 10);
    assert_eq!(point_of(&answer), elsewhere - 1);
    service.stop().await;
}

/// The whole answer, page by page, with something happening between two.
async fn pages(
    service: &Service,
    connection: &mut sqlx::PgConnection,
    name: &str,
    mut address: String,
    body: Option<Value>,
) -> (Vec<Value>, Vec<i64>) {
    let (mut records, mut points) = (Vec::new(), Vec::new());
    let path = address.split('?').next().unwrap().to_owned();
    loop {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let text = body.as_ref().map(Value::to_string).unwrap_or_default();
        let page: Answer = service.send(method, &address, &[JSON], text).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let found = page.json();
        assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
        records.push(found[0].clone());
        points.push(point_of(&page));
        let Some(link) = page.header("link") else { return (records, points) };
        let next = link.strip_prefix('<').unwrap().split('>').next().unwrap();
        address = format!("{path}{next}");
        for product in ["A", "B", "C", "D"] {
            let id = format!("{name} {} {product}", points.len());
            let members = json!({"productId": product, "quantities": {"pos": {"inbound": 100}}});
            service.grant("onhand", event(&id, members)).await;
        }
        // They were received before the time that is asked about, by a clock that is behind.
        run(connection, "UPDATE ledger SET received_at = now() - interval '1 hour'").await;
    }
}

#[tokio::test]
async fn the_pages_of_an_answer_are_all_of_one_point() {
    let service = Service::start().await;
    service.configure(crate::support::bicycles()).await;
    let mut connection = alone(&service).await;
    for product in ["B", "C"] {
        for (color, quantity) in [("red", 1), ("blue", 2)] {
            let place = json!({"siteId": "1", "locationId": "11", "colorId": color});
            let members = json!({"productId": product, "dimensions": place, "quantities": {"pos": {"inbound": quantity}}});
            service.grant("onhand", event(&format!("{product} {color}"), members)).await;
        }
    }
    let expected = [("B", "blue", 2), ("B", "red", 1), ("C", "blue", 2), ("C", "red", 1)];
    let expected = expected.map(|(product, color, quantity)| json!([product, color, quantity]));
    let short = |record: &Value| {
        json!([record["productId"], record["dimensions"]["colorId"], record["quantities"]["pos"]["inbound"]])
    };
    // So that this moment is one at which all of it was received.
    run(&mut connection, "UPDATE ledger SET received_at = now() - interval '1 hour'").await;
    let now: time::OffsetDateTime = time::OffsetDateTime::now_utc();
    let now = now.format(&time::format_description::well_known::Rfc3339).unwrap();
    let filters =
        json!({"filters": {"organizationId": ["usmf"], "productId": []}, "groupByValues": ["colorId"]});
    let base = "/api/environment/test/onhand";
    for (address, body) in [
        (format!("{base}?organizationId=usmf&groupBy=colorId&limit=1&asOf={now}"), None),
        (
            format!("{base}/indexquery?limit=1"),
            Some(crate::requests::changed(filters.clone(), json!({"asOf": now}))),
        ),
        (format!("{base}/indexquery?limit=1&asOf={now}"), Some(filters)),
    ] {
        run(&mut connection, "UPDATE ledger SET received_at = now() WHERE event_id > 4").await;
        let name = format!("{address} {}", body.is_some());
        let (records, points) = pages(&service, &mut connection, &name, address.clone(), body).await;
        assert_eq!(points, vec![points[0]; 4], "{address}");
        assert_eq!(records.iter().map(short).collect::<Vec<_>>(), expected, "{address}");
    }
    service.stop().await;
}

/// Commands of many products at once: whoever asks about its own event sees what was answered then.
#[tokio::test]
async fn one_s_own_event_can_be_asked_about_at_once_while_others_write() {
    let service = Service::start().await;
    service.configure(crate::support::bicycles()).await;
    let service = std::sync::Arc::new(service);
    let buyers = (0..6).map(|buyer| {
        let service = std::sync::Arc::clone(&service);
        async move {
            let product = format!("P{}", buyer % 3);
            let path = format!("Online/C{buyer}");
            let of = |body: Value| crate::requests::changed(body, json!({"productId": product}));
            service.grant("onhand", of(stock(&format!("stock {buyer}"), 100))).await;
            let answer =
                service.grant("allocation/allocate", of(allocation(&format!("a {buyer}"), &path, 50))).await;
            let mut points = vec![(answer["eventId"].clone(), answer["balance"].clone())];
            for consumed in 1..=15 {
                let body = of(consumption(&format!("c {buyer} {consumed}"), &path, 1));
                let answer = service.grant("allocation/consume", body).await;
                assert_eq!(answer["balance"], balance(50 - consumed, consumed, (50, consumed)));
                points.push((answer["eventId"].clone(), answer["balance"].clone()));
                let earlier = points[points.len() / 2].clone();
                for (event_id, expected) in [points.last().unwrap().clone(), earlier] {
                    let body = json!({
                        "organizationId": "usmf", "productId": product, "dimensions": crate::requests::red(),
                        "groups": crate::requests::groups(&path), "asOf": event_id,
                    });
                    let asked = std::time::Instant::now();
                    let mut found = service.post("allocation/query", body.clone()).await;
                    // Where the machine is so busy that another's batch hangs for the second that is waited.
                    if found.status == 503 {
                        assert!(asked.elapsed() >= std::time::Duration::from_secs(1), "{}", found.text);
                        found = Client::new(&service.base).settle("allocation/query", &body).await;
                    }
                    assert_eq!(found.status, 200, "{}", found.text);
                    let found = found.json()[0]["quantities"]["@iv"].clone();
                    let named = json!({
                        "@allocated": expected["allocated"], "@consumed": expected["consumed"],
                        "@cumulative_allocated": expected["cumulativeAllocated"],
                        "@cumulative_consumed": expected["cumulativeConsumed"],
                    });
                    assert_eq!(found, named, "as of {event_id}");
                }
            }
        }
    });
    let mut connection = alone(&service).await;
    let following = async {
        let mut reached = 0;
        for round in 0..20 {
            let source = if round % 4 == 0 { Source::Ledger } else { Source::Books };
            reached = settled(&mut connection, reached, source).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        reached
    };
    let (_, reached) = tokio::join!(all(buyers), following);
    // If nothing had been settled while it followed.
    settled(&mut connection, reached, Source::Ledger).await;
    assert!(super::snapshots(&mut connection, "P0").await > 0);
    service.verify().await;
    std::sync::Arc::into_inner(service).unwrap().stop().await;
}

/// Takes snapshots up to where the ledger is settled.
async fn settled(connection: &mut sqlx::PgConnection, reached: i64, source: Source) -> i64 {
    let within = std::time::Duration::from_secs(5);
    let horizon = ringfence::store::horizon::Horizon::default().read(connection, within).await.unwrap();
    super::follow_by(connection, (reached, horizon.max(reached)), source, 4).await
}

/// An event that has its id and is not there yet: nobody is told how things stood after it.
#[tokio::test]
async fn a_point_is_told_of_when_nothing_can_come_before_it_any_more() {
    let service = with_stock(10).await;
    let mut connection = alone(&service).await;
    let mut slow = sqlx::Connection::begin(&mut connection).await.unwrap();
    let early = "INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions,
                                     configuration_version, version, received_at, outcome)
                 VALUES ('else', 'usmf', 'Bike', 'slow', 'x', '{}', 1, 1, now(), '{}')";
    run(&mut slow, early).await;
    let granted = service.grant("onhand", stock("after", 5)).await;
    let question = &questions()[4];
    let mut body = question.2.clone();
    body["asOf"] = granted["eventId"].clone();
    service.refuse("onhand/indexquery", body, "overloaded").await;
    slow.rollback().await.unwrap();
    let answer = ask(&service, "test", question, Some(granted["eventId"].clone())).await;
    assert_eq!(answer.json()[0]["quantities"]["pos"]["inbound"], 15);
    follow(&mut connection, 0, 1).await;
    service.stop().await;
}
