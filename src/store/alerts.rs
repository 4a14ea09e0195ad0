//! Alerts, and the notices of their changes. Only who follows the ledger for the watches writes
//! them, so that the sequence of the notices is in the order of the commits.

use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::watch::{Alert, Subject};

use super::subjects::Columns;
use super::{StoreError, text};

struct Row {
    alert_id: Uuid,
    watch: String,
    organization_id: String,
    product_id: String,
    dimensions: Vec<String>,
    groups: Vec<String>,
    opened_at: OffsetDateTime,
    closed_at: Option<OffsetDateTime>,
    sequence: i64,
    value: Option<String>,
    threshold: String,
    detail: String,
}

impl Row {
    fn alert(self) -> Result<Alert, StoreError> {
        let groups = (!self.groups.is_empty()).then(|| GroupPath::stored(text::values(&self.groups)));
        Ok(Alert {
            id: self.alert_id,
            sequence: self.sequence,
            watch: self.watch,
            subject: Subject {
                organization: Value::stored(&self.organization_id),
                product: Value::stored(&self.product_id),
                path: DimensionPath::new(text::values(&self.dimensions)),
                groups,
            },
            opened_at: text::timestamp(self.opened_at),
            closed_at: self.closed_at.map(text::timestamp),
            value: self.value.as_deref().map(text::quantity).transpose()?,
            threshold: text::quantity(&self.threshold)?,
            detail: self.detail,
        })
    }
}

/// Reads the open alerts of subjects.
///
/// # Errors
/// When the database does not answer.
pub async fn open_of(
    connection: &mut PgConnection,
    environment: &str,
    subjects: &[&Subject],
) -> Result<Vec<Alert>, StoreError> {
    let columns = Columns::of(subjects.iter().copied());
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT a.alert_id AS "alert_id!", a.watch AS "watch!", a.organization_id AS "organization_id!",
                  a.product_id AS "product_id!", a.dimensions AS "dimensions!", a.groups AS "groups!",
                  a.opened_at AS "opened_at!",
                  a.closed_at, a.sequence AS "sequence!", a.value::text AS value, a.threshold::text AS "threshold!", a.detail AS "detail!"
           FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
                AS k (organization_id, product_id, dimensions, groups)
           CROSS JOIN LATERAL (
               SELECT * FROM seen_alert a
               WHERE a.environment_id = $1 AND a.organization_id = k.organization_id AND a.product_id = k.product_id
                 AND a.dimensions = k.dimensions::text[] AND a.groups = k.groups::text[] AND a.closed_at IS NULL
               OFFSET 0
           ) a"#,
        environment,
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &columns.paths,
        &columns.groups,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::alert).collect()
}

/// Reads the open alerts of an environment behind one, in the order of their sequence.
///
/// # Errors
/// When the database does not answer.
pub async fn open_behind(
    connection: &mut PgConnection,
    environment: &str,
    after: i64,
    most: i64,
) -> Result<Vec<Alert>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT alert_id, watch, organization_id, product_id, dimensions, groups, opened_at, closed_at, sequence,
                  value::text AS value, threshold::text AS "threshold!", detail
           FROM alert WHERE environment_id = $1 AND sequence > $2 AND closed_at IS NULL
           ORDER BY sequence LIMIT $3"#,
        environment,
        after,
        most,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::alert).collect()
}

/// Which alerts a list asks for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Open ones or closed ones only.
    pub is_open: Option<bool>,
    /// Those of one watch.
    pub watch: Option<String>,
    /// Those of an owner.
    pub organization: Option<Value>,
    /// Those of a product.
    pub product: Option<Value>,
    /// Those of a group path and what is below it.
    pub groups: Option<GroupPath>,
    /// Those before one, by its sequence.
    pub before: Option<i64>,
}

