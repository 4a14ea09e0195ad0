//! A service per test, on a database of its own; one private PostgreSQL for all of them.

use std::ffi::OsStr;
use std::io::PipeWriter;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use ringfence::app::App;
use ringfence::embedded::Embedded;
use ringfence::settings::{Action, Cli, Serve};
use ringfence::store::{MIGRATIONS, grants};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::contract;

/// The private server, and a pipe that ends with this process.
struct Server {
    options: PgConnectOptions,
    _alive: PipeWriter,
}

/// Starts the server once. It is stopped, and its directory removed, by a shell that waits
/// for this process to end: a test binary has no other last moment.
#[allow(clippy::zombie_processes, reason = "the shell outlives this process")]
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("ringfence-it-{}", std::process::id()));
        let (sender, receiver) = std::sync::mpsc::channel();
        let data_dir = directory.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let embedded = Embedded::start(&data_dir).await.unwrap();
                let mut connection = PgConnection::connect_with(&embedded.options()).await.unwrap();
                sqlx::query("CREATE DATABASE books").execute(&mut connection).await.unwrap();
                let mut books =
                    PgConnection::connect_with(&embedded.options().database("books")).await.unwrap();
                MIGRATIONS.run(&mut books).await.unwrap();
                sqlx::query("CREATE ROLE service LOGIN").execute(&mut books).await.unwrap();
                grants::grant(&mut books, SERVICE_ROLE, true).await.unwrap().unwrap();
                books.close().await.unwrap();
                sender.send(embedded.options()).unwrap();
                // The server is supervised as long as the tests run.
                std::future::pending::<()>().await;
            });
        });
        let options = receiver.recv().unwrap();
        let (ends_with_us, alive) = std::io::pipe().unwrap();
        let script = r#"cat >/dev/null; pid=$(head -n 1 "$0/postgres/postmaster.pid"); kill -INT "$pid"
            while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; rm -rf "$0""#;
        Command::new("setsid")
            .args(["sh", "-c", script])
            .arg(&directory)
            .stdin(ends_with_us)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Server { options, _alive: alive }
    })
}

/// Whom services run as: a role that owns nothing, which row-level security holds for.
pub const SERVICE_ROLE: &str = "service";

/// A database of its own, with the schema.
pub async fn database() -> PgConnectOptions {
    create_database("books", MIGRATED).await
}

/// A database of its own, with nothing in it.
pub async fn empty_database() -> PgConnectOptions {
    create_database("template1", "empty").await
}

/// How names begin of databases whose services run as the service role.
const MIGRATED: &str = "test";

/// How a service connects: where the schema is there already, as the service role.
pub fn as_service(database: &PgConnectOptions) -> PgConnectOptions {
    let is_migrated = database.get_database().is_some_and(|name| name.starts_with(MIGRATED));
    if is_migrated { database.clone().username(SERVICE_ROLE) } else { database.clone() }
}

/// The URL that a service on a database is given.
pub fn service_url(database: &PgConnectOptions) -> String {
    url(&as_service(database))
}

/// Whether a setting is the URL of a database with the schema, as its owner connects.
pub fn is_owner_s(setting: &OsStr) -> bool {
    let options = setting.to_str().and_then(|text| text.parse::<PgConnectOptions>().ok());
    options.is_some_and(|options| as_service(&options).get_username() != options.get_username())
}

async fn create_database(template: &str, kind: &str) -> PgConnectOptions {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let server = tokio::task::spawn_blocking(server).await.unwrap();
    let name = format!("{kind}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect_with(&server.options).await.unwrap();
    let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"));
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    server.options.clone().database(&name)
}

/// How a test connects that puts the ledger into a state that no service would: its guard is off.
pub fn unguarded(database: &PgConnectOptions) -> PgConnectOptions {
    database.clone().options([("session_replication_role", "replica")])
}

/// The URL of a database, as a setting.
pub fn url(options: &PgConnectOptions) -> String {
    use sqlx::ConnectOptions;
    options.to_url_lossy().to_string()
}

/// Arguments with those of a service that does not give up because the machine stands still for a moment, but for
/// what they say themselves.
pub fn patiently<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let times = [["--round-trip-max-ms", "60000"], ["--request-time-max-ms", "60000"]];
    let more = times.into_iter().filter(|[name, _]| !arguments.contains(name)).flatten();
    more.chain(arguments.iter().copied()).collect()
}

/// The settings that a command line gives, beyond the database, the address, and patience.
pub fn settings(database: &PgConnectOptions, arguments: &[&str]) -> Serve {
    use clap::Parser;
    let url = url(database);
    let fixed = ["ringfence", "serve", "--listen", "127.0.0.1:0", "--database-url", &url];
    match Cli::parse_from([&fixed[..], &patiently(arguments)].concat()).action {
        Action::Serve(settings) => *settings,
        other => panic!("{other:?} is not serve"),
    }
}

/// A running service.
pub struct Service {
    pub base: String,
    pub database: PgConnectOptions,
    pub client: reqwest::Client,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Service {
    /// A service on a new database.
    pub async fn start() -> Service {
        Service::start_on(database().await, &[]).await
    }

    /// A service, in this process, on a database that may be shared with others.
    pub async fn start_on(database: PgConnectOptions, arguments: &[&str]) -> Service {
        let app = App::build(settings(&as_service(&database), arguments)).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let (ready, url) = oneshot::channel();
        let task = tokio::spawn(async move {
            app.run(|url| ready.send(url.to_owned()).unwrap(), stopped).await.unwrap();
        });
        Service { base: url.await.unwrap(), database, client: reqwest::Client::new(), stop, task }
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }

    /// Sends a request; `path` is that behind the address. Whatever the test looks at in the
    /// answer, it has to be as the service's document says.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Answer { status, headers, text: response.text().await.unwrap() };
        contract::check(&method, path, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// Posts JSON to a path of the environment `test`.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let path = format!("/api/environment/test/{path}");
        self.send(Method::POST, &path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Puts a configuration of the environment `test`.
    pub async fn configure(&self, document: Value) -> Answer {
        let path = "/api/environment/test/configuration";
        self.send(Method::PUT, path, &[("content-type", "application/json")], document.to_string()).await
    }
}

/// The wire contract's own example configuration.
pub fn bicycles() -> Value {
    json!({
        "dimensions": ["siteId", "locationId", "colorId", "sizeId"], "requiredDimensions": 2,
        "dataSources": {
            "fno": {"measures": ["onordered"], "readOnly": true},
            "pos": {"measures": ["inbound", "outbound"], "dimensionMappings": {"shopId": "locationId"}}
        },
        "allocation": {
            "groups": ["channel", "customerGroup", "region"],
            "availableToAllocate": "fno.onordered + pos.inbound - @iv.@softreserved - @iv.@allocated"
        },
        "reservation": {
            "measures": {"@iv.@softreserved": "fno.onordered + pos.inbound - @iv.@softreserved - @iv.@allocated"}
        },
        "calculatedMeasures": {"shop.sellable": "pos.inbound - pos.outbound"}
    })
}

/// Longest that something may take to be the case; a bound, not an expectation.
const EVENTUALLY_MAX: Duration = Duration::from_secs(30);

/// Waits until something is the case.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + EVENTUALLY_MAX;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {EVENTUALLY_MAX:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
