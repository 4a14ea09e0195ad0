//! Strict serializability per product: all that was answered is explained by one order, that of
//! the versions, and that order agrees with the clocks.

use std::time::Instant;

use super::crowd::{Pair, crowd};
use super::history::{Figures, Rules, audit};
use super::mix::bicycles;
use super::scale;
use crate::instances::stop_and_verify;
use crate::support::url;

/// Commands of which a product has its share; few enough for the naive model, which is slow.
const OF_A_PRODUCT: u64 = 250;
const PRODUCTS_AT_ONCE: u64 = 4;
const WAVE: u64 = OF_A_PRODUCT * PRODUCTS_AT_ONCE * 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_are_those_of_one_command_after_the_other() {
    let commands = scale(5_000, 1_000_000);
    let began = Instant::now();
    let pair = Pair::start().await;
    let rules = move || vec![Rules { config: bicycles(), sent: began, answered: began }];
    let mut all = Figures::default();
    let mut auditing: Option<tokio::task::JoinHandle<Figures>> = None;
    let mut from = 0;
    loop {
        let to = commands.min(from + WAVE);
        let entries = crowd(&pair.clients, from..to, |number, dice| {
            let first = number / (OF_A_PRODUCT * PRODUCTS_AT_ONCE) * PRODUCTS_AT_ONCE;
            format!("P{}", first + dice.roll(PRODUCTS_AT_ONCE))
        })
        .await;
        if let Some(before) = auditing.take() {
            all = all + before.await.unwrap();
        }
        if from == to {
            break;
        }
        // While the next ones are sent.
        auditing = Some(tokio::task::spawn_blocking(move || audit(&rules(), |_| 0, entries)));
        from = to;
    }
    println!("one order: {commands} commands, {all}, {:?}", began.elapsed());
    assert!(all.granted > commands as usize / 3 && all.refused > commands as usize / 10, "{all}");
    stop_and_verify(pair.programs, &url(&pair.database), all.granted).await;
}
