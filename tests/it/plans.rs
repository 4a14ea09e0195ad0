//! How statements are planned on tables that are still empty, which is when most of them are, and where
//! nearly all is of one product: rows are looked up by whole keys and read in the order of an index, since
//! a plan that is kept meets full tables, and keys of which there is little.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use ringfence::store::{Isolation, connection_options};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::support::{as_service, database};

/// Relations that are read whole, and why that is no matter.
const READ_WHOLE: [(&str, &str); 10] = [
    ("environment", "a row a tenant"),
    ("erasure", "products whose events are still being deleted"),
    ("follower", "a few rows, however much is followed"),
    ("ledger_event_id_seq", "one row"),
    ("ledger_piece", "a row for many thousand events"),
    ("unmet_demand", "a queue of what is about to be counted"),
    ("unmet_taken", "a queue, of which as many rows are taken as are asked for, wherever they are"),
    ("watch", "some hundreds an environment"),
    ("watching", "one row"),
    ("webhook", "some hundreds an environment"),
];
/// Words of statements that may join as they like, and why.
const JOINED_FREELY: [(&str, &str); 4] = [
    ("AS p (organization_id, product_id)", "to erase products is seldom, and planned anew with statistics"),
    ("make_interval(days", "what is old is forgotten in pieces, behind all else"),
    ("DELETE FROM lane", "lanes that are done with, likewise"),
    ("SELECT FROM webhook w JOIN delivery d", "messages that nobody has to get any more, likewise"),
];
/// Words of statements that read all there is, and why.
const FOR_ALL: [(&str, &str); 3] = [
    ("SELECT a.place_id, count(*)", "`verify` looks at everything"),
    ("WHERE n.sequence = ANY($3)", "messages that are sent once more by hand"),
    ("closed_at IS NULL", "alerts that are open have an index of their own"),
];

/// Columns that no rows are sorted out by: an index has them, of every table with many rows of each.
const KEYS: [&str; 4] = ["environment_id", "organization_id", "product_id", "reference"];

/// Nearly all that there is belongs to one product of one environment, and has one reference.
const LOPSIDED: &str = "
    INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions,
                        configuration_version, version, received_at, outcome, reference)
    SELECT CASE WHEN x <= 10 THEN 'small' ELSE 'large' END, 'usmf', CASE WHEN x <= 20 THEN 'slow' ELSE 'hot' END,
           'id' || x, 'consume', '{1,11}', 1, x, now(), '{}', CASE WHEN x <= 30 THEN 'order' ELSE 'sale' END
    FROM generate_series(1, $EVENTS) x;
    INSERT INTO snapshot SELECT environment_id, organization_id, product_id, event_id, '{}' FROM ledger
    WHERE product_id = 'hot' AND event_id % 100 = 0;
    ANALYZE ledger, snapshot";

fn is_read_whole(relation: &Value) -> bool {
    // Those of pg_ are the server's own.
    relation.as_str().is_some_and(|name| name.starts_with("pg_"))
        || READ_WHOLE.iter().any(|(whole, _)| relation == whole)
}

/// Whether a condition is one that an index could have met: columns that are equal.
fn equates_columns(condition: &str) -> bool {
    condition.split(" = ").skip(1).any(|right| !right.starts_with("ANY"))
}

