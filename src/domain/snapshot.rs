//! How a product stood, as a text that a replay can go on from.
//!
//! Of the reservations only those are in it that still hold something. What was freed stays in the
//! books for ever, holds nothing at any later time, and is added where an event names it again.

use serde::{Deserialize, Serialize};

use super::command::Timestamp;
use super::dimensions::DimensionPath;
use super::formula::Slot;
use super::groups::GroupPath;
use super::name::Value;
use super::quantity::Quantity;
use super::schedule::{Schedule, day};
use super::state::{Balance, Measures, Node, Reservation, ReservationId, Stock};

/// Fewest events of a product between two snapshots of it: few enough to be replayed while somebody
/// waits. `benches/growth` measures what they cost, and what is gained.
pub const EVENTS_MIN: u64 = 500;
/// Most entries that a snapshot has. Whatever has more is replayed from further back.
pub const ENTRIES_MAX: u64 = 500_000;

/// After how many events a product with so many entries is to have its next snapshot. What a
/// snapshot costs grows with its entries, so one with many comes the later: an event never pays
/// for more than one entry, and a replay never has more events before it than that.
pub fn due_at(entries: u64, events_min: u64) -> u64 {
    entries.max(events_min)
}

/// How many entries a product has: nodes, balances, reservations that hold something, and days.
pub fn entries(stock: &Stock) -> u64 {
    let nodes: usize = stock.nodes.values().map(|node| 1 + node.balances.len()).sum();
    let days: usize = stock.schedules.values().map(|schedule| schedule.entries().count()).sum();
    (nodes + held(stock).count() + days) as u64
}

fn held(stock: &Stock) -> impl Iterator<Item = (&ReservationId, &Reservation)> {
    stock.reservations.iter().filter(|(_, reservation)| !reservation.remaining.is_zero())
}

#[derive(Serialize, Deserialize)]
struct Stored {
    nodes: Vec<StoredNode>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reservations: Vec<(ReservationId, Vec<Value>, usize, Quantity, Quantity)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schedules: Vec<(Vec<Value>, StoredSchedule)>,
}

/// Days, places of measures and quantities.
type StoredSchedule = Vec<(String, usize, Quantity)>;

#[derive(Serialize, Deserialize)]
struct StoredNode {
    at: Vec<Value>,
    version: u64,
    own: Vec<Quantity>,
    total: Vec<Quantity>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    set_at: Vec<(usize, i64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    balances: Vec<(Vec<Value>, Balance)>,
}

/// A product as text: equal where the products are, as far as a snapshot keeps them.
pub fn write(stock: &Stock) -> String {
    let mut nodes: Vec<StoredNode> = stock.nodes.iter().map(|(path, node)| stored(path, node)).collect();
    nodes.sort_unstable_by(|one, other| one.at.cmp(&other.at));
    let mut reservations: Vec<_> = held(stock)
        .map(|(&id, held)| {
            (id, held.path.values().to_vec(), held.measure.index(), held.quantity, held.remaining)
        })
        .collect();
    reservations.sort_unstable_by_key(|&(id, ..)| id);
    let scheduled = stock.schedules.iter().filter(|(_, schedule)| !schedule.is_empty());
    let mut schedules: Vec<_> = scheduled
        .map(|(path, schedule)| {
            let entries = schedule.entries();
            let entries = entries.map(|(day, slot, quantity)| (day.to_string(), slot.index(), quantity));
            (path.values().to_vec(), entries.collect())
        })
        .collect();
    schedules.sort_unstable();
    // Structures of strings and numbers always become JSON.
    serde_json::to_string(&Stored { nodes, reservations, schedules }).unwrap_or_default()
}

fn stored(path: &DimensionPath, node: &Node) -> StoredNode {
    let mut set_at: Vec<_> = node.set_at.iter().map(|&(slot, time)| (slot.index(), time.0)).collect();
    set_at.sort_unstable();
    let balances = node.balances.iter().map(|(groups, &balance)| (groups.values().to_vec(), balance));
    let mut balances: Vec<_> = balances.collect();
    balances.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    StoredNode {
        at: path.values().to_vec(),
        version: node.version,
        own: without_zeros(&node.own),
        total: without_zeros(&node.total),
        set_at,
        balances,
    }
}

/// Zeros at the end mean nothing, so equal products must not differ by them.
fn without_zeros(measures: &Measures) -> Vec<Quantity> {
    let quantities = measures.as_slice();
    let length = quantities.iter().rposition(|quantity| !quantity.is_zero()).map_or(0, |last| last + 1);
    quantities[..length].to_vec()
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// Says why it cannot be read.
pub fn read(text: &str) -> Result<Stock, String> {
    let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut stock = Stock::default();
    for node in stored.nodes {
        let balances = node.balances.into_iter();
        let set_at = node.set_at.into_iter();
        let read = Node {
            version: node.version,
            own: Measures::new(node.own),
            total: Measures::new(node.total),
            set_at: set_at.map(|(slot, time)| (Slot(slot), Timestamp(time))).collect(),
            balances: balances.map(|(groups, balance)| (GroupPath::stored(groups), balance)).collect(),
        };
        stock.nodes.insert(DimensionPath::new(node.at), read);
    }
    for (id, path, slot, quantity, remaining) in stored.reservations {
        let path = DimensionPath::new(path);
        stock.reservations.insert(id, Reservation { path, measure: Slot(slot), quantity, remaining });
    }
    for (path, entries) in stored.schedules {
        let mut schedule = Schedule::default();
        for (text, slot, quantity) in entries {
            let day = day(&text).ok_or_else(|| format!("{text:?} is not a day"))?;
            if !schedule.add(day, Slot(slot), quantity) {
                return Err(format!("{quantity} of {text} is too large"));
            }
        }
        stock.schedules.insert(DimensionPath::new(path), schedule);
    }
    Ok(stock)
}

#[cfg(test)]
mod tests;
