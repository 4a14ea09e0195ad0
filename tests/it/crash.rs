//! A server that is killed while one of its connections goes on.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};

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

    // One that computes does not notice that its postmaster is gone, and delays the restart: for as long as a
    // file is there.
    let file = std::path::Path::new(site.dir.path()).join("busy");
    std::fs::write(&file, "").unwrap();
    let mut busy = PgConnection::connect_with(&site.database()).await.unwrap();
    let query = format!(
        "DO $$ BEGIN WHILE (pg_stat_file('{}', true)).size IS NOT NULL LOOP END LOOP; END $$",
        file.display()
    );
    let busy = tokio::spawn(async move { busy.execute(AssertSqlSafe(query)).await.map(|_| ()) });
    let mut connection = PgConnection::connect_with(&site.database()).await.unwrap();
    eventually("the query runs", async || {
        let active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %' AND pid <> pg_backend_pid()";
        connection.fetch_optional(active).await.unwrap().is_some()
    })
    .await;
    signal("KILL", site.dir.postmaster().unwrap());
    eventually("the restart is delayed", async || program.log().contains("pre-existing shared memory block"))
        .await;
    std::fs::remove_file(&file).unwrap();
    let answer = client.settle("allocation/consume", &consume("1", "Bike", 1)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let _ = busy.await.unwrap();
    assert_eq!(client.balance("Bike").await, (9, 1));
    signal("TERM", program.pid);
    let ended = program.end().await;
    assert_eq!(ended.code, Some(0));
    site.verify(3).await;
}
