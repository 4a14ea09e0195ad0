//! Problems: the only place where a status code is chosen.

mod body;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;

use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::refusal::{Fault, Refusal};
use crate::engine::Failure;
use crate::store::StoreError;

use super::around::{count_bug, count_refusal, failed, failed_by_a_bug};

pub(crate) use body::ProblemBody;

/// Why a request was not done.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    /// A rule is against it.
    Refused(Refusal),
    /// The body is not JSON.
    MalformedJson(String),
    /// The environment has no configuration.
    UnknownEnvironment(String),
    /// Nobody knows who is asking, and why not.
    Unauthenticated(&'static str),
    /// Who is asking may not, and why not.
    Forbidden(String),
    /// Erasing is not allowed by whoever started the service.
    ErasingForbidden,
    /// The environment has no such watch.
    UnknownWatch(String),
    /// The environment has no such webhook.
    UnknownWebhook(String),
    /// The webhook has no such delivery.
    UnknownDelivery(String),
    /// Nothing is at this path.
    NotFound,
    /// The path does not have this method.
    MethodNotAllowed,
    /// The configuration is not the one that the change was made for.
    PreconditionFailed(String),
    /// The body is longer than the limit, in bytes.
    PayloadTooLarge(usize),
    /// The body is not said to be JSON.
    UnsupportedMediaType,
    /// More was sent in a second than may be.
    RateLimited(RateExceeded),
    /// More is waiting than can be taken.
    Overloaded,
    /// The database does not answer.
    DatabaseUnavailable,
    /// The service is stopping.
    ShuttingDown,
    /// A bug.
    Internal,
}

/// Which rate was exceeded, and by what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateExceeded {
    /// The rate's name, as the header fields have it.
    pub(crate) policy: &'static str,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// How much of it a second.
    pub(crate) per_second: u32,
    /// How much was asked for at once.
    pub(crate) asked: u32,
    /// How much was left.
    pub(crate) left: u32,
    /// Seconds until it fits; none when it never will.
    pub(crate) retry_after: Option<u64>,
}

impl RateExceeded {
    fn detail(&self) -> String {
        let RateExceeded { policy, unit, per_second, asked, left, retry_after } = self;
        let (whose, _) = policy.split_once('-').unwrap_or((policy, ""));
        let asked = format!(
            "{asked} {unit} asked for, {left} left of the {per_second} a second that are let in for this {whose}"
        );
        match retry_after {
            Some(seconds) => format!("{asked}; nothing was done, send the same again in {seconds} s"),
            None => format!(
                "{asked}, so that they never fit; nothing was done, send bulks of at most {per_second} lines"
            ),
        }
    }
}

/// One row of the wire contract's table of problems.
pub(crate) struct Kind {
    /// The stable code.
    pub(crate) code: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// The status that Inventory Visibility would give in the body.
    pub(crate) status_code: u16,
    /// The problem in a few words.
    pub(crate) title: &'static str,
    /// The problem and its remedy in a few sentences.
    pub(crate) explanation: &'static str,
}

macro_rules! kinds {
    ($($name:ident $code:literal $status:literal $status_code:literal $title:literal $explanation:literal)*) => {
        $(const $name: &Kind = &Kind { code: $code, status: $status, status_code: $status_code, title: $title, explanation: $explanation };)*
        /// Every problem that the service can answer with.
        pub(crate) const KINDS: &[&Kind] = &[$($name),*];
    };
}

