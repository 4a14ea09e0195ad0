//! Which reservations a list asks for.

use super::configuration::Configuration;
use super::dimensions::Pairs;
use super::name::Value;
use super::refusal::{Fault, Refusal, pointer};

/// Dimensions with the value that each must have, and where in the order of a product's paths
/// such reservations are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldAt {
    filters: Vec<(usize, Value)>,
    first: Vec<Value>,
    last: Vec<Value>,
}

impl HeldAt {
    /// Reads the dimensions of a list under a configuration. One that is not given may have any
    /// value, also those below the last.
    ///
    /// # Errors
    /// Names an unknown dimension or data source, one given twice, or a value that cannot be one.
    pub fn new(
        configuration: &Configuration,
        dimension_data_source: Option<&str>,
        given: &Pairs<'_>,
    ) -> Result<HeldAt, Refusal> {
        let mappings = configuration.mappings(dimension_data_source)?;
        let mut filters: Vec<(usize, Value)> = Vec::new();
        for (name, text) in given {
            let place = || pointer("", name);
            let wrong =
                |detail: &dyn std::fmt::Display| Refusal::InvalidRequest(vec![Fault::new(place(), detail)]);
            let dimension = configuration.dimensions().find(name, mappings, place)?;
            if filters.iter().any(|&(other, _)| other == dimension) {
                return Err(wrong(&"gives a dimension twice"));
            }
            let value = match text.as_ref() {
                "" => Value::empty(),
                text => Value::parse(text).map_err(|error| wrong(&error))?,
            };
            filters.push((dimension, value));
        }
        filters.sort();
        let leading = filters.iter().enumerate().take_while(|(place, (dimension, _))| place == dimension);
        let mut first: Vec<Value> = leading.map(|(_, (_, value))| value.clone()).collect();
        let last = match first.split_last() {
            Some((last, rest)) => [rest, &[last.next()]].concat(),
            None => vec![Value::behind_all()],
        };
        // What is empty at the end may also have been left out.
        while first.last().is_some_and(|value| value.as_str().is_empty()) {
            first.pop();
        }
        Ok(HeldAt { filters, first, last })
    }

    /// The dimensions, by their places in the hierarchy, with the value that each must have.
    pub fn filters(&self) -> &[(usize, Value)] {
        &self.filters
    }

    /// The first path that there could be, and one behind the last.
    pub fn paths(&self) -> (&[Value], &[Value]) {
        (&self.first, &self.last)
    }
}

/// One product, or all of them: the first that there could be, and the last or one behind it.
pub fn products(product: Option<&Value>) -> (Value, Value) {
    match product {
        Some(product) => (product.clone(), product.clone()),
        None => (Value::empty(), Value::behind_all()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::document::Document;

    fn read(given: &[(&'static str, &'static str)]) -> Result<HeldAt, Refusal> {
        let document: Document = serde_json::from_str(
            r#"{"dimensions": ["siteId", "locationId", "colorId"],
                "dataSources": {"pos": {"measures": ["inbound"], "dimensionMappings": {"shopId": "locationId"}}},
                "allocation": {"groups": [], "availableToAllocate": "pos.inbound - @iv.@allocated"}}"#,
        )
        .unwrap();
        let given = given.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        HeldAt::new(&Configuration::new(document, &[]).unwrap(), Some("POS"), &given)
    }

    fn path(values: &[&str]) -> Vec<Value> {
        values.iter().map(|text| Value::stored(text)).collect()
    }

    /// Whether a path is between the first and the last, and how many dimensions are filtered on.
    fn check(given: &[(&'static str, &'static str)], values: &[&str], is_between: bool) {
        let held = read(given).unwrap();
        let (first, last) = held.paths();
        let path = path(values);
        assert_eq!(first <= &path[..] && &path[..] <= last, is_between, "{given:?} {values:?}");
        assert_eq!(held.filters().len(), given.len());
    }

    #[test]
    fn the_first_dimensions_given_bound_what_is_read() {
        let shop = &[("SHOPID", "11"), ("siteId", "1")];
        check(shop, &["1", "11"], true);
        check(shop, &["1", "11", "red"], true);
        check(shop, &["1", "11", ""], true);
        check(shop, &["1", "12"], false);
        check(shop, &["1", "110"], false);
        check(shop, &["1"], false);
        check(&[("siteId", "1"), ("colorId", "red")], &["1", "12", "blue"], true);
        check(&[("siteId", "1"), ("colorId", "red")], &["2", "12", "red"], false);
        check(&[("colorId", "red")], &["9", "9", "red"], true);
        check(&[], &[], true);
        check(&[], &["\u{10ffff}", "11", "red"], true);
        let colorless = &[("siteId", "1"), ("locationId", "11"), ("colorId", "")];
        check(colorless, &["1", "11"], true);
        check(colorless, &["1", "11", ""], true);
        check(colorless, &["1", "11", "red"], false);
        check(colorless, &["1"], false);
    }

    #[test]
    fn a_wrong_dimension_is_named() {
        let place = |given: &[(&'static str, &'static str)]| match read(given) {
            Err(Refusal::UnknownDimension { pointer, .. }) => pointer,
            Err(Refusal::InvalidRequest(faults)) => faults[0].to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(place(&[("width", "1")]), "/width");
        assert_eq!(place(&[("shopId", "1"), ("locationId", "1")]), "/locationId gives a dimension twice");
        assert_eq!(place(&[("siteId", "a\u{1}")]), "/siteId has the control character U+0001");
    }

    #[test]
    fn without_a_product_all_are_between_the_first_and_the_last() {
        let (first, last) = products(None);
        assert!(first < Value::stored("Bike") && Value::stored("\u{10ffff}") < last);
        let bike = Value::stored("Bike");
        assert_eq!(products(Some(&bike)), (bike.clone(), bike));
    }
}
