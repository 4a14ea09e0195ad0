//! Puts the parts together: database, engine, HTTP; and takes them apart again in order.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::check::{self, Settled};
use crate::deliver::send::{self, Sender};
use crate::embedded::{Embedded, EmbeddedError};
use crate::follow::{self, Followers};
use crate::http::tls::{Tls, TlsError};
use crate::http::{self, server};
use crate::oidc::Tokens;
use crate::settings::{Database, Serve, TLS_POLL};
use crate::store::{self, Isolation, Readers, Seeing, Sight, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::{deliver, demo, engine, otlp};

/// Longest that the start waits for the database.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest that the writers have, when the service stops and open requests have ended, for what
/// nobody waits for any more. With the 10 s of the requests it is over before 15 s are.
const WRITERS_DRAIN_MAX: Duration = Duration::from_secs(3);
/// Longest that it may take to write the last unmet demand, with that of before which is being written.
const LAST_UNMET_MAX: Duration = Duration::from_secs(1);
/// Connections for what is delivered to webhooks: so short that two serve many deliveries.
const DELIVERERS_MAX: u32 = 2;
/// Longest that messages that are being sent may take to be done, from when the service stops.
const DELIVERERS_STOP_MAX: Duration = Duration::from_secs(2);
/// Longest that it may take to send the last spans.
const LAST_TRACES_MAX: Duration = Duration::from_secs(1);
/// Longest that the readers' connections may take to say goodbye.
const READERS_CLOSE_MAX: Duration = Duration::from_secs(1);

/// Why the service did not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; choose another with --listen")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: std::io::Error,
    },
    /// Everybody could use it.
    #[error(
        "{0} can be reached from other machines, and without authentication anybody there could do anything: give --auth (RINGFENCE_AUTH=true) and make a key with `ringfence key create`, or listen on 127.0.0.1"
    )]
    Exposed(std::net::SocketAddr),
    /// The settings do not go together.
    #[error("{0}")]
    Settings(String),
    /// More than one.
    #[error("{}", .0.iter().map(StartError::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<StartError>),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// There is no TLS to be had.
    #[error("TLS cannot be had: {0}")]
    Tls(String),
    /// The system has no random numbers.
    #[error("the system has no random numbers: {0}")]
    Random(getrandom::Error),
    /// What is to be done with keys cannot be.
    #[error("{0}")]
    Key(String),
    /// The database URL is not one.
    #[error("the database URL is not readable: {0}")]
    Url(String),
    /// The private server did not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database cannot be connected to.
    #[error("cannot open the database {place}: {error}; check --database-url and that its server runs")]
    Connect {
        /// Its name and server; no password.
        place: String,
        /// Why.
        error: StoreError,
    },
    /// The database is not one of the service, or not yet.
    #[error(
        "the database has not the schema of this version: run `ringfence migrate` as the role that owns it, with --service-role for the one that serves"
    )]
    NotMigrated,
    /// The role cannot be given what the service needs.
    #[error("cannot let another role serve: {0}")]
    Role(String),
    /// The role that it runs as was not given what it needs.
    #[error(
        "the database's role {role:?} lacks what the service needs ({lacks}): run `ringfence migrate --service-role {role}{erasing}` as the role that owns the schema"
    )]
    NotGranted {
        /// The role.
        role: String,
        /// What it lacks.
        lacks: String,
        /// The flag for who may erase.
        erasing: &'static str,
    },
    /// The database does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The demo could not be set up.
    #[error("the environment demo could not be set up: {0}")]
    Demo(String),
    /// Standard output is closed or full.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    /// There is no thread to be had for a writer.
    #[error("a writer could not be started: {0}; the system's limit on threads may be too low")]
    Threads(std::io::Error),
    /// Signals cannot be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signals(std::io::Error),
    /// A writer ended by itself.
    #[error("a writer failed; the log says why")]
    Writer,
}

