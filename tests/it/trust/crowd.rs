//! Many clients at once, over two instances that know nothing of each other. They send again
//! what was not answered, and some send twice what was; all write down what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;

use super::history::Entry;
use super::mix::{Dice, any_request};
use super::wire::{read, written};
use crate::load::Client;
use crate::naive::Request;
use crate::process::Program;
use crate::support::{Answer, database, url};

pub(crate) const CLIENTS: usize = 64;

/// Two instances of the program over one database.
pub(crate) struct Pair {
    pub(crate) database: PgConnectOptions,
    pub(crate) programs: [Program; 2],
    pub(crate) clients: [Client; 2],
}

impl Pair {
    /// With the environment configured for the bicycles.
    pub(crate) async fn start() -> Pair {
        let database = database().await;
        let url = url(&database);
        let programs = [
            Program::serve(&["--database-url", &url]).await,
            Program::serve(&["--database-url", &url, "--shards", "3"]).await,
        ];
        let clients = [Client::new(&programs[0].base), Client::new(&programs[1].base)];
        clients[0].configure().await;
        Pair { database, programs, clients }
    }
}

/// One try of a command.
struct Told {
    sent: Instant,
    answered: Instant,
    answer: Answer,
}

async fn tell(client: &Client, path: &str, body: &serde_json::Value) -> Told {
    let sent = Instant::now();
    let answer = client.settle(path, body).await;
    Told { sent, answered: Instant::now(), answer }
}

impl Told {
    fn is_granted(&self) -> bool {
        self.answer.status == 200
    }
}

/// Sends a command once, or twice, and answers what was written down of it.
pub(crate) async fn send(
    clients: [&Client; 2],
    id: &str,
    product: &str,
    request: Request,
    times: Times,
) -> Vec<Entry> {
    let (path, body) = written(id, product, &request).unwrap();
    let first = tell(clients[0], &path, &body);
    let told = match times {
        Times::Once => vec![first.await],
        Times::Again => {
            let first = first.await;
            let second = tell(clients[1], &path, &body).await;
            assert!(
                !first.is_granted() || second.is_granted(),
                "{} then {}",
                first.answer.text,
                second.answer.text
            );
            vec![first, second]
        }
        Times::AtOnce => {
            let (first, second) = tokio::join!(first, tell(clients[1], &path, &body));
            vec![first, second]
        }
    };
    let entry = |told: &Told| Entry {
        id: id.to_owned(),
        product: product.to_owned(),
        request: request.clone(),
        sent: told.sent,
        answered: told.answered,
        said: read(&told.answer.text),
    };
    let mut entries: Vec<Entry> = told.iter().filter(|told| !told.is_granted()).map(entry).collect();
    let granted: Vec<&Told> = told.iter().filter(|told| told.is_granted()).collect();
    let Some(first) = granted.first() else { return entries };
    assert!(granted.iter().all(|told| told.answer.text == first.answer.text), "{id} has two answers");
    let sent = told.iter().map(|told| told.sent).min().unwrap();
    let answered = granted.iter().map(|told| told.answered).min().unwrap();
    entries.push(Entry { sent, answered, ..entry(first) });
    entries
}

/// How often a command is sent, whatever is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Times {
    Once,
    /// To the other instance too, once the first has answered.
    Again,
    /// To both at once.
    AtOnce,
}

/// Sends the commands of these numbers, each by whoever is free, about products that the
/// number says. Answers what was written down.
pub(crate) async fn crowd(
    clients: &[Client; 2],
    numbers: std::ops::Range<u64>,
    product: impl Fn(u64, &mut Dice) -> String + Copy + Send + 'static,
) -> Vec<Entry> {
    let next = Arc::new(AtomicU64::new(numbers.start));
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let (clients, next) = (clients.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut entries = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return entries;
                }
                let mut dice = Dice::new(number);
                let (product, request) = (product(number, &mut dice), any_request(&mut dice));
                let here = dice.roll(2) as usize;
                let times = match dice.roll(20) {
                    0 => Times::Again,
                    1 => Times::AtOnce,
                    _ => Times::Once,
                };
                let clients = [&clients[here], &clients[1 - here]];
                entries.extend(send(clients, &number.to_string(), &product, request, times).await);
            }
        });
    }
    let mut entries = Vec::new();
    while let Some(done) = tasks.join_next().await {
        entries.extend(done.unwrap());
    }
    entries
}
