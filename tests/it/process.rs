//! The program itself, as a process of its own, and the data directories that it runs in.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{is_owner_s, patiently};
use crate::trust::scale;

/// Longest that the program may take to start or to end; a bound, not an expectation. In the long
/// form there are a million events to verify.
fn patience() -> Duration {
    Duration::from_secs(scale(60, 3_600))
}

/// The program, with nothing of the test's own environment that it listens to.
pub fn ringfence(arguments: &[&str]) -> Command {
    command(Path::new(env!("CARGO_BIN_EXE_ringfence")), arguments)
}

/// Another program that is to run like it.
pub fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().kill_on_drop(true);
    let inherited = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"];
    command.envs(inherited.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a process that ended left behind.
#[derive(Debug)]
pub struct Ended {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The last line of what it wrote.
    pub fn summary(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

/// Runs a command to its end.
pub async fn run(mut command: Command) -> Ended {
    let output = command.spawn().unwrap().wait_with_output();
    let output = timeout(patience(), output).await.expect("it should have ended").unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the program to its end.
pub async fn run_ringfence(arguments: &[&str]) -> Ended {
    run(ringfence(arguments)).await
}

/// `ringfence serve`, once it serves.
pub struct Program {
    pub base: String,
    pub pid: u32,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    stderr: JoinHandle<()>,
}

impl Program {
    /// Starts it on a free port, patient where it is not told otherwise.
    pub async fn serve(arguments: &[&str]) -> Program {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], &*patiently(arguments)].concat();
        Program::start(ringfence(&arguments)).await
    }

    /// Starts a command that serves, as a role that row-level security holds for.
    pub async fn start(command: Command) -> Program {
        let values = command.as_std().get_envs().filter_map(|(_, value)| value);
        let is_owner = command.as_std().get_args().chain(values).any(is_owner_s);
        assert!(!is_owner, "row-level security does not hold for who owns the tables: service_url");
        Program::start_as_anybody(command).await
    }

    /// Starts a command that serves, as whoever it says.
    pub async fn start_as_anybody(mut command: Command) -> Program {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut piped = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let said = Arc::clone(&log);
        let stderr = tokio::spawn(async move {
            let mut line = String::new();
            while piped.read_line(&mut line).await.unwrap() > 0 {
                said.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let mut line = String::new();
        timeout(patience(), stdout.read_line(&mut line)).await.expect("it should serve by now").unwrap();
        let Some(base) = line.strip_prefix("listening on ").map(|base| base.trim().to_owned()) else {
            stderr.await.unwrap();
            panic!("it says {line:?} and {}", log.lock().unwrap());
        };
        Program { base, pid: child.id().unwrap(), child, stdout, log, stderr }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Ended {
        let status = timeout(patience(), self.child.wait()).await.expect("it should have ended").unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).await.unwrap();
        self.stderr.await.unwrap();
        let stderr = self.log.lock().unwrap().clone();
        Ended { code: status.code(), stdout: rest, stderr }
    }

    /// Stops it in order, which it must be able to.
    pub async fn stop(self) {
        self.stop_with(|_| ()).await;
    }

    /// Stops it in order, and looks at its log.
    pub async fn stop_with(self, look: impl FnOnce(&str)) {
        signal("TERM", self.pid);
        let ended = self.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        look(&ended.stderr);
    }

    /// Kills it with no time for a last word.
    pub async fn kill(self) -> Ended {
        signal("KILL", self.pid);
        self.end().await
    }
}

/// Sends a signal to a process, which must exist.
pub fn signal(name: &str, pid: u32) {
    assert!(try_signal(name, pid), "{pid} cannot be sent {name}");
}

fn try_signal(name: &str, pid: u32) -> bool {
    let mut kill = StdCommand::new("kill");
    let status = kill.args([format!("-{name}"), pid.to_string()]).stderr(Stdio::null()).status();
    status.unwrap().success()
}

/// Stopped processes, which go on when it is dropped.
pub struct Halted(Vec<u32>);

impl Halted {
    /// Stops those that did not end by themselves after they were listed, as a connection's
    /// server process does when its client gives it up.
    pub fn halt(mut pids: Vec<u32>) -> Halted {
        pids.retain(|&pid| {
            let is_halted = try_signal("STOP", pid);
            assert!(is_halted || !runs(pid), "{pid} cannot be stopped");
            is_halted
        });
        assert!(!pids.is_empty(), "nothing is left to be stopped");
        Halted(pids)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // One that was about to end when it was stopped may be gone as soon as its parent goes on.
        for &pid in &self.0 {
            try_signal("CONT", pid);
        }
    }
}

/// Whether a process runs; one that ended may go on as a zombie where nobody looks after
/// orphans.
pub fn runs(pid: u32) -> bool {
    let state = StdCommand::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    !matches!(state.stdout.first(), None | Some(b'Z'))
}

/// A data directory that goes when the test does, with the server in it.
pub struct DataDir {
    parent: PathBuf,
    data: String,
}

impl DataDir {
    pub fn new() -> DataDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("ringfence-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let parent = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o755).create(&parent).unwrap();
        let data = parent.join("data").into_os_string().into_string().unwrap();
        DataDir { parent, data }
    }

    /// A data directory of another user, and the program where that user may execute it.
    pub fn of(user: &User) -> (DataDir, PathBuf) {
        let dir = DataDir::new();
        let program = dir.parent.join("ringfence");
        let original = env!("CARGO_BIN_EXE_ringfence");
        if fs::hard_link(original, &program).is_err() {
            fs::copy(original, &program).unwrap();
        }
        chown(&dir.parent, Some(user.uid), Some(user.gid)).unwrap();
        (dir, program)
    }

    pub fn path(&self) -> &str {
        &self.data
    }

    /// The pid that the server in it noted: it runs, unless it was killed.
    pub fn postmaster(&self) -> Option<u32> {
        let text = fs::read_to_string(Path::new(&self.data).join("postgres/postmaster.pid")).ok()?;
        text.lines().next()?.parse().ok()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let deadline = Instant::now() + patience();
        if let Some(pid) = self.postmaster() {
            try_signal("INT", pid);
            while runs(pid) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // Processes of a server that was killed end by themselves, and write until then.
        while fs::remove_dir_all(&self.parent).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// An account without rights.
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// `nobody`, when this process is root and so may become that.
    pub fn other_than_root() -> Option<User> {
        let number = |arguments: &[&str]| -> Option<u32> {
            let output = StdCommand::new("id").args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().ok()
        };
        if number(&["-u"])? != 0 {
            return None;
        }
        Some(User { uid: number(&["-u", "nobody"])?, gid: number(&["-g", "nobody"])? })
    }
}
