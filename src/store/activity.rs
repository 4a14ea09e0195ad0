//! What was done with what is set aside: read from the ledger, and kept as running totals. Only the
//! follower "activity" writes them, and only with its turn, so nothing here needs a guard.

use hashbrown::HashMap;

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::domain::activity::{Kept, Minute, Moved, Series, Spot, Totals, add};
use crate::domain::command::ProductKey;
use crate::domain::dimensions::DimensionPath;
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;

use super::{StoreError, text};

/// Reads what was done from the event behind `after` up to `until`, by spots and minutes; what is
/// older than minutes are kept counts for the last of its hour or day. Events of products that were
/// erased are none.
///
/// # Errors
/// When the database does not answer.
pub async fn moved(
    connection: &mut PgConnection,
    (after, until): (i64, i64),
    kept: Kept,
) -> Result<Vec<Moved>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT l.environment_id, l.organization_id, l.product_id, l.dimensions, l.groups AS "groups!", l.source_groups,
                  l.operation, b.minute AS "minute!", sum(l.quantity)::text AS "quantity!",
                  max(l.received_at) AS "latest!"
           FROM (
               -- Those of a batch, which have a time in common, are added up first: all that is
               -- found out about them below is found out once. Where some may have been erased,
               -- each stands alone.
               SELECT environment_id, organization_id, product_id, dimensions, groups, source_groups, operation,
                      received_at, sum(quantity) AS quantity,
                      CASE WHEN (SELECT EXISTS (SELECT FROM erasure WHERE until_event_id > $1)) THEN event_id END AS alone
               -- In this order for no other reason than that the events are looked up by their ids.
               FROM (SELECT * FROM ledger WHERE event_id > $1 AND event_id <= $2 ORDER BY event_id OFFSET 0) l
               GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 10
           ) l
           CROSS JOIN LATERAL (
               SELECT CASE WHEN l.received_at >= $3 THEN date_trunc('minute', l.received_at, 'UTC')
                           WHEN l.received_at >= $4 THEN date_trunc('hour', l.received_at, 'UTC') + interval '59 minutes'
                           ELSE date_trunc('day', l.received_at, 'UTC') + interval '23 hours 59 minutes' END AS minute
           ) b
           WHERE l.operation IN ('allocate', 'unallocate', 'reallocate', 'consume')
             AND (l.alone IS NULL
                  OR NOT EXISTS (SELECT FROM erasure x
                                 WHERE x.environment_id = l.environment_id AND x.organization_id = l.organization_id
                                   AND x.product_id = l.product_id AND l.alone <= x.until_event_id))
           GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"#,
        after,
        until,
        text::time(kept.minutes_from.start()),
        text::time(kept.hours_from.start()),
    )
    .fetch_all(connection)
    .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let quantity = text::quantity(&row.quantity)?;
        let minute = Minute::of(text::timestamp(row.minute));
        let latest = text::timestamp(row.latest);
        let nothing = Totals::default();
        let totals = match row.operation.as_str() {
            "allocate" => Totals { allocated: quantity, ..nothing },
            "unallocate" => Totals { returned: quantity, ..nothing },
            "reallocate" => Totals { reallocated_in: quantity, ..nothing },
            _ => Totals { consumed: quantity, last_consumed_at: Some(latest), ..nothing },
        };
        let spot =
            spot([&row.environment_id, &row.organization_id, &row.product_id], &row.dimensions, &row.groups);
        if let Some(source) = row.source_groups {
            let source = Spot { groups: GroupPath::stored(text::values(&source)), ..spot.clone() };
            let totals = Totals { reallocated_out: quantity, ..nothing };
            all.push(Moved { spot: source, minute, totals });
        }
        all.push(Moved { spot, minute, totals });
    }
    Ok(all)
}

