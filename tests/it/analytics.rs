//! Analytics: what they say is what the ledger says.

mod plain;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use time::OffsetDateTime;

use self::plain::{DAY, HOUR, Happened, Kind, MINUTE, Question, SECOND, happened, rfc3339};
use super::requests::{allocation, changed, consumption, groups, pointers, problem, reallocation};
use super::support::{Answer, Service, bicycles, eventually, unguarded};

const PATH: &str = "/api/environment/test/allocation/analytics";

/// Asks until everything is in the answer that is in the ledger, and all unmet demand of now.
pub async fn ask(service: &Service, query: &str) -> Answer {
    ask_as(service, query, "application/json").await
}

async fn ask_as(service: &Service, query: &str, accept: &str) -> Answer {
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    let last: i64 = sqlx::query_scalar("SELECT coalesce(max(event_id), 0) FROM ledger")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let mut answer = None;
    eventually("the analytics have all that is in the ledger", async || {
        let open: i64 =
            sqlx::query_scalar("SELECT count(*) FROM unmet_demand").fetch_one(&mut connection).await.unwrap();
        let path = format!("{PATH}?{query}");
        let asked = service.send(reqwest::Method::GET, &path, &[("accept", accept)], "").await;
        let reached = asked.header("ringfence-reached").map_or(i64::MAX, |text| text.parse().unwrap());
        answer = Some(asked);
        open == 0 && reached >= last
    })
    .await;
    connection.close().await.unwrap();
    answer.unwrap()
}

async fn records(service: &Service, query: &str) -> Vec<Value> {
    let answer = ask(service, query).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    answer.json().as_array().unwrap().clone()
}

/// All pages of an answer.
async fn pages(service: &Service, query: &str) -> Vec<Value> {
    let (mut all, mut query) = (Vec::new(), query.to_owned());
    loop {
        let answer = ask(service, &query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        all.extend(answer.json().as_array().unwrap().clone());
        let Some(link) = answer.header("link") else { return all };
        let (next, _) = link.strip_prefix("<?").unwrap().split_once('>').unwrap();
        query = next.to_owned();
    }
}

/// Numbers that are the same in every run.
struct Dice(TestRunner);

impl Dice {
    fn new() -> Dice {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        Dice(TestRunner::new_with_rng(Default::default(), rng))
    }

    fn below(&mut self, most: i64) -> i64 {
        (0..most).new_tree(&mut self.0).unwrap().current()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as i64) as usize].clone()
    }
}

const ORGANIZATIONS: [&str; 2] = ["usmf", "a,\"b\""];
const PRODUCTS: [&str; 3] = ["Bike", "Helmet", "Lock"];
const SITES: [&str; 2] = ["1", "2"];
const COLORS: [&str; 3] = ["red", "blue", ""];
const PATHS: [&str; 6] = ["Online", "Online/VIP", "Online/VIP/EU", "Online/Staff", "Shop", "Shop/VIP"];

/// A command of anything anywhere: many are refused.
fn command(dice: &mut Dice, number: usize) -> (&'static str, Value) {
    let quantity = format!("{}.{}", dice.below(9), dice.one(&["5", "25", "000001", "75"]));
    let path = dice.one(&PATHS);
    let body = json!({
        "id": format!("random-{number}"), "organizationId": dice.one(&ORGANIZATIONS),
        "productId": dice.one(&PRODUCTS), "quantity": quantity, "groups": groups(path),
        "dimensions": {"siteId": dice.one(&SITES), "locationId": "11", "colorId": dice.one(&COLORS)},
    });
    match dice.below(10) {
        0..=3 => ("allocation/allocate", body),
        4 => ("allocation/unallocate", body),
        5 | 6 => {
            let others: Vec<&str> = PATHS.into_iter().filter(|other| *other != path).collect();
            ("allocation/reallocate", changed(body, json!({"sourceGroups": groups(dice.one(&others))})))
        }
        _ => {
            let modifiers = json!({"physicalMeasures": {"pos": {"inbound": "Subtraction"}}});
            ("allocation/consume", changed(body, modifiers))
        }
    }
}

