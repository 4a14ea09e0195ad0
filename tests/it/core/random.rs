//! Random configurations, and random requests that have something to do with one another.

use proptest::prelude::*;
use proptest::sample::select;

use super::wire::texts;
use super::{DIMENSIONS, ON_HAND, RESERVABLE};
use crate::naive::{self, Config, Formula, ONE, World};

/// Coefficients that a term may have, in millionths; 0 leaves the term out.
type Choices = (&'static str, &'static [i128]);

const SUPPLY: [Choices; 4] = [
    ("iv.onhand", &[ONE, ONE, ONE, ONE / 2, 1_500_001]),
    ("pos.inbound", &[0, ONE, 1]),
    ("pos.outbound", &[0, -ONE]),
    ("erp.onhand", &[0, ONE]),
];
const ALLOCATED: [&str; 3] = ["@iv.@allocated", "@iv.@cumulative_allocated", "@iv.@cumulative_consumed"];
const ATA_TAKES: [Choices; 3] = [
    ("@iv.@consumed", &[0, 0, -ONE, -ONE / 2]),
    ("@iv.@softreserved", &[0, -ONE]),
    ("iv.reserved", &[0, -ONE, -2 * ONE]),
];

fn formula(terms: Vec<Choices>) -> impl Strategy<Value = Formula> {
    let (measures, choices): (Vec<_>, Vec<_>) = terms.into_iter().unzip();
    choices.into_iter().map(select).collect::<Vec<_>>().prop_map(move |coefficients| {
        let terms = measures.iter().map(|&measure| measure.to_owned()).zip(coefficients);
        terms.filter(|&(_, coefficient)| coefficient != 0).collect()
    })
}

/// What an availability takes of the allocated: in each case 1 for 1.
fn takes_allocated() -> impl Strategy<Value = Formula> {
    let ways = [[-ONE, 0, 0], [-ONE, 0, 0], [0, -ONE, ONE], [-ONE / 4, -3 * ONE / 4, 0], [-ONE, 0, -ONE]];
    select(ways.to_vec()).prop_map(|way| {
        let terms = ALLOCATED.map(str::to_owned).into_iter().zip(way);
        terms.filter(|&(_, coefficient)| coefficient != 0).collect()
    })
}

/// What a reservation is checked against; now and then unprotected.
fn available_for(measure: &'static str, other: &'static str) -> impl Strategy<Value = (String, Formula)> {
    let own: Choices = (measure, &[-ONE, -ONE, -ONE, 0, -2 * ONE]);
    let terms = [&SUPPLY[..], &[own, (other, &[0, -ONE])]].concat();
    let allocated = prop_oneof![5 => takes_allocated(), 1 => Just(Formula::new())];
    (formula(terms), allocated)
        .prop_map(move |(terms, allocated)| (measure.to_owned(), [terms, allocated].concat()))
}

