//! Watches and their alerts: each rule opens and closes one, in the API and nowhere else.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::requests::{
    JSON, allocation, changed, consumption, groups, pointers, problem, reallocation, red, stock,
};
use super::support::{Answer, Service, bicycles, eventually};

mod rolled_up;
mod sweeps;

const ENVIRONMENT: &str = "/api/environment/test";

impl Service {
    /// Sends JSON to a path of the environment `test`.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, &format!("{ENVIRONMENT}/{path}"), &[JSON], body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, &format!("{ENVIRONMENT}/{path}"), &[], "").await
    }

    /// What is at a path of the environment `test`.
    pub async fn read(&self, path: &str) -> Value {
        let answer = self.get(&format!("{ENVIRONMENT}/{path}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Makes a watch of everything.
    pub async fn watch(&self, name: &str, rule: Value) {
        let made = self.put(&format!("watches/{name}"), &json!({"rule": rule})).await;
        assert_eq!(made.status, 200, "{}", made.text);
    }

    /// Waits until so many alerts are open, and answers them.
    pub async fn open_alerts(&self, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        eventually(&format!("{count} alerts are open"), async || {
            found = self.read("alerts?state=open").await.as_array().unwrap().clone();
            found.len() == count
        })
        .await;
        found
    }

    /// Makes it later for what is known of the activity, by two hours.
    async fn make_later(&self) {
        let mut connection = PgConnection::connect_with(&self.database).await.unwrap();
        // Unmet demand may be in memory for another second, where what is lacking there changes nothing.
        eventually("all that happened is counted", async || {
            let counted = "SELECT reached_event_id >= (SELECT max(event_id) FROM ledger)
                                  AND NOT EXISTS (SELECT FROM unmet_demand)
                           FROM follower WHERE name = 'activity'";
            let counted: Option<bool> =
                sqlx::query_scalar(counted).fetch_optional(&mut connection).await.unwrap();
            counted == Some(true)
        })
        .await;
        for statement in [
            "UPDATE activity SET minute = minute - interval '2 hours'",
            "UPDATE activity_place SET minute = minute - interval '2 hours', first_minute = first_minute - interval '2 hours'",
        ] {
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    }
}

/// A service with 1,000 bicycles, and so many allocated to VIPs.
async fn service(allocated: i64) -> Service {
    let service = Service::with_stock(1_000).await;
    service.grant("allocation/allocate", allocation("first", "Online/VIP/US", allocated)).await;
    service
}

#[tokio::test]
async fn a_balance_that_runs_low_opens_an_alert_that_closes_when_it_is_filled() {
    let service = service(20).await;
    service.watch("Low", json!({"balanceAtOrBelow": 10, "clearAbove": 15})).await;
    service.grant("allocation/consume", consumption("a", "Online/VIP/US", 9)).await;
    service.grant("allocation/consume", consumption("b", "Online/VIP/US", 1)).await;
    let alert = service.open_alerts(1).await.remove(0);
    let expected = json!({
        "alertId": alert["alertId"], "sequence": alert["sequence"], "openedAt": alert["openedAt"],
        "watch": "low", "state": "open", "organizationId": "usmf", "productId": "Bike", "dimensions": red(),
        "groups": groups("Online/VIP/US"), "value": 10, "threshold": 10,
        "detail": "10 left; watched for 10 or less",
    });
    assert_eq!(alert, expected);
    // Between the two bounds nothing is told.
    service.grant("allocation/allocate", allocation("c", "Online/VIP/US", 5)).await;
    service.watch("other", json!({"balanceAtOrBelow": 15})).await;
    service.open_alerts(2).await;
    assert_eq!(service.read("alerts?watch=low").await[0], alert, "it stays as it is");
    service.grant("allocation/allocate", allocation("d", "Online/VIP/US", 1)).await;
    service.open_alerts(0).await;
    let closed = service.read("alerts?state=closed&watch=LOW").await;
    assert_eq!(closed.as_array().unwrap().len(), 1, "{closed}");
    let after = json!({
        "state": "closed", "closedAt": closed[0]["closedAt"], "sequence": closed[0]["sequence"], "value": 16,
        "detail": "16 left; clear above 15",
    });
    assert_eq!(closed[0], changed(alert.clone(), after));
    assert!(closed[0]["sequence"].as_i64() > alert["sequence"].as_i64());
    // The next one is another.
    service.grant("allocation/unallocate", allocation("e", "Online/VIP/US", 6)).await;
    let again = service.open_alerts(2).await;
    assert!(again.iter().all(|other| other["alertId"] != alert["alertId"]), "{again:?}");
    service.stop().await;
}

#[tokio::test]
async fn every_balance_at_or_below_the_group_path_of_a_watch_is_judged_by_itself() {
    let service = service(5).await;
    for (id, path) in [("a", "Online"), ("b", "Online/VIP/EU"), ("c", "Store")] {
        service.grant("allocation/allocate", allocation(id, path, 5)).await;
    }
    let low = json!({
        "groups": {"channel": "Online"}, "dimensions": {"siteId": "1"}, "rule": {"percentLeftAtOrBelow": 50}
    });
    assert_eq!(service.put("watches/half", &low).await.status, 200);
    let bulk: Vec<Value> = ["Online", "Online/VIP/EU", "Online/VIP/US", "Store"]
        .iter()
        .map(|path| consumption(path, path, 3))
        .collect();
    for line in bulk {
        service.grant("allocation/consume", line).await;
    }
    let alerts = service.open_alerts(3).await;
    assert!(
        alerts.iter().all(|alert| alert["groups"]["channel"] == "Online" && alert["value"] == 40),
        "{alerts:?}"
    );
    // A reallocation changes two.
    let body = reallocation("r", "Store", "Online/VIP/EU", 2);
    service.grant("allocation/reallocate", body).await;
    let alerts = service.open_alerts(2).await;
    assert!(alerts.iter().all(|alert| alert["groups"] != groups("Online/VIP/EU")), "{alerts:?}");
    service.stop().await;
}

#[tokio::test]
async fn a_node_without_enough_for_what_is_allocated_opens_an_alert_at_each_node_above() {
    let service = service(900).await;
    service.watch("over", json!({"overAllocated": true, "clearAtOrAbove": 10})).await;
    // The stock of the shop is corrected to less than what is set aside.
    service.grant("onhand", stock("gone", -200)).await;
    let alerts = service.open_alerts(2).await;
    let mut places: Vec<&Value> = alerts.iter().map(|alert| &alert["dimensions"]).collect();
    places.sort_by_key(|place| place.as_object().unwrap().len());
    assert_eq!(places, [&json!({"siteId": "1", "locationId": "11"}), &red()]);
    assert!(alerts.iter().all(|alert| alert["value"] == -100 && alert.get("groups").is_none()), "{alerts:?}");
    service.grant("onhand", stock("found", 109)).await;
    // What is judged behind that opens.
    service.grant("onhand", changed(stock("helmet", -1), json!({"productId": "Helmet"}))).await;
    eventually("the helmet is told of", async || {
        let alerts = service.read("alerts?state=open").await;
        alerts.as_array().unwrap().iter().any(|alert| alert["productId"] == "Helmet")
    })
    .await;
    let alerts = service.read("alerts?state=open").await;
    let of_bikes = alerts.as_array().unwrap().iter().filter(|alert| alert["productId"] == "Bike").count();
    assert_eq!(of_bikes, 2, "9 are not enough to be told that all is well");
    service.grant("onhand", changed(stock("helmets", 11), json!({"productId": "Helmet"}))).await;
    service.grant("onhand", stock("more", 1)).await;
    service.open_alerts(0).await;
    // A formula under which there is less makes no event, and is judged all the same.
    let mut document = bicycles();
    document["allocation"]["availableToAllocate"] = json!("0.5 * pos.inbound - @iv.@allocated");
    let answer = service.configure(document).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    service.open_alerts(2).await;
    service.stop().await;
}

#[tokio::test]
async fn what_will_be_gone_in_time_opens_an_alert_until_it_will_last() {
    let service = service(100).await;
    service.watch("soon", json!({"exhaustedWithinSeconds": 100_000})).await;
    service.grant("allocation/consume", consumption("a", "Online/VIP/US", 5)).await;
    let alert = service.open_alerts(1).await.remove(0);
    let seconds = alert["value"].as_f64().unwrap();
    // 95 are left, and 5 were consumed within an hour and a part of a minute.
    assert!((68_400.0..=69_540.0).contains(&seconds), "{alert}");
    service.grant("allocation/allocate", allocation("b", "Online/VIP/US", 400)).await;
    service.open_alerts(0).await;
    // What runs dry stays alarming, also when nothing can be consumed any more.
    service.grant("allocation/consume", consumption("c", "Online/VIP/US", 495)).await;
    service.open_alerts(1).await;
    service.make_later().await;
    service.watch("empty", json!({"balanceAtOrBelow": 0})).await;
    service.open_alerts(2).await;
    service.grant("allocation/allocate", allocation("d", "Online/VIP/US", 10)).await;
    service.open_alerts(0).await;
    service.stop().await;
}

#[tokio::test]
async fn what_nobody_consumes_for_a_time_opens_an_alert_until_somebody_does() {
    let service = service(100).await;
    service.watch("idle", json!({"idleForSeconds": 3600})).await;
    service.watch("all", json!({"balanceAtOrBelow": 1000})).await;
    service.open_alerts(1).await;
    assert_eq!(service.read("alerts?watch=idle").await, json!([]), "it only just came");
    service.make_later().await;
    let alerts = service.open_alerts(2).await;
    assert!(alerts.iter().any(|alert| alert["watch"] == "idle" && alert["value"] == 100), "{alerts:?}");
    service.grant("allocation/consume", consumption("a", "Online/VIP/US", 1)).await;
    service.open_alerts(1).await;
    service.stop().await;
}

#[tokio::test]
async fn demand_that_is_not_met_opens_an_alert_until_it_is_past() {
    let service = service(10).await;
    service.watch("unmet", json!({"unmetAbove": 5, "withinSeconds": 3600})).await;
    let asked = consumption("a", "Online/VIP/US", 16);
    service.refuse("allocation/consume", asked, "insufficient-allocation").await;
    // Also of a group path that never had anything.
    let asked = consumption("b", "Store", 6);
    service.refuse("allocation/consume", asked, "insufficient-allocation").await;
    let asked = consumption("c", "Online", 5);
    service.refuse("allocation/consume", asked, "insufficient-allocation").await;
    let alerts = service.open_alerts(2).await;
    let mut values: Vec<i64> = alerts.iter().map(|alert| alert["value"].as_i64().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, [6, 16], "{alerts:?}");
    service.make_later().await;
    service.open_alerts(0).await;
    service.stop().await;
}

#[tokio::test]
async fn a_watch_judges_what_is_there_and_takes_its_alerts_with_it() {
    let service = service(3).await;
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    service.open_alerts(1).await;
    service.watch("low", json!({"balanceAtOrBelow": 2})).await;
    service.open_alerts(0).await;
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    service.open_alerts(1).await;
    // It is about something else now.
    let other = json!({"productId": "Helmet", "rule": {"balanceAtOrBelow": 5}});
    assert_eq!(service.put("watches/low", &other).await.status, 200);
    service.open_alerts(0).await;
    assert_eq!(service.read("alerts?limit=1").await[0]["detail"], "it is not watched any more");
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    service.open_alerts(1).await;
    assert_eq!(service.delete("watches/low").await.status, 204);
    service.open_alerts(0).await;
    assert_eq!(service.read("alerts?limit=1").await[0]["detail"], "there is no such watch any more");
    assert_eq!(service.read("alerts").await.as_array().unwrap().len(), 3, "none was opened twice");
    service.stop().await;
}

#[tokio::test]
async fn an_erased_product_takes_its_alerts_with_it() {
    let database = super::support::database().await;
    let service = Service::start_on(database, &["--allow-erasing"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    service.grant("allocation/allocate", allocation("a", "Online", 3)).await;
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    let hook = json!({"url": "https://example.com/", "enabled": false});
    assert_eq!(service.put("webhooks/one", &hook).await.status, 200);
    service.open_alerts(1).await;
    let path = format!("{ENVIRONMENT}/partitions/cleanupalldata");
    let erased = service.send(Method::DELETE, &path, &[JSON], r#"["usmf/Bike"]"#).await;
    assert_eq!(erased.status, 200, "{}", erased.text);
    assert_eq!(service.read("alerts").await, json!([]));
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    for table in ["alert", "notice", "delivery", "lane"] {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let kept: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
        assert_eq!(kept, 0, "{table}");
    }
    service.stop().await;
}

#[tokio::test]
async fn watches_are_kept_shown_and_refused_in_words() {
    let service = service(1).await;
    let low = json!({
        "organizationId": "usmf", "productId": "Bike", "dimensions": {"siteId": "1"}, "groups": {"channel": "Online"},
        "rule": {"balanceAtOrBelow": 2.5, "clearAbove": 3}
    });
    let made = service.put("watches/Low", &low).await;
    assert_eq!((made.status, made.json()), (200, changed(low.clone(), json!({"name": "low"}))));
    let shown = service.read("watches/LOW").await;
    assert_eq!(shown, made.json());
    assert_eq!(service.put("watches/low", &shown).await.status, 200, "what is shown can be put");
    assert_eq!(service.read("watches").await, json!([shown]));
    for rule in [
        json!({"overAllocated": true, "clearAtOrAbove": 5}),
        json!({"unmetAbove": 5, "clearAtOrBelow": 2.5, "withinSeconds": 60}),
    ] {
        let made = service.put("watches/low", &json!({"rule": rule})).await;
        assert_eq!((made.status, &made.json()["rule"]), (200, &rule));
    }
    for (body, code, place) in [
        (json!({}), "invalid-request", "/rule"),
        (json!({"rule": {}}), "invalid-request", "/rule"),
        (json!({"rule": {"balanceAtOrBelow": "x"}}), "invalid-quantity", "/rule/balanceAtOrBelow"),
        (json!({"rule": {"balanceAtOrBelow": true}}), "invalid-request", "/rule/balanceAtOrBelow"),
        (json!({"rule": {"balanceBelow": 1}}), "unknown-property", "/rule/balanceBelow"),
        (json!({"rule": {"idleForSeconds": 1.5}}), "invalid-request", "/rule/idleForSeconds"),
        (json!({"name": "high", "rule": {"overAllocated": true}}), "invalid-request", "/name"),
        (json!({"groups": {"shop": "1"}, "rule": {"balanceAtOrBelow": 1}}), "unknown-group", "/groups/shop"),
        (
            json!({"dimensions": {"width": "1"}, "rule": {"balanceAtOrBelow": 1}}),
            "unknown-dimension",
            "/dimensions/width",
        ),
        (json!({"productId": "", "rule": {"balanceAtOrBelow": 1}}), "invalid-request", "/productId"),
    ] {
        let problem = problem(&service.put("watches/low", &body).await, code);
        assert_eq!(pointers(&problem), [place], "{body}");
    }
    problem(&service.put("watches/-low", &low).await, "invalid-request");
    problem(&service.get(&format!("{ENVIRONMENT}/watches/high")).await, "unknown-watch");
    problem(&service.delete("watches/high").await, "unknown-watch");
    problem(&service.get("/api/environment/nowhere/watches").await, "unknown-environment");
    problem(&service.get(&format!("{ENVIRONMENT}/alerts?state=ajar")).await, "invalid-request");
    problem(&service.get(&format!("{ENVIRONMENT}/alerts?watch=a%00")).await, "invalid-request");
    let after_nothing = format!(r"{ENVIRONMENT}/keys?after=%5B%22\u0000%22,%22%22%5D");
    problem(&service.get(&after_nothing).await, "invalid-request");
    problem(&service.get(&format!("{ENVIRONMENT}/alerts?watches=low")).await, "unknown-property");
    assert_eq!(service.delete("watches/low").await.status, 204);
    assert_eq!(service.read("watches").await, json!([]));
    service.stop().await;
}
