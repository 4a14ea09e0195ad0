//! The tail of the ledger, for all live streams of this process: read once behind the horizon, as
//! long as anybody listens, and handed to each.
//!
//! It asks the database, a few times a second, so it hears of events of any instance, and writers
//! know nothing of it. What is handed on is kept only for so many events: whoever is further
//! behind is cut off, and reads from the ledger where they were.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::domain::configuration::Configuration;
use crate::domain::name::Value;
use crate::store::alerts::{self, Told};
use crate::store::horizon::Horizon;
use crate::store::ledger::{Event, Row};
use crate::store::places::{Place, Places};
use crate::store::{self, Readers, Sight, StoreError, history};

use super::event_record::EventRecord;

/// Between two looks at how far the ledger is settled. What happens in between is read at once: who is
/// shown it sees no difference, and to look without a pause would cost a busy ledger a fifth.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Between two looks when the database did not answer.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Longest wait for a writer before an older horizon is taken.
const HORIZON_WAIT_MAX: Duration = Duration::from_secs(1);
/// Most events that are handed on at once.
const CHUNK_EVENTS: i64 = 256;
/// Most chunks that wait for the slowest listener.
pub(super) const CHUNKS_MAX: usize = 32;

/// Events that follow one another in the ledger, of all environments.
pub(super) struct Chunk {
    pub(super) events: Vec<Live>,
    /// The horizon behind them.
    pub(super) until: i64,
    /// What was told of alerts, in order.
    pub(super) alerts: Vec<Told>,
}

/// An event, read by the first that it is for.
pub(super) struct Live {
    pub(super) row: Row,
    told: OnceLock<(Event, String)>,
}

impl Live {
    /// The event, and how it is shown.
    ///
    /// # Errors
    /// As [`Row::event`].
    pub(super) fn told(&self, configuration: &Configuration) -> Result<&(Event, String), StoreError> {
        if let Some(told) = self.told.get() {
            return Ok(told);
        }
        let event = self.row.event(configuration)?;
        let record = EventRecord::of(&event, configuration, self.row.configuration_version());
        // A structure of strings and numbers always becomes JSON.
        let shown = serde_json::to_string(&record).unwrap_or_default();
        Ok(self.told.get_or_init(|| (event, shown)))
    }
}

/// Where what is read goes: whoever reads has the only sender, so that all who listen hear of it when
/// that is gone, however it went.
type Chunks = broadcast::Sender<Arc<Chunk>>;

/// What is read for everybody.
struct Tail {
    chunks: broadcast::WeakSender<Arc<Chunk>>,
    /// Up to where everything was handed on.
    reached: i64,
}

/// Who reads the ledger on for everybody.
pub(super) struct Feed {
    readers: Readers,
    horizon: Horizon,
    /// None while nobody listens.
    tail: Mutex<Option<Tail>>,
    places: Places,
    stop: watch::Receiver<bool>,
}

impl Feed {
    pub(super) fn new(readers: Readers, streams_max: usize, stop: watch::Receiver<bool>) -> Feed {
        Feed {
            readers,
            horizon: Horizon::default(),
            tail: Mutex::default(),
            places: Places::new(streams_max),
            stop,
        }
    }

    /// A place for a stream of an environment; none when all are taken, or as many as it may have.
    pub(super) fn place(&self, environment: &Value) -> Option<Place> {
        self.places.try_take(environment)
    }

    /// Waits until the service stops.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stop = self.stop.clone();
        async move {
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Up to which event the ledger is settled.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn horizon(&self) -> Result<i64, StoreError> {
        let within = HORIZON_WAIT_MAX.min(self.readers.wait_max() / 2);
        store::read(&self.readers, Sight::All, async |connection| self.horizon.read(connection, within).await)
            .await
    }

    fn tail(&self) -> std::sync::MutexGuard<'_, Option<Tail>> {
        // It is whole whenever the lock is free, also after a panic.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens from an event on, up to which the ledger must be settled, or from a later one where
    /// others listen already: answers which. Of alerts, what is told behind `after_alert` and after
    /// now comes at the least.
    pub(super) fn listen(
        self: &Arc<Feed>,
        after: i64,
        after_alert: i64,
    ) -> (broadcast::Receiver<Arc<Chunk>>, i64) {
        let feed = Arc::clone(self);
        self.join(after, |chunks| async move {
            tokio::select! {
                () = feed.run(&chunks, after, after_alert) => {}
                () = feed.stopped() => {}
            }
        })
    }

    /// Listens to what is read already; or lets it be read from an event on, where nobody does, or who
    /// did panicked.
    fn join<R>(&self, after: i64, read: impl FnOnce(Chunks) -> R) -> (broadcast::Receiver<Arc<Chunk>>, i64)
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let mut tail = self.tail();
        if let Some(Tail { chunks, reached }) = &*tail
            && let Some(chunks) = chunks.upgrade()
        {
            return (chunks.subscribe(), *reached);
        }
        let chunks = Chunks::new(CHUNKS_MAX);
        let listener = chunks.subscribe();
        *tail = Some(Tail { chunks: chunks.downgrade(), reached: after });
        tokio::spawn(read(chunks));
        (listener, after)
    }

