//! Reading activity: what is asked for, at the moments that it is asked for.

use std::collections::BTreeMap;

use futures_util::{Stream, StreamExt, TryStreamExt};
use hashbrown::HashMap;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::domain::activity::{Kept, Totals};
use crate::domain::analytics::{Course, Pace};
use crate::domain::command::{ProductKey, Timestamp};
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;

use super::{StoreError, activity, follow, text};

/// The follower that keeps activity.
const FOLLOWER: &str = "activity";
/// Most spots of a product whose pace is read.
const PACES_MAX: i64 = 20_000;

/// What is asked for.
pub struct Wanted<'a> {
    /// The isolated tenant.
    pub environment: &'a str,
    /// The first owner and product, and the last, in the order of both.
    pub products: ((&'a str, &'a str), (&'a str, &'a str)),
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
    /// The unit of buckets (`minute`, `hour`, `day`), and most rows that are read for them.
    pub bucket: Option<(&'static str, i64)>,
    /// Most spots.
    pub most: i64,
}

/// What was found: all as of one moment.
pub struct Found {
    /// The last event that is in it.
    pub reached: i64,
    /// The spots, in the order of their owners and products. None of those that have nothing and saw nothing.
    pub courses: Vec<Course>,
    /// By place: the totals at the end of the buckets in which anything was done.
    pub buckets: HashMap<i64, BTreeMap<Timestamp, Totals>>,
    /// Whether there are more rows of buckets than may be read.
    pub is_cut: bool,
}

/// Reads activity.
///
/// # Errors
/// When the database does not answer.
pub async fn read(connection: &mut PgConnection, wanted: &Wanted<'_>) -> Result<Found, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let reached = follow::reached(&mut transaction, FOLLOWER).await?;
    let courses = courses(&mut transaction, wanted).await?;
    let mut found = Found { reached, courses, buckets: HashMap::new(), is_cut: false };
    if let Some((unit, most)) = wanted.bucket {
        read_buckets(&mut transaction, wanted, unit, most, &mut found).await?;
    }
    transaction.rollback().await?;
    Ok(found)
}

/// Goes through all spots that there are, however many: each is handed on and forgotten, as long as
/// `is_enough` does not say so. Answers the last event that is in them. Buckets are not read.
///
/// # Errors
/// When the database does not answer.
pub async fn fold(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    mut is_enough: impl FnMut(&Course) -> bool,
) -> Result<i64, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let reached = follow::reached(&mut transaction, FOLLOWER).await?;
    {
        let mut all = std::pin::pin!(one_by_one(&mut transaction, wanted));
        while let Some(course) = all.try_next().await? {
            if is_enough(&course) {
                break;
            }
        }
    }
    transaction.rollback().await?;
    Ok(reached)
}

fn filter(values: &[(usize, Value)]) -> (Vec<i32>, Vec<&str>) {
    values.iter().map(|(place, value)| (*place as i32 + 1, value.as_str())).unzip()
}

/// The lines of the spots that are asked for, a text for each column of the statement: a row for each spot
/// costs the service more on its way than all that is done with it then. No value has a control character,
/// so a line ends with one, and so does each value of a path.
struct Columns {
    places: String,
    organizations: String,
    products: String,
    paths: String,
    groups: String,
    minutes: String,
    froms: String,
    consumed_before_from: String,
    tos: String,
    last_consumed: String,
    consumed_before_window: String,
}

