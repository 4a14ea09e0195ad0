//! Those who follow the ledger: what is kept of its events beside the books. Commands know nothing
//! of them, and wait for none.
//!
//! Each takes the events in the order of the ledger, a chunk at a time: one transaction locks its row
//! in `follower`, writes what it keeps of the chunk, and moves the row on. So every event is counted
//! once, whichever of several instances takes it: one has the row, the others pass by, and when it
//! dies its lock goes with its connection. A new one begins with the first event there is.
//!
//! A follower reads and writes no row that a command does, but for the ledger's, which never change.
//! It reads up to the settled horizon (`store/horizon.rs`), on a connection of its own; when it is
//! behind, it rests as long as it works.

pub mod activity;
mod judging;
pub mod overallocated;
pub mod snapshots;
pub mod unmet;
pub mod watches;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::domain::command::Timestamp;
use crate::store::horizon::Horizon;
use crate::store::{self, Seeing, Sight, StoreError, follow};
use crate::telemetry::metrics::{FollowerLabels, Panics};

/// The limits of who follows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest that a connection may take to open.
    pub connect_max: Duration,
    /// How long one that has everything waits before it looks again.
    pub poll: Duration,
    /// How long one is left alone when there are no events: then time itself is what it follows.
    pub tick: Duration,
    /// Longest that one chunk may take as a whole.
    pub chunk_time_max: Duration,
    /// Most event ids of a chunk.
    pub chunk_ids_max: i64,
    /// Longest wait after a failure.
    pub backoff_max: Duration,
}

/// What is taken in one transaction: the events behind `after`, up to and with `until`. There may be
/// none: then it is only later than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The last event that was taken before, by this instance or another.
    pub after: i64,
    /// The last that is taken now. Everything up to it is settled.
    pub until: i64,
    /// What time it is.
    pub now: Timestamp,
    /// Whether there is more behind it already.
    pub is_behind: bool,
}

/// Something that follows the ledger.
pub trait Follower: Send + Sync + 'static {
    /// Its name in the table `follower`.
    fn name(&self) -> &'static str;

    /// Writes what it keeps of a chunk, in the transaction that is open on the connection (read
    /// committed, and committed by the caller). It may be called again for the same chunk when that
    /// fails, and other instances may have taken chunks between two calls: what it remembers must
    /// not depend on neither having happened.
    ///
    /// # Errors
    /// When the database does not do it: the whole chunk is taken again.
    fn take(
        &mut self,
        connection: &mut PgConnection,
        chunk: Chunk,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Those who follow, while they do.
#[derive(Debug)]
pub struct Followers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    options: PgConnectOptions,
    limits: Limits,
    panics: Panics,
}

impl Followers {
    /// Nobody yet.
    pub fn new(options: PgConnectOptions, limits: Limits, panics: Panics) -> Followers {
        Followers { stop: watch::channel(false).0, tasks: JoinSet::new(), options, limits, panics }
    }

    /// Lets one more follow, until all are stopped.
    pub fn start<F: Follower>(&mut self, name: &str, follower: impl Fn() -> F + Send + 'static) {
        let (options, limits) = (self.options.clone(), self.limits.clone());
        self.run(name, move || Following::new(follower(), options.clone(), limits.clone()).run());
    }

    /// Does something beside, until it ends or all are stopped. What is cut off in the middle of a
    /// transaction is undone with its connection. One that panics begins anew, after a wait that grows.
    pub fn run<W>(&mut self, name: &str, beside: impl Fn() -> W + Send + 'static)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let name = FollowerLabels { follower: name.to_owned() };
        // From the start, so that the first one is seen to come.
        let panics = self.panics.get_or_create(&name).clone();
        let mut stopped = self.stop.subscribe();
        let Limits { poll, backoff_max, .. } = self.limits;
        self.tasks.spawn(async move {
            for panicked in 1.. {
                let mut work = JoinSet::new();
                work.spawn(beside());
                let ended = tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => None,
                    ended = work.join_next() => ended,
                };
                match ended {
                    None => return work.shutdown().await,
                    Some(Ok(())) => return,
                    Some(Err(_)) => {}
                }
                panics.inc();
                let wait = backoff_max.min(poll * 2_u32.saturating_pow(panicked));
                // The panic itself is logged where it happens.
                tracing::info!(follower = name.follower, ?wait, "begins anew");
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        });
    }

