//! A full disk: nothing is acknowledged that could not be written, and it passes by itself when
//! there is room again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::faults_database::is_ready;
use super::faults_log::{Load, set_up};
use super::scale;
use crate::process::{DataDir, Program, User, command, ringfence, run, run_ringfence};
use crate::support::{eventually, url};

/// A file system of its own for the data, in memory, so small that it is soon full. It goes
/// with the last process that sees it, and no other process does.
const MOUNT: &str = r#"mount -t tmpfs -o size=192m,mode=0755 tmpfs "$0" && exec "$@""#;

/// What a command has to begin with to have that file system.
fn unshare(directory: &Path) -> Vec<String> {
    let rights: &[&str] = match User::other_than_root() {
        Some(_) => &[],
        None => &["--user", "--map-current-user", "--keep-caps"],
    };
    let words = [rights, &["--mount", "sh", "-c", MOUNT, directory.to_str().unwrap()]].concat();
    words.into_iter().map(str::to_owned).collect()
}

fn command_with_small_disk(directory: &Path, arguments: &[&str]) -> tokio::process::Command {
    let prefix = unshare(directory);
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    command(Path::new("unshare"), &[&prefix, arguments].concat())
}

/// Writes a file until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_is_told_and_passes_when_there_is_room() {
    let rounds = scale(1, 5);
    // Only for its name, and to be removed.
    let dir = DataDir::new();
    let directory = Path::new(dir.path()).parent().unwrap().to_owned();
    let tried = run(command_with_small_disk(&directory, &["true"])).await;
    if tried.code != Some(0) {
        // Where everything must be tried, as .ci/run has it.
        assert!(std::env::var_os("CI").is_none(), "nothing can be mounted here: {}", tried.stderr);
        eprintln!("not tried, because nothing can be mounted here: {}", tried.stderr);
        return;
    }
    let program = ringfence(&[]).as_std().get_program().to_str().unwrap().to_owned();
    let serve = [&program, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir.path()];
    let program = Program::start(command_with_small_disk(&directory, &serve)).await;
    // What that process sees there.
    let inside = PathBuf::from(format!("/proc/{}/root{}", program.pid, dir.path()));
    let database = sqlx::postgres::PgConnectOptions::new_without_pgpass();
    let database = database.socket(inside.join("socket")).username("ringfence").database("ringfence");
    let client = set_up(&program.base).await;
    let load = Load::start(&program.base);
    let ballast = inside.parent().unwrap().join("ballast");
    for _ in 0..rounds {
        eventually("it is ready", async || is_ready(&program.base).await).await;
        load.goes_on().await;
        load.take_trouble();
        fill(&ballast);
        let told = || load.log().unavailable.get("database-unavailable").copied().unwrap_or_default();
        eventually("the clients are told", async || told() > 100).await;
        eventually("it is not ready", async || !is_ready(&program.base).await).await;
        let acknowledged = load.log().acknowledged.len();
        let goal = told() + 100;
        eventually("the clients are told again", async || told() > goal).await;
        assert_eq!(load.log().acknowledged.len(), acknowledged, "nothing can be written");
        for _ in 0..10 {
            assert!(!is_ready(&program.base).await, "nothing can be written");
        }
        std::fs::remove_file(&ballast).unwrap();
        load.goes_on().await;
        eventually("it is ready", async || is_ready(&program.base).await).await;
        let (_, broken) = load.take_trouble();
        assert_eq!(broken, 0, "the service itself was there all the time");
    }
    let longest = load.longest();
    let (events, figures) = load.audit(&client, &database).await;
    let verified = run_ringfence(&["verify", "--database-url", &url(&database)]).await;
    let expected = format!("{events} events in 1 environments replayed, 0 differences");
    assert_eq!((verified.code, verified.summary()), (Some(0), &*expected), "{}", verified.stderr);
    program.stop().await;
    println!("disk full (a tmpfs of 192 MB): {rounds} times; {figures}; the longest 503 took {longest:?}");
}
