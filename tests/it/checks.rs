//! `serve --check`, and a start that cannot be: all that is wrong at once, each with what to do.

use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::{Program, command, ringfence, run, run_ringfence};
use super::raw::{begin, head};
use super::requests::problem;
use super::support::{SERVICE_ROLE, Service, as_service, database, empty_database, url};

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once_by_a_check_and_by_a_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let wrong = [
        "serve",
        "--listen",
        &address,
        "--tls-key",
        "/nowhere",
        "--key-requests-per-second",
        "5",
        "--database-url",
        "postgres://127.0.0.1:1/books",
    ];
    for arguments in [&wrong[..], &[&wrong[..], &["--check"]].concat()] {
        let ended = run_ringfence(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
        for expected in [
            "--tls-key needs its certificate",
            "need keys to count for: give --auth",
            "cannot listen on",
            "cannot open the database books at 127.0.0.1:1",
        ] {
            let told = ended.stderr.lines().filter(|line| line.contains(expected));
            assert_eq!(told.count(), 1, "{expected}: {}", ended.stderr);
        }
    }
    let files = ["--tls-cert", "/nowhere/cert", "--tls-key", "/nowhere/key", "--listen", "0.0.0.0:0"];
    let ended = run_ringfence(&[&["serve", "--check"][..], &files].concat()).await;
    assert!(ended.stderr.contains("cannot read --tls-cert /nowhere/cert"), "{}", ended.stderr);
    assert!(ended.stderr.contains("0.0.0.0:0 can be reached from other machines"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_check_says_what_would_be_served_and_changes_nothing() {
    let empty = url(&empty_database().await);
    let check = ["serve", "--check", "--listen", "127.0.0.1:0", "--connections-max", "64", "--database-url"];
    let checked = run_ringfence(&[&check[..], &[&empty]].concat()).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stdout.contains("would first bring up to date"), "{}", checked.stdout);
    let verified = run_ringfence(&["verify", "--database-url", &empty]).await;
    assert!(verified.stderr.contains("ringfence migrate"), "{}", verified.stderr);

    let migrated = url(&database().await);
    let checked = run_ringfence(&[&check[..], &[&migrated]].concat()).await;
    let expected = "would serve http://127.0.0.1:0 to everybody on this machine, on a database whose schema is up to date\n";
    assert_eq!((checked.code, checked.stdout.ends_with(expected)), (Some(0), true), "{}", checked.stdout);
}

/// What a role is warned of, by a check and by a start.
async fn warned(database: &PgConnectOptions) -> Vec<&'static str> {
    let database = url(database);
    let check = ["serve", "--check", "--listen", "127.0.0.1:0", "--database-url", &database];
    let checked = run_ringfence(&check).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", &database];
    let served = Program::start_as_anybody(ringfence(&serve)).await;
    let of = |log: &str| {
        let warned = ["row-level security", "pg_read_all_stats"].into_iter();
        warned.filter(|what| log.matches(what).count() == 1).collect::<Vec<_>>()
    };
    let mut started = Vec::new();
    served.stop_with(|log| started = of(log)).await;
    assert_eq!(of(&checked.stderr), started, "{}", checked.stderr);
    started
}

#[tokio::test]
async fn a_role_is_warned_of_what_it_does_without_and_serves() {
    let database = database().await;
    let mut owner = PgConnection::connect_with(&database).await.unwrap();
    let name = database.get_database().unwrap();
    let (reading, bypassing) = (format!("reading_{name}"), format!("bypassing_{name}"));
    let make = format!(
        "CREATE ROLE {reading} LOGIN IN ROLE {SERVICE_ROLE}, pg_read_all_stats;
         CREATE ROLE {bypassing} LOGIN BYPASSRLS IN ROLE {SERVICE_ROLE}"
    );
    owner.execute(AssertSqlSafe(make)).await.unwrap();
    assert_eq!(warned(&database).await, ["row-level security"], "its owner, who sees all sessions");
    assert_eq!(warned(&as_service(&database)).await, ["pg_read_all_stats"]);
    assert_eq!(warned(&database.clone().username(&reading)).await, [] as [&str; 0]);
    assert_eq!(
        warned(&database.clone().username(&bypassing)).await,
        ["row-level security", "pg_read_all_stats"]
    );
}

#[tokio::test]
async fn a_check_knows_how_many_files_connections_take() {
    let database = url(&database().await);
    let script = r#"ulimit -n 300; exec "$0" "$@""#;
    let check = ["serve", "--check", "--listen", "127.0.0.1:0", "--connections-max", "250"];
    let arguments =
        [&["-c", script, env!("CARGO_BIN_EXE_ringfence")][..], &check, &["--database-url", &database]];
    let ended = run(command(Path::new("/bin/sh"), &arguments.concat())).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("--connections-max is 250, but the process may have 300 files open"),
        "{}",
        ended.stderr
    );
}

