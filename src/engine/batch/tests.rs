//! Every short sequence of commands, however it is cut into batches, is decided as its commands
//! would be one after the other.

use crate::domain::command::{Direction, Request, ReserveForm, Target};
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::Pairs;
use crate::domain::document::Document;
use crate::domain::state::{Balance, Node, Stock};
use crate::engine::books::{Part, Wanted};
use uuid::Uuid;

use super::*;

const NOW: Timestamp = Timestamp(1);

fn versioned() -> Arc<Versioned> {
    let document: Document = serde_json::from_str(
        r#"{"dimensions": ["siteId", "colorId"], "requiredDimensions": 1,
            "dataSources": {"pos": {"measures": ["inbound"]}},
            "allocation": {"groups": ["channel"],
                           "availableToAllocate": "pos.inbound - @iv.@softreserved - @iv.@allocated"},
            "reservation": {"measures": {"@iv.@softreserved": "pos.inbound - @iv.@softreserved - @iv.@allocated"}}}"#,
    )
    .unwrap();
    Arc::new(Versioned { version: 1, configuration: Configuration::new(document, &[]).unwrap() })
}

/// Commands that mean something else each.
const MEANINGS: [usize; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// Of these the ones that have most to do with one another.
const CLOSEST: [usize; 7] = [0, 1, 2, 3, 4, 6, 8];

fn command(versioned: &Versioned, id: &str, meaning: usize) -> Arc<Command> {
    let pairs = |pairs: &[(&'static str, &'static str)]| -> Pairs<'static> {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    };
    let online = || pairs(&[("channel", "Online")]);
    let quantities = |measure: (&'static str, &'static str), delta: &'static str| {
        vec![(measure.0.into(), vec![(measure.1.into(), delta.into())])]
    };
    let change =
        |delta| Request::ChangeOnHand { quantities: quantities(("pos", "inbound"), delta), groups: None };
    let set = |value, at| Request::SetOnHand {
        quantities: quantities(("pos", "inbound"), value),
        modified_at: Some(Timestamp(at)),
    };
    let consume = |(source, measure): (&'static str, &'static str), direction| Request::Consume {
        groups: online(),
        quantity: "2".into(),
        physical_measures: vec![(source.into(), vec![(measure.into(), direction)])],
    };
    let reserve = |quantity: &'static str, checked| Request::Reserve {
        quantities: quantities(("@iv", "@softreserved"), quantity),
        form: ReserveForm::Quantities,
        checked,
    };
    let (color, request) = match meaning {
        0 => ("red", change("3")),
        1 => ("red", Request::Allocate { groups: online(), quantity: "2".into() }),
        2 => ("red", consume(("pos", "inbound"), Direction::Subtraction)),
        3 => {
            let groups = pairs(&[("channel", "Store")]);
            ("red", Request::Reallocate { source_groups: online(), groups, quantity: "1".into() })
        }
        4 => ("", change("-1")),
        5 => ("blue", Request::Allocate { groups: online(), quantity: "1".into() }),
        6 => ("red", consume(("@iv", "@softreserved"), Direction::Addition)),
        7 => ("red", reserve("2", true)),
        8 => (
            "red",
            Request::Unreserve { reservation: reservation_of("a").to_string().into(), quantity: "1".into() },
        ),
        9 => ("red", reserve("-1", false)),
        10 => ("red", set("1", 2)),
        _ => {
            let quantities = quantities(("@iv", "@consumed"), "-1");
            ("red", Request::ChangeOnHand { quantities, groups: Some(online()) })
        }
    };
    let mut dimensions = pairs(&[("siteId", "1")]);
    if !color.is_empty() {
        dimensions.push(("colorId".into(), color.into()));
    }
    let product = ProductKey {
        environment: Value::parse("test").unwrap(),
        organization: Value::parse("usmf").unwrap(),
        product: Value::parse("Bike").unwrap(),
    };
    let target = Target {
        id: Value::parse(id).unwrap(),
        product,
        dimension_data_source: None,
        dimensions,
        note: None,
    };
    Arc::new(Command::new(&versioned.configuration, &target, &request).unwrap())
}

