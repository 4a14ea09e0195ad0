//! A closed loop: clients that each send a request, wait for its answer, and send the next. All
//! of them on one thread, because the service needs the cores.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::connection::{Answer, Connection};
use crate::processor;

/// What one client does.
pub trait Script: Send + 'static {
    /// Writes the body of the next request and answers its head, up to the length; or `None`
    /// when there is nothing more to do.
    fn next(&mut self, body: &mut Vec<u8>) -> Option<&'static str>;

    /// Says what an answer counts as.
    fn judge(&mut self, answer: &Answer<'_>) -> Counted;
}

/// What an answer counts as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A new event.
    Accepted,
    /// An event that was there before, or a query.
    Answered,
    /// Nothing was left of the stock.
    Refused,
    /// It is unknown what became of it.
    Unavailable,
}

/// How much, on whom and how long.
pub struct Load {
    /// The clients are spread evenly over these.
    pub addresses: Vec<SocketAddr>,
    pub clients: usize,
    /// How long before the time that counts.
    pub warm_up: Duration,
    /// The time that counts; without it, all counts until every client is done.
    pub time: Option<Duration>,
}

/// What the clients of one address saw.
#[derive(Clone, Default)]
pub struct Measured {
    /// Answers of status 200 a second, in the time that counts.
    pub rate: f64,
    /// Refusals a second, after the last that was accepted.
    pub refusal_rate: f64,
    /// Everything that was sent, also before and after the time that counts.
    pub sent: u64,
    /// All the new events, likewise.
    pub accepted: u64,
    /// All the answers that left open what had happened, likewise.
    pub unavailable: u64,
    /// What the load itself took of a core, in microseconds for each request.
    pub load_us: f64,
    /// What the whole machine took meanwhile, in microseconds for each request; 0 where it was not measured.
    pub machine_us: f64,
    /// In order.
    latencies_us: Vec<u32>,
}

impl Measured {
    /// The latency that this share of the answers did not exceed, in milliseconds.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let place = (self.latencies_us.len() as f64 * share) as usize;
        self.latencies_us.get(place.min(last)).map_or(0.0, |&us| f64::from(us) / 1000.0)
    }

    /// What the clients of all addresses saw.
    pub fn of_all(parts: &[Measured]) -> Measured {
        let mut all = Measured::default();
        for part in parts {
            all.rate += part.rate;
            all.refusal_rate += part.refusal_rate;
            all.sent += part.sent;
            all.accepted += part.accepted;
            all.unavailable += part.unavailable;
            all.load_us = part.load_us;
            all.latencies_us.extend_from_slice(&part.latencies_us);
        }
        all.latencies_us.sort_unstable();
        all
    }
}

/// Runs clients, each by its own script. Answers what was seen at each address.
pub async fn run<S: Script>(load: Load, script: impl Fn(usize) -> S + Send + 'static) -> Vec<Measured> {
    let loaded = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(drive(load, script))
    });
    loaded.await.expect("every answer was as it must be")
}

async fn drive<S: Script>(load: Load, script: impl Fn(usize) -> S) -> Vec<Measured> {
    let instances = load.addresses.len();
    let mut connections = Vec::with_capacity(load.clients);
    for client in 0..load.clients {
        connections.push(Connection::open(load.addresses[client % instances]).await);
    }
    let before = processor::of_this_thread();
    let start = Instant::now();
    let counts_from = start + load.warm_up;
    let end = load.time.map(|time| counts_from + time);
    let mut clients = JoinSet::new();
    for (client, connection) in connections.into_iter().enumerate() {
        let script = script(client);
        clients.spawn(
            async move { (client % instances, run_client(connection, script, counts_from, end).await) },
        );
    }
    let mut tallies: Vec<Tally> = (0..instances).map(|_| Tally::default()).collect();
    for (instance, tally) in clients.join_all().await {
        tallies[instance].add(tally);
    }
    let spent = processor::of_this_thread() - before;
    let sent: u64 = tallies.iter().map(|tally| tally.sent).sum();
    let load_us = spent.as_secs_f64() * 1e6 / sent.max(1) as f64;
    tallies.into_iter().map(|tally| tally.measured(counts_from, load.time, load_us)).collect()
}

async fn run_client<S: Script>(
    mut connection: Connection,
    mut script: S,
    counts_from: Instant,
    end: Option<Instant>,
) -> Tally {
    let mut tally = Tally { latencies_us: Vec::with_capacity(4096), ..Tally::default() };
    let mut sent_at = Instant::now();
    while end.is_none_or(|end| sent_at < end) {
        let Some(head) = script.next(connection.body()) else { break };
        let counted = script.judge(&connection.exchange(head).await);
        let now = Instant::now();
        // What was sent in time counts with its whole latency, also when the answer came after:
        // otherwise the slowest would be left out.
        let in_time = |moment| moment >= counts_from && end.is_none_or(|end| moment < end);
        tally.count(counted, now, in_time(now), in_time(sent_at).then(|| now - sent_at));
        sent_at = now;
    }
    tally
}

#[derive(Default)]
struct Tally {
    sent: u64,
    accepted: u64,
    refused: u64,
    unavailable: u64,
    /// Answers of status 200, in the time that counts.
    in_time: u64,
    last_accepted: Option<Instant>,
    last: Option<Instant>,
    /// Of the answers of status 200 to what was sent in the time that counts.
    latencies_us: Vec<u32>,
}

impl Tally {
    fn count(&mut self, counted: Counted, now: Instant, in_time: bool, latency: Option<Duration>) {
        self.sent += 1;
        self.last = Some(now);
        match counted {
            Counted::Accepted => {
                self.accepted += 1;
                self.last_accepted = Some(now);
            }
            Counted::Answered => {}
            Counted::Refused => return self.refused += 1,
            Counted::Unavailable => return self.unavailable += 1,
        }
        self.in_time += u64::from(in_time);
        self.latencies_us.extend(latency.map(|latency| latency.as_micros() as u32));
    }

    fn add(&mut self, other: Tally) {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.unavailable += other.unavailable;
        self.in_time += other.in_time;
        self.last_accepted = self.last_accepted.max(other.last_accepted);
        self.last = self.last.max(other.last);
        self.latencies_us.extend(other.latencies_us);
    }

    fn measured(mut self, counts_from: Instant, time: Option<Duration>, load_us: f64) -> Measured {
        self.latencies_us.sort_unstable();
        let last = self.last.unwrap_or(counts_from);
        let last_accepted = self.last_accepted.unwrap_or(counts_from);
        let time = time.unwrap_or(last_accepted - counts_from);
        Measured {
            rate: per_second(self.in_time, time),
            refusal_rate: per_second(self.refused, last - last_accepted),
            sent: self.sent,
            accepted: self.accepted,
            unavailable: self.unavailable,
            load_us,
            machine_us: 0.0,
            latencies_us: self.latencies_us,
        }
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}
