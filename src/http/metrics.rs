//! What is measured of the service, for Prometheus.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};

use super::App;

/// What is measured of the service, as Prometheus reads it (OpenMetrics). It is a page for machines, and not
/// among the operations of the document: generators of clients do not know its kind.
pub(super) async fn metrics(State(app): State<App>) -> Response<Body> {
    // Whoever asks wants to know all the more when the database does not answer.
    app.probes.measure(&app.metrics).await;
    app.metrics.waiting(app.engine.waiting());
    let mut response = Response::new(Body::from(app.metrics.text()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
