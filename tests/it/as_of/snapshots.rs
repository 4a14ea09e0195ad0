//! Snapshots are taken while the service works, and held against the ledger.

use ringfence::domain::snapshot::EVENTS_MIN;
use ringfence::store::snapshots::Source;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::requests::{allocation, changed, stock};
use crate::support::{Service, bicycles, database, eventually};

use super::{alone, ask, connect, follow, follow_by, last_event, questions, run, snapshots};

/// Posts so many on-hand changes of the bicycle, in bulks.
async fn post(service: &Service, name: &str, events: u64) {
    for bulk in 0..events.div_ceil(500) {
        let lines =
            (bulk * 500..events.min(bulk * 500 + 500)).map(|index| stock(&format!("{name} {index}"), 1));
        let answer = service.post("onhand/bulk", lines.collect::<Value>()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

/// Most events of the bicycle between two snapshots, and before the first.
async fn longest_gap(connection: &mut PgConnection) -> i64 {
    let gaps = "SELECT coalesce(max(events), 0) FROM (
                    SELECT count(*) AS events FROM ledger l
                    WHERE l.product_id = 'Bike' AND l.event_id <= (SELECT max(event_id) FROM snapshot)
                    GROUP BY (SELECT min(s.event_id) FROM snapshot s WHERE s.event_id >= l.event_id)) g";
    sqlx::query_scalar(gaps).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn the_service_takes_snapshots_and_takes_them_again_where_they_are_gone() {
    let service = Service::start().await;
    service.configure(crate::support::bicycles()).await;
    let mut connection = connect(&service).await;
    let mut more = 0;
    for round in 1..=3 {
        post(&service, &format!("first {round}"), EVENTS_MIN).await;
        more += until_there_are(round, &service, &mut connection).await;
    }
    post(&service, "few", 10).await;
    // What is noted of the few is to go with the rest below, not to come after it.
    until_followed(&mut connection).await;
    assert_eq!(longest_gap(&mut connection).await, EVENTS_MIN as i64);
    let point = json!(EVENTS_MIN * 2 + 5);
    let before = ask(&service, "test", &questions()[4], Some(point.clone())).await.text;
    // It is read: without what comes before it, nothing else could tell.
    run(&mut connection, "SET session_replication_role = replica; CREATE TABLE hidden AS TABLE ledger; DELETE FROM ledger WHERE event_id < 900").await;
    assert_eq!(ask(&service, "test", &questions()[4], Some(point.clone())).await.text, before);
    run(&mut connection, "INSERT INTO ledger OVERRIDING SYSTEM VALUE SELECT * FROM hidden WHERE event_id < 900; DROP TABLE hidden").await;
    run(&mut connection, "DELETE FROM snapshot; DELETE FROM snapshot_due").await;
    assert_eq!(ask(&service, "test", &questions()[4], Some(point.clone())).await.text, before);
    post(&service, "second", EVENTS_MIN).await;
    more += until_there_are(4, &service, &mut connection).await;
    // Where it was followed before all of it was settled, the first three are replayed and the last is a copy.
    let longest = longest_gap(&mut connection).await as u64;
    assert!((EVENTS_MIN..=EVENTS_MIN + 10 + more).contains(&longest), "{longest}");
    assert_eq!(service.verify().await as u64, EVENTS_MIN * 4 + 10 + more);
    service.stop().await;
}

/// Waits until all that was committed was followed.
async fn until_followed(connection: &mut PgConnection) {
    let last = last_event(connection).await;
    let reached = "SELECT coalesce(max(reached_event_id), 0) FROM follower WHERE name = 'snapshots'";
    eventually("all is followed", async || {
        sqlx::query_scalar::<_, i64>(reached).fetch_one(&mut *connection).await.unwrap() == last
    })
    .await;
}

/// Waits for so many snapshots of the bicycle. A copy of what does not settle in time is not kept, and its
/// product is replayed with its next event: answers how many it took.
async fn until_there_are(count: i64, service: &Service, connection: &mut PgConnection) -> u64 {
    for more in 0..20 {
        until_followed(connection).await;
        if snapshots(connection, "Bike").await == count {
            return more;
        }
        post(service, &format!("more {count} {more}"), 1).await;
    }
    panic!("there are not {count} snapshots");
}

/// Who follows takes what is settled by then, of a bulk maybe a part.
#[tokio::test]
async fn what_is_not_noted_any_more_is_counted_and_not_left_without() {
    let service = Service::start().await;
    service.configure(bicycles()).await;
    let mut connection = alone(&service).await;
    for index in 0..12 {
        service.grant("onhand", stock(&format!("{index}"), 1)).await;
    }
    // Every fourth is due, and what is noted of those between gets lost again and again.
    for (after, until, expected) in
        [(0, 3, &[][..]), (3, 4, &[4]), (4, 6, &[4]), (6, 7, &[4]), (7, 9, &[4, 8])]
    {
        run(&mut connection, "DELETE FROM snapshot_due").await;
        follow_by(&mut connection, (after, until), Source::Books, 4).await;
        let taken = sqlx::query_scalar::<_, i64>("SELECT event_id FROM snapshot ORDER BY event_id");
        assert_eq!(taken.fetch_all(&mut connection).await.unwrap(), expected, "up to {until}");
    }
    service.stop().await;
}

/// The more a product has, the fewer snapshots it gets: no event pays for more than one entry.
#[tokio::test]
async fn a_product_of_many_nodes_is_written_less_often() {
    let service = Service::start().await;
    service.configure(crate::support::bicycles()).await;
    let mut connection = alone(&service).await;
    for index in 0..60 {
        let place = json!({"siteId": "1", "locationId": "11", "colorId": format!("c{}", index % 20)});
        service.grant("onhand", changed(stock(&format!("{index}"), 1), json!({"dimensions": place}))).await;
    }
    follow(&mut connection, 0, 2).await;
    let taken: Vec<i64> = sqlx::query_scalar("SELECT event_id FROM snapshot ORDER BY event_id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    // As many events as it has entries by then, the node above and twenty colours; read in pairs.
    assert_eq!(taken, [22, 43]);
    service.stop().await;
}

/// What verification says of the database, without the place that all of it begins with.
async fn found(connection: &mut PgConnection) -> Vec<String> {
    let report = ringfence::verify::verify(connection).await.unwrap();
    report
        .differences
        .iter()
        .map(|what| what.strip_prefix("environment test: ").unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn verify_names_a_snapshot_that_is_not_what_the_ledger_gives() {
    let service = Service::start().await;
    service.configure(crate::support::bicycles()).await;
    let mut connection = alone(&service).await;
    for index in 0..4 {
        service.grant("onhand", stock(&format!("stock {index}"), 10)).await;
    }
    service.grant("allocation/allocate", allocation("a", "Online/VIP", 4)).await;
    let reserving = json!({"physicalMeasures": {"@iv": {"@softreserved": "Addition"}}});
    let order = changed(allocation("c", "Online/VIP", 1), reserving);
    service.grant("allocation/consume", order).await;
    for (index, product) in ["Bike", "Bike", "Helmet", "Helmet"].iter().enumerate() {
        let more = changed(stock(&format!("more {index}"), 8), json!({"productId": product}));
        service.grant("onhand", more).await;
    }
    follow(&mut connection, 0, 1).await;
    service.stop().await;
    assert_eq!(found(&mut connection).await, Vec::<String>::new());
    let taken: Vec<i64> = sqlx::query_scalar("SELECT event_id FROM snapshot ORDER BY 1")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(taken, [2, 4, 8, 10]);
    run(&mut connection, "CREATE TABLE saved AS TABLE snapshot").await;
    let replaced = |from: &str, to: &str, event: i64| {
        format!(
            "UPDATE snapshot SET stock = replace(stock::text, '{from}', '{to}')::json WHERE event_id = {event}"
        )
    };
    let at = "the snapshot of usmf/Bike at event 8";
    let red = "at siteId=1, locationId=11, colorId=red: the balance of channel=Online, customerGroup=VIP is";
    for (change, expected) in [
        (replaced("\"allocated\":3", "\"allocated\":2", 8), format!("{at} {red} allocated 2, ")),
        (
            replaced("\"version\":8", "\"version\":9", 8),
            format!("{at} at siteId=1, locationId=11: the version is 9, the ledger gives 8"),
        ),
        (replaced(",1,1]]", ",1,0.5]]", 8), format!("{at}: reservation ")),
        (replaced("\"nodes\"", "\"knots\"", 8), format!("{at} is not readable: ")),
        (replaced("\"own\":[", "\"own\": [", 8), format!("{at} is not written as the service writes it")),
        (
            "UPDATE snapshot SET product_id = 'Lamp' WHERE event_id = 4".to_owned(),
            "the snapshot of usmf/Lamp at event 4 is of no event of the product".to_owned(),
        ),
        (
            "UPDATE snapshot SET event_id = 19 WHERE event_id = 10".to_owned(),
            "the snapshot of usmf/Helmet at event 19 is of no event of the product".to_owned(),
        ),
    ] {
        assert_eq!(run(&mut connection, &change).await, 1, "{change}");
        let found = found(&mut connection).await;
        assert!(found[0].starts_with(&expected), "{change}: {found:#?}");
        run(&mut connection, "TRUNCATE snapshot; INSERT INTO snapshot TABLE saved").await;
    }
    run(&mut connection, "UPDATE snapshot SET environment_id = 'ghost' WHERE event_id = 8").await;
    let report = ringfence::verify::verify(&mut connection).await.unwrap();
    assert_eq!(report.differences, ["environment ghost: is not there, but has 1 rows in snapshot"]);
}

/// At another site than the red bicycle: who changes one has nothing to do with who changes the other.
fn elsewhere(body: Value) -> Value {
    changed(body, json!({"dimensions": {"siteId": "2", "locationId": "21"}}))
}

/// Waits until a connection asks who still writes to the ledger.
async fn waits_for_writers(watching: &mut PgConnection, copier: i32) {
    let asks = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND query LIKE 'SELECT virtualtransaction%')";
    eventually("it waits for writers", async || {
        sqlx::query_scalar::<_, bool>(asks).bind(copier).fetch_one(&mut *watching).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_the_books_that_lacks_an_event_which_commits_late_is_not_kept() {
    let database = database().await;
    let one = Service::start_on(database.clone(), &[]).await;
    let other = Service::start_on(database.clone(), &[]).await;
    assert_eq!(one.configure(bicycles()).await.status, 200);
    let (mut connection, mut watching) = (alone(&one).await, connect(&one).await);
    let copier: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    for is_settled_in_time in [true, false] {
        let name = |what: &str| format!("{what} {is_settled_in_time}");
        one.grant("onhand", elsewhere(stock(&name("in"), 10))).await;
        one.grant("allocation/allocate", elsewhere(allocation(&name("first"), "Online", 1))).await;
        let settled = follow(&mut connection, 0, 1).await;
        run(&mut connection, "UPDATE snapshot_due SET events = due_at - 1").await;
        // The balance is the last that is written: who waits for it has an event id.
        let mut in_the_way = PgConnection::connect_with(&database).await.unwrap();
        let mut holding = in_the_way.begin().await.unwrap();
        sqlx::query("SELECT FROM balance FOR UPDATE").execute(&mut *holding).await.unwrap();
        let late = other.post("allocation/allocate", elsewhere(allocation(&name("late"), "Online", 2)));
        let ((), answer) = tokio::join!(
            async {
                let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN
                               (SELECT pid FROM pg_locks WHERE relation = 'ledger'::regclass AND mode = 'RowExclusiveLock'
                                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
                eventually("it waits", async || {
                    sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut connection).await.unwrap() > 0
                })
                .await;
                one.grant("onhand", stock(&name("early"), 5)).await;
                let copying = follow_by(&mut connection, (settled - 1, settled), Source::Books, 1);
                match is_settled_in_time {
                    // It commits while the copy waits until all is settled, and so behind the copy.
                    true => {
                        _ = tokio::join!(copying, async {
                            waits_for_writers(&mut watching, copier).await;
                            holding.commit().await.unwrap();
                        })
                    }
                    false => {
                        copying.await;
                        holding.commit().await.unwrap();
                    }
                }
            },
            late
        );
        let late = answer.json()["eventId"].as_i64().unwrap();
        assert!(settled < late && late < last_event(&mut connection).await, "it came late");
        one.verify().await;
        let beyond = async |connection: &mut PgConnection| -> i64 {
            let count = sqlx::query_scalar("SELECT count(*) FROM snapshot WHERE event_id > $1").bind(settled);
            count.fetch_one(connection).await.unwrap()
        };
        assert_eq!(beyond(&mut connection).await, 0, "nothing was kept of it");
        // Its product is still due, and is replayed.
        for index in 0..4 {
            one.grant("onhand", stock(&name(&format!("next {index}")), 1)).await;
        }
        let last = last_event(&mut connection).await;
        follow_by(&mut connection, (settled, last), Source::Books, 1).await;
        assert!(beyond(&mut connection).await > 0);
        one.verify().await;
    }
    one.stop().await;
    other.stop().await;
}
