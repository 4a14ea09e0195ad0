//! A second, deliberately naive model of one product, written from `design/model.md` alone.
//!
//! It is the oracle of the property tests, so it shares no type, no arithmetic and no idea
//! with the real code: strings for everything, one append-only list of facts, and every
//! number summed afresh over that whole list. Slow, and meant to be right at a glance.
//!
//! Quantities and coefficients are `i128` counts of millionths. A formula multiplies the
//! two, so its results are counts of 10^-12; nothing is ever rounded. Names are expected
//! as configured, and paths in hierarchy order: normalising is the wire's work, not this.
#![forbid(unsafe_code)]
// A module of a test binary: `pub` is for its siblings, and a test unwraps.
#![allow(unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;

/// 1, as a quantity or a coefficient.
pub const ONE: i128 = 1_000_000;

/// The measures a balance consists of, in the order of the arrays that hold balances.
pub const BALANCE: [&str; 4] =
    ["@iv.@allocated", "@iv.@consumed", "@iv.@cumulative_allocated", "@iv.@cumulative_consumed"];

/// Measures and their coefficients.
pub type Formula = Vec<(String, i128)>;

/// The configuration, as far as it decides anything.
#[derive(Clone, Debug)]
pub struct Config {
    /// The dimension hierarchy; only its length matters here.
    pub dimensions: Vec<String>,
    /// r: how many of them are required, and so how short a chain's shallowest node is.
    pub required: usize,
    /// The formula of what is available to allocate.
    pub ata: Formula,
    /// The reservation measures, each with the formula it is checked against.
    pub reservations: Vec<(String, Formula)>,
    /// The data sources that no consume may modify.
    pub read_only: Vec<String>,
    /// Whether a consume need not be neutral.
    pub allow_pool_changing_consumption: bool,
}

impl Config {
    /// The predefined measure is for reservations by itself: only one can undo an addition.
    pub fn is_for_reservation(&self, measure: &str) -> bool {
        measure == "@iv.@softreserved" || self.reservations.iter().any(|(own, _)| own == measure)
    }
}

/// What can be asked. Every quantity is above zero, except deltas and values on hand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[rustfmt::skip] // one line each
pub enum Request {
    Allocate { path: Vec<String>, groups: Vec<String>, quantity: i128 },
    Unallocate { path: Vec<String>, groups: Vec<String>, quantity: i128 },
    /// From `source` to `groups`.
    Reallocate { path: Vec<String>, source: Vec<String>, groups: Vec<String>, quantity: i128 },
    /// A modifier is a measure and whether it is an Addition (else a Subtraction).
    Consume { path: Vec<String>, groups: Vec<String>, quantity: i128, modifiers: Vec<(String, bool)> },
    Reserve { path: Vec<String>, measure: String, quantity: i128, checked: bool },
    /// A reserve of minus `quantity` with the check off: frees without naming a reservation.
    GiveBack { path: Vec<String>, measure: String, quantity: i128 },
    /// `reservation` is the id of the event that made it; its path is the reservation's.
    Unreserve { reservation: String, quantity: i128 },
    /// `settle` is the group path and how much of what it consumed is settled.
    OnHand { path: Vec<String>, deltas: Vec<(String, i128)>, settle: Option<(Vec<String>, i128)> },
    /// `at` is the effective time.
    SetOnHand { path: Vec<String>, values: Vec<(String, i128)>, at: i64 },
    /// What is expected, by day and measure. Days are counted from one that the test says.
    Schedule { path: Vec<String>, changes: Vec<(i64, String, i128)> },
}

/// The answer to an event that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Events at and below the shallowest node of the chain, this one included.
    pub version: u64,
    /// Of the request's groups: a reallocate's target, the group path that was settled.
    pub balance: Option<[i128; 4]>,
    /// Of a reallocate's source.
    pub source_balance: Option<[i128; 4]>,
    /// available(p) under ATA after the event, in 10^-12.
    pub available: i128,
    /// What an unreserve freed.
    pub freed: Option<i128>,
    /// Whether the event made a reservation.
    pub reservation: bool,
}

