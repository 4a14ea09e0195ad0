//! How things stood: a point of the ledger, and the stock of a product at it.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use sqlx::PgConnection;

use crate::domain::command::{Operation, ProductKey, Timestamp};
use crate::domain::configuration::Configuration;
use crate::domain::quantity::Quantity;
use crate::domain::snapshot;
use crate::domain::state::{Reservation, ReservationId, Stock};

use super::ledger::{self, Recorded};
use super::replay::Rules;
use super::{StoreError, snapshots, state, text};

/// Events that are read at once.
pub(super) const PAGE_EVENTS: u64 = 1_000;

/// A point of the ledger, as a client names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Right after the event of this id, or the last one before it.
    Event(i64),
    /// Right after the environment's last event that was received up to this time.
    Time(Timestamp),
}

/// The id of an environment's last event up to a time; 0 where there is none.
///
/// An event that is not committed yet may have a lower id: whether the ledger is settled up to
/// there is the horizon's matter.
///
/// # Errors
/// When the database does not answer.
pub async fn last_until(
    connection: &mut PgConnection,
    environment: &str,
    time: Timestamp,
) -> Result<i64, StoreError> {
    let time = text::time(time);
    let cut = sqlx::query!(
        "SELECT (SELECT last_event_id FROM ledger_piece ORDER BY first_event_id DESC LIMIT 1) AS last,
                (SELECT last_event_id FROM ledger_piece WHERE earliest <= $1 ORDER BY first_event_id DESC LIMIT 1) AS until",
        time,
    )
    .fetch_one(&mut *connection)
    .await?;
    // Behind the pieces, or from the end of the last piece on that has such a time.
    for (after, until) in [(cut.last.unwrap_or(0), i64::MAX), (0, cut.until.unwrap_or(0))] {
        // Put like this, the time is a condition that PostgreSQL takes to be met by most: it walks back to
        // the first, and does not sort them.
        let last = sqlx::query_scalar!(
            "SELECT event_id FROM ledger
             WHERE environment_id = $1 AND event_id > $2 AND event_id <= $3
               AND (received_at > $4) IS NOT TRUE
             ORDER BY event_id DESC LIMIT 1",
            environment,
            after,
            until,
            time,
        )
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(last) = last {
            return Ok(last);
        }
    }
    Ok(0)
}

/// A product on its way through the ledger.
pub struct Product<'a> {
    key: &'a ProductKey,
    /// A configuration that knows the measures of all its events.
    configuration: &'a Configuration,
    /// How it stood right after the last event that was replayed.
    pub stock: Stock,
    /// That event; 0 before the first.
    pub event_id: i64,
}

impl<'a> Product<'a> {
    /// The product as it was at its last snapshot up to an event, or before its first event.
    ///
    /// # Errors
    /// When the database does not answer, or the snapshot is not readable.
    pub async fn before(
        connection: &mut PgConnection,
        key: &'a ProductKey,
        configuration: &'a Configuration,
        until: i64,
    ) -> Result<Product<'a>, StoreError> {
        let (event_id, stock) = match snapshots::nearest(connection, key, until).await? {
            None => (0, Stock::default()),
            Some((event_id, text)) => {
                let unreadable =
                    |why| StoreError::Rejected(format!("the snapshot of {key:?} at event {event_id}: {why}"));
                (event_id, snapshot::read(&text).map_err(unreadable)?)
            }
        };
        Ok(Product { key, configuration, stock, event_id })
    }

    /// Replays its next events up to one, `most` of them. Answers how many there were.
    ///
    /// # Errors
    /// When the database does not answer, or the ledger does not come to what it says.
    pub async fn replay_page(
        &mut self,
        connection: &mut PgConnection,
        rules: &mut Rules,
        until: i64,
        most: u64,
    ) -> Result<u64, StoreError> {
        let range = (self.event_id, until);
        let page = ledger::page_of(connection, self.key, range, most as i64, self.configuration).await?;
        self.add_freed(connection, &page).await?;
        for recorded in &page {
            let wrong = rules.replay(connection, recorded, &mut self.stock).await?;
            if let Some(wrong) = wrong.first() {
                let what = format!("event {} {wrong}; ringfence verify tells of all", recorded.event_id);
                return Err(StoreError::Rejected(what));
            }
            self.event_id = recorded.event_id;
        }
        Ok(page.len() as u64)
    }

    /// Adds the reservations that events name and a snapshot has not: those that were freed before
    /// it. One that is made on this page is put in its place when it is.
    async fn add_freed(
        &mut self,
        connection: &mut PgConnection,
        page: &[Recorded],
    ) -> Result<(), StoreError> {
        let events = page.iter().filter_map(|recorded| recorded.event.as_ref().ok());
        let named: BTreeSet<ReservationId> = events
            .filter_map(|event| match event.command.operation {
                Operation::Unreserve { reservation, .. } => Some(reservation),
                _ => None,
            })
            .filter(|id| !self.stock.reservations.contains_key(id))
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        let wanted: Vec<_> = named.iter().map(|&id| (self.key.clone(), id)).collect();
        let rules = HashMap::from([(&self.key.environment, self.configuration)]);
        let found = state::reservations(connection, &wanted, &rules).await?;
        for (id, found) in named.into_iter().zip(found) {
            let freed = found.map(|found| Reservation { remaining: Quantity::ZERO, ..found });
            self.stock.reservations.extend(freed.map(|freed| (id, freed)));
        }
        Ok(())
    }
}

/// A product right after the last of its events up to one.
///
/// # Errors
/// As [`Product::before`] and [`Product::replay_page`].
pub async fn stock(
    connection: &mut PgConnection,
    rules: &mut Rules,
    key: &ProductKey,
    configuration: &Configuration,
    until: i64,
) -> Result<Stock, StoreError> {
    let mut product = Product::before(connection, key, configuration, until).await?;
    while product.replay_page(connection, rules, until, PAGE_EVENTS).await? == PAGE_EVENTS {}
    Ok(product.stock)
}
