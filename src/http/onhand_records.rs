//! Answering a query of on-hand stock: the records are written while the nodes are read.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use futures_util::TryStreamExt;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::sync::oneshot;

use crate::domain::configuration::Configuration;
use crate::domain::name::Value;
use crate::domain::quantity::{InvalidQuantity, Quantity};
use crate::domain::query::{Question, Selection};
use crate::domain::records::{Columns, Record, Records, Unsummable, is_negative};
use crate::domain::refusal::{Place, Refusal};
use crate::store::configuration::Versioned;
use crate::store::onhand::{self, Owner, Streams};
use crate::store::past::Named;
use crate::store::past_onhand::Asking;

use super::around::{current_request, failed, failed_by_a_bug, in_current_request};
use super::as_of::{AS_OF, Point};
use super::problem::Problem;
use super::promises::Promises;
use super::stream::{Gone, Writer, channel};
use super::{App, Environment, as_of, promises};

/// Longest that an answer may take, from the first node read to the last record taken by the
/// client. One statement reads all of it, so this bounds the statement too, and with it how long
/// the database keeps rows for it that were changed since.
pub(super) const STREAM_TIME_MAX: Duration = Duration::from_secs(60);

/// What a query asks beside its [`Question`].
pub(super) struct Asked {
    pub(super) organization: Value,
    /// In order and none twice; all where there is none.
    pub(super) products: Vec<Value>,
    pub(super) return_negative: bool,
    /// Whether the schedule is asked for too, and which days of it.
    pub(super) promises: Option<promises::Asked>,
    /// The point in the past that is asked about.
    pub(super) as_of: Option<Named>,
    pub(super) page: Page,
}

/// Which part of the answer is wanted.
pub(super) struct Page {
    pub(super) limit: Option<usize>,
    /// The record before: its product, then the values of the kept dimensions.
    pub(super) after: Option<Vec<String>>,
    /// The parameters that the request's address has.
    pub(super) query: String,
}

impl Page {
    /// Has the next pages ask about the same point, whatever point this one was asked about.
    fn stay_at(&mut self, point: Point) {
        let given = form_urlencoded::parse(self.query.as_bytes());
        let others = given.filter(|(name, _)| !name.eq_ignore_ascii_case(AS_OF));
        let mut query = form_urlencoded::Serializer::new(String::new());
        self.query = query.extend_pairs(others).append_pair(AS_OF, &point.event_id.to_string()).finish();
    }

    /// The request's own address, behind a record.
    pub(super) fn next(&self, last: &[&str]) -> Option<HeaderValue> {
        let given = form_urlencoded::parse(self.query.as_bytes());
        let others = given.filter(|(name, _)| !name.eq_ignore_ascii_case("after"));
        let mut address = form_urlencoded::Serializer::new("<?".to_owned());
        let address = address.extend_pairs(others).append_pair("after", &serde_json::to_string(last).ok()?);
        HeaderValue::try_from(format!("{}>; rel=\"next\"", address.finish())).ok()
    }
}

/// A query under a configuration.
struct Query {
    environment: Value,
    asked: Asked,
    /// The record before the page.
    after: Option<Before>,
    versioned: Arc<Versioned>,
    selection: Selection,
    columns: Columns,
    promises: Option<Promises>,
    as_of: Option<Point>,
}

/// Answers a query.
pub(super) async fn answer(
    app: &App,
    environment: &Environment,
    mut asked: Asked,
    question: &Question<'_>,
) -> Result<Response<Body>, Problem> {
    environment.check_stock(&asked.organization)?;
    let as_of = match asked.as_of {
        Some(named) => Some(as_of::find(app, &environment.id, named).await?),
        None => None,
    };
    if let Some(point) = as_of {
        asked.page.stay_at(point);
        asked.promises = asked.promises.map(|asked| asked.on(point.day));
    }
    // Read after the point was found, so that it knows every measure that the events have.
    // Other instances change configurations too, and a query has no guard that would notice.
    let versioned = app.environments.current(&environment.id).await?;
    let (selection, after) = select(&versioned.configuration, &asked, question)?;
    let columns = Columns::new(&versioned.configuration);
    let promises = asked.promises.as_ref().map(|asked| Promises::new(&versioned.configuration, asked));
    let promises = promises.transpose()?;
    let environment = environment.id.clone();
    let query = Query { environment, asked, after, versioned, selection, columns, promises, as_of };
    let (writer, reader) = channel();
    let (tell_next, mut next) = oneshot::channel();
    tokio::spawn(in_current_request(run(app.streams.clone(), query, writer, tell_next)));
    let mut response = Response::new(reader.body().await?);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    as_of::tell(&mut response, as_of);
    let headers = response.headers_mut();
    // A page is sent whole, and what follows it is told before.
    if let Ok(link) = next.try_recv() {
        headers.insert(header::LINK, link);
    }
    Ok(response)
}

