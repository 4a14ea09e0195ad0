//! An orderly stop leaves nobody in doubt.
//!
//! The rule: a request is answered 200 or refused for good, or its connection is closed without
//! a byte of an answer, and then it was not done: repeated, it is new. No 503, no half answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::faults_log::{PRODUCTS, SETUP, STOCK, set_up};
use super::faults_wire::{Outcome, Wire, request};
use super::scale;
use crate::instances::stop_and_verify;
use crate::load::{Client, back_off, consume};
use crate::metrics::value;
use crate::process::{Program, ringfence, signal};
use crate::proxy::{Line, Proxy};
use crate::support::{Service, bicycles, database, eventually, service_url, url};

const CLIENTS: usize = 32;
const STOP_MAX: Duration = Duration::from_secs(15);

/// What the clients saw.
#[derive(Default)]
struct Log {
    /// Every id that was done, with its event's place in the ledger.
    done: BTreeMap<String, i64>,
    refused: usize,
    /// Connections that were closed under a request, which then was not done.
    closed: usize,
}

/// Sends commands over one connection after the other until it is told to stop.
async fn go_on(number: usize, service: watch::Receiver<Option<String>>, log: Arc<Mutex<Log>>) {
    let (mut wire, mut was_closed): (Option<Wire>, bool) = (None, false);
    let mut count = 0;
    loop {
        let Some(base) = service.borrow().clone() else { return };
        let Some(mut open) = (match wire.take() {
            Some(open) => Some(open),
            None => Wire::open(&base).await,
        }) else {
            back_off().await;
            continue;
        };
        let is_too_much = count % 10 == 1;
        let id = format!("{number}-{count}");
        let quantity = if is_too_much { 2 * STOCK } else { 1 };
        let body = consume(&id, PRODUCTS[count % PRODUCTS.len()], quantity).to_string();
        match open.exchange(&request("allocation/consume", &body)).await {
            Outcome::Answered { status, head, body, stays_open } => {
                let mut log = log.lock().unwrap();
                match (status, is_too_much) {
                    (200, false) => {
                        let is_repeat = head.contains("idempotent-replayed");
                        assert!(!is_repeat, "{id} was done, and its connection closed without an answer");
                        let event =
                            serde_json::from_str::<Value>(&body).unwrap()["eventId"].as_i64().unwrap();
                        log.done.insert(id, event);
                    }
                    (409, true) => log.refused += 1,
                    _ => panic!("{id} is answered {head} {body}"),
                }
                log.closed += usize::from(was_closed);
                was_closed = false;
                count += 1;
                wire = stays_open.then_some(open);
            }
            Outcome::Closed => was_closed = true,
            Outcome::Torn(part) => panic!("{id} is answered by half: {part}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_leaves_nobody_in_doubt() {
    let stops = scale(3, 50);
    let database = database().await;
    let serves = service_url(&database);
    let serve = ["--database-url", &serves];
    let mut program = Program::serve(&serve).await;
    set_up(&program.base).await;
    let log = Arc::new(Mutex::new(Log::default()));
    let (moved, service) = watch::channel(Some(program.base.clone()));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(go_on(number, service.clone(), Arc::clone(&log)));
    }
    let done = || log.lock().unwrap().done.len();
    let mut longest = Duration::ZERO;
    for _ in 0..stops {
        let goal = done() + 5 * CLIENTS;
        eventually("the clients are answered", async || done() > goal).await;
        let began = Instant::now();
        signal("TERM", program.pid);
        let ended = program.end().await;
        longest = longest.max(began.elapsed());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(began.elapsed() < STOP_MAX, "it took {:?}", began.elapsed());
        program = Program::serve(&serve).await;
        moved.send(Some(program.base.clone())).unwrap();
    }
    let goal = done() + CLIENTS;
    eventually("the clients are answered", async || done() > goal).await;
    moved.send(None).unwrap();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let log = std::mem::take(&mut *log.lock().unwrap());
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let statement = "SELECT id, event_id FROM ledger ORDER BY event_id OFFSET $1";
    let rows = sqlx::query(statement).bind(SETUP as i64).fetch_all(&mut connection).await.unwrap();
    let stored: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(stored, log.done);
    connection.close().await.unwrap();
    stop_and_verify([program], &url(&database), stored.len() + SETUP).await;
    let Log { done, refused, closed } = log;
    println!(
        "stops: {stops} under load, {} done and {refused} refused, 0 unknown; {closed} connections closed \
         under a request, none of which was done; the longest stop took {longest:?}",
        done.len()
    );
    // Only who sends as the connection is closed: not everybody who waits for an answer.
    let most = stops * CLIENTS as u64 * scale(3, 2) / 4;
    assert!((closed as u64) < most, "{closed} connections were closed under a request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_under_load_ends_at_once() {
    let database = database().await;
    let (proxy, direct) = (Proxy::to(&database).await, url(&database));
    // Open requests would be waited for, for longer than the test waits.
    let times = ["--round-trip-max-ms", "600000", "--request-time-max-ms", "600000"];
    let drain = ["--drain-time-max-ms", "600000"];
    let program =
        Program::serve(&[&["--database-url", &service_url(&proxy.database)], &times[..], &drain].concat())
            .await;
    let client = set_up(&program.base).await;
    proxy.set(Line::Mute);
    let mut open = JoinSet::new();
    for number in 0..CLIENTS {
        let client = client.clone();
        open.spawn(async move {
            client.post("allocation/consume", &consume(&number.to_string(), "Bike", 1)).await.is_err()
        });
    }
    let address = program.base.trim_start_matches("http://").to_owned();
    let measured = format!("{}/metrics", program.base);
    // Those of the clients, and the one that asks.
    eventually("the requests are open", async || {
        let text = reqwest::get(&measured).await.unwrap().text().await.unwrap();
        value(&text, "http_server_active_requests", &[]) > CLIENTS as f64
    })
    .await;
    signal("TERM", program.pid);
    eventually("it drains", async || TcpStream::connect(&address).await.is_err()).await;
    let began = Instant::now();
    signal("TERM", program.pid);
    let ended = program.end().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(scale(30, 1)), "it took {took:?}");
    while let Some(is_broken) = open.join_next().await {
        assert!(is_broken.unwrap());
    }
    // Whatever became of them, sent again they are done, and done once.
    let program = Program::serve(&["--database-url", &service_url(&database)]).await;
    let client = Client::new(&program.base);
    for number in 0..CLIENTS {
        client.done("allocation/consume", consume(&number.to_string(), "Bike", 1)).await;
    }
    stop_and_verify([program], &direct, SETUP + CLIENTS).await;
    println!("second signal: {CLIENTS} requests open, ended after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_during_the_start_ends_the_start() {
    let proxy = Proxy::to(&database().await).await;
    proxy.set(Line::Mute);
    let address = std::net::TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap().to_string();
    let database = service_url(&proxy.database);
    let child = ringfence(&["serve", "--listen", &address, "--database-url", &database]).spawn().unwrap();
    let pid = child.id().unwrap();
    eventually("it waits for its database", async || proxy.connections() > 0).await;
    let began = Instant::now();
    signal("TERM", pid);
    let ended =
        tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    // Without the signal it gives up after 10 s, with another code.
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(0), 0), "{said}");
    println!("signal during the start: ended after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_a_database_that_does_not_answer() {
    let proxy = Proxy::to(&database().await).await;
    let limits = ["--readers-max", "1", "--round-trip-max-ms", "600000"];
    let service = Service::start_on(proxy.database.clone(), &limits).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let client = Client::new(&service.base);
    client.allocate_all("Bike", 10).await;
    assert_eq!(client.balance("Bike").await, (10, 0));
    // The reader is asked whether it lives when it goes back, and does not say.
    proxy.set(Line::Last);
    assert_eq!(client.balance("Bike").await, (10, 0));
    let began = Instant::now();
    let stopped = tokio::time::timeout(STOP_MAX, service.stop()).await;
    assert!(stopped.is_ok(), "it did not stop within {STOP_MAX:?}");
    println!("stop without a database: took {:?}", began.elapsed());
}
