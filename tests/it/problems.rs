//! The wire contract's table of problems, row by row. None of them changes anything.

use reqwest::Method;
use serde_json::{Value, json};

use super::requests::{
    JSON, PROBLEMS, allocation, changed, consumption, event, groups, pointers, problem, reallocation, stock,
    without,
};
use super::reservations::{freeing, reservation};
use super::support::{Answer, Service, bicycles};

/// Sends a request under an id of its own, and holds that it is refused as expected, traceably
/// and without a trace in the books.
async fn refused(service: &Service, method: Method, path: &str, body: String, code: &str) -> Value {
    let before = service.books().await;
    let headers = [JSON, ("x-request-id", "the caller's own id")];
    let answer = service.send(method, path, &headers, body).await;
    assert_eq!(answer.header("x-request-id"), Some("the caller's own id"));
    let problem = problem(&answer, code);
    assert_eq!(service.books().await, before, "{code} changed the books");
    problem
}

async fn post(service: &Service, path: &str, body: Value, code: &str) -> Value {
    refused(service, Method::POST, &format!("/api/environment/test/{path}"), body.to_string(), code).await
}

/// 10 red bicycles, 7 of them allocated: 3 are available.
async fn service() -> Service {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("seven", "Online/VIP/US", 7)).await;
    service
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said_with_its_place() {
    let service = service().await;
    let allocate = || allocation("x", "Online/VIP/US", 1);
    let rows = [
        (
            "invalid-request",
            changed(allocate(), json!({"quantity": true, "productId": 7})),
            "/productId /quantity",
        ),
        ("invalid-request", without(allocate(), "organizationId"), "/organizationId"),
        ("invalid-request", changed(allocate(), json!({"groups": {}})), "/groups"),
        ("unknown-property", changed(allocate(), json!({"a/b~c": 1})), "/a~1b~0c"),
        (
            "unknown-group",
            changed(allocate(), json!({"groups": {"channel": "Online", "tier": "1"}})),
            "/groups/tier",
        ),
        (
            "hierarchy-gap",
            changed(allocate(), json!({"groups": {"channel": "Online", "region": "US"}})),
            "/groups",
        ),
        (
            "unknown-dimension",
            changed(allocate(), json!({"dimensions": {"width": "1"}})),
            "/dimensions/width",
        ),
        ("invalid-quantity", changed(allocate(), json!({"quantity": 0})), "/quantity"),
        (
            "missing-required-dimension",
            changed(allocate(), json!({"dimensions": {"siteId": "1"}})),
            "/dimensions",
        ),
        ("missing-id", without(allocate(), "id"), ""),
    ];
    for (code, body, places) in rows {
        let problem = post(&service, "allocation/allocate", body.clone(), code).await;
        assert_eq!(pointers(&problem).join(" "), places, "{problem}");
        assert_eq!(problem.get("id"), body.get("id"), "the id is told where it is known: {problem}");
    }
    let lost = changed(stock("x", 1), json!({"quantities": {"pos": {"lost": 1}}}));
    let problem = post(&service, "onhand", lost, "unknown-measure").await;
    assert_eq!(pointers(&problem), ["/quantities/pos/lost"]);
    refused(&service, Method::POST, "/api/environment/test/onhand", "{\"id\": ".to_owned(), "malformed-json")
        .await;
    service.stop().await;
}

