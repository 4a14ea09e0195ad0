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
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use crate::telemetry::metrics::Metrics;

use super::around::Around;
use super::tls::Acceptors;

/// Most bytes of an answer that the kernel holds of those that it could not send yet: without it, it
/// takes in megabytes for a client that does not read.
const NOT_SENT_BYTES_MAX: u32 = 128 << 10;

/// The limits of connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that are open at once; more wait to be accepted.
    pub connections_max: usize,
    /// Longest time until a handshake or a request's head is complete, and that a connection may idle.
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
    tls: Option<Acceptors>,
    metrics: Arc<Metrics>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    let around = Around::new(router, metrics, limits.request_time_max);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time_max)
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        let Some((stream, permit)) = accepted else { continue };
        let around = around.clone();
        let (acceptor, stop) = (tls.as_ref().map(Acceptors::current), stop.clone());
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write_time_max));
        let (builder, head_time_max) = (builder.clone(), limits.head_time_max);
        connections.spawn(async move {
            let stream = Box::pin(stream);
            match acceptor {
                None => answer(&builder, stream, around, stop).await,
                Some(acceptor) => {
                    // It has its place among the connections, and keeps nobody else from being accepted.
                    let shaken = tokio::time::timeout(head_time_max, acceptor.accept(stream));
                    let shaken = unless(stop.clone(), shaken).await;
                    if let Some(Ok(Ok(stream))) = shaken {
                        Box::pin(answer(&builder, stream, around, stop)).await;
                    }
                }
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

/// What something answers, unless it is stopped before.
async fn unless<T>(mut stop: watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

/// Answers the requests of a connection, until it ends or is to be ended.
async fn answer<S>(builder: &http1::Builder, stream: S, around: Around, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| around.clone().answer(request.map(Body::new)));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    if unless(stop, connection.as_mut()).await.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
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
            let _ = SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX);
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