kinds! {
    MALFORMED_JSON "malformed-json" 400 400 "The body is not JSON"
        "The body could not be read as JSON. The detail says at which line and column the reading stopped."
    INVALID_REQUEST "invalid-request" 400 400 "The request's form is wrong"
        "A property is missing, of the wrong type, or has a value that it cannot have. `errors` lists every fault with a JSON pointer to its place."
    UNKNOWN_PROPERTY "unknown-property" 400 400 "The request has an unknown property"
        "A property is not part of this request; most likely its name is misspelt. Nothing unknown is ever ignored, because it was meant to mean something."
    UNKNOWN_GROUP "unknown-group" 400 400 "Unknown allocation group"
        "A group is not in the environment's allocation hierarchy. GET configuration lists the groups."
    HIERARCHY_GAP "hierarchy-gap" 400 400 "A group was left out above another"
        "A group path gives the first groups of the allocation hierarchy with none left out. Give the missing group too, or leave out those below it."
    UNKNOWN_DIMENSION "unknown-dimension" 400 400 "Unknown dimension"
        "A dimension is not in the environment's dimension hierarchy, nor among the mapped names of the data source in `dimensionDataSource`."
    UNKNOWN_MEASURE "unknown-measure" 400 400 "Unknown measure"
        "A measure is not configured, or is one that only allocations and reservations move. GET configuration lists the measures."
    INVALID_QUANTITY "invalid-quantity" 400 400 "Not a quantity"
        "Quantities are decimal numbers with at most 6 decimal places and a magnitude of at most 10^15; those of allocations and reservations are greater than 0."
    MISSING_REQUIRED_DIMENSION "missing-required-dimension" 400 500 "A required dimension is missing"
        "Allocations and reservations must give the environment's required dimensions, none of them empty."
    READ_ONLY_DATA_SOURCE "read-only-data-source" 400 400 "The data source is read-only to consumption"
        "The configuration says that only on-hand changes may move the measures of this data source, so a consume cannot modify them."
    CONSUMPTION_NOT_NEUTRAL "consumption-not-neutral" 400 400 "The consume would change the pool"
        "Consumed stock left the pool when it was allocated. What a consume takes back from the allocation must be taken elsewhere: by subtracting from an on-hand measure, by adding to a reservation measure, or by a formula that subtracts @iv.@consumed. allocation.allowPoolChangingConsumption switches the check off."
    MISSING_ID "missing-id" 400 400 "The event has no id"
        "Every command has an id of the client's own choice, in the body or as the header Idempotency-Key. It makes it safe to send the same command again."
    UNAUTHENTICATED "unauthenticated" 401 401 "Nobody knows who is asking"
        "Authentication is on, and the request has no key, or one that is none any more. Send Authorization: Bearer and a key of the environment. `ringfence key create` makes the first one, POST keys all others."
    FORBIDDEN "forbidden" 403 403 "Not allowed"
        "The key is not for this environment or not for this, or the service was not started for this. The detail says which, and what is allowed."
    UNKNOWN_ENVIRONMENT "unknown-environment" 404 404 "Unknown environment"
        "An environment exists from its first configuration on: PUT /api/environment/{environmentId}/configuration."
    UNKNOWN_RESERVATION "unknown-reservation" 404 404 "Unknown reservation"
        "No reservation of this organization has this id at exactly these dimensions. GET reservations lists those that hold something."
    UNKNOWN_WATCH "unknown-watch" 404 404 "Unknown watch"
        "The environment has no watch of this name. GET watches lists those that it has; PUT watches/{name} makes one."
    UNKNOWN_WEBHOOK "unknown-webhook" 404 404 "Unknown webhook"
        "The environment has no webhook of this name. GET webhooks lists those that it has; PUT webhooks/{name} makes one."
    UNKNOWN_DELIVERY "unknown-delivery" 404 404 "Unknown delivery"
        "The webhook has no delivery of this number, or none that it still wants. GET webhooks/{name}/deliveries lists those that it has."
    NOT_FOUND "not-found" 404 404 "Nothing is here"
        "The service has nothing at this path. /docs lists what it has."
    METHOD_NOT_ALLOWED "method-not-allowed" 405 405 "The path does not have this method"
        "The path exists, with other methods: the header Allow lists them."
    INSUFFICIENT_AVAILABLE_TO_ALLOCATE "insufficient-available-to-allocate" 409 500 "Not enough available to allocate"
        "What may still be allocated at a stock node is the least that its formula gives at the node itself and at every node above it. `available` is that value, `limitedBy` the node that has it. Allocate less, give back or reallocate elsewhere, or wait for stock."
    INSUFFICIENT_ALLOCATION "insufficient-allocation" 409 500 "Not enough allocated"
        "A group path takes at most what is allocated to exactly this path at exactly these dimensions. Reallocate to it, or allocate more, first."
    INSUFFICIENT_AVAILABLE_TO_RESERVE "insufficient-available-to-reserve" 409 500 "Not enough available for reservation"
        "The formula of the reservation measure gives less than was asked for, at the node itself or at one above it. `limitedBy` names the node."
    PRODUCT_NOT_ENABLED "product-not-enabled" 409 500 "The product is not enabled for allocation"
        "allocation.requireEnabledProducts says that only enabled products are allocated. PUT allocation/products enables one. What is allocated already can be reallocated, given back and consumed all the same."
    NOTHING_RESERVED "nothing-reserved" 409 500 "Not so much is reserved"
        "Giving back without naming a reservation takes as much from the measure at exactly these dimensions, and never brings it below zero. `available` is what is reserved there. GET reservations lists it."
    CONFIGURATION_IN_USE "configuration-in-use" 409 409 "Stored data stands against the change"
        "Stock or balances are kept by what the change would remove or reorder. `errors` says by what. Adding a group at the lowest level, a dimension at the end, a data source or a measure is always possible."
    UNPROTECTED_FORMULA "unprotected-formula" 409 409 "The formula protects nothing"
        "A formula would let stock that is set aside be taken again. reservation.allowUnprotected says that a reservation measure's formula is meant to."
    PRECONDITION_FAILED "precondition-failed" 412 412 "What the change was made for has changed"
        "The configuration has another version than If-Match names, or a measure was set at a later time than this set's. Read it again, and decide again."
    PAYLOAD_TOO_LARGE "payload-too-large" 413 413 "The body is too long"
        "A body may have 1 MiB, that of a bulk 8 MiB."
    UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" 415 415 "The body is not JSON"
        "Send the body with the header Content-Type: application/json."
    ID_REUSED "id-reused" 422 422 "The id belongs to another event"
        "An id names one event for ever. The same id with another meaning is an error of the sender."
    RATE_LIMITED "rate-limited" 429 429 "Too many requests or commands in a second"
        "A key or an environment may send so many requests and so many commands a second: the header RateLimit-Policy says how many, RateLimit how many are left. A bulk counts as many commands as it has lines, and is refused as a whole. Nothing was done: send the same request again after the time in Retry-After. Without Retry-After it is more than a second's worth, and never fits: send it in parts."
    INTERNAL "internal" 500 500 "Internal error"
        "A bug. It was logged with the request's id, the header x-request-id of the answer."
    OVERLOADED "overloaded" 503 503 "Too much at once"
        "More is waiting than can be taken. Whether the event was applied is unknown: send the same request again after the time in Retry-After; it is never applied twice."
    DATABASE_UNAVAILABLE "database-unavailable" 503 503 "The database does not answer"
        "Whether the event was applied is unknown: send the same request again after the time in Retry-After; it is never applied twice."
    SHUTTING_DOWN "shutting-down" 503 503 "The service is stopping"
        "Send the same request again, to another instance or after the time in Retry-After; it is never applied twice."
}

