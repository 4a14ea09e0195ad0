//! What is measured of trouble, and while there is some.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::task::JoinSet;

use super::{scrape, value};
use crate::proxy::{Line, Proxy};
use crate::requests::{allocation, problem, stock};
use crate::support::{Service, as_service, bicycles, database, eventually};
use crate::trust::bad_commit;

const DATABASE_UP: &str = "ringfence_database_up";

/// Waits until it is measured that the database is there, and said: to look takes a second at most, and a busy
/// machine may need more.
async fn is_told_that_it_is_up(service: &Service) {
    eventually("it is told", async || value(&scrape(service).await, DATABASE_UP, &[]) == 1.0).await;
    eventually("it is ready", async || service.get("/readyz").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_the_database_hangs_is_told_before_who_measures_gives_up() {
    let proxy = Proxy::to(&database().await).await;
    // As long for an exchange as it is by default, and longer than the default time-out of Prometheus.
    let service = Service::start_on(proxy.database.clone(), &["--round-trip-max-ms", "20000"]).await;
    is_told_that_it_is_up(&service).await;
    proxy.set(Line::Mute);
    let began = Instant::now();
    eventually("it is told", async || value(&scrape(&service).await, DATABASE_UP, &[]) == 0.0).await;
    // One good answer is good for a second, and then it is waited for another: two, and who measures waits ten.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let connections = proxy.connections();
    let service = Arc::new(service);
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let [one, other] = [Arc::clone(&service), Arc::clone(&service)];
        asking.spawn(async move { assert_eq!(value(&scrape(&one).await, DATABASE_UP, &[]), 0.0) });
        asking.spawn(async move { _ = problem(&other.get("/readyz").await, "database-unavailable") });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let more = proxy.connections() - connections;
    assert!(more < 10, "for each who asks the database was connected to: {more}");
    proxy.set(Line::Open);
    is_told_that_it_is_up(&service).await;
    Arc::into_inner(service).unwrap().stop().await;
}

#[tokio::test]
async fn who_measures_and_asks_whether_it_is_ready_takes_no_connection_from_anybody() {
    let service = Service::start_on(database().await, &["--readers-max", "1"]).await;
    // As long as these are locked, the one reader waits, and so would everybody behind it.
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let mut lock = connection.begin().await.unwrap();
    lock.execute("LOCK TABLE environment IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let client = service.client.clone();
    let path = format!("{}/api/environment/test/configuration", service.base);
    let stuck = tokio::spawn(async move { client.get(path).send().await.unwrap().status() });
    eventually("it waits", async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'environment'::regclass
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *lock).await.unwrap() > 0
    })
    .await;
    is_told_that_it_is_up(&service).await;
    assert!(!stuck.is_finished());
    lock.rollback().await.unwrap();
    assert_eq!(stuck.await.unwrap(), 404);
    service.stop().await;
}

#[tokio::test]
async fn a_bug_is_counted_from_nought() {
    let service = Service::with_stock(10).await;
    assert!(
        scrape(&service).await.contains("\nringfence_bugs_total 0\n"),
        "the first one would not be seen to come"
    );
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    refuse(&mut connection, "XX000", "").await;
    let path = "/api/environment/test/onhand";
    let body = stock("a", 1).to_string();
    let request = service.client.post(format!("{}{path}", service.base)).body(body);
    assert_eq!(request.header("content-type", "application/json").send().await.unwrap().status(), 500);
    let text = scrape(&service).await;
    assert_eq!(value(&text, "ringfence_bugs_total", &[]), 1.0);
    let labels = ["code=\"internal\"", "http_request_method=\"POST\"", "/onhand\""];
    assert_eq!(value(&text, "ringfence_refusals_total", &labels), 1.0);
    service.stop().await;
}

/// Has the ledger refuse whatever is written into it, as PostgreSQL does for many reasons.
async fn refuse(connection: &mut PgConnection, sqlstate: &str, with: &str) {
    let refuse = format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{sqlstate}'{with}; END $$;
         CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON ledger EXECUTE FUNCTION refuse()"
    );
    connection.execute(AssertSqlSafe(refuse)).await.unwrap();
}

