//! A writer: collect what queued, decide it, commit it, answer it.

mod confirming;
mod deciding;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lru::LruCache;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::mpsc;

use crate::domain::command::{Command, Timestamp};
use crate::domain::name::Value;
use crate::store::StoreError;
use crate::store::configuration::Versioned;
use crate::store::ledger::Event;
use crate::telemetry::metrics::{self, AmbiguousLabels, RetryLabels};
use crate::telemetry::traces::{BatchTrace, Link as SpanLink};

use super::answers::{self, answer_granted};
use super::batch::{EventName, Ground, Place, Verdict, name_of, root};
use super::books::Books;
use super::intake::Intake;
use super::link::Link;
use super::pulse::Pulse;
use super::{Failure, Limits, Receipt, Rejection, Submission};

/// Rounds in which a submission may lose against other instances before it is sent back.
/// From the second on it waits for its turn, so more than two are rare.
const ROUNDS_MAX: usize = 8;

/// Batches after a conflict that wait for their turn at once: where another instance sells the
/// same product, the next try without a lock would be lost too.
const CONTENDED_BATCHES: usize = 32;

pub(super) struct Writer {
    intake: Intake,
    pulse: Arc<Pulse>,
    link: Link,
    books: Books,
    /// The latest events, so that a repeat is answered without asking the database.
    recent: LruCache<EventName, Arc<Event>>,
    /// Submissions that are committed and not answered yet. They are answered while the
    /// database works on the next batch: it is what all others wait for.
    granted: answers::Granted,
    /// How many of the next batches wait for their turn at once.
    contended: usize,
    /// Whether a commit was sent whose answer has not come.
    is_committing: bool,
    metrics: Arc<metrics::Writers>,
    /// Where the batch in the works is in traces, if it is in any.
    trace: Option<BatchTrace>,
}

/// A batch that was decided and, as far as it was granted, committed.
struct Judged {
    verdicts: Vec<Verdict>,
    events: Vec<Arc<Event>>,
}

/// A submission refused on grounds that may be out of date.
struct Doubtful {
    submission: Submission,
    rejection: Rejection,
    /// The version of the root that the refusal rests on.
    version: u64,
}

impl Writer {
    pub(super) fn new(
        options: PgConnectOptions,
        limits: &Limits,
        queue: mpsc::Receiver<Submission>,
        pulse: Arc<Pulse>,
        metrics: Arc<metrics::Writers>,
    ) -> Writer {
        let intake = Intake::new(queue, limits.batch_commands_max);
        let link = Link::new(options, limits.round_trip_max);
        let books = Books::new(limits.books_entries_max);
        let recent = LruCache::new(NonZeroUsize::new(limits.recent_events_max).unwrap_or(NonZeroUsize::MIN));
        let (granted, contended, is_committing, trace) = (Vec::new(), 0, false, None);
        Writer { intake, pulse, link, books, recent, granted, contended, is_committing, metrics, trace }
    }

