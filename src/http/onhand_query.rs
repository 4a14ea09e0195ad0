//! On-hand stock: queries, in the three forms that they have.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::Response;
use utoipa::IntoParams;

use crate::domain::dimensions::Pairs;
use crate::domain::name::Value;
use crate::domain::query::{Filters, Question};
use crate::domain::refusal::{Fault, Refusal, pointer};
use crate::store::past::Named;

use super::as_of::{AS_OF, AsOfParameter};
use super::body::Sent;
use super::form::Form;
use super::onhand_records::{Asked, Page, answer};
use super::problem::{Problem, ProblemBody};
use super::promises::QUERY_ATP;
use super::schedule::today;
use super::{App, Environment, as_of, promises, schema};

/// Most products that a query names.
const PRODUCTS_MAX: usize = 5_000;
/// Most records of a page.
pub(crate) const PAGE_RECORDS_MAX: usize = 1_000;

/// The properties of a query.
pub(super) const QUERY: &[&str] = &[
    "dimensionDataSource",
    "filters",
    "groupByValues",
    "returnNegative",
    "queryATP",
    "atpFromDate",
    "atpToDate",
    "asOf",
];
/// The filters of a query beside the dimensions.
const FILTERS: &[&str] = &["organizationId", "productId"];
/// The filters of an exact query.
const EXACT_FILTERS: &[&str] = &["organizationId", "productId", "dimensions", "values"];
/// The parameters of a page.
const PAGE: &[&str] = &["limit", "after", AS_OF];

/// Which part of the answer is wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "the shape of what `Parameters` reads")]
pub(super) struct PageParameters {
    /// Most records of the answer. Without it the answer is whole, however long, and is written
    /// as it is read. With it the header `Link` has the address of the next page, where there is one.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Behind which record the answer begins: from the header `Link` of the page before.
    after: Option<String>,
}

/// A query as an address has it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of what `Parameters` reads")]
pub(super) struct QueryParameters {
    /// The owner.
    organization_id: String,
    /// The products, one or repeated; without it all.
    #[param(explode)]
    product_id: Option<Vec<String>>,
    /// A dimension by its name, with the values that it may have, one or repeated: `siteId=1&siteId=2`.
    #[param(style = Form, explode)]
    dimensions: Option<BTreeMap<String, String>>,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Further dimensions that the records keep, with commas between.
    group_by: Option<String>,
    /// Whether records with a quantity below zero are answered too.
    #[param(default = false)]
    return_negative: Option<bool>,
    /// Whether the records have what is scheduled too, and what can be promised.
    #[param(rename = "queryATP", default = false)]
    query_atp: Option<bool>,
    /// The first day that is to be shown of it; without it, today.
    #[param(rename = "atpFromDate", format = Date)]
    atp_from_date: Option<String>,
    /// The last day that is to be shown of it; without it, the last that can be scheduled for.
    #[param(rename = "atpToDate", format = Date)]
    atp_to_date: Option<String>,
}

/// An address's parameters while they are read; names match in any letter case.
pub(super) struct Parameters {
    pub(super) given: Vec<(String, Vec<String>)>,
    pub(super) faults: Vec<Fault>,
}

