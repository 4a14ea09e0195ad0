//! What an earlier server left behind: the process itself, when only its owner was killed, or
//! files that name a process, when it was.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::EmbeddedError;
use super::server::{SOCKET_FILE, STOP_LADDER, Server};

const POLL: Duration = Duration::from_millis(50);

impl Server {
    /// Clears the way for a new server: stops the one that an instance which was killed left
    /// running, and removes what would let the next one take a stranger for it.
    pub(super) async fn retire_predecessor(&self) -> Result<(), EmbeddedError> {
        let path = self.cluster.join("postmaster.pid");
        match fs::read_to_string(&path) {
            Ok(text) => self.retire(&path, &text).await?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(EmbeddedError::file("read", &path)(error)),
        }
        // The lock of the socket names a process too, which may be a stranger by now.
        for name in [SOCKET_FILE.to_owned(), format!("{SOCKET_FILE}.lock")] {
            remove(&self.socket.join(name))?;
        }
        Ok(())
    }

    async fn retire(&self, pid_file: &Path, text: &str) -> Result<(), EmbeddedError> {
        // A file torn by a power failure names nobody. A minus marks a single-user server.
        let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
        let Some(pid @ 1..) = pid.map(i32::unsigned_abs) else { return remove(pid_file) };
        match self.holder(pid) {
            // Left for PostgreSQL, which also learns from the file whether any other process
            // of that server is still at work on the cluster.
            Holder::Nobody => return Ok(()),
            Holder::Stranger => {
                tracing::info!(
                    pid,
                    "removing a stale postmaster.pid, which names a process that is no server of ours"
                );
                return remove(pid_file);
            }
            Holder::Predecessor => {}
        }
        tracing::warn!(pid, "an earlier instance left its PostgreSQL running, stopping it");
        for (signal, patience) in STOP_LADDER {
            self.signal(signal, pid).await;
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if self.holder(pid) != Holder::Predecessor {
                    return Ok(());
                }
                sleep(POLL).await;
            }
        }
        Err(EmbeddedError::Orphan { pid })
    }

    /// Who has the number `pid` now. A server works in its cluster and has it among its
    /// arguments, which is all there is to see where this process may not look into another
    /// user's (as root in a container) or where there is no /proc.
    pub(super) fn holder(&self, pid: u32) -> Holder {
        let cluster = self.cluster.as_os_str().as_bytes();
        let process = Path::new("/proc").join(pid.to_string());
        let is_predecessor = if process.exists() {
            match fs::read_link(process.join("cwd")) {
                Ok(directory) => directory == self.cluster,
                Err(_) => fs::read(process.join("cmdline"))
                    .is_ok_and(|text| text.split(|byte| *byte == 0).any(|a| a == cluster)),
            }
        } else if Path::new("/proc/self").exists() {
            return Holder::Nobody;
        } else {
            let mut ps = Command::new("ps");
            match ps.args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output() {
                Ok(output) if output.stdout.is_empty() => return Holder::Nobody,
                Ok(output) => output.stdout.windows(cluster.len()).any(|w| w == cluster),
                Err(_) => false,
            }
        };
        if is_predecessor { Holder::Predecessor } else { Holder::Stranger }
    }
}

/// Who has a process number that a server once had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    Stranger,
    Predecessor,
}

fn remove(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(EmbeddedError::file("remove", path)(error)),
        _ => Ok(()),
    }
}
