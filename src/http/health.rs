//! Whether the process is up, and whether it can serve.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::around::failed;
use super::commands::json;
use super::problem::{Problem, ProblemBody};

/// The state of the service.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

/// The process is up.
#[utoipa::path(get, path = "/healthz", tag = "service", operation_id = "health", responses((status = 200, body = Health)))]
pub(super) async fn health() -> Response<Body> {
    json(StatusCode::OK, &Health { status: "ok" })
}

/// The service can serve: it is not stopping, reaches its database, the database has the
/// schema, and what was last to be committed was.
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "readiness",
    responses((status = 200, body = Health), (status = 503, body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn ready(State(app): State<App>) -> Result<Response<Body>, Problem> {
    if app.draining.load(Ordering::Relaxed) {
        return Err(Problem::ShuttingDown);
    }
    // A database that can be read may still not take a commit: its disk is full, or it hangs.
    if !app.engine.is_well() {
        return Err(Problem::DatabaseUnavailable);
    }
    app.probes.ready().await.map_err(|why| {
        failed("the database did not answer", Some(&why));
        Problem::DatabaseUnavailable
    })?;
    Ok(json(StatusCode::OK, &Health { status: "ok" }))
}
