//! What is scheduled, as it is stored: a row per place, day and measure.

use sqlx::PgConnection;
use time::Date;

use crate::domain::command::ProductKey;
use crate::domain::dimensions::DimensionPath;
use crate::domain::formula::Slot;
use crate::domain::name::Value;
use crate::domain::schedule::Schedule;

use super::state::{Keys, columns};
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
        r#"SELECT k.rank AS "rank!", c.day, c.place, c.quantity::text AS "quantity!"
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
                AS k (environment_id, organization_id, product_id, dimensions, rank)
           JOIN schedule c ON c.environment_id = k.environment_id AND c.organization_id = k.organization_id
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

/// Replaces the schedules of places. In a transaction that writes the nodes there first: they
/// guard what is written here.
///
/// # Errors
/// When the database does not do it.
pub(super) async fn replace(
    connection: &mut PgConnection,
    schedules: &[(ProductKey, DimensionPath, Schedule)],
) -> Result<(), StoreError> {
    let (Keys { environments, organizations, products }, paths) =
        columns(schedules.iter().map(|(key, path, _)| (key, path.values())));
    sqlx::query!(
        r#"DELETE FROM schedule c
           USING unnest($1::text[], $2::text[], $3::text[], $4::text[])
                 AS k (environment_id, organization_id, product_id, dimensions)
           WHERE c.environment_id = k.environment_id AND c.organization_id = k.organization_id
             AND c.product_id = k.product_id AND c.dimensions = k.dimensions::text[]"#,
        &environments as &[&str],
        &organizations as &[&str],
        &products as &[&str],
        &paths,
    )
    .execute(&mut *connection)
    .await?;
    let (mut ranks, mut days, mut places, mut quantities) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (rank, (_, _, schedule)) in schedules.iter().enumerate() {
        for (day, slot, quantity) in schedule.entries() {
            ranks.push(rank as i64 + 1);
            days.push(day);
            places.push(slot.index() as i32 + 1);
            quantities.push(quantity.to_string());
        }
    }
    if days.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"INSERT INTO schedule (environment_id, organization_id, product_id, dimensions, day, place, quantity)
           SELECT ($1::text[])[q.rank], ($2::text[])[q.rank], ($3::text[])[q.rank], ($4::text[])[q.rank]::text[],
                  q.day, q.place, q.quantity::numeric
           FROM unnest($5::bigint[], $6::date[], $7::int[], $8::text[]) AS q (rank, day, place, quantity)"#,
        &environments as &[&str],
        &organizations as &[&str],
        &products as &[&str],
        &paths,
        &ranks,
        &days,
        &places,
        &quantities,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A schedule as a statement sums it up: days, the measures' places, quantities.
pub(super) fn read(json: &str) -> Result<Schedule, StoreError> {
    let unreadable = || StoreError::Rejected(format!("the stored schedule {json:?}"));
    let rows: Vec<(String, i32, String)> = serde_json::from_str(json).map_err(|_| unreadable())?;
    let mut schedule = Schedule::default();
    for (day, place, quantity) in rows {
        let day = crate::domain::schedule::day(&day).ok_or_else(unreadable)?;
        add(&mut schedule, day, place, &quantity)?;
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
