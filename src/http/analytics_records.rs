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
use crate::store::analytics::Edge;

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

/// A record's place in the order of the answer.
pub(super) struct Cursor {
    pub(super) key: Key,
    from: i64,
}

impl Cursor {
    /// Where the first spot is that may count in a record behind it, as far as the grouping leaves nothing
    /// out: a path that is cut is not behind the one that it is cut from.
    pub(super) fn edge(&self, grouping: &Grouping) -> Edge {
        let known = |value: &Option<Value>, is_grouped: bool| value.clone().filter(|_| is_grouped);
        let organization = known(&self.key.organization, grouping.organization);
        let product = known(&self.key.product, grouping.product && organization.is_some());
        let is_by_place = grouping.dimensions && product.is_some();
        let or_first = |value: Option<Value>| value.unwrap_or_else(Value::empty);
        let mut edge = Edge::before(or_first(organization), or_first(product));
        if let Some(path) = self.key.path.clone().filter(|_| is_by_place) {
            (edge.path, edge.groups) = (path, self.key.groups.clone());
        }
        edge
    }

    /// As texts: the owner and the product; then the beginning, how many dimensions there are, and the
    /// values of dimensions and groups. What is summed over is empty, as no value is; so is the count.
    pub(super) fn texts(&self) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
        let Cursor { key, from } = self;
        let mut texts = vec![text(&key.organization), text(&key.product), from.to_string()];
        texts.push(key.path.as_ref().map(|path| path.len().to_string()).unwrap_or_default());
        texts.extend(key.path.iter().flatten().chain(&key.groups).map(Value::to_string));
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
            // Earlier programs had pages end behind a whole product.
            let key = Key {
                organization,
                product: product.map(|product| product.next()),
                path: None,
                groups: Vec::new(),
            };
            return Ok(Cursor { key, from: i64::MIN });
        };
        let from = from.parse().map_err(|_| wrong())?;
        let values = values.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let count = Some(count).filter(|count| !count.is_empty());
        let count: Option<usize> = count.map(|count| count.parse().map_err(|_| wrong())).transpose()?;
        let (path, groups) = values.split_at_checked(count.unwrap_or(0)).ok_or_else(wrong)?;
        let path = count.map(|_| path.to_vec());
        Ok(Cursor { key: Key { organization, product, path, groups: groups.to_vec() }, from })
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
        let framed = summary.records().flat_map(|(key, figures)| {
            self.frames.iter().zip(figures).map(move |(frame, figures)| (key, frame, figures))
        });
        // Without buckets, a key has one record, whose beginning may have moved on since.
        let is_cut = self.frames.len() > 1;
        let mut framed = framed.skip_while(|(key, frame, _)| {
            after.is_some_and(|last| last.key == **key && (!is_cut || frame.from.0 <= last.from))
        });
        let page: Vec<_> = framed.by_ref().take(limit).collect();
        let last = framed
            .next()
            .and(page.last())
            .map(|&(key, frame, _)| Cursor { key: key.clone(), from: frame.from.0 });
        (page.into_iter().map(|(key, frame, figures)| self.record(key, frame, &figures)).collect(), last)
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
    use proptest::prelude::*;

    use super::*;
    use crate::domain::activity::Totals;
    use crate::domain::analytics::{Course, Frames, Levels};

    /// Each as it consumed one at the end of a bucket, where it did.
    type Spot = ((Value, Value, Vec<Value>, Vec<Value>), Option<usize>);

    fn spots() -> impl Strategy<Value = Vec<Spot>> {
        let value = |texts: &'static [&'static str]| {
            (0..texts.len()).prop_map(|index| Value::stored(texts[index])).boxed()
        };
        let (names, values) = (value(&["a", "b"]), value(&["x", "xy", "y"]));
        let place = (
            names.clone(),
            names,
            prop::collection::vec(value(&["", "1", "2"]), 1..3),
            prop::collection::vec(values, 0..4),
        );
        prop::collection::btree_map(place, prop::option::of(0..3_usize), 0..60)
            .prop_map(|spots| spots.into_iter().collect())
    }

    fn groupings() -> impl Strategy<Value = Grouping> {
        let depths = prop::collection::btree_set(0..4_usize, 1..4);
        let levels = prop::option::of(depths).prop_map(|depths| match depths {
            None => Levels::Own,
            Some(depths) => Levels::Depths(depths.into_iter().collect()),
        });
        (any::<[bool; 3]>(), levels).prop_map(|([organization, product, dimensions], levels)| Grouping {
            organization,
            product,
            dimensions,
            levels,
        })
    }

    fn totals(spot: &Spot, bucket: usize) -> Totals {
        let is_consumed = spot.1.is_some_and(|at| at <= bucket);
        let consumed = if is_consumed { Quantity::units(1) } else { Quantity::ZERO };
        Totals { allocated: Quantity::units(3), consumed, ..Totals::default() }
    }

    /// A page, as it is read: so many spots at a time, from the cursor's edge until nothing more counts.
    /// With the spots that were read.
    fn page(
        sheet: &Sheet<'_>,
        spots: &[Spot],
        after: Option<&Cursor>,
        (limit, batch): (usize, usize),
    ) -> (Vec<serde_json::Value>, Option<Cursor>, usize) {
        let frames =
            if sheet.frames.len() == 1 { Frames::Whole } else { Frames::Buckets(sheet.frames.len()) };
        let first = after.map(|after| after.key.clone());
        let mut summary = Summary::new(sheet.grouping.clone(), frames, first, limit);
        let edge = after.map(|after| after.edge(sheet.grouping));
        let is_behind = |(organization, product, path, groups): &(Value, Value, Vec<Value>, Vec<Value>)| {
            edge.as_ref().is_none_or(|edge| {
                (&edge.organization, &edge.product, &edge.path, &edge.groups)
                    <= (organization, product, path, groups)
            })
        };
        let spots: Vec<&Spot> = spots.iter().filter(|(place, _)| is_behind(place)).collect();
        let mut read = 0;
        for batch in spots.chunks(batch) {
            let courses: Vec<Course> = batch.iter().map(|spot| course(spot)).collect();
            courses.iter().for_each(|course| summary.add(course));
            for (course, spot) in courses.iter().zip(batch) {
                if summary.has(course) {
                    summary.add_buckets(course, spot.1.map(|bucket| (bucket, totals(spot, bucket))));
                }
            }
            read += batch.len();
            if courses.last().is_some_and(|last| summary.is_done(last)) {
                break;
            }
        }
        let (records, last) = sheet.page(&summary, after, limit);
        (records.iter().map(|record| serde_json::to_value(record).unwrap()).collect(), last, read)
    }

    fn course(spot: &Spot) -> Course {
        let (organization, product, path, groups) = spot.0.clone();
        let from = Totals { allocated: Quantity::units(3), ..Totals::default() };
        let consumed_before_window = Quantity::ZERO;
        Course {
            place_id: 0,
            organization,
            product,
            path,
            groups,
            from,
            to: totals(spot, 2),
            consumed_before_window,
        }
    }

    fn configuration() -> Configuration {
        let document = serde_json::from_str(
            r#"{"dimensions": ["siteId", "colorId"], "dataSources": {"pos": {"measures": ["inbound"]}},
                "allocation": {"groups": ["channel", "tier", "region"], "availableToAllocate": "pos.inbound - @iv.@allocated"}}"#,
        );
        Configuration::new(document.unwrap(), &[]).unwrap()
    }

    proptest! {
        /// Pages of any size, read in batches of any size, are the whole answer: wherever a batch ends, whatever
        /// is grouped by, and where a page ends between two buckets.
        #[test]
        fn pages_are_the_whole_answer_however_it_is_read(
            spots in spots(),
            grouping in groupings(),
            is_cut in any::<bool>(),
            (limit, batch) in (1..8_usize, 1..8_usize),
        ) {
            let configuration = configuration();
            let frame = |number: i64| Frame::new(Timestamp(number * 60_000_000), Timestamp((number + 1) * 60_000_000), 60);
            let frames = (0..if is_cut { 3 } else { 1 }).map(frame).collect();
            let sheet = Sheet { configuration: &configuration, grouping: &grouping, frames };
            let (whole, link, _) = page(&sheet, &spots, None, (10_000, 10_000));
            prop_assert!(link.is_none());
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let (records, last, _) = page(&sheet, &spots, after.as_ref(), (limit, batch));
                prop_assert!(records.len() == limit || last.is_none());
                paged.extend(records);
                let Some(last) = last else { break };
                after = Some(Cursor::read(&last.texts()).ok().unwrap());
            }
            prop_assert_eq!(&paged, &whole);
        }
    }

    #[test]
    fn a_page_reads_no_more_than_it_needs() {
        let place = |number: usize| {
            (Value::stored("a"), Value::stored("b"), Vec::new(), vec![Value::stored(&format!("{number:03}"))])
        };
        let spots: Vec<Spot> = (0..100).map(|number| (place(number), None)).collect();
        let configuration = configuration();
        let frames = || vec![Frame::new(Timestamp(0), Timestamp(60_000_000), 60)];
        let own = Grouping { organization: true, product: true, dimensions: true, levels: Levels::Own };
        let sheet = Sheet { configuration: &configuration, grouping: &own, frames: frames() };
        let (_, last, read) = page(&sheet, &spots, None, (10, 5));
        assert_eq!(read, 15);
        let (_, _, read) = page(&sheet, &spots, last.as_ref(), (10, 5));
        assert_eq!(read, 15);
        let by_path = Grouping { product: false, ..own };
        let sheet = Sheet { configuration: &configuration, grouping: &by_path, frames: frames() };
        assert_eq!(page(&sheet, &spots, None, (10, 5)).2, 100, "the next owner may be anywhere");
    }

    #[test]
    fn a_cursor_of_an_earlier_program_goes_on_behind_its_product() {
        let place = |product: &str| (Value::stored("a"), Value::stored(product), Vec::new(), Vec::new());
        let spots: Vec<Spot> = ["b", "b1", "c"].map(|product| (place(product), None)).into();
        let configuration = configuration();
        let grouping = Grouping { organization: true, product: true, dimensions: true, levels: Levels::Own };
        let frames = vec![Frame::new(Timestamp(0), Timestamp(60_000_000), 60)];
        let sheet = Sheet { configuration: &configuration, grouping: &grouping, frames };
        let after = Cursor::read(&["a".to_owned(), "b".to_owned()]).ok().unwrap();
        let (records, _, _) = page(&sheet, &spots, Some(&after), (10, 10));
        let products: Vec<&str> =
            records.iter().map(|record| record["productId"].as_str().unwrap()).collect();
        assert_eq!(products, ["b1", "c"]);
    }

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
