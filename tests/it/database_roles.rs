//! The roles of the database: one that owns the schema and migrates, and one that serves.

use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

use super::process::run_ringfence;
use super::support::{Service, as_service, bicycles, database, empty_database, url};
use ringfence::app::App;
use ringfence::check;
use ringfence::store::erasing;

async fn as_owner(database: &PgConnectOptions, statement: &str) {
    let mut owner = PgConnection::connect_with(database).await.unwrap();
    owner.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
}

async fn add_stock(service: &Service, id: &str) -> u16 {
    let body = json!({"id": id, "organizationId": "usmf", "productId": "Bike",
                      "dimensions": {"siteId": "1", "locationId": "11"}, "quantities": {"pos": {"inbound": 5}}});
    service.post("onhand", body).await.status
}

/// Why the service does not start on a database, which a check must know.
async fn refused(database: &PgConnectOptions, arguments: &[&str]) -> String {
    let settings = super::support::settings(database, arguments);
    let checked = check::check(&settings).await.err().map(|error| error.to_string());
    let refused = App::build(settings).await.err().map(|error| error.to_string());
    assert_eq!(checked, refused);
    refused.unwrap_or_default()
}

async fn code(connection: &mut PgConnection, statement: &str) -> Option<String> {
    let answer = connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await;
    answer.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()))
}

#[tokio::test]
async fn the_service_s_role_adds_to_the_ledger_and_takes_nothing_from_it() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    assert_eq!(add_stock(&service, "1").await, 200);
    let mut connection = PgConnection::connect_with(&as_service(&service.database)).await.unwrap();
    connection.execute("SET ringfence.environments = '*'").await.unwrap();
    for statement in [
        "UPDATE ledger SET version = 1",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        "ALTER TABLE ledger ADD COLUMN x int",
        "ALTER TABLE ledger DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE ledger DISABLE TRIGGER ALL",
        "DROP POLICY seen ON ledger",
        "DROP TABLE balance",
        "CREATE TABLE mine (x int)",
        "SELECT setval('ledger_event_id_seq', 1)",
        "DELETE FROM _sqlx_migrations",
        "CREATE ROLE mine",
    ] {
        assert_eq!(code(&mut connection, statement).await.as_deref(), Some("42501"), "{statement}");
    }
    // Nor does the owner by mistake.
    let mut owner = PgConnection::connect_with(&service.database).await.unwrap();
    for statement in ["UPDATE ledger SET version = 1", "DELETE FROM ledger", "TRUNCATE ledger"] {
        assert_eq!(code(&mut owner, statement).await.as_deref(), Some("42501"), "{statement}");
    }
    // What no erasure declares gone, the function for it leaves.
    connection.execute("SET ringfence.environments = '{test}'").await.unwrap();
    let call = "SELECT delete_erased('test', ARRAY(SELECT event_id FROM ledger))";
    let deleted: i64 = sqlx::query_scalar(call).fetch_one(&mut connection).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger").fetch_one(&mut owner).await.unwrap();
    assert_eq!((deleted, left), (0, 1));
    service.stop().await;
}

