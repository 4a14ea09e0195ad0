//! Sends spans to a collector: OTLP over HTTP, as JSON.
//!
//! The encoding is written here. It is four kinds of spans and a mapping that OpenTelemetry keeps
//! stable; the crates for it would bring a dozen more, and want to have the queue, the clock and the
//! client too. `tests/traces/` holds it against a collector, and against OpenTelemetry's own decoder.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, watch};

use crate::deliver::send::Sender;
use crate::telemetry::traces::{Counts, Link, Span, Value};

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
        let body = message(&self.collector.service, spans).to_string();
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

fn message(service: &str, spans: &[Span]) -> Json {
    let resource = attributes(&[
        ("service.name", Value::Text(service.to_owned())),
        ("service.version", Value::Word(env!("CARGO_PKG_VERSION"))),
    ]);
    let scope = json!({"name": "ringfence", "version": env!("CARGO_PKG_VERSION")});
    let spans: Vec<Json> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": scope, "spans": spans}],
    }]})
}

/// The flags of W3C for a trace that is recorded, and OTLP's of whether the parent is elsewhere.
const RECORDED: u32 = 0x101;
const PARENT_IS_REMOTE: u32 = 0x200;
const STATUS_ERROR: u32 = 2;

fn span(span: &Span) -> Json {
    let mut json = json!({
        "traceId": span.own.trace.to_string(),
        "spanId": span.own.span.to_string(),
        "flags": RECORDED | if span.is_parent_remote { PARENT_IS_REMOTE } else { 0 },
        "name": span.name,
        "kind": span.kind as u32,
        // Numbers of 64 bits are texts in this mapping.
        "startTimeUnixNano": span.times.0.to_string(),
        "endTimeUnixNano": span.times.1.to_string(),
        "attributes": attributes(&span.attributes),
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "status": if span.has_failed { json!({"code": STATUS_ERROR}) } else { json!({}) },
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = Json::from(parent.to_string());
    }
    json
}

fn link(link: &Link) -> Json {
    json!({"traceId": link.trace.to_string(), "spanId": link.span.to_string(), "flags": RECORDED})
}

fn attributes(attributes: &[(&'static str, Value)]) -> Vec<Json> {
    let value = |value: &Value| match value {
        Value::Word(word) => json!({"stringValue": word}),
        Value::Text(text) => json!({"stringValue": text}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
    };
    attributes.iter().map(|(key, given)| json!({"key": key, "value": value(given)})).collect()
}
