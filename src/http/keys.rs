//! The keys of an environment.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::domain::access::{Role, Scope};
use crate::domain::command::Timestamp;
use crate::domain::key::is_prefix;
use crate::domain::name::Value;
use crate::domain::rate::{PerSecond, Rate};
use crate::domain::refusal::Place;
use crate::store::keys::{self, Draft, KEYS_MAX, Key};
use crate::store::{self, Sight, StoreError};

use super::around::current_request;
use super::body::Sent;
use super::commands::json;
use super::form::Form;
use super::listing::{self, Listed};
use super::onhand_query::PageParameters;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment, schema};

/// The properties of a key that is asked for.
pub(super) const KEY: &[&str] =
    &["name", "role", "organizationIds", "groups", "expiresInDays", "requestsPerSecond", "commandsPerSecond"];
/// For how many days a key is when it is not said.
pub(crate) const DAYS: i32 = 365;
/// For how many days a key can be at most.
pub(crate) const DAYS_MAX: i32 = 3_650;
/// Most organizations that a key is narrowed to.
const ORGANIZATIONS_MAX: usize = 100;

/// A key, but for its text.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
pub(super) struct Shown {
    /// The first part of the key's text, which is no secret.
    #[schema(pattern = "^rf_[a-z]{8}$")]
    prefix: String,
    /// Whose it is. The events that it brings about have it as their `actor`.
    #[schema(value_type = String)]
    name: Value,
    /// What it may.
    #[schema(value_type = schema::KeyRole)]
    role: Role,
    /// The organizations that it is narrowed to; all where there are none.
    #[schema(value_type = Vec<String>)]
    organization_ids: Vec<Value>,
    /// The group path that it is narrowed to, with what is below it; everything where there is none.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    groups: Place,
    /// Requests a second that are let in for it, where that is not what the service has for all keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_second: Option<u32>,
    /// Commands a second that are let in for it, where that is not what the service has for all keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    commands_per_second: Option<u32>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ceases to be good.
    #[schema(format = DateTime)]
    expires_at: String,
    /// When it was revoked, if it was.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    /// Its text, in the answer that makes it and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

fn shown_time(time: Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000);
    // What PostgreSQL has can be written.
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

impl From<Key> for Shown {
    fn from(key: Key) -> Shown {
        Shown {
            prefix: key.prefix,
            name: key.name,
            role: key.role,
            groups: key.scope.place(),
            organization_ids: key.scope.organizations.into_iter().collect(),
            requests_per_second: key.rates.requests.map(Rate::per_second),
            commands_per_second: key.rates.commands.map(Rate::per_second),
            created_at: shown_time(key.created_at),
            expires_at: shown_time(key.expires_at),
            revoked_at: key.revoked_at.map(shown_time),
            key: None,
        }
    }
}

impl Listed for Shown {
    fn key(&self) -> [&str; 2] {
        [&self.prefix, ""]
    }

