//! What a key that is narrowed to organizations or to a group path may do, and what it sees.

use reqwest::Method;
use ringfence::domain::access::{Role, Scope};
use ringfence::domain::name::Value as Text;
use serde_json::{Value, json};

use super::access::key;
use super::requests::{
    allocation, changed, check_problem, consumption, event, problem, reallocation, stock, without,
};
use super::support::{Answer, Service, eventually};

fn scope(organizations: &[&str], groups: &[(&str, &str)]) -> Scope {
    let value = |text: &str| Text::parse(text).unwrap();
    Scope {
        organizations: organizations.iter().map(|text| value(text)).collect(),
        groups: groups.iter().map(|&(name, text)| (name.to_owned(), value(text))).collect(),
    }
}

/// A service with auth whose web shop's VIPs and stores have some, and its admin's key.
async fn shop() -> (Service, String) {
    let (service, admin) = Service::with_auth().await;
    for (id, path) in [("a1", "Web/VIP"), ("a2", "Store"), ("a3", "Web")] {
        let granted =
            service.with_key(&admin, Method::POST, "allocation/allocate", allocation(id, path, 3)).await;
        assert_eq!(granted.status, 200, "{}", granted.text);
    }
    (service, admin)
}

/// An answer that says what is allowed instead.
fn forbidden(answer: &Answer, allowed: &str) {
    let body = problem(answer, "forbidden");
    assert!(body["detail"].as_str().unwrap().contains(allowed), "{body}");
}

#[tokio::test]
async fn a_marketplace_takes_only_what_is_set_aside_for_it() {
    let (service, _) = shop().await;
    let web = scope(&[], &[("channel", "Web"), ("customerGroup", "VIP")]);
    let consumer = key(&service.database, "test", Role::Consumer, web).await;
    let post = async |path: &str, body: Value| service.with_key(&consumer, Method::POST, path, body).await;
    let allowed = "channel=Web, customerGroup=VIP";
    for (id, path) in [("c1", "Store"), ("c2", "Web"), ("c3", "Web/Regular"), ("c4", "Store/VIP")] {
        let answer = post("allocation/consume", consumption(id, path, 1)).await;
        forbidden(&answer, allowed);
        assert_eq!(answer.json()["id"], id);
    }
    let granted = post("allocation/consume", consumption("c5", "Web/VIP", 1)).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    let below = post("allocation/consume", consumption("c6", "Web/VIP/EU", 1)).await;
    problem(&below, "insufficient-allocation");
    // In other letters, and under the other name.
    let other = json!({"CHANNEL": "Web", "customergroup": "VIP"});
    let other = changed(without(consumption("c7", "Web/VIP", 1), "groups"), json!({"targetGroups": other}));
    assert_eq!(post("allocation/consume", other).await.status, 200);
    // A dry run is none the less a look at what is another's.
    let dry = changed(consumption("c8", "Store", 1), json!({"dryRun": true}));
    forbidden(&post("allocation/consume", dry).await, allowed);
    // What is reserved comes out of the pool, which is nobody's share.
    let reservation =
        event("r1", json!({"quantityDataSource": "@iv", "modifier": "@softreserved", "quantity": 1}));
    forbidden(&post("onhand/reserve", reservation.clone()).await, allowed);
    let lines = post("onhand/reserve/bulk", json!([reservation])).await;
    assert_eq!(lines.status, 207);
    check_problem(&lines.json()[0], "forbidden");
    let free = json!({
        "id": "u1", "organizationId": "usmf", "reservationId": "3471c1d8-5cbb-5296-9cbd-1604c27830a5",
        "dimensions": {"siteId": "1", "locationId": "11"}, "OffsetQty": 1,
    });
    forbidden(&post("onhand/unreserve", free).await, allowed);
    service.stop().await;
}

