//! How a writer decides a batch and commits it: at first on what it has in memory, in one statement, and
//! after a conflict in its turn, under locks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::domain::command::{Command, Timestamp};
use crate::domain::name::Value;
use crate::engine::Submission;
use crate::engine::answers::{answer_granted, meanwhile};
use crate::engine::batch::{EventName, Granted, Unit, Verdict, judge, name_of, root};
use crate::engine::books::Wanted;
use crate::engine::loading::load;
use crate::store::commit::Batch;
use crate::store::configuration::Versioned;
use crate::store::ledger::Event;
use crate::store::{StoreError, configuration, state};
use crate::telemetry::metrics::LookupLabels;
use crate::telemetry::traces::BatchTrace;

use super::{Judged, Writer, commands_of, environment_of, environments_of, now, size, sqlstate, traced};

/// A batch that was decided and is not committed.
struct Decided<'a> {
    verdicts: Vec<Verdict>,
    granted: Granted<'a>,
    /// What is to be written, if anything is.
    batch: Option<Batch>,
    received_at: Timestamp,
}

impl Decided<'_> {
    fn committed(self, event_ids: &[i64]) -> Judged {
        Judged { verdicts: self.verdicts, events: self.granted.into_events(event_ids, self.received_at) }
    }
}

impl Writer {
    /// The first try: one statement, on the copy of the books that is in memory.
    pub(super) async fn judge(&mut self, open: &[Submission]) -> Result<Judged, StoreError> {
        self.meet_versions(open);
        let wanted = self.wanted(open);
        if !wanted.is_empty() {
            let mut connection = self.link.check_out(&environments_of(open)).await?;
            let loading = self.link.bounded(load(&mut connection, commands_of(open), wanted));
            let loaded = meanwhile(loading, &mut self.granted).await;
            self.link.check_in(connection, &loaded);
            loaded?.into_iter().for_each(|part| self.books.hold(part));
        }
        let mut decided = self.decide(open);
        let Some(batch) = decided.batch.take() else {
            answer_granted(&mut self.granted);
            if !decided.granted.recalled().is_empty() {
                let mut connection = self.link.check_out(&environments_of(open)).await?;
                let checked =
                    self.link.bounded(check_recalled(&mut connection, decided.granted.recalled())).await;
                self.link.check_in(connection, &checked);
                checked?;
            }
            return Ok(decided.committed(&[]));
        };
        let mut connection = self.link.check_out(&environments_of(open)).await?;
        let (began, writing) = (Instant::now(), self.link.bounded(batch.write(&mut connection)));
        self.is_committing = true;
        let written = meanwhile(writing, &mut self.granted).await;
        self.trace_commit(began, open, written.as_ref().err());
        self.link.check_in(connection, &written);
        let event_ids = written?;
        self.committed(began);
        Ok(decided.committed(&event_ids))
    }

    fn trace_joined(&mut self, joined: &[Submission]) {
        let Some(traces) = &self.metrics.traces else { return };
        match &mut self.trace {
            Some(batch) => batch.join(traces, Instant::now(), traced(joined)),
            None => self.trace = BatchTrace::begin(traces, Instant::now(), traced(joined)),
        }
    }

    fn trace_commit(&self, began: Instant, open: &[Submission], error: Option<&StoreError>) {
        if let (Some(batch), Some(traces)) = (&self.trace, &self.metrics.traces) {
            let failure = error.map(|error| match error {
                StoreError::Conflict("") => "conflict",
                StoreError::Unavailable(_) => "unavailable",
                StoreError::Rejected(_) => "rejected",
                error => sqlstate(error),
            });
            batch.committed(traces, began, size(open), failure);
        }
    }

    fn committed(&mut self, began: Instant) {
        self.is_committing = false;
        self.metrics.commit.observe(began.elapsed().as_secs_f64());
    }

    /// The tries after a conflict: the roots are locked before anything is read, so that no
    /// other instance can be quicker again. Read committed, because a serializable
    /// transaction would be aborted by the very wait; the locks and guards keep it safe.
    pub(super) async fn judge_in_turn(
        &mut self,
        open: &mut Vec<Submission>,
        may_grow: bool,
    ) -> Result<Judged, StoreError> {
        let mut connection = self.link.check_out(&environments_of(&*open)).await?;
        let begin = async { Ok(connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?) };
        let begin = self.link.bounded(begin);
        let result = match meanwhile(begin, &mut self.granted).await {
            Ok(mut transaction) => {
                let judged = self.judge_locked(&mut transaction, open, may_grow).await;
                match judged {
                    Ok(judged) => {
                        let began = Instant::now();
                        self.is_committing = true;
                        let committed = self.link.bounded(async { Ok(transaction.commit().await?) }).await;
                        self.trace_commit(began, open, committed.as_ref().err());
                        committed.map(|()| self.committed(began)).map(|()| judged)
                    }
                    Err(error) => {
                        let rolled_back =
                            self.link.bounded(async { Ok(transaction.rollback().await?) }).await;
                        rolled_back.and(Err(error))
                    }
                }
            }
            Err(error) => Err(error),
        };
        self.link.check_in(connection, &result);
        result
    }

