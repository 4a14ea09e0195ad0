//! `ringfence verify` finds what was changed behind the service's back, and names it.

use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::load::{Client, allocation, consume, on_hand};
use super::process::run_ringfence;
use super::support::{Service, database, unguarded, url};

mod followed;

/// A database with a handful of events: of a product with a node below another, a balance
/// and a reservation, and of a second product that nothing is ever found about. The events
/// have the places 1 to 8 in the ledger; those of the first product, from 3 on, the ids 1 to 6.
struct Books {
    database: PgConnectOptions,
    connection: PgConnection,
}

/// The first product's nodes, from the root down.
const ROOT: &str = "product usmf/Bike at siteId=1, locationId=11";
const RED: &str = "product usmf/Bike at siteId=1, locationId=11, colorId=red";
const SMALL: &str = "product usmf/Bike at siteId=1, locationId=11, colorId=red, sizeId=S";

impl Books {
    async fn write() -> Books {
        let service = Service::start_on(database().await, &[]).await;
        let client = Client::new(&service.base);
        client.configure().await;
        client.allocate_all("Helmet", 5).await;
        client.done("onhand", on_hand("1", "Bike", 10)).await;
        let mut small = on_hand("2", "Bike", 1);
        small["dimensions"]["sizeId"] = json!("S");
        client.done("onhand", small).await;
        client.done("allocation/allocate", allocation("3", "Bike", 6)).await;
        client.done("allocation/consume", consume("4", "Bike", 2)).await;
        let mut reserving = consume("5", "Bike", 1);
        reserving["physicalMeasures"] = json!({"@iv": {"@softreserved": "Addition"}});
        client.done("allocation/consume", reserving).await;
        client.done("allocation/unallocate", allocation("6", "Bike", 1)).await;
        let database = service.database.clone();
        service.stop().await;
        let mut connection = PgConnection::connect_with(&unguarded(&database)).await.unwrap();
        // What follows the ledger has a module of its own, and here is nowhere yet.
        let nowhere =
            "UPDATE follower SET reached_event_id = 0; TRUNCATE ledger_piece, activity, activity_place";
        connection.execute(nowhere).await.unwrap();
        let save = "CREATE SCHEMA saved; CREATE TABLE saved.ledger AS TABLE ledger;
                    CREATE TABLE saved.stock_node AS TABLE stock_node;
                    CREATE TABLE saved.balance AS TABLE balance;
                    CREATE TABLE saved.reservation AS TABLE reservation;
                    CREATE TABLE saved.configuration AS TABLE configuration";
        connection.execute(save).await.unwrap();
        Books { database, connection }
    }

    async fn restore(&mut self) {
        let restore =
            "TRUNCATE ledger, stock_node, balance, reservation, erasure; UPDATE environment SET version = 1;
                       UPDATE configuration SET document = saved.document FROM saved.configuration saved;
                       INSERT INTO ledger OVERRIDING SYSTEM VALUE TABLE saved.ledger;
                       INSERT INTO stock_node TABLE saved.stock_node;
                       INSERT INTO balance TABLE saved.balance;
                       INSERT INTO reservation TABLE saved.reservation";
        self.connection.execute(restore).await.unwrap();
    }

    /// What verification says of the books as they are: its exit code, its differences, and
    /// how many events it read.
    async fn verify(&self) -> (Option<i32>, Vec<String>, String) {
        let ended = run_ringfence(&["verify", "--database-url", &url(&self.database)]).await;
        let mut lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
        let summary = lines.pop().unwrap_or(ended.stderr);
        let (events, rest) = summary.split_once(' ').unwrap();
        assert_eq!(rest, format!("events in 1 environments replayed, {} differences", lines.len()));
        (ended.code, lines, events.to_owned())
    }

    /// Changes one thing, and sees that exactly it is found: each difference begins so.
    async fn check(&mut self, change: &str, differences: &[String]) {
        let changed = self.connection.execute(AssertSqlSafe(change)).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{change}");
        let (code, found, _) = self.verify().await;
        assert_eq!((code, found.len()), (Some(3), differences.len()), "{change}: {found:#?}");
        for (found, expected) in found.iter().zip(differences) {
            let found = found.strip_prefix("environment test: ").unwrap();
            assert!(found.starts_with(expected), "{change}: {found}, not {expected}");
        }
        self.restore().await;
    }

