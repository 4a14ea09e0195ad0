//! Authentication: who is let in, until when, and that it costs commands no look at the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use ringfence::domain::access::{Role, Scope};
use ringfence::domain::name::Value as Text;
use ringfence::domain::rate::PerSecond;
use ringfence::store::keys::{self, Draft};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::process::{Program, ringfence, run, run_ringfence};
use super::requests::{JSON, all, problem, stock};
use super::support::{Answer, Service, bicycles, database, eventually, service_url, url};

/// Does a statement that the service would not do.
pub async fn execute(database: &PgConnectOptions, statement: &str) {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Makes a key.
pub async fn key(database: &PgConnectOptions, environment: &str, role: Role, scope: Scope) -> String {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let text = |text: &str| Text::parse(text).unwrap();
    let (environment, name) = (text(environment), text(role.as_str()));
    let draft = Draft { environment, name, role, scope, days: 1, rates: PerSecond::default() };
    let (_, key) = keys::create(&mut connection, &draft).await.unwrap().unwrap();
    connection.close().await.unwrap();
    key
}

/// A prefix of a key's text.
pub fn prefix(key: &str) -> &str {
    &key[..11]
}

impl Service {
    /// A service with authentication, the bicycles' configuration and ten red ones in the shop, and
    /// an admin's key.
    pub async fn with_auth() -> (Service, String) {
        let service = Service::start_on(database().await, &["--auth", "--allow-erasing"]).await;
        let admin = key(&service.database, "test", Role::Admin, Scope::default()).await;
        let configured = service.with_key(&admin, Method::PUT, "configuration", bicycles()).await;
        assert_eq!(configured.status, 200, "{}", configured.text);
        let stocked = service.with_key(&admin, Method::POST, "onhand", stock("stock", 10)).await;
        assert_eq!(stocked.status, 200, "{}", stocked.text);
        (service, admin)
    }

    /// Sends a request with a key to a path of the environment `test`.
    pub async fn with_key(&self, key: &str, method: Method, path: &str, body: Value) -> Answer {
        let path = format!("/api/environment/test/{path}");
        let bearer = format!("Bearer {key}");
        self.send(method, &path, &[JSON, ("authorization", &bearer)], body.to_string()).await
    }
}

/// Nothing but what is asked whether the key is good: refused for its form, or not let in.
async fn ask(service: &Service, key: &str) -> u16 {
    service.with_key(key, Method::GET, "configuration", Value::Null).await.status
}

async fn consume(service: &Service, key: &str, id: &str) -> Answer {
    let event = json!({
        "id": id, "organizationId": "usmf", "productId": "Bike", "quantity": 1,
        "dimensions": {"siteId": "1", "locationId": "11", "colorId": "red"}, "groups": {"channel": "Web"},
        "physicalMeasures": {"pos": {"inbound": "Subtraction"}},
    });
    service.with_key(key, Method::POST, "allocation/consume", event).await
}

#[tokio::test]
async fn only_a_key_is_let_in_and_whatever_is_no_key_is_told_how() {
    let (service, admin) = Service::with_auth().await;
    let path = "/api/environment/test/configuration";
    let other = format!("{}{}", &admin[..54], if admin.ends_with('A') { "E" } else { "A" });
    let unknown = format!("rf_zzzzzzzz_{}", "A".repeat(43));
    let foreign = format!("{}!", &admin[..54]);
    let with = |scheme: &str, key: &str| format!("{scheme}{key}");
    for wrong in [
        with("Bearer ", &other),
        with("Bearer ", &unknown),
        with("Bearer ", &foreign),
        with("Bearer ", ""),
        with("Bearer ", prefix(&admin)),
        with("Basic ", &admin),
        admin.clone(),
        "Bearer eyJhbGciOiJub25lIn0.e30.".to_owned(),
    ] {
        let answer = service.send(Method::GET, path, &[("authorization", &wrong)], "").await;
        problem(&answer, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"ringfence\""));
    }
    let answer = service.get(path).await;
    assert!(
        problem(&answer, "unauthenticated")["detail"].as_str().unwrap().contains("Authorization: Bearer")
    );
    let right = with("bearer ", &admin);
    assert_eq!(service.send(Method::GET, path, &[("authorization", &right)], "").await.status, 200);
    // What tells nothing of anybody's stock is open.
    for open in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs/", "/problems/unauthenticated"] {
        eventually(open, async || service.get(open).await.status == 200).await;
    }
    service.stop().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_is_good_for_nothing_on_any_instance() {
    let (one, admin) = Service::with_auth().await;
    let two = Service::start_on(one.database.clone(), &["--auth"]).await;
    let consumer = key(&one.database, "test", Role::Consumer, Scope::default()).await;
    for service in [&one, &two] {
        assert_eq!(ask(service, &consumer).await, 200);
        problem(&consume(service, &consumer, "before").await, "insufficient-allocation");
    }
    let path = format!("keys/{}", prefix(&consumer));
    assert_eq!(one.with_key(&admin, Method::DELETE, &path, Value::Null).await.status, 204);
    for service in [&two, &one] {
        problem(&consume(service, &consumer, "after").await, "unauthenticated");
        assert_eq!(ask(service, &consumer).await, 401);
    }
    // Once more changes nothing, and what is no key is not found.
    let version = |answer: &Answer| answer.header("etag").unwrap().to_owned();
    let before = version(&one.with_key(&admin, Method::GET, "configuration", Value::Null).await);
    assert_eq!(one.with_key(&admin, Method::DELETE, &path, Value::Null).await.status, 204);
    let unknown = one.with_key(&admin, Method::DELETE, "keys/rf_qqqqqqqq", Value::Null).await;
    problem(&unknown, "not-found");
    let after = version(&one.with_key(&admin, Method::GET, "configuration", Value::Null).await);
    assert_eq!(before, after);
    one.verify().await;
    two.stop().await;
    one.stop().await;
}

