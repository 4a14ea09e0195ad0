//! An id names one event: a repeat answers what it answered first, and changes nothing.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use super::requests::{
    JSON, all, allocation, changed, consumption, event, groups, reallocation, stock, without,
};
use super::support::{Answer, Service, bicycles};

/// One command of each kind, in an order in which all are granted.
fn kinds() -> Vec<(&'static str, Value)> {
    let settle = json!({"quantities": {"@iv": {"@consumed": -1}, "fno": {"onordered": -1}}, "groups": groups("Online")});
    vec![
        ("onhand", stock("in", "0.5")),
        ("allocation/allocate", allocation("allocate", "Online", 8)),
        ("allocation/consume", consumption("consume", "Online", "3.25")),
        ("allocation/unallocate", allocation("unallocate", "Online", 1)),
        ("allocation/reallocate", reallocation("reallocate", "Online", "Store/B2B", 2)),
        ("onhand", event("settle", settle)),
    ]
}

/// Sends every kind of command and holds that each repeats what was answered first.
async fn hold_repeats(service: &Service, firsts: &[Answer]) {
    let before = service.books().await;
    for ((path, body), first) in kinds().into_iter().zip(firsts) {
        let again = service.post(path, body).await;
        assert_eq!((again.status, &again.text), (200, &first.text));
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text);
    }
    assert_eq!(service.books().await, before);
}

async fn firsts(service: &Service) -> Vec<Answer> {
    let mut firsts = Vec::new();
    for (path, body) in kinds() {
        let first = service.post(path, body).await;
        assert_eq!((first.status, first.header("idempotent-replayed")), (200, None), "{}", first.text);
        firsts.push(first);
    }
    firsts
}

#[tokio::test]
async fn a_repeat_is_answered_alike_by_the_same_and_by_another_and_by_a_restarted_service() {
    let service = Service::with_stock(10).await;
    let firsts = firsts(&service).await;
    hold_repeats(&service, &firsts).await;
    let second = Service::start_on(service.database.clone(), &[]).await;
    hold_repeats(&second, &firsts).await;
    // The books have moved on since; the answers have not.
    second.grant("onhand", stock("more", 5)).await;
    let database = service.database.clone();
    service.stop().await;
    let restarted = Service::start_on(database, &[]).await;
    hold_repeats(&restarted, &firsts).await;
    restarted.verify().await;
    restarted.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_repeat_may_be_written_otherwise() {
    let service = Service::with_stock(100).await;
    let path = "allocation/consume";
    service.grant("allocation/allocate", allocation("a", "Online/VIP", 50)).await;
    let first = service.post(path, consumption("c", "Online/VIP", 10)).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let text = consumption("c", "Online/VIP", 10).to_string();
    let otherwise = [
        text.replace("\"quantity\":10", "\"QUANTITY\": \"10.000\""),
        text.replace("\"quantity\":10", "\"quantity\": 1e1"),
        text.replace("inbound", "InBound").replace("siteId", "SITEID").replace("\"channel\"", "\"CHANNEL\""),
        text.replace("\"groups\"", "\"targetGroups\""),
        text.replace("\"Online\"", "\"\\u004fnline\"").replace(':', " :\n "),
        text.replace("\"Subtraction\"", "\"subtraction\"").replace("\"pos\"", "\"POS\""),
        text.replace("locationId", "shopId").replacen('{', "{\"dimensionDataSource\": \"pos\", ", 1),
        // In another order.
        r#"{"physicalMeasures": {"pos": {"inbound": "Subtraction"}}, "quantity": 10,
            "groups": {"customerGroup": "VIP", "channel": "Online"}, "productId": "Bike", "organizationId": "usmf",
            "dimensions": {"colorId": "red", "locationId": "11", "siteId": "1"}, "id": "c"}"#.to_owned(),
    ];
    for body in otherwise {
        let again = service.post_text(path, body.clone()).await;
        assert_eq!((again.status, &again.text), (200, &first.text), "{body}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{body}");
    }
    service.stop().await;
}

