//! Authorization: every operation of the document, with every role, in one's own environment, in that
//! of another, and in one that does not exist. An operation that is new has to be put in here.

use reqwest::Method;
use ringfence::domain::access::{Role, Scope};
use ringfence::domain::name::Value as Text;
use serde_json::{Value, json};

use super::access::{key, prefix};
use super::access_apart::whole;
use super::contract::document;
use super::requests::{
    JSON, allocation, changed, consumption, event, groups, problem, reallocation, stock, without,
};
use super::schedule::{change, later, scheduling, today};
use super::support::{Answer, Service, bicycles};

/// What a key that is narrowed to a group path meets, where its role may.
#[derive(Clone, Copy, PartialEq)]
enum Narrow {
    /// Nothing.
    Free,
    /// It may not.
    Never,
    /// That what it asks for has to be within.
    Within,
}
use Narrow::{Free, Never, Within};

/// Every operation, the role that may beside admin, and what a narrowed key meets.
const OPERATIONS: &[(&str, &str, Narrow)] = &[
    ("consume", "consumer", Within),
    ("reserve", "consumer", Within),
    ("reserveInBulk", "consumer", Within),
    ("unreserve", "consumer", Within),
    ("unreserveInBulk", "consumer", Within),
    ("allocate", "planner", Within),
    ("unallocate", "planner", Within),
    ("reallocate", "planner", Within),
    ("putWatch", "planner", Never),
    ("deleteWatch", "planner", Never),
    ("changeOnHand", "stock", Within),
    ("changeOnHandInBulk", "stock", Within),
    ("setOnHandInBulk", "stock", Within),
    ("changeSchedule", "stock", Within),
    ("changeScheduleInBulk", "stock", Within),
    ("getConfiguration", "any", Free),
    ("getCaller", "any", Free),
    ("queryAllocations", "any", Within),
    ("queryOnHand", "any", Within),
    ("queryOnHandExactly", "any", Within),
    ("proposeAllocations", "any", Within),
    ("getOnHand", "any", Within),
    ("listReservations", "any", Within),
    ("getAnalytics", "any", Within),
    ("listEvents", "any", Within),
    ("streamEvents", "any", Within),
    ("listEnabledProducts", "any", Never),
    ("listPartitions", "any", Never),
    ("listWatches", "any", Never),
    ("getWatch", "any", Never),
    ("listAlerts", "any", Never),
    ("putConfiguration", "admin", Never),
    ("hardUpdateConfiguration", "admin", Never),
    ("enableProducts", "admin", Never),
    ("cleanUp", "admin", Never),
    ("cleanUpPartitions", "admin", Never),
    ("listWebhooks", "admin", Never),
    ("getWebhook", "admin", Never),
    ("putWebhook", "admin", Never),
    ("deleteWebhook", "admin", Never),
    ("listDeliveries", "admin", Never),
    ("replayDelivery", "admin", Never),
    ("replayDeliveries", "admin", Never),
    ("listKeys", "admin", Never),
    ("createKey", "admin", Never),
    ("revokeKey", "admin", Never),
    ("health", "nobody", Free),
    ("readiness", "nobody", Free),
];

/// An operation of the document, with what it takes.
struct Operation {
    method: Method,
    /// Its path behind the environment's; none where it is not of one.
    path: Option<String>,
    /// Its parameters in the address: their names.
    parameters: Vec<&'static str>,
    /// Nothing is in it, so that it changes nothing.
    body: &'static str,
    role: &'static str,
    narrow: Narrow,
    name: String,
}

fn operations() -> Vec<Operation> {
    let paths = document()["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let Some(name) = operation["operationId"].as_str() else { continue };
            let row = OPERATIONS.iter().find(|row| row.0 == name);
            let &(_, role, narrow) = row.unwrap_or_else(|| panic!("who may {name}?"));
            let path = path.strip_prefix("/api/environment/{environmentId}/").map(|path| {
                let path = path.replace("{dataSource}", "pos").replace("{prefix}", "rf_qqqqqqqq");
                path.replace("{name}", "none").replace("{deliveryId}", "11111111-1111-1111-1111-111111111111")
            });
            assert!(path.as_ref().is_none_or(|path| !path.contains('{')), "{path:?}");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.filter(|parameter| parameter["in"] == "query");
            let parameters = parameters.map(|parameter| parameter["name"].as_str().unwrap()).collect();
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = if schema["type"] == "array" { "[]" } else { "{}" };
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation {
                method,
                path,
                parameters,
                body,
                role,
                narrow,
                name: name.to_owned(),
            });
        }
    }
    assert_eq!(operations.len(), OPERATIONS.len());
    operations
}

