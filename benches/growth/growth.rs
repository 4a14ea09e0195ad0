//! Time per command while one thing grows and all else stays.

use crate::compare::{Bench, Case, Side};
use crate::seed::Size;

/// Products that a load is spread over, so that it is the database that grows and not what
/// the load touches.
pub const WORKING_SET: u64 = 1_000;
/// Nodes of one product that are consumed at by chance.
const NODES_TOUCHED: u64 = 100;

/// One of so many, spread evenly over all.
pub fn spread(place: u64, of: u64, over: u64) -> u64 {
    place * over / of
}

/// Consumes of any product that the load is spread over.
fn of_any_product(case: &Case) -> Side {
    case.side(|size, text, random| {
        let product = random.below(WORKING_SET);
        size.consume(text, random, (product, 0, 0));
    })
}

/// The groups of the hierarchy.
pub async fn groups(bench: &mut Bench) {
    let sizes =
        [1, 2, 4, 8].map(|groups| (groups, Size { products: WORKING_SET, groups, ..Size::default() }));
    let cases = bench.cases("groups", sizes).await;
    let sides: Vec<Side> = cases.iter().map(of_any_product).collect();
    bench.compare("levels of groups", true, &sides).await;
    bench.end(cases).await;
}

/// The balances at one node.
pub async fn balances(bench: &mut Bench) {
    let sizes = [1, 100, 10_000].map(|balances| (balances, Size { balances, ..Size::default() }));
    let cases = bench.cases("balances", sizes).await;
    let fixed: Vec<Side> = cases
        .iter()
        .map(|case| case.side(|size, text, random| size.consume(text, random, (0, 0, 0))))
        .collect();
    bench.compare("balances at one node, consuming one of them", true, &fixed).await;
    // A batch that touches one balance has less to write than one of as many as commands, so
    // the least that is compared here has more balances than a batch has commands.
    let uniform: Vec<Side> = cases
        .iter()
        .filter(|case| case.label >= 100)
        .map(|case| {
            case.side(|size, text, random| {
                let balance = random.below(size.balances);
                size.consume(text, random, (0, 0, balance));
            })
        })
        .collect();
    if !uniform.is_empty() {
        bench.compare("balances at one node, consuming any", true, &uniform).await;
    }
    bench.end(cases).await;
}

/// The nodes under one product.
pub async fn nodes(bench: &mut Bench) {
    let sizes = [100, 1_000, 10_000, 100_000].map(|nodes| (nodes, Size { nodes, ..Size::default() }));
    let cases = bench.cases("nodes", sizes).await;
    let fixed: Vec<Side> = cases
        .iter()
        .map(|case| case.side(|size, text, random| size.consume(text, random, (0, 0, 0))))
        .collect();
    bench.compare("nodes under one product, consuming at one of them", true, &fixed).await;
    let some: Vec<Side> = cases
        .iter()
        .map(|case| {
            case.side(|size, text, random| {
                let node = spread(random.below(NODES_TOUCHED), NODES_TOUCHED, size.nodes);
                size.consume(text, random, (0, node, 0));
            })
        })
        .collect();
    bench.compare("nodes under one product, consuming at 100 of them", true, &some).await;
    bench.end(cases).await;
}

/// The events in the ledger.
pub async fn events(bench: &mut Bench) {
    let sizes = [0, 100_000, 1_000_000, 10_000_000]
        .map(|events| (events, Size { products: WORKING_SET, events, ..Size::default() }));
    let cases = bench.cases("events", sizes).await;
    let sides: Vec<Side> = cases.iter().map(of_any_product).collect();
    bench.compare("events in the ledger", true, &sides).await;
    bench.end(cases).await;
}
