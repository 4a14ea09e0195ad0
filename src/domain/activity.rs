//! What was done with what is set aside, by the minute: running totals, so that what happened
//! between two moments is one less the other, however long it is between them.

use std::collections::BTreeMap;

use super::command::{ProductKey, Timestamp};
use super::dimensions::DimensionPath;
use super::groups::GroupPath;
use super::quantity::Quantity;

/// Microseconds of a minute.
const MINUTE: i64 = 60_000_000;

/// A minute, counted from 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub i64);

impl Minute {
    /// The minute that a moment is in.
    pub fn of(time: Timestamp) -> Minute {
        Minute(time.0.div_euclid(MINUTE))
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0 * MINUTE)
    }
}

/// A group path at a stock node: what activity is kept of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// Of which product.
    pub product: ProductKey,
    /// Where.
    pub path: DimensionPath,
    /// For whom.
    pub groups: GroupPath,
}

/// What was done, summed. As running totals they begin with the first event; as a difference they
/// are of what lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Taken from the pool.
    pub allocated: Quantity,
    /// Given back to the pool.
    pub returned: Quantity,
    /// Taken for orders.
    pub consumed: Quantity,
    /// Moved here from other group paths.
    pub reallocated_in: Quantity,
    /// Moved to others.
    pub reallocated_out: Quantity,
    /// What was asked for and refused for lack of stock.
    pub unmet_quantity: Quantity,
    /// How many requests that was.
    pub unmet_count: i64,
    /// When it was last consumed; of running totals.
    pub last_consumed_at: Option<Timestamp>,
}

impl Totals {
    /// What all of it leaves: of running totals the balance, of a difference its change.
    pub fn balance(&self) -> Quantity {
        self.allocated + self.reallocated_in - self.returned - self.reallocated_out - self.consumed
    }

    /// Whether nothing was done.
    pub fn is_nothing(&self) -> bool {
        let quantities = [self.allocated, self.returned, self.consumed, self.unmet_quantity];
        let moved = [self.reallocated_in, self.reallocated_out];
        quantities.iter().chain(&moved).all(|quantity| quantity.is_zero()) && self.unmet_count == 0
    }

    /// Adds what was done beside or later.
    pub fn add(&mut self, other: &Totals) {
        *self = self.with(other, Quantity::saturating_add, i64::saturating_add);
        self.last_consumed_at = self.last_consumed_at.max(other.last_consumed_at);
    }

    /// What was done since earlier running totals.
    pub fn since(&self, earlier: &Totals) -> Totals {
        self.with(earlier, |now, then| now - then, i64::saturating_sub)
    }

    fn with(
        &self,
        other: &Totals,
        quantities: impl Fn(Quantity, Quantity) -> Quantity,
        counts: impl Fn(i64, i64) -> i64,
    ) -> Totals {
        Totals {
            allocated: quantities(self.allocated, other.allocated),
            returned: quantities(self.returned, other.returned),
            consumed: quantities(self.consumed, other.consumed),
            reallocated_in: quantities(self.reallocated_in, other.reallocated_in),
            reallocated_out: quantities(self.reallocated_out, other.reallocated_out),
            unmet_quantity: quantities(self.unmet_quantity, other.unmet_quantity),
            unmet_count: counts(self.unmet_count, other.unmet_count),
            last_consumed_at: self.last_consumed_at,
        }
    }
}

/// What was done at a spot within a minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Where and for whom.
    pub spot: Spot,
    /// When.
    pub minute: Minute,
    /// What.
    pub totals: Totals,
}

/// Running totals by the minute at whose end they were so.
pub type Series = BTreeMap<Minute, Totals>;

/// Adds what was done within a minute, and to all that is later. Minutes come nearly always in
/// order; not where the clocks of two instances differ.
pub fn add(series: &mut Series, minute: Minute, moved: &Totals) {
    let before = series.range(..=minute).next_back().map_or_else(Totals::default, |(_, totals)| *totals);
    series.entry(minute).or_insert(before);
    for (_, totals) in series.range_mut(minute..) {
        totals.add(moved);
    }
}

