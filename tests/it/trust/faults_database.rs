//! A database in trouble: whoever asks is told so in time, nothing is lost, it passes by itself,
//! and readiness tells the truth all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use super::faults_kills::family;
use super::faults_log::{Load, SETUP, Site, set_up};
use super::scale;
use crate::instances::stop_and_verify;
use crate::load::{Client, consume};
use crate::process::{Halted, Program, signal};
use crate::support::{database, eventually, service_url, url};

/// Asks all the time whether the service is ready.
pub struct Watch {
    counts: Arc<[AtomicUsize; 2]>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Who ask at once, as many as there are readers: one alone may be kept waiting through a short
/// outage, because somebody else met it on the one connection that was open.
const ASKING: usize = 4;

impl Watch {
    pub fn start(base: &str) -> Watch {
        let counts: Arc<[AtomicUsize; 2]> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let ask = || {
            let (counted, stopped, base) = (Arc::clone(&counts), Arc::clone(&stop), base.to_owned());
            tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    counted[usize::from(is_ready(&base).await)].fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        };
        let tasks = (0..ASKING).map(|_| ask()).collect();
        Watch { counts, stop, tasks }
    }

    /// How often it was not ready, and how often it was, since this was last asked.
    fn take(&self) -> (usize, usize) {
        (self.counts[0].swap(0, Ordering::Relaxed), self.counts[1].swap(0, Ordering::Relaxed))
    }