/// The reservation that an event makes, if it makes one: its id comes of the event's name.
fn reservation_of(id: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("test\0{id}").as_bytes())
}

/// What a command comes to: its outcome, and whether it had come to it before.
type Done = (Outcome, bool);

/// The books and the ledger of one who does one thing after the other.
#[derive(Clone)]
struct Alone {
    versioned: Arc<Versioned>,
    stock: Stock,
    ledger: HashMap<Value, (Arc<Command>, Outcome)>,
}

impl Alone {
    /// With these events in the ledger.
    fn after(meanings: &[usize]) -> Alone {
        let versioned = versioned();
        let mut alone = Alone { versioned, stock: Stock::default(), ledger: HashMap::new() };
        for (number, &meaning) in meanings.iter().enumerate() {
            let command = command(&alone.versioned, &format!("before {number}"), meaning);
            alone.together(&[command]).unwrap();
        }
        alone
    }

    fn one(&mut self, command: &Arc<Command>) -> Result<Done, Refusal> {
        if let Some((event, outcome)) = self.ledger.get(&command.id) {
            let reused = Refusal::IdReused { id: command.id.clone(), difference: String::new() };
            return if event == command { Ok((outcome.clone(), true)) } else { Err(reused) };
        }
        let rules = &self.versioned.configuration;
        let effects = decide(&self.stock, rules, command, NOW)?;
        let outcome = apply(&mut self.stock, rules, command, effects);
        self.ledger.insert(command.id.clone(), (command.clone(), outcome.clone()));
        Ok((outcome, false))
    }

    /// All or nothing.
    fn together(&mut self, commands: &[Arc<Command>]) -> Result<Vec<Done>, (usize, Refusal)> {
        let before = self.clone();
        let done = commands.iter().enumerate().map(|(index, command)| {
            let done = self.one(command);
            done.map_err(|refusal| (index, refusal))
        });
        let done: Result<_, _> = done.collect();
        if done.is_err() {
            *self = before;
        }
        done
    }

    fn version(&self, node: &[Value]) -> u64 {
        self.stock.node(node).map_or(0, |node| node.version)
    }

    /// The ledger as a writer remembers it.
    fn known(&self) -> HashMap<EventName, Arc<Event>> {
        let events = self.ledger.values().map(|(command, outcome)| {
            let (command, outcome) = (command.clone(), outcome.clone());
            (name_of(&command), Arc::new(Event { event_id: 7, command, received_at: NOW, outcome }))
        });
        events.collect()
    }

    /// Adds to the books what the commands need and they do not hold.
    fn load(&self, books: &mut Books, commands: &[Arc<Command>]) {
        let mut wanted = Wanted::default();
        for command in commands {
            books.want(command, &self.versioned.configuration, &mut wanted);
        }
        for (key, path) in wanted.nodes {
            let node = self.stock.nodes.get(&path).cloned();
            books.hold(Part::Node(key, path, node.map(|node| Node { balances: HashMap::new(), ..node })));
        }
        for (key, path, groups) in wanted.balances {
            let balance = self.stock.balance(&path, &groups);
            books.hold(Part::Balance(key, path, groups, Some(balance)));
        }
        for (key, id) in wanted.reservations {
            if let Some(reservation) = self.stock.reservations.get(&id) {
                books.hold(Part::Reservation(key, id, reservation.clone()));
            }
        }
    }

    /// As much of the stock as another one has, and of that what is not nothing.
    fn shared_with(&self, held: &Stock) -> Stock {
        let mut stock = self.stock.clone();
        stock.nodes.retain(|path, _| held.nodes.contains_key(path));
        for (path, node) in &mut stock.nodes {
            node.balances.retain(|groups, _| held.nodes[path].balances.contains_key(groups));
        }
        stock.reservations.retain(|id, _| held.reservations.contains_key(id));
        without_nothing(stock)
    }
}

fn without_nothing(mut stock: Stock) -> Stock {
    for node in stock.nodes.values_mut() {
        node.balances.retain(|_, balance| *balance != Balance::default());
    }
    stock.nodes.retain(|_, node| node.version > 0);
    stock
}

