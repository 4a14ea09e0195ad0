//! The history: what happened, told exactly, and found by what it was.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use time::Duration;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;

use super::requests::{
    allocation, balance, changed, consumption, event, pointers, problem, reallocation, red, stock,
};
use super::support::{Answer, Service, as_service, bicycles, database, eventually};

pub const EVENTS: &str = "/api/environment/test/events";

impl Service {
    /// The events of a list, which must be whole.
    pub async fn events(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("{EVENTS}?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("link"), None, "{query}");
        answer.json().as_array().unwrap().clone()
    }

    /// The ids of what a question finds, page by page: a search that takes long ends with what it has.
    pub async fn all_named(&self, query: &str) -> Vec<String> {
        let mut page = Some(query.to_owned());
        let mut found = Vec::new();
        while let Some(query) = page {
            let answer = self.get(&format!("{EVENTS}?{query}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            found.extend(names(answer.json().as_array().unwrap()));
            page = next(&answer);
        }
        found
    }

    /// The ids of a list's events.
    pub async fn named(&self, query: &str) -> Vec<String> {
        names(&self.events(query).await)
    }

    /// An export, line by line.
    pub async fn lines(&self, query: &str) -> Vec<Value> {
        let request = self.client.get(format!("{}{EVENTS}?{query}", self.base));
        let response = request.header("accept", "application/x-ndjson").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let text = response.text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub fn names(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Where the next page is.
pub fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link")?;
    Some(link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}

/// An event without what is another one each time.
fn told(event: &Value) -> Value {
    let mut event = event.clone();
    let members = event.as_object_mut().unwrap();
    assert!(members.remove("eventId").unwrap().as_i64().unwrap() > 0);
    let time = members.remove("receivedAt").unwrap();
    assert_eq!(time.as_str().unwrap().len(), "2026-11-23T21:00:00.123456Z".len());
    event
}

#[tokio::test]
async fn every_kind_of_event_is_told_with_what_it_did() {
    let service = Service::with_stock(100).await;
    let common = |id: &str, operation: &str, version: u64, available: i64| {
        json!({"id": id, "operation": operation, "organizationId": "usmf", "productId": "Bike", "dimensions": red(),
               "version": version, "configurationVersion": 1, "availableToAllocate": available})
    };
    let vip = json!({"channel": "Online", "customerGroup": "VIP"});
    let noted = json!({"reference": "SO-1/1", "reason": "a promotion", "actor": "ann"});
    let body = changed(allocation("a", "Online/VIP", 50), noted.clone());
    service.grant("allocation/allocate", body).await;
    service.grant("allocation/unallocate", allocation("b", "Online/VIP", 10)).await;
    service.grant("allocation/reallocate", reallocation("c", "Online/VIP", "Store", 5)).await;
    service.grant("allocation/consume", consumption("d", "Online/VIP", 3)).await;
    let settle = json!({"quantities": {"@iv": {"@consumed": -2}, "pos": {"outbound": 2}}, "groups": vip});
    service.grant("onhand", event("e", settle)).await;
    let set = json!([event(
        "f",
        json!({"quantities": {"pos": {"inbound": 90}}, "modifiedDateTimeUTC": "2030-01-01T00:00:00Z"})
    )]);
    assert_eq!(service.post("setonhand/pos/bulk", set).await.status, 200);
    let reserve = |id: &str, quantity: i64, checked: bool| {
        event(
            id,
            json!({"quantityDataSource": "@iv", "modifier": "@softreserved", "quantity": quantity, "ifCheckAvailForReserv": checked}),
        )
    };
    let reserved = service.grant("onhand/reserve", reserve("g", 4, true)).await;
    let reservation = reserved["reservationId"].clone();
    service.grant("onhand/reserve", reserve("h", -1, false)).await;
    let unreserve = json!({"id": "i", "organizationId": "usmf", "reservationId": reservation, "dimensions": red(), "OffsetQty": 9, "actor": "bob"});
    service.grant("onhand/unreserve", unreserve).await;

    let events = service.events("").await;
    assert_eq!(names(&events), ["stock", "a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    let expected = [
        changed(
            common("stock", "change-on-hand", 1, 100),
            json!({"quantities": {"pos": {"inbound": 100}}, "effects": {"pos": {"inbound": 100}}}),
        ),
        changed(
            changed(common("a", "allocate", 2, 50), noted),
            json!({"groups": vip, "quantity": 50, "effects": {"@iv": {"@allocated": 50, "@cumulative_allocated": 50}},
                   "balanceBefore": balance(0, 0, (0, 0)), "balance": balance(50, 0, (50, 0))}),
        ),
        changed(
            common("b", "unallocate", 3, 60),
            json!({"groups": vip, "quantity": 10, "effects": {"@iv": {"@allocated": -10, "@cumulative_allocated": -10}},
                   "balanceBefore": balance(50, 0, (50, 0)), "balance": balance(40, 0, (40, 0))}),
        ),
        changed(
            common("c", "reallocate", 4, 60),
            json!({"groups": {"channel": "Store"}, "sourceGroups": vip, "quantity": 5, "effects": {},
                   "balanceBefore": balance(0, 0, (0, 0)), "balance": balance(5, 0, (5, 0)),
                   "sourceBalanceBefore": balance(40, 0, (40, 0)), "sourceBalance": balance(35, 0, (35, 0))}),
        ),
        changed(
            common("d", "consume", 5, 60),
            json!({"groups": vip, "quantity": 3, "physicalMeasures": {"pos": {"inbound": "Subtraction"}},
                   "effects": {"@iv": {"@allocated": -3, "@consumed": 3, "@cumulative_consumed": 3}, "pos": {"inbound": -3}},
                   "balanceBefore": balance(35, 0, (35, 0)), "balance": balance(32, 3, (35, 3))}),
        ),
        changed(
            common("e", "change-on-hand", 6, 60),
            json!({"groups": vip, "quantity": 2, "quantities": {"pos": {"outbound": 2}},
                   "effects": {"@iv": {"@consumed": -2}, "pos": {"outbound": 2}},
                   "balanceBefore": balance(32, 3, (35, 3)), "balance": balance(32, 1, (35, 3))}),
        ),
        changed(
            common("f", "set-on-hand", 7, 53),
            json!({"quantities": {"pos": {"inbound": 90}}, "modifiedDateTimeUTC": "2030-01-01T00:00:00.000000Z",
                   "effects": {"pos": {"inbound": -7}}}),
        ),
        changed(
            common("g", "reserve", 8, 49),
            json!({"quantity": 4, "quantityDataSource": "@iv", "modifier": "@softreserved", "ifCheckAvailForReserv": true,
                   "reservationId": reservation, "effects": {"@iv": {"@softreserved": 4}}}),
        ),
        changed(
            common("h", "give-back", 9, 50),
            json!({"quantity": 1, "quantityDataSource": "@iv", "modifier": "@softreserved", "effects": {"@iv": {"@softreserved": -1}}}),
        ),
        changed(
            common("i", "unreserve", 10, 53),
            json!({"quantity": 9, "reservationId": reservation, "effects": {"@iv": {"@softreserved": -3}},
                   "totalInvalidOffsetQtyByReservId": 6, "actor": "bob"}),
        ),
    ];
    for (own, expected) in events.iter().zip(&expected) {
        assert_eq!(told(own), *expected);
    }
    assert_eq!(service.verify().await, expected.len());
    service.stop().await;
}

#[tokio::test]
async fn what_is_noted_is_no_part_of_the_meaning_and_stays_as_it_was() {
    let service = Service::with_stock(10).await;
    let body = |actor: &str| {
        changed(allocation("a", "Online", 1), json!({"actor": actor, "reason": "r".repeat(512)}))
    };
    let first = service.grant("allocation/allocate", body("ann")).await;
    let again = service.post("allocation/allocate", body("bob")).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.json(), first);
    let lines = json!([changed(stock("b", 1), json!({"reference": "SO-2"})), stock("c", 1)]);
    assert_eq!(service.post("onhand/bulk", lines).await.status, 200);
    let events = service.events("").await;
    assert_eq!(events[1]["actor"], "ann");
    assert_eq!(events[1]["reason"], "r".repeat(512));
    assert_eq!((&events[2]["reference"], events[3].get("reference")), (&json!("SO-2"), None));
    let wrong = json!({"actor": "", "reason": "r".repeat(513), "reference": 7});
    let refused = service.refuse(
        "allocation/allocate",
        changed(allocation("d", "Online", 1), wrong),
        "invalid-request",
    );
    assert_eq!(pointers(&refused.await), ["/actor", "/reason", "/reference"]);
    service.stop().await;
}

#[tokio::test]
async fn who_asked_is_told_of_each_event_whoever_else_asked_for_the_same() {
    let service = Service::with_stock(10).await;
    // Each bulk is one batch; lines of one size mean the same.
    for (bulk, lines) in [
        &[(1, Some("ann")), (1, Some("ann")), (2, Some("bob"))][..],
        &[(1, Some("ann")), (1, Some("bob")), (1, None), (2, Some("ann"))],
        &[(1, None), (1, Some("ann")), (2, None)],
        &[(1, None), (2, None)],
    ]
    .into_iter()
    .enumerate()
    {
        let line = |(index, &(size, actor)): (usize, &(i64, Option<&str>))| match actor {
            Some(actor) => changed(stock(&format!("{bulk}-{index}"), size), json!({"actor": actor})),
            None => stock(&format!("{bulk}-{index}"), size),
        };
        let body: Vec<Value> = lines.iter().enumerate().map(line).collect();
        assert_eq!(service.post("onhand/bulk?atomic=true", json!(body)).await.status, 200);
        let events = service.events("").await;
        let told = events[events.len() - lines.len()..]
            .iter()
            .map(|event| event.get("actor").and_then(Value::as_str));
        assert_eq!(told.collect::<Vec<_>>(), lines.iter().map(|line| line.1).collect::<Vec<_>>());
    }
    service.stop().await;
}

/// A service with events that differ in everything that can be asked for.
async fn varied() -> Service {
    let service = Service::with_stock(100).await;
    let helmet =
        json!({"productId": "Helmet", "dimensions": {"siteId": "1", "locationId": "11", "sizeId": "L"}});
    service.grant("onhand", changed(stock("helmet", 5), helmet)).await;
    service.grant("allocation/allocate", allocation("vip", "Online/VIP", 10)).await;
    service.grant("allocation/allocate", allocation("online", "Online", 10)).await;
    service.grant("allocation/allocate", allocation("store", "Store", 10)).await;
    let noted = json!({"actor": "ann", "reference": "SO-1"});
    service
        .grant("allocation/reallocate", changed(reallocation("move", "Store", "Online/VIP", 5), noted))
        .await;
    let noted = json!({"actor": "ann"});
    service.grant("allocation/consume", changed(consumption("sale", "Online/VIP", 1), noted)).await;
    let elsewhere = json!({"organizationId": "other", "dimensions": {"siteId": "2"}});
    service.grant("onhand", changed(stock("elsewhere", 5), elsewhere)).await;
    service
}

#[tokio::test]
async fn each_filter_lets_through_what_fits_it() {
    let service = varied().await;
    let rows: &[(&str, &[&str])] = &[
        ("", &["stock", "helmet", "vip", "online", "store", "move", "sale", "elsewhere"]),
        ("organizationId=other", &["elsewhere"]),
        ("productId=Helmet", &["helmet"]),
        ("organizationId=usmf&productId=Bike", &["stock", "vip", "online", "store", "move", "sale"]),
        ("organizationId=usmf&productId=Bik", &[]),
        ("organizationId=usmf&productId=Bike&operation=consume,reallocate", &["move", "sale"]),
        ("operation=change-on-hand&operation=CONSUME", &["stock", "helmet", "sale", "elsewhere"]),
        ("siteId=2", &["elsewhere"]),
        ("sizeId=L", &["helmet"]),
        ("colorId=red&siteId=1", &["stock", "vip", "online", "store", "move", "sale"]),
        ("colorId=", &["helmet", "elsewhere"]),
        ("dimensionDataSource=pos&shopId=11&sizeId=", &["stock", "vip", "online", "store", "move", "sale"]),
        ("group.channel=Online", &["vip", "online", "move", "sale"]),
        ("group.channel=Online&below=false", &["online"]),
        ("group.channel=Online&group.customerGroup=VIP", &["vip", "move", "sale"]),
        ("group.channel=Store", &["store", "move"]),
        ("group.channel=Stor", &[]),
        ("actor=ann", &["move", "sale"]),
        ("reference=SO-1", &["move"]),
        ("reference=SO-1&productId=Helmet", &[]),
        ("reference=SO", &[]),
        ("from=2020-01-01T00:00:00Z&actor=ann", &["move", "sale"]),
        ("to=2020-01-01T00:00:00Z", &[]),
        ("from=2100-01-01T00:00:00Z", &[]),
    ];
    for (query, expected) in rows {
        assert_eq!(service.named(query).await, *expected, "{query}");
        let mut newest = service.named(&format!("{query}&order=newest")).await;
        newest.reverse();
        assert_eq!(newest, *expected, "{query}, newest first");
        assert_eq!(names(&service.lines(query).await), *expected, "{query}, as lines");
    }
    // Each event is on the right side of its own time.
    let events = service.events("").await;
    for (place, event) in events.iter().enumerate() {
        let time = event["receivedAt"].as_str().unwrap();
        let since = service.named(&format!("from={time}")).await;
        assert!(since.contains(&names(&events)[place]) && since.len() <= events.len() - place, "{since:?}");
        let before = service.named(&format!("to={time}")).await;
        assert_eq!(before.len() + since.len(), events.len());
    }
    service.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_with_its_place() {
    let service = Service::with_stock(1).await;
    let rows = [
        ("limit=0", "invalid-request", "/limit"),
        ("limit=1001", "invalid-request", "/limit"),
        ("order=up", "invalid-request", "/order"),
        ("operation=sell", "invalid-request", "/operation"),
        ("after=-1", "invalid-request", "/after"),
        ("before=x", "invalid-request", "/before"),
        ("from=yesterday", "invalid-request", "/from"),
        ("below=maybe", "invalid-request", "/below"),
        ("actor=", "invalid-request", "/actor"),
        ("siteId=1&siteId=2", "invalid-request", "/siteId"),
    ];
    for (query, code, pointer) in rows {
        let body = problem(&service.get(&format!("{EVENTS}?{query}")).await, code);
        assert_eq!(pointers(&body), [pointer], "{query}");
    }
    for (query, code) in [
        ("width=1", "unknown-dimension"),
        ("group.tier=1", "unknown-group"),
        ("group.customerGroup=VIP", "hierarchy-gap"),
    ] {
        problem(&service.get(&format!("{EVENTS}?{query}")).await, code);
        // The stream has the same filters, and no others.
        problem(&service.get(&format!("{EVENTS}/stream?{query}")).await, code);
    }
    problem(&service.get(&format!("{EVENTS}/stream?order=newest")).await, "unknown-dimension");
    problem(&service.get("/api/environment/nowhere/events").await, "unknown-environment");
    service.stop().await;
}

#[tokio::test]
async fn pages_of_any_size_and_lines_have_the_same_events() {
    let service = varied().await;
    for filter in ["", "organizationId=usmf&productId=Bike", "actor=ann", "group.channel=Online"] {
        for order in ["oldest", "newest"] {
            let whole = service.events(&format!("{filter}&order={order}&limit=1000")).await;
            assert_eq!(service.lines(&format!("{filter}&order={order}")).await, whole);
            for limit in [1, 2, 3, whole.len()] {
                let mut query = Some(format!("{filter}&order={order}&limit={limit}"));
                let (mut pages, mut count) = (Vec::new(), 0);
                while let Some(page) = query {
                    let answer = service.get(&format!("{EVENTS}?{page}")).await;
                    pages.extend(answer.json().as_array().unwrap().clone());
                    query = next(&answer);
                    count += 1;
                }
                assert_eq!(pages, whole, "{filter} {order} {limit}");
                assert_eq!(count, whole.len().div_ceil(limit), "no page is empty");
            }
        }
    }
    // Behind the horizon that an answer names there is only what is new.
    let answer = service.get(&format!("{EVENTS}?actor=nobody")).await;
    let horizon = answer.header("ringfence-horizon").unwrap().to_owned();
    assert_eq!(answer.json(), json!([]));
    service.grant("onhand", stock("new", 1)).await;
    assert_eq!(service.named(&format!("after={horizon}")).await, ["new"]);
    assert_eq!(service.named(&format!("after={horizon}&format=json&before=1")).await, [""; 0]);
    assert_eq!(service.named("after=9999999").await, [""; 0]);
    service.stop().await;
}

#[tokio::test]
async fn a_range_is_found_by_its_time_among_many_events() {
    let service = Service::with_stock(1).await;
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    // Ten a second, and a clock that is five minutes behind for some.
    let statement = "INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions,
                         configuration_version, version, received_at, outcome)
        SELECT 'test', 'usmf', 'Bike', 'e' || i, 'set-on-hand', '{1,11,red}', 1, i,
               '2030-01-01T00:00:00Z'::timestamptz + make_interval(secs => i / 10.0 - CASE WHEN i % 3 = 0 THEN 300 ELSE 0 END),
               json_build_object('version', i, 'availableToAllocate', 0)
        FROM generate_series(1, 30000) i";
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    for (from, to) in [(0, 10), (700, 703), (1_500, 1_560), (2_990, 3_010), (-300, -250)] {
        let expected: Vec<String> = (1..=30_000)
            .filter(|i| (from * 10..to * 10).contains(&(i - if i % 3 == 0 { 3_000 } else { 0 })))
            .map(|i: i64| format!("e{i}"))
            .collect();
        assert!(expected.len() > 20, "{from} to {to}");
        let time = |seconds: i64| {
            (datetime!(2030-01-01 0:00 UTC) + Duration::seconds(seconds)).format(&Rfc3339).unwrap()
        };
        let range = format!("{}&to={}", time(from), time(to));
        for query in ["", "organizationId=usmf&productId=Bike"] {
            let found = service.all_named(&format!("{query}&limit=1000&from={range}")).await;
            assert_eq!(found, expected, "{from} to {to}");
        }
    }
    connection.close().await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn few_of_many_are_found_page_by_page_however_far_apart() {
    let service = Service::with_stock(1).await;
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let statement = "INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions,
                         configuration_version, version, received_at, outcome, actor)
        SELECT CASE WHEN i % 10 = 0 THEN 'another' ELSE 'test' END, 'usmf', 'Bike', 'e' || i, 'set-on-hand', '{1,11,red}', 1, i, now(),
               json_build_object('version', i, 'availableToAllocate', 0), CASE WHEN i % 20011 = 0 THEN 'ann' END
        FROM generate_series(1, 100000) i";
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let expected = ["e20011", "e40022", "e60033", "e80044"];
    for query in ["actor=ann", "actor=ann&organizationId=usmf&productId=Bike"] {
        assert_eq!(service.all_named(&format!("{query}&limit=1")).await, expected);
        assert_eq!(names(&service.lines(query).await), expected);
        let mut newest = names(&service.lines(&format!("{query}&order=newest")).await);
        newest.reverse();
        assert_eq!(newest, expected);
    }
    service.stop().await;
}

#[tokio::test]
async fn among_a_thousand_times_as_many_of_others_each_exchange_is_short() {
    const ALL: i64 = 600_000;
    const OWN: i64 = 150;
    let service = Service::with_stock(1).await;
    let database = service.database.clone();
    service.stop().await;
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    // Own ones at both ends, one a second, and nothing but others' between.
    let statement = "INSERT INTO ledger (environment_id, organization_id, product_id, id, operation, dimensions,
                         configuration_version, version, received_at, outcome)
        SELECT CASE WHEN least(i - 1, $1 - i) < $2 THEN 'test' ELSE 'another' END, 'usmf', 'Bike', 'e' || i, 'set-on-hand',
               '{1,11,red}', 1, i, '2030-01-01T00:00:00Z'::timestamptz + make_interval(secs => i),
               json_build_object('version', i, 'availableToAllocate', 0)
        FROM generate_series(1, $1) i";
    sqlx::query(statement).bind(ALL).bind(OWN).execute(&mut connection).await.unwrap();
    let settle =
        "UPDATE follower SET reached_event_id = (SELECT max(event_id) FROM ledger); VACUUM ANALYZE ledger";
    for statement in settle.split(';') {
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    // How long it takes to pass by all others' at once, when nothing is in the way.
    let mut service_role = PgConnection::connect_with(&as_service(&database)).await.unwrap();
    service_role.execute("SET ringfence.environments = '{test}'").await.unwrap();
    let mut whole = std::time::Duration::MAX;
    for _ in 0..3 {
        let begun = std::time::Instant::now();
        service_role
            .execute("SELECT event_id FROM ledger WHERE event_id > 0 ORDER BY event_id LIMIT 10000")
            .await
            .unwrap();
        whole = whole.min(begun.elapsed());
    }
    let limit = (whole.as_millis() / 5).max(10).to_string();
    let service = Service::start_on(database, &["--round-trip-max-ms", &limit]).await;
    let first: Vec<String> = (1..=OWN).map(|i| format!("e{i}")).collect();
    let last: Vec<String> = (ALL - OWN + 1..=ALL).map(|i| format!("e{i}")).collect();
    let all = [&["stock".to_owned()], &first[..], &last[..]].concat();
    let time = |i: i64| (datetime!(2030-01-01 0:00 UTC) + Duration::seconds(i)).format(&Rfc3339).unwrap();
    let (late, early) = (format!("from={}", time(ALL - 49)), format!("from={}&to={}", time(11), time(21)));
    for (query, expected) in [("", &all[..]), (&late, &last[100..]), (&early, &first[10..20])] {
        for order in ["oldest", "newest"] {
            let mut page = Some(format!("{query}&order={order}&limit=1000"));
            let mut found = Vec::new();
            while let Some(query) = page {
                let mut answer = None;
                // The machine may have been busy with something else: once more.
                eventually(&format!("{query} is answered within {limit} ms"), async || {
                    let asked = service.get(&format!("{EVENTS}?{query}")).await;
                    let is_answered = asked.status == 200;
                    answer = Some(asked);
                    is_answered
                })
                .await;
                let answer = answer.unwrap();
                found.extend(names(answer.json().as_array().unwrap()));
                page = next(&answer);
            }
            if order == "newest" {
                found.reverse();
            }
            assert_eq!(found, expected, "{query} {order}");
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn nothing_is_shown_behind_an_event_that_may_still_come() {
    let service = Service::with_stock(1).await;
    let before = service.named("").await;
    let mut slow = PgConnection::connect_with(&service.database).await.unwrap();
    let mut hanging = slow.begin().await.unwrap();
    super::horizon::insert(&mut hanging, "hangs").await;
    service.grant("onhand", stock("later", 1)).await;
    assert_eq!(service.named("").await, before);
    assert_eq!(service.named("order=newest").await, before);
    assert_eq!(names(&service.lines("").await), before);
    hanging.commit().await.unwrap();
    assert_eq!(service.named("").await, ["stock", "hangs", "later"]);
    service.stop().await;
}

#[tokio::test]
async fn events_of_erased_products_are_gone() {
    let service = Service::start_on(database().await, &["--allow-erasing"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", changed(stock("bike", 1), json!({"reference": "SO-1"}))).await;
    service.grant("onhand", changed(stock("helmet", 1), json!({"productId": "Helmet"}))).await;
    let path = "/api/environment/test/partitions/cleanupalldata";
    let body = json!(["usmf/Bike"]).to_string();
    let erased = service.send(Method::DELETE, path, &[super::requests::JSON], body).await;
    assert_eq!(erased.status, 200, "{}", erased.text);
    assert_eq!(service.named("").await, ["helmet"]);
    assert_eq!(service.named("organizationId=usmf&productId=Bike").await, [""; 0]);
    assert_eq!(service.named("reference=SO-1").await, [""; 0]);
    service.grant("onhand", stock("bike again", 1)).await;
    assert_eq!(service.named("organizationId=usmf&productId=Bike").await, ["bike again"]);
    service.stop().await;
}
