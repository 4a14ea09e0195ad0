//! The ledger: what was asked and what was answered, in the order in which it happened. Events
//! of a product that was erased count as gone, also before they are; see `erasing.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::command::{Command, Movements, Note, Operation, ProductKey, Settlement, Timestamp};
use crate::domain::configuration::Configuration;
use crate::domain::decide::Outcome;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::schedule::day;
use crate::domain::state::ReservationId;

use super::{StoreError, state, text};

/// An event of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place in the ledger.
    pub event_id: i64,
    /// What was asked.
    pub command: Arc<Command>,
    /// When the service took it in.
    pub received_at: Timestamp,
    /// What it answered.
    pub outcome: Outcome,
}

/// What only some operations have. Measures go by their names: slots are the state's matter.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Detail {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    measures: BTreeMap<String, Quantity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<Uuid>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    days: BTreeMap<String, BTreeMap<String, Quantity>>,
}

/// An operation in the ledger's columns.
#[derive(Default, Serialize)]
pub(super) struct Columns<'a> {
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<&'a [Value]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_groups: Option<&'a [Value]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Quantity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(operation: &'a Operation, configuration: &Configuration) -> Columns<'a> {
        let named = |movements: &Movements| {
            movements
                .iter()
                .map(|&(slot, quantity)| (configuration.measure_name(slot).to_string(), quantity))
                .collect()
        };
        let one = |slot| named(&vec![(slot, Quantity::ZERO)]);
        let of_groups = |groups: &'a GroupPath, quantity: &Quantity| Columns {
            operation: operation.name(),
            groups: Some(groups.values()),
            quantity: Some(*quantity),
            ..Columns::default()
        };
        let other = |quantity: Option<Quantity>, detail| Columns {
            operation: operation.name(),
            quantity,
            detail: Some(detail),
            ..Columns::default()
        };
        match operation {
            Operation::Allocate { groups, quantity } => of_groups(groups, quantity),
            Operation::Unallocate { groups, quantity } => of_groups(groups, quantity),
            Operation::Reallocate { source, target, quantity } => {
                Columns { source_groups: Some(source.values()), ..of_groups(target, quantity) }
            }
            Operation::Consume { groups, quantity, modifiers } => {
                let detail = (!modifiers.is_empty())
                    .then(|| Detail { measures: named(modifiers), ..Detail::default() });
                Columns { detail, ..of_groups(groups, quantity) }
            }
            Operation::Reserve { measure, quantity, checked } => {
                let detail = Detail { measures: one(*measure), checked: Some(*checked), ..Detail::default() };
                other(Some(*quantity), detail)
            }
            Operation::GiveBack { measure, quantity } => {
                let detail = Detail { measures: one(*measure), ..Detail::default() };
                other(Some(*quantity), detail)
            }
            Operation::Unreserve { reservation, quantity } => {
                let detail = Detail { reservation: Some(reservation.0), ..Detail::default() };
                other(Some(*quantity), detail)
            }
            Operation::ChangeOnHand { changes, settlement } => {
                let detail = Detail { measures: named(changes), ..Detail::default() };
                let settlement = settlement.as_ref();
                Columns {
                    groups: settlement.map(|settlement| settlement.groups.values()),
                    ..other(settlement.map(|settlement| settlement.quantity), detail)
                }
            }
            Operation::SetOnHand { values, modified_at } => {
                let modified_at = modified_at.map(|time| time.0);
                let detail = Detail { measures: named(values), modified_at, ..Detail::default() };
                other(None, detail)
            }
            Operation::ChangeSchedule { changes } => {
                let days = changes.iter().map(|(day, movements)| (day.to_string(), named(movements)));
                let detail = Detail { days: days.collect(), ..Detail::default() };
                other(None, detail)
            }
        }
    }
}

/// An event as it is stored. To read it takes a configuration of its environment, as new as the
/// event or newer.
#[derive(Debug)]
pub struct Row {
    pub(super) event_id: i64,
    pub(super) environment_id: String,
    pub(super) organization_id: String,
    pub(super) product_id: String,
    pub(super) id: String,
    pub(super) operation: String,
    pub(super) dimensions: Vec<String>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) source_groups: Option<Vec<String>>,
    pub(super) quantity: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) configuration_version: i64,
    pub(super) version: i64,
    pub(super) received_at: OffsetDateTime,
    pub(super) outcome: String,
    pub(super) reference: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) actor: Option<String>,
}