impl Operation {
    async fn ask(&self, service: &Service, environment: &str, key: Option<&str>) -> Answer {
        self.ask_for(service, environment, key, (self.path.as_ref().unwrap(), self.body)).await
    }

    async fn ask_for(
        &self,
        service: &Service,
        environment: &str,
        key: Option<&str>,
        (path, body): (&str, &str),
    ) -> Answer {
        let path = format!("/api/environment/{environment}/{path}");
        let bearer = format!("Bearer {}", key.unwrap_or_default());
        let headers = [JSON, ("authorization", bearer.as_str())];
        let headers = if key.is_some() { &headers[..] } else { &headers[..1] };
        let body = if self.method == Method::GET { "" } else { body };
        // A stream would never end.
        if path.split('?').next().unwrap().ends_with("/stream") {
            let mut asked = service.client.get(format!("{}{path}", service.base));
            for (name, value) in headers {
                asked = asked.header(*name, *value);
            }
            let response = asked.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let text = if status == 200 { String::new() } else { response.text().await.unwrap() };
            return Answer { status, headers, text };
        }
        service.send(self.method.clone(), &path, headers, body.to_owned()).await
    }

    /// A request of the red bicycle and its stores that an unnarrowed key may send: what follows the path,
    /// and the body. None where any request is as good.
    fn request(&self, id: &str, day: &str) -> Option<(&'static str, Value)> {
        let all_groups = "?organizationId=usmf&group.channel=Store";
        let reserved = json!({"quantityDataSource": "@iv", "modifier": "@softreserved", "quantity": 1});
        let freed = json!({
            "id": id, "organizationId": "usmf", "reservationId": "3471c1d8-5cbb-5296-9cbd-1604c27830a5",
            "dimensions": {"siteId": "1", "locationId": "11"}, "OffsetQty": 1,
        });
        let filters = json!({"organizationId": ["usmf"], "productId": ["Bike"]});
        let exact = json!({"dimensions": ["siteId"], "values": [["1"]]});
        let coming = change(id, &[(day.to_owned(), json!({"inbound": 1}))]);
        let balances = json!({"groups": groups("Store")});
        Some(match self.name.as_str() {
            "consume" => ("", consumption(id, "Store", 1)),
            "reserve" => ("", event(id, reserved)),
            "reserveInBulk" => ("", json!([event(id, reserved)])),
            "unreserve" => ("", freed),
            "unreserveInBulk" => ("", json!([freed])),
            "allocate" | "unallocate" => ("", allocation(id, "Store", 1)),
            "reallocate" => ("", reallocation(id, "Store", "Store/VIP", 1)),
            "changeOnHand" => ("", stock(id, 1)),
            "changeOnHandInBulk" | "setOnHandInBulk" => ("", json!([stock(id, 1)])),
            "changeSchedule" => ("", coming),
            "changeScheduleInBulk" => ("", json!([coming])),
            "queryAllocations" => ("", without(event("", balances), "id")),
            "proposeAllocations" => ("", without(event("", json!({})), "id")),
            "queryOnHand" => ("", json!({"filters": filters})),
            "queryOnHandExactly" => ("", json!({"filters": changed(filters, exact)})),
            "getOnHand" | "listReservations" => ("?organizationId=usmf", Value::Null),
            "getAnalytics" | "listEvents" | "streamEvents" => (all_groups, Value::Null),
            "putWatch" => ("", json!({"rule": {"balanceAtOrBelow": 5}})),
            "putWebhook" => ("", json!({"url": "https://example.com/hook"})),
            "createKey" => ("", json!({"name": "another", "role": "reader"})),
            "putConfiguration" => ("", bicycles()),
            "cleanUpPartitions" => ("", json!(["usmf/Bike"])),
            _ => return None,
        })
    }

