//! Those who follow the ledger: each event is counted once, whatever happens, and nobody waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::Method;
use ringfence::domain::command::Timestamp;
use ringfence::follow::activity::Activity;
use ringfence::follow::{Chunk, Follower, Followers};
use ringfence::store::StoreError;
use ringfence::telemetry::metrics::{Metrics, Panics};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

use super::load::{Client, allocation, consume};
use super::metrics::value;
use super::process::Program;
use super::support::{Service, bicycles, database, eventually, service_url, settings};

const PATH: &str = "allocation/analytics?window=60";

/// What the ledger says of each product: allocated, consumed.
async fn of_ledger(connection: &mut PgConnection) -> Vec<(String, i64, i64)> {
    let statement =
        "SELECT product_id, coalesce(sum(quantity) FILTER (WHERE operation = 'allocate'), 0)::bigint,
                            coalesce(sum(quantity) FILTER (WHERE operation = 'consume'), 0)::bigint
                     FROM ledger WHERE operation IN ('allocate', 'consume') GROUP BY 1 ORDER BY 1";
    sqlx::query_as(statement).fetch_all(connection).await.unwrap()
}

/// What the analytics say; nothing where their connection was just cut.
async fn of_analytics(client: &Client) -> Vec<(String, i64, i64)> {
    let answer = client.send(Method::GET, PATH, &Value::Null).await.unwrap();
    if answer.status == 503 {
        return Vec::new();
    }
    let number = |record: &Value, name: &str| record[name].as_i64().unwrap();
    let records = answer.json().as_array().unwrap().clone();
    let of = |record: &Value| {
        let product = record["productId"].as_str().unwrap().to_owned();
        (product, number(record, "allocated"), number(record, "consumed"))
    };
    records.iter().map(of).collect()
}

/// Sells until it is told to stop; what is not answered is sent again.
async fn sell(client: Client, name: usize, stop: Arc<AtomicBool>) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let product = ["Bike", "Helmet"][number % 2];
        let _ = client.post("allocation/consume", &consume(&format!("{name} {number}"), product, 1)).await;
    }
}

async fn check(connection: &mut PgConnection, client: &Client) {
    eventually("the analytics are what the ledger says", async || {
        of_analytics(client).await == of_ledger(connection).await
    })
    .await;
}

