//! A disconnecting client harms nobody: whatever it asked for, and wherever in the request or
//! its answer it leaves, the others are served, and its own command is done once or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::mix::Dice;
use super::scale;
use crate::instances::stop_and_verify;
use crate::load::{Client, consume, on_hand, place};
use crate::process::Program;
use crate::support::{bicycles, database, service_url, url};

/// More than there are shards, so that each has one at least.
const PRODUCTS: u64 = 12;
const LEAVERS: usize = 32;
const STOCK: u32 = 10_000_000;
/// How often transactions are looked at.
const LOOK_EACH: Duration = Duration::from_millis(50);

/// How long a transaction may do nothing, and be there when nobody asks for anything any more.
/// PostgreSQL ends one that does nothing for 5 s, so whoever waits for as long sees none.
fn stuck_max() -> Duration {
    Duration::from_secs(scale(3, 1))
}

fn product(number: u64) -> String {
    format!("P{}", number % PRODUCTS)
}

/// The consumes of those that leave; what else they ask for changes nothing that is counted.
fn body(number: u64) -> Value {
    consume(&format!("left-{number}"), &product(number), 1)
}

/// Something to ask for: mostly a command.
fn request(number: u64, dice: &mut Dice) -> String {
    let query = json!({"organizationId": "usmf", "productId": product(number), "dimensions": place()});
    let mut document = bicycles();
    document["calculatedMeasures"] = json!({"shop.sellable": format!("{} * pos.inbound", 1 + dice.roll(9))});
    let lines: Vec<Value> =
        (0..3).map(|line| on_hand(&format!("bulk-{number}-{line}"), &product(number + line), 0)).collect();
    let (method, path, body) = match dice.roll(16) {
        0 => ("PUT", "configuration", document),
        1 => ("GET", "configuration", Value::Null),
        2 => ("POST", "allocation/query", query),
        3 => ("POST", "onhand/bulk", json!(lines)),
        _ => ("POST", "allocation/consume", body(number)),
    };
    let body = body.to_string();
    format!(
        "{method} /api/environment/test/{path} HTTP/1.1\r\nhost: it\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Where somebody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    InHead,
    InBody,
    WithoutAnswer,
    InAnswer,
}

/// Sends some of a request, stays or reads some of the answer, and leaves.
async fn leave(address: &str, number: u64) -> Point {
    let mut dice = Dice::new(number);
    let request = request(number, &mut dice);
    let body = request.find("\r\n\r\n").unwrap() + 4;
    let point = [Point::InHead, Point::InBody, Point::WithoutAnswer, Point::InAnswer][dice.roll(4) as usize];
    let length = match point {
        Point::InHead => dice.roll(body as u64) as usize,
        Point::InBody => body + dice.roll((request.len() - body) as u64) as usize,
        _ => request.len(),
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request.as_bytes()[..length]).await.unwrap();
    match point {
        Point::InAnswer => {
            let mut some = vec![0; 1 + dice.roll(300) as usize];
            let _ = stream.read_exact(&mut some).await;
        }
        // At another moment each: before anything happened, in the middle, when all is done.
        _ => tokio::time::sleep(Duration::from_micros(dice.roll(8) * dice.roll(3000))).await,
    }
    if dice.roll(2) == 0 {
        // Not even a goodbye.
        stream.set_zero_linger().unwrap();
    }
    point
}

/// Clients that stay: each command is done within a request's time. Answers how many were, and
/// how long the slowest took.
async fn stay(client: Client, number: u64, over: watch::Receiver<bool>) -> (u64, Duration) {
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !*over.borrow() {
        let began = Instant::now();
        let id = format!("stayed-{number}-{count}");
        client.done("allocation/consume", consume(&id, &product(number + count), 1)).await;
        longest = longest.max(began.elapsed());
        count += 1;
    }
    (count, longest)
}

/// The transactions of others, and how long the longest of those that do nothing has done nothing.
async fn open_transactions(connection: &mut PgConnection) -> (i64, Duration) {
    let open = "SELECT count(*), coalesce(max(1000 * extract(epoch FROM clock_timestamp() - state_change))
                  FILTER (WHERE state LIKE 'idle in transaction%'), 0)::bigint
                FROM pg_stat_activity WHERE datname = current_database()
                AND backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";
    let row = connection.fetch_one(open).await.unwrap();
    (row.get(0), Duration::from_millis(row.get::<i64, _>(1).unsigned_abs()))
}

/// What was seen of the transactions of others.
#[derive(Default)]
struct Seen {
    looks: usize,
    /// How long one did nothing at most.
    idle: Duration,
    /// How long the machine stood still, as far as the looks were held up by it.
    held_up: Duration,
}