    /// Every parameter in the address that it has.
    fn query(&self) -> String {
        let given = self.parameters.iter().map(|name| match *name {
            "dimensions" => "siteId=1".to_owned(),
            "groups" => "group.channel=Store".to_owned(),
            "from" | "to" => format!("{name}=2026-01-01T00:00:00Z"),
            "organizationId" => format!("{name}=usmf"),
            "productId" => format!("{name}=Bike"),
            name => format!("{name}=1"),
        });
        format!("?{}", given.collect::<Vec<_>>().join("&"))
    }

    fn is_for(&self, role: Role) -> bool {
        self.role == "any" || role == Role::Admin || self.role == role.as_str()
    }
}

/// What an answer says, but for what is of the one request.
fn said(answer: &Answer) -> (u16, Option<String>, String) {
    (answer.status, answer.header("content-type").map(str::to_owned), answer.text.clone())
}

#[tokio::test]
async fn every_operation_is_for_its_roles_in_their_own_environment_only() {
    let (service, _) = Service::with_auth().await;
    let other = key(&service.database, "other", Role::Admin, Scope::default()).await;
    let bearer = format!("Bearer {other}");
    let configured = service
        .send(
            Method::PUT,
            "/api/environment/other/configuration",
            &[JSON, ("authorization", &bearer)],
            bicycles().to_string(),
        )
        .await;
    assert_eq!(configured.status, 200);
    let mut keys = Vec::new();
    for role in Role::ALL {
        for tenant in ["test", "other"] {
            keys.push((role, tenant, key(&service.database, tenant, role, Scope::default()).await));
        }
    }
    for operation in operations() {
        let name = &operation.name;
        if operation.path.is_none() {
            assert_eq!(operation.role, "nobody", "{name} is of no environment");
            continue;
        }
        for environment in ["test", "other", "nowhere"] {
            let nobody = operation.ask(&service, environment, None).await;
            problem(&nobody, "unauthenticated");
            for (role, tenant, key) in &keys {
                let answer = operation.ask(&service, environment, Some(key)).await;
                let told = format!("{name} in {environment} as {role:?} of {tenant}: {}", answer.text);
                match environment == *tenant {
                    true if operation.is_for(*role) => {
                        assert!(![401, 403].contains(&answer.status), "{told}");
                    }
                    true => {
                        let refused = problem(&answer, "forbidden");
                        let detail = refused["detail"].as_str().unwrap();
                        assert!(detail.contains(role.as_str()) && detail.contains(operation.role), "{told}");
                    }
                    false => {
                        problem(&answer, "forbidden");
                        let nowhere = operation.ask(&service, "nowhere", Some(key)).await;
                        assert_eq!(said(&answer), said(&nowhere), "{told}");
                    }
                }
            }
        }
    }
    service.stop().await;
}

/// Whether nothing of what was asked for was done or told: where there are lines, none of them.
fn is_refused(answer: &Answer) -> bool {
    match answer.status {
        207 => answer.json().as_array().unwrap().iter().all(|line| line["code"] == "forbidden"),
        status => status == 403,
    }
}

