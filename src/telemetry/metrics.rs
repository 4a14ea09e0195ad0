//! What is measured, under the names that dashboards and alerts go by. Those of HTTP are the
//! semantic conventions of OpenTelemetry, with their buckets.
//!
//! The number of series is bounded: labels are of fixed sets (routes, statuses, codes), and never a
//! tenant's, a product's or a client's words.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::mpsc;

use super::traces::{Counts, Span, Traces};

/// The buckets that the semantic conventions of HTTP ask for, in seconds.
const HTTP_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// A commit takes a millisecond or less; more than a few hundred are trouble.
const COMMIT_BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 2.5, 5.0];
/// Commands of a batch: powers of two, to the default limit.
const BATCH_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// What a request was, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The method, `_OTHER` for one that the service does not know.
    pub http_request_method: &'static str,
    /// The route as the API's document writes it; empty where there is none.
    pub http_route: &'static str,
    /// The status of the answer.
    pub http_response_status_code: u32,
}

/// What was refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// The problem's code.
    pub code: &'static str,
    /// The method and the route of the request: together, its operation.
    pub http_request_method: &'static str,
    /// See above.
    pub http_route: &'static str,
}

/// Why a batch was decided again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RetryLabels {
    /// What PostgreSQL said; empty where it said nothing, or the service itself saw the conflict.
    pub sqlstate: &'static str,
}

/// How a commit whose answer was lost had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AmbiguousLabels {
    /// `committed`, `not_committed`, or `unknown` where nobody could be asked.
    pub ended: &'static str,
}

/// Whether what a command needs was in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LookupLabels {
    /// `hit` or `miss`.
    pub result: &'static str,
}

/// Who follows the ledger, or does something else beside the requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FollowerLabels {
    /// Its name, one of few that are in the program.
    pub follower: String,
}

/// What became of what is for webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// `due` or `dead`.
    pub state: &'static str,
}

/// A writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShardLabels {
    /// Its number, counted from 0.
    pub shard: u32,
}

/// A gauge that is no whole number.
type Fraction = Gauge<f64, std::sync::atomic::AtomicU64>;
/// Panics, by who had them.
pub type Panics = Family<FollowerLabels, Counter>;

type RequestHistogram = Family<RequestLabels, Histogram, fn() -> Histogram>;

/// What is measured of one service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: RequestHistogram,
    /// Requests that are being answered.
    pub active_requests: Gauge,
    refusals: Family<RefusalLabels, Counter>,
    /// Bugs that were met. There from the start, so that the first one is seen to come: refusals are not,
    /// because there are too many kinds of them.
    pub bugs: Counter,
    /// Of the writers.
    pub writers: Arc<Writers>,
    queue: Family<ShardLabels, Gauge>,
    oldest_command: Family<ShardLabels, Fraction>,
    oldest_transaction: Fraction,
    database_up: Gauge,
    over_allocated: Gauge,
    behind_events: Family<FollowerLabels, Gauge>,
    behind_age: Family<FollowerLabels, Fraction>,
    deliveries: Family<DeliveryLabels, Gauge>,
    overdue: Fraction,
    /// Panics of who follows.
    pub panics: Panics,
    /// What became of spans.
    pub spans: Arc<Counts>,
    /// The traces, where they are on.
    pub traces: Option<Arc<Traces>>,
}

/// What is measured of the writers.
#[derive(Debug)]
pub struct Writers {
    /// How long the oldest command of a batch had waited, in seconds.
    pub queue_wait: Histogram,
    /// Commands of a batch, however many of them are done together or not at all.
    pub batch: Histogram,
    /// How long a commit took, in seconds.
    pub commit: Histogram,
    /// Batches that were decided again.
    pub retries: Family<RetryLabels, Counter>,
    /// Commands of commits whose answer was lost.
    pub ambiguous: Family<AmbiguousLabels, Counter>,
    /// Nodes and balances that commands needed.
    pub lookups: Family<LookupLabels, Counter>,
    /// Bugs that were met.
    pub bugs: Counter,
    /// The traces, where they are on.
    pub traces: Option<Arc<Traces>>,
}

