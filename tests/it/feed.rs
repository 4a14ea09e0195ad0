//! The live feed: every event once, in order, also after a cut; and nobody waits for a slow reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::history::{EVENTS, names};
use super::load::{Client, consume};
use super::process::Program;
use super::requests::{JSON, allocation, changed, consumption, problem, red, stock};
use super::support::{Service, bicycles, database, eventually, service_url};

/// Longest wait for what must come; a bound, not an expectation.
const PATIENCE: Duration = Duration::from_secs(30);

/// One message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    id: Option<String>,
    /// What it tells of an alert.
    pub alert: Option<Value>,
    /// None for a heartbeat and for what else is no event.
    event: Option<Value>,
    is_heartbeat: bool,
}

/// A client of a stream.
pub struct Reader {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    text: String,
    /// The last id that was read.
    pub last: Option<String>,
}

impl Reader {
    pub async fn open(base: &str, query: &str, last: Option<&str>) -> Reader {
        Reader::open_with(&format!("{base}{EVENTS}/stream?{query}"), last, None).await
    }

    pub async fn open_with(address: &str, last: Option<&str>, key: Option<&str>) -> Reader {
        let mut request = reqwest::Client::new().get(address);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let bytes = futures_util::stream::unfold(response, async |mut response| {
            let chunk = response.chunk().await.transpose()?;
            Some((chunk.map(|bytes| bytes.to_vec()), response))
        });
        let mut reader = Reader { bytes: bytes.boxed(), text: String::new(), last: last.map(str::to_owned) };
        // What is told first: that it is there, and when to come again.
        let first = reader.message().await.unwrap();
        assert!(first.id.is_none() && first.event.is_none());
        reader
    }

    /// The next message; none when the stream has ended or was cut off.
    pub async fn message(&mut self) -> Option<Message> {
        let end = loop {
            match self.text.find("\n\n") {
                Some(end) => break end,
                None => {
                    let chunk = self.bytes.next().await?;
                    self.text += std::str::from_utf8(&chunk.ok()?).unwrap();
                }
            }
        };
        let message: String = self.text.drain(..end + 2).collect();
        let field = |name: &str| message.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
        let id = field("id: ");
        self.last = id.clone().or(self.last.take());
        let data: Option<Value> = field("data: ").map(|data| serde_json::from_str(&data).unwrap());
        let (event, alert) = match field("event: ").as_deref() {
            Some("alert") => (None, data),
            kind => {
                assert_eq!(kind.is_some(), data.is_some());
                (data, None)
            }
        };
        if let Some(event) = &event {
            assert_eq!(field("event: ").as_deref(), Some("ledger"));
            assert_eq!(id.as_deref().unwrap().split('-').next().unwrap(), event["eventId"].to_string());
        }
        Some(Message { id, alert, event, is_heartbeat: message.contains(": heartbeat") })
    }

    /// The next event; none when the stream has ended.
    async fn event(&mut self) -> Option<Value> {
        let next = async {
            loop {
                let message = self.message().await?;
                if message.event.is_some() {
                    return message.event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("an event comes")
    }

    /// All events until a heartbeat says that nothing else was there up to an event.
    async fn until(&mut self, last: i64) -> Vec<Value> {
        let reading = async {
            let mut events = Vec::new();
            loop {
                let message = self.message().await.expect("the stream goes on");
                events.extend(message.event);
                let id = message.id.as_deref().and_then(|id| id.split('-').next()?.parse::<i64>().ok());
                if message.is_heartbeat && id >= Some(last) {
                    return events;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("it comes so far")
    }

    /// The id of the next heartbeat, before which no event comes.
    pub async fn heartbeat(&mut self) -> String {
        let message = tokio::time::timeout(PATIENCE, self.message()).await.expect("one comes").unwrap();
        assert!(message.is_heartbeat && message.event.is_none(), "{message:?}");
        message.id.unwrap()
    }

    /// The next event, before which every heartbeat has an id.
    pub async fn event_behind(&mut self, last: &str) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.message()).await.expect("it comes").unwrap();
            if let Some(event) = message.event {
                return event;
            }
            assert_eq!(message.id.as_deref(), Some(last), "{message:?}");
        }
    }

    pub async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.event().await.expect("the stream goes on"));
        }
        events
    }
}

