//! Webhooks: where alerts are sent to.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::watch::Label;
use crate::domain::webhook::{Endpoint, Secret};
use crate::store::webhooks::{self, Kept, Put};
use crate::store::{self, Sight};

use super::around::current_request;
use super::body::Sent;
use super::commands::json;
use super::form::Form;
use super::problem::{Problem, ProblemBody};
use super::watches::{Named, check_name};
use super::{App, Environment};

/// Most webhooks of an environment.
const WEBHOOKS_MAX: i64 = 50;
/// Most watches that a webhook names.
const WATCHES_MAX: usize = 200;
pub(super) const WEBHOOK: &[&str] = &["name", "url", "watches", "enabled", "secret"];

/// A webhook, as a client writes it.
#[derive(ToSchema)]
#[schema(as = Webhook)]
#[allow(dead_code, reason = "the shape of what `read` reads")]
pub(super) struct WebhookDocument {
    /// The name that the path gives, so that what was answered can be sent again.
    name: Option<String>,
    /// Where messages are sent to: `https://…`. Addresses that are nobody's on the Internet are refused,
    /// here or when they are connected to, unless the service was started with
    /// `--allow-private-webhooks`, which allows `http://` too.
    #[schema(max_length = 2048)]
    url: String,
    /// Of which watches alerts are sent; without it, of all.
    #[schema(max_items = 200)]
    watches: Option<Vec<String>>,
    /// Whether messages are sent; true without it. What comes meanwhile waits, for as long as closed alerts
    /// are kept; then it is given up, and listed as dead.
    enabled: Option<bool>,
    /// What messages are signed with: `whsec_` and the Base64 of 24 to 64 random bytes. Without it a new
    /// webhook gets one, and one that is there keeps its own. Beside another, the old one signs too for
    /// 24 hours.
    secret: Option<String>,
}

/// A webhook as it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NamedWebhook)]
pub(super) struct Shown {
    /// Its name, in lower case.
    name: String,
    /// Where messages are sent to.
    url: String,
    /// Of which watches; without it, of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    watches: Option<Vec<String>>,
    /// Whether messages are sent.
    enabled: bool,
    /// Why the service disabled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_because: Option<String>,
    /// The secret that was made for it: shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Shown {
    fn of(kept: Kept) -> Shown {
        let Kept { name, url, watches, enabled, disabled_because } = kept;
        Shown { name, url, watches, enabled, disabled_because, secret: None }
    }
}

/// Lists the environment's webhooks, by name. There are 50 at most. Secrets are not shown.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/webhooks", tag = "watching", operation_id = "listWebhooks",
    params(Environment),
    responses(
        (status = 200, body = [Shown]),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    environment: Environment,
) -> Result<Response<Body>, Problem> {
    let reading = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        webhooks::list(connection, environment.id.as_str(), WEBHOOKS_MAX).await
    });
    Ok(json(StatusCode::OK, &reading.await?.into_iter().map(Shown::of).collect::<Vec<_>>()))
}

