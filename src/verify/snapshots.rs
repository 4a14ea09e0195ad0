//! Snapshots beside the replay: each must be what the replay has come to at its event.

use std::collections::VecDeque;

use sqlx::PgConnection;

use crate::domain::configuration::Configuration;
use crate::domain::snapshot;
use crate::domain::state::Stock;
use crate::store::StoreError;
use crate::store::ledger::Recorded;
use crate::store::snapshots::{Snapshot, page};

use super::{Replay, compare_stock};

/// Snapshots that are read at once: one of a large product takes some MB.
const PAGE_SNAPSHOTS: i64 = 20;

/// The snapshots of a stretch of the ledger, in its order.
pub(super) struct Snapshots {
    environment: String,
    after: i64,
    until: i64,
    read: VecDeque<Snapshot>,
    is_all: bool,
}

impl Snapshots {
    pub(super) fn of(environment: &str, (after, until): (i64, i64)) -> Snapshots {
        Snapshots { environment: environment.to_owned(), after, until, read: VecDeque::new(), is_all: false }
    }

    /// The next one, unless it is of a later event.
    pub(super) async fn next(
        &mut self,
        connection: &mut PgConnection,
        event_id: i64,
    ) -> Result<Option<Snapshot>, StoreError> {
        if self.read.is_empty() && !self.is_all {
            let range = (self.after, self.until);
            self.read = page(connection, &self.environment, range, PAGE_SNAPSHOTS).await?.into();
            self.is_all = self.read.len() < PAGE_SNAPSHOTS as usize;
            self.after = self.read.back().map_or(self.after, |last| last.event_id);
        }
        let is_next = self.read.front().is_some_and(|next| next.event_id <= event_id);
        Ok(if is_next { self.read.pop_front() } else { None })
    }
}

impl Replay<'_> {
    /// Holds a snapshot against what the replay has come to.
    pub(super) fn snapshot(
        &mut self,
        recorded: &Recorded,
        snapshot: &Snapshot,
        configuration: &Configuration,
    ) {
        let Snapshot { key, event_id, text } = snapshot;
        let is_its = recorded.event.as_ref().is_ok_and(|event| event.command.product == *key);
        if recorded.event_id != *event_id || !is_its {
            return self.no_event(snapshot);
        }
        let nothing = Stock::default();
        let replayed = self.products.get(key).unwrap_or(&nothing);
        if snapshot::write(replayed) == *text {
            return;
        }
        let place = self.place_of(snapshot);
        let stored = match snapshot::read(text) {
            Ok(stored) => stored,
            Err(why) => return self.differences.push(format!("{place} is not readable: {why}")),
        };
        let known = self.differences.len();
        // As far as a snapshot has it.
        let replayed = snapshot::read(&snapshot::write(replayed)).unwrap_or_default();
        compare_stock(&place, &replayed, &stored, configuration, self.differences);
        if self.differences.len() == known {
            self.differences.push(format!("{place} is not written as the service writes it"));
        }
    }

    /// A snapshot of an event that is not there, or of another product.
    pub(super) fn no_event(&mut self, snapshot: &Snapshot) {
        let place = self.place_of(snapshot);
        self.differences.push(format!("{place} is of no event of the product"));
    }

    fn place_of(&self, Snapshot { key, event_id, .. }: &Snapshot) -> String {
        let (organization, product) = (&key.organization, &key.product);
        format!(
            "environment {}: the snapshot of {organization}/{product} at event {event_id}",
            self.environment
        )
    }
}
