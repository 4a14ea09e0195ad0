//! What a role needs that only serves: it owns nothing, changes no schema, and takes nothing from the
//! ledger. The role itself is made by who runs the database.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::StoreError;

/// What the service does with each table and view, or with one column of it. Whoever adds one says so
/// here; at its start the service looks whether it may do all of this.
const TABLES: &[(&str, &str)] = &[
    ("_sqlx_migrations", "SELECT"),
    ("environment", "SELECT, INSERT, UPDATE"),
    ("configuration", "SELECT, INSERT"),
    ("ledger", "SELECT, INSERT"),
    ("stock_node", "SELECT, INSERT"),
    ("balance", "SELECT, INSERT, UPDATE"),
    ("reservation", "SELECT, INSERT, UPDATE"),
    ("schedule", "SELECT, INSERT, DELETE"),
    ("product_switch", "SELECT, INSERT"),
    // How far it is gone through, and not what it declares gone: `delete_erased` believes that.
    ("erasure", "SELECT, UPDATE (reached), DELETE"),
    ("snapshot", "SELECT, INSERT"),
    ("snapshot_due", "SELECT, INSERT, UPDATE"),
    ("ledger_piece", "SELECT, INSERT, UPDATE"),
    ("follower", "SELECT, INSERT, UPDATE"),
    ("activity", "SELECT, INSERT, UPDATE, DELETE"),
    ("activity_place", "SELECT, INSERT, UPDATE"),
    ("unmet_demand", "SELECT, INSERT, DELETE"),
    ("unmet_taken", "SELECT, INSERT, UPDATE, DELETE"),
    ("watch", "SELECT, INSERT, UPDATE, DELETE"),
    ("alert", "SELECT, INSERT, UPDATE, DELETE"),
    // To lock them is to be able to change them.
    ("notice", "SELECT, INSERT, UPDATE, DELETE"),
    ("watching", "SELECT, UPDATE"),
    ("webhook", "SELECT, INSERT, UPDATE, DELETE"),
    ("delivery", "SELECT, INSERT, UPDATE, DELETE"),
    ("lane", "SELECT, INSERT, UPDATE, DELETE"),
    ("api_key", "SELECT, INSERT, UPDATE"),
    ("seen_stock_node", "SELECT, UPDATE"),
    ("seen_balance", "SELECT"),
    ("seen_reservation", "SELECT"),
    ("seen_schedule", "SELECT, DELETE"),
    ("seen_activity_place", "SELECT"),
    ("seen_alert", "SELECT"),
];

/// What it does besides where products may be erased. That makes the erasure which declares events
/// gone; to delete what is declared gone is housekeeping, and needs no more than the function.
const TO_ERASE: &[(&str, &str)] = &[
    ("erasure", "INSERT, UPDATE (until_event_id)"),
    // To lock them is to be able to change them.
    ("stock_node", "UPDATE, DELETE"),
    ("balance", "DELETE"),
    ("reservation", "DELETE"),
    ("snapshot", "DELETE"),
    ("snapshot_due", "DELETE"),
    ("activity_place", "DELETE"),
];

const SEQUENCES: &[(&str, &str)] = &[
    ("ledger_event_id_seq", "SELECT"),
    ("notice_sequence", "USAGE"),
    ("activity_place_place_id_seq", "USAGE"),
];

/// Gives a role what it needs, and takes back what it has beyond it: done again, it changes nothing.
/// Answers why not, where the role is not one that can be held to it.
///
/// # Errors
/// When the database does not do it.
pub async fn grant(
    connection: &mut PgConnection,
    role: &str,
    may_erase: bool,
) -> Result<Result<(), String>, StoreError> {
    if let Some(why) = unfit(connection, role).await? {
        return Ok(Err(why));
    }
    let mut transaction = connection.begin().await?;
    let (schema, quoted) =
        sqlx::query_as::<_, (String, String)>("SELECT quote_ident(current_schema()), quote_ident($1)")
            .bind(role)
            .fetch_one(&mut *transaction)
            .await?;
    let mut statements = vec![
        format!("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {quoted}"),
        format!("REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {quoted}"),
        format!("GRANT USAGE ON SCHEMA {schema} TO {quoted}"),
        format!("GRANT EXECUTE ON FUNCTION delete_erased TO {quoted}"),
    ];
    let more = if may_erase { TO_ERASE } else { &[] };
    let tables =
        TABLES.iter().chain(more).map(|(table, what)| format!("GRANT {what} ON {table} TO {quoted}"));
    statements.extend(tables);
    let sequences =
        SEQUENCES.iter().map(|(name, what)| format!("GRANT {what} ON SEQUENCE {name} TO {quoted}"));
    statements.extend(sequences);
    for statement in statements {
        transaction.execute(AssertSqlSafe(statement)).await?;
    }
    transaction.commit().await?;
    Ok(Ok(()))
}