/// Answers a webhook. Its secret is not shown.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/webhooks/{name}", tag = "watching", operation_id = "getWebhook",
    params(Named),
    responses(
        (status = 200, body = Shown),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(State(app): State<App>, named: Named) -> Result<Response<Body>, Problem> {
    Ok(json(StatusCode::OK, &Shown::of(known(&app, &named).await?)))
}

/// The webhook that a path names.
pub(super) async fn known(app: &App, named: &Named) -> Result<Kept, Problem> {
    let reading = store::read(&app.readers, Sight::Of(named.environment.id.as_str()), async |connection| {
        webhooks::get(connection, named.environment.id.as_str(), named.name.as_str()).await
    });
    reading.await?.ok_or_else(|| Problem::UnknownWebhook(named.name.as_str().to_owned()))
}

/// Makes a webhook, or replaces it. It gets every opening and closing of an alert from then on, as a
/// POST after the conventions of Standard Webhooks: the header `webhook-id` is the same however often a
/// message is sent, `webhook-timestamp` is when it is sent, and `webhook-signature` has `v1,` and the
/// Base64 of the HMAC-SHA256 of `id.timestamp.body`. The body is an `AlertMessage`.
///
/// Delivered is what is answered 2xx. Anything else, a redirect too, is tried again, after 5 seconds,
/// then after four times as long each time, up to an hour, 12 times in all; then the delivery is dead,
/// and shown as such. Each wait is up to a quarter shorter by chance, and longer where an answer of 429 or
/// 503 asks for that with `Retry-After`, up to a day. Messages come at least once, those of one product in their order: one that
/// fails holds up those of its product until it is delivered or dead, and no others. `410 Gone` disables
/// the webhook. What could not be sent for as long as closed alerts are kept is dead too. The secret is kept in the database as it is, because it must be used as it is; it is
/// shown in the answer that makes the webhook, if it was made for it, and never again.
#[utoipa::path(
    put, path = "/api/environment/{environmentId}/webhooks/{name}", tag = "watching", operation_id = "putWebhook",
    params(Named),
    request_body = WebhookDocument,
    responses(
        (status = 200, body = Shown),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn put(
    State(app): State<App>,
    Sent { environment: named, body, .. }: Sent<Named>,
) -> Result<Response<Body>, Problem> {
    let Named { environment, name, .. } = named;
    let (kept, given) = read(&body, &name, app.limits.allow_private_webhooks)?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(request = current_request(), %error, "the system has no random numbers");
        Problem::Internal
    })?;
    let made = Secret::of_random(random);
    let writing = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        let secrets = (given.as_ref(), &made);
        webhooks::put(connection, environment.id.as_str(), &kept, secrets, WEBHOOKS_MAX).await
    });
    let mut shown = match writing.await? {
        Put::NoRoom => {
            let detail = format!("is of one webhook too many: an environment has {WEBHOOKS_MAX} at most");
            return Err(Problem::invalid("", detail));
        }
        Put::Made if given.is_none() => Shown { secret: Some(made.reveal()), ..Shown::of(kept) },
        Put::Made | Put::Replaced => Shown::of(kept),
    };
    shown.disabled_because = None;
    tracing::info!(request = current_request(), environment = %environment.id, webhook = shown.name, "webhook stored");
    Ok(json(StatusCode::OK, &shown))
}

/// Deletes a webhook, with its deliveries: what it did not get yet, it will not get.
#[utoipa::path(
    delete, path = "/api/environment/{environmentId}/webhooks/{name}", tag = "watching", operation_id = "deleteWebhook",
    params(Named),
    responses(
        (status = 204, description = "There is none any more."),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(State(app): State<App>, named: Named) -> Result<StatusCode, Problem> {
    let Named { environment, name, .. } = named;
    let deleting = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        webhooks::delete(connection, environment.id.as_str(), name.as_str()).await
    });
    if !deleting.await? {
        return Err(Problem::UnknownWebhook(name.as_str().to_owned()));
    }
    tracing::info!(request = current_request(), environment = %environment.id, webhook = name.as_str(), "webhook deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a webhook, and the secret that it is given.
pub(super) fn read(
    body: &[u8],
    name: &Label,
    allow_private: bool,
) -> Result<(Kept, Option<Secret>), Problem> {
    let mut form = Form::read(body, WEBHOOK)?;
    check_name(&mut form, Some(name));
    let url = form.text("url").into_owned();
    if !url.is_empty()
        && let Err(why) = Endpoint::parse(&url, allow_private)
    {
        form.reject("url", why);
    }
    let watches = form.optional::<Vec<String>>("watches", "an array of strings").map(|names| {
        if names.len() > WATCHES_MAX {
            form.reject("watches", format!("has {} names, at most {WATCHES_MAX} are allowed", names.len()));
        }
        let read = names.iter().map(|name| Label::parse(name));
        let watches: Result<Vec<String>, String> =
            read.map(|label| label.map(|label| label.as_str().to_owned())).collect();
        watches.unwrap_or_else(|error| {
            form.reject("watches", format!("has what is no name of a watch: it {error}"));
            Vec::new()
        })
    });
    let secret = form.optional_text("secret").and_then(|text| match Secret::parse(&text) {
        Ok(secret) => Some(secret),
        Err(why) => {
            form.reject("secret", why);
            None
        }
    });
    let enabled = form.boolean("enabled").unwrap_or(true);
    form.finish()?;
    let kept = Kept { name: name.as_str().to_owned(), url, watches, enabled, disabled_because: None };
    Ok((kept, secret))
}
