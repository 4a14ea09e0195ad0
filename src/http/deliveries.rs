//! What was delivered to webhooks, and what was not.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::domain::command::Timestamp;
use crate::domain::refusal::Fault;
use crate::domain::watch::{Message, written};
use crate::store::webhooks::{self, Delivery, Replay};
use crate::store::{self, Sight};

use super::App;
use super::alerts::{before, finish, linked};
use super::around::current_request;
use super::body::Sent;
use super::commands::json;
use super::form::Form;
use super::onhand::parse_time;
use super::onhand_query::{PAGE_RECORDS_MAX, Parameters};
use super::onhand_records::Page;
use super::problem::{Problem, ProblemBody};
use super::watches::Named;
use super::webhooks::known;

/// Most messages that are replayed at once.
const REPLAYED_MAX: i64 = 10_000;
/// Behind all times that there will be: the last second of the year 9999.
const LAST_TIME: Timestamp = Timestamp(253_402_300_799_000_000);
pub(super) const REPLAY: &[&str] = &["from", "to"];

/// A list of deliveries as an address has it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "the shape of what `read` reads")]
pub(super) struct ListParameters {
    /// Only those in this state.
    #[param(inline)]
    state: Option<DeliveryState>,
    /// Most deliveries of the answer; without it 1,000. The header `Link` has the address of the next
    /// page, where there is one.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Behind which delivery the answer begins: from the header `Link` of the page before.
    after: Option<String>,
}

/// What became of a delivery.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "a shape for the document")]
enum DeliveryState {
    /// It is to be sent, or to be sent again.
    Pending,
    /// It was answered 2xx.
    Delivered,
    /// It was given up.
    Dead,
}

/// A message on its way to a webhook.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(super) struct Shown {
    /// Its own number, by which it can be replayed; larger than those of earlier messages.
    delivery_id: i64,
    /// What the header `webhook-id` says.
    message_id: String,
    /// What became of it.
    #[schema(value_type = DeliveryState)]
    state: String,
    /// How often it was sent, since it was last replayed.
    attempts: i32,
    /// When it was last sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    attempted_at: Option<String>,
    /// The HTTP status that was answered then.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i32>,
    /// What was wrong then.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When the next message of its product is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    due_at: Option<String>,
    /// The message.
    #[schema(value_type = Message)]
    message: Box<RawValue>,
}

fn shown(delivery: Delivery) -> Result<Shown, Problem> {
    let message = RawValue::from_string(delivery.payload)
        .map_err(|error| store::StoreError::Rejected(format!("a stored message: {error}")))?;
    Ok(Shown {
        delivery_id: delivery.sequence,
        message_id: delivery.message_id,
        state: delivery.state,
        attempts: delivery.attempts,
        attempted_at: delivery.attempted_at.map(written),
        status: delivery.status,
        error: delivery.error,
        due_at: delivery.due_at.map(written),
        message,
    })
}