async fn courses(connection: &mut PgConnection, wanted: &Wanted<'_>) -> Result<Vec<Course>, StoreError> {
    let (dimensions, dimension_values) = filter(wanted.dimensions);
    let (groups, group_values) = filter(wanted.groups);
    let ((first_organization, first_product), (last_organization, last_product)) = wanted.products;
    // What was done last before a border is all that was done by then: it is read of nothing else, and of
    // nothing that began behind the border. Totals come as the literals of their arrays, which costs the
    // database half of what arrays of texts do; and what is behind a CASE costs nothing where it is not so,
    // as a join that finds nothing does. Times come as microseconds.
    let columns = sqlx::query_as!(
        Columns,
        r#"SELECT coalesce(string_agg(s.place_id::text, E'\n'), '') AS "places!",
                  coalesce(string_agg(s.organization_id, E'\n'), '') AS "organizations!",
                  coalesce(string_agg(s.product_id, E'\n'), '') AS "products!",
                  coalesce(string_agg(s.dimensions, E'\n'), '') AS "paths!",
                  coalesce(string_agg(s.groups, E'\n'), '') AS "groups!",
                  coalesce(string_agg((extract(epoch FROM s.minute)::bigint * 1000000)::text, E'\n'), '') AS "minutes!",
                  coalesce(string_agg(coalesce(s.from, ''), E'\n'), '') AS "froms!",
                  coalesce(string_agg(coalesce((extract(epoch FROM s.consumed_before_at) * 1000000)::bigint::text, ''), E'\n'), '')
                      AS "consumed_before_from!",
                  coalesce(string_agg(coalesce(s.to, ''), E'\n'), '') AS "tos!",
                  coalesce(string_agg(coalesce((extract(epoch FROM s.last_consumed_at) * 1000000)::bigint::text, ''), E'\n'), '')
                      AS "last_consumed!",
                  coalesce(string_agg(coalesce(s.consumed_before, ''), E'\n'), '') AS "consumed_before_window!"
           FROM (
               SELECT p.place_id, p.organization_id, p.product_id, array_to_string(p.dimensions, E'\x1f') AS dimensions,
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
               FROM activity_place p
               WHERE (p.environment_id, p.organization_id, p.product_id) >= ($1, $2, $3)
                 AND (p.environment_id, p.organization_id, p.product_id) <= ($1, $4, $5)
                 AND ($6::text IS NULL OR p.product_id = $6)
                 AND (cardinality($7::int[]) = 0
                      OR NOT EXISTS (SELECT FROM unnest($7, $8::text[]) AS g (place, value)
                                     WHERE coalesce(p.dimensions[g.place], '') <> g.value))
                 AND (cardinality($12::int[]) = 0
                      OR NOT EXISTS (SELECT FROM unnest($12, $13::text[]) AS g (place, value)
                                     WHERE p.groups[g.place] IS DISTINCT FROM g.value))
                 AND (p.minute >= $9 OR p.totals[1] - p.totals[2] - p.totals[3] + p.totals[4] - p.totals[5] <> 0)
               ORDER BY p.environment_id, p.organization_id, p.product_id
               LIMIT $14
           ) s"#,
        wanted.environment,
        first_organization,
        first_product,
        last_organization,
        last_product,
        wanted.product,
        &dimensions,
        &dimension_values as &[&str],
        text::time(wanted.from),
        wanted.to.map(text::time),
        text::time(wanted.window_from),
        &groups,
        &group_values as &[&str],
        wanted.most,
    )
    .fetch_one(connection)
    .await?;
    let (from, window_from) = (wanted.from, wanted.window_from);
    // To read thousands of lines takes long enough that others' requests would wait for it.
    let reading = tokio::task::spawn_blocking(move || columns.courses(from, window_from));
    reading.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
}

