//! What `/readyz` and `/metrics` ask the database. Neither needs a key and neither has a rate, so all who
//! come at the same time have one answer, which is had over connections that nobody else needs, and soon:
//! whoever measures is to hear that the database hangs before they give up on the service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::store::overview::{self, Deliveries, Lag};
use crate::store::{self, Readers, Sight, StoreError, sessions};
use crate::telemetry::metrics::Metrics;

/// Longest that one probe may take, to connect included: Prometheus gives up after ten seconds, and
/// sooner where it asks more often.
const TIME_MAX: Duration = Duration::from_secs(1);
/// For how long it is true that the service is ready: an outage is to be told that is hardly longer.
const READY_FOR: Duration = Duration::from_millis(100);
/// For how long what was measured is.
const MEASURED_FOR: Duration = Duration::from_secs(1);

/// Who asks, each over a connection of its own.
pub(super) struct Probes {
    readers: Readers,
    ready: Lately,
    measured: Lately,
}

impl Probes {
    pub(super) fn new(readers: &Readers) -> Probes {
        let wait_max = TIME_MAX.min(readers.wait_max());
        let readers = Readers::new(readers.options().clone(), 2, wait_max);
        Probes { readers, ready: Lately::new(READY_FOR), measured: Lately::new(MEASURED_FOR) }
    }

    /// Whether the database answers and has the schema.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn ready(&self) -> Answer {
        let reading = store::read(&self.readers, Sight::Nothing, async |connection| {
            store::is_migrated(connection).await
        });
        let is_migrated = async {
            match reading.await? {
                true => Ok(()),
                false => Err(StoreError::Unavailable("the schema is not up to date".to_owned())),
            }
        };
        self.ready.ask(is_migrated).await
    }

    /// Measures what the database says. Where it does not say, what it last said stays, but for that
    /// it answers.
    pub(super) async fn measure(&self, metrics: &Metrics) {
        let reading = store::read(&self.readers, Sight::All, async |connection| {
            let age = sessions::oldest_transaction(connection).await?;
            Ok((age, overview::lags(connection).await?, overview::deliveries(connection).await?))
        });
        let measuring = async {
            let (age, lags, deliveries) = reading.await?;
            metrics.oldest_transaction(Some(age));
            for Lag { follower, events, age } in lags {
                metrics.behind(follower, events, age);
            }
            let Deliveries { due, overdue, dead } = deliveries;
            metrics.deliveries(due, overdue, dead);
            Ok(())
        };
        if self.measured.ask(measuring).await.is_err() {
            metrics.oldest_transaction(None);
        }
    }
}

/// That all is well, or why not.
type Answer = Result<(), Arc<str>>;

/// An answer that all have in common who ask while it is had, and for a while after where it was good.
struct Lately {
    good_for: Duration,
    /// When the last one was had.
    last: Mutex<Option<(Instant, Answer)>>,
}

impl Lately {
    fn new(good_for: Duration) -> Lately {
        Lately { good_for, last: Mutex::default() }
    }

    async fn ask(&self, question: impl Future<Output = Result<(), StoreError>>) -> Answer {
        let came = Instant::now();
        // Whoever has it asks. Should they leave, the next does.
        let mut last = self.last.lock().await;
        if let Some((had, answer)) = &*last
            && (*had >= came || answer.is_ok() && had.elapsed() < self.good_for)
        {
            return answer.clone();
        }
        let answer = match timeout(TIME_MAX, question).await {
            Ok(answer) => answer.map_err(|error| error.to_string().into()),
            Err(_) => Err(format!("no answer within {TIME_MAX:?}").into()),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_ask_at_the_same_time_have_one_answer_and_a_good_one_is_good_for_a_while() {
        let asked = AtomicUsize::new(0);
        for (good_for, answer) in
            [(Duration::MAX, Ok(())), (Duration::MAX, Err(())), (Duration::ZERO, Ok(()))]
        {
            asked.store(0, Ordering::Relaxed);
            let lately = Lately::new(good_for);
            let (answer_it, answered) = oneshot::channel();
            let first = lately.ask(async {
                asked.fetch_add(1, Ordering::Relaxed);
                let _ = answered.await;
                answer.map_err(|()| StoreError::Busy)
            });
            let at_once = || async {
                asked.fetch_add(1, Ordering::Relaxed);
                answer.map_err(|()| StoreError::Busy)
            };
            let others = async {
                let both = tokio::join!(lately.ask(at_once()), lately.ask(at_once()));
                [both.0, both.1]
            };
            let then = async { answer_it.send(()).unwrap() };
            // Polled in this order: the first asks, the others wait for it, and then it is answered.
            let (first, others, ()) = tokio::join!(biased; first, others, then);
            assert!(others.iter().all(|other| other.is_ok() == first.is_ok()));
            assert_eq!((first.is_ok(), asked.load(Ordering::Relaxed)), (answer.is_ok(), 1));
            let later = lately.ask(at_once()).await;
            let is_kept = answer.is_ok() && good_for > Duration::ZERO;
            assert_eq!(
                (later.is_ok(), asked.load(Ordering::Relaxed)),
                (answer.is_ok(), 2 - usize::from(is_kept))
            );
        }
    }

    #[tokio::test]
    async fn who_leaves_while_they_ask_leaves_it_to_the_next() {
        let lately = Lately::new(Duration::MAX);
        let gone = tokio::time::timeout(Duration::ZERO, lately.ask(std::future::pending())).await;
        assert!(gone.is_err());
        assert!(lately.ask(async { Ok(()) }).await.is_ok());
    }
}
