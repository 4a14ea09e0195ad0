//! Sends a message: to the very address that was looked at, without following any redirect, and with
//! no more of the answer read than is shown.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};
use url::{Host, Url};

use crate::domain::webhook::{Endpoint, why_private};

/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most bytes of an answer's body that are read.
const BODY_BYTES_MAX: usize = 4 << 10;
/// Most characters of it that are shown.
const SHOWN_CHARACTERS_MAX: usize = 200;

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The beginning of the body, with what stands before it where there is any.
    pub text: String,
    /// The header `Retry-After`, as it is.
    pub retry_after: Option<String>,
}

/// An answer as it came; without its body, where that was cut off or is too long.
struct Received {
    status: StatusCode,
    headers: HeaderMap,
    body: Option<Bytes>,
}

/// Sends messages over connections of its own.
pub struct Sender {
    allow_private: bool,
    tls: TlsConnector,
}

impl Sender {
    /// Trusts whom the Mozilla Foundation trusts, and whom the system does: its own store, or what
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead.
    ///
    /// # Errors
    /// When TLS cannot be had.
    pub fn new(allow_private: bool) -> Result<Sender, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Sender { allow_private, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends a message. An error is a sentence for whoever looks at the delivery.
    ///
    /// # Errors
    /// Says what is wrong with the address or with what is there.
    pub async fn send(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Result<Answer, String> {
        // What was allowed when it was written need not be any more.
        let endpoint = self.endpoint(url)?;
        let request = request(Method::POST, endpoint.url(), headers, body)?;
        let Received { status, headers, body } =
            self.exchange(endpoint.url(), request, BODY_BYTES_MAX).await?;
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| Some(value.to_str().ok()?.to_owned()));
        // What cannot be read of it, or is too long, is of no account: the status says it all.
        Ok(Answer { status: status.as_u16(), text: beginning(&body.unwrap_or_default()), retry_after })
    }

    /// Reads what is at an address, when it is no longer than so many bytes. An error is a sentence.
    ///
    /// # Errors
    /// Says what is wrong with the address or with what is there.
    pub async fn get(&self, url: &str, bytes_max: usize) -> Result<Bytes, String> {
        let endpoint = self.endpoint(url)?;
        let request = request(Method::GET, endpoint.url(), &[], String::new())?;
        let Received { status, body, .. } = self.exchange(endpoint.url(), request, bytes_max).await?;
        match (status, body) {
            (StatusCode::OK, Some(body)) => Ok(body),
            (StatusCode::OK, None) => {
                Err(format!("the answer was cut off, or is longer than {bytes_max} bytes"))
            }
            (status, _) => Err(format!("the answer is {status}")),
        }
    }

    fn endpoint(&self, url: &str) -> Result<Endpoint, String> {
        Endpoint::parse(url, self.allow_private).map_err(|why| format!("the address {why}"))
    }

    async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Received, String> {
        let addresses = self.resolve(url).await?;
        let stream = TcpStream::connect(&addresses[..])
            .await
            .map_err(|error| format!("cannot connect to {}: {error}", shown(&addresses)))?;
        if url.scheme() == "http" {
            return exchange(stream, request, bytes_max).await;
        }
        let stream = self.tls.connect(server_name(url)?, stream).await;
        exchange(stream.map_err(|error| insecure(&error))?, request, bytes_max).await
    }

    /// The addresses of a host that may be connected to: these and no others are, whatever its name
    /// is said to stand for a moment later.
    async fn resolve(&self, url: &Url) -> Result<Vec<SocketAddr>, String> {
        // HTTP and HTTPS have a port always.
        let port = url.port_or_known_default().unwrap_or(443);
        let found: Vec<SocketAddr> = match url.host() {
            Some(Host::Ipv4(address)) => vec![(address, port).into()],
            Some(Host::Ipv6(address)) => vec![(address, port).into()],
            Some(Host::Domain(name)) => {
                let found = tokio::net::lookup_host((name, port)).await;
                found.map_err(|error| format!("cannot find the address of {name}: {error}"))?.collect()
            }
            None => Vec::new(),
        };
        let private = |address: &SocketAddr| Some((address.ip(), why_private(address.ip())?));
        let refused = found.iter().find_map(private);
        let allowed: Vec<SocketAddr> =
            found.into_iter().filter(|address| self.allow_private || private(address).is_none()).collect();
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some((address, why))) => {
                Err(format!("the host has the address {address}, {why}; --allow-private-webhooks allows it"))
            }
            (true, None) => Err("the host has no address".to_owned()),
        }
    }
}

/// What is wrong with the certificates that are to be trusted beside those that the program has: only
/// where somebody named them.
pub fn untrusted() -> Option<String> {
    let named =
        ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(|name| std::env::var_os(name).is_some())?;
    let found = rustls_native_certs::load_native_certs();
    let why = match found.errors.first() {
        Some(error) => error.to_string(),
        None if found.certs.is_empty() => "there is no certificate in it".to_owned(),
        None => return None,
    };
    Some(format!(
        "{named} does not say whom to trust: {why}; name certificates in PEM, or leave it out for the system's own"
    ))
}

/// Why there is no secure connection, with what to do where it is for want of trust.
fn insecure(error: &std::io::Error) -> String {
    let cause = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let remedy = match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "; the certificate is of no authority that the service trusts: add it to the system's, or name a file \
             with SSL_CERT_FILE"
        }
        _ => "",
    };
    format!("no secure connection: {error}{remedy}")
}

fn shown(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn server_name(url: &Url) -> Result<ServerName<'static>, String> {
    let name = match url.host() {
        Some(Host::Ipv4(address)) => return Ok(ServerName::from(std::net::IpAddr::from(address))),
        Some(Host::Ipv6(address)) => return Ok(ServerName::from(std::net::IpAddr::from(address))),
        Some(Host::Domain(name)) => name.to_owned(),
        None => String::new(),
    };
    ServerName::try_from(name).map_err(|error| format!("the host has no name for a certificate: {error}"))
}

fn request(
    method: Method,
    url: &Url,
    headers: &[(&'static str, String)],
    body: String,
) -> Result<Request<Full<Bytes>>, String> {
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("ringfence/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| format!("the address cannot be asked: {error}"))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<Received, String> {
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.ok().map(|body| body.to_bytes());
        Ok(Received { status: head.status, headers: head.headers, body })
    };
    // The connection ends with the exchange.
    tokio::pin!(asking);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut asking => answer,
        ended = &mut connection => match ended {
            Ok(()) => asking.await,
            Err(error) => Err(broken(error)),
        },
    }
}

fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String =
        text.trim().chars().filter(|character| !character.is_control()).take(SHOWN_CHARACTERS_MAX).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}
