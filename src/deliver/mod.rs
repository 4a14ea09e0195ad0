//! Delivers notices to webhooks: what the outbox has, signed, at least once, in order per product and
//! webhook.
//!
//! Whoever is delivered to decides how long it takes, so no transaction is open meanwhile: a lane, the
//! deliveries of one product to one webhook, is taken for longer than an attempt may take. When an
//! instance dies between sending and recording, another takes the lane over after that time, and sends
//! the same message again, under the same name. Instances agree on nothing but the lanes' rows.

pub mod forgetting;
pub mod send;
mod span;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::domain::webhook::signatures;
use crate::store::outbox::{self, Attempt, Each, Lane, Next};
use crate::store::{self, Readers, Sight, StoreError};
use crate::telemetry::traces::Traces;

use send::{Answer, Sender};
use span::AttemptSpan;
use waiting::{asked_for, chance};

/// The limits of delivering.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Whether webhooks may have addresses that are nobody's on the Internet.
    pub allow_private: bool,
    /// Longest that one attempt may take.
    pub attempt_time_max: Duration,
    /// The longest wait after the first failure; after each further one four times as long.
    pub retry_first: Duration,
    /// Longest wait after a failure.
    pub retry_max: Duration,
    /// Attempts after which a delivery is dead.
    pub attempts_max: u32,
    /// How long it waits before it looks for what is due again.
    pub poll: Duration,
}

/// Lanes that are taken at once: of one webhook, and of one environment, whose receivers may all be slow.
const LANES_EACH: Each = Each { webhook: 8, environment: 32 };
/// Lanes of all webhooks that are taken at once.
const LANES_MAX: usize = 64;
/// Messages, and the time, after which a lane is given back, so that others come to their turn.
const LANE_MESSAGES: usize = 100;
const LANE_TIME: Duration = Duration::from_secs(2);