impl Row {
    /// Its place in the ledger.
    pub fn event_id(&self) -> i64 {
        self.event_id
    }

    /// The isolated tenant.
    pub fn environment(&self) -> &str {
        &self.environment_id
    }

    /// The version of the configuration that it was decided under.
    pub fn configuration_version(&self) -> i64 {
        self.configuration_version
    }

    /// The event.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it uses a measure that is newer than the configuration;
    /// else when it is not readable.
    pub fn event(&self, configuration: &Configuration) -> Result<Event, StoreError> {
        let operation = self.operation(configuration)?;
        let outcome: Outcome = serde_json::from_str(&self.outcome).map_err(|error| {
            StoreError::Rejected(format!("the outcome of event {} is not readable: {error}", self.event_id))
        })?;
        let product = ProductKey {
            environment: Value::stored(&self.environment_id),
            organization: Value::stored(&self.organization_id),
            product: Value::stored(&self.product_id),
        };
        let path = DimensionPath::new(text::values(&self.dimensions));
        // So that a replay explains what the event did.
        let explain = outcome.explanation.is_some();
        let stored = |text: &Option<String>| text.as_deref().map(Value::stored);
        let (reference, reason) = (stored(&self.reference), stored(&self.reason));
        let note = Note { reference, reason, actor: stored(&self.actor) }.kept();
        let command =
            Arc::new(Command { id: Value::stored(&self.id), product, path, operation, note, explain });
        Ok(Event {
            event_id: self.event_id,
            command,
            received_at: text::timestamp(self.received_at),
            outcome,
        })
    }

    fn operation(&self, configuration: &Configuration) -> Result<Operation, StoreError> {
        let unreadable =
            || StoreError::Rejected(format!("event {} is not readable as {}", self.event_id, self.operation));
        let detail: Detail = match &self.detail {
            Some(detail) => serde_json::from_str(detail).map_err(|_| unreadable())?,
            None => Detail::default(),
        };
        let path = |groups: &Option<Vec<String>>| {
            groups.as_deref().map(|texts| GroupPath::stored(text::values(texts)))
        };
        let groups = || path(&self.groups).ok_or_else(unreadable);
        let quantity = || self.quantity.as_deref().ok_or_else(unreadable).and_then(text::quantity);
        let measures = movements(configuration, &detail.measures)?;
        let measure = || measures.first().map(|&(slot, _)| slot).ok_or_else(unreadable);
        Ok(match self.operation.as_str() {
            "allocate" => Operation::Allocate { groups: groups()?, quantity: quantity()? },
            "unallocate" => Operation::Unallocate { groups: groups()?, quantity: quantity()? },
            "reallocate" => Operation::Reallocate {
                source: path(&self.source_groups).ok_or_else(unreadable)?,
                target: groups()?,
                quantity: quantity()?,
            },
            "consume" => Operation::Consume { groups: groups()?, quantity: quantity()?, modifiers: measures },
            "reserve" => {
                let checked = detail.checked.ok_or_else(unreadable)?;
                Operation::Reserve { measure: measure()?, quantity: quantity()?, checked }
            }
            "give-back" => Operation::GiveBack { measure: measure()?, quantity: quantity()? },
            "unreserve" => Operation::Unreserve {
                reservation: ReservationId(detail.reservation.ok_or_else(unreadable)?),
                quantity: quantity()?,
            },
            "change-on-hand" => {
                let settlement = match path(&self.groups) {
                    Some(groups) => Some(Settlement { groups, quantity: quantity()? }),
                    None => None,
                };
                Operation::ChangeOnHand { changes: measures, settlement }
            }
            "set-on-hand" => {
                Operation::SetOnHand { values: measures, modified_at: detail.modified_at.map(Timestamp) }
            }
            "change-schedule" => {
                let changes = detail.days.iter().map(|(text, measures)| {
                    Ok((day(text).ok_or_else(unreadable)?, movements(configuration, measures)?))
                });
                Operation::ChangeSchedule { changes: changes.collect::<Result<_, StoreError>>()? }
            }
            _ => return Err(unreadable()),
        })
    }
}

