//! Writing a batch: one statement, one round trip, all or nothing. (Schedules go in statements of
//! their own, in one transaction with it.)

use hashbrown::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::domain::command::{Command, Note, ProductKey, Timestamp};
use crate::domain::configuration::Configuration;
use crate::domain::decide::Outcome;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::schedule::Schedule;
use crate::domain::state::{Balance, Node, Reservation, ReservationId};

use super::configuration::Versioned;
use super::ledger::Columns;
use super::{StoreError, schedule, text};

/// What a batch adds up to, for the one statement that writes it.
pub struct Batch {
    received_at: Timestamp,
    environments: Vec<Value>,
    configuration_versions: Vec<i64>,
    nodes: Rows,
    balances: Rows,
    reservations: Rows,
    schedules: Vec<(ProductKey, DimensionPath, Schedule)>,
    events: HashMap<Meaning, Vec<EventRow>>,
    event_count: i64,
}

/// Rows as a JSON array of objects, one member a column: PostgreSQL makes a table of it for a
/// fraction of what an array a column costs it.
#[derive(Default)]
struct Rows {
    json: Vec<u8>,
    count: i64,
}

impl Rows {
    fn push(&mut self, row: &impl Serialize) {
        self.json.push(if self.count == 0 { b'[' } else { b',' });
        self.count += 1;
        // Structures of strings and numbers always become JSON, and a Vec takes it.
        let _ = serde_json::to_writer(&mut self.json, row);
    }

    fn finish(mut self) -> (String, i64) {
        self.json.extend_from_slice(if self.count == 0 { b"[]" } else { b"]" });
        // What serde_json writes is UTF-8.
        (String::from_utf8(self.json).unwrap_or_default(), self.count)
    }
}

#[derive(Serialize)]
struct NodeRow<'a> {
    environment_id: &'a str,
    organization_id: &'a str,
    product_id: &'a str,
    dimensions: &'a [Value],
    /// The version that the batch was decided on; 0 for a node that is new.
    expected: u64,
    version: u64,
    own: &'a [Quantity],
    total: &'a [Quantity],
    #[serde(skip_serializing_if = "Option::is_none")]
    set_at: Option<Vec<Option<i64>>>,
}

#[derive(Serialize)]
struct BalanceRow<'a> {
    environment_id: &'a str,
    organization_id: &'a str,
    product_id: &'a str,
    dimensions: &'a [Value],
    groups: &'a [Value],
    allocated: Quantity,
    consumed: Quantity,
    cumulative_allocated: Quantity,
    cumulative_consumed: Quantity,
}

#[derive(Serialize)]
struct ReservationRow<'a> {
    environment_id: &'a str,
    organization_id: &'a str,
    product_id: &'a str,
    reservation_id: ReservationId,
    dimensions: &'a [Value],
    measure: String,
    quantity: Quantity,
    remaining: Quantity,
}

/// What the events of a flash sale have in common, all but their ids and outcomes: it goes to
/// the database once.
struct Meaning {
    command: Arc<Command>,
    versioned: Arc<Versioned>,
}

impl PartialEq for Meaning {
    fn eq(&self, other: &Meaning) -> bool {
        self.versioned.version == other.versioned.version && self.command.means_the_same_as(&other.command)
    }
}

impl Eq for Meaning {}

impl Hash for Meaning {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Command { id: _, note: _, product, path, operation, explain: _ } = &*self.command;
        (product, path, operation, self.versioned.version).hash(hasher);
    }
}

#[derive(Serialize)]
struct MeaningRow<'a> {
    /// Where its events are in the arrays of what events have of their own, counted from 1.
    first: usize,
    last: usize,
    environment_id: &'a str,
    organization_id: &'a str,
    product_id: &'a str,
    dimensions: &'a [Value],
    #[serde(flatten)]
    operation: Columns<'a>,
    configuration_version: i64,
    /// Who asked for all of its events, where that is one: each key sends many.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
}

