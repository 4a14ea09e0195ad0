//! What is proposed, as tables that a planner could read, and what holds of all proposals.

use proptest::prelude::*;

use super::words::Span;
use super::*;
use crate::domain::command::{Command, Request, Target};
use crate::domain::configuration::Configuration;
use crate::domain::decide::{apply, decide};
use crate::domain::dimensions::Pairs;
use crate::domain::state::{Balance, Stock};

const HOUR: i64 = 3_600;
const NOW: Timestamp = Timestamp(1_000_000_000_000_000);

fn configuration() -> Configuration {
    let document = r#"{"dimensions": ["siteId"], "requiredDimensions": 1, "dataSources": {"pos": {"measures": ["inbound"]}},
        "allocation": {"groups": ["channel", "region"], "availableToAllocate": "pos.inbound - @iv.@allocated"}}"#;
    Configuration::new(serde_json::from_str(document).unwrap(), &[]).unwrap()
}

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

fn groups(path: &str) -> GroupPath {
    GroupPath::stored(path.split('/').map(Value::stored).collect())
}

/// `Web 30, 120` is a group path that holds 30 and consumed 120 within the hour; a third number is
/// what it was refused. `pool 100` is the pool.
fn holdings(table: &str) -> (Vec<Holding>, Option<Quantity>) {
    let mut pool = None;
    let mut holdings = Vec::new();
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (name, numbers) = row.split_once(' ').unwrap();
        let mut numbers = numbers.split(", ").map(quantity);
        let mut next = || numbers.next().unwrap_or_default();
        match name {
            "pool" => pool = Some(next()),
            path => holdings.push(Holding {
                groups: groups(path),
                allocated: next(),
                consumed: next(),
                unmet: next(),
            }),
        }
    }
    (holdings, pool)
}

fn shares(shares: &[(&str, &str)], include_pool: bool) -> Result<Shares, Refusal> {
    Shares::new(shares.iter().map(|&(path, share)| (groups(path), quantity(share))).collect(), include_pool)
}

/// `20 Store -> Web: 15 min, 30 min` moves 20; and when the target runs dry before and after.
fn shown(proposal: &Proposal) -> String {
    let side = |values: &[Value]| match values {
        [] => "pool".to_owned(),
        values => values.iter().map(Value::as_str).collect::<Vec<_>>().join("/"),
    };
    let span = |at: Option<Timestamp>| {
        at.map_or_else(|| "never".to_owned(), |at| Span((at.0 - NOW.0) / 1_000_000).to_string())
    };
    let Proposal { transfer, quantity, exhausted_at_before, exhausted_at_after, .. } = proposal;
    let times = format!("{}, {}", span(*exhausted_at_before), span(*exhausted_at_after));
    let [source, target] = transfer.values().map(side);
    format!("{quantity} {source} -> {target}: {times}")
}

fn proposals(table: &str, goal: &Goal) -> Proposals {
    let (holdings, pool) = holdings(table);
    let configuration = configuration();
    let hierarchy = configuration.groups();
    propose(&Situation { hierarchy, holdings, pool, now: NOW, window_seconds: HOUR }, goal)
}

#[track_caller]
fn check(table: &str, goal: &Goal, expected: &[&str], remark: &str) {
    let found = proposals(table, goal);
    assert_eq!(found.proposals.iter().map(shown).collect::<Vec<_>>(), expected, "{table}");
    assert_eq!(found.remark, remark, "{table}");
}

fn last_for(hours: i64) -> Goal {
    Goal::Level { target_seconds: hours * HOUR }
}

#[test]
fn who_runs_dry_gets_from_the_pool_then_from_the_idle_then_from_who_has_more_than_enough() {
    check(
        "Web 30, 60
         Store 40, 0
         Outlet 200, 20
         pool 50",
        &last_for(3),
        &[
            "50 pool -> Web: 30 min, 1 h 20 min",
            "40 Store -> Web: 1 h 20 min, 2 h",
            "60 Outlet -> Web: 2 h, 3 h",
        ],
        "with these, whoever consumes has enough for 3 h",
    );
}

#[test]
fn nobody_gives_more_than_they_can_spare_until_the_target() {
    check(
        "Web 0, 10
         Outlet 100, 20",
        &last_for(3),
        &["30 Outlet -> Web: 0 s, 3 h"],
        "with these, whoever consumes has enough for 3 h",
    );
}

#[test]
fn who_runs_dry_first_gets_first() {
    check(
        "Web 10, 20
         App 10, 60
         Store 500, 0",
        &last_for(2),
        &["110 Store -> App: 10 min, 2 h", "30 Store -> Web: 30 min, 2 h"],
        "with these, whoever consumes has enough for 2 h",
    );
}

