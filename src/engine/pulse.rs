//! How a writer gets on, for those who would wait for it and those who ask.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Written by the writer once a batch, read by every request: a few numbers, and no lock.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    batch_time_max: Duration,
    trouble_time_max: Duration,
    /// When the batch in the works was begun, or 0.
    begun: AtomicU64,
    /// When the database last would not have a batch, or 0 when it had one since.
    failed: AtomicU64,
    /// Since when the oldest command of the batch in the works has waited, or 0. None that waits behind it
    /// came before.
    oldest: AtomicU64,
    /// Commands that were queued and are in no batch yet.
    waiting: AtomicUsize,
}

impl Pulse {
    pub(super) fn new(batch_time_max: Duration, trouble_time_max: Duration) -> Pulse {
        let (begun, failed, oldest, waiting) = Default::default();
        let start = Instant::now();
        Pulse { start, batch_time_max, trouble_time_max, begun, failed, oldest, waiting }
    }

    /// Microseconds since the start, and never 0.
    fn at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.start);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn is_older(&self, moment: &AtomicU64, than: Duration) -> Option<bool> {
        let moment = moment.load(Ordering::Relaxed);
        (moment > 0).then(|| u128::from(self.now().saturating_sub(moment)) > than.as_micros())
    }

    /// A batch is begun whose oldest command has waited since then.
    pub(super) fn begin(&self, oldest: Instant) {
        self.begun.store(self.now(), Ordering::Relaxed);
        self.oldest.store(self.at(oldest), Ordering::Relaxed);
    }

    pub(super) fn rest(&self) {
        self.begun.store(0, Ordering::Relaxed);
        self.oldest.store(0, Ordering::Relaxed);
    }

    /// So many commands are about to be queued.
    pub(super) fn come(&self, commands: usize) {
        self.waiting.fetch_add(commands, Ordering::Relaxed);
    }

    /// So many commands wait no longer.
    pub(super) fn go(&self, commands: usize) {
        self.waiting.fetch_sub(commands, Ordering::Relaxed);
    }

    /// How many commands wait, and for how long the oldest has that is not done.
    pub(super) fn waiting(&self) -> (usize, Duration) {
        let age = match self.oldest.load(Ordering::Relaxed) {
            0 => 0,
            since => self.now().saturating_sub(since),
        };
        (self.waiting.load(Ordering::Relaxed), Duration::from_micros(age))
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
