//! The list of what is reserved.

use reqwest::Method;
use serde_json::{Value, json};

use super::requests::{JSON, changed, pointers, problem};
use super::reservations::{freeing, reservation};
use super::support::{Answer, Service, bicycles};

/// Products and places, in the order of the list, each with how many reservations there are.
const PLACES: [(&str, &str, usize); 9] = [
    ("Bike", "1/11", 2),
    ("Bike", "1/11//S", 1),
    ("Bike", "1/11/blue", 1),
    ("Bike", "1/11/red", 3),
    ("Bike", "1/11/red/S", 1),
    ("Bike", "1/110/red", 1),
    ("Bike", "2/11/red", 1),
    ("Helmet", "1/11", 2),
    ("Ünicorn", "2/21/red", 1),
];

const DIMENSIONS: [&str; 4] = ["siteId", "locationId", "colorId", "sizeId"];

fn dimensions(place: &str) -> Value {
    DIMENSIONS.iter().zip(place.split('/')).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// A service with these reservations, each of 2, and as many for another owner and elsewhere, and
/// with others that were freed. Half of each that is listed was freed as well.
async fn service() -> Service {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let other = "/api/environment/other/configuration";
    service.send(Method::PUT, other, &[JSON], bicycles().to_string()).await;
    let mut reserve = Vec::new();
    for (product, place, count) in PLACES {
        for number in 0..count {
            let at = json!({"productId": product, "dimensions": dimensions(place),
                            "ifCheckAvailForReserv": false});
            let body = changed(reservation(&format!("{product} {place} {number}"), 2), at);
            reserve.push(changed(body.clone(), json!({"id": format!("freed {}", body["id"])})));
            let others = json!({"id": format!("other {}", body["id"]), "organizationId": "demf"});
            reserve.push(changed(body.clone(), others));
            reserve.push(body);
        }
    }
    let made = service.post("onhand/reserve/bulk", json!(reserve)).await.json();
    let free = reserve.iter().zip(made.as_array().unwrap()).map(|(body, made)| {
        let whole = body["id"].as_str().unwrap().starts_with("freed");
        let id = format!("free {}", body["id"]);
        let freed = freeing(&id, &made["reservationId"], if whole { 2 } else { 1 });
        let owner = json!({"organizationId": body["organizationId"], "dimensions": body["dimensions"]});
        changed(freed, owner)
    });
    let answer = service.post("onhand/unreserve/bulk", free.collect()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let path = "/api/environment/other/onhand/reserve/bulk";
    let answer = service.send(Method::POST, path, &[JSON], json!(reserve).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    service
}

async fn get(service: &Service, query: &str) -> Answer {
    service.get(&format!("/api/environment/test/reservations?{query}")).await
}

async fn list(service: &Service, query: &str) -> Vec<Value> {
    let answer = get(service, query).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json().as_array().unwrap().clone()
}

/// `Bike 1/11//S`.
fn place_of(record: &Value) -> String {
    let values = DIMENSIONS.iter().filter_map(|name| record["dimensions"].get(*name)?.as_str());
    format!("{} {}", record["productId"].as_str().unwrap(), values.collect::<Vec<_>>().join("/"))
}

fn is_below(place: &str, prefix: &str) -> bool {
    place == prefix || place.starts_with(&format!("{prefix}/"))
}

fn color(place: &str) -> &str {
    place.split('/').nth(2).unwrap_or_default()
}

/// A query, and whether it asks for what is held of a product at a place.
type Row = (&'static str, fn(&str, &str) -> bool);

#[tokio::test]
async fn it_lists_what_is_held_in_order_by_product_and_by_dimensions() {
    let service = service().await;
    let rows: [Row; 10] = [
        ("", |_, _| true),
        ("&productId=Bike", |product, _| product == "Bike"),
        ("&productId=%C3%9Cnicorn", |product, _| product == "Ünicorn"),
        ("&productId=bike", |_, _| false),
        ("&productId=Bike&siteId=1", |product, place| product == "Bike" && is_below(place, "1")),
        ("&productId=Bike&locationId=11&siteId=1", |product, place| {
            product == "Bike" && is_below(place, "1/11")
        }),
        ("&siteId=1&locationId=11", |_, place| is_below(place, "1/11")),
        ("&siteId=1&shopid=11&dimensionDataSource=POS&productId=Helmet", |product, _| product == "Helmet"),
        ("&colorId=red", |_, place| color(place) == "red"),
        ("&productId=Bike&siteId=1&locationId=11&colorId=", |product, place| {
            product == "Bike" && is_below(place, "1/11") && color(place).is_empty()
        }),
    ];
    for (query, is_wanted) in rows {
        let wanted = PLACES.iter().filter(|(product, place, _)| is_wanted(product, place));
        let wanted: Vec<String> =
            wanted.flat_map(|&(product, place, count)| vec![format!("{product} {place}"); count]).collect();
        let records = list(&service, &format!("organizationId=usmf{query}")).await;
        assert_eq!(records.iter().map(place_of).collect::<Vec<_>>(), wanted, "{query}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_record_says_what_an_unreserve_needs() {
    let service = service().await;
    let records = list(&service, "organizationId=usmf&productId=Helmet").await;
    let id = records[0]["reservationId"].clone();
    let expected = json!({
        "reservationId": id, "organizationId": "usmf", "productId": "Helmet",
        "dimensions": {"siteId": "1", "locationId": "11"},
        "quantityDataSource": "@iv", "modifier": "@softreserved", "quantity": 2, "remaining": 1,
    });
    assert_eq!(records[0], expected);
    let place = json!({"dimensions": records[0]["dimensions"]});
    service.grant("onhand/unreserve", changed(freeing("last", &id, 1), place)).await;
    let rest = list(&service, "organizationId=usmf&productId=Helmet").await;
    assert_eq!(rest, records[1..], "what was freed whole is not held");
    service.stop().await;
}

#[tokio::test]
async fn pages_together_are_the_whole_list() {
    let service = service().await;
    for filter in ["", "&productId=Bike", "&siteId=1&locationId=11", "&colorId=red"] {
        let whole = list(&service, &format!("organizationId=usmf{filter}")).await;
        assert!(whole.len() >= 5, "{filter}");
        for limit in [1, 2, whole.len() - 1, whole.len(), 1000] {
            let mut pages = Vec::new();
            let mut query = format!("organizationId=usmf{filter}&limit={limit}");
            loop {
                let answer = get(&service, &query).await;
                let records = answer.json().as_array().unwrap().clone();
                assert!(!records.is_empty() && records.len() <= limit, "{}", answer.text);
                pages.extend(records);
                let Some(link) = answer.header("link") else { break };
                let next = link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
                query = next.to_owned();
            }
            assert_eq!(pages, whole, "{filter} by {limit}");
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_list_is_told_its_place() {
    let service = Service::start().await;
    problem(&get(&service, "organizationId=usmf").await, "unknown-environment");
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let rows = [
        ("invalid-request", "", "/organizationId"),
        ("invalid-request", "organizationId=&productId=", "/organizationId /productId"),
        ("invalid-request", "organizationId=a&organizationId=b", "/organizationId"),
        ("invalid-request", "organizationId=a&productId=a&productId=b", "/productId"),
        ("invalid-request", "organizationId=a&siteId=1&SITEID=2", "/siteId"),
        ("invalid-request", "organizationId=a&limit=0", "/limit"),
        ("invalid-request", "organizationId=a&limit=1001", "/limit"),
        ("invalid-request", "organizationId=a&after=x", "/after"),
        ("invalid-request", "organizationId=a&after=%5B%22Bike%22,%22none%22%5D", "/after"),
        ("invalid-request", "organizationId=a&dimensionDataSource=web", "/dimensionDataSource"),
        ("unknown-dimension", "organizationId=a&width=1", "/width"),
    ];
    for (code, query, places) in rows {
        let problem = problem(&get(&service, query).await, code);
        assert_eq!(pointers(&problem).join(" "), places, "{query}");
    }
    assert_eq!(list(&service, "organizationId=nobody").await, Vec::<Value>::new());
    service.stop().await;
}