pub(super) fn spot(
    [environment, organization, product]: [&str; 3],
    path: &[String],
    groups: &[String],
) -> Spot {
    Spot {
        product: ProductKey {
            environment: Value::stored(environment),
            organization: Value::stored(organization),
            product: Value::stored(product),
        },
        path: DimensionPath::new(text::values(path)),
        groups: GroupPath::stored(text::values(groups)),
    }
}

/// Running totals of the spots that something is to be added to.
#[derive(Default)]
struct Known(HashMap<Spot, Place>);

/// A spot's place, and what is known of its running totals: all of those that change.
struct Place {
    id: i64,
    series: Series,
    /// The first minute that something was added to.
    first: Minute,
}

/// The columns of a list of spots, as statements take them.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) environments: Vec<&'a str>,
    pub(super) organizations: Vec<&'a str>,
    pub(super) products: Vec<&'a str>,
    pub(super) paths: Vec<String>,
    pub(super) groups: Vec<String>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(spots: impl Iterator<Item = &'a Spot>) -> Columns<'a> {
        let mut columns = Columns::default();
        for Spot { product, path, groups } in spots {
            let [environment, organization, product] = product.as_strs();
            columns.environments.push(environment);
            columns.organizations.push(organization);
            columns.products.push(product);
            columns.paths.push(text::array(path.values()));
            columns.groups.push(text::array(groups.values()));
        }
        columns
    }
}

/// Keeps what was done, in addition to what is kept.
///
/// # Errors
/// When the database does not do it.
pub async fn keep(connection: &mut PgConnection, moved: &[Moved]) -> Result<(), StoreError> {
    if moved.is_empty() {
        return Ok(());
    }
    let mut firsts: HashMap<&Spot, Minute> = HashMap::new();
    for Moved { spot, minute, .. } in moved {
        let first = firsts.entry(spot).or_insert(*minute);
        *first = (*first).min(*minute);
    }
    let mut known = Known::read(connection, &firsts).await?;
    known.make_places(connection, &firsts).await?;
    for Moved { spot, minute, totals } in moved {
        if let Some(place) = known.0.get_mut(spot) {
            add(&mut place.series, *minute, totals);
        }
    }
    known.write(connection).await
}

