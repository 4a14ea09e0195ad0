//! The program: its commands, its exit codes, its one line when something is wrong.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::load::{Client, consume};
use super::process::{DataDir, Ended, Program, User, command, ringfence, run, run_ringfence, signal};
use super::proxy::{Line, Proxy};
use super::support::{Service, database, empty_database, eventually, service_url, url};

/// What failed with exit code 1 says why in one line, and nothing else.
fn line(ended: &Ended) -> &str {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    let mut lines = ended.stderr.lines();
    let line = lines.next().unwrap().strip_prefix("ringfence: ").unwrap();
    assert_eq!(lines.next(), None, "{}", ended.stderr);
    line
}

#[tokio::test]
async fn wrong_usage_exits_2() {
    for wrong in [
        &["srve"][..],
        &[],
        &["serve", "--listen", "nowhere"],
        &["serve", "--shards", "0"],
        &["verify", "--demo"],
        &["serve", "--database-url", "postgres://localhost/x", "--data-dir", "x"],
    ] {
        let ended = run_ringfence(wrong).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(ended.stderr.contains("--help"), "{wrong:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn openapi_prints_the_document_of_the_service() {
    let printed = run_ringfence(&["openapi"]).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    let service = Service::start().await;
    assert_eq!(printed.stdout, service.get("/openapi.yaml").await.text);
    service.stop().await;

    let mut full = ringfence(&["openapi"]);
    full.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let ended = run(full).await;
    assert!(line(&ended).starts_with("cannot write the output: "), "{}", ended.stderr);
}

#[tokio::test]
async fn a_database_is_migrated_once_and_verified_only_then() {
    let database = empty_database().await;
    let url = url(&database);
    let unmigrated = run_ringfence(&["verify", "--database-url", &url]).await;
    assert!(line(&unmigrated).contains("ringfence migrate"), "{}", unmigrated.stderr);
    for _ in 0..2 {
        let migrated = run_ringfence(&["migrate", "--database-url", &url]).await;
        assert_eq!((migrated.code, migrated.summary()), (Some(0), "the schema is up to date"));
    }
    let verified = run_ringfence(&["verify", "--database-url", &url]).await;
    let expected = "0 events in 0 environments replayed, 0 differences\n";
    assert_eq!((verified.code, verified.stdout.as_str()), (Some(0), expected), "{}", verified.stderr);
}

#[tokio::test]
async fn what_cannot_be_opened_is_named_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let database = url(&database().await);
    let ended = run_ringfence(&["serve", "--listen", &address, "--database-url", &database]).await;
    assert!(line(&ended).contains(&format!("cannot listen on {address}")), "{}", ended.stderr);

    // Nobody listens on port 1; and a password is nobody's business.
    let unreachable = "postgres://me:secret@127.0.0.1:1/books";
    for action in ["serve", "migrate", "verify"] {
        let mut arguments = vec![action, "--database-url", unreachable];
        if action == "serve" {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let ended = run_ringfence(&arguments).await;
        let line = line(&ended);
        assert!(line.contains("cannot open the database books at 127.0.0.1:1: "), "{line}");
        assert!(line.contains("--database-url") && !line.contains("secret"), "{line}");
    }
    for unreadable in ["nonsense", "mysql://127.0.0.1/books", "postgres://127.0.0.1:port/books"] {
        let ended = run_ringfence(&["migrate", "--database-url", unreadable]).await;
        assert!(line(&ended).starts_with("the database URL is not readable: "), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn every_flag_is_a_variable_and_the_narrower_one_wins() {
    let database = database().await;
    let (serves, database) = (service_url(&database), url(&database));
    let mut serve = ringfence(&["serve"]);
    serve.env("RINGFENCE_LISTEN", "127.0.0.1:0").env("RINGFENCE_DEMO", "1").env("RINGFENCE_LOG_JSON", "true");
    let program = Program::start({
        serve.env("DATABASE_URL", &serves);
        serve
    })
    .await;
    let configuration = reqwest::get(format!("{}/api/environment/demo/configuration", program.base)).await;
    assert_eq!(configuration.unwrap().status(), 200);
    signal("TERM", program.pid);
    let ended = program.end().await;
    assert_eq!(ended.code, Some(0));
    for line in ended.stderr.lines() {
        let logged: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(logged["level"].is_string(), "{line}");
    }
    assert!(!ended.stderr.is_empty());

    let unreachable = "postgres://127.0.0.1:1/books";
    let mut narrow = ringfence(&["verify"]);
    narrow.env("DATABASE_URL", unreachable).env("RINGFENCE_DATABASE_URL", &database);
    assert_eq!(run(narrow).await.code, Some(0), "RINGFENCE_DATABASE_URL before DATABASE_URL");
    let mut narrow = ringfence(&["verify", "--database-url", &database]);
    narrow.env("RINGFENCE_DATABASE_URL", unreachable);
    assert_eq!(run(narrow).await.code, Some(0), "the flag before its variable");
    let mut narrow = ringfence(&["verify", "--data-dir", "/dev/null/data"]);
    narrow.env("DATABASE_URL", &database);
    let ended = run(narrow).await;
    assert!(line(&ended).contains("/dev/null"), "--data-dir before DATABASE_URL");
}

/// What a demo shop holds, and how many events there are.
async fn demo(program: &Program) -> (Value, u64) {
    let client = reqwest::Client::new();
    let url = format!("{}/api/environment/demo/allocation/query", program.base);
    let mut answers = Vec::new();
    for color in ["red", "black"] {
        let place = json!({"siteId": "1", "locationId": "11", "colorId": color});
        let query = json!({"organizationId": "usmf", "productId": "RoadBike", "dimensions": place});
        answers.push(client.post(&url).json(&query).send().await.unwrap().json().await.unwrap());
    }
    let probe = json!({
        "id": "probe", "organizationId": "usmf", "productId": "Bell", "dimensions": {},
        "quantities": {"fno": {"onhand": 1}, "pos": {"inbound": 1}},
    });
    let url = format!("{}/api/environment/demo/onhand", program.base);
    let probe: Value = client.post(url).json(&probe).send().await.unwrap().json().await.unwrap();
    (Value::Array(answers), probe["eventId"].as_u64().unwrap())
}

#[tokio::test]
async fn the_demo_is_set_up_once_in_a_data_directory_of_one_instance() {
    let dir = DataDir::new();
    let program = Program::serve(&["--data-dir", dir.path(), "--demo"]).await;
    let (balances, events) = demo(&program).await;
    let red = balances[0].as_array().unwrap();
    let held = |record: &Value| (record["groups"].clone(), record["quantities"]["@iv"]["@allocated"].clone());
    assert_eq!(
        red.iter().map(held).collect::<Vec<_>>(),
        [
            (json!({"channel": "Store"}), json!(10)),
            (json!({"channel": "Web", "region": "London"}), json!(15)),
            (json!({"channel": "Web", "region": "London", "customerGroup": "VIP"}), json!(20)),
        ]
    );
    assert_eq!(balances[0].as_array().unwrap().len(), balances[1].as_array().unwrap().len());

    for action in ["serve", "verify", "migrate"] {
        let mut arguments = vec![action, "--data-dir", dir.path()];
        if action == "serve" {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let ended = run_ringfence(&arguments).await;
        let line = line(&ended);
        assert!(line.contains(&format!("process {}", program.pid)) && line.contains(dir.path()), "{line}");
    }
    let postmaster = dir.postmaster().unwrap();
    // There is one role for all, and nothing to say about it.
    program.stop_with(|log| assert!(!log.contains("the database's role"), "{log}")).await;
    assert_eq!(dir.postmaster(), None, "its server {postmaster} stopped with it");

    let program = Program::serve(&["--data-dir", dir.path(), "--demo"]).await;
    assert_eq!(demo(&program).await, (balances, events));
    program.stop().await;
    let verified = run_ringfence(&["verify", "--data-dir", dir.path()]).await;
    let expected = format!("{events} events in 1 environments replayed, 0 differences");
    assert_eq!((verified.code, verified.summary()), (Some(0), expected.as_str()), "{}", verified.stderr);
}

/// Sends the head of a consume that has arrived, so that the request is in flight.
async fn half_sent(base: &str, id: &str) -> (TcpStream, String) {
    let body = consume(id, "Bike", 1).to_string();
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /api/environment/test/allocation/consume HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    (stream, body)
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends_at_once() {
    let database = database().await;
    let url = service_url(&database);
    // It would wait for what is half sent for longer than the test does.
    let mut arguments = vec!["--database-url", &url];
    for time in ["--body-time-max-ms", "--drain-time-max-ms", "--request-time-max-ms"] {
        arguments.extend([time, "600000"]);
    }
    let program = Program::serve(&arguments).await;
    let client = Client::new(&program.base);
    client.configure().await;
    client.allocate_all("Bike", 10).await;
    let mut requests = Vec::new();
    for number in 0..5 {
        requests.push(half_sent(&program.base, &format!("late-{number}")).await);
    }
    signal("TERM", program.pid);
    eventually("nobody else is let in", async || client.post("onhand", &json!({})).await.is_err()).await;
    for (mut stream, body) in requests {
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let ended = program.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let program = Program::serve(&arguments).await;
    let client = Client::new(&program.base);
    assert_eq!(client.balance("Bike").await, (5, 5));
    let open = half_sent(&program.base, "never").await;
    signal("INT", program.pid);
    eventually("it drains", async || client.post("onhand", &json!({})).await.is_err()).await;
    signal("INT", program.pid);
    let ended = program.end().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    drop(open);
}

#[tokio::test]
async fn a_service_outlives_the_reader_of_its_output_and_stops_without_a_slow_client() {
    let database = service_url(&database().await);
    // Nothing can say which port it took, so it is one that no connection of another test has.
    let address = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap().to_string();
    let mut serve = ringfence(&["serve", "--listen", &address, "--database-url", &database]);
    serve.args(["--drain-time-max-ms", "100"]);
    serve.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let mut child = serve.spawn().unwrap();
    eventually("it serves", async || TcpStream::connect(&address).await.is_ok()).await;
    let open = half_sent(&address, "slow").await;
    signal("TERM", child.id().unwrap());
    let status = timeout(Duration::from_secs(60), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    drop(open);
}

#[tokio::test]
async fn a_machine_without_postgresql_is_told_which_package_to_install() {
    let dir = DataDir::new();
    let cluster = Path::new(dir.path()).join("postgres");
    std::fs::create_dir_all(&cluster).unwrap();
    std::fs::write(cluster.join("PG_VERSION"), "7\n").unwrap();
    std::fs::write(Path::new(dir.path()).join("lock"), "").unwrap();
    let ended = run_ringfence(&["verify", "--data-dir", dir.path()]).await;
    assert!(line(&ended).contains("apt-get install postgresql-7"), "{}", ended.stderr);

    // To this one process, every installation looks as if it were none.
    let hide = r#"for found in "$(command -v initdb)" /usr/lib*/postgresql/bin/initdb /usr/lib/postgresql/*/bin/initdb \
        /usr/libexec/postgresql/initdb /usr/pgsql-*/bin/initdb /usr/local/pgsql/bin/initdb
        do [ ! -e "$found" ] || mount --bind /dev/null "$found" || exit 77; done; exec "$0" "$@""#;
    let dir = DataDir::new();
    let root = User::other_than_root().is_some();
    let rights: &[&str] = if root { &[] } else { &["--user", "--map-current-user", "--keep-caps"] };
    let arguments = ["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_ringfence"), "verify", "--data-dir"];
    let ended = run(command(Path::new("unshare"), &[rights, &arguments, &[dir.path()]].concat())).await;
    if !ended.stderr.starts_with("ringfence: ") && ended.code != Some(0) {
        eprintln!("not tried, because nothing can be hidden from a process here: {}", ended.stderr);
        return;
    }
    assert!(line(&ended).contains("no PostgreSQL 14 or newer"), "{}", ended.stderr);
    assert!(line(&ended).contains("apt-get install postgresql;"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_is_logged_of_a_request_has_its_id() {
    let proxy = Proxy::to(&database().await).await;
    let program = Program::serve(&["--database-url", &service_url(&proxy.database)]).await;
    proxy.set(Line::Cut);
    let path = format!("{}/api/environment/any/configuration", program.base);
    let request = reqwest::Client::new().get(path).header("x-request-id", "the caller's own");
    assert_eq!(request.send().await.unwrap().status(), 503);
    signal("TERM", program.pid);
    let logged = program.end().await.stderr;
    let line = logged.lines().find(|line| line.contains("the database did not answer"));
    assert!(line.is_some_and(|line| line.contains(r#"request="the caller's own""#)), "{logged}");
}