/// Why not. `requested` and what a balance holds are in 10^-6; what is available by a
/// formula is in 10^-12. Of equally low nodes, `limited_at` is the deepest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[rustfmt::skip] // one line each
pub enum No {
    IdReused,
    NotNeutral,
    ReadOnly,
    SameGroups,
    InsufficientAta { requested: i128, available: i128, limited_at: Vec<String> },
    InsufficientAllocation { requested: i128, available: i128 },
    InsufficientAfr { requested: i128, available: i128, limited_at: Vec<String> },
    NothingReserved,
    UnknownReservation,
    /// A set older than the last set of one of its measures at its path.
    Superseded,
}

/// Everything one applied event did. Nothing else is ever remembered but the answer.
#[derive(Clone, Debug, Default)]
struct Fact {
    id: String,
    path: Vec<String>,
    /// Measure and delta, at the path.
    postings: Vec<(String, i128)>,
    /// Group path and what its balance at the path changed by.
    movements: Vec<(Vec<String>, [i128; 4])>,
    /// The measure and quantity of the reservation made.
    reserved: Option<(String, i128)>,
    /// The reservation drawn down, and by how much.
    freed: Option<(String, i128)>,
    /// The effective time, when the postings are those of a set.
    set_at: Option<i64>,
    /// Day, measure and by how much it is expected to change.
    scheduled: Vec<(i64, String, i128)>,
}

/// One product of one environment.
#[derive(Clone, Debug)]
pub struct World {
    pub config: Config,
    facts: Vec<Fact>,
    /// What was first asked and answered under each id.
    answers: Vec<(String, Request, Answer)>,
}

impl World {
    pub fn new(config: Config) -> World {
        World { config, facts: Vec::new(), answers: Vec::new() }
    }

    /// Applies the request, or says why not and leaves no trace of it.
    pub fn send(&mut self, id: &str, request: &Request) -> Result<Answer, No> {
        let request = meaning(request);
        if let Some((_, first, answer)) = self.answers.iter().find(|(used, _, _)| used == id) {
            return if *first == request { Ok(answer.clone()) } else { Err(No::IdReused) };
        }
        let fact = Fact { id: id.to_string(), ..self.decide(&request)? };
        assert!(fact.path.len() <= self.config.dimensions.len(), "a path longer than the hierarchy");
        self.facts.push(fact.clone());

        let (source, groups) = match &request {
            Request::Allocate { groups, .. }
            | Request::Unallocate { groups, .. }
            | Request::Consume { groups, .. }
            | Request::OnHand { settle: Some((groups, _)), .. } => (None, Some(groups)),
            Request::Reallocate { source, groups, .. } => (Some(source), Some(groups)),
            _ => (None, None),
        };
        let answer = Answer {
            version: self.version(&fact.path),
            balance: groups.map(|g| self.balance(&fact.path, g)),
            source_balance: source.map(|g| self.balance(&fact.path, g)),
            available: self.available(&fact.path, &self.config.ata),
            freed: fact.freed.map(|_| -fact.postings[0].1),
            reservation: fact.reserved.is_some(),
        };
        self.answers.push((id.to_string(), request, answer.clone()));
        Ok(answer)
    }

    /// Why the request would be refused now, were its id a new one.
    pub fn refusal(&self, request: &Request) -> Option<No> {
        self.decide(&meaning(request)).err()
    }

