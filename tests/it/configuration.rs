//! The configuration: its versions, its faults, and what it answers.

use reqwest::Method;
use serde_json::{Value, json};

use super::requests::{JSON, pointers, problem};
use super::support::{Answer, Service, bicycles};

const PATH: &str = "/api/environment/test/configuration";

async fn put(service: &Service, document: &Value, if_match: &str) -> Answer {
    service.send(Method::PUT, PATH, &[JSON, ("if-match", if_match)], document.to_string()).await
}

fn tag(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.header("etag").unwrap().to_owned()
}

/// The bicycles with another lowest group each time.
fn variant(number: usize) -> Value {
    let mut document = bicycles();
    document["allocation"]["groups"][2] = json!(format!("region{number}"));
    document
}

#[tokio::test]
async fn the_first_configuration_creates_the_environment() {
    let service = Service::start().await;
    problem(&service.get(PATH).await, "unknown-environment");
    let stored = service.configure(bicycles()).await;
    let first = tag(&stored);
    let mut answered = stored.json();
    assert_eq!(answered["warnings"], json!([]));
    answered.as_object_mut().unwrap().remove("warnings");
    let read = service.get(PATH).await;
    assert_eq!((tag(&read), read.json()), (first, answered.clone()));
    // What was left out is shown as what it means.
    let mut expected = bicycles();
    expected["allocation"]["allowPoolChangingConsumption"] = json!(false);
    expected["reservation"]["allowUnprotected"] = json!(false);
    expected["dataSources"]["fno"]["dimensionMappings"] = json!({});
    expected["dataSources"]["pos"]["readOnly"] = json!(false);
    assert_eq!(answered, expected);
    service.stop().await;
}

#[tokio::test]
async fn the_least_that_a_configuration_needs() {
    let service = Service::start().await;
    let least = json!({
        "dimensions": [], "dataSources": {},
        "allocation": {"groups": [], "availableToAllocate": "-@iv.@allocated"},
    });
    assert_eq!(service.configure(least.clone()).await.status, 200);
    assert_eq!(service.get(PATH).await.json()["requiredDimensions"], json!(0));
    let shouted = r#"{"DIMENSIONS": ["Site"], "datasources": {"POS": {"MEASURES": ["In"], "readonly": true}},
        "Allocation": {"GROUPS": ["Channel"], "availabletoallocate": "pos.IN - @IV.@Allocated"}}"#;
    let answer = service.send(Method::PUT, PATH, &[JSON], shouted).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["dataSources"]["POS"]["measures"], json!(["In"]));
    assert_eq!(answer.json()["dataSources"]["POS"]["readOnly"], json!(true));
    service.stop().await;
}

#[tokio::test]
async fn if_match_names_the_version_that_a_change_was_made_for() {
    let service = Service::start().await;
    for never in ["*", "\"1\"", "\"0\"", "nothing"] {
        problem(&put(&service, &variant(0), never).await, "precondition-failed");
        problem(&service.get(PATH).await, "unknown-environment");
    }
    let first = tag(&service.configure(variant(0)).await);
    let second = tag(&put(&service, &variant(1), &first).await);
    assert_ne!(first, second);
    for stale in [first.as_str(), "\"99\"", "\"\"", "nothing", &format!("W/{second}")] {
        problem(&put(&service, &variant(2), stale).await, "precondition-failed");
        assert_eq!(tag(&service.get(PATH).await), second, "{stale}");
    }
    assert_eq!(service.get(PATH).await.json()["allocation"]["groups"][2], json!("region1"));
    let third = tag(&put(&service, &variant(2), "*").await);
    let fourth = tag(&service.configure(variant(3)).await);
    let tags = [&first, &second, &third, &fourth];
    assert!(tags.iter().enumerate().all(|(index, tag)| !tags[..index].contains(tag)), "{tags:?}");
    service.stop().await;
}

