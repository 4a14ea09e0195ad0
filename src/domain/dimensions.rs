//! Dimension paths, their chains, and the hierarchy that orders them.

use std::borrow::{Borrow, Cow};
use std::ops::RangeInclusive;

use super::name::{Name, Value};
use super::refusal::{Fault, Place, Refusal, pointer};

/// Names with values as a request gives them, in the request's order.
pub type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Where stock is: values in hierarchy order, cut after the last one given. A value left
/// out in the middle is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DimensionPath(Vec<Value>);

impl DimensionPath {
    /// Takes values that are in hierarchy order already.
    pub fn new(values: Vec<Value>) -> DimensionPath {
        DimensionPath(values)
    }

    /// The values in hierarchy order.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// The lengths of the prefixes that make up the chain: from the required dimensions to
    /// the whole path, or just the path where it is shorter than that.
    pub fn chain_lengths(&self, required: usize) -> RangeInclusive<usize> {
        required.min(self.0.len())..=self.0.len()
    }

    /// The chain, shallowest node first.
    pub fn chain(&self, required: usize) -> impl DoubleEndedIterator<Item = &[Value]> {
        self.chain_lengths(required).map(|length| &self.0[..length])
    }
}

impl Borrow<[Value]> for DimensionPath {
    fn borrow(&self) -> &[Value] {
        &self.0
    }
}

/// The dimensions in order, and how many of them, from the first, allocations must give.
#[derive(Clone, Debug)]
pub struct DimensionHierarchy {
    names: Vec<Name>,
    required: usize,
}

/// A data source's own names for dimensions.
pub type DimensionMappings = Vec<(Name, usize)>;

impl DimensionHierarchy {
    pub(super) fn new(names: Vec<Name>, required: usize) -> DimensionHierarchy {
        DimensionHierarchy { names, required }
    }

    /// The dimensions, in order.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// How many dimensions allocations and reservations must give.
    pub fn required(&self) -> usize {
        self.required
    }

    /// The dimension with this name, mapped or configured.
    pub fn position(&self, name: &str, mappings: &[(Name, usize)]) -> Option<usize> {
        let mapped = mappings.iter().find(|(external, _)| external.matches(name)).map(|&(_, index)| index);
        mapped.or_else(|| self.names.iter().position(|own| own.matches(name)))
    }

    /// The dimension with this name, mapped or configured, that a request gives at a place.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find(
        &self,
        name: &str,
        mappings: &[(Name, usize)],
        place: impl FnOnce() -> String,
    ) -> Result<usize, Refusal> {
        self.position(name, mappings).ok_or_else(|| Refusal::UnknownDimension {
            pointer: place(),
            known: self.names.iter().map(Name::to_string).collect(),
        })
    }

    /// Puts the given values in order.
    ///
    /// # Errors
    /// Names an unknown dimension, one given twice, or a value that cannot be one.
    pub fn path(&self, given: &Pairs<'_>, mappings: &[(Name, usize)]) -> Result<DimensionPath, Refusal> {
        let mut values: Vec<Option<Value>> = vec![None; self.names.len()];
        for (name, text) in given {
            let place = || pointer("/dimensions", name);
            let index = self.find(name, mappings, place)?;
            let value = match text.as_ref() {
                "" => Value::empty(),
                text => Value::parse(text)
                    .map_err(|error| Refusal::InvalidRequest(vec![Fault::new(place(), error)]))?,
            };
            if values[index].replace(value).is_some() {
                return Err(Refusal::InvalidRequest(vec![Fault::new(place(), "gives a dimension twice")]));
            }
        }
        let length = values.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        values.truncate(length);
        Ok(DimensionPath(values.into_iter().map(|value| value.unwrap_or_else(Value::empty)).collect()))
    }

    /// Checks that the required dimensions are given.
    ///
    /// # Errors
    /// Names those that are not.
    pub fn require(&self, path: &DimensionPath) -> Result<(), Refusal> {
        let missing: Vec<String> = (0..self.required)
            .filter(|&index| path.0.get(index).is_none_or(|value| value.as_str().is_empty()))
            .map(|index| self.names[index].to_string())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::MissingRequiredDimension { pointer: "/dimensions".to_owned(), missing })
    }

    /// Values of some dimensions with their names.
    pub fn places(&self, dimensions: &[usize], values: &[Value]) -> Place {
        let names = dimensions.iter().map(|&dimension| self.names[dimension].to_string());
        Place(names.zip(values.iter().cloned()).collect())
    }

    /// A path's values with their names.
    pub fn place(&self, values: &[Value]) -> Place {
        Place(self.names.iter().map(Name::to_string).zip(values.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy() -> DimensionHierarchy {
        let names = ["siteId", "locationId", "colorId", "sizeId"];
        DimensionHierarchy::new(names.map(|name| Name::parse(name).unwrap()).to_vec(), 2)
    }

    fn path(given: &[(&str, &str)]) -> Result<Vec<String>, Refusal> {
        let given = given.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        let path = hierarchy().path(&given, &[(Name::parse("shopId").unwrap(), 1)])?;
        Ok(path.values().iter().map(Value::to_string).collect())
    }

    #[test]
    fn values_are_put_in_order_and_cut_after_the_last() {
        assert_eq!(path(&[("LOCATIONID", "11"), ("siteId", "1")]).unwrap(), ["1", "11"]);
        assert_eq!(path(&[]).unwrap(), [""; 0]);
        assert_eq!(path(&[("shopid", "11"), ("siteId", "1")]).unwrap(), ["1", "11"], "a mapped name");
    }

    #[test]
    fn what_is_left_out_in_the_middle_is_empty() {
        let helmet = [("siteId", "1"), ("locationId", "11"), ("sizeId", "L")];
        assert_eq!(path(&helmet).unwrap(), ["1", "11", "", "L"]);
        let mut same = helmet.to_vec();
        same.push(("colorId", ""));
        assert_eq!(path(&same).unwrap(), path(&helmet).unwrap());
    }

    #[test]
    fn a_wrong_dimension_is_named() {
        assert!(
            matches!(path(&[("width", "1")]), Err(Refusal::UnknownDimension { pointer, .. }) if pointer == "/dimensions/width")
        );
        assert!(matches!(path(&[("siteId", "1"), ("SiteId", "1")]), Err(Refusal::InvalidRequest(_))));
        assert!(matches!(path(&[("siteId", "a\u{0}")]), Err(Refusal::InvalidRequest(_))));
    }

    #[test]
    fn the_chain_starts_at_the_required_dimensions() {
        let values = |length: usize| vec![Value::parse("x").unwrap(); length];
        let lengths = |length: usize| {
            DimensionPath::new(values(length)).chain(2).map(<[Value]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(4), [2, 3, 4]);
        assert_eq!(lengths(2), [2]);
        assert_eq!(lengths(1), [1], "shorter than required: just the path");
    }

    #[test]
    fn an_empty_value_does_not_give_a_required_dimension() {
        let path = DimensionPath::new(vec![
            Value::parse("1").unwrap(),
            Value::empty(),
            Value::parse("red").unwrap(),
        ]);
        assert!(
            matches!(hierarchy().require(&path), Err(Refusal::MissingRequiredDimension { missing, .. }) if missing == ["locationId"])
        );
    }
}