/// Decides units as one batch on books that a writer may hold, holds that against one after the
/// other, and answers what is there then.
fn check(alone: &Alone, books: &mut Books, units: &[&[Arc<Command>]]) -> Alone {
    let commands = units.concat();
    alone.load(books, &commands);
    let batch = units.iter().map(|unit| (*unit, &alone.versioned));
    let (verdicts, granted) = judge(books, &alone.known(), batch, NOW);

    let mut after = alone.clone();
    let expected: Vec<_> = units.iter().map(|unit| after.together(unit)).collect();
    let held = books.stock(&commands[0].product);
    let undone = expected.iter().zip(units).any(|(expected, unit)| expected.is_err() && unit.len() > 1);
    if undone {
        assert_eq!(*held, Stock::default(), "what was applied is forgotten: {commands:?}");
    } else {
        assert_eq!(without_nothing(held.clone()), after.shared_with(held), "{commands:?}");
    }
    check_guards(alone, &granted);
    check_changes(alone, &after, &granted);
    assert_eq!(granted.write_down(books, NOW).is_some(), after.ledger.len() > alone.ledger.len());

    let event_ids: Vec<i64> = (0..granted.events.len() as i64).collect();
    let events = granted.into_events(&event_ids, NOW);
    for ((verdict, expected), unit) in verdicts.into_iter().zip(expected).zip(units) {
        match (verdict, expected) {
            (Verdict::Granted(places), Ok(done)) => check_granted(alone, &events, &places, &done, unit),
            (Verdict::Refused { index, refusal, ground, .. }, Err(expected)) => {
                let is_reused = matches!(refusal, Refusal::IdReused { .. });
                assert_eq!((index, without_difference(refusal)), expected, "{commands:?}");
                match ground {
                    Ground::Ledger => assert!(is_reused),
                    Ground::Books => assert!(!is_reused && unit.len() == 1),
                    Ground::Version(version) => {
                        assert!(!is_reused && unit.len() > 1);
                        assert_eq!(version, alone.version(root(&unit[index], &alone.versioned)));
                    }
                }
            }
            (_, expected) => panic!("alone it is {expected:?}: {commands:?}"),
        }
    }
    books.end_batch();
    after
}

/// Every balance and reservation that changed is written.
fn check_changes(before: &Alone, after: &Alone, granted: &Granted<'_>) {
    for (path, node) in &after.stock.nodes {
        for (groups, balance) in &node.balances {
            let is_written = granted.balances.iter().any(|&(_, at, of)| (at, of) == (path, groups));
            assert!(is_written || *balance == before.stock.balance(path, groups), "{groups:?} at {path:?}");
        }
    }
    for (id, reservation) in &after.stock.reservations {
        let is_written = granted.reservations.contains_key(id);
        assert!(is_written || before.stock.reservations.get(id) == Some(reservation), "{reservation:?}");
    }
}

/// Every node of every chain is guarded, by the version from before the batch.
fn check_guards(alone: &Alone, granted: &Granted<'_>) {
    let chains = granted.events.iter().flat_map(|(command, _, _)| command.path.chain(1));
    let needed: BTreeMap<_, _> = chains.map(|node| (node.to_vec(), alone.version(node))).collect();
    let guarded = granted.nodes.iter().map(|((_, path), &version)| (path.to_vec(), version));
    assert_eq!(guarded.collect::<BTreeMap<_, _>>(), needed);
}

fn check_granted(
    alone: &Alone,
    events: &[Arc<Event>],
    places: &[Place],
    done: &[Done],
    unit: &[Arc<Command>],
) {
    assert_eq!((places.len(), done.len()), (unit.len(), unit.len()));
    for ((place, (outcome, replayed)), command) in places.iter().zip(done).zip(unit) {
        let is_known = alone.ledger.contains_key(&command.id);
        let event = match place {
            Place::New(place) if !replayed => &events[*place],
            Place::SameAs(place) if *replayed && !is_known => &events[*place],
            Place::Known(event) if is_known => event,
            place => panic!("{place:?} of {unit:?}"),
        };
        assert_eq!((&event.command, &event.outcome), (command, outcome));
    }
}

fn without_difference(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::IdReused { id, .. } => Refusal::IdReused { id, difference: String::new() },
        other => other,
    }
}

