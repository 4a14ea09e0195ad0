//! What the core does, as stories that a planner could read. A line is a setting, a request
//! with what it must answer behind `=>`, or a `then` that looks at the state:
//!
//! ```text
//! pool = pos.inbound - @iv.@allocated
//! post pos.inbound+10 at 1/11
//! allocate 8 at 1/11 to Web/VIP => available 2, held 8/0/8/0
//! consume 9 at 1/11 by Web/VIP with pos.inbound- => refused 9 asked for, 8 allocated to channel=Web
//! then pos.inbound 10 at 1/11
//! ```
//!
//! `enable` and `disable` are what was said of the product. `held` is the balance: allocated, consumed and both cumulatives; `left` that of a
//! reallocation's source. A path is values in hierarchy order, or `name=value,name=value`.

mod allocations;
mod configurations;
mod explanations;
mod invariants;
mod replacements;
mod requests;
mod stock;

use std::collections::HashMap;

use super::command::{
    Command, Direction, PerMeasure, ProductKey, Quantities, Request, ReserveForm, Target, Timestamp,
};
use super::configuration::Configuration;
use super::decide::{Outcome, apply, decide};
use super::dimensions::{DimensionPath, Pairs};
use super::document::Document;
use super::formula::{MeasureName, Slot};
use super::name::Value;
use super::quantity::Quantity;
use super::refusal::Refusal;
use super::state::{Balance, ReservationId, Stock};

const DIMENSIONS: [&str; 4] = ["siteId", "locationId", "colorId", "sizeId"];
const GROUPS: [&str; 3] = ["channel", "customerGroup", "region"];
/// When the service takes every request in; only a `set` without a `time` goes by it.
const NOW: Timestamp = Timestamp(100);

/// The configuration of every story, but for its settings.
fn document() -> Document {
    serde_json::from_str(
        r#"{
            "dimensions": ["siteId", "locationId", "colorId", "sizeId"], "requiredDimensions": 2,
            "dataSources": {
                "fno": {"measures": ["onordered", "onhand"], "readOnly": true},
                "iv": {"measures": ["onhand", "softreserved"]},
                "pos": {"measures": ["inbound", "outbound"], "dimensionMappings": {"shopId": "locationId"}}
            },
            "allocation": {
                "groups": ["channel", "customerGroup", "region"],
                "availableToAllocate": "iv.onhand - @iv.@allocated"
            }
        }"#,
    )
    .unwrap()
}

/// Runs a story; panics at the line that goes another way, or breaks an invariant.
fn check(story: &str) {
    tell(story);
}

/// The same, for the sake of the state that it ends in.
fn tell(story: &str) -> World {
    let mut document = document();
    let mut lines = story.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    while let Some((setting, value)) = lines.peek().and_then(|line| line.split_once(" = ")) {
        match setting {
            "pool" => document.allocation.available_to_allocate = value.to_owned(),
            "required" => document.required_dimensions = value.parse().unwrap(),
            "enabled products" => document.allocation.require_enabled_products = value == "required",
            "reservable" => {
                document.reservation.dimensions = Some(value.split(", ").map(str::to_owned).collect());
            }
            "pool changing consumption" => document.allocation.allow_pool_changing_consumption = true,
            measure => {
                document.reservation.measures.insert(measure.to_owned(), value.to_owned());
            }
        }
        lines.next();
    }
    let configuration = Configuration::new(document, &[]).unwrap();
    let mut world = World { configuration, stock: Stock::default(), reservations: HashMap::new(), events: 0 };
    for line in lines {
        let (times, line) = line.split_once(" times ").unwrap_or(("1", line));
        for _ in 0..times.parse().unwrap() {
            world.tell(line);
            world.stock.check_invariants(&world.configuration).unwrap_or_else(|why| panic!("{line}\n{why}"));
        }
    }
    world
}

