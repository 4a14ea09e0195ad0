//! What is old is forgotten: with the service's own role, and whatever others have locked.

use sqlx::{AssertSqlSafe, Executor};

use super::*;

/// Makes all that was told of a product older, in the database.
async fn age(connection: &mut PgConnection, product: &str, days: u32) {
    let statement = format!(
        "UPDATE notice SET happened_at = happened_at - interval '{days} days' WHERE product_id = '{product}';
         UPDATE delivery SET since = since - interval '{days} days' WHERE product_id = '{product}'"
    );
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
}

async fn texts(connection: &mut PgConnection, query: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(connection).await.unwrap()
}

/// Every delivery of a webhook, as `product state`.
async fn states(connection: &mut PgConnection, webhook: &str) -> Vec<String> {
    let query = format!(
        "SELECT DISTINCT product_id || ' ' || state FROM delivery WHERE webhook = '{webhook}' ORDER BY 1"
    );
    texts(connection, &query).await
}

/// A service that looks for what is old at once.
async fn again(service: Service) -> Service {
    let database = service.database.clone();
    service.stop().await;
    Service::start_on(database, &QUICK).await
}

#[tokio::test]
async fn what_is_old_is_forgotten_and_what_waits_for_too_long_is_given_up() {
    let service = service(&QUICK).await;
    let receiver =
        Receiver::answering(|message, _| if message.product().starts_with("Bad") { 500 } else { 200 }).await;
    service.hook("one", &receiver).await;
    let off = json!({"url": receiver.url, "enabled": false});
    assert_eq!(service.put("webhooks/off", &off).await.status, 200);
    for product in ["Old", "Young", "Bad31", "Bad91"] {
        service.run_low(product).await;
    }
    service.swing("Old", 1).await;
    service.swing("Young", 1).await;
    service.delivered("delivered", 6).await;
    service.delivered("dead", 2).await;
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    for (product, days) in [("Old", 31), ("Young", 29), ("Bad31", 31), ("Bad91", 91)] {
        age(&mut connection, product, days).await;
    }
    let service = again(service).await;
    eventually("what is old is gone from the one that is enabled", async || {
        states(&mut connection, "one").await == ["Bad31 dead", "Young delivered"]
    })
    .await;
    eventually("what waits for too long is given up", async || {
        states(&mut connection, "off").await == ["Bad31 dead", "Bad91 dead", "Old dead", "Young pending"]
    })
    .await;
    let dead = service.read("webhooks/off/deliveries?state=dead").await;
    let dead = dead.as_array().unwrap();
    assert_eq!(dead.len(), 5, "{dead:?}");
    for delivery in dead {
        assert_eq!(delivery["error"], "it has waited for 30 days, and is given up");
    }
    let lanes = "SELECT webhook || ' ' || product_id FROM lane ORDER BY 1";
    assert_eq!(
        texts(&mut connection, lanes).await,
        ["off Young"],
        "where nothing is pending there is no lane"
    );
    // A closed alert is gone with its time, an open one is not.
    let closed = service.read("alerts?state=closed").await;
    assert_eq!(closed.as_array().unwrap().len(), 1, "{closed}");
    assert_eq!(closed[0]["productId"], "Young");
    assert_eq!(service.open_alerts(4).await.len(), 4);
    // What was given up can be replayed, and is as new then.
    receiver.answer(|_, _| 200);
    let id = service.delivered("dead", 1).await.remove(0)["deliveryId"].clone();
    let replayed = service.send_empty(&format!("webhooks/one/deliveries/{id}/replay")).await;
    assert_eq!(replayed.json(), json!({"deliveries": 1}));
    service.delivered("delivered", 4).await;
    // In the end of what is old nothing is left but that.
    let later =
        "UPDATE delivery SET since = since - interval '91 days' WHERE webhook = 'off' AND state = 'dead'";
    connection.execute(later).await.unwrap();
    let service = again(service).await;
    let notices = "SELECT DISTINCT product_id FROM notice ORDER BY 1";
    eventually("notices are gone", async || texts(&mut connection, notices).await == ["Bad31", "Young"])
        .await;
    assert_eq!(states(&mut connection, "off").await, ["Young pending"]);
    assert_eq!(states(&mut connection, "one").await, ["Bad31 delivered", "Young delivered"]);
    service.stop().await;
}

#[tokio::test]
async fn whoever_forgets_waits_for_nobody() {
    let service = service(&QUICK).await;
    let off = json!({"url": "https://example.com/", "enabled": false});
    assert_eq!(service.put("webhooks/off", &off).await.status, 200);
    service.run_low("Replayed").await;
    service.run_low("Sent").await;
    service.run_low("Free").await;
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    for product in ["Replayed", "Sent", "Free"] {
        age(&mut connection, product, 31).await;
    }
    connection.execute("DELETE FROM delivery WHERE product_id = 'Replayed'").await.unwrap();
    let mut other = PgConnection::connect_with(&service.database).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    for statement in [
        "SELECT FROM notice WHERE product_id = 'Replayed' FOR KEY SHARE",
        "SELECT FROM lane WHERE product_id = 'Sent' FOR UPDATE",
    ] {
        transaction.execute(statement).await.unwrap();
    }
    let service = again(service).await;
    let left = async |connection: &mut PgConnection| states(connection, "off").await;
    eventually("what is free is given up", async || {
        left(&mut connection).await == ["Free dead", "Sent pending"]
    })
    .await;
    let notices = "SELECT product_id FROM notice ORDER BY 1";
    assert_eq!(texts(&mut connection, notices).await, ["Free", "Replayed", "Sent"]);
    transaction.rollback().await.unwrap();
    let service = again(service).await;
    eventually("so is the rest", async || left(&mut connection).await == ["Free dead", "Sent dead"]).await;
    eventually("and forgotten", async || texts(&mut connection, notices).await == ["Free", "Sent"]).await;
    service.stop().await;
}