/// Every number of the fixed limits is one that the service holds to; the others are flags.
#[tokio::test]
async fn the_help_names_every_limit_and_the_fixed_ones_hold() {
    let help = run_ringfence(&["serve", "--help"]).await.stdout;
    for limit in [
        "--connections-max",
        "--streams-max",
        "--queue-commands-max",
        "--key-requests-per-second",
        "--key-commands-per-second",
        "--environment-requests-per-second",
        "--environment-commands-per-second",
        "head: 16 KiB and 64 headers",
        "body: 1 MiB, 8 MiB of a bulk",
        "lines of a bulk: 5000",
        "records of a page: 1000, of analytics 10000",
        &format!("levels of JSON: as many as the request's form has, {} at most", levels_of_forms()),
    ] {
        assert!(help.contains(limit), "{limit}: {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    let service = Service::with_stock(1).await;
    let named = |name: usize| format!("x-{name}: 1\r\n");
    let with_headers = async |count: usize| {
        // Host, Connection, Content-Type and the length are there already.
        let more: String = (0..count - 4).map(named).collect();
        let head = head(&format!("{more}Content-Length: 2"));
        end_of(begin(&service, &head).await, "{}").await
    };
    assert!(with_headers(64).await.starts_with("HTTP/1.1 400"));
    assert!(with_headers(65).await.starts_with("HTTP/1.1 431"));
    let long = head(&format!("x-long: {}\r\nContent-Length: 2", "a".repeat(17 << 10)));
    assert!(end_of(begin(&service, &long).await, "").await.starts_with("HTTP/1.1 431"));
    let lines: Vec<_> = (0..5_001).map(|_| json!({})).collect();
    problem(&service.post("onhand/bulk", json!(lines)).await, "invalid-request");
    let paged = "/api/environment/test/onhand?organizationId=usmf&limit=";
    assert_eq!(service.get(&format!("{paged}1000")).await.status, 200);
    problem(&service.get(&format!("{paged}1001")).await, "invalid-request");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [deep.clone(), format!(r#"{{"dimensions": {deep}}}"#), format!(r#"{{"other": {deep}}}"#)] {
        assert_eq!(service.post_text("onhand", body).await.status, 400);
    }
    service.stop().await;
}

/// How many levels the deepest form has that the document describes.
fn levels_of_forms() -> usize {
    let document = serde_json::to_value(ringfence::http::openapi()).unwrap();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
    let schemas = operations.filter_map(|(_, operation)| {
        operation["requestBody"]["content"].as_object()?.values().next().map(|body| &body["schema"])
    });
    let levels: Vec<usize> = schemas.map(|schema| levels(&document, schema)).collect();
    assert!(levels.len() > 20 && levels.contains(&1), "{levels:?}");
    levels.into_iter().max().unwrap()
}

fn levels(document: &Value, schema: &Value) -> usize {
    if let Some(name) = schema["$ref"].as_str() {
        return levels(document, document.pointer(name.trim_start_matches('#')).unwrap());
    }
    let each = |all: &Value| all.as_array().into_iter().flatten().map(|one| levels(document, one)).max();
    let alternatives = ["oneOf", "anyOf", "allOf"].iter().filter_map(|kind| each(&schema[*kind])).max();
    let members = schema["properties"].as_object().into_iter().flat_map(|members| members.values());
    let open = ["items", "additionalProperties"].iter().map(|kind| &schema[*kind]);
    let below = members.chain(open.filter(|schema| schema.is_object())).map(|inner| levels(document, inner));
    alternatives.unwrap_or(0).max(below.max().map_or(0, |below| below + 1))
}

async fn end_of(mut stream: TcpStream, rest: &str) -> String {
    let _ = stream.write_all(rest.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}
