//! Replays the ledger through the core and holds what comes out against what is stored.
//!
//! What no other row depends on cannot be found out so: the id of an event that made no
//! reservation, and the time of one that was no set. The database's own checksums guard those.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::decide::{apply, decide};
use crate::domain::formula::Slot;
use crate::domain::state::{Balance, Node, Stock};
use crate::store::configuration::{self, Versioned};
use crate::store::ledger::{self, Event, Recorded};
use crate::store::switches::History;
use crate::store::{self, StoreError, whole};

/// Events that are read at once.
const PAGE_EVENTS: i64 = 10_000;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many environments were replayed.
    pub environments: usize,
    /// How many events were replayed.
    pub events: usize,
    /// Every difference, in words.
    pub differences: Vec<String>,
}

/// Verifies a whole database as it is at one moment; it may be in use.
///
/// # Errors
/// When the database does not answer.
pub async fn verify(connection: &mut PgConnection) -> Result<Report, StoreError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    // Reading everything takes as long as it takes.
    store::bound_statements(&mut transaction, Duration::ZERO).await?;
    let mut report = Report::default();
    for environment in configuration::environments(&mut transaction).await? {
        verify_environment(&mut transaction, &environment, &mut report).await?;
        report.environments += 1;
    }
    for (environment, table, rows) in whole::orphans(&mut transaction).await? {
        let what = format!("environment {environment}: is not there, but has {rows} rows in {table}");
        report.differences.push(what);
    }
    transaction.rollback().await?;
    Ok(report)
}

async fn verify_environment(
    connection: &mut PgConnection,
    environment: &str,
    report: &mut Report,
) -> Result<(), StoreError> {
    let current = match read_configuration(connection, environment, None).await? {
        Ok(current) => current,
        Err(why) => {
            report.differences.push(format!("environment {environment}: its configuration {why}"));
            return Ok(());
        }
    };
    let switches = History::read(connection, environment).await?;
    let mut replay =
        Replay { environment, products: HashMap::new(), switches, differences: &mut report.differences };
    let mut decided_under: Option<(i64, Result<Versioned, String>)> = None;
    let mut after = 0;
    loop {
        let page = ledger::page(connection, environment, after, PAGE_EVENTS, &current.configuration).await?;
        let Some(last) = page.last() else { break };
        after = last.event_id;
        report.events += page.len();
        for Recorded { event_id, event, version, configuration_version } in page {
            let event = match event {
                Ok(event) => event,
                Err(why) => {
                    replay.differ(event_id, format!("cannot be replayed: {why}"));
                    continue;
                }
            };
            if u64::try_from(version) != Ok(event.outcome.version) {
                let answered = event.outcome.version;
                replay.differ(
                    event_id,
                    format!("is stored with version {version}, but was answered {answered}"),
                );
            }
            if decided_under.as_ref().is_none_or(|&(version, _)| version != configuration_version) {
                let read = read_configuration(connection, environment, Some(configuration_version)).await?;
                decided_under = Some((configuration_version, read));
            }
            match &decided_under {
                Some((_, Ok(versioned))) => replay.event(&event, versioned),
                Some((version, Err(why))) => replay.differ(
                    event_id,
                    format!("was decided under version {version} of the configuration, which {why}"),
                ),
                None => {}
            }
        }
    }
    let stored = whole::read(connection, environment, &current.configuration).await?;
    replay.compare(&stored.products, &current.configuration);
    let unreadable = stored.unreadable.into_iter().map(|row| format!("environment {environment}: {row}"));
    report.differences.extend(unreadable);
    Ok(())
}

/// Reads a configuration, the current one where no version is given; or what is wrong with it.
async fn read_configuration(
    connection: &mut PgConnection,
    environment: &str,
    version: Option<i64>,
) -> Result<Result<Versioned, String>, StoreError> {
    match configuration::read(connection, environment, version).await {
        Ok(Some(versioned)) => Ok(Ok(versioned)),
        Ok(None) => Ok(Err("is missing".to_owned())),
        Err(StoreError::Rejected(why)) => Ok(Err(format!("cannot be used: {why}"))),
        Err(error) => Err(error),
    }
}

struct Replay<'a> {
    environment: &'a str,
    products: HashMap<ProductKey, Stock>,
    switches: History,
    differences: &'a mut Vec<String>,
}

