//! Where refusals belong in an order: they have no version that says so.

use std::ops::RangeInclusive;
use std::time::Instant;

use super::history::{Entry, Rules};
use crate::naive::World;

/// A refused command, after how many events and under which rules it may have been judged.
pub(super) struct Refused<'a> {
    pub(super) entry: &'a Entry,
    pub(super) events: RangeInclusive<usize>,
    pub(super) rules: RangeInclusive<usize>,
}

/// Refusals that have no place yet, by when they were sent.
pub(super) struct Unplaced<'a>(Vec<Refused<'a>>);

impl<'a> Unplaced<'a> {
    pub(super) fn new(mut all: Vec<Refused<'a>>) -> Unplaced<'a> {
        all.sort_by_key(|refused| refused.entry.sent);
        Unplaced(all)
    }

    /// Places those that this state explains. It is called state by state, so each refusal has the
    /// earliest place that explains it and is not before those of refusals that were answered before it was
    /// sent. If these places are too late for what was granted or the rules, all others are later still.
    pub(super) fn place(&mut self, world: &mut World, rules: &[Rules], (events, by): (usize, usize)) {
        world.config = rules[by].config.clone();
        // When the first of those that stay was answered: who was sent after that is to wait for it.
        let mut first_answer: Option<Instant> = None;
        self.0.retain(|Refused { entry, events: between, rules }| {
            let waits = first_answer.is_some_and(|answered| answered < entry.sent);
            let is_possible = !waits && between.contains(&events) && rules.contains(&by);
            if is_possible && world.refusal(&entry.request).as_ref() == entry.said.as_ref().err() {
                return false;
            }
            first_answer = Some(first_answer.map_or(entry.answered, |first| first.min(entry.answered)));
            true
        });
        let is_over = |refused: &&Refused<'_>| {
            let (last, last_by) = (*refused.events.end(), *refused.rules.end());
            last < events || last_by < by || (last, last_by) == (events, by)
        };
        if let Some(Refused { entry, events, rules }) = self.0.iter().find(is_over) {
            panic!(
                "refused as after no {events:?} events under no rules of {rules:?} that are not before those of \
                 what was refused before: {entry:#?}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::history::audit;
    use super::super::mix::{bicycles, texts};
    use super::*;
    use crate::naive::{No, ONE, Request};

    /// One bicycle arrives, sometime in all that time. One client is told that there is one, and another,
    /// who asks from `sent` on, that there is none.
    fn told_of_one_and_then_of_none(sent: u64) {
        let start = Instant::now();
        let at = |time: u64| start + Duration::from_secs(time);
        let rules = [Rules { config: bicycles(), sent: start, answered: start }];
        let path = texts("1/11");
        let arrival = Request::OnHand {
            path: path.clone(),
            deltas: vec![("pos.inbound".to_owned(), ONE)],
            settle: None,
        };
        let groups = texts("Online");
        let demand = Request::Allocate { path: path.clone(), groups, quantity: 2 * ONE };
        let entry = |id: &str, request: &Request, (sent, answered), said| Entry {
            id: id.to_owned(),
            product: "Bike".to_owned(),
            path: path.clone(),
            request: request.clone(),
            reservation: None,
            sent: at(sent),
            answered: at(answered),
            said,
        };
        let short = |available: i128| {
            let (requested, available) = (2 * ONE, available * ONE * ONE);
            Err(No::InsufficientAta { requested, available, limited_at: path.clone() })
        };
        let arrived = World::new(bicycles()).send("arrival", &arrival);
        let entries = vec![
            entry("arrival", &arrival, (0, 100), arrived),
            entry("one", &demand, (10, 20), short(1)),
            entry("none", &demand, (sent, sent + 10), short(0)),
        ];
        assert_eq!(audit(&rules, |_| 0, entries).refused, 2);
    }

    #[test]
    fn who_asks_meanwhile_may_be_told_of_an_earlier_state() {
        told_of_one_and_then_of_none(15);
    }

    #[test]
    #[should_panic(expected = "refused as after no 0..=1 events")]
    fn who_asks_afterwards_is_not_told_of_an_earlier_state() {
        told_of_one_and_then_of_none(30);
    }
}
