//! What watches judge: which balances and stock nodes events touched, which there are, and what
//! happened to them within a time.

use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;

use crate::domain::command::Timestamp;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::state::Balance;
use crate::domain::watch::{Activity, Subject};

use super::{StoreError, state, text};

struct Row {
    organization_id: String,
    product_id: String,
    dimensions: Vec<String>,
    groups: Vec<String>,
}

impl Row {
    fn subject(self) -> Subject {
        let groups = (!self.groups.is_empty()).then(|| GroupPath::stored(text::values(&self.groups)));
        Subject {
            organization: Value::stored(&self.organization_id),
            product: Value::stored(&self.product_id),
            path: DimensionPath::new(text::values(&self.dimensions)),
            groups,
        }
    }
}

/// One of any environment.
struct Located {
    environment_id: String,
    organization_id: String,
    product_id: String,
    dimensions: Vec<String>,
    groups: Vec<String>,
}

impl Located {
    fn subject(self) -> (String, Subject) {
        let Located { environment_id, organization_id, product_id, dimensions, groups } = self;
        (environment_id, Row { organization_id, product_id, dimensions, groups }.subject())
    }
}

/// Subjects as columns. The values of a path go as its literal, as in all statements.
pub(super) struct Columns<'a> {
    pub(super) organizations: Vec<&'a str>,
    pub(super) products: Vec<&'a str>,
    pub(super) paths: Vec<String>,
    pub(super) groups: Vec<String>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(subjects: impl Iterator<Item = &'a Subject>) -> Columns<'a> {
        let mut columns = Columns {
            organizations: Vec::new(),
            products: Vec::new(),
            paths: Vec::new(),
            groups: Vec::new(),
        };
        for subject in subjects {
            columns.organizations.push(subject.organization.as_str());
            columns.products.push(subject.product.as_str());
            columns.paths.push(text::array(subject.path.values()));
            columns.groups.push(text::array(subject.groups.as_ref().map_or(&[], GroupPath::values)));
        }
        columns
    }
}

/// Reads where events of environments did anything: the group paths, and the nodes.
///
/// # Errors
/// When the database does not answer.
pub async fn touched(
    connection: &mut PgConnection,
    environments: &[String],
    (after, until): (i64, i64),
) -> Result<Vec<(String, Subject)>, StoreError> {
    let rows = sqlx::query_as!(
        Located,
        r#"SELECT DISTINCT l.environment_id, l.organization_id, l.product_id, l.dimensions, g.groups AS "groups!"
           FROM ledger l CROSS JOIN LATERAL (VALUES ('{}'::text[]), (l.groups), (l.source_groups)) AS g (groups)
           WHERE l.event_id > $1 AND l.event_id <= $2 AND l.environment_id = ANY($3) AND g.groups IS NOT NULL"#,
        after,
        until,
        environments,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Located::subject).collect())
}

/// Takes the group paths of all environments whose unmet demand was just kept, at most so many: they
/// come once. What is being marked once more at the moment comes when it is.
///
/// # Errors
/// When the database does not answer.
pub async fn unmet(connection: &mut PgConnection, most: i64) -> Result<Vec<(String, Subject)>, StoreError> {
    let rows = sqlx::query_as!(
        Located,
        "DELETE FROM unmet_taken
         WHERE ctid = ANY(ARRAY(SELECT ctid FROM unmet_taken LIMIT $1 FOR UPDATE SKIP LOCKED))
         RETURNING environment_id, organization_id, product_id, dimensions, groups",
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Located::subject).collect())
}

/// Reads the balances of an environment behind one, in the order of their keys.
///
/// # Errors
/// When the database does not answer.
pub async fn balances(
    connection: &mut PgConnection,
    environment: &str,
    after: Option<&Subject>,
    most: i64,
) -> Result<Vec<Subject>, StoreError> {
    let after = Columns::of(after.into_iter());
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT organization_id AS "organization_id!", product_id AS "product_id!", dimensions AS "dimensions!", groups AS "groups!"
           FROM seen_balance
           WHERE environment_id = $1
             AND (organization_id, product_id, dimensions, groups) > ($2, $3, $4::text::text[], $5::text::text[])
           ORDER BY environment_id, organization_id, product_id, dimensions, groups LIMIT $6"#,
        environment,
        after.organizations.first().copied().unwrap_or(""),
        after.products.first().copied().unwrap_or(""),
        after.paths.first().map_or("{}", String::as_str),
        after.groups.first().map_or("{}", String::as_str),
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Row::subject).collect())
}

