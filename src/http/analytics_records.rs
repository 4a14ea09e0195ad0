//! The records of analytics: page by page, in JSON or as comma-separated values.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::domain::analytics::{Figures, Grouping, Key, Summary};
use crate::domain::command::Timestamp;
use crate::domain::configuration::Configuration;
use crate::domain::name::{Name, Value};
use crate::domain::quantity::Quantity;
use crate::domain::refusal::Place;

use super::analytics_question::Format;
use super::commands::json;
use super::problem::Problem;

/// What was done with what is set aside for a group path; `GET analytics` says what each figure means.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AnalyticsRecord)]
pub(super) struct Record<'a> {
    /// The owner, unless all are summed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    organization_id: Option<&'a Value>,
    /// The product, unless all are summed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    product_id: Option<&'a Value>,
    /// Where, unless all places are summed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>, nullable = false)]
    dimensions: Option<Place>,
    /// The group path; with all that is below it where levels were asked for.
    #[schema(value_type = BTreeMap<String, String>)]
    groups: Place,
    /// The beginning of the record's time.
    #[schema(format = DateTime)]
    from: &'a str,
    /// Its end, which is not part of it.
    #[schema(format = DateTime)]
    to: &'a str,
    /// Taken from the pool.
    allocated: Quantity,
    /// Given back to the pool.
    returned: Quantity,
    /// Consumed.
    consumed: Quantity,
    /// Moved here from other group paths.
    reallocated_in: Quantity,
    /// Moved to other group paths.
    reallocated_out: Quantity,
    /// What may still be consumed, at `to`.
    balance: Quantity,
    /// The part that was consumed of all there was to consume; null where there was nothing.
    #[schema(required)]
    sell_through: Option<Quantity>,
    /// Consumed in an hour, over the window.
    consumption_rate: Quantity,
    /// When the balance is used up if it goes on as in the window; null where nothing was consumed.
    #[schema(required, format = DateTime)]
    exhausted_at: Option<String>,
    /// What was asked for and refused for lack of stock.
    unmet_quantity: Quantity,
    /// How many requests that was.
    unmet_count: i64,
    /// Balances of which nothing was consumed within the window.
    idle: Quantity,
    /// When it was last consumed before `to`, if it ever was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    last_consumed_at: Option<String>,
}

/// The time of a record, and how long its window is.
pub(super) struct Frame {
    from: Timestamp,
    to: Timestamp,
    seconds: i64,
    /// Both times as records have them: made once for all that are of the same.
    texts: (String, String),
}

impl Frame {
    pub(super) fn new(from: Timestamp, to: Timestamp, seconds: i64) -> Frame {
        Frame { from, to, seconds, texts: (rfc3339(from), rfc3339(to)) }
    }
}

/// A record's place in the order of the answer; or a product, behind all of whose records it is.
pub(super) struct Cursor {
    organization: Option<Value>,
    product: Option<Value>,
    record: Option<(Key, i64)>,
}

impl Cursor {
    /// Behind a product.
    pub(super) fn behind(organization: Value, product: Value) -> Cursor {
        Cursor { organization: Some(organization), product: Some(product), record: None }
    }

    fn of(key: &Key, from: Timestamp) -> Cursor {
        let (organization, product) = (key.organization.clone(), key.product.clone());
        Cursor { organization, product, record: Some((key.clone(), from.0)) }
    }

    /// The first owner and product that may have records behind it.
    pub(super) fn product(&self) -> Option<(Value, Value)> {
        let (organization, product) = (self.organization.clone()?, self.product.clone()?);
        Some((organization, if self.record.is_some() { product } else { product.next() }))
    }

