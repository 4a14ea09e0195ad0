//! `explain`: why a command was granted or refused, kept with its event.

use serde_json::{Value, json};

use super::requests::{allocation, changed, check_problem, consumption, groups, red, stock, without};
use super::reservations::{freeing, reservation};
use super::support::{Service, bicycles, database};

fn explained(body: Value) -> Value {
    changed(body, json!({"explain": true}))
}

/// `["siteId=1, locationId=11", 10]` of each node.
fn chain(explanation: &Value) -> Value {
    let nodes = explanation["chain"].as_array().unwrap().iter();
    nodes.map(|node| json!([node["dimensions"], node["available"]])).collect()
}

#[tokio::test]
async fn an_answer_says_why() {
    let service = Service::with_stock(10).await;
    let above = json!({"siteId": "1", "locationId": "11"});
    service
        .grant("allocation/allocate", changed(allocation("a", "Online", 4), json!({"dimensions": above})))
        .await;
    let granted = service.grant("allocation/allocate", explained(allocation("b", "Online", 5))).await;
    let why = &granted["explanation"];
    assert_eq!(chain(why), json!([[above, 6], [red(), 10]]), "as it was before");
    assert_eq!((&why["available"], &why["limitedBy"]), (&json!(6), &above));
    let term = |measure: &str, coefficient: i64, value: i64| json!({"measure": measure, "coefficient": coefficient, "value": value, "amount": coefficient * value});
    let terms = json!([
        term("fno.onordered", 1, 0),
        term("pos.inbound", 1, 10),
        term("@iv.@softreserved", -1, 0),
        term("@iv.@allocated", -1, 4),
    ]);
    assert_eq!(why["chain"][0]["terms"], terms);
    assert_eq!(why["formula"], "fno.onordered + pos.inbound - @iv.@allocated - @iv.@softreserved");
    assert!(why["rule"].as_str().unwrap().contains("least that the formula gives"), "{why}");

    let consumed = service.grant("allocation/consume", explained(consumption("c", "Online", 2))).await;
    let why = &consumed["explanation"];
    assert_eq!(why["balance"], json!({"groups": groups("Online"), "allocated": 5, "consumed": 0}));
    assert_eq!(why["neutrality"]["change"], 0);
    let made = service.grant("onhand/reserve", explained(reservation("d", 1))).await;
    assert_eq!(made["explanation"]["available"], 1);
    let freed = service.grant("onhand/unreserve", explained(freeing("e", &made["reservationId"], 3))).await;
    let reserved = json!({"reservationId": made["reservationId"], "quantity": 1, "remaining": 1, "held": 1});
    assert_eq!(freed["explanation"]["reservation"], reserved);
    let moved = service.grant("onhand", explained(stock("f", 1))).await;
    assert_eq!(chain(&moved["explanation"])[1], json!([red(), 5]));
    let quiet = service.grant("onhand", stock("g", 1)).await;
    assert_eq!(quiet.get("explanation"), None, "nobody asked");
    assert_eq!(service.verify().await, 8, "a replay explains the same");
    service.stop().await;
}

