//! One hot product in a flash sale: ringfence against a twin that runs a SERIALIZABLE
//! transaction per request, on the same private PostgreSQL with full durability, in the
//! same run, alternating. Prints medians and ratios.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::float_arithmetic,
    reason = "a benchmark measures, and ends when it cannot go on"
)]
#![allow(unreachable_pub, reason = "the modules of one binary")]

mod contestant;
mod load;
mod twin;

use std::sync::Arc;
use std::time::Duration;

use ringfence::embedded::Embedded;

use contestant::{Contestant, Kind};
use load::{Body, Measured};

const ROUNDS: usize = 3;
const ROUND_TIME: Duration = Duration::from_secs(4);
/// The twin's pool sizes that are tried, and the best taken.
const TWIN_CONNECTIONS: [u32; 3] = [1, 4, 16];
const CLIENTS: [usize; 3] = [1, 64, 256];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match arguments.get(1).map(String::as_str) {
        Some("twin") => runtime.block_on(twin::serve(&arguments[2], arguments[3].parse().expect("a number"))),
        _ => runtime.block_on(compare()),
    }
}

async fn compare() {
    let directory = std::env::temp_dir().join(format!("ringfence-bench-{}", std::process::id()));
    let embedded = Embedded::start(&directory).await.expect("PostgreSQL is installed");
    let options = embedded.options();
    let ringfence = Contestant::start(&options, Kind::Ringfence).await;
    let mut twins = Vec::new();
    for connections in TWIN_CONNECTIONS {
        twins.push(Contestant::start(&options, Kind::Twin { connections }).await);
    }
    println!(
        "{:<28} {:>8} {:>12} {:>9} {:>9} {:>9}",
        "contestant", "clients", "accepted/s", "p50 ms", "p99 ms", "p99.9 ms"
    );
    for clients in CLIENTS {
        let mut ours = Vec::new();
        let mut theirs: Vec<Vec<Measured>> = twins.iter().map(|_| Vec::new()).collect();
        for round in 0..ROUNDS {
            ours.push(measure(&ringfence, clients, round).await);
            for (twin, measured) in twins.iter().zip(&mut theirs) {
                measured.push(measure(twin, clients, round).await);
            }
        }
        let our_rate = report("ringfence", clients, &ours);
        let mut best: f64 = 0.0;
        for (twin, measured) in twins.iter().zip(&theirs) {
            best = best.max(report(&twin.name, clients, measured));
        }
        println!("{:<28} {clients:>8} {:>11.1}x", "ringfence / best twin", our_rate / best);
    }
    println!("resident memory of ringfence, highest: {:.0} MiB", ringfence.resident_high_mib());
    for contestant in twins.iter().chain([&ringfence]) {
        contestant.check_books().await;
    }
    println!("the books of every contestant add up");
    drop((ringfence, twins));
    embedded.stop().await;
    let _ = std::fs::remove_dir_all(directory);
}

async fn measure(contestant: &Contestant, clients: usize, round: usize) -> Measured {
    let name = format!("{}-{clients}-{round}", std::process::id());
    let body: Body = Arc::new(move |client, count| contestant::consume(&format!("{name}-{client}-{count}")));
    let measured = load::run(contestant.address, contestant::CONSUME, clients, ROUND_TIME, body).await;
    assert_eq!(measured.refused, 0, "{} refused what it should accept", contestant.name);
    measured
}

fn report(name: &str, clients: usize, rounds: &[Measured]) -> f64 {
    let median = |figure: &dyn Fn(&Measured) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let rate = median(&|measured| measured.accepted_per_second);
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| median(&|measured| measured.percentile_ms(share)));
    println!("{name:<28} {clients:>8} {rate:>12.0} {p50:>9.2} {p99:>9.2} {p999:>9.2}");
    rate
}
