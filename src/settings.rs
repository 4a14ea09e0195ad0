//! The command line and its limits, each with its unit.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};

use crate::domain::rate::Rate;
use crate::http::rates::PerSecond;
use crate::oidc::Provider;
use crate::otlp::Collector;
use crate::{deliver, engine, follow, http};

/// Inventory allocation: protects stock that was set aside, and keeps every channel to its share.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve the API.
    Serve(Box<Serve>),
    /// Bring the database's schema up to date.
    Migrate(Migrate),
    /// Replay the ledger through the core and name every difference to what is stored.
    Verify(Database),
    /// Make, list and revoke the keys that requests need with serve --auth.
    #[command(subcommand)]
    Key(KeyAction),
    /// Print the OpenAPI document.
    Openapi,
}

/// How to bring the schema up to date.
#[derive(Debug, Args)]
pub struct Migrate {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// Let this role serve, which owns nothing: it is given what the service needs, and no more. It
    /// must be there already.
    #[arg(long, env = "RINGFENCE_SERVICE_ROLE", value_name = "NAME")]
    pub service_role: Option<String>,
    /// Let it erase products too, for serve --allow-erasing; without this, it may not any more.
    #[arg(long, env = "RINGFENCE_ALLOW_ERASING", value_parser = BoolishValueParser::new())]
    pub allow_erasing: bool,
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Make a key, and print its text, which is not to be had again.
    Create(NewKey),
    /// List the keys of an environment, also those that are not good any more.
    List(KeysOf),
    /// Revoke a key at once, on every instance.
    Revoke(OneKey),
}

/// A key that is to be made.
#[derive(Debug, Args)]
pub struct NewKey {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The environment that it is for; it need not exist yet.
    #[arg(long, value_name = "ID")]
    pub environment: String,
    /// Whose it is; its events have this as their actor.
    #[arg(long)]
    pub name: String,
    /// What it may: reader, consumer, planner, stock or admin; each may also read.
    #[arg(long)]
    pub role: String,
    /// Only this organization; can be given several times.
    #[arg(long, value_name = "ID")]
    pub organization: Vec<String>,
    /// Only this group and what is below it, such as channel=Web; one for each level of the path.
    #[arg(long, value_name = "GROUP=VALUE")]
    pub group: Vec<String>,
    /// For how many days it is good.
    #[arg(long, value_name = "DAYS", default_value_t = http::keys::DAYS, value_parser = clap::value_parser!(i32).range(1..=i64::from(http::keys::DAYS_MAX)))]
    pub expires_in_days: i32,
}

/// The keys of an environment.
#[derive(Debug, Args)]
pub struct KeysOf {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The environment.
    #[arg(long, value_name = "ID")]
    pub environment: String,
}

/// One key of an environment.
#[derive(Debug, Args)]
pub struct OneKey {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The environment.
    #[arg(long, value_name = "ID")]
    pub environment: String,
    /// The first part of its text: rf_ and 8 letters.
    pub prefix: String,
}

/// Where the books are.
#[derive(Clone, Debug, Args)]
pub struct Database {
    /// The PostgreSQL database; without it, a private server of the machine's PostgreSQL is run.
    #[arg(
        long,
        help_heading = "Database",
        env = "RINGFENCE_DATABASE_URL",
        value_name = "URL",
        conflicts_with = "data_dir",
        hide_env_values = true
    )]
    pub database_url: Option<String>,
    /// Where the private server keeps its data [default: ringfence-data].
    #[arg(long, help_heading = "Database", env = "RINGFENCE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Database {
    /// The URL given. `DATABASE_URL`, which is meant for any program, counts only where a
    /// data directory, which is meant for this one, is not given.
    pub fn url(&self) -> Option<String> {
        let general = || std::env::var("DATABASE_URL").ok().filter(|_| self.data_dir.is_none());
        self.database_url.clone().or_else(general).filter(|url| !url.is_empty())
    }

    /// Where the private server keeps its data.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.as_deref().unwrap_or(Path::new("ringfence-data"))
    }
}

