//! Demand that was not met: what is refused for lack of stock is counted, once, and nothing else is.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::analytics::ask;
use super::requests::{JSON, allocation, changed, consumption, reallocation, stock};
use super::support::{Service, database, eventually};

/// The unmet quantity and count of each group path, once everything was handed on: `VIP 3 2`.
async fn unmet(service: &Service) -> Vec<String> {
    let answer = ask(service, "").await;
    let shown = |record: &Value| {
        let groups =
            record["groups"].as_object().unwrap().values().map(|value| value.as_str().unwrap().to_owned());
        let path = groups.collect::<Vec<_>>().join("/");
        format!(
            "{} {path} {} {}",
            record["productId"].as_str().unwrap(),
            record["unmetQuantity"],
            record["unmetCount"]
        )
    };
    let records = answer.json().as_array().unwrap().clone();
    records.iter().filter(|record| record["unmetCount"] != json!(0)).map(shown).collect()
}

async fn eventually_unmet(service: &Service, expected: &[&str]) {
    let mut found = Vec::new();
    eventually(&format!("{expected:?} is counted"), async || {
        found = unmet(service).await;
        found == expected
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_for_lack_of_stock_is_counted_and_nothing_else() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("share", "Online/VIP", 4)).await;
    service.grant("allocation/consume", consumption("sold", "Online/VIP", 1)).await;
    // Others that are refused want no stock, or are wrong.
    service
        .refuse("allocation/unallocate", allocation("a", "Online/VIP", 9), "insufficient-allocation")
        .await;
    let body = reallocation("b", "Online/VIP", "Shop", 9);
    service.refuse("allocation/reallocate", body, "insufficient-allocation").await;
    service.refuse("allocation/consume", allocation("c", "Online/VIP", 1), "consumption-not-neutral").await;
    service.refuse("allocation/allocate", allocation("d", "Online/VIP", -1), "invalid-quantity").await;
    service.refuse("allocation/allocate", allocation("sold", "Online/VIP", 99), "id-reused").await;
    service
        .refuse("allocation/consume", consumption("e", "Online/VIP", "5.5"), "insufficient-allocation")
        .await;
    service.refuse("allocation/consume", consumption("f", "Shop", 2), "insufficient-allocation").await;
    service
        .refuse("allocation/allocate", allocation("g", "Shop", 7), "insufficient-available-to-allocate")
        .await;
    // Of what there never was, nothing is left behind.
    let unknown = changed(consumption("h", "Shop", 2), json!({"productId": "Unknown"}));
    service.refuse("allocation/consume", unknown, "insufficient-allocation").await;
    eventually_unmet(&service, &["Bike Online/VIP 5.5 1", "Bike Shop 9 2"]).await;
    service.stop().await;
}

#[tokio::test]
async fn an_id_that_is_tried_again_counts_once() {
    let service = Service::with_stock(10).await;
    for _ in 0..5 {
        service
            .refuse("allocation/consume", consumption("again", "Shop", 2), "insufficient-allocation")
            .await;
    }
    eventually_unmet(&service, &["Bike Shop 2 1"]).await;
    service.refuse("allocation/consume", consumption("again", "Shop", 2), "insufficient-allocation").await;
    // The demand was there, though it is met now.
    service.grant("allocation/allocate", allocation("share", "Shop", 2)).await;
    service.grant("allocation/consume", consumption("again", "Shop", 2)).await;
    service.refuse("allocation/consume", consumption("another", "Shop", 1), "insufficient-allocation").await;
    eventually_unmet(&service, &["Bike Shop 3 2"]).await;
    service.stop().await;
}

#[tokio::test]
async fn what_was_counted_last_is_written_when_the_service_stops_and_what_was_never_is_gone_with_a_product() {
    let database = database().await;
    let service = Service::start_on(database.clone(), &["--allow-erasing"]).await;
    assert_eq!(service.configure(super::support::bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 1)).await;
    service.refuse("allocation/consume", consumption("last", "Shop", 2), "insufficient-allocation").await;
    service.stop().await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let written = "SELECT (SELECT count(*) FROM unmet_demand) + (SELECT count(*) FROM activity_place)";
    let count: i64 = sqlx::query_scalar(written).fetch_one(&mut connection).await.unwrap();
    assert_eq!(count, 1);
    let service = Service::start_on(database, &["--allow-erasing"]).await;
    eventually_unmet(&service, &["Bike Shop 2 1"]).await;
    let path = "/api/environment/test/cleanupalldata";
    assert_eq!(service.send(Method::DELETE, path, &[JSON], r#"["usmf/Bike"]"#).await.status, 200);
    let count: i64 = sqlx::query_scalar(written).fetch_one(&mut connection).await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM activity").fetch_one(&mut connection).await.unwrap();
    assert_eq!((count, rows), (0, 0));
    service.stop().await;
}
