//! A database of the benchmark, and the gates: what was answered must be what is in the books.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringfence::store::MIGRATIONS;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, PgConnection};

use crate::connection::Connection;
use crate::contestant::{self, Contestant, Kind};
use crate::load::{self, Load, Measured};
use crate::scripts::{self, Allocations, head};

/// Stock that no round sells out.
const PLENTY: u64 = 1_000_000_000;
/// Lines of a bulk. The twin does one after the other, and has to answer in time.
const BULK_LINES: usize = 500;
/// Clients that set stock aside side by side.
const STOCKING_CLIENTS: usize = 64;

/// What the ledger adds up to by balance, held against the balances; and how many sales it has.
const COMPARE: &str = r#"
    WITH sold AS (
        SELECT environment_id, organization_id, product_id, dimensions, groups COLLATE "C" AS groups,
               coalesce(sum(quantity) FILTER (WHERE operation = 'allocate'), 0) AS allocated,
               coalesce(sum(quantity) FILTER (WHERE operation = 'consume'), 0) AS consumed,
               count(*) FILTER (WHERE operation = 'consume') AS sales
        FROM ledger WHERE operation IN ('allocate', 'consume')
        GROUP BY 1, 2, 3, 4, 5
    )
    SELECT coalesce(sum(s.sales), 0)::bigint,
           count(*) FILTER (WHERE (b.cumulative_allocated, b.cumulative_consumed, b.allocated)
                                  IS DISTINCT FROM (s.allocated, s.consumed, s.allocated - s.consumed)),
           count(*) FILTER (WHERE s.consumed > s.allocated)
    FROM sold s
    FULL JOIN balance b USING (environment_id, organization_id, product_id, dimensions, groups)"#;

pub struct Books {
    pub options: PgConnectOptions,
    pub url: String,
    /// The build that they are for.
    program: PathBuf,
    /// New events that clients were told of.
    accepted: u64,
    /// Requests that clients do not know the end of.
    unavailable: u64,
    has_products: bool,
}

impl Books {
    /// Makes a database with a build's schema, the configuration and stock of the hot product.
    pub async fn create(server: &PgConnectOptions, name: &str, program: &Path) -> Books {
        let mut connection = PgConnection::connect_with(server).await.expect("the server answers");
        let statement = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(statement).execute(&mut connection).await.expect("a new database");
        let options = server.clone().database(name);
        let url = options.to_url_lossy().to_string();
        let program = program.to_owned();
        let books = Books { options, url, program, accepted: 0, unavailable: 0, has_products: false };
        let stocker = books.stocker();
        send(stocker.address, head!("PUT", "configuration"), scripts::CONFIGURATION).await;
        stock_one(stocker.address, scripts::HOT, PLENTY).await;
        books
    }

    /// Stock is brought in by a ringfence of its own, on any database: it is quick, and leaves
    /// the memory of the one that is measured alone.
    fn stocker(&self) -> Contestant {
        Contestant::start(&Kind::Ringfence {
            name: "stocker",
            program: &self.program,
            database_url: &self.url,
        })
    }

    /// The address of the same database for a role that only serves.
    pub async fn url_of_service(&self) -> String {
        const ROLE: &str = "service";
        let mut connection = PgConnection::connect_with(&self.options).await.expect("the server answers");
        sqlx::query("CREATE ROLE service LOGIN").execute(&mut connection).await.expect("a new role");
        contestant::let_serve(&self.url, ROLE);
        self.options.clone().username(ROLE).to_url_lossy().to_string()
    }

    /// Brings in stock of the many products, once.
    pub async fn stock_products(&mut self) {
        if std::mem::replace(&mut self.has_products, true) {
            return;
        }
        let stocker = self.stocker();
        let lines: Vec<String> =
            (0..scripts::PRODUCTS).map(|index| scripts::stock(&scripts::product(index), PLENTY)).collect();
        for lines in lines.chunks(BULK_LINES) {
            send(stocker.address, head!("POST", "onhand/bulk"), &format!("[{}]", lines.join(","))).await;
        }
        let load = Load {
            addresses: vec![stocker.address],
            clients: STOCKING_CLIENTS,
            warm_up: Default::default(),
            time: None,
        };
        let script = |next| Allocations { next, step: STOCKING_CLIENTS, quantity: PLENTY };
        load::run(load, script).await;
    }

    /// Counts what clients were told, for the next check.
    pub fn count(&mut self, measured: &Measured) {
        self.count_accepted(measured.accepted);
        self.unavailable += measured.unavailable;
    }

    /// Counts new events that nobody else was told of.
    pub fn count_accepted(&mut self, accepted: u64) {
        self.accepted += accepted;
    }

    /// Adds the ledger up and holds it against the balances and against what clients were told.
    /// One pass of the database over the ledger, so it can be had after every scenario; the
    /// replay, which decides every event again, takes longer and comes once, at the end.
    pub async fn check(&self) {
        let mut connection = PgConnection::connect_with(&self.options).await.expect("the server answers");
        let (sales, differences, oversold): (i64, i64, i64) =
            sqlx::query_as(COMPARE).fetch_one(&mut connection).await.expect("the books are readable");
        assert_eq!(differences, 0, "balances that are not the sums of the ledger");
        assert_eq!(oversold, 0, "balances that gave more than they had");
        let told = self.accepted..=self.accepted + self.unavailable;
        assert!(
            told.contains(&(sales as u64)),
            "the ledger has {sales} sales, clients were told of {told:?}"
        );
    }

    /// Replays the whole ledger through the core and holds it against everything stored.
    pub async fn replay(&self) -> usize {
        let mut connection = PgConnection::connect_with(&self.options).await.expect("the server answers");
        // Those of another build may have an older schema.
        MIGRATIONS.run(&mut connection).await.expect("books of this build or one before");
        let report = ringfence::verify::verify(&mut connection).await.expect("the books are readable");
        assert_eq!(report.differences, Vec::<String>::new(), "what the replay found");
        report.events
    }
}

/// Brings in stock of one product and sets all of it aside for the sale.
pub async fn stock_one(address: SocketAddr, product: &str, quantity: u64) {
    send(address, head!("POST", "onhand"), &scripts::stock(product, quantity)).await;
    send(address, head!("POST", "allocation/allocate"), &scripts::allocation(product, quantity)).await;
}

async fn send(address: SocketAddr, head: &str, body: &str) {
    let mut connection = Connection::open(address).await;
    connection.body().extend_from_slice(body.as_bytes());
    let answer = connection.exchange(head).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
