//! One life of the server after the other: start, watch, stop.

use std::fs::File;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, sleep, timeout};

use super::EmbeddedError;
use super::prepare::private_directory;
use super::server::{STOP_LADDER, Server};

/// Replaying 2 GB of the log after a crash takes a slow disk minutes, and giving up would only
/// make the next start do it again.
const READY_MAX: Duration = Duration::from_secs(300);
/// For one connection and the making of the database; then it is tried again.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A server that ran this long was well: the next restart is not part of a series.
const STEADY: Duration = Duration::from_secs(60);
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// PostgreSQL says this while processes of a killed server still run, which end by themselves.
const ORPHANS_REMAIN: &str = "pre-existing shared memory block";

/// One life of the server. Dropped while it runs, it is asked to stop.
#[derive(Debug)]
pub(super) struct Postmaster {
    server: Arc<Server>,
    child: Child,
    /// Where in the log this life begins.
    log_start: u64,
}

impl Postmaster {
    /// Starts the server, which then still has to become ready.
    pub(super) async fn launch(server: &Arc<Server>) -> Result<Self, EmbeddedError> {
        server.retire_predecessor().await?;
        // Again at every launch: whatever tidies up /tmp may have taken it.
        private_directory(&server.socket, &server.tools.account)?;
        let (log, log_start) = server.open_log()?;
        let same = log.try_clone().map_err(EmbeddedError::file("open", &server.log))?;
        let mut postgres = server.postgres();
        postgres.stdout(log).stderr(same);
        let child = Command::from(postgres).spawn().map_err(server.tools.failed("postgres"))?;
        server.pid.store(child.id().unwrap_or(0), Ordering::SeqCst);
        tracing::info!(pid = child.id(), cluster = %server.cluster.display(), "PostgreSQL started");
        Ok(Self { server: Arc::clone(server), child, log_start })
    }

    /// Waits for its end, and says why it ended.
    async fn exit(&mut self) -> EmbeddedError {
        let status = self.child.wait().await;
        self.server.pid.store(0, Ordering::SeqCst);
        EmbeddedError::Exited {
            status: status.map_or_else(|error| error.to_string(), |s: ExitStatus| s.to_string()),
            said: self.server.last_words(self.log_start),
            log: self.server.log.clone(),
        }
    }

    /// Waits until it serves the service's database.
    async fn ready(&mut self, deadline: Instant) -> Result<(), EmbeddedError> {
        let server = Arc::clone(&self.server);
        let mut next_report = Instant::now() + REPORT_INTERVAL;
        loop {
            let attempt = tokio::select! {
                exit = self.exit() => return Err(exit),
                attempt = timeout(ATTEMPT_MAX, create_database(&server)) => attempt,
            };
            let log = server.log.clone();
            let cause = match attempt {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(cause)) if is_refusal(&cause) => {
                    return Err(EmbeddedError::Database { cause, log });
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() > deadline {
                let waited_s = READY_MAX.as_secs();
                return Err(EmbeddedError::NotReady { waited_s, cause, log });
            }
            if Instant::now() > next_report {
                tracing::info!(%cause, "PostgreSQL is still starting");
                next_report += REPORT_INTERVAL;
            }
            sleep(POLL).await;
        }
    }

    /// Stops it: fast, then at once, then by force. None of them loses what was committed.
    async fn stop(mut self) {
        for (signal, patience) in STOP_LADDER {
            // No number: its end has been seen.
            let Some(pid) = self.child.id() else { break };
            self.server.signal(signal, pid).await;
            if timeout(patience, self.child.wait()).await.is_err() {
                tracing::warn!(pid, signal, ?patience, "PostgreSQL does not stop");
            }
        }
        if self.child.id().is_some()
            && let Err(error) = self.child.kill().await
        {
            tracing::error!(%error, "PostgreSQL cannot be killed, the next start will try again");
        }
        self.server.pid.store(0, Ordering::SeqCst);
        self.server.remove_socket_directory();
        tracing::info!("PostgreSQL stopped");
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // Not when its end was seen: the number noted is by then that of its successor.
        if self.child.id().is_some() {
            self.server.interrupt();
        }
    }
}

/// Connects, and creates the database when this is the first start that gets so far.
async fn create_database(server: &Server) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(&server.options("postgres")).await?;
    let exists = "SELECT 1 FROM pg_database WHERE datname = 'ringfence'";
    if connection.fetch_optional(exists).await?.is_none() {
        connection.execute("CREATE DATABASE ringfence").await?;
    }
    connection.close().await
}

/// Whether the server answered, and with something else than "not yet" (57P03).
fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() != Some("57P03"))
}

/// Starts the server and waits until it is ready; if need be, first for what is left of one
/// that was killed.
pub(super) async fn start(server: &Arc<Server>) -> Result<Postmaster, EmbeddedError> {
    let deadline = Instant::now() + READY_MAX;
    let mut backoff = BACKOFF_MIN;
    loop {
        let mut postmaster = Postmaster::launch(server).await?;
        match postmaster.ready(deadline).await {
            Ok(()) => return Ok(postmaster),
            Err(EmbeddedError::Exited { said, .. })
                if said.contains(ORPHANS_REMAIN) && Instant::now() < deadline =>
            {
                tracing::info!("processes of a killed PostgreSQL still run, waiting for their end");
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            Err(error) => {
                postmaster.stop().await;
                return Err(error);
            }
        }
    }
}

/// Keeps the server running until the other end of `stop` is dropped, then stops it. Holds the lock on
/// the data directory for as long.
pub(super) async fn supervise(mut postmaster: Postmaster, _lock: File, mut stop: oneshot::Receiver<()>) {
    let server = Arc::clone(&postmaster.server);
    let mut log_check = interval(LOG_CHECK_INTERVAL);
    let mut backoff = BACKOFF_MIN;
    let mut started = Instant::now();
    loop {
        let exit = tokio::select! {
            // In this order, so that an end that was asked for is not taken for an accident.
            biased;
            _ = &mut stop => return postmaster.stop().await,
            exit = postmaster.exit() => exit,
            _ = log_check.tick() => {
                server.bound_log();
                continue;
            }
        };
        tracing::error!(%exit, "PostgreSQL ended unasked, restarting it");
        if started.elapsed() > STEADY {
            backoff = BACKOFF_MIN;
        }
        postmaster = loop {
            tokio::select! {
                biased;
                _ = &mut stop => return server.remove_socket_directory(),
                () = sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
            match Postmaster::launch(&server).await {
                Ok(postmaster) => break postmaster,
                Err(error) => tracing::error!(%error, "cannot restart PostgreSQL, trying again"),
            }
        };
        started = Instant::now();
    }
}
