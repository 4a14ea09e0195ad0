//! Bulk: one result per line in their order, bad lines beside good ones, or all or none.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::requests::{all, allocation, changed, check_problem, event, pointers, problem, stock};
use super::support::{Service, bicycles, database};

fn of(product: &str, body: Value) -> Value {
    changed(body, json!({"productId": product}))
}

#[tokio::test]
async fn every_line_is_answered_in_its_place_as_it_would_be_alone() {
    let service = Service::with_stock(10).await;
    let lines = json!([stock("1", 5), of("Helmet", stock("2", 7)), stock("3", -1)]);
    let answer = service.post("onhand/bulk", lines.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.json();
    let expected = [("1", 15, 2), ("2", 7, 1), ("3", 14, 3)];
    assert_eq!(results.as_array().unwrap().len(), expected.len());
    for (result, (id, available, version)) in results.as_array().unwrap().iter().zip(expected) {
        let event_id = &result["eventId"];
        assert!(event_id.as_i64().is_some_and(|id| id > 0));
        let expected = json!({
            "id": id, "processingStatus": "success", "message": "", "statusCode": 200, "eventId": event_id,
            "version": version, "availableToAllocate": available,
        });
        assert_eq!(*result, expected);
    }
    let again = service.post("onhand/bulk", lines).await;
    assert_eq!((again.status, &again.text), (200, &answer.text));
    let single = service.post("onhand", stock("3", -1)).await;
    assert_eq!(single.json(), results[2]);
    assert_eq!(service.verify().await, 4);
    service.stop().await;
}

/// Lines that are wrong in every way, each with its code.
fn wrong() -> Vec<(Value, &'static str)> {
    vec![
        (json!(null), "invalid-request"),
        (json!("line"), "invalid-request"),
        (json!([]), "invalid-request"),
        (changed(stock("bad", 1), json!({"productId": 5})), "invalid-request"),
        (changed(stock("bad", 1), json!({"extra": 5})), "unknown-property"),
        (stock("", 1), "missing-id"),
        (stock("bad", "ten"), "invalid-quantity"),
        (event("bad", json!({"quantities": {"pos": {"lost": 1}}})), "unknown-measure"),
        (changed(stock("bad", 1), json!({"dimensions": {"width": "1"}})), "unknown-dimension"),
        (stock("stock", 99), "id-reused"),
    ]
}

#[tokio::test]
async fn bad_lines_do_not_hurt_their_neighbours() {
    let service = Service::with_stock(10).await;
    let wrong = wrong();
    let mut lines = vec![stock("good-start", 1)];
    for (index, (line, _)) in wrong.iter().enumerate() {
        lines.push(line.clone());
        lines.push(stock(&format!("good-{index}"), 1));
    }
    let answer = service.post("onhand/bulk", json!(lines)).await;
    assert_eq!(answer.status, 207);
    let results = answer.json();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), lines.len());
    for (result, line) in results.iter().step_by(2).zip(lines.iter().step_by(2)) {
        assert_eq!((&result["processingStatus"], &result["id"]), (&json!("success"), &line["id"]));
    }
    for (result, (line, code)) in results.iter().skip(1).step_by(2).zip(&wrong) {
        check_problem(result, code);
        let id = line.get("id").filter(|id| *id != "");
        assert_eq!(result.get("id"), id, "{result}");
        assert_eq!(result.get("index"), None);
        let alone = service.post("onhand", line.clone()).await;
        assert_eq!(alone.json(), *result);
    }
    let last = results.last().unwrap();
    assert_eq!(last["availableToAllocate"], json!(10 + 1 + wrong.len()));
    assert_eq!(service.verify().await, 2 + wrong.len());
    service.stop().await;
}

#[tokio::test]
async fn a_bulk_is_an_array_and_may_be_empty() {
    let service = Service::with_stock(10).await;
    for path in ["onhand/bulk", "onhand/bulk?atomic=true", "setonhand/pos/bulk"] {
        let answer = service.post(path, json!([])).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "[]"));
        for body in [stock("x", 1), json!(null), json!("x")] {
            let problem = service.refuse(path, body, "invalid-request").await;
            assert_eq!(pointers(&problem), [""]);
        }
        problem(&service.post_text(path, "[{},").await, "malformed-json");
    }
    for query in ["atomic=1", "atomic", "atomic=yes"] {
        service.refuse(&format!("onhand/bulk?{query}"), json!([]), "invalid-request").await;
    }
    service.stop().await;
}

