//! What a writer holds in memory of the books: a bounded copy of parts of products.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::domain::command::{Command, Operation, ProductKey};
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::schedule::Schedule;
use crate::domain::state::{Balance, Node, Reservation, ReservationId, Stock};

#[cfg(test)]
mod tests;

/// Environments of which it is known under which version of their configuration the books were
/// read; of another, what is held is forgotten when it is met again.
const ENVIRONMENTS_MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Parts of products, each as it was at some time. A part that a command needs is loaded
/// before; what the copy does not hold is unknown, not absent.
///
/// The copy may be out of date at any time, because another instance writes too. Every
/// event at or below a node changes the node's version, so whoever commits with the
/// version of the chain's shallowest node commits on the truth.
pub(super) struct Books {
    products: LruCache<ProductKey, Stock>,
    /// The newest version of each environment's configuration that was met. All that is held of
    /// the environment was read since, or while, it was the current one.
    versions: LruCache<Value, i64>,
    /// The products that hold reservations or schedules.
    reserving: Vec<ProductKey>,
    /// How many nodes and balances are held.
    held: usize,
    held_max: usize,
}

/// What a batch needs and the copy does not hold.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) nodes: BTreeSet<(ProductKey, DimensionPath)>,
    pub(super) balances: BTreeSet<(ProductKey, DimensionPath, GroupPath)>,
    pub(super) reservations: BTreeSet<(ProductKey, ReservationId)>,
    pub(super) schedules: BTreeSet<(ProductKey, DimensionPath)>,
    /// Products of which it is to be known whether they are enabled for allocation.
    pub(super) switches: BTreeSet<ProductKey>,
    /// Nodes and balances that its commands need, held or not.
    pub(super) lookups: usize,
}

impl Wanted {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.balances.is_empty()
            && self.reservations.is_empty()
            && self.schedules.is_empty()
            && self.switches.is_empty()
    }
}

/// A part of a product as it is stored; `None` where nothing is.
pub(super) enum Part {
    Node(ProductKey, DimensionPath, Option<Node>),
    Balance(ProductKey, DimensionPath, GroupPath, Option<Balance>),
    Reservation(ProductKey, ReservationId, Reservation),
    Schedule(ProductKey, DimensionPath, Schedule),
    Switch(ProductKey, bool),
}

impl Books {
    pub(super) fn new(held_max: usize) -> Books {
        Books {
            products: LruCache::unbounded(),
            versions: LruCache::new(ENVIRONMENTS_MAX),
            reserving: Vec::new(),
            held: 0,
            held_max,
        }
    }

    /// Takes note of the version that commands of an environment were made under. A new one may
    /// be new because products were erased or switched, so all that is held of the environment is
    /// forgotten. Answers whether it was.
    pub(super) fn meet(&mut self, environment: &Value, version: i64) -> bool {
        if self.versions.get(environment).is_some_and(|&known| known >= version) {
            return false;
        }
        self.versions.put(environment.clone(), version);
        let keys = self.products.iter().map(|(key, _)| key);
        let outdated: Vec<_> = keys.filter(|key| key.environment == *environment).cloned().collect();
        outdated.iter().for_each(|key| self.forget(key));
        true
    }

    /// The stock of a product, as far as it is held.
    pub(super) fn stock(&mut self, key: &ProductKey) -> &mut Stock {
        self.products.get_or_insert_mut_ref(key, Stock::default)
    }

    /// Adds what a command needs and the copy does not hold.
    pub(super) fn want(&mut self, command: &Command, configuration: &Configuration, wanted: &mut Wanted) {
        let key = &command.product;
        let stock = self.stock(key);
        for node in command.path.chain(configuration.dimensions().required()) {
            wanted.lookups += 1;
            if stock.node(node).is_none() {
                wanted.nodes.insert((key.clone(), DimensionPath::new(node.to_vec())));
            }
        }
        for groups in command.operation.groups() {
            wanted.lookups += 1;
            if !stock.nodes.get(&command.path).is_some_and(|node| node.balances.contains_key(groups)) {
                wanted.balances.insert((key.clone(), command.path.clone(), groups.clone()));
            }
        }
        let is_asked = configuration.requires_enabled_products()
            && matches!(command.operation, Operation::Allocate { .. });
        if is_asked && stock.is_enabled.is_none() {
            wanted.switches.insert(key.clone());
        }
        if let Operation::Unreserve { reservation, .. } = command.operation {
            wanted.reservations.insert((key.clone(), reservation));
        }
        if let Operation::ChangeSchedule { .. } = command.operation {
            wanted.schedules.insert((key.clone(), command.path.clone()));
        }
    }

    /// Holds a part; a reservation or a schedule only until [`Books::end_batch`].
    pub(super) fn hold(&mut self, part: Part) {
        match part {
            Part::Node(key, path, node) => {
                self.stock(&key).nodes.insert(path, node.unwrap_or_default());
                self.held += 1;
            }
            Part::Balance(key, path, groups, balance) => {
                // Its node was wanted by the same command, so it is held.
                if let Some(node) = self.stock(&key).nodes.get_mut(&path) {
                    node.balances.insert(groups, balance.unwrap_or_default());
                    self.held += 1;
                }
            }
            Part::Reservation(key, id, reservation) => {
                self.stock(&key).reservations.insert(id, reservation);
                self.reserving.push(key);
            }
            Part::Schedule(key, path, schedule) => {
                self.stock(&key).schedules.insert(path, schedule);
                self.reserving.push(key);
            }
            Part::Switch(key, is_enabled) => self.stock(&key).is_enabled = Some(is_enabled),
        }
    }

    /// Forgets a product: what is held of it turned out to be out of date, or was decided on
    /// and not committed.
    pub(super) fn forget(&mut self, key: &ProductKey) {
        if let Some(stock) = self.products.pop(key) {
            self.held = self.held.saturating_sub(weight(&stock));
        }
    }

    /// Takes note that a reservation was made or changed.
    pub(super) fn reserved(&mut self, key: &ProductKey) {
        self.reserving.push(key.clone());
    }

    /// Lets go of what need not be kept: reservations and schedules, and whole products, the longest unused
    /// first, while more is held than the limit.
    pub(super) fn end_batch(&mut self) {
        for key in self.reserving.drain(..) {
            if let Some(stock) = self.products.peek_mut(&key) {
                stock.reservations.clear();
                stock.schedules.clear();
            }
        }
        while self.held > self.held_max {
            let Some((_, stock)) = self.products.pop_lru() else { return };
            self.held = self.held.saturating_sub(weight(&stock));
        }
    }
}

fn weight(stock: &Stock) -> usize {
    stock.nodes.values().map(|node| 1 + node.balances.len()).sum()
}
