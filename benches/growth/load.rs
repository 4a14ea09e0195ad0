//! A closed-loop load that costs little: one thread, buffers that are used again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::connection::Connection;

/// Writes a client's next request.
pub type Body = Arc<dyn Fn(&mut String, &mut Random) + Send + Sync>;

/// What a load measured.
pub struct Measured {
    pub accepted_per_second: f64,
    pub latencies_us: Vec<u32>,
}

impl Measured {
    /// The latency that this share of the answers did not exceed.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let last = self.latencies_us.len() - 1;
        f64::from(self.latencies_us[((last as f64) * share) as usize]) / 1000.0
    }
}

/// Runs clients for a time, after a quarter of it to warm up. Every answer must be 200.
pub async fn run(
    address: SocketAddr,
    path: &'static str,
    clients: usize,
    time: Duration,
    body: &Body,
) -> Measured {
    let counted = Instant::now() + time / 4;
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        tasks.spawn(client(address, path, Arc::clone(body), counted, counted + time));
    }
    let mut latencies_us = tasks.join_all().await.concat();
    latencies_us.sort_unstable();
    assert!(!latencies_us.is_empty(), "no answer within {time:?}");
    let accepted_per_second = latencies_us.len() as f64 / time.as_secs_f64();
    Measured { accepted_per_second, latencies_us }
}

async fn client(
    address: SocketAddr,
    path: &'static str,
    body: Body,
    counted: Instant,
    end: Instant,
) -> Vec<u32> {
    let mut client = Client::open(address, path).await;
    let mut random = Random::default();
    let mut text = String::new();
    let mut latencies_us = Vec::with_capacity(1 << 16);
    loop {
        text.clear();
        body(&mut text, &mut random);
        let sent = Instant::now();
        if sent >= end {
            return latencies_us;
        }
        client.post(&text).await;
        if sent >= counted {
            latencies_us.push(sent.elapsed().as_micros() as u32);
        }
    }
}

/// SplitMix64: chance is only to spread the load, and alike in every run.
pub struct Random(u64);

/// Each has its own.
static STREAMS: AtomicU64 = AtomicU64::new(1);
static IDS: AtomicU64 = AtomicU64::new(0);

impl Default for Random {
    fn default() -> Random {
        Random(STREAMS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0xd605_bbb5_8c8a_bbc9))
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// An id as clients make them: never twice, and anywhere in the index of the ledger.
    pub fn id(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), IDS.fetch_add(1, Ordering::Relaxed))
    }
}

/// A client that posts to one path.
pub struct Client {
    connection: Connection,
    head: String,
}

impl Client {
    pub async fn open(address: SocketAddr, path: &str) -> Client {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: "
        );
        Client { connection: Connection::open(address).await, head }
    }

    /// Posts a body, which must be answered with 200.
    pub async fn post(&mut self, body: &str) {
        self.connection.body().extend_from_slice(body.as_bytes());
        let answer = self.connection.exchange(&self.head).await;
        assert!(answer.status == 200, "{body} was answered {}: {}", answer.status, answer.text());
    }
}
