//! What analytics are asked for, as an address has it.

use crate::domain::activity::Kept;
use crate::domain::analytics::{Frames, Grouping, Levels, Summary};
use crate::domain::command::Timestamp;
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::Pairs;
use crate::domain::groups::AllocationHierarchy;
use crate::domain::held::HeldAt;
use crate::domain::name::Value;
use crate::domain::refusal::{Fault, Refusal, pointer};
use crate::store::analytics::{Edge, Wanted};

use super::analytics_records::{Cursor, Frame};
use super::onhand::parse_time;
use super::onhand_query::{Parameters, all_right};
use super::onhand_records::Page;
use super::problem::Problem;

/// Most records of a page: a dashboard's balances in one answer.
pub(crate) const PAGE_RECORDS_MAX: usize = 10_000;
/// Records of a page where it is not said how many.
const PAGE_RECORDS: usize = 1_000;
/// Most buckets that a range is cut into: all of a record's are held.
const BUCKETS_MAX: i64 = 100_000;
/// Longest window, in seconds: as long as hours are kept.
const WINDOW_MAX: i64 = 60 * 86_400;
/// The window where none is given, in seconds.
const WINDOW: i64 = 3_600;
/// The range where none is given, in microseconds: a day.
const RANGE: i64 = 86_400_000_000;
/// The deepest level of group paths.
const DEPTH_MAX: usize = AllocationHierarchy::GROUPS_MAX;
/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
/// What a range is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Bucket {
    /// Nothing.
    None,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
}

impl Bucket {
    fn parse(text: &str) -> Option<Bucket> {
        Some(match text.to_ascii_lowercase().as_str() {
            "none" => Bucket::None,
            "minute" => Bucket::Minute,
            "hour" => Bucket::Hour,
            "day" => Bucket::Day,
            _ => return None,
        })
    }

    /// Its name and its length.
    fn unit(self) -> Option<(&'static str, i64)> {
        Some(match self {
            Bucket::None => return None,
            Bucket::Minute => ("minute", 60 * SECOND),
            Bucket::Hour => ("hour", 3_600 * SECOND),
            Bucket::Day => ("day", 86_400 * SECOND),
        })
    }
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Format {
    /// An array of objects.
    Json,
    /// A line a record.
    Csv,
}

/// Analytics that are asked for, as far as their form tells.
pub(super) struct Asked {
    pub(super) page: Page,
    pub(super) limit: usize,
    /// The record before the page.
    pub(super) after: Option<Cursor>,
    pub(super) grouping: Grouping,
    pub(super) format: Option<Format>,
    organization: Option<Value>,
    product: Option<Value>,
    source: Option<String>,
    dimensions: Pairs<'static>,
    groups: Pairs<'static>,
    bucket: Bucket,
    from: Timestamp,
    /// None for now.
    to: Option<Timestamp>,
    /// Where the range ends, in whole seconds: behind the one that runs, where nothing else was said.
    end: Timestamp,
    window_from: Timestamp,
}

/// Dimensions and groups with the values that they must have.
pub(super) struct Filters {
    dimensions: HeldAt,
    groups: Vec<(usize, Value)>,
    /// Where the first may be, and the place of the last.
    first: Edge,
    last: Edge,
}

impl Asked {
    pub(super) fn read_address(query: &str, now: Timestamp) -> Result<Asked, Problem> {
        let mut parameters = Parameters::read(Some(query));
        let (page, limit) = read_page(&mut parameters, query);
        let after = page.after.as_deref().map(Cursor::read).transpose()?;
        let grouping = read_grouping(&mut parameters);
        let format = one_of(&mut parameters, "format", "must be json or csv", |text| match text {
            "json" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            _ => None,
        });
        let bucket = one_of(&mut parameters, "bucket", "must be none, minute, hour or day", Bucket::parse);
        let bucket = bucket.unwrap_or(Bucket::None);
        let range = Range::read(&mut parameters, bucket, now);
        let (organization, product) =
            (parameters.take_value("organizationId"), parameters.take_value("productId"));
        let source = parameters.take_one("dimensionDataSource");
        let (groups, dimensions) = parameters.take_pairs();
        all_right(parameters.faults)?;
        let Range { from, to, end, window_from } = range;
        Ok(Asked {
            page,
            limit,
            after,
            grouping,
            format,
            organization,
            product,
            source,
            dimensions,
            groups,
            bucket,
            from,
            to,
            end,
            window_from,
        })
    }