    /// The table of operations: each one's "refused unless" and its effects.
    fn decide(&self, request: &Request) -> Result<Fact, No> {
        match request.clone() {
            Request::Allocate { path, groups, quantity: q } => {
                let (available, limited_at) = self.limit(&path, &self.config.ata);
                if q * ONE > available {
                    return Err(No::InsufficientAta { requested: q, available, limited_at });
                }
                Ok(moved(path, vec![(groups, [q, 0, q, 0])]))
            }
            Request::Unallocate { path, groups, quantity: q } => {
                self.must_hold(&path, &groups, q)?;
                Ok(moved(path, vec![(groups, [-q, 0, -q, 0])]))
            }
            Request::Reallocate { path, source, groups, quantity: q } => {
                if source == groups {
                    return Err(No::SameGroups);
                }
                self.must_hold(&path, &source, q)?;
                Ok(moved(path, vec![(source, [-q, 0, -q, 0]), (groups, [q, 0, q, 0])]))
            }
            Request::Consume { path, groups, quantity: q, modifiers } => {
                if modifiers.iter().any(|(measure, _)| self.is_read_only(measure)) {
                    return Err(No::ReadOnly);
                }
                let mut fact = moved(path, vec![(groups.clone(), [-q, q, 0, q])]);
                for (measure, addition) in modifiers {
                    if addition && self.config.is_for_reservation(&measure) {
                        // The model gives an event one reservation and is silent on two.
                        assert!(fact.reserved.is_none(), "a consume that would make two reservations");
                        fact.reserved = Some((measure.clone(), q));
                    }
                    fact.postings.push((measure, if addition { q } else { -q }));
                }
                // A formula is linear: what it changes by is its value over the changes.
                let change = evaluate(&self.config.ata, |measure| fact.posted(measure));
                if change != 0 && !self.config.allow_pool_changing_consumption {
                    return Err(No::NotNeutral);
                }
                self.must_hold(&fact.path, &groups, q)?;
                Ok(fact)
            }
            Request::Reserve { path, measure, quantity: q, checked } => {
                let found = self.config.reservations.iter().find(|(m, _)| *m == measure);
                let (available, limited_at) = self.limit(&path, &found.expect("a reservation measure").1);
                if checked && q * ONE > available {
                    return Err(No::InsufficientAfr { requested: q, available, limited_at });
                }
                let reserved = Some((measure.clone(), q));
                Ok(Fact { path, postings: vec![(measure, q)], reserved, ..Fact::default() })
            }
            Request::GiveBack { path, measure, quantity: q } => {
                if self.own(&path, &measure) - q < 0 {
                    return Err(No::NothingReserved);
                }
                Ok(Fact { path, postings: vec![(measure, -q)], ..Fact::default() })
            }
            Request::Unreserve { reservation, quantity } => {
                let remaining = self.remaining(&reservation).ok_or(No::UnknownReservation)?;
                let made = self.facts.iter().find(|fact| fact.id == reservation).expect("found above");
                let (measure, _) = made.reserved.clone().expect("found above");
                let returned = quantity.min(remaining);
                // What was given back without a name is not there to be freed again.
                let freed = returned.min(self.own(&made.path, &measure).max(0));
                Ok(Fact {
                    path: made.path.clone(),
                    postings: vec![(measure, -freed)],
                    freed: Some((reservation, returned)),
                    ..Fact::default()
                })
            }
            Request::OnHand { path, deltas, settle } => {
                let mut movements = Vec::new();
                if let Some((groups, q)) = settle {
                    let consumed = self.balance(&path, &groups)[1];
                    if q > consumed {
                        return Err(No::InsufficientAllocation { requested: q, available: consumed });
                    }
                    movements.push((groups, [0, -q, 0, 0]));
                }
                let mut fact = moved(path, movements);
                fact.postings.extend(deltas);
                Ok(fact)
            }
            Request::SetOnHand { path, values, at } => {
                if values.iter().any(|(m, _)| self.last_set(&path, m).is_some_and(|last| at < last)) {
                    return Err(No::Superseded);
                }
                let delta = |(measure, value): &(String, i128)| value - self.own(&path, measure);
                let postings = values.iter().map(|set| (set.0.clone(), delta(set))).collect();
                Ok(Fact { path, postings, set_at: Some(at), ..Fact::default() })
            }
            Request::Schedule { path, changes } => Ok(Fact { path, scheduled: changes, ..Fact::default() }),
        }
    }

