//! Receivers whose answers have no end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers everybody with so much, and then with more and more until they leave.
async fn endless(beginning: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // The message is short, and comes at once.
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(beginning.as_bytes()).await;
                while stream.write_all(&[b'x'; 1024]).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_end_is_read_no_further_than_it_is_shown() {
    // Whoever read on would have no answer within the time.
    let service = service(&QUICK).await;
    for (name, beginning) in [
        ("taken", "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n"),
        ("refused", "HTTP/1.1 500 Oh\r\ncontent-length: 1000000000000\r\n\r\nI\tam "),
        ("head", "HTTP/1.1 200 OK\r\nx: "),
    ] {
        let url = endless(beginning).await;
        assert_eq!(service.put(&format!("webhooks/{name}"), &json!({"url": url})).await.status, 200);
    }
    service.run_low("Bike").await;
    let mut of = Vec::new();
    for (name, state) in [("taken", "delivered"), ("refused", "dead"), ("head", "dead")] {
        eventually(&format!("what is {name} is {state}"), async || {
            of = service.read(&format!("webhooks/{name}/deliveries")).await.as_array().unwrap().clone();
            of[0]["state"] == state
        })
        .await;
        let (status, error) = (&of[0]["status"], of[0]["error"].as_str().unwrap_or_default());
        match name {
            "taken" => assert_eq!((status, error), (&json!(200), "")),
            "refused" => assert_eq!((status, error), (&json!(500), "answered 500")),
            _ => assert!(status.is_null() && error.starts_with("the connection broke: "), "{status} {error}"),
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn of_what_a_receiver_answers_the_beginning_is_shown_in_one_line() {
    let service = service(&QUICK).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let says = format!(" no\r\n\u{1b}[31m{}", "é".repeat(1000));
        let answer = format!("HTTP/1.1 400 Bad\r\ncontent-length: {}\r\n\r\n{says}", says.len());
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    assert_eq!(service.put("webhooks/one", &json!({"url": url})).await.status, 200);
    service.run_low("Bike").await;
    let dead = service.delivered("dead", 1).await;
    let shown = format!("answered 400: no[31m{}", "é".repeat(194));
    assert_eq!(dead[0]["error"], shown);
    service.stop().await;
}
