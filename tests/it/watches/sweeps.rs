//! What is looked at without an event, turn by turn: here the turns are taken by hand.

use ringfence::domain::command::Timestamp;
use ringfence::follow::activity::Activity;
use ringfence::follow::watches::Watches;
use ringfence::follow::{Chunk, Follower};
use sqlx::Executor;
use sqlx::postgres::PgConnectOptions;

use super::*;

const SECOND: i64 = 1_000_000;

/// A connection that sees what a follower's does.
async fn connect(database: &PgConnectOptions) -> PgConnection {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    connection.execute("SET ringfence.environments = '*'").await.unwrap();
    connection
}

/// A turn of a follower, in which there are no new events.
async fn turn(connection: &mut PgConnection, follower: &mut impl Follower, now: i64) {
    let mut transaction = connection.begin().await.unwrap();
    let chunk = Chunk { after: 0, until: 0, now: Timestamp(now), is_behind: false };
    follower.take(&mut transaction, chunk).await.unwrap();
    transaction.commit().await.unwrap();
}

/// The products of the open alerts.
async fn open(connection: &mut PgConnection) -> Vec<String> {
    let statement = "SELECT product_id FROM alert WHERE closed_at IS NULL ORDER BY 1";
    sqlx::query_scalar(statement).fetch_all(connection).await.unwrap()
}

async fn now(connection: &mut PgConnection) -> i64 {
    let statement = "SELECT (extract(epoch FROM now()) * 1000000)::bigint";
    sqlx::query_scalar(statement).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn where_demand_was_just_not_met_is_judged_at_once_however_much_there_is_to_look_at() {
    let service = service(1).await;
    service.watch("unmet", json!({"unmetAbove": 5, "withinSeconds": 3600})).await;
    let database = service.database.clone();
    service.stop().await;
    let mut connection = connect(&database).await;
    // More places than are looked at in a turn, and behind them two that have to open.
    let statement = "INSERT INTO activity_place (environment_id, organization_id, product_id, dimensions, groups, totals, minute)
             SELECT 'test', 'usmf', 'Many', '{1,11}', ARRAY['Online', i::text], '{0,0,0,0,0,1,1}', now()
             FROM generate_series(1, 5000) i;
         INSERT INTO activity_place (environment_id, organization_id, product_id, dimensions, groups, totals, minute)
             VALUES ('test', 'usmf', 'Z swept', '{1,11}', '{Online}', '{0,0,0,0,0,6,1}', now());
         INSERT INTO stock_node VALUES ('test', 'usmf', 'Z taken', '{1,11}', 1, '{}', '{}');
         INSERT INTO unmet_demand (environment_id, organization_id, product_id, dimensions, groups, minute, quantity, count)
             SELECT 'test', 'usmf', 'Z taken', '{1,11}', '{Online}', date_trunc('minute', now()), 3, 1
             FROM generate_series(1, 2)";
    connection.execute(statement).await.unwrap();
    let now = now(&mut connection).await;
    turn(&mut connection, &mut Activity::default(), now).await;
    let mut watches = Watches::default();
    turn(&mut connection, &mut watches, now).await;
    assert_eq!(open(&mut connection).await, ["Z taken"]);
    for later in 1..=3 {
        turn(&mut connection, &mut watches, now + later * SECOND).await;
    }
    assert_eq!(open(&mut connection).await, ["Z swept", "Z taken"]);
    let marks: i64 =
        sqlx::query_scalar("SELECT count(*) FROM unmet_taken").fetch_one(&mut connection).await.unwrap();
    assert_eq!(marks, 0);
}

#[tokio::test]
async fn everything_is_looked_at_again_every_minute_also_where_time_has_to_be_looked_at_all_the_time() {
    let service = service(20).await;
    service.watch("low", json!({"balanceAtOrBelow": 10})).await;
    service.watch("unmet", json!({"unmetAbove": 5, "withinSeconds": 3600})).await;
    let database = service.database.clone();
    service.stop().await;
    let mut connection = connect(&database).await;
    // Time is looked at where anything was ever asked for: nowhere.
    connection.execute("TRUNCATE activity_place").await.unwrap();
    let (now, mut watches) = (now(&mut connection).await, Watches::default());
    for later in 0..3 {
        turn(&mut connection, &mut watches, now + later * SECOND).await;
    }
    // By nobody who would tell of it.
    connection.execute("UPDATE balance SET allocated = 9, cumulative_allocated = 9").await.unwrap();
    for later in 3..55 {
        turn(&mut connection, &mut watches, now + later * SECOND).await;
    }
    assert_eq!(open(&mut connection).await, [""; 0], "time is not enough for that");
    for later in 55..65 {
        turn(&mut connection, &mut watches, now + later * SECOND).await;
    }
    assert_eq!(open(&mut connection).await, ["Bike"]);
}
