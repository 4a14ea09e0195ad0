//! What is let go of is unknown again, and the count of what is held is right.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::domain::name::Value;
use crate::domain::quantity::Quantity;

use super::*;

fn value(text: &str) -> Value {
    Value::parse(text).unwrap()
}

fn product(number: usize) -> ProductKey {
    ProductKey {
        environment: value("test"),
        organization: value("usmf"),
        product: value(&format!("P{number}")),
    }
}

fn path() -> DimensionPath {
    DimensionPath::new(vec![value("1")])
}

/// Holds a node of the product, and `balances` balances at it.
fn load(books: &mut Books, number: usize, balances: usize) {
    let key = product(number);
    if books.stock(&key).nodes.is_empty() {
        books.hold(Part::Node(key.clone(), path(), Some(Node { version: 1, ..Node::default() })));
    }
    for group in 0..balances {
        let groups = GroupPath::stored(vec![value(&group.to_string())]);
        if !books.stock(&key).nodes[&path()].balances.contains_key(&groups) {
            books.hold(Part::Balance(key.clone(), path(), groups, None));
        }
    }
}

fn check(books: &Books) {
    let held: usize = books.products.iter().map(|(_, stock)| weight(stock)).sum();
    assert_eq!(books.held, held);
}

const PRODUCTS: usize = 3;
/// What can be done to one product: 0 to 2 balances loaded, or all forgotten.
const ACTIONS: usize = 4;

#[test]
fn the_count_of_what_is_held_is_right_after_anything() {
    let all = PRODUCTS * ACTIONS + 1;
    for mut number in 0..all.pow(4) {
        let mut books = Books::new(4);
        for _ in 0..4 {
            let action = number % all;
            number /= all;
            match (action / ACTIONS, action % ACTIONS) {
                (PRODUCTS, _) => {
                    books.end_batch();
                    assert!(books.held <= 4);
                }
                (product_number, 3) => books.forget(&product(product_number)),
                (product_number, balances) => load(&mut books, product_number, balances),
            }
            check(&books);
        }
    }
}

#[test]
fn what_was_unused_for_longest_is_let_go_of_whole() {
    let mut books = Books::new(4);
    for number in 0..3 {
        load(&mut books, number, 1);
    }
    books.stock(&product(0));
    books.end_batch();
    let held: Vec<usize> = (0..3).filter(|&number| books.products.contains(&product(number))).collect();
    assert_eq!(held, [0, 2]);
    assert!(books.stock(&product(1)).nodes.is_empty(), "not a part of it, which would be taken for all");
}

#[test]
fn reservations_and_schedules_are_held_until_the_end_of_the_batch_that_wanted_them() {
    let mut books = Books::new(4);
    load(&mut books, 0, 0);
    let id = ReservationId(uuid::Uuid::from_u128(1));
    let reservation = Reservation {
        path: path(),
        measure: crate::domain::formula::Slot(4),
        quantity: Quantity::ZERO,
        remaining: Quantity::ZERO,
    };
    books.hold(Part::Reservation(product(0), id, reservation));
    books.hold(Part::Schedule(product(0), path(), Schedule::default()));
    assert_eq!(books.stock(&product(0)).reservations.len(), 1);
    assert_eq!(books.stock(&product(0)).schedules.len(), 1);
    books.end_batch();
    assert!(books.stock(&product(0)).schedules.is_empty());
    assert!(books.stock(&product(0)).reservations.is_empty());
    assert_eq!(books.stock(&product(0)).nodes.len(), 1, "the node stays");
    check(&books);
}

#[test]
fn a_new_version_of_a_configuration_makes_its_environment_unknown_and_no_other() {
    let mut books = Books::new(9);
    let (test, other) = (value("test"), value("other"));
    let elsewhere = ProductKey { environment: other.clone(), ..product(0) };
    assert!(books.meet(&test, 1) && books.meet(&other, 1));
    load(&mut books, 0, 1);
    books.hold(Part::Switch(product(0), true));
    books.hold(Part::Node(elsewhere.clone(), path(), None));
    assert!(!books.meet(&test, 1), "the same");
    assert_eq!(books.stock(&product(0)).nodes.len(), 1);
    assert!(books.meet(&test, 2), "a new one");
    assert_eq!(*books.stock(&product(0)), Stock::default());
    assert_eq!(books.stock(&elsewhere).nodes.len(), 1);
    load(&mut books, 0, 0);
    assert!(!books.meet(&test, 1), "one that comes late is the past");
    assert_eq!(books.stock(&product(0)).nodes.len(), 1);
    check(&books);
}

#[test]
fn an_environment_that_was_not_met_for_long_is_unknown() {
    let mut books = Books::new(9);
    assert!(books.meet(&value("test"), 1));
    load(&mut books, 0, 0);
    for number in 0..ENVIRONMENTS_MAX.get() {
        books.meet(&value(&format!("other {number}")), 1);
    }
    assert!(books.meet(&value("test"), 1));
    assert!(books.stock(&product(0)).nodes.is_empty());
}
