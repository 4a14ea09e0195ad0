//! What an on-hand query asks, and which stock nodes answer it.
//!
//! An answer has one record per product and combination of values of the *kept* dimensions:
//! those filtered on, and those grouped by. A dimension that a node's path does not reach has
//! the empty value there, as one left out in the middle has.
//!
//! Only nodes down to the *depth* are read: the deepest kept dimension, or the required ones.
//! A node at the depth counts with its total, so with all that is below it; one above it with
//! its own, because its total, if it has one, is counted at the depth already; where it has
//! nothing of its own, it is only on the way to others. So all stock counts exactly once, whatever
//! is asked; and where the kept dimensions are the first ones of the hierarchy, no fewer than
//! required, a record is one node's total.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::slice;

use super::configuration::Configuration;
use super::dimensions::DimensionHierarchy;
use super::name::{Name, Value};
use super::refusal::{Fault, Refusal, pointer};
use super::schedule::Schedule;
use super::state::Measures;

/// Most values of a filter, and most combinations of an exact query.
const VALUES_MAX: usize = 1_000;
/// Most stretches of a product's nodes that one query reads; filters that would make more of
/// them are held against the nodes of fewer, longer ones.
const STRETCHES_MAX: usize = 1_000;

/// What the stock is filtered by, as a request gives it.
#[derive(Clone, Debug)]
pub enum Filters<'a> {
    /// Dimensions, each with the values that it may have; any where none is given.
    Each(Vec<(Cow<'a, str>, Vec<Cow<'a, str>>)>),
    /// The combinations of values that some dimensions may have together.
    Exact {
        /// The dimensions.
        dimensions: Vec<Cow<'a, str>>,
        /// The combinations, each with one value per dimension.
        values: Vec<Vec<Cow<'a, str>>>,
    },
}

/// A query as far as its form tells.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The data source whose names for dimensions are used.
    pub dimension_data_source: Option<Cow<'a, str>>,
    /// What the stock is filtered by.
    pub filters: Filters<'a>,
    /// Further dimensions that the records keep.
    pub group_by: Vec<Cow<'a, str>>,
    /// Where in the request the filters and `group_by` are: JSON pointers.
    pub places: (&'static str, &'static str),
}

/// Nodes of one product that follow one another in the order of their paths, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// The first path that there could be.
    pub from: Vec<Value>,
    /// The last one.
    pub to: Vec<Value>,
}

#[derive(Clone, Debug)]
struct Filter {
    dimension: usize,
    values: BTreeSet<Value>,
}

/// The stock nodes that a query asks for, and the dimensions that its records keep.
#[derive(Clone, Debug)]
pub struct Selection {
    depth: usize,
    kept: Vec<usize>,
    /// By dimension, in the order of the hierarchy.
    filters: Vec<Filter>,
    /// The values that the filtered dimensions may have together, where not all may.
    combinations: Option<BTreeSet<Vec<Value>>>,
    /// How many of the filters the stretches see to.
    seen_to: usize,
    stretches: Vec<Stretch>,
}

impl Selection {
    /// Reads a query under a configuration.
    ///
    /// # Errors
    /// Names an unknown dimension or data source, one given twice, or a value that cannot be one.
    pub fn new(configuration: &Configuration, question: &Question<'_>) -> Result<Selection, Refusal> {
        let names = Names {
            hierarchy: configuration.dimensions(),
            mappings: configuration.mappings(question.dimension_data_source.as_deref())?,
        };
        let (of_filters, of_groups) = question.places;
        let (filters, combinations) = match &question.filters {
            Filters::Each(given) => (names.each(of_filters, given)?, None),
            Filters::Exact { dimensions, values } => names.exact(of_filters, dimensions, values)?,
        };
        let mut kept: BTreeSet<usize> = filters.iter().map(|filter| filter.dimension).collect();
        for (index, name) in question.group_by.iter().enumerate() {
            kept.insert(names.find(name, || format!("{of_groups}/{index}"))?);
        }
        let deepest = kept.last().map_or(0, |&last| last + 1);
        let mut selection = Selection {
            depth: deepest.max(configuration.dimensions().required()),
            kept: kept.into_iter().collect(),
            filters,
            combinations,
            seen_to: 0,
            stretches: Vec::new(),
        };
        selection.stretch();
        Ok(selection)
    }