/// Why a role cannot be the one that serves: what it has would make what it is not given worthless.
async fn unfit(connection: &mut PgConnection, role: &str) -> Result<Option<String>, StoreError> {
    let found: Option<(bool, bool, bool)> = sqlx::query_as(
        "SELECT rolsuper OR rolbypassrls, pg_has_role(oid, current_user, 'MEMBER'),
                has_schema_privilege(oid, current_schema(), 'CREATE')
         FROM pg_roles WHERE rolname = $1",
    )
    .bind(role)
    .fetch_optional(connection)
    .await?;
    Ok(match found {
        None => Some(format!(
            "there is no role {role:?}: make it with CREATE ROLE … LOGIN PASSWORD …, or name another"
        )),
        Some((true, ..)) => Some(format!(
            "the role {role:?} is a superuser or passes by row-level security: ALTER ROLE … NOSUPERUSER NOBYPASSRLS, or name another"
        )),
        Some((_, true, _)) => Some(format!(
            "the role {role:?} may do all that the one may that owns the tables: name another, that is no member of it"
        )),
        Some((.., true)) => Some(format!(
            "the role {role:?} may create tables in the schema: REVOKE CREATE ON SCHEMA … FROM PUBLIC, or from it"
        )),
        Some(_) => None,
    })
}

/// What the role of a connection lacks to serve, as `INSERT on ledger`.
///
/// # Errors
/// When the database does not answer.
pub async fn missing(connection: &mut PgConnection, may_erase: bool) -> Result<Vec<String>, StoreError> {
    let more = if may_erase { TO_ERASE } else { &[] };
    let wanted =
        TABLES.iter().chain(more).flat_map(|(table, what)| what.split(", ").map(move |one| (*table, one)));
    let (tables, privileges): (Vec<&str>, Vec<&str>) = wanted.unzip();
    let missing = sqlx::query_scalar!(
        r#"SELECT w.privilege || ' on ' || w.name AS "missing!"
           FROM unnest($1::text[], $2::text[]) AS w (name, privilege)
           WHERE NOT CASE WHEN w.privilege LIKE '% (%)'
                          THEN has_column_privilege(w.name, substring(w.privilege from '\((.*)\)'), split_part(w.privilege, ' ', 1))
                          ELSE has_table_privilege(w.name, w.privilege) END"#,
        &tables as &[&str],
        &privileges as &[&str],
    )
    .fetch_all(connection)
    .await?;
    Ok(missing)
}

/// What of the role of a connection is good enough to serve, but less than could be had: in words, each
/// with what to do.
///
/// # Errors
/// When the database does not answer.
pub async fn weaknesses(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    // Where there are no tables yet, they will be the role's own.
    let role = sqlx::query!(
        r#"SELECT current_user::text AS "name!",
                  coalesce(row_security_active(to_regclass('ledger')::oid), false) AS "is_held!",
                  pg_has_role('pg_read_all_stats', 'USAGE') AS "sees_sessions!""#
    )
    .fetch_one(connection)
    .await?;
    let mut weaknesses = Vec::new();
    if !role.is_held {
        weaknesses.push(format!(
            "the database's role {:?} owns the tables, is a superuser or has BYPASSRLS: row-level security does not hold for it. `ringfence migrate --service-role` makes another one fit to serve (docs/database.md)",
            role.name
        ));
    }
    if !role.sees_sessions {
        weaknesses.push(format!(
            "the database's role {:?} does not see the sessions of others, so that the metric ringfence_oldest_transaction_seconds is of its own only: GRANT pg_read_all_stats TO it",
            role.name
        ));
    }
    Ok(weaknesses)
}

/// Whether the role of a connection may make tables.
///
/// # Errors
/// When the database does not answer.
pub async fn may_migrate(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let may = sqlx::query_scalar!("SELECT has_schema_privilege(current_schema(), 'CREATE')");
    Ok(may.fetch_one(connection).await? == Some(true))
}