#[test]
fn what_is_too_little_for_all_lasts_equally_long_for_all() {
    check(
        "Web 10, 40
         App 80, 20
         Store 30, 0",
        &last_for(24),
        &["30 Store -> Web: 15 min, 1 h", "40 App -> Web: 1 h, 2 h"],
        "the 120 that there is lasts 2 h in all, with these, equally long for all; 1 d needs more stock",
    );
}

#[test]
fn whoever_was_refused_needs_it_too() {
    check(
        "Web 0, 0, 30
         Store 100, 0",
        &last_for(1),
        &["30 Store -> Web: 0 s, 1 h"],
        "with these, whoever consumes has enough for 1 h",
    );
}

#[test]
fn where_nothing_is_to_be_done_it_is_said_why() {
    check(
        "Web 100, 0\n Store 5, 0\n pool 9",
        &last_for(1),
        &[],
        "nothing was asked for within 1 h, so nothing runs dry",
    );
    check("Web 100, 10\n Store 5, 0", &last_for(10), &[], "whoever consumes has enough for 10 h already");
    let equally = "the 3 that there is lasts 30 min in all, and lasts equally long for all already; 1 h needs more stock";
    check("Web 2, 4\n App 1, 2", &last_for(1), &[], equally);
    check("", &last_for(1), &[], "nothing was asked for within 1 h, so nothing runs dry");
}

#[test]
fn whole_balances_move_in_whole_units_and_nobody_is_worse_off_by_rounding() {
    check(
        "Web 0, 3
         App 10, 4",
        &last_for(24),
        &["4 App -> Web: 0 s, 1 h 20 min"],
        "the 10 that there is lasts 1 h 25 min in all, with these, equally long for all; 1 d needs more stock",
    );
    check(
        "Web 0, 3
         App 10.5, 4",
        &last_for(24),
        &["4.5 App -> Web: 0 s, 1 h 30 min"],
        "the 10.5 that there is lasts 1 h 30 min in all, with these, equally long for all; 1 d needs more stock",
    );
    // What is left of the pool is no less because a part of it cannot be moved.
    check(
        "Web 1, 4\n pool 2.75",
        &last_for(1),
        &["2 pool -> Web: 15 min, 45 min"],
        "the 3 that there is lasts 45 min in all, with these, equally long for all; 1 h needs more stock",
    );
}

#[test]
fn more_than_is_there_is_not_taken_from_a_pool_that_is_overdrawn() {
    check(
        "Web 1, 4\n pool -7",
        &last_for(1),
        &[],
        "the 1 that there is lasts 15 min in all, and lasts equally long for all already; 1 h needs more stock",
    );
}

#[test]
fn shares_divide_what_is_held_and_the_pool_has_the_rest() {
    let by = |given: &[(&str, &str)], pool: bool| Goal::Shares(shares(given, pool).unwrap());
    check(
        "Web 70, 0
         Store 10, 5
         Outlet 50, 0
         pool 20",
        &by(&[("Web", "0.5"), ("Store", "0.4")], true),
        &["10 pool -> Store: 2 h, 4 h", "20 Web -> Store: 4 h, 8 h"],
        "with these, the 100 that there is is divided as declared",
    );
    check(
        "Web 70, 35\n Store 10, 0\n pool 20",
        &by(&[("Web", "0.3")], true),
        &["43 Web -> pool: 2 h, 46 min 17 s"],
        "with these, the 90 that there is is divided as declared",
    );
    check(
        "Web 70, 0\n Store 0, 0",
        &by(&[("Web", "0.5"), ("Store", "0.5")], false),
        &["35 Web -> Store: never, never"],
        "with these, the 70 that there is is divided as declared",
    );
    check(
        "Web 50, 0\n Store 50, 0\n pool 0",
        &by(&[("Web", "0.5"), ("Store", "0.5")], true),
        &[],
        "everybody has the declared share already",
    );
}

#[test]
fn shares_are_parts_of_a_whole() {
    let place = |given: &[(&str, &str)], pool: bool| match shares(given, pool) {
        Err(Refusal::InvalidRequest(faults)) => faults[0].to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        place(&[("Web", "0.5"), ("Store", "0.6")], true),
        "/shares add up to 1.1, which is more than the whole, 1"
    );
    assert_eq!(
        place(&[("Web", "0.5")], false),
        "/shares add up to 0.5, not to 1; only the pool could have the rest"
    );
    assert_eq!(place(&[("Web", "-0.5")], true), "/shares/0/share is -0.5; a share is from 0 to 1");
    assert_eq!(place(&[("Web", "0"), ("Web", "1")], true), "/shares/1/groups is a group path given before");
}