async fn two(database: &PgConnectOptions) -> [Program; 2] {
    let url = service_url(database);
    [Program::serve(&["--database-url", &url]).await, Program::serve(&["--database-url", &url]).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_counts_once_however_instances_and_connections_die() {
    let database = database().await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let [mut killed, kept] = two(&database).await;
    let client = Client::new(&kept.base);
    client.configure().await;
    for product in ["Bike", "Helmet"] {
        client.allocate_all(product, 1_000_000).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let sellers: Vec<_> =
        (0..4).map(|name| tokio::spawn(sell(client.clone(), name, Arc::clone(&stop)))).collect();
    let sold = async |connection: &mut PgConnection| -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM ledger").fetch_one(connection).await.unwrap()
    };
    for _ in 0..4 {
        let before = sold(&mut connection).await;
        eventually("the sale goes on", async || sold(&mut connection).await > before + 50).await;
        killed.kill().await;
        // Whoever follows, in the middle of whatever it does.
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        connection.execute(cut).await.unwrap();
        killed = Program::serve(&["--database-url", &service_url(&database)]).await;
    }
    stop.store(true, Ordering::Relaxed);
    for seller in sellers {
        seller.await.unwrap();
    }
    check(&mut connection, &client).await;
    // The one that is left takes over where the other was.
    kept.kill().await;
    let client = Client::new(&killed.base);
    client.done("allocation/consume", consume("last", "Bike", 5)).await;
    check(&mut connection, &client).await;
    killed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_fails_is_taken_again_and_holds_up_nobody() {
    let database = database().await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let service = Service::start_on(database.clone(), &["--round-trip-max-ms", "500"]).await;
    let client = Client::new(&service.base);
    client.configure().await;
    client.allocate_all("Bike", 1_000).await;
    check(&mut connection, &client).await;
    // Nobody else can read or write what is kept of activity.
    let mut other = PgConnection::connect_with(&database).await.unwrap();
    let mut held = other.begin().await.unwrap();
    held.execute("LOCK TABLE activity IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'activity'::regclass
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    for round in 0..3 {
        eventually("it tries", async || {
            let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut connection).await.unwrap();
            count > 0
        })
        .await;
        client.done("allocation/consume", consume(&format!("sold {round}"), "Bike", 1)).await;
        eventually("it is ready", async || service.get("/readyz").await.status == 200).await;
    }
    held.rollback().await.unwrap();
    check(&mut connection, &client).await;
    assert_eq!(of_ledger(&mut connection).await, [("Bike".to_owned(), 1_000, 3)]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_while_it_is_counted_leaves_nothing() {
    let database = database().await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let first = Service::start_on(database.clone(), &["--allow-erasing"]).await;
    let second = Service::start_on(database, &[]).await;
    assert_eq!(first.configure(bicycles()).await.status, 200);
    let client = Client::new(&first.base);
    client.allocate_all("Helmet", 1_000).await;
    for round in 0..10 {
        client.done("onhand", super::load::on_hand(&format!("stock {round}"), "Bike", 100)).await;
        client.done("allocation/allocate", allocation(&format!("share {round}"), "Bike", 100)).await;
        for sale in 0..5 {
            client.done("allocation/consume", consume(&format!("{round} {sale}"), "Helmet", 1)).await;
            client.done("allocation/consume", consume(&format!("{round} {sale} too"), "Bike", 1)).await;
        }
        eventually("it is erased", async || {
            let body = json!(["usmf/Bike"]);
            client.send(Method::DELETE, "cleanupalldata", &body).await.unwrap().status == 200
        })
        .await;
    }
    check(&mut connection, &client).await;
    assert_eq!(of_ledger(&mut connection).await, [("Helmet".to_owned(), 1_000, 50)]);
    let places: Vec<String> =
        sqlx::query_scalar("SELECT product_id FROM activity_place").fetch_all(&mut connection).await.unwrap();
    let orphans: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM activity a WHERE NOT EXISTS (SELECT FROM activity_place p WHERE p.place_id = a.place_id)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((places, orphans), (vec!["Helmet".to_owned()], 0));
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn of_what_is_older_hours_are_kept_and_then_days_with_the_totals_that_they_ended_with() {
    let mut connection = PgConnection::connect_with(&database().await).await.unwrap();
    // A row every ten minutes of 2026-01-01 and the day after, each with one more consumed.
    let rows = "INSERT INTO activity_place (place_id, environment_id, organization_id, product_id, dimensions, groups, totals, minute)
                VALUES (7, 'test', 'usmf', 'Bike', '{1,11}', '{Online}', '{0,0,288,0,0,0,0}', '2026-01-02T23:50:00Z');
                INSERT INTO activity (place_id, minute, totals)
                SELECT 7, timestamptz '2026-01-01T00:00:00Z' + n * interval '10 minutes', ARRAY[0,0,n + 1,0,0,0,0]
                FROM generate_series(0, 287) n";
    connection.execute(rows).await.unwrap();
    let second = 1_000_000;
    let new_year = 1_767_225_600 * second;
    let hours = |count: i64| new_year + count * 3_600 * second;
    let mut follower = Activity::default();
    // Two days and an hour later than the first hour's end: that hour, and no other.
    for (now, count, last_of_first_hour) in [
        (hours(49), 288, Some("10")),
        (hours(50), 283, Some("60")),
        (hours(24 + 50), 288 - 24 * 5 - 5, Some("60")),
        (hours(24 * 61), 48, Some("60")),
        (hours(24 * 62), 25, None),
        (hours(24 * 63), 2, None),
    ] {
        let chunk = Chunk { after: 0, until: 0, now: Timestamp(now), is_behind: false };
        let mut transaction = connection.begin().await.unwrap();
        // The places, and round again.
        for later in 0..2 {
            let chunk = Chunk { now: Timestamp(now + later * 2 * second), ..chunk };
            follower.take(&mut transaction, chunk).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let kept: Vec<(String, String)> = sqlx::query_as(
            "SELECT to_char(minute AT TIME ZONE 'UTC', 'DDHH24:MI'), totals[3]::text FROM activity ORDER BY minute",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert_eq!(kept.len(), count, "{kept:?}");
        let first = &kept[0];
        match last_of_first_hour {
            Some("10") => assert_eq!(*first, ("0100:00".to_owned(), "1".to_owned())),
            Some(_) => assert_eq!(*first, ("0100:50".to_owned(), "6".to_owned())),
            None => assert_eq!(*first, ("0123:50".to_owned(), "144".to_owned())),
        }
        assert_eq!(kept.last().unwrap().1, "288");
    }
}

/// One that panics in its first turns, and then takes what there is.
struct Fickle {
    turns: Arc<AtomicUsize>,
}

impl Follower for Fickle {
    fn name(&self) -> &'static str {
        "fickle"
    }

    async fn take(&mut self, _: &mut PgConnection, _: Chunk) -> Result<(), StoreError> {
        assert!(self.turns.fetch_add(1, Ordering::Relaxed) >= 2, "on purpose");
        Ok(())
    }
}

#[tokio::test]
async fn a_follower_that_panics_begins_anew_and_is_counted() {
    let service = Service::with_stock(10).await;
    let limits = settings(&service.database, &[]).follow_limits();
    let metrics = Metrics::default();
    let panics = || value(&metrics.text(), "ringfence_follower_panics_total", &["follower=\"fickle\""]);
    let turns = Arc::<AtomicUsize>::default();
    let mut followers = Followers::new(service.database.clone(), limits, metrics.panics.clone());
    let seen = Arc::clone(&turns);
    followers.start("fickle", move || Fickle { turns: Arc::clone(&seen) });
    assert!(metrics.text().contains("{follower=\"fickle\"}"), "the first one would not be seen to come");
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    eventually("it has what there is", async || {
        let reached: Option<i64> =
            sqlx::query_scalar("SELECT reached_event_id FROM follower WHERE name = 'fickle'")
                .fetch_optional(&mut connection)
                .await
                .unwrap();
        reached.unwrap_or_default() > 0
    })
    .await;
    assert_eq!((panics(), turns.load(Ordering::Relaxed) > 2), (2.0, true));
    // It ends when it is to, also while it waits.
    followers.stop().await;
    service.stop().await;
}

#[tokio::test]
async fn who_ends_by_themselves_has_time_for_it_and_who_does_not_is_stopped() {
    let of = || {
        let (database, panics) = (PgConnectOptions::new(), Panics::default());
        let limits = settings(&database, &[]).follow_limits();
        Followers::new(database, limits, panics)
    };
    let is_done = Arc::<AtomicBool>::default();
    let mut followers = of();
    let done = Arc::clone(&is_done);
    followers.run("ends", move || {
        let done = Arc::clone(&done);
        async move {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            done.store(true, Ordering::Relaxed);
        }
    });
    followers.stop_at(tokio::time::Instant::now() + std::time::Duration::from_secs(30)).await;
    assert!(is_done.load(Ordering::Relaxed));
    let mut followers = of();
    followers.run("does not", std::future::pending);
    followers.stop_at(tokio::time::Instant::now()).await;
}