/// How to say who is asking.
const CHALLENGE: &str = "Bearer realm=\"ringfence\"";
/// Seconds after which a request that met a passing trouble is worth sending again.
const RETRY_AFTER_SECONDS: u32 = 1;

impl Problem {
    /// One fault of a request's form.
    pub(crate) fn invalid(pointer: &str, detail: impl std::fmt::Display) -> Problem {
        Problem::Refused(Refusal::InvalidRequest(vec![Fault::new(pointer, detail)]))
    }

    fn kind(&self) -> &'static Kind {
        match self {
            Problem::MalformedJson(_) => MALFORMED_JSON,
            Problem::UnknownEnvironment(_) => UNKNOWN_ENVIRONMENT,
            Problem::Unauthenticated(_) => UNAUTHENTICATED,
            Problem::Forbidden(_) | Problem::ErasingForbidden => FORBIDDEN,
            Problem::UnknownWatch(_) => UNKNOWN_WATCH,
            Problem::UnknownWebhook(_) => UNKNOWN_WEBHOOK,
            Problem::UnknownDelivery(_) => UNKNOWN_DELIVERY,
            Problem::NotFound => NOT_FOUND,
            Problem::MethodNotAllowed => METHOD_NOT_ALLOWED,
            Problem::PreconditionFailed(_) => PRECONDITION_FAILED,
            Problem::PayloadTooLarge(_) => PAYLOAD_TOO_LARGE,
            Problem::UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE,
            Problem::RateLimited(_) => RATE_LIMITED,
            Problem::Overloaded => OVERLOADED,
            Problem::DatabaseUnavailable => DATABASE_UNAVAILABLE,
            Problem::ShuttingDown => SHUTTING_DOWN,
            Problem::Internal => INTERNAL,
            Problem::Refused(refusal) => match refusal {
                Refusal::InvalidRequest(_) => INVALID_REQUEST,
                Refusal::UnknownProperty { .. } => UNKNOWN_PROPERTY,
                Refusal::MissingId => MISSING_ID,
                Refusal::UnknownGroup { .. } => UNKNOWN_GROUP,
                Refusal::HierarchyGap { .. } => HIERARCHY_GAP,
                Refusal::UnknownDimension { .. } => UNKNOWN_DIMENSION,
                Refusal::UnknownMeasure { .. } => UNKNOWN_MEASURE,
                Refusal::InvalidQuantity { .. } => INVALID_QUANTITY,
                Refusal::MissingRequiredDimension { .. } => MISSING_REQUIRED_DIMENSION,
                Refusal::ReadOnlyDataSource { .. } => READ_ONLY_DATA_SOURCE,
                Refusal::ConsumptionNotNeutral { .. } => CONSUMPTION_NOT_NEUTRAL,
                Refusal::UnknownReservation(_) => UNKNOWN_RESERVATION,
                Refusal::InsufficientAvailableToAllocate(_) => INSUFFICIENT_AVAILABLE_TO_ALLOCATE,
                Refusal::InsufficientAvailableToReserve(_) => INSUFFICIENT_AVAILABLE_TO_RESERVE,
                Refusal::InsufficientAllocation { .. } => INSUFFICIENT_ALLOCATION,
                Refusal::ProductNotEnabled { .. } => PRODUCT_NOT_ENABLED,
                Refusal::NothingReserved { .. } => NOTHING_RESERVED,
                Refusal::OutdatedSet { .. } => PRECONDITION_FAILED,
                Refusal::UnprotectedFormula(_) => UNPROTECTED_FORMULA,
                Refusal::ConfigurationInUse(_) => CONFIGURATION_IN_USE,
                Refusal::IdReused { .. } => ID_REUSED,
            },
        }
    }

    fn detail(&self) -> String {
        match self {
            Problem::Refused(refusal) => refusal.to_string(),
            Problem::MalformedJson(why) => format!("the body is not JSON: {why}"),
            Problem::UnknownEnvironment(environment) => {
                format!("there is no environment {environment:?}; its first configuration creates it")
            }
            Problem::UnknownWatch(name) => {
                format!("there is no watch {name:?}; PUT watches/{name} makes one")
            }
            Problem::UnknownWebhook(name) => {
                format!("there is no webhook {name:?}; PUT webhooks/{name} makes one")
            }
            Problem::UnknownDelivery(id) => format!("there is no delivery {id:?} to this webhook"),
            Problem::ErasingForbidden => "erasing is off; start the service with --allow-erasing, or with \
                 RINGFENCE_ALLOW_ERASING=true, if products may be erased"
                .to_owned(),
            Problem::Unauthenticated(why) => (*why).to_owned(),
            Problem::PreconditionFailed(why) | Problem::Forbidden(why) => why.clone(),
            Problem::RateLimited(exceeded) => exceeded.detail(),
            Problem::PayloadTooLarge(limit) => format!("the body is longer than {limit} bytes"),
            other => other.kind().explanation.to_owned(),
        }
    }

    /// The problem as an answer's body.
    pub(crate) fn body(&self, id: Option<Value>, index: Option<usize>) -> ProblemBody {
        let kind = self.kind();
        count_refusal(kind.code);
        if matches!(self, Problem::Internal) {
            count_bug();
        }
        let detail = self.detail();
        let mut body = ProblemBody {
            problem_type: format!("/problems/{}", kind.code),
            title: kind.title,
            status: kind.status,
            code: kind.code,
            message: detail.clone(),
            detail,
            requested: None,
            available: None,
            limited_by: None,
            groups: None,
            errors: Vec::new(),
            index,
            id,
            processing_status: "failure",
            status_code: kind.status_code,
            explanation: None,
            dry_run: None,
            retry_after: None,
        };
        if let Problem::RateLimited(exceeded) = self {
            body.requested = Some(Quantity::units(i64::from(exceeded.asked)));
            body.available = Some(Quantity::units(i64::from(exceeded.left)));
            body.retry_after = exceeded.retry_after;
        }
        if let Problem::Refused(refusal) = self {
            body.fill(refusal);
        }
        // Faults are found in a line; what was sent is the bulk.
        if let Some(index) = index {
            body.errors.iter_mut().for_each(|fault| fault.pointer.insert_str(0, &format!("/{index}")));
        }
        body
    }

    /// The problem as an answer.
    pub(crate) fn answer(&self, id: Option<Value>, index: Option<usize>) -> Response<Body> {
        self.body(id, index).answer()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        self.answer(None, None)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::Refused(refusal)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        match failure {
            Failure::Refused(refusal) => Problem::Refused(refusal),
            // A configuration that changes faster than a command can be made again.
            Failure::ConfigurationChanged | Failure::Overloaded => Problem::Overloaded,
            Failure::DatabaseUnavailable(why) => {
                failed("the database did not answer", Some(&why));
                Problem::DatabaseUnavailable
            }
            Failure::ShuttingDown => Problem::ShuttingDown,
            Failure::Internal(why) => {
                failed_by_a_bug(&why);
                Problem::Internal
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Conflict(_) | StoreError::IdTaken | StoreError::Busy => Problem::Overloaded,
            StoreError::Unavailable(why) | StoreError::Unwatched(why) => {
                failed("the database did not answer", Some(&why));
                Problem::DatabaseUnavailable
            }
            StoreError::Rejected(why) => {
                failed_by_a_bug(&why);
                Problem::Internal
            }
        }
    }
}

impl ProblemBody {
    /// The body with the status that it tells.
    pub(super) fn answer(&self) -> Response<Body> {
        // A structure of strings and numbers always becomes JSON.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut response = Response::new(Body::from(json));
        // The table's statuses are statuses; a test goes over all of them.
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == 401 {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == 503 {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

/// Explains a problem in words.
pub(crate) async fn explain(
    axum::extract::Path(code): axum::extract::Path<String>,
) -> Result<String, Problem> {
    let kind = KINDS.iter().find(|kind| kind.code == code).ok_or(Problem::NotFound)?;
    Ok(format!("{} (HTTP {}, {})\n\n{}\n", kind.title, kind.status, kind.code, kind.explanation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_a_status_with_a_name_of_its_own() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert!(StatusCode::from_u16(kind.status).is_ok(), "{}", kind.code);
            assert!(KINDS[..index].iter().all(|other| other.code != kind.code), "{}", kind.code);
        }
    }
}
