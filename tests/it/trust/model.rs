//! Random command sequences over HTTP and through the naive model, side by side. A failure is
//! shrunk to the shortest sequence that still fails.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use tokio::runtime::Runtime;

use super::scale;
use super::wire::{read, written};
use crate::core::random::{Step, config, step, stock};
use crate::core::wire::document;
use crate::naive::{Answer, Config, No, Request, World};
use crate::requests::JSON;
use crate::support::Service;

/// A service and the naive model after the same commands, in an environment of their own.
struct Pair<'a> {
    service: &'a Service,
    environment: String,
    world: World,
    sent: Vec<Request>,
    /// Paths and group paths that something was allocated to.
    held: Vec<(Vec<String>, Vec<String>)>,
}

impl<'a> Pair<'a> {
    async fn new(service: &'a Service, environment: String, config: Config) -> Pair<'a> {
        let path = format!("/api/environment/{environment}/configuration");
        let body = serde_json::to_string(&document(&config)).unwrap();
        let answer = service.send(Method::PUT, &path, &[JSON], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Pair { service, environment, world: World::new(config), sent: Vec::new(), held: Vec::new() }
    }

    /// Sends a request to both, under the number that it was first sent with.
    async fn send(&mut self, number: usize, request: &Request) -> Result<Answer, No> {
        let id = format!("event {number}");
        let expected = self.world.send(&id, request);
        let (path, body) = written(&id, "Bike", request).unwrap();
        let path = format!("/api/environment/{}/{path}", self.environment);
        let answer = self.service.send(Method::POST, &path, &[JSON], body.to_string()).await;
        assert_eq!(read(&answer.text), expected, "{request:?}: {}", answer.text);
        expected
    }

    /// Sends a new request, if it is one that HTTP has.
    async fn send_new(&mut self, request: Request) {
        if written("", "", &request).is_none() {
            return;
        }
        let answer = self.send(self.sent.len(), &request).await;
        if let (Ok(_), Request::Allocate { path, groups, .. } | Request::Reallocate { path, groups, .. }) =
            (answer, &request)
        {
            self.held.push((path.clone(), groups.clone()));
        }
        self.sent.push(request);
    }

    async fn run(&mut self, stocked: Vec<Request>, steps: Vec<Step>) {
        for request in stocked {
            self.send_new(request).await;
        }
        for step in steps {
            let request = step.request(&self.world, &self.held, &[]);
            self.send_new(request).await;
        }
        // What was granted is answered again, what was refused is judged afresh; and an id
        // with what another one means is reused.
        for (number, request) in self.sent.clone().iter().enumerate() {
            self.send(number, request).await.ok();
            // What can never be a command has no meaning to compare.
            if self.world.refusal(request) != Some(No::SameGroups) {
                self.send(number / 2, request).await.ok();
            }
        }
    }
}

#[test]
fn over_http_the_service_does_what_the_naive_model_does() {
    let cases = scale(24, 3_000) as u32;
    let runtime = Runtime::new().unwrap();
    let service = runtime.block_on(Service::start());
    let settings = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(settings);
    let sequences = (config(), prop::collection::vec(stock(), 1..5), prop::collection::vec(step(), 1..30));
    let (environments, requests) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let outcome = runner.run(&sequences, |(config, stocked, steps)| {
        environments.set(environments.get() + 1);
        runtime.block_on(async {
            let environment = format!("case-{}", environments.get());
            let mut pair = Pair::new(&service, environment, config).await;
            pair.run(stocked, steps).await;
            requests.set(requests.get() + 3 * pair.sent.len());
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
