//! The stock nodes of an on-hand answer, as a stream.

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use sqlx::postgres::PgConnection;

use crate::domain::name::Value;
use crate::domain::query::{Selection, Stretch};
use crate::domain::schedule::{Period, Schedule};
use crate::domain::state::Measures;

use super::places::{Place, Places};
use super::{Reader, Readers, Sight, StoreError, schedule, text};

/// Connections that answers are streamed from. A client that reads slowly keeps one busy: never
/// one of those that commands and other queries need.
const STREAMS_MAX: u32 = 4;

/// The connections for streams.
#[derive(Clone)]
pub struct Streams {
    pool: Readers,
    /// A place for each: who gets none knows that it is not the database that does not answer.
    places: Places,
}

/// Makes the connections for streams: to the same database as other queries, but with all the
/// time that an answer may take for one statement. A statement that nobody waits for any more
/// ends soon, also when it has not come to its first row.
pub fn streams(readers: &Readers, time_max: Duration) -> Streams {
    let most = format!("{}ms", time_max.as_millis());
    let options = [
        ("statement_timeout", most.as_str()),
        // A slow client is waited for between two statements too.
        ("idle_in_transaction_session_timeout", most.as_str()),
        ("client_connection_check_interval", "1s"),
    ];
    let options = readers.options().clone().options(options);
    let pool = Readers::new(options, STREAMS_MAX, readers.wait_max());
    Streams { pool, places: Places::new(STREAMS_MAX as usize) }
}

/// Whose nodes are read.
pub struct Owner<'a> {
    /// The isolated tenant.
    pub environment: &'a Value,
    /// The owner.
    pub organization: &'a Value,
    /// The products, in order and none twice; all where there is none.
    pub products: &'a [Value],
}

/// What a node adds to its record.
pub struct Part {
    /// The product.
    pub product: String,
    /// The node's path.
    pub path: Vec<Value>,
    /// What counts of the node.
    pub quantities: Measures,
    /// What is scheduled, as far as it was asked for.
    pub schedule: Schedule,
}

struct Row {
    product_id: String,
    dimensions: Vec<String>,
    quantities: Vec<String>,
    schedule: Option<String>,
}

/// Products are taken one after the other, and of each the stretches: every one is a piece of
/// the primary key. All products are found by going from each to the next in the key. What a
/// subquery refers to outside of it must be there first, so that there is but this way to go
/// about it, with any plan; and OFFSET 0 keeps a subquery one.
///
/// `$order` is the order of the nodes in a product. Without one they come as the key has them,
/// the first at once; the order of their records needs all of a product.
///
/// `$schedule` is what is scheduled at a node, or at and below it: as far as it counts with it.
macro_rules! parts {
    ($order:tt, $schedule:tt, ($($more:expr),*), $owner:ident, $selection:ident, $after:ident) => {{
        let stretches = $selection.stretches();
        let bound = |end: fn(&Stretch) -> &Vec<Value>| -> Vec<String> {
            stretches.iter().map(|stretch| text::array(end(stretch))).collect()
        };
        let (mut filtered, mut places, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (dimension, wanted) in $selection.further_filters() {
            filtered.push(dimension as i32 + 1);
            places.extend(wanted.iter().map(|_| dimension as i32 + 1));
            values.extend(wanted.iter().map(Value::to_string));
        }
        let products: Vec<String> = $owner.products.iter().map(Value::to_string).collect();
        let kept: Vec<i32> = $selection.kept().iter().map(|&dimension| dimension as i32 + 1).collect();
        let after_product = $after.map_or("", |(product, _)| product.as_str());
        let after_values = $after.map(|(_, values)| text::array(values));
        sqlx::query_as!(
            Row,
            r#"WITH RECURSIVE every (product_id) AS (
                   (SELECT s.product_id FROM stock_node s
                    WHERE s.environment_id = $1 AND s.organization_id = $2 AND s.product_id >= $9
                      AND cardinality($3::text[]) = 0
                    ORDER BY s.product_id LIMIT 1)
                   UNION ALL
                   SELECT (SELECT s.product_id FROM stock_node s
                           WHERE s.environment_id = $1 AND s.organization_id = $2 AND s.product_id > e.product_id
                           ORDER BY s.product_id LIMIT 1)
                   FROM every e WHERE e.product_id IS NOT NULL
               ), product (product_id) AS (
                   SELECT g.product_id COLLATE "C" FROM unnest($3::text[]) AS g (product_id)
                   UNION ALL
                   SELECT e.product_id FROM every e
               )
               SELECT n.product_id AS "product_id!", n.dimensions AS "dimensions!",
                      n.quantities AS "quantities!: Vec<String>", n.schedule
               FROM product p CROSS JOIN LATERAL (
                   SELECT r.product_id, r.dimensions, r.quantities, "# + $schedule + r#" AS schedule
                   FROM unnest($4::text[], $5::text[]) AS t (low, high) CROSS JOIN LATERAL (
                       SELECT s.product_id, s.dimensions,
                              (CASE WHEN cardinality(s.dimensions) = $6 THEN s.total ELSE s.own END)::text[] AS quantities,
                              ARRAY(SELECT coalesce(s.dimensions[k.place], '')
                                    FROM unnest($7::int[]) WITH ORDINALITY AS k (place, rank) ORDER BY k.rank) AS record
                       FROM seen_stock_node s
                       WHERE s.environment_id = $1 AND s.organization_id = $2 AND s.product_id = p.product_id
                         AND s.dimensions >= t.low::text[] AND s.dimensions <= t.high::text[]
                         AND cardinality(s.dimensions) <= $6
                       ORDER BY s.dimensions OFFSET 0
                   ) r
                   WHERE NOT EXISTS (
                       SELECT FROM unnest($8::int[]) AS f (place)
                       WHERE NOT EXISTS (
                           SELECT FROM unnest($11::int[], $12::text[]) AS w (place, value)
                           WHERE w.place = f.place AND w.value = coalesce(r.dimensions[f.place], '')))
                     AND ($10::text IS NULL OR p.product_id > $9 OR r.record > $10::text::text[])
                   "# + $order + r#"OFFSET 0
               ) n
               WHERE p.product_id >= $9"#,
            $owner.environment.as_str(),
            $owner.organization.as_str(),
            &products,
            &bound(|stretch| &stretch.from),
            &bound(|stretch| &stretch.to),
            $selection.depth() as i32,
            &kept,
            &filtered,
            after_product,
            after_values,
            &places,
            &values,
            $($more),*
        )
    }};
    ($order:tt, $owner:ident, $selection:ident, $after:ident) => {
        parts!($order, "NULL::text", (), $owner, $selection, $after)
    };
    // The bounds are those of `Selection`: what is below a path comes before the last of its values
    // with a character behind it that no value has.
    ($order:tt, $period:ident, $owner:ident, $selection:ident, $after:ident) => {
        parts!(
            $order,
            r#"(SELECT json_agg(json_build_array(c.day, c.place, c.quantity::text))::text
                FROM (SELECT c.day, c.place, sum(c.quantity) AS quantity
                      FROM seen_schedule c
                      WHERE c.environment_id = $1 AND c.organization_id = $2 AND c.product_id = r.product_id
                        AND c.dimensions >= r.dimensions
                        AND c.dimensions <= CASE WHEN cardinality(r.dimensions) < $6 THEN r.dimensions
                                                 WHEN $6 = 0 THEN $15::text::text[]
                                                 ELSE r.dimensions[:$6 - 1] || (r.dimensions[$6] || chr(1)) END
                        AND c.day BETWEEN $13 AND $14
                      GROUP BY c.day, c.place) c)"#,
            ($period.first, $period.last, text::array(&[Value::behind_all()])),
            $owner,
            $selection,
            $after
        )
    };
}