/// What an event has of its own.
struct EventRow {
    /// Its place in the batch, which is the order of the ledger.
    place: i64,
    /// For its id and what is noted about it.
    command: Arc<Command>,
    version: i64,
    outcome: String,
}

impl EventRow {
    fn noted(&self, of: impl Fn(&Note) -> Option<&Value>) -> Option<&str> {
        self.command.note.as_deref().and_then(of).map(Value::as_str)
    }

    fn actor(&self) -> Option<&str> {
        self.noted(|note| note.actor.as_ref())
    }
}

impl Batch {
    /// A batch of nothing yet, taken in at a time.
    pub fn new(received_at: Timestamp) -> Batch {
        Batch {
            received_at,
            environments: Vec::new(),
            configuration_versions: Vec::new(),
            nodes: Rows::default(),
            balances: Rows::default(),
            reservations: Rows::default(),
            schedules: Vec::new(),
            events: HashMap::new(),
            event_count: 0,
        }
    }

    /// Guards the batch by the version of a configuration that it was decided under.
    pub fn guard_configuration(&mut self, environment: &Value, version: i64) {
        self.environments.push(environment.clone());
        self.configuration_versions.push(version);
    }

    /// Writes a stock node, guarded by the version that it was decided on.
    pub fn node(&mut self, key: &ProductKey, path: &[Value], expected: u64, node: &Node) {
        let [environment_id, organization_id, product_id] = key.as_strs();
        self.nodes.push(&NodeRow {
            environment_id,
            organization_id,
            product_id,
            dimensions: path,
            expected,
            version: node.version,
            own: node.own.as_slice(),
            total: node.total.as_slice(),
            set_at: set_at(node),
        });
    }

    /// Writes a balance. The nodes of its chain are guarded, so it needs no guard.
    pub fn balance(&mut self, key: &ProductKey, path: &DimensionPath, groups: &GroupPath, balance: &Balance) {
        let [environment_id, organization_id, product_id] = key.as_strs();
        let &Balance { allocated, consumed, cumulative_allocated, cumulative_consumed } = balance;
        self.balances.push(&BalanceRow {
            environment_id,
            organization_id,
            product_id,
            dimensions: path.values(),
            groups: groups.values(),
            allocated,
            consumed,
            cumulative_allocated,
            cumulative_consumed,
        });
    }

    /// Writes a reservation; guarded as a balance is.
    pub fn reservation(
        &mut self,
        key: &ProductKey,
        id: ReservationId,
        reservation: &Reservation,
        configuration: &Configuration,
    ) {
        let [environment_id, organization_id, product_id] = key.as_strs();
        self.reservations.push(&ReservationRow {
            environment_id,
            organization_id,
            product_id,
            reservation_id: id,
            dimensions: reservation.path.values(),
            measure: configuration.measure_name(reservation.measure).to_string(),
            quantity: reservation.quantity,
            remaining: reservation.remaining,
        });
    }

    /// Writes all that is scheduled at a place; guarded as a balance is.
    pub fn schedule(&mut self, key: &ProductKey, path: &DimensionPath, schedule: Schedule) {
        self.schedules.push((key.clone(), path.clone(), schedule));
    }

    /// Appends an event to the ledger.
    pub fn event(&mut self, command: &Arc<Command>, versioned: &Arc<Versioned>, outcome: &Outcome) {
        self.event_count += 1;
        let event = EventRow {
            place: self.event_count,
            command: Arc::clone(command),
            version: outcome.version as i64,
            // A structure of numbers always becomes JSON.
            outcome: serde_json::to_string(outcome).unwrap_or_default(),
        };
        let meaning = Meaning { command: Arc::clone(command), versioned: Arc::clone(versioned) };
        self.events.entry(meaning).or_default().push(event);
    }

