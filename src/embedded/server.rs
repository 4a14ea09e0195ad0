//! The server as such: how it is configured, reached, signalled and logged.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command as StdCommand, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::process::Command;
use tokio::time::timeout;

use super::discover::Tools;
use super::prepare::one_line;
use super::{CONNECTIONS_MAX, EmbeddedError};

/// The owner of the cluster, whom all connections are made as.
pub(super) const USER: &str = "ringfence";
/// The database of the service, apart from those that PostgreSQL keeps for itself.
pub(super) const DATABASE: &str = "ringfence";
/// What the server calls its socket; the number is [`PORT`].
pub(super) const SOCKET_FILE: &str = ".s.PGSQL.5432";
/// No port is opened: it is part of the name of the socket, in a directory of our own.
const PORT: u16 = 5432;

/// How to end a server: fast, which writes a checkpoint (at most 128 MB of buffers); then at once,
/// after which the postmaster itself kills its children when 5 s are over. Either keeps what
/// was committed.
pub(super) const STOP_LADDER: [(&str, Duration); 2] =
    [("INT", Duration::from_secs(30)), ("QUIT", Duration::from_secs(10))];
/// `pg_ctl kill` only sends a signal.
const SIGNAL_MAX: Duration = Duration::from_secs(10);
const LOG_BYTES_MAX: u64 = 16 << 20;
const TAIL_BYTES_MAX: u64 = 8 << 10;

/// A cluster and everything needed to run it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) tools: Tools,
    pub(super) cluster: PathBuf,
    pub(super) log: PathBuf,
    pub(super) socket: PathBuf,
    /// The postmaster that runs and that nobody has asked to stop by a drop, or 0.
    pub(super) pid: AtomicU32,
}

impl Server {
    pub(super) fn new(tools: Tools, cluster: PathBuf, log: PathBuf, socket: PathBuf) -> Self {
        Self { tools, cluster, log, socket, pid: AtomicU32::new(0) }
    }

    /// How to connect. Whatever `PG…` variables say that is meant for another server, this
    /// one is reached, and commits durably.
    pub(super) fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("localhost")
            .port(PORT)
            .socket(&self.socket)
            .username(USER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .application_name("ringfence")
            .options([("synchronous_commit", "on")])
            .disable_statement_logging()
    }

    /// The server itself, with settings that no file of the cluster can override.
    pub(super) fn postgres(&self) -> StdCommand {
        let mut postgres = self.tools.command("postgres");
        postgres.arg("-D").arg(&self.cluster);
        for (name, value) in settings() {
            postgres.arg("-c").arg(format!("{name}={value}"));
        }
        // The setting is a list, in which quotes protect commas.
        let mut socket = OsString::from("unix_socket_directories=\"");
        socket.push(self.socket.to_string_lossy().replace('"', "\"\""));
        socket.push("\"");
        postgres.arg("-c").arg(socket);
        postgres
    }

    /// Asks for a fast shutdown without waiting, for where nobody can: in a drop.
    pub(super) fn interrupt(&self) {
        let pid = self.pid.swap(0, Ordering::SeqCst);
        if pid != 0 {
            tracing::warn!(pid, "PostgreSQL was not stopped in an orderly way, asking it to end");
            let mut pg_ctl = self.signaller("INT", pid);
            if let Err(error) = pg_ctl.spawn() {
                tracing::error!(pid, %error, "cannot ask it; the next start will");
            }
        }
    }

    /// Sends a signal. There is none in the standard library, but `pg_ctl` can.
    pub(super) async fn signal(&self, name: &str, pid: u32) {
        let mut pg_ctl = Command::from(self.signaller(name, pid));
        match timeout(SIGNAL_MAX, pg_ctl.kill_on_drop(true).status()).await {
            Ok(Ok(status)) if status.success() => {}
            // Whether the process is still there is seen by whoever waits for its end.
            failure => tracing::debug!(pid, name, ?failure, "the signal was not sent"),
        }
    }

