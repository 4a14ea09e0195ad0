//! A product as it stands: all that holds anything, with the last event that it comes from.

use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::state::{Reservation, ReservationId, Stock};

use super::{StoreError, schedule, state, text};

/// One row of what is kept of a product, as the statement writes it. Quantities are texts: JSON's
/// numbers would be read as floats by many, and need not be exact.
#[derive(Deserialize)]
enum Part {
    Last {
        event: i64,
        unsettled: i64,
    },
    Node {
        at: Vec<String>,
        version: i64,
        own: Vec<String>,
        total: Vec<String>,
        set: Option<Vec<Option<i64>>>,
    },
    Balance {
        at: Vec<String>,
        of: Vec<String>,
        quantities: [String; 4],
    },
    Held {
        id: Uuid,
        at: Vec<String>,
        measure: String,
        quantity: String,
        remaining: String,
    },
    Days {
        at: Vec<String>,
        days: Vec<(String, i32, String)>,
    },
}

/// A product at the moment of the statement that read it.
pub(super) struct Standing {
    /// The last of its events that could be seen.
    pub event_id: i64,
    /// How many of its events could be seen behind the one up to which the ledger was settled. Who
    /// wrote at another place of it, on another instance, may still commit one of a lower id than
    /// [`Standing::event_id`]: then this is what is there too few of.
    pub unsettled: i64,
    /// What it holds.
    pub stock: Stock,
}

/// Reads a product as it stands, whatever is written meanwhile: one statement sees one moment. The
/// ledger is known to be settled up to an event. Reservations that hold nothing any more are left
/// out. `None` where the product has no events.
///
/// # Errors
/// [`StoreError::Conflict`] when a measure is newer than the configuration; else when the database
/// does not answer, or what it has is not readable.
pub(super) async fn product(
    connection: &mut PgConnection,
    key: &ProductKey,
    configuration: &Configuration,
    settled: i64,
) -> Result<Option<Standing>, StoreError> {
    let [environment, organization, product] = key.as_strs();
    let parts = sqlx::query_scalar!(
        r#"(SELECT json_build_object('Last', json_build_object('event', event_id, 'unsettled', (
                       SELECT count(*) FROM ledger
                       WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3 AND event_id > $4
                   )))::text AS "part!"
            FROM ledger WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3
            ORDER BY event_id DESC LIMIT 1)
           UNION ALL
           SELECT json_build_object('Node', json_build_object('at', dimensions, 'version', version,
                                    'own', own::text[], 'total', total::text[], 'set', set_at))::text
           FROM stock_node WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3
           UNION ALL
           SELECT json_build_object('Balance', json_build_object('at', dimensions, 'of', groups, 'quantities',
                                    ARRAY[allocated, consumed, cumulative_allocated, cumulative_consumed]::text[]))::text
           FROM balance WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3
           UNION ALL
           SELECT json_build_object('Held', json_build_object('id', reservation_id, 'at', dimensions, 'measure', measure,
                                    'quantity', quantity::text, 'remaining', remaining::text))::text
           FROM reservation
           WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3 AND remaining > 0
           UNION ALL
           SELECT json_build_object('Days', json_build_object('at', dimensions, 'days',
                                    json_agg(json_build_array(day, place, quantity::text))))::text
           FROM schedule WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3
           GROUP BY dimensions"#,
        environment,
        organization,
        product,
        settled,
    )
    .fetch_all(connection)
    .await?;
    let mut last = None;
    let mut stock = Stock::default();
    for part in parts {
        let unreadable = |why| StoreError::Rejected(format!("what is kept of {key:?}: {part}: {why}"));
        match serde_json::from_str(&part).map_err(unreadable)? {
            Part::Last { event, unsettled } => last = Some((event, unsettled)),
            part => add(&mut stock, part, configuration)?,
        }
    }
    Ok(last.map(|(event_id, unsettled)| Standing { event_id, unsettled, stock }))
}

fn add(stock: &mut Stock, part: Part, configuration: &Configuration) -> Result<(), StoreError> {
    let path = |at: &[String]| DimensionPath::new(text::values(at));
    match part {
        Part::Last { .. } => {}
        Part::Node { at, version, own, total, set } => {
            let node = stock.nodes.entry(path(&at)).or_default();
            // Its balances may have come before it.
            let balances = std::mem::take(&mut node.balances);
            *node = state::node(version, &own, &total, set)?;
            node.balances = balances;
        }
        Part::Balance { at, of, quantities } => {
            let node = stock.nodes.entry(path(&at)).or_default();
            node.balances
                .insert(GroupPath::stored(text::values(&of)), state::balance(quantities.each_ref())?);
        }
        Part::Held { id, at, measure, quantity, remaining } => {
            let reservation = Reservation {
                path: path(&at),
                measure: state::slot(configuration, &measure)?,
                quantity: text::quantity(&quantity)?,
                remaining: text::quantity(&remaining)?,
            };
            stock.reservations.insert(ReservationId(id), reservation);
        }
        Part::Days { at, days } => _ = stock.schedules.insert(path(&at), schedule::of(&days)?),
    }
    Ok(())
}