    pub async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

pub async fn is_ready(base: &str) -> bool {
    let answer = reqwest::get(format!("{base}/readyz")).await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    match status {
        200 => assert_eq!(text, r#"{"status":"ok"}"#),
        _ => assert!(status == 503 && text.contains(r#""code":"database-unavailable""#), "{status} {text}"),
    }
    status == 200
}

async fn becomes_ready(base: &str) {
    eventually("it is ready", async || is_ready(base).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_database_is_told_and_passes() {
    let restarts = scale(2, 20);
    let site = Site::new(None);
    let program = site.serve().await;
    let client = set_up(&program.base).await;
    let load = Load::start(&program.base);
    let watch = Watch::start(&program.base);
    // In order, and at once.
    for how in ["INT", "QUIT"].into_iter().cycle().take(restarts as usize) {
        becomes_ready(&program.base).await;
        load.goes_on().await;
        watch.take();
        let postmaster = site.dir.postmaster().unwrap();
        signal(how, postmaster);
        eventually("another server", async || site.dir.postmaster().is_some_and(|pid| pid != postmaster))
            .await;
        load.goes_on().await;
        becomes_ready(&program.base).await;
        let (not_ready, _) = watch.take();
        assert!(not_ready > 0, "{how}: it was ready all the while");
        let (unavailable, broken) = load.take_trouble();
        assert!(unavailable["database-unavailable"] > 0, "{how}: nobody noticed");
        assert_eq!(broken, 0);
    }
    watch.end().await;
    let longest = load.longest();
    let (events, figures) = load.audit(&client, &site.database()).await;
    program.stop().await;
    site.verify(events).await;
    println!(
        "database restarts: {restarts}, in order and at once; {figures}; the longest 503 took {longest:?}"
    );
}

/// Ends all connections to a database; answers how many there were.
async fn terminate(server: &mut PgConnection, database: &str) -> u64 {
    let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query(statement).bind(database).execute(server).await.unwrap().rows_affected()
}

/// What keeps a service from connecting again, and what lets it: another is to be had at once, all
/// that may be had are in use, nobody is let in.
const DOORS: [Option<[&str; 2]>; 3] = [
    None,
    Some(["CONNECTION LIMIT 0", "CONNECTION LIMIT -1"]),
    Some(["ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true"]),
];

async fn alter(server: &mut PgConnection, database: &str, setting: &str) {
    let statement = format!("ALTER DATABASE {database} {setting}");
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_terminated_are_made_again() {
    let rounds = scale(3, 42);
    let database = database().await;
    let name = database.get_database().unwrap();
    // Of another database, so that it stays.
    let mut server = PgConnection::connect_with(&database.clone().database("postgres")).await.unwrap();
    let program = Program::serve(&["--database-url", &service_url(&database)]).await;
    let client = set_up(&program.base).await;
    let load = Load::start(&program.base);
    let watch = Watch::start(&program.base);
    let mut terminated = 0;
    for door in DOORS.into_iter().cycle().take(rounds as usize) {
        becomes_ready(&program.base).await;
        load.goes_on().await;
        load.take_trouble();
        watch.take();
        if let Some([shut, _]) = door {
            alter(&mut server, name, shut).await;
        }
        let ended = terminate(&mut server, name).await;
        assert!(ended > 0, "there was nothing to terminate");
        terminated += ended;
        if let Some([_, open]) = door {
            eventually("it is not ready", async || !is_ready(&program.base).await).await;
            let told = || load.log().unavailable.get("database-unavailable").copied().unwrap_or_default();
            let goal = told() + 100;
            eventually("the clients are told", async || told() > goal).await;
            assert!(!is_ready(&program.base).await, "nothing has changed");
            alter(&mut server, name, open).await;
        }
        load.goes_on().await;
        becomes_ready(&program.base).await;
        let (not_ready, _) = watch.take();
        assert!(not_ready > 0 || door.is_none(), "{door:?}: it was ready all the while");
        let (unavailable, broken) = load.take_trouble();
        assert!(unavailable.keys().all(|code| code == "database-unavailable"), "{door:?}: {unavailable:?}");
        assert_eq!(broken, 0);
    }
    watch.end().await;
    let longest = load.longest();
    let (events, figures) = load.audit(&client, &database).await;
    server.close().await.unwrap();
    stop_and_verify([program], &url(&database), events).await;
    println!(
        "connections terminated: {terminated} in {rounds} rounds, two of three without others to be had; \
         {figures}; the longest 503 took {longest:?}"
    );
}

/// How long one exchange may take in these tests.
const ROUND_TRIP_MAX: &str = "500";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stands_still_is_told_in_time_and_passes() {
    let rounds = scale(2, 10);
    let site = Site::new(None);
    let program = site.serve_with(&["--round-trip-max-ms", ROUND_TRIP_MAX]).await;
    let client = set_up(&program.base).await;
    let load = Load::start(&program.base);
    for _ in 0..rounds {
        becomes_ready(&program.base).await;
        load.goes_on().await;
        let processes = family(site.dir.postmaster().unwrap());
        // The parent first, so that it starts no other; it says so of those that end.
        let halted = Halted::halt(processes);
        eventually("it is not ready", async || !is_ready(&program.base).await).await;
        let told = || load.log().unavailable.values().sum::<usize>();
        let goal = told() + 100;
        eventually("the clients are told", async || told() > goal).await;
        assert!(!is_ready(&program.base).await, "nothing has changed");
        drop(halted);
        load.goes_on().await;
        becomes_ready(&program.base).await;
        let (_, broken) = load.take_trouble();
        assert_eq!(broken, 0);
    }
    let longest = load.longest();
    let (events, figures) = load.audit(&client, &site.database()).await;
    program.stop().await;
    site.verify(events).await;
    println!(
        "database stood still: {rounds} times, with {ROUND_TRIP_MAX} ms for a round trip; {figures}; the \
         longest 503 took {longest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_stuck_is_told_in_time_and_passes() {
    let rounds = scale(2, 10);
    let database = database().await;
    let serves = service_url(&database);
    let program = Program::serve(&["--database-url", &serves, "--round-trip-max-ms", ROUND_TRIP_MAX]).await;
    let client = set_up(&program.base).await;
    let load = Load::start(&program.base);
    for _ in 0..rounds {
        becomes_ready(&program.base).await;
        load.goes_on().await;
        // Every batch needs this row; queries go on.
        let mut connection = PgConnection::connect_with(&database).await.unwrap();
        let mut lock = connection.begin().await.unwrap();
        sqlx::query("SELECT FROM environment FOR UPDATE").execute(&mut *lock).await.unwrap();
        eventually("it is not ready", async || !is_ready(&program.base).await).await;
        let told = || load.log().unavailable.values().sum::<usize>();
        let goal = told() + 100;
        eventually("the clients are told", async || told() > goal).await;
        assert!(!is_ready(&program.base).await, "nothing has changed");
        client.balance("Bike").await;
        lock.rollback().await.unwrap();
        connection.close().await.unwrap();
        load.goes_on().await;
        becomes_ready(&program.base).await;
        let (_, broken) = load.take_trouble();
        assert_eq!(broken, 0);
    }
    let longest = load.longest();
    let (events, figures) = load.audit(&client, &database).await;
    stop_and_verify([program], &url(&database), events).await;
    println!(
        "statement stuck: {rounds} times, with {ROUND_TRIP_MAX} ms for a round trip; {figures}; the longest \
         503 took {longest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_the_database_hangs_is_sent_back_at_once() {
    // One that is let in would wait for longer than the test does, and half of that is long enough.
    let database = database().await;
    let url = service_url(&database);
    let times = ["--round-trip-max-ms", "20000", "--request-time-max-ms", "600000"];
    let program = Program::serve(&[&["--database-url", &url, "--shards", "1"], &times[..]].concat()).await;
    let client = set_up(&program.base).await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let mut lock = connection.begin().await.unwrap();
    sqlx::query("SELECT FROM environment FOR UPDATE").execute(&mut *lock).await.unwrap();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.post("allocation/consume", &consume("first", "Bike", 1)).await.unwrap() }
    });
    eventually("it is not ready", async || !is_ready(&program.base).await).await;
    let began = Instant::now();
    let late = client.post("allocation/consume", &consume("late", "Bike", 1)).await.unwrap();
    let took = began.elapsed();
    let at_once = Duration::from_millis(scale(5_000, 50));
    assert!(took < at_once, "it took {took:?}");
    assert_eq!((late.status, late.header("retry-after")), (503, Some("1")));
    assert!(late.text.contains(r#""code":"overloaded""#), "{}", late.text);
    assert!(!first.is_finished(), "it was sent back by itself, not with the first");
    lock.rollback().await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(first.await.unwrap().status, 200);
    let late = Client::settle(&client, "allocation/consume", &consume("late", "Bike", 1)).await;
    assert_eq!((late.status, late.header("idempotent-replayed")), (200, None));
    stop_and_verify([program], &url, SETUP + 2).await;
    println!("behind a batch that hangs: sent back after {took:?}");
}
