//! Connections: accepted, bounded in number and time, and ended in order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use crate::telemetry::metrics::Metrics;

use super::around::Around;

/// The limits of connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that are open at once; more wait to be accepted.
    pub connections_max: usize,
    /// Longest time until a request's head is complete, and that a connection may idle.
    pub head_time_max: Duration,
    /// Longest time from a request's head to its answer, the arrival of its body included.
    pub request_time_max: Duration,
    /// Longest that a client may take to read the next part of an answer.
    pub write_time_max: Duration,
    /// Longest head of a request, in bytes.
    pub head_bytes_max: usize,
    /// Most headers of a request.
    pub headers_max: usize,
    /// Longest time that open requests are waited for when the service stops.
    pub drain_time_max: Duration,
}

/// Serves until `stop` becomes true, then lets open requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: Arc<Metrics>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    let around = Around::new(router, metrics, limits.request_time_max);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        let Some((stream, permit)) = accepted else { continue };
        let around = around.clone();
        let service =
            service_fn(move |request: Request<Incoming>| around.clone().answer(request.map(Body::new)));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write_time_max));
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time_max)
            .max_buf_size(limits.head_bytes_max)
            .max_headers(limits.headers_max);
        let connection = builder.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut stop = stop.clone();
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => Some(ended),
                _ = stop.wait_for(|stop| *stop) => None,
            };
            if ended.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(permit);
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(limits.drain_time_max, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections were cut off after {:?}",
            limits.drain_time_max
        );
    }
}

type Accepted = (TcpStream, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // An answer is one small write: waiting to fill a packet only delays it.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(error) => {
            // Out of file descriptors, most likely: give connections time to end.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
