//! Housekeeping: the partitions, each one product of one organization, and how to be rid of them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode};
use serde::{Serialize, Serializer};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::domain::name::Value;
use crate::domain::refusal::{Fault, Refusal};
use crate::store::erasing::{self, Erased, Order, Partition};
use crate::store::{self, Sight, StoreError};

use super::around::{current_request, in_current_request};
use super::body::Sent;
use super::commands::json;
use super::form::items;
use super::listing::{self, Listed};
use super::onhand_query::PageParameters;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment, Shared};

/// Most partitions that are erased by one call.
const PARTITIONS_MAX: usize = 5_000;
/// Partitions that are erased in one moment: commands of the environment wait so long.
const PIECE_PARTITIONS: usize = 100;
/// How often who erases gives way to commands.
const TRIES_MAX: usize = 20;

/// A partition by its id: `organization/product`, where `/` and `%` in either are `%2F` and `%25`.
struct Id(Partition);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&shown(&self.0))
    }
}

fn shown(Partition { organization, product }: &Partition) -> String {
    let escaped = |value: &Value| value.as_str().replace('%', "%25").replace('/', "%2F");
    format!("{}/{}", escaped(organization), escaped(product))
}

fn partition(id: &str) -> Option<Partition> {
    let (organization, product) = id.split_once('/')?;
    let value = |text: &str| Value::parse(&text.replace("%2F", "/").replace("%25", "%")).ok();
    let partition = Partition { organization: value(organization)?, product: value(product)? };
    // Each has one id only.
    Some(partition).filter(|partition| shown(partition) == id)
}

impl Listed for Id {
    fn key(&self) -> [&str; 2] {
        [self.0.organization.as_str(), self.0.product.as_str()]
    }

    async fn page(
        connection: &mut PgConnection,
        environment: &str,
        [organization, product]: [&str; 2],
        most: i64,
    ) -> Result<Vec<Id>, StoreError> {
        let found = erasing::partitions(connection, environment, (organization, product), most).await?;
        Ok(found.into_iter().map(Id).collect())
    }
}

/// Lists the ids of the partitions that anything is kept of. A partition is one product of one
/// organization. The answer is one array, however long; `limit` asks for a page instead.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/allpartitionids", tag = "housekeeping", operation_id = "listPartitions",
    params(Environment, PageParameters),
    responses(
        (status = 200, body = [String], headers(("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    environment: Environment,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    listing::answer::<Id>(&app, environment, query.as_deref()).await
}

/// What was erased.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CleanUp {
    /// How many partitions were named.
    partitions: usize,
    /// How many stock nodes they had.
    stock_nodes: u64,
    /// How many balances.
    balances: u64,
    /// How many reservations.
    reservations: u64,
    /// How many events.
    events: u64,
}

/// Erases partitions: all that is kept of their products, and all events that made it, so that their
/// ids can be used again. It cannot be undone. Possible only where the service was started with
/// `--allow-erasing`. Products are erased in pieces of 100, each in one moment, and commands go on
/// meanwhile. When it takes longer than a request may, the same call goes on where it was.
#[utoipa::path(
    delete, path = "/api/environment/{environmentId}/partitions/cleanupalldata", tag = "housekeeping", operation_id = "cleanUpPartitions",
    params(Environment), request_body(content = [String], description = "The ids of at most 5,000 partitions."),
    responses(
        (status = 200, body = CleanUp),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn clean_up(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Problem> {
    if !app.limits.allow_erasing {
        return Err(Problem::ErasingForbidden);
    }
    let partitions = read(&sent.body)?;
    // Erasing goes on without its request.
    let erasing = in_current_request(erase(Arc::clone(&app), sent.environment.id, partitions));
    let done = tokio::spawn(erasing).await.map_err(|_| Problem::Internal)??;
    Ok(json(StatusCode::OK, &done))
}

/// The same as `partitions/cleanupalldata`.
#[utoipa::path(
    delete, path = "/api/environment/{environmentId}/cleanupalldata", tag = "housekeeping", operation_id = "cleanUp",
    params(Environment), request_body(content = [String], description = "The ids of at most 5,000 partitions."),
    responses(
        (status = 200, body = CleanUp),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn clean_up_all(app: State<App>, sent: Sent) -> Result<Response<Body>, Problem> {
    clean_up(app, sent).await
}

pub(super) fn read(body: &[u8]) -> Result<Vec<Partition>, Problem> {
    let (mut partitions, mut faults) = (Vec::new(), Vec::new());
    for (index, raw) in items(body, PARTITIONS_MAX)?.into_iter().enumerate() {
        let id: Option<String> = serde_json::from_str(raw.get()).ok();
        match id.as_deref().and_then(partition) {
            Some(partition) => partitions.push(partition),
            None => faults.push(Fault::new(
                format!("/{index}"),
                "is no partition's id; allpartitionids lists them, and they are of the form organization/product",
            )),
        }
    }
    partitions.sort();
    partitions.dedup();
    if faults.is_empty() { Ok(partitions) } else { Err(Refusal::InvalidRequest(faults).into()) }
}

async fn erase(app: Arc<Shared>, environment: Value, partitions: Vec<Partition>) -> Result<CleanUp, Problem> {
    let Ok(_only) = app.erasing.try_lock() else { return Err(Problem::Overloaded) };
    let request = current_request();
    let mut all =
        CleanUp { partitions: partitions.len(), stock_nodes: 0, balances: 0, reservations: 0, events: 0 };
    for piece in partitions.chunks(PIECE_PARTITIONS) {
        let Erased { stock_nodes, balances, reservations } = empty(&app, &environment, piece).await?;
        let names = piece.iter().map(shown).collect::<Vec<_>>().join(", ");
        tracing::info!(request, %environment, partitions = names, stock_nodes, balances, reservations, "erased");
        all.stock_nodes += stock_nodes;
        all.balances += balances;
        all.reservations += reservations;
    }
    loop {
        let deleting = store::read(&app.readers, Sight::Of(environment.as_str()), async |connection| {
            erasing::delete_events(connection, environment.as_str()).await
        });
        match deleting.await? {
            Some(events) => all.events += events,
            None => break,
        }
    }
    tracing::info!(request, %environment, events = all.events, "the events of erased partitions deleted");
    Ok(all)
}

async fn empty(app: &Shared, environment: &Value, piece: &[Partition]) -> Result<Erased, StoreError> {
    for order in [Order::EnvironmentFirst, Order::NodesFirst].into_iter().cycle().take(TRIES_MAX) {
        let emptying = store::read(&app.readers, Sight::Of(environment.as_str()), async |connection| {
            erasing::empty(connection, environment.as_str(), piece, order).await
        });
        match emptying.await {
            // Commands were in the way; they are done before the next try.
            Err(StoreError::Conflict(_)) => {}
            done => return done,
        }
    }
    Err(StoreError::Conflict(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_every_character() {
        for (organization, product, id) in [
            ("usmf", "Bike", "usmf/Bike"),
            ("a/b", "100 %", "a%2Fb/100 %25"),
            ("größe", "%2F", "größe/%252F"),
        ] {
            let of = Partition { organization: Value::stored(organization), product: Value::stored(product) };
            assert_eq!(shown(&of), id);
            assert_eq!(partition(id), Some(of));
        }
    }

    #[test]
    fn what_names_no_product_is_no_id() {
        for id in ["", "usmf", "/", "usmf/", "/Bike", "a/b/c", "a/%", "a/%2f", "a/\u{0}"] {
            assert_eq!(partition(id), None, "{id:?}");
        }
    }
}
