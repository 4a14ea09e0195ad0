//! Five times what it can do: the rest is sent back at once, and those who are let in do not
//! wait for longer than others before.
//!
//! The load has to get five times as much out of cores that it shares with the service, so the
//! database is made the narrow place: every commit sleeps (`commit_delay`), and takes so many
//! commands. What a batch may have also says what may wait; everything else is the default.
//! First there are as many clients as a commit takes, each sending when it was answered: they keep
//! the service busy, and nobody is sent back. Then requests come at a fixed rate, whether the ones
//! before were answered or not: *normal* is half of what it can do at most, and then it is five times
//! that. Only what comes in the same way can be held against each other: whoever comes at any moment
//! waits for the commit that goes on, and for the own, while who sends when it was answered comes as one ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::faults_log::{SETUP, set_up};
use super::faults_wire::{Outcome, Wire, request};
use super::scale;
use crate::instances::stop_and_verify;
use crate::load::consume;
use crate::process::Program;
use crate::support::{database, service_url, url};

const TIMES: u64 = 5;
/// How often requests are sent on.
const TICK: Duration = Duration::from_millis(2);
/// How long one may take at most that is sent back, 99 of 100, where nobody else uses the machine.
const SENT_BACK_MAX: Duration = Duration::from_millis(10);
/// What the service may have in memory, which is mostly its own start.
const MEMORY_KIB_MAX: u64 = 256 << 10;

