//! The roofline: how many commands a second these cores could do if nothing but HTTP and the
//! database cost anything. What is measured is processor time of the whole machine, so that the
//! load, PostgreSQL and the kernel are in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::post;
use clap::Parser;
use ringfence::domain::command::{Command, Direction, ProductKey, Request, Target, Timestamp};
use ringfence::domain::decide::{apply, decide};
use ringfence::domain::dimensions::DimensionPath;
use ringfence::domain::groups::GroupPath;
use ringfence::domain::name::Value;
use ringfence::domain::state::Stock;
use ringfence::http::server;
use ringfence::settings::{Action, Cli, Serve};
use ringfence::store::commit::Batch;
use ringfence::store::configuration::{self, Versioned};
use ringfence::store::{self, Isolation, state};
use ringfence::telemetry;
use sqlx::{Connection, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::books::Books;
use crate::load::Measured;
use crate::processor;
use crate::scripts;

/// Commands of one batch of the replay.
const BATCH_COMMANDS: u64 = 256;

/// The settings that the service has when nobody sets any.
pub fn default_settings() -> Serve {
    match Cli::parse_from(["ringfence", "serve"]).action {
        Action::Serve(settings) => *settings,
        _ => unreachable!("serve was asked for"),
    }
}

/// Listens, says where, and serves until the process is ended.
pub async fn serve(router: Router) {
    telemetry::start("", false);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    println!("listening on http://{}", listener.local_addr().expect("a bound port"));
    let (_keep, stop) = watch::channel(false);
    server::serve(listener, router, None, Arc::default(), default_settings().server_limits(), stop).await;
}

/// One route that answers what it is sent.
pub async fn serve_echo() {
    let echo = async |body: Bytes| ([(header::CONTENT_TYPE, "application/json")], body);
    let consume = "/api/environment/{environmentId}/allocation/consume";
    // It takes traces too: who sends them does not read what is answered.
    serve(Router::new().route(consume, post(echo)).route("/v1/traces", post(echo))).await;
}

/// What was spent on how many.
#[derive(Clone, Copy)]
pub struct Cost {
    pub commands: u64,
    pub rate: f64,
    /// Processor time of the machine, in microseconds for each command.
    pub us: f64,
}

impl Cost {
    /// What a load cost that took this much.
    pub fn of_load(spent: Duration, measured: &Measured) -> Cost {
        let us = spent.as_secs_f64() * 1e6 / measured.sent as f64;
        Cost { commands: measured.sent, rate: measured.rate, us }
    }
}

/// Writes batches of sales of the hot product for a time, as the writer does: decided by the
/// core, one statement each, one connection.
pub async fn replay(books: &Books, load: u64, time: Duration) -> Cost {
    let round_trip_max = default_settings().round_trip_max();
    let options = store::connection_options(books.options.clone(), Isolation::Serializable, round_trip_max);
    let mut connection = PgConnection::connect_with(&options).await.expect("the server answers");
    let mut hot = Hot::load(&mut connection).await;
    let spent_before = processor::of_the_machine();
    let start = Instant::now();
    let mut commands = 0;
    while start.elapsed() < time {
        hot.batch(load, commands).write(&mut connection).await.expect("nobody else writes");
        commands += BATCH_COMMANDS;
    }
    let elapsed = start.elapsed();
    let spent = processor::of_the_machine() - spent_before;
    let _ = connection.close().await;
    Cost {
        commands,
        rate: commands as f64 / elapsed.as_secs_f64(),
        us: spent.as_secs_f64() * 1e6 / commands as f64,
    }
}

/// The hot product with all that a sale of it touches.
struct Hot {
    versioned: Arc<Versioned>,
    stock: Stock,
    /// A sale, but for its id.
    sale: Command,
    groups: GroupPath,
    nodes: Vec<DimensionPath>,
}

impl Hot {
    async fn load(connection: &mut PgConnection) -> Hot {
        let versioned = configuration::read(connection, "sale", None).await.expect("the server answers");
        let versioned = Arc::new(versioned.expect("the environment exists"));
        let rules = &versioned.configuration;
        let pairs = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect::<Vec<_>>()
        };
        let groups = pairs(&[("channel", "Web"), ("region", "London"), ("customerGroup", "VIP")]);
        let value = |text| Value::parse(text).expect("a value");
        let target = Target {
            id: value("none"),
            product: ProductKey {
                environment: value("sale"),
                organization: value("usmf"),
                product: value(scripts::HOT),
            },
            dimension_data_source: None,
            dimensions: pairs(&[("siteId", "1"), ("locationId", "11"), ("colorId", "red")]),
            note: None,
        };
        let request = Request::Consume {
            groups: groups.clone(),
            quantity: "1".into(),
            physical_measures: vec![("pos".into(), vec![("inbound".into(), Direction::Subtraction)])],
        };
        let sale = Command::new(rules, &target, &request).expect("a sale");
        let groups = rules.groups().path("/groups", &groups).expect("a group path");
        let chain = sale.path.chain(rules.dimensions().required());
        let nodes: Vec<DimensionPath> = chain.map(|node| DimensionPath::new(node.to_vec())).collect();
        let mut stock = Stock::default();
        let wanted: Vec<_> = nodes.iter().map(|node| (sale.product.clone(), node.clone())).collect();
        let found = state::nodes(connection, &wanted).await.expect("the server answers");
        stock.nodes = nodes.iter().cloned().zip(found.into_iter().flatten()).collect();
        let wanted = [(sale.product.clone(), sale.path.clone(), groups.clone())];
        let found = state::balances(connection, &wanted).await.expect("the server answers");
        let balance = found.into_iter().flatten().next().expect("stock was set aside");
        let leaf = stock.nodes.get_mut(&sale.path).expect("stock was brought in");
        leaf.balances.insert(groups.clone(), balance);
        Hot { versioned, stock, sale, groups, nodes }
    }

    fn batch(&mut self, load: u64, first: u64) -> Batch {
        let Hot { versioned, stock, sale, groups, nodes } = self;
        let received_at = now();
        let expected: Vec<u64> = nodes.iter().map(|node| stock.nodes[node].version).collect();
        let mut batch = Batch::new(received_at);
        batch.guard_configuration(&sale.product.environment, versioned.version);
        for count in first..first + BATCH_COMMANDS {
            let id = Value::parse(&format!("{load}-0-{count}")).expect("an id");
            let command = Arc::new(Command { id, ..sale.clone() });
            let rules = &versioned.configuration;
            let effects = decide(stock, rules, &command, received_at).expect("there is stock");
            let outcome = apply(stock, rules, &command, effects);
            batch.event(&command, versioned, &outcome);
        }
        for (path, expected) in nodes.iter().zip(expected) {
            batch.node(&sale.product, path.values(), expected, &stock.nodes[path]);
        }
        batch.balance(&sale.product, &sale.path, groups, &stock.balance(&sale.path, groups));
        batch
    }
}

/// What time it is, as the core takes it.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as i64)
}
