//! Requests written byte by byte, for what a client's library does not do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::requests::{allocation, check_problem};
use super::support::{Service, database};

/// A connection on which something was written already.
pub async fn begin(service: &Service, start: &str) -> TcpStream {
    let address = service.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    stream
}

/// Writes the rest, and reads until the service closes: the head, in lower case, and the body.
pub async fn end(mut stream: TcpStream, rest: &str) -> (String, serde_json::Value) {
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), serde_json::from_str(body).unwrap())
}

/// The head of a command, with these headers beside.
pub fn head(headers: &str) -> String {
    format!(
        "POST /api/environment/test/allocation/allocate HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\
         Content-Type: application/json\r\n{headers}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_body_that_does_not_say_its_length_has_its_limit_too() {
    let service = Service::with_stock(10).await;
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let (body, spaces) = (allocation("a", "Online", 1).to_string(), " ".repeat(1 << 20));
    let chunked = head("Transfer-Encoding: chunked");
    let too_long = chunk(&body) + &chunk(&spaces) + &chunk("");
    let (head, answer) = end(begin(&service, &chunked).await, &too_long).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    check_problem(&answer, "payload-too-large");
    let in_limit = chunk(&body[..9]) + &chunk(&body[9..]) + &chunk("");
    let (head, answer) = end(begin(&service, &chunked).await, &in_limit).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(answer["id"], "a");
    service.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_answered_at_once() {
    let service = Service::with_stock(10).await;
    let ask = |length: usize| head(&format!("Content-Length: {length}\r\nExpect: 100-continue"));
    let (head, answer) = end(begin(&service, &ask(100 << 20)).await, "").await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    check_problem(&answer, "payload-too-large");

    let body = allocation("a", "Online", 1).to_string();
    let mut stream = begin(&service, &ask(body.len())).await;
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let (head, answer) = end(stream, &body).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(answer["id"], "a");
    service.stop().await;
}

#[tokio::test]
async fn a_request_has_its_time_from_its_head_on() {
    // If it were the body's time that ended, the answer would be another.
    let times = ["--request-time-max-ms", "300", "--body-time-max-ms", "5000"];
    let service = Service::start_on(database().await, &times).await;
    let (head, answer) = end(begin(&service, &head("Content-Length: 10")).await, "{").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    check_problem(&answer, "overloaded");
    service.stop().await;
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_no_body() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let body = allocation("a", "Online", 1).to_string();
    let mut stream = begin(&service, &head(&format!("Content-Length: {}", body.len() + 1))).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(service.books().await, before);
    service.stop().await;
}