    /// What was posted at exactly this path.
    pub fn own(&self, path: &[String], measure: &str) -> i128 {
        self.facts.iter().filter(|fact| fact.path == path).map(|fact| fact.posted(measure)).sum()
    }

    /// What was posted at this node and below it.
    pub fn total(&self, path: &[String], measure: &str) -> i128 {
        self.facts.iter().filter(|fact| self.is_in(&fact.path, path)).map(|fact| fact.posted(measure)).sum()
    }

    /// What one group path holds at exactly this path, in the order of [`BALANCE`].
    pub fn balance(&self, path: &[String], groups: &[String]) -> [i128; 4] {
        let mut sum = [0; 4];
        for fact in self.facts.iter().filter(|fact| fact.path == path) {
            for (_, movement) in fact.movements.iter().filter(|(moved, _)| moved == groups) {
                for i in 0..4 {
                    sum[i] += movement[i];
                }
            }
        }
        sum
    }

    /// What is scheduled at exactly this path: by day and measure, nothing that is 0.
    pub fn schedule(&self, path: &[String]) -> BTreeMap<(i64, String), i128> {
        let mut sums = BTreeMap::new();
        for fact in self.facts.iter().filter(|fact| fact.path == path) {
            for (day, measure, delta) in &fact.scheduled {
                *sums.entry((*day, measure.clone())).or_default() += delta;
            }
        }
        sums.retain(|_, sum| *sum != 0);
        sums
    }

    /// The minimum of the formula over the chain, in 10^-12.
    pub fn available(&self, path: &[String], formula: &Formula) -> i128 {
        self.limit(path, formula).0
    }

    /// What remains of a reservation, if there is one.
    pub fn remaining(&self, reservation: &str) -> Option<i128> {
        let made = self.facts.iter().find(|fact| fact.id == reservation)?;
        let (_, quantity) = made.reserved.as_ref()?;
        let freed = self.facts.iter().filter_map(|fact| fact.freed.as_ref());
        Some(quantity - freed.filter(|(from, _)| from == reservation).map(|(_, q)| q).sum::<i128>())
    }

    /// How many events there were at and below the shallowest node of the path's chain.
    pub fn version(&self, path: &[String]) -> u64 {
        let shallowest = &self.chain(path)[0];
        self.facts.iter().filter(|fact| self.is_in(&fact.path, shallowest)).count() as u64
    }

    /// The nodes that what is posted at the path is in, shallowest first.
    pub fn chain(&self, path: &[String]) -> Vec<Vec<String>> {
        if path.len() < self.config.required {
            return vec![path.to_vec()];
        }
        (self.config.required..=path.len()).map(|length| path[..length].to_vec()).collect()
    }

    /// Whether what is posted at `path` counts in the total of `node`.
    fn is_in(&self, path: &[String], node: &[String]) -> bool {
        self.chain(path).iter().any(|a| a == node)
    }

    /// available(p) and the deepest node that makes it so.
    fn limit(&self, path: &[String], formula: &Formula) -> (i128, Vec<String>) {
        let value = |node: &Vec<String>| evaluate(formula, |measure| self.total(node, measure));
        let values: Vec<_> = self.chain(path).into_iter().map(|node| (value(&node), node)).collect();
        let least = values.iter().map(|(value, _)| *value).min().expect("a chain is never empty");
        values.into_iter().rfind(|(value, _)| *value == least).expect("one is the least")
    }

    /// Oversell control: no group gives away or consumes more than is allocated to it.
    fn must_hold(&self, path: &[String], groups: &[String], quantity: i128) -> Result<(), No> {
        let allocated = self.balance(path, groups)[0];
        if quantity > allocated {
            return Err(No::InsufficientAllocation { requested: quantity, available: allocated });
        }
        Ok(())
    }

    fn is_read_only(&self, measure: &str) -> bool {
        let (source, _) = measure.split_once('.').expect("a measure is source.name");
        self.config.read_only.iter().any(|read_only| read_only == source)
    }

