//! Databases of any size, written straight into the tables: what the service itself would have
//! written for as many events, in a minute rather than in hours.

use std::fmt::Write;
use std::time::Instant;

use ringfence::store::configuration::{self, Precondition};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::load::Random;

/// What every balance was given, and half of what every node has.
const ALLOCATED: u64 = 1_000_000_000;

/// How much there is of everything.
#[derive(Clone, Copy)]
pub struct Size {
    pub products: u64,
    /// Child nodes below the one node of each product that has just the required dimensions.
    pub nodes: u64,
    /// Balances at each child node.
    pub balances: u64,
    /// Groups in the hierarchy.
    pub groups: u64,
    /// Events of one more product, beside those that the rest is made of.
    pub events: u64,
}

impl Default for Size {
    fn default() -> Size {
        Size { products: 1, nodes: 1, balances: 1, groups: 3, events: 0 }
    }
}

impl Size {
    /// Events in the ledger: each child node has one that brings its stock, and one for each balance.
    pub fn ledger(&self) -> u64 {
        self.products * self.nodes * (self.balances + 1) + self.events
    }

    /// Writes a consume from one of the balances, neutral to the pool.
    pub fn consume(&self, text: &mut String, random: &mut Random, (product, node, balance): (u64, u64, u64)) {
        let _ = write!(
            text,
            r#"{{"id":"{}","organizationId":"usmf","productId":"P{product:07}","dimensions":{{"siteId":"1","locationId":"11","colorId":"N{node:06}"}},"groups":{{"#,
            random.id()
        );
        for group in 1..self.groups {
            let _ = write!(text, r#""group{group}":"G{group}","#);
        }
        let _ = write!(
            text,
            r#""group{}":"B{balance:05}"}},"quantity":1,"physicalMeasures":{{"pos":{{"inbound":"Subtraction"}}}}}}"#,
            self.groups
        );
    }

    fn configuration(&self) -> String {
        let groups: Vec<String> = (1..=self.groups).map(|group| format!(r#""group{group}""#)).collect();
        format!(
            r#"{{
                "dimensions": ["siteId", "locationId", "colorId", "sizeId"], "requiredDimensions": 2,
                "dataSources": {{"pos": {{"measures": ["inbound", "outbound"]}}}},
                "allocation": {{
                    "groups": [{}],
                    "availableToAllocate": "pos.inbound - @iv.@softreserved - @iv.@allocated"
                }}
            }}"#,
            groups.join(",")
        )
    }

    fn statements(&self) -> Vec<String> {
        let &Size { products, nodes, balances, events, .. } = self;
        let a = ALLOCATED;
        let series = |count: u64| format!("FROM generate_series(0, {count}::bigint - 1) AS x");
        let product = |per: u64| format!("'growth', 'usmf', 'P' || lpad((x / {per})::text, 7, '0')");
        let place = |node: &str| format!("ARRAY['1', '11', 'N' || lpad(({node})::text, 6, '0')]");
        let groups = |balance: &str| {
            let above: String = (1..self.groups).map(|group| format!("'G{group}', ")).collect();
            format!("ARRAY[{above}'B' || lpad(({balance})::text, 5, '0')]")
        };
        let node_columns = "environment_id, organization_id, product_id, dimensions, version, own, total";
        let (per_node, per_product) = (balances + 1, nodes * (balances + 1));
        let (at_node, at_product) = (balances * a, nodes * balances * a);
        let mut statements = vec![
            format!(
                "INSERT INTO stock_node ({node_columns})
                 SELECT {}, ARRAY['1', '11'], {per_product}, '{{}}', '{{{at_product},0,{at_product},0,0,{}}}' {}",
                product(1),
                2 * at_product,
                series(products),
            ),
            format!(
                "INSERT INTO stock_node ({node_columns})
                 SELECT {}, {}, {per_node}, own, own FROM (
                     SELECT x, '{{{at_node},0,{at_node},0,0,{}}}'::numeric[] AS own {}
                 ) AS child",
                product(nodes),
                place(&format!("x % {nodes}")),
                2 * at_node,
                series(products * nodes),
            ),
            format!(
                "INSERT INTO balance SELECT {}, {}, {}, {a}, 0, {a}, 0 {}",
                product(nodes * balances),
                place(&format!("x / {balances} % {nodes}")),
                groups(&format!("x % {balances}")),
                series(products * nodes * balances),
            ),
            // What is available at a child is less than at the node above, which has all children.
            ledger(
                &product(per_product),
                &place(&format!("x / {per_node} % {nodes}")),
                &groups(&format!("x % {per_node} - 1")),
                &format!(
                    "SELECT x, 'seed' || x AS name, x % {per_product} + 1 AS version,
                            CASE WHEN x % {per_node} = 0 THEN 'change-on-hand' ELSE 'allocate' END AS operation,
                            {} AS stock, {a} AS allocated, 0 AS consumed,
                            ({} - x % {per_node}) * {a} AS available {}",
                    2 * at_node,
                    2 * balances,
                    series(products * per_product)
                ),
            ),
        ];
        if events < 2 {
            return statements;
        }
        let (child, first, consumed) = (place("0"), groups("0"), events - 2);
        let held = format!("{},{consumed},{a},{consumed}", a - consumed);
        let total = format!("{held},0,{}", 2 * a - consumed);
        statements.extend([
            format!(
                "INSERT INTO stock_node ({node_columns})
                 VALUES ('growth', 'usmf', 'Past', ARRAY['1', '11'], {events}, '{{}}', '{{{total}}}'),
                        ('growth', 'usmf', 'Past', {child}, {events}, '{{{total}}}', '{{{total}}}')"
            ),
            format!("INSERT INTO balance VALUES ('growth', 'usmf', 'Past', {child}, {first}, {held})"),
            ledger(
                "'growth', 'usmf', 'Past'",
                &child,
                &first,
                &format!(
                    "SELECT 'past' || x AS name, x + 1 AS version,
                            CASE x WHEN 0 THEN 'change-on-hand' WHEN 1 THEN 'allocate' ELSE 'consume' END AS operation,
                            {} AS stock, {a} - greatest(x - 1, 0) AS allocated, greatest(x - 1, 0) AS consumed,
                            CASE x WHEN 0 THEN 2 ELSE 1 END * {a} AS available {}",
                    2 * a,
                    series(events)
                ),
            ),
        ]);
        statements
    }
}

/// The events that made the rest, in order.
fn ledger(product: &str, place: &str, groups: &str, events: &str) -> String {
    format!(
        r#"INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions, groups, quantity,
                               detail, configuration_version, version, received_at, outcome)
           SELECT {product}, md5(name), operation, {place},
                  CASE WHEN operation <> 'change-on-hand' THEN {groups} END,
                  CASE operation WHEN 'allocate' THEN {ALLOCATED} WHEN 'consume' THEN 1 END,
                  CASE operation WHEN 'change-on-hand' THEN format('{{"measures":{{"pos.inbound":%s}}}}', stock)
                                 WHEN 'consume' THEN '{{"measures":{{"pos.inbound":-1}}}}' END::json,
                  1, version, now(),
                  CASE operation
                  WHEN 'change-on-hand' THEN format('{{"version":%s,"availableToAllocate":%s}}', version, available)
                  ELSE format('{{"version":%s,"balance":{{"allocated":%s,"consumed":%s,"cumulativeAllocated":{ALLOCATED},"cumulativeConsumed":%s}},"availableToAllocate":%s}}',
                              version, allocated, consumed, consumed, available) END::json
           FROM ({events}) AS event"#
    )
}

