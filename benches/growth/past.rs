//! Questions about the past: how long they take over ledgers of any size, and what snapshots cost.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use ringfence::domain::snapshot::EVENTS_MIN;
use ringfence::store::snapshots::{self, Source};
use ringfence::store::{Isolation, connection_options};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::compare::{Bench, Case, median};
use crate::growth::WORKING_SET;
use crate::load::{self, Body};
use crate::seed::{Database, Size};

const BALANCES: &str = "/api/environment/growth/allocation/query";
const ON_HAND: &str = "/api/environment/growth/onhand/indexquery";
/// Paths, what they are asked for, and how, but for the moment.
const QUESTIONS: [(&str, &str, &str); 2] = [
    (
        BALANCES,
        "balances",
        r#""organizationId":"usmf","productId":"Past","dimensions":{"siteId":"1","locationId":"11","colorId":"N000000"}}"#,
    ),
    (
        ON_HAND,
        "on hand",
        r#""filters":{"organizationId":["usmf"],"productId":["Past"]},"groupByValues":["colorId"],"returnNegative":true}"#,
    ),
];
/// Times that a question is asked whose answer is read to its end.
const TIMES: usize = 9;
const AS_OF_MAX_MS: f64 = 100.0;
/// Events that a question is about any of: more than there are between two snapshots.
const WINDOW: u64 = 20_000;
/// Event ids of a chunk, as the service takes them.
const CHUNK: i64 = 10_000;

/// The balances and the stock of one product with so many events, in the middle of them and near the
/// end, beside the same question about now.
pub async fn past(bench: &mut Bench) {
    let sizes = [100_000, 1_000_000, 10_000_000]
        .map(|events| (events, Size { products: WORKING_SET, events, ..Size::default() }));
    let sizes: Vec<_> = sizes.into_iter().filter(|&(label, _)| label <= bench.most).collect();
    println!("\n== the past ==");
    let mut first = None;
    for (label, size) in sizes {
        let database = Database::seed(&bench.server, &format!("past_{label}"), size).await;
        take(&database).await;
        let service = crate::service::Service::start(&database.options, &[]);
        let case = Case { label, database, service };
        let middle = measure(bench, &case).await;
        let first = *first.get_or_insert(middle);
        println!("{label:>10} the middle, to that of the smallest ledger: {:.2}x", middle / first);
        bench.end(vec![case]).await;
    }
}

/// Has those who follow the ledger follow it: snapshots in earnest, the others as if they had.
async fn take(database: &Database) {
    let limit = std::time::Duration::from_secs(600);
    let options = connection_options(database.options.clone(), Isolation::ReadCommitted, limit);
    let mut connection = PgConnection::connect_with(&options).await.expect("the server answers");
    let last = database.size.ledger() as i64;
    let (began, mut after) = (Instant::now(), 0);
    while after < last {
        let until = last.min(after + CHUNK);
        let mut transaction = connection.begin().await.expect("a transaction");
        snapshots::follow(&mut transaction, (after, until), Source::Ledger, EVENTS_MIN)
            .await
            .expect("snapshots");
        transaction.commit().await.expect("its end");
        after = until;
    }
    let seconds = began.elapsed().as_secs_f64();
    let size: (i64, i64) =
        sqlx::query_as("SELECT count(*), pg_total_relation_size('snapshot') FROM snapshot")
            .fetch_one(&mut connection)
            .await
            .expect("their size");
    println!(
        "{}: {} snapshots, {} MiB, taken in {seconds:.1} s: {:.1} us an event",
        database.name,
        size.0,
        size.1 >> 20,
        seconds * 1e6 / last as f64,
    );
    let names =
        "INSERT INTO follower SELECT unnest(ARRAY['snapshots', 'activity']), max(event_id) FROM ledger";
    sqlx::query(names).execute(&mut connection).await.expect("followers");
    sqlx::query("VACUUM (ANALYZE)").execute(&mut connection).await.expect("a vacuum");
}

/// Measures every question. Answers the median of the balances in the middle.
async fn measure(bench: &mut Bench, case: &Case) -> f64 {
    let last = case.database.size.ledger();
    let points =
        [("now", None), ("in the middle", Some(last / 2)), ("near the end", Some(last - WINDOW - 7))];
    let mut middle = 0.0;
    for (path, what, asked) in QUESTIONS {
        for (place, from) in points {
            let body: Body = Arc::new(move |text, random| {
                text.push('{');
                if let Some(from) = from {
                    let _ = write!(text, r#""asOf":{},"#, from + random.below(WINDOW));
                }
                text.push_str(asked);
            });
            let mut rounds = Vec::new();
            for _ in 0..bench.rounds {
                rounds.push(load::run(case.service.address, path, 1, bench.time, &body).await);
            }
            let [p50, p99] =
                [0.5, 0.99].map(|share| median(rounds.iter().map(|one| one.percentile_ms(share))));
            println!("{:>10} {what} {place}: p50 {p50:.2} ms, p99 {p99:.2} ms", case.label);
            if from.is_none() {
                continue;
            }
            if path == BALANCES && place == "in the middle" {
                middle = p50;
            }
            let met = Some(p99 < AS_OF_MAX_MS);
            let what = format!("{what} as of an event {place} of {} events, p99", case.label);
            bench.figure(what, format!("under {AS_OF_MAX_MS} ms"), format!("{p99:.2} ms"), met);
        }
    }
    for (place, from) in points {
        let as_of = from.map(|from| format!("&asOf={from}")).unwrap_or_default();
        let took = median_ms(case, &format!("onhand?organizationId=usmf&groupBy=siteId{as_of}")).await;
        println!("{:>10} on hand of all products {place}: {took:.1} ms", case.label);
    }
    let before = before_the_first(case).await;
    for (what, asked) in [
        (
            "on hand of one product at a time before nearly all",
            format!("onhand?organizationId=usmf&productId=P0000000&groupBy=siteId&asOf={before}"),
        ),
        ("history of a product with 2 events", "events?organizationId=usmf&productId=P0000000".to_owned()),
    ] {
        println!("{:>10} {what}: {:.1} ms", case.label, median_ms(case, &asked).await);
    }
    middle
}

/// When the last event was received before those of the one product, as clients write it.
async fn before_the_first(case: &Case) -> String {
    let mut connection =
        PgConnection::connect_with(&case.database.options).await.expect("the server answers");
    sqlx::query_scalar(
        r#"SELECT to_char(max(received_at) + interval '1 millisecond', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
           FROM ledger WHERE product_id <> 'Past'"#,
    )
    .fetch_one(&mut connection)
    .await
    .expect("a time")
}

/// How long it takes, in milliseconds, to be told all of an answer.
async fn median_ms(case: &Case, asked: &str) -> f64 {
    let request = format!(
        "GET /api/environment/growth/{asked} HTTP/1.1\r\nhost: ringfence\r\nconnection: close\r\n\r\n"
    );
    let mut took = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let mut stream = TcpStream::connect(case.service.address).await.expect("the service listens");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("usmf"), "{answer:.400}");
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    median(took.into_iter())
}