#[tokio::test]
async fn the_same_id_with_another_meaning_is_an_error_whatever_differs() {
    let service = Service::with_stock(100).await;
    let allocate = || allocation("a", "Online/VIP", 5);
    service.grant("allocation/allocate", allocate()).await;
    service.grant("allocation/reallocate", reallocation("r", "Online/VIP", "Store", 2)).await;
    service.grant("allocation/consume", consumption("c", "Online/VIP", 1)).await;
    let mut others = vec![
        ("allocation/unallocate", allocate()),
        ("allocation/consume", changed(consumption("a", "Online/VIP", 5), json!({}))),
        ("allocation/reallocate", reallocation("a", "Store", "Online/VIP", 1)),
        ("onhand", stock("a", 5)),
        ("onhand", stock("stock", 99)),
        ("allocation/allocate", allocation("a", "Online", 5)),
        ("allocation/allocate", allocation("a", "Online/VIP/EU", 5)),
        ("allocation/allocate", allocation("a", "Online/VIP", "5.000001")),
        ("allocation/reallocate", reallocation("r", "Store", "Online/VIP", 2)),
        ("allocation/reallocate", reallocation("r", "Online", "Store", 2)),
        (
            "allocation/consume",
            changed(
                consumption("c", "Online/VIP", 1),
                json!({"physicalMeasures": {"@iv": {"@softreserved": "Addition"}}}),
            ),
        ),
    ];
    let differences = [
        json!({"productId": "Helmet"}),
        json!({"organizationId": "other"}),
        json!({"dimensions": {"siteId": "1", "locationId": "11"}}),
        json!({"dimensions": {"siteId": "1", "locationId": "11", "colorId": "blue"}}),
    ];
    others.extend(differences.map(|other| ("allocation/allocate", changed(allocate(), other))));
    let before = service.books().await;
    for (path, body) in others {
        let problem = service.refuse(path, body.clone(), "id-reused").await;
        assert_eq!(problem["id"], body["id"]);
    }
    // Also from a service that has to read the event back.
    let second = Service::start_on(service.database.clone(), &[]).await;
    second.refuse("allocation/allocate", allocation("a", "Online", 5), "id-reused").await;
    second.refuse("onhand", changed(stock("a", 1), json!({"productId": "Helmet"})), "id-reused").await;
    let lines = json!([stock("stock", 100), stock("stock", 99), stock("new", 1)]);
    let answer = second.post("onhand/bulk", lines).await;
    assert_eq!(answer.status, 207);
    let lines = answer.json();
    let codes: Vec<&Value> = lines.as_array().unwrap().iter().map(|line| &line["code"]).collect();
    assert_eq!(codes, [&Value::Null, &json!("id-reused"), &Value::Null]);
    assert_ne!(service.books().await, before, "the new line was done");
    second.stop().await;
    service.stop().await;
}

#[tokio::test]
async fn an_environment_has_its_own_ids() {
    let service = Service::with_stock(10).await;
    let path = "/api/environment/other/configuration";
    assert_eq!(service.send(Method::PUT, path, &[JSON], bicycles().to_string()).await.status, 200);
    let path = "/api/environment/other/onhand";
    let answer = service.send(Method::POST, path, &[JSON], stock("stock", 3).to_string()).await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (200, None), "{}", answer.text);
    assert_eq!(answer.json()["availableToAllocate"], json!(3));
    service.stop().await;
}

#[tokio::test]
async fn a_refused_command_leaves_no_trace() {
    let service = Service::with_stock(1).await;
    let second = Service::start_on(service.database.clone(), &[]).await;
    let code = "insufficient-available-to-allocate";
    for service in [&service, &second, &service] {
        service.refuse("allocation/allocate", allocation("a", "Online", 5), code).await;
    }
    service.refuse("allocation/consume", consumption("c", "Online", 5), "insufficient-allocation").await;
    service.grant("onhand", stock("more", 4)).await;
    second.grant("allocation/allocate", allocation("a", "Online", 5)).await;
    // The id was free for another meaning too.
    service.grant("allocation/unallocate", allocation("c", "Online", 1)).await;
    assert_eq!(service.verify().await, 4);
    second.stop().await;
    service.stop().await;
}

#[tokio::test]
async fn what_was_granted_stays_granted_under_another_configuration() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    let first = service.post("allocation/consume", consumption("c", "Online", 3)).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let mut read_only = bicycles();
    read_only["dataSources"]["pos"]["readOnly"] = json!(true);
    let mut not_neutral = bicycles();
    not_neutral["allocation"]["availableToAllocate"] = json!("fno.onordered - @iv.@allocated");
    for (configuration, code) in
        [(read_only, "read-only-data-source"), (not_neutral, "consumption-not-neutral")]
    {
        assert_eq!(service.configure(configuration).await.status, 200);
        service.refuse("allocation/consume", consumption("new", "Online", 3), code).await;
        let restarted = Service::start_on(service.database.clone(), &[]).await;
        for service in [&service, &restarted] {
            let again = service.post("allocation/consume", consumption("c", "Online", 3)).await;
            assert_eq!((again.status, &again.text), (200, &first.text));
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
        }
        restarted.stop().await;
    }
    service.verify().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_64_times_at_once_is_done_once() {
    let one = Arc::new(Service::with_stock(100).await);
    let other = Arc::new(Service::start_on(one.database.clone(), &[]).await);
    let send = |task: usize| {
        let service = Arc::clone(if task.is_multiple_of(2) { &one } else { &other });
        async move { service.post("allocation/allocate", allocation("a", "Online", 7)).await }
    };
    let answers = all((0..64).map(send)).await;
    assert!(
        answers.iter().all(|answer| (answer.status, &answer.text) == (200, &answers[0].text)),
        "{answers:#?}"
    );
    let firsts = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
    assert_eq!(firsts, 1);
    assert_eq!(one.balances(json!({})).await, json!([["Online", 7, 0, 7, 0]]));
    assert_eq!(one.verify().await, 2);
    Arc::into_inner(one).unwrap().stop().await;
    Arc::into_inner(other).unwrap().stop().await;
}

