//! Queries: what the books say now.

use sqlx::PgConnection;

use crate::domain::command::ProductKey;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::state::Balance;

use super::{StoreError, state, text};

/// Balances, with the version of the environment's configuration at the same moment: other
/// instances change configurations too, and a query has no guard that would notice.
pub struct Balances {
    /// The version; `None` when the environment does not exist.
    pub configuration: Option<i64>,
    /// The balances, in the order of their group paths.
    pub balances: Vec<(GroupPath, Balance)>,
}

/// Reads the balances of a product at exactly a dimension path, of those that agree with
/// every group given. `most` bounds the answer.
///
/// # Errors
/// When the database does not answer.
pub async fn balances(
    connection: &mut PgConnection,
    key: &ProductKey,
    path: &DimensionPath,
    groups: &[Option<Value>],
    most: i64,
) -> Result<Balances, StoreError> {
    let given = || groups.iter().enumerate().filter_map(|(index, value)| Some((index, value.as_ref()?)));
    let places: Vec<i32> = given().map(|(index, _)| index as i32 + 1).collect();
    let values: Vec<&str> = given().map(|(_, value)| value.as_str()).collect();
    let rows = sqlx::query!(
        r#"SELECT e.version, b.groups AS "groups?", b.allocated AS "allocated?", b.consumed AS "consumed?",
                  b.cumulative_allocated AS "cumulative_allocated?", b.cumulative_consumed AS "cumulative_consumed?"
           FROM environment e
           LEFT JOIN LATERAL (
               SELECT b.groups, b.allocated::text, b.consumed::text, b.cumulative_allocated::text,
                      b.cumulative_consumed::text
               FROM seen_balance b
               WHERE b.environment_id = $1 AND b.organization_id = $2 AND b.product_id = $3
                 AND b.dimensions = $4::text::text[]
                 AND NOT EXISTS (SELECT FROM unnest($5::int[], $6::text[]) AS g (place, value)
                                 WHERE b.groups[g.place] IS DISTINCT FROM g.value)
               ORDER BY b.groups
               LIMIT $7
           ) b ON true
           WHERE e.environment_id = $1
           ORDER BY b.groups"#,
        key.environment.as_str(),
        key.organization.as_str(),
        key.product.as_str(),
        text::array(path.values()),
        &places,
        &values as &[&str],
        most,
    )
    .fetch_all(connection)
    .await?;
    let configuration = rows.first().map(|row| row.version);
    let mut balances = Vec::with_capacity(rows.len());
    for row in rows {
        // An environment without such balances is one row that has none.
        let (
            Some(groups),
            Some(allocated),
            Some(consumed),
            Some(cumulative_allocated),
            Some(cumulative_consumed),
        ) = (row.groups, row.allocated, row.consumed, row.cumulative_allocated, row.cumulative_consumed)
        else {
            continue;
        };
        let balance = state::balance([&allocated, &consumed, &cumulative_allocated, &cumulative_consumed])?;
        balances.push((GroupPath::stored(text::values(&groups)), balance));
    }
    Ok(Balances { configuration, balances })
}