    /// Leaves those who end by themselves so long to do it, and stops the others.
    pub async fn stop_at(mut self, until: tokio::time::Instant) {
        let ending = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout_at(until, ending).await;
        self.stop().await;
    }

    /// Stops all of them at once.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Following<F> {
    follower: F,
    options: PgConnectOptions,
    limits: Limits,
    horizon: Horizon,
    connection: Option<Seeing>,
    /// The last event that it was seen to have.
    reached: i64,
    /// When its row was last locked.
    took_turn_at: Option<Instant>,
    /// Event ids of the next chunk: fewer when one failed, as it may have taken too long.
    chunk_ids: i64,
    /// Failures since something was last done.
    failures: u32,
}

impl<F: Follower> Following<F> {
    fn new(follower: F, options: PgConnectOptions, limits: Limits) -> Following<F> {
        Following {
            follower,
            options,
            horizon: Horizon::default(),
            connection: None,
            reached: 0,
            took_turn_at: None,
            chunk_ids: limits.chunk_ids_max,
            failures: 0,
            limits,
        }
    }

    async fn run(mut self) {
        loop {
            let begun = Instant::now();
            let late = || Err(StoreError::Unavailable("the chunk took too long".to_owned()));
            let connection = self.connection.take();
            let step = tokio::time::timeout(self.limits.chunk_time_max, self.step(connection)).await;
            let wait = match step.unwrap_or_else(|_| late()) {
                Ok((connection, is_behind)) => {
                    self.connection = Some(connection);
                    self.succeed();
                    // Who is behind leaves half of the time to others.
                    if is_behind { begun.elapsed() } else { self.limits.poll }
                }
                Err(error) => self.fail(&error),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes the next chunk, if there is one or it is time. Answers whether there is more. The
    /// connection comes back only when nothing went wrong with it.
    async fn step(&mut self, connection: Option<Seeing>) -> Result<(Seeing, bool), StoreError> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let horizon = self.horizon.read(&mut connection, self.limits.poll).await?;
        let is_time = self.took_turn_at.is_none_or(|at| at.elapsed() >= self.limits.tick);
        if horizon <= self.reached && !is_time {
            return Ok((connection, false));
        }
        let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let Some(after) = follow::take_turn(&mut transaction, self.follower.name()).await? else {
            transaction.rollback().await?;
            return Ok((connection, false));
        };
        let until = horizon.min(after.saturating_add(self.chunk_ids)).max(after);
        let is_behind = until < horizon;
        self.follower.take(&mut transaction, Chunk { after, until, now: now(), is_behind }).await?;
        if until > after {
            follow::reach(&mut transaction, self.follower.name(), until).await?;
        }
        transaction.commit().await?;
        self.reached = until;
        self.took_turn_at = Some(Instant::now());
        Ok((connection, is_behind))
    }

    async fn connect(&self) -> Result<Seeing, StoreError> {
        let connection = store::connect_to_leader(&self.options, self.limits.connect_max).await?;
        let mut connection = Seeing::of(connection, Sight::All).await?;
        follow::introduce(&mut connection, self.follower.name()).await?;
        Ok(connection)
    }

    fn succeed(&mut self) {
        if self.failures > 0 {
            tracing::info!(follower = self.follower.name(), "follows again");
        }
        self.failures = 0;
        self.chunk_ids = (self.chunk_ids * 2).min(self.limits.chunk_ids_max);
    }

    /// Says so once, and answers how long to wait.
    fn fail(&mut self, error: &StoreError) -> Duration {
        if self.failures == 0 {
            tracing::warn!(follower = self.follower.name(), %error, "cannot follow, and tries again");
        }
        self.failures = self.failures.saturating_add(1);
        // Other instances may have been at work meanwhile.
        self.reached = 0;
        self.chunk_ids = (self.chunk_ids / 2).max(1);
        self.limits.backoff_max.min(self.limits.poll * 2_u32.saturating_pow(self.failures.min(16)))
    }
}

#[allow(clippy::disallowed_methods, reason = "here time enters for what is kept beside the books")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