impl Replay<'_> {
    fn differ(&mut self, event_id: i64, what: String) {
        self.differences.push(format!("environment {}: event {event_id} {what}", self.environment));
    }

    fn event(&mut self, event: &Event, Versioned { version, configuration }: &Versioned) {
        let stock = self.products.entry(event.command.product.clone()).or_default();
        if configuration.requires_enabled_products() {
            stock.is_enabled = Some(self.switches.was_enabled(&event.command.product, *version));
        }
        let effects = match decide(stock, configuration, &event.command, event.received_at) {
            Ok(effects) => effects,
            Err(refusal) => {
                return self.differ(event.event_id, format!("is refused when it is replayed: {refusal}"));
            }
        };
        let mut outcome = apply(stock, configuration, &event.command, effects);
        if event.outcome.moved.is_none() {
            // It was not kept of the events of before.
            outcome.moved = None;
        }
        if outcome.version != event.outcome.version {
            let (answered, replayed) = (event.outcome.version, outcome.version);
            self.differ(event.event_id, format!("has version {answered}, but it is number {replayed} in the ledger: events before it are missing or too many"));
        } else if outcome != event.outcome {
            self.differ(
                event.event_id,
                format!("was answered {:?}, but its replay gives {outcome:?}", event.outcome),
            );
        }
    }

    fn compare(&mut self, stored: &HashMap<ProductKey, Stock>, configuration: &Configuration) {
        let nothing = Stock::default();
        let keys: BTreeSet<&ProductKey> = self.products.keys().chain(stored.keys()).collect();
        for key in keys {
            let place =
                format!("environment {}: product {}/{}", self.environment, key.organization, key.product);
            let replayed = self.products.get(key).unwrap_or(&nothing);
            let stored = stored.get(key).unwrap_or(&nothing);
            compare_stock(&place, replayed, stored, configuration, self.differences);
        }
    }
}

fn compare_stock(
    place: &str,
    replayed: &Stock,
    stored: &Stock,
    configuration: &Configuration,
    differences: &mut Vec<String>,
) {
    let nothing = Node::default();
    let paths: BTreeSet<_> = replayed.nodes.keys().chain(stored.nodes.keys()).collect();
    for path in paths {
        let place = format!("{place} at {}", configuration.dimensions().place(path.values()));
        let replayed = replayed.nodes.get(path).unwrap_or(&nothing);
        let stored = stored.nodes.get(path).unwrap_or(&nothing);
        compare_nodes(&place, replayed, stored, configuration, differences);
    }
    let paths: BTreeSet<_> = replayed.schedules.keys().chain(stored.schedules.keys()).collect();
    for path in paths {
        let of = |stock: &Stock| stock.schedules.get(path).cloned().unwrap_or_default();
        let (replayed, stored) = (of(replayed), of(stored));
        if replayed != stored {
            let place = format!("{place} at {}", configuration.dimensions().place(path.values()));
            differences.push(format!("{place}: the schedule is {stored:?}, the ledger gives {replayed:?}"));
        }
    }
    let ids: BTreeSet<_> = replayed.reservations.keys().chain(stored.reservations.keys()).collect();
    for id in ids {
        match (replayed.reservations.get(id), stored.reservations.get(id)) {
            (Some(_), None) => differences.push(format!("{place}: reservation {} is not stored", id.0)),
            (None, Some(_)) => {
                differences.push(format!("{place}: reservation {} is stored, but no event made it", id.0))
            }
            (Some(replayed), Some(stored)) if replayed != stored => {
                differences.push(format!(
                    "{place}: reservation {} is stored as {stored:?}, the ledger gives {replayed:?}",
                    id.0
                ));
            }
            _ => {}
        }
    }
}

fn compare_nodes(
    place: &str,
    replayed: &Node,
    stored: &Node,
    configuration: &Configuration,
    differences: &mut Vec<String>,
) {
    let mut differ = |what: String, stored: String, replayed: String| {
        if stored != replayed {
            differences.push(format!("{place}: {what} is {stored}, the ledger gives {replayed}"));
        }
    };
    differ("the version".to_owned(), stored.version.to_string(), replayed.version.to_string());
    for (index, name) in configuration.slots().iter().enumerate() {
        let slot = Slot(index);
        differ(format!("own {name}"), stored.own.get(slot).to_string(), replayed.own.get(slot).to_string());
        differ(
            format!("total {name}"),
            stored.total.get(slot).to_string(),
            replayed.total.get(slot).to_string(),
        );
        let set_at = |node: &Node| node.set_at.iter().find(|&&(own, _)| own == slot).map(|&(_, time)| time);
        differ(
            format!("the last set of {name}"),
            format!("{:?}", set_at(stored)),
            format!("{:?}", set_at(replayed)),
        );
    }
    let groups: BTreeSet<_> = replayed.balances.keys().chain(stored.balances.keys()).collect();
    for groups in groups {
        let of = |node: &Node| node.balances.get(groups).copied().unwrap_or_else(Balance::default);
        let what = format!("the balance of {}", configuration.groups().place(groups.values()));
        differ(what, shown(of(stored)), shown(of(replayed)));
    }
}

fn shown(balance: Balance) -> String {
    let Balance { allocated, consumed, cumulative_allocated, cumulative_consumed } = balance;
    format!(
        "allocated {allocated}, consumed {consumed}, in all allocated {cumulative_allocated} and consumed {cumulative_consumed}"
    )
}
