//! Clients from outside, and the requests that they send.

use std::time::{Duration, Instant};

use reqwest::{Method, Result};
use serde_json::{Value, json};

use super::support::{Answer, bicycles, eventually};

/// A client of one service, in the environment `test`.
#[derive(Clone)]
pub struct Client {
    pub base: String,
    http: reqwest::Client,
}

impl Client {
    pub fn new(base: &str) -> Client {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Client { base: base.to_owned(), http }
    }

    /// A client that has a connection for each request.
    pub fn of_short_connections(base: &str) -> Client {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(0);
        Client { base: base.to_owned(), http: http.build().unwrap() }
    }

    /// Sends a request; the answer may get lost.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        let url = format!("{}/api/environment/test/{path}", self.base);
        let response = self.http.request(method, url).json(body).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, body).await
    }

    /// Sends a command that must be done, however busy the machine is.
    pub async fn done(&self, path: &str, body: Value) -> Answer {
        let answer = self.settle(path, &body).await;
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text);
        answer
    }

    /// Sends a command until it is known what became of it.
    pub async fn settle(&self, path: &str, body: &Value) -> Answer {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.post(path, body).await;
            match answer {
                Ok(answer) if answer.status != 503 => return answer,
                Ok(answer) if answer.header("retry-after").is_none() => panic!("{}", answer.text),
                unknown => assert!(Instant::now() < deadline, "not within 30 s: {path} {body}: {unknown:?}"),
            }
            back_off().await;
        }
    }

    /// Configures the environment.
    pub async fn configure(&self) {
        self.configure_with(&bicycles()).await;
    }

    /// Configures the environment by a document.
    pub async fn configure_with(&self, document: &Value) {
        eventually("it is configured", async || {
            let answer = self.send(Method::PUT, "configuration", document).await.unwrap();
            assert!([200, 503].contains(&answer.status), "{}", answer.text);
            answer.status == 200
        })
        .await;
    }

    /// Puts stock of a product on hand and allocates all of it: two events.
    pub async fn allocate_all(&self, product: &str, quantity: u32) {
        // Where an exchange with the database has little time, a busy machine may need more.
        let stock = on_hand(&format!("stock-{product}"), product, i64::from(quantity));
        let share = allocation(&format!("share-{product}"), product, quantity);
        for (path, body) in [("onhand", stock), ("allocation/allocate", share)] {
            let answer = self.settle(path, &body).await;
            assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text);
        }
    }

    /// What the one balance of a product holds: allocated and consumed.
    pub async fn balance(&self, product: &str) -> (u64, u64) {
        let query = json!({"organizationId": "usmf", "productId": product, "dimensions": place()});
        let answer = self.settle("allocation/query", &query).await.json();
        let quantities = &answer[0]["quantities"]["@iv"];
        (quantities["@allocated"].as_u64().unwrap(), quantities["@consumed"].as_u64().unwrap())
    }
}

/// How long a client waits before it sends again what was not answered.
pub async fn back_off() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

pub fn place() -> Value {
    json!({"siteId": "1", "locationId": "11", "colorId": "red"})
}

/// An on-hand change at [`place`].
pub fn on_hand(id: &str, product: &str, delta: i64) -> Value {
    json!({
        "id": id, "organizationId": "usmf", "productId": product, "dimensions": place(),
        "quantities": {"pos": {"inbound": delta}},
    })
}

/// An allocation at [`place`] to the group path Online/VIP, or what takes it back.
pub fn allocation(id: &str, product: &str, quantity: u32) -> Value {
    json!({
        "id": id, "organizationId": "usmf", "productId": product, "dimensions": place(),
        "groups": {"channel": "Online", "customerGroup": "VIP"}, "quantity": quantity,
    })
}

/// A consume of what [`allocation`] gave.
pub fn consume(id: &str, product: &str, quantity: u32) -> Value {
    let mut body = allocation(id, product, quantity);
    body["physicalMeasures"] = json!({"pos": {"inbound": "Subtraction"}});
    body
}