    /// The latest effective time of the sets of this measure at this path.
    fn last_set(&self, path: &[String], measure: &str) -> Option<i64> {
        let sets = self.facts.iter().filter(|fact| fact.path == path);
        sets.filter(|fact| fact.postings.iter().any(|(m, _)| m == measure))
            .filter_map(|fact| fact.set_at)
            .max()
    }
}

impl Fact {
    /// What this event added to the measure at its path.
    fn posted(&self, measure: &str) -> i128 {
        self.postings.iter().filter(|(m, _)| m == measure).map(|(_, delta)| delta).sum()
    }
}

/// Movements of balances, which are at the same time postings of the balance measures.
fn moved(path: Vec<String>, movements: Vec<(Vec<String>, [i128; 4])>) -> Fact {
    let mut postings = Vec::new();
    for (_, movement) in &movements {
        postings.extend((0..4).map(|i| (BALANCE[i].to_string(), movement[i])));
    }
    Fact { path, postings, movements, ..Fact::default() }
}

/// The formula over whatever the quantities of the measures are; in 10^-12.
fn evaluate(formula: &Formula, quantity: impl Fn(&str) -> i128) -> i128 {
    formula.iter().map(|(measure, coefficient)| coefficient * quantity(measure)).sum()
}

/// The request as it is compared under one id: measures are members of a JSON object, so
/// their order means nothing.
fn meaning(request: &Request) -> Request {
    let mut request = request.clone();
    match &mut request {
        Request::Consume { modifiers, .. } => modifiers.sort(),
        Request::OnHand { deltas: list, .. } | Request::SetOnHand { values: list, .. } => list.sort(),
        Request::Schedule { changes, .. } => changes.sort(),
        _ => {}
    }
    request
}

// ---- The worked examples of model.md ----

/// "1/11/red" as a path; "" is the empty one.
fn path(slashed: &str) -> Vec<String> {
    slashed.split('/').filter(|_| !slashed.is_empty()).map(String::from).collect()
}

/// One member of a formula or of an on-hand change.
fn term(measure: &str, whole: i128) -> (String, i128) {
    (measure.to_string(), whole * ONE)
}

/// The example's ATA is also the AFR of `iv.softreserved`.
fn world(ata: &[(&str, i128)]) -> World {
    let ata: Formula = ata.iter().map(|(measure, whole)| term(measure, *whole)).collect();
    World::new(Config {
        dimensions: path("siteId/locationId/colorId/sizeId"),
        required: 2,
        reservations: vec![("iv.softreserved".to_string(), ata.clone())],
        ata,
        read_only: path("fno"),
        allow_pool_changing_consumption: false,
    })
}

fn on_hand(at: &str, measure: &str, whole: i128) -> Request {
    Request::OnHand { path: path(at), deltas: vec![term(measure, whole)], settle: None }
}

fn allocate(at: &str, groups: &str, whole: i128) -> Request {
    Request::Allocate { path: path(at), groups: path(groups), quantity: whole * ONE }
}

fn consume(groups: &str, whole: i128, modifiers: &[(&str, bool)]) -> Request {
    let modifiers = modifiers.iter().map(|(measure, addition)| (measure.to_string(), *addition)).collect();
    Request::Consume { path: path("1/11"), groups: path(groups), quantity: whole * ONE, modifiers }
}

fn no_ata(requested: i128, available: i128, at: &str) -> Result<Answer, No> {
    let (requested, available) = (requested * ONE, available * ONE * ONE);
    Err(No::InsufficientAta { requested, available, limited_at: path(at) })
}

fn no_allocation(requested: i128, available: i128) -> Result<Answer, No> {
    Err(No::InsufficientAllocation { requested: requested * ONE, available: available * ONE })
}

