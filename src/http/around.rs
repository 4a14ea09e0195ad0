//! What holds for every request, whatever its path: written once around the routes, because
//! a layer of the router would cost every request a box and a clone of its own.

use std::any::Any;
use std::cell::RefCell;
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

use crate::telemetry::metrics::{Gauge, Metrics, RefusalLabels, RequestLabels};

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

/// What is known of a request wherever it is worked on.
#[derive(Clone)]
struct InRequest {
    id: HeaderValue,
    route: &'static str,
    metrics: Arc<Metrics>,
    /// What the answer says of limits, where there are any.
    rates: RefCell<Option<(HeaderValue, HeaderValue)>>,
}

tokio::task_local! {
    static IN_REQUEST: InRequest;
}

/// The id of the request that is being answered, for what is logged of it. A span would have
/// it too, but costs each of the thousands of requests that have nothing to log.
pub(super) fn current_request() -> String {
    let id = IN_REQUEST.try_with(|request| request.id.to_str().map(str::to_owned));
    id.ok().and_then(Result::ok).unwrap_or_default()
}

/// The route of the request that is being answered, as the document writes it; empty where it has none.
pub(super) fn current_route() -> &'static str {
    IN_REQUEST.try_with(|request| request.route).unwrap_or_default()
}

/// Counts a refusal for the request that is being answered.
pub(super) fn count_refusal(code: &'static str) {
    // Outside of a request, nobody is refused anything.
    let _ = IN_REQUEST.try_with(|request| {
        request.metrics.refused(RefusalLabels { code, http_route: request.route });
    });
}

/// Has the answer to the current request say which rates hold, and what is left of them.
pub(super) fn note_rates(policies: HeaderValue, left: HeaderValue) {
    let _ = IN_REQUEST.try_with(|request| *request.rates.borrow_mut() = Some((policies, left)));
}

/// Puts a part of the current request that is a task of its own under the request's id.
pub(super) fn in_current_request<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let request = IN_REQUEST.try_with(InRequest::clone).ok();
    async {
        match request {
            Some(request) => IN_REQUEST.scope(request, work).await,
            None => work.await,
        }
    }
}

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
        let in_request = InRequest {
            id: id.clone(),
            route,
            metrics: Arc::clone(&self.metrics),
            rates: RefCell::new(None),
        };
        let answer = tokio::time::timeout(self.request_time_max, self.routes.oneshot(request));
        let mut response = IN_REQUEST
            .scope(in_request, async {
                let mut response = match answer.await {
                    Ok(Ok(response)) => response.map(Body::new),
                    Err(_) => Problem::Overloaded.into_response(),
                };
                let rates = IN_REQUEST.with(|request| request.rates.take());
                if let Some((policies, left)) = rates {
                    response.headers_mut().insert(&RATE_LIMIT_POLICY, policies);
                    response.headers_mut().insert(&RATE_LIMIT, left);
                }
                response
            })
            .await;
        response.headers_mut().insert(&REQUEST_ID, id);
        let http_response_status_code = response.status().as_u16().into();
        let labels = RequestLabels { http_request_method, http_route: route, http_response_status_code };
        self.metrics.answered(labels, began.elapsed());
        Ok(response)
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

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send>) -> Response<Body> {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        tracing::error!(request = current_request(), panic = text, "a handler panicked");
        Problem::Internal.into_response()
    }
}
