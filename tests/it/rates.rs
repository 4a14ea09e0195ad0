//! What a key and an environment may send in a second, and what they are told.

use reqwest::Method;
use ringfence::domain::access::{Role, Scope};
use serde_json::{Value, json};

use super::access::key;
use super::raw::{begin, head};
use super::requests::{JSON, changed, problem, stock};
use super::support::{Answer, Service, bicycles, database};

/// A service that lets in so much, with two keys that report stock.
async fn limited(arguments: &[&str]) -> (Service, [String; 2]) {
    let database = database().await;
    let setup = Service::start_on(database.clone(), &[]).await;
    assert_eq!(setup.configure(bicycles()).await.status, 200);
    setup.stop().await;
    let one = key(&database, "test", Role::Stock, Scope::default()).await;
    let other = key(&database, "test", Role::Stock, Scope::default()).await;
    (Service::start_on(database, &[&["--auth"], arguments].concat()).await, [one, other])
}

/// Sends until it is too much, which it must be soon; answers that answer, and how many were taken.
async fn until_limited(mut send: impl AsyncFnMut(usize) -> Answer) -> (Answer, usize) {
    for count in 0..50 {
        let answer = send(count).await;
        match answer.status {
            200 => {}
            _ => return (answer, count),
        }
    }
    panic!("nothing was too much");
}

async fn inbound(service: &Service, key: &str) -> Value {
    let body = json!({"filters": {"organizationId": ["usmf"], "productId": ["Bike"]}});
    let answer = service.with_key(key, Method::POST, "onhand/indexquery", body).await;
    answer.json()[0]["quantities"]["pos"]["inbound"].clone()
}

