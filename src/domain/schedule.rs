//! On-hand changes that are expected on a day to come. They change no stock: when one happens, a
//! client reports it as an on-hand change, and takes the schedule back by its negative.
//!
//! Days are those of UTC. A schedule may be given for the days of the environment's *period*:
//! today, and those after it, as many as the configuration says in all.

use std::collections::BTreeMap;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use super::command::{Movements, Timestamp};
use super::formula::Slot;
use super::quantity::Quantity;

/// Most days of a period.
pub const PERIOD_DAYS_MAX: u16 = 180;

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// Movements by day, in the order of the days, none twice.
pub type Days = Vec<(Date, Movements)>;

/// Reads a day: `2022-02-01`. Its midnight is as good, because a query answers it so.
pub fn day(text: &str) -> Option<Date> {
    let bare = text.strip_suffix('Z').unwrap_or(text).strip_suffix("T00:00:00").unwrap_or(text);
    Date::parse(bare, DAY).ok()
}

/// The day of a point in time.
pub fn day_of(time: Timestamp) -> Date {
    // Every timestamp comes from a date of four digits, so it is in range.
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1000);
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH).date()
}

/// The days that can be scheduled for, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Today.
    pub first: Date,
    /// The last one.
    pub last: Date,
}

impl Period {
    /// So many days from today on; none where there are none.
    pub fn new(today: Date, days: u16) -> Option<Period> {
        let further = Duration::days(i64::from(days.checked_sub(1)?));
        Some(Period { first: today, last: today.saturating_add(further) })
    }

    /// Whether a day is one of them.
    pub fn has(&self, day: Date) -> bool {
        (self.first..=self.last).contains(&day)
    }

    /// The days, in order.
    pub fn days(&self) -> impl Iterator<Item = Date> + use<> {
        let Period { first, last } = *self;
        std::iter::successors(Some(first), |day| day.next_day()).take_while(move |&day| day <= last)
    }
}

/// What is scheduled at one place, or the sum over several: by day and measure, nothing that is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(BTreeMap<Date, BTreeMap<Slot, Quantity>>);

impl Schedule {
    /// What is scheduled for a measure on a day.
    pub fn get(&self, day: Date, slot: Slot) -> Quantity {
        self.0.get(&day).and_then(|measures| measures.get(&slot)).copied().unwrap_or_default()
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is scheduled, in order.
    pub fn entries(&self) -> impl Iterator<Item = (Date, Slot, Quantity)> {
        let of_day =
            |(&day, measures)| BTreeMap::iter(measures).map(move |(&slot, &quantity)| (day, slot, quantity));
        self.0.iter().flat_map(of_day)
    }

    /// The days with the measures that are scheduled for them.
    pub fn days(&self) -> impl Iterator<Item = (Date, &BTreeMap<Slot, Quantity>)> {
        self.0.iter().map(|(&day, measures)| (day, measures))
    }

    /// Schedules more. Answers whether the sum may be kept; else nothing is changed.
    #[must_use]
    pub fn add(&mut self, day: Date, slot: Slot, delta: Quantity) -> bool {
        let before = self.get(day, slot);
        if !before.can_add(delta) {
            return false;
        }
        let sum = before + delta;
        if !sum.is_zero() {
            self.0.entry(day).or_default().insert(slot, sum);
        } else if let Some(measures) = self.0.get_mut(&day) {
            measures.remove(&slot);
            if measures.is_empty() {
                self.0.remove(&day);
            }
        }
        true
    }

    /// Lets go of the days before one. They count for nothing any more; see [`super::promise`].
    pub fn forget_before(&mut self, day: Date) {
        self.0 = self.0.split_off(&day);
    }
}

#[cfg(test)]
mod tests;
