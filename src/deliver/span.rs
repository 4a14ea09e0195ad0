//! The span of an attempt to deliver, where traces are on: in a trace of its own, as no request waits
//! for it; the receiver is told which, and can make its own spans a part of it.

use std::time::Instant;

use axum::http::HeaderMap;

use crate::store::outbox::{Attempt, Next};
use crate::telemetry::traces::{Clock, Kind, Link, Span, Traces, Value};

/// An attempt that has begun.
pub(super) struct AttemptSpan<'a> {
    traces: &'a Traces,
    own: Link,
    clock: Clock,
    began: Instant,
}

impl<'a> AttemptSpan<'a> {
    /// Begins a trace; nothing where this one is not to be recorded.
    pub(super) fn begin(traces: &'a Traces) -> Option<AttemptSpan<'a>> {
        let own = traces.begin(&HeaderMap::new())?.link()?;
        Some(AttemptSpan { traces, own, clock: Clock::now(), began: Instant::now() })
    }

    /// The header that names it.
    pub(super) fn traceparent(&self) -> String {
        self.own.traceparent()
    }

    /// It is over. What a receiver answered may repeat what it was sent: of that it has the status.
    pub(super) fn end(self, webhook: &str, next: &Next, attempt: &Attempt) {
        let mut attributes = vec![
            ("http.request.method", Value::Word("POST")),
            ("http.request.resend_count", Value::Number(i64::from(next.attempts))),
            ("messaging.message.id", Value::Text(next.message_id.clone())),
            ("ringfence.webhook", Value::Text(webhook.to_owned())),
        ];
        let failure = match attempt.status {
            Some(status) => {
                attributes.push(("http.response.status_code", Value::Number(i64::from(status))));
                attempt.error.as_ref().map(|_| status.to_string())
            }
            None => Some("no_answer".to_owned()),
        };
        let has_failed = failure.is_some();
        attributes.extend(failure.map(|failure| ("error.type", Value::Text(failure))));
        self.traces.record(Span {
            own: self.own,
            parent: None,
            is_parent_remote: false,
            name: "deliver".to_owned(),
            kind: Kind::Client,
            times: (self.clock.at(self.began), self.clock.at(Instant::now())),
            attributes,
            links: Vec::new(),
            has_failed,
        });
    }
}
