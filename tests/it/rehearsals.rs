//! Dry runs: what a command would do is what it then does, and nothing is done by asking.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use super::requests::{
    allocation, changed, check_problem, consumption, event, groups, pointers, problem, reallocation, stock,
};
use super::reservations::{freeing, reservation};
use super::schedule::{change, later, scheduling, today};
use super::support::{Service, bicycles, database, eventually};

fn of(product: &str, body: Value) -> Value {
    changed(body, json!({"productId": product}))
}

/// A body, or all lines of one, with a member more.
fn with(body: &Value, member: &str) -> Value {
    match body {
        Value::Array(lines) => lines.iter().map(|line| with(line, member)).collect(),
        Value::Object(_) => changed(body.clone(), json!({member: true})),
        other => other.clone(),
    }
}

/// What a dry run and the command itself have in common; `dry` says which of them it is.
fn common(answer: &Value, dry: bool) -> Value {
    if let Value::Array(lines) = answer {
        return lines.iter().map(|line| common(line, dry)).collect();
    }
    let mut members = answer.as_object().unwrap().clone();
    assert_eq!(members.remove("dryRun"), dry.then_some(json!(true)), "{answer}");
    let is_done = answer["processingStatus"] != "failure";
    assert_eq!(members.remove("eventId").is_some(), is_done && !dry, "{answer}");
    members.into()
}

/// Asks what would happen, sees that nothing did, and lets it happen. Answers what did.
async fn rehearse_and_do(service: &Service, path: &str, body: Value) -> Value {
    let before = service.books().await;
    let dry = service.post(path, with(&body, "dryRun")).await;
    assert_eq!(service.books().await, before, "{path} {body}");
    if body.is_array() {
        let sign = if path.contains('?') { '&' } else { '?' };
        let by_address = service.post(&format!("{path}{sign}dryRun=true"), body.clone()).await;
        assert_eq!((by_address.status, by_address.json()), (dry.status, dry.json()), "{path} {body}");
    }
    let done = service.post(path, body.clone()).await;
    assert_eq!(
        (dry.status, common(&dry.json(), true)),
        (done.status, common(&done.json(), false)),
        "{path} {body}"
    );
    for header in ["content-type", "idempotent-replayed"] {
        assert_eq!(dry.header(header), done.header(header), "{path} {body}");
    }
    done.json()
}