#[tokio::test]
async fn a_planner_of_a_path_moves_nothing_in_or_out_of_it() {
    let (service, _) = shop().await;
    let planner = key(&service.database, "test", Role::Planner, scope(&[], &[("channel", "Web")])).await;
    let post = async |path: &str, body: Value| service.with_key(&planner, Method::POST, path, body).await;
    for (from, to) in [("Web/VIP", "Store"), ("Store", "Web/VIP")] {
        forbidden(&post("allocation/reallocate", reallocation("m1", from, to, 1)).await, "channel=Web");
    }
    let within = post("allocation/reallocate", reallocation("m1", "Web/VIP", "Web", 1)).await;
    assert_eq!(within.status, 200, "{}", within.text);
    forbidden(&post("allocation/unallocate", allocation("n1", "Store", 1)).await, "channel=Web");
    assert_eq!(post("allocation/unallocate", allocation("n1", "Web", 1)).await.status, 200);
    forbidden(&post("allocation/allocate", allocation("n2", "Store", 1)).await, "channel=Web");
    service.stop().await;
}

#[tokio::test]
async fn stock_is_settled_for_a_path_and_reported_for_an_organization() {
    let (service, _) = shop().await;
    let of_path = key(&service.database, "test", Role::Stock, scope(&[], &[("channel", "Web")])).await;
    let post =
        async |key: &str, path: &str, body: Value| service.with_key(key, Method::POST, path, body).await;
    forbidden(&post(&of_path, "onhand", stock("s1", 1)).await, "channel=Web");
    let settled = |path: &str| {
        let groups = super::requests::groups(path);
        event("s2", json!({"quantities": {"@iv": {"@consumed": -1}}, "groups": groups}))
    };
    forbidden(&post(&of_path, "onhand", settled("Store")).await, "channel=Web");
    // Nothing was consumed, so this is refused for another reason, or done.
    assert_ne!(post(&of_path, "onhand", settled("Web")).await.status, 403);
    let of_owner = key(&service.database, "test", Role::Stock, scope(&["frrt", "usmf"], &[])).await;
    let foreign = changed(stock("s3", 1), json!({"organizationId": "other"}));
    forbidden(&post(&of_owner, "onhand", foreign.clone()).await, "frrt, usmf");
    assert_eq!(post(&of_owner, "onhand", stock("s3", 1)).await.status, 200);
    // The lines of a bulk are each on their own; together they are all or none.
    let lines = json!([stock("s4", 1), foreign]);
    let bulk = post(&of_owner, "onhand/bulk", lines.clone()).await;
    assert_eq!(bulk.status, 207, "{}", bulk.text);
    assert_eq!(bulk.json()[0]["processingStatus"], "success");
    check_problem(&bulk.json()[1], "forbidden");
    let lines = json!([stock("s5", 1), lines[1]]);
    let together = post(&of_owner, "onhand/bulk?atomic=true", lines).await;
    forbidden(&together, "frrt, usmf");
    assert_eq!(together.json()["index"], 1);
    // The first stock, three allocations, and two reports.
    assert_eq!(service.verify().await, 6);
    service.stop().await;
}

