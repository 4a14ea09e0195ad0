//! What the database lets a connection see: the rows of the environments that it works for.

use std::collections::BTreeMap;

use ringfence::store::sight::Resting;
use ringfence::store::{Readers, Sight, StoreError, read};
use sqlx::{Connection, Executor, PgConnection, Row};

use super::support::{Service, as_service, database};

/// Tables without environment_id, and why they need no policy.
const WITHOUT: [(&str, &str); 4] = [
    ("_sqlx_migrations", "the schema's own"),
    ("follower", "how far the ledger was followed, of all environments"),
    ("ledger_piece", "event ids and times, of all environments"),
    ("watching", "counts changes, of all environments"),
];

/// Names that would be two, or all, if any part of them were taken for punctuation.
const NAMES: [&str; 6] = ["test", "a,b", "*", "{demo,test}", r#"quo"te\"#, "other"];

/// A database with one environment of each name.
async fn books() -> Service {
    let service = Service::start().await;
    let mut owner = PgConnection::connect_with(&service.database).await.unwrap();
    for name in NAMES {
        let insert = "INSERT INTO environment VALUES ($1, 1)";
        sqlx::query(insert).bind(name).execute(&mut owner).await.unwrap();
        let insert = "INSERT INTO stock_node VALUES ($1, 'usmf', 'Bike', '{1,11}', 1, '{}', '{}')";
        sqlx::query(insert).bind(name).execute(&mut owner).await.unwrap();
    }
    owner.close().await.unwrap();
    service
}

async fn environments(connection: &mut PgConnection) -> Vec<String> {
    let names = "SELECT environment_id FROM environment ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut *connection).await.unwrap();
    let nodes = "SELECT environment_id FROM seen_stock_node ORDER BY 1";
    let views: Vec<String> = sqlx::query_scalar(nodes).fetch_all(&mut *connection).await.unwrap();
    assert_eq!(tables, views, "a view shows what its table does");
    tables
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_connection_sees_whom_it_works_for_whatever_they_are_called() {
    let service = books().await;
    let connect = async || PgConnection::connect_with(&as_service(&service.database)).await.unwrap();
    let mut resting = Resting::new(connect().await);
    for name in NAMES {
        let mut seeing = resting.see(Sight::Of(name)).await.unwrap();
        assert_eq!(environments(&mut seeing).await, [name]);
        resting = seeing.rest();
    }
    let mut seeing = resting.see(Sight::All).await.unwrap();
    assert_eq!(environments(&mut seeing).await, sorted(&NAMES));
    let mut seeing = seeing.rest().see(Sight::OfEach(&["a,b", "*"])).await.unwrap();
    assert_eq!(environments(&mut seeing).await, sorted(&["a,b", "*"]));
    let mut seeing = seeing.rest().see(Sight::OfEach(&["test"])).await.unwrap();
    assert_eq!(environments(&mut seeing).await, sorted(&["a,b", "*", "test"]), "a writer's last ones stay");
    let mut seeing = seeing.rest().see(Sight::Of("test")).await.unwrap();
    assert_eq!(environments(&mut seeing).await, ["test"], "and are gone for anybody else");
    let many: Vec<String> = (0..70).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["other"]).collect();
    let mut seeing = seeing.rest().see(Sight::OfEach(&many)).await.unwrap();
    assert_eq!(environments(&mut seeing).await, ["other"], "more than are kept replace those before");
    let mut untold = connect().await;
    assert!(environments(&mut untold).await.is_empty(), "who says nothing sees nothing");
    untold.execute("SET ringfence.environments = 'nonsense'").await.unwrap();
    assert!(environments(&mut untold).await.is_empty());
    untold.execute("RESET ringfence.environments").await.unwrap();
    assert!(environments(&mut untold).await.is_empty());
    service.stop().await;
}

#[tokio::test]
async fn a_statement_that_forgets_the_environment_reads_and_writes_its_own_rows_only() {
    let service = books().await;
    let mut connection = PgConnection::connect_with(&as_service(&service.database)).await.unwrap();
    connection.execute("SET ringfence.environments = '{other}'").await.unwrap();
    let changed = connection.execute("UPDATE environment SET version = 7").await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    let changed = connection.execute("UPDATE seen_stock_node SET version = 7").await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    for table in ["environment", "stock_node"] {
        let foreign = format!("SELECT count(*) FROM {table} WHERE environment_id = 'test'");
        let count: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(foreign)).fetch_one(&mut connection).await.unwrap();
        assert_eq!(count, 0, "{table}");
    }
    for foreign in [
        "INSERT INTO environment VALUES ('new', 1)",
        "UPDATE environment SET environment_id = 'test 2'",
        "INSERT INTO stock_node VALUES ('test', 'usmf', 'Car', '{}', 1, '{}', '{}')",
        "INSERT INTO balance VALUES ('test', 'usmf', 'Bike', '{1,11}', '{}', 0, 0, 0, 0)",
    ] {
        let refused = connection.execute(foreign).await.unwrap_err();
        assert_eq!(
            refused.as_database_error().unwrap().code().as_deref(),
            Some("42501"),
            "{foreign}: {refused}"
        );
    }
    service.stop().await;
}

