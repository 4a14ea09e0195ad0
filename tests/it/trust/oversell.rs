//! No oversell: an outside book of what was granted never gives out what is not there, and is
//! what the database holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor, Row};

use super::crowd::{CLIENTS, Pair, crowd};
use super::history::{Entry, by_root};
use super::mix::bicycles;
use super::scale;
use super::wire::first_day;
use crate::instances::stop_and_verify;
use crate::naive::{ONE, Request};
use crate::support::{eventually, url};

/// What is at one path: supply, and what is taken of it.
#[derive(Clone, Copy, Default)]
struct Own {
    inbound: i128,
    ordered: i128,
    reserved: i128,
    allocated: i128,
}

/// The books of one root, kept of acknowledgements alone, in millionths.
#[derive(Default)]
struct Books {
    own: BTreeMap<Vec<String>, Own>,
    /// What remains of reservations, by path and name.
    reservations: BTreeMap<(Vec<String>, String), i128>,
    /// What is expected, by path, day and measure.
    scheduled: BTreeMap<(Vec<String>, i64, String), i128>,
    /// Allocated and consumed, by path and group path.
    balances: BTreeMap<(Vec<String>, Vec<String>), (i128, i128)>,
    /// How much was given out that was not there.
    oversold: i128,
}

impl Books {
    fn enter(&mut self, entry: &Entry) {
        match entry.request.clone() {
            Request::Allocate { path, groups, quantity } => {
                self.give(&path, groups, quantity);
                self.oversold += self.short(&path).clamp(0, quantity);
            }
            Request::Unallocate { path, groups, quantity } => self.give(&path, groups, -quantity),
            Request::Reallocate { path, source, groups, quantity } => {
                self.give(&path, source, -quantity);
                self.give(&path, groups, quantity);
            }
            Request::Consume { path, groups, quantity, modifiers } => {
                self.give(&path, groups.clone(), -quantity);
                self.balances.get_mut(&(path.clone(), groups)).unwrap().1 += quantity;
                match modifiers[0].1 {
                    true => self.reserve(entry, quantity),
                    false => self.own.get_mut(&path).unwrap().inbound -= quantity,
                }
            }
            Request::OnHand { path, deltas, settle } => {
                let own = self.own.entry(path.clone()).or_default();
                for (measure, delta) in deltas {
                    *own.measure(&measure) += delta;
                }
                if let Some((groups, quantity)) = settle {
                    let consumed = &mut self.balances.entry((path, groups)).or_default().1;
                    *consumed -= quantity;
                    self.oversold += (-*consumed).clamp(0, quantity);
                }
            }
            Request::SetOnHand { path, values, .. } => {
                *self.own.entry(path).or_default().measure(&values[0].0) = values[0].1;
            }
            Request::Reserve { path, quantity, checked, .. } => {
                self.reserve(entry, quantity);
                if checked {
                    self.oversold += self.short(&path).clamp(0, quantity);
                }
            }
            Request::GiveBack { path, quantity, .. } => self.free(&path, quantity, quantity),
            Request::Unreserve { quantity, .. } => {
                let name = entry.reservation.clone().unwrap();
                let remaining = self.reservations.get_mut(&(entry.path.clone(), name)).unwrap();
                let returned = quantity.min(*remaining);
                *remaining -= returned;
                self.free(&entry.path, returned, entry.said.as_ref().unwrap().freed.unwrap());
            }
            Request::Schedule { path, changes } => {
                for (day, measure, delta) in changes {
                    *self.scheduled.entry((path.clone(), day, measure)).or_default() += delta;
                }
            }
        }
    }

    fn reserve(&mut self, entry: &Entry, quantity: i128) {
        self.own.entry(entry.path.clone()).or_default().reserved += quantity;
        self.reservations.insert((entry.path.clone(), entry.reservation.clone().unwrap()), quantity);
    }

    /// Frees what was reserved, which must be no more than may be, nor than there is.
    fn free(&mut self, path: &[String], most: i128, freed: i128) {
        let reserved = &mut self.own.entry(path.to_vec()).or_default().reserved;
        self.oversold += (freed - most.min(*reserved)).max(0);
        *reserved -= freed;
    }

