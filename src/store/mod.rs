//! The only SQL. Every statement is checked at build time.

pub mod activity;
pub mod alerts;
pub mod analytics;
pub mod audit;
pub mod commit;
pub mod configuration;
pub mod erasing;
pub mod follow;
pub mod forgetting;
pub mod grants;
pub mod history;
pub mod horizon;
pub mod keys;
pub mod ledger;
pub mod migrate;
mod now;
pub mod onhand;
pub mod outbox;
pub mod overview;
pub mod past;
pub mod past_onhand;
pub mod places;
pub mod query;
pub mod readers;
pub mod replay;
pub mod reservations;
pub mod schedule;
pub mod sessions;
pub mod sight;
pub mod situation;
pub mod snapshots;
pub mod state;
pub mod subjects;
pub mod switches;
mod text;
pub mod unmet;
pub mod watches;
pub mod webhooks;
pub mod whole;

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{ConnectOptions, Connection};

pub use readers::{Reader, Readers, read};
pub use sight::{Seeing, Sight};

/// The schema, forward only.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Why a statement did not do its work, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What it was decided on has changed: load again, decide again. With PostgreSQL's code for it,
    /// or none where the service itself saw it.
    #[error("what the batch was decided on has changed")]
    Conflict(&'static str),
    /// An id of the batch is in the ledger already.
    #[error("an id is in the ledger already")]
    IdTaken,
    /// The database has no room left to watch over serializable transactions: somebody else keeps
    /// one open for long, and it has to remember whatever was read meanwhile.
    #[error("the database has no room for serializable transactions: {0}")]
    Unwatched(String),
    /// The database cannot be reached, or is in no state to answer. A commit may have
    /// happened or not.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// All connections that it could have are in use.
    #[error("all connections are in use")]
    Busy,
    /// The database will not have it, whenever it is sent.
    #[error("the database refused a statement: {0}")]
    Rejected(String),
}

impl StoreError {
    /// A server that lets nobody in cannot be reached, whatever its reason is.
    fn of_connecting(error: sqlx::Error) -> StoreError {
        match StoreError::from(error) {
            StoreError::Rejected(why) => StoreError::Unavailable(why),
            other => other,
        }
    }

    /// What is wrong with a stored row that cannot be read.
    fn of_stored(self) -> String {
        match self {
            StoreError::Rejected(why) => why,
            StoreError::Conflict(_) => "it has a measure that the environment never had".to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.to_string()),
                _ => StoreError::Rejected(error.to_string()),
            };
        };
        let state = database.code().unwrap_or_default();
        let violated = database.try_downcast_ref::<PgDatabaseError>();
        match (&*state, database.constraint()) {
            // Could not be put in order, a deadlock, a lock that was not to be had in time.
            ("40001", _) => StoreError::Conflict("40001"),
            ("40P01", _) => StoreError::Conflict("40P01"),
            ("55P03", _) => StoreError::Conflict("55P03"),
            ("23505", Some("ledger_id")) => StoreError::IdTaken,
            ("23505", _) => StoreError::Conflict("23505"),
            // The ledger refuses an event whose guards did not hold: its version is NULL.
            ("23502", _) if violated.and_then(PgDatabaseError::column) == Some("version") => {
                StoreError::Conflict("23502")
            }
            ("53200", _) => StoreError::Unwatched(error.to_string()),
            // Another server is the one to ask: this one only follows it, where it refuses to
            // write, and knows no serializable transactions. (The latter's code also says that a
            // prepared statement is older than the schema; a new connection mends that too.)
            ("25006" | "0A000", _) => StoreError::Unavailable(error.to_string()),
            // Connection trouble, resources, shutdown and cancelled statements.
            (state, _) if ["08", "53", "57", "58"].contains(&&state[..2.min(state.len())]) => {
                StoreError::Unavailable(error.to_string())
            }
            _ => StoreError::Rejected(error.to_string()),
        }
    }
}

/// How a connection's transactions are kept apart.
#[derive(Clone, Copy, Debug)]
pub enum Isolation {
    /// For writers.
    Serializable,
    /// For queries, each of which is one statement and so sees one state of the books.
    ReadCommitted,
}