/// A database that is there until it is dropped by name.
pub struct Database {
    pub options: PgConnectOptions,
    pub size: Size,
    pub name: String,
}

impl Database {
    /// Makes one of a size.
    pub async fn seed(server: &PgConnectOptions, name: &str, size: Size) -> Database {
        let began = Instant::now();
        run(&mut connect(server).await, format!("CREATE DATABASE {name}")).await;
        let options = server.clone().database(name);
        let mut books = connect(&options).await;
        ringfence::store::MIGRATIONS.run(&mut books).await.expect("an empty database");
        let document = serde_json::from_str(&size.configuration()).expect("a document");
        let changed = configuration::replace(&mut books, "growth", document, Precondition::None).await;
        assert!(changed.is_ok(), "the configuration is refused");
        let index: String =
            sqlx::query_scalar("SELECT indexdef FROM pg_indexes WHERE indexname = 'ledger_id'")
                .fetch_one(&mut books)
                .await
                .expect("the index");
        run(&mut books, "SET synchronous_commit = off".to_owned()).await;
        run(&mut books, "SET maintenance_work_mem = '256MB'".to_owned()).await;
        run(&mut books, "DROP INDEX ledger_id".to_owned()).await;
        for statement in size.statements() {
            run(&mut books, statement).await;
        }
        // As full as an index is that grew by random ids. One that is packed would be split at
        // nearly every insert for a while, the longer the larger it is.
        run(&mut books, format!("{index} WITH (fillfactor = 70)")).await;
        run(&mut books, "VACUUM (ANALYZE)".to_owned()).await;
        run(&mut books, "CHECKPOINT".to_owned()).await;
        let bytes: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
            .fetch_one(&mut books)
            .await
            .expect("its size");
        println!("{name}: {} MiB, made in {:.1} s", bytes >> 20, began.elapsed().as_secs_f64());
        Database { options, size, name: name.to_owned() }
    }

    /// Replays the ledger, also what was made here, and holds it against the balances.
    pub async fn check_books(&self) {
        let mut connection = connect(&self.options).await;
        let report = ringfence::verify::verify(&mut connection).await.expect("the books are readable");
        // What is counted of activity was not written with the ledger: it is followed from the end on.
        let of_books =
            report.differences.iter().filter(|difference| !difference.contains(": the activity of "));
        let first: Vec<&String> = of_books.take(5).collect();
        assert!(first.is_empty(), "{}: {first:#?}", self.name);
    }

    pub async fn drop(self, server: &PgConnectOptions) {
        run(&mut connect(server).await, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.expect("the server answers")
}

async fn run(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}
