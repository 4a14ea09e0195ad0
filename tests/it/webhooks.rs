//! Webhooks: what is delivered, how it is signed, what becomes of what is not taken.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::metrics::{scrape, value};
use super::receiver::{Message, NEVER, Receiver};
use super::requests::{JSON, allocation, changed, pointers, problem, stock};
use super::support::{Service, bicycles, database, eventually};

mod bounds;
mod forgetting;
mod retries;
mod secure;
mod tarpits;

/// Settings under which failures are over soon, and who answers late because the machine is busy has not failed.
const QUICK: [&str; 7] = [
    "--allow-private-webhooks",
    "--webhook-time-max-ms",
    "30000",
    "--webhook-retry-ms",
    "20",
    "--webhook-attempts-max",
    "3",
];

/// A service that watches for balances of 5 or less.
async fn service(arguments: &[&str]) -> Service {
    let service = Service::start_on(database().await, arguments).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.watch("low", json!({"balanceAtOrBelow": 5})).await;
    service
}

impl Service {
    /// Makes a webhook, and answers its secret.
    async fn hook(&self, name: &str, receiver: &Receiver) -> String {
        let made = self.put(&format!("webhooks/{name}"), &json!({"url": receiver.url})).await;
        assert_eq!(made.status, 200, "{}", made.text);
        made.json()["secret"].as_str().unwrap().to_owned()
    }

    /// Lets a product have so few that an alert opens.
    async fn run_low(&self, product: &str) {
        let of = json!({"productId": product});
        self.grant("onhand", changed(stock(&format!("stock {product}"), 100), of.clone())).await;
        let body = changed(allocation(&format!("share {product}"), "Online", 1), of);
        self.grant("allocation/allocate", body).await;
        self.follows(product, true).await;
    }

    /// Waits until an alert of a product is open, or is not.
    async fn follows(&self, product: &str, is_open: bool) {
        eventually(&format!("an alert of {product} is open: {is_open}"), async || {
            let open = self.read("alerts?state=open").await;
            open.as_array().unwrap().iter().any(|alert| alert["productId"] == product) == is_open
        })
        .await;
    }

    /// Gives a product so much that its alert closes, and takes it away again.
    async fn swing(&self, product: &str, round: usize) {
        let of = json!({"productId": product});
        for (path, name) in [("allocation/allocate", "up"), ("allocation/unallocate", "down")] {
            let body = allocation(&format!("{name} {product} {round}"), "Online", 10);
            self.grant(path, changed(body, of.clone())).await;
            self.follows(product, name == "down").await;
        }
    }

    async fn deliveries(&self, query: &str) -> Vec<Value> {
        self.read(&format!("webhooks/one/deliveries{query}")).await.as_array().unwrap().clone()
    }

    /// Waits until so many deliveries are in a state.
    async fn delivered(&self, state: &str, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        eventually(&format!("{count} deliveries are {state}"), async || {
            found = self.deliveries(&format!("?state={state}")).await;
            found.len() == count
        })
        .await;
        found
    }
}

fn kinds(messages: &[Message]) -> Vec<String> {
    messages.iter().map(Message::kind).collect()
}

