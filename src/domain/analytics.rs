//! What analytics say of activity: the definitions, as `openapi.yaml` tells them.

use std::collections::BTreeMap;

use super::activity::Totals;
use super::command::Timestamp;
use super::name::Value;
use super::quantity::Quantity;

/// Seconds of an hour, the time that rates are for.
const HOUR: i64 = 3_600;
/// The last moment that has a date of four digits, in seconds.
const SECONDS_MAX: i64 = 253_402_300_799;

/// What was done at one spot, as running totals at the moments that a question is about.
#[derive(Clone, Debug)]
pub struct Course {
    /// The row that it is kept in.
    pub place_id: i64,
    /// The owner.
    pub organization: Value,
    /// The product.
    pub product: Value,
    /// Where.
    pub path: Vec<Value>,
    /// For whom.
    pub groups: Vec<Value>,
    /// At the beginning of the range.
    pub from: Totals,
    /// At its end.
    pub to: Totals,
    /// What had been consumed when the window began.
    pub consumed_before_window: Quantity,
}

/// How fast a spot's balance goes, over a window that ends now.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// Where.
    pub path: Vec<Value>,
    /// For whom.
    pub groups: Vec<Value>,
    /// What may still be consumed.
    pub balance: Quantity,
    /// What was consumed within the window.
    pub consumed: Quantity,
    /// What was refused for lack of stock within the window.
    pub unmet_quantity: Quantity,
    /// How many requests that was.
    pub unmet_count: i64,
    /// When it was last consumed, also before the window.
    pub last_consumed_at: Option<Timestamp>,
    /// How long the window is, in seconds.
    pub seconds: i64,
}

impl Pace {
    /// The pace of a course whose range is the window.
    pub fn of(course: Course, seconds: i64) -> Pace {
        let within = course.to.since(&course.from);
        Pace {
            path: course.path,
            groups: course.groups,
            balance: course.to.balance(),
            consumed: within.consumed,
            unmet_quantity: within.unmet_quantity,
            unmet_count: within.unmet_count,
            last_consumed_at: course.to.last_consumed_at,
            seconds,
        }
    }

    /// How much is consumed in an hour.
    pub fn per_hour(&self) -> Quantity {
        per_hour(self.consumed, self.seconds)
    }

    /// When the balance is used up if it goes on like this.
    pub fn exhausted_at(&self, now: Timestamp) -> Option<Timestamp> {
        exhausted_at(self.balance, self.consumed, self.seconds, now)
    }
}

fn per_hour(consumed: Quantity, seconds: i64) -> Quantity {
    consumed.in_time(HOUR, seconds).unwrap_or_default()
}

/// A moment in whole seconds; none where nothing is consumed, or where it has no date.
fn exhausted_at(balance: Quantity, consumed: Quantity, seconds: i64, now: Timestamp) -> Option<Timestamp> {
    let lasts = balance.lasts(consumed, seconds)?;
    let at = (now.0.div_euclid(1_000_000)).checked_add(lasts)?;
    (at <= SECONDS_MAX).then_some(Timestamp(at * 1_000_000))
}

/// How far group paths are rolled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Levels {
    /// Not at all: each path as it holds a balance.
    Own,
    /// To these numbers of groups, each with all that is below.
    Depths(Vec<usize>),
}

/// What records are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// By owners.
    pub organization: bool,
    /// By products.
    pub product: bool,
    /// By places.
    pub dimensions: bool,
    /// By group paths.
    pub levels: Levels,
}

/// What a record is of: what the grouping leaves out is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The owner.
    pub organization: Option<Value>,
    /// The product.
    pub product: Option<Value>,
    /// Where.
    pub path: Option<Vec<Value>>,
    /// For whom: with all that is below, where levels were asked for.
    pub groups: Vec<Value>,
}