#[test]
fn a_reason_names_the_numbers() {
    let table = "Web/EU 30, 60, 5
                 Store 40, 0
                 Outlet 600, 20
                 pool 50";
    let reasons = |goal: &Goal| -> Vec<String> {
        proposals(table, goal).proposals.into_iter().map(|proposal| proposal.reason).collect()
    };
    assert_eq!(
        reasons(&last_for(3)),
        [
            "channel=Web, region=EU consumed 60, was refused 5 within 1 h and holds 30, enough for 27 min 41 s; \
             with 50 of the 50 in the pool it has enough for 1 h 13 min",
            "channel=Web, region=EU consumed 60, was refused 5 within 1 h and holds 80, enough for 1 h 13 min; \
             with 40 of channel=Store, which asked for nothing in that time and holds 40, it has enough for 1 h 50 min",
            "channel=Web, region=EU consumed 60, was refused 5 within 1 h and holds 120, enough for 1 h 50 min; \
             with 75 of channel=Outlet, which keeps 525, enough for 1 d 2 h, it has enough for 3 h",
        ]
    );
    let by_shares = Goal::Shares(shares(&[("Web/EU", "0.5"), ("Store", "0")], true).unwrap());
    assert_eq!(
        reasons(&by_shares),
        [
            "channel=Web, region=EU holds 30, and its share, 0.5 of 120, is 60: 30 of channel=Store, which holds 40, \
             and whose share, 0 of 120, is 0",
            "channel=Store holds 10, and its share, 0 of 120, is 0: 10 go back to the pool",
        ]
    );
}

#[test]
fn an_id_is_of_one_move_in_one_state() {
    let key = |product: &str| ProductKey {
        environment: Value::stored("test"),
        organization: Value::stored("usmf"),
        product: Value::stored(product),
    };
    let path = DimensionPath::new(vec![Value::stored("1")]);
    let [first, second] = <[Proposal; 2]>::try_from(
        proposals("Web 10, 20\n App 10, 60\n Store 500, 0", &last_for(2)).proposals,
    )
    .unwrap();
    let of = |product: &str, version: u64, proposal: &Proposal| id(&key(product), &path, version, proposal);
    let other_quantity = Proposal { quantity: Quantity::units(1), ..first.clone() };
    assert_eq!(of("Bike", 7, &first), of("Bike", 7, &other_quantity), "in that state it is done once");
    let others = [of("Bike", 7, &second), of("Bike", 8, &first), of("Helmet", 7, &first)];
    assert!(others.iter().all(|other| *other != of("Bike", 7, &first)), "{others:?}");
    assert!(Value::parse(&of("Bike", 7, &first)).is_ok(), "it can be sent");
}

/// Balances with demands: whole, or with a fraction; and the pool.
fn situations() -> impl Strategy<Value = (Vec<(i64, i64, i64)>, i64, bool)> {
    let small = prop_oneof![Just(0), 0..20_i64, 0..1_000_000_i64, Just(1_000_000_000_000)];
    let holding = (small.clone(), small.clone(), prop_oneof![3 => Just(0), 1 => 0..50_i64]);
    (prop::collection::vec(holding, 0..8), small, any::<bool>())
}

/// The lowest `allocated / demand`, compared exactly.
fn worst(holdings: &[(i128, i128)]) -> Option<(i128, i128)> {
    let needy = holdings.iter().copied().filter(|&(_, demand)| demand > 0);
    needy.min_by(|one, other| (one.0 * other.1).cmp(&(other.0 * one.1)))
}

struct World {
    configuration: Configuration,
    stock: Stock,
    path: DimensionPath,
    count: usize,
}

impl World {
    fn send(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        self.count += 1;
        let value = |text: &str| Value::stored(text);
        let product =
            ProductKey { environment: value("test"), organization: value("usmf"), product: value("Bike") };
        let target = Target {
            id: value(&self.count.to_string()),
            product,
            dimension_data_source: None,
            dimensions: vec![("siteId".into(), "1".into())],
            note: None,
        };
        let command = Command::new(&self.configuration, &target, request)?;
        let effects = decide(&self.stock, &self.configuration, &command, NOW)?;
        apply(&mut self.stock, &self.configuration, &command, effects);
        self.stock.check_invariants(&self.configuration).unwrap();
        Ok(())
    }

    fn put(&mut self, holdings: &[Holding], pool: Quantity) {
        let all: Quantity = holdings.iter().map(|holding| holding.allocated).sum::<Quantity>() + pool;
        let inbound = vec![("pos".into(), vec![("inbound".into(), all.to_string().into())])];
        self.send(&Request::ChangeOnHand { quantities: inbound, groups: None }).unwrap();
        for holding in holdings.iter().filter(|holding| !holding.allocated.is_zero()) {
            let quantity = holding.allocated.to_string().into();
            self.send(&Request::Allocate { groups: pairs(&holding.groups), quantity }).unwrap();
        }
    }

