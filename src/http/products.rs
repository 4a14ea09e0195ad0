//! Which products are enabled for allocation.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::domain::name::Value;
use crate::domain::refusal::{Fault, Refusal};
use crate::store::switches::{self, Switch};
use crate::store::{Reader, Sight, StoreError};

use super::around::current_request;
use super::body::Sent;
use super::commands::json;
use super::form::{Form, items};
use super::listing::{self, Listed};
use super::onhand_query::PageParameters;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment};

/// Most products that are switched at once.
const SWITCHES_MAX: usize = 5_000;
/// The properties of a product's switch.
pub(super) const SWITCH: &[&str] = &["organizationId", "productId", "enabled"];

/// Whether a product is enabled for allocation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProductSwitch)]
pub(super) struct Shown {
    /// The owner.
    #[schema(value_type = String, max_length = 128)]
    organization_id: Value,
    /// The product.
    #[schema(value_type = String, max_length = 128)]
    product_id: Value,
    /// Whether it can be allocated, where the configuration requires that products are enabled.
    enabled: bool,
}

impl Listed for Shown {
    fn key(&self) -> [&str; 2] {
        [self.organization_id.as_str(), self.product_id.as_str()]
    }

    async fn page(
        connection: &mut PgConnection,
        environment: &str,
        [organization, product]: [&str; 2],
        most: i64,
    ) -> Result<Vec<Shown>, StoreError> {
        let found = switches::page(connection, environment, (organization, product), most).await?;
        Ok(found.into_iter().map(shown).collect())
    }
}

fn shown(Switch { organization, product, enabled }: Switch) -> Shown {
    Shown { organization_id: organization, product_id: product, enabled }
}

/// Lists the products that were ever enabled for allocation, and whether they are now. The answer is
/// one array, however long; `limit` asks for a page instead.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/allocation/products", tag = "allocation", operation_id = "listEnabledProducts",
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

/// Enables products for allocation, or disables them: all of them or, when anything is wrong, none.
/// Commands that are answered later were decided knowing of it. It matters only where the
/// configuration says `allocation.requireEnabledProducts`, and there to `allocation/allocate` alone:
/// what is allocated already can be reallocated, given back and consumed. The configuration gets a
/// new version by it.
#[utoipa::path(
    put, path = "/api/environment/{environmentId}/allocation/products", tag = "allocation", operation_id = "enableProducts",
    params(Environment), request_body(content = [Shown], description = "At most 5,000, none twice."),
    responses(
        (status = 200, body = [Shown], description = "The products as they are now."),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn switch(
    State(app): State<App>,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let switches = read(&body)?;
    let (shared, id) = (Arc::clone(&app), environment.id.clone());
    // A handler may be dropped at any time, but not a transaction in its middle.
    let task = tokio::spawn(async move {
        let mut connection = Reader::of(&shared.readers, Sight::Of(id.as_str())).await?;
        let switched = switches::switch(&mut connection, id.as_str(), &switches).await?;
        Ok::<_, StoreError>((switched, switches))
    });
    let (switched, switches) = task.await.map_err(|_| Problem::Internal)??;
    let switched = switched.ok_or_else(|| Problem::UnknownEnvironment(environment.id.to_string()))?;
    tracing::info!(request = current_request(), environment = %environment.id, switched, "products switched");
    app.environments.current(&environment.id).await?;
    Ok(json(StatusCode::OK, &switches.into_iter().map(shown).collect::<Vec<_>>()))
}

pub(super) fn read(body: &[u8]) -> Result<Vec<Switch>, Problem> {
    let (mut switches, mut faults, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, line) in items(body, SWITCHES_MAX)?.into_iter().enumerate() {
        let mut form = Form::read_at(&format!("/{index}"), line, SWITCH)?;
        form.must_have("enabled");
        let switch = Switch {
            organization: form.value("organizationId"),
            product: form.value("productId"),
            enabled: form.boolean("enabled").unwrap_or_default(),
        };
        faults.extend(form.into_faults());
        if !seen.insert((switch.organization.clone(), switch.product.clone())) {
            faults.push(Fault::new(format!("/{index}"), "is a product that is given before already"));
        }
        switches.push(switch);
    }
    if faults.is_empty() { Ok(switches) } else { Err(Refusal::InvalidRequest(faults).into()) }
}