    /// Takes submissions until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        loop {
            let batch = self.intake.take();
            if let Some(oldest) = batch.first() {
                self.pulse.begin(oldest.since);
                self.pulse.go(size(&batch));
                self.process(batch).await;
                continue;
            }
            self.pulse.rest();
            // There is no next batch to answer the last one under.
            answer_granted(&mut self.granted);
            if !self.intake.wait().await {
                return self.link.close().await;
            }
        }
    }

    /// Answers every submission, in a span of their own where they are in traces.
    async fn process(&mut self, open: Vec<Submission>) {
        let begun = Instant::now();
        let Some(traces) = self.metrics.traces.clone() else { return self.answer(open, begun).await };
        let commands = size(&open);
        let own = BatchTrace::begin(&traces, begun, traced(&open));
        // A batch that is done one by one is in the middle of its own.
        let outer = std::mem::replace(&mut self.trace, own);
        self.answer(open, begun).await;
        if let Some(own) = std::mem::replace(&mut self.trace, outer) {
            own.end(&traces, commands);
        }
    }

    async fn answer(&mut self, mut open: Vec<Submission>, begun: Instant) {
        self.metrics.batch.observe(size(&open) as f64);
        if let Some(oldest) = open.first() {
            self.metrics.queue_wait.observe(begun.duration_since(oldest.since).as_secs_f64());
        }
        let (mut outages, mut outage) = (0, Arc::<str>::from("the database did not answer"));
        let mut wait_for_turn = self.contended > 0;
        self.contended = self.contended.saturating_sub(1);
        for round in 0..ROUNDS_MAX {
            if open.is_empty() {
                return;
            }
            let result = self.round(&mut open, wait_for_turn, round == 0).await;
            wait_for_turn = true;
            let Err(error) = result else { continue };
            answer_granted(&mut self.granted);
            for (command, _) in commands_of(&open) {
                self.books.forget(&command.product);
            }
            let id_taken = matches!(error, StoreError::IdTaken);
            let in_doubt = self.in_doubt(&error, size(&open));
            self.count_retry(&error);
            match error {
                StoreError::Conflict(_) => self.contended = CONTENDED_BATCHES,
                // Writers have connections of their own, and never wait for one.
                StoreError::IdTaken | StoreError::Busy | StoreError::Unwatched(_) => {}
                StoreError::Unavailable(why) => {
                    tracing::debug!(error = %why, commands = size(&open), "a batch had no answer");
                    outage = why.into();
                    outages += 1;
                }
                StoreError::Rejected(why) => return self.isolate(open, &why).await,
            }
            // Who waited as long as one exchange may take is not let wait for another.
            let is_late = outages > 0 && begun.elapsed() >= self.link.round_trip_max();
            if outages > 1 || is_late || !self.link.is_up() {
                self.count_ended("unknown", in_doubt);
                return self.give_up(open, &outage);
            }
            // The commit may have happened or not: the ledger tells.
            match self.look_up(&mut open, id_taken).await {
                Ok(found) => {
                    self.count_ended("committed", in_doubt.min(found));
                    self.count_ended("not_committed", in_doubt.saturating_sub(found));
                }
                Err(StoreError::Rejected(why)) => return self.isolate(open, &why).await,
                Err(_) => {
                    self.count_ended("unknown", in_doubt);
                    return self.give_up(open, &outage);
                }
            }
        }
        reject(open, &Failure::Overloaded);
    }

    /// How many commands may have been committed or not, by an error.
    fn in_doubt(&mut self, error: &StoreError, commands: usize) -> usize {
        let is_committing = std::mem::take(&mut self.is_committing);
        if is_committing && matches!(error, StoreError::Unavailable(_)) { commands } else { 0 }
    }

    fn count_ended(&self, ended: &'static str, commands: usize) {
        if commands > 0 {
            self.metrics.ambiguous.get_or_create(&AmbiguousLabels { ended }).inc_by(commands as u64);
        }
    }

    fn count_retry(&self, error: &StoreError) {
        let sqlstate = sqlstate(error);
        self.metrics.retries.get_or_create(&RetryLabels { sqlstate }).inc();
    }

    /// The database does not do it. Whoever came meanwhile has waited as long, and is not let
    /// wait for the next try.
    fn give_up(&mut self, open: Vec<Submission>, why: &Arc<str>) {
        // Before they are told: whoever is may come again at once, and finds nothing in the works.
        self.pulse.rest();
        // That it cannot be reached is seen by whoever asks it, and so is the end of that.
        if self.link.is_up() {
            self.pulse.fail();
        }
        let failure = Failure::DatabaseUnavailable(Arc::clone(why));
        reject(open, &failure);
        let waiting = self.intake.take_all();
        self.pulse.go(size(&waiting));
        reject(waiting, &failure);
    }

    /// One of them is what the database will not have. On their own, the others are done.
    async fn isolate(&mut self, open: Vec<Submission>, why: &str) {
        if open.len() == 1 {
            let Some(submission) = open.into_iter().next() else { return };
            let environment = environment_of(&submission);
            let failure = Failure::Internal(why.into());
            // The request tells the log; where it is gone, somebody must.
            if submission.reply.send(Err(failure.into())).is_err() {
                self.metrics.bugs.inc();
                tracing::error!(error = %why, %environment, "a command failed that nobody waits for");
            }
            return;
        }
        for submission in open {
            Box::pin(self.process(vec![submission])).await;
        }
    }

    /// Decides the submissions, commits those granted, and answers all that is certain.
    /// What is left open has to be judged again.
    async fn round(
        &mut self,
        open: &mut Vec<Submission>,
        wait_for_turn: bool,
        is_first: bool,
    ) -> Result<(), StoreError> {
        let judged = match wait_for_turn {
            true => self.judge_in_turn(open, is_first).await,
            false => self.judge(open).await,
        }?;
        if !judged.events.is_empty() {
            self.pulse.succeed();
        }
        // Before anything else is decided: one of the next may repeat one of these.
        for event in &judged.events {
            self.remember(Arc::clone(event));
        }
        let doubtful = self.sort(std::mem::take(open), judged);
        self.books.end_batch();
        if doubtful.is_empty() {
            return Ok(());
        }
        answer_granted(&mut self.granted);
        self.confirm(doubtful, open, wait_for_turn).await
    }

    fn remember(&mut self, event: Arc<Event>) {
        self.recent.put(name_of(&event.command), event);
    }

    /// Answers refusals that are certain, keeps what is granted for [`answer_granted`], and
    /// returns the rest.
    fn sort(&mut self, open: Vec<Submission>, judged: Judged) -> Vec<Doubtful> {
        let mut doubtful = Vec::new();
        for (submission, verdict) in open.into_iter().zip(judged.verdicts) {
            let (index, refusal, ground, explanation) = match verdict {
                Verdict::Granted(places) => {
                    let receipts = places.into_iter().map(|place| receipt(place, &judged.events)).collect();
                    self.granted.push((submission, receipts));
                    continue;
                }
                Verdict::Refused { index, refusal, ground, explanation } => {
                    (index, refusal, ground, explanation)
                }
            };
            let rejection = Rejection { index, failure: Failure::Refused(refusal), explanation };
            let version = match ground {
                Ground::Ledger => {
                    let _ = submission.reply.send(Err(rejection));
                    continue;
                }
                Ground::Version(version) => version,
                Ground::Books => {
                    let command = &submission.commands[index];
                    let root = root(command, &submission.configuration);
                    self.books.stock(&command.product).node(root).map_or(0, |node| node.version)
                }
            };
            doubtful.push(Doubtful { submission, rejection, version });
        }
        doubtful
    }
}

