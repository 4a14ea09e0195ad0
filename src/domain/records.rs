//! The records of an on-hand answer: nodes summed up, and all that is shown of a sum.

use super::configuration::Configuration;
use super::formula::{Formula, Slot};
use super::name::Value;
use super::quantity::Quantity;
use super::schedule::Schedule;
use super::state::Measures;

/// What is available to allocate, as a measure of the service's own data source.
const AVAILABLE_TO_ALLOCATE: &str = "@available_to_allocate";

/// A combination of values of the kept dimensions, with the sum of the nodes that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The product.
    pub product: Value,
    /// The values of the kept dimensions.
    pub values: Vec<Value>,
    /// The sums.
    pub sums: Measures,
    /// What is scheduled, as far as it was asked for.
    pub schedule: Schedule,
}

/// Why nodes are not summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsummable {
    /// A sum is larger than what is kept of a measure, so that a formula could overflow.
    TooLarge(Slot),
    /// A node came after one that it belongs before.
    OutOfOrder,
}

/// Sums nodes up as they come, in the order of their records: it holds one record.
#[derive(Clone, Debug, Default)]
pub struct Records {
    open: Option<Record>,
}

impl Records {
    /// Adds a node. Answers the record before, when the node begins another.
    ///
    /// # Errors
    /// When the node cannot be added.
    pub fn add(
        &mut self,
        product: &str,
        values: Vec<Value>,
        quantities: Measures,
        schedule: Schedule,
    ) -> Result<Option<Record>, Unsummable> {
        let Some(open) = &mut self.open else {
            self.open = Some(Record { product: Value::stored(product), values, sums: quantities, schedule });
            return Ok(None);
        };
        match (open.product.as_str(), &open.values).cmp(&(product, &values)) {
            std::cmp::Ordering::Greater => Err(Unsummable::OutOfOrder),
            std::cmp::Ordering::Less => {
                let product = match open.product.as_str() == product {
                    true => open.product.clone(),
                    false => Value::stored(product),
                };
                Ok(self.open.replace(Record { product, values, sums: quantities, schedule }))
            }
            std::cmp::Ordering::Equal => {
                for (slot, &quantity) in quantities.as_slice().iter().enumerate() {
                    let slot = Slot(slot);
                    if !open.sums.get(slot).can_add(quantity) {
                        return Err(Unsummable::TooLarge(slot));
                    }
                    open.sums.add(slot, quantity);
                }
                for (day, slot, quantity) in schedule.entries() {
                    if !open.schedule.add(day, slot, quantity) {
                        return Err(Unsummable::TooLarge(slot));
                    }
                }
                Ok(None)
            }
        }
    }

    /// The last record.
    pub fn finish(self) -> Option<Record> {
        self.open
    }
}

#[derive(Clone, Debug)]
enum Column {
    Physical(Slot),
    Calculated(Formula),
}

/// All that is shown of a record: every configured measure, physical or calculated, under its
/// data source.
#[derive(Clone, Debug)]
pub struct Columns {
    sources: Vec<(String, Vec<(String, Column)>)>,
}

impl Columns {
    /// The columns of a configuration.
    pub fn new(configuration: &Configuration) -> Columns {
        let mut sources: Vec<(String, Vec<(String, Column)>)> = Vec::new();
        for (source, measures) in configuration.measures() {
            let mut columns: Vec<(String, Column)> =
                measures.iter().map(|(name, slot)| (name.to_string(), Column::Physical(*slot))).collect();
            if source.is_predefined() {
                let formula = configuration.available_to_allocate().clone();
                columns.push((AVAILABLE_TO_ALLOCATE.to_owned(), Column::Calculated(formula)));
            }
            sources.push((source.to_string(), columns));
        }
        for (name, formula) in configuration.calculated() {
            let column = (name.measure.to_string(), Column::Calculated(formula.clone()));
            match sources.iter_mut().find(|(source, _)| name.source.matches(source)) {
                Some((_, columns)) => columns.push(column),
                None => sources.push((name.source.to_string(), vec![column])),
            }
        }
        sources.retain(|(_, columns)| !columns.is_empty());
        Columns { sources }
    }

    /// The quantities of a record, in the order of [`Columns::names`].
    pub fn quantities(&self, sums: &Measures) -> Vec<Quantity> {
        let columns = self.sources.iter().flat_map(|(_, columns)| columns);
        columns
            .map(|(_, column)| match column {
                Column::Physical(slot) => sums.get(*slot),
                Column::Calculated(formula) => formula.evaluate(|slot| sums.get(slot)),
            })
            .collect()
    }

    /// The data sources, each with the names of its measures.
    pub fn names(&self) -> impl Iterator<Item = (&str, impl ExactSizeIterator<Item = &str>)> {
        self.sources
            .iter()
            .map(|(source, columns)| (source.as_str(), columns.iter().map(|(name, _)| name.as_str())))
    }
}

/// Whether a record is a negative one, which `returnNegative` is about: any of its quantities
/// is below zero, be it physical or calculated.
pub fn is_negative(quantities: &[Quantity]) -> bool {
    quantities.iter().any(|&quantity| quantity < Quantity::ZERO)
}

#[cfg(test)]
mod tests;
