//! Which products are enabled for allocation. To switch some makes a new version of the
//! configuration, so that commands are guarded against it as against any change of that.

use std::collections::HashMap;

use sqlx::{Connection, PgConnection};

use crate::domain::command::ProductKey;
use crate::domain::name::Value;

use super::{StoreError, configuration, state};

/// A product with its switch.
pub struct Switch {
    /// The owner.
    pub organization: Value,
    /// The product.
    pub product: Value,
    /// Whether the product can be allocated.
    pub enabled: bool,
}

/// Switches products of an environment; those that are as they should be already stay as they
/// are. Answers how many were switched; `None` when there is no such environment.
///
/// # Errors
/// When the database does not answer.
pub async fn switch(
    connection: &mut PgConnection,
    environment: &str,
    switches: &[Switch],
) -> Result<Option<u64>, StoreError> {
    let organizations: Vec<&str> = switches.iter().map(|switch| switch.organization.as_str()).collect();
    let products: Vec<&str> = switches.iter().map(|switch| switch.product.as_str()).collect();
    let enabled: Vec<bool> = switches.iter().map(|switch| switch.enabled).collect();
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let Some(version) = configuration::lock(&mut transaction, environment).await? else { return Ok(None) };
    let switched = sqlx::query!(
        "INSERT INTO product_switch (environment_id, organization_id, product_id, configuration_version, enabled)
         SELECT $1, g.organization_id, g.product_id, $2::bigint + 1, g.enabled
         FROM unnest($3::text[], $4::text[], $5::boolean[]) AS g (organization_id, product_id, enabled)
         WHERE g.enabled <> coalesce(
             (SELECT s.enabled FROM product_switch s
              WHERE s.environment_id = $1 AND s.organization_id = g.organization_id AND s.product_id = g.product_id
              ORDER BY s.configuration_version DESC LIMIT 1), false)",
        environment,
        version,
        &organizations as &[&str],
        &products as &[&str],
        &enabled,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if switched > 0 {
        configuration::renew(&mut transaction, environment, version).await?;
    }
    transaction.commit().await?;
    Ok(Some(switched))
}

/// Reads whether products are enabled, in the same order.
///
/// # Errors
/// When the database does not answer.
pub async fn enabled(connection: &mut PgConnection, keys: &[ProductKey]) -> Result<Vec<bool>, StoreError> {
    let columns = state::Keys::of(keys);
    let rows = sqlx::query_scalar!(
        r#"SELECT coalesce(s.enabled, false) AS "enabled!"
           FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
                AS k (environment_id, organization_id, product_id, place)
           LEFT JOIN LATERAL (
               SELECT s.enabled FROM product_switch s
               WHERE s.environment_id = k.environment_id AND s.organization_id = k.organization_id
                 AND s.product_id = k.product_id
               ORDER BY s.configuration_version DESC LIMIT 1
           ) s ON true
           ORDER BY k.place"#,
        &columns.environments as &[&str],
        &columns.organizations as &[&str],
        &columns.products as &[&str],
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Reads the products of an environment that were ever switched, as they are now: `most` of
/// those behind one, in the order of their keys.
///
/// # Errors
/// When the database does not answer.
pub async fn page(
    connection: &mut PgConnection,
    environment: &str,
    (after_organization, after_product): (&str, &str),
    most: i64,
) -> Result<Vec<Switch>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT ON (organization_id, product_id) organization_id, product_id, enabled
           FROM product_switch
           WHERE environment_id = $1 AND (organization_id, product_id) > ($2, $3)
           ORDER BY organization_id, product_id, configuration_version DESC
           LIMIT $4"#,
        environment,
        after_organization,
        after_product,
        most,
    )
    .fetch_all(connection)
    .await?;
    let switches = rows.into_iter().map(|row| Switch {
        organization: Value::stored(&row.organization_id),
        product: Value::stored(&row.product_id),
        enabled: row.enabled,
    });
    Ok(switches.collect())
}

/// When the products of an environment were switched.
pub struct History(HashMap<ProductKey, Vec<(i64, bool)>>);

impl History {
    /// Reads all of it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read(connection: &mut PgConnection, environment: &str) -> Result<History, StoreError> {
        let rows = sqlx::query!(
            "SELECT organization_id, product_id, configuration_version, enabled FROM product_switch
             WHERE environment_id = $1 ORDER BY configuration_version",
            environment,
        )
        .fetch_all(connection)
        .await?;
        let mut history: HashMap<ProductKey, Vec<(i64, bool)>> = HashMap::new();
        for row in rows {
            let key = ProductKey {
                environment: Value::stored(environment),
                organization: Value::stored(&row.organization_id),
                product: Value::stored(&row.product_id),
            };
            history.entry(key).or_default().push((row.configuration_version, row.enabled));
        }
        Ok(History(history))
    }

    /// Reads that of one product.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn of(connection: &mut PgConnection, key: &ProductKey) -> Result<History, StoreError> {
        let [environment, organization, product] = key.as_strs();
        let rows = sqlx::query!(
            "SELECT configuration_version, enabled FROM product_switch
             WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3 ORDER BY configuration_version",
            environment,
            organization,
            product,
        )
        .fetch_all(connection)
        .await?;
        let switches = rows.into_iter().map(|row| (row.configuration_version, row.enabled)).collect();
        Ok(History([(key.clone(), switches)].into()))
    }

    /// Whether a product was enabled under a version of the configuration.
    pub fn was_enabled(&self, key: &ProductKey, version: i64) -> bool {
        let switches = self.0.get(key).map_or(&[][..], Vec::as_slice);
        switches.iter().rev().find(|&&(since, _)| since <= version).is_some_and(|&(_, enabled)| enabled)
    }
}
