//! What watches found.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode, header};
use utoipa::IntoParams;

use crate::domain::dimensions::Pairs;
use crate::domain::refusal::{Fault, Refusal, pointer};
use crate::domain::watch::{Label, Shown, State as AlertState};
use crate::store::alerts::{self, Wanted};
use crate::store::{self, Sight};

use super::commands::json;
use super::onhand_query::{PAGE_RECORDS_MAX, Parameters, all_right};
use super::onhand_records::Page;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment};

/// A list of alerts as an address has it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of what `read` reads")]
pub(super) struct ListParameters {
    /// Only those that are open, or only those that are closed.
    #[param(inline)]
    state: Option<AlertState>,
    /// Only those of one watch.
    watch: Option<String>,
    /// Only those of one owner's stock.
    organization_id: Option<String>,
    /// Only those of one product.
    product_id: Option<String>,
    /// Only those of a group path and what is below it, each group by its name behind `group.`:
    /// `group.channel=Online`.
    #[param(style = Form, explode)]
    groups: Option<BTreeMap<String, String>>,
    /// Most alerts of the answer; without it 1,000. The header `Link` has the address of the next page,
    /// where there is one.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Behind which alert the answer begins: from the header `Link` of the page before.
    after: Option<String>,
}

/// Lists alerts, the one that changed last first. A subject, which is a group path's balance or a
/// stock node, has one open alert of a watch at most; a closed one stays as it is, and another is
/// opened when it is the case again. Closed ones are kept for 30 days, or as many as the service was told
/// with `--alerts-kept-days`.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/alerts", tag = "watching", operation_id = "listAlerts",
    params(Environment, ListParameters),
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
    let (page, mut wanted, groups) = read(query.as_deref())?;
    let most = page.limit.unwrap_or(PAGE_RECORDS_MAX);
    let versioned = app.environments.current(&environment.id).await?;
    if !groups.is_empty() {
        wanted.groups = Some(versioned.configuration.groups().path("/group", &groups)?);
    }
    let reading = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        alerts::list(connection, environment.id.as_str(), &wanted, most as i64 + 1).await
    });
    let mut found = reading.await?;
    let is_last = found.len() <= most;
    found.truncate(most);
    let last = found.last().filter(|_| !is_last).map(|alert| alert.sequence);
    let shown: Vec<Shown> = found.into_iter().map(|alert| alert.shown(&versioned.configuration)).collect();
    Ok(linked(json(StatusCode::OK, &shown), &page, last))
}

/// An answer with the address of the next page, where there is one.
pub(super) fn linked(mut response: Response<Body>, page: &Page, last: Option<i64>) -> Response<Body> {
    if let Some(link) = last.and_then(|last| page.next(&[&last.to_string()])) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// Reads an address; the groups mean something under a configuration only.
pub(super) fn read(query: Option<&str>) -> Result<(Page, Wanted, Pairs<'static>), Problem> {
    let mut parameters = Parameters::read(query);
    let page = parameters.page(query);
    let is_open = match parameters.take_one("state").as_deref() {
        None => None,
        Some("open") => Some(true),
        Some("closed") => Some(false),
        Some(_) => {
            parameters.faults.push(Fault::new("/state", "must be open or closed"));
            None
        }
    };
    let watch = parameters.take_one("watch").and_then(|name| {
        let label = Label::parse(&name).map_err(|why| parameters.faults.push(Fault::new("/watch", why)));
        Some(label.ok()?.as_str().to_owned())
    });
    let before = before(&page, &mut parameters.faults);
    let (organization, product) =
        (parameters.take_value("organizationId"), parameters.take_value("productId"));
    let (groups, others) = parameters.take_pairs();
    parameters.given = others.into_iter().map(|(name, _)| (name.into_owned(), Vec::new())).collect();
    finish(parameters, &["state", "watch", "organizationId", "productId", "group.…", "limit", "after"])?;
    Ok((page, Wanted { is_open, watch, organization, product, groups: None, before }, groups))
}

/// The number of the record before a page.
pub(super) fn before(page: &Page, faults: &mut Vec<Fault>) -> Option<i64> {
    let [text] = &page.after.as_ref()?[..] else {
        faults.push(Fault::new("/after", "is not from the page before"));
        return None;
    };
    let before = text.parse().ok();
    if before.is_none() {
        faults.push(Fault::new("/after", "is not from the page before"));
    }
    before
}

/// Ends the reading of parameters, of which there are only these.
pub(super) fn finish(parameters: Parameters, known: &[&str]) -> Result<(), Problem> {
    if let Some((name, _)) = parameters.given.first() {
        let known = known.iter().map(|&name| name.to_owned()).collect();
        return Err(Refusal::UnknownProperty { pointer: pointer("", name), known }.into());
    }
    all_right(parameters.faults)
}