    async fn judge_locked(
        &mut self,
        connection: &mut PgConnection,
        open: &mut Vec<Submission>,
        may_grow: bool,
    ) -> Result<Judged, StoreError> {
        let root_of = |command: &Command, versioned: &Versioned| {
            (command.product.clone(), root(command, versioned).to_vec())
        };
        let roots: BTreeSet<_> =
            commands_of(open).map(|(command, versioned)| root_of(command, versioned)).collect();
        let locks: Vec<_> = roots.iter().map(|(product, root)| (product, &root[..])).collect();
        self.link.bounded(state::lock(connection, &locks)).await?;
        // Whoever had the locks before has changed what they guard.
        roots.iter().for_each(|(product, _)| self.books.forget(product));
        // Others have come meanwhile for whom this is the turn too. Not in later rounds: a batch
        // that grew again and again would have something to lose by again and again.
        if may_grow && open.iter().all(|submission| submission.commands.len() == 1) {
            let before = open.len();
            self.intake.join(open, |submission| match &submission.commands[..] {
                [command] => roots.contains(&root_of(command, &submission.configuration)),
                _ => false,
            });
            self.pulse.go(open.len() - before);
            self.trace_joined(&open[before..]);
        }
        let open = &open[..];
        self.meet_versions(open);
        let wanted = self.wanted(open);
        let loaded = self.link.bounded(load(connection, commands_of(open), wanted)).await?;
        loaded.into_iter().for_each(|part| self.books.hold(part));
        let mut decided = self.decide(open);
        let event_ids = match decided.batch.take() {
            Some(batch) => self.link.bounded(batch.write(connection)).await?,
            None => {
                self.link.bounded(check_recalled(connection, decided.granted.recalled())).await?;
                Vec::new()
            }
        };
        Ok(decided.committed(&event_ids))
    }

    fn decide<'a>(&mut self, open: &'a [Submission]) -> Decided<'a> {
        let received_at = now();
        let known = self.remembered(open);
        let (verdicts, granted) = judge(&mut self.books, &known, units(open), received_at);
        let batch = granted.write_down(&mut self.books, received_at);
        Decided { verdicts, granted, batch, received_at }
    }

    /// Forgets what is in memory of environments whose configuration has a new version: their
    /// products may have been erased or switched. What is read from now on is at least as new.
    fn meet_versions(&mut self, open: &[Submission]) {
        let mut last: Option<&Arc<Versioned>> = None;
        for submission in open {
            let versioned = &submission.configuration;
            // Nearly always all are made under the same.
            if last.replace(versioned).is_some_and(|last| Arc::ptr_eq(last, versioned)) {
                continue;
            }
            let environment = environment_of(submission);
            if self.books.meet(&environment, versioned.version) {
                let names = self.recent.iter().map(|(name, _)| name);
                let outdated: Vec<_> = names.filter(|(of, _)| *of == environment).cloned().collect();
                outdated.iter().for_each(|name| _ = self.recent.pop(name));
            }
        }
    }

    fn wanted(&mut self, open: &[Submission]) -> Wanted {
        let mut wanted = Wanted::default();
        for (command, versioned) in commands_of(open) {
            self.books.want(command, &versioned.configuration, &mut wanted);
        }
        let misses = wanted.nodes.len() + wanted.balances.len();
        for (result, count) in [("hit", wanted.lookups.saturating_sub(misses)), ("miss", misses)] {
            self.metrics.lookups.get_or_create(&LookupLabels { result }).inc_by(count as u64);
        }
        wanted
    }

    fn remembered(&mut self, open: &[Submission]) -> HashMap<EventName, Arc<Event>> {
        let names = commands_of(open).map(|(command, _)| name_of(command));
        names.filter_map(|name| self.recent.get(&name).map(Arc::clone).map(|event| (name, event))).collect()
    }
}

/// What was known from memory is so only as long as the configuration is the one that the
/// commands were made under.
async fn check_recalled(
    connection: &mut PgConnection,
    recalled: &BTreeSet<(&Value, i64)>,
) -> Result<(), StoreError> {
    for &(environment, version) in recalled {
        if configuration::version(connection, environment.as_str()).await? != Some(version) {
            return Err(StoreError::Conflict(""));
        }
    }
    Ok(())
}

fn units(open: &[Submission]) -> impl Iterator<Item = Unit<'_>> {
    open.iter().map(|submission| (&submission.commands[..], &submission.configuration))
}
