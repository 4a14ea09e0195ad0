//! What those cost who only look on: consumes a second of one hot product, with and without somebody who
//! asks for the analytics of 10,000 balances every second; then with and without readers of the live feed
//! who have stopped reading. The real program over a private PostgreSQL with full durability, over HTTP;
//! with and without take turns, slot by slot.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::float_arithmetic,
    reason = "a benchmark measures, and ends when it cannot go on"
)]
#![allow(unreachable_pub, reason = "the modules of one binary")]

#[path = "../flash_sale/connection.rs"]
#[allow(dead_code, reason = "another benchmark needs more of it")]
mod connection;
#[path = "../growth/load.rs"]
#[allow(dead_code, reason = "another benchmark needs more of it")]
mod load;
#[path = "../flash_sale/processor.rs"]
#[allow(dead_code, reason = "another benchmark needs more of it")]
mod processor;
#[path = "../growth/service.rs"]
#[allow(dead_code, reason = "another benchmark needs more of it")]
mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use ringfence::embedded::Embedded;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use connection::{Answer, Connection};
use load::{Body, Client};
use service::Service;

/// What the consumes a second are to be at least, with those who look on to without.
const TARGET: f64 = 0.95;
/// Products, and group paths of each.
const PRODUCTS: usize = 100;
const PATHS: usize = 100;
/// Readers of the live feed that do not read.
const STALLED_READERS: usize = 100;

const CONFIGURATION: &str = r#"{
    "dimensions": ["siteId", "locationId"], "requiredDimensions": 2,
    "dataSources": {"pos": {"measures": ["inbound"]}},
    "allocation": {"groups": ["channel", "shop"], "availableToAllocate": "pos.inbound - @iv.@allocated"}}"#;

/// Measures a sale with and without those who look on.
#[derive(Parser)]
struct Cli {
    /// Pairs of slots, of whose ratios the median is taken.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each slot lasts.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// Clients that sell.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Only those who look on in this way.
    #[arg(long)]
    only: Option<Beside>,
    /// What cargo says.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let cli = Cli::parse();
    // One thread: the cores are for the service and its database.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = std::env::temp_dir().join(format!("ringfence-dashboard-{}", std::process::id()));
    let done = runtime.block_on(async {
        let embedded = Embedded::start(&directory).await.expect("PostgreSQL is installed");
        let done = tokio::spawn(measure(cli, embedded.options())).await;
        embedded.stop().await;
        done.is_ok()
    });
    let _ = std::fs::remove_dir_all(directory);
    std::process::exit(if done { 0 } else { 1 });
}

async fn measure(cli: Cli, server: PgConnectOptions) {
    let mut connection = PgConnection::connect_with(&server).await.expect("the server answers");
    sqlx::query("CREATE DATABASE dashboard").execute(&mut connection).await.expect("a new database");
    let database = server.database("dashboard");
    let service = Service::start(&database, &[]);
    allocate(service.address).await;
    eventually_all(service.address).await;

    let time = Duration::from_secs(u64::from(cli.seconds));
    let consume: Body = Arc::new(|body, random| {
        let id = random.id();
        *body = event(
            &id,
            0,
            r#""groups":{"channel":"Online","shop":"0"},"quantity":1,"physicalMeasures":{"pos":{"inbound":"Subtraction"}}"#,
        );
    });
    let path = "/api/environment/dashboard/allocation/consume";
    let slot = || load::run(service.address, path, cli.clients.into(), time, &consume);
    let only = cli.only;
    println!("consumes a second, {} pairs of slots of {time:?}, {} clients", cli.rounds, cli.clients);
    for beside in Beside::ALL.into_iter().filter(|beside| only.is_none_or(|only| only == *beside)) {
        let (mut ratios, mut all) = (Vec::new(), [Vec::new(), Vec::new()]);
        let mut spent = [Vec::new(), Vec::new()];
        for round in 0..cli.rounds {
            let mut figures = [0.0; 2];
            // Whoever comes second meets larger tables.
            for with in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                let looking_on = (with == 1).then(|| beside.start(service.address));
                let before = Spent::until_now(&service);
                figures[with] = slot().await.accepted_per_second;
                spent[with].push(Spent::until_now(&service).since(before));
                if let Some(mut looking_on) = looking_on {
                    looking_on.shutdown().await;
                }
                all[with].push(figures[with]);
            }
            ratios.push(figures[1] / figures[0]);
        }
        let ([without, with], ratio) = (all.map(median), median(ratios));
        let judgement = if ratio >= TARGET { "met" } else { "missed" };
        println!("without {without:.0}, with {} {with:.0}", beside.name());
        println!("ratio {ratio:.3}, of {TARGET}: {judgement}");
        for (name, spent) in ["without", "with"].into_iter().zip(spent) {
            let [service, load, others] =
                [0, 1, 2].map(|of| median(spent.iter().map(|spent| spent.0[of]).collect()));
            println!(
                "{name}: processors busy by the service {service:.2}, the load {load:.2}, others {others:.2}"
            );
        }
    }
    let mut refreshes = Vec::new();
    for _ in 0..cli.rounds {
        refreshes.push(refresh(&mut Connection::open(service.address).await).await.0);
    }
    let balances = PRODUCTS * PATHS;
    println!("a refresh of {balances} balances takes {:.0} ms when nobody sells", median(refreshes) * 1e3);
}