impl Grouping {
    /// The records that a course counts in.
    fn keys(&self, course: &Course) -> Vec<Key> {
        let key = |length: usize| Key {
            organization: self.organization.then(|| course.organization.clone()),
            product: self.product.then(|| course.product.clone()),
            path: self.dimensions.then(|| course.path.clone()),
            groups: course.groups[..length].to_vec(),
        };
        match &self.levels {
            Levels::Own => vec![key(course.groups.len())],
            Levels::Depths(depths) => depths
                .iter()
                .filter(|&&depth| depth <= course.groups.len())
                .map(|&depth| key(depth))
                .collect(),
        }
    }
}

/// What a record says, as sums of what it is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What was done within the record's time. The last consumption may be before.
    pub moved: Totals,
    /// What could still be consumed at its end.
    pub balance: Quantity,
    /// What was consumed within the window.
    pub consumed_in_window: Quantity,
    /// The balances of which nothing was consumed within the window.
    pub idle: Quantity,
}

impl Figures {
    /// What a spot's running totals say between two moments, of which the window is part.
    pub fn of(from: &Totals, to: &Totals, consumed_before_window: Quantity) -> Figures {
        let balance = to.balance();
        let consumed_in_window = to.consumed - consumed_before_window;
        let idle = if consumed_in_window.is_zero() { balance } else { Quantity::ZERO };
        Figures { moved: to.since(from), balance, consumed_in_window, idle }
    }

    fn add(&mut self, other: &Figures) {
        self.moved.add(&other.moved);
        self.balance = self.balance.saturating_add(other.balance);
        self.consumed_in_window = self.consumed_in_window.saturating_add(other.consumed_in_window);
        self.idle = self.idle.saturating_add(other.idle);
    }

    /// Whether there is nothing to say: nothing was done, and nothing is left.
    pub fn is_nothing(&self) -> bool {
        self.moved.is_nothing() && self.balance.is_zero()
    }

    /// What was consumed, as a part of all there was to consume: of the balance at the beginning and
    /// what came, less what went elsewhere.
    pub fn sell_through(&self) -> Option<Quantity> {
        let all = self.balance.saturating_add(self.moved.consumed);
        (all > Quantity::ZERO).then(|| self.moved.consumed.part_of(all)).flatten()
    }

    /// How much was consumed in an hour, over a window of so many seconds.
    pub fn consumption_rate(&self, seconds: i64) -> Quantity {
        per_hour(self.consumed_in_window, seconds)
    }

    /// When the balance is used up if it goes on as in the window.
    pub fn exhausted_at(&self, seconds: i64, to: Timestamp) -> Option<Timestamp> {
        exhausted_at(self.balance, self.consumed_in_window, seconds, to)
    }
}

/// Sums courses into records: each with its figures bucket by bucket, where the last totals of each
/// bucket that has any are known; or of the whole range, where there are no buckets.
pub struct Summary {
    grouping: Grouping,
    buckets: Vec<Timestamp>,
    /// The records in order.
    pub records: BTreeMap<Key, Vec<Figures>>,
}

impl Summary {
    /// Begins one, of these buckets: they begin at these times.
    pub fn new(grouping: Grouping, buckets: Vec<Timestamp>) -> Summary {
        Summary { grouping, buckets, records: BTreeMap::new() }
    }

    /// Adds a spot, with its totals at the end of those buckets in which anything was done.
    pub fn add(&mut self, course: &Course, ends: &BTreeMap<Timestamp, Totals>) {
        let whole = Figures::of(&course.from, &course.to, course.consumed_before_window);
        if whole.is_nothing() {
            return;
        }
        let mut before = course.from;
        let in_buckets = self.buckets.iter().map(|begin| {
            let end = ends.get(begin).copied().unwrap_or(before);
            let figures = Figures::of(&before, &end, before.consumed);
            before = end;
            figures
        });
        let figures = if self.buckets.is_empty() { vec![whole] } else { in_buckets.collect() };
        for key in self.grouping.keys(course) {
            let sums = self.records.entry(key).or_insert_with(|| vec![Figures::default(); figures.len()]);
            sums.iter_mut().zip(&figures).for_each(|(sum, figures)| sum.add(figures));
        }
    }
}