impl Known {
    async fn read(
        connection: &mut PgConnection,
        firsts: &HashMap<&Spot, Minute>,
    ) -> Result<Known, StoreError> {
        let spots: Vec<&Spot> = firsts.keys().copied().collect();
        let columns = Columns::of(spots.iter().copied());
        let rows = sqlx::query!(
            r#"SELECT k.place AS "place!", p.place_id AS "place_id!", p.minute AS "minute!", p.totals::text AS "totals!", p.last_consumed_at
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
                    AS k (environment_id, organization_id, product_id, dimensions, groups, place)
               JOIN seen_activity_place p ON p.environment_id = k.environment_id AND p.organization_id = k.organization_id
                    AND p.product_id = k.product_id AND p.dimensions = k.dimensions::text[] AND p.groups = k.groups::text[]"#,
            &columns.environments as &[&str],
            &columns.organizations as &[&str],
            &columns.products as &[&str],
            &columns.paths,
            &columns.groups,
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut known = Known::default();
        let mut late: HashMap<i64, &Spot> = HashMap::new();
        for row in rows {
            let spot = spots[row.place as usize - 1];
            let (minute, first) = (Minute::of(text::timestamp(row.minute)), firsts[spot]);
            // What is added in the last minute or later changes nothing that is before it.
            if first < minute {
                late.insert(row.place_id, spot);
            }
            let series = Series::from([(minute, totals(&row.totals, row.last_consumed_at)?)]);
            known.0.insert(spot.clone(), Place { id: row.place_id, series, first });
        }
        known.read_late(connection, &late).await?;
        Ok(known)
    }

    /// Reads the totals from the first minute that something is added to, and those before it.
    async fn read_late(
        &mut self,
        connection: &mut PgConnection,
        late: &HashMap<i64, &Spot>,
    ) -> Result<(), StoreError> {
        if late.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = late.keys().copied().collect();
        let firsts: Vec<OffsetDateTime> =
            ids.iter().map(|id| text::time(self.0[late[id]].first.start())).collect();
        let rows = sqlx::query!(
            r#"SELECT a.place_id, a.minute, a.totals::text AS "totals!", a.last_consumed_at
               FROM unnest($1::bigint[], $2::timestamptz[]) AS k (place_id, first)
               JOIN activity a ON a.place_id = k.place_id
                AND a.minute >= coalesce((SELECT b.minute FROM activity b
                                          WHERE b.place_id = k.place_id AND b.minute < k.first
                                          ORDER BY b.minute DESC LIMIT 1), k.first)"#,
            &ids,
            &firsts,
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            if let Some(place) = self.0.get_mut(late[&row.place_id]) {
                let totals = totals(&row.totals, row.last_consumed_at)?;
                place.series.insert(Minute::of(text::timestamp(row.minute)), totals);
            }
        }
        Ok(())
    }

    /// Gives a place to those that have none.
    async fn make_places(
        &mut self,
        connection: &mut PgConnection,
        firsts: &HashMap<&Spot, Minute>,
    ) -> Result<(), StoreError> {
        let new: Vec<(&Spot, Minute)> = firsts
            .iter()
            .filter(|(spot, _)| !self.0.contains_key(**spot))
            .map(|(&spot, &minute)| (spot, minute))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let columns = Columns::of(new.iter().map(|&(spot, _)| spot));
        let minutes: Vec<OffsetDateTime> = new.iter().map(|(_, minute)| text::time(minute.start())).collect();
        let nothing = text_of(&Totals::default());
        let rows = sqlx::query!(
            r#"WITH spot AS (
                   SELECT nextval('activity_place_place_id_seq') AS place_id, k.*
                   FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) WITH ORDINALITY
                        AS k (environment_id, organization_id, product_id, dimensions, groups, minute, place)
               ), made AS (
                   INSERT INTO activity_place (place_id, environment_id, organization_id, product_id, dimensions, groups,
                                               totals, minute, first_minute)
                   SELECT place_id, environment_id, organization_id, product_id, dimensions::text[], groups::text[],
                          $7::text::numeric[], minute, minute
                   FROM spot
               )
               SELECT place AS "place!", place_id AS "place_id!" FROM spot"#,
            &columns.environments as &[&str],
            &columns.organizations as &[&str],
            &columns.products as &[&str],
            &columns.paths,
            &columns.groups,
            &minutes,
            nothing,
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let (spot, first) = new[row.place as usize - 1];
            self.0.insert(spot.clone(), Place { id: row.place_id, series: Series::new(), first });
        }
        Ok(())
    }

    async fn write(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let mut ids = Vec::new();
        let mut rows = Rows::default();
        let mut latest = Rows::default();
        for Place { id, series, first } in self.0.values() {
            for (minute, totals) in series.range(first..) {
                ids.push(*id);
                rows.push(*minute, totals);
            }
            if let Some((minute, totals)) = series.last_key_value() {
                latest.push(*minute, totals);
            }
        }
        sqlx::query!(
            "INSERT INTO activity (place_id, minute, totals, last_consumed_at)
             SELECT r.place_id, r.minute, r.totals::numeric[], r.last_consumed_at
             FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::timestamptz[])
                  AS r (place_id, minute, totals, last_consumed_at)
             ON CONFLICT (place_id, minute) DO UPDATE
             SET totals = excluded.totals, last_consumed_at = excluded.last_consumed_at",
            &ids,
            &rows.minutes,
            &rows.totals,
            &rows.last_consumed as &[Option<OffsetDateTime>],
        )
        .execute(&mut *connection)
        .await?;
        let (ids, firsts): (Vec<i64>, Vec<OffsetDateTime>) =
            self.0.values().map(|place| (place.id, text::time(place.first.start()))).unzip();
        // A first minute that is unknown stays so.
        sqlx::query!(
            "UPDATE activity_place p
             SET minute = r.minute, totals = r.totals::numeric[], last_consumed_at = r.last_consumed_at,
                 first_minute = CASE WHEN p.first_minute > r.first THEN r.first ELSE p.first_minute END
             FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::timestamptz[], $5::timestamptz[])
                  AS r (place_id, minute, totals, last_consumed_at, first)
             WHERE p.place_id = r.place_id",
            &ids,
            &latest.minutes,
            &latest.totals,
            &latest.last_consumed as &[Option<OffsetDateTime>],
            &firsts,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

