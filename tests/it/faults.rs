//! Trouble between the parts: servers that hang, more than can be taken. Nothing is lost, nothing is done twice, and it passes by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor, Row};
use tokio::task::JoinSet;

use super::instances::stop_and_verify;
use super::load::{Client, back_off, consume};
use super::process::{Halted, Program};
use super::support::{Answer, database, eventually, service_url, url};

const PRODUCTS: [&str; 4] = ["Bike", "Helmet", "Bell", "Lamp"];
const STOCK: u32 = 100_000;

/// A service with stock of every product, all of it allocated.
async fn stocked(arguments: &[&str]) -> (Program, Client, PgConnectOptions) {
    let database = database().await;
    let url = service_url(&database);
    let arguments = [&["--database-url", &url], arguments].concat();
    let program = Program::serve(&arguments).await;
    let client = Client::new(&program.base);
    client.configure().await;
    for product in PRODUCTS {
        client.allocate_all(product, STOCK).await;
    }
    (program, client, database)
}

/// Clients that consume one at a time until they are told to stop; each sends its command
/// again until it is done.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    done: usize,
    /// The 503s by their code, with the longest time that one took.
    refused: BTreeMap<String, (usize, Duration)>,
}

impl Notes {
    /// Whether the command was done.
    fn write_down(&mut self, answer: &Answer, took: Duration) -> bool {
        if answer.status == 200 {
            self.done += 1;
            return true;
        }
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text);
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        let (count, longest) = self.refused.entry(code).or_default();
        *count += 1;
        *longest = took.max(*longest);
        false
    }
}

impl Load {
    fn start(client: &Client, clients: usize) -> Load {
        let (stop, notes) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Notes::default())));
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let (client, stop, notes) = (client.clone(), Arc::clone(&stop), Arc::clone(&notes));
            tasks.spawn(async move {
                for count in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let product = PRODUCTS[(number + count) % PRODUCTS.len()];
                    let body = consume(&format!("{number}-{count}"), product, 1);
                    loop {
                        let sent = Instant::now();
                        let answer = client.post("allocation/consume", &body).await.unwrap();
                        if notes.lock().unwrap().write_down(&answer, sent.elapsed()) {
                            break;
                        }
                        back_off().await;
                    }
                }
            });
        }
        Load { stop, tasks, notes }
    }

    async fn goes_on(&self) {
        let done = || self.notes.lock().unwrap().done;
        let before = done();
        eventually("commands are done", async || done() > before + 100).await;
    }

    fn refused(&self) -> BTreeMap<String, (usize, Duration)> {
        self.notes.lock().unwrap().refused.clone()
    }

    /// Stops the clients, and holds what they were told against what is stored.
    async fn end(mut self, program: Program, client: &Client, database: &PgConnectOptions) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.unwrap();
        }
        let done = self.notes.lock().unwrap().done;
        assert_eq!(consumed(client).await, done);
        stop_and_verify([program], &url(database), done + 2 * PRODUCTS.len()).await;
    }
}

/// How much of all products is consumed.
async fn consumed(client: &Client) -> usize {
    let mut sum = 0;
    for product in PRODUCTS {
        let (allocated, consumed) = client.balance(product).await;
        assert_eq!(allocated + consumed, u64::from(STOCK), "{product}");
        sum += consumed as usize;
    }
    sum
}

/// The server processes that serve the service.
async fn backends(connection: &mut PgConnection) -> Vec<u32> {
    let query =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    connection.fetch_all(query).await.unwrap().iter().map(|row| row.get::<i32, _>(0) as u32).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_not_waited_for() {
    let (program, client, database) = stocked(&["--round-trip-max-ms", "300"]).await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let load = Load::start(&client, 16);
    for _ in 0..3 {
        load.goes_on().await;
        let halted = Halted::halt(backends(&mut connection).await);
        // What was halted in the middle of a commit holds its locks, so that a new connection
        // does not help every product: that one is not waited for either.
        let unavailable = || load.refused().get("database-unavailable").map_or(0, |&(count, _)| count);
        let done = || load.notes.lock().unwrap().done;
        let (before, goal) = (unavailable(), done() + 100);
        eventually("it goes on, or says that it cannot", async || unavailable() > before || done() > goal)
            .await;
        drop(halted);
    }
    load.goes_on().await;
    load.end(program, &client, &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_can_be_taken_is_sent_back_at_once() {
    let limits = ["--shards", "1", "--queue-commands-max", "1", "--batch-commands-max", "1"];
    let (program, client, database) = stocked(&limits).await;
    let load = Load::start(&client, 64);
    eventually("it is too much", async || load.refused().contains_key("overloaded")).await;
    load.goes_on().await;
    let refused = load.refused();
    let (count, longest) = refused["overloaded"];
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(count > 0 && longest < Duration::from_secs(5), "the last of {count} took {longest:?}");
    load.end(program, &client, &database).await;
}
