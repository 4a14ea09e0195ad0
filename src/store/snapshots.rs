//! Snapshots of products, which replays begin at; and who takes them, in the order of the ledger.
//!
//! Who keeps up with the ledger copies what stands in the books, which costs the same however many
//! events led there. Who is behind replays, as the books have gone on: from the snapshot before, by
//! the events of the product that came since. So does a product of which nothing is noted yet in
//! `snapshot_due`, or that was due before: what came until then is not to stay without.
//!
//! The books are ahead of what is settled, and an event may be missing in them that another instance
//! commits late, at a place that has nothing to do with those of later events. So a copy is kept only
//! when, once all are settled, there are as many events up to it as there were for the copy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::name::Value;
use crate::domain::snapshot::{self, ENTRIES_MAX, due_at, entries};

use super::past::{PAGE_EVENTS, Product};
use super::replay::Rules;
use super::state::Keys;
use super::{StoreError, configuration, horizon, now};

/// Most events that are replayed, or entries that are copied, for one chunk of the ledger, about: a
/// second's work or less.
const READ_MAX: u64 = 50_000;
/// Events of a piece of the ledger. As many as there are pieces, where there are 10^7 events.
const PIECE_EVENTS: i64 = 4_096;
/// Longest wait until what was copied is settled. As a rule it takes a batch, a few milliseconds.
const SETTLED_WITHIN: Duration = Duration::from_millis(200);

/// The last snapshot of a product up to an event: its own event, and the text.
pub(super) async fn nearest(
    connection: &mut PgConnection,
    key: &ProductKey,
    until: i64,
) -> Result<Option<(i64, String)>, StoreError> {
    let [environment, organization, product] = key.as_strs();
    // The first before it in the order of the key, which no other index has, is the product's or there is
    // none. A product's own would be looked for among all of the environment's, by their events.
    let row = sqlx::query!(
        r#"SELECT event_id, stock::text AS "stock!" FROM (
               SELECT * FROM snapshot
               WHERE (environment_id, organization_id, product_id, event_id) <= ($1, $2, $3, $4) AND environment_id >= $1
               ORDER BY environment_id DESC, organization_id DESC, product_id DESC, event_id DESC LIMIT 1
           ) nearest
           WHERE organization_id = $2 AND product_id = $3"#,
        environment,
        organization,
        product,
        until,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.event_id, row.stock)))
}

/// A snapshot as verification reads it.
pub struct Snapshot {
    /// The product.
    pub key: ProductKey,
    /// The event that it was taken after.
    pub event_id: i64,
    /// What `domain/snapshot.rs` wrote.
    pub text: String,
}

/// Reads the snapshots of an environment that were taken behind one event and up to another, in the
/// order of the ledger: `most` of them.
///
/// # Errors
/// When the database does not answer.
pub async fn page(
    connection: &mut PgConnection,
    environment: &str,
    (after, until): (i64, i64),
    most: i64,
) -> Result<Vec<Snapshot>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT organization_id, product_id, event_id, stock::text AS "stock!" FROM snapshot
           WHERE environment_id = $1 AND event_id > $2 AND event_id <= $3 ORDER BY event_id LIMIT $4"#,
        environment,
        after,
        until,
        most,
    )
    .fetch_all(connection)
    .await?;
    let snapshots = rows.into_iter().map(|row| Snapshot {
        key: key(environment, &row.organization_id, &row.product_id),
        event_id: row.event_id,
        text: row.stock,
    });
    Ok(snapshots.collect())
}

fn key(environment: &str, organization: &str, product: &str) -> ProductKey {
    ProductKey {
        environment: Value::stored(environment),
        organization: Value::stored(organization),
        product: Value::stored(product),
    }
}

/// What snapshots are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// How products stand now: one snapshot, after the last event.
    Books,
    /// The events, each replayed: snapshots wherever they were due.
    Ledger,
}

/// What is written of a chunk of the ledger.
#[derive(Default)]
struct Taken {
    snapshots: Vec<Taking>,
    /// Of each product: how many events came since its last snapshot, and at how many the next is due.
    due: Vec<(ProductKey, i64, i64)>,
}