    async fn page(
        connection: &mut PgConnection,
        environment: &str,
        [prefix, _]: [&str; 2],
        most: i64,
    ) -> Result<Vec<Shown>, StoreError> {
        Ok(keys::page(connection, environment, prefix, most).await?.into_iter().map(Shown::from).collect())
    }
}

/// Lists the environment's keys, those that are revoked or have expired too. The texts are not to be had.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/keys", tag = "access", operation_id = "listKeys",
    params(Environment, PageParameters),
    responses(
        (status = 200, body = [Shown], headers(("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    environment: Environment,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    listing::answer::<Shown>(&app, environment, query.as_deref()).await
}

/// Makes a key. Its text is in the answer as `key`, and never shown again: the service keeps only its
/// digest. Whoever has it sends it as `Authorization: Bearer`.
///
/// Each role may read: `reader` nothing else; `consumer` also consumes, reserves and unreserves;
/// `planner` allocates, unallocates, reallocates, and keeps watches; `stock` reports stock and
/// schedules; `admin` may do all of this, and change the configuration, keys and webhooks, and erase.
///
/// A key can be narrowed to `organizationIds`, to a group path in `groups`, or to both. Then its
/// commands must be of one of these organizations, and all their group paths must begin with that one;
/// what is of no group path, such as a reservation, it may not. Its queries must filter on what it is
/// narrowed to, and say so when they do not; what shows more than that, as on-hand stock does to a key
/// with a group path, it may not see. An admin's key cannot be narrowed.
///
/// `requestsPerSecond` and `commandsPerSecond` replace for this key what the service has for all keys;
/// each instance counts for itself, and more is answered 429.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/keys", tag = "access", operation_id = "createKey",
    params(Environment), request_body = schema::KeyRequest,
    responses(
        (status = 200, body = Shown),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let draft = read(&body, &environment.id)?;
    let versioned = app.environments.current(&environment.id).await?;
    if !draft.scope.groups.is_empty() {
        versioned.configuration.groups().path("/groups", &draft.scope.pairs())?;
    }
    let making = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        keys::create(connection, &draft).await
    });
    let Some((key, text)) = making.await? else {
        let detail = format!("is one too many: an environment has {KEYS_MAX} at most; revoke some");
        return Err(Problem::invalid("", detail));
    };
    tracing::info!(request = current_request(), environment = %environment.id, prefix = key.prefix, name = %key.name, role = key.role.as_str(), "key made");
    Ok(json(StatusCode::OK, &Shown { key: Some(text), ..Shown::from(key) }))
}

pub(super) fn read(body: &[u8], environment: &Value) -> Result<Draft, Problem> {
    let mut form = Form::read(body, KEY)?;
    let name = form.value("name");
    let role = form.text("role");
    let role = Role::parse(&role).unwrap_or_else(|| {
        if !role.is_empty() {
            form.reject("role", "must be reader, consumer, planner, stock or admin");
        }
        Role::Reader
    });
    let mut scope = Scope::default();
    let organizations: Vec<String> =
        form.optional("organizationIds", "an array of strings").unwrap_or_default();
    if organizations.len() > ORGANIZATIONS_MAX {
        form.reject("organizationIds", format!("has more than {ORGANIZATIONS_MAX} items"));
    }
    for text in organizations.iter().take(ORGANIZATIONS_MAX) {
        match Value::parse(text) {
            Ok(organization) => _ = scope.organizations.insert(organization),
            Err(error) => form.reject("organizationIds", error),
        }
    }
    for (group, text) in form.optional_pairs("groups").unwrap_or_default() {
        match Value::parse(&text) {
            Ok(value) => scope.groups.push((group.into_owned(), value)),
            Err(error) => form.reject("groups", error),
        }
    }
    if role == Role::Admin && !scope.is_whole() {
        form.reject("role", "cannot be admin where the key is narrowed to organizations or groups");
    }
    let days = form.optional("expiresInDays", "a whole number").unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        form.reject("expiresInDays", format!("must be from 1 to {DAYS_MAX}"));
    }
    let mut rate = |name| {
        let given: i64 = form.optional(name, "a whole number")?;
        let rate = u32::try_from(given).ok().filter(|rate| *rate <= Rate::MAX).and_then(Rate::new);
        if rate.is_none() {
            form.reject(name, format!("must be from 1 to {}", Rate::MAX));
        }
        rate
    };
    let rates = PerSecond { requests: rate("requestsPerSecond"), commands: rate("commandsPerSecond") };
    form.finish()?;
    Ok(Draft { environment: environment.clone(), name, role, scope, days, rates })
}

/// The key that a path names.
pub(super) struct Named {
    environment: Environment,
    prefix: String,
}

impl FromRequestParts<App> for Named {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Named, Problem> {
        let environment = Environment::from_request_parts(parts, app).await?;
        let words = Path::<(String, String)>::from_request_parts(parts, app).await;
        let Path((_, prefix)) = words.map_err(|_| Problem::NotFound)?;
        Ok(Named { environment, prefix })
    }
}

/// Revokes a key: no instance lets it in any more, and no command of it that is still under way is
/// committed. The environment's configuration gets a new version by it. To revoke one again changes
/// nothing.
#[utoipa::path(
    delete, path = "/api/environment/{environmentId}/keys/{prefix}", tag = "access", operation_id = "revokeKey",
    params(Environment, ("prefix" = String, Path, pattern = "^rf_[a-z]{8}$", description = "The first part of the key's text: `rf_` and 8 letters.")),
    responses(
        (status = 204, description = "It is revoked."),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn revoke(
    State(app): State<App>,
    Named { environment, prefix }: Named,
) -> Result<StatusCode, Problem> {
    if !is_prefix(&prefix) {
        return Err(Problem::invalid("/prefix", "must be the first part of a key: rf_ and 8 letters"));
    }
    let (shared, id) = (app.clone(), environment.id.clone());
    let asked = prefix.clone();
    // A handler may be dropped at any time, but not a transaction in its middle.
    let task = tokio::spawn(async move {
        let mut connection = store::Reader::of(&shared.readers, Sight::Of(id.as_str())).await?;
        keys::revoke(&mut connection, id.as_str(), &asked).await
    });
    if !task.await.map_err(|_| Problem::Internal)?? {
        return Err(Problem::NotFound);
    }
    tracing::info!(request = current_request(), environment = %environment.id, prefix, "key revoked");
    app.environments.current(&environment.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
