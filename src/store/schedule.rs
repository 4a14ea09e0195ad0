//! What is scheduled, as it is stored: a row per place, day and measure.

use serde::Serialize;
use sqlx::PgConnection;
use time::Date;

use crate::domain::command::ProductKey;
use crate::domain::dimensions::DimensionPath;
use crate::domain::formula::Slot;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::schedule::Schedule;

use super::state::columns;
use super::{StoreError, text};

/// Reads the schedules of places. Answers, in the same order, what is stored of each.
///
/// # Errors
/// When the database does not answer.
pub async fn schedules(
    connection: &mut PgConnection,
    wanted: &[(ProductKey, DimensionPath)],
) -> Result<Vec<Schedule>, StoreError> {
    let (keys, paths) = columns(wanted.iter().map(|(key, path)| (key, path.values())));
    let rows = sqlx::query!(
        r#"SELECT k.rank AS "rank!", c.day AS "day!", c.place AS "place!", c.quantity::text AS "quantity!"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
                AS k (environment_id, organization_id, product_id, dimensions, rank)
           JOIN seen_schedule c ON c.environment_id = k.environment_id AND c.organization_id = k.organization_id
                AND c.product_id = k.product_id AND c.dimensions = k.dimensions::text[]"#,
        &keys.environments as &[&str],
        &keys.organizations as &[&str],
        &keys.products as &[&str],
        &paths,
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![Schedule::default(); wanted.len()];
    for row in rows {
        add(&mut found[row.rank as usize - 1], row.day, row.place, &row.quantity)?;
    }
    Ok(found)
}

fn add(schedule: &mut Schedule, day: Date, place: i32, quantity: &str) -> Result<(), StoreError> {
    let unreadable = || StoreError::Rejected(format!("the stored schedule of {day} at the place {place}"));
    let slot = Slot(usize::try_from(place - 1).map_err(|_| unreadable())?);
    if schedule.add(day, slot, text::quantity(quantity)?) { Ok(()) } else { Err(unreadable()) }
}

/// A place with all that is scheduled there: a row of [`replace`].
#[derive(Serialize)]
struct Row<'a> {
    environment_id: &'a str,
    organization_id: &'a str,
    product_id: &'a str,
    dimensions: &'a [Value],
    days: Vec<String>,
    places: Vec<usize>,
    quantities: Vec<Quantity>,
}

impl Row<'_> {
    fn of<'a>(key: &'a ProductKey, path: &'a DimensionPath, schedule: &Schedule) -> Row<'a> {
        let [environment_id, organization_id, product_id] = key.as_strs();
        let mut row = Row {
            environment_id,
            organization_id,
            product_id,
            dimensions: path.values(),
            days: Vec::new(),
            places: Vec::new(),
            quantities: Vec::new(),
        };
        for (day, slot, quantity) in schedule.entries() {
            row.days.push(day.to_string());
            row.places.push(slot.index() + 1);
            row.quantities.push(quantity);
        }
        row
    }
}

/// Replaces the schedules of places. In a transaction that writes the nodes there first: they
/// guard what is written here.
///
/// # Errors
/// When the database does not do it.
pub(super) async fn replace(
    connection: &mut PgConnection,
    schedules: &[(ProductKey, DimensionPath, Schedule)],
) -> Result<(), StoreError> {
    let rows: Vec<_> = schedules.iter().map(|(key, path, schedule)| Row::of(key, path, schedule)).collect();
    // Structures of strings and numbers always become JSON.
    let rows = serde_json::to_string(&rows).unwrap_or_default();
    sqlx::query!(
        r#"DELETE FROM seen_schedule c
           USING json_to_recordset($1::text::json)
                 AS k (environment_id text, organization_id text, product_id text, dimensions text[])
           WHERE c.environment_id = k.environment_id AND c.organization_id = k.organization_id
             AND c.product_id = k.product_id AND c.dimensions = k.dimensions"#,
        rows,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"INSERT INTO schedule (environment_id, organization_id, product_id, dimensions, day, place, quantity)
           SELECT k.environment_id, k.organization_id, k.product_id, k.dimensions, q.day, q.place, q.quantity
           FROM json_to_recordset($1::text::json)
                AS k (environment_id text, organization_id text, product_id text, dimensions text[],
                      days date[], places int[], quantities numeric[])
           CROSS JOIN LATERAL unnest(k.days, k.places, k.quantities) AS q (day, place, quantity)"#,
        rows,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A schedule as a statement sums it up: days, the measures' places, quantities.
pub(super) fn read(json: &str) -> Result<Schedule, StoreError> {
    let unreadable = || StoreError::Rejected(format!("the stored schedule {json:?}"));
    let rows: Vec<(String, i32, String)> = serde_json::from_str(json).map_err(|_| unreadable())?;
    of(&rows)
}

/// A schedule of days, the measures' places, and quantities.
pub(super) fn of(rows: &[(String, i32, String)]) -> Result<Schedule, StoreError> {
    let mut schedule = Schedule::default();
    for (day, place, quantity) in rows {
        let unreadable = || StoreError::Rejected(format!("the stored schedule of {day:?}"));
        let day = crate::domain::schedule::day(day).ok_or_else(unreadable)?;
        add(&mut schedule, day, *place, quantity)?;
    }
    Ok(schedule)
}

/// One place of an environment with what is scheduled there, or why it cannot be read.
pub(super) type Stored = (String, String, DimensionPath, Result<Schedule, StoreError>);

/// Reads all schedules of an environment, for verification.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn whole(
    connection: &mut PgConnection,
    environment: &str,
) -> Result<Vec<Stored>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT organization_id, product_id, dimensions,
                  json_agg(json_build_array(day, place, quantity::text))::text AS "schedule!"
           FROM schedule WHERE environment_id = $1 GROUP BY organization_id, product_id, dimensions"#,
        environment,
    )
    .fetch_all(connection)
    .await?;
    let stored = rows.into_iter().map(|row| {
        let values: Vec<Value> = text::values(&row.dimensions);
        (row.organization_id, row.product_id, DimensionPath::new(values), read(&row.schedule))
    });
    Ok(stored.collect())
}

/// The places of the measures that something is scheduled for, today or later.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn measures(
    connection: &mut PgConnection,
    environment: &str,
) -> Result<Vec<Slot>, StoreError> {
    let rows = sqlx::query!(
        "SELECT DISTINCT place FROM schedule
         WHERE environment_id = $1 AND day >= (now() AT TIME ZONE 'UTC')::date",
        environment,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(|row| usize::try_from(row.place - 1).ok()).map(Slot).collect())
}
