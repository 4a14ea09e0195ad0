//! A closed-loop load: clients that each send a request, wait for its answer, and send the
//! next, over HTTP/1.1 connections that stay open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What one client sends next: the body, given the client and the count of what it sent.
pub type Body = Arc<dyn Fn(usize, u64) -> String + Send + Sync>;

/// What a load measured.
#[derive(Default)]
pub struct Measured {
    /// Answers with status 200 a second.
    pub accepted_per_second: f64,
    /// Other answers.
    pub refused: u64,
    latencies_us: Vec<u32>,
}

impl Measured {
    /// The latency that this share of the answers did not exceed, in milliseconds.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let place = (self.latencies_us.len() as f64 * share) as usize;
        self.latencies_us
            .get(place.min(self.latencies_us.len().saturating_sub(1)))
            .map_or(0.0, |&us| f64::from(us) / 1000.0)
    }
}

/// Runs clients for a time, after a quarter of it to warm up.
pub async fn run(address: SocketAddr, path: &str, clients: usize, time: Duration, body: Body) -> Measured {
    let (counting, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let refused = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (counting, done, refused) = (Arc::clone(&counting), Arc::clone(&done), Arc::clone(&refused));
        let (path, body) = (path.to_owned(), Arc::clone(&body));
        tasks.spawn(async move {
            let mut connection = Connection::open(address, path).await;
            let mut latencies = Vec::new();
            for count in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let start = Instant::now();
                let status = connection.post(&body(client, count)).await;
                if !counting.load(Ordering::Relaxed) {
                    continue;
                }
                match status {
                    200 => latencies.push(start.elapsed().as_micros() as u32),
                    _ => drop(refused.fetch_add(1, Ordering::Relaxed)),
                }
            }
            latencies
        });
    }
    tokio::time::sleep(time / 4).await;
    counting.store(true, Ordering::Relaxed);
    let start = Instant::now();
    tokio::time::sleep(time).await;
    done.store(true, Ordering::Relaxed);
    let elapsed = start.elapsed();
    let mut latencies_us: Vec<u32> = tasks.join_all().await.into_iter().flatten().collect();
    latencies_us.sort_unstable();
    let accepted_per_second = latencies_us.len() as f64 / elapsed.as_secs_f64();
    Measured { accepted_per_second, refused: refused.load(Ordering::Relaxed), latencies_us }
}

/// A connection that speaks just enough HTTP for the answers that the service gives.
pub struct Connection {
    stream: TcpStream,
    head: String,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr, path: String) -> Connection {
        let stream = TcpStream::connect(address).await.expect("the service listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let head = format!(
            "{path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: "
        );
        Connection { stream, head, buffer: Vec::with_capacity(4096) }
    }

    /// Posts a body and answers the status.
    pub async fn post(&mut self, body: &str) -> u16 {
        self.send("POST", body).await.0
    }

    /// Sends a request and answers the status and the body.
    pub async fn send(&mut self, method: &str, body: &str) -> (u16, String) {
        let request = format!("{method} {}{}\r\n\r\n{body}", self.head, body.len());
        self.stream.write_all(request.as_bytes()).await.expect("the connection stays open");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the connection stays open");
            assert!(read > 0, "the service closed the connection: {}", String::from_utf8_lossy(&self.buffer));
            if let Some(answer) = parse(&self.buffer) {
                return answer;
            }
        }
    }
}

fn parse(buffer: &[u8]) -> Option<(u16, String)> {
    let head_end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..head_end]).expect("a head is ASCII");
    let status = head[9..12].parse().expect("a status");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let length: usize = length.parse().expect("a number");
    let body = buffer.get(head_end..head_end + length)?;
    Some((status, String::from_utf8_lossy(body).into_owned()))
}
