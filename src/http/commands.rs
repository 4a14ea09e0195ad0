//! From a request to an answered command, one or many.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::command::{Command, Note, Operation, ProductKey, Request, Target};
use crate::domain::configuration::Configuration;
use crate::domain::explanation::Explanation;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::refusal::Refusal;
use crate::domain::state::Balance;
use crate::engine::Receipt;
use crate::engine::rehearsal::NOWHERE;

use super::form::{Form, id_of, is_set};
use super::problem::{Problem, ProblemBody};

/// A command as far as its form tells.
#[derive(Clone)]
pub(super) struct Asked<'a> {
    pub(super) target: Target<'a>,
    pub(super) request: Request<'a>,
    /// Whether it is only asked what would happen; a line of a bulk may leave that to the others.
    pub(super) dry_run: Option<bool>,
    /// Whether the answer is to say why.
    pub(super) explain: bool,
}

impl Asked<'_> {
    /// The command that is asked for, under a configuration.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub(super) fn command(&self, configuration: &Configuration) -> Result<Command, Refusal> {
        let command = Command::new(configuration, &self.target, &self.request)?;
        Ok(Command { explain: self.explain, ..command })
    }
}

/// A command whose form is wrong, with the id of the event that it was to be.
#[derive(Clone)]
pub(super) struct Unreadable {
    pub(super) problem: Problem,
    pub(super) id: Option<Value>,
    /// Whether it was only asked what would happen.
    pub(super) dry_run: bool,
}

impl Unreadable {
    pub(super) fn new(problem: Problem, body: &[u8], header_id: Option<&str>) -> Unreadable {
        let id = id_of(body).or_else(|| header_id.and_then(|id| Value::parse(id).ok()));
        Unreadable { problem, id, dry_run: is_set(body, "dryRun") }
    }

    pub(super) fn body(&self, index: Option<usize>) -> ProblemBody {
        self.problem.body(self.id.clone(), index).of_command(None, self.dry_run)
    }
}

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response<Body> {
        self.body(None).answer()
    }
}

/// A line of a bulk, as far as its form tells.
pub(super) type Line<'a> = Result<Asked<'a>, Unreadable>;

/// Reads what every command has: who, what and where. `id` may come as a header instead.
pub(super) fn read_target<'a>(
    form: &mut Form<'a>,
    environment: &Value,
    header_id: Option<&str>,
) -> Result<Target<'a>, Problem> {
    let target = Target {
        id: read_id(form, header_id)?,
        product: read_product(form, environment),
        dimension_data_source: form.optional_text("dimensionDataSource"),
        dimensions: form.pairs("dimensions"),
        note: read_note(form),
    };
    Ok(target)
}

/// Reads what is noted about a command.
pub(super) fn read_note(form: &mut Form<'_>) -> Option<Arc<Note>> {
    Note {
        reference: form.optional_value("reference", Value::parse),
        reason: form.optional_value("reason", Value::parse_remark),
        actor: form.optional_value("actor", Value::parse),
    }
    .kept()
}

/// Reads the product that a request is about.
pub(super) fn read_product(form: &mut Form<'_>, environment: &Value) -> ProductKey {
    ProductKey {
        environment: environment.clone(),
        organization: form.value("organizationId"),
        product: form.value("productId"),
    }
}

/// `targetGroups` is another name for `groups`.
pub(super) fn groups_name(form: &mut Form<'_>) -> &'static str {
    if form.raw("groups").is_some() && form.raw("targetGroups").is_some() {
        form.reject("targetGroups", "is another name for groups; give one of them");
    }
    if form.raw("targetGroups").is_some() { "targetGroups" } else { "groups" }
}

/// Reads the event's id, which may come as a header instead.
pub(super) fn read_id(form: &mut Form<'_>, header_id: Option<&str>) -> Result<Value, Problem> {
    let own: Option<Cow<'_, str>> = form.optional_text("id").filter(|id| !id.is_empty());
    let id = match (&own, header_id) {
        (Some(own), Some(header)) if *own != header => {
            form.reject("id", "is another than the header Idempotency-Key gives");
            return Ok(Value::empty());
        }
        (Some(own), _) => own.as_ref(),
        (None, Some(header)) => header,
        // What else is wrong with the form is said first; see `Form::finish`.
        (None, None) => return Ok(Value::empty()),
    };
    match Value::parse(id) {
        Ok(id) => Ok(id),
        Err(error) => {
            form.reject("id", error);
            Ok(Value::empty())
        }
    }
}

/// The id that a request's headers give. Quotation marks, which the header's draft standard
/// asks for, are not part of it.
pub(super) fn header_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("idempotency-key")?.to_str().ok()?;
    Some(text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text))
}