    /// As texts: the owner and the product; then the beginning, how many dimensions there are, and the
    /// values of dimensions and groups. What is summed over is empty, as no value is; so is the count.
    pub(super) fn texts(&self) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
        let mut texts = vec![text(&self.organization), text(&self.product)];
        if let Some((key, from)) = &self.record {
            texts.push(from.to_string());
            texts.push(key.path.as_ref().map(|path| path.len().to_string()).unwrap_or_default());
            texts.extend(key.path.iter().flatten().chain(&key.groups).map(Value::to_string));
        }
        texts
    }

    pub(super) fn read(texts: &[String]) -> Result<Cursor, Problem> {
        let wrong = || Problem::invalid("/after", "is not from the page before of the same question");
        let value = |text: &String| match text.as_str() {
            "" => Ok(Value::empty()),
            text => Value::parse(text).map_err(|_| wrong()),
        };
        let [organization, product, rest @ ..] = texts else { return Err(wrong()) };
        let given = |value: Value| Some(value).filter(|value| !value.as_str().is_empty());
        let (organization, product) = (given(value(organization)?), given(value(product)?));
        let [from, count, values @ ..] = rest else {
            return Ok(Cursor { organization, product, record: None });
        };
        let from = from.parse().map_err(|_| wrong())?;
        let values = values.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let count = Some(count).filter(|count| !count.is_empty());
        let count: Option<usize> = count.map(|count| count.parse().map_err(|_| wrong())).transpose()?;
        let (path, groups) = values.split_at_checked(count.unwrap_or(0)).ok_or_else(wrong)?;
        let key = Key {
            organization: organization.clone(),
            product: product.clone(),
            path: count.map(|_| path.to_vec()),
            groups: groups.to_vec(),
        };
        Ok(Cursor { organization, product, record: Some((key, from)) })
    }
}

/// What records are written with.
pub(super) struct Sheet<'a> {
    pub(super) configuration: &'a Configuration,
    pub(super) grouping: &'a Grouping,
    pub(super) frames: Vec<Frame>,
}

