//! The settled horizon: nothing appears behind whoever reads the ledger on.

use std::time::Duration;

use ringfence::store::horizon::Horizon;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::history::{EVENTS, names};
use super::requests::{allocation, changed, event, problem, stock, without};
use super::support::{Service, bicycles, database, eventually};

/// Longer than a busy machine takes for a statement.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

async fn connect(database: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(database).await.unwrap()
}

/// Takes the next id for an event, in a transaction that may be open or not.
pub async fn insert(connection: &mut PgConnection, id: &str) -> i64 {
    let statement =
        "INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions,
                                         configuration_version, version, received_at, outcome)
                     VALUES ('test', 'usmf', 'Bike', $1, 'set-on-hand', '{}', 1, 1, now(),
                             '{\"version\": 1, \"availableToAllocate\": 0}')
                     RETURNING event_id";
    sqlx::query_scalar(statement).bind(id).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn it_stays_below_an_id_that_may_still_be_committed() {
    let database = database().await;
    let (mut reader, mut quick) = (connect(&database).await, connect(&database).await);
    let horizon = Horizon::default();
    assert_eq!(horizon.read(&mut reader, LONG).await.unwrap(), 0, "nothing was written yet");
    let first = insert(&mut quick, "first").await;
    assert_eq!(horizon.read(&mut reader, LONG).await.unwrap(), first);
    for is_committed in [true, false] {
        let mut slow = connect(&database).await;
        let mut hanging = slow.begin().await.unwrap();
        let before = horizon.read(&mut reader, SHORT).await.unwrap();
        let hangs = insert(&mut hanging, &format!("hangs-{is_committed}")).await;
        let later = insert(&mut quick, &format!("later-{is_committed}")).await;
        assert!(hangs < later);
        assert_eq!(horizon.read(&mut reader, SHORT).await.unwrap(), before, "{hangs} may still appear");
        // Who asks for the first time knows of nothing that is settled.
        assert_eq!(Horizon::default().read(&mut reader, SHORT).await.unwrap(), 0);
        match is_committed {
            true => hanging.commit().await.unwrap(),
            false => hanging.rollback().await.unwrap(),
        }
        assert_eq!(horizon.read(&mut reader, LONG).await.unwrap(), later);
    }
}

#[tokio::test]
async fn it_waits_for_who_is_about_to_commit() {
    let database = database().await;
    let (mut reader, mut slow) = (connect(&database).await, connect(&database).await);
    let mut hanging = slow.begin().await.unwrap();
    let hangs = insert(&mut hanging, "hangs").await;
    let horizon = Horizon::default();
    let (reached, ()) = tokio::join!(horizon.read(&mut reader, LONG), async {
        tokio::task::yield_now().await;
        hanging.commit().await.unwrap();
    });
    assert_eq!(reached.unwrap(), hangs);
}

#[tokio::test]
async fn it_does_not_wait_for_whoever_came_later_or_does_not_write_to_the_ledger() {
    let database = database().await;
    let mut reader = connect(&database).await;
    // One that has written elsewhere, one that has a lock on the ledger for reading, one in
    // another database whose table has the same name.
    let mut elsewhere = connect(&database).await;
    let mut elsewhere = elsewhere.begin().await.unwrap();
    sqlx::query("INSERT INTO environment VALUES ('foreign', 1)").execute(&mut *elsewhere).await.unwrap();
    let mut reading = connect(&database).await;
    let mut reading = reading.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    sqlx::query("SELECT FROM ledger").execute(&mut *reading).await.unwrap();
    let mut other = connect(&super::support::database().await).await;
    let mut other = other.begin().await.unwrap();
    insert(&mut other, "other").await;

    let mut quick = connect(&database).await;
    let last = insert(&mut quick, "last").await;
    let horizon = Horizon::default();
    assert_eq!(horizon.read(&mut reader, SHORT).await.unwrap(), last);

    // Writers that follow one another without a gap: it waits for those of its beginning only.
    let mut first = connect(&database).await;
    let mut second = connect(&database).await;
    let mut open = first.begin().await.unwrap();
    let hangs = insert(&mut open, "hangs").await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut reader).await.unwrap();
    let (reached, next) = tokio::join!(horizon.read(&mut reader, LONG), async {
        eventually("it has looked who writes", async || {
            let looked =
                "SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'idle' AND query LIKE '%pg_locks%'";
            sqlx::query(looked).bind(pid).fetch_optional(&mut quick).await.unwrap().is_some()
        })
        .await;
        let mut next = second.begin().await.unwrap();
        insert(&mut next, "next").await;
        open.commit().await.unwrap();
        next
    });
    assert_eq!(reached.unwrap(), hangs);
    next.rollback().await.unwrap();
}

/// Waits until somebody who follows the ledger has taken an event.
async fn is_taken(connection: &mut PgConnection, event_id: i64) {
    eventually("it is taken", async || {
        let taken: Option<i64> = sqlx::query_scalar("SELECT max(reached_event_id) FROM follower")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        taken.unwrap_or_default() >= event_id
    })
    .await;
}

#[tokio::test]
async fn while_a_writer_hangs_an_instance_that_was_restarted_shows_what_was_settled_before() {
    let database = database().await;
    let mut connection = connect(&database).await;
    let restarted = Service::start_on(database.clone(), &[]).await;
    let other = Service::start_on(database.clone(), &[]).await;
    assert_eq!(restarted.configure(bicycles()).await.status, 200);
    restarted.grant("onhand", stock("in", 10)).await;
    other.grant("allocation/allocate", allocation("share", "Online", 4)).await;
    let settled = other.events("").await;
    let last = settled.last().unwrap()["eventId"].as_i64().unwrap();
    is_taken(&mut connection, last).await;

    let mut slow = connect(&database).await;
    let mut hanging = slow.begin().await.unwrap();
    insert(&mut hanging, "hangs").await;
    other.grant("allocation/allocate", allocation("later", "Online", 1)).await;
    restarted.stop().await;
    let restarted = Service::start_on(database.clone(), &[]).await;
    for service in [&restarted, &other] {
        let answer = service.get(EVENTS).await;
        assert_eq!(answer.json().as_array().unwrap(), &settled, "what was settled, and not what came later");
        assert_eq!(answer.header("ringfence-horizon"), Some(&*last.to_string()));
        let mut reader = super::feed::Reader::open(&service.base, "after=0", None).await;
        assert_eq!(reader.events(2).await, settled);
        let asked = |event_id: i64| changed(without(event("", json!({})), "id"), json!({"asOf": event_id}));
        let then = service.post("allocation/query", asked(last)).await;
        assert_eq!(then.json()[0]["quantities"]["@iv"]["@allocated"], 4, "{}", then.text);
        problem(&service.post("allocation/query", asked(last + 2)).await, "overloaded");
    }
    hanging.commit().await.unwrap();
    for service in [restarted, other] {
        assert_eq!(names(&service.events("").await), ["in", "share", "hangs", "later"]);
        service.stop().await;
    }
}

#[tokio::test]
async fn what_was_settled_long_after_anybody_asked_is_shown_while_a_writer_hangs() {
    let service = Service::with_stock(10).await;
    let mut connection = connect(&service.database).await;
    assert_eq!(service.named("").await, ["stock"]);
    let granted = service.grant("allocation/allocate", allocation("share", "Online", 4)).await;
    is_taken(&mut connection, granted["eventId"].as_i64().unwrap()).await;
    let mut hanging = connection.begin().await.unwrap();
    insert(&mut hanging, "hangs").await;
    assert_eq!(service.named("").await, ["stock", "share"]);
    hanging.rollback().await.unwrap();
    service.stop().await;
}
