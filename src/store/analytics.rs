//! Reading activity: what is asked for, at the moments that it is asked for.

use futures_util::TryStreamExt;
use hashbrown::HashMap;
use sqlx::{Connection, PgConnection};

use crate::domain::activity::{Kept, Totals};
use crate::domain::analytics::{Course, Pace, Summary};
use crate::domain::command::{ProductKey, Timestamp};
use crate::domain::dimensions::DimensionPath;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;

use super::{StoreError, activity, follow, horizon, text};

/// The follower that keeps activity.
const FOLLOWER: &str = "activity";
/// Spots that are read at once: as many as are held.
const BATCH: usize = 20_000;

/// A place in the order of spots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The owner.
    pub organization: Value,
    /// The product.
    pub product: Value,
    /// Where.
    pub path: Vec<Value>,
    /// For whom.
    pub groups: Vec<Value>,
}

impl Edge {
    /// Where a product begins.
    pub fn before(organization: Value, product: Value) -> Edge {
        Edge { organization, product, path: Vec::new(), groups: Vec::new() }
    }

    fn of(course: &Course) -> Edge {
        let (organization, product) = (course.organization.clone(), course.product.clone());
        Edge { organization, product, path: course.path.clone(), groups: course.groups.clone() }
    }

    /// What comes right behind this one.
    fn next(mut self) -> Edge {
        self.groups.push(Value::empty());
        self
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The isolated tenant.
    pub environment: &'a str,
    /// Where the first spot may be.
    pub first: &'a Edge,
    /// The place that the last may be at, for whomever.
    pub last: &'a Edge,
    /// The product, of all owners' between.
    pub product: Option<&'a str>,
    /// Dimensions, by their places in the hierarchy, with the value that each must have.
    pub dimensions: &'a [(usize, Value)],
    /// Groups, likewise.
    pub groups: &'a [(usize, Value)],
    /// The beginning of the range.
    pub from: Timestamp,
    /// Its end; none for now.
    pub to: Option<Timestamp>,
    /// The beginning of the window.
    pub window_from: Timestamp,
    /// The unit of buckets (`minute`, `hour`, `day`), and its length.
    pub bucket: Option<(&'static str, i64)>,
}

/// Sums activity as of one moment: of spots there may be any number, of which a batch at a time is held. Answers the
/// environment's last event that is in the sums, too.
///
/// # Errors
/// When the database does not answer.
pub async fn sum(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    mut summary: Summary,
) -> Result<(Summary, i64), StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let reached = follow::reached(&mut transaction, FOLLOWER).await?;
    let reached = horizon::last_id_of(&mut transaction, wanted.environment, reached).await?;
    let mut next = Some(wanted.first.clone());
    while let Some(first) = next.take() {
        let columns = spots(&mut transaction, &Wanted { first: &first, ..*wanted }, BATCH).await?;
        let (from, window_from) = (wanted.from, wanted.window_from);
        // To read and sum thousands of spots takes long enough that others' requests would wait for it.
        let adding = tokio::task::spawn_blocking(move || {
            let courses = courses(&columns, from, window_from)?;
            courses.iter().for_each(|course| summary.add(course));
            Ok::<_, StoreError>((summary, courses))
        });
        let added = adding.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        let courses;
        (summary, courses) = added?;
        add_buckets(&mut transaction, wanted, &courses, &mut summary).await?;
        let last = courses.iter().max_by(|one, other| in_order(one).cmp(&in_order(other)));
        next = last
            .filter(|last| courses.len() == BATCH && !summary.is_done(last))
            .map(|last| Edge::of(last).next());
    }
    transaction.rollback().await?;
    Ok((summary, reached))
}

fn in_order(course: &Course) -> (&Value, &Value, &[Value], &[Value]) {
    (&course.organization, &course.product, &course.path, &course.groups)
}

fn filter(values: &[(usize, Value)]) -> (Vec<i32>, Vec<&str>) {
    values.iter().map(|(place, value)| (*place as i32 + 1, value.as_str())).unzip()
}

/// The spots of a product, a line for each in a text for each column: a row for each costs more on its way
/// than all that is done with it then. No value has a control character, so a line ends with one, and so
/// does each value of a path, which may be one empty value. Times are in microseconds.
struct Columns {
    organization_id: String,
    product_id: String,
    places: String,
    paths: String,
    groups: String,
    minutes: String,
    froms: String,
    consumed_before_from: String,
    tos: String,
    last_consumed: String,
    consumed_before_window: String,
}

/// Reads the first so many spots.
async fn spots(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    most: usize,
) -> Result<Vec<Columns>, StoreError> {
    let (dimensions, dimension_values) = filter(wanted.dimensions);
    let (groups, group_values) = filter(wanted.groups);
    let texts = |values: &'_ [Value]| values.iter().map(Value::to_string).collect::<Vec<_>>();
    let (first, last) = (wanted.first, wanted.last);
    // What was done last before a border is all that was done by then: it is read of nothing else, and of
    // nothing that began behind the border. Totals come as the literals of their arrays, which costs the
    // database half of what arrays of texts do; and what is behind a CASE costs nothing where it is not so,
    // as a join that finds nothing does.
    let found = sqlx::query_as!(
        Columns,
        r#"SELECT s.organization_id AS "organization_id!", s.product_id AS "product_id!", string_agg(s.place_id::text, E'\n') AS "places!",
                  string_agg(s.dimensions, E'\n') AS "paths!", string_agg(s.groups, E'\n') AS "groups!",
                  string_agg((extract(epoch FROM s.minute)::bigint * 1000000)::text, E'\n') AS "minutes!",
                  string_agg(coalesce(s.from, ''), E'\n') AS "froms!",
                  string_agg(coalesce((extract(epoch FROM s.consumed_before_at) * 1000000)::bigint::text, ''), E'\n')
                      AS "consumed_before_from!",
                  string_agg(coalesce(s.to, ''), E'\n') AS "tos!",
                  string_agg(coalesce((extract(epoch FROM s.last_consumed_at) * 1000000)::bigint::text, ''), E'\n')
                      AS "last_consumed!",
                  string_agg(coalesce(s.consumed_before, ''), E'\n') AS "consumed_before_window!"
           FROM (
               SELECT p.place_id, p.environment_id, p.organization_id, p.product_id,
                      array_to_string(array_append(p.dimensions, ''), E'\x1f') AS dimensions,
                      array_to_string(p.groups, E'\x1f') AS groups, p.minute,
                      CASE WHEN p.minute >= $9 AND coalesce(p.first_minute, '-infinity') < $9
                           THEN (SELECT a.totals::text FROM activity a WHERE a.place_id = p.place_id AND a.minute < $9
                                 ORDER BY a.minute DESC LIMIT 1) END AS from,
                      CASE WHEN p.minute >= $9 AND coalesce(p.first_minute, '-infinity') < $9
                           THEN (SELECT a.last_consumed_at FROM activity a WHERE a.place_id = p.place_id AND a.minute < $9
                                 ORDER BY a.minute DESC LIMIT 1) END AS consumed_before_at,
                      CASE WHEN p.minute < coalesce($10::timestamptz, 'infinity') THEN p.totals::text
                           ELSE (SELECT a.totals::text FROM activity a WHERE a.place_id = p.place_id AND a.minute < $10::timestamptz
                                 ORDER BY a.minute DESC LIMIT 1) END AS to,
                      CASE WHEN p.minute < coalesce($10::timestamptz, 'infinity') THEN p.last_consumed_at
                           ELSE (SELECT a.last_consumed_at FROM activity a WHERE a.place_id = p.place_id AND a.minute < $10::timestamptz
                                 ORDER BY a.minute DESC LIMIT 1) END AS last_consumed_at,
                      CASE WHEN p.minute >= $11 AND coalesce(p.first_minute, '-infinity') < $11
                           THEN (SELECT a.totals[3]::text FROM activity a WHERE a.place_id = p.place_id AND a.minute < $11
                                 ORDER BY a.minute DESC LIMIT 1) END AS consumed_before
               FROM seen_activity_place p
               WHERE (p.environment_id, p.organization_id, p.product_id, p.dimensions, p.groups) >= ($1, $2, $3, $15, $16)
                 AND (p.environment_id, p.organization_id, p.product_id, p.dimensions) <= ($1, $4, $5, $17)
                 AND ($6::text IS NULL OR p.product_id = $6)
                 AND (cardinality($7::int[]) = 0
                      OR NOT EXISTS (SELECT FROM unnest($7, $8::text[]) AS g (place, value)
                                     WHERE coalesce(p.dimensions[g.place], '') <> g.value))
                 AND (cardinality($12::int[]) = 0
                      OR NOT EXISTS (SELECT FROM unnest($12, $13::text[]) AS g (place, value)
                                     WHERE p.groups[g.place] IS DISTINCT FROM g.value))
                 AND (p.minute >= $9 OR p.totals[1] - p.totals[2] - p.totals[3] + p.totals[4] - p.totals[5] <> 0)
               ORDER BY p.environment_id, p.organization_id, p.product_id, p.dimensions, p.groups
               LIMIT $14
           ) s
           GROUP BY s.environment_id, s.organization_id, s.product_id
           ORDER BY s.environment_id, s.organization_id, s.product_id"#,
        wanted.environment,
        first.organization.as_str(),
        first.product.as_str(),
        last.organization.as_str(),
        last.product.as_str(),
        wanted.product,
        &dimensions,
        &dimension_values as &[&str],
        text::time(wanted.from),
        wanted.to.map(text::time),
        text::time(wanted.window_from),
        &groups,
        &group_values as &[&str],
        most as i64,
        &texts(&first.path),
        &texts(&first.groups),
        &texts(&last.path),
    )
    .fetch_all(connection)
    .await?;
    Ok(found)
}

fn courses(products: &[Columns], from: Timestamp, window_from: Timestamp) -> Result<Vec<Course>, StoreError> {
    let mut courses = Vec::new();
    for product in products {
        product.add_courses(from, window_from, &mut courses)?;
    }
    Ok(courses)
}

impl Columns {
    fn add_courses(
        &self,
        from: Timestamp,
        window_from: Timestamp,
        courses: &mut Vec<Course>,
    ) -> Result<(), StoreError> {
        let (organization, product) = (Value::stored(&self.organization_id), Value::stored(&self.product_id));
        let (mut paths, mut groups) = (self.paths.split('\n'), self.groups.split('\n'));
        let mut minutes = self.minutes.split('\n');
        let (mut froms, mut tos) = (self.froms.split('\n'), self.tos.split('\n'));
        let mut consumed_before_from = self.consumed_before_from.split('\n');
        let mut last_consumed = self.last_consumed.split('\n');
        let mut consumed_before_window = self.consumed_before_window.split('\n');
        for place in self.places.split('\n') {
            let minute = time(next(&mut minutes)?)?.unwrap_or(Timestamp(0));
            let to = totals(next(&mut tos)?, next(&mut last_consumed)?)?;
            let of_then = totals(next(&mut froms)?, next(&mut consumed_before_from)?)?;
            let consumed = next(&mut consumed_before_window)?;
            courses.push(Course {
                place_id: place.parse().map_err(|_| unreadable(place))?,
                organization: organization.clone(),
                product: product.clone(),
                path: values(next(&mut paths)?),
                groups: values(next(&mut groups)?),
                from: if minute < from { to } else { of_then },
                to,
                consumed_before_window: match consumed {
                    _ if minute < window_from => to.consumed,
                    "" => Quantity::ZERO,
                    text => text::quantity(text)?,
                },
            });
        }
        Ok(())
    }
}

fn unreadable(line: &str) -> StoreError {
    StoreError::Rejected(format!("{line:?} is no line of activity"))
}

fn next<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<&'a str, StoreError> {
    lines.next().ok_or_else(|| unreadable(""))
}