/// How long minutes are kept, in minutes: two days.
const MINUTES_KEPT: i64 = 2 * 24 * 60;
/// How long hours are kept, in minutes: sixty days.
const HOURS_KEPT: i64 = 60 * 24 * 60;
/// How much longer than that the rows are there, in minutes: whoever asks may have a clock of their own.
const KEPT_LONGER: i64 = 60;

/// From when on minutes are kept, and from when on hours: whole hours and whole days. Before that it
/// is days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The first minute of the first hour that is kept by the minute.
    pub minutes_from: Minute,
    /// The first minute of the first day that is kept by the hour.
    pub hours_from: Minute,
}

impl Kept {
    /// What is answered from, at a time.
    pub fn at(now: Timestamp) -> Kept {
        Kept::longer(now, 0)
    }

    /// What is stored, at a time: a little more.
    pub fn stored_at(now: Timestamp) -> Kept {
        Kept::longer(now, KEPT_LONGER)
    }

    fn longer(now: Timestamp, minutes: i64) -> Kept {
        let now = Minute::of(now).0;
        let whole = |minute: i64, of: i64| Minute(minute - minute.rem_euclid(of));
        Kept {
            minutes_from: whole(now - MINUTES_KEPT - minutes, 60),
            hours_from: whole(now - HOURS_KEPT - minutes, 24 * 60),
        }
    }

    /// The last moment up to a time that totals are known of: the start of its minute, of its hour
    /// where that is all that is kept, or of its day.
    pub fn border(&self, time: Timestamp) -> Timestamp {
        let minute = Minute::of(time);
        let of = if minute >= self.minutes_from {
            1
        } else if minute >= self.hours_from {
            60
        } else {
            24 * 60
        };
        Minute(minute.0 - minute.0.rem_euclid(of)).start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumed(units: i64) -> Totals {
        Totals { consumed: Quantity::units(units), ..Totals::default() }
    }

    fn check(series: &Series, expected: &[(i64, i64)]) {
        let found: Vec<_> = series.iter().map(|(minute, totals)| (minute.0, totals.consumed)).collect();
        let expected: Vec<_> =
            expected.iter().map(|&(minute, units)| (minute, Quantity::units(units))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn running_totals_add_up_in_whatever_order_minutes_come() {
        let mut series = Series::new();
        add(&mut series, Minute(7), &consumed(1));
        add(&mut series, Minute(9), &consumed(2));
        check(&series, &[(7, 1), (9, 3)]);
        add(&mut series, Minute(9), &consumed(4));
        add(&mut series, Minute(8), &consumed(10));
        check(&series, &[(7, 1), (8, 11), (9, 17)]);
        add(&mut series, Minute(1), &consumed(100));
        check(&series, &[(1, 100), (7, 101), (8, 111), (9, 117)]);
    }

    #[test]
    fn sums_stop_at_the_largest_and_never_wrap() {
        let mut totals = Totals { unmet_quantity: Quantity::units(i64::MAX), ..Totals::default() };
        for _ in 0..200 {
            totals.add(&totals.clone());
        }
        assert_eq!(totals.unmet_quantity.to_string(), "9".repeat(26));
        assert_eq!(totals.since(&totals), Totals::default());
    }

    #[test]
    fn borders_are_the_coarser_the_older() {
        // 2026-11-23T21:34:56.7Z.
        let now = Timestamp(1_795_469_696_700_000);
        let kept = Kept::at(now);
        let ago = |minutes: i64| Timestamp(now.0 - minutes * MINUTE);
        let border = |minutes: i64| (ago(minutes).0 - kept.border(ago(minutes)).0) / 1_000_000;
        assert_eq!(border(0), 56, "of this minute");
        assert_eq!(border(2 * 24 * 60), 56, "two days");
        assert_eq!(border(2 * 24 * 60 + 60), 34 * 60 + 56, "of the hour");
        assert_eq!(border(60 * 24 * 60), 34 * 60 + 56, "sixty days");
        assert_eq!(border(61 * 24 * 60), (21 * 60 + 34) * 60 + 56, "of the day");
        let stored = Kept::stored_at(now);
        assert_eq!(kept.minutes_from.0 - stored.minutes_from.0, 60);
        assert!(stored.hours_from <= kept.hours_from);
    }
}