#[tokio::test]
async fn the_owner_s_migration_makes_another_role_one_that_can_serve() {
    let database = empty_database().await;
    let name = database.get_database().unwrap().to_owned();
    // A name that has to be quoted.
    let role = format!("the \"service\" of {name}");
    let migrate = async |more: &[&str]| {
        let url = url(&database);
        let fixed = ["migrate", "--database-url", &url, "--service-role", &role];
        run_ringfence(&[&fixed[..], more].concat()).await
    };
    let unknown = migrate(&[]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("CREATE ROLE"), "{}", unknown.stderr);
    as_owner(&database, &format!("CREATE ROLE {} LOGIN", quoted(&role))).await;
    let other = database.clone().username(&role);
    as_owner(&database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let early = refused(&other, &[]).await;
    assert!(early.contains("run `ringfence migrate`"), "{early}");
    for _ in 0..2 {
        let migrated = migrate(&[]).await;
        assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    }
    let service = Service::start_on(other.clone(), &[]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    assert_eq!(add_stock(&service, "1").await, 200);
    service.stop().await;
    let lacks = refused(&other, &["--allow-erasing"]).await;
    assert!(lacks.contains("DELETE on stock_node") && lacks.contains("--allow-erasing"), "{lacks}");
    assert_eq!(migrate(&["--allow-erasing"]).await.code, Some(0));
    Service::start_on(other.clone(), &["--allow-erasing"]).await.stop().await;
    assert_eq!(migrate(&[]).await.code, Some(0));
    assert!(!refused(&other, &["--allow-erasing"]).await.is_empty(), "what is not asked for is taken back");
    bends_no_erasure(&database, &other).await;
    as_owner(&database, &format!("REVOKE INSERT ON ledger FROM {}", quoted(&role))).await;
    let lacks = refused(&other, &[]).await;
    assert!(lacks.contains("INSERT on ledger"), "{lacks}");
    for (statement, why) in [("SUPERUSER", "superuser"), ("NOSUPERUSER BYPASSRLS", "superuser")] {
        as_owner(&database, &format!("ALTER ROLE {} {statement}", quoted(&role))).await;
        let refused = migrate(&[]).await;
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    as_owner(
        &database,
        &format!("ALTER ROLE {0} NOBYPASSRLS; GRANT CREATE ON SCHEMA public TO {0}", quoted(&role)),
    )
    .await;
    let refused = migrate(&[]).await;
    assert!(refused.stderr.contains("REVOKE CREATE"), "{}", refused.stderr);
}

/// While one product is being erased, a role that may erase nothing goes through its events, and makes
/// no others of it.
async fn bends_no_erasure(database: &PgConnectOptions, role: &PgConnectOptions) {
    as_owner(database, "INSERT INTO erasure VALUES ('test', 'usmf', 'Gone', 0, '')").await;
    let mut connection = PgConnection::connect_with(role).await.unwrap();
    connection.execute("SET ringfence.environments = '{test}'").await.unwrap();
    for statement in [
        "UPDATE erasure SET product_id = 'Bike'",
        "UPDATE erasure SET until_event_id = 1000000000",
        "UPDATE erasure SET product_id = 'Bike', until_event_id = 1000000000",
        "INSERT INTO erasure VALUES ('test', 'usmf', 'Bike', 1000000000, '')",
        "INSERT INTO erasure VALUES ('test', 'usmf', 'Gone', 7, '')
         ON CONFLICT (environment_id, organization_id, product_id) DO UPDATE SET reached = ''",
    ] {
        assert_eq!(code(&mut connection, statement).await.as_deref(), Some("42501"), "{statement}");
    }
    let events = "SELECT count(*) FROM ledger WHERE product_id = 'Bike'";
    let before: i64 = sqlx::query_scalar(events).fetch_one(&mut connection).await.unwrap();
    // It needs one step through the events, and one to find that there are no more.
    let mut steps = 0;
    while let Some(deleted) = erasing::delete_events(&mut connection, "test").await.unwrap() {
        assert_eq!(deleted, 0);
        steps += 1;
    }
    assert_eq!(steps, 2);
    let after: i64 = sqlx::query_scalar(events).fetch_one(&mut connection).await.unwrap();
    assert_eq!((before, after), (1, 1));
}

fn quoted(role: &str) -> String {
    format!("\"{}\"", role.replace('"', "\"\""))
}

#[tokio::test]
async fn events_go_when_their_product_is_erased_by_a_role_that_may_delete_none() {
    let service = Service::start_on(database().await, &["--allow-erasing"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    assert_eq!(add_stock(&service, "1").await, 200);
    assert_eq!(add_stock(&service, "2").await, 200);
    let path = "/api/environment/test/cleanupalldata";
    let json = [("content-type", "application/json")];
    let erased = service.send(reqwest::Method::DELETE, path, &json, r#"["usmf/Bike"]"#).await;
    assert_eq!(erased.status, 200, "{}", erased.text);
    let mut owner = PgConnection::connect_with(&service.database).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger").fetch_one(&mut owner).await.unwrap();
    assert_eq!(left, 0);
    assert_eq!(add_stock(&service, "1").await, 200, "the ids are free");
    service.stop().await;
}
