//! Queries: what the books say now.

use sqlx::PgConnection;

use crate::domain::command::ProductKey;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::state::Balance;

use super::{StoreError, state, text};

/// Reads the balances of a product at exactly a dimension path, in the order of their group
/// paths, of those that agree with every group given. `most` bounds the answer.
///
/// # Errors
/// When the database does not answer.
pub async fn balances(
    connection: &mut PgConnection,
    key: &ProductKey,
    path: &DimensionPath,
    groups: &[Option<Value>],
    most: i64,
) -> Result<Vec<(GroupPath, Balance)>, StoreError> {
    let given = || groups.iter().enumerate().filter_map(|(index, value)| Some((index, value.as_ref()?)));
    let places: Vec<i32> = given().map(|(index, _)| index as i32 + 1).collect();
    let values: Vec<String> = given().map(|(_, value)| value.to_string()).collect();
    let rows = sqlx::query!(
        r#"SELECT b.groups, b.allocated::text AS "allocated!", b.consumed::text AS "consumed!",
                  b.cumulative_allocated::text AS "cumulative_allocated!",
                  b.cumulative_consumed::text AS "cumulative_consumed!"
           FROM balance b
           WHERE b.environment_id = $1 AND b.organization_id = $2 AND b.product_id = $3
             AND b.dimensions = $4::text::text[]
             AND NOT EXISTS (SELECT FROM unnest($5::int[], $6::text[]) AS g (place, value)
                             WHERE b.groups[g.place] IS DISTINCT FROM g.value)
           ORDER BY b.groups
           LIMIT $7"#,
        key.environment.as_str(),
        key.organization.as_str(),
        key.product.as_str(),
        text::array(path.values()),
        &places,
        &values,
        most,
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let balance = state::balance([
                &row.allocated,
                &row.consumed,
                &row.cumulative_allocated,
                &row.cumulative_consumed,
            ])?;
            Ok((GroupPath::stored(text::values(&row.groups)), balance))
        })
        .collect()
}
