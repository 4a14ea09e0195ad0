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

impl Course {
    /// Whether there is nothing to say: nothing was done, and nothing is left.
    fn is_nothing(&self) -> bool {
        self.to.since(&self.from).is_nothing() && self.to.balance().is_zero()
    }
}

/// How fast a spot's balance goes, over a window that ends now.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
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

    /// The least key that this course or one behind it counts in. Courses are in the order of owner,
    /// product, place and groups, and keys in the same as far as the grouping leaves nothing out; behind
    /// the first that is left out, anything may still come. To cut paths to a depth keeps their order.
    fn least(&self, course: &Course) -> Key {
        let (product, path) =
            (self.organization && self.product, self.organization && self.product && self.dimensions);
        let depth = match &self.levels {
            _ if !path => 0,
            Levels::Own => course.groups.len(),
            Levels::Depths(depths) => depths.iter().copied().min().unwrap_or(0).min(course.groups.len()),
        };
        Key {
            organization: self.organization.then(|| course.organization.clone()),
            product: product.then(|| course.product.clone()),
            path: path.then(|| course.path.clone()),
            groups: course.groups[..depth].to_vec(),
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

/// What a frame, a bucket or the whole range, adds to those before. Sums of these cost a spot no more than the
/// frames in which anything was done there.
#[derive(Clone, Copy, Default)]
struct Change {
    moved: Totals,
    balance: Quantity,
    consumed_in_window: Quantity,
    /// The balances at the frame's end of which something was consumed within the window.
    busy: Quantity,
}

impl Change {
    /// What is there before the first frame.
    fn start(from: &Totals) -> Change {
        let moved = Totals { last_consumed_at: from.last_consumed_at, ..Totals::default() };
        Change { moved, balance: from.balance(), ..Change::default() }
    }

    /// What a spot's running totals say between two moments, of which the window is part.
    fn between(from: &Totals, to: &Totals, consumed_before_window: Quantity) -> Change {
        let consumed_in_window = to.consumed - consumed_before_window;
        let busy = if consumed_in_window.is_zero() { Quantity::ZERO } else { to.balance() };
        Change { moved: to.since(from), balance: to.balance() - from.balance(), consumed_in_window, busy }
    }

    fn add(&mut self, other: &Change) {
        self.moved.add(&other.moved);
        self.balance = self.balance.saturating_add(other.balance);
        self.consumed_in_window = self.consumed_in_window.saturating_add(other.consumed_in_window);
        self.busy = self.busy.saturating_add(other.busy);
    }
}

/// Sums courses into the records of a page: the first of those that are not before it. The others are
/// dropped while it is read, so that there may be any number.
///
/// A record that was dropped is not in the page, and one that is kept is whole. When one is dropped, as many are
/// before it as are kept at most; from then on, the last of those that are kept only ever becomes an earlier
/// one, so that what was dropped is refused for good. So whatever is kept in the end never was dropped, and
/// has all its courses.
pub struct Summary {
    grouping: Grouping,
    frames: Frames,
    /// The record before the page, which may have some of its buckets in it.
    first: Option<Key>,
    most: usize,
    records: BTreeMap<Key, Vec<Change>>,
}

/// What a range is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Nothing.
    Whole,
    /// So many buckets.
    Buckets(usize),
}

impl Frames {
    fn count(self) -> usize {
        match self {
            Frames::Whole => 1,
            Frames::Buckets(count) => count.max(1),
        }
    }
}

impl Summary {
    /// Begins one, for a page of so many records of a bucket each, and one more, which tells whether there is a
    /// next page.
    pub fn new(grouping: Grouping, frames: Frames, first: Option<Key>, limit: usize) -> Summary {
        // Of the record before the page, no bucket may be left.
        let most = limit / frames.count() + 1 + usize::from(first.is_some());
        Summary { grouping, frames, first, most, records: BTreeMap::new() }
    }

    /// Adds a spot, but for its buckets. What has nothing and saw nothing counts nowhere.
    pub fn add(&mut self, course: &Course) {
        if course.is_nothing() {
            return;
        }
        let mut change = Change::start(&course.from);
        if self.frames == Frames::Whole {
            change.add(&Change::between(&course.from, &course.to, course.consumed_before_window));
        }
        for key in self.grouping.keys(course) {
            if let Some([first, ..]) = self.changes(key) {
                first.add(&change);
            }
        }
    }

    fn changes(&mut self, key: Key) -> Option<&mut [Change]> {
        if self.first.as_ref().is_some_and(|first| key < *first) {
            return None;
        }
        if self.is_full() && !self.records.contains_key(&key) {
            self.records.last_key_value().filter(|(last, _)| key < **last)?;
            self.records.pop_last();
        }
        let frames = self.frames.count();
        Some(self.records.entry(key).or_insert_with(|| vec![Change::default(); frames]))
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.most
    }

    /// Whether the buckets of a spot that was added count in any record.
    pub fn has(&self, course: &Course) -> bool {
        let keys = || self.grouping.keys(course);
        self.frames != Frames::Whole
            && !course.is_nothing()
            && keys().iter().any(|key| self.records.contains_key(key))
    }

    /// Adds the totals of a spot at the end of those buckets in which anything was done, in their order.
    pub fn add_buckets(&mut self, course: &Course, ends: impl IntoIterator<Item = (usize, Totals)>) {
        let mut before = course.from;
        let changes = ends.into_iter().map(|(bucket, end)| {
            let change = Change::between(&before, &end, before.consumed);
            before = end;
            (bucket, change)
        });
        let changes: Vec<(usize, Change)> = changes.collect();
        for key in self.grouping.keys(course) {
            let Some(sums) = self.records.get_mut(&key) else { continue };
            for (bucket, change) in &changes {
                // What was done since the question was asked is in no bucket.
                if let Some(sum) = sums.get_mut(*bucket) {
                    sum.add(change);
                }
            }
        }
    }

    /// Whether nothing behind this course counts in any record.
    pub fn is_done(&self, course: &Course) -> bool {
        let last = self.records.last_key_value().filter(|_| self.is_full());
        last.is_some_and(|(last, _)| *last < self.grouping.least(course))
    }

    /// The records in order, each with its figures frame by frame.
    pub fn records(&self) -> impl Iterator<Item = (&Key, Vec<Figures>)> {
        self.records.iter().map(|(key, changes)| (key, figures(changes)))
    }
}

fn figures(changes: &[Change]) -> Vec<Figures> {
    let (mut balance, mut last_consumed_at) = (Quantity::ZERO, None);
    let of_each = changes.iter().map(|change| {
        balance = balance.saturating_add(change.balance);
        last_consumed_at = last_consumed_at.max(change.moved.last_consumed_at);
        Figures {
            moved: Totals { last_consumed_at, ..change.moved },
            balance,
            consumed_in_window: change.consumed_in_window,
            idle: balance - change.busy,
        }
    });
    of_each.collect()
}
