use time::macros::date;

use super::*;
use crate::domain::configuration::{ALLOCATED, SOFT_RESERVED};

fn values(path: &str) -> Vec<Value> {
    path.split('/').map(|value| Value::parse(value).unwrap()).collect()
}

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap()
}

/// A product with something of everything, put together in any order.
fn product(is_reversed: bool) -> Stock {
    let mut stock = Stock::default();
    let mut places = ["1/11", "1/11/red", "2/ü \"x\""].to_vec();
    let mut times = vec![(Slot(5), Timestamp(7)), (Slot(2), Timestamp(-1))];
    if is_reversed {
        places.reverse();
        times.reverse();
    }
    for place in places {
        let groups = ["Web", "App"].map(|group| GroupPath::stored(values(group)));
        let balance = Balance { allocated: quantity("1.25"), ..Balance::default() };
        let node = Node {
            version: place.len() as u64,
            own: Measures::new(vec![quantity("-0.000001"), Quantity::ZERO]),
            total: Measures::new(vec![quantity("1000000000000000"), quantity("2.5")]),
            set_at: times.clone(),
            balances: groups.map(|groups| (groups, balance)).into(),
        };
        stock.nodes.insert(DimensionPath::new(values(place)), node);
        let mut schedule = Schedule::default();
        assert!(schedule.add(date!(2026 - 11 - 23), ALLOCATED, quantity("-3")));
        stock.schedules.insert(DimensionPath::new(values(place)), schedule);
    }
    stock.schedules.insert(DimensionPath::new(values("9")), Schedule::default());
    for (id, remaining) in [(1, "0"), (2, "1.5"), (3, "2")] {
        let path = DimensionPath::new(values("1/11"));
        let (quantity, remaining) = (quantity("2"), quantity(remaining));
        let reservation = Reservation { path, measure: SOFT_RESERVED, quantity, remaining };
        stock.reservations.insert(ReservationId(uuid::Uuid::from_u128(id)), reservation);
    }
    stock
}

#[test]
fn a_product_is_read_as_it_was_written_but_for_what_holds_nothing() {
    let mut written = product(false);
    let mut read = read(&write(&written)).unwrap();
    for stock in [&mut written, &mut read] {
        stock.nodes.values_mut().for_each(|node| node.set_at.sort_unstable());
    }
    assert_eq!(read.reservations.len(), 2);
    written.reservations.retain(|_, reservation| !reservation.remaining.is_zero());
    written.schedules.retain(|_, schedule| !schedule.is_empty());
    assert_eq!(read, written);
    assert_eq!(entries(&written), 3 + 6 + 2 + 3);
}

#[test]
fn equal_products_are_equal_texts() {
    assert_eq!(write(&product(false)), write(&product(true)));
    let nothing = write(&Stock::default());
    assert_eq!(read(&nothing).unwrap(), Stock::default());
}

#[test]
fn what_is_no_product_is_said_to_be_none() {
    for text in ["", "{}", r#"{"nodes":[{"at":["1"],"version":1,"own":["x"],"total":[]}]}"#] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(read(r#"{"nodes":[],"schedules":[[["1"],[["2026-02-30",0,1]]]]}"#).is_err());
}

#[test]
fn the_next_is_due_after_as_many_events_as_there_are_entries() {
    assert_eq!([0, 499, 500, 7_000].map(|entries| due_at(entries, EVENTS_MIN)), [500, 500, 500, 7_000]);
}