/// Waits until what was read is as safe as a commit of this moment. A server that was restarted
/// shows events which its synchronous standby never got, and of which nobody was told: whoever
/// now tells of them promises that they will still be there after a failover. So something is
/// written behind them (it is of no other use), and its commit waits for the standby.
async fn make_sure(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query_scalar!("SELECT pg_logical_emit_message(true, 'ringfence', '')::text")
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Stored measures in the order of their slots.
fn movements(
    configuration: &Configuration,
    measures: &BTreeMap<String, Quantity>,
) -> Result<Movements, StoreError> {
    let mut movements = Movements::new();
    for (name, &quantity) in measures {
        movements.push((state::slot(configuration, name)?, quantity));
    }
    movements.sort_by_key(|&(slot, _)| slot);
    Ok(movements)
}

/// Looks commands' ids up. Answers, in the same order, the events that have them.
///
/// # Errors
/// [`StoreError::Conflict`] when an event uses a measure that is newer than the command's
/// configuration; else when the database does not answer.
pub async fn find(
    connection: &mut PgConnection,
    commands: &[(&Command, &Configuration)],
) -> Result<Vec<Option<Event>>, StoreError> {
    let found = find_unconfirmed(connection, commands).await?;
    if found.iter().any(Option::is_some) {
        make_sure(connection).await?;
    }
    Ok(found)
}

/// As [`find`], and writes nothing: for whom an event of which nobody was told, and which a failover
/// takes back, is as good as any other.
///
/// # Errors
/// [`StoreError::Conflict`] when an event uses a measure that is newer than the command's
/// configuration; else when the database does not answer.
pub async fn find_unconfirmed(
    connection: &mut PgConnection,
    commands: &[(&Command, &Configuration)],
) -> Result<Vec<Option<Event>>, StoreError> {
    let environments: Vec<String> =
        commands.iter().map(|(command, _)| command.product.environment.to_string()).collect();
    let ids: Vec<String> = commands.iter().map(|(command, _)| command.id.to_string()).collect();
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!", l.event_id, l.environment_id, l.organization_id, l.product_id, l.id, l.operation,
                  l.dimensions, l.groups, l.source_groups, l.quantity::text AS quantity, l.detail::text AS detail,
                  l.configuration_version, l.version, l.received_at, l.outcome::text AS "outcome!",
                  l.reference, l.reason, l.actor
           FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (environment_id, id, place)
           JOIN ledger l ON l.environment_id = k.environment_id AND l.id = k.id
             AND NOT EXISTS (SELECT FROM erasure x
                             WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                               AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)"#,
        &environments,
        &ids,
    )
    .fetch_all(connection)
    .await?;
    let mut found: Vec<Option<Event>> = vec![None; commands.len()];
    for row in rows {
        let place = row.place as usize - 1;
        let row = Row {
            event_id: row.event_id,
            environment_id: row.environment_id,
            organization_id: row.organization_id,
            product_id: row.product_id,
            id: row.id,
            operation: row.operation,
            dimensions: row.dimensions,
            groups: row.groups,
            source_groups: row.source_groups,
            quantity: row.quantity,
            detail: row.detail,
            configuration_version: row.configuration_version,
            version: row.version,
            received_at: row.received_at,
            outcome: row.outcome,
            reference: row.reference,
            reason: row.reason,
            actor: row.actor,
        };
        found[place] = Some(row.event(commands[place].1)?);
    }
    Ok(found)
}

