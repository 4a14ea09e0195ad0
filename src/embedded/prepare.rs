//! The directories of the private server, and the making of its cluster.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, process};

use tokio::process::Command;
use tokio::time::timeout;

use super::EmbeddedError;
use super::discover::{Account, Tools};
use super::server::{SOCKET_FILE, Server, USER};

/// `initdb` takes a second or two; this is for a disk that hangs.
const INIT_MAX: Duration = Duration::from_secs(180);

/// The address of a Unix socket: 108 bytes on Linux, 104 on macOS, with the final zero.
const SOCKET_BYTES_MAX: usize = 103;

/// Claims the data directory and makes everything in it that the server needs. The file is the
/// lock: the claim lasts until it is dropped.
pub(super) async fn prepare(data_dir: &Path) -> Result<(Server, File), EmbeddedError> {
    let dir = create(data_dir)?;
    let cluster = dir.join("postgres");
    let account = Account::choose(&cluster)?;
    admit(&dir, &account)?;
    let lock = claim(&dir)?;

    let version = fs::read_to_string(cluster.join("PG_VERSION")).ok();
    let made_by = version.and_then(|version| version.trim().parse().ok());
    let tools = Tools::find(&cluster, made_by, account)?;
    let holds_something = fs::read_dir(&cluster).is_ok_and(|mut entries| entries.next().is_some());
    if made_by.is_none() && holds_something {
        return Err(EmbeddedError::NotACluster(cluster));
    }
    remove_unfinished(&dir);
    if made_by.is_none() {
        initialise(&tools, &dir, &cluster).await?;
    }
    let socket = socket_directory(&dir, &tools.account)?;
    Ok((Server::new(tools, cluster, dir.join("postgres.log"), socket), lock))
}

/// Creates the data directory, shut to others, and returns its one absolute path.
fn create(dir: &Path) -> Result<PathBuf, EmbeddedError> {
    let failed = EmbeddedError::file;
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed("create", dir)(error)),
        _ => dir.canonicalize().map_err(failed("open", dir)),
    }
}

/// Lets the account through to the cluster, where this process is root and it is another.
///
/// The data directory itself stays root's, so that nothing the account does there can lead
/// root astray; its group may pass through. Directories above are not ours to change, nor is
/// one that was not made for this.
fn admit(dir: &Path, account: &Account) -> Result<(), EmbeddedError> {
    let Some(gid) = account.switch_to_gid else { return Ok(()) };
    let entries = fs::read_dir(dir).map_err(EmbeddedError::file("read", dir))?;
    let is_ours = entries.count() == 0 || dir.join("lock").exists();
    // From the root down, so that the one named in the error is the first to correct.
    let mut steps: Vec<_> = dir.ancestors().collect();
    steps.reverse();
    let Some(barred) = steps.into_iter().find(|step| !account.enters(step)) else { return Ok(()) };
    if barred == dir && is_ours {
        let mode = fs::metadata(dir).map_err(EmbeddedError::file("read", dir))?.mode() & 0o7777;
        let opened = chown(dir, None, Some(gid))
            .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(mode | 0o010)));
        opened.map_err(EmbeddedError::file("change the permissions of", dir))?;
        if account.enters(dir) {
            return Ok(());
        }
    }
    Err(EmbeddedError::NotEntered { dir: barred.to_owned(), user: account.name.clone() })
}

/// Takes DIR/lock. The system gives it back when this process ends, however it ends; and the
/// server never inherits it, because every file of the standard library is close-on-exec.
fn claim(dir: &Path) -> Result<File, EmbeddedError> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut lock = options.open(&path).map_err(EmbeddedError::file("open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message: one that cannot be read is as good as one not yet written.
            let _ = lock.read_to_string(&mut pid);
            let pid = if pid.is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
            return Err(EmbeddedError::InUse { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(cause)) => {
            return Err(EmbeddedError::File { action: "lock", path, cause });
        }
    }
    let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", process::id()));
    written.map_err(EmbeddedError::file("write", &path))?;
    Ok(lock)
}

/// Removes what an `initdb` that was killed left behind. One that still runs may refill it; that
/// does no harm, as every attempt has a name of its own.
fn remove_unfinished(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_name().as_bytes().starts_with(b"postgres.new")) {
        let path = entry.path();
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed an unfinished cluster"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished cluster yet")
            }
        }
    }
}