#[derive(Default)]
struct Rows {
    minutes: Vec<OffsetDateTime>,
    totals: Vec<String>,
    last_consumed: Vec<Option<OffsetDateTime>>,
}

impl Rows {
    fn push(&mut self, minute: Minute, totals: &Totals) {
        self.minutes.push(text::time(minute.start()));
        self.totals.push(text_of(totals));
        self.last_consumed.push(totals.last_consumed_at.map(text::time));
    }
}

/// Totals as the literal of a column's array.
fn text_of(totals: &Totals) -> String {
    let Totals { allocated, returned, consumed, reallocated_in, reallocated_out, .. } = totals;
    let Totals { unmet_quantity, unmet_count, .. } = totals;
    format!(
        "{{{allocated},{returned},{consumed},{reallocated_in},{reallocated_out},{unmet_quantity},{unmet_count}}}"
    )
}

/// Totals that were stored, of the literal of their array.
pub(super) fn totals(literal: &str, last_consumed_at: Option<OffsetDateTime>) -> Result<Totals, StoreError> {
    let texts: Vec<&str> = literal.trim_matches(['{', '}']).split(',').collect();
    let [allocated, returned, consumed, reallocated_in, reallocated_out, unmet_quantity, unmet_count] =
        texts[..]
    else {
        return Err(StoreError::Rejected(format!("{literal:?} are no totals of activity")));
    };
    let quantity = |text: &str| -> Result<Quantity, StoreError> { text::quantity(text) };
    Ok(Totals {
        allocated: quantity(allocated)?,
        returned: quantity(returned)?,
        consumed: quantity(consumed)?,
        reallocated_in: quantity(reallocated_in)?,
        reallocated_out: quantity(reallocated_out)?,
        unmet_quantity: quantity(unmet_quantity)?,
        unmet_count: unmet_count
            .parse()
            .map_err(|_| StoreError::Rejected(format!("the stored count {unmet_count:?} is none")))?,
        last_consumed_at: last_consumed_at.map(text::timestamp),
    })
}

/// Thins out what some places have: of rows older than minutes are kept, only the last of each hour,
/// and later of each day. Goes through the places in the order of their ids, beginning behind one;
/// answers the last, or nothing where there are none behind it.
///
/// # Errors
/// When the database does not do it.
pub async fn thin(
    connection: &mut PgConnection,
    behind: i64,
    most_places: i64,
    kept: Kept,
) -> Result<Option<i64>, StoreError> {
    let places = sqlx::query_scalar!(
        "SELECT place_id FROM activity_place WHERE place_id > $1 ORDER BY place_id LIMIT $2",
        behind,
        most_places,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        "WITH old AS (
             SELECT a.place_id, a.minute, lead(a.minute) OVER (PARTITION BY a.place_id ORDER BY a.minute) AS next
             FROM unnest($1::bigint[]) AS p (place_id)
             JOIN activity a ON a.place_id = p.place_id AND a.minute < $2
         )
         DELETE FROM activity a USING old
         WHERE a.place_id = old.place_id AND a.minute = old.minute
           AND (date_trunc('hour', old.next, 'UTC') = date_trunc('hour', old.minute, 'UTC')
                OR old.next < $3 AND date_trunc('day', old.next, 'UTC') = date_trunc('day', old.minute, 'UTC'))",
        &places,
        text::time(kept.minutes_from.start()),
        text::time(kept.hours_from.start()),
    )
    .execute(connection)
    .await?;
    Ok(places.last().copied())
}
