//! Group paths and the allocation hierarchy that orders them.

use std::borrow::Borrow;

use super::dimensions::Pairs;
use super::name::{Name, Value};
use super::refusal::{Fault, Place, Refusal, pointer};

/// For whom stock is set aside: values for the first *k* groups, *k* ≥ 1, none left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPath(Vec<Value>);

impl GroupPath {
    /// Takes values that the service itself stored.
    pub(crate) fn stored(values: Vec<Value>) -> GroupPath {
        GroupPath(values)
    }

    /// The values in hierarchy order.
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

impl Borrow<[Value]> for GroupPath {
    fn borrow(&self) -> &[Value] {
        &self.0
    }
}

/// The allocation groups in order, at most [`AllocationHierarchy::GROUPS_MAX`].
#[derive(Clone, Debug)]
pub struct AllocationHierarchy(Vec<Name>);

impl AllocationHierarchy {
    /// Most groups of a hierarchy (Inventory Visibility's own limit).
    pub const GROUPS_MAX: usize = 8;

    pub(super) fn new(names: Vec<Name>) -> AllocationHierarchy {
        AllocationHierarchy(names)
    }

    /// The groups, in order.
    pub fn names(&self) -> &[Name] {
        &self.0
    }

    /// Puts the given values in order; a group may be left out anywhere.
    ///
    /// # Errors
    /// Names an unknown group, one given twice, or a value that cannot be one.
    pub fn filter(&self, parent: &str, given: &Pairs<'_>) -> Result<Vec<Option<Value>>, Refusal> {
        let mut values: Vec<Option<Value>> = vec![None; self.0.len()];
        for (name, text) in given {
            let place = || pointer(parent, name);
            let index =
                self.0.iter().position(|group| group.matches(name)).ok_or_else(|| Refusal::UnknownGroup {
                    pointer: place(),
                    known: self.0.iter().map(Name::to_string).collect(),
                })?;
            let value = Value::parse(text)
                .map_err(|error| Refusal::InvalidRequest(vec![Fault::new(place(), error)]))?;
            if values[index].replace(value).is_some() {
                return Err(Refusal::InvalidRequest(vec![Fault::new(place(), "gives a group twice")]));
            }
        }
        Ok(values)
    }

    /// Reads a group path.
    ///
    /// # Errors
    /// As [`AllocationHierarchy::filter`], and names a group left out above one that was given.
    pub fn path(&self, parent: &str, given: &Pairs<'_>) -> Result<GroupPath, Refusal> {
        let values = self.filter(parent, given)?;
        let Some(lowest) = values.iter().rposition(Option::is_some) else {
            return Err(Refusal::InvalidRequest(vec![Fault::new(parent, "must give one group at least")]));
        };
        let path: Vec<Value> = values.into_iter().take_while(Option::is_some).flatten().collect();
        if path.len() <= lowest {
            return Err(Refusal::HierarchyGap {
                pointer: parent.to_owned(),
                given: self.0[lowest].to_string(),
                missing: self.0[path.len()].to_string(),
            });
        }
        Ok(GroupPath(path))
    }

    /// A path's values with their names.
    pub fn place(&self, values: &[Value]) -> Place {
        Place(self.0.iter().map(Name::to_string).zip(values.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(given: &[(&str, &str)]) -> Result<Vec<String>, Refusal> {
        let names = ["channel", "customerGroup", "region"].map(|name| Name::parse(name).unwrap());
        let given = given.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        let path = AllocationHierarchy::new(names.to_vec()).path("/groups", &given)?;
        Ok(path.values().iter().map(Value::to_string).collect())
    }

    #[test]
    fn the_first_groups_make_a_path_in_any_order_and_letter_case() {
        assert_eq!(path(&[("channel", "Web")]).unwrap(), ["Web"]);
        assert_eq!(
            path(&[("REGION", "EU"), ("customergroup", "VIP"), ("Channel", "Web")]).unwrap(),
            ["Web", "VIP", "EU"]
        );
    }

    #[test]
    fn a_gap_is_an_error_never_a_guess() {
        let gap = path(&[("channel", "Web"), ("region", "EU")]).unwrap_err();
        assert!(
            matches!(gap, Refusal::HierarchyGap { given, missing, .. } if given == "region" && missing == "customerGroup")
        );
        let gap = path(&[("region", "EU")]).unwrap_err();
        assert!(matches!(gap, Refusal::HierarchyGap { missing, .. } if missing == "channel"));
    }

    #[test]
    fn a_wrong_group_is_named() {
        assert!(
            matches!(path(&[("tier", "1")]), Err(Refusal::UnknownGroup { pointer, .. }) if pointer == "/groups/tier")
        );
        for given in [&[][..], &[("channel", "")], &[("channel", "a"), ("Channel", "b")]] {
            assert!(matches!(path(given), Err(Refusal::InvalidRequest(_))), "{given:?}");
        }
    }
}
