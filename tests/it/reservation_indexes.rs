//! The schema is brought up to date beside whoever else starts or works.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};

use super::requests::stock;
use super::reservations::{freeing, reservation};
use super::support::{Service, bicycles, empty_database};

/// The indexes that were made beside the work, and whether they are finished.
async fn indexes(database: &PgConnectOptions) -> Vec<(String, bool)> {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let statement =
        "SELECT c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                     WHERE c.relname LIKE 'reservation\\_%' AND NOT i.indisprimary ORDER BY 1";
    let rows = sqlx::query_as(statement).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows
}

fn finished() -> Vec<(String, bool)> {
    ["reservation_by_id", "reservation_held"].map(|name| (name.to_owned(), true)).to_vec()
}

/// Whoever waited in a statement for another's migration would keep its index from being finished,
/// and each would wait for the other.
#[tokio::test]
async fn instances_that_start_at_once_on_a_new_database_all_start() {
    let database = empty_database().await;
    let start = || Service::start_on(database.clone(), &[]);
    let (one, two, three) = tokio::join!(start(), start(), start());
    assert_eq!(indexes(&database).await, finished());
    for service in [one, two, three] {
        assert_eq!(service.configure(bicycles()).await.status, 200);
        service.stop().await;
    }
}

#[tokio::test]
async fn what_an_interrupted_migration_left_behind_is_made_anew() {
    // Whose service owns the schema: it migrates when it starts.
    let database = empty_database().await;
    let service = Service::start_on(database.clone(), &[]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 10)).await;
    let made = service.grant("onhand/reserve", reservation("order", 5)).await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let interrupted =
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'reservation_by_id'::regclass;
                       DROP INDEX reservation_held; DELETE FROM _sqlx_migrations WHERE version IN (2, 5)";
    connection.execute(interrupted).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(indexes(&database).await, [("reservation_by_id".to_owned(), false)]);
    // One that was there before goes on working beside it.
    let other = Service::start_on(database.clone(), &[]).await;
    assert_eq!(indexes(&database).await, finished());
    other.grant("onhand/unreserve", freeing("back", &made["reservationId"], 5)).await;
    service.grant("onhand/reserve", reservation("next", 10)).await;
    assert_eq!(service.verify().await, 4);
    other.stop().await;
    service.stop().await;
}
