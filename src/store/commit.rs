//! Writing a batch: one statement, one round trip, all or nothing.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::command::{Command, ProductKey, Timestamp};
use crate::domain::configuration::Configuration;
use crate::domain::decide::Outcome;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::state::{Balance, Node, Reservation, ReservationId};

use super::configuration::Versioned;
use super::ledger::Columns;
use super::state::Keys;
use super::{StoreError, text};

/// What a batch adds up to, in the columns of the one statement that writes it.
#[derive(Default)]
pub struct Batch<'a> {
    environments: Vec<&'a str>,
    configuration_versions: Vec<i64>,
    nodes: Nodes<'a>,
    balances: Balances<'a>,
    reservations: Reservations<'a>,
    events: Events<'a>,
}

#[derive(Default)]
struct Nodes<'a> {
    keys: Keys<'a>,
    dimensions: Vec<String>,
    /// The version that the batch was decided on; 0 for a node that is new.
    expected: Vec<i64>,
    version: Vec<i64>,
    own: Vec<String>,
    total: Vec<String>,
    set_at: Vec<Option<String>>,
}

#[derive(Default)]
struct Balances<'a> {
    keys: Keys<'a>,
    dimensions: Vec<String>,
    groups: Vec<String>,
    allocated: Vec<String>,
    consumed: Vec<String>,
    cumulative_allocated: Vec<String>,
    cumulative_consumed: Vec<String>,
}

#[derive(Default)]
struct Reservations<'a> {
    keys: Keys<'a>,
    ids: Vec<Uuid>,
    dimensions: Vec<String>,
    measures: Vec<String>,
    quantities: Vec<String>,
    remaining: Vec<String>,
}

#[derive(Default)]
struct Events<'a> {
    keys: Keys<'a>,
    ids: Vec<&'a str>,
    operations: Vec<&'static str>,
    dimensions: Vec<String>,
    groups: Vec<Option<String>>,
    source_groups: Vec<Option<String>>,
    quantities: Vec<Option<String>>,
    details: Vec<Option<String>>,
    configuration_versions: Vec<i64>,
    versions: Vec<i64>,
    received_at: Vec<OffsetDateTime>,
    outcomes: Vec<String>,
}

impl<'a> Batch<'a> {
    /// Guards the batch by the version of a configuration that it was decided under.
    pub fn guard_configuration(&mut self, environment: &'a Value, version: i64) {
        self.environments.push(environment.as_str());
        self.configuration_versions.push(version);
    }

    /// Writes a stock node, guarded by the version that it was decided on.
    pub fn node(&mut self, key: &'a ProductKey, path: &[Value], expected: u64, node: &Node) {
        let columns = &mut self.nodes;
        columns.keys.push(key);
        columns.dimensions.push(text::array(path));
        columns.expected.push(expected as i64);
        columns.version.push(node.version as i64);
        columns.own.push(text::quantities(node.own.as_slice()));
        columns.total.push(text::quantities(node.total.as_slice()));
        columns.set_at.push(set_at(node));
    }

    /// Writes a balance. The nodes of its chain are guarded, so it needs no guard.
    pub fn balance(
        &mut self,
        key: &'a ProductKey,
        path: &DimensionPath,
        groups: &GroupPath,
        balance: &Balance,
    ) {
        let columns = &mut self.balances;
        columns.keys.push(key);
        columns.dimensions.push(text::array(path.values()));
        columns.groups.push(text::array(groups.values()));
        columns.allocated.push(balance.allocated.to_string());
        columns.consumed.push(balance.consumed.to_string());
        columns.cumulative_allocated.push(balance.cumulative_allocated.to_string());
        columns.cumulative_consumed.push(balance.cumulative_consumed.to_string());
    }

    /// Writes a reservation; guarded as a balance is.
    pub fn reservation(
        &mut self,
        key: &'a ProductKey,
        id: ReservationId,
        reservation: &Reservation,
        configuration: &Configuration,
    ) {
        let columns = &mut self.reservations;
        columns.keys.push(key);
        columns.ids.push(id.0);
        columns.dimensions.push(text::array(reservation.path.values()));
        columns.measures.push(configuration.measure_name(reservation.measure).to_string());
        columns.quantities.push(reservation.quantity.to_string());
        columns.remaining.push(reservation.remaining.to_string());
    }

    /// Appends an event to the ledger.
    pub fn event(
        &mut self,
        command: &'a Command,
        versioned: &Versioned,
        received_at: Timestamp,
        outcome: &Outcome,
    ) {
        let row = Columns::of(&command.operation, &versioned.configuration);
        let columns = &mut self.events;
        columns.keys.push(&command.product);
        columns.ids.push(command.id.as_str());
        columns.operations.push(row.operation);
        columns.dimensions.push(text::array(command.path.values()));
        columns.groups.push(row.groups);
        columns.source_groups.push(row.source_groups);
        columns.quantities.push(row.quantity);
        columns.details.push(row.detail);
        columns.configuration_versions.push(versioned.version);
        columns.versions.push(outcome.version as i64);
        columns.received_at.push(text::time(received_at));
        // A structure of numbers always becomes JSON.
        columns.outcomes.push(serde_json::to_string(outcome).unwrap_or_default());
    }

