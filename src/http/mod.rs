//! HTTP: routes, layers and limits. Translates; decides nothing.

mod allocation;
mod commands;
pub(crate) mod configuration;
mod environments;
mod form;
mod health;
mod onhand;
mod onhand_query;
mod onhand_records;
mod path;
pub(crate) mod problem;
mod running;
mod schema;
pub mod server;
mod stream;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, Response, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::get;
use http_body_util::{BodyExt, Limited};
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi as Document, Required};
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::domain::name::Value;
use crate::engine::Handle;
use crate::store;
use crate::store::configuration::Versioned;

use environments::Environments;
use problem::Problem;

/// The limits of HTTP.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// Longest body of a bulk, in bytes.
    pub bulk_body_bytes_max: usize,
    /// What the bodies of all open requests may have, in bytes.
    pub all_bodies_bytes_max: usize,
    /// Longest time from a request's last byte to its answer.
    pub request_time_max: Duration,
    /// Longest time until a body is complete.
    pub body_time_max: Duration,
}

/// What the handlers share.
pub struct Shared {
    engine: Handle,
    environments: Environments,
    readers: PgPool,
    /// Connections that long answers are read from.
    streams: PgPool,
    limits: Limits,
    draining: Arc<AtomicBool>,
    /// Room for the bodies of all requests, by the byte.
    room: Arc<Semaphore>,
}

impl Shared {
    /// Puts together what the handlers need; `draining` is what readiness goes by.
    pub fn new(engine: Handle, readers: PgPool, limits: Limits, draining: Arc<AtomicBool>) -> Shared {
        let room = Arc::new(Semaphore::new(limits.all_bodies_bytes_max));
        let streams = store::onhand::streams(&readers, onhand_records::STREAM_TIME_MAX);
        let environments = Environments::new(readers.clone());
        Shared { engine, environments, readers, streams, limits, draining, room }
    }
}

type App = Arc<Shared>;

/// Most bytes of a refused body that are still read.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// The environment that a request's path names, with its configuration as it is kept.
struct Environment {
    id: Value,
    versioned: Arc<Versioned>,
}

/// The environment that a request's path names, which need not exist yet.
struct NewEnvironment {
    id: Value,
}

impl IntoParams for Environment {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(128));
        let parameter = ParameterBuilder::new()
            .name("environmentId")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The environment: an isolated tenant."))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}

async fn environment_id(parts: &mut Parts, app: &App) -> Result<String, Problem> {
    let words = Path::<Vec<(String, String)>>::from_request_parts(parts, app).await;
    let Path(words) = words.map_err(|_| Problem::NotFound)?;
    words.into_iter().next().map(|(_, id)| id).ok_or(Problem::NotFound)
}

impl FromRequestParts<App> for Environment {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Environment, Problem> {
        let id = environment_id(parts, app).await?;
        let Ok(value) = Value::parse(&id) else { return Err(Problem::UnknownEnvironment(id)) };
        Ok(Environment { versioned: app.environments.get(&id).await?, id: value })
    }
}

impl FromRequestParts<App> for NewEnvironment {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<NewEnvironment, Problem> {
        let id = environment_id(parts, app).await?;
        let id = Value::parse(&id).map_err(|error| Problem::invalid("/environmentId", error))?;
        Ok(NewEnvironment { id })
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ringfence",
        description = "Inventory allocation: protects stock that was set aside, and keeps every channel to its share.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/")),
    tags(
        (name = "configuration", description = "What an environment's stock is kept by."),
        (name = "on hand", description = "What stock there is."),
        (name = "allocation", description = "For whom stock is set aside."),
        (name = "service", description = "The service itself."),
    ),
)]
struct Api;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(configuration::get, configuration::put))
        .routes(routes!(onhand::change, onhand_query::get))
        .routes(routes!(onhand_query::index))
        .routes(routes!(onhand_query::exact))
        .routes(routes!(onhand::change_bulk))
        .routes(routes!(onhand::set_bulk))
        .routes(routes!(allocation::allocate))
        .routes(routes!(allocation::unallocate))
        .routes(routes!(allocation::reallocate))
        .routes(routes!(allocation::consume))
        .routes(routes!(allocation::query))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
}

/// The OpenAPI document of the service.
pub fn openapi() -> Document {
    api().into_openapi()
}

/// The document as YAML, as `openapi.yaml` has it.
///
/// # Errors
/// Never in practice: the document is made of strings.
pub fn openapi_yaml() -> Result<String, String> {
    openapi().to_yaml().map_err(|error| error.to_string())
}