/// Takes until it is not let in any more; answers how often it was let in by a request that began
/// when the key was revoked already.
async fn take(service: Arc<Service>, key: String, worker: usize, revoked: Arc<AtomicBool>) -> usize {
    let mut late = 0;
    let mut count = 0;
    while late < 20 {
        count += 1;
        let is_late = revoked.load(Ordering::SeqCst);
        let event = stock(&format!("{worker}-{count}"), 1);
        let answer = service.with_key(&key, Method::POST, "onhand", event).await;
        match answer.status {
            200 => late += usize::from(is_late),
            401 => return late,
            other => panic!("{other}: {}", answer.text),
        }
    }
    late
}

#[tokio::test]
async fn nothing_is_done_for_a_key_once_its_revocation_is_answered() {
    let (one, admin) = Service::with_auth().await;
    let two = Arc::new(Service::start_on(one.database.clone(), &["--auth"]).await);
    let taker = key(&one.database, "test", Role::Stock, Scope::default()).await;
    let revoked = Arc::new(AtomicBool::new(false));
    let takers = (0..8).map(|worker| take(Arc::clone(&two), taker.clone(), worker, Arc::clone(&revoked)));
    let takers: Vec<_> = takers.collect();
    let takers = tokio::spawn(all(takers));
    eventually("a few are done", async || {
        let events = one.with_key(
            &admin,
            Method::POST,
            "onhand/indexquery",
            json!({
                "filters": {"organizationId": ["usmf"], "productId": ["Bike"]},
            }),
        );
        events.await.json()[0]["quantities"]["pos"]["inbound"].as_i64() > Some(30)
    })
    .await;
    let path = format!("keys/{}", prefix(&taker));
    assert_eq!(one.with_key(&admin, Method::DELETE, &path, Value::Null).await.status, 204);
    revoked.store(true, Ordering::SeqCst);
    assert_eq!(takers.await.unwrap(), vec![0; 8]);
    one.stop().await;
}