#[tokio::test]
async fn batches_that_are_decided_again_are_counted_by_what_postgresql_said() {
    let service = Service::with_stock(10).await;
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    for (sqlstate, with, code) in [
        ("40001", "", "overloaded"),
        ("40P01", "", "overloaded"),
        ("55P03", "", "overloaded"),
        ("23502", ", COLUMN = 'version'", "overloaded"),
        ("23505", "", "overloaded"),
        ("23505", ", CONSTRAINT = 'ledger_id'", "overloaded"),
        ("53200", "", "overloaded"),
        // As a server that shuts down.
        ("57P01", "", "database-unavailable"),
    ] {
        refuse(&mut connection, sqlstate, with).await;
        let before = scrape(&service).await;
        service.refuse("allocation/allocate", allocation("a", "Online", 1), code).await;
        let after = scrape(&service).await;
        let label = if code == "overloaded" { sqlstate } else { "" };
        for state in ["", "23502", "23505", "40001", "40P01", "53200", "55P03"] {
            let name = format!("sqlstate=\"{state}\"");
            let of = |text| value(text, "ringfence_retries_total", &[&name]) as u64;
            let more = of(&after) - of(&before);
            let expected = if code == "overloaded" { 8 } else { 2 };
            assert_eq!(more, if state == label { expected } else { 0 }, "{sqlstate}{with}: {state:?}");
        }
    }
    connection.execute("DROP TRIGGER refuse ON ledger").await.unwrap();
    service.grant("allocation/allocate", allocation("a", "Online", 1)).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_commits_whose_answer_was_lost_are_counted_with_how_they_ended() {
    const LINES: usize = 5;
    const BULKS: usize = 60;
    let database = database().await;
    let (broken, breaks) = bad_commit(&database, 4).await;
    let service = Service::start_on(broken, &["--shards", "1"]).await;
    eventually("it is configured", async || service.configure(bicycles()).await.status == 200).await;
    let ended = async |how: &str| {
        let label = format!("ended=\"{how}\"");
        value(&scrape(&service).await, "ringfence_ambiguous_commands_total", &[&label]) as usize
    };
    for how in ["committed", "not_committed", "unknown"] {
        assert_eq!(ended(how).await, 0);
    }
    let broken_so_far = || {
        let counters = [&breaks.before, &breaks.during, &breaks.after];
        counters.map(|counter| counter.load(Ordering::Relaxed))
    };
    let before = broken_so_far();
    for bulk in 0..BULKS {
        let lines: Vec<_> = (0..LINES).map(|line| stock(&format!("{bulk}-{line}"), 1)).collect();
        eventually("it is done", async || {
            service.post("onhand/bulk?atomic=true", json!(lines)).await.status == 200
        })
        .await;
    }
    let after = broken_so_far();
    let [partly, working, done] = std::array::from_fn(|at| after[at] - before[at]);
    let (committed, not_committed, unknown) =
        (ended("committed").await, ended("not_committed").await, ended("unknown").await);
    let all = committed + not_committed + unknown;
    // Where a batch waited for its turn its commit comes later than what it writes: a break before is none of one.
    let most = LINES * (partly + working + done);
    assert!(all <= most && all >= most / 2, "{committed} {not_committed} {unknown}: {breaks:?}");
    for commands in [committed, not_committed, unknown] {
        assert_eq!(commands % LINES, 0, "{committed} {not_committed} {unknown}: all of a bulk or nothing");
    }
    // What the database had done it had done, and what it had not heard to its end it had not.
    assert!(committed > 0 && committed <= LINES * (done + working), "{committed}: {breaks:?}");
    assert!(not_committed > 0 && not_committed <= LINES * (partly + working), "{not_committed}: {breaks:?}");
    service.stop().await;
}

#[tokio::test]
async fn a_transaction_that_stays_open_is_seen_until_it_ends() {
    let service = Service::with_stock(1).await;
    let name = "ringfence_oldest_transaction_seconds";
    // Of its own role: to see those of others it would have to be given pg_read_all_stats.
    let mut connection = PgConnection::connect_with(&as_service(&service.database)).await.unwrap();
    let began = Instant::now();
    let mut open = connection.begin().await.unwrap();
    open.execute("SELECT 1").await.unwrap();
    eventually("it is seen", async || value(&scrape(&service).await, name, &[]) > 1.5).await;
    let age = value(&scrape(&service).await, name, &[]);
    assert!(Duration::from_secs_f64(age) <= began.elapsed(), "{age}");
    open.rollback().await.unwrap();
    eventually("it is gone", async || value(&scrape(&service).await, name, &[]) < 1.5).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_writer_is_counted_by_the_command_and_its_age_is_told_while_it_is_stuck() {
    let service = Arc::new(Service::start_on(database().await, &["--shards", "1"]).await);
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 100)).await;
    // As long as this row is locked, nothing is committed.
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let mut lock = connection.begin().await.unwrap();
    lock.execute("SELECT FROM environment FOR UPDATE").await.unwrap();
    let (waiting, oldest) = ("ringfence_queue_commands", "ringfence_oldest_command_seconds");
    let read = async |name| value(&scrape(&service).await, name, &["shard=\"0\""]);
    assert_eq!((read(waiting).await, read(oldest).await), (0.0, 0.0));
    let mut tasks = JoinSet::new();
    let mut send = |path: &'static str, body| {
        let service = Arc::clone(&service);
        tasks.spawn(async move { assert_eq!(service.post(path, body).await.status, 200) });
    };
    let lines = |kind: &str, count| -> Vec<_> {
        (0..count).map(|line| stock(&format!("{kind} {line}"), 1)).collect()
    };
    send("onhand", stock("in the works", 1));
    eventually("it is in the works and does not wait any more", async || {
        read(oldest).await > 0.0 && read(waiting).await == 0.0
    })
    .await;
    send("onhand", stock("waits", 1));
    send("onhand/bulk?atomic=true", json!(lines("together", 7)));
    send("onhand/bulk", json!(lines("apart", 5)));
    eventually("all wait", async || read(waiting).await == 13.0).await;
    eventually("it gets old", async || read(oldest).await > 1.0).await;
    let before = scrape(&service).await;
    lock.rollback().await.unwrap();
    while let Some(sent) = tasks.join_next().await {
        sent.unwrap();
    }
    // The writer rests a moment after it has answered.
    eventually("nothing waits", async || (read(waiting).await, read(oldest).await) == (0.0, 0.0)).await;
    let after = scrape(&service).await;
    let sum = |text| value(text, "ringfence_batch_commands_sum", &[]);
    assert_eq!(
        (sum(&before), sum(&after)),
        (2.0, 15.0),
        "the stock, the one in the works, and then the others"
    );
    Arc::into_inner(service).unwrap().stop().await;
}
