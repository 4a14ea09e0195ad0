//! What stands against serving, all of it at once and each with what to do: for a start, and for
//! `serve --check`, which only asks.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::app::{Books, StartError};
use crate::deliver::send::untrusted;
use crate::http::tls::Tls;
use crate::oidc::{Provider, Tokens};
use crate::otlp::Collector;
use crate::settings::Serve;
use crate::store;

/// Files that the service has open beside its connections: logs, the database's, and some to spare.
const FILES_BESIDE: u64 = 128;

/// What of the settings alone stands against serving, and what they name that could be had.
pub struct Settled {
    /// The address, taken.
    pub listener: Option<TcpListener>,
    /// The certificate.
    pub tls: Option<Tls>,
    /// Who believes tokens.
    pub tokens: Option<Tokens>,
    /// What stands against it.
    pub problems: Vec<StartError>,
}

/// Takes everything that does not need the database.
pub async fn settle(settings: &Serve) -> Settled {
    let mut problems: Vec<StartError> =
        settings.contradictions().into_iter().map(|why| StartError::Settings(why.to_owned())).collect();
    if !settings.auth && !settings.listen.ip().is_loopback() {
        problems.push(StartError::Exposed(settings.listen));
    }
    let tls = settings.tls_files().map(Tls::load).transpose();
    let tls = tls.unwrap_or_else(|error| {
        problems.push(StartError::Certificate(error));
        None
    });
    let tokens = provider(settings, &mut problems);
    let tokens = tokens.map(|provider| Tokens::new(provider, settings.token_limits())).transpose();
    let tokens = tokens.unwrap_or_else(|why| {
        problems.push(StartError::Tls(why));
        None
    });
    if let Some(Collector { endpoint, .. }) = settings.collector()
        && !is_url(&endpoint)
    {
        let why = format!(
            "--otlp-endpoint={endpoint:?} (RINGFENCE_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT) must be a URL such as http://127.0.0.1:4318"
        );
        problems.push(StartError::Settings(why));
    }
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener
        .map_err(|error| {
            problems.push(StartError::Listen { address: settings.listen.to_string(), error });
        })
        .ok();
    Settled { listener, tls, tokens, problems }
}

fn is_url(text: &str) -> bool {
    let url = url::Url::parse(text);
    url.is_ok_and(|url| url.has_host() && ["http", "https"].contains(&url.scheme()))
}

/// The OpenID provider whose tokens are believed, where it can be asked for its keys.
fn provider(settings: &Serve, problems: &mut Vec<StartError>) -> Option<Provider> {
    let provider = settings.provider()?;
    let why = if !is_url(&provider.jwks_url) {
        let url = provider.jwks_url;
        format!("--oidc-jwks-url={url:?} (RINGFENCE_OIDC_JWKS_URL) is no URL: give the provider's jwks_uri")
    } else if provider.is_forgeable() {
        format!(
            "--oidc-jwks-url={} (RINGFENCE_OIDC_JWKS_URL) is plain http to another machine, and who is on the way could sign tokens: give its https:// address; SSL_CERT_FILE names an authority of your own",
            provider.place()
        )
    } else {
        return Some(provider);
    };
    problems.push(StartError::Settings(why));
    None
}

/// Finds everything that stands against serving, and changes nothing; answers what would be served.
///
/// # Errors
/// All of it.
pub async fn check(settings: &Serve) -> Result<String, StartError> {
    let Settled { tls, tokens, mut problems, .. } = settle(settings).await;
    problems.extend(files_short(settings).into_iter().chain(untrusted()).map(StartError::Settings));
    let (database, keys) = tokio::join!(check_database(settings), check_provider(tokens.as_ref()));
    let database = database.map_err(|error| problems.push(error)).unwrap_or_default();
    let keys = keys.map_err(|why| problems.push(StartError::Settings(why))).unwrap_or_default();
    if !problems.is_empty() {
        return Err(StartError::Several(problems));
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let who = match (settings.auth, keys) {
        (false, _) => "to everybody on this machine".to_owned(),
        (true, None) => "to who has a key".to_owned(),
        (true, Some(keys)) => format!("to who has a key, or a token by one of {keys} keys of the provider"),
    };
    let address: SocketAddr = settings.listen;
    Ok(format!("no problem found: would serve {scheme}://{address} {who}, {database}\n"))
}

/// How many keys the OpenID provider has, where there is one.
async fn check_provider(tokens: Option<&Tokens>) -> Result<Option<usize>, String> {
    match tokens {
        Some(tokens) => tokens.try_provider().await.map(Some),
        None => Ok(None),
    }
}

async fn check_database(settings: &Serve) -> Result<String, StartError> {
    if settings.database.url().is_none() {
        // To start it would make its files, or take it from who runs it.
        let data = settings.database.data_dir().display();
        return Ok(format!("on a private PostgreSQL in {data}, which was not started for this"));
    }
    let books = Books::open(&settings.database).await?;
    let mut connection = books.connect().await?;
    if store::is_migrated(&mut connection).await? {
        books.check_role(settings.allow_erasing).await?;
        return Ok("on a database whose schema is up to date".to_owned());
    }
    if !store::grants::may_migrate(&mut connection).await? {
        return Err(StartError::NotMigrated);
    }
    books.warn_of_role(&mut connection).await?;
    Ok("on a database whose schema it would first bring up to date".to_owned())
}

/// Whether the process may open fewer files than there may be connections, where that can be told.
pub fn files_short(settings: &Serve) -> Option<String> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let most: u64 = line.split_whitespace().next()?.parse().ok()?;
    let connections = settings.connections_max;
    let needed = u64::from(connections) + u64::from(settings.readers_max) + FILES_BESIDE;
    (most < needed).then(|| {
        format!(
            "--connections-max is {connections}, but the process may have {most} files open: say `ulimit -n {needed}` before (LimitNOFILE= in a unit), or lower it to {}",
            most.saturating_sub(needed - u64::from(connections)).max(1)
        )
    })
}
