//! The request that is being answered, for whatever is counted, traced or logged of it, wherever that
//! is: a task-local, because handing it through every function would be the larger cost.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use axum::http::HeaderValue;

use super::metrics::{Metrics, RefusalLabels};
use super::traces::Trace;

/// What is known of a request wherever it is worked on.
#[derive(Clone)]
pub struct InRequest {
    /// Its id.
    pub id: HeaderValue,
    /// Its method, as it is measured.
    pub method: &'static str,
    /// Its route.
    pub route: &'static str,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// The trace that it is in, where traces are on and it is in one.
    pub trace: Option<Trace>,
    /// Whether the log says already why it failed.
    pub is_told: Cell<bool>,
    /// What the answer says of limits, where there are any: which hold, and what is left of them.
    pub rates: RefCell<Option<(HeaderValue, HeaderValue)>>,
}

tokio::task_local! {
    static IN_REQUEST: InRequest;
}

/// Does what a request needs.
pub async fn within<T>(request: InRequest, work: impl Future<Output = T>) -> T {
    IN_REQUEST.scope(request, work).await
}

/// The id of the request that is being answered, for what is logged of it. A span would have
/// it too, but costs each of the thousands of requests that have nothing to log.
pub fn current_request() -> String {
    let id = IN_REQUEST.try_with(|request| request.id.to_str().map(str::to_owned));
    id.ok().and_then(Result::ok).unwrap_or_default()
}

/// The route of the request that is being answered, as the document writes it; empty where it has none.
pub fn current_route() -> &'static str {
    IN_REQUEST.try_with(|request| request.route).unwrap_or_default()
}

/// The trace of the request that is being answered.
pub fn current_trace() -> Option<Trace> {
    IN_REQUEST.try_with(|request| request.trace).ok().flatten()
}

/// Counts a refusal for the request that is being answered.
pub fn count_refusal(code: &'static str) {
    // Outside of a request, nobody is refused anything.
    let _ = IN_REQUEST.try_with(|request| {
        let (http_request_method, http_route) = (request.method, request.route);
        request.metrics.refused(RefusalLabels { code, http_request_method, http_route });
    });
}

/// Counts a bug that the request met that is being answered.
pub fn count_bug() {
    let _ = IN_REQUEST.try_with(|request| request.metrics.bugs.inc());
}

/// Whether the log is yet to say why the current request failed; from now on it is not. A bulk has
/// one line for all of its lines that failed.
pub fn is_to_be_told() -> bool {
    !IN_REQUEST.try_with(|request| request.is_told.replace(true)).unwrap_or(false)
}

/// Has the answer to the current request say which rates hold, and what is left of them.
pub fn note_rates(policies: HeaderValue, left: HeaderValue) {
    let _ = IN_REQUEST.try_with(|request| *request.rates.borrow_mut() = Some((policies, left)));
}

/// Takes what the answer to the current request is to say of rates.
pub fn noted_rates() -> Option<(HeaderValue, HeaderValue)> {
    IN_REQUEST.try_with(|request| request.rates.take()).ok().flatten()
}

/// Puts a part of the current request that is a task of its own under the request's id.
pub fn in_current_request<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let request = IN_REQUEST.try_with(InRequest::clone).ok();
    async {
        match request {
            Some(request) => IN_REQUEST.scope(request, work).await,
            None => work.await,
        }
    }
}
