//! A random history, in which everything is asked after every event. Later all of it is asked
//! again, about then.
//!
//! The answers are made under the configuration of today, so they are compared with those of a
//! *twin*: an environment that had it from the beginning, and got the same commands.

use ringfence::store::snapshots::Source;
use serde_json::{Value, json};

use crate::requests::{JSON, changed};
use crate::schedule::{later, scheduling, today};
use crate::support::Service;

use super::{alone, ask, follow, follow_by, last_event, point_of, questions, run, snapshots};

const STEPS: u64 = 150;
/// Fewest events of a product between snapshots.
const EVENTS: u64 = 7;

/// SplitMix64, with the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

/// The configurations that follow one another; the last is the twin's from the beginning.
fn configurations() -> Vec<Value> {
    let mut documents = vec![changed(scheduling(30), json!({}))];
    let mut next = |change: &dyn Fn(&mut Value)| {
        let mut document = documents.last().unwrap().clone();
        change(&mut document);
        documents.push(document);
    };
    next(&|document| document["allocation"]["groups"].as_array_mut().unwrap().push(json!("segment")));
    next(&|document| document["dimensions"].as_array_mut().unwrap().push(json!("lotId")));
    next(&|document| {
        document["dataSources"]["returns"] = json!({"measures": ["checked"]});
        document["allocation"]["availableToAllocate"] =
            json!("fno.onordered + pos.inbound + returns.checked - @iv.@softreserved - @iv.@allocated");
    });
    next(&|document| {
        document["calculatedMeasures"]["shop.twice"] = json!("2 * pos.inbound - returns.checked")
    });
    documents
}

struct History {
    service: Service,
    random: Random,
    day: String,
    /// How many configurations were put.
    configured: usize,
    /// Each with its id, that of the twin's, and where it is.
    reservations: Vec<[Value; 3]>,
}

