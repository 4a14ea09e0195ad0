//! What is measured, how it is compared, and the table at the end.

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::load::{self, Body, Measured};
use crate::seed::{Database, Size};
use crate::service::Service;

pub const CONSUME: &str = "/api/environment/growth/allocation/consume";
const CLIENTS: usize = 32;
/// How much longer a command may take at any size than at the smallest.
const RATIO_MAX: f64 = 1.25;
/// Databases with more events than that are not replayed at the end: it takes long, and the
/// smaller ones were made by the same statements.
const CHECKED_EVENTS_MAX: u64 = 300_000;

/// A line of the table at the end.
struct Figure {
    what: String,
    target: String,
    measured: String,
    met: Option<bool>,
}

/// One run of this program.
pub struct Bench {
    pub server: PgConnectOptions,
    pub rounds: usize,
    pub time: Duration,
    /// Larger sizes are left out.
    pub most: u64,
    figures: Vec<Figure>,
}

/// A size with a service over it.
pub struct Case {
    pub label: u64,
    pub database: Database,
    pub service: Service,
}

/// One side of a comparison.
pub struct Side {
    pub label: String,
    pub address: SocketAddr,
    pub body: Body,
}

impl Case {
    /// What a side of this case does: each command is what `body` makes of the size.
    pub fn side(&self, body: impl Fn(&Size, &mut String, &mut load::Random) + Send + Sync + 'static) -> Side {
        let size = self.database.size;
        Side {
            label: self.label.to_string(),
            address: self.service.address,
            body: std::sync::Arc::new(move |text, random| body(&size, text, random)),
        }
    }
}

impl Bench {
    pub fn new(server: PgConnectOptions, rounds: usize, time: Duration, most: u64) -> Bench {
        Bench { server, rounds, time, most, figures: Vec::new() }
    }

    /// Makes a database of every size and starts a service over each.
    pub async fn cases(&self, name: &str, sizes: impl IntoIterator<Item = (u64, Size)>) -> Vec<Case> {
        println!("\n== {name} ==");
        let mut cases = Vec::new();
        for (label, size) in sizes.into_iter().filter(|&(label, _)| label <= self.most) {
            let database = Database::seed(&self.server, &format!("{name}_{label}"), size).await;
            let service = Service::start(&database.options, &[]);
            cases.push(Case { label, database, service });
        }
        cases
    }

    /// Replays what can be replayed soon, and drops all.
    pub async fn end(&self, cases: Vec<Case>) {
        for Case { database, service, .. } in cases {
            drop(service);
            if database.size.ledger() <= CHECKED_EVENTS_MAX {
                database.check_books().await;
                println!("{}: the books add up", database.name);
            }
            database.drop(&self.server).await;
        }
    }

    /// Compares the time per command of each side with the first's, in rounds that alternate.
    /// The round before the first only warms up.
    pub async fn compare(&mut self, what: &str, is_judged: bool, sides: &[Side]) {
        let mut measured: Vec<Vec<Measured>> = sides.iter().map(|_| Vec::new()).collect();
        let mut order: Vec<usize> = (0..sides.len()).collect();
        for round in 0..=self.rounds {
            for &place in &order {
                let side = &sides[place];
                let one = load::run(side.address, CONSUME, CLIENTS, self.time, &side.body).await;
                if round > 0 {
                    measured[place].push(one);
                }
            }
            // What one leaves behind for the next, such as dirty pages, is left to each in turn.
            order.reverse();
        }
        println!(
            "{what}\n{:>10} {:>12} {:>12} {:>9} {:>9} {:>8}",
            "", "accepted/s", "us/command", "p50 ms", "p99 ms", "ratio"
        );
        let times: Vec<f64> = measured
            .iter()
            .map(|rounds| 1e6 / median(rounds.iter().map(|one| one.accepted_per_second)))
            .collect();
        for ((side, rounds), time) in sides.iter().zip(&measured).zip(&times) {
            let [p50, p99] =
                [0.5, 0.99].map(|share| median(rounds.iter().map(|one| one.percentile_ms(share))));
            let ratio = time / times[0];
            let verdict = if is_judged { verdict(Some(ratio <= RATIO_MAX)) } else { "" };
            println!(
                "{:>10} {:>12.0} {time:>12.1} {p50:>9.2} {p99:>9.2} {ratio:>7.2}x {verdict}",
                side.label,
                1e6 / time
            );
        }
        if sides.len() < 2 {
            return;
        }
        let worst = times.iter().skip(1).fold(0.0, |worst: f64, time| worst.max(time / times[0]));
        let met = is_judged.then_some(worst <= RATIO_MAX);
        let target = if is_judged { format!("within {RATIO_MAX}x") } else { "falls off gently".to_owned() };
        let span = [sides.first(), sides.last()].map(|side| side.map_or("", |side| &side.label));
        self.figure(format!("{what}, {} to {}", span[0], span[1]), target, format!("{worst:.2}x"), met);
    }

    /// Adds a line to the table at the end.
    pub fn figure(&mut self, what: String, target: String, measured: String, met: Option<bool>) {
        self.figures.push(Figure { what, target, measured, met });
    }

    pub fn print_figures(&self) {
        println!("\n{:<78} {:<32} {:>12}", "figure", "target", "measured");
        for Figure { what, target, measured, met } in &self.figures {
            println!("{what:<78} {target:<32} {measured:>12} {}", verdict(*met));
        }
    }
}

pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not judged",
    }
}