fn values(line: &str) -> Vec<Value> {
    line.split_terminator('\x1f').map(Value::stored).collect()
}

fn time(microseconds: &str) -> Result<Option<Timestamp>, StoreError> {
    if microseconds.is_empty() {
        return Ok(None);
    }
    microseconds.parse().map(|time| Some(Timestamp(time))).map_err(|_| unreadable(microseconds))
}

fn totals(literal: &str, last_consumed_at: &str) -> Result<Totals, StoreError> {
    if literal.is_empty() {
        return Ok(Totals::default());
    }
    Ok(Totals { last_consumed_at: time(last_consumed_at)?, ..activity::totals(literal, None)? })
}

/// Adds the buckets of those spots that still count in any record, each as it is read.
async fn add_buckets(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    courses: &[Course],
    summary: &mut Summary,
) -> Result<(), StoreError> {
    let Some((unit, length)) = wanted.bucket else { return Ok(()) };
    let courses: HashMap<i64, &Course> =
        courses.iter().filter(|course| summary.has(course)).map(|course| (course.place_id, course)).collect();
    if courses.is_empty() {
        return Ok(());
    }
    let places: Vec<i64> = courses.keys().copied().collect();
    // As columns, too; and place by place, so that nothing larger than one is sorted.
    let mut rows = sqlx::query!(
        r#"SELECT p.place_id AS "place_id!", b.begins AS "begins!", b.totals AS "totals!", b.last_consumed AS "last_consumed!"
           FROM unnest($1::bigint[]) AS p (place_id)
           CROSS JOIN LATERAL (
               SELECT string_agg((extract(epoch FROM l.begin)::bigint * 1000000)::text, E'\n') AS begins,
                      string_agg(l.totals::text, E'\n') AS totals,
                      string_agg(coalesce((extract(epoch FROM l.last_consumed_at) * 1000000)::bigint::text, ''), E'\n')
                          AS last_consumed
               FROM (
                   SELECT DISTINCT ON (date_trunc($4, a.minute, 'UTC')) date_trunc($4, a.minute, 'UTC') AS begin,
                          a.totals, a.last_consumed_at
                   FROM activity a
                   WHERE a.place_id = p.place_id AND a.minute >= $2 AND a.minute < coalesce($3::timestamptz, 'infinity')
                   ORDER BY date_trunc($4, a.minute, 'UTC'), a.minute DESC
               ) l
           ) b
           WHERE b.begins IS NOT NULL"#,
        &places,
        text::time(wanted.from),
        wanted.to.map(text::time),
        unit,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let Some(course) = courses.get(&row.place_id) else { continue };
        let (mut of_each, mut last_consumed) = (row.totals.split('\n'), row.last_consumed.split('\n'));
        let mut ends = Vec::new();
        for begin in row.begins.split('\n') {
            let begin = time(begin)?.ok_or_else(|| unreadable(begin))?;
            let bucket = (begin.0 - wanted.from.0).div_euclid(length);
            let end = totals(next(&mut of_each)?, next(&mut last_consumed)?)?;
            ends.push((bucket as usize, end));
        }
        summary.add_buckets(course, ends);
    }
    Ok(())
}

