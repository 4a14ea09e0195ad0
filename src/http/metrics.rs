//! What is measured of the service, for Prometheus.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};

use crate::store::overview::{self, Deliveries, Lag};
use crate::store::{self, Sight, StoreError, sessions};

use super::App;

/// What is measured of the service, as Prometheus reads it (OpenMetrics). It is a page for machines, and not
/// among the operations of the document: generators of clients do not know its kind.
pub(super) async fn metrics(State(app): State<App>) -> Response<Body> {
    app.metrics.queued(app.engine.queued());
    // Whoever asks wants to know all the more when the database does not answer.
    let age = store::read(&app.readers, Sight::Nothing, async |connection| {
        sessions::oldest_transaction(connection).await
    });
    app.metrics.oldest_transaction(age.await.ok());
    tell_of_the_stored(&app).await;
    let mut response = Response::new(Body::from(app.metrics.text()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Where the database does not say, what it last said stays: that it does not is measured too.
async fn tell_of_the_stored(app: &App) {
    let read = store::read(&app.readers, Sight::All, async |connection| {
        Ok::<_, StoreError>((overview::lags(connection).await?, overview::deliveries(connection).await?))
    });
    let Ok((lags, deliveries)) = read.await else { return };
    for Lag { follower, events, age } in lags {
        app.metrics.behind(follower, events, age);
    }
    let Deliveries { due, overdue, dead } = deliveries;
    app.metrics.deliveries(due, overdue, dead);
}
