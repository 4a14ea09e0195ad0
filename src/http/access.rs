//! Who is asking, and whether they may: before anything else is looked at, but for the address.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::domain::access::{Outside, Right, Role, Scope};
use crate::domain::command::{Note, Timestamp};
use crate::domain::dimensions::Pairs;
use crate::domain::name::Value;
use crate::domain::rate::PerSecond;
use crate::oidc::{Grant, Token, Tokens, Unbelievable};
use crate::store::Readers;

use super::around::current_route;
use super::commands::{Asked, Line, Unreadable};
use super::keyring::{Keyring, Known};
use super::problem::Problem;
use super::rates::Rates;
use super::rules::{self, Narrowed, Rule};
use super::{Admitted, Environment, Shared};

/// Lets requests in, where authentication is on.
pub(super) struct Access {
    keyring: Keyring,
    tokens: Option<Tokens>,
}

/// Who is asking, as far as an environment goes.
#[derive(Clone)]
pub(super) enum Caller {
    /// By a key.
    Key(Arc<Known>),
    /// By a token, and which of its grants.
    Token(Arc<Token>, usize),
}

impl Caller {
    pub(super) fn role(&self) -> Role {
        match self {
            Caller::Key(known) => known.found.key.role,
            Caller::Token(token, grant) => token.grants[*grant].role,
        }
    }

    pub(super) fn name(&self) -> &Value {
        match self {
            Caller::Key(known) => &known.found.key.name,
            Caller::Token(token, _) => &token.name,
        }
    }

    /// What is noted about its commands, where nothing else is.
    fn note(&self) -> Arc<Note> {
        match self {
            Caller::Key(known) => Arc::clone(&known.found.note),
            Caller::Token(token, _) => Arc::new(Note { actor: Some(token.name.clone()), ..Note::default() }),
        }
    }

    pub(super) fn scope(&self) -> &Scope {
        match self {
            Caller::Key(known) => &known.found.key.scope,
            Caller::Token(token, grant) => &token.grants[*grant].scope,
        }
    }

    /// The rates of its own, where it has any.
    pub(super) fn rates(&self) -> PerSecond {
        match self {
            Caller::Key(known) => known.found.key.rates,
            Caller::Token(..) => PerSecond::default(),
        }
    }

    fn check_time(&self) -> Result<(), Problem> {
        match self {
            Caller::Key(known) => check_time(known.found.key.expires_at),
            Caller::Token(token, _) => check_time(token.expires_at),
        }
    }
}

fn check_time(expires_at: Timestamp) -> Result<(), Problem> {
    if now() < expires_at { Ok(()) } else { Err(Problem::Unauthenticated(EXPIRED)) }
}

/// How long somebody whose key was revoked may still hear what they listen to.
const LISTENERS_ASKED_EVERY: Duration = Duration::from_secs(1);

const MISSING: &str =
    "the request has no key; send the header Authorization: Bearer and a key of the environment";
const UNKNOWN: &str = "the key is none, or was revoked; an admin of the environment makes new ones";
const EXPIRED: &str = "the key has expired; an admin of the environment makes new ones";
const FOREIGN: &str = "the key is not for this environment";

/// What a key or a token follows in its header; how large its letters are is no matter.
const BEARER: &[u8] = b"Bearer ";

impl Access {
    pub(super) fn new(readers: Readers) -> Access {
        Access { keyring: Keyring::new(readers), tokens: None }
    }

    pub(super) fn with_tokens(self, tokens: Tokens) -> Access {
        Access { tokens: Some(tokens), ..self }
    }

