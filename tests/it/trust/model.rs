//! Random command sequences, some of them bulks that are done as a whole or not at all, over HTTP and
//! through the naive model, side by side. A failure is shrunk to the shortest sequence that still fails.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use tokio::runtime::Runtime;

use super::scale;
use super::wire::{Made, first_day, path_of, read, reservation, written};
use crate::core::random::{Step, bulk, config, step, stock};
use crate::core::wire::document;
use crate::naive::{Answer, Config, No, Request, World};
use crate::requests::JSON;
use crate::support::{self, Service};

/// A service and the naive model after the same commands, in an environment of their own.
struct Pair<'a> {
    service: &'a Service,
    environment: String,
    world: World,
    /// Requests, those of a bulk together.
    sent: Vec<Vec<Request>>,
    /// Paths and group paths that something was allocated to.
    held: Vec<(Vec<String>, Vec<String>)>,
    made: Vec<Made>,
}

impl<'a> Pair<'a> {
    async fn new(service: &'a Service, environment: String, config: Config) -> Pair<'a> {
        let path = format!("/api/environment/{environment}/configuration");
        let body = serde_json::to_string(&document(&config)).unwrap();
        let answer = service.send(Method::PUT, &path, &[JSON], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let world = World::new(config);
        Pair { service, environment, world, sent: Vec::new(), held: Vec::new(), made: Vec::new() }
    }

    async fn post(&self, path: &str, body: &Value) -> support::Answer {
        let path = format!("/api/environment/{}/{path}", self.environment);
        self.service.send(Method::POST, &path, &[JSON], body.to_string()).await
    }

    fn written(&self, id: &str, request: &Request) -> Option<(String, Value)> {
        let freed = match request {
            Request::Unreserve { reservation, .. } => {
                self.made.iter().find(|made| made.event == *reservation)
            }
            _ => None,
        };
        written(id, "Bike", request, freed)
    }

    /// Keeps what a client has to know of what was granted.
    fn keep(&mut self, id: String, request: &Request, granted: &Answer, text: &str) {
        if let Request::Allocate { path, groups, .. } | Request::Reallocate { path, groups, .. } = request {
            self.held.push((path.clone(), groups.clone()));
        }
        if granted.reservation && self.made.iter().all(|made| made.event != id) {
            let name = reservation(text).unwrap();
            self.made.push(Made { event: id, path: path_of(request, None), name });
        }
    }

    /// Sends a request to both, under the number that it was first sent with.
    async fn send(&mut self, number: usize, request: &Request) {
        let id = format!("event {number}");
        let (path, body) = self.written(&id, request).unwrap();
        let expected = self.world.send(&id, request);
        let answer = self.post(&path, &body).await;
        assert_eq!(read(request, &answer.text), expected, "{request:?}: {}", answer.text);
        if let Ok(granted) = expected {
            self.keep(id, request, &granted, &answer.text);
        }
    }

    /// Sends requests of one kind as a bulk that is done as a whole, or not at all.
    async fn send_together(&mut self, number: usize, requests: &[Request]) {
        let id = |line: usize| format!("event {number}, line {line}");
        let written: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(line, request)| self.written(&id(line), request).unwrap())
            .collect();
        let mut world = self.world.clone();
        let lines = requests.iter().enumerate().map(|(line, request)| world.send(&id(line), request));
        let expected: Vec<_> = lines.collect();
        // Those of sets are bulks of one line already.
        let body = |body: &Value| if body.is_array() { body[0].clone() } else { body.clone() };
        let bodies: Value = written.iter().map(|(_, own)| body(own)).collect();
        let path = written[0].0.trim_end_matches("/bulk");
        let answer = self.post(&format!("{path}/bulk?atomic=true"), &bodies).await;
        if let Some(first) = expected.iter().position(Result::is_err) {
            assert_eq!(answer.json()["index"], first, "{requests:?}: {}", answer.text);
            assert_eq!(
                read(&requests[first], &answer.text),
                expected[first],
                "{requests:?}: {}",
                answer.text
            );
            return;
        }
        self.world = world;
        let texts: Vec<&RawValue> = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(texts.len(), expected.len(), "{}", answer.text);
        for (line, ((request, text), expected)) in requests.iter().zip(texts).zip(expected).enumerate() {
            assert_eq!(read(request, text.get()), expected, "{request:?}: {}", answer.text);
            self.keep(id(line), request, &expected.unwrap(), text.get());
        }
    }

    /// Sends a new request, if it is one that HTTP has.
    async fn send_new(&mut self, request: Request) {
        if self.written("", &request).is_some() {
            self.send(self.sent.len(), &request).await;
            self.sent.push(vec![request]);
        }
    }

    /// Whether HTTP has a bulk of them all.
    fn is_bulk(&self, requests: &[Request]) -> bool {
        let paths = requests.iter().map(|request| Some(self.written("", request)?.0));
        let paths: BTreeSet<_> = paths.collect();
        requests.len() > 1 && paths.len() == 1 && !paths.contains(&None)
    }

    /// The request of a step as things are now.
    fn request(&self, step: &Step) -> Request {
        let made: Vec<String> = self.made.iter().map(|made| made.event.clone()).collect();
        step.request(&self.world, &self.held, &made)
    }

    /// What no answer tells: what is stored of the schedule.
    async fn check_schedules(&self) {
        let mut connection = PgConnection::connect_with(&self.service.database).await.unwrap();
        let stored =
            "SELECT s.dimensions, (s.day - $2)::bigint, c.measures[s.place], (s.quantity * 1000000)::bigint
                      FROM schedule s JOIN configuration c USING (environment_id) WHERE environment_id = $1";
        let rows = sqlx::query(stored).bind(&self.environment).bind(first_day());
        let rows = rows.fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let of_row = |row: &PgRow| -> (Vec<String>, (i64, String), i128) {
            (row.get(0), (row.get(1), row.get(2)), i128::from(row.get::<i64, _>(3)))
        };
        let stored: BTreeSet<_> = rows.iter().map(of_row).collect();
        let paths = self.sent.iter().flatten().filter_map(|request| match request {
            Request::Schedule { path, .. } => Some(path),
            _ => None,
        });
        let of_path = |path: &Vec<String>| {
            let days = self.world.schedule(path);
            days.into_iter().map(|(day, quantity)| (path.clone(), day, quantity)).collect::<Vec<_>>()
        };
        let expected: BTreeSet<_> = paths.flat_map(of_path).collect();
        assert_eq!(stored, expected);
    }

    async fn run(&mut self, stocked: Vec<Request>, steps: Vec<Vec<Step>>) {
        for request in stocked {
            self.send_new(request).await;
        }
        for steps in steps {
            let requests: Vec<_> = steps.iter().map(|step| self.request(step)).collect();
            if self.is_bulk(&requests) {
                self.send_together(self.sent.len(), &requests).await;
                self.sent.push(requests);
                continue;
            }
            for request in requests {
                self.send_new(request).await;
            }
        }
        // What was granted is answered again, what was refused is judged afresh; and an id
        // with what another one means is reused.
        for (number, requests) in self.sent.clone().iter().enumerate() {
            let [request] = &requests[..] else {
                self.send_together(number, requests).await;
                continue;
            };
            self.send(number, request).await;
            // What can never be a command has no meaning to compare.
            if self.world.refusal(request) != Some(No::SameGroups) {
                self.send(number / 2, request).await;
            }
        }
        self.check_schedules().await;
    }
}

#[test]
fn over_http_the_service_does_what_the_naive_model_does() {
    let cases = scale(24, 3_000) as u32;
    let runtime = Runtime::new().unwrap();
    let service = runtime.block_on(Service::start());
    let settings = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(settings);
    let steps = prop_oneof![5 => step().prop_map(|step| vec![step]), 1 => bulk()];
    let sequences = (config(), prop::collection::vec(stock(), 1..5), prop::collection::vec(steps, 1..30));
    let (environments, requests) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let outcome = runner.run(&sequences, |(config, stocked, steps)| {
        environments.set(environments.get() + 1);
        runtime.block_on(async {
            let environment = format!("case-{}", environments.get());
            let mut pair = Pair::new(&service, environment, config).await;
            pair.run(stocked, steps).await;
            requests.set(requests.get() + 3 * pair.sent.iter().flatten().count());
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    println!("model: {cases} sequences, {} requests, 0 answers differ", requests.get());
    runtime.block_on(async {
        service.verify().await;
        service.stop().await;
    });
}