/// A snapshot that may be written.
struct Taking {
    key: ProductKey,
    event_id: i64,
    /// How many events are in it that were not settled.
    unsettled: i64,
    text: String,
}

/// Takes the snapshots that fall due with the events behind one and up to another. In a transaction
/// (read committed) of whoever has the turn to: who erases products waits for it, so nothing that
/// was read is written down after it is gone.
///
/// # Errors
/// When the database does not do it.
pub async fn follow(
    connection: &mut PgConnection,
    (after, until): (i64, i64),
    source: Source,
    events_min: u64,
) -> Result<(), StoreError> {
    let touched = touched(connection, after, until).await?;
    let Some(earliest) = touched.iter().map(|one| one.earliest).min() else { return Ok(()) };
    let mut taken = take(connection, &touched, (after, until), (source, events_min)).await?;
    keep_whole(connection, &mut taken, until).await?;
    write(connection, &taken).await?;
    let events = touched.iter().map(|one| one.events).sum();
    cut(connection, (after, until), events, earliest).await
}

/// A product that a chunk of the ledger has events of.
struct Touched {
    key: ProductKey,
    events: i64,
    earliest: OffsetDateTime,
}

async fn touched(connection: &mut PgConnection, after: i64, until: i64) -> Result<Vec<Touched>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT l.environment_id, l.organization_id, l.product_id, sum(l.events)::bigint AS "events!",
                  min(l.earliest) AS "earliest!"
           FROM (
               -- Where some may have been erased, each event stands alone.
               SELECT environment_id, organization_id, product_id, count(*) AS events, min(received_at) AS earliest,
                      CASE WHEN (SELECT EXISTS (SELECT FROM erasure WHERE until_event_id > $1)) THEN event_id END AS alone
               FROM ledger WHERE event_id > $1 AND event_id <= $2
               GROUP BY 1, 2, 3, 6
           ) l
           WHERE l.alone IS NULL
              OR NOT EXISTS (SELECT FROM erasure x
                             WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                               AND x.product_id = l.product_id AND l.alone <= x.until_event_id)
           GROUP BY 1, 2, 3
           ORDER BY 1, 2, 3"#,
        after,
        until,
    )
    .fetch_all(connection)
    .await?;
    let touched = rows.into_iter().map(|row| Touched {
        key: key(&row.environment_id, &row.organization_id, &row.product_id),
        events: row.events,
        earliest: row.earliest,
    });
    Ok(touched.collect())
}

/// How many events came since a product's last snapshot and up to an event, and at how many the next is due.
/// Where nothing is noted, as of a product that is new, they are counted, up to so many. Of one that has many that
/// takes long where it has snapshots too; but what is noted is never lost alone.
async fn due(
    connection: &mut PgConnection,
    keys: &[ProductKey],
    (after, most): (i64, i64),
) -> Result<Vec<(i64, Option<i64>)>, StoreError> {
    let columns = Keys::of(keys);
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!", d.due_at AS "due_at?",
                  CASE WHEN d.due_at IS NOT NULL THEN d.events ELSE (
                      SELECT count(*) FROM (
                          SELECT FROM ledger l
                          WHERE l.environment_id = k.environment_id AND l.organization_id = k.organization_id
                            AND l.product_id = k.product_id AND l.event_id <= $4
                            AND l.event_id > coalesce(greatest(
                                (SELECT max(s.event_id) FROM snapshot s
                                 WHERE s.environment_id = k.environment_id AND s.organization_id = k.organization_id
                                   AND s.product_id = k.product_id AND s.event_id <= $4),
                                (SELECT x.until_event_id FROM erasure x
                                 WHERE x.environment_id = k.environment_id AND x.organization_id = k.organization_id
                                   AND x.product_id = k.product_id)), 0)
                          LIMIT $5) counted
                  ) END AS "events!"
           FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
                AS k (environment_id, organization_id, product_id, place)
           LEFT JOIN snapshot_due d ON d.environment_id = k.environment_id
                AND d.organization_id = k.organization_id AND d.product_id = k.product_id"#,
        &columns.environments as &[&str],
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        after,
        most,
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![(0, None); keys.len()];
    for row in rows {
        found[row.place as usize - 1] = (row.events, row.due_at);
    }
    Ok(found)
}