    /// What the balances must have, under a configuration.
    pub(super) fn filters(&self, configuration: &Configuration) -> Result<Filters, Refusal> {
        let groups = configuration.groups().filter("/group", &self.groups)?;
        let groups = groups.into_iter().enumerate().filter_map(|(place, value)| Some((place, value?)));
        let (empty, behind_all) = (Value::empty, Value::behind_all);
        let or = |value: &Option<Value>, other: fn() -> Value| value.clone().unwrap_or_else(other);
        // Of several owners, their products are not next to each other.
        let product = if self.organization.is_some() { &self.product } else { &None };
        let first = Edge::before(or(&self.organization, empty), or(product, empty));
        let behind_page = self.after.as_ref().map(|after| after.edge(&self.grouping));
        let last = Edge::before(or(&self.organization, behind_all), or(product, behind_all));
        let last = Edge { path: vec![behind_all()], ..last };
        Ok(Filters {
            dimensions: HeldAt::new(configuration, self.source.as_deref(), &self.dimensions)?,
            groups: groups.collect(),
            first: behind_page.map_or(first.clone(), |edge| edge.max(first)),
            last,
        })
    }

    pub(super) fn wanted<'a>(&'a self, environment: &'a str, filters: &'a Filters) -> Wanted<'a> {
        Wanted {
            environment,
            first: &filters.first,
            last: &filters.last,
            product: self.product.as_ref().map(Value::as_str),
            dimensions: filters.dimensions.filters(),
            groups: &filters.groups,
            from: self.from,
            to: self.to,
            window_from: self.window_from,
            bucket: self.bucket.unit(),
        }
    }

    /// The sums that the records of the page are made of.
    pub(super) fn summary(&self) -> Summary {
        let frames = match self.bucket {
            Bucket::None => Frames::Whole,
            _ => Frames::Buckets(self.buckets().len()),
        };
        let first = self.after.as_ref().map(|after| after.key.clone());
        Summary::new(self.grouping.clone(), frames, first, self.limit)
    }

    /// When the buckets begin; there are none where there is one record for the whole range.
    fn buckets(&self) -> Vec<Timestamp> {
        let Some((_, length)) = self.bucket.unit() else { return Vec::new() };
        let begins = (0..).map(|count| Timestamp(self.from.0 + count * length));
        begins.take_while(|begin| *begin < self.end).collect()
    }

    /// The times of a record: of each bucket, or of the whole range.
    pub(super) fn frames(&self) -> Vec<Frame> {
        let seconds = |from: Timestamp, to: Timestamp| ((to.0 - from.0) / SECOND).max(1);
        match self.bucket.unit() {
            None => {
                let seconds = seconds(self.window_from, self.end);
                vec![Frame::new(self.from, self.end, seconds)]
            }
            Some((_, length)) => {
                let frame = |from: Timestamp| {
                    let to = Timestamp(from.0 + length).min(self.end);
                    Frame::new(from, to, seconds(from, to))
                };
                self.buckets().into_iter().map(frame).collect()
            }
        }
    }
}

/// The range and the window, put down to what is kept.
struct Range {
    from: Timestamp,
    to: Option<Timestamp>,
    end: Timestamp,
    window_from: Timestamp,
}

impl Range {
    fn read(parameters: &mut Parameters, bucket: Bucket, now: Timestamp) -> Range {
        let kept = Kept::at(now);
        let to = time(parameters, "to").filter(|&to| to < now).map(|to| kept.border(to));
        // Up to now means with all of the second that runs, so that the bucket that holds now is never missing.
        let end = to.unwrap_or(Timestamp(now.0 - now.0.rem_euclid(SECOND) + SECOND));
        let given = time(parameters, "from").unwrap_or(Timestamp(end.0 - RANGE));
        let mut from = kept.border(given);
        let window = window(parameters, bucket);
        let mut fault =
            |name: &str, detail: String| parameters.faults.push(Fault::new(pointer("", name), detail));
        if let Some((_, length)) = bucket.unit() {
            from = Timestamp(from.0 - from.0.rem_euclid(length));
            if (end.0 - from.0) / length >= BUCKETS_MAX {
                fault(
                    "bucket",
                    format!(
                        "cuts the range into more than {BUCKETS_MAX}; ask for a larger one or a shorter range"
                    ),
                );
                from = end;
            }
        }
        if bucket == Bucket::Minute && from < kept.minutes_from.start() {
            fault(
                "bucket",
                "is finer than what is kept: minutes are kept for 2 days; ask for hours or days".to_owned(),
            );
        }
        if bucket == Bucket::Hour && from < kept.hours_from.start() {
            fault(
                "bucket",
                "is finer than what is kept: hours are kept for 60 days; ask for days".to_owned(),
            );
        }
        if parameters.faults.is_empty() && from >= end {
            let detail = "is not before the end of the range; both are put down to the start of their minute, of their hour when they are older than 2 days, of their day when older than 60";
            parameters.faults.push(Fault::new("/from", detail));
        }
        Range { from, to, end, window_from: kept.border(Timestamp(end.0 - window * SECOND)) }
    }
}

