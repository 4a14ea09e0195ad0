//! Two instances over one database: processes that know nothing of each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::task::JoinSet;

use super::load::{Client, allocation, consume, on_hand};
use super::process::{Program, run_ringfence};
use super::support::{bicycles, database, service_url, url};

const CLIENTS: usize = 64;

/// Two instances, with the environment configured.
async fn pair(database: &PgConnectOptions) -> ([Program; 2], [Client; 2]) {
    let url = service_url(database);
    // The first one has to migrate nothing: the database has the schema.
    let programs = [
        Program::serve(&["--database-url", &url]).await,
        Program::serve(&["--database-url", &url, "--shards", "3"]).await,
    ];
    let clients = [Client::new(&programs[0].base), Client::new(&programs[1].base)];
    clients[0].configure().await;
    (programs, clients)
}

/// Stops both, and verifies that so many events explain all that is stored.
pub async fn stop_and_verify(programs: impl IntoIterator<Item = Program>, url: &str, events: usize) {
    for program in programs {
        program.stop().await;
    }
    let verified = run_ringfence(&["verify", "--database-url", url]).await;
    let expected = format!("{events} events in 1 environments replayed, 0 differences");
    assert_eq!((verified.code, verified.summary()), (Some(0), &*expected), "{}", verified.stdout);
}

async fn join(mut tasks: JoinSet<()>) {
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_stock_of_a_hot_product_is_sold_and_each_id_once() {
    const STOCK: usize = 500;
    const EACH: usize = 10;
    let database = database().await;
    let (programs, clients) = pair(&database).await;
    clients[0].allocate_all("Bike", STOCK as u32).await;
    // How many ids each instance sold of those that it alone was asked for at first.
    let sold = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let versions = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let (clients, sold, versions) = (clients.clone(), Arc::clone(&sold), Arc::clone(&versions));
        tasks.spawn(async move {
            for count in 0..EACH {
                let body = consume(&format!("{number}-{count}"), "Bike", 1);
                let home = number % 2;
                let one = clients[home].settle("allocation/consume", &body);
                let other = clients[1 - home].settle("allocation/consume", &body);
                let is_race = count % 2 == 0;
                let (one, other) = if is_race { tokio::join!(one, other) } else { (one.await, other.await) };
                if one.status == 409 {
                    assert_eq!(other.status, 409, "{} but {}", one.text, other.text);
                    assert_eq!(one.json()["code"], "insufficient-allocation");
                    assert_eq!(one.json()["available"], 0);
                    continue;
                }
                assert_eq!((one.status, &one.text), (other.status, &other.text));
                // One that was first and could not tell says of the repeat that it is one.
                let firsts = [&one, &other].map(|answer| answer.header("idempotent-replayed").is_none());
                assert_ne!(firsts, [true, true], "only one of them sold it");
                sold[home].fetch_add(usize::from(!is_race), Ordering::Relaxed);
                versions.lock().unwrap().push(one.json()["version"].as_u64().unwrap());
            }
        });
    }
    join(tasks).await;
    assert!(sold.iter().all(|sold| sold.load(Ordering::Relaxed) > STOCK / 20), "both get on: {sold:?}");
    let mut versions = std::mem::take(&mut *versions.lock().unwrap());
    versions.sort_unstable();
    assert_eq!(versions, (3..3 + STOCK as u64).collect::<Vec<_>>());
    assert_eq!(clients[1].balance("Bike").await, (0, STOCK as u64));
    stop_and_verify(programs, &url(&database), STOCK + 2).await;
}

