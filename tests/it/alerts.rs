//! Lists of alerts, and who writes them.

use serde_json::{Value, json};

use super::feed::Reader;
use super::load::{Client, allocation, consume, on_hand};
use super::process::Program;
use super::requests::{changed, stock};
use super::support::{Service, bicycles, database, eventually, service_url};

#[tokio::test]
async fn a_list_of_alerts_is_read_page_by_page() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    for number in 0..25 {
        let product = json!({"productId": format!("P{number:02}")});
        service.grant("onhand", changed(stock(&format!("s{number}"), 10), product.clone())).await;
        let share = super::requests::allocation(&format!("a{number}"), "Online", 1);
        service.grant("allocation/allocate", changed(share, product)).await;
    }
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    let all = service.open_alerts(25).await;
    let sequences: Vec<i64> = all.iter().map(|alert| alert["sequence"].as_i64().unwrap()).collect();
    assert!(sequences.is_sorted_by(|one, other| one > other), "the last first: {sequences:?}");
    let (mut path, mut found) = ("alerts?limit=10&state=open".to_owned(), Vec::new());
    loop {
        let answer = service.get(&format!("/api/environment/test/{path}")).await;
        let page: Vec<Value> = serde_json::from_str(&answer.text).unwrap();
        found.extend(page);
        let Some(link) = answer.header("link") else { break };
        let query = link.strip_prefix("<?").and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap();
        path = format!("alerts?{query}");
    }
    assert_eq!(found, all);
    service.stop().await;
}

#[tokio::test]
async fn a_list_of_alerts_is_narrowed_to_a_product_and_to_a_group_path() {
    let service = Service::with_stock(100).await;
    let helmet = json!({"productId": "Helmet"});
    service.grant("onhand", changed(stock("h", 10), helmet.clone())).await;
    for (id, path) in [("a", "Online"), ("b", "Online/VIP"), ("c", "Store")] {
        service.grant("allocation/allocate", super::requests::allocation(id, path, 1)).await;
    }
    let share = super::requests::allocation("d", "Online", 1);
    service.grant("allocation/allocate", changed(share, helmet)).await;
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    service.open_alerts(4).await;
    let found = async |query: &str| {
        let found = service.read(&format!("alerts?{query}")).await;
        let place = |alert: &Value| {
            let groups = alert["groups"].as_object().unwrap().values().map(|value| value.as_str().unwrap());
            format!("{} {}", alert["productId"].as_str().unwrap(), groups.collect::<Vec<_>>().join("/"))
        };
        let mut places: Vec<String> = found.as_array().unwrap().iter().map(place).collect();
        places.sort_unstable();
        places
    };
    let online = ["Bike Online", "Bike Online/VIP"];
    assert_eq!(found("organizationId=usmf&productId=Bike").await, [online[0], online[1], "Bike Store"]);
    assert_eq!(found("group.channel=Online").await, [online[0], online[1], "Helmet Online"]);
    assert_eq!(found("group.channel=Online&productid=Bike&state=open").await, online);
    assert_eq!(found("group.channel=Online&group.customerGroup=VIP").await, [online[1]]);
    assert!(found("organizationId=frrt").await.is_empty());
    for (query, code) in [
        ("group.customerGroup=VIP", "hierarchy-gap"),
        ("group.shop=1", "unknown-group"),
        ("siteId=1", "unknown-property"),
        ("productId=a&productId=b", "invalid-request"),
    ] {
        let answer = service.get(&format!("/api/environment/test/alerts?{query}")).await;
        super::requests::problem(&answer, code);
    }
    service.stop().await;
}

