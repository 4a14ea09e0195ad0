//! Commands of every kind that meet one another: few places, few groups, stock for about half.

use serde_json::{Value, json};

use super::wire::Made;
use crate::naive::{Config, ONE, Request};
use crate::requests::changed;
use crate::support;

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll(1);
        dice
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len() as u64) as usize].clone()
    }
}

pub(crate) fn texts(slashed: &str) -> Vec<String> {
    slashed.split('/').map(str::to_owned).collect()
}

/// What the bicycles' configuration is to the naive model.
pub(crate) fn bicycles() -> Config {
    let term = |measure: &str, whole: i128| (measure.to_owned(), whole * ONE);
    let formula = vec![
        term("fno.onordered", 1),
        term("pos.inbound", 1),
        term("@iv.@softreserved", -1),
        term("@iv.@allocated", -1),
    ];
    Config {
        dimensions: crate::core::DIMENSIONS.map(str::to_owned).to_vec(),
        required: 2,
        reservations: vec![("@iv.@softreserved".to_owned(), formula.clone())],
        ata: formula,
        read_only: vec!["fno".to_owned()],
        allow_pool_changing_consumption: false,
    }
}

/// How that is written, with days to schedule for.
pub(crate) fn document() -> Value {
    changed(support::bicycles(), json!({"schedule": {"periodDays": 30}}))
}

/// What is reserved.
const RESERVED: &str = "@iv.@softreserved";

/// A command that HTTP has; `made` is a reservation that it may free.
pub(crate) fn any_request(dice: &mut Dice, made: Option<&Made>) -> Request {
    let root = ["1/11", "1/11", "1/11", "2/21"];
    let path = texts(&(dice.pick(&root).to_owned() + dice.pick(&["", "/red", "/red", "/red/S", "/red/L"])));
    let groups = texts(dice.pick(&["Online", "Online/VIP", "Store"]));
    let quantity = (1 + i128::from(dice.roll(4))) * ONE / dice.pick(&[1, 1, 1, 4]);
    let measure = RESERVED.to_owned();
    match dice.roll(27) {
        0..6 => Request::Allocate { path, groups, quantity },
        6 => Request::Unallocate { path, groups, quantity },
        7..9 => {
            Request::Reallocate { path, source: texts(dice.pick(&["Online", "Store/B2B"])), groups, quantity }
        }
        9..14 => {
            let mut modifiers = vec![("pos.inbound".to_owned(), false)];
            match dice.roll(8) {
                0 | 1 => modifiers = vec![(measure, true)],
                2 => modifiers.clear(),
                _ => {}
            }
            Request::Consume { path, groups, quantity, modifiers }
        }
        14..17 => on_hand(path, "pos.inbound", i128::from(dice.roll(9)) - 1),
        17 => on_hand(path, "fno.onordered", i128::from(dice.roll(4)) - 1),
        18 => Request::OnHand { path, deltas: Vec::new(), settle: Some((groups, quantity)) },
        19..22 => Request::Reserve { path, measure, quantity, checked: dice.roll(8) > 0 },
        22 => Request::GiveBack { path, measure, quantity },
        23 => {
            let (day, whole) = (1 + dice.roll(3) as i64, i128::from(dice.roll(9)) - 2);
            Request::Schedule { path, changes: vec![(day, "pos.inbound".to_owned(), whole * ONE)] }
        }
        24..26 => match made {
            Some(made) => Request::Unreserve { reservation: made.event.clone(), quantity },
            None => Request::Reserve { path, measure, quantity, checked: true },
        },
        _ => {
            let values = vec![("pos.inbound".to_owned(), i128::from(dice.roll(12)) * ONE)];
            Request::SetOnHand { path, values, at: dice.roll(1000) as i64 }
        }
    }
}

fn on_hand(path: Vec<String>, measure: &str, whole: i128) -> Request {
    Request::OnHand { path, deltas: vec![(measure.to_owned(), whole * ONE)], settle: None }
}