impl StartError {
    /// All of some.
    fn of(mut problems: Vec<StartError>) -> StartError {
        if problems.len() == 1 { problems.remove(0) } else { StartError::Several(problems) }
    }
}

/// A database with the server that it is on, where that is the service's own.
pub struct Books {
    /// How to connect.
    pub options: PgConnectOptions,
    embedded: Option<Embedded>,
}

impl Books {
    /// Connects to the database that the settings name, or starts the private server.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn open(settings: &Database) -> Result<Books, StartError> {
        match settings.url() {
            Some(url) => {
                // The parser takes any scheme.
                if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
                    return Err(StartError::Url("it does not begin with postgres://".to_owned()));
                }
                let options =
                    PgConnectOptions::from_str(&url).map_err(|error| StartError::Url(error.to_string()))?;
                // The driver would log statements that take long, with all that is in them.
                Ok(Books { options: options.disable_statement_logging(), embedded: None })
            }
            None => Books::private(settings.data_dir()).await,
        }
    }

    async fn private(data_dir: &Path) -> Result<Books, StartError> {
        let embedded = Embedded::start(data_dir).await?;
        Ok(Books { options: embedded.options(), embedded: Some(embedded) })
    }

    /// Opens a connection for a single use.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn connect(&self) -> Result<PgConnection, StartError> {
        let options = &self.options;
        store::connect(options, CONNECT_MAX).await.map_err(|error| {
            let database = options.get_database().unwrap_or(options.get_username());
            let place = format!("{database} at {}:{}", options.get_host(), options.get_port());
            StartError::Connect { place, error }
        })
    }

    /// Opens a connection to a database that must have the schema, for whom `sight` says.
    ///
    /// # Errors
    /// When the database does not answer, or has another schema or none.
    pub async fn connect_migrated(&self, sight: Sight<'_>) -> Result<Seeing, StartError> {
        let mut connection = self.connect().await?;
        if !store::is_migrated(&mut connection).await? {
            return Err(StartError::NotMigrated);
        }
        Ok(Seeing::of(connection, sight).await?)
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn migrate(&self) -> Result<(), StartError> {
        let mut connection = self.connect().await?;
        if !store::is_migrated(&mut connection).await? {
            if !store::grants::may_migrate(&mut connection).await? {
                return Err(StartError::NotMigrated);
            }
            store::migrate::migrate(connection, &store::MIGRATIONS).await?;
        }
        Ok(())
    }

    /// Gives a role what the service needs, and no more.
    ///
    /// # Errors
    /// When the database does not do it, or it cannot be that role.
    pub async fn grant(&self, role: &str, may_erase: bool) -> Result<(), StartError> {
        let mut connection = self.connect().await?;
        store::grants::grant(&mut connection, role, may_erase).await?.map_err(StartError::Role)
    }

    /// Makes sure that the role which it connects as may do what the service does, and warns of what it
    /// does without.
    ///
    /// # Errors
    /// When it may not, or the database does not answer.
    pub async fn check_role(&self, allow_erasing: bool) -> Result<(), StartError> {
        let mut connection = self.connect().await?;
        let missing = store::grants::missing(&mut connection, allow_erasing).await?;
        if missing.is_empty() {
            return self.warn_of_role(&mut connection).await;
        }
        let erasing = if allow_erasing { " --allow-erasing" } else { "" };
        let (role, lacks) = (self.options.get_username().to_owned(), missing.join(", "));
        Err(StartError::NotGranted { role, lacks, erasing })
    }

    /// Warns of what the role which it connects as does without. The private server has one role for all.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn warn_of_role(&self, connection: &mut PgConnection) -> Result<(), StartError> {
        if self.embedded.is_none() {
            for weakness in store::grants::weaknesses(connection).await? {
                tracing::warn!("{weakness}");
            }
        }
        Ok(())
    }

    /// Stops the private server, where there is one.
    pub async fn close(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

/// A service that is bound to its address and has its database, but does not serve yet.
pub struct App {
    listener: TcpListener,
    tls: Option<Tls>,
    tokens: Option<Tokens>,
    books: Books,
    settings: Serve,
}

impl App {
    /// Binds the address, opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When one of these cannot be done.
    pub async fn build(settings: Serve) -> Result<App, StartError> {
        let Settled { listener, tls, tokens, mut problems } = check::settle(&settings).await;
        if let Some(short) = check::files_short(&settings) {
            tracing::warn!("{short}");
        }
        if let Some(why) = send::untrusted() {
            tracing::warn!("{why}");
        }
        // A private server is not worth starting for what will not be served.
        if !problems.is_empty() && settings.database.url().is_none() {
            return Err(StartError::of(problems));
        }
        let books = match Books::open(&settings.database).await {
            Ok(books) => books,
            Err(error) => {
                problems.push(error);
                return Err(StartError::of(problems));
            }
        };
        let tried = match problems.is_empty() {
            true => match books.migrate().await {
                Ok(()) => books.check_role(settings.allow_erasing).await,
                failed => failed,
            },
            false => books.connect().await.map(drop),
        };
        problems.extend(tried.err());
        match listener {
            Some(listener) if problems.is_empty() => Ok(App { listener, tls, tokens, books, settings }),
            _ => {
                books.close().await;
                Err(StartError::of(problems))
            }
        }
    }

    /// Serves until `stop` becomes true; then finishes what was taken in, and ends.
    /// `ready` is called with the service's URL once it serves.
    ///
    /// # Errors
    /// When the service cannot start, or fails while it runs.
    pub async fn run(self, ready: impl FnOnce(&str), stop: watch::Receiver<bool>) -> Result<(), StartError> {
        let App { listener, tls, tokens, books, settings } = self;
        let result = serve(listener, (tls, tokens), &books.options, &settings, ready, stop).await;
        books.close().await;
        result
    }
}

/// What is measured, and who sends the traces where they are on.
fn measure(settings: &Serve, stop: &watch::Sender<bool>) -> Result<(Arc<Metrics>, JoinSet<()>), StartError> {
    let mut exporting = JoinSet::new();
    let Some(collector) = settings.collector() else { return Ok((Arc::default(), exporting)) };
    // An operator's collector is in their own network.
    let sender = Sender::new(true).map_err(StartError::Tls)?;
    let (metrics, spans) = Metrics::traced(settings.trace_ratio.0).map_err(StartError::Random)?;
    exporting.spawn(otlp::run(collector, sender, spans, Arc::clone(&metrics.spans), stop.subscribe()));
    Ok((Arc::new(metrics), exporting))
}

async fn serve(
    listener: TcpListener,
    (tls, tokens): (Option<Tls>, Option<Tokens>),
    options: &PgConnectOptions,
    settings: &Serve,
    ready: impl FnOnce(&str),
    mut stop: watch::Receiver<bool>,
) -> Result<(), StartError> {
    let round_trip_max = settings.round_trip_max();
    let stop_traces = watch::channel(false).0;
    let (metrics, mut exporting) = measure(settings, &stop_traces)?;
    let for_writers = store::connection_options(options.clone(), Isolation::Serializable, round_trip_max);
    let for_readers = store::connection_options(options.clone(), Isolation::ReadCommitted, round_trip_max);
    let readers = Readers::new(for_readers.clone(), settings.readers_max, round_trip_max);
    let deliverers = Readers::new(for_readers.clone(), DELIVERERS_MAX, round_trip_max);
    let (handle, mut writers) = engine::start(&for_writers, &settings.engine_limits(), &metrics.writers)
        .map_err(StartError::Threads)?;
    if settings.demo {
        demo::set_up(&readers, &handle).await?;
    }
    let draining = Arc::new(AtomicBool::new(false));
    let (stop_serving, serving) = watch::channel(false);
    let shared = http::Shared::new(
        handle,
        readers.clone(),
        settings.http_limits(),
        Arc::clone(&metrics),
        Arc::clone(&draining),
        serving.clone(),
    );
    let shared = match tokens {
        Some(tokens) => shared.with_tokens(tokens),
        None => shared,
    };
    let unmet = shared.unmet();
    let router = http::router(shared);
    let address = listener
        .local_addr()
        .map_err(|error| StartError::Listen { address: settings.listen.to_string(), error })?;
    let beside = || Followers::new(for_readers.clone(), settings.follow_limits(), metrics.panics.clone());
    let (mut delivering, mut counting, mut followers) = (beside(), beside(), beside());
    let (limits, traces, stopping) = (settings.deliver_limits(), metrics.traces.clone(), serving.clone());
    delivering.run("delivery", move || {
        deliver::run(deliverers.clone(), limits.clone(), traces.clone(), stopping.clone())
    });
    let (stop_counting, stopping) = watch::channel(false);
    let (counted, pool) = (Arc::clone(&unmet), readers.clone());
    counting.run("unmet", move || follow::unmet::run(Arc::clone(&counted), pool.clone(), stopping.clone()));
    followers.start("activity", follow::activity::Activity::default);
    followers.start("watches", follow::watches::Watches::default);
    followers.start("snapshots", || follow::snapshots::Snapshots);
    let (measured, pool) = (Arc::clone(&metrics), readers.clone());
    followers.run("over-allocated", move || follow::overallocated::run(Arc::clone(&measured), pool.clone()));
    let (pool, days) = (readers.clone(), settings.alerts_kept_days);
    followers.run("forgetting", move || deliver::forgetting::run(pool.clone(), days));
    let acceptors = tls.as_ref().map(Tls::acceptors);
    let mut following_files = JoinSet::new();
    let scheme = if tls.is_some() { "https" } else { "http" };
    if let Some(tls) = tls {
        // From here on it ends the process no more: who has no TLS has nothing to be read again.
        let hangup = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
        following_files.spawn(tls.follow(TLS_POLL, hangup));
    }
    ready(&format!("{scheme}://{address}"));
    // A writer ends only when its queue does. When one ends before, it panicked: its
    // products would be refused for ever, so the service stops as a whole and is restarted.
    let limits = settings.server_limits();
    let server = server::serve(listener, router, acceptors, metrics, limits, serving);
    let mut server = std::pin::pin!(server);
    let mut failed = false;
    tokio::select! {
        () = &mut server => {}
        _ = stop.wait_for(|stop| *stop) => {}
        _ = writers.join_next() => failed = true,
    }
    let delivered_until = Instant::now() + DELIVERERS_STOP_MAX;
    draining.store(true, Ordering::Relaxed);
    tracing::info!("stopping");
    let _ = stop_serving.send(true);
    server.await;
    let drained = tokio::time::timeout(WRITERS_DRAIN_MAX, async {
        while let Some(ended) = writers.join_next().await {
            failed |= !matches!(ended, Ok(Ok(())));
        }
    });
    failed |= drained.await.is_err();
    followers.stop().await;
    let _ = stop_counting.send(true);
    let counted_until = Instant::now() + LAST_UNMET_MAX;
    let last_unmet = async {
        counting.stop_at(counted_until).await;
        let last = follow::unmet::hand_on(&unmet, &readers);
        if !matches!(tokio::time::timeout_at(counted_until, last).await, Ok(Ok(()))) {
            tracing::warn!("the unmet demand of the last second could not be written");
        }
    };
    // A delivery that is cut off is sent again, by whoever is next to deliver it.
    tokio::join!(delivering.stop_at(delivered_until), last_unmet);
    let _ = stop_traces.send(true);
    let _ = tokio::time::timeout(LAST_TRACES_MAX, exporting.join_next()).await;
    exporting.abort_all();
    // A connection that went back while the database did not answer is asked whether it lives,
    // and not given up on by the pool.
    let _ = tokio::time::timeout(READERS_CLOSE_MAX, readers.close()).await;
    if failed { Err(StartError::Writer) } else { Ok(()) }
}
