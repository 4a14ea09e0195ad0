//! What depends on how many products there are: commands, memory, the start and queries.

use std::fmt::Write;
use std::sync::Arc;

use crate::compare::{Bench, CONSUME, Case, Side, median};
use crate::growth::{WORKING_SET, spread};
use crate::load::{self, Body, Client, Random};
use crate::seed::Size;
use crate::service::Service;

const QUERY: &str = "/api/environment/growth/allocation/query";
const START_MAX_MS: f64 = 2_000.0;
const QUERY_P99_MAX_MS: f64 = 5.0;
const QUERY_CLIENTS: usize = 16;
/// The least that `--books-entries-max` takes. A product of these databases has three entries,
/// two nodes and a balance.
const ENTRIES_MAX: &str = "1000";

/// Which of it is measured.
pub struct Parts {
    pub commands: bool,
    pub cache: bool,
    pub startup: bool,
    pub query: bool,
}

pub async fn products(bench: &mut Bench, parts: &Parts) {
    let mut sizes: Vec<u64> = vec![1_000, 10_000, 100_000, 1_000_000];
    sizes.retain(|&products| products <= bench.most);
    if !parts.commands {
        sizes.drain(..sizes.len().saturating_sub(1));
    }
    let sizes = sizes.into_iter().map(|products| (products, Size { products, ..Size::default() }));
    let cases = bench.cases("products", sizes).await;
    if parts.commands {
        commands(bench, &cases).await;
    }
    let Some(largest) = cases.last() else { return };
    if parts.startup {
        startup(bench, largest).await;
    }
    if parts.query {
        balance_query(bench, largest).await;
    }
    if parts.cache {
        cache(bench, largest).await;
    }
    bench.end(cases).await;
}

/// Consumes from one of so many products, spread evenly over all.
fn consume_of(products: u64) -> impl Fn(&Size, &mut String, &mut Random) + Send + Sync + 'static {
    move |size, text, random| {
        let product = spread(random.below(products), products, size.products);
        size.consume(text, random, (product, 0, 0));
    }
}

async fn commands(bench: &mut Bench, cases: &[Case]) {
    let some: Vec<Side> = cases.iter().map(|case| case.side(consume_of(WORKING_SET))).collect();
    bench.compare("products, consuming of 1000 of them", true, &some).await;
    let any: Vec<Side> = cases.iter().map(|case| case.side(consume_of(case.label))).collect();
    bench.compare("products, consuming of any", false, &any).await;
    for case in cases {
        let resident = case.service.resident_high_mib();
        println!("{:>10} products, of any: resident memory {resident:.0} MiB at most", case.label);
        if case.label == 1_000 || case.label == cases[cases.len() - 1].label {
            memory(bench, format!("resident memory, {} products", case.label), resident);
        }
    }
}

fn memory(bench: &mut Bench, what: String, resident: f64) {
    bench.figure(what, "bounded by --books-entries-max".to_owned(), format!("{resident:.0} MiB"), None);
}

/// With room for little, the load is spread over ever more: from what fits to everything.
async fn cache(bench: &mut Bench, case: &Case) {
    let service = Service::start(&case.database.options, &["--books-entries-max", ENTRIES_MAX]);
    let spreads = [100, 1_000, 10_000, 100_000, 1_000_000];
    let sides: Vec<Side> = spreads
        .into_iter()
        .filter(|&products| products <= case.label)
        .map(|products| Side {
            label: products.to_string(),
            address: service.address,
            ..case.side(consume_of(products))
        })
        .collect();
    let what = format!("of {} products with --books-entries-max {ENTRIES_MAX}, consuming", case.label);
    bench.compare(&what, false, &sides).await;
    let resident = service.resident_high_mib();
    println!("resident memory {resident:.0} MiB at most");
    memory(bench, format!("resident memory, --books-entries-max {ENTRIES_MAX}"), resident);
}

async fn startup(bench: &mut Bench, case: &Case) {
    let (mut listened_ms, mut answered_ms) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let service = Service::start(&case.database.options, &[]);
        listened_ms.push(service.listened_after.as_secs_f64() * 1000.0);
        let mut body = String::new();
        case.database.size.consume(&mut body, &mut Random::default(), (0, 0, 0));
        Client::open(service.address, CONSUME).await.post(&body).await;
        answered_ms.push(service.began.elapsed().as_secs_f64() * 1000.0);
    }
    for (until, figures) in [("`listening on`", listened_ms), ("the first command is done", answered_ms)] {
        let figure = median(figures.into_iter());
        let what = format!("start-up with {} products, until {until}", case.label);
        println!("{what}: {figure:.0} ms");
        let met = Some(figure < START_MAX_MS);
        bench.figure(what, format!("under {START_MAX_MS} ms"), format!("{figure:.0} ms"), met);
    }
}

/// The query of a product's balances at one place.
async fn balance_query(bench: &mut Bench, case: &Case) {
    let products = case.label;
    let body: Body = Arc::new(move |text, random| {
        let product = random.below(products);
        let _ = write!(
            text,
            r#"{{"organizationId":"usmf","productId":"P{product:07}","dimensions":{{"siteId":"1","locationId":"11","colorId":"N000000"}}}}"#
        );
    });
    for clients in [1, QUERY_CLIENTS] {
        let mut rounds = Vec::new();
        for _ in 0..bench.rounds {
            rounds.push(load::run(case.service.address, QUERY, clients, bench.time, &body).await);
        }
        let [p50, p99] = [0.5, 0.99].map(|share| median(rounds.iter().map(|one| one.percentile_ms(share))));
        let rate = median(rounds.iter().map(|one| one.accepted_per_second));
        let what = format!("balance query over {products} products, {clients} client(s)");
        println!("{what}: {rate:.0} a second, p50 {p50:.2} ms, p99 {p99:.2} ms");
        let met = Some(p99 < QUERY_P99_MAX_MS);
        bench.figure(
            format!("{what}, p99"),
            format!("under {QUERY_P99_MAX_MS} ms"),
            format!("{p99:.2} ms"),
            met,
        );
    }
}
