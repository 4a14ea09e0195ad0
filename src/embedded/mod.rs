//! The private PostgreSQL: a server that this process starts, watches and stops, so that
//! `ringfence serve` needs nothing but the PostgreSQL programs installed on the machine.
//!
//! ```text
//! DIR/lock          held by the one process that may use DIR; says its pid
//! DIR/postgres      the cluster; appears by an atomic rename, so it is whole or not there
//! DIR/postgres.log  what the server says; postgres.log.1 is the part before
//! DIR/socket        0700; under the temporary directory where this path would be too long
//! ```
//!
//! - `discover`: which programs to run, and as whom
//! - `prepare`: the directories and the cluster
//! - `server`: how it is configured, reached, signalled and logged
//! - `predecessor`: what a server that was killed, or whose owner was, left behind
//! - `supervise`: one life of the server after the other
//!
//! **Architecture invariant:** whoever may delete, signal or start anything in DIR holds
//! DIR/lock. All recovery rests on that: what is found there has no other owner.
//!
//! **Architecture invariant:** the server never shares fate with a signal to the service's
//! process group. Ctrl-C reaches the service only, which drains, and then stops the server.
//! (systemd signals whole control groups: say `KillMode=mixed` in the unit.)

mod discover;
mod error;
mod predecessor;
mod prepare;
mod server;
mod supervise;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use error::EmbeddedError;
use server::Server;

/// How many connections the private server accepts, for whoever sizes a pool over it.
/// Bounded, because each is a process with memory of its own.
pub const CONNECTIONS_MAX: u32 = 64;

/// A running private PostgreSQL.
///
/// It comes back by itself when it is killed: connections break, and a pool that reconnects
/// finds it again at the same address. Call [`Embedded::stop`] when done. A drop only asks
/// the server to stop and does not wait; what is then left is recovered by the next start.
#[derive(Debug)]
pub struct Embedded {
    server: Arc<Server>,
    /// Dropped, it ends the supervisor.
    stop: Option<oneshot::Sender<()>>,
    supervisor: JoinHandle<()>,
}

impl Embedded {
    /// Starts the server of `data_dir`, whatever a previous owner left there: nothing, half a
    /// cluster, a server that still runs, or files of one that was killed.
    ///
    /// Returns once the server accepts connections and the database exists. When the future
    /// is dropped before that, the server is asked to stop.
    ///
    /// # Errors
    ///
    /// One line each, which says what was wrong and what to do; nothing is left running.
    pub async fn start(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let (server, lock) = prepare::prepare(data_dir).await?;
        let server = Arc::new(server);
        let postmaster = supervise::start(&server).await?;
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervise::supervise(postmaster, lock, stopped));
        Ok(Self { server, stop: Some(stop), supervisor })
    }

    /// How to connect: over the Unix socket, to the database `ringfence`, as its owner. The
    /// same for as long as this value lives, across restarts of the server.
    pub fn options(&self) -> PgConnectOptions {
        self.server.options(server::DATABASE)
    }

    /// Stops the server and waits until it is gone: connections are closed, what committed
    /// is on disk and so is a checkpoint. A server that does not manage that in time is
    /// stopped harder, at the price of a recovery at the next start; nothing is lost.
    pub async fn stop(mut self) {
        self.stop = None;
        if let Err(error) = (&mut self.supervisor).await {
            tracing::error!(%error, "the supervisor of the private PostgreSQL failed");
        }
    }
}

impl Drop for Embedded {
    /// After [`Embedded::stop`] there is no server left and this does nothing. Otherwise the
    /// supervisor may have no runtime left to finish on, hence the signal from here.
    fn drop(&mut self) {
        self.stop = None;
        self.server.interrupt();
    }
}
