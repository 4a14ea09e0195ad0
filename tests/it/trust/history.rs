//! What clients wrote down of concurrent commands, held against the naive model: there must be
//! one order of all commands, those refused too, that explains every answer, and the clocks agree with it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Instant;

use super::refusals::{Refused, Unplaced};
use crate::naive::{Answer, Config, No, Request, World};

/// A command, and what a client was told of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) product: String,
    /// Where; what frees a reservation is where that was made.
    pub(crate) path: Vec<String>,
    pub(crate) request: Request,
    /// What the service calls the reservation that was made or freed.
    pub(crate) reservation: Option<String>,
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

/// Entries by their product and root; those granted in the order of their versions.
pub(crate) fn by_root(config: &Config, entries: Vec<Entry>) -> BTreeMap<(String, Vec<String>), Order> {
    let mut orders = BTreeMap::<_, Order>::new();
    for entry in entries {
        let key = (entry.product.clone(), root(config, &entry.path));
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

    /// After how many events a refused command was judged, by the clocks.
    fn window(&self, refused: &Entry) -> RangeInclusive<usize> {
        let before = self.granted.iter().rposition(|entry| entry.answered < refused.sent);
        let after = self.granted.iter().position(|entry| entry.sent > refused.answered);
        before.map_or(0, |place| place + 1)..=after.unwrap_or(self.granted.len())
    }

    fn replay(&self, rules: &[Rules], judged_by: &impl Fn(&str) -> usize) {
        let mut world = World::new(rules[0].config.clone());
        let refused =
            |entry| Refused { entry, events: self.window(entry), rules: of_their_time(rules, entry) };
        let mut refused = Unplaced::new(self.refused.iter().map(refused).collect());
        let mut last = 0;
        for count in 0..=self.granted.len() {
            let next = self.granted.get(count);
            let by = next.map_or(rules.len() - 1, |entry| judged_by(&entry.id));
            assert!(by >= last, "judged by {by} after one judged by {last}: {next:#?}");
            (last..=by).for_each(|by| refused.place(&mut world, rules, (count, by)));
            last = by;
            let Some(entry) = next else { break };
            assert!(of_their_time(rules, entry).contains(&by), "judged by {by}: {entry:#?}");
            assert_eq!(world.send(&entry.id, &entry.request), entry.said, "{entry:#?}");
        }
    }
}

/// The configurations that may have held between the sending and the answer of a command.
fn of_their_time(rules: &[Rules], entry: &Entry) -> RangeInclusive<usize> {
    let first = rules.iter().skip(1).take_while(|next| next.answered < entry.sent).count();
    let last = rules.iter().rposition(|own| own.sent <= entry.answered).unwrap();
    first..=last
}

/// Replays what was granted in the order of the versions, each command by the configuration
/// that it was judged by; and finds places between them for all that was refused.
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