async fn take(
    connection: &mut PgConnection,
    touched: &[Touched],
    (after, until): (i64, i64),
    (source, events_min): (Source, u64),
) -> Result<Taken, StoreError> {
    let keys: Vec<ProductKey> = touched.iter().map(|one| one.key.clone()).collect();
    let at_first = due_at(0, events_min) as i64;
    let due = due(connection, &keys, (after, at_first)).await?;
    let mut taken = Taken::default();
    let mut reads = Reads { rules: BTreeMap::new(), left: READ_MAX, events_min };
    for (one, (before, due_at)) in touched.iter().zip(due) {
        let is_up_to_date = due_at.is_some_and(|due_at| before < due_at);
        let source = if is_up_to_date { source } else { Source::Ledger };
        let (events, due_at) = (before + one.events, due_at.unwrap_or(at_first));
        if events < due_at || reads.left == 0 {
            taken.due.push((one.key.clone(), events, due_at));
            continue;
        }
        let (events, due_at) = match reads
            .take(connection, &one.key, (source, until), &mut taken.snapshots)
            .await
        {
            // Others are not to go without because of it.
            Err(StoreError::Rejected(why)) => {
                tracing::error!(product = ?one.key, error = %why, "no snapshot can be taken of a product");
                (0, due_at)
            }
            taken => taken?,
        };
        taken.due.push((one.key.clone(), events, due_at));
    }
    Ok(taken)
}

/// What is read for one chunk.
struct Reads<'a> {
    /// By environment: its configuration now, and those of its events.
    rules: BTreeMap<&'a str, (Configuration, Rules)>,
    /// How many events or entries may still be read.
    left: u64,
    events_min: u64,
}

impl<'a> Reads<'a> {
    /// Takes the snapshots that are due of a product. Answers how many events came since the last,
    /// and at how many the next is due.
    async fn take(
        &mut self,
        connection: &mut PgConnection,
        key: &'a ProductKey,
        (source, until): (Source, i64),
        snapshots: &mut Vec<Taking>,
    ) -> Result<(i64, i64), StoreError> {
        let environment = key.environment.as_str();
        if !self.rules.contains_key(environment) {
            // An environment is never gone again.
            let versioned = configuration::read(connection, environment, None).await?;
            let versioned = versioned.ok_or(StoreError::Conflict(""))?;
            self.rules.insert(environment, (versioned.configuration, Rules::of_each(environment)));
        }
        let Some((configuration, rules)) = self.rules.get_mut(environment) else { return Ok((0, 0)) };
        if source == Source::Books {
            let Some(standing) = now::product(connection, key, configuration, until).await? else {
                return Ok((0, self.events_min as i64));
            };
            let now::Standing { event_id, unsettled, stock } = standing;
            let entries = entries(&stock);
            self.left = self.left.saturating_sub(entries);
            if entries <= ENTRIES_MAX {
                let text = snapshot::write(&stock);
                snapshots.push(Taking { key: key.clone(), event_id, unsettled, text });
            }
            return Ok((0, due_at(entries, self.events_min) as i64));
        }
        let mut product = Product::before(connection, key, configuration, until).await?;
        let mut since = 0;
        loop {
            let due_at = due_at(entries(&product.stock), self.events_min);
            if since >= due_at {
                if entries(&product.stock) <= ENTRIES_MAX {
                    let (event_id, text) = (product.event_id, snapshot::write(&product.stock));
                    snapshots.push(Taking { key: key.clone(), event_id, unsettled: 0, text });
                }
                since = 0;
            }
            if self.left == 0 {
                return Ok((due_at as i64, due_at as i64));
            }
            // A product that grows is not read event by event.
            let most = (due_at - since).max(self.events_min).min(PAGE_EVENTS);
            let replayed = product.replay_page(connection, rules, until, most).await?;
            since += replayed;
            self.left = self.left.saturating_sub(replayed);
            if replayed < most {
                return Ok((since as i64, due_at as i64));
            }
        }
    }
}

