//! What holds for any input at all. The fuzzer's targets call it, and so does the test that
//! replays the corpus. Each answers how much of the input was taken.

#![allow(dead_code, reason = "each target has its own")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use ringfence::domain::command::Timestamp;
use ringfence::domain::configuration::{Configuration, Usage};
use ringfence::domain::decide::{apply, decide};
use ringfence::domain::document::Document;
use ringfence::domain::formula::{Formula, MeasureName, Slot};
use ringfence::domain::quantity::Quantity;
use ringfence::http::reading::{REQUESTS, read, read_document};

/// What requests are read under.
static CONFIGURATION: LazyLock<Configuration> = LazyLock::new(|| {
    let document = read_document(include_bytes!("configuration.json")).expect("it is a document");
    Configuration::new(document, &[]).expect("it is a configuration")
});

/// Which request a first byte means: `a` the first of them.
pub fn which(byte: u8) -> usize {
    usize::from(byte.wrapping_sub(b'a')) % REQUESTS.len()
}

/// A request: its first byte says which.
pub fn requests(data: &[u8]) -> usize {
    let Some((&first, text)) = data.split_first() else { return 0 };
    let lines = read(REQUESTS[which(first)], text, &CONFIGURATION);
    // A query that is right.
    let mut taken = usize::from(lines.is_empty());
    let mut products = HashMap::new();
    for line in lines {
        let command = match line {
            Ok(command) => command,
            Err(said) => {
                is_a_problem(&said);
                continue;
            }
        };
        taken += 1;
        let stock =
            products.entry(command.product.clone()).or_insert_with(ringfence::domain::state::Stock::default);
        if let Ok(effects) = decide(stock, &CONFIGURATION, &command, Timestamp(0)) {
            apply(stock, &CONFIGURATION, &command, effects);
            stock.check_invariants(&CONFIGURATION).expect("the books agree");
        }
    }
    taken
}

/// A refusal is an answer in JSON that says what is wrong, and is no fault of the service's.
fn is_a_problem(said: &str) -> usize {
    let body: serde_json::Value = serde_json::from_str(said).expect("an answer is JSON");
    let status = body["status"].as_u64().expect("it has a status");
    assert!((400..500).contains(&status), "{said}");
    0
}

/// A configuration's document: written and read again it is the same, and so is what it means.
pub fn configuration(data: &[u8]) -> usize {
    let document = match read_document(data) {
        Ok(document) => document,
        Err(said) => return is_a_problem(&said),
    };
    let written = serde_json::to_vec(&document).expect("a document becomes JSON");
    assert_eq!(read_document(&written).as_ref(), Ok(&document));
    let stored: Document = serde_json::from_slice(&written).expect("what is stored can be read");
    assert_eq!(stored, document);
    let Ok(configuration) = Configuration::new(document.clone(), &[]) else { return 0 };
    let again = Configuration::new(document, configuration.slots()).expect("it may be put again");
    assert_eq!(again.slots(), configuration.slots());
    assert_eq!(again.available_to_allocate(), configuration.available_to_allocate());
    let usage = Usage::all_of(&configuration);
    again.check_replaces(&configuration, &usage).expect("it may follow itself");
    1
}

/// A formula: written with its measures and coefficients and read again it is the same. And so
/// are a measure's name and a quantity.
pub fn formula(data: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(data) else { return 0 };
    let quantity = Quantity::parse(text);
    if let Ok(quantity) = quantity {
        assert_eq!(quantity.to_string().parse(), Ok(quantity));
        let json = serde_json::to_string(&quantity).expect("a quantity becomes JSON");
        assert_eq!(serde_json::from_str::<Quantity>(&json).expect("and is read again"), quantity);
    }
    let names: RefCell<Vec<MeasureName>> = RefCell::default();
    let slot = |name: &MeasureName| {
        let mut names = names.borrow_mut();
        let known = names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            assert_eq!(MeasureName::parse(&name.to_string()).as_ref(), Ok(name));
            assert!(name.source.matches(name.source.as_str()));
            names.push(name.clone());
            names.len() - 1
        });
        Ok(configured(index))
    };
    let Ok(formula) = Formula::parse(text, slot) else { return usize::from(quantity.is_ok()) };
    let written: Vec<String> = formula
        .terms()
        .iter()
        .map(|&(slot, coefficient)| {
            let name = &names.borrow()[slot.index()];
            match coefficient < Quantity::ZERO {
                true => format!("- {} * {name}", -coefficient),
                false => format!("+ {coefficient} * {name}"),
            }
        })
        .collect();
    assert_eq!(Formula::parse(&written.join(" "), slot).as_ref(), Ok(&formula));
    1
}

/// The slot of a place. Only a configuration makes slots, so one is asked that has many.
fn configured(index: usize) -> Slot {
    static SLOTS: LazyLock<Vec<Slot>> = LazyLock::new(|| {
        let measures: Vec<String> = (0..200).map(|index| format!("m{index}")).collect();
        let document = serde_json::json!({
            "dimensions": [], "dataSources": {"a": {"measures": measures}},
            "allocation": {"groups": [], "availableToAllocate": "a.m0 - @iv.@allocated"},
        });
        let document = read_document(document.to_string().as_bytes()).expect("it is a document");
        let configuration = Configuration::new(document, &[]).expect("it is a configuration");
        let slots = configuration.measures().flat_map(|(_, measures)| measures.to_vec());
        slots.map(|(_, slot)| slot).collect()
    });
    SLOTS[index]
}
