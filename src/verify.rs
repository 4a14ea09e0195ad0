//! Replays the ledger through the core and holds what comes out against what is stored: stock nodes,
//! balances, reservations and schedules, and each answer. What is kept beside the books is held against
//! the ledger as far as it is made of it: snapshots, the pieces by which times are found, and the totals
//! of activity up to now. Not those of each minute, which old ones are thinned out of; and not what is in
//! no ledger: demand that was not met, and alerts with their notices and deliveries, which tell what was
//! found when somebody looked.
//!
//! What no other row depends on cannot be found out so: the id of an event that made no reservation,
//! what it was for and who asked, and the time of one that was no set. The trigger on the ledger and
//! the database's own checksums guard those. `docs/database.md` tells it to operators.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::formula::Slot;
use crate::domain::state::{Balance, Node, Stock};
use crate::store::ledger::{self, Recorded};
use crate::store::replay::{Rules, read_configuration};
use crate::store::{self, StoreError, configuration, whole};

mod followed;
mod snapshots;

use snapshots::Snapshots;

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
    followed::ahead(&mut transaction, &mut report.differences).await?;
    followed::pieces(&mut transaction, &mut report.differences).await?;
    followed::placeless(&mut transaction, &mut report.differences).await?;
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
        Ok(current) => current.configuration,
        Err(why) => {
            report.differences.push(format!("environment {environment}: its configuration {why}"));
            return Ok(());
        }
    };
    let mut rules = Rules::of_all(connection, environment).await?;
    let mut replay = Replay { environment, products: HashMap::new(), differences: &mut report.differences };
    let mut after = 0;
    loop {
        let page = ledger::page(connection, environment, after, PAGE_EVENTS, &current).await?;
        let until = page.last().map_or(i64::MAX, |last| last.event_id);
        let mut snapshots = Snapshots::of(environment, (after, until));
        report.events += page.len();
        for recorded in &page {
            replay.event(connection, recorded, &mut rules).await?;
            while let Some(snapshot) = snapshots.next(connection, recorded.event_id).await? {
                replay.snapshot(recorded, &snapshot, &current);
            }
        }
        // Behind the last event there is none.
        while let Some(snapshot) = snapshots.next(connection, i64::MAX).await? {
            replay.no_event(&snapshot);
        }
        if page.is_empty() {
            break;
        }
        after = until;
    }
    let stored = whole::read(connection, environment, &current).await?;
    replay.compare(&stored.products, &current);
    followed::activity(connection, environment, &current, &mut report.differences).await?;
    let unreadable = stored.unreadable.into_iter().map(|row| format!("environment {environment}: {row}"));
    report.differences.extend(unreadable);
    Ok(())
}

struct Replay<'a> {
    environment: &'a str,
    products: HashMap<ProductKey, Stock>,
    differences: &'a mut Vec<String>,
}

impl Replay<'_> {
    fn differ(&mut self, event_id: i64, what: impl Display) {
        self.differences.push(format!("environment {}: event {event_id} {what}", self.environment));
    }

    async fn event(
        &mut self,
        connection: &mut PgConnection,
        recorded: &Recorded,
        rules: &mut Rules,
    ) -> Result<(), StoreError> {
        let mut nothing = Stock::default();
        let stock = match &recorded.event {
            Ok(event) => self.products.entry(event.command.product.clone()).or_default(),
            Err(_) => &mut nothing,
        };
        for wrong in rules.replay(connection, recorded, stock).await? {
            self.differ(recorded.event_id, wrong);
        }
        Ok(())
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