impl Parameters {
    pub(super) fn read(query: Option<&str>) -> Parameters {
        let mut given: Vec<(String, Vec<String>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            // A head has few of them.
            match given.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(&name)) {
                Some((_, values)) => values.push(value.into_owned()),
                None => given.push((name.into_owned(), vec![value.into_owned()])),
            }
        }
        Parameters { given, faults: Vec::new() }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Vec<String>> {
        let place = self.given.iter().position(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(self.given.remove(place).1)
    }

    pub(super) fn take_one(&mut self, name: &str) -> Option<String> {
        let mut values = self.take(name)?;
        if values.len() > 1 {
            self.faults.push(Fault::new(pointer("", name), "is given twice"));
        }
        values.pop()
    }

    pub(super) fn take_value(&mut self, name: &str) -> Option<Value> {
        let text = self.take_one(name)?;
        Value::parse(&text).map_err(|error| self.faults.push(Fault::new(pointer("", name), error))).ok()
    }

    /// All that is left, as pairs: groups, which are given behind `group.`, and what has other names.
    pub(super) fn take_pairs(&mut self) -> (Pairs<'static>, Pairs<'static>) {
        let (mut groups, mut others) = (Pairs::new(), Pairs::new());
        for (name, mut values) in std::mem::take(&mut self.given) {
            let group = name.split_once('.').filter(|(word, _)| word.eq_ignore_ascii_case("group"));
            let group = group.map(|(_, group)| group.to_owned());
            match (values.pop(), values.is_empty(), group) {
                (Some(one), true, Some(group)) => groups.push((Cow::Owned(group), Cow::Owned(one))),
                (Some(one), true, None) => others.push((Cow::Owned(name), Cow::Owned(one))),
                _ => self.faults.push(Fault::new(pointer("", &name), "is given twice")),
            }
        }
        (groups, others)
    }

    pub(super) fn take_boolean(&mut self, name: &str) -> Option<bool> {
        let text = self.take_one(name)?.to_ascii_lowercase();
        let read = text.parse().ok();
        if read.is_none() {
            self.faults.push(Fault::new(pointer("", name), "must be true or false"));
        }
        read
    }

    fn as_of(&mut self) -> Option<Named> {
        let read = as_of::parse(&self.take_one(AS_OF)?);
        read.map_err(|detail| self.faults.push(Fault::new(pointer("", AS_OF), detail))).ok()
    }

    fn promises(&mut self) -> Option<promises::Asked> {
        let [is_asked, from, to] = QUERY_ATP;
        let is_asked = self.take_boolean(is_asked) == Some(true);
        let (from, to) = (self.take_one(from), self.take_one(to));
        let fault = |name: &str, detail: &str| self.faults.push(Fault::new(pointer("", name), detail));
        let asked = promises::Asked::read(today(), from.as_deref(), to.as_deref(), fault);
        is_asked.then_some(asked)
    }

    /// Most records of a page.
    pub(super) fn take_limit(&mut self) -> Option<usize> {
        let limit = self.take_one("limit").map(|text| text.parse::<usize>().unwrap_or(0));
        if limit.is_some_and(|limit| !(1..=PAGE_RECORDS_MAX).contains(&limit)) {
            let detail = format!("must be a whole number from 1 to {PAGE_RECORDS_MAX}");
            self.faults.push(Fault::new("/limit", detail));
        }
        limit
    }

    pub(super) fn page(&mut self, query: Option<&str>) -> Page {
        let limit = self.take_limit();
        let after = self.take_one("after").map(|text| {
            let texts = serde_json::from_str::<Vec<String>>(&text).ok();
            // PostgreSQL has no text with a NUL, so no page ended at one.
            texts.filter(|texts| !texts.iter().any(|text| text.contains('\0'))).unwrap_or_default()
        });
        Page { limit, after, query: query.unwrap_or_default().to_owned() }
    }

    /// Ends the reading of a page's parameters, beside which there are none.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if let Some((name, _)) = self.given.first() {
            let known = PAGE.iter().map(|&name| name.to_owned()).collect();
            return Err(Refusal::UnknownProperty { pointer: pointer("", name), known }.into());
        }
        all_right(self.faults)
    }
}

pub(super) fn all_right(faults: Vec<Fault>) -> Result<(), Problem> {
    if faults.is_empty() { Ok(()) } else { Err(Refusal::InvalidRequest(faults).into()) }
}

/// Whose stock is asked for: one organization, and products, where none stands for all.
struct Owner {
    organization: Value,
    products: Vec<Value>,
    faults: Vec<Fault>,
}

