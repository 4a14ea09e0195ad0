//! The hot consume in memory: from what its body says to what its batch writes.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringfence::domain::command::{Command, Direction, Operation, ProductKey, Request, Target, Timestamp};
use ringfence::domain::configuration::Configuration;
use ringfence::domain::decide::{Outcome, apply, decide};
use ringfence::domain::dimensions::DimensionPath;
use ringfence::domain::name::Value;
use ringfence::domain::state::Stock;
use ringfence::store::commit::Batch;
use ringfence::store::configuration::Versioned;

use super::print_allocations;

pub const CONFIGURATION: &str = include_str!("../sale.json");
/// Any time will do.
const NOW: Timestamp = Timestamp(1_750_000_000_000_000);
const STOCK: &str = "1000000000000000";

pub fn measure(criterion: &mut Criterion) {
    let document = serde_json::from_str(CONFIGURATION).expect("a document");
    let configuration = Configuration::new(document, &[]).expect("a good one");
    let versioned = Arc::new(Versioned { version: 1, configuration });
    let (mut stock, outcome) = stock(&versioned.configuration);

    let (target, request) = (target("4711"), consume());
    let make = || Command::new(&versioned.configuration, &target, &request).expect("a command");
    print_allocations("core/command", make);
    criterion.bench_function("core/command", |bencher| bencher.iter(make));

    let command = make();
    let mut grant = || grant(&mut stock, &versioned.configuration, &command);
    print_allocations("core/decide and apply", &mut grant);
    criterion.bench_function("core/decide and apply", |bencher| bencher.iter(&mut grant));

    let answer = || serde_json::to_string(&outcome).expect("JSON");
    print_allocations("core/outcome as JSON", answer);
    criterion.bench_function("core/outcome as JSON", |bencher| bencher.iter(answer));

    let mut batches = criterion.benchmark_group("core/batch");
    for count in [64, 256] {
        let commands: Vec<Arc<Command>> = (0..count)
            .map(|id| {
                let target = self::target(&format!("4711-{id}"));
                Arc::new(Command::new(&versioned.configuration, &target, &request).expect("a command"))
            })
            .collect();
        let mut fold = || write_down(&mut stock, &versioned, &commands);
        print_allocations(&format!("core/batch/{count}"), &mut fold);
        batches.throughput(Throughput::Elements(count));
        batches.bench_function(BenchmarkId::from_parameter(count), |bencher| bencher.iter(&mut fold));
    }
    batches.finish();
}

fn target(id: &str) -> Target<'static> {
    let value = |text: &str| Value::parse(text).expect("a value");
    Target {
        id: value(id),
        product: ProductKey {
            environment: value("sale"),
            organization: value("usmf"),
            product: value("Bike"),
        },
        dimension_data_source: None,
        dimensions: [("siteId", "1"), ("locationId", "11"), ("colorId", "red")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        note: None,
    }
}

fn groups() -> Vec<(std::borrow::Cow<'static, str>, std::borrow::Cow<'static, str>)> {
    [("channel", "Web"), ("region", "London"), ("customerGroup", "VIP")]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
}

fn consume() -> Request<'static> {
    let physical_measures = vec![("pos".into(), vec![("inbound".into(), Direction::Subtraction)])];
    Request::Consume { groups: groups(), quantity: "1".into(), physical_measures }
}

/// A product with stock for every run, all of it allocated; and what the last command answered.
pub fn stock(configuration: &Configuration) -> (Stock, Outcome) {
    let quantities = vec![("pos".into(), vec![("inbound".into(), STOCK.into())])];
    let mut stock = Stock::default();
    let mut answer = |request| {
        let command = Command::new(configuration, &target("stock"), &request).expect("a command");
        grant(&mut stock, configuration, &command)
    };
    answer(Request::ChangeOnHand { quantities, groups: None });
    let outcome = answer(Request::Allocate { groups: groups(), quantity: STOCK.into() });
    (stock, outcome)
}

fn grant(stock: &mut Stock, configuration: &Configuration, command: &Command) -> Outcome {
    let effects = decide(stock, configuration, command, NOW).expect("there is stock");
    apply(stock, configuration, command, effects)
}

/// Decides commands in order and writes down what they add up to: each event, and each node
/// and balance once.
fn write_down(stock: &mut Stock, versioned: &Arc<Versioned>, commands: &[Arc<Command>]) -> Batch {
    let mut batch = Batch::new(NOW);
    let first = &commands[0];
    batch.guard_configuration(&first.product.environment, versioned.version);
    let configuration = &versioned.configuration;
    let nodes: Vec<DimensionPath> = first
        .path
        .chain(configuration.dimensions().required())
        .map(|node| DimensionPath::new(node.to_vec()))
        .collect();
    let expected: Vec<u64> = nodes.iter().map(|node| stock.nodes[node].version).collect();
    for command in commands {
        let outcome = grant(stock, configuration, command);
        batch.event(command, versioned, &outcome);
    }
    for (path, expected) in nodes.iter().zip(expected) {
        batch.node(&first.product, path.values(), expected, &stock.nodes[path]);
    }
    if let Operation::Consume { groups, .. } = &first.operation {
        batch.balance(&first.product, &first.path, groups, &stock.balance(&first.path, groups));
    }
    batch
}
