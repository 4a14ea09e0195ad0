//! The history: events of an environment, page by page or written as they are read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use utoipa::IntoParams;

use crate::domain::access::Scope;
use crate::domain::command::Timestamp;
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::Pairs;
use crate::domain::held::HeldAt;
use crate::domain::history::{Filter, GroupFilter, OPERATIONS};
use crate::domain::name::Value;
use crate::domain::refusal::{Fault, Refusal, pointer};
use crate::store::configuration::Versioned;
use crate::store::history::{self, Wanted};
use crate::store::ledger::{Event, Row};
use crate::store::{self, Sight, StoreError, horizon};

use super::around::in_current_request;
use super::commands::json;
use super::event_record::EventRecord;
use super::onhand::parse_time;
use super::onhand_query::{Parameters, all_right};
use super::problem::{Problem, ProblemBody};
use super::stream::{Gone, Writer, channel};
use super::{App, Environment, Shared};

/// Events of a page when the request does not say.
const PAGE_EVENTS: usize = 100;
/// Events that are read at once for an export.
const READ_EVENTS: usize = 1_000;
/// How long events are looked for before a page is answered short.
const SEARCH_TIME_MAX: Duration = Duration::from_millis(500);
/// The header that says how far the ledger is settled.
const HORIZON: &str = "ringfence-horizon";
/// Lines of JSON.
const NDJSON: &str = "application/x-ndjson";

/// Which events are asked for, as an address has it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of what `Asked::read` reads")]
pub(super) struct FilterParameters {
    /// The owner.
    organization_id: Option<String>,
    /// The product. With `organizationId` its events are found without looking at others.
    product_id: Option<String>,
    /// A dimension by its name, with the value that it must have: `siteId=1&colorId=red`. Others may
    /// have any.
    #[param(style = Form, explode)]
    dimensions: Option<BTreeMap<String, String>>,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// A group path, each group by its name behind `group.`: `group.channel=Online`. A reallocation
    /// is found by either of its two.
    #[param(style = Form, explode)]
    groups: Option<BTreeMap<String, String>>,
    /// Whether group paths below the given one count too.
    #[param(default = true)]
    below: Option<bool>,
    /// Operations, with commas between: `consume,allocate`.
    operation: Option<String>,
    /// Who asked for it.
    actor: Option<String>,
    /// What it belongs to. Its events are found without looking at others.
    reference: Option<String>,
    /// From when on the service took the events in; without an offset, in UTC. Times are found in
    /// the order of the ledger, as far as the clocks of all instances are within ten minutes.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before when.
    #[param(format = DateTime)]
    to: Option<String>,
    /// Behind which event id.
    #[param(minimum = 0)]
    after: Option<i64>,
}

/// Which part of them, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of what `Asked::read` reads")]
pub(super) struct PageParameters {
    /// `oldest` first, or `newest`.
    #[param(default = "oldest", pattern = "^(oldest|newest)$")]
    order: Option<String>,
    /// Before which event id.
    #[param(minimum = 0)]
    before: Option<i64>,
    /// Most events of the answer; without it 100, and as lines all.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `ndjson` for lines of JSON, as the header Accept: application/x-ndjson.
    #[param(default = "json", pattern = "^(json|ndjson)$")]
    format: Option<String>,
}

