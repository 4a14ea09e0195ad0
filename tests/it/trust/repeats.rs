//! The same answer on repeat, byte for byte: from the instance that gave it, from another, from
//! ones that were started since and remember nothing, and under another configuration. The same
//! id with another meaning is an error on all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::crowd::{Asked, CLIENTS, Pair, Reserved, settle};
use super::mix::{Dice, document, texts};
use super::scale;
use super::wire::written;
use crate::instances::stop_and_verify;
use crate::load::Client;
use crate::naive::Request;
use crate::process::Program;
use crate::support::{Answer, service_url, url};

/// What was asked first, and what was answered.
struct First {
    asked: Asked,
    answer: Answer,
}

impl First {
    fn is_granted(&self) -> bool {
        self.answer.status == 200
    }

    async fn again(&self, client: &Client) {
        let (path, body) = self.asked.written();
        let again = settle(client, &path, &body).await;
        assert_eq!((again.status, &again.text), (200, &self.answer.text), "{path} {body}");
        // A bulk says nothing in its head, because its lines may differ.
        let expected = (!path.ends_with("/bulk")).then_some("true");
        assert_eq!(again.header("idempotent-replayed"), expected, "{path} {body}");
        if path.starts_with("onhand") {
            let line = settle(client, &format!("{path}/bulk"), &json!([body])).await;
            assert_eq!((line.status, line.text), (200, format!("[{}]", self.answer.text)));
        }
    }

    /// The id with another meaning: of another kind, elsewhere, of another product, more.
    fn with_another_meaning(&self, dice: &mut Dice) -> Asked {
        let mut path = self.asked.path();
        let kind = |path| Request::Allocate { path, groups: texts("Online/VIP/EU"), quantity: 1 };
        let mut asked = self.asked.clone();
        match (dice.roll(4), &mut asked.request) {
            // What frees a reservation names no product.
            (0, request) if !matches!(request, Request::Unreserve { .. }) => asked.product += "'",
            (
                2,
                Request::Allocate { quantity, .. }
                | Request::Unallocate { quantity, .. }
                | Request::Reallocate { quantity, .. }
                | Request::Consume { quantity, .. }
                | Request::Reserve { quantity, .. }
                | Request::GiveBack { quantity, .. }
                | Request::Unreserve { quantity, .. },
            ) => *quantity += 1,
            (
                3,
                Request::Allocate { path, .. }
                | Request::Unallocate { path, .. }
                | Request::Reallocate { path, .. }
                | Request::Consume { path, .. }
                | Request::Reserve { path, .. }
                | Request::GiveBack { path, .. }
                | Request::Schedule { path, .. },
            ) => *path.last_mut().unwrap() = "other".to_owned(),
            (1, request) => *request = kind(path),
            (_, request) => {
                *path.last_mut().unwrap() = "other".to_owned();
                *request = kind(path);
            }
        }
        asked
    }

    async fn refused(&self, client: &Client, asked: &Asked) {
        let (path, body) = asked.written();
        let refused = settle(client, &path, &body).await;
        let is_line = path.ends_with("/bulk");
        assert_eq!(refused.status, if is_line { 207 } else { 422 }, "{path} {body}: {}", refused.text);
        let json = refused.json();
        assert_eq!(if is_line { &json[0]["code"] } else { &json["code"] }, "id-reused");
    }
}

async fn ask(clients: &[Client; 2], commands: u64) -> Vec<Arc<First>> {
    let (next, reserved) = (Arc::new(AtomicU64::new(0)), Reserved::default());
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let (clients, next, reserved) = (clients.clone(), Arc::clone(&next), reserved.clone());
        tasks.spawn(async move {
            let mut firsts = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= commands {
                    return firsts;
                }
                let mut dice = Dice::new(number);
                let product = format!("P{}", dice.roll(8));
                let asked = Asked::any(&number.to_string(), &product, &reserved, &mut dice);
                let (path, body) = asked.written();
                let answer = settle(&clients[dice.roll(2) as usize], &path, &body).await;
                if answer.status == 200 {
                    reserved.keep(&asked, &answer.text);
                }
                firsts.push(Arc::new(First { asked, answer }));
            }
        });
    }
    let mut firsts = Vec::new();
    while let Some(done) = tasks.join_next().await {
        firsts.extend(done.unwrap());
    }
    firsts
}

/// Asks all of it again, some at a time.
async fn ask_again(firsts: &[Arc<First>], client: &Client) {
    let mut tasks = JoinSet::new();
    for (number, first) in firsts.iter().enumerate() {
        if tasks.len() == CLIENTS {
            tasks.join_next().await.unwrap().unwrap();
        }
        let (first, client) = (Arc::clone(first), client.clone());
        tasks.spawn(async move {
            first.again(&client).await;
            let other = first.with_another_meaning(&mut Dice::new(number as u64));
            first.refused(&client, &other).await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_given_again_byte_for_byte_by_whoever_is_asked() {
    let began = Instant::now();
    let Pair { database, programs, clients } = Pair::start().await;
    let serves = service_url(&database);
    let (granted, refused): (Vec<_>, Vec<_>) =
        ask(&clients, scale(500, 50_000)).await.into_iter().partition(|first| first.is_granted());
    assert!(granted.len() > refused.len() / 2, "{} and {}", granted.len(), refused.len());
    for client in &clients {
        ask_again(&granted, client).await;
    }
    for program in programs {
        program.kill().await;
    }
    let programs = [
        Program::serve(&["--database-url", &serves, "--recent-events-max", "1"]).await,
        Program::serve(&["--database-url", &serves, "--shards", "5"]).await,
    ];
    let clients = [Client::new(&programs[0].base), Client::new(&programs[1].base)];
    for client in &clients {
        ask_again(&granted, client).await;
    }
    // By other rules: nothing is available, and no group takes from the shops.
    let mut document = document();
    document["allocation"]["availableToAllocate"] = json!("pos.outbound - @iv.@allocated");
    document["dataSources"]["pos"]["readOnly"] = json!(true);
    let changed = clients[0].send(Method::PUT, "configuration", &document).await.unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text);
    for client in clients.iter().rev() {
        for first in &granted {
            first.again(client).await;
        }
    }
    // What was refused left nothing: its id is free for another meaning.
    for first in &refused {
        let free = Request::OnHand { path: texts("1"), deltas: Vec::new(), settle: None };
        let (path, mut body) = written(&first.asked.id, "Free", &free, None).unwrap();
        body["quantities"] = json!({"pos": {"outbound": 1}});
        assert_eq!(clients[0].settle(&path, &body).await.status, 200);
    }
    println!(
        "same answer: {} answers again by 4 instances and under another configuration, all equal; \
         another meaning 422 by each, {:?}",
        granted.len(),
        began.elapsed()
    );
    stop_and_verify(programs, &url(&database), granted.len() + refused.len()).await;
}
