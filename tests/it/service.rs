//! The service itself: whether it is up, what it says of itself, and its pages.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::contract::{document, properties, resolve};
use super::support::{Answer, Service, bicycles, eventually};

/// The properties that a reader takes, as it says when it gets another.
pub async fn accepted(service: &Service, path: &str) -> BTreeSet<String> {
    let body = json!({"no such property": 1});
    let body = if path.ends_with("/bulk") { json!([body]) } else { body };
    let answer = send(service, path, body).await;
    let json = answer.json();
    let problem = if path.ends_with("/bulk") { &json[0] } else { &json };
    listed(problem)
}

/// Sends a body as the document says that its path takes one.
async fn send(service: &Service, path: &str, body: Value) -> Answer {
    let is_put = path == "configuration" || path.ends_with("/NAME");
    let method = if is_put { Method::PUT } else { Method::POST };
    let path = format!("/api/environment/test/{path}");
    service.send(method, &path, &[("content-type", "application/json")], body.to_string()).await
}

fn listed(problem: &Value) -> BTreeSet<String> {
    assert_eq!(problem["code"], "unknown-property", "{problem}");
    let (_, list) = problem["detail"].as_str().unwrap().split_once("; it has ").unwrap();
    list.split(", ").map(str::to_owned).collect()
}

#[tokio::test]
async fn it_says_that_it_is_up_and_can_serve() {
    let service = Service::start().await;
    // To look whether it can takes a second at most, and a busy machine may need more.
    eventually("it is ready", async || service.get("/readyz").await.status == 200).await;
    for path in ["/healthz", "/readyz"] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"status":"ok"}"#));
    }
    service.stop().await;
}

#[tokio::test]
async fn its_json_is_the_document_that_the_program_prints() {
    let service = Service::start().await;
    let json = service.get("/openapi.json").await;
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(json.json(), *document());
    service.stop().await;
}

/// The values of attributes that name another document.
fn links(page: &str) -> Vec<String> {
    let attribute = |name: &str| {
        let start = format!("{name}=\"");
        let values = page.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        values.collect::<Vec<String>>()
    };
    [attribute("src"), attribute("href")].concat()
}

#[tokio::test]
async fn its_pages_need_no_network() {
    let service = Service::start().await;
    for start in ["/docs", "/docs/"] {
        let page = service.get(start).await;
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "{start}");
        let links = links(&page.text);
        assert!(links.iter().any(|link| link.ends_with(".js")), "{}", page.text);
        assert!(links.iter().any(|link| link.ends_with(".css")), "{}", page.text);
        for link in links {
            assert!(!link.contains("//"), "{link} is elsewhere");
            let found = service.get(&format!("/docs/{}", link.trim_start_matches("./"))).await;
            check_file(&link, &found);
        }
    }
    let settings = service.get("/docs/swagger-initializer.js").await;
    assert!(settings.text.contains("\"/openapi.json\""), "{}", settings.text);
    assert!(!settings.text.contains("https://"), "{}", settings.text);
    service.stop().await;
}

fn check_file(link: &str, found: &Answer) {
    assert_eq!(found.status, 200, "{link}");
    let kind = found.header("content-type").unwrap();
    let expected = match link.rsplit('.').next().unwrap() {
        "js" => "javascript",
        "css" => "text/css",
        "png" => "image/png",
        other => panic!("{link} is a {other}"),
    };
    assert!(kind.contains(expected), "{link} is {kind}");
    assert!(!found.text.contains("@import url(\"http"), "{link}");
}

/// Every operation with a body: its path behind the environment's, and the body's schema.
fn bodies() -> Vec<(String, &'static Value)> {
    let paths = document()["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, operations)| {
        operations.as_object().unwrap().values().map(move |operation| (path, operation))
    });
    // One takes another program's document, and two take texts: none of them has properties that
    // it refuses. A list of products has a test of its own, beside it, as have those that name a
    // watch or a webhook.
    let others = ["hardUpdateConfiguration", "cleanUpPartitions", "cleanUp", "enableProducts"];
    let with_body = operations.filter(|(_, operation)| {
        let is_other = others.iter().any(|name| operation["operationId"] == *name);
        operation.get("requestBody").is_some() && !is_other
    });
    let with_body = with_body.filter(|(path, _)| !path.contains("{name}"));
    with_body
        .map(|(path, operation)| {
            let (_, path) = path.split_once("{environmentId}/").unwrap();
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let path = path.replace("{dataSource}", "pos").replace("{name}", "NAME");
            (path, schema)
        })
        .collect()
}

#[tokio::test]
async fn the_document_s_properties_are_those_that_are_read() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let bodies = bodies();
    assert!(bodies.len() >= 13, "{bodies:?}");
    for (path, schema) in bodies {
        let schema = if schema["type"] == "array" { &schema["items"] } else { schema };
        let documented: BTreeSet<String> = properties(schema).keys().cloned().collect();
        let mut read = accepted(&service, &path).await;
        // Another name for `groups`, which the description of `groups` tells.
        // What is no command of Inventory Visibility has one name for its groups.
        let has_other_name = documented.contains("groups") && !["keys", "watches/NAME"].contains(&&*path);
        assert_eq!(read.remove("targetGroups"), has_other_name, "{path}");
        assert_eq!(read, documented, "{path}");
        let required = required(schema);
        let mut missing = missing(&service, &path).await;
        if documented.contains("quantities") && documented.contains("modifier") {
            // One of the two forms must be there, which a list of the required cannot say.
            OF_ONE_MEASURE.iter().for_each(|place| assert!(missing.remove(*place), "{path}"));
        }
        assert_eq!(missing, required.iter().map(pointer).collect(), "{path}");
    }
    service.stop().await;
}

/// The properties that must be there, also of an object that is made of parts.
fn required(schema: &Value) -> Vec<Value> {
    let schema = resolve(schema);
    let parts = schema["allOf"].as_array().into_iter().flatten().flat_map(required);
    parts.chain(schema["required"].as_array().into_iter().flatten().cloned()).collect()
}

/// What `quantities` stands for.
const OF_ONE_MEASURE: [&str; 3] = ["/quantityDataSource", "/modifier", "/quantity"];

fn pointer(name: &Value) -> String {
    format!("/{}", name.as_str().unwrap())
}

/// The properties that are missed in an empty body.
async fn missing(service: &Service, path: &str) -> BTreeSet<String> {
    let empty = json!({});
    let answer = match path.ends_with("/bulk") {
        true => send(service, path, json!([empty])).await.json()[0].clone(),
        false => send(service, path, empty).await.json(),
    };
    super::requests::pointers(&answer).into_iter().collect()
}

#[tokio::test]
async fn the_properties_of_a_configuration_s_parts_are_those_that_are_read() {
    let service = Service::start().await;
    let rows = [
        ("/allocation", "AllocationConfiguration"),
        ("/reservation", "ReservationConfiguration"),
        ("/dataSources/pos", "DataSource"),
    ];
    for (place, name) in rows {
        let mut configuration = bicycles();
        *configuration.pointer_mut(place).unwrap() = json!({"no such property": 1});
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        let documented: BTreeSet<String> = properties(&schema).keys().cloned().collect();
        assert_eq!(listed(&service.configure(configuration).await.json()), documented, "{place}");
    }
    service.stop().await;
}
