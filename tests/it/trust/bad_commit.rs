//! A line to the database that breaks while something is committed: before the database has
//! heard of it whole, while it works on it, or when it has done it and not been heard.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;

use super::mix::Dice;

/// How often the line of a writer broke at a commit, by when: it breaks at the commits of others, too.
#[derive(Debug, Default)]
pub(crate) struct Breaks {
    pub(crate) before: AtomicUsize,
    pub(crate) during: AtomicUsize,
    pub(crate) after: AtomicUsize,
}

/// The database over a line that breaks at one of so many commits.
pub(crate) async fn bad_commit(database: &PgConnectOptions, one_of: u64) -> (PgConnectOptions, Arc<Breaks>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(listener.local_addr().unwrap().port())
        .username(database.get_username())
        .database(database.get_database().unwrap())
        .ssl_mode(PgSslMode::Disable);
    let socket = database.get_socket().unwrap().join(format!(".s.PGSQL.{}", database.get_port()));
    let breaks = Arc::new(Breaks::default());
    let count = Arc::clone(&breaks);
    tokio::spawn(async move {
        let next = AtomicU64::new(0);
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = UnixStream::connect(&socket).await.unwrap();
            let dice = Dice::new(next.fetch_add(1, Ordering::Relaxed));
            tokio::spawn(carry(client, server, dice, one_of, Arc::clone(&count)));
        }
    });
    (options, breaks)
}

/// How a commit is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Break {
    Before,
    During,
    After,
}

async fn carry(client: TcpStream, server: UnixStream, mut dice: Dice, one_of: u64, breaks: Arc<Breaks>) {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // Told when what is committed is not to be heard of, and when it would have been.
    let (deaf, unheard) = (Notify::new(), Notify::new());
    let hear = async {
        let mut buffer = vec![0; 1 << 16];
        let (mut is_deaf, mut ignored) = (false, Vec::new());
        loop {
            tokio::select! {
                biased;
                () = deaf.notified() => is_deaf = true,
                read = from_server.read(&mut buffer) => {
                    let Ok(length @ 1..) = read else { return };
                    if is_deaf {
                        ignored.extend_from_slice(&buffer[..length]);
                        // Whatever the answer is, it ends with ReadyForQuery and a letter.
                        if ignored[..ignored.len() - 1].ends_with(b"Z\0\0\0\x05") {
                            unheard.notify_one();
                        }
                    } else if to_client.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let say = async {
        let mut messages = Messages { from: from_client, read: Vec::new(), is_started: false };
        let mut committing = HashSet::new();
        let mut breaking = None;
        let mut is_a_writer = false;
        let count = |breaks: &AtomicUsize, is_a_writer| {
            _ = breaks.fetch_add(usize::from(is_a_writer), Ordering::Relaxed)
        };
        while let Some(message) = messages.next().await {
            is_a_writer |= starts_a_writer(&message);
            if breaking.is_none() && commits(&message, &mut committing) && dice.roll(one_of) == 0 {
                breaking = Some([Break::Before, Break::During, Break::After][dice.roll(3) as usize]);
            }
            if breaking == Some(Break::Before) {
                let part = dice.roll(message.len() as u64) as usize;
                let _ = to_server.write_all(&message[..part]).await;
                count(&breaks.before, is_a_writer);
                return;
            }
            let is_last = [Some(&b'S'), Some(&b'Q')].contains(&message.first());
            if is_last && breaking == Some(Break::After) {
                deaf.notify_one();
            }
            if to_server.write_all(&message).await.is_err() {
                return;
            }
            match breaking.filter(|_| is_last) {
                Some(Break::During) => {
                    count(&breaks.during, is_a_writer);
                    return;
                }
                Some(Break::After) => {
                    unheard.notified().await;
                    count(&breaks.after, is_a_writer);
                    return;
                }
                _ => {}
            }
        }
    };
    tokio::select! {
        () = say => {}
        () = hear => {}
    }
}

/// Whether a message is the first on a connection of a writer: only theirs have serializable transactions.
fn starts_a_writer(message: &[u8]) -> bool {
    let option = b"default_transaction_isolation=serializable";
    message.windows(option.len()).any(|bytes| bytes == option)
}

/// Whether a message commits: COMMIT, or what binds the statement that writes a batch, which is
/// a transaction by itself.
fn commits(message: &[u8], committing: &mut HashSet<Vec<u8>>) -> bool {
    let mut texts = message[5.min(message.len())..].split(|&byte| byte == 0);
    match message.first() {
        Some(b'Q') => texts.next().is_some_and(|text| text.starts_with(b"COMMIT")),
        // A name, and what is to be prepared under it.
        Some(b'P') => {
            let (name, query) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
            if query.windows(18).any(|words| words == b"INSERT INTO ledger") {
                committing.insert(name.to_vec());
            }
            false
        }
        // A portal, and the name of what is bound to it.
        Some(b'B') => texts.nth(1).is_some_and(|name| committing.contains(name)),
        _ => false,
    }
}

/// What a client says to PostgreSQL, message by message.
struct Messages {
    from: OwnedReadHalf,
    read: Vec<u8>,
    is_started: bool,
}

impl Messages {
    async fn next(&mut self) -> Option<Vec<u8>> {
        // The first message has no letter before its length.
        let letter = usize::from(self.is_started);
        loop {
            if let Some(length) = self.read.get(letter..letter + 4) {
                let length = letter + u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.read.len() >= length {
                    self.is_started = true;
                    return Some(self.read.drain(..length).collect());
                }
            }
            if self.from.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }
}
