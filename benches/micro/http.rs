//! The hot request in HTTP, from its head and body to its answer, with no socket and no
//! writer: who takes it from the queue answers at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use clap::Parser;
use criterion::Criterion;
use http_body_util::BodyExt;
use ringfence::domain::command::Timestamp;
use ringfence::embedded::Embedded;
use ringfence::engine::{Handle, Receipt, Submission};
use ringfence::http::{Shared, router};
use ringfence::settings::{Action, Cli};
use ringfence::store::Readers;
use ringfence::store::configuration::{self, Precondition};
use ringfence::store::ledger::Event;
use sqlx::{Connection, PgConnection};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::{in_memory, print_allocations};

const BODY: &[u8] = br#"{"id":"4711","organizationId":"usmf","productId":"Bike","dimensions":{"siteId":"1","locationId":"11","colorId":"red"},"groups":{"channel":"Web","region":"London","customerGroup":"VIP"},"quantity":1,"physicalMeasures":{"pos":{"inbound":"Subtraction"}}}"#;

pub fn measure(criterion: &mut Criterion) {
    // One thread, so that every allocation counted belongs to the request.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = std::env::temp_dir().join(format!("ringfence-micro-{}", std::process::id()));
    let embedded = runtime.block_on(Embedded::start(&directory)).expect("PostgreSQL is installed");
    let router = runtime.block_on(service(&embedded));

    // What the server would have made of the bytes on the wire is no part of ours.
    print_allocations("http/request alone", request);
    criterion.bench_function("http/request alone", |bencher| bencher.iter(request));
    print_allocations("http/request and answer", || run(&runtime, &router, 1));
    criterion.bench_function("http/request and answer", |bencher| {
        bencher.iter_custom(|runs| run(&runtime, &router, runs));
    });

    drop(router);
    runtime.block_on(embedded.stop());
    let _ = std::fs::remove_dir_all(directory);
}

/// The routes of the service. Only the first request needs the database: it reads the
/// configuration.
async fn service(embedded: &Embedded) -> Router {
    let mut books = PgConnection::connect_with(&embedded.options()).await.expect("the server answers");
    ringfence::store::MIGRATIONS.run(&mut books).await.expect("an empty database");
    let document = serde_json::from_str(in_memory::CONFIGURATION).expect("a document");
    let changed = configuration::replace(&mut books, "sale", document, Precondition::None).await;
    let Ok(change) = changed else { panic!("the configuration is refused") };
    let outcome = in_memory::stock(&change.stored.configuration).1;

    let (sender, mut receiver) = mpsc::channel::<Submission>(64);
    tokio::spawn(async move {
        while let Some(Submission { mut commands, reply, .. }) = receiver.recv().await {
            let command = commands.pop().expect("a command");
            let event =
                Event { event_id: 4711, command, received_at: Timestamp(0), outcome: outcome.clone() };
            let _ = reply.send(Ok(vec![Receipt { event: Arc::new(event), replayed: false }]));
        }
    });
    let Action::Serve(settings) = Cli::parse_from(["micro", "serve"]).action else {
        unreachable!("serve was asked for")
    };
    let readers = Readers::new(embedded.options(), 4, Duration::from_secs(5));
    let draining = Arc::new(AtomicBool::new(false));
    let stop = tokio::sync::watch::channel(false).1;
    let metrics = Arc::default();
    router(Shared::new(Handle::over(vec![sender]), readers, settings.http_limits(), metrics, draining, stop))
}

fn request() -> Request<Body> {
    Request::post("/api/environment/sale/allocation/consume")
        .header(header::HOST, "127.0.0.1")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, BODY.len())
        .body(Body::from(Bytes::from_static(BODY)))
        .expect("a request")
}

fn run(runtime: &Runtime, router: &Router, runs: u64) -> Duration {
    runtime.block_on(async {
        let began = Instant::now();
        for _ in 0..runs {
            let response = match router.clone().oneshot(request()).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            assert_eq!(response.status(), StatusCode::OK);
            response.into_body().collect().await.expect("a body in memory");
        }
        began.elapsed()
    })
}
