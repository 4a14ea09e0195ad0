//! The one table of who may do which operation, and of what a narrowed key sees of it.

use std::sync::LazyLock;

use axum::http::Method;
use hashbrown::HashMap;

use crate::domain::access::Right;

use super::openapi;

/// How an operation is held against a key that is narrowed to organizations or a group path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrowed {
    /// It is of no organization and no group.
    Free,
    /// It is of all of them, so that such a key may not do it.
    Refused,
    /// The address names the organization; what it answers is of no group path.
    Organization,
    /// The address names the organization and, each behind `group.`, the groups.
    Address,
    /// The body does, and the handler holds it against the key.
    Body,
    /// It is a command, held against the key before it is judged. A writer guards it by the version of
    /// the configuration, so that the key need not be read for it.
    Command,
}

/// What an operation takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// The operation's name in the document.
    pub(super) operation: &'static str,
    /// What it is.
    pub(super) right: Right,
    /// How it can be narrowed.
    pub(super) narrowed: Narrowed,
}

/// Who needs these needs no key: they tell nothing of any environment.
#[cfg(test)]
const OPEN: [&str; 2] = ["health", "readiness"];

const fn rule(operation: &'static str, right: Right, narrowed: Narrowed) -> Rule {
    Rule { operation, right, narrowed }
}

/// The table. An operation that is not in it is nobody's.
const RULES: &[Rule] = &[
    rule("consume", Right::Consume, Narrowed::Command),
    rule("reserve", Right::Consume, Narrowed::Command),
    rule("reserveInBulk", Right::Consume, Narrowed::Command),
    rule("unreserve", Right::Consume, Narrowed::Command),
    rule("unreserveInBulk", Right::Consume, Narrowed::Command),
    rule("allocate", Right::Plan, Narrowed::Command),
    rule("unallocate", Right::Plan, Narrowed::Command),
    rule("reallocate", Right::Plan, Narrowed::Command),
    rule("changeOnHand", Right::Report, Narrowed::Command),
    rule("changeOnHandInBulk", Right::Report, Narrowed::Command),
    rule("setOnHandInBulk", Right::Report, Narrowed::Command),
    rule("changeSchedule", Right::Report, Narrowed::Command),
    rule("changeScheduleInBulk", Right::Report, Narrowed::Command),
    rule("queryAllocations", Right::Read, Narrowed::Body),
    rule("queryOnHand", Right::Read, Narrowed::Body),
    rule("queryOnHandExactly", Right::Read, Narrowed::Body),
    rule("proposeAllocations", Right::Read, Narrowed::Body),
    rule("getOnHand", Right::Read, Narrowed::Organization),
    rule("listReservations", Right::Read, Narrowed::Organization),
    rule("getAnalytics", Right::Read, Narrowed::Address),
    rule("listEvents", Right::Read, Narrowed::Address),
    rule("streamEvents", Right::Read, Narrowed::Address),
    rule("listAlerts", Right::Read, Narrowed::Address),
    rule("listEnabledProducts", Right::Read, Narrowed::Refused),
    rule("listPartitions", Right::Read, Narrowed::Refused),
    rule("getConfiguration", Right::Read, Narrowed::Free),
    rule("getCaller", Right::Read, Narrowed::Free),
    rule("listWatches", Right::Read, Narrowed::Refused),
    rule("getWatch", Right::Read, Narrowed::Refused),
    rule("putWatch", Right::Plan, Narrowed::Refused),
    rule("deleteWatch", Right::Plan, Narrowed::Refused),
    rule("putConfiguration", Right::Administer, Narrowed::Refused),
    rule("hardUpdateConfiguration", Right::Administer, Narrowed::Refused),
    rule("enableProducts", Right::Administer, Narrowed::Refused),
    rule("cleanUp", Right::Administer, Narrowed::Refused),
    rule("cleanUpPartitions", Right::Administer, Narrowed::Refused),
    rule("listWebhooks", Right::Administer, Narrowed::Refused),
    rule("getWebhook", Right::Administer, Narrowed::Refused),
    rule("putWebhook", Right::Administer, Narrowed::Refused),
    rule("deleteWebhook", Right::Administer, Narrowed::Refused),
    rule("listDeliveries", Right::Administer, Narrowed::Refused),
    rule("replayDelivery", Right::Administer, Narrowed::Refused),
    rule("replayDeliveries", Right::Administer, Narrowed::Refused),
    rule("listKeys", Right::Administer, Narrowed::Refused),
    rule("createKey", Right::Administer, Narrowed::Refused),
    rule("revokeKey", Right::Administer, Narrowed::Refused),
];

/// The rule of an operation.
pub(super) fn of_operation(operation: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.operation == operation)
}

/// The rules of an API's operations, by route and method.
static RULES_OF_ROUTES: LazyLock<HashMap<String, Vec<(Method, &'static Rule)>>> = LazyLock::new(|| {
    let routes = openapi().paths.paths.into_iter().map(|(route, item)| {
        let operations = [
            (Method::GET, item.get),
            (Method::PUT, item.put),
            (Method::POST, item.post),
            (Method::DELETE, item.delete),
        ];
        let rules = operations
            .into_iter()
            .filter_map(|(method, operation)| Some((method, of_operation(&operation?.operation_id?)?)));
        (route, rules.collect())
    });
    routes.collect()
});

/// The rule of a route and a method; none where nobody may.
pub(super) fn find(route: &str, method: &Method) -> Option<&'static Rule> {
    // The router answers HEAD as GET.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    RULES_OF_ROUTES.get(route)?.iter().find(|(own, _)| own == method).map(|(_, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_rule_and_every_rule_an_operation() {
        let document = serde_json::to_value(openapi()).unwrap();
        let items = document["paths"].as_object().unwrap().values();
        let operations: BTreeSet<String> = items
            .flat_map(|item| item.as_object().unwrap().values())
            .filter_map(|operation| operation["operationId"].as_str().map(str::to_owned))
            .collect();
        let ruled = RULES.iter().map(|rule| rule.operation).chain(OPEN).map(str::to_owned);
        assert_eq!(operations, ruled.collect());
        assert_eq!(operations.len(), RULES.len() + OPEN.len());
    }
}