struct World {
    configuration: Configuration,
    stock: Stock,
    reservations: HashMap<String, ReservationId>,
    events: usize,
}

impl World {
    fn tell(&mut self, line: &str) {
        let (told, expected) =
            line.split_once("=>").map_or((line, ""), |(told, expected)| (told, expected.trim()));
        let words: Vec<&str> = told.split_whitespace().collect();
        match words[0] {
            "then" => return self.look(&words, line),
            "enable" => return self.stock.is_enabled = Some(true),
            "disable" => return self.stock.is_enabled = Some(false),
            _ => {}
        }
        match (self.send(&words), expected.strip_prefix("refused ")) {
            (Ok(outcome), None) => {
                let answered = shown(&outcome);
                for part in expected.split(", ").filter(|part| !part.is_empty()) {
                    assert!(answered.iter().any(|own| own == part), "{line}\nanswered {answered:?}");
                }
            }
            (Err(refusal), Some(why)) => {
                let answered = refusal.to_string();
                assert!(answered.contains(why), "{line}\nanswered refused {answered}");
            }
            (answered, _) => panic!("{line}\nanswered {answered:?}"),
        }
    }

    /// `then [own] <measure> <quantity> at <path>`, or `then <reservation> <remaining>`.
    fn look(&self, words: &[&str], line: &str) {
        let [.., named, expected] = words.split(|&word| word == "at").next().unwrap() else {
            panic!("{line}")
        };
        let seen = match self.reservations.get(*named) {
            Some(id) => self.stock.reservations[id].remaining,
            None => {
                let given = pairs(after(words, "at").unwrap(), &DIMENSIONS);
                let path = self.configuration.path(None, &given).unwrap();
                self.quantity(&path, named, words[1] == "own")
            }
        };
        assert_eq!(seen.to_string(), *expected, "{line}");
    }

    fn quantity(&self, path: &DimensionPath, measure: &str, own: bool) -> Quantity {
        let slot = slot(&self.configuration, measure);
        let node = self.stock.nodes.get(path).cloned().unwrap_or_default();
        if own { node.own.get(slot) } else { node.total.get(slot) }
    }

    fn send(&mut self, words: &[&str]) -> Result<Outcome, Refusal> {
        self.events += 1;
        let id = format!("event {}", self.events);
        let command = command(&self.configuration, &self.reservations, &id, words)?;
        let effects = decide(&self.stock, &self.configuration, &command, NOW)?;
        let outcome = apply(&mut self.stock, &self.configuration, &command, effects);
        let named = after(words, "as").map(str::to_owned);
        assert_eq!(outcome.reservation_id.is_some(), named.is_some(), "a reservation of {words:?}");
        self.reservations.extend(named.zip(outcome.reservation_id));
        Ok(outcome)
    }
}

/// Reads a line's words as a command.
fn command(
    configuration: &Configuration,
    reservations: &HashMap<String, ReservationId>,
    id: &str,
    words: &[&str],
) -> Result<Command, Refusal> {
    let groups = |preposition| pairs(after(words, preposition).unwrap_or_default(), &GROUPS);
    let quantity = || words[1].into();
    let request = match words[0] {
        "post" => Request::ChangeOnHand {
            quantities: quantities(words[1]),
            groups: after(words, "for").map(|_| groups("for")),
        },
        "set" => Request::SetOnHand {
            quantities: quantities(words[1]),
            modified_at: after(words, "time").map(|time| Timestamp(time.parse().unwrap())),
        },
        "allocate" => Request::Allocate { groups: groups("to"), quantity: quantity() },
        "unallocate" => Request::Unallocate { groups: groups("from"), quantity: quantity() },
        "reallocate" => {
            Request::Reallocate { source_groups: groups("from"), groups: groups("to"), quantity: quantity() }
        }
        "consume" => Request::Consume {
            groups: groups("by"),
            quantity: quantity(),
            physical_measures: modifiers(after(words, "with").unwrap_or_default()),
        },
        "reserve" => {
            let (source, measure) = after(words, "on").unwrap().split_once('.').unwrap();
            let checked = !words.contains(&"unchecked");
            let quantities = vec![(source.into(), vec![(measure.into(), quantity())])];
            Request::Reserve { quantities, form: ReserveForm::Modifier, checked }
        }
        "unreserve" => {
            let reservation = reservations.get(after(words, "of").unwrap());
            Request::Unreserve {
                reservation: reservation.map(|id| id.0).unwrap_or_default().to_string().into(),
                quantity: quantity(),
            }
        }
        verb => panic!("{verb} is no verb of a story"),
    };
    let value = |text| Value::parse(text).unwrap();
    let target = Target {
        id: value(id),
        product: ProductKey {
            environment: value("shop"),
            organization: value("usmf"),
            product: value("Bike"),
        },
        dimension_data_source: after(words, "using").map(Into::into),
        dimensions: pairs(after(words, "at").unwrap(), &DIMENSIONS),
        note: None,
    };
    Command::new(configuration, &target, &request)
}