/// How to serve.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = fixed_limits())]
pub struct Serve {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// Where to listen; port 0 takes a free one.
    #[arg(
        long,
        help_heading = "Listening",
        env = "RINGFENCE_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,
    /// Serve https:// with this chain of certificates, in PEM, the service's own first. It is read
    /// again when the file changes.
    #[arg(long, help_heading = "Listening", env = "RINGFENCE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the first certificate, in PEM.
    #[arg(long, help_heading = "Listening", env = "RINGFENCE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Only check the settings and what they name, print every problem, and end.
    #[arg(long, env = "RINGFENCE_CHECK", value_parser = BoolishValueParser::new())]
    pub check: bool,
    /// Answer only requests with a key: `ringfence key create` makes the first one of an
    /// environment. Without it, only this machine is listened to.
    #[arg(long, help_heading = "Who may", env = "RINGFENCE_AUTH", value_parser = BoolishValueParser::new())]
    pub auth: bool,
    /// Believe tokens of this OpenID provider too: what they must have as `iss`. What they may
    /// is in their claim `ringfence`.
    #[arg(long, help_heading = "Who may", env = "RINGFENCE_OIDC_ISSUER", value_name = "TEXT", requires_all = ["auth", "oidc_audience", "oidc_jwks_url"])]
    pub oidc_issuer: Option<String>,
    /// What tokens must have as `aud`.
    #[arg(
        long,
        help_heading = "Who may",
        env = "RINGFENCE_OIDC_AUDIENCE",
        value_name = "TEXT",
        requires = "oidc_issuer"
    )]
    pub oidc_audience: Option<String>,
    /// Where the provider's keys are, its `jwks_uri`.
    #[arg(
        long,
        help_heading = "Who may",
        env = "RINGFENCE_OIDC_JWKS_URL",
        value_name = "URL",
        requires = "oidc_issuer"
    )]
    pub oidc_jwks_url: Option<String>,
    /// Requests a second that are let in for one key (or subject of tokens); more are answered 429.
    /// Each instance counts for itself [default: no limit].
    #[arg(long, help_heading = "Rates (429 beyond)", env = "RINGFENCE_KEY_REQUESTS_PER_SECOND", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(Rate::MAX)))]
    pub key_requests_per_second: Option<u32>,
    /// Commands a second that are let in for one key; each line of a bulk is one [default: no limit].
    #[arg(long, help_heading = "Rates (429 beyond)", env = "RINGFENCE_KEY_COMMANDS_PER_SECOND", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(Rate::MAX)))]
    pub key_commands_per_second: Option<u32>,
    /// Requests a second that are let in for one environment, of all its keys [default: no limit].
    #[arg(long, help_heading = "Rates (429 beyond)", env = "RINGFENCE_ENVIRONMENT_REQUESTS_PER_SECOND", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(Rate::MAX)))]
    pub environment_requests_per_second: Option<u32>,
    /// Commands a second that are let in for one environment, of all its keys [default: no limit].
    #[arg(long, help_heading = "Rates (429 beyond)", env = "RINGFENCE_ENVIRONMENT_COMMANDS_PER_SECOND", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(Rate::MAX)))]
    pub environment_commands_per_second: Option<u32>,
    /// Set up the environment `demo` with a bicycle catalogue.
    #[arg(long, env = "RINGFENCE_DEMO", value_parser = BoolishValueParser::new())]
    pub demo: bool,
    /// Write logs as JSON lines.
    #[arg(long, env = "RINGFENCE_LOG_JSON", value_parser = BoolishValueParser::new())]
    pub log_json: bool,
    /// Send traces to this OpenTelemetry collector: OTLP over HTTP, as JSON; /v1/traces is added. Without
    /// it, OTEL_EXPORTER_OTLP_ENDPOINT counts; without both, there are no traces.
    #[arg(long, env = "RINGFENCE_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Which share of the requests that come without a traceparent of their own is traced, from 0 to 1.
    /// With one, its flag says whether. OTEL_SERVICE_NAME names the service [default: ringfence].
    #[arg(long, env = "RINGFENCE_TRACE_RATIO", value_name = "SHARE", default_value = "0.01", value_parser = share)]
    pub trace_ratio: Share,
    /// Allow that products are erased, with their stock and all of their events: for housekeeping
    /// in tests. Without it, cleanupalldata is answered 403.
    #[arg(long, help_heading = "Who may", env = "RINGFENCE_ALLOW_ERASING", value_parser = BoolishValueParser::new())]
    pub allow_erasing: bool,
    /// Allow webhooks to plain http:// and to addresses that are nobody's on the Internet: private,
    /// loopback, link-local and the like. For receivers in the same network, and for tests.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_ALLOW_PRIVATE_WEBHOOKS", value_parser = BoolishValueParser::new())]
    pub allow_private_webhooks: bool,
    /// Longest that one attempt to deliver to a webhook may take.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_WEBHOOK_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(1..=300_000))]
    pub webhook_time_max_ms: u64,
    /// How long a delivery that failed waits for its second attempt, and up to a quarter less by chance;
    /// after each further one four times as long, and an hour at most. A receiver that answers 429 or 503
    /// may ask for longer with Retry-After, for a day at most.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_WEBHOOK_RETRY_MS", value_name = "MILLISECONDS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub webhook_retry_ms: u64,
    /// Attempts after which a delivery is dead: it is tried again only when it is replayed.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_WEBHOOK_ATTEMPTS_MAX", value_name = "COUNT", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub webhook_attempts_max: u32,
    /// For how long closed alerts are kept, with the messages that tell of them and what was delivered.
    /// What could not be sent for so long is given up, and what was given up is kept three times as long.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_ALERTS_KEPT_DAYS", value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(i32).range(1..=3_650))]
    pub alerts_kept_days: i32,
    /// Writers, each with a queue and a database connection of its own; without it, half as many
    /// as there are cores.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_SHARDS", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: Option<u16>,
    /// Commands that may wait for one writer; more are answered 503 [default: as many as one
    /// commit takes, so that nobody waits for two].
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_QUEUE_COMMANDS_MAX", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue_commands_max: Option<u32>,
    /// Commands that one commit takes.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_BATCH_COMMANDS_MAX", value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_commands_max: u32,
    /// Stock nodes and balances that one writer keeps in memory.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_BOOKS_ENTRIES_MAX", value_name = "COUNT", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub books_entries_max: u32,
    /// Latest events that one writer remembers, to answer repeats without the database.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_RECENT_EVENTS_MAX", value_name = "COUNT", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub recent_events_max: u32,
    /// Longest that one exchange with the database may take.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_ROUND_TRIP_MAX_MS", value_name = "MILLISECONDS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub round_trip_max_ms: u64,
    /// Connections to the database for queries and configurations; on-hand queries have 4 of their own.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_READERS_MAX", value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub readers_max: u32,
    /// HTTP connections that are open at once.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_max: u32,
    /// Live streams of events that are open at once.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_STREAMS_MAX", value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub streams_max: u32,
    /// Between two heartbeats of a live stream.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_HEARTBEAT_TIME_MS", value_name = "MILLISECONDS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub heartbeat_time_ms: u64,
    /// Longest from a request's head to its answer, the arrival of its body included.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_REQUEST_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub request_time_max_ms: u64,
    /// Longest until a TLS handshake or a request's head is complete, and that a connection may idle.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_HEAD_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub head_time_max_ms: u64,
    /// Longest until a request's body is complete.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_BODY_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub body_time_max_ms: u64,
    /// Longest that a client may take to read the next part of an answer.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_WRITE_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub write_time_max_ms: u64,
    /// Longest that open requests are waited for when the service stops.
    #[arg(
        long,
        help_heading = "Connections and times",
        env = "RINGFENCE_DRAIN_TIME_MAX_MS",
        value_name = "MILLISECONDS",
        default_value_t = 10_000
    )]
    pub drain_time_max_ms: u64,
}

