//! Traces: which requests are in one, and the spans of those that are, until they are sent.
//!
//! Nothing here is done for a request that is in no trace but to find that out. There is no span
//! object that follows a request about: where a request, its wait, its batch and its commit end, one
//! span of each is made of times that are known by then anyway, and put in a queue that drops what
//! it has no room for, and counts it.
//!
//! An attempt to deliver to a webhook is a trace of its own.
//!
//! A batch has many requests, and a span has one parent. The batch's span is a child of the first of
//! its requests that is in a trace, so that there is one trace from that request to the commit, and
//! it has links to the others, as OpenTelemetry's conventions have it for batches. What these others
//! have of their own is the span of their wait, which has a link back to the batch: so from any of
//! them it is one step to the commit that they waited for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

/// Spans that wait to be sent.
const QUEUE_SPANS_MAX: usize = 8192;
/// Links of one span: a batch has as many requests as its limit says.
const LINKS_MAX: usize = 128;

/// The 16 bytes that all spans of a trace share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// The 8 bytes of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub u64);

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// A span as others refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its trace.
    pub trace: TraceId,
    /// It.
    pub span: SpanId,
}

impl Link {
    /// The header `traceparent` for who is asked within the span, which is recorded.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }
}

/// The trace that a request is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The span of whoever sent the request, where they have one.
    pub parent: Option<SpanId>,
    /// The request's own span; nothing where the trace is not recorded.
    pub span: Option<SpanId>,
}

impl Trace {
    /// Reads the header `traceparent` of W3C's Trace Context, and whether its trace is recorded.
    /// One that is malformed is as if it were not there.
    fn parse(header: &str) -> Option<(TraceId, SpanId, bool)> {
        let mut parts = header.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may have more behind what this one has.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let number = |text: &str, digits: usize| {
            let is_it = text.len() == digits
                && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            is_it.then(|| u128::from_str_radix(text, 16).ok()).flatten()
        };
        number(version, 2)?;
        let trace = number(trace, 32).filter(|&id| id != 0)?;
        let parent = number(parent, 16).filter(|&id| id != 0)?;
        let flags = number(flags, 2)?;
        Some((TraceId(trace), SpanId(u64::try_from(parent).ok()?), flags & 1 == 1))
    }

    /// The request's span, as others refer to it; nothing where the trace is not recorded.
    pub fn link(&self) -> Option<Link> {
        Some(Link { trace: self.id, span: self.span? })
    }
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A fixed word.
    Word(&'static str),
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// What kind a span is of, with OTLP's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Inside of the service.
    Internal = 1,
    /// It answers somebody.
    Server = 2,
    /// It asks somebody.
    Client = 3,
}

/// Something that took time, and is over.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its trace, and it.
    pub own: Link,
    /// What it is a part of.
    pub parent: Option<SpanId>,
    /// Whether that is somewhere else.
    pub is_parent_remote: bool,
    /// What it is.
    pub name: String,
    /// What kind.
    pub kind: Kind,
    /// When it began and ended, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// What else there is to know.
    pub attributes: Vec<(&'static str, Value)>,
    /// What it belongs to beside its parent.
    pub links: Vec<Link>,
    /// Whether it failed.
    pub has_failed: bool,
}

/// Counts what became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sent, and taken by the collector.
    pub sent: Counter,
    /// Dropped, for want of room or of a collector that takes them.
    pub dropped: Counter,
}

/// The traces of a service that are on.
#[derive(Debug)]
pub struct Traces {
    queue: mpsc::Sender<Span>,
    counts: std::sync::Arc<Counts>,
    /// A new trace is recorded when a random number is below.
    threshold: u64,
    state: AtomicU64,
    /// Makes the ids of traces differ from those of other processes in all of their bytes.
    salt: u64,
}

