//! What growth costs: the time per command while the books grow in products, levels of groups,
//! balances, nodes and events; memory, the start and queries over many products. The real
//! program over a private PostgreSQL with full durability, over HTTP. Every size of a scenario
//! has its own database and process, and they are measured in turn.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::float_arithmetic,
    reason = "a benchmark measures, and ends when it cannot go on"
)]
#![allow(unreachable_pub, reason = "the modules of one binary")]

mod compare;
#[path = "../flash_sale/connection.rs"]
#[allow(dead_code, reason = "this load needs less of it")]
mod connection;
mod growth;
mod load;
mod past;
mod products;
mod seed;
mod service;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use ringfence::embedded::Embedded;
use sqlx::postgres::PgConnectOptions;
use tokio::task::{LocalSet, spawn_local};

use compare::Bench;
use products::Parts;

/// Measures what growth costs.
#[derive(Parser)]
struct Cli {
    /// What is measured; everything when nothing is named.
    scenarios: Vec<Scenario>,
    /// Rounds that are measured, beside the one that warms up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each round lasts.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// Sizes above this are left out.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    most: u64,
    /// All sizes: also 10^7 events, which take minutes and some GB to make.
    #[arg(long)]
    full: bool,
    /// What cargo says.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Scenario {
    /// Commands over 10^3 to 10^6 products, and the memory that they take.
    Products,
    /// Commands over more products than memory holds.
    Cache,
    /// The start over many products.
    Startup,
    /// The query of balances over many products.
    Query,
    /// Commands under 1 to 8 levels of groups.
    Groups,
    /// Commands over 1 to 10^4 balances at one node.
    Balances,
    /// Commands over 10^2 to 10^5 nodes under one product.
    Nodes,
    /// Commands over 0 to 10^6 events in the ledger.
    Events,
    /// Questions about the past of 10^5 and 10^6 events.
    Past,
}

fn main() {
    let cli = Cli::parse();
    // One thread: the cores are for the service and its database.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = runtime.block_on(measure(cli));
    std::process::exit(if done { 0 } else { 1 });
}

/// Measures, and leaves nothing behind also when it fails.
async fn measure(cli: Cli) -> bool {
    let directory = std::env::temp_dir().join(format!("ringfence-growth-{}", std::process::id()));
    let embedded = Embedded::start(&directory).await.expect("PostgreSQL is installed");
    let scenarios = scenarios(cli, embedded.options());
    let done = LocalSet::new().run_until(async { spawn_local(scenarios).await }).await;
    embedded.stop().await;
    let _ = std::fs::remove_dir_all(directory);
    done.is_ok()
}

async fn scenarios(cli: Cli, server: PgConnectOptions) {
    let most = if cli.full { u64::MAX } else { cli.most };
    let time = Duration::from_secs(u64::from(cli.seconds));
    let mut bench = Bench::new(server, usize::from(cli.rounds), time, most);
    let wants = |scenario| cli.scenarios.is_empty() || cli.scenarios.contains(&scenario);
    let parts = Parts {
        commands: wants(Scenario::Products),
        cache: wants(Scenario::Cache),
        startup: wants(Scenario::Startup),
        query: wants(Scenario::Query),
    };
    if parts.commands || parts.cache || parts.startup || parts.query {
        products::products(&mut bench, &parts).await;
    }
    if wants(Scenario::Groups) {
        growth::groups(&mut bench).await;
    }
    if wants(Scenario::Balances) {
        growth::balances(&mut bench).await;
    }
    if wants(Scenario::Nodes) {
        growth::nodes(&mut bench).await;
    }
    if wants(Scenario::Events) {
        growth::events(&mut bench).await;
    }
    if wants(Scenario::Past) {
        past::past(&mut bench).await;
    }
    bench.print_figures();
}