/// What is wrong with a node of a plan, and with those below it; `leading` has the first column of each index.
fn faults(node: &Value, leading: &HashMap<String, String>, found: &mut Vec<String>) {
    let text = |name: &str| node[name].as_str().unwrap_or_default();
    let (kind, relation, index) = (text("Node Type"), text("Relation Name"), text("Index Name"));
    let children = node["Plans"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_large = |node: &Value| node["Relation Name"].is_string() && !is_read_whole(&node["Relation Name"]);
    let is_many = |node: &Value| is_large(node) || node["Node Type"] == "Materialize";
    match kind {
        "Incremental Sort" => found.push(format!("puts in order what an index has: {}", node["Sort Key"])),
        "Bitmap Heap Scan" => found.push(format!("reads {relation} in no order")),
        "Seq Scan" if is_large(node) => found.push(format!("reads all of {relation}")),
        "Limit" if children[0]["Node Type"] == "Sort" && is_large(&children[0]["Plans"][0]) => {
            found.push(format!("sorts all for the first: {}", children[0]["Sort Key"]));
        }
        _ => {}
    }
    let is_ordered_for_one =
        text("Parent Relationship") == "InitPlan" || node["Scan Direction"] == "Backward";
    let is_bounded = leading.get(index).is_none_or(|column| text("Index Cond").contains(column));
    if is_large(node) && !is_bounded && !is_ordered_for_one {
        found.push(format!("reads all of {relation} by {index}"));
    }
    if text("Filter").contains("ROW(") {
        found.push(format!("reads on in {relation} beyond where it could end: {}", text("Filter")));
    }
    // Of a condition that holds only where something is asked for, no plan is made that rests on it.
    let sorts_out = |column: &&&str| {
        text("Filter").replace(&format!("OR ({column} = $"), "").contains(&format!("({column} = $"))
    };
    if let Some(column) = KEYS.iter().find(sorts_out)
        && is_large(node)
    {
        found.push(format!("looks for {column} among others' in {relation} by {index}"));
    }
    if equates_columns(text("Join Filter")) && children.iter().any(is_many) {
        found.push(format!("joins without a key: {}", text("Join Filter")));
    }
    children.iter().for_each(|child| faults(child, leading, found));
}

async fn plan(connection: &mut PgConnection, statement: &str) -> sqlx::Result<Value> {
    sqlx::raw_sql(AssertSqlSafe(format!("PREPARE asked AS {statement}"))).execute(&mut *connection).await?;
    let count = (1..).take_while(|number| statement.contains(&format!("${number}"))).count();
    let nulls = vec!["NULL"; count].join(", ");
    let given = if count == 0 { String::new() } else { format!("({nulls})") };
    let explain = format!("EXPLAIN (FORMAT JSON, COSTS OFF) EXECUTE asked{given}");
    let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut *connection).await?;
    sqlx::raw_sql("DEALLOCATE asked").execute(connection).await?;
    Ok(plan[0]["Plan"].clone())
}

/// The first column of each index.
async fn leading(connection: &mut PgConnection) -> HashMap<String, String> {
    let columns = "SELECT i.indexrelid::regclass::text, a.attname::text FROM pg_index i
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]";
    sqlx::query_as(columns).fetch_all(connection).await.unwrap().into_iter().collect()
}

fn has_words_of(statement: &str, exempt: &[(&str, &str)]) -> bool {
    exempt.iter().any(|(words, _)| statement.contains(words))
}

/// What is wrong with how a service's statements are planned.
async fn faulty(database: &PgConnectOptions) -> Vec<String> {
    let options = connection_options(as_service(database), Isolation::ReadCommitted, Duration::from_secs(30));
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let leading = leading(&mut connection).await;
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let (mut planned, mut faulty) = (0, Vec::new());
    for file in std::fs::read_dir(cache).unwrap() {
        let kept: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let statement = kept["query"].as_str().unwrap();
        let first = statement.trim_start_matches([' ', '\n', '(']).split_whitespace().next().unwrap();
        if !["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"].contains(&first) {
            continue;
        }
        let mut found = Vec::new();
        match plan(&mut connection, statement).await {
            Ok(plan) => faults(&plan, &leading, &mut found),
            Err(error) => found.push(error.to_string()),
        }
        planned += 1;
        found.retain(|fault| !(fault.starts_with("joins") && has_words_of(statement, &JOINED_FREELY)));
        found.retain(|fault| !(fault.starts_with("reads all") && has_words_of(statement, &FOR_ALL)));
        if !found.is_empty() {
            faulty.push(format!("{statement}\n{}", found.join("\n")));
        }
    }
    assert!(planned > 100, "only {planned} statements were found");
    faulty
}

#[tokio::test]
async fn statements_look_rows_up_by_keys_also_on_an_empty_database() {
    let faulty = faulty(&database().await).await;
    assert!(faulty.is_empty(), "{}", faulty.join("\n\n----\n"));
}

#[tokio::test]
async fn statements_look_rows_up_by_keys_also_where_nearly_all_is_of_one_product() {
    for events in ["1000", "5000", "30000"] {
        let database = database().await;
        let mut connection = PgConnection::connect_with(&database).await.unwrap();
        let lopsided = LOPSIDED.replace("$EVENTS", events);
        sqlx::raw_sql(AssertSqlSafe(lopsided)).execute(&mut connection).await.unwrap();
        let faulty = faulty(&database).await;
        assert!(faulty.is_empty(), "{events} events:\n\n{}", faulty.join("\n\n----\n"));
    }
}
