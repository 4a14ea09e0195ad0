//! Reserving and freeing in bulk.

use serde_json::{Value, json};

use super::requests::{changed, check_problem, stock};
use super::reservations::{freeing, reservation};
use super::support::Service;

fn of(product: &str, body: Value) -> Value {
    changed(body, json!({"productId": product}))
}

/// Each line's status or code, and what could not be freed.
fn short(results: &Value) -> Vec<(String, i64)> {
    let results = results.as_array().unwrap().iter();
    let one = |result: &Value| {
        let what = result.get("code").unwrap_or(&result["processingStatus"]).as_str().unwrap();
        (what.to_owned(), result["totalInvalidOffsetQtyByReservId"].as_i64().unwrap_or(-1))
    };
    results.map(one).collect()
}

fn lines(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|&(what, invalid)| (what.to_owned(), invalid)).collect()
}

#[tokio::test]
async fn a_bulk_reserves_and_frees_over_many_products_line_by_line() {
    let service = Service::with_stock(10).await;
    service.grant("onhand", of("Helmet", stock("helmets", 4))).await;
    let reserve = json!([
        reservation("a", 6),
        of("Helmet", reservation("b", 4)),
        reservation("c", 5),
        changed(reservation("d", 1), json!({"modifier": "inbound"})),
        json!("line"),
        reservation("e", 4),
        reservation("a", 6),
    ]);
    let answer = service.post("onhand/reserve/bulk", reserve.clone()).await;
    assert_eq!(answer.status, 207, "{}", answer.text);
    let made = answer.json();
    let codes: Vec<String> = short(&made).into_iter().map(|(what, _)| what).collect();
    let expected = [
        "success",
        "success",
        "insufficient-available-to-reserve",
        "unknown-measure",
        "invalid-request",
        "success",
        "success",
    ];
    assert_eq!(codes, expected);
    assert_eq!(made[0], made[6], "a line that repeats another is done once");
    let ids: Vec<Value> = [0, 1, 5].map(|line: usize| made[line]["reservationId"].clone()).to_vec();
    let single = service.post("onhand/reserve", of("Helmet", reservation("b", 4))).await;
    assert_eq!(single.json(), made[1]);

    // The same reservation in several lines is freed in their order; that of another owner is not.
    let free = json!([
        freeing("u1", &ids[0], 4),
        freeing("u2", &ids[1], 3),
        changed(freeing("u3", &ids[1], 1), json!({"organizationId": "aaaa"})),
        changed(freeing("u4", &ids[1], 1), json!({"organizationId": "zzzz"})),
        freeing("u5", &ids[0], 4),
        freeing("u6", &json!("none"), 4),
        freeing("u7", &ids[2], 0),
        changed(freeing("u8", &ids[2], 1), json!({"extra": 1})),
        freeing("u1", &ids[0], 4),
        freeing("u9", &ids[2], 4),
    ]);
    let answer = service.post("onhand/unreserve/bulk", free.clone()).await;
    assert_eq!(answer.status, 207, "{}", answer.text);
    let freed = answer.json();
    let expected = [
        ("success", 0),
        ("success", 0),
        ("unknown-reservation", -1),
        ("unknown-reservation", -1),
        ("partialSuccess", 2),
        ("unknown-reservation", -1),
        ("invalid-quantity", -1),
        ("unknown-property", -1),
        ("success", 0),
        ("success", 0),
    ];
    assert_eq!(short(&freed), lines(&expected));
    check_problem(&freed[5], "unknown-reservation");
    assert_eq!(freed[5]["id"], "u6");
    assert_eq!(freed[0], freed[8]);
    let single = service.post("onhand/unreserve", freeing("u5", &ids[0], 4)).await;
    assert_eq!(single.json(), freed[4]);
    assert_eq!(service.post("onhand/unreserve/bulk", free).await.text, answer.text, "all of it repeated");
    // One that is freed in part is freed: the status of the whole is that of success.
    let rest = json!([freeing("u10", &ids[1], 2), freeing("u11", &ids[0], 1)]);
    let answer = service.post("onhand/unreserve/bulk", rest).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(short(&answer.json()), lines(&[("partialSuccess", 1), ("partialSuccess", 1)]));
    assert_eq!(service.verify().await, 2 + 3 + 4 + 2);
    service.stop().await;
}

#[tokio::test]
async fn an_atomic_bulk_frees_all_or_none() {
    let service = Service::with_stock(10).await;
    service.grant("onhand", of("Helmet", stock("helmets", 4))).await;
    let reserve = |more: i64| json!([reservation("a", 6), of("Helmet", reservation("b", more))]);
    let before = service.books().await;
    let path = "onhand/reserve/bulk?atomic=true";
    let problem = service.refuse(path, reserve(5), "insufficient-available-to-reserve").await;
    assert_eq!((&problem["index"], &problem["id"]), (&json!(1), &json!("b")));
    assert_eq!(service.books().await, before);
    let made = service.post(path, reserve(4)).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let ids = [0, 1].map(|line: usize| made.json()[line]["reservationId"].clone());

    let before = service.books().await;
    let path = "onhand/unreserve/bulk?atomic=true";
    let bad = json!([freeing("u1", &ids[0], 6), freeing("u2", &json!("none"), 1)]);
    let problem = service.refuse(path, bad, "unknown-reservation").await;
    assert_eq!((&problem["index"], &problem["id"]), (&json!(1), &json!("u2")));
    assert_eq!(service.books().await, before);
    let good = json!([freeing("u1", &ids[0], 6), freeing("u2", &ids[1], 5), freeing("u3", &ids[0], 1)]);
    let freed = service.post(path, good.clone()).await;
    assert_eq!(freed.status, 200, "{}", freed.text);
    assert_eq!(short(&freed.json()), lines(&[("success", 0), ("partialSuccess", 1), ("partialSuccess", 1)]));
    assert_eq!(service.post(path, good).await.text, freed.text);
    assert_eq!(service.verify().await, 2 + 2 + 3);
    service.stop().await;
}

#[tokio::test]
async fn a_bulk_has_its_limit() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let id = json!("none");
    for (path, line) in
        [("onhand/reserve/bulk", reservation("x", 1)), ("onhand/unreserve/bulk", freeing("x", &id, 1))]
    {
        let problem = service.refuse(path, json!(vec![line; 5_001]), "invalid-request").await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("5000") && detail.contains("5001"), "{detail}");
        assert_eq!(service.post(path, json!([])).await.text, "[]");
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}
