//! Exactly once: between clients, service and database everything breaks, and every id is one
//! event with one answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};
use tokio::task::JoinSet;

use super::bad_commit::bad_commit;
use super::bad_line::{Harm, bad_line};
use super::crowd::{CLIENTS, is_unsettled, settle};
use super::mix::Dice;
use super::scale;
use crate::instances::stop_and_verify;
use crate::load::{Client, allocation, consume, on_hand};
use crate::process::Program;
use crate::requests::all;
use crate::support::{database, service_url, url};

const PRODUCTS: [&str; 3] = ["Bike", "Helmet", "Bell"];
const STOCK: u32 = 1_000_000;

/// What is allocated to the groups that it is reallocated to.
fn store(mut body: Value) -> Value {
    body["groups"] = json!({"channel": "Store"});
    body
}

/// The command of an id, or those of the two that it stands for; there is enough for all of them.
fn command(number: u64) -> (&'static str, Value) {
    let (id, product) = (number.to_string(), PRODUCTS[number as usize % PRODUCTS.len()]);
    let lines = || json!([on_hand(&id, product, 1), on_hand(&second(number), product, 1)]);
    match number / 3 % 8 {
        0 => ("onhand", on_hand(&id, product, 1)),
        1 => ("allocation/unallocate", allocation(&id, product, 1)),
        2 => ("allocation/allocate", allocation(&id, product, 1)),
        3 => {
            let mut body = store(allocation(&id, product, 1));
            body["sourceGroups"] = json!({"channel": "Online", "customerGroup": "VIP"});
            ("allocation/reallocate", body)
        }
        4 => ("onhand/bulk", lines()),
        5 => ("onhand/bulk?atomic=true", lines()),
        _ => ("allocation/consume", consume(&id, product, 1)),
    }
}

/// The id of the second line of a bulk.
fn second(number: u64) -> String {
    format!("{number}, second")
}

/// How much of a product's are done by a kind of command.
fn count(ids: u64, path: &str, product: &str) -> u64 {
    let is_one =
        |number: &u64| command(*number).0 == path && PRODUCTS[*number as usize % PRODUCTS.len()] == product;
    (0..ids).filter(is_one).count() as u64
}

/// What is allocated to a group path, and what it consumed.
async fn balance(client: &Client, body: Value) -> (u64, u64) {
    let mut query = body;
    for member in ["id", "quantity"] {
        query.as_object_mut().unwrap().remove(member).unwrap();
    }
    let answer = client.settle("allocation/query", &query).await.json();
    let quantities = &answer[0]["quantities"]["@iv"];
    (quantities["@allocated"].as_u64().unwrap(), quantities["@consumed"].as_u64().unwrap())
}

/// Every answer that an id had.
type Answers = BTreeMap<u64, Vec<String>>;

/// Sends each id three times; not all of them are answered.
async fn send_thrice(lines: [Client; 2], ids: u64) -> (Answers, BTreeMap<u16, usize>, usize) {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let (lines, next) = (lines.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut told = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= ids {
                    return told;
                }
                let (path, body) = command(number);
                let mut dice = Dice::new(number);
                for _ in 0..3 {
                    let answer = lines[dice.roll(2) as usize].post(path, &body).await.ok();
                    told.push((number, answer));
                }
            }
        });
    }
    let (mut answers, mut statuses, mut unanswered) = (Answers::new(), BTreeMap::new(), 0);
    while let Some(told) = tasks.join_next().await {
        for (number, answer) in told.unwrap() {
            let Some(answer) = answer else {
                unanswered += 1;
                continue;
            };
            *statuses.entry(answer.status).or_default() += 1;
            match answer.status {
                200 => answers.entry(number).or_default().push(answer.text),
                503 => {}
                _ if is_unsettled(&answer) => {}
                _ => panic!("{number}: {}", answer.text),
            }
        }
    }
    (answers, statuses, unanswered)
}

