//! Each test runs real servers in a directory of its own. What happens is awaited by polling,
//! with a bound. What kills do is shown with the whole program, in `tests/it/crash.rs`.

use std::env;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor, Row};
use tokio::time::{Instant, sleep};

use super::discover::{Account, major_of, unprivileged};
use super::predecessor::Holder;
use super::prepare::{one_line, prepare, private_directory};
use super::server::{SOCKET_FILE, Server};
use super::{Embedded, EmbeddedError, supervise};

/// A directory that is removed in the end. Declare it before the server that uses it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("ringfence-test-{}-{count}", process::id()));
        DirBuilder::new().mode(0o755).create(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn insert(options: &PgConnectOptions, n: i32) {
    let mut connection = PgConnection::connect_with(options).await.unwrap();
    connection.execute("CREATE TABLE IF NOT EXISTS t (n int PRIMARY KEY)").await.unwrap();
    sqlx::query("INSERT INTO t VALUES ($1)").bind(n).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn rows(options: &PgConnectOptions) -> Vec<i32> {
    let mut connection = PgConnection::connect_with(options).await.unwrap();
    let rows = connection.fetch_all("SELECT n FROM t ORDER BY n").await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    let query = "SELECT current_setting($1)";
    sqlx::query(query).bind(name).fetch_one(connection).await.unwrap().get(0)
}

fn pid(server: &Server) -> u32 {
    server.pid.load(Ordering::SeqCst)
}

async fn refused(dir: &Path) -> EmbeddedError {
    let error = Embedded::start(dir).await.expect_err("it should not start");
    assert!(!error.to_string().contains('\n'), "more than one line: {error}");
    error
}

fn stop_and_check(embedded: Embedded) -> impl Future<Output = ()> {
    let (pid, cluster) = (pid(&embedded.server), embedded.server.cluster.clone());
    async move {
        embedded.stop().await;
        assert!(!cluster.join("postmaster.pid").exists());
        let directory = fs::read_link(format!("/proc/{pid}/cwd"));
        assert!(directory.is_err() || directory.unwrap() != cluster, "it still runs");
    }
}

#[tokio::test]
async fn starts_durable_and_private_and_starts_again() {
    let dir = Dir::new();
    let embedded = Embedded::start(&dir.data()).await.unwrap();
    insert(&embedded.options(), 1).await;

    let mut connection = PgConnection::connect_with(&embedded.options()).await.unwrap();
    for (name, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("max_wal_size", "2GB"),
    ] {
        // PostgreSQL 16 and newer no longer report the collation as a setting.
        if name != "lc_collate" || connection.server_version_num() < Some(160_000) {
            assert_eq!(setting(&mut connection, name).await, value, "{name}");
        }
    }
    connection.close().await.unwrap();

    let server = &embedded.server;
    assert_eq!(server.socket, dir.data().join("socket"));
    for private in [&server.cluster, &server.socket] {
        let found = fs::metadata(private).unwrap();
        assert_eq!((found.mode() & 0o777, found.uid()), (0o700, server.tools.account.uid));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", pid(server))).unwrap();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    if server.tools.account.switch_to_gid.is_some() {
        assert_eq!(groups.trim(), "", "supplementary groups of root are not handed on");
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid(server))).unwrap();
    let group = stat.rsplit(") ").next().unwrap().split(' ').nth(2).unwrap();
    assert_eq!(group, pid(server).to_string(), "it leads a process group of its own");
    stop_and_check(embedded).await;

    // More than what the log is allowed to grow to.
    let log = fs::File::options().append(true).open(dir.data().join("postgres.log")).unwrap();
    log.set_len(17 << 20).unwrap();
    let embedded = Embedded::start(&dir.data()).await.unwrap();
    assert_eq!(rows(&embedded.options()).await, [1]);
    stop_and_check(embedded).await;
    assert!(log.metadata().unwrap().len() < 1 << 20);
    assert!(dir.data().join("postgres.log.1").exists());
}

#[tokio::test]
async fn takes_no_stranger_for_its_server() {
    let dir = Dir::new();
    let embedded = Embedded::start(&dir.data()).await.unwrap();
    insert(&embedded.options(), 1).await;
    embedded.stop().await;

    // Of the same user, or else PostgreSQL itself knows that it is none of its own.
    let (server, lock) = prepare(&dir.data()).await.unwrap();
    let mut sleeper = server.tools.account.command(Path::new("sleep"));
    let sleeper = Process(sleeper.arg("600").spawn().unwrap());
    let stranger = sleeper.0.id();
    drop(lock);
    leave_files(&server, &format!("{stranger}\n{}\n", server.cluster.display()));
    let embedded = Embedded::start(&dir.data()).await.unwrap();
    assert_eq!(rows(&embedded.options()).await, [1]);
    embedded.stop().await;
    assert_eq!(server.holder(stranger), Holder::Stranger, "it still sleeps");

    for torn in ["", "nonsense\n", "0\n"] {
        leave_files(&server, torn);
        let embedded = Embedded::start(&dir.data()).await.unwrap();
        assert_eq!(rows(&embedded.options()).await, [1]);
        stop_and_check(embedded).await;
    }
}

/// Leaves the files of a server that was killed.
fn leave_files(server: &Server, text: &str) {
    fs::write(server.cluster.join("postmaster.pid"), text).unwrap();
    if !server.socket.exists() {
        fs::create_dir(&server.socket).unwrap();
    }
    fs::write(server.socket.join(format!("{SOCKET_FILE}.lock")), text).unwrap();
}

#[tokio::test]
async fn finds_a_socket_for_a_directory_with_an_odd_or_too_long_path() {
    let dir = Dir::new();
    let deep = dir.0.join("a, \"b\" c".repeat(10)).join("é".repeat(50));
    for (path, fits) in [(dir.0.join("a, \"b\" \\c é"), true), (deep, false)] {
        let embedded = Embedded::start(&path).await.unwrap();
        let socket = embedded.server.socket.clone();
        assert_eq!(socket.starts_with(&dir.0), fits);
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
        insert(&embedded.options(), 1).await;
        stop_and_check(embedded).await;
        assert!(!socket.exists());
    }
}

#[test]
fn trusts_no_directory_of_somebody_else() {
    let dir = Dir::new();
    let account = |uid, switch_to_gid| Account { name: "somebody".to_owned(), uid, switch_to_gid };
    let me = fs::metadata(&dir.0).unwrap().uid();
    let open = dir.0.join("open");
    DirBuilder::new().mode(0o755).create(&open).unwrap();
    let link = dir.0.join("link");
    std::os::unix::fs::symlink(&open, &link).unwrap();

    let stranger = private_directory(&open, &account(me + 1, None));
    assert!(matches!(stranger, Err(EmbeddedError::NotPrivate { .. })));
    let linked = private_directory(&link, &account(me, None));
    assert!(matches!(linked, Err(EmbeddedError::NotPrivate { .. })));
    assert_eq!(fs::metadata(&open).unwrap().mode() & 0o777, 0o755, "nothing was changed");
    private_directory(&open, &account(me, None)).unwrap();
    assert_eq!(fs::metadata(&open).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn removes_an_unfinished_cluster() {
    let dir = Dir::new();
    for leftover in ["postgres.new", "postgres.new-1"] {
        fs::create_dir_all(dir.data().join(leftover).join("base")).unwrap();
        fs::write(dir.data().join(leftover).join("PG_VERSION"), "15\n").unwrap();
    }
    // As of an earlier start: a directory that has no lock may not be ours to open to others.
    fs::write(dir.data().join("lock"), "").unwrap();
    let embedded = Embedded::start(&dir.data()).await.unwrap();
    insert(&embedded.options(), 1).await;
    stop_and_check(embedded).await;
    let names = fs::read_dir(dir.data()).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["lock", "postgres", "postgres.log"]);
}

#[tokio::test]
async fn stops_when_dropped() {
    let dir = Dir::new();
    let embedded = Embedded::start(&dir.data()).await.unwrap();
    insert(&embedded.options(), 1).await;
    drop(embedded);
    let mut again = None;
    eventually("the directory is free again", async || {
        again = Embedded::start(&dir.data()).await.ok();
        again.is_some()
    })
    .await;
    let embedded = again.unwrap();
    assert_eq!(rows(&embedded.options()).await, [1]);
    stop_and_check(embedded).await;
}

#[test]
fn stops_when_the_runtime_ends_first() {
    let dir = Dir::new();
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let embedded = first.block_on(Embedded::start(&dir.data())).unwrap();
    let server = std::sync::Arc::clone(&embedded.server);
    let postmaster = pid(&server);
    // As in a panic of main: nothing is polled any more.
    drop(first);
    drop(embedded);
    runtime().block_on(eventually("it is gone", async || {
        // It stays as a zombie of this process, which a real one would not outlive.
        server.holder(postmaster) != Holder::Predecessor
    }));
    assert!(!server.cluster.join("postmaster.pid").exists());
}

#[tokio::test]
async fn says_why_the_server_does_not_start() {
    let dir = Dir::new();
    Embedded::start(&dir.data()).await.unwrap().stop().await;
    fs::write(dir.data().join("postgres/postgresql.conf"), "nonsense = 1\n").unwrap();
    let error = refused(&dir.data()).await;
    assert!(matches!(&error, EmbeddedError::Exited { said, .. } if said.contains("nonsense")), "{error}");
}

#[tokio::test]
async fn leaves_alone_what_is_no_cluster() {
    let dir = Dir::new();
    fs::create_dir_all(dir.data().join("postgres")).unwrap();
    fs::write(dir.data().join("lock"), "").unwrap();
    fs::write(dir.data().join("postgres/precious"), "x").unwrap();
    let error = refused(&dir.data()).await;
    assert!(matches!(error, EmbeddedError::NotACluster(_)), "{error}");
    assert!(dir.data().join("postgres/precious").exists());
}

#[tokio::test]
async fn names_the_directory_that_shuts_the_server_out() {
    let dir = Dir::new();
    let shut = dir.0.join("shut");
    DirBuilder::new().mode(0o700).create(&shut).unwrap();
    match Embedded::start(&shut.join("data")).await {
        Err(EmbeddedError::NotEntered { dir, .. }) => assert_eq!(dir, shut),
        // An ordinary user shuts nobody out but others.
        Ok(embedded) => {
            assert!(embedded.server.tools.account.switch_to_gid.is_none());
            embedded.stop().await;
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_cancelled_start_leaves_nothing_running() {
    let dir = Dir::new();
    Embedded::start(&dir.data()).await.unwrap().stop().await;
    let (server, lock) = prepare(&dir.data()).await.unwrap();
    let server = std::sync::Arc::new(server);
    let postmaster = {
        let start = supervise::start(&server);
        tokio::pin!(start);
        loop {
            tokio::select! {
                biased;
                _ = &mut start => panic!("too quick to cancel"),
                () = tokio::task::yield_now() => {}
            }
            if pid(&server) != 0 {
                break pid(&server);
            }
        }
    };
    eventually("it is gone", async || server.holder(postmaster) != Holder::Predecessor).await;
    drop(lock);
}

#[test]
fn reads_the_list_of_users() {
    let passwd = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";
    let account = unprivileged(passwd).unwrap();
    assert_eq!((account.name.as_str(), account.uid, account.switch_to_gid), ("nobody", 65534, Some(65533)));
    let account = unprivileged(&format!("{passwd}postgres:x:101:104:,,,:/:/bin/bash\n")).unwrap();
    assert_eq!((account.name.as_str(), account.uid, account.switch_to_gid), ("postgres", 101, Some(104)));
    assert_eq!(unprivileged("postgres:x:0:0::/:/bin/sh\nbroken\n"), None);
}

#[test]
fn reads_versions_and_logs() {
    assert_eq!(major_of("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"), Some(15));
    assert_eq!(major_of("postgres (PostgreSQL) 19beta1\n"), Some(19));
    assert_eq!(major_of("command not found"), None);
    assert_eq!(one_line("1\n2\n\n 3\n4\n5\n"), "2 | 3 | 4 | 5");
    assert_eq!(one_line(""), "it said nothing");
}
