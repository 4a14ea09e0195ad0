//! Somebody whom spans are sent to: keeps them, and reads them by what OTLP's document says.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Span(pub Value);

impl Span {
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// The value of an attribute.
    pub fn attribute(&self, key: &str) -> Value {
        let attributes = self.0["attributes"].as_array().unwrap().iter();
        let found: Vec<_> = attributes.filter(|attribute| attribute["key"] == key).collect();
        assert!(found.len() < 2, "{key} is there twice: {}", self.0);
        found.first().map_or(Value::Null, |found| {
            let value = &found["value"];
            [&value["stringValue"], &value["intValue"]]
                .into_iter()
                .find(|value| !value.is_null())
                .cloned()
                .unwrap()
        })
    }

    /// The spans that it has links to.
    pub fn links(&self) -> Vec<(String, String)> {
        let links = self.0["links"].as_array().unwrap().iter();
        let text = |link: &Value, name: &str| link[name].as_str().unwrap().to_owned();
        links.map(|link| (text(link, "traceId"), text(link, "spanId"))).collect()
    }

    /// It, as others have links to it.
    pub fn name(&self) -> (String, String) {
        (self.text("traceId").to_owned(), self.text("spanId").to_owned())
    }

    pub fn times(&self) -> (u64, u64) {
        let number = |name| self.text(name).parse().unwrap();
        (number("startTimeUnixNano"), number("endTimeUnixNano"))
    }
}

#[derive(Default)]
struct Shared {
    messages: Mutex<Vec<Value>>,
    hangs: bool,
}

/// A collector.
pub struct Collector {
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    pub async fn start() -> Collector {
        Collector::new(false).await
    }

    /// One that takes a message and never answers.
    pub async fn that_hangs() -> Collector {
        Collector::new(true).await
    }

    async fn new(hangs: bool) -> Collector {
        let shared = Arc::new(Shared { hangs, ..Shared::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Collector { url, shared, task }
    }

    pub fn messages(&self) -> Vec<Value> {
        self.shared.messages.lock().unwrap().clone()
    }

    /// All spans of a trace that came.
    pub fn spans_of(&self, trace: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.text("traceId") == trace).collect()
    }

    pub fn spans(&self) -> Vec<Span> {
        let of = |message: &Value| {
            let resources = message["resourceSpans"].as_array().unwrap().clone();
            let scopes = resources.into_iter().flat_map(|one| one["scopeSpans"].as_array().unwrap().clone());
            scopes.flat_map(|one| one["spans"].as_array().unwrap().clone()).map(Span).collect::<Vec<_>>()
        };
        self.messages().iter().flat_map(of).collect()
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, &'static str) {
    assert_eq!((uri.path(), headers["content-type"].as_bytes()), ("/v1/traces", &b"application/json"[..]));
    shared.messages.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    if shared.hangs {
        std::future::pending::<()>().await;
    }
    (StatusCode::OK, "{}")
}