/// What is then available, and the balance, in whole units.
fn after(answer: &Result<Answer, No>) -> (i128, Option<[i128; 4]>) {
    let answer = answer.as_ref().unwrap();
    (answer.available / ONE / ONE, answer.balance.map(|balance| balance.map(|quantity| quantity / ONE)))
}

#[test]
fn a_chain_limits_what_its_nodes_give() {
    let mut w = world(&[("iv.onhand", 1), ("@iv.@allocated", -1)]);
    w.send("s", &on_hand("1/11/red/S", "iv.onhand", 6)).unwrap();
    w.send("l", &on_hand("1/11/red/L", "iv.onhand", 4)).unwrap();
    w.send("elsewhere", &on_hand("1", "iv.onhand", 99)).unwrap();
    w.send("beside", &on_hand("1/12/red", "iv.onhand", 99)).unwrap();
    let first = w.send("1", &allocate("1/11/red", "Online", 7));
    assert_eq!(after(&first), (3, Some([7, 0, 7, 0])));
    assert_eq!(w.send("2", &allocate("1/11/red/L", "Online", 4)), no_ata(4, 3, "1/11/red"));
    assert_eq!(w.send("3", &allocate("1/11/red/L", "Online", 3)).unwrap().version, 4);
    assert_eq!(w.send("4", &allocate("1/11", "Online", 1)), no_ata(1, 0, "1/11"));
    assert_eq!((w.own(&path("1/11"), "iv.onhand"), w.total(&path("1/11"), "iv.onhand")), (0, 10 * ONE));
    assert_eq!((w.total(&path("1"), "iv.onhand"), w.version(&path("1"))), (99 * ONE, 1));
    // Idempotency: the first answer again, another meaning, and a refusal judged afresh.
    assert_eq!(w.send("1", &allocate("1/11/red", "Online", 7)), first);
    assert_eq!(w.send("1", &allocate("1/11/red", "Online", 8)), Err(No::IdReused));
    w.send("more", &on_hand("1/11", "iv.onhand", 1)).unwrap();
    assert_eq!(after(&w.send("4", &allocate("1/11", "Online", 1))), (0, Some([1, 0, 1, 0])));
}

#[test]
fn a_consume_is_neutral() {
    let ata = [("fno.onordered", 1), ("pos.inbound", 1), ("pos.outbound", -1), ("@iv.@allocated", -1)];
    let mut w = world(&ata);
    let us = "Online/VIP/US";
    w.send("in", &on_hand("1/11", "pos.inbound", 10)).unwrap();
    assert_eq!(after(&w.send("a", &allocate("1/11", us, 8))), (2, Some([8, 0, 8, 0])));
    let inbound = [("pos.inbound", false)];
    assert_eq!(after(&w.send("c", &consume(us, 3, &inbound))), (2, Some([5, 3, 8, 3])));
    assert_eq!(w.own(&path("1/11"), "pos.inbound"), 7 * ONE);
    assert_eq!(w.send("d", &consume(us, 3, &[])), Err(No::NotNeutral));
    let twice = [("pos.inbound", false), ("pos.outbound", true)];
    assert_eq!(w.send("d", &consume(us, 3, &twice)), Err(No::NotNeutral));
    assert_eq!(w.send("d", &consume(us, 3, &[("fno.onordered", false)])), Err(No::ReadOnly));
    assert_eq!(w.send("d", &consume(us, 6, &inbound)), no_allocation(6, 5));
}

