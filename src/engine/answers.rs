//! Answering what was committed, while the database works on what comes next.

use super::{Receipt, Submission};

/// Submissions that are committed and not answered yet.
pub(super) type Granted = Vec<(Submission, Vec<Receipt>)>;

/// Has an exchange with the database, and answers what was granted before while it works.
pub(super) async fn meanwhile<T>(exchange: impl Future<Output = T>, granted: &mut Granted) -> T {
    // In this order: the first poll of the exchange sends what is to be sent.
    let (answer, ()) = tokio::join!(biased; exchange, async { answer_granted(granted) });
    answer
}

/// Answers what was granted.
pub(super) fn answer_granted(granted: &mut Granted) {
    for (submission, receipts) in granted.drain(..) {
        // Whoever does not wait any more is not answered.
        let _ = submission.reply.send(Ok(receipts));
    }
}