fn after<'a>(words: &[&'a str], preposition: &str) -> Option<&'a str> {
    words.iter().position(|&word| word == preposition).map(|index| words[index + 1])
}

/// `1/11//L` or `siteId=1,sizeId=L`; `/` is the product as a whole.
fn pairs<'a>(path: &'a str, names: &[&'a str]) -> Pairs<'a> {
    if path.contains('=') {
        let parts = path.split(',').map(|part| part.split_once('=').unwrap());
        return parts.map(|(name, value)| (name.into(), value.into())).collect();
    }
    let values = path.split('/').filter(|_| !path.is_empty() && path != "/");
    names.iter().zip(values).map(|(&name, value)| (name.into(), value.into())).collect()
}

/// `pos.inbound+6,fno.onhand-3` or `pos.inbound=6`.
fn quantities(text: &str) -> Quantities<'_> {
    let one = |part: &str| {
        let (name, quantity) = part.split_at(part.find(['+', '-', '=']).unwrap());
        let (source, measure) = name.split_once('.').unwrap();
        let quantity = quantity.trim_start_matches(['+', '=']).to_owned();
        (source.to_owned().into(), vec![(measure.to_owned().into(), quantity.into())])
    };
    text.split(',').filter(|part| *part != "nothing").map(one).collect()
}

/// `pos.inbound-,iv.softreserved+`.
fn modifiers(text: &str) -> PerMeasure<'_, Direction> {
    let one = |part: &str| {
        let (name, sign) = part.split_at(part.len() - 1);
        let (source, measure) = name.split_once('.').unwrap();
        let direction = if sign == "+" { Direction::Addition } else { Direction::Subtraction };
        (source.to_owned().into(), vec![(measure.to_owned().into(), direction)])
    };
    text.split(',').filter(|part| !part.is_empty()).map(one).collect()
}

fn slot(configuration: &Configuration, measure: &str) -> Slot {
    let name = MeasureName::parse(measure).unwrap();
    configuration.measure(name.source.as_str(), name.measure.as_str()).unwrap()
}

/// What an answer says, as stories put it.
fn shown(outcome: &Outcome) -> Vec<String> {
    let balance = |word: &str, balance: Option<Balance>| {
        balance.map(|own| {
            let Balance { allocated, consumed, cumulative_allocated, cumulative_consumed } = own;
            format!("{word} {allocated}/{consumed}/{cumulative_allocated}/{cumulative_consumed}")
        })
    };
    let always =
        [format!("available {}", outcome.available_to_allocate), format!("version {}", outcome.version)];
    let excess = outcome.excess.map_or("no excess".to_owned(), |excess| format!("excess {excess}"));
    let balances = [balance("held", outcome.balance), balance("left", outcome.source_balance)];
    always.into_iter().chain([excess]).chain(balances.into_iter().flatten()).collect()
}
