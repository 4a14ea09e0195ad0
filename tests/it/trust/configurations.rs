//! Two configurations at once: while the rules change, every command is judged by exactly one
//! version of them, that which the ledger names, and which held while the command was open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};

use super::crowd::{CLIENTS, Pair, crowd};
use super::history::{Rules, audit};
use super::mix::{bicycles, document};
use super::scale;
use crate::instances::stop_and_verify;
use crate::load::{Client, back_off};
use crate::naive::{Config, ONE};
use crate::support::url;

/// Changes of the rules under which the same command has another answer, or none.
const EDITS: [fn(&mut Config, &mut Value); 5] = [
    |_, _| {},
    |config, document| ata(config, document, &[("pos.inbound", 1), ("@iv.@softreserved", -1)]),
    |config, document| {
        config.read_only.push("pos".to_owned());
        document["dataSources"]["pos"]["readOnly"] = json!(true);
    },
    |config, document| {
        ata(config, document, &[("fno.onordered", 1), ("pos.inbound", 1)]);
        config.allow_pool_changing_consumption = true;
        document["allocation"]["allowPoolChangingConsumption"] = json!(true);
    },
    |config, document| {
        let terms =
            [("fno.onordered", 2), ("pos.inbound", 1), ("@iv.@softreserved", -1), ("@iv.@consumed", -1)];
        ata(config, document, &terms);
    },
];

fn ata(config: &mut Config, document: &mut Value, terms: &[(&str, i128)]) {
    let terms: Vec<_> = terms.iter().chain(&[("@iv.@allocated", -1)]).collect();
    config.ata = terms.iter().map(|(measure, whole)| ((*measure).to_owned(), whole * ONE)).collect();
    let sign = |whole: &i128| if *whole < 0 { '-' } else { '+' };
    let texts = terms.iter().map(|(measure, whole)| format!("{} {} * {measure}", sign(whole), whole.abs()));
    document["allocation"]["availableToAllocate"] = json!(texts.collect::<Vec<_>>().join(" "));
}

/// The rules of a version, counted from 0, and how they are written.
fn rules(version: usize) -> (Config, Value) {
    let (mut config, mut document) = (bicycles(), document());
    EDITS[version % EDITS.len()](&mut config, &mut document);
    (config, document)
}

/// Commands that were taken up.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// Commands between two changes.
const BETWEEN: u64 = 40;

/// Changes the rules until it is told to stop.
async fn change(clients: [Client; 2], mut all: Vec<Rules>, stop: Arc<AtomicBool>) -> Vec<Rules> {
    while !stop.load(Ordering::Relaxed) {
        let goal = TAKEN.load(Ordering::Relaxed) + BETWEEN;
        while TAKEN.load(Ordering::Relaxed) < goal && !stop.load(Ordering::Relaxed) {
            back_off().await;
        }
        let (config, document) = rules(all.len());
        let sent = Instant::now();
        loop {
            let answer = clients[all.len() % 2].send(Method::PUT, "configuration", &document).await.unwrap();
            match answer.status {
                200 => break,
                503 => back_off().await,
                _ => panic!("{}", answer.text),
            }
        }
        all.push(Rules { config, sent, answered: Instant::now() });
    }
    all
}

/// Which version every event was judged by, as the ledger has it.
async fn judged(database: &PgConnectOptions) -> HashMap<String, usize> {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let rows = sqlx::query("SELECT id, configuration_version FROM ledger").fetch_all(&mut connection).await;
    connection.close().await.unwrap();
    let versions = rows.unwrap();
    versions.iter().map(|row| (row.get(0), row.get::<i64, _>(1) as usize - 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_rules_change_every_command_is_judged_by_one_version_of_them() {
    const OF_A_PRODUCT: u64 = 200;
    let commands = scale(1_500, 100_000);
    let began = Instant::now();
    let pair = Pair::start().await;
    let first = vec![Rules { config: rules(0).0, sent: began, answered: Instant::now() }];
    let stop = Arc::new(AtomicBool::new(false));
    let changes = tokio::spawn(change(pair.clients.clone(), first, Arc::clone(&stop)));
    let entries = crowd(&pair.clients, CLIENTS, 0..commands, |number, dice| {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        format!("P{}", number / (4 * OF_A_PRODUCT) * 4 + dice.roll(4))
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let rules = changes.await.unwrap();
    let judged = judged(&pair.database).await;
    let figures = audit(&rules, |id| judged[id], entries);
    println!(
        "configurations: {commands} commands, {} versions, {figures}, {:?}",
        rules.len(),
        began.elapsed()
    );
    let used: std::collections::BTreeSet<_> = judged.values().collect();
    assert!(used.len() > 8.min(rules.len() / 2), "{} of {} versions were used", used.len(), rules.len());
    assert_eq!(judged.len(), figures.granted);
    stop_and_verify(pair.programs, &url(&pair.database), figures.granted).await;
}
