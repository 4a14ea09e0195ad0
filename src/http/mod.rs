//! HTTP: routes, layers and limits. Translates; decides nothing.

mod access;
mod alerts;
mod allocation;
mod analytics;
mod analytics_question;
mod analytics_records;
mod around;
mod as_of;
mod balances;
mod body;
mod caller;
mod commands;
pub(crate) mod configuration;
mod console;
mod deliveries;
mod document;
mod environments;
mod event_record;
mod events;
mod events_stream;
mod feed;
mod form;
mod hardupdate;
mod health;
mod kept;
mod keyring;
pub(crate) mod keys;
mod listing;
mod metrics;
mod onhand;
mod onhand_query;
mod onhand_records;
mod partitions;
mod path;
mod probes;
pub(crate) mod problem;
mod products;
mod promises;
mod proposals;
pub(crate) mod rates;
pub mod reading;
mod rehearsing;
mod reservations;
mod reserve;
mod routes;
mod rules;
mod running;
mod schedule;
mod schema;
pub mod server;
mod stream;
pub mod tls;
mod unmet;
mod watches;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::routing::get;
use tokio::sync::{Mutex, Semaphore, watch};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi as Document, Required};
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::domain::name::Value;
use crate::domain::rate::PerSecond;
use crate::domain::unmet::Unmet;
use crate::engine::Handle;
use crate::oidc::Tokens;
use crate::store;
use crate::store::Readers;
use crate::store::configuration::Versioned;
use crate::telemetry::metrics::Metrics;

pub(crate) use analytics_question::PAGE_RECORDS_MAX as ANALYTICS_RECORDS_MAX;
pub(crate) use onhand::LINES_MAX;
pub(crate) use onhand_query::PAGE_RECORDS_MAX;

use access::{Access, Caller};
use environments::Environments;
use feed::Feed;
use probes::Probes;
use problem::Problem;
use rates::Rates;

/// The limits of HTTP.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Whether requests need a key.
    pub auth: bool,
    /// What a key may send in a second.
    pub key_rates: PerSecond,
    /// What may be sent to an environment in a second.
    pub environment_rates: PerSecond,
    /// Whether products may be erased.
    pub allow_erasing: bool,
    /// Whether webhooks may have addresses that are nobody's on the Internet.
    pub allow_private_webhooks: bool,
    /// Longest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// Longest body of a bulk, in bytes.
    pub bulk_body_bytes_max: usize,
    /// Longest body that needs no room among all: those of commands, and as many as there are
    /// connections.
    pub small_body_bytes_max: usize,
    /// What the larger bodies of all open requests may have, in bytes.
    pub all_bodies_bytes_max: usize,
    /// Longest time until a body is complete.
    pub body_time_max: Duration,
    /// Live streams that are open at once.
    pub streams_max: usize,
    /// Between two heartbeats of a live stream.
    pub heartbeat_time: Duration,
}

/// What the handlers share.
pub struct Shared {
    engine: Handle,
    environments: Environments,
    /// Who lets requests in; without it, everybody is.
    access: Option<Access>,
    /// Who counts what is sent; without it, nobody does.
    rates: Option<Rates>,
    readers: Readers,
    /// Who asks whether the service is ready, and what is measured of what is stored.
    probes: Probes,
    /// Connections that long answers are read from.
    streams: store::onhand::Streams,
    /// How far the ledger is settled.
    horizon: store::horizon::Horizon,
    limits: Limits,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    /// The tail of the ledger, for live streams.
    feed: Arc<Feed>,
    /// Held by who erases: one at a time.
    erasing: Arc<Mutex<()>>,
    /// Room for the larger bodies of all requests, by the byte.
    room: Arc<Semaphore>,
    /// Demand that was refused, until it is handed on.
    unmet: Arc<std::sync::Mutex<Unmet>>,
}

impl Shared {
    /// Puts together what the handlers need; `draining` is what readiness goes by, and `stop` ends
    /// what would never end by itself.
    pub fn new(
        engine: Handle,
        readers: Readers,
        limits: Limits,
        metrics: Arc<Metrics>,
        draining: Arc<AtomicBool>,
        stop: watch::Receiver<bool>,
    ) -> Shared {
        let room = Arc::new(Semaphore::new(limits.all_bodies_bytes_max));
        let streams = store::onhand::streams(&readers, onhand_records::STREAM_TIME_MAX);
        let environments = Environments::new(readers.clone());
        let probes = Probes::new(&readers);
        let access = limits.auth.then(|| Access::new(readers.clone()));
        let rates = Rates::new(limits.auth, limits.key_rates, limits.environment_rates);
        let (erasing, horizon, unmet) = Default::default();
        let feed = Arc::new(Feed::new(readers.clone(), limits.streams_max, stop));
        Shared {
            engine,
            environments,
            access,
            rates,
            readers,
            probes,
            streams,
            horizon,
            limits,
            metrics,
            draining,
            feed,
            erasing,
            room,
            unmet,
        }
    }

    /// Lets in who has a token, too.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Shared {
        self.access = self.access.map(|access| access.with_tokens(tokens));
        self
    }

    /// The demand that is refused, for who hands it on.
    pub fn unmet(&self) -> Arc<std::sync::Mutex<Unmet>> {
        Arc::clone(&self.unmet)
    }
}