#[tokio::test]
async fn a_refusal_says_why_too() {
    let service = Service::with_stock(10).await;
    let why = async |path: &str, body: Value, code: &str| {
        let refused = service.refuse(path, explained(body.clone()), code).await;
        let dry = service.refuse(path, changed(explained(body.clone()), json!({"dryRun": true})), code).await;
        assert_eq!(dry["explanation"], refused["explanation"]);
        assert_eq!(service.refuse(path, body, code).await.get("explanation"), None, "nobody asked");
        refused["explanation"].clone()
    };
    let explanation =
        why("allocation/allocate", allocation("a", "Online", 11), "insufficient-available-to-allocate").await;
    assert_eq!((&explanation["available"], &explanation["limitedBy"]), (&json!(10), &red()));
    service.grant("allocation/allocate", allocation("b", "Online", 3)).await;
    let explanation =
        why("allocation/consume", consumption("c", "Online", 4), "insufficient-allocation").await;
    assert_eq!(explanation["balance"]["allocated"], 3);
    let bare = without(consumption("d", "Online", 2), "physicalMeasures");
    let explanation = why("allocation/consume", bare, "consumption-not-neutral").await;
    let first = &explanation["neutrality"]["terms"][0];
    assert_eq!((&first["measure"], &first["amount"]), (&json!("@iv.@allocated"), &json!(2)));
    assert_eq!(explanation["neutrality"]["change"], 2);
    let explanation = why("onhand/reserve", reservation("e", 8), "insufficient-available-to-reserve").await;
    assert_eq!(explanation["available"], 7);
    // Nothing was judged on the stock.
    for (body, code) in
        [(allocation("b", "Online", 4), "id-reused"), (allocation("f", "Online", "x"), "invalid-quantity")]
    {
        let refused = service.refuse("allocation/allocate", explained(body), code).await;
        assert_eq!(refused.get("explanation"), None);
    }
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn a_repeat_answers_the_first_explanation_whether_it_asks_or_not() {
    let database = database().await;
    let [first, second] =
        [Service::start_on(database.clone(), &[]).await, Service::start_on(database, &[]).await];
    assert_eq!(first.configure(bicycles()).await.status, 200);
    first.grant("onhand", stock("stock", 10)).await;
    let asking = first.post("allocation/allocate", explained(allocation("a", "Online/VIP", 4))).await;
    let quiet = first.post("allocation/allocate", allocation("b", "Online/VIP", 4)).await;
    assert!(asking.json().get("explanation").is_some() && quiet.json().get("explanation").is_none());
    for service in [&first, &second] {
        for (id, expected) in [("a", &asking), ("b", &quiet)] {
            for body in [allocation(id, "Online/VIP", 4), explained(allocation(id, "Online/VIP", 4))] {
                let repeat = service.post("allocation/allocate", body).await;
                assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
                assert_eq!(repeat.text, expected.text, "the same bytes");
            }
        }
    }
    // The names are those of its time, for a replay too.
    let mut respelt = bicycles();
    respelt["dimensions"] = json!(["SITEID", "LocationId", "colorId", "sizeId"]);
    respelt["dataSources"]["pos"]["measures"] = json!(["INBOUND", "outbound"]);
    assert_eq!(first.configure(respelt).await.status, 200);
    let repeat = second.post("allocation/allocate", allocation("a", "Online/VIP", 4)).await;
    assert_eq!(repeat.text, asking.text);
    assert_eq!(first.verify().await, 3);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn lines_of_a_bulk_are_explained_in_bounds() {
    let service = Service::with_stock(10).await;
    let lines = json!([explained(reservation("a", 6)), reservation("b", 1), explained(reservation("c", 5))]);
    let answer = service.post("onhand/reserve/bulk", lines).await;
    let results = answer.json();
    let available = |line: usize| results[line]["explanation"].get("available").cloned();
    assert_eq!([available(0), available(1), available(2)], [Some(json!(10)), None, Some(json!(3))]);
    check_problem(&results[2], "insufficient-available-to-reserve");
    let together = json!([reservation("d", 1), explained(reservation("e", 9))]);
    let refused = service
        .refuse("onhand/reserve/bulk?atomic=true", together, "insufficient-available-to-reserve")
        .await;
    assert_eq!((&refused["index"], &refused["explanation"]["available"]), (&json!(1), &json!(2)));
    let many = |count: usize| -> Value {
        (0..count).map(|line| explained(stock(&format!("{count}-{line}"), 1))).collect()
    };
    assert_eq!(service.post("onhand/bulk", many(100)).await.status, 200);
    service.refuse("onhand/bulk", many(101), "invalid-request").await;
    assert_eq!(service.verify().await, 103);
    service.stop().await;
}
