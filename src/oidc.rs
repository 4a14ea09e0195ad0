//! Tokens of an OpenID provider: who has one need not have a key. A token is believed when one of the
//! provider's own keys signed it, for this service, and it is not over. What it may is in its claim
//! `ringfence`.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use lru::LruCache;
use serde::Deserialize;

use crate::deliver::send::Sender;
use crate::domain::access::{Role, Scope};
use crate::domain::command::Timestamp;
use crate::domain::key::Digest;
use crate::domain::name::Value;

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Tokens that are remembered, so that each is checked once.
const TOKENS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Most environments that a token is for.
const GRANTS_MAX: usize = 100;
/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 10;

/// How much of a provider's set of keys is taken, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest set, in bytes.
    pub set_bytes_max: usize,
    /// Most keys of a set.
    pub set_keys_max: usize,
    /// Longest that the provider may take to answer.
    pub fetch_time_max: Duration,
    /// How long a set is not asked for again, whoever comes with whatever key.
    pub fetch_again: Duration,
    /// For how long a set is believed to be the provider's: a key that it withdrew is good no longer.
    pub set_time: Duration,
    /// For how long, when the provider does not answer.
    pub set_time_max: Duration,
}

/// Whose tokens are believed.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Who must have issued them.
    pub issuer: String,
    /// Whom they must be for.
    pub audience: String,
    /// Where the provider's keys are.
    pub jwks_url: String,
}

impl Provider {
    /// Where its keys are, without a name and a password, if that has them.
    pub fn place(&self) -> String {
        let url = url::Url::parse(&self.jwks_url);
        url.map(|url| format!("{}{}", url.origin().ascii_serialization(), url.path())).unwrap_or_default()
    }

    /// Whether its keys come from another machine in plain text: whoever is on their way could put in keys
    /// of their own, and sign whatever tokens they like.
    pub fn is_forgeable(&self) -> bool {
        let Ok(url) = url::Url::parse(&self.jwks_url) else { return false };
        let is_here = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        url.scheme() == "http" && !is_here
    }
}

/// What a token may in an environment.
#[derive(Debug)]
pub struct Grant {
    /// The environment.
    pub environment: Value,
    /// What it may there.
    pub role: Role,
    /// What that is narrowed to.
    pub scope: Scope,
}

