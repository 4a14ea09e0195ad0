//! Demand that was not met, on its way from those who counted it to the follower that keeps it.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::domain::activity::{Minute, Moved, Totals};

use super::{StoreError, activity, text};

/// Hands on what an instance counted.
///
/// # Errors
/// When the database does not answer: whether it has it is unknown then.
pub async fn hand_on(connection: &mut PgConnection, counted: &[Moved]) -> Result<(), StoreError> {
    let columns = activity::Columns::of(counted.iter().map(|moved| &moved.spot));
    let minutes: Vec<OffsetDateTime> = counted.iter().map(|moved| text::time(moved.minute.start())).collect();
    let quantities: Vec<String> =
        counted.iter().map(|moved| moved.totals.unmet_quantity.to_string()).collect();
    let counts: Vec<i64> = counted.iter().map(|moved| moved.totals.unmet_count).collect();
    sqlx::query!(
        "INSERT INTO unmet_demand (environment_id, organization_id, product_id, dimensions, groups, minute, quantity, count)
         SELECT k.environment_id, k.organization_id, k.product_id, k.dimensions::text[], k.groups::text[], k.minute,
                k.quantity::numeric, k.count
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::bigint[])
              AS k (environment_id, organization_id, product_id, dimensions, groups, minute, quantity, count)",
        &columns.environments as &[&str],
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &columns.paths,
        &columns.groups,
        &minutes,
        &quantities,
        &counts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes what was handed on, at most so many; it is gone from there when the transaction commits.
/// That of products which nothing is kept of is dropped: whoever asks for what there never was, or
/// is no more, leaves nothing behind. Where anything is watched for, the group paths are marked, for
/// whoever judges them to look at once what is kept now.
///
/// # Errors
/// When the database does not answer.
pub async fn take(connection: &mut PgConnection, most: i64) -> Result<Vec<Moved>, StoreError> {
    let rows = sqlx::query!(
        r#"WITH taken AS (
               DELETE FROM unmet_demand u
               WHERE u.unmet_id IN (SELECT unmet_id FROM unmet_demand ORDER BY unmet_id LIMIT $1)
               RETURNING u.*
           ), marked AS (
               INSERT INTO unmet_taken AS m (environment_id, organization_id, product_id, dimensions, groups)
               SELECT DISTINCT t.environment_id, t.organization_id, t.product_id, t.dimensions, t.groups FROM taken t
               WHERE EXISTS (SELECT FROM watch w WHERE w.environment_id = t.environment_id)
               -- Whoever is about to judge what was there before leaves the mark to the next.
               ON CONFLICT (environment_id, organization_id, product_id, dimensions, groups)
               DO UPDATE SET groups = m.groups
           )
           SELECT t.environment_id, t.organization_id, t.product_id, t.dimensions, t.groups, t.minute,
                  t.quantity::text AS "quantity!", t.count
           FROM taken t
           WHERE EXISTS (SELECT FROM stock_node s
                         WHERE s.environment_id = t.environment_id AND s.organization_id = t.organization_id
                           AND s.product_id = t.product_id)"#,
        most,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let key = [row.environment_id.as_str(), &row.organization_id, &row.product_id];
            Ok(Moved {
                spot: activity::spot(key, &row.dimensions, &row.groups),
                minute: Minute::of(text::timestamp(row.minute)),
                totals: Totals {
                    unmet_quantity: text::quantity(&row.quantity)?,
                    unmet_count: row.count,
                    ..Totals::default()
                },
            })
        })
        .collect()
}
