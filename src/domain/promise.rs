//! What can be promised of a calculated measure on the days to come: *available to promise*, ATP.
//!
//! The rule is that of Inventory Visibility ("On-hand change schedules and ATP", with its worked
//! example, which `promise/tests.rs` follows step by step):
//!
//! - on hand is what is on hand now, on every day alike: what is scheduled has not happened;
//! - scheduled supply is what is scheduled for the measures that the formula adds, scheduled demand
//!   for those that it subtracts, on that day alone;
//! - projected on hand is what is on hand now, and all that is scheduled from today to that day;
//! - ATP is the least that is projected from that day to the end of the period. More cannot be
//!   promised, though there may be more for some days, without breaking a later promise.
//!
//! What was scheduled for a day that has passed counts no more, be it taken back or not. In the
//! example 10 were to come on the third; on the fourth they have not come, 17 are on hand, 15 leave,
//! and 2 is what can be promised. A change that comes late is scheduled anew, for another day.

use std::collections::BTreeMap;

use time::Date;

use super::formula::{Formula, Slot};
use super::quantity::Quantity;
use super::records::Unsummable;
use super::schedule::{Period, Schedule};
use super::state::Measures;

/// As many distinct measures as a calculation of ATP may have elsewhere.
pub const PROMISED_MAX: usize = 8;

/// One day of a calculated measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What is on hand now.
    pub on_hand: Quantity,
    /// What is to come on the day.
    pub supply: Quantity,
    /// What is to leave on the day.
    pub demand: Quantity,
    /// What there will be then.
    pub projected: Quantity,
    /// What can be promised for the day.
    pub available: Quantity,
}

/// The days of a period, in order.
///
/// # Errors
/// When a measure would grow beyond what is kept of one, so that a formula could overflow.
pub fn promises(
    formula: &Formula,
    on_hand: &Measures,
    schedule: &Schedule,
    period: Period,
) -> Result<Vec<(Date, Promise)>, Unsummable> {
    let mut projected: BTreeMap<Slot, Quantity> =
        formula.terms().iter().map(|&(slot, _)| (slot, on_hand.get(slot))).collect();
    let now = formula.evaluate(|slot| on_hand.get(slot));
    let mut promises = Vec::new();
    for day in period.days() {
        for (&slot, sum) in &mut projected {
            let delta = schedule.get(day, slot);
            if !sum.can_add(delta) {
                return Err(Unsummable::TooLarge(slot));
            }
            *sum += delta;
        }
        let (supply, demand) = supply_and_demand(formula, |slot| schedule.get(day, slot));
        let there = formula.evaluate(|slot| projected.get(&slot).copied().unwrap_or_default());
        promises.push((day, Promise { on_hand: now, supply, demand, projected: there, available: there }));
    }
    // From the end, because a day's is the least of its own and the next day's.
    let mut least: Option<Quantity> = None;
    for (_, promise) in promises.iter_mut().rev() {
        promise.available = least.map_or(promise.projected, |later| later.min(promise.projected));
        least = Some(promise.available);
    }
    Ok(promises)
}

fn supply_and_demand(formula: &Formula, scheduled: impl Fn(Slot) -> Quantity) -> (Quantity, Quantity) {
    let of = |adds: bool| -> Quantity {
        let terms = formula.terms().iter().filter(|(_, coefficient)| (*coefficient > Quantity::ZERO) == adds);
        terms.map(|&(slot, coefficient)| scheduled(slot).times(coefficient)).sum()
    };
    (of(true), -of(false))
}

#[cfg(test)]
mod tests;