/// A service with random history: as it comes in, of today.
async fn with_history(service: &Service, dice: &mut Dice, commands: usize) {
    for organization in ORGANIZATIONS {
        for product in PRODUCTS {
            for site in SITES {
                for color in COLORS {
                    let stock = json!({
                        "id": format!("stock {organization} {product} {site} {color}"), "organizationId": organization,
                        "productId": product, "quantities": {"pos": {"inbound": 40}},
                        "dimensions": {"siteId": site, "locationId": "11", "colorId": color},
                    });
                    service.post("onhand", stock).await;
                }
            }
        }
    }
    let mut granted = 0;
    for number in 0..commands {
        let (path, body) = command(dice, number);
        granted += usize::from(service.post(path, body).await.status == 200);
    }
    assert!(granted > commands / 3, "{granted}");
}

fn now() -> i64 {
    (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000) as i64
}

/// Puts the history back over the last 70 days, as if it had been all that time, with clocks that
/// differ a little; and demand that was not met beside it. Nothing of it was followed yet.
async fn age(connection: &mut PgConnection, dice: &mut Dice) -> Vec<Happened> {
    connection
        .execute("TRUNCATE activity, activity_place, unmet_demand; UPDATE follower SET reached_event_id = 0")
        .await
        .unwrap();
    let ids: Vec<i64> = sqlx::query_scalar("SELECT event_id FROM ledger ORDER BY event_id")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let now = now();
    let count = ids.len() as i64;
    let ago = |place: i64| match place * 10 / count {
        0..=2 => 70 * DAY - place * (DAY / 2),
        3 | 4 => 20 * DAY - place * HOUR,
        5 | 6 => 40 * HOUR - place * MINUTE,
        _ => 120 * MINUTE - place * MINUTE / 2,
    };
    for (place, id) in ids.into_iter().enumerate() {
        let at = now - ago(place as i64).max(3 * MINUTE) + dice.below(2 * MINUTE);
        let statement = format!("UPDATE ledger SET received_at = '{}' WHERE event_id = {id}", rfc3339(at));
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let mut all = happened(&mut *connection).await;
    for _ in 0..40 {
        let at = now - dice.one(&[90 * MINUTE, 30 * HOUR, 45 * HOUR]) + dice.below(HOUR);
        let at = at - at.rem_euclid(MINUTE);
        let mut one = all[dice.below(all.len() as i64) as usize].clone();
        one = Happened { at, kind: Kind::Unmet, millionths: 1_500_000, ..one };
        one.groups = dice.one(&PATHS).split('/').map(str::to_owned).collect();
        sqlx::query(
            "INSERT INTO unmet_demand (environment_id, organization_id, product_id, dimensions, groups, minute, quantity, count)
             VALUES ('test', $1, $2, $3, $4, $5::text::timestamptz, 1.5, 1)",
        )
        .bind(&one.organization)
        .bind(&one.product)
        .bind(&one.dimensions)
        .bind(&one.groups)
        .bind(rfc3339(at))
        .execute(&mut *connection)
        .await
        .unwrap();
        all.push(one);
    }
    all
}

/// A question as an address has it, and where its borders are put down to.
fn question(dice: &mut Dice, now: i64) -> (String, Question) {
    let down = |time: i64, to: i64| time - time.rem_euclid(to);
    let (from, to, buckets) = match dice.below(4) {
        0 => (
            down(now - 110 * MINUTE, MINUTE),
            down(now - 20 * MINUTE, MINUTE),
            vec!["none", "minute", "hour", "day"],
        ),
        1 => (down(now - 15 * DAY, HOUR), down(now - 3 * DAY, HOUR), vec!["none", "hour", "day"]),
        2 => (down(now - 69 * DAY, DAY), down(now - 3 * DAY, HOUR), vec!["none", "day"]),
        _ => (down(now - 80 * DAY, DAY), down(now - 30 * MINUTE, MINUTE), vec!["none", "day"]),
    };
    let bucket = dice.one(&buckets);
    let length = match bucket {
        "minute" => Some(MINUTE),
        "hour" => Some(HOUR),
        "day" => Some(DAY),
        _ => None,
    };
    // Borders are anywhere in the unit that they are put down to the start of.
    let unit = |time: i64| {
        if now - time < 47 * HOUR {
            MINUTE
        } else if now - time < 59 * DAY {
            HOUR
        } else {
            DAY
        }
    };
    let within = |dice: &mut Dice, time: i64| rfc3339(time + dice.below(unit(time)) / SECOND * SECOND);
    let limit = dice.one(&[97, 1_000, 10_000]);
    let mut query =
        format!("from={}&to={}&bucket={bucket}&limit={limit}", within(dice, from), within(dice, to));
    let mut window_from = from;
    if length.is_none() {
        let window = dice.one(&[60, 1_800, 7_200, 86_400, 30 * 86_400]);
        query += &format!("&window={window}");
        let begin = to - window * SECOND;
        window_from = down(begin, unit(begin));
    }
    let mut question = Question {
        from: length.map_or(from, |length| down(from, length)),
        to,
        window_from,
        bucket: length,
        levels: None,
        by: [true; 3],
        organization: None,
        product: None,
        site: None,
        groups: vec![None; 3],
    };
    match dice.below(4) {
        0 => {}
        1 => query += "&levels=own",
        2 => {
            question.levels = Some(vec![0, 1, 2, 3]);
            query += "&levels=3,0,1,2,1";
        }
        _ => {
            let depth = dice.below(3) as usize;
            question.levels = Some(vec![depth]);
            query += &format!("&levels={depth}");
        }
    }
    if dice.below(2) == 0 {
        let names = ["organizationId", "productid", "dimensions"];
        question.by = [dice.below(2) == 0, dice.below(2) == 0, dice.below(2) == 0];
        let names: Vec<&str> =
            names.into_iter().zip(question.by).filter(|(_, by)| *by).map(|(name, _)| name).collect();
        query += &format!("&groupBy={}", names.join(","));
    }
    if dice.below(3) == 0 {
        question.organization = Some(dice.one(&ORGANIZATIONS).to_owned());
        query += &format!("&organizationId={}", question.organization.as_ref().unwrap().replace('"', "%22"));
    }
    if dice.below(3) == 0 {
        question.product = Some(dice.one(&PRODUCTS).to_owned());
        query += &format!("&productId={}", question.product.as_ref().unwrap());
    }
    if dice.below(3) == 0 {
        question.site = Some(dice.one(&SITES).to_owned());
        query += &format!("&siteid={}", question.site.as_ref().unwrap());
    }
    if dice.below(3) == 0 {
        let (place, name, value) = dice.one(&[
            (0, "channel", "Online"),
            (0, "Channel", "Shop"),
            (1, "customerGroup", "VIP"),
            (2, "region", "EU"),
        ]);
        question.groups[place] = Some(value.to_owned());
        query += &format!("&group.{name}={value}");
    }
    (query, question)
}

/// A record's members, in the order of the columns of comma-separated values.
fn cells(columns: &[&str], record: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // Small numbers are read as binary ones here.
        Value::Number(number) if !number.is_i64() => {
            format!("{:.6}", number.as_f64().unwrap()).trim_end_matches('0').to_owned()
        }
        other => other.to_string(),
    };
    let cell = |column: &&str| match column.split_once('.') {
        Some((member, name)) => text(&record[member][name]),
        None => text(&record[*column]),
    };
    columns.iter().map(cell).collect()
}

