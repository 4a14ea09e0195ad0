//! A connection that is kept open and sees what a client's library hides: whether an answer
//! came whole, in part or not at all.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    Answered {
        status: u16,
        head: String,
        body: String,
        /// Whether the connection may be used again.
        stays_open: bool,
    },
    /// The connection ended without a byte of an answer.
    Closed,
    /// The connection ended in the middle of one.
    Torn(String),
}

pub struct Wire {
    stream: TcpStream,
}

/// The head and body of a command.
pub fn request(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /api/environment/test/{path} HTTP/1.1\r\nhost: it\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Wire {
    /// None when nobody listens.
    pub async fn open(base: &str) -> Option<Wire> {
        let stream = TcpStream::connect(base.trim_start_matches("http://")).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Wire { stream })
    }

    pub async fn exchange(&mut self, request: &[u8]) -> Outcome {
        let mut answer = Vec::new();
        // What cannot be sent to its end may still have been heard, and answered.
        let _ = self.stream.write_all(request).await;
        loop {
            if let Some(whole) = whole(&answer) {
                return whole;
            }
            match self.stream.read_buf(&mut answer).await {
                Ok(1..) => {}
                _ if answer.is_empty() => return Outcome::Closed,
                _ => return Outcome::Torn(String::from_utf8_lossy(&answer).into_owned()),
            }
        }
    }
}

/// The answer, once all of it is there.
fn whole(answer: &[u8]) -> Option<Outcome> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "))?;
    if body.len() < length.parse().ok()? {
        return None;
    }
    let status = head.get("http/1.1 ".len()..)?.get(..3)?.parse().ok()?;
    let stays_open = !head.contains("\r\nconnection: close");
    Some(Outcome::Answered { status, stays_open, body: body.to_owned(), head })
}