    /// Makes a change, and answers what is found of it.
    async fn found(&mut self, change: &str) -> (Option<i32>, Vec<String>) {
        self.connection.execute(AssertSqlSafe(change)).await.unwrap();
        let (code, found, _) = self.verify().await;
        self.restore().await;
        (code, found)
    }

    async fn check_one(&mut self, change: &str, difference: &str) {
        self.check(change, &[difference.to_owned()]).await;
    }
}

#[tokio::test]
async fn verify_counts_what_is_right() {
    let books = Books::write().await;
    assert_eq!(books.verify().await, (Some(0), vec![], "8".to_owned()));
}

#[tokio::test]
async fn verify_names_what_is_wrong_with_the_state() {
    let mut books = Books::write().await;
    let balance = format!("{RED}: the balance of channel=Online, customerGroup=VIP is ");
    let held = "allocated 2, consumed 3, in all allocated 5 and consumed 3";
    books
        .check_one(
            "UPDATE balance SET allocated = 3, cumulative_allocated = 6 WHERE product_id = 'Bike'",
            &format!(
                "{balance}allocated 3, consumed 3, in all allocated 6 and consumed 3, the ledger gives {held}"
            ),
        )
        .await;
    let nothing = "allocated 0, consumed 0, in all allocated 0 and consumed 0";
    books
        .check_one(
            "DELETE FROM balance WHERE product_id = 'Bike'",
            &format!("{balance}{nothing}, the ledger gives {held}"),
        )
        .await;
    // The seventh measure is pos.inbound.
    for (change, difference) in [
        (
            "total[7] = 10 WHERE dimensions = '{1,11,red}'",
            format!("{RED}: total pos.inbound is 10, the ledger gives 9"),
        ),
        (
            "own[7] = 0.5 WHERE dimensions = '{1,11,red,S}'",
            format!("{SMALL}: own pos.inbound is 0.5, the ledger gives 1"),
        ),
        ("version = 7 WHERE dimensions = '{1,11}'", format!("{ROOT}: the version is 7, the ledger gives 6")),
        (
            "set_at = '{NULL,NULL,NULL,NULL,NULL,NULL,7}' WHERE dimensions = '{1,11,red,S}'",
            format!("{SMALL}: the last set of pos.inbound is "),
        ),
    ] {
        books
            .check_one(&format!("UPDATE stock_node SET {change} AND product_id = 'Bike'"), &difference)
            .await;
    }
    let node = [("the version", 0, 1), ("own pos.inbound", 0, 1), ("total pos.inbound", 0, 1)];
    let missing = node.map(|(what, is, was)| format!("{SMALL}: {what} is {is}, the ledger gives {was}"));
    books
        .check("DELETE FROM stock_node WHERE dimensions = '{1,11,red,S}' AND product_id = 'Bike'", &missing)
        .await;
    let place = "product usmf/Bike at siteId=9";
    let extra = node.map(|(what, is, was)| format!("{place}: {what} is {was}, the ledger gives {is}"));
    books
        .check(
            "INSERT INTO stock_node SELECT environment_id, organization_id, product_id, '{9}', 1, own, total
             FROM stock_node WHERE dimensions = '{1,11,red,S}'",
            &extra,
        )
        .await;
    let orphan = "00000000-0000-0000-0000-000000000001";
    books
        .check_one(
            &format!(
                "INSERT INTO reservation SELECT environment_id, organization_id, product_id, '{orphan}', dimensions,
                 measure, 1, 1 FROM reservation"
            ),
            &format!("product usmf/Bike: reservation {orphan} is stored, but no event made it"),
        )
        .await;
    let reservation: uuid::Uuid = sqlx::query_scalar("SELECT reservation_id FROM reservation")
        .fetch_one(&mut books.connection)
        .await
        .unwrap();
    let reservation = format!("product usmf/Bike: reservation {reservation} is ");
    books.check_one("UPDATE reservation SET remaining = 0.5", &format!("{reservation}stored as ")).await;
    books.check_one("DELETE FROM reservation", &format!("{reservation}not stored")).await;
}