#[tokio::test]
async fn a_command_without_an_id_is_no_command() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    for (path, body) in kinds() {
        service.refuse(path, without(body.clone(), "id"), "missing-id").await;
        service.refuse(path, changed(body, json!({"id": null})), "missing-id").await;
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}

/// Sends a request again, to a service that remembers nothing, and holds that it is a repeat.
async fn hold_repeat_after_restart(service: Service, path: &str, body: &Value, first: &Answer) {
    let database = service.database.clone();
    service.stop().await;
    let restarted = Service::start_on(database, &[]).await;
    let again = restarted.post(path, body.clone()).await;
    assert_eq!((again.status, &again.text), (200, &first.text));
    restarted.verify().await;
    restarted.stop().await;
}

#[tokio::test]
async fn the_largest_availability_can_be_answered_again() {
    let service = Service::start().await;
    let mut document = bicycles();
    document["allocation"]["availableToAllocate"] = json!("1000000 * pos.inbound - @iv.@allocated");
    document["reservation"] = json!({});
    assert_eq!(service.configure(document).await.status, 200);
    let mut first = service.post("onhand", stock("0", 1_000_000_000_000_000_i64)).await;
    for id in 1..20 {
        first = service.post("onhand", stock(&id.to_string(), 1_000_000_000_000_000_i64)).await;
    }
    assert!(first.text.ends_with("\"availableToAllocate\":20000000000000000000000}"), "{}", first.text);
    hold_repeat_after_restart(service, "onhand", &stock("19", 1_000_000_000_000_000_i64), &first).await;
}

#[tokio::test]
async fn an_atomic_bulk_is_repeated_as_one_whatever_was_set_since() {
    let service = Service::with_stock(10).await;
    let path = "setonhand/pos/bulk?atomic=true";
    let lines = |name: &str, time: &str| -> Value {
        let line = |index: usize| {
            let set = json!({"quantities": {"pos": {"outbound": index}}, "modifiedDateTimeUTC": time});
            changed(event(&format!("{name}-{index}"), set), json!({"productId": format!("Bike{index}")}))
        };
        (0..40).map(line).collect()
    };
    let old = lines("old", "2026-01-01T00:00:00Z");
    let first = service.post(path, old.clone()).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(service.post(path, lines("new", "2026-01-02T00:00:00Z")).await.status, 200);
    hold_repeat_after_restart(service, path, &old, &first).await;
}

#[tokio::test]
async fn a_repeat_is_one_also_when_the_configuration_lost_its_names() {
    let service = Service::with_stock(10).await;
    let body = changed(
        stock("mapped", 1),
        json!({"dimensionDataSource": "pos", "dimensions": {"siteId": "1", "shopId": "11", "colorId": "red"}}),
    );
    let first = service.post("onhand", body.clone()).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let mut document = bicycles();
    document["dataSources"]["pos"]["dimensionMappings"] = json!({});
    assert_eq!(service.configure(document).await.status, 200);
    let again = service.post("onhand", body.clone()).await;
    assert_eq!((again.status, &again.text), (200, &first.text));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let bulk =
        service.post("onhand/bulk", json!([body, changed(body.clone(), json!({"id": "mapped-2"}))])).await;
    assert_eq!(bulk.status, 207, "{}", bulk.text);
    assert_eq!(bulk.json()[0], first.json());
    assert_eq!(bulk.json()[1]["code"], json!("unknown-dimension"));
    let other = changed(body.clone(), json!({"quantities": {"pos": {"inbound": 2}}}));
    service.refuse("onhand", other, "unknown-dimension").await;
    hold_repeat_after_restart(service, "onhand", &body, &first).await;
}
