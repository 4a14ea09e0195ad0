//! The model's own worked example, over HTTP.

use serde_json::json;

use super::support::{Service, bicycles};

#[tokio::test]
async fn a_consume_is_neutral_to_the_pool() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let place = json!({"siteId": "1", "locationId": "11", "colorId": "red"});
    let groups = json!({"channel": "Online", "customerGroup": "VIP", "region": "US"});
    let stock = service
        .post("onhand", json!({"id": "1", "organizationId": "usmf", "productId": "Bike", "dimensions": place, "quantities": {"pos": {"inbound": 10}}}))
        .await;
    assert_eq!(stock.status, 200, "{}", stock.text);
    let allocated = service
        .post("allocation/allocate", json!({"id": "2", "organizationId": "usmf", "productId": "Bike", "dimensions": place, "groups": groups, "quantity": 8}))
        .await;
    assert_eq!(allocated.json()["availableToAllocate"], json!(2), "{}", allocated.text);
    let consumed = service
        .post("allocation/consume", json!({"id": "3", "organizationId": "usmf", "productId": "Bike", "dimensions": place, "groups": groups, "quantity": 3, "physicalMeasures": {"pos": {"inbound": "Subtraction"}}}))
        .await;
    assert_eq!(
        consumed.json()["balance"],
        json!({"allocated": 5, "consumed": 3, "cumulativeAllocated": 8, "cumulativeConsumed": 3}),
        "{}",
        consumed.text
    );
    assert_eq!(consumed.json()["availableToAllocate"], json!(2));
    service.stop().await;
}
