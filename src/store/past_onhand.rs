//! The stock of then: a product's, or the stock nodes of an on-hand answer, as a stream.
//!
//! Products are taken one after the other, each replayed from its nearest snapshot on, so no more
//! than one is in memory. It takes several statements, all in one transaction of one snapshot of
//! the database: a product that is erased meanwhile is there as a whole, or not at all.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use hashbrown::HashMap;
use sqlx::{Connection, PgConnection, Postgres, Transaction};

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::DimensionPath;
use crate::domain::name::Value;
use crate::domain::query::Selection;
use crate::domain::schedule::{Period, Schedule};
use crate::domain::state::Stock;

use super::onhand::{Owner, Part, Stream};
use super::replay::Rules;
use super::{StoreError, past};

/// Products whose names are read at once.
const PAGE_PRODUCTS: i64 = 100;

/// What is asked for, as [`Stream::parts`] takes it.
pub struct Asking<'a> {
    /// Whose nodes.
    pub owner: Owner<'a>,
    /// Which of them.
    pub selection: &'a Selection,
    /// Those behind the record of a product with these values, where one is given.
    pub after: Option<(&'a Value, &'a [Value])>,
    /// The days of the schedule.
    pub period: Option<Period>,
}

impl Stream {
    /// Reads how a product stood right after the last of its events up to one, which is settled.
    ///
    /// # Errors
    /// As [`past::stock`].
    pub async fn stock_of_then(
        &mut self,
        key: &ProductKey,
        configuration: &Configuration,
        until: i64,
    ) -> Result<Stock, StoreError> {
        let mut transaction = begin(self.connection()?).await?;
        let mut rules = Rules::of_each(key.environment.as_str());
        let stock = past::stock(&mut transaction, &mut rules, key, configuration, until).await?;
        transaction.rollback().await?;
        self.is_read();
        Ok(stock)
    }

    /// As [`Stream::parts`], of what was the case right after an event, which is settled.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn parts_of_then<'c>(
        &'c mut self,
        asking: Asking<'c>,
        configuration: &'c Configuration,
        until: i64,
    ) -> Result<BoxStream<'c, Result<Part, StoreError>>, StoreError> {
        let transaction = begin(self.connection()?).await?;
        let rules = Rules::of_each(asking.owner.environment.as_str());
        let after = asking.after.map(|(product, _)| product.clone());
        let products = Products::of(&asking, after);
        let reading = Reading { transaction, asking, configuration, until, rules, products };
        let products = stream::try_unfold(reading, async |mut reading: Reading<'c>| {
            let next = reading.next().await?;
            Ok::<_, StoreError>(next.map(|parts| (parts, reading)))
        });
        let parts = products.map_ok(|parts| stream::iter(parts.into_iter().map(Ok)));
        Ok(parts.try_flatten().boxed())
    }
}