    fn give(&mut self, path: &[String], groups: Vec<String>, quantity: i128) {
        self.own.entry(path.to_vec()).or_default().allocated += quantity;
        let allocated = &mut self.balances.entry((path.to_vec(), groups)).or_default().0;
        *allocated += quantity;
        self.oversold += (-*allocated).clamp(0, quantity.abs());
    }

    /// How much more is taken at a path, or at one above it, than there is.
    fn short(&self, path: &[String]) -> i128 {
        (2..=path.len()).map(|length| -self.available(&path[..length])).max().unwrap()
    }

    /// What is left of all that is at a node and below it.
    fn available(&self, node: &[String]) -> i128 {
        let below = self.own.iter().filter(|(path, _)| path.starts_with(node));
        below.map(|(_, own)| own.inbound + own.ordered - own.reserved - own.allocated).sum()
    }
}

impl Own {
    fn measure(&mut self, name: &str) -> &mut i128 {
        match name {
            "pos.inbound" => &mut self.inbound,
            "fno.onordered" => &mut self.ordered,
            other => panic!("nobody sent {other}"),
        }
    }
}

/// The lines that both books have: product and path, group path, reservation or what is scheduled, and
/// what is there.
type Lines = BTreeSet<(String, Vec<String>, Vec<String>, [i128; 3])>;

/// Keeps the outside books, and holds them against the sums that SQL makes. Answers how much
/// was given out that was not there, and how many events there were.
async fn audit(database: &PgConnectOptions, entries: Vec<Entry>) -> (i128, usize) {
    let (mut oversold, mut events) = (0, 0);
    let mut lines = Lines::new();
    for ((product, root), order) in by_root(&bicycles(), entries) {
        let mut books = Books::default();
        order.granted.iter().for_each(|entry| books.enter(entry));
        oversold += books.oversold;
        events += order.granted.len();
        let sum = |of: fn(&Own) -> i128| books.own.values().map(of).sum();
        let supply = [sum(|own| own.inbound), sum(|own| own.ordered), sum(|own| own.reserved)];
        lines.insert((product.clone(), root, Vec::new(), supply));
        for ((path, groups), (allocated, consumed)) in books.balances {
            lines.insert((product.clone(), path, groups, [allocated, consumed, 0]));
        }
        for ((path, name), remaining) in books.reservations {
            lines.insert((product.clone(), path, vec![name], [remaining, 0, 0]));
        }
        for ((path, day, measure), quantity) in books.scheduled {
            lines.insert((product.clone(), path, vec![day.to_string(), measure], [quantity, 0, 0]));
        }
    }
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let latest = "SELECT measures FROM configuration ORDER BY version DESC LIMIT 1";
    let measures: Vec<String> = connection.fetch_one(latest).await.unwrap().get(0);
    let place = |name: &str| 1 + measures.iter().position(|measure| measure == name).unwrap();
    let whole = |expression: String| format!("(coalesce({expression}, 0) * {ONE})::bigint");
    let measure = |name| whole(format!("sum(own[{}])", place(name)));
    let stored = format!(
        "SELECT product_id, dimensions[1:2], '{{}}'::text[], {}, {}, {} FROM stock_node GROUP BY 1, 2
         UNION ALL SELECT product_id, dimensions, groups, {}, {}, 0 FROM balance
         UNION ALL SELECT product_id, dimensions, ARRAY[reservation_id::text], {}, 0, 0 FROM reservation
         UNION ALL SELECT product_id, dimensions, ARRAY[(day - '{}'::date)::text, ('{{{}}}'::text[])[place]], {}, 0, 0
                   FROM schedule",
        measure("pos.inbound"),
        measure("fno.onordered"),
        measure("@iv.@softreserved"),
        whole("allocated".to_owned()),
        whole("consumed".to_owned()),
        whole("remaining".to_owned()),
        first_day(),
        measures.join(","),
        whole("quantity".to_owned()),
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(stored)).fetch_all(&mut connection).await.unwrap();
    let number = |row: &sqlx::postgres::PgRow, place: usize| i128::from(row.get::<i64, _>(place));
    let stored: Lines = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), [3, 4, 5].map(|place| number(row, place))))
        .collect();
    let is_nothing = |line: &&(String, Vec<String>, Vec<String>, [i128; 3])| line.3 != [0; 3];
    let differences: Vec<_> = lines.symmetric_difference(&stored).filter(is_nothing).collect();
    assert!(differences.is_empty(), "{differences:#?}");
    connection.close().await.unwrap();
    (oversold, events)
}

