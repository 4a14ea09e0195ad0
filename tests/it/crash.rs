//! A server that is killed while one of its connections goes on.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::load::{Client, consume};
use super::process::signal;
use super::support::eventually;
use super::trust::Site;

#[tokio::test]
async fn a_server_whose_connection_outlives_it_comes_back() {
    let site = Site::new(None);
    let program = site.serve().await;
    let client = Client::new(&program.base);
    client.configure().await;
    client.allocate_all("Bike", 10).await;

    // One that computes does not notice that its postmaster is gone, and delays the restart.
    let mut busy = PgConnection::connect_with(&site.database()).await.unwrap();
    let busy = tokio::spawn(async move {
        let query = "SELECT count(*) FROM generate_series(1, 1500) a, generate_series(1, 10000) b";
        busy.execute(query).await.map(|_| ())
    });
    let mut connection = PgConnection::connect_with(&site.database()).await.unwrap();
    eventually("the query runs", async || {
        let active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%10000%' AND pid <> pg_backend_pid()";
        connection.fetch_optional(active).await.unwrap().is_some()
    })
    .await;
    signal("KILL", site.dir.postmaster().unwrap());
    let answer = client.settle("allocation/consume", &consume("1", "Bike", 1)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let _ = busy.await.unwrap();
    assert_eq!(client.balance("Bike").await, (9, 1));
    signal("TERM", program.pid);
    let ended = program.end().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("pre-existing shared memory block"), "{}", ended.stderr);
    site.verify(3).await;
}