    /// Lets a request to an environment in. What an environment is, or whether it is one, is not
    /// looked at: a key of another learns nothing of it.
    /// Whoever is somebody is counted before anything more is done for them.
    pub(super) async fn admit(
        &self,
        parts: &Parts,
        environment: &str,
        rates: Option<&Rates>,
    ) -> Result<Caller, Problem> {
        let text = bearer(&parts.headers).ok_or(Problem::Unauthenticated(MISSING))?;
        let rule = rules::find(current_route(), &parts.method);
        let rule = rule.ok_or_else(|| Problem::Forbidden("nobody may do this".to_owned()))?;
        let caller = match &self.tokens {
            // A key has no points.
            Some(tokens) if text.contains('.') => {
                Box::pin(of_token(tokens, text, environment, rule.right)).await?
            }
            _ => {
                let known = self.keyring.find(text).await?.ok_or(Problem::Unauthenticated(UNKNOWN))?;
                check_time(known.found.key.expires_at)?;
                (known.found.key.environment.as_str() == environment).then_some(Caller::Key(known))
            }
        };
        let mut caller = caller.ok_or_else(|| Problem::Forbidden(FOREIGN.to_owned()))?;
        if let Some(rates) = rates {
            rates.admit(environment, Some(&caller), Some(rule), parts.uri.path())?;
        }
        if rule.narrowed != Narrowed::Command {
            // Nothing else would notice that the key was revoked.
            caller = Box::pin(self.again(&caller)).await?;
        }
        if !caller.role().may(rule.right) {
            return Err(Problem::Forbidden(format!(
                "the key {} has the role {}; {} takes the role {}",
                caller.name(),
                caller.role().as_str(),
                rule.operation,
                rule.right.role().as_str(),
            )));
        }
        check_address(caller.scope(), rule, parts.uri.query())?;
        Ok(caller)
    }

    /// Reads a key again.
    pub(super) async fn again(&self, caller: &Caller) -> Result<Caller, Problem> {
        let caller = match caller {
            Caller::Key(known) => {
                let known = self.keyring.read(&known.found.key.prefix).await?;
                Caller::Key(known.ok_or(Problem::Unauthenticated(UNKNOWN))?)
            }
            // It says itself until when it is good.
            Caller::Token(..) => caller.clone(),
        };
        caller.check_time()?;
        Ok(caller)
    }
}

/// Who has a token, as far as an environment goes: by a grant that may, if any of it does.
async fn of_token(
    tokens: &Tokens,
    text: &str,
    environment: &str,
    right: Right,
) -> Result<Option<Caller>, Problem> {
    let token = tokens.check(text).await.map_err(|why| match why {
        Unbelievable::Wrong(why) => Problem::Unauthenticated(why),
        Unbelievable::Unknown => Problem::Overloaded,
    })?;
    check_time(token.expires_at)?;
    let of_environment = |grant: &Grant| grant.environment.as_str() == environment;
    let that_may = token.grants.iter().position(|grant| of_environment(grant) && grant.role.may(right));
    let grant = that_may.or_else(|| token.grants.iter().position(of_environment));
    Ok(grant.map(|grant| Caller::Token(token, grant)))
}

/// What follows `Bearer` in the header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(BEARER.len())?;
    if !scheme.eq_ignore_ascii_case(BEARER) {
        return None;
    }
    str::from_utf8(text.trim_ascii()).ok()
}

/// Holds a request's address against what a key is narrowed to.
fn check_address(scope: &Scope, rule: &Rule, query: Option<&str>) -> Result<(), Problem> {
    if scope.is_whole() {
        return Ok(());
    }
    match rule.narrowed {
        Narrowed::Free | Narrowed::Body | Narrowed::Command => return Ok(()),
        Narrowed::Refused => {
            let why =
                format!("{} is for keys that are not narrowed to organizations or groups", rule.operation);
            return Err(Problem::Forbidden(why));
        }
        Narrowed::Organization => scope.check_ungrouped()?,
        Narrowed::Address => {}
    }
    let (mut organizations, mut groups) = (Vec::new(), Pairs::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name.eq_ignore_ascii_case("organizationId") {
            organizations.push(value);
        } else if let Some((word, group)) = name.split_once('.')
            && word.eq_ignore_ascii_case("group")
        {
            groups.push((Cow::Owned(group.to_owned()), value));
        }
    }
    if organizations.is_empty() {
        organizations.push(Cow::Borrowed(""));
    }
    for organization in &organizations {
        scope.check_organization(organization)?;
    }
    Ok(scope.check_groups(&groups)?)
}

impl From<Outside> for Problem {
    fn from(outside: Outside) -> Problem {
        Problem::Forbidden(outside.to_string())
    }
}