pub(crate) fn config() -> impl Strategy<Value = Config> {
    let [first, second] = RESERVABLE;
    let reservations = (available_for(first, second), proptest::option::of(available_for(second, first)));
    let ata = (formula([&SUPPLY[..], &ATA_TAKES].concat()), takes_allocated());
    (0_usize..=3, ata, reservations, prop::bool::weighted(0.3)).prop_map(
        |(required, (terms, allocated), (one, more), allow)| Config {
            dimensions: DIMENSIONS.map(str::to_owned).to_vec(),
            required,
            ata: [terms, allocated].concat(),
            reservations: [one].into_iter().chain(more).collect(),
            read_only: vec!["erp".to_owned()],
            allow_pool_changing_consumption: allow,
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Allocate,
    Unallocate,
    Reallocate,
    Consume,
    Reserve,
    GiveBack,
    Unreserve,
    OnHand,
    Settle,
    SetOnHand,
    Schedule,
}

/// How much: a number, or so many millionths more than what is there at that time.
#[derive(Clone, Copy, Debug)]
enum Amount {
    Number(i128),
    Limit(i128),
}

/// A request before it is known what there is.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    verb: Verb,
    path: Vec<String>,
    groups: [Vec<String>; 2],
    amount: Amount,
    numbers: Vec<(String, i128)>,
    modifiers: Vec<(String, bool)>,
    pick: prop::sample::Index,
    flag: bool,
    at: i64,
}

/// Few values, and seldom any but the first, so that chains meet.
fn path(lengths: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<String>> {
    let dimension = prop_oneof![10 => Just("1"), 1 => Just("2"), 1 => Just("")].prop_map(str::to_owned);
    prop::collection::vec(dimension, lengths)
}

/// Something to begin with.
pub(crate) fn stock() -> impl Strategy<Value = naive::Request> {
    (path(3..=4), 1..=60_i128).prop_map(|(path, whole)| naive::Request::OnHand {
        path,
        deltas: vec![("iv.onhand".to_owned(), whole * ONE)],
        settle: None,
    })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let verbs = [
        (6, Verb::Allocate),
        (1, Verb::Unallocate),
        (2, Verb::Reallocate),
        (6, Verb::Consume),
        (3, Verb::Reserve),
        (1, Verb::GiveBack),
        (3, Verb::Unreserve),
        (3, Verb::OnHand),
        (2, Verb::Settle),
        (2, Verb::SetOnHand),
        (2, Verb::Schedule),
    ];
    let verb = prop::strategy::Union::new_weighted(verbs.map(|(weight, verb)| (weight, Just(verb))).to_vec());
    let groups = || select(vec!["Web", "Web", "Web/VIP", "Web/VIP/EU", "App"]).prop_map(texts);
    let number = || prop_oneof![3 => (1..=9_i128).prop_map(|whole| whole * ONE), 1 => 1..=3 * ONE];
    let amount =
        prop_oneof![3 => number().prop_map(Amount::Number), 2 => (-1..=1_i128).prop_map(Amount::Limit)];
    let signed = (number(), select(vec![1, 1, 1, -1, 0])).prop_map(|(number, sign)| number * sign);
    let numbers = prop::collection::btree_map(select(ON_HAND.to_vec()), signed, 1..=2);
    let modifiable = [&ON_HAND[..], &RESERVABLE[1..]].concat();
    let modifiers = prop::collection::btree_map(select(modifiable), any::<bool>(), 0..=2);
    let rest = (any::<prop::sample::Index>(), prop::bool::weighted(0.7), 1..=4_i64);
    (verb, path(0..=4), [groups(), groups()], amount, numbers, modifiers, rest).prop_map(
        |(verb, path, groups, amount, numbers, modifiers, (pick, flag, at))| Step {
            verb,
            path,
            groups,
            amount,
            numbers: numbers.into_iter().map(|(measure, number)| (measure.to_owned(), number)).collect(),
            modifiers: modifiers.into_iter().map(|(measure, sign)| (measure.to_owned(), sign)).collect(),
            pick,
            flag,
            at,
        },
    )
}

/// Steps that may be one bulk.
pub(crate) fn bulk() -> impl Strategy<Value = Vec<Step>> {
    let kinds = [
        [Verb::Settle, Verb::OnHand],
        [Verb::SetOnHand; 2],
        [Verb::GiveBack, Verb::Reserve],
        [Verb::Unreserve; 2],
        [Verb::Schedule; 2],
    ];
    (select(kinds.to_vec()), prop::collection::vec(step(), 2..=4)).prop_map(|(kind, steps)| {
        let of_kind = |step: Step| Step { verb: kind[usize::from(step.flag)], ..step };
        steps.into_iter().map(of_kind).collect()
    })
}

impl Step {
    /// The request that it is now: in this world, with something allocated to these paths and
    /// group paths, and reservations made by these events.
    pub(crate) fn request(
        &self,
        world: &World,
        held: &[(Vec<String>, Vec<String>)],
        reservations: &[String],
    ) -> naive::Request {
        let Step { path, groups: [mut groups, mut source], modifiers, flag, .. } = self.clone();
        let mut demanded = demanded(&path, world.config.required);
        // Mostly there is something at the place where something is to be taken.
        let takes = matches!(self.verb, Verb::Unallocate | Verb::Reallocate | Verb::Consume | Verb::Settle);
        if takes && self.at > 1 && !held.is_empty() {
            (demanded, source) = self.pick.get(held).clone();
            if !matches!(self.verb, Verb::Reallocate) {
                groups = source.clone();
            }
        }
        let quantity = |limit: i128| match self.amount {
            Amount::Number(number) => number,
            Amount::Limit(more) if limit + more > 0 => limit + more,
            Amount::Limit(_) => ONE,
        };
        let balance = |groups: &[String]| world.balance(&demanded, groups);
        let measure = || self.pick.get(&world.config.reservations).clone();
        match self.verb {
            Verb::Allocate => {
                let path = demanded;
                let quantity = quantity(world.available(&path, &world.config.ata).div_euclid(ONE));
                naive::Request::Allocate { path, groups, quantity }
            }
            Verb::Unallocate => {
                let quantity = quantity(balance(&groups)[0]);
                naive::Request::Unallocate { path: demanded, groups, quantity }
            }
            Verb::Reallocate => {
                let quantity = quantity(balance(&source)[0]);
                naive::Request::Reallocate { path: demanded, source, groups, quantity }
            }
            Verb::Consume => {
                let mut modifiers = if flag { neutral(&world.config.ata, self.pick) } else { modifiers };
                let reserving =
                    |modifier: &(String, bool)| modifier.1 && world.config.is_for_reservation(&modifier.0);
                if modifiers.iter().filter(|modifier| reserving(modifier)).count() > 1 {
                    modifiers.pop();
                }
                let quantity = quantity(balance(&groups)[0]);
                naive::Request::Consume { path: demanded, groups, quantity, modifiers }
            }
            Verb::Reserve => {
                let (path, (measure, formula)) = (demanded, measure());
                let quantity = quantity(world.available(&path, &formula).div_euclid(ONE));
                naive::Request::Reserve { path, measure, quantity, checked: flag }
            }
            Verb::GiveBack => {
                let (path, (measure, _)) = (demanded, measure());
                let quantity = quantity(world.own(&path, &measure));
                naive::Request::GiveBack { path, measure, quantity }
            }
            Verb::Unreserve => {
                let known = self.at > 1 && !reservations.is_empty();
                let reservation = if known { self.pick.get(reservations).clone() } else { "none".to_owned() };
                let remaining = world.remaining(&reservation).unwrap_or(0);
                naive::Request::Unreserve { reservation, quantity: quantity(remaining) }
            }
            Verb::OnHand => naive::Request::OnHand { path, deltas: self.numbers.clone(), settle: None },
            Verb::Settle => {
                let quantity = quantity(balance(&groups)[1]);
                let deltas = if flag { self.numbers.clone() } else { Vec::new() };
                naive::Request::OnHand { path: demanded, deltas, settle: Some((groups, quantity)) }
            }
            Verb::SetOnHand => naive::Request::SetOnHand { path, values: self.numbers.clone(), at: self.at },
            Verb::Schedule => {
                // Tomorrow at the earliest, lest it be over before the test is.
                let day = |number: usize| self.at + 1 + number as i64;
                let changes = self.numbers.iter().cloned().enumerate();
                let changes = changes.map(|(number, (measure, delta))| (day(number), measure, delta));
                naive::Request::Schedule { path, changes: changes.collect() }
            }
        }
    }
}

/// A path that gives the required dimensions.
fn demanded(path: &[String], required: usize) -> Vec<String> {
    let mut path = path.to_vec();
    path.resize(path.len().max(required), String::new());
    path.iter_mut().take(required).filter(|value| value.is_empty()).for_each(|value| *value = "1".to_owned());
    path
}

/// Modifiers that leave the pool as it was, where one or none does; else none.
fn neutral(ata: &Formula, pick: prop::sample::Index) -> Vec<(String, bool)> {
    let coefficient = |of: &str| ata.iter().find(|(own, _)| own == of).map_or(0, |&(_, times)| times);
    let [allocated, consumed, _, cumulative_consumed] = naive::BALANCE.map(coefficient);
    let released = consumed + cumulative_consumed - allocated;
    let takes = |&&measure: &&&str| released != 0 && coefficient(measure).abs() == released;
    let measures = [&ON_HAND[..4], &RESERVABLE[1..]].concat();
    let takers: Vec<&str> = measures.iter().filter(takes).copied().collect();
    if takers.is_empty() {
        return Vec::new();
    }
    let taker = *pick.get(&takers);
    vec![(taker.to_owned(), coefficient(taker) < 0)]
}
