//! Connections that say nothing, or not all: each is closed in its time, and nobody else
//! notices that they are there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::faults_log::{PRODUCTS, SETUP, set_up};
use super::faults_wire::{Outcome, Wire, request};
use super::scale;
use crate::instances::stop_and_verify;
use crate::load::consume;
use crate::process::Program;
use crate::support::{database, eventually, service_url, url};

const CLIENTS: usize = 8;
/// What a connection has for its head, and for its body.
const TIME_MAX: Duration = Duration::from_secs(4);

/// What a slow connection says, before it says nothing any more.
fn beginning(kind: usize) -> String {
    let body = |path: &str, length: usize| {
        format!(
            "POST /api/environment/test/{path} HTTP/1.1\r\nhost: it\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n["
        )
    };
    match kind % 4 {
        0 => String::new(),
        1 => "POST /api/environment/test/allocation/consume HTTP/1.1\r\nhost: it\r\ncontent-le".to_owned(),
        2 => body("allocation/consume", 1_000),
        // Ten of them would have all the room that there is for bodies.
        _ => body("onhand/bulk", 8 << 20),
    }
}

/// How long a slow connection was left open.
async fn linger(base: String, kind: usize, open: Arc<AtomicUsize>) -> Duration {
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let began = Instant::now();
    stream.write_all(beginning(kind).as_bytes()).await.unwrap();
    open.fetch_add(1, Ordering::Relaxed);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    open.fetch_sub(1, Ordering::Relaxed);
    if kind % 4 > 1 {
        let is_told = answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 503 ");
        assert!(is_told, "{kind}: {answer:?}");
    }
    began.elapsed()
}

/// Clients that buy, and how long each answer took.
struct Buyers {
    times: Arc<Mutex<Vec<Duration>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Buyers {
    fn start(base: &str) -> Buyers {
        let (times, stop) = <(Arc<Mutex<Vec<Duration>>>, Arc<AtomicBool>)>::default();
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            let (base, times, stop) = (base.to_owned(), Arc::clone(&times), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut wire = Wire::open(&base).await.unwrap();
                for count in 0.. {
                    let body = consume(&format!("{number}-{count}"), PRODUCTS[count % PRODUCTS.len()], 1);
                    let sent = Instant::now();
                    let request = request("allocation/consume", &body.to_string());
                    let outcome = wire.exchange(&request).await;
                    assert!(matches!(outcome, Outcome::Answered { status: 200, .. }), "{outcome:?}");
                    times.lock().unwrap().push(sent.elapsed());
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        Buyers { times, stop, tasks }
    }

    fn count(&self) -> usize {
        self.times.lock().unwrap().len()
    }

    /// How many answers came since this was last asked, and what 99 of 100 took at most; in the short form, where
    /// there are few, 90 of 100: all that are under way are late when the machine stands still for a moment.
    fn take(&self) -> (usize, Duration) {
        let mut times = std::mem::take(&mut *self.times.lock().unwrap());
        times.sort();
        (times.len(), times.get(times.len() * scale(90, 99) as usize / 100).copied().unwrap_or_default())
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_connections_are_closed_in_their_time_and_nobody_notices() {
    let (sockets, answers) = (scale(80, 500) as usize, scale(100, 4_000) as usize);
    let database = database().await;
    let serves = service_url(&database);
    let time = TIME_MAX.as_millis().to_string();
    let times = ["--head-time-max-ms", &time, "--body-time-max-ms", &time];
    let program = Program::serve(&[&["--database-url", &serves], &times[..]].concat()).await;
    set_up(&program.base).await;
    let buyers = Buyers::start(&program.base);
    eventually("there is something to compare with", async || buyers.count() >= answers).await;
    let (mut done, usual) = buyers.take();

    let open = Arc::new(AtomicUsize::new(0));
    let mut lingering = JoinSet::new();
    for kind in 0..sockets {
        lingering.spawn(linger(program.base.clone(), kind, Arc::clone(&open)));
    }
    eventually("all are open", async || open.load(Ordering::Relaxed) == sockets).await;
    // From here on all of them are there, until the first has had its time.
    done += buyers.take().0;
    eventually("some are closed", async || open.load(Ordering::Relaxed) < sockets).await;
    let (meanwhile, beside_them) = buyers.take();
    done += meanwhile;
    assert!(meanwhile >= CLIENTS, "{meanwhile} answers while the connections were open");
    let mut longest = Duration::ZERO;
    while let Some(lingered) = lingering.join_next().await {
        longest = longest.max(lingered.unwrap());
    }
    let times = Arc::clone(&buyers.times);
    buyers.end().await;
    done += times.lock().unwrap().len();
    stop_and_verify([program], &url(&database), done + SETUP).await;
    println!(
        "slow sockets: {sockets}, all closed within {longest:?} of {TIME_MAX:?}; p{} of others {usual:?} \
         without them, {beside_them:?} with them, {meanwhile} answers before the first was closed",
        scale(90, 99),
    );
    // How much later one may be closed, and what may be added to an answer, on a machine that has other
    // things to do.
    let (late, slack) = (Duration::from_secs(scale(10, 2)), Duration::from_millis(scale(250, 2)));
    assert!(longest < TIME_MAX + late, "one was open for {longest:?}");
    assert!(beside_them <= 2 * usual + slack, "others wait for {beside_them:?}, without them for {usual:?}");
}
