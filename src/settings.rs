//! The command line, each flag with its unit.

mod limits;
mod misread;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::domain::rate::{PerSecond, Rate};
use crate::http;
use crate::oidc::Provider;
use crate::otlp::Collector;
use crate::telemetry::USUAL_FILTER;

pub use limits::TLS_POLL;
use limits::{fixed_limits, per_second};
pub use misread::Misread;
pub use values::Share;
use values::{TIME_MS_MAX, address, filter, share, switch, whole};

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
    #[arg(long, env = "RINGFENCE_ALLOW_ERASING", value_parser = switch)]
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
    /// Requests a second that are let in for it, instead of serve --key-requests-per-second.
    #[arg(long, value_name = "COUNT", value_parser = whole::<u32>(1, Rate::MAX.into()))]
    pub requests_per_second: Option<u32>,
    /// Commands a second that are let in for it, instead of serve --key-commands-per-second.
    #[arg(long, value_name = "COUNT", value_parser = whole::<u32>(1, Rate::MAX.into()))]
    pub commands_per_second: Option<u32>,
}

impl NewKey {
    /// The rates of its own.
    pub fn rates(&self) -> PerSecond {
        per_second(self.requests_per_second, self.commands_per_second)
    }
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
        default_value = "127.0.0.1:8080",
        value_parser = address
    )]
    pub listen: SocketAddr,
    /// Serve https:// with this chain of certificates, in PEM, the service's own first. It is read
    /// again within two seconds after the file has changed, and at once on SIGHUP; a pair that cannot be
    /// used is logged, and the old one stays.
    #[arg(long, help_heading = "Listening", env = "RINGFENCE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the first certificate, in PEM.
    #[arg(long, help_heading = "Listening", env = "RINGFENCE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Only check the settings and what they name, print every problem, and end.
    #[arg(long, env = "RINGFENCE_CHECK", value_parser = switch)]
    pub check: bool,
    /// Answer only requests with a key: `ringfence key create` makes the first one of an
    /// environment. Without it, only this machine is listened to.
    #[arg(long, help_heading = "Who may", env = "RINGFENCE_AUTH", value_parser = switch)]
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
    /// Where the provider's keys are, its `jwks_uri`; https, but on this machine.
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
    #[arg(long, help_heading = "Rates (429 beyond)", env = "RINGFENCE_KEY_REQUESTS_PER_SECOND", value_name = "COUNT", value_parser = whole::<u32>(1, Rate::MAX.into()))]
    pub key_requests_per_second: Option<u32>,
    /// Commands a second that are let in for one key; each line of a bulk is one [default: no limit].
    #[arg(long, help_heading = "Rates (429 beyond)", env = "RINGFENCE_KEY_COMMANDS_PER_SECOND", value_name = "COUNT", value_parser = whole::<u32>(1, Rate::MAX.into()))]
    pub key_commands_per_second: Option<u32>,
    /// Requests a second that are let in for one environment, of all its keys [default: no limit].
    #[arg(long, help_heading = "Rates (429 beyond)", env = "RINGFENCE_ENVIRONMENT_REQUESTS_PER_SECOND", value_name = "COUNT", value_parser = whole::<u32>(1, Rate::MAX.into()))]
    pub environment_requests_per_second: Option<u32>,
    /// Commands a second that are let in for one environment, of all its keys [default: no limit].
    #[arg(long, help_heading = "Rates (429 beyond)", env = "RINGFENCE_ENVIRONMENT_COMMANDS_PER_SECOND", value_name = "COUNT", value_parser = whole::<u32>(1, Rate::MAX.into()))]
    pub environment_commands_per_second: Option<u32>,
    /// Set up the environment `demo` with a bicycle catalogue.
    #[arg(long, env = "RINGFENCE_DEMO", value_parser = switch)]
    pub demo: bool,
    /// What is logged, as a filter: a level (error, warn, info, debug, trace), or several for parts of the
    /// program, with commas between, as in info,ringfence=debug.
    #[arg(long, env = "RINGFENCE_LOG", value_name = "TEXT", default_value = USUAL_FILTER, value_parser = filter)]
    pub log: String,
    /// Write logs as JSON lines.
    #[arg(long, env = "RINGFENCE_LOG_JSON", value_parser = switch)]
    pub log_json: bool,
    /// Send traces to this OpenTelemetry collector: OTLP over HTTP, as JSON; /v1/traces is added. Without
    /// it, OTEL_EXPORTER_OTLP_ENDPOINT counts; without both, there are no traces.
    #[arg(long, env = "RINGFENCE_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Which share of the requests that come without a traceparent of their own is traced, from 0 to 1.
    /// With one, its flag says whether.
    #[arg(long, env = "RINGFENCE_TRACE_RATIO", value_name = "SHARE", default_value = "0.01", value_parser = share)]
    pub trace_ratio: Share,
    /// What the service is called in traces. Without it, OTEL_SERVICE_NAME counts [default: ringfence].
    #[arg(long, env = "RINGFENCE_OTLP_SERVICE_NAME", value_name = "TEXT")]
    pub otlp_service_name: Option<String>,
    /// Allow that products are erased, with their stock and all of their events: for housekeeping
    /// in tests. Without it, cleanupalldata is answered 403.
    #[arg(long, help_heading = "Who may", env = "RINGFENCE_ALLOW_ERASING", value_parser = switch)]
    pub allow_erasing: bool,
    /// Allow webhooks to plain http:// and to addresses that are nobody's on the Internet: private,
    /// loopback, link-local and the like. For receivers in the same network, and for tests.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_ALLOW_PRIVATE_WEBHOOKS", value_parser = switch)]
    pub allow_private_webhooks: bool,
    /// Longest that one attempt to deliver to a webhook may take.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_WEBHOOK_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 15_000, value_parser = whole::<u64>(1, 300_000))]
    pub webhook_time_max_ms: u64,
    /// How long a delivery that failed waits for its second attempt, and up to a quarter less by chance;
    /// after each further one four times as long, and an hour at most. A receiver that answers 429 or 503
    /// may ask for longer with Retry-After, for a day at most.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_WEBHOOK_RETRY_MS", value_name = "MILLISECONDS", default_value_t = 5_000, value_parser = whole::<u64>(1, 3_600_000))]
    pub webhook_retry_ms: u64,
    /// Attempts after which a delivery is dead: it is tried again only when it is replayed.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_WEBHOOK_ATTEMPTS_MAX", value_name = "COUNT", default_value_t = 12, value_parser = whole::<u32>(1, 100))]
    pub webhook_attempts_max: u32,
    /// For how long closed alerts are kept, with the messages that tell of them and what was delivered.
    /// What could not be sent for so long is given up, and what was given up is kept three times as long.
    #[arg(long, help_heading = "Webhooks", env = "RINGFENCE_ALERTS_KEPT_DAYS", value_name = "DAYS", default_value_t = 30, value_parser = whole::<i32>(1, 3_650))]
    pub alerts_kept_days: i32,
    /// Writers, each with a queue and a database connection of its own; without it, half as many
    /// as there are cores.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_SHARDS", value_name = "COUNT", value_parser = whole::<u16>(1, 64))]
    pub shards: Option<u16>,
    /// Commands that may wait for one writer; more are answered 503 [default: as many as one
    /// commit takes, so that nobody waits for two].
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_QUEUE_COMMANDS_MAX", value_name = "COUNT", value_parser = whole::<u32>(1, 1_000_000))]
    pub queue_commands_max: Option<u32>,
    /// Commands that one commit takes.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_BATCH_COMMANDS_MAX", value_name = "COUNT", default_value_t = 1024, value_parser = whole::<u32>(1, 10_000))]
    pub batch_commands_max: u32,
    /// Stock nodes and balances that one writer keeps in memory.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_BOOKS_ENTRIES_MAX", value_name = "COUNT", default_value_t = 20_000, value_parser = whole::<u32>(1_000, u32::MAX.into()))]
    pub books_entries_max: u32,
    /// Latest events that one writer remembers, to answer repeats without the database.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_RECENT_EVENTS_MAX", value_name = "COUNT", default_value_t = 8192, value_parser = whole::<u32>(1, 1_000_000))]
    pub recent_events_max: u32,
    /// Longest that one exchange with the database may take.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_ROUND_TRIP_MAX_MS", value_name = "MILLISECONDS", default_value_t = 5_000, value_parser = whole::<u64>(10, TIME_MS_MAX))]
    pub round_trip_max_ms: u64,
    /// Connections to the database for queries and configurations; on-hand queries have 4 of their own, of
    /// which one environment has 3 at most, and /readyz and /metrics have one each.
    #[arg(long, help_heading = "Writers and database connections", env = "RINGFENCE_READERS_MAX", value_name = "COUNT", default_value_t = 4, value_parser = whole::<u32>(1, 1_000))]
    pub readers_max: u32,
    /// HTTP connections that are open at once.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = 4096, value_parser = whole::<u32>(1, 1_000_000))]
    pub connections_max: u32,
    /// Live streams of events that are open at once; one environment has three quarters of them at most.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_STREAMS_MAX", value_name = "COUNT", default_value_t = 256, value_parser = whole::<u32>(1, 100_000))]
    pub streams_max: u32,
    /// Between two heartbeats of a live stream.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_HEARTBEAT_TIME_MS", value_name = "MILLISECONDS", default_value_t = 15_000, value_parser = whole::<u64>(10, TIME_MS_MAX))]
    pub heartbeat_time_ms: u64,
    /// Longest from a request's head to its answer, the arrival of its body included.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_REQUEST_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 15_000, value_parser = whole::<u64>(1, TIME_MS_MAX))]
    pub request_time_max_ms: u64,
    /// Longest until a TLS handshake or a request's head is complete, and that a connection may idle.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_HEAD_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 30_000, value_parser = whole::<u64>(1, TIME_MS_MAX))]
    pub head_time_max_ms: u64,
    /// Longest until a request's body is complete.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_BODY_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 10_000, value_parser = whole::<u64>(1, TIME_MS_MAX))]
    pub body_time_max_ms: u64,
    /// Longest that a client may take to read the next part of an answer.
    #[arg(long, help_heading = "Connections and times", env = "RINGFENCE_WRITE_TIME_MAX_MS", value_name = "MILLISECONDS", default_value_t = 30_000, value_parser = whole::<u64>(1, TIME_MS_MAX))]
    pub write_time_max_ms: u64,
    /// Longest that open requests are waited for when the service stops.
    #[arg(
        long,
        help_heading = "Connections and times",
        env = "RINGFENCE_DRAIN_TIME_MAX_MS",
        value_name = "MILLISECONDS",
        default_value_t = 10_000,
        value_parser = whole::<u64>(0, TIME_MS_MAX)
    )]
    pub drain_time_max_ms: u64,
}

impl Serve {
    /// The collector that traces are sent to.
    pub fn collector(&self) -> Option<Collector> {
        let general = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let either = |own: &Option<String>, name| {
            let own = own.clone().filter(|value| !value.is_empty());
            own.or_else(|| general(name))
        };
        let endpoint = either(&self.otlp_endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let service = either(&self.otlp_service_name, "OTEL_SERVICE_NAME");
        Some(Collector { endpoint, service: service.unwrap_or_else(|| "ringfence".to_owned()) })
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
}