#[tokio::test]
async fn verify_names_what_is_wrong_with_the_ledger() {
    let mut books = Books::write().await;
    books
        .check_one(
            "UPDATE ledger SET outcome = jsonb_set(outcome::jsonb, '{availableToAllocate}', '77')::json WHERE id = '3'",
            "event 5 was answered ",
        )
        .await;
    books
        .check_one(
            "UPDATE ledger SET version = 2 WHERE id = '6'",
            "event 8 is stored with version 2, but was answered 6",
        )
        .await;
    // What the last event moved, wherever it is counted.
    let moved = |changed: &[&str], balance: &str| {
        let of = |node: &str, what: &str| format!("{node}: {what} is ");
        let mut moved = vec![];
        for (node, kinds) in [(ROOT, &["total"][..]), (RED, &["own", "total"])] {
            moved.extend(changed.iter().map(|what| of(node, what)));
            for measure in ["@iv.@allocated", "@iv.@cumulative_allocated"] {
                moved.extend(kinds.iter().map(|kind| of(node, &format!("{kind} {measure}"))));
            }
        }
        moved.push(format!("{RED}: the balance of {balance} is "));
        moved
    };
    let deleted = moved(&["the version"], "channel=Online, customerGroup=VIP");
    books.check("DELETE FROM ledger WHERE id = '6'", &deleted).await;
    let mut unreadable = vec!["event 8 cannot be replayed: event 8 is not readable as nonsense".to_owned()];
    unreadable.extend(deleted.clone());
    books.check("UPDATE ledger SET operation = 'nonsense' WHERE id = '6'", &unreadable).await;
    let mut unknown =
        vec!["event 8 was decided under version 9 of the configuration, which is missing".to_owned()];
    unknown.extend(deleted);
    books.check("UPDATE ledger SET configuration_version = 9 WHERE id = '6'", &unknown).await;
    let mut changed = vec!["event 8 was answered ".to_owned()];
    changed.extend(moved(&[], "channel=Online, customerGroup=VIP"));
    books.check("UPDATE ledger SET quantity = 2 WHERE id = '6'", &changed).await;

    // One in the middle is missed by all that follow.
    let mut deleted: Vec<String> = [(5, 3), (6, 4), (7, 5), (8, 6)]
        .iter()
        .map(|(event, version)| {
            let number = version - 1;
            format!("event {event} has version {version}, but it is number {number} in the ledger: ")
        })
        .collect();
    for (node, version, total) in [(ROOT, 6, 9), (RED, 6, 9), (SMALL, 1, 1)] {
        deleted.push(format!("{node}: the version is {version}, the ledger gives {}", version - 1));
        if node == SMALL {
            deleted.push(format!("{node}: own pos.inbound is 1, the ledger gives 0"));
        }
        deleted.push(format!("{node}: total pos.inbound is {total}, the ledger gives {}", total - 1));
    }
    books.check("DELETE FROM ledger WHERE id = '2'", &deleted).await;
}

/// It hides events from all who read the ledger on, and has them deleted.
#[tokio::test]
async fn verify_names_what_an_erasure_hides_that_never_was() {
    let mut books = Books::write().await;
    let erasure = |product: &str, until: i64| {
        format!("INSERT INTO erasure VALUES ('test', 'usmf', '{product}', {until}, '')")
    };
    let (code, found) = books.found(&erasure("Bike", 8)).await;
    assert_eq!(code, Some(3));
    let expected = format!("environment test: {ROOT}: the version is 6, the ledger gives 0");
    assert_eq!(found.first(), Some(&expected));
    assert!(found.iter().all(|line| line.contains("usmf/Bike")), "{found:#?}");
    let (code, found) = books.found(&erasure("Bike", 3)).await;
    assert_eq!(code, Some(3));
    assert!(
        found[0].starts_with("environment test: event 4 has version 2, but it is number 1 in"),
        "{found:#?}"
    );
    // One of what is still to come hides nothing yet.
    books
        .check_one(&erasure("Lamp", 9), "the erasure of usmf/Lamp reaches to event 9, but the last id was 8")
        .await;
    assert_eq!(books.found(&erasure("Lamp", 8)).await, (Some(0), vec![]), "as one is that has nothing left");
}