/// Looks at transactions until there are so many that it is over.
async fn look(connection: &mut PgConnection, is_over: impl Fn(i64) -> bool) -> Seen {
    let mut seen = Seen::default();
    loop {
        let began = Instant::now();
        let (open, idle) = open_transactions(connection).await;
        (seen.looks, seen.idle) = (seen.looks + 1, seen.idle.max(idle));
        if !is_over(open) {
            tokio::time::sleep(LOOK_EACH).await;
        }
        seen.held_up += began.elapsed().saturating_sub(LOOK_EACH);
        if is_over(open) {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_at_any_point_harms_nobody() {
    let leaves = scale(400, 10_000);
    let began = Instant::now();
    let database = database().await;
    let program =
        Program::serve(&["--database-url", &service_url(&database), "--readers-max", "2", "--shards", "2"])
            .await;
    let client = Client::new(&program.base);
    client.configure().await;
    for number in 0..PRODUCTS {
        client.allocate_all(&product(number), STOCK).await;
    }
    let (over, is_over) = watch::channel(false);
    let mut stayers = JoinSet::new();
    for number in 0..4 {
        stayers.spawn(stay(client.clone(), number, is_over.clone()));
    }
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let looking = tokio::spawn(async move {
        let seen = look(&mut connection, |_| *is_over.borrow()).await;
        (connection, seen)
    });
    let next = Arc::new(AtomicU64::new(0));
    let mut leavers = JoinSet::new();
    for _ in 0..LEAVERS {
        let (address, next) = (program.base.trim_start_matches("http://").to_owned(), Arc::clone(&next));
        leavers.spawn(async move {
            let mut points = BTreeMap::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= leaves {
                    return points;
                }
                *points.entry(leave(&address, number).await).or_insert(0) += 1;
            }
        });
    }
    let mut points = BTreeMap::new();
    while let Some(done) = leavers.join_next().await {
        done.unwrap().into_iter().for_each(|(point, count)| *points.entry(point).or_insert(0) += count);
    }
    over.send(true).unwrap();
    let (mut stayed, mut longest) = (0, Duration::ZERO);
    while let Some(done) = stayers.join_next().await {
        let (count, slowest) = done.unwrap();
        (stayed, longest) = (stayed + count, longest.max(slowest));
    }
    let (mut connection, Seen { looks, idle, held_up }) = looking.await.unwrap();
    assert!(
        idle < stuck_max() + held_up,
        "a transaction did nothing for {idle:?}, the machine for {held_up:?}"
    );
    // Nobody asks for anything now, so nothing is under way for long.
    let began_to_end = Instant::now();
    let ending = tokio::time::timeout(Duration::from_secs(60), look(&mut connection, |open| open == 0));
    let held_up = ending.await.expect("no transaction is left open").held_up;
    let took = began_to_end.elapsed();
    assert!(
        took < stuck_max() + held_up,
        "a transaction was open for {took:?}, the machine stood still for {held_up:?}"
    );
    connection.close().await.unwrap();
    let at_least = consumed(&client).await - stayed;

    // Whatever became of them, sent again they are done, and done once; every writer, both
    // readers and the change of the configuration are at hand.
    let mut done = 0;
    for number in 0..leaves {
        let answer = client.done("allocation/consume", body(number)).await;
        done += u64::from(answer.header("idempotent-replayed").is_some());
    }
    assert!(done >= at_least, "{done} repeats say that they are some, of {at_least} at least");
    assert_eq!(tokio::join!(consumed(&client), consumed(&client)), (leaves + stayed, leaves + stayed));
    client.configure().await;
    println!(
        "disconnects: {leaves} ({points:?}), {done} done all the same, 0 transactions left open, \
         none idle for longer than {idle:?} in {looks} looks, {stayed} others answered, the slowest within {longest:?}; {:?}",
        began.elapsed()
    );
    assert!(done > leaves / 10 && done < leaves, "{done}");
    let bulk = lines(&database).await;
    let events = leaves + stayed + 2 * PRODUCTS + bulk;
    stop_and_verify([program], &url(&database), events as usize).await;
}

/// How much of all products is consumed; every product answers.
async fn consumed(client: &Client) -> u64 {
    let mut sum = 0;
    for number in 0..PRODUCTS {
        let (allocated, consumed) = client.balance(&product(number)).await;
        assert_eq!(allocated + consumed, u64::from(STOCK), "{number}");
        sum += consumed;
    }
    sum
}

/// How many lines of bulks were done.
async fn lines(database: &PgConnectOptions) -> u64 {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let count = "SELECT count(*) FROM ledger WHERE id LIKE 'bulk-%'";
    let count: i64 = connection.fetch_one(count).await.unwrap().get(0);
    connection.close().await.unwrap();
    count as u64
}