/// A record of an answer: its product, and its values of the kept dimensions.
type Before = (Value, Vec<Value>);

/// What a query asks for under a configuration, and the record before its page.
pub(super) fn select(
    configuration: &Configuration,
    asked: &Asked,
    question: &Question<'_>,
) -> Result<(Selection, Option<Before>), Problem> {
    let selection = Selection::new(configuration, question)?;
    let after = asked.page.after.as_deref().map(|texts| record_before(texts, &selection)).transpose()?;
    Ok((selection, after))
}

fn record_before(texts: &[String], selection: &Selection) -> Result<Before, Problem> {
    let wrong = || Problem::invalid("/after", "is not from the page before of the same query");
    let value = |text: &String| match text.as_str() {
        "" => Ok(Value::empty()),
        text => Value::parse(text).map_err(|_| wrong()),
    };
    let (product, values) = texts.split_first().ok_or_else(wrong)?;
    if values.len() != selection.kept().len() {
        return Err(wrong());
    }
    Ok((value(product)?, values.iter().map(value).collect::<Result<_, _>>()?))
}

/// Why an answer ended before its end.
enum Ended {
    Gone,
    By(Problem),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Ended {
        Ended::Gone
    }
}

impl<T: Into<Problem>> From<T> for Ended {
    fn from(problem: T) -> Ended {
        Ended::By(problem.into())
    }
}

/// Writes an answer to its end, or cuts it off. A task of its own: it needs no client to end.
async fn run(streams: Streams, query: Query, mut writer: Writer, tell_next: oneshot::Sender<HeaderValue>) {
    let gone = writer.gone();
    let written = tokio::select! {
        written = tokio::time::timeout(STREAM_TIME_MAX, write(&streams, &query, &mut writer)) => written,
        () = gone => Ok(Err(Ended::Gone)),
    };
    match written {
        Ok(Ok(next)) => {
            if let Some(link) = next {
                // Nobody hears this when the client is gone.
                let _ = tell_next.send(link);
            }
            writer.end().await;
        }
        Ok(Err(Ended::By(problem))) => {
            failed("an on-hand query was not answered to its end", None);
            writer.fail(problem).await;
        }
        Ok(Err(Ended::Gone)) => {
            tracing::debug!(request = current_request(), "the client of an on-hand query left")
        }
        Err(_) => {
            failed("an on-hand query took too long, and was cut off", None);
            writer.fail(Problem::Overloaded).await;
        }
    }
}

/// Writes the records. Answers the link to the next page, where there is one.
async fn write(streams: &Streams, query: &Query, writer: &mut Writer) -> Result<Option<HeaderValue>, Ended> {
    let asked = &query.asked;
    let mut connection = onhand::Stream::open(streams, &query.environment).await?;
    let owner = Owner {
        environment: &query.environment,
        organization: &asked.organization,
        products: &asked.products,
    };
    let after = query.after.as_ref().map(|(product, values)| (product, &values[..]));
    let period = query.promises.as_ref().map(|promises| promises.period);
    let mut parts = match query.as_of {
        None => connection.parts(&owner, &query.selection, after, period),
        Some(point) => {
            let asked = Asking { owner, selection: &query.selection, after, period };
            connection.parts_of_then(asked, &query.versioned.configuration, point.event_id).await?
        }
    };
    let mut output = Output { query, writer, written: 0, last: None };
    output.writer.buffer().push(b'[');
    let mut records = Records::default();
    while let Some(part) = parts.try_next().await? {
        if !query.selection.wants(&part.path, &part.quantities, &part.schedule) {
            continue;
        }
        let values = query.selection.values(&part.path);
        let done = records.add(&part.product, values, part.quantities, part.schedule);
        let Some(record) = done.map_err(|why| unsummable(why, query))? else { continue };
        if output.is_full_before(record)? {
            return Ok(output.link());
        }
        // A page is held until it is whole: its header comes first.
        if asked.page.limit.is_none() {
            output.writer.flush().await?;
        }
    }
    drop(parts);
    connection.is_read();
    if let Some(record) = records.finish()
        && output.is_full_before(record)?
    {
        return Ok(output.link());
    }
    output.writer.buffer().push(b']');
    Ok(None)
}

