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
