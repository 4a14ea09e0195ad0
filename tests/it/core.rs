//! Random and exhaustive command sequences through the core and the naive model, side by
//! side: every answer, every refusal and the state behind them must be the same.

pub(crate) mod random;
pub(crate) mod wire;

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringfence::domain::command::{Command, ProductKey, Target};
use ringfence::domain::configuration::Configuration;
use ringfence::domain::decide::{Outcome, apply, decide};
use ringfence::domain::name::Value;
use ringfence::domain::refusal::Refusal;
use ringfence::domain::snapshot;
use ringfence::domain::state::{ReservationId, Stock};

use self::random::{config, step, stock};
use self::wire::{EPOCH, answer, configuration, millionths, no, pairs, quantities, texts, value, written};
use crate::naive::{self, Config, ONE, World};

pub(crate) const DIMENSIONS: [&str; 4] = ["siteId", "locationId", "colorId", "sizeId"];
pub(crate) const GROUPS: [&str; 3] = ["channel", "customerGroup", "region"];
/// What on-hand changes move; the last is read-only to consumption.
const ON_HAND: [&str; 5] = ["iv.onhand", "pos.inbound", "pos.outbound", "iv.reserved", "erp.onhand"];
/// What can be reserved, though the second only where a configuration lists it.
const RESERVABLE: [&str; 2] = ["iv.reserved", "@iv.@softreserved"];

/// The core and the naive model after the same commands.
#[derive(Clone)]
struct Pair {
    configuration: Configuration,
    stock: Stock,
    world: World,
    events: u64,
    /// The paths of the granted events.
    applied: Vec<Vec<String>>,
    /// Of each event that made a reservation: its id and path.
    reservations: Vec<(String, ReservationId, Vec<String>)>,
    /// Paths and group paths that something was allocated to.
    held: Vec<(Vec<String>, Vec<String>)>,
}

