//! Reading and changing the configuration of an environment.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::domain::configuration::{Configuration, Usage};
use crate::domain::document::Document;
use crate::domain::formula::{Formula, MeasureName, Slot};
use crate::domain::refusal::Refusal;

use super::StoreError;

/// Longest that one statement may take which reads an environment whole.
const WHOLE_READ_MAX: Duration = Duration::from_secs(120);
/// Longest that a change may take as a whole: a database that falls silent is not waited for.
pub const CHANGE_TIME_MAX: Duration = Duration::from_secs(300);

/// A configuration with its version.
#[derive(Debug)]
pub struct Versioned {
    /// Counts the changes, from 1.
    pub version: i64,
    /// What holds since then.
    pub configuration: Configuration,
}

/// Why a configuration was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The change itself cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The configuration is not the one that the change was made for.
    #[error("the configuration has another version")]
    Precondition {
        /// Its version; `None` when the environment does not exist.
        current: Option<i64>,
    },
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a change requires of the version that it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// There is one.
    Exists,
    /// It is this one.
    Version(i64),
    /// It is none that there ever was.
    Never,
}

/// A change that was made.
pub struct Change {
    /// The new configuration.
    pub stored: Versioned,
    /// Whether the environment is new.
    pub created: bool,
    /// How many nodes have less than nothing available to allocate by it.
    pub over_allocated: i64,
}

fn compiled(document: &str, measures: &[String]) -> Result<Configuration, StoreError> {
    let unreadable =
        |error: String| StoreError::Rejected(format!("a stored configuration is unreadable: {error}"));
    let document: Document = serde_json::from_str(document).map_err(|error| unreadable(error.to_string()))?;
    let slots: Vec<MeasureName> =
        measures.iter().map(|name| MeasureName::parse(name)).collect::<Result<_, _>>().map_err(unreadable)?;
    Configuration::new(document, &slots).map_err(|refusal| unreadable(refusal.to_string()))
}

/// Reads an environment's configuration; the current one where no version is given.
///
/// # Errors
/// When the database does not answer.
pub async fn read(
    connection: &mut PgConnection,
    environment: &str,
    version: Option<i64>,
) -> Result<Option<Versioned>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT c.version, c.document::text AS "document!", c.measures
           FROM configuration c
           WHERE c.environment_id = $1
             AND c.version = (SELECT coalesce($2, e.version) FROM environment e WHERE e.environment_id = $1)"#,
        environment,
        version,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Versioned { version: row.version, configuration: compiled(&row.document, &row.measures)? })
    })
    .transpose()
}

/// Reads the version of an environment's configuration.
///
/// # Errors
/// When the database does not answer.
pub async fn version(connection: &mut PgConnection, environment: &str) -> Result<Option<i64>, StoreError> {
    let row = sqlx::query!("SELECT version FROM environment WHERE environment_id = $1", environment)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.version))
}

/// Locks an environment's row against every batch: those under way are done, and those that
/// follow wait. Answers the version.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn lock(
    connection: &mut PgConnection,
    environment: &str,
) -> Result<Option<i64>, StoreError> {
    let row =
        sqlx::query!("SELECT version FROM environment WHERE environment_id = $1 FOR UPDATE", environment)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|row| row.version))
}

/// Makes a new version of the configuration whose row is locked, with the same document: for a
/// change that is not of the document, but that every batch has to know of as of one.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn renew(
    connection: &mut PgConnection,
    environment: &str,
    version: i64,
) -> Result<i64, StoreError> {
    sqlx::query!(
        "INSERT INTO configuration (environment_id, version, document, measures)
         SELECT environment_id, version + 1, document, measures FROM configuration
         WHERE environment_id = $1 AND version = $2",
        environment,
        version,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE environment SET version = $2::bigint + 1 WHERE environment_id = $1",
        environment,
        version
    )
    .execute(connection)
    .await?;
    Ok(version + 1)
}

/// Lists the environments.
///
/// # Errors
/// When the database does not answer.
pub async fn environments(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query!("SELECT environment_id FROM environment ORDER BY environment_id")
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| row.environment_id).collect())
}