/// Deletes the events that have commands' ids and are of erased products: the ids are free,
/// though it is not their turn yet. For whom one of them stands in the way.
///
/// # Errors
/// When the database does not answer.
pub async fn free_ids(connection: &mut PgConnection, commands: &[&Command]) -> Result<(), StoreError> {
    let environments: Vec<String> =
        commands.iter().map(|command| command.product.environment.to_string()).collect();
    let ids: Vec<String> = commands.iter().map(|command| command.id.to_string()).collect();
    // Each by its id: of an erased product there may be any number of events.
    sqlx::query!(
        "SELECT delete_erased(l.environment_id, array_agg(l.event_id))
         FROM unnest($1::text[], $2::text[]) AS k (environment_id, id)
         CROSS JOIN LATERAL (
             SELECT environment_id, organization_id, product_id, event_id FROM ledger
             WHERE environment_id = k.environment_id AND id = k.id OFFSET 0
         ) l
         JOIN erasure x ON x.environment_id = l.environment_id AND x.organization_id = l.organization_id
           AND x.product_id = l.product_id AND l.event_id <= x.until_event_id
         GROUP BY l.environment_id",
        &environments,
        &ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}

/// An event as verification reads it.
pub struct Recorded {
    /// Its place in the ledger.
    pub event_id: i64,
    /// The event, or why it cannot be read.
    pub event: Result<Event, String>,
    /// The version in the ledger's own column, beside the one that was answered.
    pub version: i64,
    /// The version of the configuration that it was decided under.
    pub configuration_version: i64,
}

/// Reads the events that have these ids, each with the version of the configuration that it
/// was decided under.
///
/// # Errors
/// When the database does not answer, or an event is not readable.
pub async fn named(
    connection: &mut PgConnection,
    environment: &str,
    ids: &[String],
    configuration: &Configuration,
) -> Result<Vec<(Event, i64)>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT event_id, environment_id, organization_id, product_id, id, operation, dimensions, groups, source_groups,
                  quantity::text AS quantity, detail::text AS detail, configuration_version, version, received_at,
                  outcome::text AS "outcome!", reference, reason, actor
           FROM ledger l WHERE environment_id = $1 AND id = ANY($2)
             AND NOT EXISTS (SELECT FROM erasure x
                             WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                               AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)"#,
        environment,
        ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    if !rows.is_empty() {
        make_sure(connection).await?;
    }
    rows.into_iter()
        .map(|row| {
            let version = row.configuration_version;
            Ok((row.event(configuration)?, version))
        })
        .collect()
}

/// Reads an environment's events in the order of the ledger, `most` at a time.
///
/// # Errors
/// When the database does not answer.
pub async fn page(
    connection: &mut PgConnection,
    environment: &str,
    after: i64,
    most: i64,
    configuration: &Configuration,
) -> Result<Vec<Recorded>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT event_id, environment_id, organization_id, product_id, id, operation, dimensions, groups, source_groups,
                  quantity::text AS quantity, detail::text AS detail, configuration_version, version, received_at,
                  outcome::text AS "outcome!", reference, reason, actor
           FROM ledger l WHERE environment_id = $1 AND event_id > $2
             AND NOT EXISTS (SELECT FROM erasure x
                             WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                               AND x.product_id = l.product_id AND l.event_id <= x.until_event_id)
           ORDER BY event_id LIMIT $3"#,
        environment,
        after,
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| recorded(row, configuration)).collect())
}

/// Reads a product's events in the order of the ledger: `most` at a time of those behind one and
/// up to another.
///
/// # Errors
/// When the database does not answer.
pub async fn page_of(
    connection: &mut PgConnection,
    key: &ProductKey,
    (after, until): (i64, i64),
    most: i64,
    configuration: &Configuration,
) -> Result<Vec<Recorded>, StoreError> {
    let [environment, organization, product] = key.as_strs();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT event_id, environment_id, organization_id, product_id, id, operation, dimensions, groups, source_groups,
                  quantity::text AS quantity, detail::text AS detail, configuration_version, version, received_at,
                  outcome::text AS "outcome!", reference, reason, actor
           FROM ledger l WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3
             AND event_id > $4 AND event_id <= $5
             AND NOT EXISTS (SELECT FROM erasure x
                             WHERE x.environment_id = $1 AND x.organization_id = $2 AND x.product_id = $3
                               AND l.event_id <= x.until_event_id)
           ORDER BY event_id LIMIT $6"#,
        environment,
        organization,
        product,
        after,
        until,
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| recorded(row, configuration)).collect())
}

fn recorded(row: Row, configuration: &Configuration) -> Recorded {
    Recorded {
        event_id: row.event_id,
        version: row.version,
        configuration_version: row.configuration_version,
        event: row.event(configuration).map_err(|error| error.of_stored()),
    }
}