/// Ends the reading of a command's form.
pub(super) fn finish<'a>(
    mut form: Form<'a>,
    target: Target<'a>,
    request: Request<'a>,
) -> Result<Asked<'a>, Problem> {
    let dry_run = form.boolean("dryRun");
    let explain = form.boolean("explain").unwrap_or_default();
    form.finish()?;
    if target.id.as_str().is_empty() {
        return Err(Refusal::MissingId.into());
    }
    Ok(Asked { target, request, dry_run, explain })
}

/// What a granted command answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CommandAnswer)]
pub(super) struct Answer {
    /// The event's id.
    #[schema(value_type = String)]
    id: Value,
    /// `success`, or `partialSuccess` where more was offered back than could be freed.
    processing_status: &'static str,
    /// Empty, or what could not be freed.
    message: Cow<'static, str>,
    /// 200.
    status_code: u16,
    /// The event's place in the ledger; a dry run has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    event_id: Option<i64>,
    /// How many events there were at and below the shallowest node of the chain: the order
    /// in which commands that could affect one another were decided.
    version: u64,
    /// The balance of `groups` after the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
    /// The balance that a reallocation took from, after the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_balance: Option<Balance>,
    /// What may still be allocated at these dimensions after the event.
    available_to_allocate: Quantity,
    /// The reservation that was made or freed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<uuid::Uuid>,
    /// How much of what an unreserve offered back could not be freed: it did not remain.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_invalid_offset_qty_by_reserv_id: Option<Quantity>,
    /// Why, where the command asked for it with `explain`: all of it as it was before the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Explanation>)]
    explanation: Option<Box<Explanation>>,
    /// Only with `dryRun`, and then true: this is what would have happened, and nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
}

impl Answer {
    pub(super) fn of(receipt: &Receipt, dry_run: bool) -> Answer {
        let event = &receipt.event;
        let outcome = &event.outcome;
        let freed = match event.command.operation {
            Operation::Unreserve { reservation, quantity } => Some((reservation, quantity)),
            _ => None,
        };
        let (processing_status, message) = match freed.zip(outcome.excess) {
            Some(((_, offered), excess)) => ("partialSuccess", Cow::Owned(not_freed(offered, excess))),
            None => ("success", Cow::Borrowed("")),
        };
        Answer {
            id: event.command.id.clone(),
            processing_status,
            message,
            status_code: 200,
            event_id: Some(event.event_id).filter(|&id| id != NOWHERE),
            version: outcome.version,
            balance: outcome.balance,
            source_balance: outcome.source_balance,
            available_to_allocate: outcome.available_to_allocate,
            reservation_id: freed.map(|(id, _)| id).or(outcome.reservation_id).map(|id| id.0),
            total_invalid_offset_qty_by_reserv_id: freed.map(|_| outcome.excess.unwrap_or_default()),
            explanation: outcome.explanation.clone(),
            dry_run: dry_run.then_some(true),
        }
    }
}

fn not_freed(offered: Quantity, excess: Quantity) -> String {
    format!("{excess} of the {offered} offered back did not remain to be freed; nothing is left to do")
}

/// One line's result in the answer of a bulk: what the single call would answer.
#[derive(ToSchema)]
#[schema(as = BulkResult)]
#[serde(untagged)]
pub(super) enum LineAnswer {
    /// The command was done.
    Done(Box<Answer>),
    /// It was not.
    Failed(Box<ProblemBody>),
}

impl Serialize for LineAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            LineAnswer::Done(answer) => answer.serialize(serializer),
            LineAnswer::Failed(problem) => problem.serialize(serializer),
        }
    }
}

/// Answers JSON. What is given always becomes JSON: it is made of strings and numbers.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let mut text = Vec::with_capacity(512);
    let _ = serde_json::to_writer(&mut text, body);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