/// Reads the stock nodes of an environment behind one, in the order of their keys.
///
/// # Errors
/// When the database does not answer.
pub async fn nodes(
    connection: &mut PgConnection,
    environment: &str,
    after: Option<&Subject>,
    most: i64,
) -> Result<Vec<Subject>, StoreError> {
    let after = Columns::of(after.into_iter());
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT organization_id AS "organization_id!", product_id AS "product_id!", dimensions AS "dimensions!",
                  '{}'::text[] AS "groups!"
           FROM seen_stock_node
           WHERE environment_id = $1 AND (organization_id, product_id, dimensions) > ($2, $3, $4::text::text[])
           ORDER BY environment_id, organization_id, product_id, dimensions LIMIT $5"#,
        environment,
        after.organizations.first().copied().unwrap_or(""),
        after.products.first().copied().unwrap_or(""),
        after.paths.first().map_or("{}", String::as_str),
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Row::subject).collect())
}

/// Reads the group paths of an environment that anything was ever asked of, behind one: also those
/// that never held anything.
///
/// # Errors
/// When the database does not answer.
pub async fn places(
    connection: &mut PgConnection,
    environment: &str,
    after: Option<&Subject>,
    most: i64,
) -> Result<Vec<Subject>, StoreError> {
    let after = Columns::of(after.into_iter());
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT organization_id AS "organization_id!", product_id AS "product_id!", dimensions AS "dimensions!", groups AS "groups!"
           FROM seen_activity_place
           WHERE environment_id = $1
             AND (organization_id, product_id, dimensions, groups) > ($2, $3, $4::text::text[], $5::text::text[])
           ORDER BY environment_id, organization_id, product_id, dimensions, groups LIMIT $6"#,
        environment,
        after.organizations.first().copied().unwrap_or(""),
        after.products.first().copied().unwrap_or(""),
        after.paths.first().map_or("{}", String::as_str),
        after.groups.first().map_or("{}", String::as_str),
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Row::subject).collect())
}

/// Reads group paths as a whole: what they and all paths below them hold at their nodes, summed up.
/// Answers in the same order; nothing where there is nothing at all.
///
/// # Errors
/// When the database does not answer.
pub async fn wholes(
    connection: &mut PgConnection,
    environment: &str,
    wanted: &[&Subject],
) -> Result<Vec<Option<Balance>>, StoreError> {
    let mut found = vec![None; wanted.len()];
    if wanted.is_empty() {
        return Ok(found);
    }
    let columns = Columns::of(wanted.iter().copied());
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!", sum(b.allocated)::text AS "allocated!", sum(b.consumed)::text AS "consumed!",
                  sum(b.cumulative_allocated)::text AS "cumulative_allocated!",
                  sum(b.cumulative_consumed)::text AS "cumulative_consumed!"
           FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
                AS k (organization_id, product_id, dimensions, groups, place)
           CROSS JOIN LATERAL (
               SELECT * FROM seen_balance b
               WHERE b.environment_id = $1 AND b.organization_id = k.organization_id AND b.product_id = k.product_id
                 AND b.dimensions = k.dimensions::text[] AND b.groups[1:cardinality(k.groups::text[])] = k.groups::text[]
               OFFSET 0
           ) b
           GROUP BY k.place"#,
        environment,
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &columns.paths,
        &columns.groups,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let texts = [&row.allocated, &row.consumed, &row.cumulative_allocated, &row.cumulative_consumed];
        found[row.place as usize - 1] = Some(state::balance(texts)?);
    }
    Ok(found)
}

