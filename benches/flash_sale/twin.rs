//! The twin: the same HTTP, the same core, the same tables, but a SERIALIZABLE transaction
//! with retries for every request, as such services are usually built.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ringfence::domain::command::{Command, Operation};
use ringfence::domain::decide::{apply, decide};
use ringfence::domain::dimensions::DimensionPath;
use ringfence::domain::state::Stock;
use ringfence::engine::{Failure, Handle, Receipt, Submission};
use ringfence::http;
use ringfence::store::commit::Batch;
use ringfence::store::configuration::Versioned;
use ringfence::store::ledger::{self, Event};
use ringfence::store::{self, Isolation, Readers, StoreError, state};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use crate::roofline;

/// Serves until the process is ended.
pub async fn serve(database_url: &str, connections: u32) {
    let options = PgConnectOptions::from_str(database_url).expect("a URL");
    let options = store::connection_options(options, Isolation::Serializable, Duration::from_secs(60));
    let readers = Readers::new(options.clone(), connections, Duration::from_secs(60));
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        // Who does not say for whom it works would find nothing in what statements look up by a path.
        .after_connect(|connection, _| {
            let tell = "SELECT set_config('ringfence.environments', '*', false)";
            Box::pin(async move { sqlx::query(tell).execute(connection).await.map(drop) })
        })
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(60))
        .connect_with(options)
        .await
        .expect("the database answers");
    let (sender, mut receiver) = mpsc::channel::<Submission>(100_000);
    let writers = pool.clone();
    tokio::spawn(async move {
        while let Some(submission) = receiver.recv().await {
            for Submission { commands, configuration, reply, .. } in submission.apart() {
                let pool = writers.clone();
                tokio::spawn(async move {
                    let answer = work(&pool, &commands[0], &configuration).await;
                    let _ = reply.send(answer.map(|receipt| vec![receipt]).map_err(Into::into));
                });
            }
        }
    });
    let router = http::router(http::Shared::new(
        Handle::over(vec![sender]),
        readers,
        roofline::default_settings().http_limits(),
        Arc::default(),
        Arc::new(AtomicBool::new(false)),
        tokio::sync::watch::channel(false).1,
    ));
    roofline::serve(router).await;
}

async fn work(pool: &PgPool, command: &Arc<Command>, versioned: &Arc<Versioned>) -> Result<Receipt, Failure> {
    loop {
        let mut connection =
            pool.acquire().await.map_err(|_| Failure::DatabaseUnavailable("no connection".into()))?;
        match transact(&mut connection, command, versioned).await {
            Ok(answer) => return answer,
            Err(StoreError::IdTaken) => {
                let found = ledger::find(&mut connection, &[(command, &versioned.configuration)]).await;
                let event = found
                    .ok()
                    .and_then(|mut found| found.pop().flatten())
                    .ok_or(Failure::Internal("no event".into()))?;
                return Ok(Receipt { event: Arc::new(event), replayed: true });
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error) => {
                eprintln!("twin: {error}");
                return Err(Failure::DatabaseUnavailable("no connection".into()));
            }
        }
    }
}

async fn transact(
    connection: &mut PgConnection,
    command: &Arc<Command>,
    versioned: &Arc<Versioned>,
) -> Result<Result<Receipt, Failure>, StoreError> {
    let mut transaction = connection.begin().await?;
    let mut stock = load(&mut transaction, command, versioned).await?;
    let configuration = &versioned.configuration;
    let received_at = roofline::now();
    let effects = match decide(&stock, configuration, command, received_at) {
        Ok(effects) => effects,
        Err(refusal) => return Ok(Err(Failure::Refused(refusal))),
    };
    let required = configuration.dimensions().required();
    let nodes: Vec<DimensionPath> =
        command.path.chain(required).map(|node| DimensionPath::new(node.to_vec())).collect();
    let expected: Vec<u64> =
        nodes.iter().map(|node| stock.nodes.get(node).map_or(0, |node| node.version)).collect();
    let groups: Vec<_> =
        effects.balance.iter().chain(&effects.source_balance).map(|(groups, _)| groups.clone()).collect();
    let outcome = apply(&mut stock, configuration, command, effects);
    let mut batch = Batch::new(received_at);
    batch.guard_configuration(&command.product.environment, versioned.version);
    batch.event(command, versioned, &outcome);
    for (path, expected) in nodes.iter().zip(expected) {
        batch.node(&command.product, path.values(), expected, &stock.nodes[path]);
    }
    for groups in &groups {
        batch.balance(&command.product, &command.path, groups, &stock.balance(&command.path, groups));
    }
    let event_id = batch.write(&mut transaction).await?[0];
    transaction.commit().await?;
    let event = Event { event_id, command: command.clone(), received_at, outcome };
    Ok(Ok(Receipt { event: Arc::new(event), replayed: false }))
}

async fn load(
    connection: &mut PgConnection,
    command: &Command,
    versioned: &Versioned,
) -> Result<Stock, StoreError> {
    let required = versioned.configuration.dimensions().required();
    let key = &command.product;
    let wanted: Vec<_> =
        command.path.chain(required).map(|node| (key.clone(), DimensionPath::new(node.to_vec()))).collect();
    let found = state::nodes(connection, &wanted).await?;
    let mut stock = Stock::default();
    for ((_, path), node) in wanted.into_iter().zip(found) {
        if let Some(node) = node {
            stock.nodes.insert(path, node);
        }
    }
    let groups = match &command.operation {
        Operation::Allocate { groups, .. }
        | Operation::Consume { groups, .. }
        | Operation::Unallocate { groups, .. } => groups,
        _ => return Ok(stock),
    };
    let wanted = [(key.clone(), command.path.clone(), groups.clone())];
    if let Some(Some(balance)) = state::balances(connection, &wanted).await?.pop()
        && let Some(node) = stock.nodes.get_mut(&command.path)
    {
        node.balances.insert(groups.clone(), balance);
    }
    Ok(stock)
}
