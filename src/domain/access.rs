//! Who may do what: roles, what each of them may, and what a role may be narrowed to.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::command::{Request, Target};
use super::dimensions::Pairs;
use super::name::Value;
use super::refusal::Place;

/// What somebody is to an environment. Each may also read; an admin may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Reader,
    /// Takes: consumes, reserves, and gives reservations back.
    Consumer,
    /// Sets stock aside: allocates, unallocates, reallocates; and watches.
    Planner,
    /// Reports stock: on-hand changes, sets, schedules.
    Stock,
    /// All of these, the configuration, the keys, webhooks and erasing.
    Admin,
}

/// What an operation is, so far as rights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// It changes nothing.
    Read,
    /// It takes stock for an order, or undoes that.
    Consume,
    /// It sets stock aside.
    Plan,
    /// It reports stock.
    Report,
    /// It changes what the others rest on.
    Administer,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 5] = [Role::Reader, Role::Consumer, Role::Planner, Role::Stock, Role::Admin];

    /// Whether this role may do such an operation.
    pub fn may(self, right: Right) -> bool {
        match right {
            Right::Read => true,
            Right::Consume => matches!(self, Role::Consumer | Role::Admin),
            Right::Plan => matches!(self, Role::Planner | Role::Admin),
            Right::Report => matches!(self, Role::Stock | Role::Admin),
            Right::Administer => self == Role::Admin,
        }
    }

    /// The role's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Consumer => "consumer",
            Role::Planner => "planner",
            Role::Stock => "stock",
            Role::Admin => "admin",
        }
    }

    /// The role of a name.
    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl Right {
    /// The role that has it, beside admin.
    pub fn role(self) -> Role {
        match self {
            Right::Read => Role::Reader,
            Right::Consume => Role::Consumer,
            Right::Plan => Role::Planner,
            Right::Report => Role::Stock,
            Right::Administer => Role::Admin,
        }
    }
}

/// What a role is narrowed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these organizations; all of them where there are none.
    pub organizations: BTreeSet<Value>,
    /// Only this group path and what is below it; everything where there is none.
    pub groups: Vec<(String, Value)>,
}

/// What was asked for is outside of a scope; says what is inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Outside(String);

impl Scope {
    /// Whether it is no narrower than the environment.
    pub fn is_whole(&self) -> bool {
        self.organizations.is_empty() && self.groups.is_empty()
    }

    /// Whether an organization's stock is within it.
    ///
    /// # Errors
    /// Names the organizations that are.
    pub fn check_organization(&self, organization: &str) -> Result<(), Outside> {
        if self.organizations.is_empty() || self.organizations.contains(organization) {
            return Ok(());
        }
        let names: Vec<&str> = self.organizations.iter().map(Value::as_str).collect();
        let asked = match organization {
            "" => "no organizationId".to_owned(),
            organization => format!("the organization {organization:?}"),
        };
        Err(Outside(format!("asked for {asked}; allowed is only {}", names.join(", "))))
    }

    /// Whether groups are those of its path, or of one below it.
    ///
    /// # Errors
    /// Says which groups must be given.
    pub fn check_groups(&self, given: &Pairs<'_>) -> Result<(), Outside> {
        let agrees = |(name, value): &(String, Value)| {
            let mut of_name = given.iter().filter(|(given, _)| given.to_lowercase() == name.to_lowercase());
            let first = of_name.next();
            first.is_some_and(|(_, text)| text == value.as_str()) && of_name.next().is_none()
        };
        if self.groups.iter().all(agrees) {
            return Ok(());
        }
        Err(Outside(format!(
            "allowed is only the group path {} and what is below it; give these groups",
            self.path()
        )))
    }

    /// Whether what is of no group path is within it.
    ///
    /// # Errors
    /// Says that only a group path is.
    pub fn check_ungrouped(&self) -> Result<(), Outside> {
        if self.groups.is_empty() {
            return Ok(());
        }
        Err(Outside(format!("allowed is only the group path {}, and this is of no group path", self.path())))
    }

