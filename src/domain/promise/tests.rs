//! The worked example of Inventory Visibility, step by step, and what it leaves open.

use std::iter::repeat_n;

use time::macros::date;

use super::*;
use crate::domain::formula::MeasureName;

const SUPPLY: Slot = Slot(0);
const DEMAND: Slot = Slot(1);

/// `On-hand = Supply − Demand`, where one of the demand may count more.
fn formula(text: &str) -> Formula {
    let slot = |name: &MeasureName| match name.measure.as_str() {
        "supply" => Ok(SUPPLY),
        "demand" => Ok(DEMAND),
        other => Err(format!("{other}?")),
    };
    Formula::parse(text, slot).unwrap()
}

/// Day of February 2022, measure, quantity.
type Scheduled = (u8, Slot, i64);

fn february(day: u8) -> Date {
    date!(2022 - 02 - 01).replace_day(day).unwrap()
}

fn schedule(scheduled: &[Scheduled]) -> Schedule {
    let mut schedule = Schedule::default();
    for &(day, slot, units) in scheduled {
        assert!(schedule.add(february(day), slot, Quantity::units(units)));
    }
    schedule
}

fn on_hand(supply: i64, demand: i64) -> Measures {
    Measures::new(vec![Quantity::units(supply), Quantity::units(demand)])
}

/// The columns of the example's tables, from a day of February on.
fn table(on_hand: &Measures, scheduled: &[Scheduled], today: u8, days: u16) -> Vec<[String; 5]> {
    let period = Period::new(february(today), days).unwrap();
    let found = promises(&formula("x.supply - x.demand"), on_hand, &schedule(scheduled), period).unwrap();
    let expected = period.days().collect::<Vec<_>>();
    assert_eq!(found.iter().map(|&(day, _)| day).collect::<Vec<_>>(), expected);
    let row = |(_, own): &(Date, Promise)| {
        [own.on_hand, own.supply, own.demand, own.projected, own.available].map(|it| it.to_string())
    };
    found.iter().map(row).collect()
}

fn column(table: &[[String; 5]], column: usize) -> String {
    table.iter().map(|row| row[column].as_str()).collect::<Vec<_>>().join(" ")
}

const FIRST: Scheduled = (1, DEMAND, 3);
const SECOND: Scheduled = (3, SUPPLY, 10);
const ALL: [Scheduled; 5] = [FIRST, SECOND, (4, DEMAND, 15), (5, SUPPLY, 1), (6, SUPPLY, 3)];
const SHIPPED: [Scheduled; 6] = [FIRST, SECOND, ALL[2], ALL[3], ALL[4], (1, DEMAND, -3)];

/// What was done, today, supply and demand on hand, schedule; on hand, projected, ATP of seven days.
#[test]
fn the_documentation_s_example_is_followed_step_by_step() {
    type Row<'a> = (&'a str, u8, (i64, i64), &'a [Scheduled], i64, &'a str, &'a str);
    let rows: [Row<'_>; 6] = [
        ("3 are to leave", 1, (20, 0), &[FIRST], 20, "17 17 17 17 17 17 17", "17 17 17 17 17 17 17"),
        ("10 are to come", 1, (20, 0), &[FIRST, SECOND], 20, "17 17 27 27 27 27 27", "17 17 27 27 27 27 27"),
        ("three more changes", 1, (20, 0), &ALL, 20, "17 17 27 12 13 16 16", "12 12 12 12 13 16 16"),
        ("the 3 have left", 1, (20, 3), &SHIPPED, 17, "17 17 27 12 13 16 16", "12 12 12 12 13 16 16"),
        ("a day later", 2, (20, 3), &SHIPPED, 17, "17 27 12 13 16 16 16", "12 12 12 13 16 16 16"),
        ("the 10 have not come", 4, (20, 3), &SHIPPED, 17, "2 3 6 6 6 6 6", "2 3 6 6 6 6 6"),
    ];
    for (what, today, (supply, demand), scheduled, there, projected, available) in rows {
        let table = table(&on_hand(supply, demand), scheduled, today, 7);
        assert_eq!(column(&table, 0), repeat_n(there.to_string(), 7).collect::<Vec<_>>().join(" "), "{what}");
        assert_eq!(column(&table, 3), projected, "{what}");
        assert_eq!(column(&table, 4), available, "{what}");
    }
    let table = table(&on_hand(20, 0), &ALL, 1, 7);
    assert_eq!((column(&table, 1), column(&table, 2)), ("0 0 10 0 1 3 0".into(), "3 0 0 15 0 0 0".into()));
}

/// What passed and was not taken back is as if it had been: only stock that moved counts.
#[test]
fn what_was_scheduled_for_yesterday_counts_no_more() {
    let yesterday = [(3, SUPPLY, 10), (3, DEMAND, 40)];
    assert_eq!(column(&table(&on_hand(5, 0), &yesterday, 3, 2), 4), "-25 -25");
    assert_eq!(column(&table(&on_hand(5, 0), &yesterday, 4, 2), 4), "5 5");
}

#[test]
fn what_is_scheduled_behind_the_period_does_not_count_yet() {
    let far = [(9, DEMAND, 4)];
    assert_eq!(column(&table(&on_hand(5, 0), &far, 1, 8), 4), "5 5 5 5 5 5 5 5");
    assert_eq!(column(&table(&on_hand(5, 0), &far, 1, 9), 4), "1 1 1 1 1 1 1 1 1");
    assert_eq!(column(&table(&on_hand(5, 0), &far, 9, 1), 4), "1");
}

#[test]
fn a_formula_s_coefficients_count_in_all_columns() {
    let period = Period::new(february(1), 2).unwrap();
    let scheduled = schedule(&[(1, DEMAND, 4), (2, SUPPLY, 6), (2, DEMAND, -2)]);
    let formula = formula("0.5 * x.supply - 1.5 * x.demand");
    let found = promises(&formula, &on_hand(100, 10), &scheduled, period).unwrap();
    let shown = |own: Promise| {
        [own.on_hand, own.supply, own.demand, own.projected, own.available].map(|it| it.to_string()).join(" ")
    };
    let found: Vec<String> = found.into_iter().map(|(_, own)| shown(own)).collect();
    assert_eq!(found, ["35 0 6 29 29", "35 3 -3 35 35"]);
}

/// A formula over what would be more than is kept of a measure might overflow.
#[test]
fn a_projection_that_is_too_large_is_an_error() {
    let most = 10_i64.pow(18);
    let period = Period::new(february(1), 3).unwrap();
    let found = |units| {
        let scheduled = schedule(&[(2, SUPPLY, units)]);
        promises(&formula("x.supply"), &on_hand(most - 1, 0), &scheduled, period)
    };
    assert_eq!(found(1).unwrap()[2].1.projected, Quantity::units(most));
    assert_eq!(found(2), Err(Unsummable::TooLarge(SUPPLY)));
}
