//! Who is to have how much, and who gives it to whom.

use std::cmp::Reverse;

use crate::domain::command::Timestamp;
use crate::domain::quantity::Quantity;

use super::{COUNTED_MAX, Holding, Shares, Situation};

/// Most that one command moves, the most that a request can name.
const MOVED_MAX: Quantity = Quantity::units(1_000_000_000_000_000);
/// Weights are scaled down until their sum is less, so that no product overflows.
const WEIGHTS_MAX: i128 = 1 << 44;

/// One who gives or takes, all in steps.
pub(super) struct Side<'a> {
    /// `None` is the pool.
    pub(super) holding: Option<&'a Holding>,
    /// What it has.
    pub(super) held: i128,
    /// What it gives nothing of.
    pub(super) keeps: i128,
    /// What it is to have.
    pub(super) wants: i128,
    /// Its demand in relation to that of others.
    pub(super) weight: i128,
    /// Its declared share, where shares are declared.
    pub(super) share: Option<Quantity>,
}

/// What everybody is to have, and how that came about.
pub(super) struct Plan<'a> {
    pub(super) sides: Vec<Side<'a>>,
    pub(super) remark: Remark,
    /// All there is.
    pub(super) all: Quantity,
    /// What one step is.
    pub(super) step: Quantity,
}

/// So many steps that go from one side to another.
pub(super) struct Move {
    pub(super) source: usize,
    pub(super) target: usize,
    pub(super) count: i128,
}

/// What it comes to.
pub(super) enum Remark {
    NoDemand { window: i64 },
    Enough { target: i64 },
    Short { lasts: Option<i64>, target: i64 },
    Shared,
}

impl Situation<'_> {
    /// Whole units where all balances are whole.
    pub(super) fn step(&self) -> Quantity {
        let unit = Quantity::units(1);
        let is_whole =
            |holding: &Holding| Quantity::of_steps(holding.allocated.steps(unit), unit) == holding.allocated;
        if self.holdings.iter().all(is_whole) { unit } else { Quantity::millionths(1) }
    }

    /// The pool, where it has a part in it.
    fn pool_side(&self, step: Quantity) -> Option<Side<'_>> {
        let held = self.pool?.max(Quantity::ZERO).min(COUNTED_MAX).steps(step);
        Some(Side { holding: None, held, keeps: 0, wants: 0, weight: 0, share: None })
    }

    /// When a side runs dry that holds so much.
    pub(super) fn exhausted_at(&self, side: &Side<'_>, held: Quantity) -> Option<Timestamp> {
        let seconds = self.lasts(held, side.holding?.demand())?;
        let at = self.now.0.checked_add(seconds.checked_mul(1_000_000)?)?;
        // The last moment of the year 9999.
        (at < 253_402_300_800_000_000).then_some(Timestamp(at))
    }

    /// For how many seconds a quantity lasts at a demand.
    pub(super) fn lasts(&self, quantity: Quantity, demand: Quantity) -> Option<i64> {
        let finest = Quantity::millionths(1);
        let product = quantity.steps(finest).checked_mul(i128::from(self.window_seconds))?;
        i64::try_from(product.checked_div(demand.steps(finest))?).ok()
    }
}

/// Everybody has enough until the target, or what there is lasts equally long.
pub(super) fn level<'a>(situation: &'a Situation<'_>, target: i64, step: Quantity) -> Plan<'a> {
    let finest = Quantity::millionths(1);
    let demands: Vec<i128> =
        situation.holdings.iter().map(|holding| holding.demand().steps(finest)).collect();
    let weights = scaled(&demands);
    let weight: i128 = weights.iter().sum();
    let held = |holding: &Holding| holding.allocated.steps(step);
    let pool = situation.pool_side(step);
    let in_pool = pool.as_ref().map_or(0, |pool| pool.held);
    let all = in_pool + situation.holdings.iter().map(held).sum::<i128>();
    // As many steps as a demand needs until the target; demand and target are bounded, so it fits.
    let divisor = i128::from(situation.window_seconds) * step.steps(finest);
    let until_target = |demand: i128| ceiling(demand * i128::from(target), divisor);
    let is_enough = demands.iter().map(|&demand| until_target(demand)).sum::<i128>() <= all;
    let mut sides: Vec<Side<'_>> = pool.into_iter().collect();
    for ((holding, &demand), &own) in situation.holdings.iter().zip(&demands).zip(&weights) {
        let (wants, keeps) = match is_enough || weight == 0 {
            true => (until_target(demand), until_target(demand)),
            false => (all * own / weight, ceiling(all * own, weight)),
        };
        sides.push(Side {
            holding: Some(holding),
            held: held(holding),
            keeps,
            wants,
            weight: own,
            share: None,
        });
    }
    let total = Quantity::of_steps(all, step);
    let demand = situation.holdings.iter().map(Holding::demand).sum();
    let remark = if weight == 0 {
        Remark::NoDemand { window: situation.window_seconds }
    } else if is_enough {
        Remark::Enough { target }
    } else {
        Remark::Short { lasts: situation.lasts(total, demand), target }
    };
    Plan { sides, remark, all: total, step }
}

