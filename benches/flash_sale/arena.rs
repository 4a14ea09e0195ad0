//! Who takes part, on which books, and how a round is measured.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::arguments::Arguments;
use crate::books::{self, Books};
use crate::contestant::{Contestant, Kind, OURS};
use crate::load::{self, Load, Measured};
use crate::processor;
use crate::report;
use crate::scripts::{self, Products, Reads, Repeats, Sale, Scarce};

/// The twin's pool sizes that are tried, and the best taken.
const TWIN_CONNECTIONS: [u32; 3] = [1, 4, 16];
/// Clients with which the best is found.
const TRIAL_CLIENTS: usize = 64;
/// How long a load runs before it counts: longer than a request ever waits.
const WARM_UP: Duration = Duration::from_secs(1);
/// Pieces of a scarce product. The twin gets fewer, because it takes so much longer.
const SCARCE_OURS: u64 = 20_000;
const SCARCE_TWINS: u64 = 4_000;

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// All buy one product.
    Hot,
    /// Each of 10,000 products is as likely.
    Uniform,
    /// Each of 10,000 products is as likely as its place lets it be.
    Zipf,
    /// One product, until it is sold out and a while longer.
    Scarce,
    /// One product, and every tenth request is sent twice.
    Repeats,
    /// Nine of ten ask for a balance, one buys, of 10,000 products.
    Reads,
}

impl Mix {
    /// Whether it needs the many products.
    fn is_spread(self) -> bool {
        matches!(self, Mix::Uniform | Mix::Zipf | Mix::Reads)
    }
}

/// A contestant with its books, or several that share them.
pub struct Side {
    pub name: &'static str,
    pub books: Books,
    pub contestants: Vec<Contestant>,
    /// The contestant that is best where all buy one product, and where they do not.
    best: [Option<usize>; 2],
}

impl Side {
    async fn ringfence(server: &PgConnectOptions, name: &'static str, program: &Path) -> Side {
        let books = Books::create(server, &format!("bench_{name}"), program).await;
        let contestants =
            vec![Contestant::start(&Kind::Ringfence { name, program, database_url: &books.url })];
        Side { name, books, contestants, best: [Some(0); 2] }
    }

    async fn twin(server: &PgConnectOptions) -> Side {
        let books = Books::create(server, "bench_twin", Path::new(OURS)).await;
        let start = |connections| Contestant::start(&Kind::Twin { database_url: &books.url, connections });
        let contestants = TWIN_CONNECTIONS.map(start).into();
        Side { name: "twin", books, contestants, best: [None; 2] }
    }

    /// The best for what the clients do. Pool sizes are tried once on the hot product and once
    /// on the many, and what is best there is taken for whatever is like it.
    pub async fn best_for(&mut self, mix: Mix, arguments: &Arguments) -> usize {
        let spread = mix.is_spread();
        if let Some(best) = self.best[usize::from(spread)] {
            return best;
        }
        let (trial, name) = if spread { (Mix::Uniform, "pool, uniform") } else { (Mix::Hot, "pool, hot") };
        let mut best = (0, 0.0);
        for index in 0..self.contestants.len() {
            let measured = self.measure(index, trial, TRIAL_CLIENTS, arguments.time).await;
            report::round_line(name, 0, &self.contestants[index].name, &measured);
            if measured.rate > best.1 {
                best = (index, measured.rate);
            }
        }
        println!(
            "{name:<14} the best is the {}: it stands for all that is alike",
            self.contestants[best.0].name
        );
        self.best[usize::from(spread)] = Some(best.0);
        best.0
    }

    /// Runs clients on one contestant.
    pub async fn measure(&mut self, index: usize, mix: Mix, clients: usize, time: Duration) -> Measured {
        if mix.is_spread() {
            self.books.stock_products().await;
        }
        let addresses = vec![self.contestants[index].address];
        let mut load = Load { addresses, clients, warm_up: WARM_UP, time: Some(time) };
        let number = scripts::load_number();
        let sale = move |products: &Products, client| Sale::new(number, client, products.clone());
        let before = processor::of_the_machine();
        let parts = match mix {
            Mix::Hot => {
                let products = Products::hot();
                load::run(load, move |client| sale(&products, client)).await
            }
            Mix::Uniform => load::run(load, move |client| sale(&Products::Uniform, client)).await,
            Mix::Zipf => {
                let products = Products::zipf();
                load::run(load, move |client| sale(&products, client)).await
            }
            Mix::Repeats => {
                let products = Products::hot();
                load::run(load, move |client| Repeats::new(sale(&products, client))).await
            }
            Mix::Reads => {
                let script = move |client| Reads { sale: sale(&Products::Uniform, client), asks: false };
                load::run(load, script).await
            }
            Mix::Scarce => {
                let product = format!("Rarity-{number}");
                let pieces = if self.name == "twin" { SCARCE_TWINS } else { SCARCE_OURS };
                books::stock_one(load.addresses[0], &product, pieces).await;
                (load.warm_up, load.time) = (Duration::ZERO, None);
                let (products, end) = (Products::One(product.into()), Arc::new(OnceLock::new()));
                let script = move |client| Scarce {
                    sale: sale(&products, client),
                    end: Arc::clone(&end),
                    time_after: time,
                };
                let parts = load::run(load, script).await;
                let sold: u64 = parts.iter().map(|part| part.accepted).sum();
                assert_eq!(sold, pieces, "{} did not sell exactly what there was", self.name);
                parts
            }
        };
        let mut measured = Measured::of_all(&parts);
        let spent = processor::of_the_machine() - before;
        measured.machine_us = spent.as_secs_f64() * 1e6 / measured.sent.max(1) as f64;
        self.books.count(&measured);
        assert!(
            self.name == "twin" || measured.unavailable == 0,
            "ringfence alone on its books answers everything"
        );
        measured
    }
}

/// All who take part.
pub struct Arena {
    pub server: PgConnectOptions,
    pub ringfence: Side,
    /// Another build.
    pub before: Option<Side>,
    pub twin: Option<Side>,
}

impl Arena {
    pub async fn open(server: PgConnectOptions, arguments: &Arguments) -> Arena {
        let ringfence = Side::ringfence(&server, "ringfence", Path::new(OURS)).await;
        let before = match &arguments.against {
            Some(program) => Some(Side::ringfence(&server, "before", program).await),
            None => None,
        };
        let twin = if arguments.without_twin { None } else { Some(Side::twin(&server).await) };
        Arena { server, ringfence, before, twin }
    }

    pub fn sides(&mut self) -> impl Iterator<Item = &mut Side> {
        [&mut self.ringfence].into_iter().chain(&mut self.before).chain(&mut self.twin)
    }

    /// Replays the books of everybody.
    pub async fn replay(&mut self) {
        for side in self.sides() {
            let events = side.books.replay().await;
            println!("{}: {events} events replayed, no difference", side.name);
        }
    }
}