/// Reads alerts of an environment, the one that changed last first.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    connection: &mut PgConnection,
    environment: &str,
    wanted: &Wanted,
    most: i64,
) -> Result<Vec<Alert>, StoreError> {
    let groups =
        wanted.groups.as_ref().map(|path| path.values().iter().map(Value::as_str).collect::<Vec<_>>());
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT alert_id, watch, organization_id, product_id, dimensions, groups, opened_at, closed_at, sequence,
                  value::text AS value, threshold::text AS "threshold!", detail
           FROM alert
           WHERE environment_id = $1 AND sequence < $2 AND ($3::text IS NULL OR watch = $3)
             AND ($4::boolean IS NULL OR (closed_at IS NULL) = $4)
             AND ($5::text IS NULL OR organization_id = $5) AND ($6::text IS NULL OR product_id = $6)
             AND ($7::text[] IS NULL OR groups[1:cardinality($7)] = $7)
           ORDER BY sequence DESC LIMIT $8"#,
        environment,
        wanted.before.unwrap_or(i64::MAX),
        wanted.watch,
        wanted.is_open,
        wanted.organization.as_ref().map(Value::as_str),
        wanted.product.as_ref().map(Value::as_str),
        groups.as_deref() as Option<&[&str]>,
        most,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::alert).collect()
}

/// Takes numbers for notices, and ids for the alerts that they open.
///
/// # Errors
/// When the database does not answer.
pub async fn numbers(connection: &mut PgConnection, count: usize) -> Result<Vec<(i64, Uuid)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT nextval('notice_sequence') AS "sequence!", gen_random_uuid() AS "id!"
           FROM generate_series(1, $1::bigint)"#,
        count as i64,
    )
    .fetch_all(connection)
    .await?;
    let mut numbers: Vec<(i64, Uuid)> = rows.into_iter().map(|row| (row.sequence, row.id)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The change of an alert, with the message that tells of it.
pub struct Notice {
    /// The alert after it.
    pub alert: Alert,
    /// The message's stable name.
    pub message_id: String,
    /// The message.
    pub payload: String,
}

/// Writes changes of alerts, their notices, and the deliveries to whoever wants them.
///
/// # Errors
/// When the database does not answer.
pub async fn write(
    connection: &mut PgConnection,
    environment: &str,
    notices: &[Notice],
) -> Result<(), StoreError> {
    let alerts = || notices.iter().map(|notice| &notice.alert);
    let columns = Columns::of(alerts().map(|alert| &alert.subject));
    let sequences: Vec<i64> = alerts().map(|alert| alert.sequence).collect();
    let ids: Vec<Uuid> = alerts().map(|alert| alert.id).collect();
    let watches: Vec<&str> = alerts().map(|alert| alert.watch.as_str()).collect();
    let opened: Vec<OffsetDateTime> = alerts().map(|alert| text::time(alert.opened_at)).collect();
    let closed: Vec<Option<OffsetDateTime>> = alerts().map(|alert| alert.closed_at.map(text::time)).collect();
    let values: Vec<Option<String>> =
        alerts().map(|alert| alert.value.map(|value| value.to_string())).collect();
    let thresholds: Vec<String> = alerts().map(|alert| alert.threshold.to_string()).collect();
    let details: Vec<&str> = alerts().map(|alert| alert.detail.as_str()).collect();
    sqlx::query!(
        "INSERT INTO alert (environment_id, alert_id, watch, organization_id, product_id, dimensions, groups, opened_at,
                            closed_at, sequence, value, threshold, detail)
         SELECT $1, k.alert_id, k.watch, k.organization_id, k.product_id, k.dimensions::text[], k.groups::text[],
                k.opened_at, k.closed_at, k.sequence, k.value::numeric, k.threshold::numeric, k.detail
         FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
                     $9::timestamptz[], $10::bigint[], $11::text[], $12::text[], $13::text[])
              AS k (alert_id, watch, organization_id, product_id, dimensions, groups, opened_at, closed_at, sequence,
                    value, threshold, detail)
         ON CONFLICT (alert_id) DO UPDATE
         SET closed_at = excluded.closed_at, sequence = excluded.sequence, value = excluded.value,
             threshold = excluded.threshold, detail = excluded.detail",
        environment,
        &ids,
        &watches as &[&str],
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &columns.paths,
        &columns.groups,
        &opened,
        &closed as &[Option<OffsetDateTime>],
        &sequences,
        &values as &[Option<String>],
        &thresholds,
        &details as &[&str],
    )
    .execute(&mut *connection)
    .await?;
    let happened: Vec<OffsetDateTime> =
        alerts().map(|alert| text::time(alert.closed_at.unwrap_or(alert.opened_at))).collect();
    let messages: Vec<&str> = notices.iter().map(|notice| notice.message_id.as_str()).collect();
    let payloads: Vec<&str> = notices.iter().map(|notice| notice.payload.as_str()).collect();
    sqlx::query!(
        "INSERT INTO notice (environment_id, sequence, organization_id, product_id, dimensions, groups, watch, message_id,
                             happened_at, payload)
         SELECT $1, k.sequence, k.organization_id, k.product_id, k.dimensions::text[], k.groups::text[], k.watch,
                k.message_id, k.happened_at, k.payload
         FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::text[],
                     $9::text[], $10::text[])
              AS k (sequence, organization_id, product_id, watch, message_id, happened_at, payload, dimensions, groups)",
        environment,
        &sequences,
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &watches as &[&str],
        &messages as &[&str],
        &happened,
        &payloads as &[&str],
        &columns.paths,
        &columns.groups,
    )
    .execute(&mut *connection)
    .await?;
    super::outbox::enqueue(connection, environment, &sequences).await
}

