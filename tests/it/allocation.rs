//! Allocate, unallocate, reallocate, consume: the model's worked examples, over HTTP.

use serde_json::{Value, json};

use super::requests::{
    allocation, balance, changed, consumption, event, groups, reallocation, red, stock, without,
};
use super::support::{Service, bicycles};

/// A place below site 1, location 11: `red/S`. An empty word leaves its dimension out.
fn place(below: &str) -> Value {
    let names = ["colorId", "sizeId"];
    let below = names.iter().zip(below.split('/')).filter(|(_, value)| !value.is_empty());
    let below: Value = below.map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let location = json!({"siteId": "1", "locationId": "11"});
    if below.is_null() { location } else { changed(location, below) }
}

fn at(below: &str, body: Value) -> Value {
    changed(body, json!({"dimensions": place(below)}))
}

/// The formulas without the measures that do not matter here.
async fn service(formula: &str) -> Service {
    let service = Service::start().await;
    let mut document = bicycles();
    document["dataSources"]["iv"] = json!({"measures": ["onhand", "softreserved"]});
    document["allocation"]["availableToAllocate"] = json!(formula);
    assert_eq!(service.configure(document).await.status, 200);
    service
}

async fn on_hand(service: &Service, below: &str, id: &str, measure: &str, quantity: i64) -> Value {
    let (source, measure) = measure.split_once('.').unwrap();
    let body = event(id, json!({"quantities": {source: {measure: quantity}}}));
    service.grant("onhand", at(below, body)).await
}

#[tokio::test]
async fn any_mix_of_dimension_levels_is_consistent() {
    let service = service("iv.onhand - @iv.@allocated").await;
    on_hand(&service, "red/S", "s", "iv.onhand", 6).await;
    on_hand(&service, "red/L", "l", "iv.onhand", 4).await;
    let allocate = |id: &str, below: &str, quantity: i64| at(below, allocation(id, "Online", quantity));

    let first = service.grant("allocation/allocate", allocate("1", "red", 7)).await;
    assert_eq!((&first["availableToAllocate"], &first["version"]), (&json!(3), &json!(3)));
    let code = "insufficient-available-to-allocate";
    let problem = service.refuse("allocation/allocate", allocate("2", "red/L", 4), code).await;
    assert_eq!((&problem["available"], &problem["limitedBy"]), (&json!(3), &place("red")));
    let third = service.grant("allocation/allocate", allocate("3", "red/L", 3)).await;
    assert_eq!((&third["availableToAllocate"], &third["version"]), (&json!(0), &json!(4)));
    let problem = service.refuse("allocation/allocate", allocate("4", "", 1), code).await;
    assert_eq!((&problem["available"], &problem["limitedBy"]), (&json!(0), &place("")));
    assert_eq!(service.verify().await, 4);
    service.stop().await;
}