    /// The length of the longest path that is read; nodes of this length count with their
    /// totals, the others with their own quantities.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The dimensions that the records keep, in the order of the hierarchy.
    pub fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// Whether the nodes of a record follow one another in the order of the nodes' paths.
    pub fn is_in_order(&self) -> bool {
        self.kept.iter().copied().eq(0..self.kept.len())
    }

    /// Where in a product's nodes the answer is, in order and none twice.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// What a node in a stretch must fulfil too: dimensions with the values that each may have.
    pub fn further_filters(&self) -> impl Iterator<Item = (usize, &BTreeSet<Value>)> {
        self.filters[self.seen_to..].iter().map(|filter| (filter.dimension, &filter.values))
    }

    /// Whether a node is asked for, with what counts of it.
    pub fn wants(&self, path: &[Value], quantities: &Measures, schedule: &Schedule) -> bool {
        let is_nothing =
            || schedule.is_empty() && quantities.as_slice().iter().all(|quantity| quantity.is_zero());
        if path.len() > self.depth || (path.len() < self.depth && is_nothing()) {
            return false;
        }
        if !self.filters.iter().all(|filter| filter.values.contains(at(path, filter.dimension))) {
            return false;
        }
        let combination =
            || -> Vec<Value> { self.filters.iter().map(|filter| value_at(path, filter.dimension)).collect() };
        self.combinations.as_ref().is_none_or(|wanted| wanted.contains(&combination()))
    }

    /// The values of the kept dimensions: which record a node belongs to.
    pub fn values(&self, path: &[Value]) -> Vec<Value> {
        self.kept.iter().map(|&dimension| value_at(path, dimension)).collect()
    }

    /// Filters on the first dimensions say where in the order of the nodes to look.
    fn stretch(&mut self) {
        let in_order =
            self.filters.iter().enumerate().take_while(|(place, filter)| filter.dimension == *place);
        let leading = in_order.count();
        let mut prefixes = BTreeSet::from([Vec::new()]);
        for filter in &self.filters[..leading] {
            let longer: BTreeSet<Vec<Value>> = match &self.combinations {
                Some(wanted) => wanted.iter().map(|values| values[..=self.seen_to].to_vec()).collect(),
                None if prefixes.len() * filter.values.len() > STRETCHES_MAX => break,
                None => {
                    let with =
                        |prefix: &Vec<Value>, value: &Value| [&prefix[..], slice::from_ref(value)].concat();
                    let prefixes = prefixes.iter();
                    prefixes
                        .flat_map(|prefix| filter.values.iter().map(move |value| with(prefix, value)))
                        .collect()
                }
            };
            prefixes = longer;
            self.seen_to += 1;
        }
        for prefix in prefixes {
            self.stretches.push(Stretch { to: self.last_below(&prefix), from: prefix.clone() });
            // What is empty at the end may also have been left out.
            let mut shorter = &prefix[..];
            while let Some((last, rest)) = shorter.split_last()
                && last.as_str().is_empty()
            {
                self.stretches.push(Stretch { from: rest.to_vec(), to: rest.to_vec() });
                shorter = rest;
            }
        }
        self.stretches.sort();
    }

    /// A path that none below a prefix comes after, and that all others behind it do.
    fn last_below(&self, prefix: &[Value]) -> Vec<Value> {
        if prefix.len() == self.depth {
            return prefix.to_vec();
        }
        let Some((last, rest)) = prefix.split_last() else { return vec![Value::behind_all()] };
        [rest, &[last.next()]].concat()
    }
}

fn at(path: &[Value], dimension: usize) -> &str {
    path.get(dimension).map_or("", Value::as_str)
}

