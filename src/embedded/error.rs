//! What can go wrong, in words for whoever has to correct it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private PostgreSQL could not start. Every message is one line that says what was
/// wrong and what to do next; it already contains its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum EmbeddedError {
    /// No usable installation on this machine.
    #[error(
        "no PostgreSQL {oldest} or newer (initdb, postgres and pg_ctl) was found on PATH or in \
         the usual places: install it (Debian and Ubuntu: apt-get install postgresql; Fedora: \
         dnf install postgresql-server; Alpine: apk add postgresql; macOS: brew install \
         postgresql) or give --database-url"
    )]
    NotInstalled { oldest: u32 },
    /// A cluster can only be run by the major version that made it.
    #[error(
        "{} was made by PostgreSQL {major}, which was not found here: install that version \
         (Debian: apt-get install postgresql-{major}) or choose another --data-dir",
        cluster.display()
    )]
    OtherVersion { cluster: PathBuf, major: u32 },
    /// Another process holds DIR/lock.
    #[error(
        "data directory {} is used by another ringfence instance (process {pid}): stop that one \
         or choose another --data-dir",
        dir.display()
    )]
    InUse { dir: PathBuf, pid: String },
    /// Root needs somebody to run the server as, because PostgreSQL refuses to run as root.
    #[error(
        "PostgreSQL does not run as root, and neither a user `postgres` nor `nobody` is in \
         /etc/passwd: add one (useradd --system postgres) or run ringfence as an ordinary user"
    )]
    NoUser,
    /// The unprivileged user cannot get to the data directory.
    #[error(
        "PostgreSQL runs as the user {user} here, who may not enter {}: run `chmod o+x` on that \
         directory or choose another --data-dir",
        dir.display()
    )]
    NotEntered { dir: PathBuf, user: String },
    /// Something else than a cluster is where the cluster belongs.
    #[error(
        "{} exists but is no PostgreSQL cluster: move it away or choose another --data-dir",
        .0.display()
    )]
    NotACluster(PathBuf),
    /// A directory that is to be private belongs to somebody else, or is open to others.
    #[error(
        "{} is to be private to the server, but is not a directory that only the user with the \
         id {uid} may enter: remove it or choose another --data-dir",
        dir.display()
    )]
    NotPrivate { dir: PathBuf, uid: u32 },
    /// No directory has a path short enough for the address of a Unix socket.
    #[error(
        "no path short enough for a Unix socket: tried {} and the temporary directories; \
         choose a --data-dir with a shorter path",
        .0.display()
    )]
    NoSocketDirectory(PathBuf),
    /// The file system refused.
    #[error(
        "cannot {action} {}: {cause}; check its owner, its permissions and the space on the \
         disk, or choose another --data-dir",
        path.display()
    )]
    File { action: &'static str, path: PathBuf, cause: io::Error },
    /// A program could not be run at all.
    #[error(
        "cannot run {} as the user {user}: {cause}; check that this user may execute it",
        program.display()
    )]
    Program { program: PathBuf, user: String, cause: io::Error },
    /// The cluster could not be made.
    #[error("initdb failed, correct what it says and start again: {output}")]
    InitFailed { output: String },
    /// A server that an earlier instance left running does not end.
    #[error(
        "process {pid} is the PostgreSQL of an earlier instance and does not stop: end it (kill \
         -QUIT {pid}) and start again"
    )]
    Orphan { pid: u32 },
    /// The server ended before it accepted a connection.
    #[error("PostgreSQL ended while starting ({status}): {said}; correct that, see {}", log.display())]
    Exited { status: String, said: String, log: PathBuf },
    /// The server runs but does not accept connections.
    #[error(
        "PostgreSQL did not accept a connection within {waited_s} s ({cause}): see {}, and \
         start again to give it more time",
        log.display()
    )]
    NotReady { waited_s: u64, cause: String, log: PathBuf },
    /// The server refused its own owner.
    #[error("PostgreSQL does not open its database: {cause}; correct that, see {}", log.display())]
    Database { cause: sqlx::Error, log: PathBuf },
}

impl EmbeddedError {
    /// For `map_err`: the file system refused `action` on `path`.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::File { action, path, cause }
    }
}
