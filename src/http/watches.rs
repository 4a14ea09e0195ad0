//! Watches: what is to be told of stock.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

use crate::domain::dimensions::Pairs;
use crate::domain::quantity::Quantity;
use crate::domain::refusal::Refusal;
use crate::domain::watch::{Label, RuleDocument, Watch, WatchDocument};
use crate::store::watches::{self, Kept};
use crate::store::{self, Sight};

use super::around::current_request;
use super::body::Sent;
use super::commands::json;
use super::form::Form;
use super::problem::{Problem, ProblemBody};
use super::{Addressed, Admitted, App, Environment};

/// Most watches of an environment.
const WATCHES_MAX: i64 = 200;
pub(super) const WATCH: &[&str] =
    &["name", "organizationId", "productId", "dimensions", "groups", "rollup", "rule"];
const RULE: &[&str] = &[
    "balanceAtOrBelow",
    "percentLeftAtOrBelow",
    "exhaustedWithinSeconds",
    "overAllocated",
    "idleForSeconds",
    "unmetAbove",
    "clearAbove",
    "clearAtOrAbove",
    "clearAtOrBelow",
    "windowSeconds",
    "withinSeconds",
];

/// What a path names in an environment, and what it names of that.
pub(super) struct Named {
    pub(super) environment: Environment,
    pub(super) name: Label,
    pub(super) part: Option<String>,
}

impl IntoParams for Named {
    fn into_params(of: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(64))
            .pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]*$"));
        let name = ParameterBuilder::new()
            .name("name")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(
                "The name: letters, digits, hyphens, underscores and points, in any letter case.",
            ))
            .schema(Some(schema));
        Environment::into_params(of).into_iter().chain([name.build()]).collect()
    }
}

impl Addressed for Named {
    async fn of(admitted: Admitted, parts: &mut Parts, app: &App) -> Result<Named, Problem> {
        let words = RawPathParams::from_request_parts(parts, app).await.map_err(|_| Problem::NotFound)?;
        let mut words: Vec<String> = words.iter().skip(1).map(|(_, word)| word.to_owned()).collect();
        let part = (words.len() > 1).then(|| words.swap_remove(1));
        let name = words.pop().ok_or(Problem::NotFound)?;
        let name = Label::parse(&name).map_err(|error| Problem::invalid("/name", error))?;
        Ok(Named { environment: Environment::of(admitted, parts, app).await?, name, part })
    }
}

impl FromRequestParts<App> for Named {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Named, Problem> {
        Named::of(app.admit(parts).await?, parts, app).await
    }
}

/// What a watch is made of.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the document; what is read is in `WATCH`")]
struct WatchBody {
    /// The name that the path gives, so that what was answered can be sent again.
    name: Option<String>,
    #[serde(flatten)]
    watch: WatchDocument,
}

/// A watch with its name.
#[derive(Serialize, ToSchema)]
#[schema(as = NamedWatch)]
pub(super) struct Shown {
    /// Its name, in lower case.
    name: String,
    #[serde(flatten)]
    watch: WatchDocument,
}

impl Shown {
    fn of(kept: Kept) -> Result<Shown, Problem> {
        let watch = serde_json::from_str(&kept.document);
        let watch = watch.map_err(|error| store::StoreError::Rejected(format!("a stored watch: {error}")))?;
        Ok(Shown { name: kept.name, watch })
    }
}

/// Lists the environment's watches, by name. There are 200 at most.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/watches", tag = "watching", operation_id = "listWatches",
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
        watches::list(connection, environment.id.as_str(), WATCHES_MAX).await
    });
    let shown = reading.await?.into_iter().map(Shown::of).collect::<Result<Vec<_>, _>>()?;
    Ok(json(StatusCode::OK, &shown))
}

/// Answers a watch.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/watches/{name}", tag = "watching", operation_id = "getWatch",
    params(Named),
    responses(
        (status = 200, body = Shown),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(State(app): State<App>, named: Named) -> Result<Response<Body>, Problem> {
    let Named { environment, name, .. } = named;
    let reading = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        watches::get(connection, environment.id.as_str(), name.as_str()).await
    });
    let kept = reading.await?.ok_or_else(|| Problem::UnknownWatch(name.as_str().to_owned()))?;
    Ok(json(StatusCode::OK, &Shown::of(kept)?))
}