type App = Arc<Shared>;

/// The environment that a request's path names, with its configuration as it is kept.
struct Environment {
    id: Value,
    versioned: Arc<Versioned>,
    /// Who is asking, where that matters.
    caller: Option<Caller>,
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

/// A request to an environment that was let in, and who sent it, where that matters.
struct Admitted {
    /// The environment, as the path has it.
    id: String,
    caller: Option<Caller>,
}

/// What a request's path names, once it was let in.
trait Addressed: Sized {
    fn of(
        admitted: Admitted,
        parts: &mut Parts,
        app: &App,
    ) -> impl Future<Output = Result<Self, Problem>> + Send;
}

impl Addressed for Environment {
    async fn of(admitted: Admitted, _: &mut Parts, app: &App) -> Result<Environment, Problem> {
        let (id, versioned) = app.environments.get(&admitted.id).await?;
        Ok(Environment { id, versioned, caller: admitted.caller })
    }
}

impl Addressed for NewEnvironment {
    async fn of(admitted: Admitted, _: &mut Parts, _: &App) -> Result<NewEnvironment, Problem> {
        let id = Value::parse(&admitted.id).map_err(|error| Problem::invalid("/environmentId", error))?;
        Ok(NewEnvironment { id })
    }
}

impl FromRequestParts<App> for Environment {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Environment, Problem> {
        Environment::of(app.admit(parts).await?, parts, app).await
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ringfence",
        description = "Inventory allocation: protects stock that was set aside, and keeps every channel to its share.\n\n\
            Where several instances serve, a proxy can lead each product to one of them by a header that clients \
            send, `ringfence-product`, with the product's id; the service itself takes no notice of it.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/")),
    tags(
        (name = "configuration", description = "What an environment's stock is kept by."),
        (name = "on hand", description = "What stock there is."),
        (name = "reservation", description = "What of it is taken for orders, beside what is set aside."),
        (name = "allocation", description = "For whom stock is set aside."),
        (name = "watching", description = "What is to be told of stock, and whom."),
        (name = "access", description = "Who may do what."),
        (name = "history", description = "What happened, and what happens."),
        (name = "housekeeping", description = "What stock is kept of, and how to be rid of it."),
        (name = "service", description = "The service itself."),
    ),
)]
struct Api;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(configuration::get, configuration::put))
        .routes(routes!(hardupdate::hard_update))
        .routes(routes!(onhand::change, onhand_query::get))
        .routes(routes!(onhand_query::index))
        .routes(routes!(onhand_query::exact))
        .routes(routes!(onhand::change_bulk))
        .routes(routes!(schedule::change))
        .routes(routes!(schedule::change_bulk))
        .routes(routes!(onhand::set_bulk))
        .routes(routes!(reserve::reserve))
        .routes(routes!(reserve::reserve_bulk))
        .routes(routes!(reserve::unreserve))
        .routes(routes!(reserve::unreserve_bulk))
        .routes(routes!(reservations::list))
        .routes(routes!(allocation::allocate))
        .routes(routes!(allocation::unallocate))
        .routes(routes!(allocation::reallocate))
        .routes(routes!(allocation::consume))
        .routes(routes!(balances::query))
        .routes(routes!(proposals::propose))
        .routes(routes!(analytics::get))
        .routes(routes!(products::list, products::switch))
        .routes(routes!(watches::list))
        .routes(routes!(watches::get, watches::put, watches::delete))
        .routes(routes!(alerts::list))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::get, webhooks::put, webhooks::delete))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay_one))
        .routes(routes!(deliveries::replay_between))
        .routes(routes!(events::list))
        .routes(routes!(events_stream::stream))
        .routes(routes!(partitions::list))
        .routes(routes!(partitions::clean_up))
        .routes(routes!(partitions::clean_up_all))
        .routes(routes!(caller::get))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
}

/// The OpenAPI document of the service.
pub fn openapi() -> Document {
    document::described(api().into_openapi())
}

/// The document as YAML, as `openapi.yaml` has it.
///
/// # Errors
/// Never in practice: the document is made of strings.
pub fn openapi_yaml() -> Result<String, String> {
    openapi().to_yaml().map_err(|error| error.to_string())
}

/// All routes. What holds for every request is done around them, once; see `around.rs`.
pub fn router(shared: Shared) -> Router {
    let app = Arc::new(shared);
    let (routes, document) = api().split_for_parts();
    let document = document::described(document);
    let yaml = document.to_yaml().unwrap_or_default();
    let swagger = SwaggerUi::new("/docs").url("/openapi.json", document);
    routes
        .route("/problems/{code}", get(problem::explain))
        .route("/metrics", get(metrics::metrics))
        .route(
            "/openapi.yaml",
            get(async move || ([(header::CONTENT_TYPE, "application/yaml")], yaml.clone())),
        )
        .merge(swagger)
        .merge(console::routes())
        // This holds for the routes that are there already, so it comes last.
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .fallback(async || Problem::NotFound)
        .with_state(app)
}
