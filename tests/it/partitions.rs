//! Housekeeping: partitions are listed, and erased so that nothing remembers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::Method;
use ringfence::domain::name::Value as Name;
use ringfence::store::erasing::{self, Order, Partition};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::load::{self, Client};
use super::process::Program;
use super::requests::{JSON, all, allocation, changed, consumption, pointers, problem, stock};
use super::schedule::{change, later, scheduling, today};
use super::support::{Answer, Service, bicycles, database, service_url};

const ERASING: &[&str] = &["--allow-erasing"];

/// Every partition, as the one array that it is answered as.
async fn partitions(service: &Service) -> Value {
    let answer = service.get("/api/environment/test/allpartitionids").await;
    assert_eq!((answer.status, answer.header("link")), (200, None), "{}", answer.text);
    answer.json()
}

async fn clean_up(service: &Service, ids: Value) -> Answer {
    let path = "/api/environment/test/partitions/cleanupalldata";
    service.send(Method::DELETE, path, &[JSON], ids.to_string()).await
}

async fn erase(service: &Service, ids: Value) -> Value {
    let answer = clean_up(service, ids).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Two instances over one database; the first may erase.
async fn pair() -> [Service; 2] {
    let database = database().await;
    let first = Service::start_on(database.clone(), ERASING).await;
    assert_eq!(first.configure(bicycles()).await.status, 200);
    [first, Service::start_on(database, &[]).await]
}

async fn stop(services: impl IntoIterator<Item = Service>) {
    for service in services {
        service.stop().await;
    }
}

#[tokio::test]
async fn erasing_is_off_unless_the_service_was_started_with_it() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    for path in ["partitions/cleanupalldata", "cleanupalldata"] {
        let path = format!("/api/environment/test/{path}");
        let answer = service.send(Method::DELETE, &path, &[JSON], r#"["usmf/Bike"]"#).await;
        let refused = problem(&answer, "forbidden");
        assert!(refused["detail"].as_str().unwrap().contains("--allow-erasing"), "{refused}");
    }
    assert_eq!(service.books().await, before);
    assert_eq!(partitions(&service).await, json!(["usmf/Bike"]), "to list them does no harm");
    service.stop().await;
}

#[tokio::test]
async fn what_is_erased_is_gone_and_what_is_not_stays() {
    let service = Service::start_on(database().await, ERASING).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    service.grant("allocation/allocate", allocation("share", "Online/VIP", 4)).await;
    let modifiers = json!({"physicalMeasures": {"@iv": {"@softreserved": "Addition"}}});
    let order = changed(allocation("order", "Online/VIP", 1), modifiers);
    service.grant("allocation/consume", order).await;
    service.grant("onhand", changed(stock("helmet", 7), json!({"productId": "Helm/et 100%"}))).await;
    assert_eq!(partitions(&service).await, json!(["usmf/Bike", "usmf/Helm%2Fet 100%25"]));

    let erased = erase(&service, json!(["usmf/Bike", "usmf/Bike", "usmf/Nothing"])).await;
    let expected = json!({"partitions": 2, "stockNodes": 2, "balances": 1, "reservations": 1, "events": 3});
    assert_eq!(erased, expected);
    assert_eq!(partitions(&service).await, json!(["usmf/Helm%2Fet 100%25"]));
    assert_eq!(service.balances(json!({})).await, json!([]));
    assert_eq!(service.verify().await, 1);
    let again = erase(&service, json!(["usmf/Bike"])).await;
    assert_eq!(
        again,
        json!({"partitions": 1, "stockNodes": 0, "balances": 0, "reservations": 0, "events": 0})
    );

    // The ids mean nothing any more, so they can mean anything.
    let renewed = service.grant("onhand", stock("share", 3)).await;
    assert_eq!(renewed["version"], 1);
    let path = "/api/environment/test/cleanupalldata/";
    let all = service.send(Method::DELETE, path, &[JSON], partitions(&service).await.to_string()).await;
    assert_eq!((all.status, all.json()["events"].clone()), (200, json!(2)));
    assert_eq!((partitions(&service).await, service.verify().await), (json!([]), 0));
    assert_eq!(erase(&service, json!([])).await["partitions"], 0);
    service.stop().await;
}

#[tokio::test]
async fn what_was_scheduled_goes_with_its_product() {
    let service = Service::start_on(database().await, ERASING).await;
    assert_eq!(service.configure(scheduling(7)).await.status, 200);
    let days = [(later(today().await, 1), json!({"inbound": 5}))];
    service.grant("onhand/changeschedule", change("soon", &days)).await;
    erase(&service, json!(["usmf/Bike"])).await;
    // With the same id, as if the first had never been.
    service.grant("onhand/changeschedule", change("soon", &days)).await;
    assert_eq!(service.verify().await, 1);
    service.stop().await;
}

#[tokio::test]
async fn what_hinders_a_change_of_the_configuration_can_be_erased() {
    let service = Service::start_on(database().await, ERASING).await;
    let reordered = changed(bicycles(), json!({"dimensions": ["locationId", "siteId", "colorId", "sizeId"]}));
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    problem(&service.configure(reordered.clone()).await, "configuration-in-use");
    erase(&service, json!(["usmf/Bike"])).await;
    assert_eq!(service.configure(reordered).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    assert_eq!(service.verify().await, 1);
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_id_is_named_with_its_place_and_nothing_is_erased() {
    let service = Service::start_on(database().await, ERASING).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    let refused =
        problem(&clean_up(&service, json!(["usmf/Bike", "Bike", 7, "a/b/c"])).await, "invalid-request");
    assert_eq!(pointers(&refused), ["/1", "/2", "/3"]);
    let many: Vec<String> = (0..5_001).map(|number| format!("usmf/{number}")).collect();
    let refused = problem(&clean_up(&service, json!(many)).await, "invalid-request");
    assert!(refused["detail"].as_str().unwrap().contains("5001 lines, at most 5000"), "{refused}");
    problem(&clean_up(&service, json!({})).await, "invalid-request");
    assert_eq!(partitions(&service).await, json!(["usmf/Bike"]));
    service.stop().await;
}

#[tokio::test]
async fn partitions_are_listed_whole_or_by_the_page() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    assert_eq!(partitions(&service).await, json!([]));
    let mut expected = Vec::new();
    for organization in ["usmf", "demf"] {
        // More than are read at once.
        let lines: Vec<Value> = (0..600)
            .map(|number| {
                expected.push(format!("{organization}/P{number}"));
                let product = json!({"organizationId": organization, "productId": format!("P{number}")});
                changed(stock(&format!("{organization} {number}"), 1), product)
            })
            .collect();
        assert_eq!(service.post("onhand/bulk", json!(lines)).await.status, 200);
    }
    expected.sort();
    assert_eq!(partitions(&service).await, json!(expected));
    let (mut paged, mut query) = (Vec::new(), "?limit=500".to_owned());
    loop {
        let page = service.get(&format!("/api/environment/test/allpartitionids{query}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        paged.push(page.json().as_array().unwrap().len());
        assert_eq!(page.json()[0], json!(expected[paged.iter().sum::<usize>() - paged.last().unwrap()]));
        let Some(link) = page.header("link") else { break };
        query = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(paged, [500, 500, 200]);
    for (query, pointer) in [("limit=0", "/limit"), ("after=x", "/after"), ("after=[\"a\"]", "/after")] {
        let answer = service.get(&format!("/api/environment/test/allpartitionids?{query}")).await;
        assert_eq!(pointers(&problem(&answer, "invalid-request")), [pointer]);
    }
    let answer = service.get("/api/environment/test/allpartitionids?size=1").await;
    problem(&answer, "unknown-property");
    service.stop().await;
}

#[tokio::test]
async fn another_instance_answers_nothing_from_its_memory_of_what_was_erased() {
    let [first, second] = pair().await;
    second.grant("onhand", stock("stock", 10)).await;
    second.grant("allocation/allocate", allocation("x", "Online/VIP", 5)).await;
    assert_eq!(erase(&first, json!(["usmf/Bike"])).await["events"], 2);
    // As many events as there were: the stock has the versions again that it had.
    first.grant("onhand", stock("stock", 3)).await;
    let y = first.grant("allocation/allocate", allocation("y", "Online/VIP", 1)).await;
    assert_eq!(y["version"], 2);

    let short = second.refuse(
        "allocation/allocate",
        allocation("z", "Online/VIP", 4),
        "insufficient-available-to-allocate",
    );
    assert_eq!(short.await["available"], 2, "4 would have been there before");
    let repeated = second.refuse(
        "allocation/allocate",
        allocation("x", "Online/VIP", 5),
        "insufficient-available-to-allocate",
    );
    assert_eq!(repeated.await["available"], 2, "it is no repeat any more");
    let renewed = second.grant("allocation/allocate", allocation("x", "Online/VIP", 2)).await;
    assert_eq!((&renewed["version"], &renewed["availableToAllocate"]), (&json!(3), &json!(0)));
    assert_eq!(second.verify().await, 3);
    stop([first, second]).await;
}

#[tokio::test]
async fn the_first_that_another_instance_hears_of_an_erased_id_is_not_a_repeat() {
    for quantity in [5, 2] {
        let [first, second] = pair().await;
        second.grant("onhand", stock("stock", 10)).await;
        second.grant("allocation/allocate", allocation("x", "Online/VIP", 5)).await;
        erase(&first, json!(["usmf/Bike"])).await;
        first.grant("onhand", stock("stock", 7)).await;
        // The same meaning would be a repeat, and another one an error.
        let renewed = second.grant("allocation/allocate", allocation("x", "Online/VIP", quantity)).await;
        assert_eq!(renewed["availableToAllocate"], 7 - quantity);
        // And together with others, or not at all.
        erase(&first, json!(["usmf/Bike"])).await;
        let lines = json!([stock("stock", 3), stock("x", 1)]);
        let both = second.post("onhand/bulk?atomic=true", lines).await;
        assert_eq!((both.status, both.json()[1]["version"].clone()), (200, json!(2)), "{}", both.text);
        assert_eq!(second.verify().await, 2);
        stop([first, second]).await;
    }
}

/// As an instance leaves it that is killed when the stock is gone and the events are not.
async fn half_erase(service: &Service, product: &str) {
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let of = |text: &str| Name::parse(text).unwrap();
    let partition = Partition { organization: of("usmf"), product: of(product) };
    let erased = erasing::empty(&mut connection, "test", &[partition], Order::NodesFirst).await.unwrap();
    assert!(erased.stock_nodes > 0);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn what_was_erased_by_half_counts_as_gone_and_can_be_finished() {
    let service = Service::start_on(database().await, ERASING).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let lines: Vec<Value> = (0..20).map(|number| stock(&format!("stock {number}"), 1)).collect();
    assert_eq!(service.post("onhand/bulk", json!(lines)).await.status, 200);
    half_erase(&service, "Bike").await;
    assert_eq!(service.verify().await, 0);
    assert_eq!(partitions(&service).await, json!(["usmf/Bike"]), "it is not done yet");
    // Some of the ids are used again, side by side with new ones.
    let tasks = (10..30).map(|number| {
        let (client, url) = (service.client.clone(), format!("{}/api/environment/test/onhand", service.base));
        let body = stock(&format!("stock {number}"), 2);
        async move { client.post(url).json(&body).send().await.unwrap().status().as_u16() }
    });
    assert_eq!(all(tasks).await, [200; 20]);
    assert_eq!(service.verify().await, 20);
    // The old events of the other ids go, and nothing of the new stock.
    assert_eq!(erase(&service, json!([])).await["events"], 10);
    assert_eq!((partitions(&service).await, service.verify().await), (json!(["usmf/Bike"]), 20));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_two_instances_and_erasing_do_not_get_in_each_other_s_way() {
    const CLIENTS: usize = 16;
    const STOCK: u32 = 300;
    let services = pair().await;
    let clients = [Client::new(&services[0].base), Client::new(&services[1].base)];
    let (enough, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let consumers = (0..CLIENTS).map(|number| {
        let (client, enough) = (clients[number % 2].clone(), Arc::clone(&enough));
        let sent = Arc::clone(&sent);
        async move {
            let mut granted = 0;
            while !enough.load(Ordering::Relaxed) {
                let id = sent.fetch_add(1, Ordering::Relaxed).to_string();
                let answer = client.settle("allocation/consume", &load::consume(&id, "Bike", 1)).await;
                assert!([200, 409].contains(&answer.status), "{}", answer.text);
                granted += usize::from(answer.status == 200);
            }
            granted
        }
    });
    let consumers = tokio::spawn(all(consumers.collect::<Vec<_>>()));
    for round in 0..6 {
        let stocking = &clients[round % 2];
        stocking.settle("onhand", &load::on_hand("stock", "Bike", i64::from(STOCK))).await;
        let share = load::allocation("share", "Bike", STOCK);
        assert_eq!(stocking.settle("allocation/allocate", &share).await.status, 200);
        let before = sent.load(Ordering::Relaxed);
        super::support::eventually("consumes go on", async || sent.load(Ordering::Relaxed) > before + 100)
            .await;
        super::support::eventually("it is erased", async || {
            let erased = clients[0].send(Method::DELETE, "cleanupalldata", &json!(["usmf/Bike"])).await;
            let erased = erased.unwrap();
            assert!([200, 503].contains(&erased.status), "{}", erased.text);
            erased.status == 200
        })
        .await;
        assert_eq!(partitions(&services[1]).await, json!([]));
    }
    enough.store(true, Ordering::Relaxed);
    let granted: usize = consumers.await.unwrap().iter().sum();
    assert!(granted > 100, "{granted}");
    erase(&services[0], json!(["usmf/Bike"])).await;
    assert_eq!(services[0].verify().await, 0);

    // Every id can be used again, on whichever instance: exactly the stock is sold by them.
    clients[1].allocate_all("Bike", STOCK).await;
    let ids = sent.load(Ordering::Relaxed);
    assert!(ids > STOCK as usize);
    let again = (0..CLIENTS).map(|number| {
        let client = clients[1 - number % 2].clone();
        async move {
            let mut granted = 0;
            for id in (number..ids).step_by(CLIENTS) {
                let body = load::consume(&id.to_string(), "Bike", 1);
                let answer = client.settle("allocation/consume", &body).await;
                match answer.status {
                    200 => granted += 1,
                    _ => assert_eq!(answer.json()["available"], 0, "{}", answer.text),
                }
            }
            granted
        }
    });
    assert_eq!(all(again).await.iter().sum::<u32>(), STOCK);
    assert_eq!(clients[0].balance("Bike").await, (0, u64::from(STOCK)));
    assert_eq!(services[0].verify().await, STOCK as usize + 2);
    stop(services).await;
}

#[tokio::test]
async fn what_is_erased_is_in_the_log_with_the_request_s_id() {
    let database = database().await;
    let program = Program::serve(&["--database-url", &service_url(&database), "--allow-erasing"]).await;
    let client = Client::new(&program.base);
    client.configure().await;
    client.done("onhand", load::on_hand("stock", "Bike", 1)).await;
    let url = format!("{}/api/environment/test/cleanupalldata", program.base);
    let request = reqwest::Client::new().delete(url).header("x-request-id", "the caller's own");
    assert_eq!(request.json(&json!(["usmf/Bike"])).send().await.unwrap().status(), 200);
    super::process::signal("TERM", program.pid);
    let logged = program.end().await.stderr;
    let line = logged.lines().find(|line| line.contains(r#"partitions="usmf/Bike""#)).unwrap_or_default();
    for part in [r#"request="the caller's own""#, "environment=test", "stock_nodes=2"] {
        assert!(line.contains(part), "{part} is not in {line:?} of {logged}");
    }
    let events = logged.lines().find(|line| line.contains("events=1")).unwrap_or_default();
    assert!(events.contains(r#"request="the caller's own""#), "{logged}");
}

#[tokio::test]
async fn consumes_that_are_repeated_after_an_erasure_elsewhere_are_judged_afresh() {
    let [first, second] = pair().await;
    for service in [&second, &first] {
        service.grant("onhand", stock("stock", 10)).await;
        service.grant("allocation/allocate", allocation("share", "Online/VIP", 5)).await;
        let sold = service.grant("allocation/consume", consumption("sold", "Online/VIP", 2)).await;
        assert_eq!(sold["version"], 3);
        let repeat = service.post("allocation/consume", consumption("sold", "Online/VIP", 2)).await;
        assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
        erase(&first, json!(["usmf/Bike"])).await;
        let nothing = consumption("sold", "Online/VIP", 2);
        let refused = second.refuse("allocation/consume", nothing, "insufficient-allocation").await;
        assert_eq!(refused["available"], 0);
    }
    stop([first, second]).await;
}
