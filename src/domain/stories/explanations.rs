//! Why commands are decided as they are, in the words of a planner.

use super::super::explanation::{Explanation, Term, explain};
use super::*;

/// An explanation in a line for each thing that it says, without its rule.
fn lines(explanation: &Explanation) -> Vec<String> {
    let terms = |terms: &[Term]| {
        let shown = |term: &Term| {
            let Term { measure, coefficient, value, amount } = term;
            format!("{coefficient} * {measure} {value} is {amount}")
        };
        terms.iter().map(shown).collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![format!("formula {}", explanation.formula)];
    for node in &explanation.chain {
        lines.push(format!("{}: {}: {}", node.dimensions, node.available, terms(&node.terms)));
    }
    lines.push(format!("{} at {}", explanation.available, explanation.limited_by));
    if let Some(balance) = &explanation.balance {
        lines.push(format!("{} holds {}/{}", balance.groups, balance.allocated, balance.consumed));
    }
    if let Some(neutrality) = &explanation.neutrality {
        lines.push(format!("pool {}: {}", neutrality.change, terms(&neutrality.terms)));
    }
    if let Some(reservation) = &explanation.reservation {
        let shown = |quantity: Option<Quantity>| quantity.map_or("-".to_owned(), |known| known.to_string());
        let (quantity, remaining) = (shown(reservation.quantity), shown(reservation.remaining));
        lines.push(format!("reserved {quantity}, remaining {remaining}, held {}", reservation.held));
    }
    lines
}

/// After a story, the last line of which is not done but explained.
fn check(story: &str, line: &str, expected: &[&str]) {
    let world = tell(story);
    let words: Vec<&str> = line.split_whitespace().collect();
    let command = command(&world.configuration, &world.reservations, "asked", &words).unwrap();
    let explanation = explain(&world.stock, &world.configuration, &command);
    assert_eq!(lines(&explanation), expected, "{line}");
    let kept = serde_json::to_string(&explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&kept).unwrap(), explanation, "as it is kept");
}

#[test]
fn an_allocation_shows_the_formula_at_every_node_of_its_chain_and_the_one_that_limits() {
    check(
        "pool = fno.onordered + 0.5 * iv.onhand - @iv.@allocated
         post iv.onhand+6 at 1/11/red/S
         post iv.onhand+4,fno.onordered+1 at 1/11/red/L
         allocate 4 at 1/11/red to Web",
        "allocate 3 at 1/11/red/L to Web",
        &[
            "formula fno.onordered + 0.5 * iv.onhand - @iv.@allocated",
            "siteId=1, locationId=11: 2: 1 * fno.onordered 1 is 1, 0.5 * iv.onhand 10 is 5, -1 * @iv.@allocated 4 is -4",
            "siteId=1, locationId=11, colorId=red: 2: 1 * fno.onordered 1 is 1, 0.5 * iv.onhand 10 is 5, -1 * @iv.@allocated 4 is -4",
            "siteId=1, locationId=11, colorId=red, sizeId=L: 3: 1 * fno.onordered 1 is 1, 0.5 * iv.onhand 4 is 2, -1 * @iv.@allocated 0 is 0",
            "2 at siteId=1, locationId=11, colorId=red",
        ],
    );
}

#[test]
fn where_nothing_ever_was_the_terms_are_nothing() {
    check(
        "",
        "allocate 1 at 1/11 to Web",
        &[
            "formula iv.onhand - @iv.@allocated",
            "siteId=1, locationId=11: 0: 1 * iv.onhand 0 is 0, -1 * @iv.@allocated 0 is 0",
            "0 at siteId=1, locationId=11",
        ],
    );
}

#[test]
fn a_consume_shows_the_balance_and_what_it_does_to_the_pool() {
    let story = "pool = pos.inbound - @iv.@allocated
                 post pos.inbound+10 at 1/11
                 allocate 8 at 1/11 to Web/VIP
                 consume 1 at 1/11 by Web/VIP with pos.inbound-";
    let chain = [
        "formula pos.inbound - @iv.@allocated",
        "siteId=1, locationId=11: 2: 1 * pos.inbound 9 is 9, -1 * @iv.@allocated 7 is -7",
        "2 at siteId=1, locationId=11",
        "channel=Web, customerGroup=VIP holds 7/1",
    ];
    let with = |pool: &'static str| [&chain[..], &[pool]].concat();
    check(
        story,
        "consume 3 at 1/11 by Web/VIP with pos.inbound-",
        &with(
            "pool 0: -1 * @iv.@allocated -3 is 3, 0 * @iv.@consumed 3 is 0, 0 * @iv.@cumulative_consumed 3 is 0, 1 * pos.inbound -3 is -3",
        ),
    );
    check(
        story,
        "consume 3 at 1/11 by Web/VIP",
        &with(
            "pool 3: -1 * @iv.@allocated -3 is 3, 0 * @iv.@consumed 3 is 0, 0 * @iv.@cumulative_consumed 3 is 0",
        ),
    );
}

#[test]
fn what_is_moved_or_given_back_shows_the_balance_that_it_is_taken_from() {
    let story = "post iv.onhand+10 at 1/11
                 allocate 8 at 1/11 to Web
                 allocate 1 at 1/11 to Store";
    let chain = [
        "formula iv.onhand - @iv.@allocated",
        "siteId=1, locationId=11: 1: 1 * iv.onhand 10 is 10, -1 * @iv.@allocated 9 is -9",
        "1 at siteId=1, locationId=11",
    ];
    let with = |balance: &'static str| [&chain[..], &[balance]].concat();
    check(story, "reallocate 9 at 1/11 from Web to Store", &with("channel=Web holds 8/0"));
    check(story, "unallocate 2 at 1/11 from Store", &with("channel=Store holds 1/0"));
}

#[test]
fn a_reservation_shows_its_own_formula_and_an_unreserve_what_remained() {
    let story = "pool = iv.onhand - iv.softreserved - @iv.@allocated
                 iv.softreserved = 0.5 * iv.onhand - iv.softreserved - @iv.@allocated
                 post iv.onhand+20 at 1/11
                 reserve 4 at 1/11 on iv.softreserved as order
                 unreserve 1 at 1/11 of order";
    check(
        story,
        "reserve 9 at 1/11 on iv.softreserved",
        &[
            "formula 0.5 * iv.onhand - @iv.@allocated - iv.softreserved",
            "siteId=1, locationId=11: 7: 0.5 * iv.onhand 20 is 10, -1 * iv.softreserved 3 is -3, -1 * @iv.@allocated 0 is 0",
            "7 at siteId=1, locationId=11",
        ],
    );
    check(
        story,
        "unreserve 9 at 1/11 of order",
        &[
            "formula iv.onhand - @iv.@allocated - iv.softreserved",
            "siteId=1, locationId=11: 17: 1 * iv.onhand 20 is 20, -1 * iv.softreserved 3 is -3, -1 * @iv.@allocated 0 is 0",
            "17 at siteId=1, locationId=11",
            "reserved 4, remaining 3, held 3",
        ],
    );
}
