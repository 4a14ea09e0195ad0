//! TLS: served by a chain that another program made, and read again while it serves.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::process::{Program, run_ringfence, signal};
use super::support::{Service, database, eventually, service_url};

/// A directory with an authority and what it signed.
pub struct Authority {
    dir: tempdir::Dir,
}

/// A directory that goes with the test.
mod tempdir {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub struct Dir(pub PathBuf);

    impl Dir {
        pub fn new() -> Dir {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let name =
                format!("ringfence-tls-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Dir(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("authority")
    }

    pub fn named(name: &str) -> Authority {
        let authority = Authority { dir: tempdir::Dir::new() };
        fs::write(authority.path("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        authority.openssl(&format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN={name}"));
        authority
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.0.join(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, arguments: &str) {
        let output =
            Command::new("openssl").args(arguments.split(' ')).current_dir(&self.dir.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Signs a new key for this machine: `NAME.pem` and `NAME.key`.
    pub fn sign(&self, name: &str) {
        self.openssl(&format!("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        self.openssl(&format!("x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {name}.pem"));
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    /// Who answers with what was signed as `name`.
    pub fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate(&format!("{name}.pem"))], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca.pem")).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

type Connection = TlsStream<TcpStream>;

async fn connect(connector: &TlsConnector, address: &str) -> io::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = connector.connect(name, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    Ok(stream)
}

/// Asks whether the service is up.
async fn exchange(stream: &mut Connection) -> io::Result<()> {
    let expected = r#"{"status":"ok"}"#;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: it\r\n\r\n").await?;
    let mut answer = Vec::new();
    while !answer.ends_with(expected.as_bytes()) {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Asks on a connection of its own; answers the certificate.
async fn try_ask(connector: &TlsConnector, address: &str) -> io::Result<CertificateDer<'static>> {
    let mut stream = connect(connector, address).await?;
    exchange(&mut stream).await?;
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
}

async fn ask(connector: &TlsConnector, address: &str) -> CertificateDer<'static> {
    try_ask(connector, address).await.unwrap()
}

fn curl(authority: &Authority, arguments: &[&str], url: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "20", "--cacert", &authority.path("ca.pem")]).args(arguments).arg(url);
    String::from_utf8(curl.output().unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_to_a_client_that_knows_the_authority_and_who_says_nothing_is_closed() {
    let authority = Authority::new();
    authority.sign("one");
    let (cert, key) = (authority.path("one.pem"), authority.path("one.key"));
    let settings = ["--tls-cert", &cert, "--tls-key", &key];
    let database = database().await;
    let service = Service::start_on(database.clone(), &settings).await;
    let address = service.base.strip_prefix("https://").unwrap().to_owned();
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let body = curl(&authority, version, &format!("{}/healthz", service.base));
        assert_eq!(body, r#"{"status":"ok"}"#, "{version:?}");
    }
    // Who does not speak TLS is not answered.
    assert_eq!(curl(&authority, &[], &format!("http://{address}/healthz")), "");
    let _half_open = TcpStream::connect(&address).await.unwrap();
    service.stop().await;

    // The service closes, not we.
    let settings = [&settings[..], &["--head-time-max-ms", "500"]].concat();
    let service = Service::start_on(database, &settings).await;
    let mut silent = TcpStream::connect(service.base.strip_prefix("https://").unwrap()).await.unwrap();
    let mut nothing = Vec::new();
    let _ = silent.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    service.stop().await;
}

impl Authority {
    /// Puts a pair where the service looks for it.
    fn install(&self, name: &str) {
        for kind in ["key", "pem"] {
            let (new, current) = (self.path("new"), self.path(&format!("current.{kind}")));
            fs::copy(self.path(&format!("{name}.{kind}")), &new).unwrap();
            fs::rename(new, current).unwrap();
        }
    }
}

/// Clients that ask without end, until they are told to stop.
struct Load {
    stop: watch::Sender<bool>,
    clients: JoinSet<usize>,
}

impl Load {
    /// Half of them with a connection for each request, which may fail as long as a retry does not; the
    /// others with one for all, which may not.
    fn start(connector: &TlsConnector, address: &str) -> Load {
        let (stop, mut clients) = (watch::Sender::new(false), JoinSet::new());
        for number in 0..8 {
            let (connector, address, stopped) = (connector.clone(), address.to_owned(), stop.subscribe());
            clients.spawn(async move {
                let mut asked = 0;
                let mut kept = connect(&connector, &address).await.unwrap();
                while !*stopped.borrow() {
                    if number % 2 == 0 {
                        exchange(&mut kept).await.unwrap();
                    } else if try_ask(&connector, &address).await.is_err() {
                        try_ask(&connector, &address).await.unwrap();
                    }
                    asked += 1;
                }
                asked
            });
        }
        Load { stop, clients }
    }

    async fn stop(mut self) {
        self.stop.send(true).unwrap();
        while let Some(asked) = self.clients.join_next().await {
            assert!(asked.unwrap() > 10);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_taken_over_under_load_and_broken_ones_are_told_and_change_nothing() {
    let authority = Authority::new();
    for name in ["one", "two"] {
        authority.sign(name);
    }
    authority.install("one");
    let (cert, key) = (authority.path("current.pem"), authority.path("current.key"));
    let database = service_url(&database().await);
    let program =
        Program::serve(&["--tls-cert", &cert, "--tls-key", &key, "--database-url", &database]).await;
    let address = program.base.strip_prefix("https://").unwrap().to_owned();
    let connector = authority.connector();
    assert_eq!(ask(&connector, &address).await, authority.certificate("one.pem"));
    let load = Load::start(&connector, &address);
    let in_force = async |name: &str| {
        let certificate = authority.certificate(&format!("{name}.pem"));
        eventually("the new certificate is in force", async || {
            ask(&connector, &address).await == certificate
        })
        .await;
    };
    authority.install("two");
    in_force("two").await;
    // By looking alone, each but the first would take a whole two seconds, however quick the machine is.
    let mut quickest = Duration::MAX;
    for (round, name) in ["one", "two", "one", "two", "one", "two"].into_iter().enumerate() {
        let begun = Instant::now();
        authority.install(name);
        signal("HUP", program.pid);
        in_force(name).await;
        if round > 0 {
            quickest = quickest.min(begun.elapsed());
        }
    }
    assert!(quickest < Duration::from_secs(1), "{quickest:?}");
    fs::write(&cert, "no certificate\n").unwrap();
    // Two looks at the files.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(ask(&connector, &address).await, authority.certificate("two.pem"));
    }
    let told = || program.log().lines().filter(|line| line.contains("it has no certificate")).count();
    assert_eq!(told(), 1, "{}", program.log());
    // Whoever asks is told.
    signal("HUP", program.pid);
    eventually("it is told again", async || told() == 2).await;
    // A key of another certificate, and a file that is gone.
    let mixed = || program.log().lines().filter(|line| line.contains("cannot be used together")).count();
    let before = mixed();
    fs::copy(authority.path("one.pem"), &cert).unwrap();
    signal("HUP", program.pid);
    eventually("it is told", async || mixed() > before).await;
    fs::remove_file(&cert).unwrap();
    signal("HUP", program.pid);
    eventually("it is told", async || program.log().contains("cannot read --tls-cert")).await;
    assert_eq!(ask(&connector, &address).await, authority.certificate("two.pem"));
    authority.install("one");
    in_force("one").await;
    signal("HUP", program.pid);
    eventually("it is told", async || program.log().contains("the TLS files have not changed")).await;
    load.stop().await;
    program.stop().await;
}

#[tokio::test]
async fn without_tls_there_is_nothing_to_be_read_again_and_a_hangup_ends_the_service() {
    let database = service_url(&database().await);
    let program = Program::serve(&["--database-url", &database]).await;
    signal("HUP", program.pid);
    assert_eq!(program.end().await.code, None);
}

#[tokio::test]
async fn a_key_that_is_another_s_is_refused_at_the_start() {
    let authority = Authority::new();
    for name in ["one", "two"] {
        authority.sign(name);
    }
    let (cert, key) = (authority.path("one.pem"), authority.path("two.key"));
    let database = service_url(&database().await);
    let settings = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let ended = run_ringfence(&[&settings[..], &["--database-url", &database]].concat()).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("the first certificate must be that of the key"), "{}", ended.stderr);
}