    fn signaller(&self, name: &str, pid: u32) -> StdCommand {
        let mut pg_ctl = self.tools.command("pg_ctl");
        pg_ctl.args(["kill", name, &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        pg_ctl
    }

    /// Opens the log, and says where it ends now.
    pub(super) fn open_log(&self) -> Result<(File, u64), EmbeddedError> {
        self.bound_log();
        let mut options = OpenOptions::new();
        let log = options.append(true).create(true).mode(0o600).open(&self.log);
        let log = log.map_err(EmbeddedError::file("open", &self.log))?;
        let end = log.metadata().map_err(EmbeddedError::file("read", &self.log))?.len();
        Ok((log, end))
    }

    /// Keeps the log from filling the disk, under a server that has it open: that appends, so
    /// it goes on at the start of the emptied file.
    pub(super) fn bound_log(&self) {
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            let emptied = fs::copy(&self.log, self.log.with_extension("log.1"))
                .and_then(|_| OpenOptions::new().write(true).open(&self.log)?.set_len(0));
            if let Err(error) = emptied {
                tracing::warn!(log = %self.log.display(), %error, "cannot shorten the log");
            }
        }
    }

    /// What the end of the log says, from `start` on, in one line.
    pub(super) fn last_words(&self, start: u64) -> String {
        let read = || {
            let mut log = File::open(&self.log)?;
            let end = log.metadata()?.len();
            log.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES_MAX))))?;
            let mut said = Vec::new();
            log.take(TAIL_BYTES_MAX).read_to_end(&mut said)?;
            io::Result::Ok(one_line(&String::from_utf8_lossy(&said)))
        };
        read().unwrap_or_else(|error| format!("its log cannot be read: {error}"))
    }

    /// Removes the directory of the socket, which is not to be left behind in /tmp. After a
    /// server that was killed it is not empty and stays, for the next one.
    pub(super) fn remove_socket_directory(&self) {
        let _ = fs::remove_dir(&self.socket);
    }
}

/// On the command line, where they win over postgresql.conf and ALTER SYSTEM.
fn settings() -> Vec<(&'static str, String)> {
    let fixed = [
        // Durable, whatever somebody wrote into a file to make it fast.
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        // macOS by default leaves what was synced in the cache of the disk.
        #[cfg(target_os = "macos")]
        ("wal_sync_method", "fsync_writethrough"),
        // The socket is the only way in, and only its owner's.
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("cluster_name", "ringfence"),
        // Said, because initdb goes lower when it finds little shared memory.
        ("shared_buffers", "128MB"),
        // Few checkpoints: after each, the first change of a page writes all of it to the log.
        // The price is the recovery after a crash, which replays at most this much.
        ("max_wal_size", "2GB"),
        ("checkpoint_timeout", "15min"),
        // Segments that are kept are reused; a new one is written full of zeros in the middle
        // of a commit.
        ("min_wal_size", "512MB"),
        // One segment's worth, so that a large batch is not written in pieces before it commits.
        ("wal_buffers", "16MB"),
        // Short statements only: compiling one costs more than running it.
        ("jit", "off"),
        // Parallel workers would take the cores from the writer, and their shared memory does
        // not fit into the 64 MB of /dev/shm that a container has.
        ("max_parallel_workers_per_gather", "0"),
        ("max_parallel_maintenance_workers", "0"),
        // To our file, although some distributions configure a collector of their own.
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
        // A refused statement is answered to the service, which logs it; the text of it would
        // put the data of customers into the log.
        ("log_min_error_statement", "panic"),
        // `supervise` looks for one message, in English.
        ("lc_messages", "C"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
    ];
    let numbers = [("max_connections", CONNECTIONS_MAX), ("port", u32::from(PORT))];
    let fixed = fixed.into_iter().map(|(name, value)| (name, value.to_owned()));
    fixed.chain(numbers.map(|(name, value)| (name, value.to_string()))).collect()
}