/// Lists the events of the ledger, oldest or newest first: what was asked, by whom and what for, what
/// it did, and the balances before and after.
///
/// Nothing is skipped and nothing comes twice, however much is written meanwhile. The answer ends at
/// the horizon, up to which nothing can appear any more: the header `ringfence-horizon` has the id of the
/// environment's last event up to there. Whoever wants to hear what is new asks again behind it: `after=` that id. Where there is more,
/// the header `Link` has the address of the next page; a page may be shorter than its limit, even
/// empty, and still have a next one, when few of many events are asked for.
///
/// As lines of JSON (`Accept: application/x-ndjson`), the whole range is one answer, written as it is
/// read. If it breaks off, go on behind the last whole line.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/events", tag = "history", operation_id = "listEvents",
    params(Environment, FilterParameters, PageParameters),
    responses(
        (
            status = 200,
            content(([EventRecord<'_>] = "application/json"), (String = "application/x-ndjson")),
            headers(
                ("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."),
                ("ringfence-horizon" = i64, description = "The environment's last event of those up to which the ledger is settled."),
            ),
        ),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    environment: Environment,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let query = query.unwrap_or_default();
    let mut asked = Asked::read(&query)?;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    asked.as_lines |= accepted.is_some_and(|accepted| accepted.contains(NDJSON));
    let horizon = app.feed.horizon().await?;
    // After the horizon: so it has the names of all measures up to there.
    let versioned = app.environments.current(&environment.id).await?;
    let filter = asked.filter(&versioned.configuration)?;
    let name = environment.id.as_str();
    let reading = store::read(&app.readers, Sight::Of(name), async |connection| {
        let horizon = horizon::last_id_of(connection, name, horizon).await?;
        let range = (asked.after, horizon.min(asked.before.saturating_sub(1)).max(asked.after));
        Ok::<_, StoreError>((horizon, history::stretch(connection, name, range, &filter).await?))
    });
    let (horizon, (after, until)) = reading.await?;
    let scope = environment.scope().cloned();
    let newest_first = asked.newest_first;
    let search = Search { environment: environment.id, versioned, filter, scope, newest_first };
    let mut response = match asked.as_lines {
        true => {
            let (writer, reader) = channel();
            tokio::spawn(in_current_request(export(app, search, after, until, asked.limit, writer)));
            let mut response = Response::new(reader.body().await?);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
            response
        }
        false => page(&app, &search, after, until, asked.limit.unwrap_or(PAGE_EVENTS), &query).await?,
    };
    response.headers_mut().insert(HORIZON, horizon.into());
    Ok(response)
}

async fn page(
    app: &Shared,
    search: &Search,
    after: i64,
    until: i64,
    limit: usize,
    query: &str,
) -> Result<Response<Body>, Problem> {
    let mut found = search.find(app, after, until, limit + 1).await?;
    if found.rows.len() > limit {
        found.rows.truncate(limit);
        found.reached = found.rows.last().map(Row::event_id);
    }
    let versioned = &search.versioned;
    let events: Vec<Event> =
        found.rows.iter().map(|row| row.event(&versioned.configuration)).collect::<Result<_, _>>()?;
    let records = events.iter().zip(&found.rows).map(|(event, row)| {
        let record = EventRecord::of(event, &versioned.configuration, row.configuration_version());
        record.within(search.scope.as_ref())
    });
    let mut response = json(StatusCode::OK, &records.collect::<Vec<_>>());
    if let Some(link) = found.reached.and_then(|reached| next(query, search.newest_first, reached)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The request's own address, from where the page ended.
fn next(query: &str, newest_first: bool, reached: i64) -> Option<HeaderValue> {
    let bound = if newest_first { "before" } else { "after" };
    let given = form_urlencoded::parse(query.as_bytes());
    let others = given.filter(|(name, _)| !name.eq_ignore_ascii_case(bound));
    let mut address = form_urlencoded::Serializer::for_suffix("<?".to_owned(), 2);
    let address = address.extend_pairs(others).append_pair(bound, &reached.to_string());
    HeaderValue::try_from(format!("{}>; rel=\"next\"", address.finish())).ok()
}

/// Writes a range as lines to its end, or cuts it off.
async fn export(app: App, search: Search, after: i64, until: i64, most: Option<usize>, mut writer: Writer) {
    let most = most.unwrap_or(usize::MAX);
    let line = |event: &EventRecord<'_>, buffer: &mut Vec<u8>| {
        // A structure of strings and numbers always becomes JSON.
        let _ = serde_json::to_writer(&mut *buffer, event);
        buffer.push(b'\n');
    };
    match search.write(&app, after, until, most, &mut writer, line).await {
        Ok(()) => writer.end().await,
        Err(Some(problem)) => writer.fail(problem).await,
        Err(None) => {}
    }
}

/// What is looked for.
pub(super) struct Search {
    pub(super) environment: Value,
    pub(super) versioned: std::sync::Arc<Versioned>,
    pub(super) filter: Filter,
    /// What the caller is narrowed to.
    pub(super) scope: Option<Scope>,
    pub(super) newest_first: bool,
}

impl Search {
    /// Looks for events as long as it takes to find so many, or until the time is over.
    async fn find(
        &self,
        app: &Shared,
        mut after: i64,
        mut until: i64,
        most: usize,
    ) -> Result<history::Page, StoreError> {
        let begun = Instant::now();
        let mut rows = Vec::new();
        loop {
            let wanted = Wanted {
                environment: &self.environment,
                filter: &self.filter,
                after,
                until,
                newest_first: self.newest_first,
                most: most - rows.len(),
            };
            let found = store::read(&app.readers, Sight::Of(self.environment.as_str()), async |connection| {
                history::page(connection, &wanted).await
            })
            .await?;
            rows.extend(found.rows);
            let is_over = rows.len() >= most || begun.elapsed() >= SEARCH_TIME_MAX;
            match found.reached {
                Some(reached) if !is_over && self.newest_first => until = reached - 1,
                Some(reached) if !is_over => after = reached,
                reached => return Ok(history::Page { rows, reached }),
            }
        }
    }

    /// Writes what is found in a range, and waits for a slow client: no connection to the
    /// database is kept for it. Fails with nothing when there is no client any more.
    pub(super) async fn write(
        &self,
        app: &Shared,
        mut after: i64,
        mut until: i64,
        most: usize,
        writer: &mut Writer,
        record: impl Fn(&EventRecord<'_>, &mut Vec<u8>),
    ) -> Result<(), Option<Problem>> {
        let mut left = most;
        loop {
            let found = self.find(app, after, until, left.min(READ_EVENTS)).await;
            let found = found.map_err(|error| Some(error.into()))?;
            left -= found.rows.len();
            for row in &found.rows {
                let configuration = &self.versioned.configuration;
                let event = row.event(configuration).map_err(|error| Some(error.into()))?;
                let shown = EventRecord::of(&event, configuration, row.configuration_version());
                record(&shown.within(self.scope.as_ref()), writer.buffer());
            }
            match found.reached.filter(|_| left > 0) {
                Some(reached) if self.newest_first => until = reached - 1,
                Some(reached) => after = reached,
                None => return Ok(()),
            }
            // What is there is sent: the next may take long to be found.
            writer.send().await.map_err(|Gone| None)?;
        }
    }
}

/// A request as far as its form tells.
#[derive(Debug)]
pub(super) struct Asked {
    organization: Option<Value>,
    product: Option<Value>,
    source: Option<String>,
    dimensions: Pairs<'static>,
    groups: Pairs<'static>,
    below: bool,
    operations: Vec<&'static str>,
    actor: Option<Value>,
    reference: Option<Value>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    pub(super) after: i64,
    before: i64,
    limit: Option<usize>,
    newest_first: bool,
    as_lines: bool,
}

impl Asked {
    /// Reads the address of a list.
    pub(super) fn read(query: &str) -> Result<Asked, Problem> {
        let mut parameters = Parameters::read(Some(query));
        let order = parameters.take_word("order", &["oldest", "newest"]);
        let format = parameters.take_word("format", &["json", "ndjson"]);
        let before = parameters.take_event("before");
        let limit = parameters.take_limit();
        let asked = Asked::read_filter(parameters)?;
        Ok(Asked {
            before: before.unwrap_or(i64::MAX),
            limit,
            newest_first: order == Some(1),
            as_lines: format == Some(1),
            ..asked
        })
    }

    /// Reads what lists and streams have in common.
    pub(super) fn read_filter(mut parameters: Parameters) -> Result<Asked, Problem> {
        let organization = parameters.take_value("organizationId");
        let product = parameters.take_value("productId");
        let (actor, reference) = (parameters.take_value("actor"), parameters.take_value("reference"));
        let (from, to) = (parameters.take_time("from"), parameters.take_time("to"));
        let after = parameters.take_event("after").unwrap_or_default();
        let below = parameters.take_boolean("below").unwrap_or(true);
        let source = parameters.take_one("dimensionDataSource");
        let operations = operations(&mut parameters);
        let (groups, dimensions) = parameters.take_pairs();
        all_right(parameters.faults)?;
        Ok(Asked {
            organization,
            product,
            source,
            dimensions,
            groups,
            below,
            operations,
            actor,
            reference,
            from,
            to,
            after,
            before: i64::MAX,
            limit: None,
            newest_first: false,
            as_lines: false,
        })
    }

    /// What it asks for, under a configuration.
    pub(super) fn filter(&self, configuration: &Configuration) -> Result<Filter, Refusal> {
        let place = HeldAt::new(configuration, self.source.as_deref(), &self.dimensions)?;
        let groups = match self.groups.is_empty() {
            true => None,
            false => {
                let path = configuration.groups().path("/group", &self.groups)?;
                Some(GroupFilter { path: path.values().to_vec(), below: self.below })
            }
        };
        Ok(Filter {
            organization: self.organization.clone(),
            product: self.product.clone(),
            dimensions: place.filters().to_vec(),
            groups,
            operations: self.operations.clone(),
            actor: self.actor.clone(),
            reference: self.reference.clone(),
            from: self.from,
            to: self.to,
        })
    }
}

fn operations(parameters: &mut Parameters) -> Vec<&'static str> {
    let given = parameters.take("operation").unwrap_or_default();
    let mut operations = Vec::new();
    for word in given.iter().flat_map(|list| list.split(',')) {
        match OPERATIONS.iter().find(|name| name.eq_ignore_ascii_case(word)) {
            Some(name) => operations.push(*name),
            None => {
                let detail = format!("has {word:?}; the operations are {}", OPERATIONS.join(", "));
                parameters.faults.push(Fault::new("/operation", detail));
            }
        }
    }
    operations
}

impl Parameters {
    fn take_time(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.take_one(name)?;
        let time = parse_time(&text);
        if time.is_none() {
            let detail = "must be a time such as 2026-11-23T12:00:00Z";
            self.faults.push(Fault::new(pointer("", name), detail));
        }
        time
    }

    fn take_event(&mut self, name: &str) -> Option<i64> {
        let text = self.take_one(name)?;
        let id = text.parse().ok().filter(|id| *id >= 0);
        if id.is_none() {
            self.faults.push(Fault::new(pointer("", name), "must be an event id"));
        }
        id
    }

    /// One of some words, by its place among them.
    fn take_word(&mut self, name: &str, words: &[&str]) -> Option<usize> {
        let text = self.take_one(name)?;
        let word = words.iter().position(|word| word.eq_ignore_ascii_case(&text));
        if word.is_none() {
            self.faults.push(Fault::new(pointer("", name), format!("must be {}", words.join(" or "))));
        }
        word
    }
}