#[tokio::test]
async fn another_instance_answers_the_configuration_that_is_stored() {
    let one = Service::start().await;
    let other = Service::start_on(one.database.clone(), &[]).await;
    for number in 0..3 {
        let (writer, reader) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let stored = tag(&writer.configure(variant(number)).await);
        let read = reader.get(PATH).await;
        assert_eq!(tag(&read), stored);
        assert_eq!(read.json()["allocation"]["groups"][2], json!(format!("region{number}")));
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn of_many_changes_for_one_version_one_is_made() {
    let service = std::sync::Arc::new(Service::start().await);
    let first = tag(&service.configure(variant(0)).await);
    let change = |number: usize| {
        let (service, first) = (std::sync::Arc::clone(&service), first.clone());
        async move { put(&service, &variant(number), &first).await }
    };
    let answers = super::requests::all((1..9).map(change)).await;
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(made.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        problem(answer, "precondition-failed");
    }
    assert_eq!(tag(&service.get(PATH).await), tag(made[0]));
    std::sync::Arc::into_inner(service).unwrap().stop().await;
}

/// The bicycles with a value at a place.
fn with(place: &str, value: Value) -> Value {
    let mut document = bicycles();
    let (parent, name) = place.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        parent => parent[name] = value,
    }
    document
}

/// Names of dimensions, those of the bicycles first.
fn names(count: usize) -> Value {
    let own = ["siteId", "locationId", "colorId", "sizeId"].map(str::to_owned).into_iter();
    own.chain((4..count).map(|number| format!("name{number}"))).map(Value::String).collect()
}

#[tokio::test]
async fn every_fault_is_named_with_its_place() {
    let service = Service::start().await;
    let formula = "/allocation/availableToAllocate";
    let rows = [
        // The value at the place is wrong, and the place is told.
        ("/dimensions", json!("siteId"), ""),
        ("/dimensions", json!([1]), ""),
        ("/dimensions", names(33), ""),
        ("/dimensions/2", json!("SITEID"), ""),
        ("/dimensions/0", json!(""), ""),
        ("/dimensions/0", json!("site-id"), ""),
        ("/dimensions/0", json!("@site"), ""),
        ("/dimensions/0", json!("n".repeat(65)), ""),
        ("/requiredDimensions", json!(5), ""),
        ("/requiredDimensions", json!(-1), ""),
        ("/requiredDimensions", json!(1.5), ""),
        ("/requiredDimensions", json!("2"), ""),
        ("/dataSources", json!([]), ""),
        ("/dataSources/9lives", json!({}), ""),
        ("/dataSources/@iv", json!({}), ""),
        ("/dataSources/POS", json!({"measures": ["inbound", "outbound"]}), "/dataSources/pos"),
        (
            "/dataSources/pos/measures",
            json!(["inbound", "outbound", "Inbound"]),
            "/dataSources/pos/measures/2",
        ),
        ("/dataSources/pos/measures", json!(["inbound", "outbound", "a b"]), "/dataSources/pos/measures/2"),
        ("/dataSources/pos/readOnly", json!("yes"), ""),
        (
            "/dataSources/pos/dimensionMappings",
            json!({"shopId": "width"}),
            "/dataSources/pos/dimensionMappings/shopId",
        ),
        (
            "/dataSources/pos/dimensionMappings",
            json!({"shopId": 1}),
            "/dataSources/pos/dimensionMappings/shopId",
        ),
        ("/allocation", json!("x"), ""),
        ("/allocation/groups", names(9), ""),
        ("/allocation/groups/1", json!("Channel"), ""),
        ("/allocation/allowPoolChangingConsumption", json!(1), ""),
        (formula, json!(""), ""),
        (formula, json!(5), ""),
        (formula, json!("pos.inbound + pos.lost - @iv.@allocated"), ""),
        (formula, json!("pos.inbound + pos.INBOUND - @iv.@allocated"), ""),
        (formula, json!("pos.inbound - shop.sellable - @iv.@allocated"), ""),
        (formula, json!("pos.inbound * pos.outbound - @iv.@allocated"), ""),
        (formula, json!("0.0000001 * pos.inbound - @iv.@allocated"), ""),
        (formula, json!("1000001 * pos.inbound - @iv.@allocated"), ""),
        (formula, json!("pos.inbound - - @iv.@allocated"), ""),
        (formula, json!("pos.inbound - (@iv.@allocated)"), ""),
        (formula, json!("pos.inbound @iv.@allocated"), ""),
        (
            "/reservation/measures",
            json!({"pos.lost": "pos.inbound - @iv.@allocated"}),
            "/reservation/measures/pos.lost",
        ),
        (
            "/reservation/measures",
            json!({"@iv.@allocated": "pos.inbound"}),
            "/reservation/measures/@iv.@allocated",
        ),
        ("/reservation/measures", json!({"pos.outbound": "x"}), "/reservation/measures/pos.outbound"),
        ("/reservation/allowUnprotected", json!(0), ""),
        ("/calculatedMeasures", json!({"sellable": "pos.inbound"}), "/calculatedMeasures/sellable"),
        ("/calculatedMeasures", json!({"pos.inbound": "pos.outbound"}), "/calculatedMeasures/pos.inbound"),
        ("/calculatedMeasures", json!({"@iv.@mine": "pos.outbound"}), "/calculatedMeasures/@iv.@mine"),
        ("/calculatedMeasures", json!({"a.b": "a.b"}), "/calculatedMeasures/a.b"),
    ];
    for (place, value, told) in rows {
        let refused = problem(&service.configure(with(place, value.clone())).await, "invalid-request");
        let told = if told.is_empty() { place } else { told };
        assert_eq!(pointers(&refused), [told], "{value}: {refused}");
    }
    problem(&service.get(PATH).await, "unknown-environment");
    service.stop().await;
}

#[tokio::test]
async fn all_faults_are_told_at_once() {
    let service = Service::start().await;
    let mut document = bicycles();
    document["dimensions"][0] = json!("a/b");
    document["requiredDimensions"] = json!(9);
    document["dataSources"]["a/b~c"] = json!({});
    document["calculatedMeasures"]["x.y"] = json!("pos.lost");
    let refused = problem(&service.configure(document).await, "invalid-request");
    let expected =
        ["/calculatedMeasures/x.y", "/dataSources/a~1b~0c", "/dimensions/0", "/requiredDimensions"];
    assert_eq!(pointers(&refused), expected, "{refused}");
    for name in ["dimensions", "dataSources", "allocation"] {
        let document = super::requests::without(bicycles(), name);
        let refused = problem(&service.configure(document).await, "invalid-request");
        assert!(pointers(&refused).contains(&format!("/{name}")), "{refused}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_formula_that_protects_nothing_is_refused_unless_it_is_meant() {
    let service = Service::start().await;
    let (ata, afr) = ("/allocation/availableToAllocate", "/reservation/measures/@iv.@softreserved");
    let unprotected = [
        (ata, "pos.inbound"),
        (ata, "pos.inbound + @iv.@allocated"),
        (ata, "pos.inbound - 2 * @iv.@allocated"),
        (ata, "pos.inbound - 0.5 * @iv.@allocated"),
        (afr, "pos.inbound - @iv.@softreserved"),
        (afr, "pos.inbound - @iv.@allocated"),
        (afr, "pos.inbound - @iv.@softreserved - 0.5 * @iv.@allocated"),
    ];
    for (place, formula) in unprotected {
        let document = with(place, json!(formula));
        let refused = problem(&service.configure(document.clone()).await, "unprotected-formula");
        assert_eq!(pointers(&refused), [place], "{formula}");
        let mut meant = document;
        meant["reservation"]["allowUnprotected"] = json!(true);
        let answer = service.configure(meant).await;
        // Only a reservation may be unprotected: allocations would mean nothing.
        assert_eq!(answer.status, if place == afr { 200 } else { 409 }, "{formula}: {}", answer.text);
    }
    service.stop().await;
}
