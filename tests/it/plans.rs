//! How statements are planned on tables that are still empty, which is when most of them are: rows are
//! looked up by whole keys and read in the order of an index, since a plan that is kept meets full tables.

use std::path::Path;

use ringfence::store::{Isolation, connection_options};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::support::{as_service, database};

/// Relations that are read whole, and why that is no matter.
const READ_WHOLE: [(&str, &str); 7] = [
    ("erasure", "products whose events are still being deleted"),
    ("follower", "a few rows, however much is followed"),
    ("ledger_event_id_seq", "one row"),
    ("unmet_demand", "a queue of what is about to be counted"),
    ("unmet_taken", "a queue, of which as many rows are taken as are asked for, wherever they are"),
    ("watching", "one row"),
    ("webhook", "some hundreds an environment"),
];

fn is_read_whole(relation: &Value) -> bool {
    READ_WHOLE.iter().any(|(whole, _)| relation == whole)
}

/// Whether a condition is one that an index could have met: columns that are equal.
fn equates_columns(condition: &str) -> bool {
    condition.split(" = ").skip(1).any(|right| !right.starts_with("ANY"))
}

/// What is wrong with a node of a plan, and with those below it.
fn faults(node: &Value, found: &mut Vec<String>) {
    let text = |name: &str| node[name].as_str().unwrap_or_default();
    let (kind, relation) = (text("Node Type"), text("Relation Name"));
    let children = node["Plans"].as_array().map(Vec::as_slice).unwrap_or_default();
    match kind {
        "Incremental Sort" => {
            found.push(format!("puts in order what an index has in order: {}", node["Sort Key"]))
        }
        "Bitmap Heap Scan" => found.push(format!("reads {relation} in no order")),
        "Seq Scan" if !is_read_whole(&node["Relation Name"]) => {
            found.push(format!("reads all of {relation}"));
        }
        _ => {}
    }
    if text("Filter").contains("ROW(") {
        found.push(format!("reads on in {relation} beyond where it could end: {}", text("Filter")));
    }
    let inner = children.iter().find(|child| child["Parent Relationship"] == "Inner").unwrap_or(&Value::Null);
    let is_table = inner["Relation Name"].is_string() && !is_read_whole(&inner["Relation Name"]);
    if equates_columns(text("Join Filter")) && (is_table || inner["Node Type"] == "Materialize") {
        found.push(format!("goes through a table for each row of another: {}", text("Join Filter")));
    }
    children.iter().for_each(|child| faults(child, found));
}

async fn plan(connection: &mut PgConnection, statement: &str) -> sqlx::Result<Value> {
    // sqlx sends no statement twice under one name, so this is given one here.
    sqlx::raw_sql(AssertSqlSafe(format!("PREPARE asked AS {statement}"))).execute(&mut *connection).await?;
    let count = (1..).take_while(|number| statement.contains(&format!("${number}"))).count();
    let nulls = vec!["NULL"; count].join(", ");
    let given = if count == 0 { String::new() } else { format!("({nulls})") };
    let explain = format!("EXPLAIN (FORMAT JSON, COSTS OFF) EXECUTE asked{given}");
    let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut *connection).await?;
    sqlx::raw_sql("DEALLOCATE asked").execute(connection).await?;
    Ok(plan[0]["Plan"].clone())
}

#[tokio::test]
async fn every_statement_looks_rows_up_by_keys_also_on_an_empty_database() {
    let options = connection_options(
        as_service(&database().await),
        Isolation::ReadCommitted,
        std::time::Duration::from_secs(30),
    );
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let (mut planned, mut faulty) = (0, Vec::new());
    for file in std::fs::read_dir(cache).unwrap() {
        let kept: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let statement = kept["query"].as_str().unwrap();
        let first = statement.trim_start_matches([' ', '\n', '(']).split_whitespace().next().unwrap();
        if !["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"].contains(&first) {
            continue;
        }
        match plan(&mut connection, statement).await {
            Ok(plan) => {
                let mut found = Vec::new();
                faults(&plan, &mut found);
                planned += 1;
                if !found.is_empty() {
                    faulty.push(format!("{statement}\n{}", found.join("\n")));
                }
            }
            Err(error) => faulty.push(format!("{statement}\n!!! {error}")),
        }
    }
    assert!(faulty.is_empty(), "of {planned} statements:\n\n{}", faulty.join("\n\n----\n"));
    assert!(planned > 100, "only {planned} statements were found");
}
