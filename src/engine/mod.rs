//! The engine: one queue and one writer per shard of products. Whatever queued while a
//! writer committed is its next batch; a lone command commits at once.

mod answers;
mod batch;
mod books;
mod intake;
mod link;
mod loading;
mod pulse;
pub mod rehearsal;
mod writer;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::domain::command::{Command, ProductKey};
use crate::domain::explanation::Explanation;
use crate::domain::refusal::Refusal;
use crate::store::configuration::Versioned;
use crate::store::ledger::Event;
use crate::telemetry::traces::Link;
use crate::telemetry::{metrics, request};

use pulse::Pulse;

/// The limits of the engine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Writers, each with a queue and a connection of its own.
    pub shards: usize,
    /// Commands that may wait in one queue; those of a bulk, which its length bounds, count as one.
    pub queue_commands_max: usize,
    /// Commands that one commit takes.
    pub batch_commands_max: usize,
    /// Stock nodes and balances that one writer holds in memory.
    pub books_entries_max: usize,
    /// Latest events that one writer remembers, so that it answers a repeat by itself.
    pub recent_events_max: usize,
    /// Longest that one round trip to the database may take.
    pub round_trip_max: Duration,
    /// How long a batch may be in the works and others are still let in behind it.
    pub batch_time_max: Duration,
    /// How long a writer counts as in trouble after the database would not have a batch,
    /// unless it had one since.
    pub trouble_time_max: Duration,
}

/// What a granted command, or the repeat of one, is answered with.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The event as it stands in the ledger.
    pub event: Arc<Event>,
    /// Whether it was there before.
    pub replayed: bool,
}

/// Why a submission was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// A rule is against it. Certain: it was judged on the stored state.
    #[error("{0}")]
    Refused(Refusal),
    /// The configuration that it was made under is not the current one: make it again.
    #[error("the configuration changed")]
    ConfigurationChanged,
    /// The queue is full or does not move, or other instances were quicker each time.
    #[error("more commands are waiting than can be taken; send it again")]
    Overloaded,
    /// The database cannot be reached. Whether the event is in the ledger is unknown. Says what was
    /// wrong, for the log of whoever sent it.
    #[error("the database is unavailable; send it again")]
    DatabaseUnavailable(Arc<str>),
    /// The service is stopping.
    #[error("the service is stopping; send it again")]
    ShuttingDown,
    /// A bug. Says what the database said.
    #[error("internal error: {0}")]
    Internal(Arc<str>),
}

/// Why the commands of a submission were not done: which was the first, and why.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The first command's place in the submission.
    pub index: usize,
    /// Why.
    pub failure: Failure,
    /// How that came about, where the command asked for it and the stored state was judged.
    pub explanation: Option<Box<Explanation>>,
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Rejection {
        Rejection { index: 0, failure, explanation: None }
    }
}

/// What a submission is answered with.
pub type Reply = Result<Vec<Receipt>, Rejection>;

/// Commands that are done together or not at all; mostly just one.
pub struct Submission {
    /// What is to be done; of one environment, and one command at least.
    pub commands: Vec<Arc<Command>>,
    /// What they were made under.
    pub configuration: Arc<Versioned>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Reply>,
    /// The room that it has in the part of a queue that is for bulks.
    pub room: Option<OwnedSemaphorePermit>,
    /// What came with it for the same writer, each on its own: lines of a bulk, which have one
    /// place in the queue, and fill batches from the first on.
    pub others: Vec<Submission>,
    /// Since when it has been waiting.
    pub since: Instant,
    /// The span of the request that it came with, where that is in a trace.
    pub trace: Option<Box<Link>>,
}

impl Submission {
    fn new(commands: Vec<Arc<Command>>, configuration: Arc<Versioned>) -> (Submission, Pending) {
        let (reply, pending) = oneshot::channel();
        let (room, others, since) = (None, Vec::new(), Instant::now());
        let trace = request::current_trace().and_then(|trace| trace.link()).map(Box::new);
        (Submission { commands, configuration, reply, room, others, since, trace }, Pending(pending))
    }

    /// How many commands it has, and what came with it.
    fn size(&self) -> usize {
        self.commands.len() + self.others.iter().map(Submission::size).sum::<usize>()
    }

    /// It alone, and then each that came with it.
    pub fn apart(mut self) -> impl Iterator<Item = Submission> {
        let others = std::mem::take(&mut self.others);
        std::iter::once(self).chain(others)
    }
}

/// A writer as seen by those who give it commands.
#[derive(Debug)]
struct Shard {
    queue: mpsc::Sender<Submission>,
    /// Bulks get half of the queue: they wait for room, and would leave none to anybody else.
    for_bulks: Arc<Semaphore>,
    pulse: Arc<Pulse>,
}

impl Shard {
    fn new(queue: mpsc::Sender<Submission>, pulse: Arc<Pulse>) -> Shard {
        let for_bulks = Arc::new(Semaphore::new(queue.max_capacity().div_ceil(2)));
        Shard { queue, for_bulks, pulse }
    }

    /// Queues once there is room for a bulk, or answers what could not be queued.
    async fn send(&self, mut submission: Submission) -> Result<(), Submission> {
        // It is never closed.
        submission.room = Arc::clone(&self.for_bulks).acquire_owned().await.ok();
        let Ok(place) = self.queue.reserve().await else { return Err(submission) };
        self.pulse.come(submission.size());
        place.send(submission);
        Ok(())
    }
}

/// Gives commands to the writers. When the last clone is dropped, they finish what is
/// queued and end.
#[derive(Clone, Debug)]
pub struct Handle {
    shards: Arc<[Shard]>,
}