/// A connection from which an answer is read. One that is not read to its end is closed: the
/// database is to stop, not to be heard out.
pub struct Stream {
    connection: Option<Reader>,
    is_read: bool,
    _place: Place,
}

impl Stream {
    /// Takes a connection, for an environment.
    ///
    /// # Errors
    /// When none is free in time, or the database does not answer.
    pub async fn open(streams: &Streams, environment: &Value) -> Result<Stream, StoreError> {
        let wait_max = streams.pool.wait_max();
        let place = tokio::time::timeout(wait_max, streams.places.take(environment)).await;
        let Ok(Some(place)) = place else { return Err(StoreError::Busy) };
        Ok(Stream {
            connection: Some(Reader::of(&streams.pool, Sight::Of(environment.as_str())).await?),
            is_read: false,
            _place: place,
        })
    }

    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        let connection = self.connection.as_deref_mut();
        connection.ok_or_else(|| StoreError::Unavailable("the connection is gone".to_owned()))
    }

    /// Says that the answer was read to its end.
    pub fn is_read(&mut self) {
        self.is_read = true;
    }

    /// Reads what a selection asks for, in one statement and so of one moment, in the order of
    /// the records: those behind the record of a product with these values, where one is given; and
    /// what is scheduled for a period.
    /// The database does not go far ahead of who reads.
    pub fn parts<'c>(
        &'c mut self,
        owner: &Owner<'_>,
        selection: &Selection,
        after: Option<(&Value, &[Value])>,
        scheduled: Option<Period>,
    ) -> BoxStream<'c, Result<Part, StoreError>> {
        let Some(connection) = self.connection.as_deref_mut() else { return stream::empty().boxed() };
        let rows = match (selection.is_in_order(), scheduled) {
            (true, None) => parts!("", owner, selection, after).fetch(connection),
            (false, None) => parts!("ORDER BY r.record ", owner, selection, after).fetch(connection),
            (true, Some(period)) => parts!("", period, owner, selection, after).fetch(connection),
            (false, Some(period)) => {
                parts!("ORDER BY r.record ", period, owner, selection, after).fetch(connection)
            }
        };
        rows.map(|row| part(row?)).boxed()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| !self.is_read) {
            connection.discard();
        }
    }
}

fn part(row: Row) -> Result<Part, StoreError> {
    let quantities = row.quantities.iter().map(|text| text::quantity(text)).collect::<Result<_, _>>()?;
    Ok(Part {
        product: row.product_id,
        path: text::values(&row.dimensions),
        quantities: Measures::new(quantities),
        schedule: row.schedule.as_deref().map(schedule::read).transpose()?.unwrap_or_default(),
    })
}
