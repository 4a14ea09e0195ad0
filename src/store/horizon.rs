//! The settled horizon: up to which event id nothing more can appear in the ledger.
//!
//! Ids come from a sequence, and transactions commit in an order of their own: when 7 is there, 6
//! may still come. Whoever reads the ledger on from where they were must not step over it. So:
//!
//! 1. Read the last id that the sequence gave, L.
//! 2. Then read who holds the lock on the ledger that every writer takes before it takes an id and
//!    keeps until its rows can be seen: whoever has an id up to L and is not done is among them.
//! 3. When all of those have ended, whatever L and the ids below it were taken for is there, or
//!    never will be.
//!
//! The order of 1 and 2 is what makes it true. Writers know nothing of it and pay nothing, and who
//! does not write to the ledger holds nothing up, however long their transaction is open.
//!
//! Where one of them hangs, what was settled before still is: whatever this reader found, and whatever
//! any instance that follows the ledger took, which outlives them all (`store/follow.rs`).

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::{StoreError, follow};

/// Between two looks at who still writes. A batch takes a few milliseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How far the ledger was found to be settled, for one who asks again and again.
#[derive(Debug, Default)]
pub struct Horizon {
    reached: AtomicI64,
}

impl Horizon {
    /// Answers an event id: all events up to it that will ever be are committed, and seen by
    /// every statement that begins after this. (So not by a transaction that keeps to one
    /// snapshot, unless it takes it later.) It waits for those who are writing, a few
    /// milliseconds as a rule; where one of them takes longer than `within`, it is what was
    /// reached the time before, or what anybody took who follows the ledger.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read(&self, connection: &mut PgConnection, within: Duration) -> Result<i64, StoreError> {
        let last = last_id(connection).await?;
        let before = self.reached.load(Ordering::Relaxed);
        if last == before {
            return Ok(last);
        }
        if !is_settled(connection, within).await? {
            let taken = follow::furthest(connection).await?;
            // A server that took over may have given fewer ids than the one before.
            return Ok(before.max(taken).min(last));
        }
        make_sure(connection).await?;
        self.reached.store(last, Ordering::Relaxed);
        Ok(last)
    }
}

/// The last id that was given to an event, whether that is committed or not.
///
/// # Errors
/// When the database does not answer.
pub async fn last_id(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let sequence =
        sqlx::query!("SELECT last_value, is_called FROM ledger_event_id_seq").fetch_one(connection).await?;
    Ok(if sequence.is_called { sequence.last_value } else { 0 })
}

/// Waits until all transactions have ended that write to the ledger now: then whatever has a lower id
/// than an event that could be seen before is there, or never will be. Answers whether they did in time.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn is_settled(connection: &mut PgConnection, within: Duration) -> Result<bool, StoreError> {
    let begun = Instant::now();
    let mut open = writers(connection).await?;
    while !open.is_empty() {
        if begun.elapsed() >= within {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        let now = writers(connection).await?;
        open.retain(|transaction| now.contains(transaction));
    }
    Ok(true)
}

/// The transactions that have the lock of who inserts into the ledger. A transaction gives its
/// locks back after its rows can be seen.
async fn writers(connection: &mut PgConnection) -> Result<HashSet<String>, StoreError> {
    let transactions = sqlx::query_scalar!(
        r#"SELECT virtualtransaction AS "transaction!" FROM pg_locks
           WHERE locktype = 'relation' AND relation = 'ledger'::regclass AND mode = 'RowExclusiveLock' AND granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"#
    )
    .fetch_all(connection)
    .await?;
    Ok(transactions.into_iter().collect())
}

/// Where a standby is to have every commit, waits until it has what can be seen here: a commit
/// whose wait for the standby was cut off can be seen, and would be gone after a failover.
async fn make_sure(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query_scalar!(
        "SELECT CASE WHEN current_setting('synchronous_standby_names') <> ''
                     THEN pg_logical_emit_message(true, 'ringfence', '')::text END"
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
