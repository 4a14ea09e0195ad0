//! Input that means nothing: refused with its place, and nothing is changed by it.

use reqwest::Method;
use serde_json::{Value, json};

use super::requests::{
    JSON, allocation, changed, check_problem, consumption, event, pointers, problem, red, stock, without,
};
use super::support::{Service, bicycles};

/// Sends texts that are refused, each with one of the codes; then holds that nothing changed.
async fn refuse_all(path: &str, codes: &[&str], bodies: impl IntoIterator<Item = impl Into<Vec<u8>>>) {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    for body in bodies {
        let body: Vec<u8> = body.into();
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let answer = service.post_text(path, body).await;
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text);
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        assert!(codes.contains(&code.as_str()), "{shown}: {}", answer.text);
        problem(&answer, &code);
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn what_is_not_json_is_malformed() {
    let bodies = [
        "",
        " ",
        "{",
        "}",
        "{]",
        "{\"id\"}",
        "{'id': 'x'}",
        "{id: 1}",
        "{\"id\": 01}",
        "{\"id\": NaN}",
        "{\"id\": -}",
        "{\"id\": 1.}",
        "{\"id\": .5}",
        "{\"id\": +1}",
        "{\"id\": \"x\",}",
        "{} {}",
        "{}x",
        "\u{feff}{}",
        "// a\n{}",
        "{\"id\": \"\\x41\"}",
        "{\"id\": \"a\nb\"}",
        "{\"id\": \"",
        "{\"id\": tru}",
        "{\"\\ud800\": 1}",
    ];
    refuse_all("allocation/allocate", &["malformed-json"], bodies).await;
}

#[tokio::test]
async fn what_is_not_utf_8_is_malformed() {
    let text = allocation("BAD", "Online", 1).to_string();
    let bytes = |bad: &[u8]| {
        let (before, after) = text.split_once("BAD").unwrap();
        [before.as_bytes(), bad, after.as_bytes()].concat()
    };
    let name = |bad: &[u8]| [b"{\"", bad, b"\": 1}"].concat();
    let bad: [&[u8]; 4] = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"];
    let bodies = bad.map(bytes).into_iter().chain(bad.map(name));
    refuse_all("allocation/allocate", &["malformed-json"], bodies).await;
}

#[tokio::test]
async fn half_a_surrogate_pair_is_no_text() {
    let rows = ["id", "organizationId", "productId", "dimensionDataSource"]
        .map(|name| changed(allocation("x", "Online", 1), json!({name: "HALF"})).to_string());
    let nested = ["dimensions", "groups"]
        .map(|name| changed(allocation("x", "Online", 1), json!({name: {"channel": "HALF"}})).to_string());
    let bodies = rows.iter().chain(&nested).flat_map(|text| {
        ["\\ud800", "\\udc00", "\\ud800\\ud800", "a\\ud83d"].map(|half| text.replace("HALF", half))
    });
    refuse_all("allocation/allocate", &["malformed-json", "invalid-request"], bodies).await;
}

#[tokio::test]
async fn a_hundred_thousand_levels_are_only_wrong() {
    let deep = |open: &str, close: &str| open.repeat(100_000) + "1" + &close.repeat(100_000);
    let array = deep("[", "]");
    let in_place = |name: &str| {
        changed(allocation("x", "Online", 1), json!({name: "DEEP"})).to_string().replace("\"DEEP\"", &array)
    };
    let names = ["id", "productId", "dimensions", "groups", "quantity", "more"];
    let bodies = [array.clone(), "[".repeat(100_000), "{\"a\":".repeat(100_000), deep("{\"a\":", "}")];
    let bodies = bodies.into_iter().chain(names.map(in_place));
    let codes = ["malformed-json", "invalid-request", "unknown-property"];
    refuse_all("allocation/allocate", &codes, bodies).await;
}

#[tokio::test]
async fn a_deep_configuration_or_line_is_only_wrong() {
    let service = Service::start().await;
    let deep = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
    for name in ["dimensions", "dataSources", "allocation", "calculatedMeasures"] {
        let body = format!("{{{name:?}: {deep}}}");
        let answer = service.send(Method::PUT, "/api/environment/test/configuration", &[JSON], body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    service.configure(bicycles()).await;
    let answer = service.post_text("onhand/bulk", format!("[{}, {deep}]", stock("good", 1))).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.json()[0]["processingStatus"], "success");
    check_problem(&answer.json()[1], "unknown-property");
    service.stop().await;
}

#[tokio::test]
async fn each_property_has_its_type() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let body = changed(
        consumption("x", "Online", 1),
        json!({"dimensionDataSource": "pos", "sourceGroups": {"channel": "Store"}, "rollup": true}),
    );
    let kinds = [
        ("allocation/consume", "id organizationId productId dimensionDataSource", "text"),
        ("allocation/consume", "dimensions groups physicalMeasures", "object"),
        ("allocation/consume", "quantity", "quantity"),
        ("allocation/reallocate", "sourceGroups", "object"),
        ("allocation/query", "rollup", "boolean"),
        ("onhand", "quantities", "object"),
    ];
    let values = [
        ("text", json!("x")),
        ("object", json!({})),
        ("quantity", json!(1)),
        ("boolean", json!(true)),
        ("array", json!([])),
    ];
    for (path, names, kind) in kinds {
        let mut fits = body.clone();
        let known = super::service::accepted(&service, path).await;
        fits.as_object_mut().unwrap().retain(|name, _| known.contains(name));
        for name in names.split(' ') {
            for (_, value) in
                values.iter().filter(|(of, _)| *of != kind && (kind, *of) != ("quantity", "text"))
            {
                let wrong = changed(fits.clone(), json!({name: value}));
                let problem = service.refuse(path, wrong, "invalid-request").await;
                assert!(pointers(&problem).contains(&format!("/{name}")), "{name} {value}: {problem}");
            }
        }
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn nothing_is_given_twice() {
    let allocate = allocation("x", "Online", 1).to_string();
    let twice = |given: &str, again: &str| allocate.replacen(given, &format!("{again}, {given}"), 1);
    let bodies = [
        twice("\"id\":", "\"id\": \"y\""),
        twice("\"id\":", "\"ID\": \"x\""),
        twice("\"quantity\":", "\"Quantity\": 2"),
        twice("\"groups\":", "\"groups\": {\"channel\": \"Store\"}"),
        twice("\"groups\":", "\"targetGroups\": {\"channel\": \"Store\"}"),
        twice("\"channel\":", "\"channel\": \"Store\""),
        twice("\"channel\":", "\"CHANNEL\": \"Online\""),
        twice("\"siteId\":", "\"siteId\": \"2\""),
        twice("\"siteId\":", "\"SITEID\": \"1\""),
    ];
    assert!(bodies.iter().all(|body| *body != allocate));
    refuse_all("allocation/allocate", &["invalid-request"], bodies).await;
    // One dimension by its own and by its mapped name.
    let mapped = json!({"dimensionDataSource": "pos", "dimensions": {"siteId": "1", "locationId": "11", "shopId": "12"}});
    let mapped = changed(allocation("x", "Online", 1), mapped).to_string();
    refuse_all("allocation/allocate", &["invalid-request"], [mapped]).await;
}

#[tokio::test]
async fn no_measure_and_no_group_path_is_given_twice_by_a_change_of_stock() {
    let change = |quantities: &str| stock("x", 1).to_string().replace(r#"{"pos":{"inbound":1}}"#, quantities);
    let both =
        changed(event("x", json!({"groups": {"channel": "a"}})), json!({"targetGroups": {"channel": "b"}}));
    let settled = r#"{"@iv": {"@consumed": -1, "@CONSUMED": -2}}"#;
    let settled_apart = r#"{"@iv": {"@consumed": -1}, "@IV": {"@consumed": -2}}"#;
    let of_group = |body: String| body.replacen('{', r#"{"groups": {"channel": "a"}, "#, 1);
    let bodies = [
        change(r#"{"pos": {"inbound": 1, "inbound": 2}}"#),
        change(r#"{"pos": {"inbound": 1, "INBOUND": 2}}"#),
        change(r#"{"pos": {"inbound": 1}, "pos": {"inbound": 2}}"#),
        change(r#"{"pos": {"inbound": 1}, "Pos": {"inbound": 2}}"#),
        of_group(change(settled)),
        of_group(change(settled_apart)),
        changed(both, json!({"quantities": {"@iv": {"@consumed": -1}}})).to_string(),
    ];
    refuse_all("onhand", &["invalid-request"], bodies).await;
    let measures = r#"{"pos": {"inbound": "Subtraction"}, "POS": {"inbound": "Subtraction"}}"#;
    let consume = consumption("x", "Online", 1).to_string();
    let body = consume.replace(r#"{"pos":{"inbound":"Subtraction"}}"#, measures);
    assert_ne!(body, consume);
    refuse_all("allocation/consume", &["invalid-request"], [body]).await;
}

#[tokio::test]
async fn an_unknown_property_is_named_wherever_it_is() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let allocate = allocation("x", "Online", 1);
    let rows = [
        (
            "allocation/allocate",
            changed(allocate.clone(), json!({"physicalMeasures": {}})),
            "/physicalMeasures",
        ),
        ("allocation/unallocate", changed(allocate.clone(), json!({"sourceGroups": {}})), "/sourceGroups"),
        ("allocation/reallocate", changed(allocate.clone(), json!({"note": null})), "/note"),
        ("allocation/consume", changed(allocate.clone(), json!({"": 1})), "/"),
        ("allocation/query", changed(without(allocate, "quantity"), json!({"sort": 1})), "/id"),
        ("onhand", changed(stock("x", 1), json!({"quantity": 1})), "/quantity"),
        (
            "onhand",
            changed(stock("x", 1), json!({"modifiedDateTimeUTC": "2026-01-01T00:00:00Z"})),
            "/modifiedDateTimeUTC",
        ),
    ];
    for (path, body, place) in rows {
        let problem = service.refuse(path, body, "unknown-property").await;
        assert_eq!(pointers(&problem), [place], "{problem}");
    }
    let lines = json!([stock("x", 1), changed(stock("y", 1), json!({"groups": {}}))]);
    let refused = service.refuse("setonhand/pos/bulk?atomic=true", lines, "unknown-property").await;
    assert_eq!(pointers(&refused), ["/1/groups"]);
    for place in ["", "/allocation", "/reservation", "/dataSources/pos"] {
        let mut document = bicycles();
        document.pointer_mut(place).unwrap()["extra"] = json!(1);
        let refused = problem(&service.configure(document).await, "unknown-property");
        assert_eq!(pointers(&refused), [format!("{place}/extra")]);
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn a_text_is_neither_empty_nor_long_nor_has_it_characters_that_nobody_sees() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let long = "é".repeat(129);
    let texts = ["", "a\u{0}b", "\u{1}", "a\nb", "a\tb", "\u{7f}", "\u{85}", long.as_str()];
    let places = ["/id", "/organizationId", "/productId", "/dimensions/siteId", "/groups/channel"];
    for place in places {
        for text in texts {
            let mut body = allocation("x", "Online", 1);
            *body.pointer_mut(place).unwrap() = json!(text);
            // Nothing is a value of a dimension, and no id is a problem of its own.
            let code = match (text, place) {
                ("", "/id") => "missing-id",
                ("", "/dimensions/siteId") => "missing-required-dimension",
                _ => "invalid-request",
            };
            let problem = service.refuse("allocation/allocate", body, code).await;
            if code == "invalid-request" {
                assert_eq!(pointers(&problem), [place], "{text:?}");
            }
        }
    }
    for name in ["a\u{0}b", "\u{85}"] {
        let body = changed(allocation("x", "Online", 1), json!({"dimensions": {name: "1"}}));
        service.refuse("allocation/allocate", body, "unknown-dimension").await;
    }
    assert_eq!(service.books().await, before);
    let id = "é".repeat(128);
    let granted: Value = service.grant("allocation/allocate", allocation(&id, "Online", 1)).await;
    assert_eq!(granted["id"], json!(id));
    service.stop().await;
}

#[tokio::test]
async fn what_no_index_could_hold_is_refused_with_its_length() {
    let service = Service::with_stock(10).await;
    let wide = |name: &str| json!({name: "\u{1F6B2}".repeat(128)});
    let mut place = red();
    for name in ["siteId", "locationId", "colorId", "sizeId"] {
        place.as_object_mut().unwrap().extend(wide(name).as_object().unwrap().clone());
    }
    let body = changed(stock("wide", 1), json!({"dimensions": place}));
    let answer = service.refuse("onhand", body, "invalid-request").await;
    assert_eq!(pointers(&answer), ["/dimensions"]);
    let three = "\u{1F6B2}".repeat(128);
    let path = allocation("wide", &format!("{three}/{three}/{three}"), 1);
    let answer = service.refuse("allocation/allocate", path, "invalid-request").await;
    assert_eq!(pointers(&answer), ["/groups"]);
    service.stop().await;
}