/// A share of 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u64);

/// It is what chance is held against, and no quantity.
#[allow(clippy::float_arithmetic, reason = "see above")]
fn share(text: &str) -> Result<Share, String> {
    let ratio: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if !(0.0..=1.0).contains(&ratio) {
        return Err("it is not between 0 and 1".to_owned());
    }
    // What is above the largest number becomes that.
    Ok(Share((ratio * 2_f64.powi(64)) as u64))
}

/// Longest body of a request, in bytes (a limit of the wire contract).
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest body of a bulk, in bytes (a limit of the wire contract).
const BULK_BODY_BYTES_MAX: usize = 8 << 20;
/// Longest body that needs no room among all bodies, in bytes: those of commands. With as many
/// connections as there may be, they take as much again as all others.
const SMALL_BODY_BYTES_MAX: usize = 16 << 10;
/// What the larger bodies of all open requests may have, in bytes.
const ALL_BODIES_BYTES_MAX: usize = 64 << 20;
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Most lines of a bulk. A writer remembers as many events at least, and as many as a batch
/// has: what it looked up for one must all be there when it decides it.
const BULK_LINES_MAX: usize = http::LINES_MAX;
/// How often the TLS files are looked at.
pub const TLS_POLL: Duration = Duration::from_secs(2);
/// How long the service is not ready after the database would not have a batch, unless it had
/// one since: without requests it could not notice that it will again.
const TROUBLE_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest wait of a delivery for its next attempt.
const WEBHOOK_RETRY_MAX: Duration = Duration::from_secs(3_600);
/// How long who delivers to webhooks waits before it looks for what is due again.
const WEBHOOK_POLL: Duration = Duration::from_millis(200);