#[tokio::test]
async fn five_thousand_lines_are_taken_and_not_one_more() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let lines = |count: usize, kind: &str| -> Vec<Value> {
        let product = |line: usize| format!("Product-{}", line % 100);
        (0..count).map(|line| of(&product(line), stock(&format!("{kind}-{line}"), 1))).collect()
    };
    let before = service.books().await;
    for path in ["onhand/bulk", "onhand/bulk?atomic=true", "setonhand/pos/bulk"] {
        let problem = service.refuse(path, json!(lines(5_001, "many")), "invalid-request").await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("5000") && detail.contains("5001"), "{detail}");
    }
    assert_eq!(service.books().await, before);
    for (path, kind) in [("onhand/bulk", "one"), ("onhand/bulk?atomic=true", "together")] {
        let answer = service.post(path, json!(lines(5_000, kind))).await;
        assert_eq!(answer.status, 200, "{}", &answer.text[..300.min(answer.text.len())]);
        let results = answer.json();
        let ids = results.as_array().unwrap().iter().map(|result| result["id"].as_str().unwrap().to_owned());
        assert!(ids.eq((0..5_000).map(|line| format!("{kind}-{line}"))));
    }
    let last = service.grant("onhand", of("Product-99", stock("last", 0))).await;
    assert_eq!((&last["availableToAllocate"], &last["version"]), (&json!(100), &json!(101)));
    assert_eq!(service.verify().await, 10_001);
    service.stop().await;
}

