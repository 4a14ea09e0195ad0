//! Sends spans to a collector: OTLP over HTTP, as JSON.
//!
//! The encoding is written here. It is four kinds of spans and a mapping that OpenTelemetry keeps
//! stable; the crates for it would bring a dozen more, and want to have the queue, the clock and the
//! client too. `tests/traces/` holds it against a collector, and against OpenTelemetry's own decoder.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::sync::{mpsc, watch};

use crate::deliver::send::Sender;
use crate::telemetry::traces::{Counts, Link, Span, SpanId, TraceId, Value};

/// Where spans go, and by what name.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Its address, without the path that OTLP fixes.
    pub endpoint: String,
    /// What the service is called there.
    pub service: String,
}

/// Most spans of one message.
const MESSAGE_SPANS_MAX: usize = 512;
/// How long the first span of a message waits for others.
const WAIT: Duration = Duration::from_secs(1);
/// Longest that a collector may take for a message.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// Sends spans until it is stopped, and then those that wait, for which the caller has a limit. What a collector does not take is
/// dropped and counted: traces are a sample, and what piles up would be worth less than the memory.
pub async fn run(
    collector: Collector,
    sender: Sender,
    mut spans: mpsc::Receiver<Span>,
    counts: Arc<Counts>,
    mut stop: watch::Receiver<bool>,
) {
    let mut exporter = Exporter { collector, sender, counts, is_in_trouble: false };
    let mut message = Vec::new();
    loop {
        let is_over = tokio::select! {
            count = spans.recv_many(&mut message, MESSAGE_SPANS_MAX) => count == 0,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if !is_over && message.len() < MESSAGE_SPANS_MAX {
            tokio::select! {
                () = tokio::time::sleep(WAIT) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        while message.len() < MESSAGE_SPANS_MAX
            && let Ok(span) = spans.try_recv()
        {
            message.push(span);
        }
        if message.is_empty() {
            return;
        }
        exporter.send(&message).await;
        message.clear();
    }
}

struct Exporter {
    collector: Collector,
    sender: Sender,
    counts: Arc<Counts>,
    is_in_trouble: bool,
}

impl Exporter {
    async fn send(&mut self, spans: &[Span]) {
        let url = format!("{}/v1/traces", self.collector.endpoint.trim_end_matches('/'));
        let body = message(&self.collector.service, spans);
        let sent = tokio::time::timeout(SEND_TIME_MAX, self.sender.send(&url, &[], body)).await;
        let failure = match sent {
            Ok(Ok(answer)) if (200..300).contains(&answer.status) => None,
            Ok(Ok(answer)) => Some(format!("it answered {}", answer.status)),
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("no answer within {SEND_TIME_MAX:?}")),
        };
        let count = spans.len() as u64;
        match &failure {
            None => self.counts.sent.inc_by(count),
            Some(_) => self.counts.dropped.inc_by(count),
        };
        // Once, and not for each message.
        match (&failure, self.is_in_trouble) {
            (Some(error), false) => tracing::warn!(error, "the collector takes no traces: they are dropped"),
            (None, true) => tracing::info!("the collector takes traces again"),
            _ => {}
        }
        self.is_in_trouble = failure.is_some();
    }
}

/// What is sent is written as it is read: it is as much as a batch of hundreds of commands, many times a second.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "resourceSpans")]
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    #[serde(rename = "scopeSpans")]
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    #[serde(serialize_with = "attributes")]
    attributes: &'a [(&'static str, Value)],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    #[serde(serialize_with = "spans")]
    spans: &'a [Span],
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

/// The flags of W3C for a trace that is recorded, and OTLP's of whether the parent is elsewhere.
const RECORDED: u32 = 0x101;
const PARENT_IS_REMOTE: u32 = 0x200;
const STATUS_ERROR: u32 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanMessage<'a> {
    trace_id: Shown<TraceId>,
    span_id: Shown<SpanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Shown<SpanId>>,
    flags: u32,
    name: &'a str,
    kind: u32,
    // Numbers of 64 bits are texts in this mapping.
    start_time_unix_nano: Shown<u64>,
    end_time_unix_nano: Shown<u64>,
    #[serde(serialize_with = "attributes")]
    attributes: &'a [(&'static str, Value)],
    #[serde(serialize_with = "links")]
    links: &'a [Link],
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkMessage {
    trace_id: Shown<TraceId>,
    span_id: Shown<SpanId>,
    flags: u32,
}

#[derive(Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: AttributeValue<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AttributeValue<'a> {
    StringValue(&'a str),
    IntValue(Shown<i64>),
}

/// A text of what is shown.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn message(service: &str, spans: &[Span]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let attributes =
        [("service.name", Value::Text(service.to_owned())), ("service.version", Value::Word(version))];
    let message = Message {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: &attributes },
            scope_spans: [ScopeSpans { scope: Scope { name: "ringfence", version }, spans }],
        }],
    };
    // A structure of strings and numbers always becomes JSON.
    serde_json::to_string(&message).unwrap_or_default()
}

fn spans<S: Serializer>(spans: &[Span], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(spans.iter().map(|span| SpanMessage {
        trace_id: Shown(span.own.trace),
        span_id: Shown(span.own.span),
        parent_span_id: span.parent.map(Shown),
        flags: RECORDED | if span.is_parent_remote { PARENT_IS_REMOTE } else { 0 },
        name: &span.name,
        kind: span.kind as u32,
        start_time_unix_nano: Shown(span.times.0),
        end_time_unix_nano: Shown(span.times.1),
        attributes: &span.attributes,
        links: &span.links,
        status: Status { code: span.has_failed.then_some(STATUS_ERROR) },
    }))
}

fn links<S: Serializer>(links: &[Link], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(links.iter().map(|link| LinkMessage {
        trace_id: Shown(link.trace),
        span_id: Shown(link.span),
        flags: RECORDED,
    }))
}

fn attributes<S: Serializer>(given: &[(&'static str, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(given.iter().map(|(key, value)| {
        let value = match value {
            Value::Word(word) => AttributeValue::StringValue(word),
            Value::Text(text) => AttributeValue::StringValue(text),
            Value::Number(number) => AttributeValue::IntValue(Shown(*number)),
        };
        Attribute { key, value }
    }))
}