/// Drops copies that lack an event. Their products stay due, and are replayed with their next event.
async fn keep_whole(
    connection: &mut PgConnection,
    taken: &mut Taken,
    settled: i64,
) -> Result<(), StoreError> {
    let unsettled = |one: &Taking| one.unsettled > 0;
    if !taken.snapshots.iter().any(unsettled) {
        return Ok(());
    }
    let all_there = horizon::is_settled(connection, SETTLED_WITHIN).await?;
    let mut broken = BTreeSet::new();
    for one in taken.snapshots.iter().filter(|one| unsettled(one)) {
        if !all_there || events(connection, &one.key, (settled, one.event_id)).await? != one.unsettled {
            broken.insert(one.key.clone());
        }
    }
    taken.snapshots.retain(|one| !broken.contains(&one.key));
    for (_, events, due_at) in taken.due.iter_mut().filter(|(key, ..)| broken.contains(key)) {
        *events = *due_at;
    }
    Ok(())
}

/// How many events a product has behind one event and up to another.
async fn events(
    connection: &mut PgConnection,
    key: &ProductKey,
    (after, until): (i64, i64),
) -> Result<i64, StoreError> {
    let [environment, organization, product] = key.as_strs();
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM ledger
           WHERE environment_id = $1 AND organization_id = $2 AND product_id = $3 AND event_id > $4 AND event_id <= $5"#,
        environment,
        organization,
        product,
        after,
        until,
    );
    Ok(count.fetch_one(connection).await?)
}

async fn write(connection: &mut PgConnection, taken: &Taken) -> Result<(), StoreError> {
    let keys: Vec<ProductKey> = taken.snapshots.iter().map(|one| one.key.clone()).collect();
    let columns = Keys::of(&keys);
    let (event_ids, texts): (Vec<i64>, Vec<&str>) =
        taken.snapshots.iter().map(|one| (one.event_id, one.text.as_str())).unzip();
    sqlx::query!(
        "INSERT INTO snapshot (environment_id, organization_id, product_id, event_id, stock)
         SELECT s.environment_id, s.organization_id, s.product_id, s.event_id, s.stock::json
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
              AS s (environment_id, organization_id, product_id, event_id, stock)
         ON CONFLICT DO NOTHING",
        &columns.environments as &[&str],
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &event_ids,
        &texts as &[&str],
    )
    .execute(&mut *connection)
    .await?;
    let keys: Vec<ProductKey> = taken.due.iter().map(|(key, ..)| key.clone()).collect();
    let columns = Keys::of(&keys);
    let (events, due_at): (Vec<i64>, Vec<i64>) =
        taken.due.iter().map(|&(_, events, due_at)| (events, due_at)).unzip();
    sqlx::query!(
        "INSERT INTO snapshot_due (environment_id, organization_id, product_id, events, due_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
         ON CONFLICT (environment_id, organization_id, product_id) DO UPDATE
         SET events = excluded.events, due_at = excluded.due_at",
        &columns.environments as &[&str],
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &events,
        &due_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds a chunk to the pieces of the ledger: to the last one, unless that is full.
async fn cut(
    connection: &mut PgConnection,
    (after, until): (i64, i64),
    events: i64,
    earliest: OffsetDateTime,
) -> Result<(), StoreError> {
    let added = sqlx::query!(
        "UPDATE ledger_piece SET last_event_id = $1, events = events + $2, earliest = least(earliest, $3)
         WHERE first_event_id = (SELECT first_event_id FROM ledger_piece ORDER BY first_event_id DESC LIMIT 1)
           AND events + $2 <= $4",
        until,
        events,
        earliest,
        PIECE_EVENTS,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if added > 0 {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO ledger_piece (first_event_id, last_event_id, events, earliest) VALUES ($1, $2, $3, $4)
         ON CONFLICT (first_event_id) DO UPDATE
         SET last_event_id = greatest(ledger_piece.last_event_id, excluded.last_event_id),
             events = excluded.events, earliest = least(ledger_piece.earliest, excluded.earliest)",
        after + 1,
        until,
        events,
        earliest,
    )
    .execute(connection)
    .await?;
    Ok(())
}
