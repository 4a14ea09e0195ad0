//! The schema's way from the first release's to today's, with data in it.

use reqwest::Method;
use ringfence::store::MIGRATIONS;
use ringfence::store::migrate::migrate;
use serde_json::{Value, json};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor, Row, SqlStr};

use super::process::run_ringfence;
use super::requests::JSON;
use super::support::{Answer, Service, bicycles, empty_database, url};

/// A database as the first release left it.
async fn first_release() -> PgConnectOptions {
    let database = empty_database().await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    MIGRATIONS.run_to(1, &mut connection).await.unwrap();
    connection.execute(include_str!("fixtures/0001_books.sql")).await.unwrap();
    connection.close().await.unwrap();
    database
}

/// What the first release was sent, with what it answered: in the order of its ledger.
fn told() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures/0001_books.json")).unwrap()
}

async fn post(service: &Service, path: &str, body: &Value) -> Answer {
    service.send(Method::POST, &format!("/api/environment/shop/{path}"), &[JSON], body.to_string()).await
}

async fn verify(database: &PgConnectOptions, events: usize) {
    let verified = run_ringfence(&["verify", "--database-url", &url(database)]).await;
    let expected = format!("{events} events in 1 environments replayed, 0 differences");
    assert_eq!((verified.code, verified.summary()), (Some(0), &*expected), "{}", verified.stdout);
}

async fn applied(database: &PgConnectOptions) -> usize {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let count = connection.fetch_one("SELECT count(*) FROM _sqlx_migrations WHERE success").await.unwrap();
    count.get::<i64, _>(0) as usize
}

#[tokio::test]
async fn what_the_first_release_wrote_is_served_after_all_migrations() {
    let database = first_release().await;
    assert_eq!(applied(&database).await, 1);
    let service = Service::start_on(database.clone(), &[]).await;
    assert_eq!(applied(&database).await, MIGRATIONS.iter().count());
    let told = told();
    verify(&database, told.len()).await;
    for event in &told {
        let again = post(&service, event["path"].as_str().unwrap(), &event["body"]).await;
        assert_eq!((again.status, again.text.as_str()), (200, event["answer"].as_str().unwrap()));
    }
    // Its history has them too; what a set moved was not kept then.
    let history = service.get("/api/environment/shop/events?limit=1000").await.json();
    let history = history.as_array().unwrap();
    let asked = told.iter().map(|event| event.pointer("/body/0").unwrap_or(&event["body"]));
    let ids: Vec<&Value> = asked.map(|body| &body["id"]).collect();
    assert_eq!(history.iter().map(|event| &event["id"]).collect::<Vec<_>>(), ids);
    for event in history {
        let is_known = !["set-on-hand", "unreserve"].contains(&event["operation"].as_str().unwrap());
        assert_eq!(event.get("effects").is_some(), is_known, "{event}");
    }
    // It goes on from there: with what was allocated, what was reserved, and another configuration.
    let allocation = &told[3];
    assert_eq!(allocation["path"], "allocation/allocate");
    let mut body = allocation["body"].clone();
    body["id"] = json!("new");
    body["quantity"] = json!(2);
    let granted = post(&service, "allocation/allocate", &body).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    assert_eq!(granted.json()["balance"]["cumulativeAllocated"], json!(26));
    body["id"] = json!("too much");
    body["quantity"] = json!(1_000);
    assert_eq!(post(&service, "allocation/allocate", &body).await.status, 409);
    let path = "/api/environment/shop/configuration";
    let mut document = service.get(path).await.json();
    document["dataSources"]["wms"]["measures"] = json!(["packed", "counted"]);
    let changed = service.send(Method::PUT, path, &[JSON], document.to_string()).await;
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"3\"")), "{}", changed.text);
    service.stop().await;
    verify(&database, told.len() + 1).await;
}

#[tokio::test]
async fn instances_that_start_together_bring_the_schema_up_to_date_once() {
    let database = first_release().await;
    let start = || Service::start_on(database.clone(), &[]);
    let (one, two, three) = tokio::join!(start(), start(), start());
    assert_eq!(applied(&database).await, MIGRATIONS.iter().count());
    for service in [one, two, three] {
        let event = &told()[0];
        assert_eq!(post(&service, "onhand", &event["body"]).await.text, event["answer"].as_str().unwrap());
        assert_eq!(service.configure(bicycles()).await.status, 200);
        service.stop().await;
    }
}

/// All migrations, and one more that makes an index beside the work.
fn with_an_index() -> Migrator {
    let sql = "-- no-transaction\nCREATE INDEX CONCURRENTLY ledger_of_tomorrow ON ledger (environment_id, received_at)";
    let index = Migration::new(9999, "index".into(), MigrationType::Simple, SqlStr::from_static(sql), true);
    Migrator::with_migrations(MIGRATIONS.iter().cloned().chain([index]).collect())
}

async fn is_indexed(connection: &mut PgConnection) -> bool {
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ledger_of_tomorrow'::regclass";
    connection.fetch_one(valid).await.unwrap().get(0)
}

#[tokio::test]
async fn an_index_that_is_made_beside_the_work_waits_for_no_other_instance_s_start() {
    let database = first_release().await;
    let migrator = with_an_index();
    let migrate = async || {
        let connection = PgConnection::connect_with(&database).await.unwrap();
        migrate(connection, &migrator).await
    };
    let (one, two, three) = tokio::join!(migrate(), migrate(), migrate());
    for result in [one, two, three] {
        result.unwrap();
    }
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    assert!(is_indexed(&mut connection).await);
}

#[tokio::test]
async fn an_index_whose_making_was_killed_is_made_again() {
    let database = first_release().await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    // Left behind by one that failed, as by one that was killed.
    let half = "CREATE UNIQUE INDEX CONCURRENTLY ledger_of_tomorrow ON ledger (environment_id)";
    connection.execute(half).await.unwrap_err();
    assert!(!is_indexed(&mut connection).await);
    let of_others = "CREATE UNIQUE INDEX CONCURRENTLY of_others ON ledger (environment_id)";
    connection.execute(of_others).await.unwrap_err();
    migrate(PgConnection::connect_with(&database).await.unwrap(), &with_an_index()).await.unwrap();
    assert!(is_indexed(&mut connection).await);
    connection.execute("SELECT 'of_others'::regclass").await.unwrap();
}