    /// Writes all of it or nothing. Answers the events' ids, in the order of the events.
    ///
    /// Schedules are rare, and have statements of their own: the one that all batches have stays
    /// as short as it is. The books come first, so that their guards hold for the schedules too.
    ///
    /// # Errors
    /// As those of the books.
    pub async fn write(mut self, connection: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
        let schedules = std::mem::take(&mut self.schedules);
        if schedules.is_empty() {
            return self.write_books(connection).await;
        }
        // Rare, so that what is awaited of it has no room in the future of every batch.
        Box::pin(async {
            let mut transaction = connection.begin().await?;
            let event_ids = self.write_books(&mut transaction).await?;
            schedule::replace(&mut transaction, &schedules).await?;
            transaction.commit().await?;
            Ok(event_ids)
        })
        .await
    }

    /// Writes all but the schedules.
    ///
    /// The guards: an environment's row is locked against a change of its configuration and
    /// must have the expected version; every node of every chain is updated where it has the
    /// version that the batch was decided on, and their count must be right. Where a guard
    /// does not hold, the events' version becomes NULL, which the ledger refuses, and with
    /// it the whole statement: an abort with no second round trip. A node that is new is
    /// guarded by its primary key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a guard did not hold, [`StoreError::IdTaken`] where an
    /// id is in the ledger already; nothing was written then.
    async fn write_books(self, connection: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
        let environments: Vec<&str> = self.environments.iter().map(Value::as_str).collect();
        let (nodes, node_count) = self.nodes.finish();
        let (balances, _) = self.balances.finish();
        let (reservations, _) = self.reservations.finish();
        let (meanings, events, actors) = ledger_rows(&self.events);
        let row = sqlx::query!(
            r#"
            WITH configured AS (
                SELECT e.version
                FROM unnest($1::text[], $2::bigint[]) AS g (environment_id, version)
                JOIN environment e ON e.environment_id = g.environment_id
                WHERE e.version = g.version
                FOR SHARE OF e
            ), node AS (
                SELECT * FROM json_to_recordset($3::text::json)
                     AS n (environment_id text, organization_id text, product_id text, dimensions text[], expected bigint,
                           version bigint, own numeric[], total numeric[], set_at bigint[])
            ), changed AS (
                UPDATE seen_stock_node s
                SET version = n.version, own = n.own, total = n.total, set_at = n.set_at
                FROM node n
                WHERE s.environment_id = n.environment_id AND s.organization_id = n.organization_id
                  AND s.product_id = n.product_id AND s.dimensions = n.dimensions AND s.version = n.expected
                RETURNING 1
            ), created AS (
                INSERT INTO stock_node (environment_id, organization_id, product_id, dimensions, version, own, total, set_at)
                SELECT environment_id, organization_id, product_id, dimensions, version, own, total, set_at
                FROM node WHERE expected = 0
                RETURNING 1
            ), held AS (
                INSERT INTO balance (environment_id, organization_id, product_id, dimensions, groups,
                                     allocated, consumed, cumulative_allocated, cumulative_consumed)
                SELECT * FROM json_to_recordset($4::text::json)
                     AS b (environment_id text, organization_id text, product_id text, dimensions text[], groups text[],
                           allocated numeric, consumed numeric, cumulative_allocated numeric, cumulative_consumed numeric)
                ON CONFLICT (environment_id, organization_id, product_id, dimensions, groups) DO UPDATE
                SET allocated = excluded.allocated, consumed = excluded.consumed,
                    cumulative_allocated = excluded.cumulative_allocated,
                    cumulative_consumed = excluded.cumulative_consumed
            ), reserved AS (
                INSERT INTO reservation (environment_id, organization_id, product_id, reservation_id, dimensions,
                                         measure, quantity, remaining)
                SELECT * FROM json_to_recordset($5::text::json)
                     AS r (environment_id text, organization_id text, product_id text, reservation_id uuid,
                           dimensions text[], measure text, quantity numeric, remaining numeric)
                ON CONFLICT (environment_id, organization_id, product_id, reservation_id) DO UPDATE
                SET remaining = excluded.remaining
            ), guards AS (
                SELECT (SELECT count(*) FROM configured) = cardinality($1)
                   AND (SELECT count(*) FROM changed) + (SELECT count(*) FROM created) = $6::bigint AS hold
            ), recorded AS (
                INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions, groups,
                                    source_groups, quantity, detail, configuration_version, version, received_at, outcome,
                                    reference, reason, actor)
                SELECT m.environment_id, m.organization_id, m.product_id, e.id, m.operation, m.dimensions, m.groups,
                       m.source_groups, m.quantity, m.detail, m.configuration_version,
                       CASE WHEN guards.hold THEN e.version END, $7::timestamptz, e.outcome::json,
                       e.reference, e.reason, coalesce(m.actor, e.actor)
                FROM json_to_recordset($8::text::json)
                     AS m (first bigint, last bigint, environment_id text, organization_id text, product_id text,
                           operation text, dimensions text[], groups text[], source_groups text[], quantity numeric,
                           detail json, configuration_version bigint, actor text)
                CROSS JOIN LATERAL unnest(($9::bigint[])[m.first:m.last], ($10::text[])[m.first:m.last],
                                          ($11::bigint[])[m.first:m.last], ($12::text[])[m.first:m.last],
                                          ($13::text[])[m.first:m.last], ($14::text[])[m.first:m.last],
                                          ($15::text[])[m.first:m.last])
                     AS e (place, id, version, outcome, reference, reason, actor)
                CROSS JOIN guards
                ORDER BY e.place
                RETURNING event_id
            )
            SELECT array_agg(event_id ORDER BY event_id) AS "event_ids!" FROM recorded
            "#,
            &environments as &[&str],
            &self.configuration_versions,
            nodes,
            balances,
            reservations,
            node_count,
            text::time(self.received_at),
            meanings,
            &column(&events, |event| event.place),
            &column(&events, |event| event.command.id.as_str()) as &[&str],
            &column(&events, |event| event.version),
            &column(&events, |event| event.outcome.as_str()) as &[&str],
            &sparse(column(&events, |event| event.noted(|note| note.reference.as_ref()))) as &[Option<&str>],
            &sparse(column(&events, |event| event.noted(|note| note.reason.as_ref()))) as &[Option<&str>],
            &sparse(actors) as &[Option<&str>],
        )
        .fetch_one(connection)
        .await?;
        Ok(row.event_ids)
    }
}