/// Replaces an environment's configuration, or creates the environment by its first one.
///
/// The environment's row is locked first: batches hold it while they commit, so none is
/// under way while the stored data is held against the change, and those that follow find
/// another version than they were decided under.
///
/// # Errors
/// When the document is wrong, the stored data contradicts it, the precondition does not
/// hold or the database does not do it.
pub async fn replace(
    connection: &mut PgConnection,
    environment: &str,
    document: Document,
    precondition: Precondition,
) -> Result<Change, ChangeError> {
    let mut transaction =
        connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(StoreError::from)?;
    super::bound_statements(&mut transaction, WHOLE_READ_MAX).await?;
    let current = lock(&mut transaction, environment).await?;
    check_precondition(precondition, current)?;
    let old = read(&mut transaction, environment, None).await?;
    let slots = old.as_ref().map_or(&[][..], |old| old.configuration.slots());
    let configuration = Configuration::new(document, slots)?;
    if let Some(old) = &old {
        if old.configuration.document() == configuration.document() {
            let stored = Versioned { version: old.version, configuration };
            return Ok(Change { stored, created: false, over_allocated: 0 });
        }
        // Commands wait as long as the row is locked, so the stored data is read only for a
        // change that it could contradict.
        if configuration.check_replaces(&old.configuration, &Usage::all_of(&old.configuration)).is_err() {
            configuration.check_replaces(&old.configuration, &usage(&mut transaction, environment).await?)?;
        }
    }
    let version = current.unwrap_or(0) + 1;
    write(&mut transaction, environment, version, &configuration).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    let over_allocated = match &old {
        Some(old) => {
            newly_over_allocated(connection, environment, (&old.configuration, &configuration)).await?
        }
        None => 0,
    };
    Ok(Change { stored: Versioned { version, configuration }, created: current.is_none(), over_allocated })
}

fn check_precondition(precondition: Precondition, current: Option<i64>) -> Result<(), ChangeError> {
    let holds = match precondition {
        Precondition::None => true,
        Precondition::Exists => current.is_some(),
        Precondition::Version(version) => current == Some(version),
        Precondition::Never => false,
    };
    if holds { Ok(()) } else { Err(ChangeError::Precondition { current }) }
}

async fn write(
    connection: &mut PgConnection,
    environment: &str,
    version: i64,
    configuration: &Configuration,
) -> Result<(), StoreError> {
    let document = serde_json::to_string(configuration.document())
        .map_err(|error| StoreError::Rejected(error.to_string()))?;
    let measures: Vec<String> = configuration.slots().iter().map(MeasureName::to_string).collect();
    // Two first configurations at once: one of them waits here, and finds the other.
    sqlx::query!(
        "INSERT INTO environment AS e (environment_id, version) VALUES ($1, $2)
         ON CONFLICT (environment_id) DO UPDATE SET version = CASE WHEN e.version = $2 - 1 THEN $2 END",
        environment,
        version,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO configuration (environment_id, version, document, measures) VALUES ($1, $2, $3::text::json, $4)",
        environment,
        version,
        document,
        &measures,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn usage(connection: &mut PgConnection, environment: &str) -> Result<Usage, StoreError> {
    let nodes = sqlx::query!(
        r#"SELECT count(*) AS "count!", coalesce(max(cardinality(dimensions)), 0) AS "dimensions!"
           FROM stock_node WHERE environment_id = $1"#,
        environment,
    )
    .fetch_one(&mut *connection)
    .await?;
    let groups = sqlx::query!(
        r#"SELECT coalesce(max(cardinality(groups)), 0) AS "groups!" FROM balance WHERE environment_id = $1"#,
        environment,
    )
    .fetch_one(&mut *connection)
    .await?;
    let measures = sqlx::query!(
        r#"SELECT DISTINCT q.place AS "place!" FROM stock_node n, unnest(n.own) WITH ORDINALITY AS q (quantity, place)
           WHERE n.environment_id = $1 AND q.quantity <> 0"#,
        environment,
    )
    .fetch_all(&mut *connection)
    .await?;
    let scheduled = super::schedule::measures(connection, environment).await?;
    Ok(Usage {
        any_stock: nodes.count > 0,
        dimensions: nodes.dimensions as usize,
        groups: groups.groups as usize,
        measures: measures.into_iter().map(|row| Slot(row.place as usize - 1)).chain(scheduled).collect(),
    })
}

/// Counts the nodes that the change of the formula brings below zero, once it holds: nobody
/// waits for the count.
async fn newly_over_allocated(
    connection: &mut PgConnection,
    environment: &str,
    (old, new): (&Configuration, &Configuration),
) -> Result<i64, StoreError> {
    let (old, new) = (old.available_to_allocate(), new.available_to_allocate());
    if old == new {
        return Ok(0);
    }
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    super::bound_statements(&mut transaction, WHOLE_READ_MAX).await?;
    let columns = |formula: &Formula| -> (Vec<i64>, Vec<String>) {
        formula
            .terms()
            .iter()
            .map(|(slot, coefficient)| (slot.index() as i64 + 1, coefficient.to_string()))
            .unzip()
    };
    let ((old_places, old_coefficients), (new_places, new_coefficients)) = (columns(old), columns(new));
    let row = sqlx::query!(
        r#"SELECT count(*) AS "count!" FROM stock_node n
           WHERE n.environment_id = $1
             AND (SELECT sum(coalesce(n.total[f.place], 0) * f.coefficient::numeric)
                  FROM unnest($2::bigint[], $3::text[]) AS f (place, coefficient)) >= 0
             AND (SELECT sum(coalesce(n.total[f.place], 0) * f.coefficient::numeric)
                  FROM unnest($4::bigint[], $5::text[]) AS f (place, coefficient)) < 0"#,
        environment,
        &old_places,
        &old_coefficients,
        &new_places,
        &new_coefficients,
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    Ok(row.count)
}