    /// Writes all of it or nothing. Answers the events' ids, in the order of the events.
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
    pub async fn write(&self, connection: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
        let Batch { nodes, balances, reservations, events, .. } = self;
        let row = sqlx::query!(
            r#"
            WITH configured AS (
                SELECT e.version
                FROM unnest($1::text[], $2::bigint[]) AS g (environment_id, version)
                JOIN environment e ON e.environment_id = g.environment_id
                WHERE e.version = g.version
                FOR SHARE OF e
            ), node AS (
                SELECT environment_id, organization_id, product_id, dimensions::text[], expected, version,
                       own::numeric[], total::numeric[], set_at::bigint[]
                FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
                            $9::text[], $10::text[], $11::text[])
                     AS n (environment_id, organization_id, product_id, dimensions, expected, version,
                           own, total, set_at)
            ), changed AS (
                UPDATE stock_node s
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
                SELECT environment_id, organization_id, product_id, dimensions::text[], groups::text[],
                       allocated::numeric, consumed::numeric, cumulative_allocated::numeric, cumulative_consumed::numeric
                FROM unnest($12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
                            $17::text[], $18::text[], $19::text[], $20::text[])
                     AS b (environment_id, organization_id, product_id, dimensions, groups,
                           allocated, consumed, cumulative_allocated, cumulative_consumed)
                ON CONFLICT (environment_id, organization_id, product_id, dimensions, groups) DO UPDATE
                SET allocated = excluded.allocated, consumed = excluded.consumed,
                    cumulative_allocated = excluded.cumulative_allocated,
                    cumulative_consumed = excluded.cumulative_consumed
            ), reserved AS (
                INSERT INTO reservation (environment_id, organization_id, product_id, reservation_id, dimensions,
                                         measure, quantity, remaining)
                SELECT environment_id, organization_id, product_id, reservation_id, dimensions::text[],
                       measure, quantity::numeric, remaining::numeric
                FROM unnest($21::text[], $22::text[], $23::text[], $24::uuid[], $25::text[],
                            $26::text[], $27::text[], $28::text[])
                     AS r (environment_id, organization_id, product_id, reservation_id, dimensions,
                           measure, quantity, remaining)
                ON CONFLICT (environment_id, organization_id, product_id, reservation_id) DO UPDATE
                SET remaining = excluded.remaining
            ), guards AS (
                SELECT (SELECT count(*) FROM configured) = cardinality($1)
                   AND (SELECT count(*) FROM changed) + (SELECT count(*) FROM created) = cardinality($3) AS hold
            ), recorded AS (
                INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions, groups,
                                    source_groups, quantity, detail, configuration_version, version, received_at, outcome)
                SELECT e.environment_id, e.organization_id, e.product_id, e.id, e.operation, e.dimensions::text[],
                       e.groups::text[], e.source_groups::text[], e.quantity::numeric, e.detail::json,
                       e.configuration_version, CASE WHEN guards.hold THEN e.version END, e.received_at, e.outcome::json
                FROM unnest($29::text[], $30::text[], $31::text[], $32::text[], $33::text[], $34::text[], $35::text[],
                            $36::text[], $37::text[], $38::text[], $39::bigint[], $40::bigint[], $41::timestamptz[],
                            $42::text[]) WITH ORDINALITY
                     AS e (environment_id, organization_id, product_id, id, operation, dimensions, groups,
                           source_groups, quantity, detail, configuration_version, version, received_at,
                           outcome, place)
                CROSS JOIN guards
                ORDER BY e.place
                RETURNING event_id
            )
            SELECT array_agg(event_id ORDER BY event_id) AS "event_ids!" FROM recorded
            "#,
            &self.environments as &[&str],
            &self.configuration_versions,
            &nodes.keys.environments as &[&str],
            &nodes.keys.organizations as &[&str],
            &nodes.keys.products as &[&str],
            &nodes.dimensions,
            &nodes.expected,
            &nodes.version,
            &nodes.own,
            &nodes.total,
            &nodes.set_at as &[Option<String>],
            &balances.keys.environments as &[&str],
            &balances.keys.organizations as &[&str],
            &balances.keys.products as &[&str],
            &balances.dimensions,
            &balances.groups,
            &balances.allocated,
            &balances.consumed,
            &balances.cumulative_allocated,
            &balances.cumulative_consumed,
            &reservations.keys.environments as &[&str],
            &reservations.keys.organizations as &[&str],
            &reservations.keys.products as &[&str],
            &reservations.ids,
            &reservations.dimensions,
            &reservations.measures,
            &reservations.quantities,
            &reservations.remaining,
            &events.keys.environments as &[&str],
            &events.keys.organizations as &[&str],
            &events.keys.products as &[&str],
            &events.ids as &[&str],
            &events.operations as &[&str],
            &events.dimensions,
            &events.groups as &[Option<String>],
            &events.source_groups as &[Option<String>],
            &events.quantities as &[Option<String>],
            &events.details as &[Option<String>],
            &events.configuration_versions,
            &events.versions,
            &events.received_at,
            &events.outcomes,
        )
        .fetch_one(connection)
        .await?;
        Ok(row.event_ids)
    }
}

fn set_at(node: &Node) -> Option<String> {
    let last = node.set_at.iter().map(|&(slot, _)| slot).max()?;
    let mut texts = vec!["NULL".to_owned(); last.index() + 1];
    for &(slot, time) in &node.set_at {
        texts[slot.index()] = time.0.to_string();
    }
    Some(format!("{{{}}}", texts.join(",")))
}
