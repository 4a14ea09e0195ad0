//! Analytics as one would compute them with pencil and paper: from every row of the ledger, each
//! time anew, with nothing of the service's own code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Allocated,
    Returned,
    Consumed,
    In,
    Out,
    Unmet,
}

/// Something that happened to one group path at one place.
#[derive(Clone, Debug)]
pub struct Happened {
    pub organization: String,
    pub product: String,
    pub dimensions: Vec<String>,
    pub groups: Vec<String>,
    /// Microseconds since 1970.
    pub at: i64,
    pub kind: Kind,
    pub millionths: i128,
}

/// What the ledger says.
pub async fn happened(connection: &mut PgConnection) -> Vec<Happened> {
    let rows = sqlx::query(
        "SELECT organization_id, product_id, dimensions, groups, source_groups, operation, quantity::text, received_at
         FROM ledger ORDER BY event_id",
    );
    let mut all = Vec::new();
    for row in rows.fetch_all(connection).await.unwrap() {
        let kind = match row.get::<&str, _>("operation") {
            "allocate" => Kind::Allocated,
            "unallocate" => Kind::Returned,
            "consume" => Kind::Consumed,
            "reallocate" => Kind::In,
            _ => continue,
        };
        let at: OffsetDateTime = row.get("received_at");
        let one = Happened {
            organization: row.get("organization_id"),
            product: row.get("product_id"),
            dimensions: row.get("dimensions"),
            groups: row.get("groups"),
            at: (at.unix_timestamp_nanos() / 1_000) as i64,
            kind,
            millionths: millionths(row.get("quantity")),
        };
        if let Some(groups) = row.get::<Option<Vec<String>>, _>("source_groups") {
            all.push(Happened { groups, kind: Kind::Out, ..one.clone() });
        }
        all.push(one);
    }
    all
}

pub fn millionths(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{:0<6}", fraction.get(..6).unwrap_or(fraction)).parse().unwrap()
}

/// A question, with its borders where they are put down to.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: i64,
    pub to: i64,
    pub window_from: i64,
    /// The length of buckets.
    pub bucket: Option<i64>,
    pub levels: Option<Vec<usize>>,
    pub by: [bool; 3],
    pub organization: Option<String>,
    pub product: Option<String>,
    pub site: Option<String>,
    pub groups: Vec<Option<String>>,
}

impl Question {
    fn asks_for(&self, one: &Happened) -> bool {
        let is =
            |wanted: &Option<String>, value: Option<&String>| wanted.is_none() || wanted.as_ref() == value;
        is(&self.organization, Some(&one.organization))
            && is(&self.product, Some(&one.product))
            && is(&self.site, one.dimensions.first())
            && self.groups.iter().enumerate().all(|(index, wanted)| is(wanted, one.groups.get(index)))
    }

    /// The records of the answer, in order.
    pub fn records(&self, all: &[Happened]) -> Vec<Value> {
        let mut spots: BTreeMap<_, Vec<&Happened>> = BTreeMap::new();
        for one in all.iter().filter(|one| self.asks_for(one) && one.at < self.to) {
            let spot = (&one.organization, &one.product, &one.dimensions, &one.groups);
            spots.entry(spot).or_default().push(one);
        }
        let mut records: BTreeMap<_, Vec<Vec<&Happened>>> = BTreeMap::new();
        for ((organization, product, dimensions, groups), events) in spots {
            if balance(&events) == 0 && !events.iter().any(|one| one.at >= self.from) {
                continue;
            }
            let lengths = match &self.levels {
                None => vec![groups.len()],
                Some(depths) => depths.iter().copied().filter(|&depth| depth <= groups.len()).collect(),
            };
            for length in lengths.into_iter().collect::<BTreeSet<_>>() {
                let [by_organization, by_product, by_place] = self.by;
                let key = (
                    by_organization.then_some(organization),
                    by_product.then_some(product),
                    by_place.then_some(dimensions),
                    &groups[..length],
                );
                records.entry(key).or_default().push(events.clone());
            }
        }
        let mut frames = vec![(self.from, self.to, self.window_from)];
        if let Some(length) = self.bucket {
            let begins = (0..).map(|count| self.from + count * length).take_while(|&begin| begin < self.to);
            frames = begins.map(|begin| (begin, (begin + length).min(self.to), begin)).collect();
        }
        let mut answer = Vec::new();
        for ((organization, product, dimensions, groups), spots) in records {
            for &frame in &frames {
                let mut record = figures(&spots, frame);
                let names = ["siteId", "locationId", "colorId", "sizeId"];
                organization.map(|value| record.insert("organizationId".to_owned(), json!(value)));
                product.map(|value| record.insert("productId".to_owned(), json!(value)));
                dimensions.map(|values| record.insert("dimensions".to_owned(), named(&names, values)));
                record.insert("groups".to_owned(), named(&["channel", "customerGroup", "region"], groups));
                answer.push(Value::Object(record));
            }
        }
        answer
    }
}

