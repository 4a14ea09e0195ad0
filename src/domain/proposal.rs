//! Which reallocations would level the projected exhaustion of the group paths at one stock node, or
//! give each its declared share. Nothing is applied: a proposal is a command to be sent, or not.
//!
//! *Demand* is what a group path consumed within a window and what it was refused for lack of stock;
//! what it holds lasts as long as it takes to use it up at that rate. To *level*:
//!
//! - Who has demand is to have enough until the target. Where there is not enough for all, what there
//!   is, pool included, is to last equally long for all who have demand.
//! - What a group path has beyond that is *idle*, all of it where it has no demand. It is taken from
//!   the pool first, which was promised to nobody; then from those without demand; then from the
//!   others, the most idle first. It goes to who runs dry first.
//!
//! By *shares*, what the named group paths and the pool hold is divided as declared; what no share
//! names is the pool's.
//!
//! Quantities are whole where all balances are, else millionths, and always rounded so that nobody
//! gives what they need. All proposals sent in their order are granted, if nothing else happens.

mod plan;
mod words;

use uuid::Uuid;

use super::command::{ProductKey, Timestamp};
use super::dimensions::DimensionPath;
use super::groups::{AllocationHierarchy, GroupPath};
use super::name::Value;
use super::quantity::Quantity;
use super::refusal::{Fault, Refusal};

use plan::Move;
use words::Reason;

/// Most proposals of an answer: those to the group paths that run dry first.
pub const PROPOSALS_MAX: usize = 1_000;
/// Most that counts of a demand or of the pool: as much as is kept of a sum.
const COUNTED_MAX: Quantity = Quantity::units(1_000_000_000_000_000_000);

/// What one group path holds, and what it needed within the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// For whom.
    pub groups: GroupPath,
    /// What can still be consumed.
    pub allocated: Quantity,
    /// What was consumed within the window.
    pub consumed: Quantity,
    /// What was refused for lack of stock within the window.
    pub unmet: Quantity,
}

impl Holding {
    fn demand(&self) -> Quantity {
        (self.consumed.min(COUNTED_MAX) + self.unmet.min(COUNTED_MAX)).min(COUNTED_MAX)
    }
}

/// What the group paths at a stock node hold, at a time.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The allocation hierarchy, for names.
    pub hierarchy: &'a AllocationHierarchy,
    /// The group paths, none twice.
    pub holdings: Vec<Holding>,
    /// What may be allocated from the pool; `None` where it is to have no part in it.
    pub pool: Option<Quantity>,
    /// When.
    pub now: Timestamp,
    /// How long demand was counted, in seconds; more than 0.
    pub window_seconds: i64,
}

/// What is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// That nobody runs dry within so many seconds, or all at once.
    Level {
        /// The seconds; more than 0.
        target_seconds: i64,
    },
    /// That each has its share.
    Shares(Shares),
}

/// Parts of a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares(Vec<(GroupPath, Quantity)>);

impl Shares {
    /// Checks shares, each at its place in the request.
    ///
    /// # Errors
    /// When one is negative or given twice, or they are more than the whole; or less where the
    /// pool, which has the rest, has no part in it.
    pub fn new(shares: Vec<(GroupPath, Quantity)>, include_pool: bool) -> Result<Shares, Refusal> {
        let fault =
            |pointer: String, detail: String| Err(Refusal::InvalidRequest(vec![Fault::new(pointer, detail)]));
        let whole = Quantity::units(1);
        let mut sum = Quantity::ZERO;
        for (index, (groups, share)) in shares.iter().enumerate() {
            if *share < Quantity::ZERO || *share > whole {
                return fault(
                    format!("/shares/{index}/share"),
                    format!("is {share}; a share is from 0 to 1"),
                );
            }
            if shares[..index].iter().any(|(other, _)| other == groups) {
                return fault(format!("/shares/{index}/groups"), "is a group path given before".to_owned());
            }
            sum += *share;
        }
        if sum > whole {
            return fault("/shares".to_owned(), format!("add up to {sum}, which is more than the whole, 1"));
        }
        if sum < whole && !include_pool {
            let detail = format!("add up to {sum}, not to 1; only the pool could have the rest");
            return fault("/shares".to_owned(), detail);
        }
        Ok(Shares(shares))
    }