/// Processor seconds: of the service, of this program, of everybody else, most of all PostgreSQL; and when.
struct Spent([f64; 3], Instant);

impl Spent {
    fn until_now(service: &Service) -> Spent {
        let service = processor::of_process(&service.process.id().to_string());
        let load = processor::of_this_thread();
        let others = processor::of_the_machine().saturating_sub(service + load);
        Spent([service, load, others].map(|time| time.as_secs_f64()), Instant::now())
    }

    /// Processors that were busy in between.
    fn since(self, before: Spent) -> Spent {
        let seconds = (self.1 - before.1).as_secs_f64();
        Spent([0, 1, 2].map(|of| (self.0[of] - before.0[of]) / seconds), self.1)
    }
}

/// Who looks on.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Beside {
    /// One that asks for the analytics of all balances every second.
    Dashboard,
    /// One that reads the live feed of all events.
    Reader,
    /// Many that asked for the live feed, and read nothing of it.
    StalledReaders,
}

impl Beside {
    const ALL: [Beside; 3] = [Beside::Dashboard, Beside::Reader, Beside::StalledReaders];

    fn name(self) -> String {
        match self {
            Beside::Dashboard => format!("a dashboard of {} balances", PRODUCTS * PATHS),
            Beside::Reader => "a reader of the live feed".to_owned(),
            Beside::StalledReaders => format!("{STALLED_READERS} readers that do not read"),
        }
    }

    fn start(self, address: SocketAddr) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        match self {
            Beside::Dashboard => _ = tasks.spawn(watch(address)),
            Beside::Reader => _ = tasks.spawn(read_on(address)),
            Beside::StalledReaders => {
                (0..STALLED_READERS).for_each(|_| _ = tasks.spawn(stall(address)));
            }
        }
        tasks
    }
}

/// Asks for the live feed.
async fn listen(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("the service listens");
    let request = "GET /api/environment/dashboard/events/stream HTTP/1.1\r\nhost: ringfence\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("the connection is open");
    stream
}

/// Reads the live feed, until it is stopped.
async fn read_on(address: SocketAddr) {
    let (mut stream, mut taken) = (listen(address).await, vec![0; 1 << 16]);
    while stream.read(&mut taken).await.expect("the connection is open") > 0 {}
    panic!("who reads is not cut off");
}

/// Asks for the live feed and reads nothing of it, until it is stopped.
async fn stall(address: SocketAddr) {
    let _stream = listen(address).await;
    std::future::pending::<()>().await;
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn event(id: &str, product: usize, members: &str) -> String {
    format!(
        r#"{{"id":"{id}","organizationId":"usmf","productId":"Product{product:03}","dimensions":{{"siteId":"1","locationId":"11"}},{members}}}"#
    )
}

/// Sets stock aside for every group path.
async fn allocate(address: SocketAddr) {
    let mut client = Connection::open(address).await;
    client.body().extend_from_slice(CONFIGURATION.as_bytes());
    let head = format!(
        "PUT /api/environment/dashboard/configuration HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: "
    );
    let answer = client.exchange(&head).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut tasks = JoinSet::new();
    for product in 0..PRODUCTS {
        tasks.spawn(async move {
            let mut client = Client::open(address, "/api/environment/dashboard/onhand").await;
            client
                .post(&event(
                    &format!("stock {product}"),
                    product,
                    r#""quantities":{"pos":{"inbound":1000000000000}}"#,
                ))
                .await;
            let mut client = Client::open(address, "/api/environment/dashboard/allocation/allocate").await;
            for path in 0..PATHS {
                let members =
                    format!(r#""groups":{{"channel":"Online","shop":"{path}"}},"quantity":1000000000"#);
                client.post(&event(&format!("share {product} {path}"), product, &members)).await;
            }
        });
    }
    tasks.join_all().await;
}

/// Asks for the analytics of all balances. Answers how long that took, in seconds, and what the answer was.
async fn refresh(client: &mut Connection) -> (f64, Answer<'_>) {
    let began = Instant::now();
    client.body();
    let head = "GET /api/environment/dashboard/allocation/analytics?limit=10000 HTTP/1.1\r\nhost: ringfence\r\ncontent-length: ";
    let answer = client.exchange(head).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (began.elapsed().as_secs_f64(), answer)
}

/// Waits until all balances are known to the analytics.
async fn eventually_all(address: SocketAddr) {
    let mut client = Connection::open(address).await;
    let began = Instant::now();
    let records = |answer: Answer<'_>| answer.body.windows(8).filter(|bytes| bytes == b"\"shop\":\"").count();
    while records(refresh(&mut client).await.1) < PRODUCTS * PATHS {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the analytics have no {PRODUCTS} × {PATHS} balances"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Refreshes every second, until it is stopped.
async fn watch(address: SocketAddr) {
    let mut client = Connection::open(address).await;
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        refresh(&mut client).await;
    }
}
