//! Reservations as queries ask for them.

use hashbrown::HashMap;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::formula::MeasureName;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::state::ReservationId;

use super::{StoreError, text};

/// Looks up whose and of what reservations are: their organizations and products. One that does
/// not exist is left out.
///
/// # Errors
/// When the database does not answer.
pub async fn products(
    connection: &mut PgConnection,
    environment: &Value,
    ids: &[Uuid],
) -> Result<HashMap<ReservationId, (Value, Value)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT r.reservation_id, r.organization_id, r.product_id
           FROM reservation r WHERE r.environment_id = $1 AND r.reservation_id = ANY($2)"#,
        environment.as_str(),
        ids,
    )
    .fetch_all(connection)
    .await?;
    let found = rows.into_iter().map(|row| {
        let owner = (Value::stored(&row.organization_id), Value::stored(&row.product_id));
        (ReservationId(row.reservation_id), owner)
    });
    Ok(found.collect())
}

/// Which reservations are asked for.
pub struct Wanted<'a> {
    /// The isolated tenant.
    pub environment: &'a Value,
    /// The owner.
    pub organization: &'a Value,
    /// The first and the last product.
    pub products: (&'a str, &'a str),
    /// The first and the last path, of every product.
    pub paths: (&'a [Value], &'a [Value]),
    /// Dimensions, by their places in the hierarchy, with the value that each must have.
    pub filters: &'a [(usize, Value)],
    /// The reservation that the answer begins behind: its product, path and id.
    pub after: Option<&'a Cursor>,
    /// Most reservations.
    pub most: usize,
}

/// A reservation's place in the order of the answer.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The product.
    pub product: Value,
    /// Where.
    pub path: Vec<Value>,
    /// Which there.
    pub id: Uuid,
}

/// A reservation that holds something.
pub struct Held {
    /// Its place in the order.
    pub cursor: Cursor,
    /// In which measure.
    pub measure: MeasureName,
    /// How much at first.
    pub quantity: Quantity,
    /// How much of it is not freed yet.
    pub remaining: Quantity,
}

/// Reads what is held, in the order of products, paths and ids.
///
/// # Errors
/// When the database does not answer.
pub async fn held(connection: &mut PgConnection, wanted: &Wanted<'_>) -> Result<Vec<Held>, StoreError> {
    let places: Vec<i32> = wanted.filters.iter().map(|&(place, _)| place as i32 + 1).collect();
    let values: Vec<&str> = wanted.filters.iter().map(|(_, value)| value.as_str()).collect();
    // Nothing comes before the empty product, the empty path and the nil id.
    let (product, path, id) = match wanted.after {
        Some(Cursor { product, path, id }) => (product.as_str(), text::array(path), *id),
        None => ("", text::array(&[]), Uuid::nil()),
    };
    let rows = sqlx::query!(
        r#"SELECT r.product_id AS "product_id!", r.dimensions AS "dimensions!", r.reservation_id AS "reservation_id!",
                  r.measure AS "measure!", r.quantity::text AS "quantity!",
                  r.remaining::text AS "remaining!"
           FROM seen_reservation r
           WHERE r.environment_id = $1 AND r.organization_id = $2 AND r.remaining > 0
             AND r.product_id >= $3 AND r.product_id <= $4
             AND r.dimensions >= $5::text::text[] AND r.dimensions <= $6::text::text[]
             AND NOT EXISTS (SELECT FROM unnest($7::int[], $8::text[]) AS f (place, value)
                             WHERE coalesce(r.dimensions[f.place], '') <> f.value)
             AND (r.product_id, r.dimensions, r.reservation_id) > ($9, $10::text::text[], $11)
           ORDER BY r.product_id, r.dimensions, r.reservation_id
           LIMIT $12"#,
        wanted.environment.as_str(),
        wanted.organization.as_str(),
        wanted.products.0,
        wanted.products.1,
        text::array(wanted.paths.0),
        text::array(wanted.paths.1),
        &places,
        &values as &[&str],
        product,
        path,
        id,
        wanted.most as i64,
    )
    .fetch_all(connection)
    .await?;
    let held = rows.into_iter().map(|row| {
        Ok(Held {
            cursor: Cursor {
                product: Value::stored(&row.product_id),
                path: text::values(&row.dimensions),
                id: row.reservation_id,
            },
            measure: MeasureName::parse(&row.measure).map_err(StoreError::Rejected)?,
            quantity: text::quantity(&row.quantity)?,
            remaining: text::quantity(&row.remaining)?,
        })
    });
    held.collect()
}