/// Makes a watch, or replaces it. What there is already is judged by it within a second or a few, and
/// from then on whatever changes: alerts open and close. Where the group path of a rule is given, each
/// balance of it and below it is judged by itself; with `rollup`, the path as a whole. A watch judges what is there when it looks, some
/// times a second; what came and went between two looks is not told. Alerts of what a replaced watch is
/// not about any more are closed.
#[utoipa::path(
    put, path = "/api/environment/{environmentId}/watches/{name}", tag = "watching", operation_id = "putWatch",
    params(Named),
    request_body = WatchBody,
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
    let document = read(&body, Some(&name))?;
    // Other instances change configurations too.
    let versioned = app.environments.current(&environment.id).await?;
    Watch::new(&versioned.configuration, &document)?;
    // A structure of strings and numbers always becomes JSON.
    let kept = Kept {
        name: name.as_str().to_owned(),
        document: serde_json::to_string(&document).unwrap_or_default(),
    };
    let writing = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        watches::put(connection, environment.id.as_str(), &kept, WATCHES_MAX).await
    });
    if !writing.await? {
        let detail = format!("is of one watch too many: an environment has {WATCHES_MAX} at most");
        return Err(Problem::invalid("", detail));
    }
    tracing::info!(request = current_request(), environment = %environment.id, watch = kept.name, "watch stored");
    Ok(json(StatusCode::OK, &Shown { name: kept.name, watch: document }))
}

/// Deletes a watch. Its open alerts are closed within a second or a few.
#[utoipa::path(
    delete, path = "/api/environment/{environmentId}/watches/{name}", tag = "watching", operation_id = "deleteWatch",
    params(Named),
    responses(
        (status = 204, description = "There is none any more."),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(State(app): State<App>, named: Named) -> Result<StatusCode, Problem> {
    let Named { environment, name, .. } = named;
    let deleting = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        watches::delete(connection, environment.id.as_str(), name.as_str()).await
    });
    if !deleting.await? {
        return Err(Problem::UnknownWatch(name.as_str().to_owned()));
    }
    tracing::info!(request = current_request(), environment = %environment.id, watch = name.as_str(), "watch deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a watch: for a name, where it is known.
pub(super) fn read(body: &[u8], name: Option<&Label>) -> Result<WatchDocument, Problem> {
    let mut form = Form::read(body, WATCH)?;
    form.must_have("rule");
    check_name(&mut form, name);
    let mut document = WatchDocument {
        organization_id: form.optional_text("organizationId").map(Into::into),
        product_id: form.optional_text("productId").map(Into::into),
        dimensions: map(&mut form, "dimensions"),
        groups: map(&mut form, "groups"),
        rollup: form.boolean("rollup"),
        rule: RuleDocument::default(),
    };
    if let Some(mut rule) = form.form("rule", RULE)? {
        document.rule = RuleDocument {
            balance_at_or_below: quantity(&mut rule, "balanceAtOrBelow")?,
            percent_left_at_or_below: quantity(&mut rule, "percentLeftAtOrBelow")?,
            exhausted_within_seconds: rule.optional("exhaustedWithinSeconds", "a whole number of seconds"),
            over_allocated: rule.boolean("overAllocated"),
            idle_for_seconds: rule.optional("idleForSeconds", "a whole number of seconds"),
            unmet_above: quantity(&mut rule, "unmetAbove")?,
            clear_above: quantity(&mut rule, "clearAbove")?,
            clear_at_or_above: quantity(&mut rule, "clearAtOrAbove")?,
            clear_at_or_below: quantity(&mut rule, "clearAtOrBelow")?,
            window_seconds: rule.optional("windowSeconds", "a whole number of seconds"),
            within_seconds: rule.optional("withinSeconds", "a whole number of seconds"),
        };
        form.absorb(rule);
    }
    form.finish()?;
    Ok(document)
}

/// What was answered can be sent again as it is, with its name.
pub(super) fn check_name(form: &mut Form<'_>, name: Option<&Label>) {
    let Some(given) = form.optional_text("name") else { return };
    if name.is_some_and(|name| !name.as_str().eq_ignore_ascii_case(&given)) {
        form.reject("name", "is another than the path gives");
    }
}

fn quantity(form: &mut Form<'_>, name: &str) -> Result<Option<Quantity>, Problem> {
    if form.raw(name).is_none() {
        return Ok(None);
    }
    let text = form.quantity(name);
    if text.is_empty() {
        return Ok(None);
    }
    let quantity = Quantity::parse(&text).map_err(|reason| Refusal::InvalidQuantity {
        pointer: format!("/rule/{name}"),
        text: text.into_owned(),
        reason,
    });
    Ok(Some(quantity?))
}

fn map(form: &mut Form<'_>, name: &str) -> BTreeMap<String, String> {
    let pairs: Pairs<'_> = form.optional_pairs(name).unwrap_or_default();
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.insert(key.clone().into_owned(), value.into_owned()).is_some() {
            form.reject(name, format!("gives {key} twice"));
        }
    }
    map
}