impl History {
    async fn put(&self, environment: &str, document: &Value) {
        let path = format!("/api/environment/{environment}/configuration");
        let answer = self.service.send(reqwest::Method::PUT, &path, &[JSON], document.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    async fn post(&self, environment: &str, path: &str, body: &Value) -> (u16, Value) {
        let path = format!("/api/environment/{environment}/{path}");
        let answer = self.service.send(reqwest::Method::POST, &path, &[JSON], body.to_string()).await;
        (answer.status, answer.json())
    }

    /// A command that has something to do with others.
    fn command(&mut self, step: u64) -> (&'static str, Value) {
        let random = &mut self.random;
        let product = random.one_of(&["Bike", "Bike", "Bike", "Helmet", "Lamp"]);
        let places = [
            json!({"siteId": "1", "locationId": "11", "colorId": "red"}),
            json!({"siteId": "1", "locationId": "11", "colorId": "red"}),
            json!({"siteId": "1", "locationId": "11", "colorId": "red", "sizeId": "S"}),
            json!({"siteId": "1", "locationId": "11"}),
            json!({"siteId": "1", "locationId": "12"}),
            json!({"siteId": "2", "locationId": "21", "sizeId": "L"}),
        ];
        let place = random.one_of(&places);
        let path = random.one_of(&["Online", "Online/VIP", "Online/VIP", "App/VIP/US"]);
        let quantity = random.one_of(&["1", "2", "0.5", "3.25"]);
        let base = json!({"id": format!("event {step}"), "organizationId": "usmf", "productId": product, "dimensions": place});
        let of_groups = |more: Value| {
            let mut body =
                changed(base.clone(), json!({"groups": crate::requests::groups(path), "quantity": quantity}));
            body = changed(body, more);
            body
        };
        let stock = |quantities: Value| changed(base.clone(), json!({"quantities": quantities}));
        match random.below(16) {
            0..=2 => ("onhand", stock(json!({"pos": {"inbound": random.one_of(&["9", "4.5", "12", "-1"])}}))),
            3 => ("onhand", stock(json!({"pos": {"outbound": 1}, "fno": {"onordered": 2}}))),
            4 if self.configured > 3 => ("onhand", stock(json!({"returns": {"checked": quantity}}))),
            4..=6 => ("allocation/allocate", of_groups(json!({}))),
            7 => ("allocation/unallocate", of_groups(json!({}))),
            8 => (
                "allocation/reallocate",
                of_groups(json!({"sourceGroups": {"channel": "Online"}, "groups": {"channel": "Web"}})),
            ),
            9 | 10 => (
                "allocation/consume",
                of_groups(json!({"physicalMeasures": {"pos": {"inbound": "Subtraction"}}})),
            ),
            11 => (
                "allocation/consume",
                of_groups(json!({"physicalMeasures": {"@iv": {"@softreserved": "Addition"}}})),
            ),
            12 => {
                ("onhand/reserve", changed(base, json!({"quantities": {"@iv": {"@softreserved": quantity}}})))
            }
            13 if !self.reservations.is_empty() => {
                // Also some that are freed already.
                let [reservation, _, place] = random.one_of(&self.reservations);
                let body = json!({"id": format!("event {step}"), "organizationId": "usmf", "reservationId": reservation, "dimensions": place, "OffsetQty": quantity});
                ("onhand/unreserve", body)
            }
            14 => (
                "onhand/changeschedule",
                changed(
                    base,
                    json!({"quantitiesByDate": {(self.day.clone()): {"pos": {"inbound": quantity}}}}),
                ),
            ),
            _ => (
                "setonhand/pos/bulk",
                json!([stock(json!({"pos": {"inbound": random.one_of(&["20", "7.5"])}}))]),
            ),
        }
    }

    /// Does one step in both environments. Answers the event, where it was granted.
    async fn step(&mut self, step: u64) -> Option<i64> {
        if step % 40 == 17 {
            let enabled = json!([{"organizationId": "usmf", "productId": "Helmet", "enabled": step > 60}]);
            for environment in ["test", "twin"] {
                let path = format!("/api/environment/{environment}/allocation/products");
                let answer =
                    self.service.send(reqwest::Method::PUT, &path, &[JSON], enabled.to_string()).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
        }
        let documents = configurations();
        if step % 30 == 29 && self.configured < documents.len() {
            self.put("test", &required(&documents[self.configured])).await;
            self.configured += 1;
        }
        let (path, body) = self.command(step);
        let (own, other) =
            (self.post("test", path, &body).await, self.post("twin", path, &self.in_twin(&body)).await);
        assert_eq!(own.0, other.0, "{path} {body}: {} and {}", own.1, other.1);
        let [own, other] = [own.1, other.1].map(|body| if body.is_array() { body[0].clone() } else { body });
        if let Some(made) = own.get("reservationId").filter(|_| path != "onhand/unreserve") {
            let place = body["dimensions"].clone();
            self.reservations.push([made.clone(), other["reservationId"].clone(), place]);
        }
        own["eventId"].as_i64()
    }

    /// A reservation has another id there.
    fn in_twin(&self, body: &Value) -> Value {
        let mut body = body.clone();
        if let Some(id) = body.get_mut("reservationId") {
            let [_, other, _] = self.reservations.iter().find(|made| made[0] == *id).unwrap();
            *id = other.clone();
        }
        body
    }
}

/// With products that must be enabled.
fn required(document: &Value) -> Value {
    let mut document = document.clone();
    document["allocation"]["requireEnabledProducts"] = json!(true);
    document
}

#[tokio::test]
async fn what_is_asked_about_any_event_is_answered_as_it_was_then() {
    let day = later(today().await, 3);
    let service = Service::start().await;
    let mut connection = alone(&service).await;
    let mut history = History { service, random: Random(7), day, configured: 1, reservations: Vec::new() };
    let documents = configurations();
    history.put("test", &required(&documents[0])).await;
    history.put("twin", &required(documents.last().unwrap())).await;
    for environment in ["test", "twin"] {
        let path = format!("/api/environment/{environment}/allocation/products");
        let enabled: Value = ["Bike", "Helmet", "Lamp"]
            .map(|product| json!({"organizationId": "usmf", "productId": product, "enabled": true}))
            .into_iter()
            .collect();
        let answer = history.service.send(reqwest::Method::PUT, &path, &[JSON], enabled.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let questions = questions();
    let (mut then, mut followed) = (Vec::new(), 0);
    for step in 0..STEPS {
        let Some(event_id) = history.step(step).await else { continue };
        let mut answers = Vec::new();
        for question in &questions {
            answers.push(ask(&history.service, "twin", question, None).await.text);
        }
        then.push((event_id, answers));
        // Copied from the books and replayed from the ledger in turn.
        let until = last_event(&mut connection).await;
        if step % 26 == 5 {
            followed = follow_by(&mut connection, (followed, until), Source::Ledger, EVENTS).await;
        } else if step % 13 == 5 {
            followed = follow_by(&mut connection, (followed, until), Source::Books, 1).await;
        }
    }
    let service = history.service;
    assert_eq!(history.configured, documents.len(), "every configuration was there");
    assert!(then.len() as u64 > STEPS / 2, "{} of {STEPS} were granted", then.len());
    assert!(snapshots(&mut connection, "Bike").await > 2);
    let check = async |every: usize| {
        for (event_id, answers) in then.iter().step_by(every) {
            for (question, expected) in questions.iter().zip(answers) {
                let answer = ask(&service, "test", question, Some(json!(event_id))).await;
                assert_eq!(answer.text, *expected, "as of {event_id}: {question:?}");
                assert_eq!(point_of(&answer), *event_id);
            }
        }
    };
    check(1).await;
    service.verify().await;
    // Without snapshots it takes longer, and is the same; and they come again by themselves.
    run(&mut connection, "DELETE FROM snapshot").await;
    check(9).await;
    run(&mut connection, "UPDATE snapshot_due SET events = due_at").await;
    for product in ["Bike", "Helmet", "Lamp"] {
        let body = json!({"id": format!("once more {product}"), "organizationId": "usmf", "productId": product,
                          "dimensions": {}, "quantities": {"pos": {"inbound": 1}}});
        service.grant("onhand", body).await;
    }
    follow(&mut connection, followed, EVENTS).await;
    assert!(snapshots(&mut connection, "Bike").await > 1);
    check(9).await;
    service.verify().await;
    service.stop().await;
}
