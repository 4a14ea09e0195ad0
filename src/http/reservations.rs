//! The list of what is reserved.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode, header};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::domain::configuration::Configuration;
use crate::domain::dimensions::Pairs;
use crate::domain::held::{HeldAt, products};
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::refusal::{Fault, Place, Refusal, pointer};
use crate::store::reservations::{Cursor, Wanted, held};
use crate::store::{self, Sight};

use super::commands::json;
use super::onhand_query::{PAGE_RECORDS_MAX, Parameters, all_right};
use super::onhand_records::Page;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment};

/// A list as an address has it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of what `Asked::read` reads")]
pub(super) struct ListParameters {
    /// The owner.
    organization_id: String,
    /// The product; without it all.
    product_id: Option<String>,
    /// A dimension by its name, with the value that it must have: `siteId=1&locationId=11`. Others
    /// may have any.
    #[param(style = Form, explode)]
    dimensions: Option<BTreeMap<String, String>>,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Most reservations of the answer; without it 1,000. The header `Link` has the address of the
    /// next page, where there is one.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Behind which reservation the answer begins: from the header `Link` of the page before.
    after: Option<String>,
}

/// A reservation that holds stock.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Reservation)]
pub(super) struct Record<'a> {
    /// Its id, which an unreserve names.
    reservation_id: Uuid,
    /// The owner.
    #[schema(value_type = String)]
    organization_id: &'a Value,
    /// The product.
    #[schema(value_type = String)]
    product_id: &'a Value,
    /// Where.
    #[schema(value_type = BTreeMap<String, String>)]
    dimensions: Place,
    /// The data source of the measure that it is kept in.
    quantity_data_source: &'a str,
    /// The measure.
    modifier: &'a str,
    /// How much was reserved.
    quantity: Quantity,
    /// How much of it is not freed yet: more than 0.
    remaining: Quantity,
}

/// Lists the reservations that hold stock, in the order of products, dimensions and ids. What was
/// freed whole is not among them.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/reservations", tag = "reservation", operation_id = "listReservations",
    params(Environment, ListParameters),
    responses(
        (status = 200, body = [Record<'_>], headers(("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    environment: Environment,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let asked = Asked::read_address(query.as_deref().unwrap_or_default())?;
    // Other instances change configurations too, and a list has no guard that would notice.
    let versioned = app.environments.current(&environment.id).await?;
    let configuration = &versioned.configuration;
    let place = asked.place(configuration)?;
    let (first, last) = products(asked.product.as_ref());
    let most = asked.page.limit.unwrap_or(PAGE_RECORDS_MAX);
    let wanted = Wanted {
        environment: &environment.id,
        organization: &asked.organization,
        products: (first.as_str(), last.as_str()),
        paths: place.paths(),
        filters: place.filters(),
        after: asked.after.as_ref(),
        most: most + 1,
    };
    let reading = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        held(connection, &wanted).await
    });
    let mut found = reading.await?;
    let is_last = found.len() <= most;
    found.truncate(most);
    let records = found.iter().map(|held| Record {
        reservation_id: held.cursor.id,
        organization_id: &asked.organization,
        product_id: &held.cursor.product,
        dimensions: configuration.dimensions().place(&held.cursor.path),
        quantity_data_source: held.measure.source.as_str(),
        modifier: held.measure.measure.as_str(),
        quantity: held.quantity,
        remaining: held.remaining,
    });
    let mut response = json(StatusCode::OK, &records.collect::<Vec<_>>());
    if let Some(last) = found.last().filter(|_| !is_last)
        && let Some(link) = asked.page.next(&texts(&last.cursor, &last.cursor.id.to_string()))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// A cursor as texts: the product, the id, and the values of the path.
fn texts<'a>(cursor: &'a Cursor, id: &'a str) -> Vec<&'a str> {
    [cursor.product.as_str(), id].into_iter().chain(cursor.path.iter().map(Value::as_str)).collect()
}

fn cursor(texts: &[String]) -> Result<Cursor, Problem> {
    let wrong = || Problem::invalid("/after", "is not from the page before of the same list");
    let [product, id, path @ ..] = texts else { return Err(wrong()) };
    let value = |text: &String| match text.as_str() {
        "" => Ok(Value::empty()),
        text => Value::parse(text).map_err(|_| wrong()),
    };
    Ok(Cursor {
        product: value(product)?,
        path: path.iter().map(value).collect::<Result<_, _>>()?,
        id: Uuid::parse_str(id).map_err(|_| wrong())?,
    })
}

/// A list as far as its form tells.
pub(super) struct Asked {
    page: Page,
    /// The reservation before the page.
    after: Option<Cursor>,
    organization: Value,
    product: Option<Value>,
    source: Option<String>,
    dimensions: Pairs<'static>,
}

impl Asked {
    pub(super) fn read_address(query: &str) -> Result<Asked, Problem> {
        let mut parameters = Parameters::read(Some(query));
        let page = parameters.page(Some(query));
        let after = page.after.as_deref().map(cursor).transpose()?;
        let (organization, product) =
            (parameters.take_one("organizationId"), parameters.take_one("productId"));
        let source = parameters.take_one("dimensionDataSource");
        let Parameters { given, mut faults } = parameters;
        let mut value = |name: &str, text: Option<String>| {
            let value = text.map(|text| Value::parse(&text))?;
            value.map_err(|error| faults.push(Fault::new(pointer("", name), error))).ok()
        };
        if organization.is_none() {
            value("organizationId", Some(String::new()));
        }
        let (organization, product) = (value("organizationId", organization), value("productId", product));
        let mut dimensions = Pairs::new();
        for (name, mut values) in given {
            match (values.pop(), values.is_empty()) {
                (Some(one), true) => dimensions.push((Cow::Owned(name), Cow::Owned(one))),
                _ => faults.push(Fault::new(pointer("", &name), "is given twice")),
            }
        }
        all_right(faults)?;
        let organization = organization.unwrap_or_else(Value::empty);
        Ok(Asked { page, after, organization, product, source, dimensions })
    }

    /// Where it asks, under a configuration.
    pub(super) fn place(&self, configuration: &Configuration) -> Result<HeldAt, Refusal> {
        HeldAt::new(configuration, self.source.as_deref(), &self.dimensions)
    }
}
