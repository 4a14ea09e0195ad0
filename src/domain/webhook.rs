//! Webhooks: where alerts are sent to, and how they are signed, after the conventions of
//! Standard Webhooks: the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, the
//! last of them HMAC-SHA256 over the other two and the body, under a secret `whsec_…`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::{Host, Url};

mod address;

pub use address::why_private;

/// Longest address of a webhook.
const URL_BYTES_MAX: usize = 2_048;
const SECRET_PREFIX: &str = "whsec_";
/// Fewest and most bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Where a webhook's alerts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Reads an address. Without `allow_private` it must be of HTTPS, and no private one; what a
    /// name resolves to is looked at when it is connected to.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str, allow_private: bool) -> Result<Endpoint, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("must have {URL_BYTES_MAX} bytes at most"));
        }
        let url = Url::parse(text).map_err(|error| format!("is not an address: {error}"))?;
        let remedy = "start the service with --allow-private-webhooks where that is meant";
        match url.scheme() {
            "https" => {}
            "http" if allow_private => {}
            "http" => return Err(format!("must begin with https://; {remedy}")),
            _ => return Err("must begin with https://".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must have no user and password in it: what is sent is signed".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must have no fragment: it would not be sent".to_owned());
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) => None,
            None => return Err("must name a host".to_owned()),
        };
        match literal.and_then(|address| why_private(address).map(|why| (address, why))) {
            Some((address, why)) if !allow_private => {
                Err(format!("has the address {address}, {why}; {remedy}"))
            }
            _ => Ok(Endpoint(url)),
        }
    }

    /// The address.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// What a webhook's messages are signed with. It is never shown, but where it was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret of random bytes.
    pub fn of_random(bytes: [u8; 32]) -> Secret {
        Secret(bytes.to_vec())
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn parse(text: &str) -> Result<Secret, String> {
        let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok());
        match bytes {
            Some(bytes) if SECRET_BYTES.contains(&bytes.len()) => Ok(Secret(bytes)),
            _ => Err(format!(
                "must be {SECRET_PREFIX} and the Base64 of {} to {} random bytes",
                SECRET_BYTES.start(),
                SECRET_BYTES.end()
            )),
        }
    }

    /// The secret as its text: for the one who is to check signatures, and for the database.
    pub fn reveal(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// The header `webhook-signature`: a signature for each secret that holds.
pub fn signatures(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
