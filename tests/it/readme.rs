//! The README's story: its curl lines as they stand there, and their answers.

use serde_json::Value;

use super::support::{Service, database};

const README: &str = include_str!("../../README.md");
const BASE: &str = "http://127.0.0.1:8080";

/// A command with its answer.
struct Step {
    command: &'static str,
    answer: &'static str,
}

/// The blocks that a fence of this kind opens, each with where it begins.
fn blocks(kind: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let opening = format!("\n```{kind}\n");
    let found: Vec<_> = README.match_indices(&opening).collect();
    found.into_iter().map(move |(at, opening)| {
        let text = &README[at + opening.len()..];
        (at, &text[..text.find("\n```").unwrap()])
    })
}

fn story() -> Vec<Step> {
    let (commands, answers): (Vec<_>, Vec<_>) = (blocks("sh").collect(), blocks("json").collect());
    assert_eq!(commands.len(), answers.len(), "every command has an answer");
    assert!(commands.len() >= 8, "the README has lost its story");
    let steps = commands.into_iter().zip(answers);
    steps
        .map(|((asked_at, command), (answered_at, answer))| {
            assert_eq!(
                asked_at + "\n```sh\n".len() + command.len() + "\n```".len(),
                answered_at,
                "{command}"
            );
            Step { command, answer }
        })
        .collect()
}

/// Runs a command as a person would, against the service that is under test.
async fn run(service: &Service, command: &str) -> String {
    assert!(command.contains(BASE), "{command}");
    let command = command.replace(BASE, &service.base);
    let output = tokio::process::Command::new("sh").args(["-c", &command]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "is curl installed? {} {said}\n{command}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The header lines, and the body but for what depends on the rest of the ledger.
fn comparable(answer: &str) -> (Vec<&str>, Value) {
    let body = answer.find(['{', '[']).unwrap_or_else(|| panic!("no JSON: {answer:?}"));
    let headers = answer[..body].lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut body: Value =
        serde_json::from_str(&answer[body..]).unwrap_or_else(|error| panic!("{error}: {answer}"));
    if let Some(event_id) = body.get_mut("eventId") {
        assert!(event_id.is_u64(), "{answer}");
        *event_id = Value::Null;
    }
    (headers, body)
}

#[tokio::test]
async fn the_story_is_true() {
    let service = Service::start_on(database().await, &["--demo"]).await;
    for Step { command, answer } in story() {
        let given = run(&service, command).await;
        assert_eq!(comparable(&given), comparable(answer), "\n{command}\nanswers:\n{given}");
    }
    // "Paste it all once more": the same, now marked as repeats.
    for Step { command, answer } in story() {
        let given = run(&service, command).await;
        assert_eq!(comparable(&given).1, comparable(answer).1, "\n{command}\nanswers:\n{given}");
    }
    service.stop().await;
}

/// The configuration that the README shows as an example is one.
#[tokio::test]
async fn its_configuration_is_taken() {
    let service = Service::start().await;
    let from = README.find("    curl -X PUT").unwrap();
    let command = &README[from..from + README[from..].find("}'\n").unwrap() + 2];
    let answer = run(&service, &command.replace("curl", "curl -s")).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["warnings"], serde_json::json!([]), "{answer}");
    service.stop().await;
}