    /// Hands on what is new until nobody listens.
    async fn run(&self, chunks: &Chunks, mut after: i64, mut after_alert: i64) {
        let (mut is_trouble_told, mut horizon) = (false, after);
        while self.is_heard(chunks) {
            let found = self.next(after, after_alert, &mut horizon).await;
            if let Err(error) = &found
                && !is_trouble_told
            {
                tracing::warn!(%error, "the live feed waits for the database");
            }
            is_trouble_told = found.is_err();
            match found {
                Ok(Some(chunk)) => {
                    after = chunk.until;
                    after_alert = chunk.alerts.last().map_or(after_alert, |told| told.sequence);
                    self.hand_on(chunks, chunk);
                    if after >= horizon {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                }
                Ok(None) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(_) => {
                    // A server that takes over may have given fewer ids.
                    horizon = after;
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    fn hand_on(&self, chunks: &Chunks, chunk: Chunk) {
        let mut tail = self.tail();
        *tail = Some(Tail { chunks: chunks.downgrade(), reached: chunk.until });
        // Whoever listened may have left.
        let _ = chunks.send(Arc::new(chunk));
    }

    /// Whether anybody listens. Who comes after nobody does begins anew.
    fn is_heard(&self, chunks: &Chunks) -> bool {
        let mut tail = self.tail();
        let is_heard = chunks.receiver_count() > 0;
        if !is_heard {
            *tail = None;
        }
        is_heard
    }

    /// What follows an event, up to the horizon; which is looked at anew, with the alerts, when that is
    /// reached.
    async fn next(
        &self,
        after: i64,
        after_alert: i64,
        horizon: &mut i64,
    ) -> Result<Option<Chunk>, StoreError> {
        let mut alerts = Vec::new();
        if *horizon <= after {
            let reading = store::read(&self.readers, Sight::All, async |connection| {
                alerts::all_told(connection, after_alert, CHUNK_EVENTS).await
            });
            alerts = reading.await?;
            *horizon = self.horizon().await?;
        }
        let horizon = *horizon;
        if horizon <= after {
            return Ok((!alerts.is_empty()).then_some(Chunk { events: Vec::new(), until: after, alerts }));
        }
        let reading = store::read(&self.readers, Sight::All, async |connection| {
            history::all(connection, after, horizon, CHUNK_EVENTS).await
        });
        let rows = reading.await?;
        let is_full = rows.len() as i64 == CHUNK_EVENTS;
        let until = rows.last().map(Row::event_id).filter(|_| is_full).unwrap_or(horizon);
        let events = rows.into_iter().map(|row| Live { row, told: OnceLock::new() }).collect();
        Ok(Some(Chunk { events, until, alerts }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast::error::TryRecvError;

    fn feed() -> Feed {
        let nowhere = sqlx::postgres::PgConnectOptions::new();
        Feed::new(Readers::new(nowhere, 1, TRY_AGAIN), 1, watch::channel(false).1)
    }

    fn chunk(until: i64) -> Chunk {
        Chunk { events: Vec::new(), until, alerts: Vec::new() }
    }

    #[tokio::test]
    async fn who_listens_while_others_do_hears_the_same_from_then_on() {
        let feed = feed();
        let mut reading = None;
        let (mut first, from) = feed.join(3, |chunks| {
            reading = Some(chunks);
            std::future::ready(())
        });
        let reading = reading.unwrap();
        feed.hand_on(&reading, chunk(7));
        let (mut second, joined) = feed.join(1, |_| std::future::pending());
        assert_eq!((from, joined), (3, 7));
        feed.hand_on(&reading, chunk(8));
        assert_eq!((first.recv().await.unwrap().until, first.recv().await.unwrap().until), (7, 8));
        assert_eq!(second.recv().await.unwrap().until, 8);
        assert!(feed.is_heard(&reading));
        drop((first, second));
        assert!(!feed.is_heard(&reading));
        assert_eq!(feed.join(9, |_| std::future::pending()).1, 9, "it begins anew");
    }

    #[tokio::test]
    async fn when_who_reads_panics_all_who_listen_are_cut_off_and_the_next_begins_anew() {
        let feed = feed();
        let panicking = |chunks: Chunks| async move {
            let _kept = chunks;
            tokio::task::yield_now().await;
            panic!("on purpose");
        };
        let (mut listener, _) = feed.join(3, panicking);
        let mut other = feed.join(3, |_| std::future::pending()).0;
        assert_eq!(other.try_recv().err(), Some(TryRecvError::Empty), "it is read already");
        for listener in [&mut listener, &mut other] {
            let ended = tokio::time::timeout(HORIZON_WAIT_MAX * 30, listener.recv()).await;
            assert!(ended.expect("it is cut off").is_err());
        }
        let mut reading = None;
        let (mut next, from) = feed.join(5, |chunks| {
            reading = Some(chunks);
            std::future::ready(())
        });
        feed.hand_on(&reading.expect("somebody reads again"), chunk(6));
        assert_eq!((next.recv().await.unwrap().until, from), (6, 5));
    }
}
