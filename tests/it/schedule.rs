//! Change schedules and what can be promised of them, over HTTP.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use time::{Date, OffsetDateTime};

use super::requests::{JSON, allocation, changed, event, pointers, stock, without};
use super::support::{Answer, Service, bicycles, unguarded};

/// Today, and no midnight comes before the test is done.
pub async fn today() -> Date {
    loop {
        let now = OffsetDateTime::now_utc();
        if (now + Duration::from_secs(120)).date() == now.date() {
            return now.date();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The day so many days after another.
pub fn later(today: Date, days: i64) -> String {
    (today + time::Duration::days(days)).to_string()
}

/// The bicycles' configuration with a schedule.
pub fn scheduling(period_days: u16) -> Value {
    changed(bicycles(), json!({"schedule": {"periodDays": period_days, "measures": ["shop.sellable"]}}))
}

/// A service where 20 red bicycles are on hand.
pub async fn service(period_days: u16) -> Service {
    let service = Service::start().await;
    let answer = service.configure(scheduling(period_days)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    service.grant("onhand", stock("stock", 20)).await;
    service
}

/// A change of the red bicycle's schedule: days with the quantities of the shops' measures.
pub fn change(id: &str, days: &[(String, Value)]) -> Value {
    let by_date: serde_json::Map<String, Value> =
        days.iter().map(|(day, measures)| (day.clone(), json!({"pos": measures}))).collect();
    event(id, json!({"quantitiesByDate": by_date}))
}

/// A query of the red bicycle with what can be promised of it.
pub fn query(members: Value) -> Value {
    let filters =
        json!({"organizationId": ["usmf"], "productId": ["Bike"], "siteId": ["1"], "locationId": ["11"]});
    changed(json!({"filters": filters, "groupByValues": ["colorId"], "queryATP": true}), members)
}

/// The one record of an answer.
pub fn record(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let records = answer.json();
    assert_eq!(records.as_array().unwrap().len(), 1, "{records}");
    records[0].clone()
}

/// What of shop.sellable can be promised, day by day.
pub fn available(record: &Value) -> Vec<i64> {
    let days = record["atpQuantities"].as_object().unwrap();
    assert!(days.keys().is_sorted(), "{record}");
    days.values().map(|day| day["shop"]["sellable"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn the_documentation_s_example_is_answered() {
    let (service, today) = (service(7).await, today().await);
    let day = |days| later(today, days);
    let before = service.books().await;
    let done = service.grant("onhand/changeschedule", change("a", &[(day(0), json!({"outbound": 3}))])).await;
    assert_eq!(done["version"], 2, "{done}");
    assert_eq!(done["availableToAllocate"], 20, "what is to come is no stock: {done}");
    assert_ne!(service.books().await, before);
    service.grant("onhand/changeschedule", change("b", &[(day(2), json!({"inbound": 10}))])).await;
    let rest = [
        (day(5), json!({"inbound": 3})),
        (day(3), json!({"outbound": "15"})),
        (day(4), json!({"inbound": 1, "outbound": 0})),
    ];
    service.grant("onhand/changeschedule", change("c", &rest)).await;
    let found = record(&service.post("onhand/indexquery", query(json!({}))).await);
    assert_eq!(available(&found), [12, 12, 12, 12, 13, 16, 16]);
    let midnight = |days| format!("{}T00:00:00Z", day(days));
    let of_day = |inbound: i64, outbound: i64| json!({"pos": {"inbound": inbound, "outbound": outbound}, "shop": {"sellable": inbound - outbound}});
    let scheduled = json!({
        midnight(0): of_day(0, 3), midnight(2): of_day(10, 0), midnight(3): of_day(0, 15),
        midnight(4): of_day(1, 0), midnight(5): of_day(3, 0),
    });
    assert_eq!(found["quantitiesByDate"], scheduled);
    let row = |on_hand: i64, supply: i64, demand: i64, projected: i64, atp: i64| {
        json!({"shop": {"sellable": {
            "onHand": on_hand, "scheduledSupply": supply, "scheduledDemand": demand,
            "projectedOnHand": projected, "atp": atp,
        }}})
    };
    let table = [
        (0, 3, 17, 12),
        (0, 0, 17, 12),
        (10, 0, 27, 12),
        (0, 15, 12, 12),
        (1, 0, 13, 13),
        (3, 0, 16, 16),
        (0, 0, 16, 16),
    ];
    for (days, (supply, demand, projected, atp)) in (0..).zip(table) {
        assert_eq!(found["atpByDate"][midnight(days)], row(20, supply, demand, projected, atp), "{days}");
    }
    assert_eq!(found["atpByDate"].as_object().unwrap().len(), 7);
    assert_eq!(found["quantities"]["shop"]["sellable"], 20);

    // The 3 leave, and are taken off the schedule.
    service.grant("onhand", event("left", json!({"quantities": {"pos": {"outbound": 3}}}))).await;
    service.grant("onhand/changeschedule", change("d", &[(day(0), json!({"outbound": -3}))])).await;
    let found = record(&service.post("onhand/indexquery", query(json!({}))).await);
    assert_eq!(available(&found), [12, 12, 12, 12, 13, 16, 16]);
    assert_eq!(found["atpByDate"][midnight(0)], row(17, 0, 0, 17, 12));
    assert_eq!(found["quantitiesByDate"].get(midnight(0)), None, "{found}");
    assert_eq!(service.verify().await, 6);
    service.stop().await;
}

#[tokio::test]
async fn all_forms_of_a_query_answer_the_same() {
    let (service, today) = (service(10).await, today().await);
    let day = |days| later(today, days);
    // Names match in any letter case, as everywhere.
    let own = change("a", &[(day(1), json!({"Outbound": 25})), (day(4), json!({"inbound": 9}))]);
    let mut body = without(own.clone(), "quantitiesByDate");
    body["QuantitiesByDate"] = own["quantitiesByDate"].clone();
    service.grant("onhand/ChangeSchedule", body).await;
    let asked = json!({"returnNegative": false});
    let found = record(&service.post("onhand/indexquery", query(asked)).await);
    assert_eq!(available(&found), [-5, -5, -5, -5, 4, 4, 4, 4, 4, 4], "below zero too");
    let owner = json!({"organizationId": ["usmf"], "productId": ["Bike"]});
    let exact = changed(owner, json!({"dimensions": ["siteId", "locationId"], "values": [["1", "11"]]}));
    let exact = json!({"filters": exact, "groupByValues": ["colorId"], "QueryATP": true});
    assert_eq!(record(&service.post("onhand/exactquery", exact).await), found);
    let get = async |more: &str| {
        let path = "/api/environment/test/onhand?organizationId=usmf&productId=Bike&siteId=1&locationId=11&groupBy=colorId";
        service.get(&format!("{path}{more}")).await
    };
    assert_eq!(record(&get("&QueryATP=true").await), found);
    // From when to when it is shown makes no difference to what is shown.
    let some = json!({"ATPFromDate": day(3), "ATPToDate": format!("{}T00:00:00Z", day(4))});
    let narrowed = record(&service.post("onhand/indexquery", query(some)).await);
    assert_eq!(available(&narrowed), [-5, 4]);
    assert_eq!(narrowed["quantitiesByDate"].as_object().unwrap().len(), 1);
    assert_eq!(
        record(&get(&format!("&queryATP=true&atpFromDate={}&atpToDate={}", day(3), day(4))).await),
        narrowed
    );
    let to = json!({"atpToDate": day(400), "atpFromDate": day(9)});
    assert_eq!(available(&record(&service.post("onhand/indexquery", query(to)).await)), [4]);
    // Who does not ask for it does not get it.
    for without in [get("").await, get("&queryATP=false&atpFromDate=2020-01-01").await] {
        let members: Vec<String> = record(&without).as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["dimensions", "organizationId", "productId", "quantities"]);
    }
    let wrong = [
        (json!({"atpFromDate": "tomorrow"}), vec!["/atpFromDate"]),
        (json!({"atpFromDate": day(3), "atpToDate": day(2)}), vec!["/atpToDate"]),
        (json!({"queryATP": "yes", "atpToDate": 7}), vec!["/atpToDate", "/queryATP"]),
    ];
    for (members, places) in wrong {
        let problem = service.refuse("onhand/indexquery", query(members), "invalid-request").await;
        assert_eq!(pointers(&problem), places);
    }
    let problem = super::requests::problem(&get("&queryATP=maybe&atpToDate=x").await, "invalid-request");
    assert_eq!(pointers(&problem), ["/atpToDate", "/queryATP"]);
    service.stop().await;
}

#[tokio::test]
async fn a_repeated_change_counts_once() {
    let (service, today) = (service(30).await, today().await);
    let body = change("a", &[(later(today, 20), json!({"inbound": 4}))]);
    let first = service.grant("onhand/changeschedule", body.clone()).await;
    let kept = service.books().await;
    let again = async |body: &Value| {
        let answer = service.post("onhand/changeschedule", body.clone()).await;
        assert_eq!(
            (answer.status, answer.header("idempotent-replayed")),
            (200, Some("true")),
            "{}",
            answer.text
        );
        assert_eq!(answer.json(), first);
    };
    again(&body).await;
    // However it is written.
    let (day, quantities) = (later(today, 20), json!({"POS": {"Inbound": "4.0"}}));
    let mut written = body.clone();
    written["quantitiesByDate"] = json!({format!("{day}T00:00:00"): quantities});
    again(&written).await;
    for (what, days) in [
        ("another day", vec![(later(today, 19), json!({"inbound": 4}))]),
        ("another quantity", vec![(later(today, 20), json!({"inbound": 5}))]),
        ("another measure", vec![(later(today, 20), json!({"outbound": 4}))]),
        (
            "a day more",
            vec![(later(today, 20), json!({"inbound": 4})), (later(today, 21), json!({"inbound": 0}))],
        ),
    ] {
        let refused = service.refuse("onhand/changeschedule", change("a", &days), "id-reused").await;
        assert_eq!(refused["id"], "a", "{what}");
    }
    service
        .refuse("onhand/changeschedule", change("stock", &[(day, json!({"inbound": 1}))]), "id-reused")
        .await;
    assert_eq!(service.books().await, kept);
    assert_eq!(service.verify().await, 2);
    // Its day cannot be given any more, as it cannot when it has passed; it was when it was given.
    assert_eq!(service.configure(scheduling(5)).await.status, 200);
    again(&body).await;
    let other = change("b", &[(later(today, 20), json!({"inbound": 4}))]);
    service.refuse("onhand/changeschedule", other, "invalid-request").await;
    // A service that does not remember it looks it up.
    let database = service.database.clone();
    service.stop().await;
    let service = Service::start_on(database, &[]).await;
    let answer = service.post("onhand/changeschedule", body).await;
    assert_eq!((answer.header("idempotent-replayed"), answer.json()), (Some("true"), first));
    service.stop().await;
}

/// A repeat may come so late that its days cannot be given any more. Here the ledger is turned back
/// instead of time going on.
#[tokio::test]
async fn a_repeat_is_answered_when_its_days_have_passed() {
    let (service, today) = (service(7).await, today().await);
    let first = service
        .grant("onhand/changeschedule", change("a", &[(later(today, 0), json!({"inbound": 4}))]))
        .await;
    let database = service.database.clone();
    service.stop().await;
    let mut connection = PgConnection::connect_with(&unguarded(&database)).await.unwrap();
    let (was, is) = (later(today, 0), later(today, -3));
    let back = format!(
        "UPDATE ledger SET detail = replace(detail::text, '{was}', '{is}')::json, received_at = received_at - interval '3 days' WHERE id = 'a'"
    );
    assert_eq!(connection.execute(sqlx::AssertSqlSafe(back)).await.unwrap().rows_affected(), 1);
    let service = Service::start_on(database, &[]).await;
    let repeat = |quantity: i64| change("a", &[(is.clone(), json!({"inbound": quantity}))]);
    let answer = service.post("onhand/changeschedule", repeat(4)).await;
    assert_eq!((answer.header("idempotent-replayed"), answer.json()), (Some("true"), first));
    let lines = service.post("onhand/changeschedule/bulk", json!([repeat(4), repeat(4)])).await;
    assert_eq!(lines.status, 200, "{}", lines.text);
    // Another meaning was never granted, and its day cannot be given.
    service.refuse("onhand/changeschedule", repeat(5), "invalid-request").await;
    connection.close().await.unwrap();
    service.stop().await;
}

/// Schedules have statements of their own: all is done or nothing.
#[tokio::test]
async fn nothing_is_done_where_the_schedule_cannot_be_written() {
    let (service, today) = (service(7).await, today().await);
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    connection.execute("ALTER TABLE schedule ADD CONSTRAINT no_13 CHECK (quantity <> 13)").await.unwrap();
    let before = service.books().await;
    let body = change("a", &[(later(today, 1), json!({"inbound": 13}))]);
    let answer = service.post("onhand/changeschedule", body.clone()).await;
    assert_eq!((answer.status, &answer.json()["code"]), (500, &json!("internal")), "{}", answer.text);
    assert_eq!(service.books().await, before);
    connection.execute("ALTER TABLE schedule DROP CONSTRAINT no_13").await.unwrap();
    service.grant("onhand/changeschedule", body).await;
    assert_eq!(service.verify().await, 2);
    connection.close().await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused_with_the_reason() {
    let (service, today) = (service(7).await, today().await);
    let before = service.books().await;
    let day = |days| later(today, days);
    let inbound = || json!({"inbound": 1});
    let places =
        |days: &[&str]| days.iter().map(|day| format!("/quantitiesByDate/{day}")).collect::<Vec<_>>();
    let (past, behind) = (day(-1), day(7));
    let mut rows = vec![
        (change("x", &[(past.clone(), inbound())]), "invalid-request", places(&[&past])),
        (change("x", &[(behind.clone(), inbound())]), "invalid-request", places(&[&behind])),
        (
            change("x", &[(behind.clone(), inbound()), (day(1), inbound()), (past.clone(), inbound())]),
            "invalid-request",
            places(&[&past, &behind]),
        ),
        (change("x", &[("tomorrow".to_owned(), inbound())]), "invalid-request", places(&["tomorrow"])),
        (change("x", &[]), "invalid-request", vec!["/quantitiesByDate".to_owned()]),
        (change("x", &[(day(1), json!({}))]), "invalid-request", places(&[&day(1)])),
        (
            change("x", &[(day(1), json!({"sold": 1}))]),
            "unknown-measure",
            places(&[&format!("{}/pos/sold", day(1))]),
        ),
        (
            change("x", &[(day(1), json!({"inbound": "much"}))]),
            "invalid-quantity",
            places(&[&format!("{}/pos/inbound", day(1))]),
        ),
        (
            change("x", &[(day(1), json!({"inbound": true}))]),
            "invalid-request",
            places(&[&format!("{}/pos/inbound", day(1))]),
        ),
        (change("x", &[(day(1), json!(7))]), "invalid-request", places(&[&format!("{}/pos", day(1))])),
    ];
    for (by_date, place) in [
        (json!({day(1): 3}), format!("/quantitiesByDate/{}", day(1))),
        (json!([]), "/quantitiesByDate".to_owned()),
    ] {
        rows.push((event("x", json!({"quantitiesByDate": by_date})), "invalid-request", vec![place]));
    }
    let predefined = json!({day(1): {"@iv": {"@allocated": 1}}});
    rows.push((
        event("x", json!({"quantitiesByDate": predefined})),
        "unknown-measure",
        places(&[&format!("{}/@iv/@allocated", day(1))]),
    ));
    for (body, code, places) in rows {
        let problem = service.refuse("onhand/changeschedule", body.clone(), code).await;
        assert_eq!(pointers(&problem), places, "{body}");
    }
    let problem =
        service.refuse("onhand/changeschedule", change("x", &[(past, inbound())]), "invalid-request").await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("{} to {} (UTC)", day(0), day(6))), "{detail}");
    assert_eq!(service.books().await, before);
    // The first and the last day can be given.
    service.grant("onhand/changeschedule", change("x", &[(day(0), inbound()), (day(6), inbound())])).await;
    service.stop().await;
}

#[tokio::test]
async fn an_environment_without_days_has_no_schedule() {
    let (service, today) = (Service::with_stock(20).await, today().await);
    let body = change("a", &[(later(today, 0), json!({"inbound": 1}))]);
    for (path, body) in [("onhand/changeschedule", body), ("onhand/indexquery", query(json!({})))] {
        let problem = service.refuse(path, body, "invalid-request").await;
        assert!(problem["detail"].as_str().unwrap().contains("schedule.periodDays"), "{problem}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_bulk_s_lines_are_done_each_by_itself_or_all_together() {
    let (service, today) = (service(7).await, today().await);
    let line = |id: &str, days: i64, quantity: i64| {
        change(id, &[(later(today, days), json!({"inbound": quantity}))])
    };
    let mut helmet = line("c", 3, 7);
    helmet["productId"] = json!("Helmet");
    let lines = json!([line("a", 1, 5), line("b", 7, 6), helmet, line("a", 1, 5), {"id": "d"}]);
    let answer = service.post("onhand/changeschedule/bulk", lines.clone()).await;
    assert_eq!(answer.status, 207, "{}", answer.text);
    let codes = |answer: &Answer| -> Vec<Value> {
        answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.get("code").or(line.get("eventId")).unwrap().clone())
            .collect()
    };
    let first = codes(&answer);
    assert_eq!((&first[1], &first[4]), (&json!("invalid-request"), &json!("invalid-request")));
    assert_eq!(first[0], first[3], "the same event");
    assert!(first[0] != first[2] && first[2].is_i64(), "{first:?}");
    let answer = service.post("onhand/changeschedule/bulk", lines).await;
    assert_eq!(codes(&answer), first);
    let found = record(&service.post("onhand/indexquery", query(json!({}))).await);
    assert_eq!(available(&found), [20, 25, 25, 25, 25, 25, 25]);

    let before = service.books().await;
    let together = async |lines: Value| service.post("onhand/changeschedule/bulk?atomic=true", lines).await;
    let refused = together(json!([line("e", 1, 1), line("f", 9, 1)])).await;
    assert_eq!((refused.status, &refused.json()["index"]), (400, &json!(1)), "{}", refused.text);
    let refused = together(json!([line("e", 1, 1), line("a", 1, 1)])).await;
    assert_eq!((refused.status, &refused.json()["index"]), (422, &json!(1)), "{}", refused.text);
    assert_eq!(service.books().await, before);
    let done = together(json!([line("e", 1, 1), line("f", 2, -30)])).await;
    assert_eq!(done.status, 200, "{}", done.text);
    let found = record(&service.post("onhand/indexquery", query(json!({}))).await);
    assert_eq!(available(&found), [-4, -4, -4, -4, -4, -4, -4]);
    assert_eq!(service.verify().await, 5);
    service.stop().await;
}

/// Schedules have statements of their own in a transaction; whoever comes second must lose there too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_by_two_services_at_once_all_count() {
    let (one, today) = (service(7).await, today().await);
    let other = Service::start_on(one.database.clone(), &[]).await;
    let send = |service: &Service, ids: std::ops::Range<i64>| {
        let (client, base) = (service.client.clone(), service.base.clone());
        let bodies: Vec<String> = ids
            .map(|id| change(&id.to_string(), &[(later(today, id % 3), json!({"inbound": 1}))]).to_string())
            .collect();
        async move {
            for body in bodies {
                loop {
                    let url = format!("{base}/api/environment/test/onhand/changeschedule");
                    let answer =
                        client.post(url).header(JSON.0, JSON.1).body(body.clone()).send().await.unwrap();
                    match answer.status().as_u16() {
                        200 => break,
                        503 => {}
                        status => panic!("{status}: {}", answer.text().await.unwrap()),
                    }
                }
            }
        }
    };
    super::requests::all([
        send(&one, 0..30),
        send(&other, 30..60),
        send(&one, 60..90),
        send(&other, 90..120),
    ])
    .await;
    let found = record(&one.post("onhand/indexquery", query(json!({}))).await);
    assert_eq!(available(&found), [60, 100, 140, 140, 140, 140, 140]);
    assert_eq!(one.verify().await, 121);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn verify_names_a_schedule_that_the_ledger_does_not_give() {
    let (service, today) = (service(7).await, today().await);
    service.grant("onhand/changeschedule", change("a", &[(later(today, 1), json!({"inbound": 5}))])).await;
    service.verify().await;
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    for change in
        ["UPDATE schedule SET quantity = 6", "UPDATE schedule SET day = day + 1", "DELETE FROM schedule"]
    {
        assert_eq!(connection.execute(change).await.unwrap().rows_affected(), 1);
        let report = ringfence::verify::verify(&mut connection).await.unwrap();
        let [difference] = &report.differences[..] else { panic!("{change}: {:?}", report.differences) };
        let place =
            "environment test: product usmf/Bike at siteId=1, locationId=11, colorId=red: the schedule is ";
        assert!(difference.starts_with(place), "{change}: {difference}");
    }
    connection.close().await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn a_configuration_s_schedule_is_checked_and_kept() {
    let (service, today) = (service(7).await, today().await);
    let answer = service.get("/api/environment/test/configuration").await.json();
    assert_eq!(answer["schedule"], json!({"periodDays": 7, "measures": ["shop.sellable"]}));
    let wrong = [
        (json!({"periodDays": 181}), "/schedule/periodDays"),
        (json!({"periodDays": -1}), "/schedule/periodDays"),
        (json!({"measures": ["pos.inbound"]}), "/schedule/measures/0"),
        (json!({"measures": ["shop.sellable", "SHOP.Sellable"]}), "/schedule/measures/1"),
        (json!({"measures": ["sellable"]}), "/schedule/measures/0"),
        (json!({"measures": vec!["shop.sellable"; 9]}), "/schedule/measures"),
    ];
    for (schedule, place) in wrong {
        let answer = service.configure(changed(bicycles(), json!({"schedule": schedule}))).await;
        let problem = super::requests::problem(&answer, "invalid-request");
        assert!(pointers(&problem).contains(&place.to_owned()), "{problem}");
    }
    let most = changed(bicycles(), json!({"schedule": {"periodDays": 180}}));
    assert_eq!(service.configure(most).await.status, 200);
    // A measure that something is scheduled for cannot be removed.
    let more = |days| {
        let mut document = scheduling(days);
        document["dataSources"]["pos"]["measures"] = json!(["inbound", "outbound", "transit"]);
        document
    };
    assert_eq!(service.configure(more(7)).await.status, 200);
    let transit = |id, quantity: i64| change(id, &[(later(today, 3), json!({"transit": quantity}))]);
    service.grant("onhand/changeschedule", transit("a", 5)).await;
    let answer = service.configure(scheduling(7)).await;
    let problem = super::requests::problem(&answer, "configuration-in-use");
    assert!(problem["detail"].as_str().unwrap().contains("pos.transit"), "{problem}");
    service.grant("onhand/changeschedule", transit("b", -5)).await;
    assert_eq!(service.configure(scheduling(7)).await.status, 200);
    service.stop().await;
}

#[tokio::test]
async fn what_is_scheduled_is_neither_allocated_nor_sold() {
    let (service, today) = (service(7).await, today().await);
    service.grant("onhand/changeschedule", change("a", &[(later(today, 1), json!({"inbound": 100}))])).await;
    let refused = service
        .refuse("allocation/allocate", allocation("b", "Online", 21), "insufficient-available-to-allocate")
        .await;
    assert_eq!(refused["available"], 20);
    let done = service.grant("allocation/allocate", allocation("b", "Online", 20)).await;
    assert_eq!((&done["version"], &done["availableToAllocate"]), (&json!(3), &json!(0)));
    let path = "/api/environment/none/onhand/changeschedule";
    let answer = service.send(Method::POST, path, &[JSON], "{}").await;
    super::requests::problem(&answer, "unknown-environment");
    assert_eq!(service.verify().await, 3);
    service.stop().await;
}