/// Two instances over one database: what one misses because it is killed, the other finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_is_opened_once_by_whichever_instance_is_there() {
    const PRODUCTS: usize = 20;
    let database = database().await;
    let url = service_url(&database);
    let mut first = Some(Program::serve(&["--database-url", &url]).await);
    let second = Program::serve(&["--database-url", &url]).await;
    let client = Client::new(&second.base);
    client.configure().await;
    let low = json!({"rule": {"balanceAtOrBelow": 0}});
    assert_eq!(client.send(reqwest::Method::PUT, "watches/empty", &low).await.unwrap().status, 200);
    for number in 0..PRODUCTS {
        let product = format!("P{number}");
        client.done("onhand", on_hand(&format!("s{number}"), &product, 5)).await;
        client.done("allocation/allocate", allocation(&format!("a{number}"), &product, 5)).await;
        client.done("allocation/consume", consume(&format!("c{number}"), &product, 5)).await;
        if number == PRODUCTS / 2 {
            first.take().unwrap().kill().await;
        }
    }
    let mut alerts = Vec::new();
    eventually("an alert of each product", async || {
        let answer = client.send(reqwest::Method::GET, "alerts", &Value::Null).await.unwrap();
        alerts = answer.json().as_array().unwrap().clone();
        alerts.len() >= PRODUCTS
    })
    .await;
    let mut products: Vec<&str> = alerts.iter().map(|alert| alert["productId"].as_str().unwrap()).collect();
    products.sort_unstable();
    products.dedup();
    assert_eq!((alerts.len(), products.len()), (PRODUCTS, PRODUCTS), "{alerts:?}");
    second.stop().await;
}

/// The next things that a stream tells of alerts.
async fn told(reader: &mut Reader, count: usize) -> Vec<Value> {
    let mut told = Vec::new();
    while told.len() < count {
        told.extend(reader.message().await.expect("the stream goes on").alert);
    }
    told
}

#[tokio::test]
async fn the_live_feed_tells_of_alerts_and_is_resumed_without_a_gap() {
    let service = Service::with_stock(100).await;
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    let mut now = Reader::open(&service.base, "", None).await;
    let mut other = Reader::open(&service.base, "productId=Helmet", None).await;
    let mut of_group = Reader::open(&service.base, "group.channel=Online", None).await;
    service.grant("allocation/allocate", super::requests::allocation("a", "Online", 5)).await;
    let opened = told(&mut now, 1).await.remove(0);
    assert_eq!(told(&mut of_group, 1).await, std::slice::from_ref(&opened));
    let alert = service.open_alerts(1).await.remove(0);
    let expected = json!({"type": "alert.opened", "timestamp": alert["openedAt"], "data": alert});
    assert_eq!(opened, expected);
    let last = now.last.clone().unwrap();
    assert_eq!(last.split_once('-').unwrap().1, alert["sequence"].to_string(), "{last}");
    drop(now);
    // What happens while nobody listens is told to who comes back, each once.
    let mut expected = Vec::new();
    for (round, path) in ["allocation/allocate", "allocation/unallocate"].iter().cycle().take(4).enumerate() {
        let body = super::requests::allocation(&format!("r{round}"), "Online", 10);
        service.grant(path, body).await;
        service.open_alerts(round % 2).await;
        expected.push(["alert.closed", "alert.opened"][round % 2]);
    }
    let mut back = Reader::open(&service.base, "", Some(&last)).await;
    let missed = told(&mut back, 4).await;
    let kinds: Vec<&str> = missed.iter().map(|told| told["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, expected);
    let sequences: Vec<i64> = missed.iter().map(|told| told["data"]["sequence"].as_i64().unwrap()).collect();
    assert!(sequences.is_sorted() && sequences[0] > alert["sequence"].as_i64().unwrap(), "{sequences:?}");
    // It goes on from there, and only with what is asked for.
    let helmet = json!({"productId": "Helmet"});
    service.grant("onhand", changed(stock("h", 10), helmet.clone())).await;
    service.grant("allocation/allocate", changed(super::requests::allocation("b", "Store", 1), helmet)).await;
    assert_eq!(told(&mut back, 1).await[0]["data"]["productId"], "Helmet");
    assert_eq!(told(&mut other, 1).await[0]["data"]["productId"], "Helmet");
    service.stop().await;
}
