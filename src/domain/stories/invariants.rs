//! What `check_invariants`, which every story and property relies on, notices.

use super::tell;
use crate::domain::configuration::ALLOCATED;
use crate::domain::dimensions::DimensionPath;
use crate::domain::formula::Slot;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::state::{Balance, Measures, Node, Reservation, Stock};

const ONE: Quantity = Quantity::units(1);

fn node<'a>(stock: &'a mut Stock, path: &str) -> &'a mut Node {
    let path = path.split('/').map(|value| Value::parse(value).unwrap()).collect();
    stock.nodes.get_mut(&DimensionPath::new(path)).unwrap()
}

fn add_one(measures: &mut Measures, slot: Slot) {
    let mut quantities = measures.as_slice().to_vec();
    quantities[slot.0] += ONE;
    *measures = Measures::new(quantities);
}

fn only_reservation(stock: &mut Stock) -> &mut Reservation {
    stock.reservations.values_mut().next().unwrap()
}

#[test]
fn what_does_not_add_up_is_noticed() {
    let check = |break_it: fn(&mut Stock), expected: &str| {
        let mut world = tell(
            "iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
             post iv.onhand+9 at 1/11/red
             allocate 5 at 1/11/red to Web
             reserve 2 at 1/11/red on iv.softreserved as order
             post iv.onhand+1 at 1",
        );
        break_it(&mut world.stock);
        let noticed = world.stock.check_invariants(&world.configuration).err().unwrap_or_default();
        assert!(noticed.contains(expected) && noticed.is_empty() == expected.is_empty(), "{noticed}");
    };
    check(|_| (), "");
    let red = "siteId=1, locationId=11, colorId=red";
    check(
        |stock| node(stock, "1/11/red").balances.values_mut().next().unwrap().allocated = ONE,
        &format!("at {red} is inconsistent"),
    );
    check(
        |stock| node(stock, "1/11/red").balances.clear(),
        &format!("own @iv.@allocated at {red} is 5, but the balances there hold 0"),
    );
    check(
        |stock| add_one(&mut node(stock, "1/11").total, ALLOCATED),
        "total of @iv.@allocated at siteId=1, locationId=11 is 6, but own 0 and below 5",
    );
    check(
        |stock| add_one(&mut node(stock, "1").total, Slot(7)),
        "total of iv.onhand at siteId=1 is 2, but own 1 and below 0",
    );
    check(|stock| only_reservation(stock).remaining = -ONE, "reservation");
    check(|stock| only_reservation(stock).remaining = Quantity::units(3), "reservation");
    check(|stock| only_reservation(stock).path = DimensionPath::default(), "reservation");
}

#[test]
fn a_balance_is_consistent_within_its_cumulatives() {
    let check = |quantities: [i64; 4], expected: bool| {
        let [allocated, consumed, cumulative_allocated, cumulative_consumed] =
            quantities.map(Quantity::units);
        let balance = Balance { allocated, consumed, cumulative_allocated, cumulative_consumed };
        assert_eq!(balance.is_consistent(), expected, "{balance:?}");
    };
    check([0, 0, 0, 0], true);
    check([5, 3, 8, 3], true);
    check([5, 0, 8, 3], true);
    check([4, 3, 8, 3], false);
    check([-1, 3, 8, 9], false);
    check([5, 4, 8, 3], false);
    check([5, -1, 8, 3], false);
}

#[test]
fn a_measure_that_was_never_moved_is_zero() {
    let of = |quantities: &[i64]| Measures::new(quantities.iter().map(|&n| Quantity::units(n)).collect());
    assert_eq!(of(&[1]), of(&[1, 0, 0]));
    assert_eq!(of(&[]), of(&[0]));
    assert_ne!(of(&[1]), of(&[1, 0, 2]));
    assert_ne!(of(&[1, 2]), of(&[1]));
    assert_eq!(of(&[1]).get(Slot(1)), Quantity::ZERO);
}
