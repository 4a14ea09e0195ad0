//! The log of the program: each failure once, with its request; and nothing that was sent, and no secret.

use axum::Router;
use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::TcpListener;

use super::collector::Collector;
use super::process::{Program, ringfence, run_ringfence};
use super::proxy::{Line, Proxy};
use super::requests::{allocation, changed, consumption, stock};
use super::support::{bicycles, database, eventually, patiently, service_url};

/// Is in everything that must not be in the log.
const PLANTED: &str = "planted";

/// A client with a key.
struct Client {
    base: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    /// Sends a request under an id of its own, and answers its status and text.
    async fn send(&self, id: &str, method: Method, path: &str, body: &Value) -> (u16, String) {
        let url = format!("{}/api/environment/test/{path}", self.base);
        let request = self.http.request(method, url).bearer_auth(&self.key).header("x-request-id", id);
        let traceparent = format!("00-{}-00f067aa0ba902b7-01", trace_of(id));
        let response = request.header("traceparent", traceparent).json(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn post(&self, id: &str, path: &str, body: &Value) -> u16 {
        self.send(id, Method::POST, path, body).await.0
    }
}

fn trace_of(id: &str) -> String {
    id.bytes().chain(std::iter::repeat(7)).take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A receiver that takes nothing, and answers with what it was sent.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?token={PLANTED}", listener.local_addr().unwrap());
    let router =
        Router::new().fallback(async |body: String| (StatusCode::BAD_GATEWAY, format!("{PLANTED} {body}")));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A body with a planted value wherever there is room for one.
fn planted(body: Value) -> Value {
    let id = format!("{PLANTED} {}", body["id"].as_str().unwrap());
    let members = json!({"id": id, "productId": format!("{PLANTED} bicycle"), "reference": format!("{PLANTED} order"),
        "reason": format!("{PLANTED} reason"), "actor": format!("{PLANTED} actor")});
    changed(body, members)
}

#[tokio::test]
async fn each_failure_is_logged_once_with_its_request_and_no_secret_and_no_body_ever() {
    let proxy = Proxy::to(&database().await).await;
    let collector = Collector::start().await;
    let database_url = service_url(&proxy.database.clone().password(&format!("{PLANTED}-password")));
    assert!(database_url.contains(PLANTED));
    let create = ["key", "create", "--environment", "test", "--name", "me", "--role", "admin"];
    let made = run_ringfence(&[&create[..], &["--database-url", &database_url]].concat()).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let key = made.stdout.split_whitespace().find(|word| word.starts_with("rf_")).unwrap().to_owned();
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--auth",
        "--log-json",
        "--log",
        "debug",
        "--database-url",
        &database_url,
    ];
    let quick = patiently(&["--allow-private-webhooks", "--webhook-retry-ms", "20"]);
    let rest = ["--webhook-attempts-max", "2", "--otlp-endpoint", &collector.url];
    let mut command = ringfence(&[&arguments[..], &quick, &rest].concat());
    // The flag goes before.
    command.env("RINGFENCE_LOG", "error");
    let program = Program::start(command).await;
    let client = Client { base: program.base.clone(), key: key.clone(), http: reqwest::Client::new() };

    // What goes well, and what is refused.
    assert_eq!(client.send("configure", Method::PUT, "configuration", &bicycles()).await.0, 200);
    assert_eq!(client.post("stock", "onhand", &planted(stock("s", 10))).await, 200);
    let watch = json!({"rule": {"balanceAtOrBelow": 5}});
    assert_eq!(client.send("watch", Method::PUT, "watches/low", &watch).await.0, 200);
    let hook = json!({"url": echo().await});
    let (status, hook) = client.send("hook", Method::PUT, "webhooks/one", &hook).await;
    assert_eq!(status, 200, "{hook}");
    let secret = serde_json::from_str::<Value>(&hook).unwrap()["secret"].as_str().unwrap().to_owned();
    assert_eq!(
        client.post("allocate", "allocation/allocate", &planted(allocation("a", "Online", 3))).await,
        200
    );
    let refused = planted(consumption("c", "Online", 500));
    assert_eq!(client.post("refused", "allocation/consume", &refused).await, 409);
    assert_eq!(client.post("unreadable", "onhand", &json!({PLANTED: [PLANTED]})).await, 400);
    for wrong in
        [format!("{key}{PLANTED}"), format!("rf_{PLANTED}"), format!("{PLANTED}.{PLANTED}.{PLANTED}")]
    {
        let stranger = Client { base: program.base.clone(), key: wrong, http: reqwest::Client::new() };
        assert_eq!(stranger.post("stranger", "onhand", &planted(stock("x", 1))).await, 401);
    }
    eventually("the message is given up", async || {
        let found = client.send("look", Method::GET, "webhooks/one/deliveries?state=dead", &json!({})).await;
        found.1.contains("answered 502")
    })
    .await;

    // A statement that the database will not have.
    let mut connection = PgConnection::connect_with(&proxy.database).await.unwrap();
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = 'XX000', DETAIL = NEW.id; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION refuse()";
    connection.execute(refuse).await.unwrap();
    assert_eq!(client.post("bug", "onhand", &planted(stock("bug", 1))).await, 500);
    connection.execute("DROP TRIGGER refuse ON ledger").await.unwrap();

    // No database.
    proxy.set(Line::Cut);
    assert_eq!(client.post("cut-command", "onhand", &planted(stock("cut", 1))).await, 503);
    let lines: Vec<Value> = (0..5).map(|line| planted(stock(&format!("line {line}"), 1))).collect();
    assert_eq!(client.post("cut-bulk", "onhand/bulk", &json!(lines)).await, 207);
    let query = json!({"organizationId": "usmf", "productId": PLANTED, "dimensions": {"siteId": PLANTED}});
    assert_eq!(client.post("cut-query", "allocation/query", &query).await, 503);
    proxy.set(Line::Open);
    eventually("it is back", async || client.post("back", "onhand", &planted(stock("back", 1))).await == 200)
        .await;

    program.stop_with(|log| check(log, &[&key, &secret, key.rsplit('_').next().unwrap()])).await;
}

fn check(log: &str, secrets: &[&str]) {
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let of = |id: &str, levels: &[&str]| -> Vec<&Value> {
        let is_it = |line: &&Value| {
            line["fields"]["request"] == id && levels.iter().any(|level| line["level"] == *level)
        };
        lines.iter().filter(is_it).collect()
    };
    let failures = ["WARN", "ERROR"];
    for (id, level) in
        [("bug", "ERROR"), ("cut-command", "WARN"), ("cut-bulk", "WARN"), ("cut-query", "WARN")]
    {
        let found = of(id, &failures);
        assert_eq!(found.len(), 1, "{id}: {log}");
        assert_eq!(found[0]["level"], level, "{id}");
        assert_eq!(found[0]["trace_id"], trace_of(id), "{id}: {}", found[0]);
    }
    assert!(log.contains("on purpose"), "{log}");
    for id in ["refused", "unreadable", "stranger", "stock", "allocate"] {
        assert_eq!(of(id, &failures), Vec::<&Value>::new());
    }
    // What an administrator did is told, with the trace.
    assert_eq!(of("hook", &["INFO"])[0]["trace_id"], trace_of("hook"));
    // The failure that no request had: once for all attempts after the last.
    let given_up = lines.iter().filter(|line| {
        line["level"] == "WARN" && line["fields"]["message"] == "not delivered, and not tried again"
    });
    assert_eq!(given_up.map(|line| &line["fields"]["status"]).collect::<Vec<_>>(), [502]);
    // Without this, the level would hide what is looked for.
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "{log}");
    for secret in secrets.iter().chain(&[PLANTED]) {
        let found = log.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret} is in the log");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_database_url_is_said_without_its_password() {
    for (url, said) in [
        (format!("postgres://me:{PLANTED}@127.0.0.1:1/books"), "books at 127.0.0.1:1"),
        (format!("postgres://me:{PLANTED}@127.0.0.1:{PLANTED}/books"), "not readable"),
        (format!("mysql://me:{PLANTED}@127.0.0.1/books"), "postgres://"),
        (format!("postgres://me:{PLANTED}@[::/books"), "not readable"),
    ] {
        let ended = run_ringfence(&["serve", "--listen", "127.0.0.1:0", "--database-url", &url]).await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(said) && !ended.stderr.contains(PLANTED), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}