/// Lines of comma-separated values, where only values are quoted that have to be.
fn lines(text: &str) -> Vec<Vec<String>> {
    text.strip_suffix("\r\n")
        .unwrap()
        .split("\r\n")
        .map(|line| {
            let (mut cells, mut is_quoted) = (vec![String::new()], false);
            let mut characters = line.chars().peekable();
            while let Some(character) = characters.next() {
                match character {
                    '"' if is_quoted && characters.peek() == Some(&'"') => {
                        cells.last_mut().unwrap().push(characters.next().unwrap())
                    }
                    '"' => is_quoted = !is_quoted,
                    ',' if !is_quoted => cells.push(String::new()),
                    other => cells.last_mut().unwrap().push(other),
                }
            }
            cells
        })
        .collect()
}

#[tokio::test]
async fn every_figure_of_every_grouping_is_what_the_ledger_adds_up_to() {
    let mut dice = Dice::new();
    let service = Service::start().await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    with_history(&service, &mut dice, 400).await;
    let database = service.database.clone();
    service.stop().await;
    let mut connection = PgConnection::connect_with(&unguarded(&database)).await.unwrap();
    let all = age(&mut connection, &mut dice).await;
    let service = Service::start_on(database, &[]).await;
    let (mut seen, mut buckets) = (0, 0);
    for _ in 0..100 {
        let (query, question) = question(&mut dice, now());
        let expected = question.records(&all);
        let found = pages(&service, &query).await;
        assert_eq!(found.len(), expected.len(), "{query}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{query}");
        }
        let csv = ask_as(&service, &query, "text/csv").await;
        let lines = lines(&csv.text);
        let columns: Vec<&str> = lines[0].iter().map(String::as_str).collect();
        assert!(lines.len() == found.len() + 1 || csv.header("link").is_some(), "{query}");
        for (line, record) in lines[1..].iter().zip(&found) {
            // The first page of it.
            assert_eq!(*line, cells(&columns, record), "{query}");
        }
        seen += found.iter().filter(|record| record["exhaustedAt"].is_string()).count();
        buckets += usize::from(question.bucket.is_some() && !found.is_empty());
    }
    assert!(seen > 100 && buckets > 10, "{seen} projections, {buckets} with buckets");
    service.stop().await;
}