#[tokio::test]
async fn it_begins_now_or_behind_an_event_and_tells_what_the_history_tells() {
    let service = Service::with_stock(10).await;
    let mut now = Reader::open(&service.base, "", None).await;
    service.grant("allocation/allocate", allocation("a", "Online", 5)).await;
    service.grant("allocation/consume", consumption("b", "Online", 1)).await;
    let history = service.events("").await;
    assert_eq!(names(&history), ["stock", "a", "b"]);
    assert_eq!(now.events(2).await, history[1..]);
    let first = history[0]["eventId"].to_string();
    let mut all = Reader::open(&service.base, "after=0", None).await;
    assert_eq!(all.events(3).await, history);
    // The header is newer than the address, which a browser repeats. What is behind a hyphen is of
    // others.
    for last in [first.clone(), format!("{first}-7")] {
        let mut resumed = Reader::open(&service.base, "after=0", Some(&last)).await;
        assert_eq!(resumed.events(2).await, history[1..]);
    }
    for wrong in ["x", "-1", ""] {
        let headers = [("last-event-id", wrong)];
        let refused = service.send(reqwest::Method::GET, &format!("{EVENTS}/stream"), &headers, "").await;
        problem(&refused, "invalid-request");
    }
    service.stop().await;
}

#[tokio::test]
async fn each_filter_lets_through_what_it_does_in_the_history_and_nothing_else() {
    let service = Service::start_on(database().await, &["--heartbeat-time-ms", "50"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    service.grant("onhand", stock("stock", 100)).await;
    let filters = [
        "",
        "organizationId=usmf&productId=Bike",
        "productId=Helmet",
        "organizationId=nobody",
        "sizeId=L",
        "colorId=",
        "dimensionDataSource=pos&shopId=11&sizeId=",
        "group.channel=Online",
        "group.channel=Online&below=false",
        "group.channel=Online&group.customerGroup=VIP",
        "group.channel=Store",
        "operation=consume,change-on-hand",
        "actor=ann",
        "reference=SO-1",
        "from=2020-01-01T00:00:00Z",
        "to=2020-01-01T00:00:00Z",
    ];
    let mut readers = Vec::new();
    for filter in filters {
        readers.push(Reader::open(&service.base, filter, None).await);
    }
    let noted = json!({"actor": "ann", "reference": "SO-1"});
    let helmet =
        json!({"productId": "Helmet", "dimensions": {"siteId": "1", "locationId": "11", "sizeId": "L"}});
    service.grant("onhand", changed(stock("helmet", 5), helmet)).await;
    service.grant("allocation/allocate", allocation("vip", "Online/VIP", 10)).await;
    service.grant("allocation/allocate", changed(allocation("online", "Online", 10), noted)).await;
    let moved = super::requests::reallocation("move", "Online/VIP", "Store", 5);
    service.grant("allocation/reallocate", moved).await;
    service.grant("allocation/consume", consumption("sale", "Online/VIP", 1)).await;
    let last = id_of(service.events("").await.last().unwrap());
    for (filter, mut reader) in filters.iter().zip(readers) {
        let expected: Vec<Value> = service.events(filter).await;
        let expected: Vec<Value> = expected.into_iter().filter(|event| event["id"] != "stock").collect();
        assert_eq!(reader.until(last).await, expected, "{filter}");
        let mut again = Reader::open(&service.base, &format!("{filter}&after=1"), None).await;
        assert_eq!(again.until(last).await, expected, "{filter}, from the ledger");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_heartbeat_says_how_far_it_is_when_nothing_fits() {
    let service = Service::start_on(database().await, &["--heartbeat-time-ms", "50"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let mut reader = Reader::open(&service.base, "actor=nobody", None).await;
    service.grant("onhand", stock("in", 10)).await;
    let last = service.events("").await[0]["eventId"].to_string();
    loop {
        let message = reader.message().await.unwrap();
        assert!(message.is_heartbeat && message.event.is_none(), "{message:?}");
        if message.id.as_ref() == Some(&last) {
            break;
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn nothing_is_handed_on_before_an_event_that_may_still_come_and_foreign_work_holds_nothing_up() {
    let service = Service::with_stock(10).await;
    let mut foreign = PgConnection::connect_with(&service.database).await.unwrap();
    let mut foreign = foreign.begin().await.unwrap();
    sqlx::query("INSERT INTO environment VALUES ('foreign', 1)").execute(&mut *foreign).await.unwrap();
    let mut reader = Reader::open(&service.base, "", None).await;
    service.grant("onhand", stock("first", 1)).await;
    assert_eq!(names(&reader.events(1).await), ["first"], "a long foreign transaction does not matter");
    for is_committed in [true, false] {
        let mut slow = PgConnection::connect_with(&service.database).await.unwrap();
        let mut hanging = slow.begin().await.unwrap();
        let hangs = format!("hangs-{is_committed}");
        super::horizon::insert(&mut hanging, &hangs).await;
        let later = format!("later-{is_committed}");
        service.grant("onhand", stock(&later, 1)).await;
        let early = tokio::time::timeout(Duration::from_millis(1_500), reader.event()).await;
        assert!(early.is_err(), "{early:?}");
        let expected = match is_committed {
            true => {
                hanging.commit().await.unwrap();
                vec![hangs, later]
            }
            false => {
                hanging.rollback().await.unwrap();
                vec![later]
            }
        };
        assert_eq!(names(&reader.events(expected.len()).await), expected);
    }
    foreign.rollback().await.unwrap();
    service.stop().await;
}

/// Reads all pages of a query.
async fn page_through(client: &reqwest::Client, base: &str, query: String) -> Vec<Value> {
    let (mut events, mut query) = (Vec::new(), Some(query));
    while let Some(page) = query {
        let response = client.get(format!("{base}{EVENTS}?{page}")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        events.extend(response.json::<Vec<Value>>().await.unwrap());
        query = link.map(|link| link.trim_start_matches("<?").split('>').next().unwrap().to_owned());
    }
    events
}

/// Reads what is new, oldest first, until told to stop, and then to the end.
async fn page_on(base: String, is_over: Arc<AtomicBool>) -> Vec<i64> {
    let client = reqwest::Client::new();
    let mut ids: Vec<i64> = Vec::new();
    loop {
        let was_over = is_over.load(Ordering::Relaxed);
        let after = ids.last().copied().unwrap_or(0);
        let query = format!("order=oldest&limit=7&after={after}");
        ids.extend(page_through(&client, &base, query).await.iter().map(id_of));
        if was_over {
            return ids;
        }
    }
}

/// Reads all there is, newest first, again and again until told to stop. Each time it is all that the
/// ledger has from the first one down, once and in order. Answers how often there was anything, and
/// the last.
async fn page_back(base: String, mut ledger: PgConnection, is_over: Arc<AtomicBool>) -> (usize, Vec<i64>) {
    let (client, mut passes) = (reqwest::Client::new(), 0);
    loop {
        let was_over = is_over.load(Ordering::Relaxed);
        let events = page_through(&client, &base, "order=newest&limit=7".to_owned()).await;
        let mut ids: Vec<i64> = events.iter().map(id_of).collect();
        if let Some(first) = ids.first() {
            let expected: Vec<i64> =
                sqlx::query_scalar("SELECT event_id FROM ledger WHERE event_id <= $1 ORDER BY event_id DESC")
                    .bind(first)
                    .fetch_all(&mut ledger)
                    .await
                    .unwrap();
            assert_eq!(ids, expected, "newest first, while others write");
            passes += 1;
        }
        if was_over {
            ids.reverse();
            return (passes, ids);
        }
    }
}

fn id_of(event: &Value) -> i64 {
    event["eventId"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_many_write_over_two_instances_every_reader_gets_every_event_once_and_in_order() {
    const CLIENTS: usize = 16;
    const EACH: usize = 25;
    let database = database().await;
    let url = service_url(&database);
    let programs = [
        Program::serve(&["--database-url", &url, "--shards", "2"]).await,
        Program::serve(&["--database-url", &url, "--shards", "3"]).await,
    ];
    let clients = [Client::new(&programs[0].base), Client::new(&programs[1].base)];
    clients[0].configure().await;
    const PRODUCTS: usize = 4;
    let total = PRODUCTS * 2 + CLIENTS * EACH;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut streams = JoinSet::new();
    for program in &programs {
        // One that reads through, and one that is cut again and again and resumes.
        for is_cut in [false, true] {
            let base = program.base.clone();
            streams.spawn(async move {
                let mut events = Vec::new();
                let mut reader = Reader::open(&base, "after=0", None).await;
                while events.len() < total {
                    events.push(reader.event().await.expect("the stream goes on"));
                    if is_cut && events.len() % 10 == 0 {
                        let last = reader.last.clone();
                        reader = Reader::open(&base, "after=0", last.as_deref()).await;
                    }
                }
                events
            });
        }
    }
    let (mut pages, mut back) = (JoinSet::new(), JoinSet::new());
    for program in &programs {
        pages.spawn(page_on(program.base.clone(), Arc::clone(&is_over)));
        let ledger = PgConnection::connect_with(&database).await.unwrap();
        back.spawn(page_back(program.base.clone(), ledger, Arc::clone(&is_over)));
    }
    let mut writers = JoinSet::new();
    for number in 0..PRODUCTS {
        let client = clients[number % 2].clone();
        writers.spawn(async move { client.allocate_all(&format!("P{number}"), 1_000).await });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    for number in 0..CLIENTS {
        let client = clients[number % 2].clone();
        writers.spawn(async move {
            for count in 0..EACH {
                let product = format!("P{}", (number + count) % PRODUCTS);
                client.done("allocation/consume", consume(&format!("{number}-{count}"), &product, 1)).await;
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    let expected: Vec<i64> = sqlx::query_scalar("SELECT event_id FROM ledger ORDER BY event_id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    assert_eq!(expected.len(), total);
    let ids = |events: &[Value]| events.iter().map(id_of).collect::<Vec<i64>>();
    while let Some(ids) = pages.join_next().await {
        assert_eq!(ids.unwrap(), expected, "by pages");
    }
    while let Some(read) = back.join_next().await {
        let (passes, ids) = read.unwrap();
        assert_eq!(ids, expected, "newest first");
        // How often depends on how fast each is; the last time is when all is over.
        assert!(passes > 1, "it was read while others wrote: {passes} times");
    }
    while let Some(events) = streams.join_next().await {
        assert_eq!(ids(&events.unwrap()), expected, "by a stream");
    }
    for program in programs {
        program.stop().await;
    }
}

/// A client that opens a stream and does not read on.
async fn open_and_wait(service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = service.base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET {EVENTS}/stream HTTP/1.1\r\nHost: it\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

/// Brings in many events at once; answers their number.
async fn bulk(service: &Service, name: &str) -> usize {
    let lines: Vec<Value> = (0..2_500)
        .map(|number| changed(stock(&format!("{name}-{number}"), 1), json!({"reason": "r".repeat(500)})))
        .collect();
    assert_eq!(service.post("onhand/bulk", json!(lines)).await.status, 200);
    lines.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_cut_off_and_resumes_and_nobody_else_notices() {
    let service = Service::with_stock(1).await;
    let mut quick = Reader::open(&service.base, "", None).await;
    let mut slow = open_and_wait(&service).await;
    let (mut written, mut rounds) = (0, 0);
    // More than all the buffers on its way, and than the feed keeps.
    while written < 22_500 {
        written += bulk(&service, &format!("round-{rounds}")).await;
        rounds += 1;
        // Another that listens has everything long before the next comes.
        let events = quick.events(2_500).await;
        assert_eq!(events.last().unwrap()["id"], format!("round-{}-2499", rounds - 1));
    }
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("it is cut off");
    let text = String::from_utf8_lossy(&rest);
    assert!(read.is_err() || !text.ends_with("\r\n0\r\n\r\n"), "it does not look whole");
    // The last message may have broken off within.
    let text = &text[..text.rfind("\n\n").unwrap()];
    let ids: Vec<i64> = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert!(ids.len() < written && ids.is_sorted(), "{} of {written}", ids.len());
    let mut resumed = Reader::open(&service.base, "", Some(&ids[ids.len() - 2].to_string())).await;
    let events = resumed.events(written - (ids.len() - 1)).await;
    assert_eq!(id_of(&events[0]), ids[ids.len() - 1]);
    assert!(events.is_sorted_by_key(id_of));
    assert_eq!(events.last().unwrap()["id"], format!("round-{}-2499", rounds - 1));
    service.stop().await;
}

/// Waits until somebody's stream has ended.
async fn there_is_room_again(service: &Service) {
    eventually("there is room again", async || {
        let request = service.client.get(format!("{}{EVENTS}/stream", service.base));
        request.send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn who_does_not_read_at_all_is_cut_off_when_the_time_is_over() {
    let database = database().await;
    let service =
        Service::start_on(database.clone(), &["--write-time-max-ms", "2000", "--streams-max", "1"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let _slow = open_and_wait(&service).await;
    // By another, where who reads the answers to the bulks is not cut off because all cores are busy.
    let other = Service::start_on(database, &[]).await;
    for round in 0..3 {
        bulk(&other, &format!("round-{round}")).await;
    }
    other.stop().await;
    // It is not so far behind that it is cut off for that. Its place is free again, though it has not left.
    there_is_room_again(&service).await;
    service.stop().await;
}

#[tokio::test]
async fn who_falls_behind_is_cut_off_at_once_though_it_does_not_read() {
    let service =
        Service::start_on(database().await, &["--write-time-max-ms", "600000", "--streams-max", "1"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let _slow = open_and_wait(&service).await;
    for round in 0..6 {
        bulk(&service, &format!("round-{round}")).await;
    }
    there_is_room_again(&service).await;
    service.stop().await;
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let service = Service::start_on(database().await, &["--streams-max", "2"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let first = Reader::open(&service.base, "", None).await;
    let _second = Reader::open(&service.base, "", None).await;
    let path = format!("{EVENTS}/stream");
    problem(&service.get(&path).await, "overloaded");
    assert_eq!(service.events("").await, [Value::Null; 0], "lists are no streams");
    drop(first);
    there_is_room_again(&service).await;
    service.stop().await;
}

#[tokio::test]
async fn no_environment_takes_the_places_of_all_others() {
    let service = Service::start_on(database().await, &["--streams-max", "4"]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let other = "/api/environment/other";
    let path = format!("{other}/configuration");
    assert_eq!(service.send(Method::PUT, &path, &[JSON], bicycles().to_string()).await.status, 200);
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(Reader::open(&service.base, "", None).await);
    }
    problem(&service.get(&format!("{EVENTS}/stream")).await, "overloaded");
    let path = format!("{other}/events/stream");
    let of_other = service.client.get(format!("{}{path}", service.base)).send().await.unwrap();
    assert_eq!(of_other.status(), 200);
    problem(&service.get(&path).await, "overloaded");
    drop(taken);
    there_is_room_again(&service).await;
    drop(of_other);
    service.stop().await;
}

#[tokio::test]
async fn a_service_that_stops_ends_its_streams_at_once() {
    let service = Service::with_stock(1).await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(Reader::open(&service.base, "", None).await);
    }
    let begun = Instant::now();
    service.stop().await;
    // Ten seconds is how long other requests would be waited for.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    for mut reader in readers {
        assert!(reader.event().await.is_none());
    }
}

#[tokio::test]
async fn it_goes_on_when_the_database_is_back() {
    let proxy = super::proxy::Proxy::to(&database().await).await;
    let service = Service::start_on(proxy.database.clone(), &[]).await;
    assert_eq!(service.configure(bicycles()).await.status, 200);
    let mut reader = Reader::open(&service.base, "", None).await;
    service.grant("onhand", stock("before", 1)).await;
    assert_eq!(names(&reader.events(1).await), ["before"]);
    proxy.set(super::proxy::Line::Cut);
    problem(&service.get(EVENTS).await, "database-unavailable");
    proxy.set(super::proxy::Line::Open);
    eventually("it writes again", async || service.post("onhand", stock("after", 1)).await.status == 200)
        .await;
    assert_eq!(names(&reader.events(1).await), ["after"]);
    service.stop().await;
}

#[tokio::test]
async fn a_measure_that_is_new_is_told_by_its_name() {
    let service = Service::with_stock(1).await;
    let mut reader = Reader::open(&service.base, "", None).await;
    let mut document = bicycles();
    document["dataSources"]["pos"]["measures"] = json!(["inbound", "outbound", "counted"]);
    assert_eq!(service.configure(document).await.status, 200);
    let body = json!({"quantities": {"pos": {"counted": 3}}});
    service.grant("onhand", super::requests::event("new", body)).await;
    let event = reader.events(1).await.remove(0);
    assert_eq!(event["effects"], json!({"pos": {"counted": 3}}));
    assert_eq!((&event["dimensions"], &event["configurationVersion"]), (&red(), &json!(2)));
    service.stop().await;
}