#[tokio::test]
async fn no_operation_does_or_tells_anything_outside_of_what_a_key_is_narrowed_to() {
    let (service, admin) = Service::with_auth().await;
    let day = later(today().await, 1);
    let put = service.with_key(&admin, Method::PUT, "configuration", scheduling(30)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    let set_aside = allocation("store", "Store", 5);
    assert_eq!(service.with_key(&admin, Method::POST, "allocation/allocate", set_aside).await.status, 200);
    let web = vec![("channel".to_owned(), Text::parse("Web").unwrap())];
    let of_path = Scope { groups: web, ..Scope::default() };
    let organizations = [Text::parse("frrt").unwrap()].into();
    let of_another = Scope { organizations, ..Scope::default() };
    let mut outside = Vec::new();
    for operation in operations().iter().filter(|operation| operation.path.is_some()) {
        let (name, path) = (&operation.name, operation.path.as_ref().unwrap());
        let role = Role::parse(operation.role).unwrap_or(Role::Reader);
        let (query, body) = match operation.request(name, &day) {
            Some((query, body)) => (query, body.to_string()),
            None => ("", operation.body.to_owned()),
        };
        let path = format!("{path}{query}");
        for scope in [&of_path, &of_another] {
            let key = key(&service.database, "test", role, scope.clone()).await;
            let answer = operation.ask_for(&service, "test", Some(&key), (&path, &body)).await;
            let told = format!("{name} for {scope:?}: {}", answer.text);
            match operation.narrow {
                Narrow::Free => assert_eq!(answer.status, 200, "{told}"),
                Narrow::Never | Narrow::Within if is_refused(&answer) => {}
                Narrow::Never | Narrow::Within => outside.push(told),
            }
        }
        // It is what was asked for, and not how.
        if operation.narrow == Narrow::Within {
            let whole = key(&service.database, "test", role, Scope::default()).await;
            let answer = operation.ask_for(&service, "test", Some(&whole), (&path, &body)).await;
            let is_judged = [200, 207, 404, 409].contains(&answer.status);
            assert!(is_judged && !answer.text.contains("forbidden"), "{name}: {}", answer.text);
        }
    }
    assert!(outside.is_empty(), "{outside:#?}");
    service.stop().await;
}

#[tokio::test]
async fn another_environment_with_everything_in_it_is_as_one_that_does_not_exist() {
    let (service, admin) = Service::with_auth().await;
    let other = key(&service.database, "other", Role::Admin, Scope::default()).await;
    let bearer = format!("Bearer {other}");
    let own = async |method, path: &str, body: Value| {
        let path = format!("/api/environment/other/{path}");
        let done = service.send(method, &path, &[JSON, ("authorization", &bearer)], body.to_string()).await;
        assert_eq!(done.status, 200, "{path}: {}", done.text);
        done
    };
    own(Method::PUT, "configuration", scheduling(30)).await;
    own(Method::POST, "onhand", stock("stock", 10)).await;
    own(Method::POST, "allocation/allocate", allocation("store", "Store", 5)).await;
    own(Method::PUT, "watches/watch", json!({"rule": {"balanceAtOrBelow": 5}})).await;
    own(Method::PUT, "webhooks/hook", json!({"url": "https://example.com/hook"})).await;
    let narrowed = Scope {
        organizations: [Text::parse("usmf").unwrap()].into(),
        groups: vec![("channel".to_owned(), Text::parse("Store").unwrap())],
    };
    let narrowed = key(&service.database, "test", Role::Reader, narrowed).await;
    let day = later(today().await, 1);
    let before = service.books().await;
    for operation in operations().iter().filter(|operation| operation.path.is_some()) {
        let path = operation.path.as_ref().unwrap();
        let path = path.replace("rf_qqqqqqqq", prefix(&other));
        let path = path.replace("watches/none", "watches/watch").replace("webhooks/none", "webhooks/hook");
        let (query, body) = operation.request("theirs", &day).unwrap_or(("", Value::Null));
        let asked = format!("{path}{query}");
        for (path, body) in [
            (asked.clone(), body.to_string()),
            (format!("{path}{}", operation.query()), body.to_string()),
            (asked, "[{".to_owned()),
        ] {
            for key in [Some(admin.as_str()), Some(narrowed.as_str()), Some("rf_none"), None] {
                let there = operation.ask_for(&service, "other", key, (&path, &body)).await;
                let nowhere = operation.ask_for(&service, "nowhere", key, (&path, &body)).await;
                assert!([401, 403].contains(&there.status), "{}: {}", operation.name, there.text);
                assert_eq!(whole(&there), whole(&nowhere), "{} at {path}", operation.name);
            }
        }
    }
    assert_eq!(service.books().await, before);
    for path in ["configuration", "watches/watch", "webhooks/hook", "keys"] {
        own(Method::GET, path, Value::Null).await;
    }
    service.stop().await;
}