/// A token that is believed.
#[derive(Debug)]
pub struct Token {
    /// Whose it is.
    pub name: Value,
    /// Until when it is.
    pub expires_at: Timestamp,
    /// What it may.
    pub grants: Vec<Grant>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbelievable {
    /// It is wrong, and in what.
    Wrong(&'static str),
    /// The provider does not answer, so nobody knows.
    Unknown,
}

/// One of the provider's keys, with the one algorithm that it is for.
struct ProviderKey {
    algorithm: Algorithm,
    key: DecodingKey,
}

struct Set {
    keys: HashMap<String, ProviderKey>,
    fetched: Instant,
}

/// Believes tokens, or not.
pub struct Tokens {
    provider: Provider,
    limits: Limits,
    sender: Sender,
    set: Mutex<Option<Arc<Set>>>,
    /// When the provider was last asked. Held by who asks: the others wait for that.
    asked: tokio::sync::Mutex<Option<Instant>>,
    believed: Mutex<LruCache<[u8; 32], Arc<Token>>>,
}

#[derive(Deserialize)]
struct Claims {
    // Both are required, which the validation says in its own words.
    sub: Option<String>,
    exp: Option<u64>,
    ringfence: Option<Vec<GrantClaim>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantClaim {
    environment: Value,
    role: Role,
    #[serde(default)]
    organization_ids: Vec<Value>,
    #[serde(default)]
    groups: HashMap<String, Value>,
}

/// What is in a set is read one by one: a key that is not known here is no fault of the others.
#[derive(Deserialize)]
struct SetDocument {
    keys: Vec<serde_json::Value>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is whole whenever the lock is free, also after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tokens {
    /// Believes the tokens of a provider. It is not asked for its keys before there is a token.
    ///
    /// # Errors
    /// When TLS cannot be had.
    pub fn new(provider: Provider, limits: Limits) -> Result<Tokens, String> {
        // The operator says where it is, and it may well be a private place.
        let sender = Sender::new(true)?;
        let believed = Mutex::new(LruCache::new(TOKENS_MAX));
        let (set, asked) = Default::default();
        Ok(Tokens { provider, limits, sender, set, asked, believed })
    }

    /// Asks the provider for its keys, only to see whether they can be had; answers how many can be used.
    ///
    /// # Errors
    /// Says why they cannot, and what to do.
    pub async fn try_provider(&self) -> Result<usize, String> {
        let keys = match self.fetch().await {
            Ok(keys) if keys.is_empty() => {
                Err("no key of the set can be used: RSA, P-256, P-384 and Ed25519 with a kid can".to_owned())
            }
            fetched => fetched,
        };
        keys.map(|keys| keys.len()).map_err(|why| {
            let place = self.provider.place();
            format!("the OpenID provider's keys cannot be read at {place}: {why}; --oidc-jwks-url (RINGFENCE_OIDC_JWKS_URL) must be its jwks_uri, which must answer to this machine")
        })
    }

    /// Looks at a token. Whether it is over is for the caller to say, as it may be at any time.
    ///
    /// # Errors
    /// Says why it is not believed.
    pub async fn check(&self, text: &str) -> Result<Arc<Token>, Unbelievable> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Unbelievable::Wrong("the token is longer than 8 KiB"));
        }
        let set = self.set(None).await?;
        let digest = Digest::of(text).to_bytes();
        if let Some(token) = locked(&self.believed).get(&digest) {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(self.read(text, set).await?);
        locked(&self.believed).put(digest, Arc::clone(&token));
        Ok(token)
    }

    async fn read(&self, text: &str, mut set: Arc<Set>) -> Result<Token, Unbelievable> {
        let header = decode_header(text)
            .map_err(|_| Unbelievable::Wrong("what follows Bearer is neither a key nor a token"))?;
        let name = header
            .kid
            .ok_or(Unbelievable::Wrong("the token does not say by which key it is signed (kid)"))?;
        if !set.keys.contains_key(&name) {
            set = self.set(Some(&name)).await?;
        }
        let key = set
            .keys
            .get(&name)
            .ok_or(Unbelievable::Wrong("the token is signed by no key of the provider"))?;
        // The key says by which algorithm, and not the token.
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.provider.issuer]);
        validation.set_audience(&[&self.provider.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = decode::<Claims>(text, &key.key, &validation).map_err(|error| why(error.kind()))?.claims;
        token(claims).map_err(Unbelievable::Wrong)
    }

    /// The provider's keys, as they are kept; asked for when they are not, are too old, or lack one.
    async fn set(&self, lacking: Option<&str>) -> Result<Arc<Set>, Unbelievable> {
        let kept = || locked(&self.set).clone();
        let fits = |set: &Arc<Set>| {
            set.fetched.elapsed() < self.limits.set_time
                && lacking.is_none_or(|name| set.keys.contains_key(name))
        };
        if let Some(set) = kept().filter(fits) {
            return Ok(set);
        }
        let usable = |set: &Arc<Set>| set.fetched.elapsed() < self.limits.set_time_max;
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            // Somebody asks already. Who lacks nothing need not wait for it.
            Err(_) => match kept().filter(|set| lacking.is_none() && usable(set)) {
                Some(set) => return Ok(set),
                None => self.asked.lock().await,
            },
        };
        // Somebody may have asked while this one waited; and nobody asks too often.
        if kept().is_some_and(|set| fits(&set))
            || asked.is_some_and(|at| at.elapsed() < self.limits.fetch_again)
        {
            return kept().filter(usable).ok_or(Unbelievable::Unknown);
        }
        *asked = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                *locked(&self.set) = Some(Arc::new(Set { keys, fetched: Instant::now() }));
                // What was signed by a key that is there no more is not to be believed any more.
                locked(&self.believed).clear();
            }
            Err(error) => tracing::warn!(error, "the provider's keys cannot be read"),
        }
        kept().filter(usable).ok_or(Unbelievable::Unknown)
    }

    async fn fetch(&self) -> Result<HashMap<String, ProviderKey>, String> {
        let Limits { set_bytes_max, set_keys_max, fetch_time_max, .. } = self.limits;
        let reading = self.sender.get(&self.provider.jwks_url, set_bytes_max);
        let body = tokio::time::timeout(fetch_time_max, reading).await;
        let body = body.map_err(|_| format!("no answer within {fetch_time_max:?}"))??;
        let set: SetDocument =
            serde_json::from_slice(&body).map_err(|error| format!("they are no set: {error}"))?;
        let keys = set
            .keys
            .into_iter()
            .take(set_keys_max)
            .filter_map(|key| provider_key(serde_json::from_value(key).ok()?));
        Ok(keys.collect())
    }
}

/// A key that signatures can be checked by, with its name.
fn provider_key(jwk: Jwk) -> Option<(String, ProviderKey)> {
    if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    // A secret that both sides know would let whoever checks tokens make them.
    let of_shape = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => Algorithm::ES256,
            EllipticCurve::P384 => Algorithm::ES384,
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
        _ => return None,
    };
    let algorithm = match jwk.common.key_algorithm {
        None => of_shape,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::RS384) => Algorithm::RS384,
        Some(KeyAlgorithm::RS512) => Algorithm::RS512,
        Some(KeyAlgorithm::PS256) => Algorithm::PS256,
        Some(KeyAlgorithm::PS384) => Algorithm::PS384,
        Some(KeyAlgorithm::PS512) => Algorithm::PS512,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::ES384) => Algorithm::ES384,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some((jwk.common.key_id?, ProviderKey { algorithm, key }))
}

fn why(error: &ErrorKind) -> Unbelievable {
    Unbelievable::Wrong(match error {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidAlgorithm => "the token is signed by another algorithm than its key is for",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks one of the claims iss, aud, sub and exp",
        _ => "the token or its claim ringfence cannot be read",
    })
}

fn token(claims: Claims) -> Result<Token, &'static str> {
    let name =
        Value::parse(&claims.sub.unwrap_or_default()).map_err(|_| "the token's claim sub is no name")?;
    let given = claims.ringfence.ok_or("the token has no claim ringfence, which says what it may")?;
    if given.len() > GRANTS_MAX {
        return Err("the token's claim ringfence has more than 100 items");
    }
    let grants = given.into_iter().map(|grant| {
        let scope = Scope {
            organizations: grant.organization_ids.into_iter().collect(),
            groups: grant.groups.into_iter().collect(),
        };
        if grant.role == Role::Admin && !scope.is_whole() {
            return Err("the token's claim ringfence narrows an admin, which cannot be");
        }
        Ok(Grant { environment: grant.environment, role: grant.role, scope })
    });
    let expires_at =
        i64::try_from(claims.exp.unwrap_or_default().saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    Ok(Token { name, expires_at: Timestamp(expires_at), grants: grants.collect::<Result<_, _>>()? })
}