impl Shared {
    /// Lets a request to the environment that its path names in.
    pub(super) async fn admit(&self, parts: &mut Parts) -> Result<Admitted, Problem> {
        let words = RawPathParams::from_request_parts(parts, self).await.map_err(|_| Problem::NotFound)?;
        let id = words.iter().next().map(|(_, id)| id.to_owned()).ok_or(Problem::NotFound)?;
        let rates = self.rates.as_ref();
        let caller = match (&self.access, rates) {
            (Some(access), _) => Some(access.admit(parts, &id, rates).await?),
            (None, Some(rates)) => {
                let rule = rules::find(current_route(), &parts.method);
                rates.admit(&id, None, rule, parts.uri.path())?;
                None
            }
            (None, None) => None,
        };
        Ok(Admitted { id, caller })
    }

    /// Counts the lines of a bulk, where that is limited.
    pub(super) fn count_lines(&self, environment: &Environment, lines: usize) -> Result<(), Problem> {
        let Some(rates) = &self.rates else { return Ok(()) };
        rates.take_lines(environment.id.as_str(), environment.caller.as_ref(), lines)
    }

    /// Ends when a caller may not be answered any more; never where everybody may.
    pub(super) async fn until_revoked(&self, caller: Option<Caller>) {
        let (Some(access), Some(caller)) = (&self.access, caller) else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LISTENERS_ASKED_EVERY).await;
            // A database that does not answer says nothing of the key.
            if let Err(Problem::Unauthenticated(_)) = access.again(&caller).await {
                return;
            }
        }
    }

    /// Whether the caller may still go on under a version of the configuration: a newer one than the
    /// key was read under may be there because it was revoked. What commits nothing is guarded by no
    /// version, so the key is read for it in any case.
    pub(super) async fn check_caller(
        &self,
        environment: &Environment,
        version: i64,
        dry_run: bool,
    ) -> Result<(), Problem> {
        let (Some(access), Some(caller)) = (&self.access, &environment.caller) else { return Ok(()) };
        let is_older = matches!(caller, Caller::Key(known) if known.found.version < version);
        if dry_run || is_older {
            Box::pin(access.again(caller)).await?;
        }
        Ok(())
    }
}

impl Environment {
    /// What the caller is narrowed to.
    pub(super) fn scope(&self) -> Option<&Scope> {
        self.caller.as_ref().map(Caller::scope).filter(|scope| !scope.is_whole())
    }

    /// Whether the caller may see an organization's stock, whosever it is.
    pub(super) fn check_stock(&self, organization: &Value) -> Result<(), Problem> {
        let Some(scope) = self.scope() else { return Ok(()) };
        scope.check_organization(organization.as_str())?;
        Ok(scope.check_ungrouped()?)
    }

    /// Whether the caller may see what an organization set aside for groups.
    pub(super) fn check_groups(&self, organization: &Value, groups: &Pairs<'_>) -> Result<(), Problem> {
        let Some(scope) = self.scope() else { return Ok(()) };
        scope.check_organization(organization.as_str())?;
        Ok(scope.check_groups(groups)?)
    }

    /// Whether the caller may have a command done; it is noted as who asked for it.
    pub(super) fn check_command(&self, asked: &mut Asked<'_>) -> Result<(), Problem> {
        let Some(caller) = &self.caller else { return Ok(()) };
        if !caller.scope().is_whole() {
            caller.scope().check(&asked.target, &asked.request)?;
        }
        // Whoever has a key could say to be anybody.
        match &mut asked.target.note {
            Some(note) => Arc::make_mut(note).actor = Some(caller.name().clone()),
            none => *none = Some(caller.note()),
        }
        Ok(())
    }

    /// The same for the lines of a bulk, each on its own.
    pub(super) fn check_lines(&self, lines: &mut [Line<'_>]) {
        for line in lines {
            if let Ok(asked) = line
                && let Err(problem) = self.check_command(asked)
            {
                let dry_run = asked.dry_run.unwrap_or_default();
                *line = Err(Unreadable { problem, id: Some(asked.target.id.clone()), dry_run });
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "whether a key has expired is no matter of the ledger")]
fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
}