#[test]
fn a_consume_reserves() {
    let mut w = world(&[("fno.onhand", 1), ("iv.softreserved", -1), ("@iv.@allocated", -1)]);
    let (here, measure) = (path("1/11"), "iv.softreserved".to_string());
    w.send("in", &on_hand("1/11", "fno.onhand", 10)).unwrap();
    w.send("a", &allocate("1/11", "Online", 8)).unwrap();
    let c = w.send("c", &consume("Online", 3, &[("iv.softreserved", true)]));
    assert_eq!((after(&c), c.unwrap().reservation), ((2, Some([5, 3, 8, 3])), true));

    let (path, quantity) = (here.clone(), 3 * ONE);
    let reserve = Request::Reserve { path, measure: measure.clone(), quantity, checked: true };
    let no = No::InsufficientAfr { requested: quantity, available: 2 * ONE * ONE, limited_at: here.clone() };
    assert_eq!(w.send("r", &reserve), Err(no));
    let reserve = Request::Reserve { path: here.clone(), measure: measure.clone(), quantity, checked: false };
    assert!(w.send("r", &reserve).unwrap().reservation);

    // More than remains is freed as far as it goes; giving back does not go below zero.
    let unreserve = |of: &str| Request::Unreserve { reservation: of.to_string(), quantity: 5 * ONE };
    assert_eq!(w.send("u", &unreserve("c")).unwrap().freed, Some(3 * ONE));
    assert_eq!(w.send("v", &unreserve("c")).unwrap().freed, Some(0));
    assert_eq!((w.remaining("c"), w.remaining("r"), w.remaining("a")), (Some(0), Some(3 * ONE), None));
    assert_eq!(w.send("x", &unreserve("a")), Err(No::UnknownReservation));
    let back = |q| Request::GiveBack { path: here.clone(), measure: measure.clone(), quantity: q * ONE };
    assert_eq!(w.send("g", &back(4)), Err(No::NothingReserved));
    assert_eq!(after(&w.send("g", &back(3))), (5, None));
}

#[test]
fn what_was_consumed_is_settled() {
    let mut w = world(&[("fno.onhand", 1), ("@iv.@consumed", -1), ("@iv.@allocated", -1)]);
    w.send("in", &on_hand("1/11", "fno.onhand", 10)).unwrap();
    w.send("a", &allocate("1/11", "Online", 8)).unwrap();
    assert_eq!(after(&w.send("c", &consume("Online", 3, &[]))), (2, Some([5, 3, 8, 3])));
    let ship = |q: i128| {
        let settle = Some((path("Online"), q * ONE));
        Request::OnHand { path: path("1/11"), deltas: vec![term("fno.onhand", -q)], settle }
    };
    assert_eq!(w.send("s", &ship(4)), no_allocation(4, 3));
    assert_eq!(after(&w.send("s", &ship(3))), (2, Some([5, 0, 8, 3])));
}

#[test]
fn groups_hand_down_and_stock_shrinks() {
    let mut w = world(&[("iv.onhand", 1), ("@iv.@allocated", -1)]);
    let (vip, eu) = ("Online/VIP", "Online/VIP/EU");
    let set = |q, at| Request::SetOnHand { path: path("1/11"), values: vec![term("iv.onhand", q)], at };
    w.send("t1", &set(10, 5)).unwrap();
    w.send("a", &allocate("1/11", vip, 8)).unwrap();
    let hand_down = |from: &str| {
        let (source, groups, quantity) = (path(from), path(eu), 3 * ONE);
        Request::Reallocate { path: path("1/11"), source, groups, quantity }
    };
    let r = w.send("r", &hand_down(vip));
    assert_eq!(after(&r), (2, Some([3, 0, 3, 0])));
    assert_eq!(r.unwrap().source_balance, Some([5 * ONE, 0, 5 * ONE, 0]));
    assert_eq!(w.send("q", &hand_down(eu)), Err(No::SameGroups));

    assert_eq!(w.send("t2", &set(6, 4)), Err(No::Superseded));
    assert_eq!(after(&w.send("t2", &set(6, 5))), (-2, None));
    assert_eq!(w.send("b", &allocate("1/11", "Online", 1)), no_ata(1, -2, "1/11"));
    let c = w.send("c", &consume(vip, 5, &[("iv.onhand", false)]));
    assert_eq!(after(&c), (-2, Some([0, 5, 5, 5])));
    let back = Request::Unallocate { path: path("1/11"), groups: path(eu), quantity: 2 * ONE };
    assert_eq!(after(&w.send("u", &back)), (0, Some([1, 0, 1, 0])));
}