    /// Whose they are.
    pub fn groups(&self) -> impl Iterator<Item = &GroupPath> {
        self.0.iter().map(|(groups, _)| groups)
    }
}

/// Between whom something goes: a reallocation, or with the pool an allocation or the return of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the model's own words")]
pub enum Transfer {
    /// From the pool.
    FromPool { target: GroupPath },
    /// To the pool.
    ToPool { source: GroupPath },
    /// From one group path to another.
    Between { source: GroupPath, target: GroupPath },
}

impl Transfer {
    fn of(source: Option<&Holding>, target: Option<&Holding>) -> Option<Transfer> {
        let groups = |holding: &Holding| holding.groups.clone();
        match (source.map(groups), target.map(groups)) {
            (None, Some(target)) => Some(Transfer::FromPool { target }),
            (Some(source), None) => Some(Transfer::ToPool { source }),
            (Some(source), Some(target)) => Some(Transfer::Between { source, target }),
            (None, None) => None,
        }
    }

    fn values(&self) -> [&[Value]; 2] {
        match self {
            Transfer::FromPool { target } => [&[], target.values()],
            Transfer::ToPool { source } => [source.values(), &[]],
            Transfer::Between { source, target } => [source.values(), target.values()],
        }
    }
}

/// One command that is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// From whom to whom.
    pub transfer: Transfer,
    /// How much.
    pub quantity: Quantity,
    /// Why, in words.
    pub reason: String,
    /// When the target, or the source where it goes to the pool, would run dry before; `None`
    /// where it has no demand, or lasts beyond any calendar.
    pub exhausted_at_before: Option<Timestamp>,
    /// When it would after this proposal and those before it.
    pub exhausted_at_after: Option<Timestamp>,
}

/// All that is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposals {
    /// The commands, in the order in which they are to be sent.
    pub proposals: Vec<Proposal>,
    /// How many more there would be.
    pub left_out: usize,
    /// What it comes to, in words.
    pub remark: String,
}

/// The id of a proposal's command: the same for the same move in the same state, so that it cannot
/// be done twice, also not by who asked at the same time.
pub fn id(key: &ProductKey, path: &DimensionPath, version: u64, proposal: &Proposal) -> String {
    // No value has a control character.
    let joined = |values: &[Value]| values.iter().map(Value::as_str).collect::<Vec<_>>().join("\u{1}");
    let [environment, organization, product] = key.as_strs();
    let (path, version) = (joined(path.values()), version.to_string());
    let [source, target] = proposal.transfer.values().map(joined);
    let name = [environment, organization, product, &path, &version, &source, &target].join("\0");
    format!("proposal-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
}

/// Proposes what would reach a goal.
pub fn propose(situation: &Situation<'_>, goal: &Goal) -> Proposals {
    let step = situation.step();
    let plan = match goal {
        Goal::Level { target_seconds } => plan::level(situation, *target_seconds, step),
        Goal::Shares(shares) => plan::share(situation, shares, step),
    };
    let moves = plan.moves();
    let mut held: Vec<i128> = plan.sides.iter().map(|side| side.held).collect();
    let mut proposals = Vec::new();
    for &Move { source, target, count } in moves.iter().take(PROPOSALS_MAX) {
        let sides = [source, target].map(|side| plan.sides[side].holding);
        let Some(transfer) = Transfer::of(sides[0], sides[1]) else { continue };
        let watched = if plan.sides[target].holding.is_some() { target } else { source };
        let exhausted_at = |held: &[i128]| {
            situation.exhausted_at(&plan.sides[watched], Quantity::of_steps(held[watched], step))
        };
        let exhausted_at_before = exhausted_at(&held);
        let before = [held[source], held[target]];
        held[source] -= count;
        held[target] += count;
        let reason = Reason { situation, plan: &plan, source, target, before, count };
        proposals.push(Proposal {
            transfer,
            quantity: Quantity::of_steps(count, step),
            reason: reason.to_string(),
            exhausted_at_before,
            exhausted_at_after: exhausted_at(&held),
        });
    }
    Proposals { left_out: moves.len() - proposals.len(), remark: plan.remark(moves.is_empty()), proposals }
}

#[cfg(test)]
mod tests;