fn named(names: &[&str], values: &[String]) -> Value {
    names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

fn sum(events: &[&Happened], kind: Kind) -> i128 {
    events.iter().filter(|one| one.kind == kind).map(|one| one.millionths).sum()
}

fn balance(events: &[&Happened]) -> i128 {
    let sum = |kind| sum(events, kind);
    sum(Kind::Allocated) + sum(Kind::In) - sum(Kind::Returned) - sum(Kind::Out) - sum(Kind::Consumed)
}

fn within<'a>(events: &[&'a Happened], begin: i64, end: i64) -> Vec<&'a Happened> {
    events.iter().copied().filter(|one| begin <= one.at && one.at < end).collect()
}

fn figures(spots: &[Vec<&Happened>], (from, to, window_from): (i64, i64, i64)) -> Map<String, Value> {
    let all: Vec<&Happened> = spots.iter().flatten().copied().collect();
    let before = within(&all, i64::MIN, to);
    let moved = within(&all, from, to);
    let at_start = balance(&within(&all, i64::MIN, from));
    let in_window = |events: &[&Happened]| sum(&within(events, window_from, to), Kind::Consumed);
    let consumed = sum(&moved, Kind::Consumed);
    let there_was = at_start + sum(&moved, Kind::Allocated) + sum(&moved, Kind::In)
        - sum(&moved, Kind::Returned)
        - sum(&moved, Kind::Out);
    let is_idle = |events: &&Vec<&Happened>| in_window(events) == 0;
    let idle: i128 = spots.iter().filter(is_idle).map(|events| balance(&within(events, i64::MIN, to))).sum();
    let seconds = i128::from(((to - window_from) / SECOND).max(1));
    let (left, going) = (balance(&before), in_window(&all));
    let mut record = Map::new();
    let mut say = |name: &str, value: Value| record.insert(name.to_owned(), value);
    say("from", json!(rfc3339(from)));
    say("to", json!(rfc3339(to)));
    say("allocated", number(sum(&moved, Kind::Allocated)));
    say("returned", number(sum(&moved, Kind::Returned)));
    say("consumed", number(consumed));
    say("reallocatedIn", number(sum(&moved, Kind::In)));
    say("reallocatedOut", number(sum(&moved, Kind::Out)));
    say("balance", number(left));
    say(
        "sellThrough",
        if there_was <= 0 { Value::Null } else { number(quotient(consumed * 1_000_000, there_was)) },
    );
    say("consumptionRate", number(quotient(going * 3_600, seconds)));
    let exhausted = (going > 0).then(|| rfc3339((to / SECOND + (left * seconds / going) as i64) * SECOND));
    say("exhaustedAt", json!(exhausted));
    say("unmetQuantity", number(sum(&moved, Kind::Unmet)));
    say("unmetCount", json!(moved.iter().filter(|one| one.kind == Kind::Unmet).count()));
    say("idle", number(idle));
    let last = before.iter().filter(|one| one.kind == Kind::Consumed).map(|one| one.at).max();
    last.map(|at| say("lastConsumedAt", json!(rfc3339(at))));
    record
}

/// Rounded, halves up, of what is not negative. (Balances may be, in the minutes in which the clocks
/// of two instances differ.)
fn quotient(numerator: i128, denominator: i128) -> i128 {
    (2 * numerator + denominator) / (2 * denominator)
}

/// A number as the service writes it.
fn number(millionths: i128) -> Value {
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, fraction) = (millionths.abs() / 1_000_000, millionths.abs() % 1_000_000);
    let text = match fraction {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{}", format!("{fraction:06}").trim_end_matches('0')),
    };
    serde_json::from_str(&text).unwrap()
}

pub fn rfc3339(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000).unwrap().format(&Rfc3339).unwrap()
}