/// Reads how fast the balances of a stock node go, so many at most: over the window of so many seconds that ends
/// now, and that begins with a minute, so that it may be a little longer. What holds nothing and saw
/// nothing within the window is not among them. It may be a second behind the books.
///
/// # Errors
/// When the database does not answer.
pub async fn paces(
    transaction: &mut PgConnection,
    product: &ProductKey,
    path: &DimensionPath,
    (window_seconds, now): (i64, Timestamp),
    most: usize,
) -> Result<Vec<Pace>, StoreError> {
    let from = Kept::at(now).border(Timestamp(now.0 - window_seconds * 1_000_000));
    let product_begins = Edge::before(product.organization.clone(), product.product.clone());
    let edge = Edge { path: path.values().to_vec(), ..product_begins };
    let wanted = Wanted {
        environment: product.environment.as_str(),
        first: &edge,
        last: &edge,
        product: None,
        dimensions: &[],
        groups: &[],
        from,
        to: None,
        window_from: from,
        bucket: None,
    };
    let courses = courses(&spots(transaction, &wanted, most).await?, from, from)?;
    let seconds = (now.0.div_euclid(1_000_000) - from.0 / 1_000_000).max(1);
    Ok(courses.into_iter().map(|course| Pace::of(course, seconds)).collect())
}