#[tokio::test]
async fn queries_show_only_what_a_key_is_narrowed_to() {
    let (service, _) = shop().await;
    let of_path = key(&service.database, "test", Role::Reader, scope(&[], &[("channel", "Web")])).await;
    let of_owner = key(&service.database, "test", Role::Reader, scope(&["usmf"], &[])).await;
    let post =
        async |key: &str, path: &str, body: Value| service.with_key(key, Method::POST, path, body).await;
    let get = async |key: &str, path: &str| service.with_key(key, Method::GET, path, Value::Null).await;
    let query = |groups: Value, organization: &str| {
        let dimensions = super::requests::red();
        json!({"organizationId": organization, "productId": "Bike", "dimensions": dimensions, "groups": groups})
    };
    let path = "allocation/query";
    forbidden(&post(&of_path, path, query(json!({}), "usmf")).await, "channel=Web");
    forbidden(&post(&of_path, path, query(json!({"channel": "Store"}), "usmf")).await, "channel=Web");
    forbidden(&post(&of_path, path, query(json!({"customerGroup": "VIP"}), "usmf")).await, "channel=Web");
    let seen = post(&of_path, path, query(json!({"channel": "Web"}), "usmf")).await;
    let seen = seen.json();
    assert_eq!(seen.as_array().unwrap().len(), 2, "{seen}");
    assert_eq!(post(&of_owner, path, query(json!({}), "usmf")).await.json().as_array().unwrap().len(), 3);
    forbidden(&post(&of_owner, path, query(json!({}), "frrt")).await, "usmf");
    for path in ["onhand/indexquery", "onhand/exactquery"] {
        let mut asked = json!({"filters": {"organizationId": ["usmf"], "productId": ["Bike"]}});
        if path == "onhand/exactquery" {
            asked["filters"]["dimensions"] = json!(["siteId"]);
            asked["filters"]["values"] = json!([["1"]]);
        }
        assert_eq!(post(&of_owner, path, asked.clone()).await.status, 200);
        forbidden(&post(&of_path, path, asked.clone()).await, "channel=Web");
        asked["filters"]["organizationId"] = json!(["frrt"]);
        forbidden(&post(&of_owner, path, asked).await, "usmf");
    }
    for path in ["onhand", "reservations", "allocation/analytics"] {
        let owned = format!("{path}?organizationId=usmf");
        assert_eq!(get(&of_owner, &owned).await.status, 200, "{path}");
        for other in
            [path.to_owned(), format!("{path}?organizationId=frrt"), format!("{owned}&ORGANIZATIONID=frrt")]
        {
            forbidden(&get(&of_owner, &other).await, "usmf");
        }
        forbidden(&get(&of_path, &owned).await, "channel=Web");
    }
    let analytics = "allocation/analytics?organizationId=usmf";
    assert_eq!(get(&of_path, &format!("{analytics}&group.channel=Web")).await.status, 200);
    for groups in ["group.channel=Store", "group.channel=Web&group.Channel=Store", "group.customerGroup=Web"]
    {
        forbidden(&get(&of_path, &format!("{analytics}&{groups}")).await, "channel=Web");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_key_is_told_its_own_alerts_only_and_what_it_is_narrowed_to() {
    let (service, admin) = shop().await;
    let get = async |key: &str, path: &str| service.with_key(key, Method::GET, path, Value::Null).await;
    let watch = json!({"rule": {"balanceAtOrBelow": 5}});
    assert_eq!(service.with_key(&admin, Method::PUT, "watches/low", watch).await.status, 200);
    eventually("an alert of each balance", async || {
        get(&admin, "alerts?state=open").await.json().as_array().unwrap().len() == 3
    })
    .await;
    let of_path = key(&service.database, "test", Role::Planner, scope(&[], &[("channel", "Web")])).await;
    let of_owner = key(&service.database, "test", Role::Reader, scope(&["usmf"], &[])).await;
    forbidden(&get(&of_path, "alerts").await, "channel=Web");
    forbidden(&get(&of_path, "alerts?group.channel=Store").await, "channel=Web");
    let seen = get(&of_path, "alerts?group.channel=Web").await.json();
    let channels: Vec<_> = seen.as_array().unwrap().iter().map(|alert| &alert["groups"]["channel"]).collect();
    assert_eq!(channels, ["Web", "Web"]);
    forbidden(&get(&of_owner, "alerts").await, "usmf");
    forbidden(&get(&of_owner, "alerts?organizationId=frrt").await, "usmf");
    assert_eq!(get(&of_owner, "alerts?organizationId=usmf").await.json().as_array().unwrap().len(), 3);

    let whole = json!({"name": "admin", "role": "admin", "organizationIds": [], "groups": {}});
    assert_eq!(get(&admin, "caller").await.json(), whole);
    let path =
        json!({"name": "planner", "role": "planner", "organizationIds": [], "groups": {"channel": "Web"}});
    assert_eq!(get(&of_path, "caller").await.json(), path);
    let owner = json!({"name": "reader", "role": "reader", "organizationIds": ["usmf"], "groups": {}});
    assert_eq!(get(&of_owner, "caller").await.json(), owner);
    service.stop().await;
    // Where no key is needed, nobody has a name, and everybody may.
    let open = Service::with_stock(1).await;
    assert_eq!(open.read("caller").await, json!({"role": "admin", "organizationIds": [], "groups": {}}));
    open.stop().await;
}
