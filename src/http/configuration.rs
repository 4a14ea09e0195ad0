//! The configuration of an environment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::document::{
    AllocationDocument, DataSourceDocument, Document, ReservationDocument, ScheduleDocument,
};
use crate::domain::inventory_visibility::{self, Foreign};
use crate::domain::refusal::{Fault, Refusal, pointer};
use crate::store::configuration::{CHANGE_TIME_MAX, Change, ChangeError, Precondition, replace};
use crate::store::{Reader, Sight, StoreError};

use super::around::current_request;
use super::body::Sent;
use super::commands::json;
use super::form::Form;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment, NewEnvironment};

const DOCUMENT: &[&str] = &[
    "dimensions",
    "requiredDimensions",
    "dataSources",
    "allocation",
    "reservation",
    "calculatedMeasures",
    "schedule",
];
const DATA_SOURCE: &[&str] = &["measures", "readOnly", "dimensionMappings"];
const ALLOCATION: &[&str] =
    &["groups", "availableToAllocate", "allowPoolChangingConsumption", "requireEnabledProducts"];
const RESERVATION: &[&str] = &["measures", "allowUnprotected", "dimensions"];
const SCHEDULE: &[&str] = &["periodDays", "measures"];

pub(super) fn read(body: &[u8]) -> Result<Document, Problem> {
    let mut form = Form::read(body, DOCUMENT)?;
    for name in ["dimensions", "dataSources", "allocation"] {
        form.must_have(name);
    }
    let mut document = Document {
        dimensions: strings(&mut form, "dimensions"),
        required_dimensions: form
            .optional("requiredDimensions", "a whole number, 0 or more")
            .unwrap_or_default(),
        calculated_measures: map(&mut form, "calculatedMeasures"),
        ..Document::default()
    };
    for (name, mut source) in form.forms("dataSources", DATA_SOURCE)? {
        let read = DataSourceDocument {
            measures: strings(&mut source, "measures"),
            read_only: source.boolean("readOnly").unwrap_or_default(),
            dimension_mappings: map(&mut source, "dimensionMappings"),
        };
        form.absorb(source);
        if document.data_sources.insert(name.clone().into_owned(), read).is_some() {
            form.reject("dataSources", format!("gives {name} twice"));
        }
    }
    if let Some(mut allocation) = form.form("allocation", ALLOCATION)? {
        allocation.must_have("groups");
        document.allocation = AllocationDocument {
            groups: strings(&mut allocation, "groups"),
            available_to_allocate: allocation.text("availableToAllocate").into_owned(),
            allow_pool_changing_consumption: allocation
                .boolean("allowPoolChangingConsumption")
                .unwrap_or_default(),
            require_enabled_products: allocation.boolean("requireEnabledProducts").unwrap_or_default(),
        };
        form.absorb(allocation);
    }
    if let Some(mut reservation) = form.form("reservation", RESERVATION)? {
        document.reservation = ReservationDocument {
            measures: map(&mut reservation, "measures"),
            allow_unprotected: reservation.boolean("allowUnprotected").unwrap_or_default(),
            dimensions: reservation.optional("dimensions", "an array of strings"),
        };
        form.absorb(reservation);
    }
    if let Some(mut schedule) = form.form("schedule", SCHEDULE)? {
        document.schedule = ScheduleDocument {
            period_days: schedule.optional("periodDays", "a whole number from 0 to 180").unwrap_or_default(),
            measures: strings(&mut schedule, "measures"),
        };
        form.absorb(schedule);
    }
    form.finish()?;
    Ok(document)
}

fn strings(form: &mut Form<'_>, name: &str) -> Vec<String> {
    form.optional(name, "an array of strings").unwrap_or_default()
}

fn map(form: &mut Form<'_>, name: &str) -> BTreeMap<String, String> {
    let pairs = form.optional_pairs(name).unwrap_or_default();
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.insert(key.clone().into_owned(), value.into_owned()).is_some() {
            form.reject(name, format!("gives {key} twice"));
        }
    }
    map
}

fn tagged(mut response: Response<Body>, version: i64) -> Response<Body> {
    // Digits in quotation marks are a header's value.
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A configuration in one of its forms.
#[derive(ToSchema)]
#[schema(as = AnyConfiguration)]
#[serde(untagged)]
#[allow(dead_code, reason = "a shape for the document")]
enum AnyForm {
    /// The service's own.
    Own(Box<Document>),
    /// That of Inventory Visibility.
    InventoryVisibility(Box<Foreign>),
}

/// In which form a configuration is answered.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "the shape of what `is_foreign` reads")]
pub(super) struct FormatParameter {
    /// `inventoryVisibility` for the document that configuration/hardupdate takes.
    #[param(inline)]
    format: Option<Format>,
}

/// The forms that a configuration is answered in at request.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "a shape for the document")]
enum Format {
    InventoryVisibility,
}

/// Whether the form of Inventory Visibility is asked for.
fn is_foreign(query: Option<&str>) -> Result<bool, Problem> {
    let mut is_foreign = false;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !name.eq_ignore_ascii_case("format") {
            let known = vec!["format".to_owned()];
            return Err(Refusal::UnknownProperty { pointer: pointer("", &name), known }.into());
        }
        if !value.eq_ignore_ascii_case("inventoryVisibility") {
            return Err(Problem::invalid("/format", "must be inventoryVisibility, or left out"));
        }
        is_foreign = true;
    }
    Ok(is_foreign)
}

