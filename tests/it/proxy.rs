//! A line to the database that can be muted and cut.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Everything passes.
    Open,
    /// The database hears, but is not heard.
    Mute,
    /// Nothing passes; who connects is disconnected.
    Cut,
}

pub struct Proxy {
    /// The database, through the line.
    pub database: PgConnectOptions,
    line: watch::Sender<Line>,
}

impl Proxy {
    pub async fn to(database: &PgConnectOptions) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let file = format!(".s.PGSQL.{}", database.get_port());
        let socket = database.get_socket().unwrap().join(file);
        let (line, state) = watch::channel(Line::Open);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(connect(client, server, state.clone()));
            }
        });
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username(database.get_username())
            .database(database.get_database().unwrap())
            .ssl_mode(PgSslMode::Disable);
        Proxy { database: options, line }
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn connect(client: TcpStream, server: UnixStream, mut line: watch::Receiver<Line>) {
    let heard = line.clone();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let hear = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let is_open = *heard.borrow() == Line::Open;
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