    /// Whether a command is within it.
    ///
    /// # Errors
    /// Says what is.
    pub fn check(&self, target: &Target<'_>, request: &Request<'_>) -> Result<(), Outside> {
        self.check_organization(target.product.organization.as_str())?;
        match request {
            Request::Reallocate { source_groups, groups, .. } => {
                self.check_groups(source_groups)?;
                self.check_groups(groups)
            }
            Request::Allocate { groups, .. }
            | Request::Unallocate { groups, .. }
            | Request::Consume { groups, .. }
            | Request::ChangeOnHand { groups: Some(groups), .. } => self.check_groups(groups),
            // What is reserved or reported is the common pool's.
            Request::Reserve { .. }
            | Request::Unreserve { .. }
            | Request::ChangeOnHand { groups: None, .. }
            | Request::SetOnHand { .. }
            | Request::ChangeSchedule { .. } => self.check_ungrouped(),
        }
    }

    /// The group path, as pairs.
    pub fn pairs(&self) -> Pairs<'_> {
        self.groups
            .iter()
            .map(|(name, value)| (Cow::Borrowed(name.as_str()), Cow::Borrowed(value.as_str())))
            .collect()
    }

    /// The group path, to be shown.
    pub fn place(&self) -> Place {
        Place(self.groups.clone())
    }

    fn path(&self) -> String {
        let groups: Vec<String> = self.groups.iter().map(|(name, value)| format!("{name}={value}")).collect();
        groups.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(organizations: &[&str], groups: &[(&str, &str)]) -> Scope {
        let value = |text: &str| Value::parse(text).unwrap();
        Scope {
            organizations: organizations.iter().map(|text| value(text)).collect(),
            groups: groups.iter().map(|&(name, text)| (name.to_owned(), value(text))).collect(),
        }
    }

    fn pairs<'a>(groups: &[(&'a str, &'a str)]) -> Pairs<'a> {
        groups.iter().map(|&(name, text)| (name.into(), text.into())).collect()
    }

    #[test]
    fn each_role_may_read_and_its_own_and_an_admin_everything() {
        let rights = [Right::Read, Right::Consume, Right::Plan, Right::Report, Right::Administer];
        for role in Role::ALL {
            let may: Vec<Right> = rights.into_iter().filter(|&right| role.may(right)).collect();
            match role {
                Role::Admin => assert_eq!(may, rights),
                Role::Reader => assert_eq!(may, [Right::Read]),
                role => assert!(may.len() == 2 && may[1].role() == role, "{role:?} may {may:?}"),
            }
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
    }

    #[test]
    fn a_group_path_is_within_when_it_begins_with_the_scope_s() {
        let scope = scope(&[], &[("channel", "Web"), ("region", "EU")]);
        assert_eq!(
            scope.check_groups(&pairs(&[("Region", "EU"), ("CHANNEL", "Web"), ("tier", "1")])),
            Ok(())
        );
        for groups in [
            &[("channel", "Web")][..],
            &[("channel", "Web"), ("region", "eu")],
            &[("channel", "Store"), ("region", "EU")],
            &[("channel", "Web"), ("Channel", "Store"), ("region", "EU")],
            &[],
        ] {
            let outside = scope.check_groups(&pairs(groups)).unwrap_err();
            assert!(outside.to_string().contains("channel=Web, region=EU"), "{outside}");
        }
        assert!(scope.check_ungrouped().is_err());
    }

    #[test]
    fn organizations_are_values_and_none_means_all() {
        assert_eq!(scope(&[], &[]).check_organization("usmf"), Ok(()));
        let narrow = scope(&["usmf", "frrt"], &[]);
        assert_eq!(narrow.check_organization("frrt"), Ok(()));
        for organization in ["USMF", "", "other"] {
            assert!(narrow.check_organization(organization).is_err(), "{organization}");
        }
        assert!(scope(&[], &[]).is_whole() && !narrow.is_whole());
    }
}
