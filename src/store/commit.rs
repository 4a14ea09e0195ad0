//! Writing a batch: one statement, one round trip, all or nothing.

use std::sync::Arc;

use sqlx::PgConnection;
use time::OffsetDateTime;

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

/// What a batch adds up to: the rows of the one statement that writes it.
#[derive(Default)]
pub struct Batch {
    configurations: Vec<(Value, i64)>,
    nodes: Vec<NodeRow>,
    balances: Vec<BalanceRow>,
    reservations: Vec<ReservationRow>,
    events: Vec<EventRow>,
}

struct NodeRow {
    key: ProductKey,
    dimensions: String,
    /// The version that the batch was decided on; 0 for a node that is new.
    expected: u64,
    version: u64,
    own: String,
    total: String,
    set_at: Option<String>,
}

struct BalanceRow {
    key: ProductKey,
    dimensions: String,
    groups: String,
    balance: Balance,
}

struct ReservationRow {
    key: ProductKey,
    id: ReservationId,
    dimensions: String,
    measure: String,
    quantity: String,
    remaining: String,
}

struct EventRow {
    command: Arc<Command>,
    columns: Columns,
    dimensions: String,
    configuration_version: i64,
    version: u64,
    received_at: OffsetDateTime,
    outcome: String,
}

impl Batch {
    /// Guards the batch by the version of a configuration that it was decided under.
    pub fn guard_configuration(&mut self, environment: &Value, version: i64) {
        self.configurations.push((environment.clone(), version));
    }

    /// Writes a stock node, guarded by the version that it was decided on.
    pub fn node(&mut self, key: &ProductKey, path: &[Value], expected: u64, node: &Node) {
        self.nodes.push(NodeRow {
            key: key.clone(),
            dimensions: text::array(path),
            expected,
            version: node.version,
            own: text::quantities(node.own.as_slice()),
            total: text::quantities(node.total.as_slice()),
            set_at: set_at(node),
        });
    }

    /// Writes a balance. The nodes of its chain are guarded, so it needs no guard.
    pub fn balance(&mut self, key: &ProductKey, path: &DimensionPath, groups: &GroupPath, balance: &Balance) {
        self.balances.push(BalanceRow {
            key: key.clone(),
            dimensions: text::array(path.values()),
            groups: text::array(groups.values()),
            balance: *balance,
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
        self.reservations.push(ReservationRow {
            key: key.clone(),
            id,
            dimensions: text::array(reservation.path.values()),
            measure: configuration.measure_name(reservation.measure).to_string(),
            quantity: reservation.quantity.to_string(),
            remaining: reservation.remaining.to_string(),
        });
    }

    /// Appends an event to the ledger.
    pub fn event(
        &mut self,
        command: &Arc<Command>,
        versioned: &Versioned,
        received_at: Timestamp,
        outcome: &Outcome,
    ) {
        self.events.push(EventRow {
            command: Arc::clone(command),
            columns: Columns::of(&command.operation, &versioned.configuration),
            dimensions: text::array(command.path.values()),
            configuration_version: versioned.version,
            version: outcome.version,
            received_at: text::time(received_at),
            // A structure of numbers always becomes JSON.
            outcome: serde_json::to_string(outcome).unwrap_or_default(),
        });
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
        let Batch { configurations, nodes, balances, reservations, events } = self;
        let node_keys = Keys::of(nodes.iter().map(|row| &row.key));
        let balance_keys = Keys::of(balances.iter().map(|row| &row.key));
        let reservation_keys = Keys::of(reservations.iter().map(|row| &row.key));
        let event_keys = Keys::of(events.iter().map(|row| &row.command.product));
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
            &column(configurations, |row| row.0.as_str()) as &[&str],
            &column(configurations, |row| row.1),
            &node_keys.environments as &[&str],
            &node_keys.organizations as &[&str],
            &node_keys.products as &[&str],
            &column(nodes, |row| &*row.dimensions) as &[&str],
            &column(nodes, |row| row.expected as i64),
            &column(nodes, |row| row.version as i64),
            &column(nodes, |row| &*row.own) as &[&str],
            &column(nodes, |row| &*row.total) as &[&str],
            &column(nodes, |row| row.set_at.as_deref()) as &[Option<&str>],
            &balance_keys.environments as &[&str],
            &balance_keys.organizations as &[&str],
            &balance_keys.products as &[&str],
            &column(balances, |row| &*row.dimensions) as &[&str],
            &column(balances, |row| &*row.groups) as &[&str],
            &column(balances, |row| row.balance.allocated.to_string()),
            &column(balances, |row| row.balance.consumed.to_string()),
            &column(balances, |row| row.balance.cumulative_allocated.to_string()),
            &column(balances, |row| row.balance.cumulative_consumed.to_string()),
            &reservation_keys.environments as &[&str],
            &reservation_keys.organizations as &[&str],
            &reservation_keys.products as &[&str],
            &column(reservations, |row| row.id.0),
            &column(reservations, |row| &*row.dimensions) as &[&str],
            &column(reservations, |row| &*row.measure) as &[&str],
            &column(reservations, |row| &*row.quantity) as &[&str],
            &column(reservations, |row| &*row.remaining) as &[&str],
            &event_keys.environments as &[&str],
            &event_keys.organizations as &[&str],
            &event_keys.products as &[&str],
            &column(events, |row| row.command.id.as_str()) as &[&str],
            &column(events, |row| row.columns.operation) as &[&str],
            &column(events, |row| &*row.dimensions) as &[&str],
            &column(events, |row| row.columns.groups.as_deref()) as &[Option<&str>],
            &column(events, |row| row.columns.source_groups.as_deref()) as &[Option<&str>],
            &column(events, |row| row.columns.quantity.as_deref()) as &[Option<&str>],
            &column(events, |row| row.columns.detail.as_deref()) as &[Option<&str>],
            &column(events, |row| row.configuration_version),
            &column(events, |row| row.version as i64),
            &column(events, |row| row.received_at),
            &column(events, |row| &*row.outcome) as &[&str],
        )
        .fetch_one(connection)
        .await?;
        Ok(row.event_ids)
    }
}

fn column<'a, Row, T>(rows: &'a [Row], of: impl Fn(&'a Row) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

fn set_at(node: &Node) -> Option<String> {
    let last = node.set_at.iter().map(|&(slot, _)| slot).max()?;
    let mut texts = vec!["NULL".to_owned(); last.index() + 1];
    for &(slot, time) in &node.set_at {
        texts[slot.index()] = time.0.to_string();
    }
    Some(format!("{{{}}}", texts.join(",")))
}