impl Owner {
    fn read<T: AsRef<str>>(place: &str, organizations: &[T], products: &[T]) -> Owner {
        let (mut faults, organization) = (Vec::new(), pointer(place, "organizationId"));
        let mut value = |text: &str, place: String| {
            let value = Value::parse(text).map_err(|error| faults.push(Fault::new(place, error)));
            value.unwrap_or_else(|()| Value::empty())
        };
        let products_place = pointer(place, "productId");
        let of_one = |index: usize| format!("{products_place}/{index}");
        let products_read: BTreeSet<Value> = products
            .iter()
            .take(PRODUCTS_MAX)
            .enumerate()
            .map(|(index, text)| value(text.as_ref(), of_one(index)))
            .collect();
        let organization_read = match organizations {
            [one] => value(one.as_ref(), format!("{organization}/0")),
            _ => {
                faults.push(Fault::new(organization, "must have one value"));
                Value::empty()
            }
        };
        if products.len() > PRODUCTS_MAX {
            let detail = format!("has {} values, at most {PRODUCTS_MAX} are allowed", products.len());
            faults.push(Fault::new(products_place, detail));
        }
        Owner { organization: organization_read, products: products_read.into_iter().collect(), faults }
    }
}

/// Answers what stock there is, by any dimensions: one record per product and combination of
/// values of the dimensions that are filtered on or grouped by, in their order. What has no
/// value of such a dimension has the empty one. Records of which any quantity is below zero,
/// be it physical or calculated, only with `returnNegative`, or with `queryATP`: then they have
/// what is scheduled too, and what can be promised of it.
///
/// The answer is one array of one moment, however long, and is written as it is read. When the
/// connection is closed in the middle of it, it is not whole. `limit` asks for a page instead.
///
/// With `asOf` it is the answer of then: the quantities and the schedule of that point, under the
/// names, formulas and calculated measures of today. What was erased since is not in it. With
/// `queryATP`, today is the day on which the event of that point was received.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/indexquery", tag = "on hand", operation_id = "queryOnHand",
    params(Environment, PageParameters, AsOfParameter), request_body = schema::OnHandQuery,
    responses(
        (status = 200, body = [schema::OnHandRecord], headers(
            ("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."),
            ("ringfence-as-of" = i64, description = "With `asOf`: the event that the answer is as of."),
        )),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn index(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let (asked, question) = read_index(&body, query.as_deref())?;
    answer(&app, &environment, asked, &question).await
}

/// Answers as `onhand/indexquery`, for the combinations of values that are given, and no others.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/exactquery", tag = "on hand", operation_id = "queryOnHandExactly",
    params(Environment, PageParameters, AsOfParameter), request_body = schema::OnHandExactQuery,
    responses(
        (status = 200, body = [schema::OnHandRecord], headers(
            ("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."),
            ("ringfence-as-of" = i64, description = "With `asOf`: the event that the answer is as of."),
        )),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn exact(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let (asked, question) = read_exact(&body, query.as_deref())?;
    answer(&app, &environment, asked, &question).await
}

/// Answers as `onhand/indexquery`, with the query in the address.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/onhand", tag = "on hand", operation_id = "getOnHand",
    params(Environment, QueryParameters, PageParameters, AsOfParameter),
    responses(
        (status = 200, body = [schema::OnHandRecord], headers(
            ("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."),
            ("ringfence-as-of" = i64, description = "With `asOf`: the event that the answer is as of."),
        )),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(
    State(app): State<App>,
    environment: Environment,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let (asked, question) = read_address(query.as_deref())?;
    answer(&app, &environment, asked, &question).await
}

/// Reads a query's parameters.
pub(super) fn read_address(query: Option<&str>) -> Result<(Asked, Question<'static>), Problem> {
    let mut parameters = Parameters::read(query);
    let page = parameters.page(query);
    let organizations = parameters.take("organizationId").unwrap_or_default();
    let mut owner = Owner::read("", &organizations, &parameters.take("productId").unwrap_or_default());
    let group_by = parameters.take_one("groupBy").unwrap_or_default();
    let return_negative = parameters.take_boolean("returnNegative") == Some(true);
    let promises = parameters.promises();
    let as_of = parameters.as_of();
    let source = parameters.take_one("dimensionDataSource");
    all_right(parameters.faults.into_iter().chain(std::mem::take(&mut owner.faults)).collect())?;
    let owned = |texts: Vec<String>| texts.into_iter().map(Cow::Owned).collect();
    let question = Question {
        dimension_data_source: source.map(Cow::Owned),
        filters: Filters::Each(
            parameters.given.into_iter().map(|(name, values)| (Cow::Owned(name), owned(values))).collect(),
        ),
        group_by: group_by
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| Cow::Owned(name.to_owned()))
            .collect(),
        places: ("", "/groupBy"),
    };
    let Owner { organization, products, .. } = owner;
    let asked = Asked { organization, products, return_negative, promises, as_of, page };
    Ok((asked, question))
}

/// Reads a query's body.
pub(super) fn read_index<'a>(body: &'a [u8], query: Option<&str>) -> Result<(Asked, Question<'a>), Problem> {
    let mut form = Form::read(body, QUERY)?;
    let (mut owner, mut each) = (Lists::default(), Vec::new());
    if let Some(mut filters) = form.open_form("filters", FILTERS) {
        owner = [filters.texts("organizationId"), filters.texts("productId")];
        each = filters.other_texts();
        form.absorb(filters);
    }
    read_rest(form, query, owner, Filters::Each(each))
}

/// Reads an exact query's body.
pub(super) fn read_exact<'a>(body: &'a [u8], query: Option<&str>) -> Result<(Asked, Question<'a>), Problem> {
    let mut form = Form::read(body, QUERY)?;
    form.must_have("filters");
    let (mut owner, mut dimensions, mut values) = (Lists::default(), Vec::new(), Vec::new());
    if let Some(mut filters) = form.form("filters", EXACT_FILTERS)? {
        owner = [filters.texts("organizationId"), filters.texts("productId")];
        (dimensions, values) = (filters.texts("dimensions"), filters.rows("values"));
        form.absorb(filters);
    }
    read_rest(form, query, owner, Filters::Exact { dimensions, values })
}