    fn balance(&self, groups: &GroupPath) -> Balance {
        self.stock.balance(&self.path, groups)
    }

    fn available(&self) -> Quantity {
        self.stock.available(self.configuration.available_to_allocate(), &self.path, 1).0
    }
}

fn pairs(groups: &GroupPath) -> Pairs<'static> {
    ["channel", "region"]
        .into_iter()
        .zip(groups.values())
        .map(|(name, value)| (name.into(), value.to_string().into()))
        .collect()
}

fn request(proposal: &Proposal) -> Request<'static> {
    let quantity = proposal.quantity.to_string().into();
    match &proposal.transfer {
        Transfer::FromPool { target } => Request::Allocate { groups: pairs(target), quantity },
        Transfer::ToPool { source } => Request::Unallocate { groups: pairs(source), quantity },
        Transfer::Between { source, target } => {
            Request::Reallocate { source_groups: pairs(source), groups: pairs(target), quantity }
        }
    }
}

fn situation(given: &[(i64, i64, i64)], fractions: bool) -> Vec<Holding> {
    let of = |count: i64| if fractions { Quantity::millionths(count) } else { Quantity::units(count) };
    let holding = |(index, &(allocated, consumed, unmet)): (usize, &(i64, i64, i64))| Holding {
        groups: groups(&format!("G{index}")),
        allocated: of(allocated),
        consumed: of(consumed),
        unmet: of(unmet),
    };
    given.iter().enumerate().map(holding).collect()
}

proptest! {
    #[test]
    fn all_proposals_are_granted_in_their_order_and_keep_what_they_promise(
        (given, pool, fractions) in situations(),
        target_seconds in prop_oneof![1..100_i64, Just(HOUR), 1..10_000_000_i64],
        by_shares in any::<bool>(),
    ) {
        let holdings = situation(&given, fractions);
        let pool = if fractions { Quantity::millionths(pool) } else { Quantity::units(pool) };
        let goal = match by_shares && !holdings.is_empty() {
            false => Goal::Level { target_seconds },
            true => {
                let part = Quantity::millionths(1_000_000 / holdings.len() as i64);
                let shares = holdings.iter().map(|holding| (holding.groups.clone(), part)).collect();
                Goal::Shares(Shares::new(shares, true).unwrap())
            }
        };
        let mut world = World {
            configuration: configuration(),
            stock: Stock::default(),
            path: DimensionPath::new(vec![Value::stored("1")]),
            count: 0,
        };
        world.put(&holdings, pool);
        let configuration = configuration();
        let situation = Situation {
            hierarchy: configuration.groups(), holdings: holdings.clone(), pool: Some(pool), now: NOW, window_seconds: HOUR,
        };
        let found = propose(&situation, &goal);
        prop_assert_eq!(&found, &propose(&situation, &goal), "the same for the same");
        prop_assert!(found.proposals.len() <= holdings.len() + 1 && found.left_out == 0);
        for proposal in &found.proposals {
            prop_assert!(proposal.quantity > Quantity::ZERO);
            prop_assert_eq!(Quantity::parse(&proposal.quantity.to_string()), Ok(proposal.quantity), "six places");
            if !fractions {
                prop_assert!(!proposal.quantity.to_string().contains('.'));
            }
            world.send(&request(proposal)).unwrap_or_else(|refusal| panic!("{proposal:?}: {refusal}"));
            prop_assert!(world.available() >= Quantity::ZERO);
        }
        let held = holdings.iter().map(|holding| world.balance(&holding.groups).allocated);
        let all = holdings.iter().map(|holding| holding.allocated).sum::<Quantity>() + pool;
        prop_assert_eq!(held.sum::<Quantity>() + world.available(), all, "all that there was is there");
        if let Goal::Level { .. } = goal {
            let finest = Quantity::millionths(1);
            let of = |allocated: Quantity, holding: &Holding| (allocated.steps(finest), holding.demand().steps(finest));
            let before: Vec<_> = holdings.iter().map(|holding| of(holding.allocated, holding)).collect();
            let after: Vec<_> = holdings.iter().map(|holding| of(world.balance(&holding.groups).allocated, holding)).collect();
            if let (Some(before), Some(after)) = (worst(&before), worst(&after)) {
                prop_assert!(after.0 * before.1 >= before.0 * after.1, "{:?} became {:?}", before, after);
            }
            for (holding, &(left, demand)) in holdings.iter().zip(&after) {
                let has_given = found.proposals.iter().any(|proposal| proposal.transfer.values()[0] == holding.groups.values());
                let needs = demand * i128::from(target_seconds);
                let is_short = found.remark.contains("needs more stock");
                prop_assert!(!has_given || is_short || left * i128::from(HOUR) >= needs, "{holding:?} gave what it needs");
            }
        }
    }
}