#[tokio::test]
async fn what_is_allocated_above_limits_what_is_below_and_the_other_way_round() {
    let service = service("iv.onhand - @iv.@allocated").await;
    on_hand(&service, "red/S", "s", "iv.onhand", 6).await;
    on_hand(&service, "blue/S", "b", "iv.onhand", 5).await;
    let code = "insufficient-available-to-allocate";
    service.grant("allocation/allocate", at("", allocation("1", "Online", 9))).await;
    let problem = service.refuse("allocation/allocate", at("red/S", allocation("2", "Store", 3)), code).await;
    assert_eq!((&problem["available"], &problem["limitedBy"]), (&json!(2), &place("")));
    service.grant("allocation/allocate", at("red/S", allocation("2", "Store", 2))).await;
    // The blue ones are all promised to whoever asks at the location.
    let problem =
        service.refuse("allocation/allocate", at("blue/S", allocation("3", "Store", 1)), code).await;
    assert_eq!(problem["available"], json!(0));
    service.grant("allocation/unallocate", at("", allocation("4", "Online", 9))).await;
    let granted = service.grant("allocation/allocate", at("blue/S", allocation("3", "Store", 5))).await;
    assert_eq!(granted["availableToAllocate"], json!(0));
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_consume_takes_what_was_allocated_and_leaves_the_pool_alone() {
    let service = service("fno.onordered + pos.inbound - @iv.@allocated").await;
    on_hand(&service, "red", "in", "pos.inbound", 10).await;
    let allocated = service.grant("allocation/allocate", allocation("a", "Online/VIP/US", 8)).await;
    assert_eq!(
        (&allocated["availableToAllocate"], &allocated["balance"]),
        (&json!(2), &balance(8, 0, (8, 0)))
    );
    let consumed = service.grant("allocation/consume", consumption("c", "Online/VIP/US", 3)).await;
    let expected = json!({
        "id": "c", "processingStatus": "success", "message": "", "statusCode": 200, "eventId": consumed["eventId"],
        "version": 3, "balance": balance(5, 3, (8, 3)), "availableToAllocate": 2,
    });
    assert_eq!(consumed, expected);
    assert!(consumed["eventId"].as_i64() > allocated["eventId"].as_i64());
    let bare = without(consumption("d", "Online/VIP/US", 3), "physicalMeasures");
    service.refuse("allocation/consume", bare, "consumption-not-neutral").await;
    assert_eq!(service.balances(json!({})).await, json!([["Online/VIP/US", 5, 3, 8, 3]]));
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_consume_may_be_an_addition_to_what_is_reserved() {
    let service = service("iv.onhand - iv.softreserved - @iv.@allocated").await;
    on_hand(&service, "red", "in", "iv.onhand", 10).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    let consume = |id: &str, source: &str, measure: &str| {
        changed(consumption(id, "Online", 3), json!({"physicalMeasures": {source: {measure: "Addition"}}}))
    };
    let consumed = service.grant("allocation/consume", consume("c", "iv", "softreserved")).await;
    assert_eq!((&consumed["balance"], &consumed["availableToAllocate"]), (&balance(5, 3, (8, 3)), &json!(2)));
    assert_eq!(consumed.get("reservationId"), None, "not a reservation measure here");
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_consume_on_a_reservation_measure_makes_a_reservation() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    let reserved = json!({"physicalMeasures": {"@iv": {"@softreserved": "Addition"}}});
    let body = changed(consumption("c", "Online", 3), reserved);
    let first = service.post("allocation/consume", body.clone()).await;
    let id = first.json()["reservationId"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36);
    assert_eq!(first.json()["availableToAllocate"], json!(2));
    assert_eq!(service.post("allocation/consume", body).await.text, first.text);
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_formula_that_subtracts_what_was_consumed_needs_no_modifier() {
    let service = service("pos.inbound - @iv.@consumed - @iv.@allocated").await;
    on_hand(&service, "red", "in", "pos.inbound", 10).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    let bare = without(consumption("c", "Online", 3), "physicalMeasures");
    let consumed = service.grant("allocation/consume", bare).await;
    assert_eq!((&consumed["balance"], &consumed["availableToAllocate"]), (&balance(5, 3, (8, 3)), &json!(2)));
    let problem =
        service.refuse("allocation/consume", consumption("d", "Online", 3), "consumption-not-neutral").await;
    assert!(problem["detail"].as_str().unwrap().contains("twice"), "{problem}");
    service.stop().await;
}

#[tokio::test]
async fn a_group_path_hands_its_stock_down() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online/VIP", 8)).await;
    let moved =
        service.grant("allocation/reallocate", reallocation("r", "Online/VIP", "Online/VIP/EU", 3)).await;
    assert_eq!(moved["balance"], balance(3, 0, (3, 0)));
    assert_eq!(moved["sourceBalance"], balance(5, 0, (5, 0)));
    assert_eq!((&moved["availableToAllocate"], &moved["version"]), (&json!(2), &json!(3)));
    // Each group path is its own balance.
    service
        .refuse("allocation/consume", consumption("c", "Online/VIP/EU", 4), "insufficient-allocation")
        .await;
    service.refuse("allocation/consume", consumption("c", "Online", 1), "insufficient-allocation").await;
    service.grant("allocation/consume", consumption("c", "Online/VIP/EU", 2)).await;
    let back = service.grant("allocation/unallocate", allocation("u", "Online/VIP", 5)).await;
    assert_eq!((&back["balance"], &back["availableToAllocate"]), (&balance(0, 0, (0, 0)), &json!(7)));
    // What was consumed stays; only the rest can be given back.
    service
        .refuse("allocation/unallocate", allocation("v", "Online/VIP/EU", 2), "insufficient-allocation")
        .await;
    let back = service.grant("allocation/unallocate", allocation("v", "Online/VIP/EU", 1)).await;
    assert_eq!(back["balance"], balance(0, 2, (2, 2)));
    assert_eq!(
        service.balances(json!({})).await,
        json!([["Online/VIP", 0, 0, 0, 0], ["Online/VIP/EU", 0, 2, 2, 2]])
    );
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn stock_that_shrinks_takes_nothing_back() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
    let lost = service.grant("onhand", stock("lost", -5)).await;
    assert_eq!(lost["availableToAllocate"], json!(-3));
    let code = "insufficient-available-to-allocate";
    let problem = service.refuse("allocation/allocate", allocation("b", "Store", 1), code).await;
    assert_eq!(problem["available"], json!(-3));
    let consumed = service.grant("allocation/consume", consumption("c", "Online", 8)).await;
    assert_eq!(
        (&consumed["balance"], &consumed["availableToAllocate"]),
        (&balance(0, 8, (8, 8)), &json!(-3))
    );
    service.grant("onhand", stock("found", 4)).await;
    service.grant("allocation/allocate", allocation("b", "Store", 1)).await;
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_data_source_has_its_own_names_for_dimensions() {
    let service = Service::with_stock(10).await;
    let own = json!({"dimensionDataSource": "POS", "dimensions": {"ShopID": "11", "siteId": "1", "colorId": "red"}});
    let granted =
        service.grant("allocation/allocate", changed(allocation("a", "Online", 4), own.clone())).await;
    assert_eq!((&granted["availableToAllocate"], &granted["version"]), (&json!(6), &json!(2)));
    let query = changed(without(event("", json!({})), "id"), own.clone());
    let answer = service.post("allocation/query", query).await.json();
    assert_eq!(answer[0]["dimensions"], red());
    let change = changed(stock("in", 1), own.clone());
    assert_eq!(service.grant("onhand", change).await["availableToAllocate"], json!(7));

    let nameless = without(changed(allocation("b", "Online", 1), own.clone()), "dimensionDataSource");
    service.refuse("allocation/allocate", nameless, "unknown-dimension").await;
    let other =
        changed(changed(allocation("b", "Online", 1), own.clone()), json!({"dimensionDataSource": "fno"}));
    service.refuse("allocation/allocate", other, "unknown-dimension").await;
    let nobody = changed(changed(allocation("b", "Online", 1), own), json!({"dimensionDataSource": "erp"}));
    let problem = service.refuse("allocation/allocate", nobody, "invalid-request").await;
    assert_eq!(super::requests::pointers(&problem), ["/dimensionDataSource"]);
    service.stop().await;
}

#[tokio::test]
async fn a_helmet_has_a_size_and_no_colour() {
    let service = service("iv.onhand - @iv.@allocated").await;
    on_hand(&service, "/M", "in", "iv.onhand", 5).await;
    let allocate = allocation("a", "Online", 2);
    let helmet = json!({"siteId": "1", "locationId": "11", "sizeId": "M"});
    let granted =
        service.grant("allocation/allocate", changed(allocate.clone(), json!({"dimensions": helmet}))).await;
    assert_eq!((&granted["availableToAllocate"], &granted["version"]), (&json!(3), &json!(2)));
    // Given as nothing, it is the same place.
    let spelled = json!({"siteId": "1", "locationId": "11", "colorId": "", "sizeId": "M"});
    let again = service.post("allocation/allocate", changed(allocate, json!({"dimensions": spelled}))).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text);
    let shortage = service.refuse(
        "allocation/allocate",
        at("/M", allocation("b", "Online", 9)),
        "insufficient-available-to-allocate",
    );
    assert_eq!(shortage.await["limitedBy"], spelled);
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn an_empty_required_dimension_is_missing() {
    let service = Service::with_stock(10).await;
    for dimensions in [
        json!({}),
        json!({"siteId": "1"}),
        json!({"locationId": "11"}),
        json!({"siteId": "1", "locationId": "", "colorId": "red"}),
    ] {
        let wrong = json!({"dimensions": dimensions});
        let code = "missing-required-dimension";
        service
            .refuse("allocation/allocate", changed(allocation("a", "Online", 1), wrong.clone()), code)
            .await;
        service
            .refuse("allocation/consume", changed(consumption("a", "Online", 1), wrong.clone()), code)
            .await;
        // A change of stock need not give them, and counts nowhere above.
        let id = wrong.to_string();
        service.grant("onhand", changed(stock(&id, 1), wrong)).await;
    }
    let granted = service.grant("allocation/allocate", allocation("a", "Online", 10)).await;
    assert_eq!(granted["availableToAllocate"], json!(0));
    assert_eq!(granted["balance"]["allocated"], json!(10));
    assert_eq!(
        service.balances(json!({"groups": groups("Online")})).await,
        json!([["Online", 10, 0, 10, 0]])
    );
    service.verify().await;
    service.stop().await;
}