impl Traces {
    /// Traces of which so many in 2^64 are recorded, unless the request says whether; and where
    /// their spans come out.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(
        threshold: u64,
        counts: std::sync::Arc<Counts>,
    ) -> Result<(Traces, mpsc::Receiver<Span>), getrandom::Error> {
        let (queue, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let (state, salt) = (AtomicU64::new(getrandom::u64()?), getrandom::u64()?);
        Ok((Traces { queue, counts, threshold, state, salt }, spans))
    }

    /// The trace of a request that comes with these headers. Without allocating anything, and with one
    /// addition that other requests see.
    pub fn begin(&self, headers: &HeaderMap) -> Option<Trace> {
        let given = headers.get("traceparent").and_then(|header| Trace::parse(header.to_str().ok()?));
        if let Some((id, parent, is_recorded)) = given {
            let span = is_recorded.then(|| self.span_id());
            return Some(Trace { id, parent: Some(parent), span });
        }
        if self.random() >= self.threshold {
            return None;
        }
        let id = TraceId(u128::from(self.random() ^ self.salt) << 64 | u128::from(self.random().max(1)));
        Some(Trace { id, parent: None, span: Some(self.span_id()) })
    }

    /// A name for a span.
    pub fn span_id(&self) -> SpanId {
        SpanId(self.random().max(1))
    }

    /// SplitMix64, from a random beginning: whether a request is recorded is not a secret.
    fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Hands a span to whoever sends it, or drops it where too many wait: nobody waits for a collector.
    pub fn record(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.counts.dropped.inc();
        }
    }
}

/// Where a batch is in traces.
#[derive(Clone, Debug)]
pub struct BatchTrace {
    own: Link,
    parent: SpanId,
    links: Vec<Link>,
    clock: Clock,
    began: Instant,
}

impl BatchTrace {
    /// The trace of a batch that begins, of the first of its requests that is in one; nothing where
    /// none is. Each has waited since its moment; the waits of those that are in traces are recorded.
    pub fn begin(
        traces: &Traces,
        began: Instant,
        mut waited: impl Iterator<Item = (Link, Instant)>,
    ) -> Option<BatchTrace> {
        let (first, since) = waited.next()?;
        let own = Link { trace: first.trace, span: traces.span_id() };
        let mut batch = BatchTrace { own, parent: first.span, links: Vec::new(), clock: Clock::now(), began };
        batch.waited(traces, first, since, began);
        batch.join(traces, began, waited);
        Some(batch)
    }

    /// More requests, which came into the batch after it began.
    pub fn join(&mut self, traces: &Traces, now: Instant, waited: impl Iterator<Item = (Link, Instant)>) {
        for (request, since) in waited {
            if self.links.len() < LINKS_MAX {
                self.links.push(request);
            }
            self.waited(traces, request, since, now);
        }
    }

    fn waited(&self, traces: &Traces, request: Link, since: Instant, until: Instant) {
        traces.record(Span {
            own: Link { trace: request.trace, span: traces.span_id() },
            parent: Some(request.span),
            is_parent_remote: false,
            name: "queue".to_owned(),
            kind: Kind::Internal,
            times: (self.clock.at(since), self.clock.at(until)),
            attributes: Vec::new(),
            links: vec![self.own],
            has_failed: false,
        });
    }

    /// A commit that is over, however it ended.
    pub fn committed(&self, traces: &Traces, began: Instant, commands: usize, failure: Option<&'static str>) {
        let mut attributes = vec![
            ("db.system.name", Value::Word("postgresql")),
            ("db.operation.name", Value::Word("COMMIT")),
            ("db.operation.batch.size", Value::Number(i64::try_from(commands).unwrap_or(i64::MAX))),
        ];
        attributes.extend(failure.map(|failure| ("error.type", Value::Word(failure))));
        traces.record(Span {
            own: Link { trace: self.own.trace, span: traces.span_id() },
            parent: Some(self.own.span),
            is_parent_remote: false,
            name: "commit".to_owned(),
            kind: Kind::Client,
            times: (self.clock.at(began), self.clock.at(Instant::now())),
            attributes,
            links: Vec::new(),
            has_failed: failure.is_some(),
        });
    }

