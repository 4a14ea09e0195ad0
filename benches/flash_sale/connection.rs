//! A connection that speaks just enough HTTP/1.1 for the answers that the service gives, at the
//! price of one write and one read: the load shares its cores with what it measures.

use std::io::Write;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What an answer has at first room for; those of a bulk make more.
const ANSWER_BYTES: usize = 4096;
/// Where the status is in `HTTP/1.1 200 OK`.
const STATUS: std::ops::Range<usize> = 9..12;

pub struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    body: Vec<u8>,
    answer: Vec<u8>,
}

/// An answer, as it lies in the buffer of its connection.
pub struct Answer<'a> {
    pub status: u16,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The body, for people.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body).into_owned()
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.expect("the service listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Connection { stream, request: Vec::new(), body: Vec::new(), answer: vec![0; ANSWER_BYTES] }
    }

    /// Where the body of the next request is to be written; empty.
    pub fn body(&mut self) -> &mut Vec<u8> {
        self.body.clear();
        &mut self.body
    }

    /// Sends what was written to [`Connection::body`], after a head that ends where the length
    /// belongs, and answers the answer.
    pub async fn exchange(&mut self, head: &str) -> Answer<'_> {
        self.request.clear();
        self.request.extend_from_slice(head.as_bytes());
        let _ = write!(self.request, "{}\r\n\r\n", self.body.len());
        self.request.extend_from_slice(&self.body);
        self.stream.write_all(&self.request).await.expect("the connection stays open");
        let mut filled = 0;
        let mut shape = None;
        loop {
            if filled == self.answer.len() {
                self.answer.resize(2 * filled, 0);
            }
            let read = self.stream.read(&mut self.answer[filled..]).await.expect("an open connection");
            assert!(read > 0, "the service closed the connection");
            filled += read;
            shape = shape.or_else(|| shape_of(&self.answer[..filled]));
            if let Some((head, whole)) = shape
                && filled >= whole
            {
                let status =
                    self.answer[STATUS].iter().fold(0, |sum, byte| 10 * sum + u16::from(byte - b'0'));
                return Answer { status, head: &self.answer[..head], body: &self.answer[head..whole] };
            }
        }
    }
}

/// Where the head of an answer ends, and where all of it does. `None` while the head is not there.
fn shape_of(answer: &[u8]) -> Option<(usize, usize)> {
    let (mut line_start, mut length) = (0, None);
    loop {
        let line_end = line_start + answer[line_start..].iter().position(|&byte| byte == b'\n')?;
        let line = &answer[line_start..line_end];
        if line == b"\r" {
            let head = line_end + 1;
            return Some((head, head + length.expect("an answer says its length")));
        }
        if let Some(value) = line.strip_prefix(b"content-length: ") {
            let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
            length = Some(digits.fold(0, |sum, byte| 10 * sum + usize::from(byte - b'0')));
        }
        line_start = line_end + 1;
    }
}