fn unsummable(why: Unsummable, query: &Query) -> Problem {
    match why {
        Unsummable::TooLarge(slot) => Problem::Refused(Refusal::InvalidQuantity {
            pointer: "/groupByValues".to_owned(),
            text: format!("the sum of {}", query.versioned.configuration.measure_name(slot)),
            reason: InvalidQuantity::SumTooLarge,
        }),
        Unsummable::OutOfOrder => {
            failed_by_a_bug("the database gave stock nodes in another order than that of their records");
            Problem::Internal
        }
    }
}

/// The array of records as far as it is written.
struct Output<'a> {
    query: &'a Query,
    writer: &'a mut Writer,
    written: usize,
    last: Option<Record>,
}

impl Output<'_> {
    /// Writes a record that is part of the answer. Not when the page is full: then its array is
    /// closed, and there is another page.
    fn is_full_before(&mut self, record: Record) -> Result<bool, Problem> {
        let Query { asked, columns, versioned, selection, promises, .. } = self.query;
        let quantities = columns.quantities(&record.sums);
        // What is scheduled goes below zero where less comes than leaves: all of it is shown.
        if !asked.return_negative && promises.is_none() && is_negative(&quantities) {
            return Ok(false);
        }
        let promised = promises.as_ref().map(|promises| promises.of(&record)).transpose();
        let buffer = self.writer.buffer();
        if asked.page.limit == Some(self.written) {
            buffer.push(b']');
            return Ok(true);
        }
        if self.written > 0 {
            buffer.push(b',');
        }
        let shown = Shown {
            organization_id: &asked.organization,
            product_id: &record.product,
            dimensions: versioned.configuration.dimensions().places(selection.kept(), &record.values),
            quantities: Quantities { columns, quantities: &quantities },
            promises: promised.map_err(|why| unsummable(why, self.query))?,
        };
        // A structure of strings and numbers always becomes JSON.
        let _ = serde_json::to_writer(buffer, &shown);
        self.written += 1;
        self.last = Some(record);
        Ok(false)
    }

    /// The request's own address, behind the last record.
    fn link(&self) -> Option<HeaderValue> {
        let last = self.last.as_ref()?;
        let texts: Vec<&str> =
            [&last.product].into_iter().chain(&last.values).map(|value| value.as_str()).collect();
        self.query.asked.page.next(&texts)
    }
}

/// A record as it is written; [`super::schema::OnHandRecord`] shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    organization_id: &'a Value,
    product_id: &'a Value,
    dimensions: Place,
    quantities: Quantities<'a>,
    #[serde(flatten)]
    promises: Option<promises::Body<'a>>,
}

struct Quantities<'a> {
    columns: &'a Columns,
    quantities: &'a [Quantity],
}

/// An object per data source.
impl Serialize for Quantities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sources = serializer.serialize_map(None)?;
        let mut rest = self.quantities;
        for (source, names) in self.columns.names() {
            let (own, others) = rest.split_at(names.len());
            sources.serialize_entry(source, &OfSource(&names.zip(own).collect::<Vec<_>>()))?;
            rest = others;
        }
        sources.end()
    }
}

struct OfSource<'a>(&'a [(&'a str, &'a Quantity)]);

impl Serialize for OfSource<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}