/// What may end or begin again; each is there from the start, so that the first one is seen to come.
const SQLSTATES: [&str; 7] = ["", "23502", "23505", "40001", "40P01", "53200", "55P03"];

impl Default for Writers {
    fn default() -> Writers {
        let writers = Writers::new();
        for sqlstate in SQLSTATES {
            drop(writers.retries.get_or_create(&RetryLabels { sqlstate }));
        }
        for ended in ["committed", "not_committed", "unknown"] {
            drop(writers.ambiguous.get_or_create(&AmbiguousLabels { ended }));
        }
        writers
    }
}

impl Writers {
    fn new() -> Writers {
        Writers {
            queue_wait: Histogram::new(COMMIT_BUCKETS),
            batch: Histogram::new(BATCH_BUCKETS),
            commit: Histogram::new(COMMIT_BUCKETS),
            retries: Family::default(),
            ambiguous: Family::default(),
            lookups: Family::default(),
            bugs: Counter::default(),
            traces: None,
        }
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let requests = RequestHistogram::new_with_constructor(|| Histogram::new(HTTP_BUCKETS));
        let (active_requests, refusals, writers) =
            (Gauge::default(), Family::default(), Arc::<Writers>::default());
        let bugs = writers.bugs.clone();
        let queue = Family::<ShardLabels, Gauge>::default();
        let oldest_command = Family::<ShardLabels, Fraction>::default();
        let (oldest_transaction, database_up) = (Gauge::default(), Gauge::default());
        let mut registry = Registry::default();
        let name = "http_server_request_duration";
        registry.register_with_unit(name, "How long requests took", Unit::Seconds, requests.clone());
        registry.register(
            "http_server_active_requests",
            "Requests that are being answered",
            active_requests.clone(),
        );
        let ours = registry.sub_registry_with_prefix("ringfence");
        ours.register("refusals", "Commands and requests that were refused", refusals.clone());
        ours.register("bugs", "Bugs that requests and commands met", bugs.clone());
        ours.register("queue_commands", "Commands that wait for a writer", queue.clone());
        let help = "How long the oldest command has waited for a writer that has not done it yet";
        ours.register_with_unit("oldest_command", help, Unit::Seconds, oldest_command.clone());
        let help = "How long the oldest command of a batch had waited";
        ours.register_with_unit("queue_wait", help, Unit::Seconds, writers.queue_wait.clone());
        ours.register("batch_commands", "Commands of a batch", writers.batch.clone());
        ours.register_with_unit(
            "commit_duration",
            "How long a commit took",
            Unit::Seconds,
            writers.commit.clone(),
        );
        ours.register("retries", "Batches that were decided again", writers.retries.clone());
        let help = "Commands of commits whose answer was lost, by how these had ended";
        ours.register("ambiguous_commands", help, writers.ambiguous.clone());
        let help = "Stock nodes and balances that commands needed, by whether they were in memory";
        ours.register("books_lookups", help, writers.lookups.clone());
        let help = "How long the oldest transaction of the database has been open";
        ours.register_with_unit("oldest_transaction", help, Unit::Seconds, oldest_transaction.clone());
        ours.register(
            "database_up",
            "Whether the database answered when it was last asked",
            database_up.clone(),
        );
        let (over_allocated, overdue) = (Gauge::default(), Fraction::default());
        let (behind_events, behind_age) = Default::default();
        let (deliveries, panics) = (Family::default(), Panics::default());
        let help = "Stock nodes of which more is set aside than there is, when they were last counted";
        ours.register("over_allocated_nodes", help, Gauge::clone(&over_allocated));
        let help = "Events that one who follows the ledger has not yet taken";
        let of_events: &Family<FollowerLabels, Gauge> = &behind_events;
        ours.register("follower_behind_events", help, of_events.clone());
        let help = "How long ago the first event was received that one who follows has not yet taken";
        let of_age: &Family<FollowerLabels, Fraction> = &behind_age;
        ours.register_with_unit("follower_behind", help, Unit::Seconds, of_age.clone());
        ours.register("follower_panics", "Panics of those who follow the ledger", panics.clone());
        let help = "Lanes to webhooks that are due, and messages to webhooks that were given up";
        let of_state: &Family<DeliveryLabels, Gauge> = &deliveries;
        ours.register("webhook_deliveries", help, of_state.clone());
        let help = "For how long what is due to a webhook has been";
        ours.register_with_unit("webhook_overdue", help, Unit::Seconds, Fraction::clone(&overdue));
        let spans = Arc::<Counts>::default();
        ours.register("trace_spans_sent", "Spans that a collector of traces took", spans.sent.clone());
        let help = "Spans that were dropped, because too many waited or no collector took them";
        ours.register("trace_spans_dropped", help, spans.dropped.clone());
        Metrics {
            registry,
            requests,
            active_requests,
            refusals,
            bugs,
            writers,
            queue,
            oldest_command,
            oldest_transaction,
            database_up,
            over_allocated,
            behind_events,
            behind_age,
            deliveries,
            overdue,
            panics,
            spans,
            traces: None,
        }
    }
}