impl Columns {
    fn courses(&self, from: Timestamp, window_from: Timestamp) -> Result<Vec<Course>, StoreError> {
        if self.places.is_empty() {
            return Ok(Vec::new());
        }
        let mut organizations = self.organizations.split('\n');
        let mut products = self.products.split('\n');
        let (mut paths, mut groups) = (self.paths.split('\n'), self.groups.split('\n'));
        let mut minutes = self.minutes.split('\n');
        let (mut froms, mut tos) = (self.froms.split('\n'), self.tos.split('\n'));
        let mut consumed_before_from = self.consumed_before_from.split('\n');
        let mut last_consumed = self.last_consumed.split('\n');
        let mut consumed_before_window = self.consumed_before_window.split('\n');
        let mut courses = Vec::new();
        for place in self.places.split('\n') {
            let minute = time(next(&mut minutes)?)?.unwrap_or(Timestamp(0));
            let to = totals(next(&mut tos)?, next(&mut last_consumed)?)?;
            let of_then = totals(next(&mut froms)?, next(&mut consumed_before_from)?)?;
            let consumed = next(&mut consumed_before_window)?;
            courses.push(Course {
                place_id: place.parse().map_err(|_| unreadable(place))?,
                organization: Value::stored(next(&mut organizations)?),
                product: Value::stored(next(&mut products)?),
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
        Ok(courses)
    }
}

fn unreadable(line: &str) -> StoreError {
    StoreError::Rejected(format!("{line:?} is no line of activity"))
}

fn next<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<&'a str, StoreError> {
    lines.next().ok_or_else(|| unreadable(""))
}

fn values(line: &str) -> Vec<Value> {
    if line.is_empty() { Vec::new() } else { line.split('\x1f').map(Value::stored).collect() }
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

/// A spot with its totals, as they are stored.
struct Spot {
    place_id: i64,
    organization_id: String,
    product_id: String,
    dimensions: Vec<String>,
    groups: Vec<String>,
    minute: OffsetDateTime,
    from: Option<String>,
    consumed_before_at: Option<OffsetDateTime>,
    to: Option<String>,
    last_consumed_at: Option<OffsetDateTime>,
    consumed_before: Option<String>,
}

impl Spot {
    fn course(self, wanted: &Wanted<'_>) -> Result<Course, StoreError> {
        let totals = |text: Option<String>, last: Option<OffsetDateTime>| match text {
            Some(text) => activity::totals(&text, last),
            None => Ok(Totals::default()),
        };
        let minute = text::timestamp(self.minute);
        let to = totals(self.to, self.last_consumed_at)?;
        let from = match minute < wanted.from {
            true => to,
            false => totals(self.from, self.consumed_before_at)?,
        };
        let consumed_before_window = match self.consumed_before {
            _ if minute < wanted.window_from => to.consumed,
            Some(text) => text::quantity(&text)?,
            None => Default::default(),
        };
        Ok(Course {
            place_id: self.place_id,
            organization: Value::stored(&self.organization_id),
            product: Value::stored(&self.product_id),
            path: text::values(&self.dimensions),
            groups: text::values(&self.groups),
            from,
            to,
            consumed_before_window,
        })
    }
}

/// The courses as rows, each handed on when it comes: [`courses`] is faster, and has to hold them all.
fn one_by_one<'a>(
    connection: &'a mut PgConnection,
    wanted: &'a Wanted<'_>,
) -> impl Stream<Item = Result<Course, StoreError>> + Send + 'a {
    let (dimensions, dimension_values) = filter(wanted.dimensions);
    let (groups, group_values) = filter(wanted.groups);
    let ((first_organization, first_product), (last_organization, last_product)) = wanted.products;
    // What was done last before a border is all that was done by then: it is read of nothing else. Totals
    // come as the literals of their arrays, which costs the database half of what arrays of texts do.
    let rows = sqlx::query_as!(
        Spot,
        r#"SELECT p.place_id, p.organization_id, p.product_id, p.dimensions, p.groups, p.minute,
                  CASE WHEN p.minute >= $9 THEN f.totals::text END AS from, f.last_consumed_at AS consumed_before_at,
                  CASE WHEN p.minute < coalesce($10::timestamptz, 'infinity') THEN p.totals::text ELSE t.totals::text END AS to,
                  CASE WHEN p.minute < coalesce($10::timestamptz, 'infinity') THEN p.last_consumed_at ELSE t.last_consumed_at END AS last_consumed_at,
                  w.consumed::text AS consumed_before
           FROM activity_place p
           LEFT JOIN LATERAL (SELECT a.totals, a.last_consumed_at FROM activity a
                              WHERE a.place_id = p.place_id AND a.minute < $9 AND p.minute >= $9
                              ORDER BY a.minute DESC LIMIT 1) f ON true
           LEFT JOIN LATERAL (SELECT a.totals, a.last_consumed_at FROM activity a
                              WHERE a.place_id = p.place_id AND a.minute < $10::timestamptz AND p.minute >= $10::timestamptz
                              ORDER BY a.minute DESC LIMIT 1) t ON true
           LEFT JOIN LATERAL (SELECT a.totals[3] AS consumed FROM activity a
                              WHERE a.place_id = p.place_id AND a.minute < $11 AND p.minute >= $11
                              ORDER BY a.minute DESC LIMIT 1) w ON true
           WHERE (p.environment_id, p.organization_id, p.product_id) >= ($1, $2, $3)
             AND (p.environment_id, p.organization_id, p.product_id) <= ($1, $4, $5)
             AND ($6::text IS NULL OR p.product_id = $6)
             AND (cardinality($7::int[]) = 0
                  OR NOT EXISTS (SELECT FROM unnest($7, $8::text[]) AS g (place, value)
                                 WHERE coalesce(p.dimensions[g.place], '') <> g.value))
             AND (cardinality($12::int[]) = 0
                  OR NOT EXISTS (SELECT FROM unnest($12, $13::text[]) AS g (place, value)
                                 WHERE p.groups[g.place] IS DISTINCT FROM g.value))
             AND (p.minute >= $9 OR p.totals[1] - p.totals[2] - p.totals[3] + p.totals[4] - p.totals[5] <> 0)
           ORDER BY p.environment_id, p.organization_id, p.product_id, p.dimensions, p.groups
           LIMIT $14"#,
        wanted.environment,
        first_organization,
        first_product,
        last_organization,
        last_product,
        wanted.product,
        &dimensions,
        &dimension_values as &[&str],
        text::time(wanted.from),
        wanted.to.map(text::time),
        text::time(wanted.window_from),
        &groups,
        &group_values as &[&str],
        i64::MAX,
    )
    .fetch(connection);
    rows.map(|spot| spot?.course(wanted))
}

async fn read_buckets(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    unit: &str,
    most: i64,
    found: &mut Found,
) -> Result<(), StoreError> {
    let places: Vec<i64> = found.courses.iter().map(|course| course.place_id).collect();
    let rows = sqlx::query!(
        r#"SELECT DISTINCT ON (a.place_id, b.begin) a.place_id, b.begin AS "begin!", a.totals::text AS "totals!",
                  a.last_consumed_at
           FROM unnest($1::bigint[]) AS p (place_id)
           JOIN activity a ON a.place_id = p.place_id AND a.minute >= $2 AND a.minute < coalesce($3::timestamptz, 'infinity')
           CROSS JOIN LATERAL (SELECT date_trunc($4, a.minute, 'UTC') AS begin) b
           ORDER BY a.place_id, b.begin, a.minute DESC
           LIMIT $5"#,
        &places,
        text::time(wanted.from),
        wanted.to.map(text::time),
        unit,
        most + 1,
    )
    .fetch_all(connection)
    .await?;
    found.is_cut = rows.len() as i64 > most;
    for row in rows {
        let totals = activity::totals(&row.totals, row.last_consumed_at)?;
        found.buckets.entry(row.place_id).or_default().insert(text::timestamp(row.begin), totals);
    }
    Ok(())
}

/// Reads how fast each balance of a product goes: over the window of so many seconds that ends now,
/// and that begins with a minute, so that it may be a little longer. What holds nothing and saw
/// nothing within the window is not among them. It may be a second behind the books.
///
/// # Errors
/// When the database does not answer.
pub async fn paces(
    connection: &mut PgConnection,
    product: &ProductKey,
    window_seconds: i64,
    now: Timestamp,
) -> Result<Vec<Pace>, StoreError> {
    let [environment, organization, product] = product.as_strs();
    let from = Kept::at(now).border(Timestamp(now.0 - window_seconds * 1_000_000));
    let wanted = Wanted {
        environment,
        products: ((organization, product), (organization, product)),
        product: None,
        dimensions: &[],
        groups: &[],
        from,
        to: None,
        window_from: from,
        bucket: None,
        most: PACES_MAX,
    };
    let seconds = (now.0.div_euclid(1_000_000) - from.0 / 1_000_000).max(1);
    let courses = courses(connection, &wanted).await?;
    Ok(courses.into_iter().map(|course| Pace::of(course, seconds)).collect())
}
