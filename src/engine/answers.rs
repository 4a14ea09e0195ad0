//! Answering what was committed, while the database works on what comes next.

use std::sync::Arc;

use lru::LruCache;

use crate::store::ledger::Event;

use super::batch::{EventName, name_of};
use super::{Receipt, Submission};

/// The latest events, so that a repeat is answered without asking the database.
pub(super) type Recent = LruCache<EventName, Arc<Event>>;

/// Submissions that are committed and not answered yet.
pub(super) type Granted = Vec<(Submission, Vec<Receipt>)>;

/// Has an exchange with the database, and answers what was granted before while it works.
pub(super) async fn meanwhile<T>(
    exchange: impl Future<Output = T>,
    granted: &mut Granted,
    recent: &mut Recent,
) -> T {
    // In this order: the first poll of the exchange sends what is to be sent.
    let (answer, ()) = tokio::join!(biased; exchange, async { answer_granted(granted, recent) });
    answer
}

/// Remembers what was granted, and answers it.
pub(super) fn answer_granted(granted: &mut Granted, recent: &mut Recent) {
    for (submission, receipts) in granted.drain(..) {
        for Receipt { event, replayed } in &receipts {
            if !replayed {
                recent.put(name_of(&event.command), Arc::clone(event));
            }
        }
        // Whoever does not wait any more is not answered.
        let _ = submission.reply.send(Ok(receipts));
    }
}
