//! Reading activity: what is asked for, at the moments that it is asked for.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::domain::activity::{Kept, Totals};
use crate::domain::analytics::{Course, Pace};
use crate::domain::command::{ProductKey, Timestamp};
use crate::domain::name::Value;

use super::{StoreError, activity, follow, horizon, text};

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
    /// The environment's last event that is in it.
    pub reached: i64,
    /// The spots, in the order of their keys. None of those that have nothing and saw nothing.
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
    let reached = horizon::last_id_of(&mut transaction, wanted.environment, reached).await?;
    let courses = courses(&mut transaction, wanted).await?;
    let mut found = Found { reached, courses, buckets: HashMap::new(), is_cut: false };
    if let Some((unit, most)) = wanted.bucket {
        read_buckets(&mut transaction, wanted, unit, most, &mut found).await?;
    }
    transaction.rollback().await?;
    Ok(found)
}

fn filter(values: &[(usize, Value)]) -> (Vec<i32>, Vec<&str>) {
    values.iter().map(|(place, value)| (*place as i32 + 1, value.as_str())).unzip()
}

async fn courses(connection: &mut PgConnection, wanted: &Wanted<'_>) -> Result<Vec<Course>, StoreError> {
    let (dimensions, dimension_values) = filter(wanted.dimensions);
    let (groups, group_values) = filter(wanted.groups);
    let ((first_organization, first_product), (last_organization, last_product)) = wanted.products;
    // What was done last before a border is all that was done by then: it is read of nothing else. Totals
    // come as the literals of their arrays, which costs the database half of what arrays of texts do.
    let rows = sqlx::query!(
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
        wanted.most,
    )
    .fetch_all(connection)
    .await?;
    let totals = |text: Option<String>, last: Option<OffsetDateTime>| match text {
        Some(text) => activity::totals(&text, last),
        None => Ok(Totals::default()),
    };
    rows.into_iter()
        .map(|row| {
            let minute = text::timestamp(row.minute);
            let to = totals(row.to, row.last_consumed_at)?;
            let from = match minute < wanted.from {
                true => to,
                false => totals(row.from, row.consumed_before_at)?,
            };
            let consumed_before_window = match row.consumed_before {
                _ if minute < wanted.window_from => to.consumed,
                Some(text) => text::quantity(&text)?,
                None => Default::default(),
            };
            Ok(Course {
                place_id: row.place_id,
                organization: Value::stored(&row.organization_id),
                product: Value::stored(&row.product_id),
                path: text::values(&row.dimensions),
                groups: text::values(&row.groups),
                from,
                to,
                consumed_before_window,
            })
        })
        .collect()
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