/// Answers the configuration, with its version as the ETag. `format=inventoryVisibility` asks for
/// it in the form that configuration/hardupdate takes; read again, that means the same.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/configuration", tag = "configuration", operation_id = "getConfiguration",
    params(Environment, FormatParameter),
    responses(
        (status = 200, body = AnyForm, headers(("ETag" = String, description = "The version, for If-Match."))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(
    State(app): State<App>,
    environment: Environment,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let is_foreign = is_foreign(query.as_deref())?;
    let current = app.environments.current(&environment.id).await?;
    let answer = match is_foreign {
        true => json(StatusCode::OK, &inventory_visibility::write(&current.configuration)),
        false => json(StatusCode::OK, current.configuration.document()),
    };
    Ok(tagged(answer, current.version))
}

/// What a change of the configuration answers.
#[derive(Serialize, ToSchema)]
#[schema(as = ConfigurationChange)]
pub(super) struct ChangeBody<'a> {
    #[serde(flatten)]
    document: &'a Document,
    /// What the change brings about that may not be meant.
    warnings: Vec<String>,
}

/// Replaces the configuration, or creates the environment by its first one.
#[utoipa::path(
    put, path = "/api/environment/{environmentId}/configuration", tag = "configuration", operation_id = "putConfiguration",
    params(Environment, ("If-Match" = Option<String>, Header, description = "The version that the change was made for.")),
    request_body = Document,
    responses(
        (status = 200, body = ChangeBody<'_>, headers(("ETag" = String, description = "The new version."))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn put(
    State(app): State<App>,
    Sent { environment, headers, body, .. }: Sent<NewEnvironment>,
) -> Result<Response<Body>, Problem> {
    store(&app, environment, &headers, read(&body)?, Vec::new()).await
}

/// Stores a document, and answers it with what there is to say of it.
pub(super) async fn store(
    app: &App,
    environment: NewEnvironment,
    headers: &HeaderMap,
    document: Document,
    mut warnings: Vec<String>,
) -> Result<Response<Body>, Problem> {
    let precondition = precondition(headers)?;
    // A handler may be dropped at any time, and then a transaction would be cut off in the
    // middle: the change is a task of its own.
    let (shared, id) = (Arc::clone(app), environment.id.clone());
    let task = tokio::spawn(async move {
        let mut connection = Reader::of(&shared.readers, Sight::Of(id.as_str())).await?;
        let change = replace(&mut connection, id.as_str(), document, precondition);
        if let Ok(change) = tokio::time::timeout(CHANGE_TIME_MAX, change).await {
            return change;
        }
        connection.discard();
        Err(StoreError::Unavailable(format!("no answer within {CHANGE_TIME_MAX:?}")).into())
    });
    let change = match task.await {
        Ok(Ok(change)) => change,
        Ok(Err(ChangeError::Refused(refusal))) => return Err(refusal.into()),
        Ok(Err(ChangeError::Precondition { current })) => return Err(not_met(current)),
        Ok(Err(ChangeError::Store(error))) => return Err(error.into()),
        Err(_) => return Err(Problem::Internal),
    };
    let Change { stored, created, over_allocated } = change;
    let request = current_request();
    tracing::info!(request, environment = %environment.id, version = stored.version, created, "configuration stored");
    if over_allocated > 0 {
        warnings.push(format!("{over_allocated} stock nodes become over-allocated by the changed formula"));
    }
    let stored = Arc::new(stored);
    app.environments.keep(&environment.id, Arc::clone(&stored));
    let body = ChangeBody { document: stored.configuration.document(), warnings };
    Ok(tagged(json(StatusCode::OK, &body), stored.version))
}

fn not_met(current: Option<i64>) -> Problem {
    Problem::PreconditionFailed(match current {
        Some(version) => {
            format!("the configuration has the version \"{version}\", which is not the one in If-Match")
        }
        None => "there is no configuration yet, so none has the version in If-Match".to_owned(),
    })
}

fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(Precondition::None) };
    let text: Cow<'_, str> = String::from_utf8_lossy(value.as_bytes());
    if text.trim() == "*" {
        return Ok(Precondition::Exists);
    }
    if text.contains(',') {
        let fault = Fault::new("", "is not the matter: If-Match must name one version");
        return Err(Refusal::InvalidRequest(vec![fault]).into());
    }
    // A weak or foreign tag matches no version.
    let digits = text.trim().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Ok(digits.and_then(|digits| digits.parse().ok()).map_or(Precondition::Never, Precondition::Version))
}
