//! Receivers with certificates: of an authority that the operator named, and of others.

use super::super::load::{self, Client};
use super::super::process::{Program, ringfence, run};
use super::super::support::{patiently, service_url};
use super::super::tls::Authority;
use super::*;

fn deliveries(client: &Client, webhook: &str) -> impl Future<Output = Vec<Value>> {
    let path = format!("webhooks/{webhook}/deliveries");
    async move {
        let answer = client.send(Method::GET, &path, &Value::Null).await.unwrap().json();
        answer.as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_is_believed_by_a_certificate_of_a_named_authority_and_by_no_other() {
    let (authority, stranger) = (Authority::named("ours"), Authority::named("another"));
    for each in [&authority, &stranger] {
        each.sign("receiver");
    }
    let known = Receiver::secure(&authority, "receiver").await;
    let unknown = Receiver::secure(&stranger, "receiver").await;
    let database = service_url(&database().await);
    let patient = patiently(&QUICK);
    let serve = [&["serve", "--listen", "127.0.0.1:0", "--database-url", &database], &patient[..]].concat();
    let trusting = |file: &str, more: &[&str]| {
        let mut command = ringfence(&[&serve[..], more].concat());
        command.env("SSL_CERT_FILE", file);
        command
    };
    let program = Program::start(trusting(&authority.path("ca.pem"), &[])).await;
    let client = Client::new(&program.base);
    client.configure().await;
    let put = async |path: &str, body: Value| {
        assert_eq!(client.send(Method::PUT, path, &body).await.unwrap().status, 200, "{path}");
    };
    put("watches/empty", json!({"rule": {"balanceAtOrBelow": 0}})).await;
    // The certificate is for an address, and not for a name of it.
    let misnamed = format!("https://localhost:{}/", known.port);
    for (name, url) in [("known", &known.url), ("unknown", &unknown.url), ("misnamed", &misnamed)] {
        assert!(url.starts_with("https://"), "{url}");
        put(&format!("webhooks/{name}"), json!({"url": url})).await;
    }
    client.done("onhand", load::on_hand("s", "Bike", 5)).await;
    client.done("allocation/allocate", load::allocation("a", "Bike", 5)).await;
    client.done("allocation/consume", load::consume("c", "Bike", 5)).await;
    let mut dead = Vec::new();
    for (webhook, state) in [("known", "delivered"), ("unknown", "dead"), ("misnamed", "dead")] {
        eventually(&format!("what is for {webhook} is {state}"), async || {
            let found = deliveries(&client, webhook).await;
            let is_so = found.len() == 1 && found[0]["state"] == state;
            dead.extend(found.into_iter().filter(|delivery| is_so && delivery["state"] == "dead"));
            is_so
        })
        .await;
    }
    let errors: Vec<&str> = dead.iter().map(|delivery| delivery["error"].as_str().unwrap()).collect();
    assert_eq!(
        errors[0],
        "no secure connection: invalid peer certificate: UnknownIssuer; the certificate is of no authority that the \
         service trusts: add it to the system's, or name a file with SSL_CERT_FILE"
    );
    assert!(
        errors[1].starts_with("no secure connection: invalid peer certificate: ")
            && errors[1].contains("name")
    );
    assert!(!errors[1].contains("SSL_CERT_FILE"), "{}", errors[1]);
    assert!(dead.iter().all(|delivery| delivery["attempts"] == 3), "{dead:?}");
    let [message] = &known.messages()[..] else { panic!("{:?}", known.messages()) };
    assert_eq!((message.path.as_str(), message.product().as_str()), ("/hook?key=1", "Bike"));
    assert_eq!(unknown.messages().len(), 0, "nothing is said to who is not believed");
    program.stop_with(|log| assert!(!log.contains("whom to trust"), "{log}")).await;
    // Whoever names none is told.
    let checked = run(trusting("/nowhere.pem", &["--check"])).await;
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    assert!(checked.stderr.contains("SSL_CERT_FILE does not say whom to trust: "), "{}", checked.stderr);
}