#[tokio::test]
async fn an_instance_refuses_nothing_by_what_it_remembers() {
    let database = database().await;
    let (programs, clients) = pair(&database).await;
    let mut events = 0;
    for count in 0..10 {
        let (here, there) = (&clients[count % 2], &clients[(count + 1) % 2]);
        // Each remembers that there was nothing, until the other one knows better.
        for client in [here, there] {
            let refused = client.settle("allocation/allocate", &allocation("never", "Bike", 1)).await;
            assert_eq!(refused.status, 409, "{}", refused.text);
        }
        here.done("onhand", on_hand(&format!("stock-{count}"), "Bike", 1)).await;
        there.done("allocation/allocate", allocation(&format!("share-{count}"), "Bike", 1)).await;
        here.done("allocation/consume", consume(&format!("sale-{count}"), "Bike", 1)).await;
        events += 3;
    }
    stop_and_verify(programs, &url(&database), events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_with_another_meaning_is_refused_by_whichever_instance_is_later() {
    const IDS: usize = 100;
    let database = database().await;
    let (programs, clients) = pair(&database).await;
    clients[0].allocate_all("Bike", 1000).await;
    let mut tasks = JoinSet::new();
    for number in 0..IDS {
        let clients = clients.clone();
        tasks.spawn(async move {
            let id = format!("{number}");
            let bodies = [consume(&id, "Bike", 1), consume(&id, "Bike", 2)];
            let (one, other) = tokio::join!(
                clients[0].settle("allocation/consume", &bodies[0]),
                clients[1].settle("allocation/consume", &bodies[1])
            );
            let mut statuses = [one.status, other.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 422], "{} and {}", one.text, other.text);
            let refused = if one.status == 422 { one } else { other };
            assert_eq!(refused.json()["code"], "id-reused");
        });
    }
    join(tasks).await;
    stop_and_verify(programs, &url(&database), IDS + 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_holds_for_the_other_instance_from_its_answer_on() {
    const CHANGES: usize = 20;
    let database = database().await;
    let (programs, clients) = pair(&database).await;
    clients[0].allocate_all("Bike", 100_000).await;
    // With this much gone, the one formula gives nothing; the other does not look at it.
    let mut gone = on_hand("gone", "Bike", 0);
    gone["quantities"] = json!({"pos": {"inbound": 1000, "outbound": 1000}});
    clients[0].done("onhand", gone).await;
    let formulas = ["pos.inbound - @iv.@allocated", "pos.inbound - pos.outbound - @iv.@allocated"];

    let stop = Arc::new(AtomicBool::new(false));
    let consumed = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let (client, stop, consumed) =
            (clients[number % 2].clone(), Arc::clone(&stop), Arc::clone(&consumed));
        tasks.spawn(async move {
            for count in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let body = consume(&format!("{number}-{count}"), "Bike", 1);
                let answer = client.settle("allocation/consume", &body).await;
                assert_eq!(answer.status, 200, "neutral under either: {}", answer.text);
                consumed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for change in 0..CHANGES {
        let (here, there) = (&clients[change % 2], &clients[(change + 1) % 2]);
        let mut document = bicycles();
        let formula = formulas[change % 2];
        document["allocation"]["availableToAllocate"] = json!(formula);
        let changed = here.send(Method::PUT, "configuration", &document).await.unwrap();
        assert_eq!(changed.status, 200, "{}", changed.text);
        let one = there.settle("allocation/allocate", &allocation(&format!("one-{change}"), "Bike", 1)).await;
        assert_eq!(one.status, [200, 409][change % 2], "{formula}: {}", one.text);
    }
    stop.store(true, Ordering::Relaxed);
    join(tasks).await;

    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let order = "SELECT configuration_version FROM ledger WHERE product_id = 'Bike' ORDER BY version";
    let versions: Vec<i64> = sqlx::query_scalar(order).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert!(versions.is_sorted(), "decided under one that was no longer: {versions:?}");
    let events = 3 + CHANGES / 2 + consumed.load(Ordering::Relaxed);
    assert_eq!(versions.len(), events);
    stop_and_verify(programs, &url(&database), events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_measure_is_removed_or_moved_but_never_both() {
    const ROUNDS: usize = 15;
    const PRODUCTS: usize = 8;
    let database = database().await;
    let (programs, clients) = pair(&database).await;
    let (mut moved, mut without) = (0, bicycles());
    for round in 0..ROUNDS {
        let measure = format!("m{round}");
        let mut with = without.clone();
        with["dataSources"]["pos"]["measures"].as_array_mut().unwrap().push(json!(measure));
        let added = clients[0].send(Method::PUT, "configuration", &with).await.unwrap();
        assert_eq!(added.status, 200, "{}", added.text);
        let mut moves = JoinSet::new();
        for number in 0..PRODUCTS {
            let mut body = on_hand(&format!("{round}-{number}"), &format!("P{number}"), 0);
            body["quantities"] = json!({"pos": {(measure.as_str()): 1}});
            let client = clients[number % 2].clone();
            moves.spawn(async move { client.settle("onhand", &body).await });
        }
        let removal = clients[1].send(Method::PUT, "configuration", &without).await.unwrap();
        let mut done = 0;
        while let Some(answer) = moves.join_next().await {
            let answer = answer.unwrap();
            match answer.status {
                200 => done += 1,
                400 => assert_eq!(answer.json()["code"], "unknown-measure"),
                _ => panic!("{}", answer.text),
            }
        }
        match removal.status {
            200 => assert_eq!(done, 0, "they move what is no more"),
            409 => {
                assert_eq!(removal.json()["code"], "configuration-in-use");
                assert!(done > 0, "{}", removal.text);
                without = with;
            }
            _ => panic!("{}", removal.text),
        }
        moved += done;
    }
    stop_and_verify(programs, &url(&database), moved).await;
}