/// The rows of what events have in common, the events in their order, and who asked for those that do
/// not have that in common.
fn ledger_rows(events: &HashMap<Meaning, Vec<EventRow>>) -> (String, Vec<&EventRow>, Vec<Option<&str>>) {
    let mut meanings = Rows::default();
    let (mut all, mut actors) = (Vec::new(), Vec::new());
    for (Meaning { command, versioned }, events) in events {
        let [environment_id, organization_id, product_id] = command.product.as_strs();
        let first = all.len() + 1;
        all.extend(events);
        let first_actor = events.first().and_then(EventRow::actor);
        let actor = first_actor.filter(|_| events.iter().all(|event| event.actor() == first_actor));
        actors.extend(events.iter().map(|event| event.actor().filter(|_| actor.is_none())));
        meanings.push(&MeaningRow {
            first,
            last: all.len(),
            environment_id,
            organization_id,
            product_id,
            dimensions: command.path.values(),
            operation: Columns::of(&command.operation, &versioned.configuration),
            configuration_version: versioned.version,
            actor,
        });
    }
    (meanings.finish().0, all, actors)
}

fn column<'a, T>(events: &[&'a EventRow], of: impl Fn(&'a EventRow) -> T) -> Vec<T> {
    events.iter().map(|event| of(event)).collect()
}

/// A column of what few events have; nothing where none has it: unnest fills up what is missing.
fn sparse(column: Vec<Option<&str>>) -> Vec<Option<&str>> {
    if column.iter().any(Option::is_some) { column } else { Vec::new() }
}

fn set_at(node: &Node) -> Option<Vec<Option<i64>>> {
    let last = node.set_at.iter().map(|&(slot, _)| slot).max()?;
    let mut times = vec![None; last.index() + 1];
    for &(slot, time) in &node.set_at {
        times[slot.index()] = Some(time.0);
    }
    Some(times)
}