/// The example of the document's description, with its numbers.
#[tokio::test]
async fn the_document_s_worked_example_is_true() {
    let service = Service::with_stock(51).await;
    let online = |path: &str, quantity: i64| allocation(&format!("{path} {quantity}"), path, quantity);
    service.grant("allocation/allocate", online("Online/VIP", 10)).await;
    service.grant("allocation/allocate", online("Online/Staff", 11)).await;
    age_all(&service, 3 * HOUR).await;
    service.grant("allocation/allocate", online("Online/VIP", 30)).await;
    for (id, quantity) in [("x", 3), ("y", 3), ("z", 2)] {
        let body = allocation(id, "Online/VIP", quantity);
        service.refuse("allocation/allocate", body, "insufficient-available-to-allocate").await;
    }
    service.grant("allocation/unallocate", online("Online/VIP", 4)).await;
    service.grant("allocation/reallocate", reallocation("in", "Online/Staff", "Online/VIP", 6)).await;
    service.grant("allocation/reallocate", reallocation("out", "Online/VIP", "Shop", 2)).await;
    service.grant("allocation/consume", consumption("sold", "Online/VIP", 20)).await;
    eventually("what was refused is counted", async || {
        let found = records(&service, "group.customerGroup=VIP").await;
        found[0]["unmetCount"] == json!(3)
    })
    .await;
    let from = rfc3339(now() - HOUR);
    let found = records(&service, &format!("from={from}&window=3600&group.channel=Online")).await;
    let [staff, vip] = &found[..] else { panic!("{found:?}") };
    let expected = json!({
        "allocated": 30, "returned": 4, "consumed": 20, "reallocatedIn": 6, "reallocatedOut": 2,
        "balance": 20, "sellThrough": 0.5, "unmetQuantity": 8, "unmetCount": 3, "idle": 0,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(vip[name], *value, "{name}");
    }
    // The window begins with a minute.
    let rate = vip["consumptionRate"].as_f64().unwrap();
    assert!((19.6..=20.0).contains(&rate), "{rate}");
    let lasts = seconds(&vip["exhaustedAt"]) - seconds(&vip["to"]);
    assert!((3_600..=3_660).contains(&lasts), "{lasts}");
    assert!(vip["lastConsumedAt"].is_string() && staff.get("lastConsumedAt").is_none());
    assert_eq!(
        (&staff["idle"], &staff["exhaustedAt"], &staff["sellThrough"]),
        (&json!(5), &Value::Null, &json!(0))
    );
    let rolled_up = records(&service, &format!("from={from}&levels=1&group.channel=Online")).await;
    assert_eq!((&rolled_up[0]["balance"], &rolled_up[0]["idle"]), (&json!(25), &json!(5)));
    assert_eq!((&rolled_up[0]["reallocatedIn"], &rolled_up[0]["reallocatedOut"]), (&json!(6), &json!(8)));
    service.stop().await;
}

#[tokio::test]
async fn no_text_of_a_client_is_a_formula_for_who_opens_the_table() {
    let service = Service::with_stock(10).await;
    // Whoever may consume brings any group path into the figures, by being refused.
    let planted = r#"=HYPERLINK("http://example.com","x")"#;
    let body = changed(consumption("planted", "Online", 2), json!({"groups": {"channel": planted}}));
    service.refuse("allocation/consume", body, "insufficient-allocation").await;
    eventually("it is counted", async || {
        records(&service, "").await.iter().any(|record| record["groups"]["channel"] == planted)
    })
    .await;
    let csv = ask_as(&service, "", "text/csv").await;
    assert!(csv.text.contains(r#","'=HYPERLINK(""http://example.com"",""x"")","#), "{}", csv.text);
    assert!(!csv.text.contains("\"="), "{}", csv.text);
    service.stop().await;
}

fn seconds(time: &Value) -> i64 {
    let format = &time::format_description::well_known::Rfc3339;
    OffsetDateTime::parse(time.as_str().unwrap(), format).unwrap().unix_timestamp()
}

/// As if all that happened had been earlier.
async fn age_all(service: &Service, by: i64) {
    records(service, "").await;
    let mut connection = PgConnection::connect_with(&unguarded(&service.database)).await.unwrap();
    let statement = format!(
        "UPDATE activity SET minute = minute - interval '{0} us'; UPDATE activity_place SET minute = minute - interval '{0} us', first_minute = first_minute - interval '{0} us'",
        by
    );
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_range_up_to_now_has_all_up_to_now() {
    let service = Service::with_stock(100).await;
    let mut allocated = 0;
    for query in [
        "",
        "to=2999-01-01T00:00:00Z",
        "bucket=minute&limit=10000",
        "bucket=hour&levels=0&groupBy=",
        "bucket=day",
    ] {
        let id = format!("for {query}");
        service.grant("allocation/allocate", allocation(&id, "Online", 2)).await;
        let found = records(&service, query).await;
        let last = found.last().unwrap();
        let sum: i64 = found.iter().map(|record| record["allocated"].as_i64().unwrap()).sum();
        allocated += 2;
        assert_eq!((sum, &last["balance"]), (allocated, &json!(allocated)), "{query}");
        let to = seconds(&last["to"]);
        assert!((now() / SECOND - 60..=now() / SECOND + 1).contains(&to), "{query}: {last}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_question_is_told_what_is_wrong_with_it() {
    let service = Service::with_stock(1).await;
    let old = rfc3339(now() - 3 * DAY);
    let older = rfc3339(now() - 62 * DAY);
    for (query, expected) in [
        (
            "from=yesterday&to=x&bucket=week&levels=9&groupBy=colour&window=0&format=xml&limit=10001",
            "/bucket /format /from /groupBy /levels /limit /to /window",
        ),
        ("levels=a", "/levels"),
        ("window=60&bucket=hour", "/window"),
        (&format!("from={old}&bucket=minute"), "/bucket"),
        (&format!("from={older}&bucket=hour"), "/bucket"),
        ("from=2026-01-01T00:00:10Z&to=2026-01-01T23:00:00Z", "/from"),
        ("from=0001-01-01T00:00:00Z&bucket=day", "/bucket"),
        (
            "organizationId=a&organizationId=b&group.channel=a&group.channel=b",
            "/group.channel /organizationId",
        ),
        ("after=%5B%5D", "/after"),
        ("after=%5B%22a%22,%22b%22,%22c%22,%22d%22%5D", "/after"),
    ] {
        let answer = service.get(&format!("{PATH}?{query}")).await;
        assert_eq!(pointers(&problem(&answer, "invalid-request")).join(" "), expected, "{query}");
    }
    problem(&service.get(&format!("{PATH}?group.tier=1")).await, "unknown-group");
    problem(&service.get(&format!("{PATH}?width=1")).await, "unknown-dimension");
    service.stop().await;
}

/// So many balances of one, of each of some products, that were allocated two hours ago; of every second of a product, a half was
/// consumed an hour ago.
async fn many_balances(service: &Service, product: &str, products: i64, each: i64, site: &str) {
    let mut connection = PgConnection::connect_with(&unguarded(&service.database)).await.unwrap();
    let statement = "WITH made AS (
            INSERT INTO activity_place (environment_id, organization_id, product_id, dimensions, groups, totals, minute, first_minute)
            SELECT 'test', 'usmf', $1 || p, ARRAY[$4], ARRAY['Online', lpad(g::text, 6, '0')],
                   ARRAY[1, 0, 0.5 * (g % 2), 0, 0, 0, 0], date_trunc('minute', now()) - interval '1 hour' * (2 - g % 2),
                   date_trunc('minute', now()) - interval '2 hours'
            FROM generate_series(1, $2) p, generate_series(1, $3) g
            RETURNING place_id, totals
        )
        INSERT INTO activity (place_id, minute, totals)
        SELECT place_id, date_trunc('minute', now()) - interval '2 hours', '{1,0,0,0,0,0,0}'::numeric[] FROM made
        UNION ALL SELECT place_id, date_trunc('minute', now()) - interval '1 hour', totals FROM made WHERE totals[3] > 0";
    sqlx::query(statement)
        .bind(product)
        .bind(products)
        .bind(each)
        .bind(site)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

fn column(records: &[Value], name: &str) -> Vec<f64> {
    records.iter().map(|record| record[name].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn any_number_of_balances_is_answered_whatever_is_asked_of_them() {
    let service = Service::with_stock(1).await;
    many_balances(&service, "Many", 3, 9_000, "1").await;
    many_balances(&service, "One", 1, 25_000, "").await;
    let keys = |records: &[Value]| -> std::collections::BTreeSet<String> {
        records.iter().map(|record| format!("{} {}", record["productId"], record["groups"])).collect()
    };
    let all = pages(&service, "limit=10000").await;
    assert_eq!((all.len(), keys(&all).len()), (52_000, 52_000));
    // From the middle of a product on, where no batch ends.
    let from_middle = format!("limit=3&after={}", r#"["usmf","One1","0","1","","Online","022222"]"#);
    let answer = ask(&service, &from_middle).await;
    let paths: Vec<String> = answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["groups"]["customerGroup"].to_string())
        .collect();
    assert_eq!(paths, [r#""022223""#, r#""022224""#, r#""022225""#]);
    let rolled_up = pages(&service, "levels=1&limit=1").await;
    assert_eq!(column(&rolled_up, "balance"), [6_750.0, 6_750.0, 6_750.0, 18_750.0]);
    // Summed over all products.
    for query in ["groupBy=organizationId&levels=1", "groupBy=&levels=0", "groupBy=dimensions&levels=1"] {
        let sum = pages(&service, query).await;
        assert_eq!(column(&sum, "balance").iter().sum::<f64>(), 39_000.0, "{query}: {sum:?}");
    }
    let by_path = pages(&service, "groupBy=organizationId&limit=9000").await;
    assert_eq!(column(&by_path, "balance")[..2], [2.0, 4.0]);
    assert_eq!((by_path.len(), column(&by_path, "balance").iter().sum::<f64>()), (25_000, 39_000.0));
    service.stop().await;
}

#[tokio::test]
async fn buckets_of_any_number_of_balances_are_answered() {
    let service = Service::with_stock(1).await;
    many_balances(&service, "Many", 3, 9_000, "1").await;
    many_balances(&service, "One", 1, 25_000, "").await;
    let from = rfc3339(now() - 4 * HOUR);
    let (all, rolled_up) = loop {
        let hour = now() / HOUR;
        let all = pages(&service, &format!("from={from}&bucket=hour&groupBy=&levels=0")).await;
        // Pages that end between buckets, and within what was read.
        let rolled_up = pages(&service, &format!("from={from}&bucket=hour&levels=1&limit=3")).await;
        // Else the last have a bucket more than the first.
        if now() / HOUR == hour {
            break (all, rolled_up);
        }
    };
    for (name, sum) in [("allocated", 52_000.0), ("consumed", 13_000.0)] {
        assert_eq!(column(&all, name).iter().sum::<f64>(), sum, "{name}: {all:?}");
    }
    let last = all.last().unwrap();
    assert_eq!((&last["balance"], &last["consumed"]), (&json!(39_000), &json!(0)));
    let busy: Vec<f64> = column(&all, "balance")
        .iter()
        .zip(column(&all, "idle"))
        .map(|(balance, idle)| balance - idle)
        .collect();
    assert_eq!(busy.iter().sum::<f64>(), 13_000.0, "{all:?}");
    assert_eq!(rolled_up.len(), 4 * all.len());
    for (place, total) in all.iter().enumerate() {
        let of_each = rolled_up.iter().skip(place).step_by(all.len());
        let sum: f64 = of_each.map(|record| record["balance"].as_f64().unwrap()).sum();
        assert_eq!(json!(sum as i64), total["balance"]);
    }
    // Those of one product's paths, of which a page has some.
    let own = ask(&service, &format!("from={from}&bucket=hour&productId=One1&limit=11")).await;
    assert_eq!(own.json().as_array().unwrap().len(), 11);
    assert!(own.header("link").is_some());
    service.stop().await;
}
