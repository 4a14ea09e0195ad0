//! When somebody keeps a serializable transaction open for so long that PostgreSQL has no room left
//! to watch over others, the guards alone keep the books, and the service goes on.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinSet;

use super::faults_log::Site;
use super::scale;
use crate::load::{Client, on_hand};
use crate::process::signal;
use crate::support::patiently;

const CLIENTS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_for_serializable_transactions_is_served_all_the_same() {
    let site = Site::new(None);
    site.serve().await.stop().await;
    let settings = Path::new(site.dir.path()).join("postgres/postgresql.conf");
    // As little room as it can be given: for some 900 reads.
    let mut settings = OpenOptions::new().append(true).open(settings).unwrap();
    settings.write_all(b"max_pred_locks_per_transaction = 10\n").unwrap();
    // A machine that stands still for a moment is not what is looked for.
    let program = site.serve_with(&patiently(&[])).await;
    let client = Client::new(&program.base);
    client.configure().await;
    let mut held = PgConnection::connect_with(&site.database()).await.unwrap();
    held.execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    held.execute("SELECT count(*) FROM ledger").await.unwrap();

    // Each at a place of its own that nobody has read yet.
    let each = scale(200, 2_000);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client::new(&program.base);
        clients.spawn(async move {
            for event in 0..each {
                let product = format!("{number}-{event}");
                let answer = client.post("onhand", &on_hand(&product, &product, 1)).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
        });
    }
    clients.join_all().await;
    held.execute("COMMIT").await.unwrap();
    held.close().await.unwrap();
    signal("TERM", program.pid);
    let said = program.end().await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("the guards alone keep order"), "there was room: {}", said.stderr);
    site.verify((CLIENTS * each) as usize).await;
    println!("no room for serializable transactions: {} commands, all done", CLIENTS * each);
}
