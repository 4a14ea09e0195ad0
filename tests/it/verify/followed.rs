//! What is kept of the ledger beside the books: its pieces, and what was done.

use std::collections::BTreeMap;

use super::super::support::eventually;
use super::*;

const EVENTS: i64 = 5;

/// A database of which all that follows the ledger has everything: five events, in as many pieces as
/// they were taken in.
async fn followed() -> (PgConnectOptions, PgConnection) {
    let service = Service::start_on(database().await, &[]).await;
    let client = Client::new(&service.base);
    client.configure().await;
    let mut connection = PgConnection::connect_with(&unguarded(&service.database)).await.unwrap();
    client.allocate_all("Bike", 10).await;
    client.done("allocation/consume", consume("c1", "Bike", 2)).await;
    let mut moved = allocation("m", "Bike", 3);
    moved["sourceGroups"] = moved["groups"].clone();
    moved["groups"] = json!({"channel": "Store"});
    client.done("allocation/reallocate", moved).await;
    client.done("allocation/unallocate", allocation("u", "Bike", 1)).await;
    let reached =
        "SELECT count(*) FROM follower WHERE name IN ('snapshots', 'activity') AND reached_event_id = $1";
    eventually("all is followed", async || {
        let count: i64 = sqlx::query_scalar(reached).bind(EVENTS).fetch_one(&mut connection).await.unwrap();
        count == 2
    })
    .await;
    let database = service.database.clone();
    service.stop().await;
    // However they were taken: two pieces, of three events and of two.
    let cut = "TRUNCATE ledger_piece;
               INSERT INTO ledger_piece SELECT 1, 3, 3, min(received_at) FROM ledger WHERE event_id <= 3;
               INSERT INTO ledger_piece SELECT 4, 5, 2, min(received_at) FROM ledger WHERE event_id > 3;
               CREATE SCHEMA saved; CREATE TABLE saved.ledger_piece AS TABLE ledger_piece;
               CREATE TABLE saved.activity AS TABLE activity; CREATE TABLE saved.activity_place AS TABLE activity_place;
               CREATE TABLE saved.ledger AS TABLE ledger; CREATE TABLE saved.follower AS TABLE follower";
    connection.execute(cut).await.unwrap();
    (database, connection)
}

/// Makes a change, and answers what is found of it.
async fn found(
    database: &PgConnectOptions,
    connection: &mut PgConnection,
    change: &str,
) -> (Option<i32>, String) {
    connection.execute(AssertSqlSafe(change)).await.unwrap();
    let ended = run_ringfence(&["verify", "--database-url", &url(database)]).await;
    let restore = "TRUNCATE ledger_piece, activity, activity_place, ledger, follower;
                   INSERT INTO follower TABLE saved.follower;
                   INSERT INTO ledger_piece TABLE saved.ledger_piece;
                   INSERT INTO activity TABLE saved.activity; INSERT INTO activity_place TABLE saved.activity_place;
                   INSERT INTO ledger OVERRIDING SYSTEM VALUE TABLE saved.ledger";
    connection.execute(restore).await.unwrap();
    let lines: Vec<&str> = ended.stdout.lines().collect();
    (ended.code, lines[..lines.len() - 1].join("\n"))
}

