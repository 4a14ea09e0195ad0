//! A changed configuration over stored data: what stands in its way, and what never does.

use serde_json::{Value, json};

use super::requests::{
    allocation, balance, changed, consumption, event, pointers, problem, red, stock, without,
};
use super::support::{Answer, Service, bicycles};

/// Three dimensions and two groups are in use, and the measure pos.inbound.
async fn in_use() -> Service {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("a", "Online/VIP", 8)).await;
    service
}

fn edit(edit: impl FnOnce(&mut Value)) -> Value {
    let mut document = bicycles();
    edit(&mut document);
    document
}

#[tokio::test]
async fn what_stored_data_contradicts_is_refused_and_says_what_stands_in_the_way() {
    let service = in_use().await;
    let before = service.books().await;
    let dimensions = |names: Value| edit(|document| document["dimensions"] = names);
    let groups = |names: Value| edit(|document| document["allocation"]["groups"] = names);
    let without_inbound = |document: &mut Value| {
        document["allocation"]["availableToAllocate"] = json!("fno.onordered - @iv.@allocated");
        for name in ["reservation", "calculatedMeasures"] {
            document.as_object_mut().unwrap().remove(name);
        }
    };
    let rows = [
        (dimensions(json!(["siteId", "locationId"])), "/dimensions", "colorId"),
        (dimensions(json!(["siteId", "locationId", "sizeId", "colorId"])), "/dimensions", "colorId"),
        (dimensions(json!(["siteId", "locationId", "hue", "sizeId"])), "/dimensions", "colorId"),
        (dimensions(json!(["area", "siteId", "locationId", "colorId"])), "/dimensions", "siteId"),
        (edit(|document| document["requiredDimensions"] = json!(1)), "/requiredDimensions", "2"),
        (edit(|document| document["requiredDimensions"] = json!(3)), "/requiredDimensions", "2"),
        (groups(json!(["channel"])), "/allocation/groups", "customerGroup"),
        (groups(json!(["customerGroup", "channel", "region"])), "/allocation/groups", "channel"),
        (groups(json!(["channel", "tier", "region"])), "/allocation/groups", "customerGroup"),
        (
            edit(|document| {
                without_inbound(document);
                document["dataSources"]["pos"]["measures"] = json!(["outbound"]);
            }),
            "/dataSources",
            "pos.inbound",
        ),
        (
            edit(|document| {
                without_inbound(document);
                document["dataSources"].as_object_mut().unwrap().remove("pos");
            }),
            "/dataSources",
            "pos.inbound",
        ),
    ];
    for (document, place, name) in rows {
        let refused = problem(&service.configure(document).await, "configuration-in-use");
        assert_eq!(pointers(&refused), [place], "{refused}");
        assert!(refused["errors"][0]["detail"].as_str().unwrap().contains(name), "{refused}");
    }
    let both = edit(|document| {
        document["dimensions"] = json!(["siteId", "locationId"]);
        document["allocation"]["groups"] = json!([]);
    });
    let refused = problem(&service.configure(both).await, "configuration-in-use");
    assert_eq!(pointers(&refused), ["/allocation/groups", "/dimensions"]);
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn what_no_data_uses_can_always_be_changed() {
    let service = in_use().await;
    let steps: [fn(&mut Value); 10] = [
        |document| document["dimensions"] = json!(["siteId", "locationId", "colorId", "sizeId", "styleId"]),
        |document| document["dimensions"] = json!(["siteId", "locationId", "colorId"]),
        |document| document["dimensions"] = json!(["SiteID", "locationId", "colorId", "other"]),
        |document| document["allocation"]["groups"] = json!(["channel", "customerGroup", "region", "tier"]),
        |document| document["allocation"]["groups"] = json!(["channel", "customerGroup"]),
        |document| document["allocation"]["groups"] = json!(["Channel", "customerGroup", "tier"]),
        |document| document["dataSources"]["wms"] = json!({"measures": ["picked"]}),
        |document| document["dataSources"]["pos"]["measures"] = json!(["returned", "outbound", "inbound"]),
        |document| document["dataSources"]["pos"]["dimensionMappings"] = json!({}),
        |document| document["calculatedMeasures"] = json!({}),
    ];
    for (index, step) in steps.iter().enumerate() {
        let answer = service.configure(edit(step)).await;
        assert_eq!(answer.status, 200, "step {index}: {}", answer.text);
        assert_eq!(answer.json()["warnings"], json!([]));
        // The books go on, whatever the order of the measures is now.
        let consumed = consumption(&format!("c{index}"), "Online/VIP", "0.5");
        assert_eq!(service.grant("allocation/consume", consumed).await["availableToAllocate"], json!(2));
    }
    assert_eq!(service.verify().await, 2 + steps.len());
    service.stop().await;
}

#[tokio::test]
async fn a_measure_may_go_once_it_holds_nothing_and_come_back() {
    let service = Service::with_stock(10).await;
    let other = edit(|document| {
        *document = json!({
            "dimensions": document["dimensions"], "requiredDimensions": 2,
            "dataSources": {"fno": {"measures": ["onordered"]}},
            "allocation": {"groups": ["channel"], "availableToAllocate": "fno.onordered - @iv.@allocated"},
        });
    });
    problem(&service.configure(other.clone()).await, "configuration-in-use");
    service.grant("onhand", stock("out", -10)).await;
    assert_eq!(service.configure(other).await.status, 200);
    service.refuse("onhand", stock("x", 1), "unknown-measure").await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    assert_eq!(service.grant("onhand", stock("back", 3)).await["availableToAllocate"], json!(3));
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_changed_formula_names_how_many_nodes_become_over_allocated() {
    let service = in_use().await;
    let elsewhere = json!({"dimensions": {"siteId": "2", "locationId": "21"}});
    service
        .grant(
            "onhand",
            changed(event("other", json!({"quantities": {"fno": {"onordered": 5}}})), elsewhere.clone()),
        )
        .await;
    service.grant("allocation/allocate", changed(allocation("b", "Online", 5), elsewhere)).await;
    let formula = |text: &str| edit(|document| document["allocation"]["availableToAllocate"] = json!(text));
    // The red bicycle and its location; the other place has its stock from fno.
    let answer = service.configure(formula("fno.onordered - @iv.@allocated")).await;
    assert_eq!(warnings(&answer).len(), 1, "{}", answer.text);
    assert!(warnings(&answer)[0].as_str().unwrap().starts_with("2 "), "{}", answer.text);
    let code = "insufficient-available-to-allocate";
    assert_eq!(
        service.refuse("allocation/allocate", allocation("x", "Online", 1), code).await["available"],
        json!(-8)
    );
    // Those that are over-allocated already do not become so; one more does.
    let answer = service.configure(formula("0.5 * fno.onordered - @iv.@allocated")).await;
    assert!(warnings(&answer)[0].as_str().unwrap().starts_with("1 "), "{}", answer.text);
    assert!(warnings(&service.configure(bicycles()).await).is_empty());
    assert_eq!(
        service.grant("allocation/allocate", allocation("x", "Online", 2)).await["availableToAllocate"],
        json!(0)
    );
    service.verify().await;
    service.stop().await;
}

fn warnings(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["warnings"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_is_new_is_usable_at_once_on_another_instance() {
    let one = in_use().await;
    let other = Service::start_on(one.database.clone(), &[]).await;
    let tiered = |id: &str| {
        let path = json!({"channel": "Online", "customerGroup": "VIP", "region": "EU", "tier": "gold"});
        changed(allocation(id, "Online", 1), json!({"groups": path}))
    };
    let problem = other.refuse("allocation/allocate", tiered("a1"), "unknown-group").await;
    assert_eq!(pointers(&problem), ["/groups/tier"]);
    let grown = edit(|document| {
        document["allocation"]["groups"] = json!(["channel", "customerGroup", "region", "tier"]);
        document["dimensions"] = json!(["siteId", "locationId", "colorId", "sizeId", "styleId"]);
        document["dataSources"]["wms"] =
            json!({"measures": ["picked"], "dimensionMappings": {"hall": "locationId"}});
    });
    assert_eq!(one.configure(grown).await.status, 200);
    assert_eq!(other.grant("allocation/allocate", tiered("a1")).await["balance"], balance(1, 0, (1, 0)));
    let groups = json!({"tier": "gold"});
    let query = without(event("", json!({"groups": groups})), "id");
    assert_eq!(other.post("allocation/query", query).await.json()[0]["groups"]["tier"], json!("gold"));
    let styled = json!({"dimensions": changed(red(), json!({"styleId": "retro"}))});
    other.grant("onhand", changed(stock("styled", 1), styled)).await;
    let picked = json!({
        "quantities": {"wms": {"picked": 1}}, "dimensionDataSource": "wms",
        "dimensions": {"siteId": "1", "hall": "11"},
    });
    other.grant("onhand", event("picked", picked)).await;
    one.verify().await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn what_is_forbidden_is_refused_at_once_on_another_instance() {
    let one = in_use().await;
    let other = Service::start_on(one.database.clone(), &[]).await;
    let bare = |id: &str| without(consumption(id, "Online/VIP", 1), "physicalMeasures");
    other.grant("allocation/consume", consumption("c1", "Online/VIP", 1)).await;
    let read_only = edit(|document| document["dataSources"]["pos"]["readOnly"] = json!(true));
    let pool_changing = edit(|document| document["allocation"]["allowPoolChangingConsumption"] = json!(true));
    for round in 0..3 {
        let id = |name: &str| format!("{name}{round}");
        assert_eq!(one.configure(read_only.clone()).await.status, 200);
        other
            .refuse("allocation/consume", consumption(&id("d"), "Online/VIP", 1), "read-only-data-source")
            .await;
        assert_eq!(one.configure(pool_changing.clone()).await.status, 200);
        other.grant("allocation/consume", bare(&id("e"))).await;
        assert_eq!(one.configure(bicycles()).await.status, 200);
        other.refuse("allocation/consume", bare(&id("f")), "consumption-not-neutral").await;
        other.grant("allocation/consume", consumption(&id("g"), "Online/VIP", 1)).await;
    }
    one.verify().await;
    one.stop().await;
    other.stop().await;
}
