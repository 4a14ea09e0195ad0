//! What clients wrote down of concurrent commands, held against the naive model: there must be
//! one order of all that was granted that explains every answer, and the clocks agree with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::naive::{Answer, Config, No, Request, World};

/// A command, and what a client was told of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) product: String,
    pub(crate) request: Request,
    /// Before the first byte of it was sent.
    pub(crate) sent: Instant,
    /// After the last byte of its answer was read.
    pub(crate) answered: Instant,
    pub(crate) said: Result<Answer, No>,
}

/// A configuration, and when it was put: the next one holds instead from some time between
/// its `sent` and its `answered` on.
pub(crate) struct Rules {
    pub(crate) config: Config,
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
}

/// What an audit went through.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) granted: usize,
    pub(crate) refused: usize,
    /// Roots: what is granted at or below one has an order of its own.
    pub(crate) orders: usize,
}

impl std::ops::Add for Figures {
    type Output = Figures;

    fn add(self, other: Figures) -> Figures {
        Figures {
            granted: self.granted + other.granted,
            refused: self.refused + other.refused,
            orders: self.orders + other.orders,
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { granted, refused, orders } = self;
        write!(formatter, "{granted} granted and {refused} refused in {orders} orders, 0 unexplained")
    }
}

/// What commands with this path share with all that they could affect.
fn root(config: &Config, path: &[String]) -> Vec<String> {
    path[..path.len().min(config.required)].to_vec()
}

pub(crate) fn path_of(request: &Request) -> &[String] {
    match request {
        Request::Allocate { path, .. }
        | Request::Unallocate { path, .. }
        | Request::Reallocate { path, .. }
        | Request::Consume { path, .. }
        | Request::Reserve { path, .. }
        | Request::GiveBack { path, .. }
        | Request::OnHand { path, .. }
        | Request::SetOnHand { path, .. } => path,
        Request::Unreserve { .. } => panic!("it names no path"),
    }
}

/// Entries by their product and root; those granted in the order of their versions.
pub(crate) fn by_root(config: &Config, entries: Vec<Entry>) -> BTreeMap<(String, Vec<String>), Order> {
    let mut orders = BTreeMap::<_, Order>::new();
    for entry in entries {
        let key = (entry.product.clone(), root(config, path_of(&entry.request)));
        let order = orders.entry(key).or_default();
        match entry.said {
            Ok(_) => order.granted.push(entry),
            Err(_) => order.refused.push(entry),
        }
    }
    for (key, order) in &mut orders {
        order.granted.sort_by_key(version);
        let versions: Vec<u64> = order.granted.iter().map(version).collect();
        let expected: Vec<u64> = (1..=versions.len() as u64).collect();
        assert_eq!(versions, expected, "each version is one answer's: {key:?}");
        order.check_clocks();
    }
    orders
}

fn version(entry: &Entry) -> u64 {
    entry.said.as_ref().unwrap().version
}

/// What happened to one root.
#[derive(Default)]
pub(crate) struct Order {
    pub(crate) granted: Vec<Entry>,
    refused: Vec<Entry>,
}

impl Order {
    /// What was answered before another one was sent has the lower version.
    fn check_clocks(&self) {
        let mut above: Option<&Entry> = None;
        for entry in self.granted.iter().rev() {
            if let Some(above) = above.filter(|above| above.answered < entry.sent) {
                panic!("this was answered before the other was sent: {above:#?}\n{entry:#?}");
            }
            if above.is_none_or(|above| entry.answered < above.answered) {
                above = Some(entry);
            }
        }
    }

    /// Between which two states a refused command was judged: counts of events.
    fn window(&self, refused: &Entry) -> (usize, usize) {
        let before = self.granted.iter().rposition(|entry| entry.answered < refused.sent);
        let after = self.granted.iter().position(|entry| entry.sent > refused.answered);
        (before.map_or(0, |place| place + 1), after.unwrap_or(self.granted.len()))
    }

    fn replay(&self, rules: &[Rules], judged_by: &impl Fn(&str) -> usize) {
        let mut world = World::new(rules[0].config.clone());
        let mut open: Vec<_> = self.refused.iter().map(|entry| (self.window(entry), entry)).collect();
        let mut last = 0;
        for count in 0..=self.granted.len() {
            open.retain(|((first, _), entry)| count < *first || !explains(&mut world, rules, entry));
            if let Some(((first, _), entry)) = open.iter().find(|((_, last), _)| *last <= count) {
                panic!("refused as in no state after {first} to {count} events: {entry:#?}");
            }
            let Some(entry) = self.granted.get(count) else { return };
            let by = judged_by(&entry.id);
            assert!(by >= last, "judged by {by} after one judged by {last}: {entry:#?}");
            assert!(window(rules, entry).contains(&by), "judged by {by}: {entry:#?}");
            last = by;
            world.config = rules[by].config.clone();
            assert_eq!(world.send(&entry.id, &entry.request), entry.said, "{entry:#?}");
        }
    }
}

/// The configurations that may have held between the sending and the answer of a command.
fn window(rules: &[Rules], entry: &Entry) -> BTreeSet<usize> {
    let held = |by: usize| {
        let is_over = rules.get(by + 1).is_some_and(|next| next.answered < entry.sent);
        rules[by].sent <= entry.answered && !is_over
    };
    (0..rules.len()).filter(|&by| held(by)).collect()
}

/// Whether the command is refused as it was, under one of the configurations of its time.
fn explains(world: &mut World, rules: &[Rules], entry: &Entry) -> bool {
    let window = window(rules, entry);
    assert!(!window.is_empty(), "{entry:#?}");
    window.into_iter().any(|by| {
        world.config = rules[by].config.clone();
        world.refusal(&entry.request).as_ref() == entry.said.as_ref().err()
    })
}

/// Replays what was granted in the order of the versions, each command by the configuration
/// that it was judged by; and holds what was refused against the states of its time.
pub(crate) fn audit(rules: &[Rules], judged_by: impl Fn(&str) -> usize, entries: Vec<Entry>) -> Figures {
    let mut figures = Figures::default();
    for order in by_root(&rules[0].config, entries).into_values() {
        order.replay(rules, &judged_by);
        figures.granted += order.granted.len();
        figures.refused += order.refused.len();
        figures.orders += 1;
    }
    figures
}