/// Reads what happened to group paths as a whole, as [`activity`] does for each by itself. What was
/// moved about below a path is taken in by it too.
///
/// # Errors
/// When the database does not answer.
pub async fn whole_activity(
    connection: &mut PgConnection,
    environment: &str,
    wanted: &[(&Subject, Timestamp)],
) -> Result<Vec<Option<Activity>>, StoreError> {
    let columns = Columns::of(wanted.iter().map(|&(subject, _)| subject));
    let since: Vec<OffsetDateTime> = wanted.iter().map(|&(_, since)| text::time(since)).collect();
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!",
                  sum(p.totals[3] - coalesce(o.totals[3], 0))::text AS "consumed!",
                  sum(p.totals[1] + p.totals[4] - coalesce(o.totals[1] + o.totals[4], 0))::text AS "taken_in!",
                  sum(p.totals[6] - coalesce(o.totals[6], 0))::text AS "unmet!"
           FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) WITH ORDINALITY
                AS k (organization_id, product_id, dimensions, groups, since, place)
           CROSS JOIN LATERAL (
               SELECT * FROM seen_activity_place p
               WHERE p.environment_id = $1 AND p.organization_id = k.organization_id AND p.product_id = k.product_id
                 AND p.dimensions = k.dimensions::text[] AND p.groups[1:cardinality(k.groups::text[])] = k.groups::text[]
               OFFSET 0
           ) p
           LEFT JOIN LATERAL (
               SELECT a.totals FROM activity a WHERE a.place_id = p.place_id AND a.minute < k.since
               ORDER BY a.minute DESC LIMIT 1
           ) o ON true
           GROUP BY k.place"#,
        environment,
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &columns.paths,
        &columns.groups,
        &since,
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![None; wanted.len()];
    for row in rows {
        found[row.place as usize - 1] = Some(Activity {
            consumed: text::quantity(&row.consumed)?,
            taken_in: text::quantity(&row.taken_in)?,
            unmet: text::quantity(&row.unmet)?,
            ..Activity::default()
        });
    }
    Ok(found)
}

/// Reads what happened at group paths since times of their own: whole minutes, the ends of which
/// are what is kept. Answers in the same order; nothing where it is not known yet what was done.
///
/// # Errors
/// When the database does not answer.
pub async fn activity(
    connection: &mut PgConnection,
    environment: &str,
    wanted: &[(&Subject, Timestamp)],
) -> Result<Vec<Option<Activity>>, StoreError> {
    let columns = Columns::of(wanted.iter().map(|&(subject, _)| subject));
    let since: Vec<OffsetDateTime> = wanted.iter().map(|&(_, since)| text::time(since)).collect();
    // Totals: allocated, returned, consumed, reallocated in, reallocated out, unmet.
    let rows = sqlx::query!(
        r#"SELECT k.place AS "place!",
                  (p.totals[3] - coalesce(o.totals[3], 0))::text AS "consumed!",
                  (p.totals[1] + p.totals[4] - coalesce(o.totals[1] + o.totals[4], 0))::text AS "taken_in!",
                  (p.totals[6] - coalesce(o.totals[6], 0))::text AS "unmet!"
           FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) WITH ORDINALITY
                AS k (organization_id, product_id, dimensions, groups, since, place)
           CROSS JOIN LATERAL (
               SELECT * FROM seen_activity_place p
               WHERE p.environment_id = $1 AND p.organization_id = k.organization_id AND p.product_id = k.product_id
                 AND p.dimensions = k.dimensions::text[] AND p.groups = k.groups::text[]
               OFFSET 0
           ) p
           LEFT JOIN LATERAL (
               SELECT a.totals FROM activity a WHERE a.place_id = p.place_id AND a.minute < k.since
               ORDER BY a.minute DESC LIMIT 1
           ) o ON true"#,
        environment,
        &columns.organizations as &[&str],
        &columns.products as &[&str],
        &columns.paths,
        &columns.groups,
        &since,
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![None; wanted.len()];
    for row in rows {
        found[row.place as usize - 1] = Some(Activity {
            consumed: text::quantity(&row.consumed)?,
            taken_in: text::quantity(&row.taken_in)?,
            unmet: text::quantity(&row.unmet)?,
            ..Activity::default()
        });
    }
    Ok(found)
}