#[tokio::test]
async fn verify_names_what_cannot_be_read_and_goes_on() {
    let mut books = Books::write().await;
    let reservation: uuid::Uuid = sqlx::query_scalar("SELECT reservation_id FROM reservation")
        .fetch_one(&mut books.connection)
        .await
        .unwrap();
    books
        .check(
            "UPDATE reservation SET measure = 'no.such'",
            &[
                format!("product usmf/Bike: reservation {reservation} is not stored"),
                format!("reservation {reservation} is not readable: it has a measure that the environment never had"),
            ],
        )
        .await;
    books
        .check(
            "UPDATE stock_node SET own[7] = 'NaN' WHERE dimensions = '{1,11,red,S}'",
            &[
                format!("{SMALL}: the version is 0, the ledger gives 1"),
                format!("{SMALL}: own pos.inbound is 0, the ledger gives 1"),
                format!("{SMALL}: total pos.inbound is 0, the ledger gives 1"),
                r#"the stock node usmf/Bike ["1", "11", "red", "S"] is not readable: the stored quantity "NaN""#.to_owned(),
            ],
        )
        .await;
    books.check_one("UPDATE environment SET version = 2", "its configuration is missing").await;
    let unusable = |formula: &str| {
        let path = "'{allocation,availableToAllocate}'";
        format!("UPDATE configuration SET document = jsonb_set(document::jsonb, {path}, '{formula:?}')::json")
    };
    books
        .check_one(&unusable("no.such"), "its configuration cannot be used: a stored configuration is ")
        .await;
    // Another formula is one, and the answers were others.
    let formula = "fno.onordered + 2 * pos.inbound - @iv.@softreserved - @iv.@allocated";
    let (_, found) = books.found(&unusable(formula)).await;
    assert!(found[0].starts_with("environment test: event 1 was answered "), "{found:#?}");
}

#[tokio::test]
async fn verify_names_what_is_kept_of_an_environment_that_there_is_not() {
    let mut books = Books::write().await;
    let (_, found) = books
        .found(
            "INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions,
                                 configuration_version, version, received_at, outcome)
             SELECT 'ghost', organization_id, product_id, id, operation, dimensions, configuration_version, version,
                    received_at, outcome
             FROM ledger WHERE id IN ('1', '2')",
        )
        .await;
    assert_eq!(found, ["environment ghost: is not there, but has 2 rows in ledger"]);
    for (table, rows) in [("stock_node", 5), ("balance", 2), ("reservation", 1)] {
        let (code, found) = books.found(&format!("UPDATE {table} SET environment_id = 'ghost'")).await;
        assert_eq!(code, Some(3), "{table}");
        let ghost = format!("environment ghost: is not there, but has {rows} rows in {table}");
        assert_eq!(found.last(), Some(&ghost));
    }
}

/// What one can find out of an event's own row, though nothing else was changed with it.
#[tokio::test]
async fn verify_names_an_event_that_is_not_the_one_it_was() {
    let mut books = Books::write().await;
    // A reservation's id is made of its event's.
    let (code, found) = books.found("UPDATE ledger SET id = 'x' WHERE id = '5'").await;
    assert_eq!(code, Some(3));
    assert!(found[0].starts_with("environment test: event 7 was answered "), "{found:#?}");
    for change in [
        "organization_id = 'x'",
        "product_id = 'Helmet'",
        "operation = 'unallocate'",
        "dimensions = '{1,11}'",
        "groups = '{Online}'",
        "quantity = 7",
    ] {
        let (code, found) = books.found(&format!("UPDATE ledger SET {change} WHERE id = '3'")).await;
        assert_eq!(code, Some(3), "{change}");
        // The event, or the one behind it, which lacks what it gave.
        let is_named = ["event 5 ", "event 6 "].map(|event| format!("environment test: {event}"));
        assert!(is_named.iter().any(|name| found[0].starts_with(name)), "{change}: {found:#?}");
    }
    let (_, found) = books
        .found("UPDATE ledger SET detail = '{\"measures\": {\"pos.outbound\": 1}}' WHERE id = '4'")
        .await;
    assert!(found[0].starts_with("environment test: event 6 "), "{found:#?}");
}

/// What the guide says that it cannot see.
#[tokio::test]
async fn verify_does_not_see_what_nothing_else_depends_on() {
    let mut books = Books::write().await;
    for change in [
        "id = 'x' WHERE id = '3'",
        "reference = 'x', reason = 'x', actor = 'x' WHERE id = '3'",
        "received_at = received_at + interval '1 day' WHERE id = '3'",
    ] {
        assert_eq!(books.found(&format!("UPDATE ledger SET {change}")).await, (Some(0), vec![]), "{change}");
    }
}
