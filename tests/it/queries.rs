//! The query of balances: filters, sums over group paths, and its order.

use serde_json::{Value, json};

use super::requests::{allocation, changed, consumption, event, groups, red, stock, without};
use super::support::{Service, bicycles};

/// Balances at several group paths; of `Store/B2B` only one below it has any.
async fn service() -> Service {
    let service = Service::with_stock(100).await;
    let rows = [
        ("Store/B2B/US", 4),
        ("Online", 10),
        ("Online/VIP/US", 7),
        ("Online/VIP", 5),
        ("Online/Basic/US", 2),
        ("Online/VIP/EU", 3),
        ("online", 1),
    ];
    for (path, quantity) in rows {
        service.grant("allocation/allocate", allocation(path, path, quantity)).await;
    }
    service.grant("allocation/consume", consumption("c", "Online/VIP/US", 2)).await;
    // At other places, for other products and in other environments there is more.
    let above = json!({"dimensions": {"siteId": "1", "locationId": "11"}});
    service.grant("allocation/allocate", changed(allocation("above", "Online", 1), above)).await;
    let other = json!({"productId": "Helmet"});
    service.grant("onhand", changed(stock("helmet", 1), other.clone())).await;
    service.grant("allocation/allocate", changed(allocation("other", "Online", 1), other)).await;
    service
}

#[tokio::test]
async fn balances_are_answered_in_the_order_of_the_hierarchy() {
    let service = service().await;
    let all = json!([
        ["Online", 10, 0, 10, 0],
        ["Online/Basic/US", 2, 0, 2, 0],
        ["Online/VIP", 5, 0, 5, 0],
        ["Online/VIP/EU", 3, 0, 3, 0],
        ["Online/VIP/US", 5, 2, 7, 2],
        ["Store/B2B/US", 4, 0, 4, 0],
        ["online", 1, 0, 1, 0],
    ]);
    assert_eq!(service.balances(json!({})).await, all);
    assert_eq!(service.balances(json!({"rollup": false, "groups": {}})).await, all);
    service.stop().await;
}