impl Sheet<'_> {
    /// A page of records, and its last one where more follow.
    pub(super) fn page<'a>(
        &'a self,
        summary: &'a Summary,
        after: Option<&Cursor>,
        limit: usize,
    ) -> (Vec<Record<'a>>, Option<Cursor>) {
        let after = after.and_then(|cursor| cursor.record.as_ref());
        let records = match after {
            Some((key, _)) => summary.records.range(key..),
            None => summary.records.range::<Key, _>(..),
        };
        let framed = records.flat_map(|(key, figures)| {
            self.frames.iter().zip(figures).map(move |(frame, figures)| (key, frame, figures))
        });
        // Without buckets, a key has one record, whose beginning may have moved on since.
        let is_cut = self.frames.len() > 1;
        let mut framed = framed.skip_while(|(key, frame, _)| {
            after.is_some_and(|(last, from)| *key == last && (!is_cut || frame.from.0 <= *from))
        });
        let page: Vec<_> = framed.by_ref().take(limit).collect();
        let last = framed.next().and(page.last()).map(|(key, frame, _)| Cursor::of(key, frame.from));
        (page.into_iter().map(|(key, frame, figures)| self.record(key, frame, figures)).collect(), last)
    }

    fn record<'a>(&self, key: &'a Key, frame: &'a Frame, figures: &Figures) -> Record<'a> {
        let moved = &figures.moved;
        Record {
            organization_id: key.organization.as_ref(),
            product_id: key.product.as_ref(),
            dimensions: key.path.as_ref().map(|path| self.configuration.dimensions().place(path)),
            groups: self.configuration.groups().place(&key.groups),
            from: &frame.texts.0,
            to: &frame.texts.1,
            allocated: moved.allocated,
            returned: moved.returned,
            consumed: moved.consumed,
            reallocated_in: moved.reallocated_in,
            reallocated_out: moved.reallocated_out,
            balance: figures.balance,
            sell_through: figures.sell_through(),
            consumption_rate: figures.consumption_rate(frame.seconds),
            exhausted_at: figures.exhausted_at(frame.seconds, frame.to).map(rfc3339),
            unmet_quantity: moved.unmet_quantity,
            unmet_count: moved.unmet_count,
            idle: figures.idle,
            last_consumed_at: moved.last_consumed_at.map(rfc3339),
        }
    }

    /// The answer.
    pub(super) fn write(&self, records: &[Record<'_>], format: Format) -> Response<Body> {
        if format == Format::Json {
            return json(StatusCode::OK, &records);
        }
        let mut text = self.line(&self.columns());
        for record in records {
            text += &self.line(&self.cells(record));
        }
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv"));
        response
    }

    /// The names of the columns of [`Sheet::cells`].
    fn columns(&self) -> Vec<String> {
        let names = |of: &str, names: &[Name]| names.iter().map(|name| format!("{of}.{name}")).collect();
        let mut columns: Vec<String> = Vec::new();
        columns.extend(self.grouping.organization.then(|| "organizationId".to_owned()));
        columns.extend(self.grouping.product.then(|| "productId".to_owned()));
        let dimensions = self.configuration.dimensions().names();
        columns.extend(if self.grouping.dimensions { names("dimensions", dimensions) } else { Vec::new() });
        columns.extend::<Vec<String>>(names("groups", self.configuration.groups().names()));
        let figures = [
            "from",
            "to",
            "allocated",
            "returned",
            "consumed",
            "reallocatedIn",
            "reallocatedOut",
            "balance",
            "sellThrough",
            "consumptionRate",
            "exhaustedAt",
            "unmetQuantity",
            "unmetCount",
            "idle",
            "lastConsumedAt",
        ];
        columns.extend(figures.map(str::to_owned));
        columns
    }

    fn cells(&self, record: &Record<'_>) -> Vec<String> {
        let values = |place: &Place, names: &[Name]| {
            let values = place.0.iter().map(|(_, value)| text_cell(value.as_str()));
            values.chain(std::iter::repeat(String::new())).take(names.len()).collect::<Vec<_>>()
        };
        let mut cells: Vec<String> = Vec::new();
        cells.extend(record.organization_id.map(|value| text_cell(value.as_str())));
        cells.extend(record.product_id.map(|value| text_cell(value.as_str())));
        if let Some(place) = &record.dimensions {
            cells.extend(values(place, self.configuration.dimensions().names()));
        }
        cells.extend(values(&record.groups, self.configuration.groups().names()));
        let text =
            |quantity: Option<Quantity>| quantity.map(|quantity| quantity.to_string()).unwrap_or_default();
        cells.extend([
            record.from.to_owned(),
            record.to.to_owned(),
            record.allocated.to_string(),
            record.returned.to_string(),
            record.consumed.to_string(),
            record.reallocated_in.to_string(),
            record.reallocated_out.to_string(),
            record.balance.to_string(),
            text(record.sell_through),
            record.consumption_rate.to_string(),
            record.exhausted_at.clone().unwrap_or_default(),
            record.unmet_quantity.to_string(),
            record.unmet_count.to_string(),
            record.idle.to_string(),
            record.last_consumed_at.clone().unwrap_or_default(),
        ]);
        cells
    }

    /// A line of comma-separated values, as RFC 4180 has it.
    fn line(&self, cells: &[String]) -> String {
        let quoted = cells.iter().map(|cell| match cell.contains([',', '"', '\r', '\n']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        });
        quoted.collect::<Vec<_>>().join(",") + "\r\n"
    }
}

/// A text as a cell. What a spreadsheet would take for a formula gets an apostrophe, which makes it a text:
/// whoever may ask for stock can bring in any group path, and another opens the file.
fn text_cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

pub(super) fn rfc3339(time: Timestamp) -> String {
    // Every time comes from a date of four digits.
    let date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000);
    date.ok().and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::text_cell;

    #[test]
    fn no_text_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(text_cell(text), format!("'{text}"));
        }
        for text in ["", "Bike", "a=b", "'=1", "1-1", " x"] {
            assert_eq!(text_cell(text), text);
        }
    }
}
