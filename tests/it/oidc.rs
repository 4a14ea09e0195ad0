//! Tokens of an OpenID provider, made by another program: `tests/oidc/make`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use reqwest::Method;
use ringfence::domain::access::{Role, Scope};
use ringfence::oidc::{self, Limits, Tokens, Unbelievable};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::access::key;
use super::process::run_ringfence;
use super::requests::{allocation, consumption, problem, stock};
use super::support::{Service, bicycles, database, eventually, service_url, settings, url};

fn fixture() -> &'static Value {
    static FIXTURE: OnceLock<Value> = OnceLock::new();
    FIXTURE.get_or_init(|| serde_json::from_str(include_str!("fixtures/oidc/tokens.json")).unwrap())
}

/// What a provider is to the service: an address with its keys.
struct Provider {
    url: String,
    set: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    /// Whether it takes questions and answers none.
    is_silent: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Provider {
    async fn start() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let set = Arc::new(Mutex::new(fixture()["set"].to_string()));
        let asked = Arc::new(AtomicUsize::new(0));
        let is_silent = Arc::new(AtomicBool::new(false));
        let (body, count, silent) = (Arc::clone(&set), Arc::clone(&asked), Arc::clone(&is_silent));
        let task = tokio::spawn(async move {
            let mut waiting = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                if silent.load(Ordering::SeqCst) {
                    waiting.push(stream);
                    continue;
                }
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let body = body.lock().unwrap().clone();
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Provider { url, set, asked, is_silent, task }
    }

    /// Who believes its tokens, within limits.
    fn tokens(&self, limits: Limits) -> Tokens {
        let (issuer, audience) = ("https://id.example.com/".to_owned(), "ringfence".to_owned());
        Tokens::new(oidc::Provider { issuer, audience, jwks_url: self.url.clone() }, limits).unwrap()
    }

    fn shows(&self, set: &Value) {
        *self.set.lock().unwrap() = set.to_string();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A service that believes the fixture's provider, with some set aside for the web shop.
async fn service(jwks_url: &str) -> Service {
    let of = ["--auth", "--oidc-issuer", "https://id.example.com/", "--oidc-audience", "ringfence"];
    let service =
        Service::start_on(database().await, &[&of[..], &["--oidc-jwks-url", jwks_url]].concat()).await;
    let admin = key(&service.database, "test", Role::Admin, Scope::default()).await;
    assert_eq!(service.with_key(&admin, Method::PUT, "configuration", bicycles()).await.status, 200);
    assert_eq!(service.with_key(&admin, Method::POST, "onhand", stock("s", 9)).await.status, 200);
    let set_aside = allocation("a", "Web", 9);
    assert_eq!(service.with_key(&admin, Method::POST, "allocation/allocate", set_aside).await.status, 200);
    service
}

fn texts(tokens: &Value) -> Vec<&str> {
    match tokens {
        Value::Array(tokens) => tokens.iter().map(|token| token.as_str().unwrap()).collect(),
        token => vec![token.as_str().unwrap()],
    }
}

#[tokio::test]
async fn a_token_may_what_its_claim_says_whatever_it_is_signed_by() {
    let provider = Provider::start().await;
    let service = service(&provider.url).await;
    for (name, token) in fixture()["good"].as_object().unwrap() {
        let token = token.as_str().unwrap();
        let post = async |path: &str, body| service.with_key(token, Method::POST, path, body).await;
        let granted = post("allocation/consume", consumption(name, "Web", 1)).await;
        assert_eq!(granted.status, 200, "{name}: {}", granted.text);
        problem(&post("allocation/consume", consumption("c", "Store", 1)).await, "forbidden");
        // Another of its grants is for stock, and for none but this environment.
        assert_eq!(post("onhand", stock(&format!("{name} s"), 1)).await.status, 200);
        problem(&post("allocation/allocate", allocation("b", "Web", 1)).await, "forbidden");
    }
    let elsewhere = fixture()["elsewhere"].as_str().unwrap();
    let foreign = service.with_key(elsewhere, Method::GET, "configuration", Value::Null).await;
    problem(&foreign, "forbidden");
    assert_eq!(provider.asked(), 1);
    let mut connection =
        <sqlx::PgConnection as sqlx::Connection>::connect_with(&service.database).await.unwrap();
    let actors: Vec<Option<String>> =
        sqlx::query_scalar("SELECT DISTINCT actor FROM ledger WHERE operation = 'consume'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(actors, [Some("order-system".to_owned())]);
    service.stop().await;
}

#[tokio::test]
async fn a_token_that_is_wrong_in_anything_is_refused_and_told_in_what() {
    let provider = Provider::start().await;
    let service = service(&provider.url).await;
    for (why, tokens) in fixture()["wrong"].as_object().unwrap() {
        for token in texts(tokens) {
            let answer = service.with_key(token, Method::GET, "configuration", Value::Null).await;
            assert_eq!(answer.status, 401, "{why}: {token}: {}", answer.text);
            let refused = problem(&answer, "unauthenticated");
            assert!(refused["detail"].as_str().unwrap().contains(why), "{why}: {token}: {refused}");
        }
    }
    let long = format!("a.{}.c", "b".repeat(9_000));
    let answer = service.with_key(&long, Method::GET, "configuration", Value::Null).await;
    assert!(problem(&answer, "unauthenticated")["detail"].as_str().unwrap().contains("8 KiB"));
    // Who comes with strange keys does not make the service ask the provider each time.
    assert_eq!(provider.asked(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_key_that_the_provider_withdrew_is_good_no_longer() {
    let provider = Provider::start().await;
    let service = service(&provider.url).await;
    let status = async |token: &Value| {
        let token = token.as_str().unwrap();
        service.with_key(token, Method::GET, "configuration", Value::Null).await.status
    };
    let (old, new) = (&fixture()["good"]["RS256"], &fixture()["new"]);
    assert_eq!((status(old).await, status(new).await), (200, 401));
    *provider.set.lock().unwrap() = fixture()["rotated"].to_string();
    eventually("the new key is asked for", async || status(new).await == 200).await;
    assert_eq!(status(old).await, 401);
    assert_eq!(provider.asked(), 2);
    service.stop().await;
}

#[tokio::test]
async fn while_the_provider_does_not_answer_nobody_knows_its_tokens() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let service = service(&format!("http://{closed}/jwks")).await;
    let token = fixture()["good"]["RS256"].as_str().unwrap();
    let answer = service.with_key(token, Method::GET, "configuration", Value::Null).await;
    problem(&answer, "overloaded");
    service.stop().await;
    // What belongs together is asked for together.
    let database = service_url(&database().await);
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", &database];
    for lacking in [&["--oidc-issuer", "a"][..], &["--auth", "--oidc-issuer", "a", "--oidc-audience", "b"]] {
        let ended = run_ringfence(&[&serve[..], lacking].concat()).await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("--oidc-jwks-url"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_check_asks_the_provider_and_says_why_its_keys_cannot_be_had() {
    let provider = Provider::start().await;
    let database = service_url(&database().await);
    let check = async |jwks_url: &str| {
        let serve = ["serve", "--check", "--listen", "127.0.0.1:0", "--database-url", &database, "--auth"];
        let of = ["--oidc-issuer", "a", "--oidc-audience", "b", "--oidc-jwks-url", jwks_url];
        run_ringfence(&[&serve[..], &of].concat()).await
    };
    let good = check(&provider.url).await;
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    let keys = good.stdout.split("a token by one of ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(keys.parse::<usize>().unwrap() > 1, "{}", good.stdout);
    assert_eq!(provider.asked(), 1);

    let refused = async |jwks_url: &str, why: &str| {
        let ended = check(jwks_url).await;
        let stands_against = ended.stderr.lines().filter(|line| !line.contains(" WARN ")).count();
        assert_eq!((ended.code, stands_against), (Some(1), 1), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{why}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("--oidc-jwks-url") && !ended.stderr.contains("secret"),
            "{}",
            ended.stderr
        );
    };
    *provider.set.lock().unwrap() = r#"{"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]}"#.to_owned();
    refused(&provider.url, "no key of the set can be used").await;
    *provider.set.lock().unwrap() = "<html>".to_owned();
    refused(&provider.url, "they are no set").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    refused(&format!("http://me:secret@{closed}/jwks"), &format!("cannot be read at http://{closed}/jwks"))
        .await;
    refused("the provider", "is no URL").await;
}

/// What the service takes of a provider.
async fn limits() -> Limits {
    settings(&database().await, &[]).token_limits()
}

/// Limits under which a set is asked for with every token.
async fn at_once() -> Limits {
    Limits { fetch_again: Duration::ZERO, set_time: Duration::ZERO, ..limits().await }
}

fn good() -> &'static str {
    fixture()["good"]["RS256"].as_str().unwrap()
}

#[tokio::test]
async fn a_set_is_taken_up_to_64_kib() {
    let provider = Provider::start().await;
    let tokens = provider.tokens(limits().await);
    let of_length = |length: usize| {
        let set = fixture()["set"].to_string();
        format!("{set}{}", " ".repeat(length - set.len()))
    };
    *provider.set.lock().unwrap() = of_length(64 << 10);
    assert!(tokens.try_provider().await.unwrap() > 1);
    *provider.set.lock().unwrap() = of_length((64 << 10) + 1);
    let refused = tokens.try_provider().await.unwrap_err();
    assert!(refused.contains("longer than 65536 bytes"), "{refused}");
}

#[tokio::test]
async fn a_set_is_taken_up_to_32_keys() {
    let provider = Provider::start().await;
    let tokens = provider.tokens(limits().await);
    let with_others = |count: usize| {
        let keys = fixture()["set"]["keys"].as_array().unwrap();
        let others = vec![serde_json::json!({}); count].into_iter();
        serde_json::json!({"keys": others.chain([keys[0].clone()]).collect::<Vec<_>>()})
    };
    provider.shows(&with_others(31));
    assert_eq!(tokens.try_provider().await, Ok(1));
    provider.shows(&with_others(32));
    let refused = tokens.try_provider().await.unwrap_err();
    assert!(refused.contains("no key of the set can be used"), "{refused}");
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_not_waited_for_and_holds_up_nobody_who_lacks_nothing() {
    let provider = Provider::start().await;
    let hasty = provider.tokens(Limits { fetch_time_max: Duration::from_millis(50), ..limits().await });
    provider.is_silent.store(true, Ordering::SeqCst);
    let refused = hasty.try_provider().await.unwrap_err();
    assert!(refused.contains("no answer within 50ms"), "{refused}");
    assert_eq!(hasty.check(good()).await.unwrap_err(), Unbelievable::Unknown);

    provider.is_silent.store(false, Ordering::SeqCst);
    let patient = Limits { fetch_time_max: Duration::from_secs(3_600), ..at_once().await };
    let patient = Arc::new(provider.tokens(patient));
    assert!(patient.check(good()).await.is_ok());
    let asked = provider.asked();
    provider.is_silent.store(true, Ordering::SeqCst);
    let asking = tokio::spawn({
        let patient = Arc::clone(&patient);
        async move { patient.check(good()).await.is_ok() }
    });
    eventually("somebody waits for the provider", async || provider.asked() > asked).await;
    let at_once = tokio::time::timeout(Duration::from_secs(30), patient.check(good())).await;
    assert!(at_once.expect("nobody else waits").is_ok());
    assert!(!asking.is_finished());
    asking.abort();
}

#[tokio::test]
async fn a_set_is_kept_for_its_time_and_then_a_withdrawn_key_is_good_no_longer() {
    let provider = Provider::start().await;
    let day = Duration::from_secs(86_400);
    let keeping = provider.tokens(Limits { set_time: day, ..limits().await });
    let asking = provider.tokens(at_once().await);
    let seldom = provider.tokens(Limits { fetch_again: day, ..at_once().await });
    for tokens in [&keeping, &asking, &seldom] {
        assert!(tokens.check(good()).await.is_ok());
    }
    assert_eq!(provider.asked(), 3);
    provider.shows(&fixture()["rotated"]);
    assert!(keeping.check(good()).await.is_ok());
    assert!(seldom.check(good()).await.is_ok());
    assert_eq!(provider.asked(), 3, "neither asks again yet");
    let refused = asking.check(good()).await.unwrap_err();
    assert_eq!(refused, Unbelievable::Wrong("the token is signed by no key of the provider"));
    assert!(provider.asked() > 3);
    // As the guide for operators has it.
    let limits = limits().await;
    assert_eq!(
        (limits.set_time, limits.set_time_max),
        (Duration::from_secs(300), Duration::from_secs(3_600))
    );
    assert!(
        include_str!("../../docs/operators.md").contains("for five minutes at most, and for an hour while")
    );
}

#[tokio::test]
async fn a_provider_that_is_gone_leaves_its_set_for_a_while() {
    let provider = Provider::start().await;
    let lasting = provider.tokens(at_once().await);
    let brief = provider.tokens(Limits { set_time_max: Duration::from_millis(300), ..at_once().await });
    for tokens in [&lasting, &brief] {
        assert!(tokens.check(good()).await.is_ok());
    }
    provider.task.abort();
    eventually("it is too old", async || brief.check(good()).await.is_err()).await;
    assert_eq!(brief.check(good()).await.unwrap_err(), Unbelievable::Unknown);
    assert!(lasting.check(good()).await.is_ok());
}

#[tokio::test]
async fn keys_in_plain_text_are_taken_from_this_machine_only() {
    let database = url(&database().await);
    let serve = async |more: &[&str], jwks_url: &str| {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", &database, "--auth"];
        let of = ["--oidc-issuer", "a", "--oidc-audience", "b", "--oidc-jwks-url", jwks_url];
        run_ringfence(&[&serve[..], &of, more].concat()).await
    };
    for host in ["id.example.com", "10.1.2.3", "[2001:db8::1]", "127.example.com"] {
        for more in [&[][..], &["--check"]] {
            let ended = serve(more, &format!("http://me:secret@{host}/jwks")).await;
            let expected =
                format!("--oidc-jwks-url=http://{host}/jwks (RINGFENCE_OIDC_JWKS_URL) is plain http");
            let told = ended.stderr.lines().filter(|line| line.contains(&expected)).count();
            assert_eq!((ended.code, told), (Some(1), 1), "{}", ended.stderr);
            assert!(ended.stderr.contains("give its https:// address"), "{}", ended.stderr);
            assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
        }
    }
    for here in ["127.8.9.1:1", "localhost:1", "[::1]:1"] {
        let ended = serve(&["--check"], &format!("http://{here}/jwks")).await;
        assert!(ended.stderr.contains("keys cannot be read"), "{}", ended.stderr);
    }
}