#[tokio::test]
async fn a_key_that_sends_too_much_is_told_when_to_come_again_and_others_go_on() {
    let (service, [one, other]) = limited(&["--key-requests-per-second", "1"]).await;
    let (refused, taken) = until_limited(async |count| {
        service.with_key(&one, Method::POST, "onhand", stock(&format!("{count}"), 1)).await
    })
    .await;
    let body = problem(&refused, "rate-limited");
    assert_eq!((refused.header("retry-after"), &body["requested"]), (Some("1"), &json!(1)), "{body}");
    assert_eq!(body["available"], 0, "{body}");
    assert!(body["detail"].as_str().unwrap().contains("0 left of the 1 a second"), "{body}");
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""key-requests";q=1;w=1"#));
    assert_eq!(refused.header("ratelimit"), Some(r#""key-requests";r=0;t=1"#));
    // Whoever comes again need not connect again.
    assert_eq!(refused.header("connection"), None);
    let read = async || service.with_key(&other, Method::GET, "configuration", Value::Null).await;
    let answer = read().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("ratelimit"), Some(r#""key-requests";r=0;t=1"#));
    // For what is no command a key is read again; it counts on all the same.
    let (refused, _) = until_limited(async |_| read().await).await;
    problem(&refused, "rate-limited");
    super::support::eventually("a second is over", async || {
        service.with_key(&one, Method::POST, "onhand", stock("again", 1)).await.status == 200
    })
    .await;
    super::support::eventually("the other's is over, too", async || {
        inbound(&service, &other).await == json!(taken + 1)
    })
    .await;
    // Whether it is up is asked without end; where the database takes long, it is not ready.
    for (path, other) in [("/healthz", 200), ("/readyz", 503), ("/metrics", 200)].iter().cycle().take(30) {
        let status = service.get(path).await.status;
        assert!([200, *other].contains(&status), "{path}: {status}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_bulk_counts_its_lines_and_is_taken_whole_or_refused_whole() {
    let (service, [one, other]) =
        limited(&["--key-commands-per-second", "10", "--environment-requests-per-second", "1000000"]).await;
    let send = async |number: usize, lines: usize| {
        let lines = (0..lines).map(|line| stock(&format!("{number}-{line}"), 1));
        service.with_key(&one, Method::POST, "onhand/bulk", lines.collect()).await
    };
    // Nothing was taken by it, and it says what would fit.
    let never = send(100, 11).await;
    let body = problem(&never, "rate-limited");
    assert_eq!((&body["requested"], &body["available"]), (&json!(11), &json!(10)), "{body}");
    assert!(body["detail"].as_str().unwrap().contains("bulks of at most 10 lines"), "{body}");
    let policies = r#""key-commands";q=10;qu="commands";w=1, "environment-requests";q=1000000;w=1"#;
    assert_eq!(never.header("ratelimit-policy"), Some(policies));
    let left = never.header("ratelimit").unwrap();
    assert!(left.starts_with(r#""key-commands";r=10;t=0, "environment-requests";r="#), "{left}");

    let (refused, taken) = until_limited(async |number| send(number, 10).await).await;
    let body = problem(&refused, "rate-limited");
    assert!(taken > 0 && body["requested"].as_i64().unwrap() > body["available"].as_i64().unwrap(), "{body}");
    assert_eq!(inbound(&service, &other).await, json!(10 * taken));
    // What is granted says what is least left, and which policies there are all the same.
    let granted = service.with_key(&other, Method::POST, "onhand", stock("one", 1)).await;
    assert_eq!(granted.header("ratelimit-policy"), Some(policies));
    assert_eq!(granted.header("ratelimit"), Some(r#""key-commands";r=9;t=1"#));
    // A query is no command.
    for _ in 0..30 {
        assert_eq!(service.with_key(&one, Method::GET, "configuration", Value::Null).await.status, 200);
    }
    service.stop().await;
}

#[tokio::test]
async fn an_environment_has_one_rate_for_all_of_its_keys_and_who_is_nobody_takes_none_of_it() {
    let (service, [one, other]) = limited(&["--environment-commands-per-second", "5"]).await;
    let path = "/api/environment/test/onhand";
    for _ in 0..20 {
        let nobody = service.send(Method::POST, path, &[JSON], stock("nobody", 1).to_string()).await;
        problem(&nobody, "unauthenticated");
        assert_eq!(nobody.header("ratelimit"), None);
    }
    let first = service.with_key(&one, Method::POST, "onhand", stock("first", 1)).await;
    assert_eq!(first.header("ratelimit"), Some(r#""environment-commands";r=4;t=1"#));
    // A repeat counts as any.
    let keys = [&one, &other];
    let (refused, _) = until_limited(async |count| {
        service.with_key(keys[count % 2], Method::POST, "onhand", stock("first", 1)).await
    })
    .await;
    let body = problem(&refused, "rate-limited");
    assert!(body["detail"].as_str().unwrap().contains("for this environment"), "{body}");
    assert_eq!(inbound(&service, &one).await, 1);
    service.stop().await;
}

#[tokio::test]
async fn without_authentication_an_environment_has_its_rate_too_and_without_limits_nothing_is_said() {
    let service = Service::start_on(database().await, &["--environment-requests-per-second", "2"]).await;
    let (refused, _) = until_limited(async |_| service.configure(bicycles()).await).await;
    problem(&refused, "rate-limited");
    // Another environment is another matter.
    assert_eq!(service.get("/api/environment/other/configuration").await.status, 404);
    service.stop().await;
    let service = Service::with_stock(1).await;
    assert_eq!(service.configure(bicycles()).await.header("ratelimit-policy"), None);
    service.stop().await;
}

#[tokio::test]
async fn who_is_refused_is_answered_before_the_body_is_there_and_cut_off_where_it_is_long() {
    let service = Service::start_on(
        database().await,
        &["--environment-requests-per-second", "1", "--body-time-max-ms", "300"],
    )
    .await;
    let (refused, _) = until_limited(async |_| service.configure(bicycles()).await).await;
    problem(&refused, "rate-limited");
    super::support::eventually("one is refused for its rate, whose body never comes", async || {
        // It reads until the service closes, which the client did not ask for.
        let head = head("Content-Length: 100").replace("Connection: close\r\n", "");
        let (head, _) = super::raw::end(begin(&service, &head).await, "{").await;
        head.starts_with("http/1.1 429")
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn what_one_rate_lets_in_and_another_refuses_is_given_back_to_the_first() {
    let commands = ["--key-commands-per-second", "10", "--environment-commands-per-second", "5"];
    let requests = ["--key-requests-per-second", "1000000", "--environment-requests-per-second", "1000000"];
    let (service, [one, _]) = limited(&[commands, requests].concat()).await;
    let lines = (0..8).map(|line| stock(&format!("{line}"), 1)).collect();
    let refused = service.with_key(&one, Method::POST, "onhand/bulk", lines).await;
    let body = problem(&refused, "rate-limited");
    assert!(body["detail"].as_str().unwrap().contains("for this environment"), "{body}");
    let left: Vec<&str> = refused.header("ratelimit").unwrap().split(", ").collect();
    let [key_requests, key_commands, requests, commands] = left[..] else { panic!("{left:?}") };
    assert_eq!((key_commands, commands), (r#""key-commands";r=10;t=0"#, r#""environment-commands";r=5;t=0"#));
    // Another millionth may have filled meanwhile.
    for (told, name) in [(key_requests, "key-requests"), (requests, "environment-requests")] {
        let full = format!(r#""{name}";r=1000000;t="#);
        assert!(told.starts_with(&full) || told == format!(r#""{name}";r=999999;t=1"#), "{told}");
    }
    service.stop().await;
}

/// A key that reports stock, with rates of its own, made by an administrator.
async fn key_with(service: &Service, admin: &str, rates: Value) -> String {
    let asked = changed(json!({"name": "own", "role": "stock"}), rates);
    let made = service.with_key(admin, Method::POST, "keys", asked).await;
    assert_eq!(made.status, 200, "{}", made.text);
    made.json()["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_has_its_own_rates_instead_of_the_service_s_and_others_have_not() {
    let (service, admin) = Service::with_auth().await;
    let slow = key_with(&service, &admin, json!({"requestsPerSecond": 1})).await;
    let bulks = key_with(&service, &admin, json!({"commandsPerSecond": 2})).await;
    let database = service.database.clone();
    let send = async |key: &str, id: usize| {
        service.with_key(key, Method::POST, "onhand", stock(&format!("{id}"), 1)).await
    };
    let (refused, _) = until_limited(async |id| send(&slow, id).await).await;
    problem(&refused, "rate-limited");
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""key-requests";q=1;w=1"#));
    let lines = (0..3).map(|line| stock(&format!("line {line}"), 1)).collect();
    let refused = service.with_key(&bulks, Method::POST, "onhand/bulk", lines).await;
    assert_eq!(problem(&refused, "rate-limited")["available"], 2);
    for id in 0..30 {
        let answer = send(&admin, id).await;
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (200, None), "{}", answer.text);
    }
    service.stop().await;

    let general = ["--auth", "--key-requests-per-second", "1000", "--key-commands-per-second", "7"];
    let service = Service::start_on(database, &general).await;
    let policies = async |key: &str| {
        let answer = service.with_key(key, Method::GET, "configuration", Value::Null).await;
        answer.header("ratelimit-policy").unwrap().to_owned()
    };
    let told = |requests, commands| {
        format!(r#""key-requests";q={requests};w=1, "key-commands";q={commands};qu="commands";w=1"#)
    };
    assert_eq!(policies(&slow).await, told(1, 7));
    assert_eq!(policies(&bulks).await, told(1000, 2));
    assert_eq!(policies(&admin).await, told(1000, 7));
    service.stop().await;
}