#[tokio::test]
async fn a_shortage_says_what_was_asked_what_there_is_and_what_limits_it() {
    let service = service().await;
    let problem = post(
        &service,
        "allocation/allocate",
        allocation("test101", "Online", 7),
        "insufficient-available-to-allocate",
    )
    .await;
    assert_eq!(problem["title"], "Not enough available to allocate");
    assert_eq!(
        problem["detail"],
        "7 asked for, 3 available, limited at siteId=1, locationId=11, colorId=red"
    );
    assert_eq!(problem["message"], problem["detail"]);
    assert_eq!((&problem["requested"], &problem["available"]), (&json!(7), &json!(3)));
    assert_eq!(problem["limitedBy"], json!({"siteId": "1", "locationId": "11", "colorId": "red"}));
    assert_eq!(problem["id"], "test101");

    let rows = [
        ("allocation/unallocate", allocation("x", "Online/VIP/US", 8), "Online/VIP/US", 7),
        ("allocation/consume", consumption("x", "Online/VIP/US", 8), "Online/VIP/US", 7),
        ("allocation/reallocate", reallocation("x", "Online/VIP/US", "Store", 8), "Online/VIP/US", 7),
        ("allocation/consume", consumption("x", "Online/VIP", 8), "Online/VIP", 0),
    ];
    for (path, body, from, held) in rows {
        let problem = post(&service, path, body, "insufficient-allocation").await;
        assert_eq!((&problem["requested"], &problem["available"]), (&json!(8), &json!(held)), "{problem}");
        assert_eq!(problem["groups"], groups(from));
        assert_eq!(problem["id"], "x");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_reservation_that_cannot_be_is_told_why() {
    let service = service().await;
    let problem =
        post(&service, "onhand/reserve", reservation("x", 4), "insufficient-available-to-reserve").await;
    let detail = "4 asked for, 3 available for reservation, limited at siteId=1, locationId=11, colorId=red";
    assert_eq!(problem["detail"], detail);
    assert_eq!((&problem["requested"], &problem["available"]), (&json!(4), &json!(3)));
    assert_eq!(problem["limitedBy"], json!({"siteId": "1", "locationId": "11", "colorId": "red"}));
    let back = changed(reservation("x", -1), json!({"ifCheckAvailForReserv": false}));
    let problem = post(&service, "onhand/reserve", back, "nothing-reserved").await;
    assert_eq!((&problem["requested"], &problem["available"]), (&json!(1), &json!(0)));
    let id = json!("5e1ab4a5-0000-0000-0000-000000000000");
    let problem = post(&service, "onhand/unreserve", freeing("x", &id, 1), "unknown-reservation").await;
    assert!(problem["detail"].as_str().unwrap().contains(id.as_str().unwrap()), "{problem}");
    assert_eq!(problem["id"], "x");
    service.stop().await;
}

#[tokio::test]
async fn a_consume_that_would_change_the_pool_is_told_why() {
    let service = service().await;
    let consume = |measures: Value| {
        changed(consumption("x", "Online/VIP/US", 2), json!({"physicalMeasures": measures}))
    };
    let rows = [
        (json!({}), "release 2 "),
        (json!({"pos": {"outbound": "Subtraction"}}), "release 2 "),
        (json!({"pos": {"inbound": "Addition"}}), "release 4 "),
        (json!({"pos": {"inbound": "Subtraction"}, "@iv": {"@softreserved": "Addition"}}), "deduct 2 "),
    ];
    for (measures, why) in rows {
        let problem =
            post(&service, "allocation/consume", consume(measures), "consumption-not-neutral").await;
        assert!(problem["detail"].as_str().unwrap().contains(why), "{why}: {problem}");
        assert_eq!(problem["id"], "x");
    }
    let problem = post(
        &service,
        "allocation/consume",
        consume(json!({"fno": {"onordered": "Subtraction"}})),
        "read-only-data-source",
    )
    .await;
    assert!(problem["detail"].as_str().unwrap().contains("fno.onordered"), "{problem}");
    service.stop().await;
}

#[tokio::test]
async fn an_id_names_one_event_for_ever() {
    let service = service().await;
    let problem =
        post(&service, "allocation/allocate", allocation("seven", "Online/VIP/US", 8), "id-reused").await;
    assert_eq!(problem["id"], "seven");
    service.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let service = service().await;
    let allocate = allocation("x", "Online", 1).to_string();
    let rows = [
        (Method::POST, "/api/environment/nobody/allocation/allocate", "unknown-environment"),
        (Method::POST, "/api/environment/TEST/allocation/allocate", "unknown-environment"),
        (Method::POST, "/api/environment/nobody/onhand/bulk", "unknown-environment"),
        (Method::GET, "/api/environment/nobody/configuration", "unknown-environment"),
        (Method::POST, "/api/environment/test/allocation/nothing", "not-found"),
        (Method::POST, "/api/environment/test/allocation/allocate/more", "not-found"),
        (Method::GET, "/api/environment/test", "not-found"),
        (Method::GET, "/", "not-found"),
        (Method::GET, "/problems/nothing", "not-found"),
    ];
    for (method, path, code) in rows {
        let body = if path.ends_with("/bulk") { format!("[{allocate}]") } else { allocate.clone() };
        refused(&service, method, path, body, code).await;
    }
    service.stop().await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused() {
    let service = service().await;
    let path = "/api/environment/test/configuration";
    let mut document = bicycles();
    document["allocation"]["groups"] = json!(["channel"]);
    let problem = refused(&service, Method::PUT, path, document.to_string(), "configuration-in-use").await;
    assert_eq!(pointers(&problem), ["/allocation/groups"]);
    document = bicycles();
    document["allocation"]["availableToAllocate"] = json!("pos.inbound");
    let problem = refused(&service, Method::PUT, path, document.to_string(), "unprotected-formula").await;
    assert_eq!(pointers(&problem), ["/allocation/availableToAllocate"]);

    let before = service.books().await;
    let answer =
        service.send(Method::PUT, path, &[JSON, ("if-match", "\"7\"")], bicycles().to_string()).await;
    problem_without_change(&service, &answer, "precondition-failed", &before).await;
    service.stop().await;
}

async fn problem_without_change(service: &Service, answer: &Answer, code: &str, before: &str) {
    problem(answer, code);
    assert_eq!(service.books().await, before, "{code} changed the books");
}

#[tokio::test]
async fn a_body_has_its_type_and_its_limit() {
    let service = service().await;
    let before = service.books().await;
    let padded = |body: Value, length: usize| {
        let body = body.to_string();
        let spaces = " ".repeat(length - body.len());
        body + &spaces
    };
    let line = |id: &str| json!([stock(id, 1)]);
    let rows = [
        ("allocation/allocate", padded(allocation("x", "Online", 1), (1 << 20) + 1)),
        ("onhand", padded(stock("x", 1), (1 << 20) + 1)),
        ("onhand/bulk", padded(line("x"), (8 << 20) + 1)),
        ("setonhand/pos/bulk", padded(line("x"), (8 << 20) + 1)),
    ];
    for (path, body) in rows {
        let answer = service.post_text(path, body).await;
        problem_without_change(&service, &answer, "payload-too-large", &before).await;
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "json"] {
        let path = "/api/environment/test/onhand";
        let answer =
            service.send(Method::POST, path, &[("content-type", kind)], stock("x", 1).to_string()).await;
        problem_without_change(&service, &answer, "unsupported-media-type", &before).await;
    }
    // Exactly the limit is within it.
    let answer = service.post_text("onhand", padded(stock("long", 1), 1 << 20)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = service.post_text("onhand/bulk", padded(line("longest"), 8 << 20)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let kind = ("content-type", "Application/JSON; charset=utf-8");
    let answer =
        service.send(Method::POST, "/api/environment/test/onhand", &[kind], event_text("typed")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    service.stop().await;
}

fn event_text(id: &str) -> String {
    event(id, json!({"quantities": {"pos": {"inbound": 1}}})).to_string()
}

#[tokio::test]
async fn every_problem_is_explained_at_its_type() {
    let service = Service::start().await;
    for (code, status, _) in PROBLEMS {
        let page = service.get(&format!("/problems/{code}")).await;
        assert_eq!(page.status, 200, "{code}");
        assert!(page.header("content-type").unwrap().starts_with("text/plain"));
        assert!(page.text.contains(code) && page.text.contains(&status.to_string()), "{}", page.text);
        assert!(page.text.lines().last().unwrap().split(' ').count() > 5, "{code} in words: {}", page.text);
    }
    let (one, another) = (service.get("/healthz").await, service.get("/healthz").await);
    assert_ne!(one.header("x-request-id").unwrap(), another.header("x-request-id").unwrap());
    service.stop().await;
}

/// A connection that is closed over unread bytes is reset: the client would not hear why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_far_too_much_hears_why() {
    let service = Service::with_stock(1).await;
    for _ in 0..20 {
        let answer = service.post_text("onhand", vec![b' '; 9 << 20]).await;
        problem(&answer, "payload-too-large");
        let kind = ("content-type", "text/plain");
        let path = "/api/environment/test/onhand";
        let answer = service.send(Method::POST, path, &[kind], vec![b' '; 9 << 20]).await;
        problem(&answer, "unsupported-media-type");
    }
    service.stop().await;
}