async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, StoreError> {
    Ok(connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
}

/// Names of products, in order.
struct Products {
    read: VecDeque<Value>,
    /// The last one read, where there may be more.
    after: Option<Value>,
}

impl Products {
    /// Those that are asked for, from one on.
    fn of(asking: &Asking<'_>, from: Option<Value>) -> Products {
        let named = asking.owner.products;
        let read = named.iter().filter(|name| from.as_ref().is_none_or(|from| *name >= from));
        let read: VecDeque<Value> = match named.is_empty() {
            true => from.iter().cloned().collect(),
            false => read.cloned().collect(),
        };
        let after = named.is_empty().then(|| from.unwrap_or_else(Value::empty));
        Products { read, after }
    }

    /// The next one: of all that there are, where none were named.
    async fn next(
        &mut self,
        connection: &mut PgConnection,
        owner: &Owner<'_>,
    ) -> Result<Option<Value>, StoreError> {
        if self.read.is_empty()
            && let Some(after) = self.after.take()
        {
            self.read = products(connection, owner, &after).await?.into();
            self.after = self.read.back().cloned().filter(|_| self.read.len() == PAGE_PRODUCTS as usize);
        }
        Ok(self.read.pop_front())
    }
}

/// The products of an organization that have any stock node now, behind one. A node goes only with
/// all that is known of its product.
async fn products(
    connection: &mut PgConnection,
    owner: &Owner<'_>,
    after: &Value,
) -> Result<Vec<Value>, StoreError> {
    let rows = sqlx::query_scalar!(
        r#"WITH RECURSIVE every (product_id) AS (
               (SELECT s.product_id FROM stock_node s
                WHERE s.environment_id = $1 AND s.organization_id = $2 AND s.product_id > $3
                ORDER BY s.product_id LIMIT 1)
               UNION ALL
               SELECT (SELECT s.product_id FROM stock_node s
                       WHERE s.environment_id = $1 AND s.organization_id = $2 AND s.product_id > e.product_id
                       ORDER BY s.product_id LIMIT 1)
               FROM every e WHERE e.product_id IS NOT NULL
           )
           SELECT product_id AS "product_id!" FROM every WHERE product_id IS NOT NULL LIMIT $4"#,
        owner.environment.as_str(),
        owner.organization.as_str(),
        after.as_str(),
        PAGE_PRODUCTS,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().map(|product| Value::stored(product)).collect())
}

/// An answer while it is read.
struct Reading<'c> {
    transaction: Transaction<'c, Postgres>,
    asking: Asking<'c>,
    configuration: &'c Configuration,
    until: i64,
    rules: Rules,
    products: Products,
}

impl Reading<'_> {
    /// The parts of the next product.
    async fn next(&mut self) -> Result<Option<Vec<Part>>, StoreError> {
        let owner = &self.asking.owner;
        let Some(product) = self.products.next(&mut self.transaction, owner).await? else { return Ok(None) };
        let environment = owner.environment.clone();
        let key = ProductKey { environment, organization: owner.organization.clone(), product };
        let (transaction, rules) = (&mut self.transaction, &mut self.rules);
        let stock = past::stock(transaction, rules, &key, self.configuration, self.until).await?;
        self.asking.parts(&key.product, stock).map(Some)
    }
}

impl Asking<'_> {
    /// What the nodes of a product add to the records, in the order of these.
    fn parts(&self, product: &Value, stock: Stock) -> Result<Vec<Part>, StoreError> {
        let depth = self.selection.depth();
        let mut scheduled = self.scheduled(&stock.schedules)?;
        let mut parts = Vec::new();
        for (path, node) in stock.nodes.into_iter().filter(|(path, _)| path.values().len() <= depth) {
            let path = path.values();
            let record = self.selection.values(path);
            if self.after.is_some_and(|(last, values)| last == product && record[..] <= *values) {
                continue;
            }
            let quantities = if path.len() == depth { node.total } else { node.own };
            let schedule = scheduled.remove(path).unwrap_or_default();
            let part = Part { product: product.to_string(), path: path.to_vec(), quantities, schedule };
            parts.push((record, part));
        }
        parts.sort_by(|(one, part), (other, next)| (one, &part.path).cmp(&(other, &next.path)));
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }

    /// What counts of the schedules at each node, as its quantities do.
    fn scheduled(
        &self,
        schedules: &HashMap<DimensionPath, Schedule>,
    ) -> Result<HashMap<Vec<Value>, Schedule>, StoreError> {
        let mut sums: HashMap<Vec<Value>, Schedule> = HashMap::new();
        let Some(period) = self.period else { return Ok(sums) };
        for (path, schedule) in schedules {
            let path = path.values();
            let sum = sums.entry(path[..path.len().min(self.selection.depth())].to_vec()).or_default();
            for (day, slot, quantity) in schedule.entries().filter(|&(day, ..)| period.has(day)) {
                if !sum.add(day, slot, quantity) {
                    let what = format!("the schedules of {day} are too large for their sum");
                    return Err(StoreError::Rejected(what));
                }
            }
        }
        Ok(sums)
    }
}