/// How long who follows the ledger and has everything waits before it looks again.
const FOLLOW_POLL: Duration = Duration::from_millis(200);
/// How long it is left alone where there are no events.
const FOLLOW_TICK: Duration = Duration::from_secs(1);
/// Longest that it may take for one chunk, of as many event ids at most.
const FOLLOW_CHUNK_TIME_MAX: Duration = Duration::from_secs(30);
/// Most event ids of a chunk: more than come between two looks, and little memory.
const FOLLOW_CHUNK_IDS_MAX: i64 = 10_000;
/// Longest wait of who follows after a failure.
const FOLLOW_BACKOFF_MAX: Duration = Duration::from_secs(2);

impl Serve {
    /// Longest that one exchange with the database may take.
    pub fn round_trip_max(&self) -> Duration {
        Duration::from_millis(self.round_trip_max_ms)
    }

    /// The limits of the engine.
    pub fn engine_limits(&self) -> engine::Limits {
        engine::Limits {
            shards: self.shards.map_or_else(shards_of_this_machine, usize::from),
            queue_commands_max: self.queue_commands_max.unwrap_or(self.batch_commands_max) as usize,
            batch_commands_max: self.batch_commands_max as usize,
            books_entries_max: self.books_entries_max as usize,
            recent_events_max: (self.recent_events_max.max(self.batch_commands_max) as usize)
                .max(BULK_LINES_MAX),
            round_trip_max: self.round_trip_max(),
            batch_time_max: self.round_trip_max() / 2,
            trouble_time_max: TROUBLE_TIME_MAX,
        }
    }

    /// The limits of who follows the ledger.
    pub fn follow_limits(&self) -> follow::Limits {
        follow::Limits {
            connect_max: self.round_trip_max(),
            poll: FOLLOW_POLL,
            tick: FOLLOW_TICK,
            chunk_time_max: FOLLOW_CHUNK_TIME_MAX,
            chunk_ids_max: FOLLOW_CHUNK_IDS_MAX,
            backoff_max: FOLLOW_BACKOFF_MAX,
        }
    }

    /// The limits of delivering to webhooks.
    pub fn deliver_limits(&self) -> deliver::Limits {
        deliver::Limits {
            allow_private: self.allow_private_webhooks,
            attempt_time_max: Duration::from_millis(self.webhook_time_max_ms),
            retry_first: Duration::from_millis(self.webhook_retry_ms),
            retry_max: WEBHOOK_RETRY_MAX,
            attempts_max: self.webhook_attempts_max,
            poll: WEBHOOK_POLL,
        }
    }

