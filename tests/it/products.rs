//! Products are enabled for allocation, where the environment requires it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use super::load::{self, Client};
use super::requests::{
    JSON, all, allocation, changed, consumption, pointers, problem, reallocation, stock, without,
};
use super::support::{Answer, Service, bicycles, database, eventually};

const PATH: &str = "/api/environment/test/allocation/products";

fn requiring() -> Value {
    let mut document = bicycles();
    document["allocation"]["requireEnabledProducts"] = json!(true);
    document
}

fn product(name: &str, enabled: bool) -> Value {
    json!({"organizationId": "usmf", "productId": name, "enabled": enabled})
}

async fn put(service: &Service, products: Value) -> Answer {
    service.send(Method::PUT, PATH, &[JSON], products.to_string()).await
}

async fn switch(service: &Service, name: &str, enabled: bool) {
    let answer = put(service, json!([product(name, enabled)])).await;
    assert_eq!((answer.status, answer.json()), (200, json!([product(name, enabled)])));
}

async fn version(service: &Service) -> String {
    let answer = service.get("/api/environment/test/configuration").await;
    answer.header("etag").unwrap().to_owned()
}

#[tokio::test]
async fn only_what_leaves_the_pool_needs_an_enabled_product() {
    let service = Service::start().await;
    assert_eq!(service.configure(requiring()).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    let refused =
        service.refuse("allocation/allocate", allocation("a", "Online/VIP", 1), "product-not-enabled");
    let detail = refused.await["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("the product Bike of usmf is not enabled"), "{detail}");
    switch(&service, "Helmet", true).await;
    service.refuse("allocation/allocate", allocation("a", "Online/VIP", 1), "product-not-enabled").await;
    switch(&service, "Bike", true).await;
    let granted = service.grant("allocation/allocate", allocation("a", "Online/VIP", 6)).await;
    switch(&service, "Bike", false).await;
    service.refuse("allocation/allocate", allocation("b", "Online/VIP", 1), "product-not-enabled").await;
    let repeat = service.post("allocation/allocate", allocation("a", "Online/VIP", 6)).await;
    assert_eq!((repeat.json(), repeat.header("idempotent-replayed")), (granted, Some("true")));
    service.grant("allocation/reallocate", reallocation("c", "Online/VIP", "Online/Basic", 3)).await;
    service.grant("allocation/consume", consumption("d", "Online/VIP", 2)).await;
    service.grant("allocation/unallocate", allocation("e", "Online/VIP", 1)).await;
    service.grant("onhand", stock("more", 10)).await;
    // Each event is replayed with what was switched when it was decided.
    assert_eq!(service.verify().await, 6);
    // Where it is not required, it does not matter.
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("allocation/allocate", allocation("b", "Online/VIP", 1)).await;
    assert_eq!(service.verify().await, 7);
    service.stop().await;
}

#[tokio::test]
async fn another_instance_knows_at_once() {
    let database = database().await;
    let [first, second] =
        [Service::start_on(database.clone(), &[]).await, Service::start_on(database, &[]).await];
    assert_eq!(first.configure(requiring()).await.status, 200);
    second.grant("onhand", stock("stock", 10)).await;
    second.refuse("allocation/allocate", allocation("a", "Online/VIP", 1), "product-not-enabled").await;
    for round in 0..3 {
        switch(&first, "Bike", true).await;
        second.grant("allocation/allocate", allocation(&format!("on {round}"), "Online/VIP", 1)).await;
        switch(&first, "Bike", false).await;
        let late = allocation(&format!("off {round}"), "Online/VIP", 1);
        second.refuse("allocation/allocate", late, "product-not-enabled").await;
    }
    assert_eq!(second.verify().await, 4);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_allocated_behind_the_answer_that_a_product_is_disabled() {
    const STOCK: i64 = 1_000_000;
    let database = database().await;
    let services = [Service::start_on(database.clone(), &[]).await, Service::start_on(database, &[]).await];
    assert_eq!(services[0].configure(requiring()).await.status, 200);
    let clients = [Client::new(&services[0].base), Client::new(&services[1].base)];
    clients[0].done("onhand", load::on_hand("stock", "Bike", STOCK)).await;
    for round in 0..3 {
        switch(&services[round % 2], "Bike", true).await;
        let (disabled, granted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let allocators = (0..8).map(|number| {
            let (client, disabled) = (clients[number % 2].clone(), Arc::clone(&disabled));
            let granted = Arc::clone(&granted);
            async move {
                for count in 0.. {
                    let is_late = disabled.load(Ordering::SeqCst);
                    let body = load::allocation(&format!("{round} {number} {count}"), "Bike", 1);
                    let answer = client.settle("allocation/allocate", &body).await;
                    match answer.status {
                        200 => {
                            assert!(!is_late, "allocated behind the answer: {}", answer.text);
                            granted.fetch_add(1, Ordering::SeqCst);
                        }
                        _ => _ = problem(&answer, "product-not-enabled"),
                    }
                    if is_late {
                        break;
                    }
                }
            }
        });
        let allocators = tokio::spawn(all(allocators.collect::<Vec<_>>()));
        eventually("they allocate", async || granted.load(Ordering::SeqCst) > 50).await;
        switch(&services[(round + 1) % 2], "Bike", false).await;
        disabled.store(true, Ordering::SeqCst);
        allocators.await.unwrap();
    }
    services[0].verify().await;
    for service in services {
        service.stop().await;
    }
}

#[tokio::test]
async fn products_are_listed_whole_or_by_the_page() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    assert_eq!(service.get(PATH).await.json(), json!([]));
    let mut products: Vec<Value> = (0..1_200).map(|n| product(&format!("P{n:04}"), true)).collect();
    let before = version(&service).await;
    assert_eq!(put(&service, json!(products)).await.status, 200);
    let after = version(&service).await;
    assert_ne!(before, after, "every command has to notice");
    assert_eq!(put(&service, json!(products)).await.status, 200);
    assert_eq!(version(&service).await, after, "nothing changed");
    products[700]["enabled"] = json!(false);
    assert_eq!(put(&service, json!([products[700], product("never", false)])).await.status, 200);
    assert_eq!(service.get(PATH).await.json(), json!(products));
    let first = service.get(&format!("{PATH}?limit=800")).await;
    assert_eq!(first.json(), json!(products[..800]));
    let link = first.header("link").unwrap();
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    let second = service.get(&format!("{PATH}{next}")).await;
    assert_eq!((second.json(), second.header("link")), (json!(products[800..]), None));
    service.stop().await;
}

#[tokio::test]
async fn a_list_with_a_wrong_product_switches_none() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let (right, other) = (|| product("Bike", true), || product("Helmet", true));
    let rows = [
        (json!([right(), without(other(), "enabled")]), "invalid-request", "/1/enabled"),
        (json!([right(), changed(other(), json!({"productId": ""}))]), "invalid-request", "/1/productId"),
        (json!([right(), changed(other(), json!({"enabled": "yes"}))]), "invalid-request", "/1/enabled"),
        (json!([right(), product("Bike", false)]), "invalid-request", "/1"),
        (json!([right(), 7]), "invalid-request", "/1"),
        (json!([right(), changed(right(), json!({"color": "red"}))]), "unknown-property", "/1/color"),
        (json!(right()), "invalid-request", ""),
    ];
    for (products, code, pointer) in rows {
        let refused = problem(&put(&service, products).await, code);
        assert_eq!(pointers(&refused).first().map_or("", String::as_str), pointer, "{refused}");
    }
    assert_eq!(service.get(PATH).await.json(), json!([]));
    let upper = json!([{"ORGANIZATIONID": "usmf", "productid": "Bike", "Enabled": true}]);
    assert_eq!(put(&service, upper).await.json(), json!([right()]));
    service.stop().await;
}

#[tokio::test]
async fn an_erased_product_stays_enabled() {
    let service = Service::start_on(database().await, &["--allow-erasing"]).await;
    assert_eq!(service.configure(requiring()).await.status, 200);
    switch(&service, "Bike", true).await;
    service.grant("onhand", stock("stock", 10)).await;
    let path = "/api/environment/test/cleanupalldata";
    let erased = service.send(Method::DELETE, path, &[JSON], r#"["usmf/Bike"]"#).await;
    assert_eq!(erased.status, 200, "{}", erased.text);
    service.grant("onhand", stock("stock", 10)).await;
    service.grant("allocation/allocate", allocation("a", "Online/VIP", 1)).await;
    assert_eq!(service.verify().await, 2);
    service.stop().await;
}
