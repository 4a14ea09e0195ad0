//! What a bulk is worth: lines a second in bulks of 5,000 over 5,000 products, against as many
//! single calls. The real program over a private PostgreSQL with full durability, over HTTP; the
//! same clients take turns, round by round.

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
mod lines;
#[path = "../growth/service.rs"]
#[allow(dead_code, reason = "another benchmark needs more of it")]
mod service;

use std::time::{Duration, Instant};

use clap::Parser;
use ringfence::embedded::Embedded;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use connection::Connection;
use lines::{CONFIGURATION, Kind, LINES, Lines, head};
use service::Service;

/// How many times a bulk's lines a second are to be those of single calls.
const TARGET: f64 = 10.0;
/// Clients that send single calls side by side, to compare.
const CLIENTS: usize = 64;

/// Measures bulk against single calls.
#[derive(Parser)]
struct Cli {
    /// Rounds, of which the medians are taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each part of a round lasts, at least.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// What cargo says.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let cli = Cli::parse();
    // One thread: the cores are for the service and its database.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = std::env::temp_dir().join(format!("ringfence-bulk-{}", std::process::id()));
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
    sqlx::query("CREATE DATABASE bulk").execute(&mut connection).await.expect("a new database");
    let database = server.database("bulk");
    let service = Service::start(&database, &[]);
    let mut client = Connection::open(service.address).await;
    client.body().extend_from_slice(CONFIGURATION.as_bytes());
    let configured = client.exchange(head!("PUT", "configuration")).await;
    assert_eq!(configured.status, 200, "{}", configured.text());

    let time = Duration::from_secs(u64::from(cli.seconds));
    let mut lines = Lines::default();
    // Every product has a node from here on, and stock enough.
    lines.bulk(&mut client, Kind::OnHand).await;
    println!("lines a second, medians of {} rounds of {time:?}, {LINES} lines a bulk", cli.rounds);
    println!("{:12} {:>10} {:>12} {:>10} {:>8}", "", "1 client", "64 clients", "bulk", "times");
    for kind in [Kind::OnHand, Kind::Reserve, Kind::Unreserve] {
        let mut figures = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..cli.rounds {
            figures[0].push(one_by_one(&mut client, &mut lines, kind, time).await);
            figures[1].push(side_by_side(&service, &mut lines, kind, time).await);
            figures[2].push(in_bulk(&mut client, &mut lines, kind, time).await);
        }
        let [single, many, bulk] = figures.map(median);
        let (times, name) = (bulk / single, kind.name());
        let judgement = if times >= TARGET { "met" } else { "missed" };
        println!("{name:12} {single:10.0} {many:12.0} {bulk:10.0} {times:8.1}, of {TARGET}: {judgement}");
    }

    // Everything that was answered is in the books, and they add up.
    drop(service);
    let mut connection = PgConnection::connect_with(&database).await.expect("the server answers");
    let report = ringfence::verify::verify(&mut connection).await.expect("the books are readable");
    assert_eq!(report.differences, Vec::<String>::new(), "what the replay found");
    assert_eq!(report.events as u64, lines.answered, "events that clients were told of");
    println!("{} events replayed, no differences", report.events);
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Lines a second of a client that sends one call after the other.
async fn one_by_one(client: &mut Connection, lines: &mut Lines, kind: Kind, time: Duration) -> f64 {
    lines.prepare(client, kind, LINES).await;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time && count < LINES {
        let body = lines.next(kind);
        lines::send_one(client, kind, &body).await;
        count += 1;
    }
    lines.answered += count as u64;
    count as f64 / began.elapsed().as_secs_f64()
}

/// The same of many clients.
async fn side_by_side(service: &Service, lines: &mut Lines, kind: Kind, time: Duration) -> f64 {
    // As many as can be sent in the time, and their ids made before.
    let most = LINES * usize::try_from(time.as_secs()).expect("seconds") * 4 / CLIENTS;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Connection::open(service.address).await;
        lines.prepare(&mut client, kind, most).await;
        clients.push((client, (0..most).map(|_| lines.next(kind)).collect::<Vec<_>>()));
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut client, bodies) in clients {
        tasks.spawn(async move {
            let mut count = 0;
            for body in bodies {
                if began.elapsed() >= time {
                    break;
                }
                lines::send_one(&mut client, kind, &body).await;
                count += 1;
            }
            count
        });
    }
    let count = tasks.join_all().await.into_iter().sum::<usize>();
    lines.answered += count as u64;
    count as f64 / began.elapsed().as_secs_f64()
}

/// Lines a second of a client that sends one bulk after the other.
async fn in_bulk(client: &mut Connection, lines: &mut Lines, kind: Kind, time: Duration) -> f64 {
    let (mut busy, mut count) = (Duration::ZERO, 0);
    while busy < time {
        lines.prepare(client, kind, LINES).await;
        busy += lines.bulk(client, kind).await;
        count += LINES;
    }
    count as f64 / busy.as_secs_f64()
}