#[tokio::test]
async fn what_any_command_would_do_is_what_it_then_does() {
    let service = super::schedule::service(10).await;
    let today = today().await;
    let rehearse = async |path: &str, body: Value| rehearse_and_do(&service, path, body).await;
    rehearse("onhand", stock("more", 4)).await;
    rehearse("allocation/allocate", allocation("a", "Online/VIP", 8)).await;
    rehearse("allocation/allocate", allocation("b", "Online", 99)).await;
    rehearse("allocation/unallocate", allocation("c", "Online/VIP", 1)).await;
    rehearse("allocation/unallocate", allocation("d", "Online", 1)).await;
    rehearse("allocation/reallocate", reallocation("e", "Online/VIP", "Online", 2)).await;
    rehearse("allocation/reallocate", reallocation("f", "Online/VIP", "Online", 9)).await;
    rehearse("allocation/consume", consumption("g", "Online/VIP", 3)).await;
    rehearse("allocation/consume", consumption("h", "Online/VIP", 3)).await;
    let bare = changed(consumption("i", "Online/VIP", 1), json!({"physicalMeasures": {}}));
    rehearse("allocation/consume", bare).await;
    let soft = changed(
        consumption("j", "Online", 1),
        json!({"physicalMeasures": {"@iv": {"@softreserved": "Addition"}}}),
    );
    let made = rehearse("allocation/consume", soft).await;
    rehearse("onhand/unreserve", freeing("k", &made["reservationId"], 1)).await;
    let made = rehearse("onhand/reserve", reservation("l", 4)).await;
    rehearse("onhand/reserve", reservation("m", 99)).await;
    let given_back = changed(reservation("n", -1), json!({"ifCheckAvailForReserv": false}));
    rehearse("onhand/reserve", given_back).await;
    rehearse("onhand/unreserve", freeing("o", &made["reservationId"], 9)).await;
    rehearse("onhand/unreserve", freeing("p", &json!("none"), 9)).await;
    let settled = json!({"quantities": {"pos": {"inbound": -1}, "@iv": {"@consumed": -1}}, "groups": groups("Online/VIP")});
    rehearse("onhand", event("q", settled)).await;
    rehearse("onhand/changeschedule", change("r", &[(later(today, 1), json!({"inbound": 5}))])).await;
    rehearse("onhand/changeschedule", change("s", &[(later(today, 99), json!({"inbound": 5}))])).await;
    rehearse("onhand", changed(stock("t", 1), json!({"dimensions": {"width": "1"}}))).await;
    rehearse("onhand", changed(stock("u", 1), json!({"extra": 1}))).await;
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn what_the_lines_of_any_bulk_would_do_is_what_they_then_do() {
    let service = super::schedule::service(10).await;
    let today = today().await;
    for (name, query) in [("alone", ""), ("together", "?atomic=true"), ("anew", "?atomic=true")] {
        let id = |id: &str| format!("{name}-{id}");
        let bulk = async |path: &str, lines: Value| {
            rehearse_and_do(&service, &format!("{path}{query}"), lines).await
        };
        let wrong = |lines: Value| if name == "together" { lines } else { json!([]) };
        let lines = |good: Value, bad: Value| -> Value {
            [good, wrong(bad)].iter().flat_map(|part| part.as_array().unwrap().clone()).collect()
        };
        let good = json!([stock(&id("1"), 3), of("Helmet", stock(&id("2"), 2)), stock(&id("1"), 3)]);
        bulk("onhand/bulk", lines(good, json!([stock(&id("1"), 4), json!("line")]))).await;
        let set = |id: &str, at: &str| changed(stock(id, 20), json!({"modifiedDateTimeUTC": at}));
        let good = json!([set(&id("3"), "2022-01-01T00:00:00Z"), set(&id("4"), "2022-01-02T00:00:00Z")]);
        let bad = json!([set(&id("5"), "2021-01-01T00:00:00Z"), set(&id("6"), "2023-01-01T00:00:00Z")]);
        bulk(
            "setonhand/pos/bulk",
            if name == "alone" { lines(good, bad) } else { json!([set(&id("7"), "2024-01-01T00:00:00Z")]) },
        )
        .await;
        let good = json!([reservation(&id("8"), 2), reservation(&id("9"), 3)]);
        let made = bulk("onhand/reserve/bulk", lines(good, json!([reservation(&id("10"), 99)]))).await;
        if let Some(first) = made[0].get("reservationId") {
            let good = json!([freeing(&id("11"), first, 1), freeing(&id("12"), first, 2)]);
            bulk("onhand/unreserve/bulk", lines(good, json!([freeing(&id("13"), &json!("none"), 1)]))).await;
        }
        let day = |id: &str, days: i64| change(id, &[(later(today, days), json!({"inbound": 5}))]);
        let good = json!([day(&id("14"), 1), day(&id("15"), 1)]);
        bulk("onhand/changeschedule/bulk", lines(good, json!([day(&id("16"), 99)]))).await;
    }
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_line_sees_what_those_before_it_would_have_done() {
    let service = Service::with_stock(10).await;
    let lines = json!([
        reservation("a", 6),
        reservation("b", 5),
        of("Helmet", reservation("c", 1)),
        reservation("d", 4)
    ]);
    let answer = service.post("onhand/reserve/bulk?dryRun=true", lines.clone()).await;
    let results = answer.json();
    assert_eq!(answer.status, 207, "{results}");
    assert_eq!([0, 3].map(|line: usize| results[line]["availableToAllocate"].as_i64()), [Some(4), Some(0)]);
    check_problem(&results[1], "insufficient-available-to-reserve");
    check_problem(&results[2], "insufficient-available-to-reserve");
    assert_eq!((&results[1]["available"], &results[3]["version"]), (&json!(4), &json!(3)));
    let answer = service.post("onhand/reserve/bulk?dryRun=true&atomic=true", lines).await;
    let refused = problem(&answer, "insufficient-available-to-reserve");
    assert_eq!(
        (&refused["index"], &refused["id"], &refused["dryRun"]),
        (&json!(1), &json!("b"), &json!(true))
    );
    // Nothing of it has happened, nor is any of its ids taken.
    let granted = service.grant("onhand/reserve", reservation("b", 10)).await;
    assert_eq!(granted["version"], 2);
    assert_eq!(service.verify().await, 2);
    service.stop().await;
}

#[tokio::test]
async fn an_id_that_is_taken_is_answered_as_a_repeat_of_it_would_be() {
    let service = Service::with_stock(10).await;
    let body = allocation("a", "Online/VIP", 4);
    let granted = service.grant("allocation/allocate", body.clone()).await;
    service.grant("allocation/allocate", allocation("b", "Online", 4)).await;
    let repeat = service.post("allocation/allocate", with(&body, "dryRun")).await;
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    assert_eq!(repeat.json(), changed(granted.clone(), json!({"dryRun": true})), "what it was answered then");
    let reused = service.post("allocation/allocate", with(&allocation("a", "Online/VIP", 5), "dryRun")).await;
    assert_eq!(problem(&reused, "id-reused")["dryRun"], true);
    // Also where it could not be asked for any more.
    let mut without_outbound = bicycles();
    without_outbound["dataSources"]["pos"]["measures"] = json!(["inbound"]);
    without_outbound["calculatedMeasures"] = json!({});
    let outbound = event("c", json!({"quantities": {"pos": {"outbound": 0}}}));
    let moved = service.grant("onhand", outbound.clone()).await;
    assert_eq!(service.configure(without_outbound).await.status, 200);
    let repeat = service.post("onhand", with(&outbound, "dryRun")).await;
    assert_eq!(repeat.json(), changed(moved, json!({"dryRun": true})));
    service.stop().await;
}

#[tokio::test]
async fn a_bulk_is_a_dry_run_as_a_whole_or_not_at_all() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let said = |id: &str, dry_run: Value| changed(stock(id, 1), json!({"dryRun": dry_run}));
    let rows = [
        ("onhand/bulk", json!([said("a", json!(true)), stock("b", 1)]), "/1/dryRun"),
        ("onhand/bulk?atomic=true", json!([stock("a", 1), said("b", json!(true))]), "/1/dryRun"),
        ("onhand/bulk?dryRun=true", json!([stock("a", 1), "line", said("b", json!(false))]), "/2/dryRun"),
    ];
    for (path, lines, place) in rows {
        let refused = service.refuse(path, lines, "invalid-request").await;
        assert_eq!(pointers(&refused), [place]);
    }
    for query in ["dryRun=yes", "dryRun"] {
        service.refuse(&format!("onhand/bulk?{query}"), json!([stock("a", 1)]), "invalid-request").await;
    }
    let refused = service.refuse("onhand", said("a", json!("true")), "invalid-request").await;
    assert_eq!(pointers(&refused), ["/dryRun"]);
    assert_eq!(service.books().await, before);
    for query in ["dryRun=true", "dryRun=true&atomic=true"] {
        let none = service.post(&format!("onhand/bulk?{query}"), json!([])).await;
        assert_eq!((none.status, none.json()), (200, json!([])));
    }
    let done =
        service.post("onhand/bulk?dryRun=false", json!([said("a", json!(false)), stock("b", 1)])).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(service.verify().await, 3);
    service.stop().await;
}

#[tokio::test]
async fn it_is_judged_by_what_other_instances_configured_and_did() {
    let database = database().await;
    let [first, second] =
        [Service::start_on(database.clone(), &[]).await, Service::start_on(database, &[]).await];
    assert_eq!(first.configure(scheduling(10)).await.status, 200);
    first.grant("onhand", stock("stock", 10)).await;
    let dry = |id: &str, quantity: i64| with(&allocation(id, "Online", quantity), "dryRun");
    assert_eq!(second.grant("allocation/allocate", dry("a", 10)).await["availableToAllocate"], 0);
    first.grant("allocation/allocate", allocation("a", "Online", 7)).await;
    let code = "insufficient-available-to-allocate";
    assert_eq!(second.refuse("allocation/allocate", dry("b", 4), code).await["available"], 3);
    // The second does not know of it yet.
    let mut halved = bicycles();
    halved["allocation"]["availableToAllocate"] = json!("0.8 * pos.inbound - @iv.@allocated");
    assert_eq!(first.configure(halved.clone()).await.status, 200);
    assert_eq!(second.refuse("allocation/allocate", dry("b", 3), code).await["available"], 1);
    halved["allocation"]["requireEnabledProducts"] = json!(true);
    assert_eq!(first.configure(halved).await.status, 200);
    second.refuse("allocation/allocate", dry("b", 1), "product-not-enabled").await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn it_is_answered_while_the_writers_are_held_up_and_let_nobody_in() {
    let tight = ["--shards", "1", "--queue-commands-max", "1", "--batch-commands-max", "1"];
    let service = Arc::new(Service::start_on(database().await, &tight).await);
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    let mut holder = PgConnection::connect_with(&service.database).await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    transaction.execute("LOCK TABLE ledger IN SHARE MODE").await.unwrap();
    let held_up: Vec<_> = (0..8)
        .map(|number| {
            let service = Arc::clone(&service);
            tokio::spawn(async move { service.post("onhand", stock(&format!("held-{number}"), 1)).await })
        })
        .collect();
    // So many are let in; the others are sent back at once.
    eventually("all but two are sent back", async || {
        held_up.iter().filter(|task| task.is_finished()).count() >= 6
    })
    .await;
    let dry = service.grant("allocation/allocate", with(&allocation("a", "Online", 4), "dryRun")).await;
    assert_eq!((&dry["availableToAllocate"], &dry["version"]), (&json!(6), &json!(2)));
    transaction.rollback().await.unwrap();
    let mut statuses = Vec::new();
    for task in held_up {
        statuses.push(task.await.unwrap().status);
    }
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    assert_eq!(service.verify().await, 1 + statuses.iter().filter(|&&status| status == 200).count());
    Arc::into_inner(service).unwrap().stop().await;
}