#[tokio::test]
async fn verify_names_a_piece_of_the_ledger_that_is_not_what_the_ledger_gives() {
    let (database, mut connection) = followed().await;
    assert_eq!(found(&database, &mut connection, "SELECT").await, (Some(0), String::new()));
    let second = "the piece of the ledger from event 4 to 5";
    for (change, expected) in [
        (
            "UPDATE ledger_piece SET earliest = earliest + interval '1 second' WHERE first_event_id = 4",
            format!("{second} has "),
        ),
        (
            "UPDATE ledger_piece SET earliest = earliest - interval '1 second' WHERE first_event_id = 4",
            format!("{second} has "),
        ),
        (
            "UPDATE ledger_piece SET events = 1 WHERE first_event_id = 4",
            format!("{second} is said to have had 1 events, the ledger has 2"),
        ),
        (
            "DELETE FROM ledger_piece WHERE first_event_id = 1",
            format!("{second} has 3 events before it that are in no piece"),
        ),
        (
            "DELETE FROM ledger_piece WHERE first_event_id = 4",
            "2 events of the ledger behind 3 up to 5 are in no piece".to_owned(),
        ),
        (
            "UPDATE ledger_piece SET last_event_id = 7 WHERE first_event_id = 4",
            "the piece of the ledger from event 4 to 7 goes further than the ledger was cut, up to 5"
                .to_owned(),
        ),
        (
            "UPDATE ledger_piece SET last_event_id = 4, events = 4 WHERE first_event_id = 1",
            format!("{second} begins before the one before it ends, at 4"),
        ),
    ] {
        let (code, found) = found(&database, &mut connection, change).await;
        assert_eq!(code, Some(3), "{change}");
        assert!(found.starts_with(&expected) && found.lines().count() == 1, "{change}: {found}");
    }
    // Whoever has taken what never came takes nothing of it when it comes, and cuts no pieces.
    let ahead = "UPDATE follower SET reached_event_id = 1000000000 WHERE name = 'snapshots'; DELETE FROM ledger_piece";
    let expected = "the follower snapshots reaches to event 1000000000, but the last id was 5
5 events of the ledger behind 0 up to 1000000000 are in no piece";
    assert_eq!(found(&database, &mut connection, ahead).await, (Some(3), expected.to_owned()));
    // Of what was erased nothing is known: a piece may have had more events, and earlier ones.
    let erased = "UPDATE ledger_piece SET events = 3, earliest = earliest - interval '1 second' WHERE first_event_id = 4";
    assert_eq!(found(&database, &mut connection, erased).await, (Some(0), String::new()));
}

#[tokio::test]
async fn verify_names_what_was_done_and_is_kept_otherwise() {
    let (database, mut connection) = followed().await;
    let place =
        "environment test: product usmf/Bike at siteId=1, locationId=11, colorId=red: the activity of ";
    let (vip, store) = ("channel=Online, customerGroup=VIP", "channel=Store");
    // Allocated, returned, consumed, reallocated in and out.
    let gives = BTreeMap::from([(vip, "{10,1,2,0,3}"), (store, "{0,0,0,3,0}")]);
    let (of_vip, of_store) = ("groups = '{Online,VIP}'", "groups = '{Store}'");
    for (change, groups, is) in [
        (format!("UPDATE activity_place SET totals[1] = 11 WHERE {of_vip}"), vip, "{11,1,2,0,3} last at "),
        (
            format!("UPDATE activity_place SET totals[4] = 2.5 WHERE {of_store}"),
            store,
            "{0,0,0,2.5,0}, and otherwise",
        ),
        (
            format!(
                "DELETE FROM activity WHERE place_id = (SELECT place_id FROM activity_place WHERE {of_store});
                 DELETE FROM activity_place WHERE {of_store}"
            ),
            store,
            "not stored",
        ),
        (
            format!(
                "UPDATE activity_place SET first_minute = first_minute + interval '1 hour' WHERE {of_store}"
            ),
            store,
            "{0,0,0,3,0}, and begins before",
        ),
        (
            format!("UPDATE activity_place SET last_consumed_at = '2020-01-01' WHERE {of_vip}"),
            vip,
            "{10,1,2,0,3} last at 2020",
        ),
        (
            format!(
                "UPDATE activity SET totals[5] = 4 WHERE place_id = (SELECT place_id FROM activity_place WHERE {of_vip})"
            ),
            vip,
            "{10,1,2,0,3} last at ",
        ),
    ] {
        let (code, found) = found(&database, &mut connection, &change).await;
        assert_eq!(code, Some(3), "{change}");
        assert!(found.starts_with(&format!("{place}{groups} is {is}")), "{change}: {found}");
        assert!(found.contains(&format!(", the ledger gives {}", gives[groups])), "{change}: {found}");
        assert_eq!(found.lines().count(), 1, "{change}: {found}");
    }
    let placeless = "INSERT INTO activity SELECT 7777, minute, totals FROM activity LIMIT 1";
    let expected = "the place 7777 is not there, but has 1 rows in activity";
    assert_eq!(found(&database, &mut connection, placeless).await, (Some(3), expected.to_owned()));
    let nobody = format!("UPDATE activity_place SET groups = '{{Partner}}' WHERE {of_store}");
    let (_, found) = found(&database, &mut connection, &nobody).await;
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(
        lines,
        [
            format!("{place}channel=Partner is {{0,0,0,3,0}}, the ledger gives {{0,0,0,0,0}}"),
            format!("{place}channel=Store is not stored, the ledger gives {{0,0,0,3,0}}"),
        ]
    );
}