/// Lists the deliveries to a webhook, the latest message first.
///
/// They are kept as long as closed alerts, which is 30 days where the service was not told otherwise; those
/// that are dead three times as long.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/webhooks/{name}/deliveries", tag = "watching", operation_id = "listDeliveries",
    params(Named, ListParameters),
    responses(
        (status = 200, body = [Shown], headers(("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    named: Named,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let (page, state, before) = read(query.as_deref())?;
    let kept = known(&app, &named).await?;
    let most = page.limit.unwrap_or(PAGE_RECORDS_MAX);
    let reading = store::read(&app.readers, Sight::Of(named.environment.id.as_str()), async |connection| {
        let webhook = (named.environment.id.as_str(), kept.name.as_str());
        webhooks::deliveries(connection, webhook, state.as_deref(), before, most as i64 + 1).await
    });
    let mut found = reading.await?;
    let is_last = found.len() <= most;
    found.truncate(most);
    let last = found.last().filter(|_| !is_last).map(|delivery| delivery.sequence);
    let shown = found.into_iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    Ok(linked(json(StatusCode::OK, &shown), &page, last))
}

pub(super) fn read(query: Option<&str>) -> Result<(Page, Option<String>, Option<i64>), Problem> {
    let mut parameters = Parameters::read(query);
    let page = parameters.page(query);
    let state = parameters.take_one("state");
    if state.as_deref().is_some_and(|state| !["pending", "delivered", "dead"].contains(&state)) {
        parameters.faults.push(Fault::new("/state", "must be pending, delivered or dead"));
    }
    let before = before(&page, &mut parameters.faults);
    finish(parameters, &["state", "limit", "after"])?;
    Ok((page, state, before))
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    /// How many messages are delivered again.
    deliveries: u64,
}

/// Delivers a message again, whether it was delivered or is dead: as if it had never been sent, and
/// under the same id.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/webhooks/{name}/deliveries/{deliveryId}/replay", tag = "watching", operation_id = "replayDelivery",
    params(
        Named,
        ("deliveryId" = i64, Path, description = "The delivery."),
    ),
    responses(
        (status = 200, body = Replayed),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn replay_one(State(app): State<App>, named: Named) -> Result<Response<Body>, Problem> {
    let unknown = || Problem::UnknownDelivery(named.part.clone().unwrap_or_default());
    let delivery = named.part.as_deref().and_then(|text| text.parse().ok());
    known(&app, &named).await?;
    let replayed = replay(&app, &named, Replay::One(delivery.ok_or_else(unknown)?)).await?;
    match replayed {
        Some(deliveries) if deliveries > 0 => Ok(json(StatusCode::OK, &Replayed { deliveries })),
        _ => Err(unknown()),
    }
}

/// Which messages are delivered again.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the shape of what `read_replay` reads")]
pub(super) struct ReplayRequest {
    /// The first moment.
    #[schema(format = DateTime)]
    from: String,
    /// The last moment; without it there is none.
    #[schema(format = DateTime)]
    to: Option<String>,
}

/// Delivers the messages of a time again, in their order and under the same ids: at most 10,000. Also
/// such as were before the webhook was. They are kept as long as closed alerts.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/webhooks/{name}/replay", tag = "watching", operation_id = "replayDeliveries",
    params(Named),
    request_body = ReplayRequest,
    responses(
        (status = 200, body = Replayed),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn replay_between(
    State(app): State<App>,
    Sent { environment: named, body, .. }: Sent<Named>,
) -> Result<Response<Body>, Problem> {
    let (from, to) = read_replay(&body)?;
    known(&app, &named).await?;
    let Some(deliveries) = replay(&app, &named, Replay::Between(from, to)).await? else {
        let detail = format!("begins a time of more than {REPLAYED_MAX} messages; ask for a shorter one");
        return Err(Problem::invalid("/from", detail));
    };
    Ok(json(StatusCode::OK, &Replayed { deliveries }))
}

async fn replay(app: &App, named: &Named, replay: Replay) -> Result<Option<u64>, Problem> {
    let replaying = store::read(&app.readers, Sight::Of(named.environment.id.as_str()), async |connection| {
        let webhook = (named.environment.id.as_str(), named.name.as_str());
        webhooks::replay(connection, webhook, replay, REPLAYED_MAX).await
    });
    let replayed = replaying.await?;
    let (environment, webhook) = (&named.environment.id, named.name.as_str());
    tracing::info!(request = current_request(), %environment, webhook, replayed, "messages replayed");
    Ok(replayed)
}

pub(super) fn read_replay(body: &[u8]) -> Result<(Timestamp, Timestamp), Problem> {
    let mut form = Form::read(body, REPLAY)?;
    form.must_have("from");
    let mut time = |name: &str| {
        let text = form.optional_text(name)?;
        let time = parse_time(&text);
        if time.is_none() {
            form.reject(name, "must be a time such as 2026-11-23T12:00:00Z");
        }
        time
    };
    let (from, to) = (time("from"), time("to"));
    form.finish()?;
    Ok((from.unwrap_or(Timestamp(0)), to.unwrap_or(LAST_TIME)))
}