/// It has no environment of its own, only a place that has.
#[tokio::test]
async fn activity_is_seen_where_its_place_is() {
    let service = books().await;
    let mut owner = PgConnection::connect_with(&service.database).await.unwrap();
    let totals = "'{1,0,0,0,0,0,0}', NULL";
    for (place, name) in [(1, "test"), (2, "other")] {
        let place = format!("INSERT INTO activity_place VALUES ({place}, '{name}', 'usmf', 'Bike', '{{}}', '{{}}', {totals}, now());
                             INSERT INTO activity VALUES ({place}, now(), {totals})");
        owner.execute(sqlx::AssertSqlSafe(place)).await.unwrap();
    }
    let mut connection = PgConnection::connect_with(&as_service(&service.database)).await.unwrap();
    for (setting, expected) in
        [("{other}", vec![2]), ("{test,other}", vec![1, 2]), ("*", vec![1, 2]), ("{}", vec![])]
    {
        let set = format!("SET ringfence.environments = '{setting}'");
        connection.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
        let places = sqlx::query_scalar("SELECT place_id FROM activity ORDER BY 1");
        let places: Vec<i64> = places.fetch_all(&mut connection).await.unwrap();
        assert_eq!(places, expected, "{setting}");
    }
    connection.execute("SET ringfence.environments = '{other}'").await.unwrap();
    let foreign = connection.execute("DELETE FROM activity WHERE place_id = 1").await.unwrap();
    assert_eq!(foreign.rows_affected(), 0);
    for foreign in [
        format!("INSERT INTO activity VALUES (1, '2020-01-01', {totals})"),
        "UPDATE activity SET place_id = 1".to_owned(),
    ] {
        let refused = connection.execute(sqlx::AssertSqlSafe(foreign.as_str())).await.unwrap_err();
        assert_eq!(
            refused.as_database_error().unwrap().code().as_deref(),
            Some("42501"),
            "{foreign}: {refused}"
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn a_pool_s_connection_never_sees_what_another_s_user_saw() {
    let service = books().await;
    let wait_max = std::time::Duration::from_secs(60);
    // Fewer than there are users, who are cut off in every state.
    let readers = Readers::new(as_service(&service.database), 2, wait_max);
    let work = (0..400_u32).map(|turn| {
        let readers = readers.clone();
        async move {
            let name = NAMES[turn as usize % NAMES.len()];
            let reading = read(&readers, Sight::Of(name), async |connection| {
                if turn % 5 == 0 {
                    let mut transaction = connection.begin().await?;
                    sqlx::query("SELECT pg_sleep(0.001)").execute(&mut *transaction).await?;
                    // Left open.
                }
                if turn % 7 == 0 {
                    return Err(StoreError::Unavailable("a connection in doubt".to_owned()));
                }
                Ok(environments(connection).await)
            });
            match turn % 3 {
                0 => {
                    _ = tokio::time::timeout(std::time::Duration::from_micros(u64::from(turn)), reading).await
                }
                _ => match reading.await {
                    Ok(seen) => assert_eq!(seen, [name]),
                    Err(error) => assert!(turn % 7 == 0, "{error}"),
                },
            }
        }
    });
    futures_util::future::join_all(work).await;
    for name in NAMES {
        let seen =
            read(&readers, Sight::Of(name), async |connection| Ok(environments(connection).await)).await;
        assert_eq!(seen.unwrap(), [name]);
    }
    readers.close().await;
    service.stop().await;
}

#[tokio::test]
async fn every_table_with_an_environment_has_the_policy() {
    let mut connection = PgConnection::connect_with(&database().await).await.unwrap();
    let tables = "SELECT c.relname::text, c.relrowsecurity,
               EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'environment_id' AND NOT a.attisdropped),
               (SELECT string_agg(p.polname || p.polcmd::text || p.polpermissive::text
                                  || pg_get_expr(p.polqual, p.polrelid) || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''), ';')
                FROM pg_policy p WHERE p.polrelid = c.oid)
           FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace ORDER BY 1";
    let rows = connection.fetch_all(tables).await.unwrap();
    let mut without = Vec::new();
    let mut policies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in &rows {
        let name: String = row.get(0);
        if name == "activity" {
            // Known by the place_id of activity_place, so that policy is its own too.
            let policy: String = row.get(3);
            assert!(row.get::<bool, _>(1) && policy.contains("FROM activity_place p"), "{policy}");
            continue;
        }
        if !row.get::<bool, _>(2) {
            without.push(name);
            continue;
        }
        assert!(row.get::<bool, _>(1), "{name} has no row-level security");
        policies.entry(row.get::<Option<String>, _>(3).unwrap_or_default()).or_default().push(name);
    }
    assert_eq!(without, WITHOUT.map(|(name, _)| name));
    assert_eq!(policies.len(), 1, "all have the same one: {policies:?}");
    assert!(policies.keys().next().unwrap().contains("ringfence.environments"), "{policies:?}");
    let views = "SELECT table_name::text, view_definition FROM information_schema.views WHERE table_schema = current_schema()";
    for row in connection.fetch_all(views).await.unwrap() {
        let (name, text): (String, String) = (row.get(0), row.get(1));
        assert_eq!(text.matches("ringfence.environments").count(), 3, "{name}: {text}");
    }
}

/// As analytics go through them (`store/analytics.rs`), of a table of which nothing is known.
#[tokio::test]
async fn places_of_activity_are_walked_in_the_order_of_their_index() {
    let service = books().await;
    let options = [("enable_seqscan", "off"), ("enable_bitmapscan", "off")];
    let options = as_service(&service.database).options(options);
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let plan = "EXPLAIN SELECT p.first_minute FROM seen_activity_place p
                WHERE (p.environment_id, p.organization_id, p.product_id, p.dimensions, p.groups)
                      >= ('test', 'usmf', 'Bike', '{1,11}', '{Online}')
                  AND (p.environment_id, p.organization_id, p.product_id, p.dimensions) <= ('test', 'usmf', 'Bike', '{z}')
                ORDER BY p.environment_id, p.organization_id, p.product_id, p.dimensions, p.groups LIMIT 20000";
    let plan: Vec<String> = sqlx::query_scalar(plan).fetch_all(&mut connection).await.unwrap();
    let condition =
        plan.iter().find(|line| line.contains("Index Cond")).unwrap_or_else(|| panic!("{plan:#?}"));
    assert!(condition.contains("dimensions, groups) >="), "{plan:#?}");
    assert!(!plan.iter().any(|line| line.contains("Sort")), "{plan:#?}");
    service.stop().await;
}

#[tokio::test]
async fn what_is_looked_up_by_a_path_is_found_by_its_index() {
    let service = books().await;
    let options = as_service(&service.database).options([("enable_seqscan", "off")]);
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let plan = "EXPLAIN UPDATE seen_stock_node s SET version = 2 WHERE s.environment_id = 'test' AND s.organization_id = 'usmf'
                AND s.product_id = 'Bike' AND s.dimensions = '{1,11}' AND s.version = 1";
    let plan: Vec<String> = sqlx::query_scalar(plan).fetch_all(&mut connection).await.unwrap();
    let condition =
        plan.iter().find(|line| line.contains("Index Cond")).unwrap_or_else(|| panic!("{plan:#?}"));
    assert!(condition.contains("dimensions ="), "{plan:#?}");
    assert_eq!(
        plan.iter().filter(|line| line.trim_start().starts_with("InitPlan")).count(),
        2,
        "the setting is read once: {plan:#?}"
    );
    service.stop().await;
}
