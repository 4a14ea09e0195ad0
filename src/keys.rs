//! The keys of an environment from the command line: straight on the database, for the first one
//! cannot be made over the API.

use std::fmt::Write as _;

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::app::{Books, StartError};
use crate::domain::access::{Role, Scope};
use crate::domain::command::Timestamp;
use crate::domain::name::{InvalidText, Value};
use crate::settings::{KeyAction, NewKey};
use crate::store::Sight;
use crate::store::configuration;
use crate::store::keys::{self, Draft, KEYS_MAX, Key};

/// Keys that are read at once.
const READ_MAX: i64 = 1_000;

/// Does what is to be done with keys, and answers what there is to say.
///
/// # Errors
/// When it cannot be done: why, and what to do.
pub async fn run(action: &KeyAction) -> Result<String, StartError> {
    let (database, environment) = match action {
        KeyAction::Create(key) => (&key.database, &key.environment),
        KeyAction::List(keys) => (&keys.database, &keys.environment),
        KeyAction::Revoke(key) => (&key.database, &key.environment),
    };
    let books = Books::open(database).await?;
    let done = match books.connect_migrated(Sight::Of(environment)).await {
        Ok(mut connection) => on(&mut connection, action).await,
        Err(error) => Err(error),
    };
    books.close().await;
    done
}

async fn on(connection: &mut PgConnection, action: &KeyAction) -> Result<String, StartError> {
    match action {
        KeyAction::Create(key) => create(connection, key).await,
        KeyAction::List(of) => list(connection, &of.environment).await,
        KeyAction::Revoke(key) => match keys::revoke(connection, &key.environment, &key.prefix).await? {
            true => Ok(format!("{} is revoked\n", key.prefix)),
            false => {
                let (environment, prefix) = (&key.environment, &key.prefix);
                Err(StartError::Key(format!(
                    "the environment {environment:?} has no key {prefix:?}; `ringfence key list` lists them"
                )))
            }
        },
    }
}

async fn create(connection: &mut PgConnection, asked: &NewKey) -> Result<String, StartError> {
    let draft = draft(asked).map_err(StartError::Key)?;
    if !draft.scope.groups.is_empty() {
        let current = configuration::read(connection, draft.environment.as_str(), None).await?;
        let current = current.ok_or_else(|| {
            StartError::Key(format!(
                "the environment {:?} has no configuration, so it has no groups yet; a key for it cannot have any either",
                asked.environment
            ))
        })?;
        let path = current.configuration.groups().path("--group", &draft.scope.pairs());
        path.map_err(|refusal| StartError::Key(refusal.to_string()))?;
    }
    let made = keys::create(connection, &draft).await?;
    let (_, text) = made.ok_or_else(|| {
        StartError::Key(format!("the environment has {KEYS_MAX} keys, which is most; revoke some"))
    })?;
    Ok(format!("{text}\n"))
}

fn draft(asked: &NewKey) -> Result<Draft, String> {
    let value = |name: &str, text: &str| {
        Value::parse(text).map_err(|error: InvalidText| format!("{name} {text:?} {error}"))
    };
    let role = Role::parse(&asked.role).ok_or_else(|| {
        format!("--role {:?} must be reader, consumer, planner, stock or admin", asked.role)
    })?;
    let group = |text: &String| {
        let (name, text) =
            text.split_once('=').ok_or_else(|| format!("--group {text:?} must be GROUP=VALUE"))?;
        Ok::<_, String>((name.to_owned(), value("--group", text)?))
    };
    let organizations = asked.organization.iter().map(|text| value("--organization", text));
    let scope = Scope {
        organizations: organizations.collect::<Result<_, _>>()?,
        groups: asked.group.iter().map(group).collect::<Result<_, _>>()?,
    };
    if role == Role::Admin && !scope.is_whole() {
        return Err("a key with the role admin cannot be narrowed to organizations or groups".to_owned());
    }
    Ok(Draft {
        environment: value("--environment", &asked.environment)?,
        name: value("--name", &asked.name)?,
        role,
        scope,
        days: asked.expires_in_days,
        rates: asked.rates(),
    })
}

async fn list(connection: &mut PgConnection, environment: &str) -> Result<String, StartError> {
    let (mut lines, mut after) = (String::new(), String::new());
    loop {
        let page = keys::page(connection, environment, &after, READ_MAX).await?;
        for key in &page {
            // A String takes everything.
            let _ = writeln!(lines, "{}", line(key));
        }
        match page.last().filter(|_| page.len() as i64 == READ_MAX) {
            Some(last) => after.clone_from(&last.prefix),
            None => return Ok(lines),
        }
    }
}

fn line(key: &Key) -> String {
    let mut line = format!("{} {} {:?}", key.prefix, key.role.as_str(), key.name.as_str());
    for organization in &key.scope.organizations {
        let _ = write!(line, " organization={:?}", organization.as_str());
    }
    for (name, value) in &key.scope.groups {
        let _ = write!(line, " {name}={:?}", value.as_str());
    }
    for (rate, unit) in [(key.rates.requests, "requests"), (key.rates.commands, "commands")] {
        if let Some(rate) = rate {
            let _ = write!(line, " {unit}-per-second={}", rate.per_second());
        }
    }
    let until = match key.revoked_at {
        Some(at) => format!("revoked {}", day(at)),
        None => format!("until {}", day(key.expires_at)),
    };
    format!("{line} {until}")
}

fn day(time: Timestamp) -> String {
    let day = OffsetDateTime::from_unix_timestamp(time.0.div_euclid(1_000_000));
    day.map_or_else(|_| String::new(), |day| day.date().to_string())
}