pub(super) fn receipt(place: Place, events: &[Arc<Event>]) -> Receipt {
    match place {
        Place::New(place) => Receipt { event: Arc::clone(&events[place]), replayed: false },
        Place::SameAs(place) => Receipt { event: Arc::clone(&events[place]), replayed: true },
        Place::Known(event) => Receipt { event, replayed: true },
    }
}

/// The environments of submissions, mostly one.
fn environments_of<'a>(open: impl IntoIterator<Item = &'a Submission>) -> Vec<&'a str> {
    let mut environments = Vec::new();
    let mut last: Option<&Arc<Versioned>> = None;
    for submission in open {
        // Who has the same configuration is of the same environment.
        if last
            .replace(&submission.configuration)
            .is_some_and(|last| Arc::ptr_eq(last, &submission.configuration))
        {
            continue;
        }
        let environments_of = submission.commands.iter().map(|command| command.product.environment.as_str());
        for environment in environments_of {
            if !environments.contains(&environment) {
                environments.push(environment);
            }
        }
    }
    environments
}

pub(super) fn commands_of(open: &[Submission]) -> impl Iterator<Item = (&Command, &Arc<Versioned>)> {
    open.iter().flat_map(|submission| {
        submission.commands.iter().map(|command| (&**command, &submission.configuration))
    })
}

/// How many commands they have.
fn size(open: &[Submission]) -> usize {
    open.iter().map(|submission| submission.commands.len()).sum()
}

/// What PostgreSQL said; empty where it said nothing.
fn sqlstate(error: &StoreError) -> &'static str {
    match error {
        StoreError::Conflict(sqlstate) => sqlstate,
        StoreError::IdTaken => "23505",
        StoreError::Unwatched(_) => "53200",
        _ => "",
    }
}

/// The submissions that are in traces, and since when each has waited.
fn traced(open: &[Submission]) -> impl Iterator<Item = (SpanLink, Instant)> {
    open.iter().filter_map(|submission| Some((**submission.trace.as_ref()?, submission.since)))
}

/// Submissions have one command at least, and all of one environment.
fn environment_of(submission: &Submission) -> Value {
    submission.commands[0].product.environment.clone()
}

fn reject(submissions: Vec<Submission>, failure: &Failure) {
    for submission in submissions {
        let _ = submission.reply.send(Err(failure.clone().into()));
    }
}

#[allow(clippy::disallowed_methods, reason = "here time enters")]
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Microseconds fit an i64 for 290,000 years.
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
