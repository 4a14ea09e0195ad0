//! What waits, in which batches.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::command::{Command, Operation, ProductKey};
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::DimensionPath;
use crate::domain::name::Value;
use crate::store::configuration::Versioned;

use super::*;

fn submission(ids: &[&str]) -> Submission {
    let value = |text: &str| Value::parse(text).unwrap();
    let command = |id: &&str| {
        Arc::new(Command {
            id: value(id),
            product: ProductKey {
                environment: value("demo"),
                organization: value("usmf"),
                product: value("Bike"),
            },
            path: DimensionPath::default(),
            operation: Operation::SetOnHand { values: Vec::new(), modified_at: None },
            explain: false,
            note: None,
        })
    };
    let document = r#"{"dimensions": [], "dataSources": {"pos": {"measures": ["inbound"]}},
        "allocation": {"groups": ["channel"], "availableToAllocate": "pos.inbound - @iv.@allocated"}}"#;
    let configuration = Configuration::new(serde_json::from_str(document).unwrap(), &[]).unwrap();
    Submission {
        since: std::time::Instant::now(),
        commands: ids.iter().map(command).collect(),
        configuration: Arc::new(Versioned { version: 1, configuration }),
        reply: oneshot::channel().0,
        room: None,
        others: Vec::new(),
        trace: None,
    }
}

/// An intake over a queue that holds these submissions, each given by its ids.
fn intake(waiting: &[&[&str]], batch_commands_max: usize) -> Intake {
    let (sender, receiver) = mpsc::channel(100);
    waiting.iter().for_each(|ids| sender.try_send(submission(ids)).map_err(|_| ()).unwrap());
    Intake::new(receiver, batch_commands_max)
}

fn ids(batch: &[Submission]) -> Vec<&str> {
    batch.iter().map(|submission| submission.commands[0].id.as_str()).collect()
}

#[test]
fn a_batch_is_what_waits_up_to_its_limit() {
    let mut intake = intake(&[&["a"], &["b"], &["c"]], 2);
    assert_eq!(ids(&intake.take()), ["a", "b"]);
    assert_eq!(ids(&intake.take()), ["c"]);
    assert!(intake.take().is_empty());
}

#[test]
fn what_is_done_together_is_a_batch_of_its_own() {
    for was_set_aside in [false, true] {
        let mut intake = intake(&[&["a"], &["b1", "b2"], &["c"]], 10);
        if was_set_aside {
            intake.join(&mut Vec::new(), |_| false);
        }
        assert_eq!(ids(&intake.take()), ["a"]);
        assert_eq!(ids(&intake.take()), ["b1"]);
        assert_eq!(ids(&intake.take()), ["c"]);
    }
}

#[test]
fn who_fits_joins_a_batch_and_the_others_keep_their_order() {
    let mut intake = intake(&[&["a1"], &["b1"], &["a2"], &["b2"], &["a3"]], 3);
    let mut batch = vec![submission(&["a0"])];
    // What waits may be set aside up to the limit of a batch, and a batch grows up to it.
    intake.join(&mut batch, |submission| submission.commands[0].id.as_str().starts_with('a'));
    assert_eq!(ids(&batch), ["a0", "a1", "a2"]);
    assert_eq!(ids(&intake.take()), ["b1", "b2", "a3"]);
}

/// The lines of a bulk that one writer does.
fn bulk(ids: &[&str]) -> Submission {
    let mut lines = ids.iter().map(|id| submission(&[id]));
    let first = lines.next().unwrap();
    Submission { others: lines.collect(), ..first }
}

#[tokio::test]
async fn the_lines_of_a_bulk_are_each_on_their_own_and_fill_batches() {
    let (sender, receiver) = mpsc::channel(100);
    let mut intake = Intake::new(receiver, 3);
    for waiting in [bulk(&["a", "b"]), bulk(&["c", "d", "e"]), submission(&["f"])] {
        assert!(sender.try_send(waiting).is_ok());
    }
    assert!(intake.wait().await);
    let batch = intake.take();
    assert_eq!(ids(&batch), ["a", "b", "c"]);
    assert!(batch.iter().all(|submission| submission.commands.len() == 1 && submission.others.is_empty()));
    let mut batch = vec![submission(&["d0"])];
    assert!(sender.try_send(bulk(&["d1", "g"])).is_ok());
    intake.join(&mut batch, |submission| submission.commands[0].id.as_str().starts_with('d'));
    assert_eq!(ids(&batch), ["d0", "d"], "no more is set aside when a batch could be made of it");
    assert_eq!(ids(&intake.take()), ["e", "f", "d1"]);
    assert_eq!(ids(&intake.take()), ["g"]);
}

#[tokio::test]
async fn it_ends_when_nothing_waits_and_nothing_can_come() {
    let mut intake = intake(&[&["a"]], 10);
    assert!(intake.wait().await);
    assert_eq!(ids(&intake.take()), ["a"], "what was waited for is not lost");
    assert!(!intake.wait().await);
}
