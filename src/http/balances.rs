//! The query of balances.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::{DimensionPath, Pairs};
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::refusal::{Place, Refusal};
use crate::domain::state::Balance;
use crate::store::configuration::Versioned;
use crate::store::past::Named;
use crate::store::{self, Sight, StoreError, onhand, query};

use super::body::Sent;
use super::commands::{groups_name, json, read_product};
use super::form::Form;
use super::problem::{Problem, ProblemBody};
use super::running::CONFIGURATIONS_MAX;
use super::{App, Environment, as_of, schema};

/// Most balances that one query answers.
const BALANCES_MAX: usize = 100_000;

/// The properties of a query of balances.
pub(super) const QUERY: &[&str] = &[
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "groups",
    "targetGroups",
    "rollup",
    "asOf",
];

/// A balance in the answer of a query.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AllocationRecord)]
pub(super) struct Record<'a> {
    /// The owner.
    #[schema(value_type = String)]
    organization_id: &'a Value,
    /// The product.
    #[schema(value_type = String)]
    product_id: &'a Value,
    /// Where.
    #[schema(value_type = BTreeMap<String, String>)]
    dimensions: Place,
    /// The group path.
    #[schema(value_type = BTreeMap<String, String>)]
    groups: Place,
    /// What it holds.
    #[schema(value_type = schema::AllocationQuantities)]
    quantities: Quantities,
}

#[derive(Serialize)]
struct Quantities {
    #[serde(rename = "@iv")]
    predefined: Measures,
}

#[derive(Serialize)]
struct Measures {
    #[serde(rename = "@allocated")]
    allocated: Quantity,
    #[serde(rename = "@consumed")]
    consumed: Quantity,
    #[serde(rename = "@cumulative_allocated")]
    cumulative_allocated: Quantity,
    #[serde(rename = "@cumulative_consumed")]
    cumulative_consumed: Quantity,
}

