//! Proposals: commands that are ready to be sent, and none that is sent.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::requests::{JSON, allocation, changed, consumption, event, groups, pointers, red, stock, without};
use super::support::{Service, bicycles, eventually, unguarded};

fn question(members: Value) -> Value {
    without(event("", members), "id")
}

async fn ask(service: &Service, members: Value) -> Value {
    let answer = service.post("allocation/proposals", question(members)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// `allocate 50 to Online` of each.
fn short(answer: &Value) -> Vec<String> {
    let side = |groups: &Value| {
        let values = groups.as_object().unwrap().values().map(|value| value.as_str().unwrap().to_owned());
        values.collect::<Vec<_>>().join("/")
    };
    let one = |proposal: &Value| {
        let body = &proposal["body"];
        let command = proposal["path"].as_str().unwrap().trim_start_matches("allocation/");
        let source = body.get("sourceGroups").map_or(String::new(), |groups| format!("{} to ", side(groups)));
        format!("{command} {} {source}{}", body["quantity"], side(&body["groups"]))
    };
    answer["proposals"].as_array().unwrap().iter().map(one).collect()
}

/// Asks until what was done is counted.
async fn asked_until(service: &Service, members: Value, expected: &[&str]) -> Value {
    let mut answer = Value::Null;
    eventually(&format!("{expected:?}"), async || {
        answer = ask(service, members.clone()).await;
        short(&answer) == expected
    })
    .await;
    answer
}

/// 50 in the pool; Online holds 30 and consumed 60; Store holds 40 and consumed nothing.
async fn promotion() -> Service {
    let service = Service::with_stock(180).await;
    service.grant("allocation/allocate", allocation("a", "Online", 90)).await;
    service.grant("allocation/consume", consumption("b", "Online", 60)).await;
    service.grant("allocation/allocate", allocation("c", "Store", 40)).await;
    service
}

fn moment(time: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(time.as_str().unwrap(), &Rfc3339).unwrap()
}

#[tokio::test]
async fn what_is_proposed_is_done_by_sending_it_once_and_by_nothing_else() {
    let service = promotion().await;
    let expected = ["allocate 50 Online", "reallocate 40 Store to Online"];
    let answer = asked_until(&service, json!({}), &expected).await;
    let before = service.books().await;
    assert_eq!(ask(&service, json!({"includePool": false})).await["proposals"].as_array().unwrap().len(), 1);
    assert_eq!(service.books().await, before, "nothing is applied");
    assert_eq!(
        (&answer["availableToAllocate"], &answer["version"], &answer["leftOut"]),
        (&json!(50), &json!(4), &json!(0))
    );
    assert!(answer["remark"].as_str().unwrap().contains("the 120 that there is lasts 2 h"), "{answer}");
    assert!((3_600..=3_660).contains(&answer["windowSeconds"].as_i64().unwrap()), "{answer}");
    let proposals = answer["proposals"].as_array().unwrap();
    let [first, second] = [&proposals[0], &proposals[1]];
    let expected = json!({"id": first["body"]["id"], "organizationId": "usmf", "productId": "Bike", "dimensions": red(),
                          "groups": groups("Online"), "quantity": 50, "reason": "proposed to level the projected exhaustion"});
    assert_eq!(first["body"], expected);
    for part in ["channel=Online consumed 60", "holds 30, enough for 30 min", "50 of the 50 in the pool"] {
        assert!(first["reason"].as_str().unwrap().contains(part), "{part}: {first}");
    }
    let times =
        [&first["exhaustedAtBefore"], &first["exhaustedAtAfter"], &second["exhaustedAtAfter"]].map(moment);
    let hours = [times[1] - times[0], times[2] - times[1]].map(|between| between.whole_minutes());
    assert!((49..=51).contains(&hours[0]) && (39..=41).contains(&hours[1]), "{hours:?}");
    assert_eq!(first["exhaustedAtAfter"], second["exhaustedAtBefore"]);

    // Who asks in the same state gets the same ids, so that two cannot both do it.
    let again = ask(&service, json!({"targetSeconds": 90_000})).await;
    assert_eq!(again["proposals"][0]["body"]["id"], first["body"]["id"]);
    for proposal in proposals {
        let path = proposal["path"].as_str().unwrap();
        let done = service.grant(path, proposal["body"].clone()).await;
        let repeat = service.post(path, proposal["body"].clone()).await;
        assert_eq!((repeat.json(), repeat.header("idempotent-replayed")), (done, Some("true")));
    }
    assert_eq!(
        service.balances(json!({})).await,
        json!([["Online", 120, 60, 180, 60], ["Store", 0, 0, 0, 0]])
    );
    let answer = asked_until(&service, json!({}), &[]).await;
    assert!(answer["remark"].as_str().unwrap().ends_with("1 d needs more stock"), "{answer}");
    assert_eq!(answer["version"], 6);
    service.verify().await;
    service.stop().await;
}

#[tokio::test]
async fn who_was_refused_is_proposed_for_though_nothing_was_ever_theirs() {
    let service = promotion().await;
    asked_until(&service, json!({}), &["allocate 50 Online", "reallocate 40 Store to Online"]).await;
    service.refuse("allocation/consume", consumption("d", "Outlet", 60), "insufficient-allocation").await;
    // A dry run asks for nothing.
    let dry = changed(consumption("e", "Outlet", 600), json!({"dryRun": true}));
    service.refuse("allocation/consume", dry, "insufficient-allocation").await;
    let answer = asked_until(
        &service,
        json!({}),
        &["allocate 50 Outlet", "reallocate 10 Store to Outlet", "reallocate 30 Store to Online"],
    )
    .await;
    assert!(answer["proposals"][0]["reason"].as_str().unwrap().contains("was refused 60"), "{answer}");
    service.stop().await;
}

#[tokio::test]
async fn what_a_product_holds_elsewhere_hides_nothing() {
    let service = promotion().await;
    let expected = ["allocate 50 Online", "reallocate 40 Store to Online"];
    asked_until(&service, json!({}), &expected).await;
    let mut connection = PgConnection::connect_with(&unguarded(&service.database)).await.unwrap();
    let statement = "INSERT INTO activity_place (environment_id, organization_id, product_id, dimensions, groups, totals, minute)
                     SELECT 'test', 'usmf', 'Bike', '{0}', ARRAY[g::text], '{1,0,0,0,0,0,0}', now() FROM generate_series(1, 20000) g";
    connection.execute(statement).await.unwrap();
    assert_eq!(short(&ask(&service, json!({})).await), expected);
    connection.close().await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn declared_shares_divide_what_the_named_and_the_pool_hold() {
    let service = promotion().await;
    let share = |path: &str, share: Value| json!({"groups": groups(path), "share": share});
    let by = |shares: Value| json!({"shares": shares});
    let answer = ask(&service, by(json!([share("Online", json!(0.5)), share("Store", json!("0.1"))]))).await;
    assert_eq!(short(&answer), ["allocate 2 Online", "reallocate 28 Store to Online"]);
    let answer = ask(&service, by(json!([share("Online", json!(0.2)), share("Store", json!("0.1"))]))).await;
    assert_eq!(short(&answer), ["unallocate 28 Store", "unallocate 6 Online"], "the rest is the pool's");
    let answer = ask(&service, by(json!([share("Outlet", json!(1))]))).await;
    assert_eq!(short(&answer), ["allocate 50 Outlet"], "who holds nothing");
    let without_pool = changed(
        by(json!([share("Online", json!(0.5)), share("Store", json!(0.5))])),
        json!({"includePool": false}),
    );
    let answer = ask(&service, without_pool).await;
    assert_eq!(short(&answer), ["reallocate 5 Store to Online"]);
    let body = answer["proposals"][0]["body"].clone();
    service.grant("allocation/reallocate", body).await;
    assert_eq!(service.balances(json!({})).await[0][1], 35);
    service.stop().await;
}

#[tokio::test]
async fn a_product_that_is_not_enabled_gets_nothing_from_the_pool() {
    let service = promotion().await;
    asked_until(&service, json!({}), &["allocate 50 Online", "reallocate 40 Store to Online"]).await;
    let mut document = bicycles();
    document["allocation"]["requireEnabledProducts"] = json!(true);
    assert_eq!(service.configure(document).await.status, 200);
    assert_eq!(short(&ask(&service, json!({})).await), ["reallocate 40 Store to Online"]);
    let enabled = json!([{"organizationId": "usmf", "productId": "Bike", "enabled": true}]);
    let path = "/api/environment/test/allocation/products";
    assert_eq!(service.send(Method::PUT, path, &[JSON], enabled.to_string()).await.status, 200);
    assert_eq!(short(&ask(&service, json!({})).await).len(), 2);
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_question_is_told_where() {
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let nothing = ask(&service, json!({})).await;
    assert_eq!((short(&nothing).len(), &nothing["version"]), (0, &json!(0)), "where nothing ever was");
    let share = |path: Value, share: Value| json!({"groups": path, "share": share});
    let online = || groups("Online");
    let rows = [
        (json!({"windowSeconds": 59}), "/windowSeconds"),
        (json!({"windowSeconds": "3600"}), "/windowSeconds"),
        (json!({"targetSeconds": 31_536_001}), "/targetSeconds"),
        (json!({"targetSeconds": 3600, "shares": [share(online(), json!(1))]}), "/targetSeconds"),
        (json!({"shares": []}), "/shares"),
        (json!({"shares": [1]}), "/shares/0"),
        (json!({"shares": [share(online(), json!(0.5)), share(json!({}), json!(0.5))]}), "/shares/1/groups"),
        (json!({"shares": [share(online(), json!(0.5)), share(online(), json!(0.5))]}), "/shares/1/groups"),
        (json!({"shares": [share(online(), json!(1.5))]}), "/shares/0/share"),
        (json!({"shares": [share(online(), json!(0.5))], "includePool": false}), "/shares"),
        (json!({"includePool": 1}), "/includePool"),
        (json!({"shares": [{"groups": online()}]}), "/shares/0/share"),
    ];
    for (members, place) in rows {
        let refused =
            service.refuse("allocation/proposals", question(members.clone()), "invalid-request").await;
        assert_eq!(pointers(&refused), [place], "{members}");
    }
    let rows = [
        (json!({"shares": [share(online(), json!("x"))]}), "invalid-quantity", "/shares/0/share"),
        (
            json!({"shares": [share(json!({"tier": "1"}), json!(1))]}),
            "unknown-group",
            "/shares/0/groups/tier",
        ),
        (json!({"shares": [share(json!({"region": "EU"}), json!(1))]}), "hierarchy-gap", "/shares/0/groups"),
        (
            json!({"shares": [changed(share(online(), json!(1)), json!({"part": 1}))]}),
            "unknown-property",
            "/shares/0/part",
        ),
        (json!({"dimensions": {"siteId": "1"}}), "missing-required-dimension", "/dimensions"),
        (json!({"dimensions": {"width": "1"}}), "unknown-dimension", "/dimensions/width"),
    ];
    for (members, code, place) in rows {
        let refused = service.refuse("allocation/proposals", question(members.clone()), code).await;
        assert_eq!(pointers(&refused), [place], "{members}");
    }
    service.grant("onhand", stock("stock", 1)).await;
    service.stop().await;
}