/// Calls with every sequence of so many commands with these meanings. Of ids it only matters
/// which are the same.
fn for_all(alone: &Alone, length: usize, meanings: &[usize], check: impl Fn(&[Arc<Command>])) {
    const IDS: [&str; 3] = ["a", "b", "c"];
    let of = |id| meanings.iter().map(|&meaning| command(&alone.versioned, id, meaning)).collect();
    let all: [Vec<Arc<Command>>; 3] = IDS.map(of);
    let mut sequences = vec![(Vec::new(), 0)];
    for _ in 0..length {
        let longer = sequences.iter().flat_map(|(sequence, used)| {
            let next = all
                .iter()
                .enumerate()
                .take(used + 1)
                .flat_map(|(id, commands)| commands.iter().map(move |command| (command.clone(), id)));
            next.map(|(command, id)| ([&sequence[..], &[command]].concat(), *used.max(&(id + 1))))
        });
        sequences = longer.collect();
    }
    sequences.iter().for_each(|(sequence, _)| check(sequence));
}

/// Every way to cut so many commands into batches: where each ends, and whether its commands
/// are done together or not at all.
fn cuts(length: usize) -> Vec<Vec<(usize, bool)>> {
    let mut all = vec![Vec::new()];
    for last in 1..=length {
        let with = |cut: &Vec<(usize, bool)>, is_together| [&cut[..], &[(last, is_together)]].concat();
        let ended = |cut: &Vec<(usize, bool)>| cut.last().map_or(0, |&(last, _)| last);
        let longer: Vec<_> = all.iter().map(|cut| with(cut, false)).collect();
        // One alone is done together with nothing else.
        let together = all.iter().filter(|cut| last - ended(cut) > 1).map(|cut| with(cut, true)).collect();
        all = [all, longer, together].concat();
    }
    all.retain(|cut| cut.last().is_some_and(|&(last, _)| last == length));
    all
}

/// Holds every way to cut the commands into batches.
fn check_cuts(alone: &Alone, books_entries_max: usize, commands: &[Arc<Command>]) {
    for cut in cuts(commands.len()) {
        let (mut now, mut books, mut first) = (alone.clone(), Books::new(books_entries_max), 0);
        for (last, is_together) in cut {
            let unit = if is_together { last - first } else { 1 };
            let units: Vec<_> = commands[first..last].chunks(unit).collect();
            now = check(&now, &mut books, &units);
            first = last;
        }
    }
}

/// What there may be before: nothing, a little of everything, and too much taken.
const BEFORE: [&[usize]; 3] = [&[], &[0, 0, 1, 7], &[0, 1, 4, 4]];

#[test]
fn however_they_are_cut_into_batches_commands_are_decided_one_after_the_other() {
    assert_eq!(cuts(3).len(), 7);
    for before in BEFORE {
        let alone = Alone::after(before);
        for length in 1..=2 {
            for_all(&alone, length, &MEANINGS, |commands| check_cuts(&alone, usize::MAX, commands));
        }
    }
    let alone = Alone::after(BEFORE[1]);
    for_all(&alone, 3, &CLOSEST, |commands| check_cuts(&alone, usize::MAX, commands));
}

#[test]
fn commands_are_decided_alike_by_a_writer_that_keeps_nothing() {
    let alone = Alone::after(BEFORE[1]);
    for_all(&alone, 2, &MEANINGS, |commands| check_cuts(&alone, 0, commands));
}

#[test]
fn every_configuration_that_a_batch_was_decided_under_is_guarded() {
    let alone = Alone::after(&[]);
    let changed = Arc::new(Versioned { version: 2, configuration: versioned().configuration.clone() });
    let commands = [command(&changed, "a", 0), command(&alone.versioned, "b", 0), command(&changed, "c", 0)];
    let units = commands.chunks(1).zip([&changed, &alone.versioned, &changed]);
    let mut books = Books::new(usize::MAX);
    alone.load(&mut books, &commands);
    let (_, granted) = judge(&mut books, &HashMap::new(), units, NOW);
    let environment = &commands[0].product.environment;
    assert_eq!(granted.configurations(), BTreeSet::from([(environment, 1), (environment, 2)]));
}