/// Forgets the alerts of products, and what was still to be told of them.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn erase(
    connection: &mut PgConnection,
    environment: &str,
    organizations: &[&str],
    products: &[&str],
) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH erased AS (SELECT * FROM unnest($2::text[], $3::text[]) AS p (organization_id, product_id)), lanes AS (
             DELETE FROM lane l USING erased p
             WHERE l.environment_id = $1 AND l.organization_id = p.organization_id AND l.product_id = p.product_id
         ), deliveries AS (
             DELETE FROM delivery d USING erased p
             WHERE d.environment_id = $1 AND d.organization_id = p.organization_id AND d.product_id = p.product_id
         ), notices AS (
             DELETE FROM notice n USING erased p
             WHERE n.environment_id = $1 AND n.organization_id = p.organization_id AND n.product_id = p.product_id
         )
         DELETE FROM alert a USING erased p
         WHERE a.environment_id = $1 AND a.organization_id = p.organization_id AND a.product_id = p.product_id",
        environment,
        organizations as &[&str],
        products as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What happened to an alert, as it was told.
pub struct Told {
    /// Where it is in the order of all changes of alerts.
    pub sequence: i64,
    /// The environment.
    pub environment: String,
    /// What it is about.
    pub subject: Subject,
    /// The message.
    pub payload: String,
}

struct ToldRow {
    sequence: i64,
    environment_id: String,
    organization_id: String,
    product_id: String,
    dimensions: Vec<String>,
    groups: Vec<String>,
    payload: String,
}

impl ToldRow {
    fn told(self) -> Told {
        let groups = (!self.groups.is_empty()).then(|| GroupPath::stored(text::values(&self.groups)));
        Told {
            sequence: self.sequence,
            environment: self.environment_id,
            subject: Subject {
                organization: Value::stored(&self.organization_id),
                product: Value::stored(&self.product_id),
                path: DimensionPath::new(text::values(&self.dimensions)),
                groups,
            },
            payload: self.payload,
        }
    }
}

/// Reads what was told of an environment's alerts, behind a place in the order of all. Nothing comes
/// to be before what was read, because one at a time writes it.
///
/// # Errors
/// When the database does not answer.
pub async fn told(
    connection: &mut PgConnection,
    environment: &str,
    after: i64,
    most: i64,
) -> Result<Vec<Told>, StoreError> {
    let rows = sqlx::query_as!(
        ToldRow,
        "SELECT sequence, environment_id, organization_id, product_id, dimensions, groups, payload FROM notice
         WHERE environment_id = $1 AND sequence > $2 ORDER BY environment_id, sequence LIMIT $3",
        environment,
        after,
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(ToldRow::told).collect())
}

/// Reads what was told of the alerts of all environments, in the same way.
///
/// # Errors
/// When the database does not answer.
pub async fn all_told(connection: &mut PgConnection, after: i64, most: i64) -> Result<Vec<Told>, StoreError> {
    let rows = sqlx::query_as!(
        ToldRow,
        "SELECT sequence, environment_id, organization_id, product_id, dimensions, groups, payload FROM notice
         WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        after,
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(ToldRow::told).collect())
}

/// Reads the place of what was last told of an environment's alerts; 0 where nothing was.
///
/// # Errors
/// When the database does not answer.
pub async fn last_told(connection: &mut PgConnection, environment: &str) -> Result<i64, StoreError> {
    let last = sqlx::query_scalar!(
        r#"SELECT coalesce(max(sequence), 0) AS "last!" FROM notice WHERE environment_id = $1"#,
        environment,
    )
    .fetch_one(connection)
    .await?;
    Ok(last)
}
