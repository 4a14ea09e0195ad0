//! Many clients at once, over two instances that know nothing of each other. They send again
//! what was not answered, and some send twice what was; all write down what they were told.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;

use super::history::Entry;
use super::mix::{Dice, any_request, document};
use super::wire::{Made, path_of, read, reservation, written};
use crate::load::{Client, back_off};
use crate::naive::Request;
use crate::process::Program;
use crate::support::{Answer, database, service_url};

/// As many as there are in a rush.
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
        let url = service_url(&database);
        let programs = [
            Program::serve(&["--database-url", &url]).await,
            Program::serve(&["--database-url", &url, "--shards", "3"]).await,
        ];
        let clients = [Client::new(&programs[0].base), Client::new(&programs[1].base)];
        clients[0].configure_with(&document()).await;
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
    let answer = settle(client, path, body).await;
    Told { sent, answered: Instant::now(), answer }
}

/// Sends a command until it is known what became of it; also one that is the lines of a bulk.
pub(crate) async fn settle(client: &Client, path: &str, body: &serde_json::Value) -> Answer {
    loop {
        let answer = client.settle(path, body).await;
        if !is_unsettled(&answer) {
            return answer;
        }
        back_off().await;
    }
}

/// Whether nobody knows what became of a line of a bulk.
pub(crate) fn is_unsettled(bulk: &Answer) -> bool {
    bulk.status == 207 && bulk.json().as_array().unwrap().iter().any(|line| line["status"] == 503)
}

/// Reservations that clients were told of, by product: the latest ones. Anybody may free them.
#[derive(Clone, Default)]
pub(crate) struct Reserved(Arc<Mutex<HashMap<String, VecDeque<Made>>>>);

impl Reserved {
    const KEPT_MAX: usize = 32;

    pub(crate) fn any(&self, product: &str, dice: &mut Dice) -> Option<Made> {
        let made = self.0.lock().unwrap();
        let of_product = made.get(product)?;
        Some(of_product[dice.roll(of_product.len() as u64) as usize].clone())
    }

    /// Keeps what a client is told, if it is of a reservation that was made.
    pub(crate) fn keep(&self, asked: &Asked, granted: &str) {
        let frees = matches!(asked.request, Request::Unreserve { .. });
        let Some(name) = reservation(granted).filter(|_| !frees) else { return };
        let mut all = self.0.lock().unwrap();
        let of_product = all.entry(asked.product.clone()).or_default();
        of_product.push_back(Made { event: asked.id.clone(), path: asked.path(), name });
        if of_product.len() > Self::KEPT_MAX {
            of_product.pop_front();
        }
    }
}

/// A command as a client asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) product: String,
    pub(crate) request: Request,
    /// The reservation that it frees.
    pub(crate) made: Option<Made>,
}

impl Asked {
    /// Any command about a product.
    pub(crate) fn any(id: &str, product: &str, reserved: &Reserved, dice: &mut Dice) -> Asked {
        let made = reserved.any(product, dice);
        let request = any_request(dice, made.as_ref());
        Asked { id: id.to_owned(), product: product.to_owned(), request, made }
    }

    pub(crate) fn path(&self) -> Vec<String> {
        path_of(&self.request, self.made.as_ref())
    }

    pub(crate) fn written(&self) -> (String, serde_json::Value) {
        written(&self.id, &self.product, &self.request, self.made.as_ref()).unwrap()
    }
}

impl Told {
    fn is_granted(&self) -> bool {
        self.answer.status == 200
    }
}

/// Sends a command once, or twice, and answers what was written down of it.
async fn send(clients: [&Client; 2], asked: Asked, times: Times, reserved: &Reserved) -> Vec<Entry> {
    let (path, body) = asked.written();
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
        id: asked.id.clone(),
        product: asked.product.clone(),
        path: asked.path(),
        request: asked.request.clone(),
        reservation: reservation(&told.answer.text),
        sent: told.sent,
        answered: told.answered,
        said: read(&asked.request, &told.answer.text),
    };
    let mut entries: Vec<Entry> = told.iter().filter(|told| !told.is_granted()).map(entry).collect();
    let granted: Vec<&Told> = told.iter().filter(|told| told.is_granted()).collect();
    let Some(first) = granted.first() else { return entries };
    assert!(granted.iter().all(|told| told.answer.text == first.answer.text), "{} has two answers", asked.id);
    reserved.keep(&asked, &first.answer.text);
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

/// Has so many clients send the commands of these numbers, each by whoever is free, about products that the
/// number says. Answers what was written down.
pub(crate) async fn crowd(
    clients: &[Client; 2],
    size: usize,
    numbers: std::ops::Range<u64>,
    product: impl Fn(u64, &mut Dice) -> String + Copy + Send + 'static,
) -> Vec<Entry> {
    let (next, reserved) = (Arc::new(AtomicU64::new(numbers.start)), Reserved::default());
    let mut tasks = JoinSet::new();
    for _ in 0..size {
        let (clients, next, reserved) = (clients.clone(), Arc::clone(&next), reserved.clone());
        tasks.spawn(async move {
            let mut entries = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return entries;
                }
                let mut dice = Dice::new(number);
                let product = product(number, &mut dice);
                let asked = Asked::any(&number.to_string(), &product, &reserved, &mut dice);
                let here = dice.roll(2) as usize;
                let times = match dice.roll(20) {
                    0 => Times::Again,
                    1 => Times::AtOnce,
                    _ => Times::Once,
                };
                let clients = [&clients[here], &clients[1 - here]];
                entries.extend(send(clients, asked, times, &reserved).await);
            }
        });
    }
    let mut entries = Vec::new();
    while let Some(done) = tasks.join_next().await {
        entries.extend(done.unwrap());
    }
    entries
}
