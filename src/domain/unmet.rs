//! Demand that was not met: what consumes and allocates asked for and were refused for lack of
//! stock. No ledger has refusals, so they are counted here, and handed on every second.

use std::num::NonZeroUsize;

use hashbrown::HashMap;
use lru::LruCache;

use super::activity::{Minute, Moved, Spot, Totals};
use super::command::{Command, Operation};
use super::name::Value;
use super::refusal::Refusal;

/// Most spots and minutes that are counted at once: a flood of refusals of ever new group paths takes
/// no more memory than that.
const SPOTS_MAX: usize = 4_096;
/// How many of the latest refused ids are remembered: who tries again wants the same thing still.
const IDS_MAX: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();

/// What was counted since it was last handed on.
#[derive(Debug)]
pub struct Unmet {
    counts: HashMap<(Spot, Minute), Totals>,
    /// The latest ids that were counted, each with its environment.
    ids: LruCache<(Value, Value), ()>,
    not_counted: u64,
}

impl Default for Unmet {
    fn default() -> Unmet {
        Unmet { counts: HashMap::new(), ids: LruCache::new(IDS_MAX), not_counted: 0 }
    }
}

/// Whether a refusal leaves demand unmet: that of an allocate or a consume for which there was
/// not enough.
pub fn is_unmet(command: &Command, refusal: &Refusal) -> bool {
    let is_short = matches!(
        refusal,
        Refusal::InsufficientAllocation { .. } | Refusal::InsufficientAvailableToAllocate(_)
    );
    is_short && matches!(command.operation, Operation::Allocate { .. } | Operation::Consume { .. })
}

impl Unmet {
    /// Counts a command that was refused, if its demand is unmet by that and was not counted yet.
    pub fn note(&mut self, command: &Command, refusal: &Refusal, minute: Minute) {
        let (Operation::Allocate { groups, quantity } | Operation::Consume { groups, quantity, .. }) =
            &command.operation
        else {
            return;
        };
        if !is_unmet(command, refusal) {
            return;
        }
        let id = (command.product.environment.clone(), command.id.clone());
        if self.ids.put(id, ()).is_some() {
            return;
        }
        let spot =
            Spot { product: command.product.clone(), path: command.path.clone(), groups: groups.clone() };
        let key = (spot, minute);
        if self.counts.len() >= SPOTS_MAX && !self.counts.contains_key(&key) {
            self.not_counted += 1;
            return;
        }
        let one = Totals { unmet_quantity: *quantity, unmet_count: 1, ..Totals::default() };
        self.counts.entry(key).or_default().add(&one);
    }

    /// Whether anything was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Hands on what was counted, and how many were not: they were of too many spots.
    pub fn take(&mut self) -> (Vec<Moved>, u64) {
        let counts = std::mem::take(&mut self.counts);
        let moved = counts.into_iter().map(|((spot, minute), totals)| Moved { spot, minute, totals });
        (moved.collect(), std::mem::take(&mut self.not_counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::ProductKey;
    use crate::domain::dimensions::DimensionPath;
    use crate::domain::groups::GroupPath;
    use crate::domain::quantity::Quantity;
    use crate::domain::refusal::Place;

    fn consume(number: usize, path: usize) -> Command {
        let value = Value::stored;
        let product = ProductKey { environment: value("e"), organization: value("o"), product: value("p") };
        let groups = GroupPath::stored(vec![value(&path.to_string())]);
        let operation = Operation::Consume { groups, quantity: Quantity::units(2), modifiers: Vec::new() };
        let path = DimensionPath::default();
        Command { id: value(&number.to_string()), product, path, operation, note: None, explain: false }
    }

    #[test]
    fn a_flood_of_refusals_takes_no_more_memory_than_there_is_for_it() {
        let refusal = Refusal::InsufficientAllocation {
            requested: Quantity::units(2),
            available: Quantity::ZERO,
            what: "allocated to",
            groups: Place::default(),
        };
        let mut unmet = Unmet::default();
        for number in 0..3 * SPOTS_MAX {
            unmet.note(&consume(number, number), &refusal, Minute(1));
            unmet.note(&consume(number, number), &refusal, Minute(2));
        }
        // What is counted already goes on to be.
        unmet.note(&consume(usize::MAX, 7), &refusal, Minute(1));
        assert!(unmet.ids.len() <= IDS_MAX.get());
        let (moved, not_counted) = unmet.take();
        assert_eq!((moved.len(), not_counted), (SPOTS_MAX, 2 * SPOTS_MAX as u64));
        let count: i64 = moved.iter().map(|moved| moved.totals.unmet_count).sum();
        assert_eq!(count, SPOTS_MAX as i64 + 1);
        assert!(unmet.is_empty());
    }
}