    /// The collector that traces are sent to.
    pub fn collector(&self) -> Option<Collector> {
        let general = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let own = self.otlp_endpoint.clone().filter(|endpoint| !endpoint.is_empty());
        let endpoint = own.or_else(|| general("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        let service = general("OTEL_SERVICE_NAME").unwrap_or_else(|| "ringfence".to_owned());
        Some(Collector { endpoint, service })
    }

    /// The OpenID provider whose tokens are believed.
    pub fn provider(&self) -> Option<Provider> {
        Some(Provider {
            issuer: self.oidc_issuer.clone()?,
            audience: self.oidc_audience.clone()?,
            jwks_url: self.oidc_jwks_url.clone()?,
        })
    }

    /// The certificate and its key, where both are given.
    pub fn tls_files(&self) -> Option<http::tls::Files> {
        Some(http::tls::Files { certificates: self.tls_cert.clone()?, key: self.tls_key.clone()? })
    }

    /// What of the settings does not go together, and what to do.
    pub fn contradictions(&self) -> Vec<&'static str> {
        let key_rate = self.key_requests_per_second.is_some() || self.key_commands_per_second.is_some();
        let found = [
            (
                self.tls_cert.is_some() && self.tls_key.is_none(),
                "--tls-cert needs the certificate's key: give --tls-key (RINGFENCE_TLS_KEY) too",
            ),
            (
                self.tls_key.is_some() && self.tls_cert.is_none(),
                "--tls-key needs its certificate: give --tls-cert (RINGFENCE_TLS_CERT) too",
            ),
            (
                key_rate && !self.auth,
                "--key-requests-per-second and --key-commands-per-second need keys to count for: give --auth (RINGFENCE_AUTH=true), or limit environments instead",
            ),
        ];
        found.into_iter().filter_map(|(is_so, why)| is_so.then_some(why)).collect()
    }

    /// The limits of requests.
    pub fn http_limits(&self) -> http::Limits {
        http::Limits {
            auth: self.auth,
            key_rates: per_second(self.key_requests_per_second, self.key_commands_per_second),
            environment_rates: per_second(
                self.environment_requests_per_second,
                self.environment_commands_per_second,
            ),
            allow_erasing: self.allow_erasing,
            allow_private_webhooks: self.allow_private_webhooks,
            body_bytes_max: BODY_BYTES_MAX,
            bulk_body_bytes_max: BULK_BODY_BYTES_MAX,
            small_body_bytes_max: SMALL_BODY_BYTES_MAX,
            all_bodies_bytes_max: ALL_BODIES_BYTES_MAX,
            body_time_max: Duration::from_millis(self.body_time_max_ms),
            streams_max: self.streams_max as usize,
            heartbeat_time: Duration::from_millis(self.heartbeat_time_ms),
        }
    }

    /// The limits of connections.
    pub fn server_limits(&self) -> http::server::Limits {
        http::server::Limits {
            connections_max: self.connections_max as usize,
            head_time_max: Duration::from_millis(self.head_time_max_ms),
            request_time_max: Duration::from_millis(self.request_time_max_ms),
            write_time_max: Duration::from_millis(self.write_time_max_ms),
            head_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
            drain_time_max: Duration::from_millis(self.drain_time_max_ms),
        }
    }
}

/// What is not to be set, for who reads the help.
fn fixed_limits() -> String {
    format!(
        "Fixed limits:\n  \
         a request's head: {} KiB and {} headers; more is answered 431\n  \
         its body: {} MiB, {} MiB of a bulk; more is answered 413. All larger bodies at once: {} MiB\n  \
         lines of a bulk: {}; records of a page: {}, of analytics {}; more is answered 400\n  \
         levels of JSON: as many as a request's form has; deeper is answered 400",
        HEAD_BYTES_MAX >> 10,
        HEADERS_MAX,
        BODY_BYTES_MAX >> 20,
        BULK_BODY_BYTES_MAX >> 20,
        ALL_BODIES_BYTES_MAX >> 20,
        BULK_LINES_MAX,
        http::PAGE_RECORDS_MAX,
        http::ANALYTICS_RECORDS_MAX,
    )
}

fn per_second(requests: Option<u32>, commands: Option<u32>) -> PerSecond {
    PerSecond { requests: requests.and_then(Rate::new), commands: commands.and_then(Rate::new) }
}

/// A writer keeps a core of the database busy, and batches are the larger the fewer writers
/// there are: where the database shares the cores, half of them is most.
fn shards_of_this_machine() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 64))
}
