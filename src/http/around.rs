//! What holds for every request, whatever its path: written once around the routes, because
//! a layer of the router would cost every request a box and a clone of its own.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, Response};
use axum::response::IntoResponse;
use tower::{Layer, ServiceExt};
use tower_http::catch_panic::{CatchPanic, CatchPanicLayer, ResponseForPanic};

use crate::telemetry::metrics::{Gauge, Metrics, RequestLabels};
use crate::telemetry::request::{self, InRequest};
use crate::telemetry::traces::{Clock, Kind, Link, Span, Trace, Traces, Value};

use super::openapi;
use super::path::normalize;
use super::problem::Problem;
use super::routes::Routes;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
// As draft-ietf-httpapi-ratelimit-headers-10 has them.
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Longest id of a request that is taken over, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

pub(super) use crate::telemetry::request::{
    count_bug, count_refusal, current_request, current_route, in_current_request, is_to_be_told, note_rates,
};

/// Answers requests over the routes.
#[derive(Clone)]
pub(super) struct Around {
    routes: CatchPanic<Router, Panicked>,
    names: Arc<Routes>,
    metrics: Arc<Metrics>,
    request_time_max: Duration,
}

impl Around {
    pub(super) fn new(routes: Router, metrics: Arc<Metrics>, request_time_max: Duration) -> Around {
        let names = Arc::new(Routes::of(&openapi()));
        Around { routes: CatchPanicLayer::custom(Panicked).layer(routes), names, metrics, request_time_max }
    }

    /// Answers a request: with its id, which is in every log line of it too, and in time. One
    /// that takes too long is answered 503; a command that was taken goes on without it.
    pub(super) async fn answer(self, request: Request) -> Result<Response<Body>, Infallible> {
        let began = Instant::now();
        let _active = Active::new(&self.metrics);
        let request = normalize(request);
        let id = request_id(&request);
        let route = self.names.find(request.uri().path());
        let http_request_method = method(request.method());
        let trace = self.metrics.traces.as_ref().and_then(|traces| traces.begin(request.headers()));
        let recorded = trace.and_then(|trace| Recorded::of(trace, &request, &id));
        let metrics = Arc::clone(&self.metrics);
        let (is_told, rates) = (Cell::new(false), RefCell::new(None));
        let method = http_request_method;
        let in_request = InRequest { id: id.clone(), method, route, metrics, trace, is_told, rates };
        let answer = tokio::time::timeout(self.request_time_max, self.routes.oneshot(request));
        let answering = request::within(in_request, async {
            let mut response = match answer.await {
                Ok(Ok(response)) => response.map(Body::new),
                Err(_) => {
                    failed("a request took too long", None);
                    Problem::Overloaded.into_response()
                }
            };
            if let Some((policies, left)) = request::noted_rates() {
                response.headers_mut().insert(&RATE_LIMIT_POLICY, policies);
                response.headers_mut().insert(&RATE_LIMIT, left);
            }
            response
        });
        let mut response = answering.await;
        response.headers_mut().insert(&REQUEST_ID, id);
        let http_response_status_code = response.status().as_u16().into();
        let labels = RequestLabels { http_request_method, http_route: route, http_response_status_code };
        if let (Some(recorded), Some(traces)) = (recorded, &self.metrics.traces) {
            recorded.answered(traces, &labels, began);
        }
        self.metrics.answered(labels, began.elapsed());
        Ok(response)
    }
}

/// What is kept of a request for its span, where there will be one.
struct Recorded(Box<(Trace, Link, String, HeaderValue)>);

impl Recorded {
    fn of(trace: Trace, request: &Request, id: &HeaderValue) -> Option<Recorded> {
        let path = request.uri().path().to_owned();
        Some(Recorded(Box::new((trace, trace.link()?, path, id.clone()))))
    }

    fn answered(self, traces: &Traces, labels: &RequestLabels, began: Instant) {
        let (trace, own, path, id) = *self.0;
        let RequestLabels { http_request_method: method, http_route: route, http_response_status_code } =
            *labels;
        // The time that it took is a clock's that nobody sets.
        let clock = Clock::now();
        let mut attributes = vec![
            ("http.request.method", Value::Word(method)),
            ("url.path", Value::Text(path)),
            ("http.response.status_code", Value::Number(http_response_status_code.into())),
            ("ringfence.request.id", Value::Text(id.to_str().unwrap_or_default().to_owned())),
        ];
        if !route.is_empty() {
            attributes.push(("http.route", Value::Word(route)));
        }
        let has_failed = http_response_status_code >= 500;
        if has_failed {
            attributes.push(("error.type", Value::Text(http_response_status_code.to_string())));
        }
        traces.record(Span {
            own,
            parent: trace.parent,
            is_parent_remote: trace.parent.is_some(),
            name: if route.is_empty() { method.to_owned() } else { format!("{method} {route}") },
            kind: Kind::Server,
            times: (clock.at(began), clock.at(Instant::now())),
            attributes,
            links: Vec::new(),
            has_failed,
        });
    }
}

/// Says in the log why the current request failed, unless that is there.
pub(super) fn failed(what: &'static str, why: Option<&str>) {
    if is_to_be_told() {
        tracing::warn!(request = current_request(), error = why, "{what}");
    }
}

/// Says in the log which bug the current request met, unless that is there.
pub(super) fn failed_by_a_bug(why: &str) {
    if is_to_be_told() {
        tracing::error!(request = current_request(), error = why, "a request met a bug");
    }
}

/// A request that is being answered, or was given up by its client.
struct Active(Gauge);

impl Active {
    fn new(metrics: &Metrics) -> Active {
        metrics.active_requests.inc();
        Active(metrics.active_requests.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A method as the semantic conventions name it: a client's own words would be endless.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}

/// The id that a request brings, or a new one: a name of this process, and a count.
fn request_id(request: &Request) -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(process_name);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let given = request.headers().get(&REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_BYTES_MAX);
    given.cloned().unwrap_or_else(|| {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Digits, letters and a hyphen are a header's value.
        HeaderValue::try_from(format!("{:016x}-{count}", *PROCESS)).unwrap_or(HeaderValue::from_static("-"))
    })
}

#[allow(clippy::disallowed_methods, reason = "the id of a request is only for logs")]
fn process_name() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

/// Makes a panic an answer.
#[derive(Clone)]
struct Panicked;

impl ResponseForPanic for Panicked {
    type ResponseBody = Body;

    /// The panic itself is logged where it happens: `telemetry.rs`.
    fn response_for_panic(&mut self, _: Box<dyn Any + Send>) -> Response<Body> {
        Problem::Internal.into_response()
    }
}
