//! Authorization: every operation of the document, with every role, in one's own environment, in that
//! of another, and in one that does not exist. An operation that is new has to be put in here.

use reqwest::Method;
use ringfence::domain::access::{Role, Scope};
use ringfence::domain::name::Value as Text;

use super::access::key;
use super::contract::document;
use super::requests::{JSON, problem};
use super::support::{Answer, Service, bicycles};

/// What a key that is narrowed to a group path meets, where its role may.
#[derive(Clone, Copy, PartialEq)]
enum Narrow {
    /// Nothing.
    Free,
    /// It may not.
    Never,
    /// That it has to be shown to be within: an empty body is refused for its form before.
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
    ("getOnHand", "any", Never),
    ("listReservations", "any", Never),
    ("getAnalytics", "any", Never),
    ("listEvents", "any", Never),
    ("streamEvents", "any", Never),
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
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = if schema["type"] == "array" { "[]" } else { "{}" };
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation { method, path, body, role, narrow, name: name.to_owned() });
        }
    }
    assert_eq!(operations.len(), OPERATIONS.len());
    operations
}

impl Operation {
    async fn ask(&self, service: &Service, environment: &str, key: Option<&str>) -> Answer {
        let path = self.path.as_ref().unwrap();
        let path = format!("/api/environment/{environment}/{path}");
        let bearer = format!("Bearer {}", key.unwrap_or_default());
        let headers = [JSON, ("authorization", bearer.as_str())];
        let headers = if key.is_some() { &headers[..] } else { &headers[..1] };
        let body = if self.method == Method::GET { "" } else { self.body };
        // A stream would never end.
        let request = self.path.as_deref().is_some_and(|path| path.ends_with("/stream"));
        if request {
            let mut asked = service.client.get(format!("{}{path}", service.base));
            for (name, value) in headers {
                asked = asked.header(*name, *value);
            }
            let response = asked.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let text = if status == 200 { String::new() } else { response.text().await.unwrap() };
            return Answer { status, headers, text };
        }
        service.send(self.method.clone(), &path, headers, body).await
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

#[tokio::test]
async fn every_operation_knows_what_a_narrowed_key_is() {
    let (service, _) = Service::with_auth().await;
    let groups = vec![("channel".to_owned(), Text::parse("Web").unwrap())];
    let scope = Scope { groups, ..Scope::default() };
    for operation in operations().iter().filter(|operation| operation.path.is_some()) {
        let role = Role::parse(operation.role).unwrap_or(Role::Reader);
        let key = key(&service.database, "test", role, scope.clone()).await;
        let answer = operation.ask(&service, "test", Some(&key)).await;
        let told = format!("{}: {}", operation.name, answer.text);
        match operation.narrow {
            Narrow::Free => assert_eq!(answer.status, 200, "{told}"),
            Narrow::Never => _ = problem(&answer, "forbidden"),
            // An empty bulk has nothing that would be outside.
            Narrow::Within if operation.body == "[]" => assert_eq!(answer.status, 200, "{told}"),
            Narrow::Within => assert_eq!(answer.status, 400, "{told}"),
        }
    }
    service.stop().await;
}