fn promises_of(form: &mut Form<'_>) -> Option<promises::Asked> {
    let [is_asked, from, to] = QUERY_ATP;
    let is_asked = form.boolean(is_asked) == Some(true);
    let (from, to) = (form.optional_text(from), form.optional_text(to));
    let fault = |name: &str, detail: &str| form.reject(name, detail);
    let asked = promises::Asked::read(today(), from.as_deref(), to.as_deref(), fault);
    is_asked.then_some(asked)
}

/// The organizations and the products that a query with a body names.
type Lists<'a> = [Vec<Cow<'a, str>>; 2];

/// Reads what all queries with a body have, and ends the reading.
fn read_rest<'a>(
    mut form: Form<'a>,
    query: Option<&str>,
    [organizations, products]: Lists<'a>,
    filters: Filters<'a>,
) -> Result<(Asked, Question<'a>), Problem> {
    let question = Question {
        dimension_data_source: form.optional_text("dimensionDataSource"),
        filters,
        group_by: form.optional_texts("groupByValues").unwrap_or_default(),
        places: ("/filters", "/groupByValues"),
    };
    let return_negative = form.boolean("returnNegative").unwrap_or(false);
    let promises = promises_of(&mut form);
    let mut as_of = as_of::read(&mut form);
    let mut parameters = Parameters::read(query);
    let page = parameters.page(query);
    as_of = parameters.as_of().or(as_of);
    form.finish()?;
    let mut owner = Owner::read("/filters", &organizations, &products);
    parameters.faults.extend(std::mem::take(&mut owner.faults));
    parameters.finish()?;
    let Owner { organization, products, .. } = owner;
    Ok((Asked { organization, products, return_negative, promises, as_of, page }, question))
}
