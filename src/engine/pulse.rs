//! How a writer gets on, for those who would wait for it and those who ask.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Written by the writer once a batch, read by every request: two numbers, and no lock.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    batch_time_max: Duration,
    trouble_time_max: Duration,
    /// When the batch in the works was begun, or 0.
    begun: AtomicU64,
    /// When the database last would not have a batch, or 0 when it had one since.
    failed: AtomicU64,
}

impl Pulse {
    pub(super) fn new(batch_time_max: Duration, trouble_time_max: Duration) -> Pulse {
        let (begun, failed) = Default::default();
        Pulse { start: Instant::now(), batch_time_max, trouble_time_max, begun, failed }
    }

    /// Microseconds since the start, and never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn is_older(&self, moment: &AtomicU64, than: Duration) -> Option<bool> {
        let moment = moment.load(Ordering::Relaxed);
        (moment > 0).then(|| u128::from(self.now().saturating_sub(moment)) > than.as_micros())
    }

    pub(super) fn begin(&self) {
        self.begun.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn rest(&self) {
        self.begun.store(0, Ordering::Relaxed);
    }

    pub(super) fn succeed(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    pub(super) fn fail(&self) {
        self.failed.store(self.now(), Ordering::Relaxed);
    }

    /// Whether the batch in the works takes too long for others to be let in behind it.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_older(&self.begun, self.batch_time_max) == Some(true)
    }

    /// Whether a command would most likely be done. A failure is forgotten after a while: who
    /// is sent no commands because of it could not know that the trouble is over.
    pub(super) fn is_well(&self) -> bool {
        !self.is_stuck() && self.is_older(&self.failed, self.trouble_time_max) != Some(false)
    }
}
