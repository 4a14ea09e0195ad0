//! A line to the database that can be muted and cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Everything passes.
    Open,
    /// The database's next answer to a question for balances is the last that is heard of it.
    Last,
    /// The database hears, but is not heard.
    Mute,
    /// Nothing passes; who connects is disconnected.
    Cut,
}

/// Whether an answer has balances of the tests' group and nothing else: those who follow the ledger
/// ask over the same line, at any time, and for whose they are too.
fn tells_balances(answer: &[u8]) -> bool {
    let has = |word: &[u8]| answer.windows(word.len()).any(|window| window == word);
    has(b"Online") && !has(b"usmf")
}

pub struct Proxy {
    /// The database, through the line.
    pub database: PgConnectOptions,
    /// The database, past the line.
    pub direct: PgConnectOptions,
    line: watch::Sender<Line>,
    connections: Arc<AtomicUsize>,
    unheard: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn to(database: &PgConnectOptions) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let file = format!(".s.PGSQL.{}", database.get_port());
        let socket = database.get_socket().unwrap().join(file);
        let (line, _) = watch::channel(Line::Open);
        let ours = line.clone();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let unheard = Arc::new(AtomicUsize::new(0));
        let lost = Arc::clone(&unheard);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = UnixStream::connect(&socket).await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connect(client, server, ours.clone(), Arc::clone(&lost)));
            }
        });
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username(database.get_username())
            .database(database.get_database().unwrap())
            .ssl_mode(PgSslMode::Disable);
        let direct = database.clone();
        Proxy { database: options, direct, line, connections: counted, unheard }
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// How many answers of the database were not heard.
    pub fn unheard(&self) -> usize {
        self.unheard.load(Ordering::Relaxed)
    }

    /// How many connections were made through it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn connect(client: TcpStream, server: UnixStream, heard: watch::Sender<Line>, lost: Arc<AtomicUsize>) {
    let mut line = heard.subscribe();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let hear = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let was_last = heard.send_if_modified(|line| {
                let is_last = *line == Line::Last && tells_balances(&buffer[..length]);
                if is_last {
                    *line = Line::Mute;
                }
                is_last
            });
            let is_open = was_last || matches!(*heard.borrow(), Line::Open | Line::Last);
            lost.fetch_add(usize::from(!is_open), Ordering::Relaxed);
            if is_open && to_client.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = hear => {}
        _ = line.wait_for(|line| *line == Line::Cut) => {}
    }
}
