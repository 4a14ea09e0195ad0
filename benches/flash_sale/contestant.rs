//! A contestant: a process that serves the API on a database of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::load::Connection as HttpConnection;

/// The path of the hot request.
pub const CONSUME: &str = "/api/environment/sale/allocation/consume";
const CONFIGURATION: &str = r#"{
    "dimensions": ["siteId", "locationId", "colorId", "sizeId"], "requiredDimensions": 2,
    "dataSources": {"pos": {"measures": ["inbound", "outbound"]}},
    "allocation": {
        "groups": ["channel", "region", "customerGroup"],
        "availableToAllocate": "pos.inbound - @iv.@softreserved - @iv.@allocated"
    }
}"#;
const PLACE: &str = r#""organizationId":"usmf","productId":"Bike","dimensions":{"siteId":"1","locationId":"11","colorId":"red"}"#;
const GROUPS: &str = r#""groups":{"channel":"Web","region":"London","customerGroup":"VIP"}"#;

/// The hot request.
pub fn consume(id: &str) -> String {
    format!(
        r#"{{"id":"{id}",{PLACE},{GROUPS},"quantity":1,"physicalMeasures":{{"pos":{{"inbound":"Subtraction"}}}}}}"#
    )
}

/// Who takes part.
pub enum Kind {
    Ringfence,
    Twin { connections: u32 },
}

pub struct Contestant {
    pub name: String,
    pub address: SocketAddr,
    process: Child,
    database: PgConnectOptions,
}

impl Contestant {
    /// Starts it on a new database, with stock enough for every round.
    pub async fn start(server: &PgConnectOptions, kind: Kind) -> Contestant {
        let (name, database) = match kind {
            Kind::Ringfence => ("ringfence".to_owned(), "bench_ringfence".to_owned()),
            Kind::Twin { connections } => {
                (format!("twin, {connections} connections"), format!("bench_twin_{connections}"))
            }
        };
        let mut connection = PgConnection::connect_with(server).await.expect("the server answers");
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}"));
        sqlx::query(statement).execute(&mut connection).await.expect("a new database");
        let database = server.clone().database(&database);
        let mut books = PgConnection::connect_with(&database).await.expect("the server answers");
        ringfence::store::MIGRATIONS.run(&mut books).await.expect("an empty database");
        let url = database.to_url_lossy().to_string();
        let mut command = match kind {
            Kind::Ringfence => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
                command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", &url]);
                command
            }
            Kind::Twin { connections } => {
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.args(["twin", &url, &connections.to_string()]);
                command
            }
        };
        let mut process =
            command.env("RINGFENCE_LOG", "warn").stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        let output = process.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("its first line");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .expect("its address")
            .parse()
            .expect("an address");
        let contestant = Contestant { name, address, process, database };
        contestant.stock_up().await;
        contestant
    }

    async fn stock_up(&self) {
        let change = format!(r#"{{"id":"stock",{PLACE},"quantities":{{"pos":{{"inbound":1000000000}}}}}}"#);
        let allocate = format!(r#"{{"id":"sale",{PLACE},{GROUPS},"quantity":1000000000}}"#);
        for (method, path, body) in [
            ("PUT", "configuration", CONFIGURATION),
            ("POST", "onhand", &change),
            ("POST", "allocation/allocate", &allocate),
        ] {
            let mut connection =
                HttpConnection::open(self.address, format!("/api/environment/sale/{path}")).await;
            let (status, answer) = connection.send(method, body).await;
            assert_eq!(status, 200, "{answer}");
        }
    }

    /// Replays the ledger and holds it against the balances.
    pub async fn check_books(&self) {
        let mut connection = PgConnection::connect_with(&self.database).await.expect("the server answers");
        let report = ringfence::verify::verify(&mut connection).await.expect("the books are readable");
        assert_eq!(report.differences, Vec::<String>::new(), "{}", self.name);
    }

    /// The most memory that the process ever had resident.
    pub fn resident_high_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib / 1024.0
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
