//! What happens in one environment changes nothing that a key of another sees: not an answer, not a header,
//! not a heartbeat. Only the id of its own next event is of one sequence for all.

use reqwest::Method;
use ringfence::domain::access::{Role, Scope};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::access::key;
use super::feed::Reader;
use super::requests::{JSON, allocation, event, problem, stock, without};
use super::support::{Answer, Service, bicycles, database, eventually};

const ENVIRONMENT: &str = "/api/environment/test";

/// Two tenants of one service, each with an admin's key.
struct Tenants {
    service: Service,
    own: String,
    other: String,
}

impl Tenants {
    async fn new() -> Tenants {
        let service = Service::start_on(database().await, &["--auth", "--heartbeat-time-ms", "20"]).await;
        let own = key(&service.database, "test", Role::Admin, Scope::default()).await;
        let other = key(&service.database, "other", Role::Admin, Scope::default()).await;
        let tenants = Tenants { service, own, other };
        for (environment, key) in [("test", &tenants.own), ("other", &tenants.other)] {
            tenants.send(environment, key, Method::PUT, "configuration", bicycles()).await;
        }
        tenants
    }

    async fn send(&self, environment: &str, key: &str, method: Method, path: &str, body: Value) -> Value {
        let path = format!("/api/environment/{environment}/{path}");
        let bearer = format!("Bearer {key}");
        let headers = [JSON, ("authorization", bearer.as_str())];
        let answer = self.service.send(method, &path, &headers, body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Reports stock, and answers the event's id.
    async fn report(&self, id: &str) -> i64 {
        let done = self.send("test", &self.own, Method::POST, "onhand", stock(id, 10)).await;
        done["eventId"].as_i64().unwrap()
    }

    /// So many events of the other tenant; answers the last one's id.
    async fn disturb(&self, round: usize) -> i64 {
        let lines: Vec<Value> = (0..1_200).map(|line| stock(&format!("{round}-{line}"), 1)).collect();
        let done = self.send("other", &self.other, Method::POST, "onhand/bulk", json!(lines)).await;
        done.as_array().unwrap().last().unwrap()["eventId"].as_i64().unwrap()
    }

    /// Waits until everybody who follows the ledger has an event.
    async fn is_followed(&self, event_id: i64) {
        let mut connection =
            <sqlx::PgConnection as sqlx::Connection>::connect_with(&self.service.database).await.unwrap();
        eventually("everything is followed", async || {
            let followed = "SELECT count(*) = 3 AND coalesce(min(reached_event_id), 0) >= $1 FROM follower";
            let followed = sqlx::query_scalar(followed).bind(event_id);
            followed.fetch_one(&mut connection).await.unwrap()
        })
        .await;
    }

    /// Everything that a tenant can ask, but for what it is named.
    async fn asked(&self, last: i64, time: OffsetDateTime) -> Vec<(String, Seen)> {
        let bearer = format!("Bearer {}", self.own);
        let moment = |time: OffsetDateTime| time.format(&Rfc3339).unwrap();
        let points = [json!(last - 1), json!(last), json!(last + 1), json!(i64::MAX), json!(moment(time))];
        let mut requests = vec![];
        let range = "from=2020-01-01T00:00:00Z&to=2030-01-01T00:00:00Z";
        for query in
            ["", "order=newest", "limit=1", "format=ndjson", range, "organizationId=usmf&productId=Bike"]
        {
            requests.push((Method::GET, format!("events?{query}"), Value::Null));
        }
        requests.push((Method::GET, format!("events?after={last}"), Value::Null));
        requests.push((Method::GET, format!("events?limit=1&before={}", i64::MAX), Value::Null));
        requests.push((
            Method::GET,
            format!("allocation/analytics?organizationId=usmf&to={}", moment(time)),
            Value::Null,
        ));
        for path in
            ["alerts", "reservations?organizationId=usmf", "onhand?organizationId=usmf", "allpartitionids"]
        {
            requests.push((Method::GET, path.to_owned(), Value::Null));
        }
        for point in points {
            let filters = json!({"organizationId": ["usmf"], "productId": []});
            let body = json!({"filters": filters, "asOf": point});
            requests.push((Method::POST, "onhand/indexquery".to_owned(), body));
            let body = without(event("", json!({"asOf": point})), "id");
            requests.push((Method::POST, "allocation/query".to_owned(), body));
            let point = point.as_str().map_or(point.to_string(), str::to_owned);
            let path = format!("onhand?organizationId=usmf&asOf={point}");
            requests.push((Method::GET, path, Value::Null));
        }
        let mut seen = Vec::new();
        for (method, path, body) in requests {
            let headers = [JSON, ("authorization", bearer.as_str())];
            let address = format!("{ENVIRONMENT}/{path}");
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let answer = match path.contains("ndjson") {
                true => self.lines(&address, &self.own).await,
                false => self.service.send(method, &address, &headers, body.clone()).await,
            };
            seen.push((format!("{path} {body}"), whole(&answer)));
        }
        seen
    }

    /// An export.
    async fn lines(&self, path: &str, key: &str) -> Answer {
        let asked = self.service.client.get(format!("{}{path}", self.service.base)).bearer_auth(key);
        let response = asked.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    async fn reader(&self, key: &str, environment: &str, query: &str, last: Option<&str>) -> Reader {
        let path = format!("/api/environment/{environment}/events/stream?{query}");
        Reader::open_with(&format!("{}{path}", self.service.base), last, Some(key)).await
    }
}

type Seen = (u16, Vec<(String, String)>, String);

/// An answer but for what is of the one request.
pub fn whole(answer: &Answer) -> Seen {
    let headers =
        answer.headers.iter().filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    (answer.status, headers, answer.text.clone())
}

#[tokio::test]
async fn what_others_write_changes_nothing_that_a_tenant_is_answered() {
    let tenants = Tenants::new().await;
    // So that its own ids have gaps, and one event is not its first.
    tenants.disturb(0).await;
    tenants.report("first").await;
    tenants.disturb(1).await;
    let last = tenants.report("last").await;
    tenants.is_followed(last).await;
    let time = OffsetDateTime::now_utc();
    let before = tenants.asked(last, time).await;
    let disturbed = tenants.disturb(2).await;
    assert!(disturbed > last + 1);
    tenants.is_followed(disturbed).await;
    let after = tenants.asked(last, time).await;
    let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(moved.is_empty(), "{moved:#?}");
    let header = |path: &str, name: &str| {
        let (_, (_, headers, _)) = before.iter().find(|(asked, _)| asked.starts_with(path)).unwrap();
        headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
    };
    let last = Some(last.to_string());
    assert_eq!(header("events?", "ringfence-horizon"), last);
    assert_eq!(header("allocation/analytics", "ringfence-reached"), last);
    assert_eq!(header("onhand?organizationId=usmf&asOf=20", "ringfence-as-of"), last, "by a time");
    tenants.service.stop().await;
}

#[tokio::test]
async fn what_others_write_moves_no_heartbeat_and_a_stream_goes_on_behind_any() {
    let tenants = Tenants::new().await;
    let other = tenants.other.clone();
    let (mut theirs, last) =
        (tenants.reader(&other, "other", "", None).await, tenants.report("first").await.to_string());
    let mut own = tenants.reader(&tenants.own, "test", "after=0", None).await;
    assert_eq!(own.events(1).await[0]["id"], "first");
    let mut filtered = tenants.reader(&tenants.own, "test", "actor=nobody&after=0", None).await;
    for round in 0..2 {
        tenants.disturb(round).await;
        theirs.events(1_200).await;
        let mut new = tenants.reader(&tenants.own, "test", "", None).await;
        for reader in [&mut own, &mut new, &mut filtered] {
            for _ in 0..5 {
                assert_eq!(reader.heartbeat().await, last);
            }
        }
    }
    let mut resumed = tenants.reader(&tenants.own, "test", "", own.last.as_deref()).await;
    let next = tenants.report("next").await.to_string();
    for reader in [&mut own, &mut resumed] {
        assert_eq!(reader.event_behind(&last).await["id"], "next");
        assert_eq!(reader.heartbeat().await, next);
    }
    while filtered.heartbeat().await != next {}
    let mut again = tenants.reader(&tenants.own, "test", "", Some(&last)).await;
    assert_eq!(again.events(1).await[0]["id"], "next");
    assert_eq!(again.heartbeat().await, next);
    tenants.service.stop().await;
}

/// The feed is one for all: who asks for what is to come must not have it begin there.
#[tokio::test]
async fn who_listens_from_far_ahead_silences_nobody() {
    let tenants = Tenants::new().await;
    for last in ["9223372036854775807", "9223372036854775000-9223372036854775000"] {
        let mut ahead = tenants.reader(&tenants.other, "other", "", Some(last)).await;
        let position = ahead.heartbeat().await;
        assert_eq!(position, last.split('-').next().unwrap());
        let mut own = tenants.reader(&tenants.own, "test", "", None).await;
        tenants.report(&format!("told {last}")).await;
        assert_eq!(own.events(1).await[0]["id"], format!("told {last}"));
    }
    tenants.service.stop().await;
}

/// Whose moving it is may be somebody else's: what is beyond a narrowed key's path is not shown.
#[tokio::test]
async fn a_narrowed_key_sees_its_own_side_of_a_reallocation() {
    let tenants = Tenants::new().await;
    let groups = |path: &str| {
        let pairs = [("channel", path)];
        let value = |text: &str| ringfence::domain::name::Value::parse(text).unwrap();
        Scope { groups: pairs.map(|(name, text)| (name.to_owned(), value(text))).into(), ..Scope::default() }
    };
    let database = &tenants.service.database;
    let (web, store) = (
        key(database, "test", Role::Reader, groups("Web")).await,
        key(database, "test", Role::Reader, groups("Store")).await,
    );
    let mut streams = Vec::new();
    for (name, key) in [("Web", &web), ("Store", &store)] {
        streams.push(tenants.reader(key, "test", &format!("group.channel={name}"), None).await);
    }
    tenants.report("stock").await;
    let post =
        async |path: &str, body: Value| tenants.send("test", &tenants.own, Method::POST, path, body).await;
    post("allocation/allocate", allocation("a", "Web", 5)).await;
    post("allocation/reallocate", super::requests::reallocation("m", "Web", "Store", 2)).await;
    post("allocation/reallocate", super::requests::reallocation("n", "Web", "Web/VIP", 1)).await;
    let (source, target) =
        (["sourceGroups", "sourceBalance", "sourceBalanceBefore"], ["groups", "balance", "balanceBefore"]);
    for ((name, key), mut stream) in [("Web", &web), ("Store", &store)].into_iter().zip(streams) {
        let listed = tenants
            .send("test", key, Method::GET, &format!("events?group.channel={name}"), Value::Null)
            .await;
        let moved = listed.as_array().unwrap().iter().find(|event| event["id"] == "m").unwrap();
        let (own, foreign) = if name == "Web" { (source, target) } else { (target, source) };
        assert!(own.iter().all(|member| moved[member].is_object()), "{moved}");
        assert!(foreign.iter().all(|member| moved.get(member).is_none()), "{moved}");
        assert_eq!(moved["quantity"], 2);
        let lines = format!("{ENVIRONMENT}/events?group.channel={name}&format=ndjson");
        let lines = tenants.lines(&lines, key).await;
        let lines: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let listed = listed.as_array().unwrap();
        assert_eq!(*listed, lines);
        assert_eq!(*listed, stream.events(listed.len()).await);
        if name == "Web" {
            assert!(
                source.iter().chain(&target).all(|member| listed[2][member].is_object()),
                "{}",
                listed[2]
            );
        }
    }
    let whole =
        tenants.send("test", &tenants.own, Method::GET, "events?group.channel=Web", Value::Null).await;
    assert!(source.iter().chain(&target).all(|member| whole[1][member].is_object()), "{whole}");
    let outside = format!("{ENVIRONMENT}/events?group.channel=Store");
    let bearer = format!("Bearer {web}");
    problem(
        &tenants.service.send(Method::GET, &outside, &[("authorization", &bearer)], "").await,
        "forbidden",
    );
    tenants.service.stop().await;
}
