//! Every small batch is decided as its commands would be one after the other.

use crate::domain::command::{Direction, Request, Target};
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::Pairs;
use crate::domain::document::Document;
use crate::domain::state::{Balance, Node, Stock};
use crate::engine::books::{Part, Wanted};

use super::*;

const NOW: Timestamp = Timestamp(1);

fn versioned() -> Arc<Versioned> {
    let document: Document = serde_json::from_str(
        r#"{"dimensions": ["siteId", "colorId"], "requiredDimensions": 1,
            "dataSources": {"pos": {"measures": ["inbound"]}},
            "allocation": {"groups": ["channel"], "availableToAllocate": "pos.inbound - @iv.@allocated"}}"#,
    )
    .unwrap();
    Arc::new(Versioned { version: 1, configuration: Configuration::new(document, &[]).unwrap() })
}

/// How many commands there are that mean something else.
const MEANINGS: usize = 6;

fn command(versioned: &Versioned, id: &str, meaning: usize) -> Arc<Command> {
    let pairs = |pairs: &[(&'static str, &'static str)]| -> Pairs<'static> {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    };
    let online = || pairs(&[("channel", "Online")]);
    let change = |delta: &'static str| Request::ChangeOnHand {
        quantities: vec![("pos".into(), vec![("inbound".into(), delta.into())])],
        groups: None,
    };
    let (color, request) = match meaning {
        0 => ("red", change("3")),
        1 => ("red", Request::Allocate { groups: online(), quantity: "2".into() }),
        2 => {
            let measures = vec![("pos".into(), vec![("inbound".into(), Direction::Subtraction)])];
            ("red", Request::Consume { groups: online(), quantity: "2".into(), physical_measures: measures })
        }
        3 => {
            let groups = pairs(&[("channel", "Store")]);
            ("red", Request::Reallocate { source_groups: online(), groups, quantity: "1".into() })
        }
        4 => ("", change("-1")),
        _ => ("blue", Request::Allocate { groups: online(), quantity: "1".into() }),
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
    let target = Target { id: Value::parse(id).unwrap(), product, dimension_data_source: None, dimensions };
    Arc::new(Command::new(&versioned.configuration, &target, &request).unwrap())
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
    /// With one event in the ledger.
    fn new() -> Alone {
        let versioned = versioned();
        let first = command(&versioned, "known", 0);
        let mut alone = Alone { versioned, stock: Stock::default(), ledger: HashMap::new() };
        alone.together(&[first]).unwrap();
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

    /// Books that hold what the commands need, and nothing else.
    fn load(&self, commands: &[Arc<Command>]) -> Books {
        let mut books = Books::new(usize::MAX);
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
        books
    }

    /// As much of the stock as another one has, and of that what is not nothing.
    fn shared_with(&self, held: &Stock) -> Stock {
        let mut stock = self.stock.clone();
        stock.nodes.retain(|path, _| held.nodes.contains_key(path));
        for (path, node) in &mut stock.nodes {
            node.balances.retain(|groups, _| held.nodes[path].balances.contains_key(groups));
        }
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

/// Decides units as one batch, and holds that against one after the other.
fn check(alone: &Alone, units: &[&[Arc<Command>]]) {
    let commands = units.concat();
    let mut books = alone.load(&commands);
    let batch = units.iter().map(|unit| (*unit, &alone.versioned));
    let (verdicts, granted) = judge(&mut books, &alone.known(), batch, NOW);

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
    assert_eq!(granted.write_down(&mut books, NOW).is_some(), after.ledger.len() > alone.ledger.len());

    let event_ids: Vec<i64> = (0..granted.events.len() as i64).collect();
    let events = granted.into_events(&event_ids, NOW);
    for ((verdict, expected), unit) in verdicts.into_iter().zip(expected).zip(units) {
        match (verdict, expected) {
            (Verdict::Granted(places), Ok(done)) => check_granted(alone, &events, &places, &done, unit),
            (Verdict::Refused { index, refusal, ground }, Err(expected)) => {
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

/// Calls with every sequence of so many commands, where each has one of the ids.
fn for_all(alone: &Alone, length: usize, ids: &[&str], check: impl Fn(&[Arc<Command>])) {
    let meanings = 0..MEANINGS;
    let all: Vec<Arc<Command>> = meanings
        .flat_map(|meaning| ids.iter().map(move |id| command(&alone.versioned, id, meaning)))
        .collect();
    for mut number in 0..all.len().pow(length as u32) {
        let mut chosen = Vec::with_capacity(length);
        for _ in 0..length {
            chosen.push(all[number % all.len()].clone());
            number /= all.len();
        }
        check(&chosen);
    }
}

#[test]
fn a_batch_is_decided_as_one_command_after_the_other() {
    let alone = Alone::new();
    for length in 1..=3 {
        for_all(&alone, length, &["known", "a", "b"], |commands| {
            check(&alone, &commands.chunks(1).collect::<Vec<_>>());
        });
    }
}

#[test]
fn commands_that_are_done_together_leave_nothing_behind_when_one_is_refused() {
    let alone = Alone::new();
    for length in 2..=3 {
        for_all(&alone, length, &["known", "a", "b"], |commands| check(&alone, &[commands]));
    }
}

#[test]
fn every_configuration_that_a_batch_was_decided_under_is_guarded() {
    let alone = Alone::new();
    let changed = Arc::new(Versioned { version: 2, configuration: versioned().configuration.clone() });
    let commands = [command(&changed, "a", 0), command(&alone.versioned, "b", 0), command(&changed, "c", 0)];
    let units = commands.chunks(1).zip([&changed, &alone.versioned, &changed]);
    let (_, granted) = judge(&mut alone.load(&commands), &HashMap::new(), units, NOW);
    let environment = &commands[0].product.environment;
    assert_eq!(granted.configurations(), BTreeSet::from([(environment, 1), (environment, 2)]));
}