/// Delivers what is due until it is stopped. What is being sent then is sent to its end, or by whoever
/// takes it over.
pub async fn run(
    pool: Readers,
    limits: Limits,
    traces: Option<Arc<Traces>>,
    mut stop: watch::Receiver<bool>,
) {
    let sender = match Sender::new(limits.allow_private) {
        Ok(sender) => sender,
        Err(error) => {
            tracing::error!(error, "webhooks cannot be delivered to");
            return;
        }
    };
    let deliverer = Arc::new(Deliverer { pool, limits, sender, traces });
    let mut works: JoinSet<(String, String)> = JoinSet::new();
    let mut busy: HashMap<(String, String), i64> = HashMap::new();
    let mut is_in_trouble = false;
    while !*stop.borrow() {
        while let Some(done) = works.try_join_next() {
            // A task that panicked took its name with it; its webhook is taken again with the rest.
            match done {
                Ok(webhook) => release(&mut busy, &webhook),
                Err(_) => busy.clear(),
            }
        }
        let taken = deliverer.take(&busy, works.len()).await;
        if let Err(error) = &taken
            && !is_in_trouble
        {
            tracing::warn!(%error, "cannot look for what is to be delivered, and tries again");
        }
        is_in_trouble = taken.is_err();
        for lane in taken.unwrap_or_default() {
            let webhook = (lane.environment.clone(), lane.webhook.clone());
            *busy.entry(webhook.clone()).or_default() += 1;
            let deliverer = Arc::clone(&deliverer);
            works.spawn(async move {
                deliverer.work(lane).await;
                webhook
            });
        }
        tokio::select! {
            () = tokio::time::sleep(deliverer.limits.poll) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    let rest = async { while works.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(deliverer.limits.attempt_time_max.min(STOP_TIME_MAX), rest).await;
}

/// Longest that is waited for attempts when the service stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

fn release(busy: &mut HashMap<(String, String), i64>, webhook: &(String, String)) {
    if let Some(count) = busy.get_mut(webhook) {
        *count -= 1;
        if *count == 0 {
            busy.remove(webhook);
        }
    }
}

struct Deliverer {
    pool: Readers,
    limits: Limits,
    sender: Sender,
    /// Where they are on.
    traces: Option<Arc<Traces>>,
}

impl Deliverer {
    /// How long a lane is taken for: there must be time to record the attempt too.
    fn hold(&self) -> Duration {
        self.limits.attempt_time_max * 2
    }

    async fn take(
        &self,
        busy: &HashMap<(String, String), i64>,
        at_work: usize,
    ) -> Result<Vec<Lane>, StoreError> {
        let room = LANES_MAX.saturating_sub(at_work) as i64;
        if room == 0 {
            return Ok(Vec::new());
        }
        store::read(&self.pool, Sight::All, async |connection| {
            outbox::take(connection, busy, LANES_EACH, room, self.hold()).await
        })
        .await
    }

    /// Delivers what is pending in a lane, one after the other, until one fails.
    async fn work(&self, mut lane: Lane) {
        if let Err(error) = self.deliver(&mut lane).await {
            // Whoever takes it over sends it again.
            tracing::warn!(environment = lane.environment, webhook = lane.webhook, %error, "a delivery was not recorded");
        }
    }

    async fn deliver(&self, lane: &mut Lane) -> Result<(), StoreError> {
        let (environment, begun) = (lane.environment.clone(), Instant::now());
        for _ in 0..LANE_MESSAGES {
            if begun.elapsed() >= LANE_TIME {
                break;
            }
            let next = store::read(&self.pool, Sight::Of(&environment), async |connection| {
                outbox::next(connection, lane).await
            })
            .await?;
            let Some(next) = next else { break };
            let attempt = self.attempt(&next, &lane.webhook).await;
            let (webhook, message_id, status) = (&lane.webhook, &next.message_id, attempt.status);
            // What a receiver answers may repeat what it was sent: the delivery has it, the log has not.
            let logged = attempt.error.as_deref().filter(|_| status.is_none());
            match (&attempt.error, attempt.again_in) {
                (None, _) => tracing::debug!(webhook, message_id, "delivered"),
                (Some(_), Some(_)) => {
                    tracing::info!(webhook, message_id, status, error = logged, "not delivered yet");
                }
                (Some(_), None) => {
                    tracing::warn!(
                        webhook,
                        message_id,
                        status,
                        error = logged,
                        "not delivered, and not tried again"
                    );
                }
            }
            let hold = self.hold();
            let recording = store::read(&self.pool, Sight::Of(&environment), async |connection| {
                outbox::record(connection, lane, next.sequence, &attempt, hold).await
            });
            if !recording.await? {
                return Ok(());
            }
        }
        store::read(&self.pool, Sight::Of(&environment), async |connection| {
            outbox::give_back(connection, lane, Duration::ZERO).await
        })
        .await
    }

    async fn attempt(&self, next: &Next, webhook: &str) -> Attempt {
        let signature = signatures(&next.secrets, &next.message_id, next.time, next.payload.as_bytes());
        let mut headers = vec![
            ("webhook-id", next.message_id.clone()),
            ("webhook-timestamp", next.time.to_string()),
            ("webhook-signature", signature),
        ];
        let span = self.traces.as_deref().and_then(AttemptSpan::begin);
        headers.extend(span.as_ref().map(|span| ("traceparent", span.traceparent())));
        let sending = self.sender.send(&next.url, &headers, next.payload.clone());
        let answer = tokio::time::timeout(self.limits.attempt_time_max, sending).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(format!("no answer within {} ms", self.limits.attempt_time_max.as_millis()))
        });
        let attempt = self.judged(answer, next);
        if let Some(span) = span {
            span.end(webhook, next, &attempt);
        }
        attempt
    }

    fn judged(&self, answer: Result<Answer, String>, next: &Next) -> Attempt {
        let (status, error, asked) = match answer {
            Ok(Answer { status: status @ 200..=299, .. }) => {
                return Attempt { status: Some(status), error: None, again_in: None, is_gone: false };
            }
            Ok(answer) => {
                let error = format!("answered {}{}", answer.status, answer.text);
                (Some(answer.status), error, asked_for(&answer, next.time))
            }
            Err(error) => (None, error, None),
        };
        let is_gone = status == Some(410);
        let attempts = u32::try_from(next.attempts).unwrap_or(0) + 1;
        let is_last = attempts >= self.limits.attempts_max && !is_gone;
        let again_in = (!is_last).then(|| self.limits.again_in(attempts, asked, chance()));
        Attempt { status, error: Some(error), again_in, is_gone }
    }
}