#[tokio::test]
async fn a_command_does_not_read_its_key_but_whatever_only_reads_does() {
    let (service, _) = Service::with_auth().await;
    let consumer = key(&service.database, "test", Role::Consumer, Scope::default()).await;
    let other = key(&service.database, "test", Role::Consumer, Scope::default()).await;
    problem(&consume(&service, &consumer, "first").await, "insufficient-allocation");
    problem(&consume(&service, &other, "first").await, "insufficient-allocation");
    // Behind the service's back, so with no new version of the configuration.
    execute(&service.database, "UPDATE api_key SET revoked_at = now() WHERE role = 'consumer'").await;
    problem(&consume(&service, &consumer, "second").await, "insufficient-allocation");
    assert_eq!(ask(&service, &other).await, 401);
    // A dry run is guarded by no version, so it reads.
    let mut dry = json!({"dryRun": true, "groups": {"channel": "Web"}, "quantity": 1});
    let event = stock("third", 1);
    for member in ["id", "organizationId", "productId", "dimensions"] {
        dry[member] = event[member].clone();
    }
    problem(&service.with_key(&consumer, Method::POST, "allocation/consume", dry).await, "unauthenticated");
    // And that told the service.
    problem(&consume(&service, &consumer, "fourth").await, "unauthenticated");
    assert_eq!(ask(&service, &consumer).await, 401);
    service.stop().await;
}

