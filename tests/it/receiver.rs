//! Somebody whom alerts are sent to, who answers as a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::serve::Listener;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::tls::Authority;

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Message {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn product(&self) -> String {
        self.json()["data"]["productId"].as_str().unwrap().to_owned()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// Whether one of its signatures is made with a secret: by another implementation of HMAC than the
    /// service has.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = format!("{}.{}.{}", self.id(), self.header("webhook-timestamp"), self.body);
        self.header("webhook-signature").split(' ').any(|signature| {
            let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
        })
    }
}

/// What is answered to a message, of which so many came before under the same id.
type Answering = dyn Fn(&Message, usize) -> u16 + Send + Sync;

/// For how long a message's sender is asked to wait.
type Asking = dyn Fn(&Message) -> String + Send + Sync;

/// An answer that never comes.
pub const NEVER: u16 = 0;

struct Shared {
    messages: Mutex<Vec<Message>>,
    answering: Mutex<Arc<Answering>>,
    asking: Mutex<Option<Arc<Asking>>>,
}

/// A listener that speaks TLS.
struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TlsStream<TcpStream>, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Who does not believe the certificate leaves.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A server that takes messages.
pub struct Receiver {
    pub url: String,
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Receiver {
        Receiver::answering(|_, _| 204).await
    }

    pub async fn answering(answering: impl Fn(&Message, usize) -> u16 + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Receiver::on("http", listener, answering)
    }

    /// One that takes everything, over TLS.
    pub async fn secure(authority: &Authority, name: &str) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Receiver::on("https", Secure { listener, acceptor: authority.acceptor(name) }, |_, _| 204)
    }

    fn on(
        scheme: &str,
        listener: impl Listener<Addr = SocketAddr>,
        answering: impl Fn(&Message, usize) -> u16 + Send + Sync + 'static,
    ) -> Receiver {
        let answering: Arc<Answering> = Arc::new(answering);
        let shared =
            Shared { messages: Mutex::default(), answering: Mutex::new(answering), asking: Mutex::default() };
        let shared = Arc::new(shared);
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Receiver { url: format!("{scheme}://127.0.0.1:{port}/hook?key=1"), port, shared, task }
    }

    /// From now on it asks with `Retry-After`, too.
    pub fn ask(&self, asking: impl Fn(&Message) -> String + Send + Sync + 'static) {
        *self.shared.asking.lock().unwrap() = Some(Arc::new(asking));
    }

    /// From now on it answers otherwise.
    pub fn answer(&self, answering: impl Fn(&Message, usize) -> u16 + Send + Sync + 'static) {
        *self.shared.answering.lock().unwrap() = Arc::new(answering);
    }

    /// What came, in order.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().unwrap().clone()
    }

    /// What came of a product.
    pub fn of(&self, product: &str) -> Vec<Message> {
        self.messages().into_iter().filter(|message| message.product() == product).collect()
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, HeaderMap) {
    let message = Message { path: uri.to_string(), headers, body };
    let answering = Arc::clone(&shared.answering.lock().unwrap());
    let mut headers = HeaderMap::from_iter([("location".parse().unwrap(), "/elsewhere".parse().unwrap())]);
    if let Some(asking) = shared.asking.lock().unwrap().as_ref() {
        headers.insert("retry-after", asking(&message).parse().unwrap());
    }
    let before = {
        let mut messages = shared.messages.lock().unwrap();
        let before = messages.iter().filter(|other| other.id() == message.id()).count();
        messages.push(message.clone());
        before
    };
    match answering(&message, before) {
        NEVER => std::future::pending().await,
        status => (StatusCode::from_u16(status).unwrap(), headers),
    }
}