    /// The batch is over; it had so many commands.
    pub fn end(self, traces: &Traces, commands: usize) {
        let commands = Value::Number(i64::try_from(commands).unwrap_or(i64::MAX));
        traces.record(Span {
            own: self.own,
            parent: Some(self.parent),
            is_parent_remote: false,
            name: "batch".to_owned(),
            kind: Kind::Internal,
            times: (self.clock.at(self.began), self.clock.at(Instant::now())),
            attributes: vec![("ringfence.batch.commands", commands)],
            links: self.links,
            has_failed: false,
        });
    }
}

/// What time it was at moments that only have an order.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    moment: Instant,
    nanoseconds: u64,
}

impl Clock {
    /// What time it is.
    #[allow(clippy::disallowed_methods, reason = "the times of spans are only told")]
    pub fn now() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // It fits until 2554.
        Clock { moment: Instant::now(), nanoseconds: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// A moment before or after.
    pub fn at(&self, moment: Instant) -> u64 {
        let nanoseconds = |from: Instant, to: Instant| {
            u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
        };
        self.nanoseconds
            .saturating_sub(nanoseconds(moment, self.moment))
            .saturating_add(nanoseconds(self.moment, moment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn traces(threshold: u64) -> Traces {
        // Nobody takes what is recorded: there is room for some.
        Traces::new(threshold, std::sync::Arc::default()).unwrap().0
    }

    fn headers(traceparent: &str) -> HeaderMap {
        HeaderMap::from_iter([("traceparent".parse().unwrap(), traceparent.parse().unwrap())])
    }

    #[test]
    fn who_sends_a_trace_says_whether_it_is_recorded() {
        for (flags, is_recorded) in [("00", false), ("01", true), ("03", true), ("02", false)] {
            for threshold in [0, u64::MAX] {
                let given = traces(threshold).begin(&headers(&format!("00-{TRACE}-{PARENT}-{flags}")));
                let given = given.unwrap();
                assert_eq!(given.id.to_string(), TRACE);
                assert_eq!(given.parent.unwrap().to_string(), PARENT);
                assert_eq!(given.span.is_some(), is_recorded, "{flags}");
            }
        }
    }

    #[test]
    fn a_header_that_is_none_is_as_if_it_were_not_there() {
        let zeros = "0000000000000000";
        for wrong in [
            "",
            "00",
            &format!("00-{TRACE}-{PARENT}"),
            &format!("00-{TRACE}-{PARENT}-01-more"),
            &format!("ff-{TRACE}-{PARENT}-01"),
            &format!("0-{TRACE}-{PARENT}-01"),
            &format!("00-{zeros}{zeros}-{PARENT}-01"),
            &format!("00-{TRACE}-{zeros}-01"),
            &format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            &format!("00-+{}-{PARENT}-01", &TRACE[1..]),
            &format!("00-{TRACE}-{PARENT}-1"),
        ] {
            assert_eq!(traces(0).begin(&headers(wrong)), None, "{wrong}");
            let own = traces(u64::MAX).begin(&headers(wrong)).unwrap();
            assert_eq!((own.parent, own.id.to_string() == TRACE), (None, false), "{wrong}");
        }
        let later = format!("01-{TRACE}-{PARENT}-01-more");
        assert_eq!(traces(0).begin(&headers(&later)).unwrap().id.to_string(), TRACE);
    }

    #[test]
    fn as_many_are_recorded_as_the_share_says() {
        let traces = traces(u64::MAX / 100);
        let recorded = (0..100_000).filter(|_| traces.begin(&HeaderMap::new()).is_some()).count();
        assert!((800..1200).contains(&recorded), "{recorded}");
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_counted() {
        let counts = std::sync::Arc::<Counts>::default();
        let (traces, spans) = Traces::new(u64::MAX, std::sync::Arc::clone(&counts)).unwrap();
        let trace = traces.begin(&HeaderMap::new()).unwrap().link().unwrap();
        let now = Instant::now();
        for _ in 0..QUEUE_SPANS_MAX / 2 + 5 {
            // The wait, and the batch.
            BatchTrace::begin(&traces, now, std::iter::once((trace, now))).unwrap().end(&traces, 1);
        }
        assert_eq!((spans.len(), counts.dropped.get()), (QUEUE_SPANS_MAX, 10));
    }
}
