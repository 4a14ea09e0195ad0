//! When several things are wrong, which is answered: everything is wrong at first, and is
//! mended one by one in the order of the wire contract.

use serde_json::{Value, json};

use super::requests::{allocation, changed, consumption, groups, pointers, problem, reallocation};
use super::support::{Service, bicycles};

/// Sends a body, holds its refusal, then mends it; and so on.
async fn mend(service: &Service, path: &str, mut body: Value, steps: &[(&str, &str, Value)]) -> Value {
    for (code, place, mended) in steps {
        let problem = service.refuse(path, body.clone(), code).await;
        if !place.is_empty() {
            assert_eq!(pointers(&problem), [*place], "{problem}");
        }
        for (name, value) in mended.as_object().unwrap() {
            match value {
                Value::Null => body.as_object_mut().unwrap().remove(name),
                value => body.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
    }
    body
}

#[tokio::test]
async fn form_then_groups_then_dimensions_then_quantity_then_the_same_groups_then_the_state() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("held", "Online", 2)).await;
    let wrong = json!({
        "sourceGroups": {"tier": "1"}, "groups": {"level": "1"}, "dimensions": {"width": "1"},
        "quantity": "ten", "extra": 1,
    });
    let here = |more: Value| changed(json!({"siteId": "1"}), more);
    let steps = [
        ("unknown-property", "/extra", json!({"extra": null, "organizationId": 5})),
        ("invalid-request", "/organizationId", json!({"organizationId": "usmf"})),
        ("unknown-group", "/sourceGroups/tier", json!({"sourceGroups": {"region": "US"}})),
        ("hierarchy-gap", "/sourceGroups", json!({"sourceGroups": groups("Online")})),
        ("unknown-group", "/groups/level", json!({"groups": {"region": "US"}})),
        ("hierarchy-gap", "/groups", json!({"groups": groups("Online")})),
        ("unknown-dimension", "/dimensions/width", json!({"dimensions": here(json!({}))})),
        ("missing-required-dimension", "/dimensions", json!({"dimensions": here(json!({"locationId": ""}))})),
        ("missing-required-dimension", "/dimensions", json!({"dimensions": super::requests::red()})),
        ("invalid-quantity", "/quantity", json!({"quantity": 5})),
        ("invalid-request", "/sourceGroups", json!({"groups": groups("Store")})),
        ("insufficient-allocation", "", json!({"quantity": 2})),
    ];
    let body = changed(reallocation("r", "Online", "Store", 1), wrong);
    let body = mend(&service, "allocation/reallocate", body, &steps).await;
    service.grant("allocation/reallocate", body).await;
    service.stop().await;
}

#[tokio::test]
async fn a_consume_is_judged_by_neutrality_before_the_state() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("held", "Online", 2)).await;
    let wrong = json!({"groups": {"region": "US"}, "dimensions": {}, "quantity": -1, "physicalMeasures": {}});
    let steps = [
        ("hierarchy-gap", "/groups", json!({"groups": groups("Online")})),
        ("missing-required-dimension", "/dimensions", json!({"dimensions": super::requests::red()})),
        ("invalid-quantity", "/quantity", json!({"quantity": 5})),
        ("consumption-not-neutral", "", json!({"physicalMeasures": {"pos": {"inbound": "Subtraction"}}})),
        ("insufficient-allocation", "", json!({"quantity": 2})),
    ];
    let body = changed(consumption("c", "Online", 1), wrong);
    let body = mend(&service, "allocation/consume", body, &steps).await;
    service.grant("allocation/consume", body).await;
    service.stop().await;
}

#[tokio::test]
async fn an_id_that_is_taken_is_told_before_the_state() {
    let service = Service::with_stock(10).await;
    service.refuse("allocation/allocate", allocation("stock", "Online", 11), "id-reused").await;
    service.refuse("allocation/allocate", allocation("stock", "Online", 0), "invalid-quantity").await;
    service.stop().await;
}

#[tokio::test]
async fn an_unknown_environment_is_told_whatever_the_body_is() {
    let service = Service::start().await;
    let body = changed(allocation("x", "Online", 1), json!({"extra": 1}));
    service.refuse("allocation/allocate", body.clone(), "unknown-environment").await;
    problem(&service.post_text("onhand/bulk", "[").await, "unknown-environment");
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.refuse("allocation/allocate", body, "unknown-property").await;
    service.stop().await;
}