/// The ids of the ledger, each as often as it is there.
async fn ledger(database: &PgConnectOptions) -> Vec<String> {
    let mut connection = PgConnection::connect_with(database).await.unwrap();
    let ids = sqlx::query("SELECT id FROM ledger ORDER BY id COLLATE \"C\"");
    let ids = ids.fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get(0)).collect();
    connection.close().await.unwrap();
    ids
}

fn how_often(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

/// Ids that are asked about again at once.
const ASKED_AT_ONCE: usize = 32;

async fn ask_again(client: Client, number: u64) -> (u64, String) {
    let (path, body) = command(number);
    let answer = settle(&client, path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (number, answer.text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_one_event_with_one_answer_however_often_it_is_sent_and_whatever_breaks() {
    let ids = scale(400, 100_000);
    let began = Instant::now();
    let database = database().await;
    let (broken, breaks) = bad_commit(&database, 8).await;
    let broken = service_url(&broken);
    let programs = [
        Program::serve(&["--database-url", &broken]).await,
        Program::serve(&["--database-url", &broken, "--shards", "1"]).await,
    ];
    let clients = [Client::new(&programs[0].base), Client::new(&programs[1].base)];
    clients[0].configure().await;
    for product in PRODUCTS {
        let stock = on_hand(&format!("stock-{product}"), product, 2 * i64::from(STOCK));
        clients[0].settle("onhand", &stock).await;
        let share = allocation(&format!("share-{product}"), product, STOCK);
        clients[0].settle("allocation/allocate", &share).await;
    }
    let (one, here) = bad_line(&programs[0].base, 1).await;
    let (other, there) = bad_line(&programs[1].base, 1 << 40).await;
    let lines = [Client::of_short_connections(&one), Client::of_short_connections(&other)];
    let (mut answers, statuses, unanswered) = send_thrice(lines, ids).await;

    // Who does not know yet asks again, and is told; who knows is told the same.
    for first in (0..ids).step_by(ASKED_AT_ONCE) {
        let numbers = first..ids.min(first + ASKED_AT_ONCE as u64);
        let again = numbers.flat_map(|number| clients.clone().map(|client| ask_again(client, number)));
        for (number, text) in all(again).await {
            answers.entry(number).or_default().push(text);
        }
    }
    for (number, texts) in &answers {
        assert!(texts.iter().all(|text| *text == texts[0]), "{number} has several answers: {texts:#?}");
    }
    let mut expected: Vec<String> = (0..ids).map(|number| number.to_string()).collect();
    expected.extend((0..ids).filter(|&number| command(number).1.is_array()).map(second));
    expected
        .extend(PRODUCTS.iter().flat_map(|product| [format!("stock-{product}"), format!("share-{product}")]));
    expected.sort_unstable();
    assert_eq!(ledger(&database).await, expected);
    for product in PRODUCTS {
        let [given, taken, moved, consumed] = ["allocate", "unallocate", "reallocate", "consume"]
            .map(|word| count(ids, &format!("allocation/{word}"), product));
        let vip = (u64::from(STOCK) + given - taken - moved - consumed, consumed);
        let share = allocation("", product, 1);
        assert_eq!(balance(&clients[1], share.clone()).await, vip, "{product}");
        assert_eq!(balance(&clients[1], store(share)).await, (moved, 0), "{product}");
    }
    println!(
        "exactly once: {ids} ids sent three times, 0 twice in the ledger; {statuses:?}, {unanswered} unanswered, \
         {here:?}, {there:?}, {breaks:?}, {:?}",
        began.elapsed()
    );
    let of_line =
        |harm: &Harm| [&harm.passed, &harm.lost_answers, &harm.sent_twice, &harm.broken].map(how_often);
    let of_commits = [&breaks.before, &breaks.during, &breaks.after].map(how_often);
    let all = [&of_line(&here)[..], &of_line(&there), &of_commits].concat();
    assert!(
        all.iter().all(|&count| count > 0) && unanswered > 0,
        "some harm was not done: {all:?}, {unanswered}"
    );
    stop_and_verify(programs, &url(&database), expected.len()).await;
}