#[tokio::test]
async fn a_key_expires_while_it_is_in_memory_too() {
    let (service, _) = Service::with_auth().await;
    let reader = key(&service.database, "test", Role::Reader, Scope::default()).await;
    let short = key(&service.database, "test", Role::Stock, Scope::default()).await;
    assert_eq!(ask(&service, &reader).await, 200);
    execute(
        &service.database,
        "UPDATE api_key SET expires_at = CASE role WHEN 'reader' THEN now() ELSE now() + interval '5 s' END
         WHERE role IN ('reader', 'stock')",
    )
    .await;
    let expired = service.with_key(&reader, Method::GET, "configuration", Value::Null).await;
    assert!(problem(&expired, "unauthenticated")["detail"].as_str().unwrap().contains("expired"));
    let granted = service.with_key(&short, Method::POST, "onhand", stock("in time", 1)).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    eventually("the key has expired", async || {
        service.with_key(&short, Method::POST, "onhand", stock("in time", 1)).await.status == 401
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_flood_of_wrong_keys_does_not_shut_out_the_right_one() {
    let (service, admin) = Service::with_auth().await;
    let service = Arc::new(service);
    let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap());
    let flood = (0..32).map(|worker| {
        let service = Arc::clone(&service);
        async move {
            for count in 0..60 {
                let letters: String =
                    [worker, worker / 26, count, count / 26, 1, 2, 3, 4].into_iter().map(letter).collect();
                let wrong = format!("rf_{letters}_{}", "A".repeat(43));
                // Wrong ones wait for each other, and a busy machine may have them wait too long.
                assert!([401, 503].contains(&ask(&service, &wrong).await));
            }
        }
    });
    let flood: Vec<_> = flood.collect();
    let flood = tokio::spawn(all(flood));
    for _ in 0..50 {
        assert_eq!(ask(&service, &admin).await, 200);
    }
    flood.await.unwrap();
    assert_eq!(ask(&service, &admin).await, 200);
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_over_the_api_and_their_texts_shown_once() {
    let (service, admin) = Service::with_auth().await;
    let asked = json!({
        "name": "Marketplace", "role": "consumer", "organizationIds": ["usmf"],
        "groups": {"Channel": "Web", "customerGroup": "VIP"}, "expiresInDays": 30,
        "requestsPerSecond": 1_000_000,
    });
    let made = service.with_key(&admin, Method::POST, "keys", asked).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let mut made = made.json();
    let text = made.as_object_mut().unwrap().remove("key").unwrap();
    let text = text.as_str().unwrap();
    assert_eq!(made["prefix"], prefix(text));
    assert_eq!(text.len(), 55);
    let listed = service.with_key(&admin, Method::GET, "keys", Value::Null).await;
    assert!(!listed.text.contains(&text[12..]), "{}", listed.text);
    let all = listed.json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.contains(&made), "{all:?}");
    assert_eq!(made["groups"], json!({"Channel": "Web", "customerGroup": "VIP"}));
    assert_eq!((&made["requestsPerSecond"], &made["commandsPerSecond"]), (&json!(1_000_000), &Value::Null));
    // Nothing of the text is stored.
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let stored: String = sqlx::query_scalar("SELECT string_agg(k::text, ' ') FROM api_key k")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(stored.contains(prefix(text)) && !stored.contains(&text[12..]), "{stored}");
    assert_eq!(ask(&service, text).await, 200);
    let path = format!("keys/{}", prefix(text));
    assert_eq!(service.with_key(&admin, Method::DELETE, &path, Value::Null).await.status, 204);
    let listed = service.with_key(&admin, Method::GET, "keys?limit=1000", Value::Null).await.json();
    let revoked = listed.as_array().unwrap().iter().filter(|key| key["revokedAt"].is_string());
    assert_eq!(revoked.count(), 1);
    for (wrong, pointer) in [
        (json!({"name": "a", "role": "owner"}), "/role"),
        (json!({"role": "reader"}), "/name"),
        (json!({"name": "a"}), "/role"),
        (json!({"name": "a", "role": "admin", "groups": {"channel": "Web"}}), "/role"),
        (json!({"name": "a", "role": "reader", "expiresInDays": 0}), "/expiresInDays"),
        (json!({"name": "a", "role": "reader", "expiresInDays": 3651}), "/expiresInDays"),
        (json!({"name": "a", "role": "reader", "organizationIds": [""]}), "/organizationIds"),
        (json!({"name": "a", "role": "reader", "requestsPerSecond": 0}), "/requestsPerSecond"),
        (json!({"name": "a", "role": "reader", "requestsPerSecond": -1}), "/requestsPerSecond"),
        (json!({"name": "a", "role": "reader", "commandsPerSecond": 1_000_001}), "/commandsPerSecond"),
        (json!({"name": "a", "role": "reader", "commandsPerSecond": 1.5}), "/commandsPerSecond"),
    ] {
        let answer = service.with_key(&admin, Method::POST, "keys", wrong).await;
        assert_eq!(problem(&answer, "invalid-request")["errors"][0]["pointer"], pointer);
    }
    let gap = json!({"name": "a", "role": "reader", "groups": {"customerGroup": "VIP"}});
    problem(&service.with_key(&admin, Method::POST, "keys", gap).await, "hierarchy-gap");
    service.stop().await;
}

#[tokio::test]
async fn the_command_line_makes_lists_and_revokes_keys() {
    let service = Service::start_on(database().await, &["--auth"]).await;
    let database = url(&service.database);
    let of = ["--database-url", database.as_str(), "--environment", "test"];
    let key = async |arguments: &[&str]| {
        let ended = run_ringfence(&[&["key"], &arguments[..1], &of, &arguments[1..]].concat()).await;
        (ended.code, ended.stdout, ended.stderr)
    };
    let (code, made, said) = key(&["create", "--name", "first", "--role", "admin"]).await;
    assert_eq!(code, Some(0), "{said}");
    let admin = made.trim();
    // The first key of an environment creates it.
    let configured = service.with_key(admin, Method::PUT, "configuration", bicycles()).await;
    assert_eq!(configured.status, 200, "{}", configured.text);
    let narrow = [
        "create",
        "--name",
        "shop",
        "--role",
        "consumer",
        "--organization",
        "usmf",
        "--group",
        "channel=Web",
        "--commands-per-second",
        "500",
    ];
    let (code, shop, said) = key(&narrow).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ask(&service, shop.trim()).await, 200);
    let (_, listed, _) = key(&["list"]).await;
    assert_eq!(listed.lines().count(), 2);
    assert!(
        listed.contains(
            " consumer \"shop\" organization=\"usmf\" channel=\"Web\" commands-per-second=500 until "
        ),
        "{listed}"
    );
    assert!(!listed.contains(&shop.trim()[12..]));
    let (code, said, _) = key(&["revoke", prefix(&shop)]).await;
    assert_eq!((code, said.trim()), (Some(0), format!("{} is revoked", prefix(&shop)).as_str()));
    problem(&consume(&service, shop.trim(), "late").await, "unauthenticated");
    for (wrong, why) in [
        (&["revoke", "rf_qqqqqqqq"][..], "has no key"),
        (&["create", "--name", "a", "--role", "owner"], "must be reader, consumer, planner, stock or admin"),
        (&["create", "--name", "a", "--role", "reader", "--group", "tier=1"], "tier"),
        (&["create", "--name", "a", "--role", "reader", "--group", "Web"], "GROUP=VALUE"),
        (&["create", "--name", "a", "--role", "admin", "--group", "channel=Web"], "cannot be narrowed"),
    ] {
        let (code, _, said) = key(wrong).await;
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    service.stop().await;
}

#[tokio::test]
async fn without_authentication_only_this_machine_is_listened_to() {
    let database = service_url(&database().await);
    let serve = ["serve", "--listen", "0.0.0.0:0", "--database-url", &database];
    let ended = run_ringfence(&serve).await;
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
    for hint in ["0.0.0.0:0", "--auth", "RINGFENCE_AUTH=true", "ringfence key create", "127.0.0.1"] {
        assert!(ended.stderr.contains(hint), "{}", ended.stderr);
    }
    let mut with_auth = ringfence(&serve);
    with_auth.env("RINGFENCE_AUTH", "true");
    let program = Program::start(with_auth).await;
    let base = program.base.replace("0.0.0.0", "127.0.0.1");
    let answer = reqwest::get(format!("{base}/api/environment/test/configuration")).await.unwrap();
    assert_eq!(answer.status(), 401);
    program.stop().await;
    let unreachable = ["key", "list", "--environment", "a", "--database-url", "postgres://127.0.0.1:1/books"];
    let ended = run(ringfence(&unreachable)).await;
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
}

#[tokio::test]
async fn an_event_s_actor_is_whose_key_it_was_whatever_the_request_says() {
    let (service, admin) = Service::with_auth().await;
    let mut event = stock("claimed", 1);
    event["actor"] = json!("somebody else");
    event["reference"] = json!("SO-1");
    assert_eq!(service.with_key(&admin, Method::POST, "onhand", event).await.status, 200);
    let events = service.with_key(&admin, Method::GET, "events", Value::Null).await.json();
    let noted: Vec<(&Value, &Value)> =
        events.as_array().unwrap().iter().map(|event| (&event["actor"], &event["reference"])).collect();
    assert_eq!(noted, [(&json!("admin"), &Value::Null), (&json!("admin"), &json!("SO-1"))]);
    service.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked_and_shows_what_the_key_may_see() {
    let (service, admin) = Service::with_auth().await;
    let groups = vec![("channel".to_owned(), Text::parse("Web").unwrap())];
    let reader = key(&service.database, "test", Role::Reader, Scope { groups, ..Scope::default() }).await;
    for path in ["events", "events/stream", "events?group.channel=Store", "events/stream?group.channel=Store"]
    {
        problem(&service.with_key(&reader, Method::GET, path, Value::Null).await, "forbidden");
    }
    let url = format!("{}/api/environment/test/events/stream?group.channel=Web", service.base);
    let listening = service.client.get(url).header("authorization", format!("Bearer {reader}"));
    let mut listening = listening.send().await.unwrap();
    assert_eq!(listening.status(), 200);
    for (id, path) in [("one", "Store"), ("two", "Web")] {
        let event = super::requests::allocation(id, path, 1);
        let granted = service.with_key(&admin, Method::POST, "allocation/allocate", event).await;
        assert_eq!(granted.status, 200, "{}", granted.text);
    }
    let mut heard = String::new();
    while !heard.contains("\"two\"") {
        heard += std::str::from_utf8(&listening.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(!heard.contains("\"one\""), "{heard}");
    let path = format!("keys/{}", prefix(&reader));
    assert_eq!(service.with_key(&admin, Method::DELETE, &path, Value::Null).await.status, 204);
    let rest = async { while listening.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), rest)
        .await
        .expect("the stream should have ended");
    service.stop().await;
}