/// Makes the cluster beside its place, and moves it there when it is whole and on disk.
#[allow(clippy::disallowed_methods, reason = "the time only makes a name that is new")]
async fn initialise(tools: &Tools, dir: &Path, cluster: &Path) -> Result<(), EmbeddedError> {
    let failed = EmbeddedError::file;
    let nonce = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let new = dir.join(format!("postgres.new-{nonce}"));
    private_directory(&new, &tools.account)?;

    let mut initdb = Command::from(tools.command("initdb"));
    initdb.arg("-D").arg(&new).arg(format!("--username={USER}"));
    // Text is compared byte by byte: the same everywhere, and indexes outlive an upgrade of
    // the system's locales. "trust", because only this user gets as far as the socket.
    initdb.args(["--encoding=UTF8", "--locale=C", "--auth=trust", "--data-checksums"]);
    let output = match timeout(INIT_MAX, initdb.kill_on_drop(true).output()).await {
        Ok(output) => output.map_err(tools.failed("initdb"))?,
        Err(_) => {
            let output = format!("not done after {} s", INIT_MAX.as_secs());
            return Err(EmbeddedError::InitFailed { output });
        }
    };
    if !output.status.success() {
        let output = one_line(&String::from_utf8_lossy(&output.stderr));
        return Err(EmbeddedError::InitFailed { output });
    }
    // initdb has synced the files; the rename is only durable once the directory is.
    fs::rename(&new, cluster).map_err(failed("move the new cluster to", cluster))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))?;
    tracing::info!(cluster = %cluster.display(), "made a new PostgreSQL cluster");
    Ok(())
}

/// Where the socket goes: into the data directory, or, where its path is too long or not text
/// (sqlx needs text), under a short one that is always the same for this data directory.
fn socket_directory(dir: &Path, account: &Account) -> Result<PathBuf, EmbeddedError> {
    let short = format!("ringfence-{:016x}", fnv1a(dir.as_os_str().as_bytes()));
    let temporary = [env::temp_dir(), PathBuf::from("/tmp")].map(|dir| dir.join(&short));
    let fits = |path: &Path| {
        let bytes = path.to_str().map(|path| path.len() + "/".len() + SOCKET_FILE.len());
        path.is_absolute() && bytes.is_some_and(|bytes| bytes <= SOCKET_BYTES_MAX)
    };
    let mut candidates = [dir.join("socket")].into_iter().chain(temporary);
    let chosen = candidates.find(|c| fits(c) && c.parent().is_some_and(|p| account.enters(p)));
    chosen.ok_or_else(|| EmbeddedError::NoSocketDirectory(dir.join("socket")))
}

/// Makes sure that `path` is a directory that only the account (and root) may enter. In a
/// directory that all may write to, somebody else may have put something there first.
pub(super) fn private_directory(path: &Path, account: &Account) -> Result<(), EmbeddedError> {
    let failed = EmbeddedError::file;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(failed("create", path)(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(failed("read", path))?;
    let me = if account.switch_to_gid.is_some() { 0 } else { account.uid };
    if found.is_dir() && found.uid() == me {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(failed("change the permissions of", path))?;
        if let Some(gid) = account.switch_to_gid {
            lchown(path, Some(account.uid), Some(gid)).map_err(failed("change the owner of", path))?;
        }
        return Ok(());
    }
    // Root changes nothing about what the account owns, which could put a link in its place.
    if found.is_dir() && found.uid() == account.uid && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(EmbeddedError::NotPrivate { dir: path.to_owned(), uid: account.uid })
}

/// A hash that is the same in every build, unlike that of the standard library.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The last words of a program, fit for an error of one line.
pub(super) fn one_line(said: &str) -> String {
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(4)..];
    if last.is_empty() { "it said nothing".to_owned() } else { last.join(" | ") }
}