#[tokio::test]
async fn a_message_is_signed_and_says_what_the_alert_says() {
    let service = service(&QUICK).await;
    let receiver = Receiver::start().await;
    let secret = service.hook("One", &receiver).await;
    service.run_low("Bike").await;
    let delivery = service.delivered("delivered", 1).await.remove(0);
    let [message] = &receiver.messages()[..] else { panic!("{:?}", receiver.messages()) };
    assert_eq!(message.path, "/hook?key=1");
    assert_eq!(message.header("content-type"), "application/json");
    assert_eq!(message.header("host"), format!("127.0.0.1:{}", receiver.port));
    assert!(message.is_signed_with(&secret), "{message:?}");
    assert_eq!(message.headers.get("traceparent"), None, "there are no traces");
    assert!(!message.is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="));
    let alert = service.read("alerts").await[0].clone();
    let expected = json!({"type": "alert.opened", "timestamp": alert["openedAt"], "data": alert});
    assert_eq!(message.json(), expected);
    let seconds: i64 = message.header("webhook-timestamp").parse().unwrap();
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let now: i64 = sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!((now - 60..=now).contains(&seconds), "{seconds} is not about {now}");
    let shown = json!({
        "deliveryId": alert["sequence"], "messageId": message.id(), "state": "delivered", "attempts": 1,
        "attemptedAt": delivery["attemptedAt"], "status": 204, "message": message.json(),
    });
    assert_eq!(delivery, shown);
    service.swing("Bike", 1).await;
    service.delivered("delivered", 3).await;
    let messages = receiver.messages();
    assert_eq!(kinds(&messages), ["alert.opened", "alert.closed", "alert.opened"]);
    let ids: std::collections::BTreeSet<&str> = messages.iter().map(Message::id).collect();
    assert_eq!(ids.len(), 3, "each message has a name of its own");
    service.stop().await;
}

#[tokio::test]
async fn a_secret_is_shown_once_and_the_old_one_signs_beside_the_new() {
    let service = service(&QUICK).await;
    let receiver = Receiver::start().await;
    let old = service.hook("one", &receiver).await;
    let new = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let with = |secret: &str| json!({"url": receiver.url, "secret": secret});
    let put = service.put("webhooks/one", &with(new)).await;
    assert_eq!((put.status, put.json()), (200, json!({"name": "one", "url": receiver.url, "enabled": true})));
    let again = service.put("webhooks/one", &with(new)).await;
    assert_eq!(again.status, 200, "the same again is no third one");
    for path in ["webhooks/one", "webhooks", "webhooks/one/deliveries"] {
        let shown = service.read(path).await.to_string();
        assert!(!shown.contains("whsec_"), "{path}: {shown}");
    }
    service.run_low("Bike").await;
    service.delivered("delivered", 1).await;
    let message = receiver.messages().remove(0);
    assert!(message.is_signed_with(new) && message.is_signed_with(&old), "{message:?}");
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let later = "UPDATE webhook SET old_secret_until = now() - interval '1 second'";
    sqlx::query(later).execute(&mut connection).await.unwrap();
    service.run_low("Helmet").await;
    service.delivered("delivered", 2).await;
    let message = receiver.messages().remove(1);
    assert!(message.is_signed_with(new) && !message.is_signed_with(&old), "{message:?}");
    service.stop().await;
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_under_the_same_id_until_it_is() {
    let mut quick = QUICK;
    // For as long the second is waited for.
    quick[2] = "3000";
    let service = service(&quick).await;
    let receiver = Receiver::answering(|_, before| [500, NEVER, 200][before.min(2)]).await;
    let secret = service.hook("one", &receiver).await;
    service.run_low("Bike").await;
    let delivery = service.delivered("delivered", 1).await.remove(0);
    assert_eq!((&delivery["attempts"], delivery.get("error")), (&json!(3), None));
    let messages = receiver.messages();
    assert_eq!(messages.len(), 3);
    for message in &messages {
        assert_eq!((message.id(), &message.body), (messages[0].id(), &messages[0].body));
        assert!(message.is_signed_with(&secret));
    }
    service.stop().await;
}

#[tokio::test]
async fn a_product_that_fails_holds_up_itself_and_nobody_else() {
    let service = service(&QUICK).await;
    let receiver = Receiver::answering(|message, _| if message.product() == "Bad" { 503 } else { 200 }).await;
    service.hook("one", &receiver).await;
    service.run_low("Bad").await;
    service.run_low("Good").await;
    service.swing("Bad", 1).await;
    service.swing("Good", 1).await;
    eventually("the good one has all", async || receiver.of("Good").len() == 3).await;
    // Each was tried three times, one after the other, and is dead.
    let dead = service.delivered("dead", 3).await;
    assert!(dead.iter().all(|delivery| delivery["status"] == 503 && delivery["attempts"] == 3), "{dead:?}");
    assert_eq!(dead[0]["error"], "answered 503");
    let ids: Vec<String> = receiver.of("Bad").iter().map(|message| message.id().to_owned()).collect();
    let order: Vec<&str> =
        dead.iter().rev().map(|delivery| delivery["messageId"].as_str().unwrap()).collect();
    let expected: Vec<&str> = order.iter().flat_map(|id| [*id; 3]).collect();
    assert_eq!(ids, expected, "no message is sent before the one before it is done with");
    let opened: Vec<String> = ["opened", "closed", "opened"].map(|kind| format!("alert.{kind}")).to_vec();
    assert_eq!(kinds(&receiver.of("Good")), opened);
    service.stop().await;
}

#[tokio::test]
async fn what_is_dead_or_delivered_can_be_replayed() {
    let service = service(&QUICK).await;
    let receiver = Receiver::answering(|_, _| 500).await;
    service.hook("one", &receiver).await;
    for product in ["A", "B"] {
        service.run_low(product).await;
    }
    let dead = service.delivered("dead", 2).await;
    receiver.answer(|_, _| 200);
    let id = &dead[1]["deliveryId"];
    let replayed = service.send_empty(&format!("webhooks/one/deliveries/{id}/replay")).await;
    assert_eq!((replayed.status, replayed.json()), (200, json!({"deliveries": 1})));
    let delivered = service.delivered("delivered", 1).await;
    assert_eq!((&delivered[0]["messageId"], &delivered[0]["attempts"]), (&dead[1]["messageId"], &json!(1)));
    assert_eq!(service.deliveries("?state=dead").await.len(), 1);
    // A webhook that came later gets what was before it too, in order.
    let other = Receiver::start().await;
    let made = service.put("webhooks/two", &json!({"url": other.url})).await;
    assert_eq!(made.status, 200);
    let all = service.post("webhooks/two/replay", json!({"from": "2020-01-01T00:00:00Z"})).await;
    assert_eq!((all.status, all.json()), (200, json!({"deliveries": 2})));
    eventually("it has both", async || other.messages().len() == 2).await;
    let none = json!({"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"});
    assert_eq!(service.post("webhooks/one/replay", none).await.json(), json!({"deliveries": 0}));
    let all = service.post("webhooks/one/replay", json!({"from": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(all.json(), json!({"deliveries": 2}));
    service.delivered("delivered", 2).await;
    for (path, code) in [
        ("webhooks/one/deliveries/999999/replay", "unknown-delivery"),
        ("webhooks/one/deliveries/x/replay", "unknown-delivery"),
        ("webhooks/none/deliveries/1/replay", "unknown-webhook"),
    ] {
        problem(&service.send_empty(path).await, code);
    }
    service.stop().await;
}

impl Service {
    async fn send_empty(&self, path: &str) -> super::support::Answer {
        self.send(Method::POST, &format!("/api/environment/test/{path}"), &[], "").await
    }
}

#[tokio::test]
async fn a_webhook_that_is_disabled_or_gone_gets_nothing_until_it_is_enabled() {
    let service = service(&QUICK).await;
    let receiver = Receiver::answering(|_, _| 410).await;
    service.hook("one", &receiver).await;
    service.run_low("A").await;
    eventually("it is disabled", async || service.read("webhooks/one").await["enabled"] == false).await;
    let why = service.read("webhooks/one").await["disabledBecause"].as_str().unwrap().to_owned();
    assert!(why.starts_with("it answered 410 Gone at 20"), "{why}");
    service.run_low("B").await;
    service.delivered("pending", 2).await;
    assert_eq!(receiver.messages().len(), 1, "it is not asked again");
    receiver.answer(|_, _| 200);
    let enabled = service.put("webhooks/one", &json!({"url": receiver.url})).await;
    assert_eq!(enabled.json(), json!({"name": "one", "url": receiver.url, "enabled": true}));
    service.delivered("delivered", 2).await;
    let paused = service.put("webhooks/one", &json!({"url": receiver.url, "enabled": false})).await;
    assert_eq!(paused.status, 200);
    service.run_low("C").await;
    service.delivered("pending", 1).await;
    // Only what was asked for is sent.
    let only = json!({"url": receiver.url, "watches": ["Other"]});
    let other = service.put("webhooks/one", &only).await;
    assert_eq!(other.json()["watches"], json!(["other"]));
    service.delivered("delivered", 3).await;
    service.run_low("D").await;
    service.open_alerts(4).await;
    service.watch("other", json!({"balanceAtOrBelow": 5})).await;
    service.open_alerts(8).await;
    service.delivered("delivered", 7).await;
    assert_eq!(service.delete("webhooks/one").await.status, 204);
    problem(&service.get("/api/environment/test/webhooks/one/deliveries").await, "unknown-webhook");
    service.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let service = service(&QUICK).await;
    let receiver = Receiver::answering(|_, _| 307).await;
    service.hook("one", &receiver).await;
    service.run_low("Bike").await;
    let dead = service.delivered("dead", 1).await;
    assert_eq!((&dead[0]["status"], &dead[0]["error"]), (&json!(307), &json!("answered 307")));
    assert!(receiver.messages().iter().all(|message| message.path == "/hook?key=1"));
    service.stop().await;
}

#[tokio::test]
async fn private_addresses_are_refused_as_they_are_and_by_any_name() {
    let arguments = &QUICK[1..];
    let service = service(arguments).await;
    let receiver = Receiver::start().await;
    for url in [
        &*receiver.url,
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "http://example.com/",
    ] {
        let refused = problem(&service.put("webhooks/one", &json!({"url": url})).await, "invalid-request");
        assert_eq!(pointers(&refused), ["/url"], "{url}");
        assert!(refused["detail"].as_str().unwrap().contains("--allow-private-webhooks"), "{refused}");
    }
    // A name is what it stands for when it is connected to.
    let by_name = json!({"url": format!("https://localhost:{}/", receiver.port)});
    let made = service.put("webhooks/one", &by_name).await;
    assert_eq!(made.status, 200, "{}", made.text);
    service.run_low("Bike").await;
    let dead = service.delivered("dead", 1).await;
    let error = dead[0]["error"].as_str().unwrap();
    assert!(
        error.starts_with("the host has the address ") && error.contains("a loopback address"),
        "{error}"
    );
    // What was allowed once is not for ever.
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    sqlx::query("UPDATE webhook SET url = $1").bind(&receiver.url).execute(&mut connection).await.unwrap();
    service.run_low("Helmet").await;
    let dead = service.delivered("dead", 2).await;
    assert!(
        dead[0]["error"].as_str().unwrap().starts_with("the address must begin with https://"),
        "{dead:?}"
    );
    assert_eq!(receiver.messages().len(), 0);
    service.stop().await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let service = service(&QUICK).await;
    let receiver = Receiver::start().await;
    let made =
        service.put("webhooks/one", &json!({"url": format!("https://localhost:{}/", receiver.port)})).await;
    assert_eq!(made.status, 200);
    service.run_low("Bike").await;
    let dead = service.delivered("dead", 1).await;
    let error = dead[0]["error"].as_str().unwrap();
    assert!(error.starts_with("no secure connection: "), "{error}");
    service.stop().await;
}

#[tokio::test]
async fn webhooks_are_kept_shown_and_refused_in_words() {
    let service = service(&QUICK).await;
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let given =
        json!({"url": "https://example.com/", "watches": ["Low"], "enabled": false, "secret": secret});
    let made = service.put("webhooks/One", &given).await;
    let shown = json!({"name": "one", "url": "https://example.com/", "watches": ["low"], "enabled": false});
    assert_eq!((made.status, made.json()), (200, shown.clone()), "who gives a secret knows it");
    assert_eq!(service.read("webhooks").await, json!([shown]));
    assert_eq!(service.put("webhooks/one", &shown).await.json(), shown, "what is shown can be put");
    for (body, code, place) in [
        (json!({}), "invalid-request", "/url"),
        (json!({"url": 7}), "invalid-request", "/url"),
        (json!({"url": "ftp://example.com"}), "invalid-request", "/url"),
        (json!({"url": "https://example.com", "secret": "whsec_short"}), "invalid-request", "/secret"),
        (json!({"url": "https://example.com", "watches": ["a b"]}), "invalid-request", "/watches"),
        (json!({"url": "https://example.com", "address": 1}), "unknown-property", "/address"),
    ] {
        let problem = problem(&service.put("webhooks/one", &body).await, code);
        assert_eq!(pointers(&problem), [place], "{body}");
    }
    problem(&service.delete("webhooks/two").await, "unknown-webhook");
    problem(&service.get("/api/environment/test/webhooks/two").await, "unknown-webhook");
    let none = service.send(Method::POST, "/api/environment/test/webhooks/one/replay", &[JSON], "{}").await;
    assert_eq!(pointers(&problem(&none, "invalid-request")), ["/from"]);
    service.stop().await;
}

#[tokio::test]
async fn what_is_due_and_what_is_dead_is_measured() {
    let receiver = Receiver::answering(|_, _| 503).await;
    let service = service(&QUICK).await;
    service.hook("one", &receiver).await;
    service.run_low("A").await;
    service.delivered("dead", 1).await;
    // To look takes a second at most, and a busy machine may need more.
    eventually("one is dead, and none is due", async || {
        let text = scrape(&service).await;
        let measured = |state| value(&text, "ringfence_webhook_deliveries", &[state]);
        (measured("state=\"dead\""), measured("state=\"due\"")) == (1.0, 0.0)
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_slow_receiver_is_due() {
    let receiver = Receiver::answering(|_, _| NEVER).await;
    let arguments = ["--allow-private-webhooks", "--webhook-time-max-ms", "60000"];
    let service = service(&arguments).await;
    service.hook("one", &receiver).await;
    // Eight are sent at once, to one that does not answer.
    for product in 0..10 {
        service.run_low(&format!("P{product}")).await;
    }
    eventually("two are due", async || {
        let text = scrape(&service).await;
        value(&text, "ringfence_webhook_deliveries", &["state=\"due\""]) == 2.0
            && value(&text, "ringfence_webhook_overdue_seconds", &[]) > 0.5
    })
    .await;
    service.stop().await;
}
