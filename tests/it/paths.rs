//! Paths, methods, names of properties and headers, in all the spellings that are accepted.

use reqwest::Method;
use serde_json::{Value, json};

use super::requests::{
    JSON, allocation, balance, changed, consumption, event, groups, problem, red, stock, without,
};
use super::support::Service;

#[tokio::test]
async fn path_words_match_in_any_letter_case_and_with_a_slash_at_the_end() {
    let service = Service::with_stock(10).await;
    let paths = [
        "/api/environment/test/allocation/allocate/",
        "/API/Environment/test/Allocation/ALLOCATE",
        "/Api/ENVIRONMENT/test/allocation/Allocate/",
        "/api/environment/test/allocation/allocate?",
    ];
    for (index, path) in paths.into_iter().enumerate() {
        let body = allocation(&index.to_string(), "Online", 1).to_string();
        let answer = service.send(Method::POST, path, &[JSON], body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    let lines = json!([stock("line", 1)]).to_string();
    let answer =
        service.send(Method::POST, "/API/environment/test/SetOnHand/POS/Bulk/", &[JSON], lines).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(service.get("/api/environment/test/Configuration/").await.status, 200);
    service.stop().await;
}

#[tokio::test]
async fn an_environment_s_name_is_a_value_and_matches_exactly() {
    let service = Service::with_stock(10).await;
    let before = service.get("/api/environment/test/configuration").await;
    for name in ["Two%20Words", "a%2Fb", "%C3%A9", "Test"] {
        let path = format!("/api/environment/{name}/configuration");
        problem(&service.get(&path).await, "unknown-environment");
        let mut document = before.json();
        document["dimensions"] = json!([name.replace('%', "_"), "locationId"]);
        let answer = service.send(Method::PUT, &path, &[JSON], document.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let kept = service.get(&path).await.json();
        assert_eq!(kept["dimensions"], document["dimensions"], "{name}");
    }
    assert_eq!(service.get("/api/environment/test/configuration").await.text, before.text);
    for name in ["%00", "a%0Ab", &"n".repeat(129)] {
        let path = format!("/api/environment/{name}/configuration");
        let answer = service.send(Method::PUT, &path, &[JSON], before.text.clone()).await;
        problem(&answer, "invalid-request");
        problem(&service.get(&path).await, "unknown-environment");
    }
    service.stop().await;
}

#[tokio::test]
async fn another_method_is_told_which_there_are() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let rows = [
        (Method::GET, "/api/environment/test/allocation/allocate", "POST"),
        (Method::PUT, "/api/environment/test/onhand/bulk", "POST"),
        (Method::PATCH, "/api/environment/test/OnHand/", "POST"),
        (Method::DELETE, "/api/environment/test/configuration", "GET PUT"),
        (Method::POST, "/api/environment/test/configuration", "GET PUT"),
        (Method::POST, "/healthz", "GET"),
        (Method::DELETE, "/readyz", "GET"),
        (Method::DELETE, "/openapi.yaml", "GET"),
        (Method::DELETE, "/problems/id-reused", "GET"),
    ];
    for (method, path, methods) in rows {
        let answer = service.send(method.clone(), path, &[JSON], "{}").await;
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
        assert_eq!(answer.json()["code"], "method-not-allowed");
        let allow: Vec<&str> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
        assert!(methods.split(' ').all(|method| allow.contains(&method)), "{path}: {allow:?}");
        assert!(!allow.contains(&method.as_str()), "{path}: {allow:?}");
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}

/// The same with every name, but no value, in upper case.
fn shouted(body: Value) -> Value {
    match body {
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name.to_uppercase(), shouted(value))).collect()
        }
        other => other,
    }
}

#[tokio::test]
async fn names_match_in_any_letter_case_and_are_echoed_as_configured() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", shouted(allocation("a", "Online/VIP", 8))).await;
    let consume = shouted(changed(
        consumption("c", "Online/VIP", 3),
        json!({"physicalMeasures": {"pos": {"inbound": "sUBTRACTION"}}}),
    ));
    assert_eq!(service.grant("allocation/consume", consume).await["balance"], balance(5, 3, (8, 3)));
    let change = shouted(json!([stock("in", 5)]));
    assert_eq!(service.post("onhand/bulk", change).await.status, 200);
    let set = changed(stock("set", 1), json!({"modifiedDateTimeUTC": "2026-01-01T00:00:00Z"}));
    assert_eq!(service.post("setonhand/pos/bulk", shouted(json!([set]))).await.status, 200);

    let query = shouted(without(event("", json!({"groups": groups("Online"), "rollup": false})), "id"));
    let answer = service.post("allocation/query", query).await.json();
    assert_eq!(answer[0]["dimensions"], red());
    assert_eq!(answer[0]["groups"], groups("Online/VIP"));
    let problem = service.refuse(
        "allocation/allocate",
        shouted(allocation("b", "Online", 100)),
        "insufficient-available-to-allocate",
    );
    assert_eq!(problem.await["limitedBy"], red());
    service.stop().await;
}