/// The answer that a submission will have.
pub struct Pending(oneshot::Receiver<Reply>);

impl Pending {
    /// Waits for the answer. Giving up does not undo the command.
    ///
    /// # Errors
    /// Says what stood in the way, and of which command.
    pub async fn answer(self) -> Reply {
        // A writer answers everything that it took, so a lost reply means that it panicked:
        // whether it had committed is unknown.
        self.0.await.unwrap_or_else(|_| Err(Failure::DatabaseUnavailable("the writer failed".into()).into()))
    }
}

impl Handle {
    /// Gives commands to whoever takes them from these queues, one at least.
    pub fn over(queues: Vec<mpsc::Sender<Submission>>) -> Handle {
        let unbounded = || Arc::new(Pulse::new(Duration::MAX, Duration::ZERO));
        Handle { shards: queues.into_iter().map(|queue| Shard::new(queue, unbounded())).collect() }
    }

    /// Whether commands would most likely be done, of whatever product.
    pub fn is_well(&self) -> bool {
        self.shards.iter().all(|shard| shard.pulse.is_well())
    }

    /// How many commands wait for each writer, and for how long the oldest has that is not done.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, Duration)> {
        self.shards.iter().map(|shard| shard.pulse.waiting())
    }

    /// Queues a command, or refuses it at once when the queue is full or does not move.
    ///
    /// # Errors
    /// When the queue is full, does not move, or is closed.
    pub fn submit(&self, command: Command, configuration: Arc<Versioned>) -> Result<Pending, Failure> {
        let shard = &self.shards[self.shard(&command.product)];
        if shard.pulse.is_stuck() {
            return Err(Failure::Overloaded);
        }
        let place = shard.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => Failure::Overloaded,
            mpsc::error::TrySendError::Closed(()) => Failure::ShuttingDown,
        })?;
        let (submission, pending) = Submission::new(vec![Arc::new(command)], configuration);
        shard.pulse.come(1);
        place.send(submission);
        Ok(pending)
    }

    /// Queues commands that are each done on its own, once there is room: what waits is bounded
    /// by the bulk request that it came with. Answers, in the same order, what each will have.
    pub async fn submit_each(&self, commands: Vec<Command>, configuration: &Arc<Versioned>) -> Vec<Pending> {
        let mut of_shards: Vec<Vec<Submission>> = self.shards.iter().map(|_| Vec::new()).collect();
        let mut all = Vec::with_capacity(commands.len());
        for command in commands {
            let shard = self.shard(&command.product);
            let (submission, pending) = Submission::new(vec![Arc::new(command)], Arc::clone(configuration));
            of_shards[shard].push(submission);
            all.push(pending);
        }
        for (shard, submissions) in self.shards.iter().zip(of_shards) {
            let mut submissions = submissions.into_iter();
            let Some(mut first) = submissions.next() else { continue };
            first.others = submissions.collect();
            if let Err(refused) = shard.send(first).await {
                for submission in refused.apart() {
                    let _ = submission.reply.send(Err(Failure::ShuttingDown.into()));
                }
            }
        }
        all
    }

    /// Queues commands that are done together or not at all, once there is room: what
    /// waits is bounded by the bulk request that it came with.
    ///
    /// # Errors
    /// When the queue is closed.
    pub async fn submit_when_free(
        &self,
        commands: Vec<Command>,
        configuration: Arc<Versioned>,
    ) -> Result<Pending, Failure> {
        let Some(shard) = commands.first().map(|first| self.shard(&first.product)) else {
            let (reply, pending) = oneshot::channel();
            let _ = reply.send(Ok(Vec::new()));
            return Ok(Pending(pending));
        };
        let commands = commands.into_iter().map(Arc::new).collect();
        let (submission, pending) = Submission::new(commands, configuration);
        self.shards[shard].send(submission).await.map_err(|_| Failure::ShuttingDown)?;
        Ok(pending)
    }

    /// Commands that may affect one another share a product, and so a queue.
    fn shard(&self, product: &ProductKey) -> usize {
        let mut hasher = DefaultHasher::new();
        product.hash(&mut hasher);
        (hasher.finish() % self.shards.len() as u64) as usize
    }
}

/// A writer panicked.
#[derive(Debug)]
pub struct Panicked;

/// The running writers. Each ends once every clone of the handle is dropped and what was
/// queued is done: await the set to drain.
pub type Writers = JoinSet<Result<(), Panicked>>;

/// Starts the writers, each on a thread of its own: what it waits for is one answer of the
/// database, and among hundreds of requests on the same threads it would hear of it late.
///
/// # Errors
/// When the system has no thread to give.
pub fn start(
    options: &PgConnectOptions,
    limits: &Limits,
    metrics: &Arc<metrics::Writers>,
) -> io::Result<(Handle, Writers)> {
    let mut writers = JoinSet::new();
    let mut shards = Vec::new();
    for shard in 0..limits.shards.max(1) {
        let (sender, receiver) = mpsc::channel(limits.queue_commands_max);
        let pulse = Arc::new(Pulse::new(limits.batch_time_max, limits.trouble_time_max));
        let writer =
            writer::Writer::new(options.clone(), limits, receiver, Arc::clone(&pulse), Arc::clone(metrics));
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (done, ended) = oneshot::channel();
        thread::Builder::new().name(format!("writer-{shard}")).spawn(move || {
            runtime.block_on(writer.run());
            let _ = done.send(());
        })?;
        writers.spawn(async { ended.await.map_err(|_| Panicked) });
        shards.push(Shard::new(sender, pulse));
    }
    Ok((Handle { shards: shards.into() }, writers))
}
