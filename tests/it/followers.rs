//! Where the database is several servers, of which one leads: one that does not is given up,
//! and nothing is told that a failover could take back.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::load::{Client, consume};
use super::process::{DataDir, Program, run_ringfence, signal};
use super::requests::{allocation, event, problem, stock, without};
use super::support::{Service, database, eventually};

/// A service with some stock, and a connection to its database.
async fn service(limits: &[&str]) -> (Service, PgConnection) {
    let database = database().await;
    let connection = PgConnection::connect_with(&database).await.unwrap();
    let service = Service::start_on(database, &[&["--shards", "1"], limits].concat()).await;
    let client = Client::new(&service.base);
    client.configure().await;
    client.done("onhand", stock("stock", 10)).await;
    (service, connection)
}

async fn backends(connection: &mut PgConnection) -> BTreeSet<i32> {
    let query =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    connection.fetch_all(query).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_asked_either() {
    let (service, mut connection) = service(&["--round-trip-max-ms", "500"]).await;
    // As a follower is, and for every connection that is made from now on.
    let name = service.database.get_database().unwrap();
    let to_rest = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    connection.execute(AssertSqlSafe(to_rest)).await.unwrap();
    eventually("those of before are gone", async || {
        let backends = backends(&mut connection).await;
        for pid in &backends {
            sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut connection).await.unwrap();
        }
        backends.is_empty()
    })
    .await;
    let code = "database-unavailable";
    service.refuse("allocation/allocate", allocation("a", "Online", 8), code).await;
    service.refuse("allocation/query", without(event("", json!({})), "id"), code).await;
    let on_hand = "/api/environment/test/onhand?organizationId=usmf";
    problem(&service.get(on_hand).await, code);
    problem(&service.get("/readyz").await, code);

    let back = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    connection.execute(AssertSqlSafe(back)).await.unwrap();
    Client::new(&service.base).done("allocation/allocate", allocation("a", "Online", 8)).await;
    eventually("it is ready", async || service.get("/readyz").await.status == 200).await;
    // A reader that went back a moment before it was cut off is not asked whether it lives: whoever has it
    // asks once more.
    eventually("queries are answered", async || service.get(on_hand).await.status == 200).await;
    assert_eq!(service.verify().await, 2);
    service.stop().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_can_be_written_any_more_is_given_up() {
    // What a server says that came to follow another, and one that knows no serializable
    // transactions because it always did.
    for code in ["25006", "0A000"] {
        let (service, mut connection) = service(&[]).await;
        let refuse = format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'not here' USING ERRCODE = '{code}'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON ledger EXECUTE FUNCTION refuse()"
        );
        connection.execute(AssertSqlSafe(refuse)).await.unwrap();
        let before = backends(&mut connection).await;
        service.refuse("allocation/allocate", allocation("a", "Online", 8), "database-unavailable").await;
        eventually("the connection is given up", async || {
            !backends(&mut connection).await.is_superset(&before)
        })
        .await;
        connection.execute("DROP TRIGGER refuse ON ledger").await.unwrap();
        service.grant("allocation/allocate", allocation("a", "Online", 8)).await;
        assert_eq!(service.verify().await, 2);
        service.stop().await;
    }
}

/// A commit that waits for its synchronous follower is seen by nobody. A server that is killed
/// meanwhile shows it when it is back; but had it failed over, the event would never have been.
#[tokio::test]
async fn neither_a_repeat_nor_the_history_tells_of_an_event_that_a_failover_could_take_back() {
    let dir = DataDir::new();
    let program = Program::serve(&["--data-dir", dir.path(), "--round-trip-max-ms", "500"]).await;
    let client = Client::new(&program.base);
    client.configure().await;
    client.allocate_all("Bike", 10).await;
    let socket = Path::new(dir.path()).join("socket");
    let options =
        PgConnectOptions::new_without_pgpass().socket(socket).username("ringfence").database("ringfence");
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
    connection.execute("SELECT pg_reload_conf()").await.unwrap();
    // From when the server's checkpointer has read it, which may be later than a session has.
    let mut other = PgConnection::connect_with(&options).await.unwrap();
    let commits = tokio::spawn(async move {
        while other.execute("SELECT pg_logical_emit_message(true, 'a commit', '')").await.is_ok() {}
    });
    eventually("a commit waits for the follower", async || {
        let waits = "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        connection.fetch_optional(waits).await.unwrap().is_some()
    })
    .await;
    // Where the machine is busy, an answer of 503 alone could tell that it was not even sent.
    let body = consume("1", "Bike", 1);
    eventually("its commit waits for the follower", async || {
        assert_eq!(client.post("allocation/consume", &body).await.unwrap().status, 503);
        let waits = "SELECT FROM pg_stat_activity JOIN pg_locks USING (pid)
                     WHERE wait_event = 'SyncRep' AND relation = 'ledger'::regclass AND mode = 'RowExclusiveLock'";
        connection.fetch_optional(waits).await.unwrap().is_some()
    })
    .await;

    let postmaster = dir.postmaster().unwrap();
    signal("KILL", postmaster);
    commits.await.unwrap();
    eventually("another server shows the event", async || {
        let Ok(mut connection) = PgConnection::connect_with(&options).await else { return false };
        let shown = connection.fetch_optional("SELECT FROM ledger WHERE id = '1'").await;
        shown.is_ok_and(|row| row.is_some())
    })
    .await;
    for _ in 0..3 {
        let again = client.post("allocation/consume", &body).await.unwrap();
        assert_eq!(again.status, 503, "{}", again.text);
        let history = client.send(Method::GET, "events", &json!({})).await.unwrap();
        assert_eq!(history.status, 503, "{}", history.text);
    }
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    connection.execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    connection.execute("SELECT pg_reload_conf()").await.unwrap();
    let told = client.settle("allocation/consume", &body).await;
    assert_eq!((told.status, told.header("idempotent-replayed")), (200, Some("true")), "{}", told.text);
    program.stop().await;
    let verified = run_ringfence(&["verify", "--data-dir", dir.path()]).await;
    assert_eq!(verified.summary(), "3 events in 1 environments replayed, 0 differences");
}