/// Each writer gets its lines at once, and makes as few commits of them as its batches allow.
#[tokio::test]
async fn five_thousand_products_are_one_pass_through_the_engine() {
    let service = Service::start_on(database().await, &["--shards", "2"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let lines: Vec<Value> =
        (0..5_000).map(|line| of(&format!("Product-{line}"), stock(&format!("line-{line}"), 1))).collect();
    let answer = service.post("onhand/bulk", json!(lines)).await;
    assert_eq!(answer.status, 200, "{}", &answer.text[..300.min(answer.text.len())]);
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let statement = "SELECT count(*), count(DISTINCT xmin::text) FROM ledger";
    let (events, commits): (i64, i64) = sqlx::query_as(statement).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    // Two writers, with half of them each, and 1,024 a batch.
    assert_eq!(events, 5_000);
    assert!((5..=6).contains(&commits), "{commits} commits");
    service.stop().await;
}

#[tokio::test]
async fn an_atomic_bulk_does_all_lines() {
    let service = Service::with_stock(10).await;
    let lines =
        json!([stock("1", 5), of("Helmet", stock("2", 7)), stock("3", -1), of("Bell", stock("4", 2))]);
    let answer = service.post("onhand/bulk?atomic=true", lines.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let available = answer.json();
    let available: Vec<&Value> =
        available.as_array().unwrap().iter().map(|line| &line["availableToAllocate"]).collect();
    assert_eq!(available, [&json!(15), &json!(7), &json!(14), &json!(2)]);
    assert_eq!(service.post("onhand/bulk?atomic=true", lines.clone()).await.text, answer.text);
    assert_eq!(service.post("onhand/bulk", lines).await.text, answer.text);
    let sets = json!([stock("5", 1), of("Helmet", stock("6", 1))]);
    let answer = service.post("setonhand/pos/bulk?atomic=true", sets).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(service.verify().await, 7);
    service.stop().await;
}

#[tokio::test]
async fn an_atomic_bulk_does_none_when_one_is_refused() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    // Of two lines that are refused alike, the first is told.
    for (line, code) in wrong() {
        let lines =
            json!([stock("1", 5), of("Helmet", stock("2", 7)), line, of("Bell", stock("4", 11)), line]);
        let problem = service.refuse("onhand/bulk?atomic=true", lines, code).await;
        assert_eq!(problem["index"], json!(2));
        assert_eq!(problem.get("id"), line.get("id").filter(|id| *id != ""));
        for pointer in pointers(&problem) {
            assert!(pointer == "/2" || pointer.starts_with("/2/"), "{pointer} points into the array");
        }
        assert_eq!(service.books().await, before, "{code} changed the books");
    }
    // What was decided and taken back was not remembered: each is done afterwards.
    let lines = json!([stock("1", 5), of("Helmet", stock("2", 7))]);
    let answer = service.post("onhand/bulk?atomic=true", lines).await;
    assert_eq!(answer.json()[0]["availableToAllocate"], json!(15), "{}", answer.text);
    assert_eq!(answer.json()[1]["version"], json!(1));
    assert_eq!(service.verify().await, 3);
    service.stop().await;
}

#[tokio::test]
async fn an_atomic_set_is_refused_by_its_oldest_line() {
    let service = Service::with_stock(10).await;
    let at = |id: &str, time: &str| changed(stock(id, 1), json!({"modifiedDateTimeUTC": time}));
    let noon = service.post("setonhand/pos/bulk", json!([at("noon", "2026-01-01T12:00:00Z")])).await;
    assert_eq!(noon.status, 200);
    let before = service.books().await;
    let lines = json!([
        of("Helmet", stock("1", 1)),
        at("2", "2026-01-01T13:00:00Z"),
        at("3", "2026-01-01T12:30:00Z")
    ]);
    let problem =
        service.refuse("setonhand/pos/bulk?atomic=true", lines.clone(), "precondition-failed").await;
    assert_eq!((&problem["index"], &problem["id"]), (&json!(2), &json!("3")));
    assert_eq!(service.books().await, before);
    // One by one, only the old line is refused.
    let answer = service.post("setonhand/pos/bulk", lines).await;
    assert_eq!(answer.status, 207);
    let codes: Vec<Value> =
        answer.json().as_array().unwrap().iter().map(|line| line["code"].clone()).collect();
    assert_eq!(codes, [json!(null), json!(null), json!("precondition-failed")]);
    service.stop().await;
}

#[tokio::test]
async fn a_line_that_repeats_another_of_its_bulk_is_done_once() {
    let service = Service::with_stock(10).await;
    for (path, id) in [("onhand/bulk", "twice"), ("onhand/bulk?atomic=true", "twice together")] {
        let answer = service.post(path, json!([stock(id, 5), stock(id, "5.0")])).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()[0], answer.json()[1]);
    }
    let before = service.books().await;
    let other = json!([stock("new", 1), stock("new", 2)]);
    let problem = service.refuse("onhand/bulk?atomic=true", other, "id-reused").await;
    assert_eq!(problem["index"], json!(1));
    assert_eq!(service.books().await, before);
    assert_eq!(service.grant("onhand", stock("last", 0)).await["availableToAllocate"], json!(20));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atomic_bulks_over_several_products_race_with_single_commands_and_with_each_other() {
    let one = Arc::new(Service::with_stock(0).await);
    let other = Arc::new(Service::start_on(one.database.clone(), &[]).await);
    let products = ["Bike", "Helmet", "Bell", "Lamp"];
    let send = |task: usize| {
        let service = Arc::clone(if task.is_multiple_of(2) { &one } else { &other });
        async move {
            let id = |product: &str| format!("{task}-{product}");
            if task % 4 < 2 {
                let lines: Vec<Value> =
                    products.iter().map(|product| of(product, stock(&id(product), 1))).collect();
                return service.post("onhand/bulk?atomic=true", json!(lines)).await;
            }
            service.post("onhand", of(products[task / 4 % 4], stock(&id("single"), 1))).await
        }
    };
    let answers = all((0..32).map(send)).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:#?}");
    assert_eq!(one.verify().await, 1 + 16 * 4 + 16);
    for product in products {
        let last = one.grant("onhand", of(product, stock(&format!("last {product}"), 0))).await;
        assert_eq!(last["availableToAllocate"], json!(16 + 4), "{product}");
    }
    one.refuse("allocation/allocate", allocation("a", "Online", 21), "insufficient-available-to-allocate")
        .await;
    Arc::into_inner(one).unwrap().stop().await;
    Arc::into_inner(other).unwrap().stop().await;
}
