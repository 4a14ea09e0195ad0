//! TLS: served by a chain that another program made, and read again while it serves.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::process::{Program, run_ringfence, signal};
use super::support::{Service, database, eventually, url};

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

/// Asks on a connection of its own whether the service is up; answers its certificate.
async fn ask(connector: &TlsConnector, address: &str) -> CertificateDer<'static> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    certificate
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
    let settings = ["--tls-cert", &cert, "--tls-key", &key, "--head-time-max-ms", "500"];
    let service = Service::start_on(database().await, &settings).await;
    let address = service.base.strip_prefix("https://").unwrap().to_owned();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let body = curl(&authority, version, &format!("{}/healthz", service.base));
        assert_eq!(body, r#"{"status":"ok"}"#, "{version:?}");
    }
    // Who does not speak TLS is not answered.
    assert_eq!(curl(&authority, &[], &format!("http://{address}/healthz")), "");
    // The service closes, not we.
    let mut nothing = Vec::new();
    let _ = silent.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    let _half_open = TcpStream::connect(&address).await.unwrap();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_over_under_load_and_a_broken_one_is_told_once() {
    let authority = Authority::new();
    for name in ["one", "two"] {
        authority.sign(name);
    }
    let install = |name: &str| {
        for kind in ["key", "pem"] {
            let (new, current) = (authority.path("new"), authority.path(&format!("current.{kind}")));
            fs::copy(authority.path(&format!("{name}.{kind}")), &new).unwrap();
            fs::rename(new, current).unwrap();
        }
    };
    install("one");
    let (cert, key) = (authority.path("current.pem"), authority.path("current.key"));
    let database = url(&database().await);
    let program =
        Program::serve(&["--tls-cert", &cert, "--tls-key", &key, "--database-url", &database]).await;
    let address = program.base.strip_prefix("https://").unwrap().to_owned();
    let connector = authority.connector();
    assert_eq!(ask(&connector, &address).await, authority.certificate("one.pem"));
    install("two");
    eventually("the new certificate is in force", async || {
        ask(&connector, &address).await == authority.certificate("two.pem")
    })
    .await;
    fs::write(&cert, "no certificate\n").unwrap();
    // Two looks at the files.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(ask(&connector, &address).await, authority.certificate("two.pem"));
    }
    signal("TERM", program.pid);
    let ended = program.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = ended.stderr.lines().filter(|line| line.contains("it has no certificate"));
    assert_eq!(told.count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn a_key_that_is_another_s_is_refused_at_the_start() {
    let authority = Authority::new();
    for name in ["one", "two"] {
        authority.sign(name);
    }
    let (cert, key) = (authority.path("one.pem"), authority.path("two.key"));
    let database = url(&database().await);
    let settings = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let ended = run_ringfence(&[&settings[..], &["--database-url", &database]].concat()).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("the first certificate must be that of the key"), "{}", ended.stderr);
}
