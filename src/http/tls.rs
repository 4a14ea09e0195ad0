//! TLS: a chain of certificates with its key, read again when the files have changed, at once on SIGHUP.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where the chain and its key are.
#[derive(Clone, Debug)]
pub struct Files {
    /// The chain, in PEM, the service's own certificate first.
    pub certificates: PathBuf,
    /// The key of that one, in PEM.
    pub key: PathBuf,
}

/// Why there is no TLS to be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {flag} {path}: {error}; it must be a PEM file that the service may read", path = .path.display())]
    File {
        /// Which setting names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not what it must be.
    #[error("{flag} {path} is not readable as PEM: {why}", path = .path.display())]
    Pem {
        /// Which setting names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// They are not a pair, or not one that can be used.
    #[error(
        "--tls-cert {certificates} and --tls-key {key} cannot be used together: {why}; the first certificate must be that of the key",
        certificates = .files.certificates.display(), key = .files.key.display()
    )]
    Pair {
        /// The files.
        files: Files,
        /// Why.
        why: String,
    },
}

/// The pair that is in force, for who accepts connections.
pub struct Tls {
    files: Files,
    read: (Vec<u8>, Vec<u8>),
    current: watch::Sender<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they are not there, or not a pair.
    pub fn load(files: Files) -> Result<Tls, TlsError> {
        let read = read(&files)?;
        let config = config(&files, &read)?;
        Ok(Tls { files, read, current: watch::Sender::new(Arc::new(config)) })
    }

    /// What is in force, whenever it is asked.
    pub fn acceptors(&self) -> Acceptors {
        Acceptors(self.current.subscribe())
    }

    /// Looks at the files every now and then, and at once when it is asked to, and takes them over when
    /// they have changed. What cannot be used is told once, and to whoever asks; the pair in force stays.
    pub async fn follow(mut self, poll: Duration, mut hangup: Signal) {
        let mut told = String::new();
        loop {
            let is_asked = tokio::select! {
                () = tokio::time::sleep(poll) => false,
                Some(()) = hangup.recv() => true,
            };
            match self.look().await {
                Ok(is_new) => {
                    told.clear();
                    match (is_new, is_asked) {
                        (true, _) => tracing::info!("the TLS certificate was read again"),
                        (false, true) => tracing::info!("the TLS files have not changed"),
                        (false, false) => {}
                    }
                }
                Err(error) if is_asked || error.to_string() != told => {
                    told = error.to_string();
                    tracing::error!(%error, "the TLS files have changed, and the old certificate stays");
                }
                Err(_) => {}
            }
        }
    }

    /// Takes the files over, if they have changed; answers whether they have.
    async fn look(&mut self) -> Result<bool, TlsError> {
        let files = self.files.clone();
        let reading = tokio::task::spawn_blocking(move || read(&files)).await;
        // It does not panic, and is ended only with the service.
        let Ok(read) = reading else { return Ok(false) };
        let read = read?;
        if read == self.read {
            return Ok(false);
        }
        let config = config(&self.files, &read)?;
        self.read = read;
        let _ = self.current.send(Arc::new(config));
        Ok(true)
    }
}

/// Makes TLS of connections, by the pair that is in force.
#[derive(Clone)]
pub struct Acceptors(watch::Receiver<Arc<ServerConfig>>);

impl Acceptors {
    pub(super) fn current(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.borrow()))
    }
}

fn read(files: &Files) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |flag, path: &PathBuf| {
        std::fs::read(path).map_err(|error| TlsError::File { flag, path: path.clone(), error })
    };
    Ok((read("--tls-cert", &files.certificates)?, read("--tls-key", &files.key)?))
}

fn config(files: &Files, (certificates, key): &(Vec<u8>, Vec<u8>)) -> Result<ServerConfig, TlsError> {
    let pem = |flag, path: &PathBuf, why: String| TlsError::Pem { flag, path: path.clone(), why };
    let of_chain = |why| pem("--tls-cert", &files.certificates, why);
    let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| of_chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(of_chain("it has no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| pem("--tls-key", &files.key, error.to_string()))?;
    let pair = |why: String| TlsError::Pair { files: files.clone(), why };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| pair(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| pair(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