fn window(parameters: &mut Parameters, bucket: Bucket) -> i64 {
    let Some(text) = parameters.take_one("window") else { return WINDOW };
    let seconds = text.parse().ok().filter(|seconds| (1..=WINDOW_MAX).contains(seconds));
    if seconds.is_none() {
        let detail = format!("must be a whole number of seconds from 1 to {WINDOW_MAX}");
        parameters.faults.push(Fault::new("/window", detail));
    } else if bucket != Bucket::None {
        parameters.faults.push(Fault::new(
            "/window",
            "is for a range that is not cut: each bucket is a window of its own",
        ));
    }
    seconds.unwrap_or(WINDOW)
}

fn time(parameters: &mut Parameters, name: &str) -> Option<Timestamp> {
    let text = parameters.take_one(name)?;
    let time = parse_time(&text);
    if time.is_none() {
        parameters.faults.push(Fault::new(pointer("", name), "must be a time such as 2026-11-23T12:00:00Z"));
    }
    time
}

fn one_of<T>(
    parameters: &mut Parameters,
    name: &str,
    detail: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text = parameters.take_one(name)?.to_ascii_lowercase();
    let read = read(&text);
    if read.is_none() {
        parameters.faults.push(Fault::new(pointer("", name), detail));
    }
    read
}

fn read_page(parameters: &mut Parameters, query: &str) -> (Page, usize) {
    let limit = parameters.take_one("limit").map(|text| text.parse::<usize>().unwrap_or(0));
    if limit.is_some_and(|limit| !(1..=PAGE_RECORDS_MAX).contains(&limit)) {
        let detail = format!("must be a whole number from 1 to {PAGE_RECORDS_MAX}");
        parameters.faults.push(Fault::new("/limit", detail));
    }
    let page = parameters.page(Some(query));
    (page, limit.unwrap_or(PAGE_RECORDS))
}

fn read_grouping(parameters: &mut Parameters) -> Grouping {
    let mut grouping = Grouping { organization: true, product: true, dimensions: true, levels: Levels::Own };
    if let Some(text) = parameters.take_one("groupBy") {
        (grouping.organization, grouping.product, grouping.dimensions) = (false, false, false);
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name.to_ascii_lowercase().as_str() {
                "organizationid" => grouping.organization = true,
                "productid" => grouping.product = true,
                "dimensions" => grouping.dimensions = true,
                _ => parameters
                    .faults
                    .push(Fault::new("/groupBy", "may have organizationId, productId and dimensions")),
            }
        }
    }
    if let Some(text) = parameters.take_one("levels").filter(|text| !text.eq_ignore_ascii_case("own")) {
        let mut depths: Vec<Option<usize>> = text.split(',').map(|depth| depth.trim().parse().ok()).collect();
        depths.sort_unstable();
        depths.dedup();
        match depths.into_iter().map(|depth| depth.filter(|&depth| depth <= DEPTH_MAX)).collect() {
            Some(depths) => grouping.levels = Levels::Depths(depths),
            None => {
                let detail = format!("must be own, or depths from 0 to {DEPTH_MAX} with commas between");
                parameters.faults.push(Fault::new("/levels", detail));
            }
        }
    }
    grouping
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_up_to_now_holds_now() {
        let borders = ["2026-11-23T12:34:00Z", "2026-11-23T12:00:00Z", "2026-11-23T00:00:00Z"];
        let behind = [0, 1, 300_000, SECOND - 1, SECOND, 59 * SECOND, 60 * SECOND - 1, 86_399 * SECOND];
        for (border, behind) in borders.into_iter().flat_map(|border| behind.map(|behind| (border, behind))) {
            let now = Timestamp(parse_time(border).unwrap().0 + behind);
            for query in ["", "to=2999-01-01T00:00:00Z", "from=2026-11-23T00:00:00Z"] {
                let asked = |bucket: &str| Asked::read_address(&format!("{query}&bucket={bucket}"), now);
                let uncut = asked("none").ok().unwrap();
                let up_to_now = uncut.from <= now && now < uncut.end && uncut.end.0 <= now.0 + SECOND;
                assert!(up_to_now, "{query} at {now:?}");
                for bucket in ["minute", "hour", "day"] {
                    let asked = asked(bucket).ok().unwrap();
                    let last = *asked.buckets().last().unwrap();
                    let length = asked.bucket.unit().unwrap().1;
                    assert_eq!(last.0, now.0 - now.0.rem_euclid(length), "{query} by {bucket} at {now:?}");
                    assert_eq!(asked.end, uncut.end, "{query} by {bucket} at {now:?}");
                }
            }
        }
    }
}