async fn sell(pair: &Pair, commands: u64) -> Vec<Entry> {
    crowd(&pair.clients, CLIENTS, 0..commands, |_, dice| format!("P{}", dice.roll(4))).await
}

/// Holds the answers against the outside books, and stops.
async fn settle(name: &str, pair: Pair, entries: Vec<Entry>, began: Instant) {
    let refused = entries.iter().filter(|entry| entry.said.is_err()).count();
    let (oversold, events) = audit(&pair.database, entries).await;
    println!("{name}: {events} granted, {refused} refused, {oversold} oversold, {:?}", began.elapsed());
    assert_eq!(oversold, 0);
    assert!(events > refused / 4 && refused > events / 10, "it is contended: {events} and {refused}");
    stop_and_verify(pair.programs, &url(&pair.database), events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sold_twice_however_many_ask_at_once() {
    let began = Instant::now();
    let pair = Pair::start().await;
    let entries = sell(&pair, scale(3_000, 1_000_000)).await;
    settle("no oversell", pair, entries, began).await;
}

/// Serializable transactions that commit while one is held open, at least.
const OTHERS: usize = 3_000;

/// Serializable transactions that write, one after the other, until they are told to stop: what
/// PostgreSQL remembers of them while an older one is open is more than it has room for.
async fn commit_others(database: PgConnectOptions, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    connection.execute("SET synchronous_commit = off").await.unwrap();
    connection.execute("CREATE TABLE scratch (number bigint PRIMARY KEY)").await.unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) && count.load(Ordering::Relaxed) < 2 * OTHERS {
        number += 1;
        // What it reads is always the same table, so that it is the transactions that are too
        // many, and not their locks: the server has no room for those of thousands of reads.
        let insert = sqlx::AssertSqlSafe(format!(
            "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM environment;
             INSERT INTO scratch VALUES ({number}); COMMIT"
        ));
        match sqlx::raw_sql(insert).execute(&mut connection).await {
            Ok(_) => _ = count.fetch_add(1, Ordering::Relaxed),
            // It lost against the service, or against the one that is held open.
            Err(error) => {
                assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("40001"), "{error}");
                connection.execute("ROLLBACK").await.unwrap();
            }
        }
    }
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sold_twice_while_thousands_commit_during_one_held_open() {
    let began = Instant::now();
    let pair = Pair::start().await;
    let mut entries = crowd(&pair.clients, CLIENTS, 0..200, |_, dice| format!("P{}", dice.roll(4))).await;
    let mut held = PgConnection::connect_with(&pair.database).await.unwrap();
    held.execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    let books = "SELECT (SELECT count(*) FROM stock_node), (SELECT count(*) FROM balance),
                        (SELECT count(*) FROM ledger), (SELECT count(*) FROM environment)";
    held.fetch_one(books).await.unwrap();
    // The moment of its begin: to read the books again, it would need what there is no room for.
    let begin = "SELECT now()::text";
    let begun: String = held.fetch_one(begin).await.unwrap().get(0);

    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let others = tokio::spawn(commit_others(pair.database.clone(), Arc::clone(&stop), Arc::clone(&count)));
    let half = 200 + scale(600, 50_000);
    entries.extend(crowd(&pair.clients, CLIENTS, 200..half, |_, dice| format!("P{}", dice.roll(4))).await);
    eventually("thousands have committed", async || count.load(Ordering::Relaxed) > OTHERS).await;
    // Now that it is more than can be remembered.
    let end = half + scale(600, 50_000);
    entries.extend(crowd(&pair.clients, CLIENTS, half..end, |_, dice| format!("P{}", dice.roll(4))).await);
    assert_eq!(held.fetch_one(begin).await.unwrap().get::<String, _>(0), begun, "it was open all the time");
    stop.store(true, Ordering::Relaxed);
    others.await.unwrap();
    // It may be told that it came too late; what it read was not its to decide on.
    let _ = held.execute("UPDATE environment SET version = version; COMMIT").await;
    held.close().await.unwrap();
    let count = count.load(Ordering::Relaxed);
    settle(&format!("no oversell while {count} others committed during one"), pair, entries, began).await;
}