/// Makes every commit take a while.
async fn slow_down(database: &PgConnectOptions, commit_ms: u64) {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let name = database.get_database().unwrap();
    for (setting, value) in [("commit_delay", 1000 * commit_ms), ("commit_siblings", 0)] {
        let statement = format!("ALTER DATABASE {name} SET {setting} = {value}");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// What clients were told, and how long it took from when they would have sent.
#[derive(Default)]
struct Seen {
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Seen {
    fn write_down(&mut self, outcome: &Outcome, took: Duration) {
        match outcome {
            Outcome::Answered { status: 200, .. } => self.accepted.push(took),
            Outcome::Answered { status: 503, head, body, .. } => {
                assert!(body.contains(r#""code":"overloaded""#), "{body}");
                assert!(head.contains("\r\nretry-after: 1"), "{head}");
                self.refused.push(took);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The time within which so many of a hundred were answered.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

async fn buy(wire: &mut Wire, id: &str) -> Outcome {
    wire.exchange(&request("allocation/consume", &consume(id, "Bike", 1).to_string())).await
}

/// So many clients for a while, each sending when it was answered.
async fn in_turn(base: &str, name: &'static str, clients: u64, during: Duration) -> Seen {
    let (seen, end) = (Arc::new(Mutex::new(Seen::default())), Instant::now() + during);
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let (base, seen) = (base.to_owned(), Arc::clone(&seen));
        tasks.spawn(async move {
            let mut wire = Wire::open(&base).await.unwrap();
            for count in 0.. {
                let sent = Instant::now();
                let outcome = buy(&mut wire, &format!("{name}-{number}-{count}")).await;
                seen.lock().unwrap().write_down(&outcome, sent.elapsed());
                if Instant::now() > end {
                    return;
                }
            }
        });
    }
    join(tasks).await;
    std::mem::take(&mut *seen.lock().unwrap())
}

async fn join(mut tasks: JoinSet<()>) {
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

/// So many requests a second for a while, each over a connection that nobody else uses then. What is late,
/// because the machine stood still, comes at twice the rate, and not all at once: that would be another load.
async fn at_rate(base: &str, name: &str, rate: u64, during: Duration) -> Seen {
    let at_once_max = (2 * rate * TICK.as_millis() as u64).div_ceil(1_000).max(2);
    let (seen, idle) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Mutex::new(Vec::<Wire>::new())));
    let (start, mut sent, mut tasks) = (Instant::now(), 0, JoinSet::new());
    while start.elapsed() < during {
        let due = rate * start.elapsed().as_micros() as u64 / 1_000_000;
        let due = due.min(sent + at_once_max);
        for count in sent..due {
            let (base, seen, idle) = (base.to_owned(), Arc::clone(&seen), Arc::clone(&idle));
            let scheduled = start + Duration::from_micros(1_000_000 * count / rate);
            let id = format!("{name}-{count}");
            tasks.spawn(async move {
                let free = idle.lock().unwrap().pop();
                let mut wire = match free {
                    Some(wire) => wire,
                    None => Wire::open(&base).await.unwrap(),
                };
                let outcome = buy(&mut wire, &id).await;
                seen.lock().unwrap().write_down(&outcome, scheduled.elapsed());
                idle.lock().unwrap().push(wire);
            });
        }
        sent = due;
        while let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
        }
        tokio::time::sleep(TICK).await;
    }
    join(tasks).await;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!((seen.accepted.len() + seen.refused.len()) as u64, sent, "every request is answered");
    seen
}

/// The most that a process had in memory, in KiB.
fn memory_kib_max(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_times_what_it_can_do_is_sent_back_at_once_and_harms_nobody_else() {
    // At first so few that any machine can send five times as many, whatever else it does.
    let (batch, commit_ms) = (scale(4, 16), scale(100, 20));
    let during = Duration::from_millis(scale(1_500, 20_000));
    let database = database().await;
    slow_down(&database, commit_ms).await;
    let serves = service_url(&database);
    let limits = ["--shards", "1", "--batch-commands-max", &batch.to_string()];
    let program = Program::serve(&[&["--database-url", &serves], &limits[..]].concat()).await;
    set_up(&program.base).await;
    // The first answers are slower.
    in_turn(&program.base, "first", 1, Duration::from_millis(200)).await;
    let began = count(&database).await;
    let mut usual = in_turn(&program.base, "usual", batch, during).await;
    assert_eq!(usual.refused.len(), 0, "who fits into one commit is let in");
    let rate = usual.accepted.len() as u64 * 1_000 / during.as_millis() as u64;
    // What it could do at most, which is more than what it did while others kept the machine busy.
    let most = batch * 1_000 / commit_ms;
    let mut accepted = usual.accepted.len();
    let usual = percentile(&mut usual.accepted, 99);
    let said = format!("{rate} of at most {most} commands/s are {batch} clients', p99 {usual:?}");
    let mut wrong = Vec::new();
    // In the short form there are few, and all that are under way are late when the machine stands still for a
    // moment: it is tried again. What is wrong with the service is wrong each time.
    for number in 0..scale(3, 1) {
        let normal = at_rate(&program.base, &format!("half-{number}"), most / 2, during).await;
        let seen = at_rate(&program.base, &format!("more-{number}"), TIMES * most, during).await;
        accepted += normal.accepted.len() + seen.accepted.len();
        assert!(!seen.accepted.is_empty() && !seen.refused.is_empty(), "some are let in, and some are not");
        wrong = compare(normal, seen, most, &said);
        if wrong.is_empty() {
            break;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    // Every one that was done was acknowledged, and no other: those sent back were not taken.
    let done = count(&database).await;
    assert_eq!(done - began, accepted);
    let memory = memory_kib_max(program.pid);
    assert!(memory < MEMORY_KIB_MAX, "it had {memory} KiB in memory");
    stop_and_verify([program], &url(&database), done).await;
    println!("overload: at most {memory} KiB in memory");
}

/// What is wrong with how long those waited that were let in and that were sent back, at more than it can do and
/// at half of that.
fn compare(mut normal: Seen, mut seen: Seen, most: u64, usual: &str) -> Vec<String> {
    let (before, after) = (percentile(&mut normal.accepted, 99), percentile(&mut seen.accepted, 99));
    let (median_back, median_in) = (percentile(&mut seen.refused, 50), percentile(&mut seen.accepted, 50));
    let sent_back = percentile(&mut seen.refused, 99);
    let counts = [&normal.accepted, &normal.refused, &seen.accepted, &seen.refused].map(Vec::len);
    let [normal_in, normal_back, seen_in, seen_back] = counts;
    println!(
        "overload: {usual}; of half of {most} {normal_in} were accepted, p99 {before:?}, and {normal_back} sent back; of \
         {TIMES} times {most} {seen_in} were accepted, p99 {after:?}, and {seen_back} sent back, p99 {sent_back:?} \
         (median {median_back:?})"
    );
    let mut wrong = Vec::new();
    let mut demand = |holds: bool, otherwise: String| {
        if !holds {
            wrong.push(otherwise);
        }
    };
    // What a machine adds that has other things to do; a queue without an end would add seconds.
    let slack = Duration::from_millis(scale(500, 0));
    demand(
        after <= 2 * before + slack,
        format!("those let in wait for {after:?}, those of half for {before:?}"),
    );
    demand(seen_back > seen_in, "most are let in".to_owned());
    // Who waits for a commit to be sent back waits for as long as who is let in.
    demand(
        2 * median_back < median_in,
        format!("who is sent back waits for {median_back:?}, who is let in for {median_in:?}"),
    );
    // On a machine that has nothing else to do.
    if scale(0, 1) == 1 {
        // A disk that takes twice as long for one commit has more come meanwhile than may wait for the next.
        demand(
            normal_back * 1_000 <= normal_in,
            format!("of half of what it can do {normal_back} were sent back"),
        );
        demand(sent_back <= SENT_BACK_MAX, format!("who is sent back waits for {sent_back:?}"));
    }
    wrong
}

/// How many events there are.
async fn count(database: &PgConnectOptions) -> usize {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let events: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ledger").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert!(events as usize >= SETUP);
    events as usize
}
