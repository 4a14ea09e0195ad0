//! On hand: changes, sets, and settling what was consumed.

use serde_json::{Value, json};

use super::requests::{
    allocation, balance, changed, check_problem, consumption, event, groups, pointers, red, stock,
};
use super::support::{Service, bicycles};

#[tokio::test]
async fn a_change_adds_to_each_measure_and_is_never_refused_for_lack_of_stock() {
    let service = Service::with_stock(10).await;
    let many = json!({"quantities": {"fno": {"onordered": "2.5"}, "pos": {"inbound": -4, "outbound": 1}}});
    let answer = service.grant("onhand", event("many", many)).await;
    assert_eq!((&answer["availableToAllocate"], &answer["version"]), (&json!(8.5), &json!(2)));
    assert_eq!(answer.get("balance"), None);
    let answer = service.grant("onhand", stock("lost", -1000)).await;
    assert_eq!(answer["availableToAllocate"], json!(-991.5));
    let answer = service.grant("onhand", stock("nothing", 0)).await;
    assert_eq!((&answer["availableToAllocate"], &answer["version"]), (&json!(-991.5), &json!(4)));
    assert_eq!(service.verify().await, 4);
    service.stop().await;
}

#[tokio::test]
async fn a_change_below_or_above_counts_in_every_node_above_it() {
    let service = Service::with_stock(10).await;
    let at = |id: &str, dimensions: Value| changed(stock(id, 5), json!({"dimensions": dimensions}));
    let small = changed(red(), json!({"sizeId": "S"}));
    let answer = service.grant("onhand", at("below", small)).await;
    assert_eq!((&answer["availableToAllocate"], &answer["version"]), (&json!(5), &json!(2)));
    let above = json!({"siteId": "1", "locationId": "11"});
    let answer = service.grant("onhand", at("above", above)).await;
    assert_eq!((&answer["availableToAllocate"], &answer["version"]), (&json!(20), &json!(3)));
    let site = service.grant("onhand", at("site", json!({"siteId": "1"}))).await;
    assert_eq!((&site["availableToAllocate"], &site["version"]), (&json!(5), &json!(1)));
    let whole = service.grant("onhand", at("whole", json!({}))).await;
    assert_eq!((&whole["availableToAllocate"], &whole["version"]), (&json!(5), &json!(1)));
    assert_eq!(service.grant("onhand", stock("again", 0)).await["availableToAllocate"], json!(15));
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn only_the_user_s_own_measures_are_moved() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let rows = [
        ("@iv", "@allocated", "unknown-measure"),
        ("@iv", "@cumulative_consumed", "unknown-measure"),
        ("@iv", "@softreserved", "unknown-measure"),
        ("shop", "sellable", "unknown-measure"),
        ("pos", "onordered", "unknown-measure"),
        ("erp", "inbound", "unknown-measure"),
    ];
    for (source, measure, code) in rows {
        let body = event("x", json!({"quantities": {source: {measure: 1}}}));
        let problem = service.refuse("onhand", body, code).await;
        assert_eq!(pointers(&problem), [format!("/quantities/{source}/{measure}")]);
    }
    for quantities in [json!({}), json!({"pos": {}})] {
        let problem =
            service.refuse("onhand", event("x", json!({"quantities": quantities})), "invalid-request").await;
        assert_eq!(pointers(&problem), ["/quantities"]);
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}

/// A set of one line.
async fn set(service: &Service, id: &str, quantity: impl Into<Value>, at: Option<&str>) -> Value {
    let mut line = stock(id, quantity);
    if let Some(at) = at {
        line["modifiedDateTimeUTC"] = json!(at);
    }
    let answer = service.post("setonhand/pos/bulk", json!([line])).await;
    let line = answer.json()[0].clone();
    assert_eq!(answer.status, if line["processingStatus"] == "success" { 200 } else { 207 });
    line
}

#[tokio::test]
async fn a_set_says_how_much_there_is() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    for (id, quantity, available) in
        [("1", json!(12), 4), ("2", json!("12.0"), 4), ("3", json!(0), -8), ("4", json!(-2), -10)]
    {
        let answer = set(&service, id, quantity, None).await;
        assert_eq!(answer["availableToAllocate"], json!(available), "{answer}");
    }
    // It sets what is at exactly this place; what is below stays beside it.
    let below = json!({"dimensions": changed(red(), json!({"sizeId": "S"}))});
    service.grant("onhand", changed(stock("below", 100), below)).await;
    assert_eq!(set(&service, "5", 20, None).await["availableToAllocate"], json!(112));
    service.grant("onhand", stock("more", 1)).await;
    assert_eq!(set(&service, "6", 20, None).await["availableToAllocate"], json!(112));
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_set_is_not_older_than_the_last_one() {
    let service = Service::with_stock(0).await;
    let noon = Some("2026-03-01T12:00:00Z");
    set(&service, "noon", 10, noon).await;
    let before = service.books().await;
    for older in ["2026-03-01T11:59:59.999999Z", "2026-03-01T12:30:00+01:00", "2026-03-01T11:59:59"] {
        let problem = set(&service, "older", 5, Some(older)).await;
        check_problem(&problem, "precondition-failed");
        assert!(problem["detail"].as_str().unwrap().contains("pos.inbound"), "{problem}");
        assert_eq!(problem["id"], "older");
    }
    let wrong = set(&service, "wrong", 5, Some("yesterday")).await;
    check_problem(&wrong, "invalid-request");
    assert_eq!(pointers(&wrong), ["/modifiedDateTimeUTC"]);
    assert_eq!(service.books().await, before);

    // The same time is not older; another measure and another place have their own times.
    assert_eq!(set(&service, "same", 11, noon).await["availableToAllocate"], json!(11));
    let line = event(
        "other",
        json!({"quantities": {"pos": {"outbound": 1}}, "modifiedDateTimeUTC": "2020-01-01T00:00:00Z"}),
    );
    assert_eq!(service.post("setonhand/pos/bulk", json!([line])).await.status, 200);
    let elsewhere = json!({"dimensions": {"siteId": "2"}, "modifiedDateTimeUTC": "2020-01-01T00:00:00Z"});
    let line = changed(stock("elsewhere", 1), elsewhere);
    assert_eq!(service.post("setonhand/pos/bulk", json!([line])).await.status, 200);
    assert_eq!(
        set(&service, "later", 12, Some("2026-03-01T12:00:00.000001Z")).await["availableToAllocate"],
        json!(12)
    );
    // A change of stock has no time; it counts from where the stock is.
    assert_eq!(service.grant("onhand", stock("change", 1)).await["availableToAllocate"], json!(13));
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn one_set_that_is_too_old_for_one_measure_sets_none() {
    let service = Service::with_stock(0).await;
    set(&service, "noon", 10, Some("2026-03-01T12:00:00Z")).await;
    let both = json!({"quantities": {"pos": {"outbound": 5, "inbound": 5}}, "modifiedDateTimeUTC": "2026-03-01T11:00:00Z"});
    let before = service.books().await;
    let answer = service.post("setonhand/pos/bulk", json!([event("both", both)])).await;
    check_problem(&answer.json()[0], "precondition-failed");
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn a_set_is_repeated_by_its_meaning() {
    let service = Service::with_stock(0).await;
    let first = set(&service, "s", 10, Some("2026-03-01T12:00:00Z")).await;
    service.grant("onhand", stock("change", -4)).await;
    set(&service, "later", 3, None).await;
    for time in ["2026-03-01T12:00:00Z", "2026-03-01T13:00:00.000+01:00", "2026-03-01T12:00:00"] {
        assert_eq!(set(&service, "s", "10.0", Some(time)).await, first, "{time}");
    }
    for (quantity, time) in
        [(11, Some("2026-03-01T12:00:00Z")), (10, Some("2026-03-01T12:00:01Z")), (10, None)]
    {
        check_problem(&set(&service, "s", quantity, time).await, "id-reused");
    }
    assert_eq!(service.verify().await, 4);
    service.stop().await;
}

#[tokio::test]
async fn a_set_names_the_data_source_of_its_path() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let foreign = event("x", json!({"quantities": {"pos": {"inbound": 1}, "fno": {"onordered": 1}}}));
    for (path, line) in [("setonhand/fno/bulk", stock("x", 1)), ("setonhand/pos/bulk", foreign)] {
        let line = service.post(path, json!([line])).await.json()[0].clone();
        check_problem(&line, "invalid-request");
        assert_eq!(pointers(&line), ["/quantities"]);
    }
    let nobody = event("x", json!({"quantities": {"erp": {"inbound": 1}}}));
    let line = service.post("setonhand/erp/bulk", json!([nobody])).await.json()[0].clone();
    check_problem(&line, "unknown-measure");
    assert_eq!(service.books().await, before);
    for (id, path, source) in [
        ("1", "setonhand/POS/bulk", "pos"),
        ("2", "setonhand/pos/bulk", "Pos"),
        ("3", "setOnHand/%70os/bulk", "pos"),
    ] {
        let line = event(id, json!({"quantities": {source: {"inbound": 1}}}));
        let answer = service.post(path, json!([line])).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    service.stop().await;
}

/// 8 allocated to Online, 3 of them consumed, under a formula that subtracts what is consumed.
async fn with_consumed() -> Service {
    let service = Service::start().await;
    let mut document = bicycles();
    document["allocation"]["availableToAllocate"] = json!("fno.onordered - @iv.@consumed - @iv.@allocated");
    assert_eq!(service.configure(document).await.status, 200);
    service.grant("onhand", event("in", json!({"quantities": {"fno": {"onordered": 10}}}))).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    let consume = changed(consumption("c", "Online", 3), json!({"physicalMeasures": {}}));
    service.grant("allocation/consume", consume).await;
    service
}

fn settlement(id: &str, consumed: impl Into<Value>, members: Value) -> Value {
    let quantities = json!({"@iv": {"@consumed": consumed.into()}, "fno": {"onordered": -2}});
    changed(event(id, json!({"quantities": quantities, "groups": groups("Online")})), members)
}

#[tokio::test]
async fn goods_that_were_shipped_settle_what_was_consumed() {
    let service = with_consumed().await;
    let settled = service.grant("onhand", settlement("s", -2, json!({}))).await;
    // The pool stays as it was; the cumulative quantities too.
    assert_eq!((&settled["balance"], &settled["availableToAllocate"]), (&balance(5, 1, (8, 3)), &json!(2)));
    let problem = service.refuse("onhand", settlement("t", -2, json!({})), "insufficient-allocation").await;
    assert_eq!((&problem["requested"], &problem["available"]), (&json!(2), &json!(1)));
    assert_eq!(problem["groups"], groups("Online"));
    let alone = json!({"quantities": {"@iv": {"@consumed": "-1"}}});
    let settled = service.grant("onhand", settlement("t", -1, alone)).await;
    assert_eq!((&settled["balance"], &settled["availableToAllocate"]), (&balance(5, 0, (8, 3)), &json!(3)));
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_settlement_names_its_group_path_and_only_decreases() {
    let service = with_consumed().await;
    let before = service.books().await;
    let groupless = json!({"groups": null});
    let rows = [
        (settlement("x", -1, groupless), "invalid-request", "/groups"),
        (settlement("x", 1, json!({})), "invalid-request", "/quantities/@iv/@consumed"),
        (settlement("x", 0, json!({})), "invalid-request", "/quantities/@iv/@consumed"),
        (settlement("x", "ten", json!({})), "invalid-quantity", "/quantities/@iv/@consumed"),
        (settlement("x", -1, json!({"groups": {"region": "US"}})), "hierarchy-gap", "/groups"),
        (changed(stock("x", 1), json!({"groups": groups("Online")})), "invalid-request", "/groups"),
        (settlement("x", -1, json!({"groups": groups("Store")})), "insufficient-allocation", ""),
    ];
    for (body, code, place) in rows {
        let problem = service.refuse("onhand", body, code).await;
        assert_eq!(pointers(&problem).join(""), place, "{problem}");
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn a_set_at_the_beginning_of_time_is_one() {
    let service = Service::with_stock(10).await;
    let set = |id: &str, time: &str| {
        json!([event(id, json!({"quantities": {"pos": {"outbound": 1}}, "modifiedDateTimeUTC": time}))])
    };
    assert_eq!(service.post("setonhand/pos/bulk", set("0", "1970-01-01T00:00:00Z")).await.status, 200);
    service.verify().await;
    let database = service.database.clone();
    service.stop().await;
    let service = Service::start_on(database, &[]).await;
    let older = service.post("setonhand/pos/bulk", set("1", "1969-12-31T23:59:59Z")).await;
    assert_eq!(
        (older.status, &older.json()[0]["code"]),
        (207, &json!("precondition-failed")),
        "{}",
        older.text
    );
    service.stop().await;
}