fn value_at(path: &[Value], dimension: usize) -> Value {
    path.get(dimension).cloned().unwrap_or_else(Value::empty)
}

/// The names that a query may use.
struct Names<'a> {
    hierarchy: &'a DimensionHierarchy,
    mappings: &'a [(Name, usize)],
}

type Combinations = Option<BTreeSet<Vec<Value>>>;

impl Names<'_> {
    fn find(&self, name: &str, place: impl FnOnce() -> String) -> Result<usize, Refusal> {
        self.hierarchy.find(name, self.mappings, place)
    }

    fn each(&self, place: &str, given: &[(Cow<'_, str>, Vec<Cow<'_, str>>)]) -> Result<Vec<Filter>, Refusal> {
        let mut filters: Vec<Filter> = Vec::new();
        let mut found = BTreeSet::new();
        for (name, texts) in given {
            let place = pointer(place, name);
            let dimension = self.find(name, || place.clone())?;
            if !found.insert(dimension) {
                return Err(wrong(place, "gives a dimension twice"));
            }
            at_most(texts.len(), &place)?;
            let value = |(index, text): (usize, &Cow<'_, str>)| value(text, || format!("{place}/{index}"));
            let values: BTreeSet<Value> = texts.iter().enumerate().map(value).collect::<Result<_, _>>()?;
            if !values.is_empty() {
                filters.push(Filter { dimension, values });
            }
        }
        filters.sort_by_key(|filter| filter.dimension);
        Ok(filters)
    }

    fn exact(
        &self,
        place: &str,
        names: &[Cow<'_, str>],
        rows: &[Vec<Cow<'_, str>>],
    ) -> Result<(Vec<Filter>, Combinations), Refusal> {
        let mut columns: Vec<(usize, usize)> = Vec::new();
        for (column, name) in names.iter().enumerate() {
            let place = || format!("{place}/dimensions/{column}");
            let dimension = self.find(name, place)?;
            if columns.iter().any(|&(other, _)| other == dimension) {
                return Err(wrong(place(), "gives a dimension twice"));
            }
            columns.push((dimension, column));
        }
        columns.sort_unstable();
        at_most(rows.len(), &format!("{place}/values"))?;
        if rows.is_empty() && !columns.is_empty() {
            return Err(wrong(format!("{place}/values"), "must have one row at least"));
        }
        let mut combinations = BTreeSet::new();
        for (index, row) in rows.iter().enumerate() {
            let place = format!("{place}/values/{index}");
            if row.len() != names.len() {
                let detail = format!("has {} values for {} dimensions", row.len(), names.len());
                return Err(wrong(place, detail));
            }
            let value = |&(_, column): &(usize, usize)| value(&row[column], || format!("{place}/{column}"));
            combinations.insert(columns.iter().map(value).collect::<Result<Vec<_>, _>>()?);
        }
        let of_column =
            |place: usize| combinations.iter().map(move |values: &Vec<Value>| values[place].clone());
        let filters = columns.iter().enumerate();
        let filters: Vec<Filter> = filters
            .map(|(place, &(dimension, _))| Filter { dimension, values: of_column(place).collect() })
            .collect();
        Ok((filters, Some(combinations).filter(|_| !columns.is_empty())))
    }
}

fn wrong(place: String, detail: impl std::fmt::Display) -> Refusal {
    Refusal::InvalidRequest(vec![Fault::new(place, detail)])
}

fn at_most(count: usize, place: &str) -> Result<(), Refusal> {
    if count <= VALUES_MAX {
        return Ok(());
    }
    Err(wrong(place.to_owned(), format!("has {count} items, at most {VALUES_MAX} are allowed")))
}

fn value(text: &str, place: impl FnOnce() -> String) -> Result<Value, Refusal> {
    match text {
        "" => Ok(Value::empty()),
        text => Value::parse(text).map_err(|error| wrong(place(), error)),
    }
}

#[cfg(test)]
mod tests;