/// Everybody has the declared part.
pub(super) fn share<'a>(situation: &'a Situation<'_>, Shares(shares): &Shares, step: Quantity) -> Plan<'a> {
    let millionth = Quantity::millionths(1);
    let named: Vec<(&Holding, Quantity)> = situation
        .holdings
        .iter()
        .filter_map(|holding| {
            let own = shares.iter().find(|(groups, _)| *groups == holding.groups);
            own.map(|&(_, share)| (holding, share))
        })
        .collect();
    let mut pool = situation.pool_side(step);
    let held = |holding: &Holding| holding.allocated.steps(step);
    let in_pool = pool.as_ref().map_or(0, |pool| pool.held);
    let all = in_pool + named.iter().map(|(holding, _)| held(holding)).sum::<i128>();
    let part = |share: Quantity| all * share.steps(millionth) / 1_000_000;
    if let Some(pool) = &mut pool {
        pool.wants = all - named.iter().map(|&(_, share)| part(share)).sum::<i128>();
        pool.keeps = pool.wants;
        pool.share = Some(Quantity::units(1) - named.iter().map(|&(_, share)| share).sum());
    }
    let mut sides: Vec<Side<'_>> = pool.into_iter().collect();
    sides.extend(named.into_iter().map(|(holding, share)| {
        let wants = part(share);
        Side {
            holding: Some(holding),
            held: held(holding),
            keeps: wants,
            wants,
            weight: 0,
            share: Some(share),
        }
    }));
    Plan { sides, remark: Remark::Shared, all: Quantity::of_steps(all, step), step }
}

/// Weights in the relation of demands, small enough to multiply with; one that is not 0 stays so.
fn scaled(demands: &[i128]) -> Vec<i128> {
    let mut weights = demands.to_vec();
    while weights.iter().sum::<i128>() > WEIGHTS_MAX {
        weights.iter_mut().for_each(|weight| *weight = ceiling(*weight, 2));
    }
    weights
}

/// The quotient of what is not negative, rounded up.
fn ceiling(numerator: i128, denominator: i128) -> i128 {
    (numerator + denominator - 1) / denominator
}

impl Plan<'_> {
    /// Who gives how much to whom: from the first that has to the first that needs.
    pub(super) fn moves(&self) -> Vec<Move> {
        let most = MOVED_MAX.steps(self.step);
        let path = |side: usize| self.sides[side].holding.map(|holding| &holding.groups);
        let spare = |side: usize| self.sides[side].held - self.sides[side].keeps;
        let lack = |side: usize| self.sides[side].wants - self.sides[side].held;
        let mut givers: Vec<usize> = (0..self.sides.len()).filter(|&side| spare(side) > 0).collect();
        // The pool, those without demand, the others; the most idle first.
        givers.sort_by_key(|&side| {
            (path(side).is_some(), self.sides[side].weight > 0, Reverse(spare(side)), path(side))
        });
        let mut takers: Vec<usize> = (0..self.sides.len()).filter(|&side| lack(side) > 0).collect();
        takers.sort_by(|&one, &other| {
            let (a, b) = (&self.sides[one], &self.sides[other]);
            let by_time = (a.held * b.weight).cmp(&(b.held * a.weight));
            path(one)
                .is_none()
                .cmp(&path(other).is_none())
                .then(by_time)
                .then(lack(other).cmp(&lack(one)))
                .then(path(one).cmp(&path(other)))
        });
        let mut givers = givers.into_iter().map(|side| (side, spare(side))).peekable();
        let mut moves = Vec::new();
        for taker in takers {
            let mut lacking = lack(taker);
            while lacking > 0 {
                let Some((giver, spare)) = givers.peek_mut() else { return moves };
                let count = lacking.min(*spare);
                moves.push(Move { source: *giver, target: taker, count: count.min(most) });
                lacking -= count;
                *spare -= count;
                if *spare == 0 {
                    givers.next();
                }
            }
        }
        moves
    }
}