/// All routes with their layers. What does not fit its path exactly is mended before; see
/// `path.rs`.
pub fn router(shared: Shared) -> Router {
    let app = Arc::new(shared);
    let (routes, document) = api().split_for_parts();
    let yaml = document.to_yaml().unwrap_or_default();
    let swagger = SwaggerUi::new("/docs").url("/openapi.json", document);
    routes
        .route("/problems/{code}", get(problem::explain))
        .route(
            "/openapi.yaml",
            get(async move || ([(header::CONTENT_TYPE, "application/yaml")], yaml.clone())),
        )
        .merge(swagger)
        // These hold for the routes that are there already, so they come last.
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), take_body))
        .fallback(async || Problem::NotFound)
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(identify))
        .with_state(app)
}

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Echoes the request's id, or makes one, and puts it into every log line of the request.
#[allow(clippy::disallowed_methods, reason = "the id of a request is only for logs")]
async fn identify(request: Request, next: Next) -> Response<Body> {
    let given = request.headers().get(&REQUEST_ID).filter(|id| id.len() <= 128).cloned();
    let id = given.or_else(|| uuid::Uuid::new_v4().to_string().parse().ok());
    let shown = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span =
        tracing::info_span!("request", id = shown, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    if let Some(id) = id {
        response.headers_mut().insert(&REQUEST_ID, id);
    }
    response
}

/// Reads a body whole, within its limits of type, length and time.
async fn take_body(
    axum::extract::State(app): axum::extract::State<App>,
    request: Request,
    next: Next,
) -> Response<Body> {
    if !matches!(*request.method(), Method::POST | Method::PUT) {
        return in_time(&app.limits, next.run(request)).await;
    }
    let (parts, mut body) = request.into_parts();
    let deadline = Instant::now() + app.limits.body_time_max;
    match read_body(&app, &parts, &mut body, deadline).await {
        // The room is held until the answer is there: what was read of the body lives so long.
        Ok((bytes, _room)) => {
            in_time(&app.limits, next.run(Request::from_parts(parts, Body::from(bytes)))).await
        }
        Err(problem) => {
            if !parts.headers.contains_key(header::EXPECT) {
                discard(body, deadline).await;
            }
            let mut response = problem.into_response();
            // What is left of the body after that is not waited for.
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
            response
        }
    }
}

/// Answers 503 when there is no answer in time. A command that was taken goes on without it.
async fn in_time(limits: &Limits, answer: impl Future<Output = Response<Body>>) -> Response<Body> {
    let answer = tokio::time::timeout(limits.request_time_max, answer).await;
    answer.unwrap_or_else(|_| Problem::Overloaded.into_response())
}

/// Reads what is left of a body that is refused, and throws it away. A connection that is
/// closed over unread bytes is reset, and a client that is still sending then does not hear
/// why. (One that asked whether to send at all has not begun.)
async fn discard(body: Body, deadline: Instant) {
    let mut rest = Limited::new(body, DISCARDED_BYTES_MAX);
    let read = async { while let Some(Ok(_)) = rest.frame().await {} };
    let _ = tokio::time::timeout_at(deadline, read).await;
}

async fn read_body(
    app: &Shared,
    parts: &Parts,
    body: &mut Body,
    deadline: Instant,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let limits = &app.limits;
    if !is_json(parts) {
        return Err(Problem::UnsupportedMediaType);
    }
    let is_bulk = parts.uri.path().ends_with("/bulk");
    let limit = if is_bulk { limits.bulk_body_bytes_max } else { limits.body_bytes_max };
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::PayloadTooLarge(limit));
    }
    let bytes = body.size_hint().exact().unwrap_or(limit as u64);
    // At most the limit, which is a few MiB.
    let room = Arc::clone(&app.room).acquire_many_owned(bytes as u32);
    let Ok(Ok(room)) = tokio::time::timeout_at(deadline, room).await else { return Err(Problem::Overloaded) };
    match tokio::time::timeout_at(deadline, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok((collected.to_bytes(), room)),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::PayloadTooLarge(limit))
        }
        Ok(Err(error)) => Err(Problem::invalid("", format!("could not be read: {error}"))),
        Err(_) => Err(Problem::invalid("", format!("did not arrive within {:?}", limits.body_time_max))),
    }
}

fn is_json(parts: &Parts) -> bool {
    let Some(value) = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let kind = value.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("unknown"), "a handler panicked");
    Problem::Internal.into_response()
}