#[tokio::test]
async fn values_match_exactly() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    service.refuse("allocation/consume", consumption("c", "online", 1), "insufficient-allocation").await;
    let elsewhere = json!({"dimensions": {"siteId": "1", "locationId": "11", "colorId": "Red"}});
    service
        .refuse(
            "allocation/allocate",
            changed(allocation("b", "Online", 1), elsewhere),
            "insufficient-available-to-allocate",
        )
        .await;
    let other = changed(allocation("b", "Online", 1), json!({"productId": "bike"}));
    service.refuse("allocation/allocate", other, "insufficient-available-to-allocate").await;
    let other = changed(allocation("b", "Online", 1), json!({"organizationId": "USMF"}));
    service.refuse("allocation/allocate", other, "insufficient-available-to-allocate").await;
    service.stop().await;
}

#[tokio::test]
async fn target_groups_is_another_name_for_groups() {
    let service = Service::with_stock(10).await;
    let renamed = |mut body: Value| {
        let groups = body.as_object_mut().unwrap().remove("groups").unwrap();
        changed(body, json!({"targetGroups": groups}))
    };
    service.grant("allocation/allocate", renamed(allocation("a", "Online", 8))).await;
    service.grant("allocation/consume", renamed(consumption("c", "Online", 3))).await;
    service.grant("allocation/unallocate", renamed(allocation("u", "Online", 1))).await;
    let reallocation = super::requests::reallocation("r", "Online", "Store", 1);
    service.grant("allocation/reallocate", renamed(reallocation)).await;
    assert_eq!(
        service.balances(json!({"targetGroups": groups("Store")})).await,
        json!([["Store", 1, 0, 1, 0]])
    );
    let settle = json!({"quantities": {"@iv": {"@consumed": -2}}, "groups": groups("Online")});
    let settled = service.grant("onhand", renamed(event("s", settle))).await;
    assert_eq!(settled["balance"], balance(3, 1, (6, 3)));
    service.stop().await;
}

#[tokio::test]
async fn the_id_may_come_as_a_header() {
    let service = Service::with_stock(10).await;
    let path = "/api/environment/test/allocation/allocate";
    let body = || without(allocation("", "Online", 1), "id");
    let send = async |header: &str, body: Value| {
        service.send(Method::POST, path, &[JSON, ("idempotency-key", header)], body.to_string()).await
    };
    let first = send("key-1", body()).await;
    assert_eq!((first.status, &first.json()["id"]), (200, &json!("key-1")), "{}", first.text);
    // The draft standard puts it in quotation marks; the body may say the same.
    for (header, body) in [
        ("\"key-1\"", body()),
        ("key-1", allocation("key-1", "Online", 1)),
        ("key-1", allocation("", "Online", 1)),
    ] {
        let again = send(header, body).await;
        assert_eq!(again.text, first.text);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    let in_body = service.post("allocation/allocate", allocation("key-1", "Online", 1)).await;
    assert_eq!(in_body.text, first.text);

    let before = service.books().await;
    let other = send("key-2", allocation("key-1", "Online", 1)).await;
    assert_eq!(super::requests::pointers(&problem(&other, "invalid-request")), ["/id"]);
    let refused = problem(
        &send("key-3", changed(body(), json!({"quantity": 100}))).await,
        "insufficient-available-to-allocate",
    );
    assert_eq!(refused["id"], "key-3");
    let refused =
        problem(&send("key-3", changed(body(), json!({"quantity": true}))).await, "invalid-request");
    assert_eq!(refused["id"], "key-3");
    problem(&send(&"k".repeat(129), body()).await, "invalid-request");
    problem(&service.post("allocation/allocate", body()).await, "missing-id");
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn an_api_version_is_accepted() {
    let service = Service::with_stock(10).await;
    let body = allocation("a", "Online", 1).to_string();
    let path = "/api/environment/test/allocation/allocate";
    let answer = service.send(Method::POST, path, &[JSON, ("api-version", "1.0")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    service.stop().await;
}