/// What every connection of the service is set to.
///
/// Plans: a statement is planned when its tables may still be empty, and the plan is kept.
/// Statements look rows up by their keys and read them in the order of an index, so what else a
/// plan can do is off, but for sorting, which some cannot go without; otherwise a plan made for an
/// empty table would scan a full one, or go on through it behind what was asked for. And a plan by
/// keys is as good for any parameters, so none is made anew for each. `tests/it/plans.rs` holds it.
pub fn connection_options(
    options: PgConnectOptions,
    isolation: Isolation,
    round_trip_max: Duration,
) -> PgConnectOptions {
    let timeout = format!("{}ms", round_trip_max.as_millis());
    isolated(options, isolation)
        .application_name("ringfence")
        .options([
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_material", "off"),
            ("enable_incremental_sort", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("jit", "off"),
            ("statement_timeout", timeout.as_str()),
            ("idle_in_transaction_session_timeout", "5s"),
        ])
        .disable_statement_logging()
}

/// Options whose transactions are kept apart in another way.
pub fn isolated(options: PgConnectOptions, isolation: Isolation) -> PgConnectOptions {
    let isolation = match isolation {
        Isolation::Serializable => "serializable",
        Isolation::ReadCommitted => "read committed",
    };
    options.options([("default_transaction_isolation", isolation)])
}

/// Opens a connection, within a time.
///
/// # Errors
/// When the database cannot be reached.
pub async fn connect(options: &PgConnectOptions, within: Duration) -> Result<PgConnection, StoreError> {
    match tokio::time::timeout(within, PgConnection::connect_with(options)).await {
        Ok(connection) => connection.map_err(StoreError::of_connecting),
        Err(_) => Err(StoreError::Unavailable(format!("no connection within {within:?}"))),
    }
}

/// Opens a connection for a writer, within a time.
///
/// # Errors
/// When the database cannot be reached, or is not the one that leads.
pub async fn connect_to_leader(
    options: &PgConnectOptions,
    within: Duration,
) -> Result<PgConnection, StoreError> {
    let mut connection = connect(options, within).await?;
    match tokio::time::timeout(within, refuse_follower(&mut connection)).await {
        Ok(answer) => answer.map(|()| connection).map_err(StoreError::from),
        Err(_) => Err(StoreError::Unavailable(format!("no answer within {within:?}"))),
    }
}

/// Refuses a server that takes no writes, as one does that follows another or that was put to
/// rest: what it knows may be old, and whoever has just read it would decide on that.
///
/// # Errors
/// When it is one, or does not answer.
pub async fn refuse_follower(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let read_only =
        sqlx::query_scalar!("SELECT current_setting('transaction_read_only')").fetch_one(connection).await?;
    match read_only.as_deref() {
        Some("off") => Ok(()),
        _ => Err(sqlx::Error::Protocol("the server takes no writes".to_owned())),
    }
}

/// How long a connection may have idled and is used without asking whether it still lives: to
/// ask is a round trip, as many as the query itself needs.
const IDLE_UNASKED_MAX: Duration = Duration::from_secs(1);

/// Whether a reader's connection can be used: one that idled is asked first.
///
/// # Errors
/// When it does not answer.
pub async fn is_alive(connection: &mut PgConnection, idle_for: Duration) -> Result<bool, sqlx::Error> {
    if idle_for > IDLE_UNASKED_MAX {
        connection.ping().await?;
    }
    Ok(true)
}

fn unanswered(limit: Duration) -> StoreError {
    StoreError::Unavailable(format!("no answer within {limit:?}"))
}

/// Whether the database has every migration that this program knows.
///
/// # Errors
/// When the database does not answer.
pub async fn is_migrated(connection: &mut PgConnection) -> Result<bool, StoreError> {
    // The table belongs to the migrator and may not exist: the cache of checked statements
    // cannot know it.
    let applied: Result<i64, sqlx::Error> =
        sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success").fetch_one(connection).await;
    match applied {
        Ok(applied) => Ok(applied as usize >= MIGRATIONS.iter().count()),
        // It is not there, or not for this role.
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P01" | "42501")) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Bounds the statements of the transaction that is open otherwise than those of the
/// command path; 0 does not bound them. For what reads an environment whole.
///
/// # Errors
/// When the database does not answer.
pub async fn bound_statements(connection: &mut PgConnection, most: Duration) -> Result<(), StoreError> {
    let most = format!("{}ms", most.as_millis());
    sqlx::query_scalar!("SELECT set_config('statement_timeout', $1, true)", most)
        .fetch_one(connection)
        .await?;
    Ok(())
}