impl Metrics {
    /// With traces, of which so many in 2^64 are recorded; and their spans, for who sends them.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn traced(threshold: u64) -> Result<(Metrics, mpsc::Receiver<Span>), getrandom::Error> {
        let mut metrics = Metrics::default();
        let (traces, spans) = Traces::new(threshold, Arc::clone(&metrics.spans))?;
        let traces = Arc::new(traces);
        metrics.traces = Some(Arc::clone(&traces));
        // They are nobody else's yet.
        if let Some(writers) = Arc::get_mut(&mut metrics.writers) {
            writers.traces = Some(traces);
        }
        Ok((metrics, spans))
    }

    /// Counts a request that was answered.
    pub fn answered(&self, labels: RequestLabels, took: Duration) {
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a refusal.
    pub fn refused(&self, labels: RefusalLabels) {
        self.refusals.get_or_create(&labels).inc();
    }

    /// Says how many commands wait for each writer, and for how long the oldest has that is not done.
    pub fn waiting(&self, of_shards: impl Iterator<Item = (usize, Duration)>) {
        for (shard, (commands, age)) in (0..).zip(of_shards) {
            self.queue.get_or_create(&ShardLabels { shard }).set(commands as i64);
            self.oldest_command.get_or_create(&ShardLabels { shard }).set(age.as_secs_f64());
        }
    }

    /// Says for how long the oldest transaction has been open; `None` where the database does not answer.
    pub fn oldest_transaction(&self, age: Option<Duration>) {
        self.database_up.set(i64::from(age.is_some()));
        self.oldest_transaction.set(age.unwrap_or_default().as_secs_f64());
    }

    /// Says how many stock nodes are over-allocated.
    pub fn over_allocated(&self, nodes: i64) {
        self.over_allocated.set(nodes);
    }

    /// Says how far one who follows the ledger is behind.
    pub fn behind(&self, follower: String, events: i64, age: Duration) {
        let labels = FollowerLabels { follower };
        self.behind_events.get_or_create(&labels).set(events);
        self.behind_age.get_or_create(&labels).set(age.as_secs_f64());
    }

    /// Says what is due to webhooks, and what was given up.
    pub fn deliveries(&self, due: i64, overdue: Duration, dead: i64) {
        for (state, count) in [("due", due), ("dead", dead)] {
            self.deliveries.get_or_create(&DeliveryLabels { state }).set(count);
        }
        self.overdue.set(overdue.as_secs_f64());
    }

    /// All of it, as Prometheus reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A string takes whatever is written into it.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}