impl Pair {
    fn new(config: Config) -> Pair {
        Pair {
            configuration: configuration(&config),
            stock: Stock::default(),
            world: World::new(config),
            events: 0,
            applied: Vec::new(),
            reservations: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Sends a request to both, compares, and says whether it was granted.
    fn send(&mut self, request: &naive::Request) -> bool {
        self.events += 1;
        let id = format!("event {}", self.events);
        let path = self.path(request);
        let expected = self.world.send(&id, request);
        match self.core(&id, &path, request) {
            Ok(outcome) => {
                assert_eq!(Ok(answer(request, &outcome)), expected, "{request:?}");
                let made = outcome.reservation_id.map(|made| (id, made, path.clone()));
                self.reservations.extend(made);
                if let naive::Request::Allocate { groups, .. } | naive::Request::Reallocate { groups, .. } =
                    request
                {
                    self.held.push((path.clone(), groups.clone()));
                }
                self.applied.push(path);
            }
            Err(refusal) => {
                assert_eq!(Err(no(refusal)), expected, "{request:?}");
                return false;
            }
        }
        self.stock.check_invariants(&self.configuration).unwrap_or_else(|why| panic!("{request:?}: {why}"));
        self.check_protection(request);
        self.begin_at_a_snapshot();
        true
    }

    /// Goes on from how things are, written down and read again; what was freed is in the books.
    fn begin_at_a_snapshot(&mut self) {
        let mut read = snapshot::read(&snapshot::write(&self.stock)).unwrap();
        let freed = self.stock.reservations.iter().filter(|(_, freed)| freed.remaining.is_zero());
        read.reservations.extend(freed.map(|(&id, freed)| (id, freed.clone())));
        self.stock = read;
    }

    fn core(&mut self, id: &str, path: &[String], request: &naive::Request) -> Result<Outcome, Refusal> {
        let reservation = |of: &str| self.reservations.iter().find(|made| made.0 == of).map(|made| made.1);
        let (request, received_at) = written(request, reservation);
        let target = Target {
            id: value(id),
            product: ProductKey {
                environment: value("shop"),
                organization: value("usmf"),
                product: value("Bike"),
            },
            dimension_data_source: None,
            dimensions: pairs(&DIMENSIONS, path),
            note: None,
        };
        let command = Command::new(&self.configuration, &target, &request)?;
        let effects = decide(&self.stock, &self.configuration, &command, received_at)?;
        Ok(apply(&mut self.stock, &self.configuration, &command, effects))
    }

    /// Invariant 5: a granted allocation or checked reservation leaves the availability that
    /// it was judged by at 0 or more, at every node of its chain.
    fn check_protection(&self, request: &naive::Request) {
        let config = &self.world.config;
        let (path, formula) = match request {
            naive::Request::Allocate { path, .. } => (path, &config.ata),
            naive::Request::Reserve { path, measure, checked: true, .. } => {
                let formula = &config.reservations.iter().find(|(own, _)| own == measure).unwrap().1;
                // An unprotected formula may ignore what is reserved, or count it twice.
                if !formula.contains(&(measure.clone(), -ONE)) {
                    return;
                }
                (path, formula)
            }
            _ => return,
        };
        for node in self.world.chain(path) {
            let total = |measure: &str| self.world.total(&node, measure);
            let value: i128 = formula.iter().map(|(measure, times)| times * total(measure)).sum();
            assert!(value >= 0, "{request:?} leaves {value} at {node:?}");
        }
    }

    /// Compares what both hold at the nodes of the chain of a path, and of every reservation.
    fn compare(&self, path: &[String]) {
        for path in self.world.chain(path) {
            let values: Vec<Value> = path.iter().map(|text| value(text)).collect();
            let node = self.stock.node(&values[..]).cloned().unwrap_or_default();
            let events = self.applied.iter().filter(|at| self.world.chain(at).contains(&path)).count();
            assert_eq!(node.version, events as u64, "version of {path:?}");
            for name in self.configuration.slots() {
                let slot = self.configuration.measure(name.source.as_str(), name.measure.as_str()).unwrap();
                let name = name.to_string();
                let (own, total) = (self.world.own(&path, &name), self.world.total(&path, &name));
                assert_eq!(millionths(node.own.get(slot)), own, "own {name} at {path:?}");
                assert_eq!(millionths(node.total.get(slot)), total, "total {name} at {path:?}");
            }
            let schedule = self.stock.schedules.get(&values[..]).cloned().unwrap_or_default();
            let scheduled = schedule.entries().map(|(day, slot, quantity)| {
                let measure = self.configuration.measure_name(slot).to_string();
                (((day - EPOCH).whole_days(), measure), millionths(quantity))
            });
            assert_eq!(scheduled.collect::<BTreeMap<_, _>>(), self.world.schedule(&path), "at {path:?}");
            for (groups, balance) in &node.balances {
                let groups: Vec<String> = groups.values().iter().map(Value::to_string).collect();
                assert_eq!(quantities(balance), self.world.balance(&path, &groups), "{groups:?} at {path:?}");
            }
        }
        for (event, id, _) in &self.reservations {
            let remaining = millionths(self.stock.reservations[id].remaining);
            assert_eq!(Some(remaining), self.world.remaining(event), "what remains of {event}");
        }
    }

    /// The events that made reservations.
    fn made(&self) -> Vec<String> {
        self.reservations.iter().map(|made| made.0.clone()).collect()
    }

    /// The path of a request, also of one that names only a reservation.
    fn path(&self, request: &naive::Request) -> Vec<String> {
        match request {
            naive::Request::Allocate { path, .. }
            | naive::Request::Unallocate { path, .. }
            | naive::Request::Reallocate { path, .. }
            | naive::Request::Consume { path, .. }
            | naive::Request::Reserve { path, .. }
            | naive::Request::GiveBack { path, .. }
            | naive::Request::OnHand { path, .. }
            | naive::Request::SetOnHand { path, .. }
            | naive::Request::Schedule { path, .. } => path.clone(),
            naive::Request::Unreserve { reservation, .. } => {
                let made = self.reservations.iter().find(|made| made.0 == *reservation);
                made.map_or(texts("1/1/1/1"), |made| made.2.clone())
            }
        }
    }
}

proptest! {
    // A failure prints its shrunken sequence; nothing is written beside the tests.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_naive_model_does(
        config in config(),
        stocked in prop::collection::vec(stock(), 1..5),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut pair = Pair::new(config);
        for request in stocked {
            pair.send(&request);
        }
        for step in steps {
            let request = step.request(&pair.world, &pair.held, &pair.made());
            pair.send(&request);
            pair.compare(&pair.path(&request));
        }
        pair.applied.iter().for_each(|path| pair.compare(path));
    }
}

/// A world of two nodes, one below the other: up to five commands in any order. What a
/// refusal leaves behind is what was there before, so only granted commands are followed.
#[test]
fn every_short_sequence_does_what_the_naive_model_does() {
    let term = |measure: &str, whole: i128| (measure.to_owned(), whole * ONE);
    let ata = vec![
        term("iv.onhand", 1),
        term("iv.reserved", -1),
        term("@iv.@consumed", -1),
        term("@iv.@allocated", -1),
    ];
    let pair = Pair::new(Config {
        dimensions: DIMENSIONS.map(str::to_owned).to_vec(),
        required: 1,
        reservations: vec![("iv.reserved".to_owned(), ata.clone())],
        ata,
        read_only: Vec::new(),
        allow_pool_changing_consumption: true,
    });
    let (store, shelf) = (texts("1"), texts("1/2"));
    let (web, vip) = (texts("Web"), texts("Web/VIP"));
    let (quantity, measure) = (ONE, "iv.reserved".to_owned());
    let post = |path: &[String], whole| naive::Request::OnHand {
        path: path.to_vec(),
        deltas: vec![term("iv.onhand", whole)],
        settle: None,
    };
    let allocate =
        |path: &[String]| naive::Request::Allocate { path: path.to_vec(), groups: web.clone(), quantity };
    let consume = |path: &[String], modifiers: &[(&str, bool)]| naive::Request::Consume {
        path: path.to_vec(),
        groups: web.clone(),
        quantity,
        modifiers: modifiers.iter().map(|&(measure, sign)| (measure.to_owned(), sign)).collect(),
    };
    let commands = [
        post(&shelf, 1),
        post(&store, 2),
        post(&shelf, -1),
        allocate(&store),
        allocate(&shelf),
        naive::Request::Unallocate { path: shelf.clone(), groups: vip.clone(), quantity },
        naive::Request::Reallocate { path: shelf.clone(), source: web.clone(), groups: vip, quantity },
        consume(&shelf, &[]),
        consume(&store, &[("iv.onhand", false), ("iv.reserved", true)]),
        naive::Request::OnHand { path: shelf.clone(), deltas: Vec::new(), settle: Some((web.clone(), ONE)) },
        naive::Request::Reserve { path: shelf.clone(), measure: measure.clone(), quantity, checked: true },
        naive::Request::GiveBack { path: shelf.clone(), measure, quantity },
        naive::Request::SetOnHand { path: shelf, values: vec![term("iv.onhand", 2)], at: 2 },
        naive::Request::SetOnHand { path: store, values: vec![term("iv.onhand", 0)], at: 1 },
    ];
    let granted = every_sequence(&pair, &commands, 5);
    assert!(granted > 10_000, "only {granted} were granted");
}

/// Sends each of the commands after each sequence of them; counts what was granted.
fn every_sequence(pair: &Pair, commands: &[naive::Request], depth: usize) -> usize {
    if depth == 0 {
        return 0;
    }
    let freeing = pair
        .reservations
        .last()
        .map(|(made, _, _)| naive::Request::Unreserve { reservation: made.clone(), quantity: ONE });
    let mut granted = 0;
    for request in commands.iter().chain(&freeing) {
        let mut next = pair.clone();
        if next.send(request) {
            next.compare(&next.path(request));
            granted += 1 + every_sequence(&next, commands, depth - 1);
        }
    }
    granted
}
