//! A line between clients and the service that loses answers, sends requests twice, early and
//! late, and breaks in the middle of either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::mix::Dice;

/// What the line did to requests, by how often.
#[derive(Debug, Default)]
pub(crate) struct Harm {
    pub(crate) passed: AtomicUsize,
    pub(crate) lost_answers: AtomicUsize,
    pub(crate) sent_twice: AtomicUsize,
    pub(crate) broken: AtomicUsize,
}

/// The address of a line to a service, and what it does.
pub(crate) async fn bad_line(base: &str, seed: u64) -> (String, Arc<Harm>) {
    let service = base.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let harm = Arc::new(Harm::default());
    let count = Arc::clone(&harm);
    tokio::spawn(async move {
        let next = AtomicU64::new(seed);
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let dice = Dice::new(next.fetch_add(1, Ordering::Relaxed));
            let (service, count) = (service.clone(), Arc::clone(&count));
            tokio::spawn(async move { carry(client, &service, dice, &count).await });
        }
    });
    (base, harm)
}

/// Carries one request, as well as it goes; who sent it may be left without an answer.
async fn carry(mut client: TcpStream, service: &str, mut dice: Dice, harm: &Harm) -> Option<()> {
    let request = read_message(&mut client).await?;
    let count = |counter: &AtomicUsize| _ = counter.fetch_add(1, Ordering::Relaxed);
    match dice.roll(10) {
        0..3 => {
            count(&harm.passed);
            let answer = ask(service, &request).await?;
            client.write_all(&answer).await.ok()
        }
        3 => {
            count(&harm.lost_answers);
            ask(service, &request).await?;
            None
        }
        4 => {
            // The service may find that nobody is there while it works, or before it begins.
            count(&harm.lost_answers);
            let mut stream = TcpStream::connect(service).await.ok()?;
            stream.write_all(&request).await.ok()
        }
        5 | 6 => {
            count(&harm.sent_twice);
            let (first, second) = tokio::join!(ask(service, &request), ask(service, &request));
            let answer = if dice.roll(2) == 0 { first } else { second };
            client.write_all(&answer?).await.ok()
        }
        7 => {
            // The second comes when the client has gone on.
            count(&harm.sent_twice);
            let answer = ask(service, &request).await?;
            client.write_all(&answer).await.ok()?;
            drop(client);
            ask(service, &request).await.map(|_| ())
        }
        8 => {
            count(&harm.broken);
            let mut stream = TcpStream::connect(service).await.ok()?;
            let part = 1 + dice.roll(request.len() as u64 - 1) as usize;
            stream.write_all(&request[..part]).await.ok()
        }
        _ => {
            count(&harm.broken);
            let answer = ask(service, &request).await?;
            let part = dice.roll(answer.len() as u64) as usize;
            client.write_all(&answer[..part]).await.ok()
        }
    }
}

async fn ask(service: &str, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(service).await.ok()?;
    stream.write_all(request).await.ok()?;
    read_message(&mut stream).await
}

/// Reads a request or an answer whose length is said.
pub(crate) async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if let Some(head) = message.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&message[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            if message.len() >= head + 4 + length.map_or(0, |length| length.trim().parse().unwrap()) {
                return Some(message);
            }
        }
        if stream.read_buf(&mut message).await.ok()? == 0 {
            return None;
        }
    }
}
