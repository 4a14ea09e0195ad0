//! What holds for every request, whatever its path: written once around the routes, because
//! a layer of the router would cost every request a box and a clone of its own.

use std::any::Any;
use std::convert::Infallible;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Response};
use axum::response::IntoResponse;
use tower::{Layer, ServiceExt};
use tower_http::catch_panic::{CatchPanic, CatchPanicLayer, ResponseForPanic};

use super::path::normalize;
use super::problem::Problem;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id of a request that is taken over, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    static IN_REQUEST: HeaderValue;
}

/// The id of the request that is being answered, for what is logged of it. A span would have
/// it too, but costs each of the thousands of requests that have nothing to log.
pub(super) fn current_request() -> String {
    let id = IN_REQUEST.try_with(|id| id.to_str().map(str::to_owned));
    id.ok().and_then(Result::ok).unwrap_or_default()
}

/// Puts a part of the current request that is a task of its own under the request's id.
pub(super) fn in_current_request<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let id = IN_REQUEST.try_with(HeaderValue::clone);
    IN_REQUEST.scope(id.unwrap_or(HeaderValue::from_static("")), work)
}

/// Answers requests over the routes.
#[derive(Clone)]
pub(super) struct Around {
    routes: CatchPanic<Router, Panicked>,
    request_time_max: Duration,
}

impl Around {
    pub(super) fn new(routes: Router, request_time_max: Duration) -> Around {
        Around { routes: CatchPanicLayer::custom(Panicked).layer(routes), request_time_max }
    }

    /// Answers a request: with its id, which is in every log line of it too, and in time. One
    /// that takes too long is answered 503; a command that was taken goes on without it.
    pub(super) async fn answer(self, request: Request) -> Result<Response<Body>, Infallible> {
        let request = normalize(request);
        let id = request_id(&request);
        let answer = tokio::time::timeout(self.request_time_max, self.routes.oneshot(request));
        let mut response = match IN_REQUEST.scope(id.clone(), answer).await {
            Ok(Ok(response)) => response.map(Body::new),
            Err(_) => Problem::Overloaded.into_response(),
        };
        response.headers_mut().insert(&REQUEST_ID, id);
        Ok(response)
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
