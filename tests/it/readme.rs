//! The README's story: its curl lines as they stand there, and their answers.

use super::guides::{Step, check, comparable, run, steps};
use super::support::{Service, database};

fn story() -> Vec<Step> {
    let steps = steps("README.md");
    assert!(steps.len() >= 8, "the README has lost its story");
    assert!(steps.iter().all(|step| step.answer.is_some()), "every command has an answer");
    steps
}

#[tokio::test]
async fn the_story_is_true() {
    let service = Service::start_on(database().await, &["--demo"]).await;
    for step in story() {
        check(&step, &run(&service, &step.command).await);
    }
    // "Paste it all once more": the same, now marked as repeats.
    for Step { command, answer } in story() {
        let given = run(&service, &command).await;
        let shown = answer.unwrap();
        assert_eq!(comparable(&given).1, comparable(&shown).1, "\n{command}\nanswers:\n{given}");
    }
    service.stop().await;
}