#[tokio::test]
async fn a_record_is_as_the_wire_contract_shows_it() {
    let service = service().await;
    let query = without(event("", json!({"groups": groups("Online/VIP/US")})), "id");
    let answer = service.post("allocation/query", query).await;
    let expected = json!([{
        "organizationId": "usmf", "productId": "Bike", "dimensions": red(), "groups": groups("Online/VIP/US"),
        "quantities": {"@iv": {
            "@allocated": 5, "@consumed": 2, "@cumulative_allocated": 7, "@cumulative_consumed": 2,
        }},
    }]);
    assert_eq!(answer.json(), expected);
    // The members stand in the order of the hierarchies.
    assert!(answer.text.contains(r#"{"siteId":"1","locationId":"11","colorId":"red"}"#), "{}", answer.text);
    assert!(answer.text.contains(r#"{"channel":"Online","customerGroup":"VIP","region":"US"}"#));
    service.stop().await;
}

#[tokio::test]
async fn every_group_given_must_agree_and_any_may_be_left_out() {
    let service = service().await;
    let rows = [
        (json!({"channel": "Store"}), json!([["Store/B2B/US", 4, 0, 4, 0]])),
        (
            json!({"region": "US"}),
            json!([
                ["Online/Basic/US", 2, 0, 2, 0],
                ["Online/VIP/US", 5, 2, 7, 2],
                ["Store/B2B/US", 4, 0, 4, 0]
            ]),
        ),
        (
            json!({"customerGroup": "VIP"}),
            json!([["Online/VIP", 5, 0, 5, 0], ["Online/VIP/EU", 3, 0, 3, 0], ["Online/VIP/US", 5, 2, 7, 2]]),
        ),
        (json!({"channel": "Online", "region": "EU"}), json!([["Online/VIP/EU", 3, 0, 3, 0]])),
        (json!({"channel": "Store", "region": "EU"}), json!([])),
        (json!({"channel": "nobody"}), json!([])),
    ];
    for (groups, expected) in rows {
        assert_eq!(service.balances(json!({"groups": groups})).await, expected, "{groups}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_rollup_sums_each_path_with_all_below_it_and_shows_the_inner_ones() {
    let service = service().await;
    let expected = json!([
        ["Online", 25, 2, 27, 2],
        ["Online/Basic", 2, 0, 2, 0],
        ["Online/Basic/US", 2, 0, 2, 0],
        ["Online/VIP", 13, 2, 15, 2],
        ["Online/VIP/EU", 3, 0, 3, 0],
        ["Online/VIP/US", 5, 2, 7, 2],
        ["Store", 4, 0, 4, 0],
        ["Store/B2B", 4, 0, 4, 0],
        ["Store/B2B/US", 4, 0, 4, 0],
        ["online", 1, 0, 1, 0],
    ]);
    assert_eq!(service.balances(json!({"rollup": true})).await, expected);
    service.stop().await;
}

/// A record's path agrees with every group given, so one that is above a group given is not
/// among the answers; and what a record sums is all below it, which agrees too.
#[tokio::test]
async fn a_rollup_begins_at_the_lowest_group_given() {
    let service = service().await;
    let rows = [
        (
            json!({"channel": "Store"}),
            json!([["Store", 4, 0, 4, 0], ["Store/B2B", 4, 0, 4, 0], ["Store/B2B/US", 4, 0, 4, 0]]),
        ),
        (
            json!({"customerGroup": "VIP"}),
            json!([
                ["Online/VIP", 13, 2, 15, 2],
                ["Online/VIP/EU", 3, 0, 3, 0],
                ["Online/VIP/US", 5, 2, 7, 2]
            ]),
        ),
        (
            json!({"region": "US"}),
            json!([
                ["Online/Basic/US", 2, 0, 2, 0],
                ["Online/VIP/US", 5, 2, 7, 2],
                ["Store/B2B/US", 4, 0, 4, 0]
            ]),
        ),
        (json!({"channel": "Online", "region": "EU"}), json!([["Online/VIP/EU", 3, 0, 3, 0]])),
    ];
    for (groups, expected) in rows {
        let query = json!({"groups": groups, "rollup": true});
        assert_eq!(service.balances(query).await, expected, "{groups}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_query_answers_exactly_its_place() {
    let service = service().await;
    let query = async |members: Value| service.balances(members).await;
    let above = json!({"siteId": "1", "locationId": "11"});
    assert_eq!(query(json!({"dimensions": above})).await, json!([["Online", 1, 0, 1, 0]]));
    assert_eq!(query(json!({"productId": "Helmet"})).await, json!([["Online", 1, 0, 1, 0]]));
    for members in [
        json!({"dimensions": {}}),
        json!({"dimensions": {"siteId": "1"}}),
        json!({"dimensions": changed(red(), json!({"sizeId": "L"}))}),
        json!({"productId": "Nothing"}),
        json!({"organizationId": "other"}),
    ] {
        assert_eq!(query(members.clone()).await, json!([]), "{members}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_query_is_told_its_place() {
    let service = service().await;
    let rows = [
        (json!({"groups": {"tier": "1"}}), "unknown-group", "/groups/tier"),
        (json!({"dimensions": {"width": "1"}}), "unknown-dimension", "/dimensions/width"),
        (json!({"groups": {"channel": ""}}), "invalid-request", "/groups/channel"),
        (json!({"rollup": "yes"}), "invalid-request", "/rollup"),
        (json!({"quantity": 1}), "unknown-property", "/quantity"),
    ];
    for (members, code, place) in rows {
        let query = without(event("", members), "id");
        let problem = service.refuse("allocation/query", query, code).await;
        assert_eq!(super::requests::pointers(&problem), [place]);
    }
    service.stop().await;
}

#[tokio::test]
async fn a_query_sees_a_configuration_that_another_instance_changed() {
    let service = Service::with_stock(10).await;
    let other = Service::start_on(service.database.clone(), &[]).await;
    assert_eq!(other.balances(json!({})).await, json!([]), "it keeps the configuration now");
    let mut document = bicycles();
    document["allocation"]["groups"].as_array_mut().unwrap().push(json!("tier"));
    assert_eq!(service.configure(document).await.status, 200);
    let mut path = groups("Online/VIP/US");
    path["tier"] = json!("gold");
    service.grant("allocation/allocate", event("tier", json!({"groups": path, "quantity": 1}))).await;
    let answer = other.post("allocation/query", without(event("", json!({})), "id")).await;
    assert_eq!(answer.json()[0]["groups"], path, "{}", answer.text);
    other.stop().await;
    service.stop().await;
}