/// Answers the balances at exactly these dimensions, in the order of the hierarchy. With
/// `rollup`, each with all that is below it. With `asOf` they are those of then, under the names of
/// today; what was erased since is not among them.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/query", tag = "allocation", operation_id = "queryAllocations",
    params(Environment), request_body = schema::AllocationQuery,
    responses((status = 200, body = [Record<'_>], headers(("ringfence-as-of" = i64, description = "With `asOf`: the event that the answer is as of."))), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn query(
    State(app): State<App>,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let asked = Asked::read(&body, &environment.id)?;
    environment.check_groups(&asked.key.organization, &asked.groups)?;
    if let Some(named) = asked.as_of {
        return asked.answer_of_then(&app, &environment.id, named).await;
    }
    let mut versioned = environment.versioned;
    for _ in 0..CONFIGURATIONS_MAX {
        let current = match asked.answer(&app, &versioned).await {
            Ok(answer) => return Ok(answer),
            // Other instances change configurations too, so what the kept one refuses may be
            // right under a newer one.
            Err(Unanswered::Refused(refusal)) => {
                let newer = app.environments.newer_than(&environment.id, &versioned).await?;
                newer.ok_or(Problem::from(refusal))?
            }
            Err(Unanswered::Outdated) => app.environments.current(&environment.id).await?,
            Err(Unanswered::Problem(problem)) => return Err(problem),
        };
        versioned = current;
    }
    Err(Problem::Overloaded)
}

/// A query as far as its form tells.
pub(super) struct Asked<'a> {
    key: ProductKey,
    source: Option<Cow<'a, str>>,
    dimensions: Pairs<'a>,
    groups: Pairs<'a>,
    rollup: bool,
    as_of: Option<Named>,
}

/// Why a query has no answer under a configuration.
pub(super) enum Unanswered {
    /// The configuration is against it.
    Refused(Refusal),
    /// The configuration is not the current one.
    Outdated,
    /// The query itself, or the database.
    Problem(Problem),
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Unanswered {
        Unanswered::Refused(refusal)
    }
}

impl From<Problem> for Unanswered {
    fn from(problem: Problem) -> Unanswered {
        Unanswered::Problem(problem)
    }
}

impl From<StoreError> for Unanswered {
    fn from(error: StoreError) -> Unanswered {
        Unanswered::Problem(error.into())
    }
}

impl<'a> Asked<'a> {
    pub(super) fn read(body: &'a [u8], environment: &Value) -> Result<Asked<'a>, Problem> {
        let mut form = Form::read(body, QUERY)?;
        let asked = Asked {
            key: read_product(&mut form, environment),
            source: form.optional_text("dimensionDataSource"),
            dimensions: form.pairs("dimensions"),
            groups: {
                let name = groups_name(&mut form);
                form.optional_pairs(name).unwrap_or_default()
            },
            rollup: form.boolean("rollup").unwrap_or(false),
            as_of: as_of::read(&mut form),
        };
        form.finish()?;
        Ok(asked)
    }

    /// Where it asks, under a configuration, and which groups the balances must have.
    pub(super) fn place(
        &self,
        configuration: &Configuration,
    ) -> Result<(DimensionPath, Vec<Option<Value>>), Refusal> {
        let groups = configuration.groups().filter("/groups", &self.groups)?;
        let path = configuration.path(self.source.as_deref(), &self.dimensions)?;
        Ok((path, groups))
    }
    async fn answer(&self, app: &App, versioned: &Versioned) -> Result<Response<Body>, Unanswered> {
        let configuration = &versioned.configuration;
        let (path, groups) = self.place(configuration)?;
        let most = BALANCES_MAX as i64 + 1;
        let reading =
            store::read(&app.readers, Sight::Of(self.key.environment.as_str()), async |connection| {
                query::balances(connection, &self.key, &path, &groups, most).await
            });
        let found = reading.await?;
        if found.configuration != Some(versioned.version) {
            return Err(Unanswered::Outdated);
        }
        Ok(self.show(configuration, &path, &groups, found.balances)?)
    }

    /// Answers what was the case at a point in the past.
    async fn answer_of_then(
        &self,
        app: &App,
        environment: &Value,
        named: Named,
    ) -> Result<Response<Body>, Problem> {
        let point = as_of::find(app, environment, named).await?;
        // Read after the point was found, so that it knows every measure that the events have.
        let versioned = app.environments.current(environment).await?;
        let (path, groups) = self.place(&versioned.configuration)?;
        let mut stream = onhand::Stream::open(&app.streams, environment).await?;
        let stock = stream.stock_of_then(&self.key, &versioned.configuration, point.event_id).await?;
        let held = stock.nodes.get(&path).into_iter().flat_map(|node| &node.balances);
        let agrees = |own: &GroupPath| {
            groups
                .iter()
                .enumerate()
                .all(|(at, given)| given.is_none() || own.values().get(at) == given.as_ref())
        };
        let held = held.filter(|(own, _)| agrees(own)).map(|(own, &balance)| (own.clone(), balance));
        let mut response = self.show(&versioned.configuration, &path, &groups, held.collect())?;
        as_of::tell(&mut response, Some(point));
        Ok(response)
    }

    /// Answers balances, in the order of their group paths.
    fn show(
        &self,
        configuration: &Configuration,
        path: &DimensionPath,
        groups: &[Option<Value>],
        balances: Vec<(GroupPath, Balance)>,
    ) -> Result<Response<Body>, Problem> {
        if balances.len() > BALANCES_MAX {
            let detail = format!("agrees with more than {BALANCES_MAX} balances; give more groups");
            return Err(Problem::invalid("/groups", detail));
        }
        let balances = balances.into_iter();
        let balances = balances.map(|(groups, balance)| (groups.values().to_vec(), balance)).collect();
        let lowest_given = groups.iter().rposition(Option::is_some).map_or(1, |lowest| lowest + 1);
        let balances = if self.rollup { roll_up(balances, lowest_given) } else { balances };
        Ok(json(StatusCode::OK, &self.records(configuration, path, balances)))
    }

    fn records(
        &self,
        configuration: &Configuration,
        path: &DimensionPath,
        balances: BTreeMap<Vec<Value>, Balance>,
    ) -> Vec<Record<'_>> {
        let place = configuration.dimensions().place(path.values());
        let records = balances.into_iter().map(|(groups, balance)| Record {
            organization_id: &self.key.organization,
            product_id: &self.key.product,
            dimensions: place.clone(),
            groups: configuration.groups().place(&groups),
            quantities: Quantities {
                predefined: Measures {
                    allocated: balance.allocated,
                    consumed: balance.consumed,
                    cumulative_allocated: balance.cumulative_allocated,
                    cumulative_consumed: balance.cumulative_consumed,
                },
            },
        });
        records.collect()
    }
}

/// Sums every balance into each path above it, from the lowest group given downwards: those
/// above do not agree with it.
fn roll_up(balances: BTreeMap<Vec<Value>, Balance>, lowest_given: usize) -> BTreeMap<Vec<Value>, Balance> {
    let mut sums: BTreeMap<Vec<Value>, Balance> = BTreeMap::new();
    for (path, balance) in balances {
        for length in lowest_given..=path.len() {
            let sum = sums.entry(path[..length].to_vec()).or_default();
            sum.allocated += balance.allocated;
            sum.consumed += balance.consumed;
            sum.cumulative_allocated += balance.cumulative_allocated;
            sum.cumulative_consumed += balance.cumulative_consumed;
        }
    }
    sums
}
