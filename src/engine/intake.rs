//! What waits for a writer: its queue, and what was taken from there and set aside.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::Submission;

#[cfg(test)]
mod tests;

pub(super) struct Intake {
    queue: mpsc::Receiver<Submission>,
    /// Comes before what is in the queue; at most as much as a batch has, and the lines of a bulk.
    set_aside: VecDeque<Submission>,
    batch_commands_max: usize,
}

impl Intake {
    pub(super) fn new(queue: mpsc::Receiver<Submission>, batch_commands_max: usize) -> Intake {
        Intake { queue, set_aside: VecDeque::new(), batch_commands_max }
    }

    /// Waits until something waits; false when nothing ever will.
    pub(super) async fn wait(&mut self) -> bool {
        if self.set_aside.is_empty() {
            self.set_aside.extend(self.queue.recv().await.into_iter().flat_map(Submission::apart));
        }
        !self.set_aside.is_empty()
    }

    /// What waits, as much as a batch has. Commands that are done together or not at all make
    /// a batch of their own.
    pub(super) fn take(&mut self) -> Vec<Submission> {
        let mut batch = Vec::new();
        while batch.len() < self.batch_commands_max {
            if self.set_aside.is_empty()
                && let Ok(next) = self.queue.try_recv()
            {
                self.set_aside.extend(next.apart());
            }
            let Some(next) = self.set_aside.pop_front() else { break };
            if next.commands.len() == 1 {
                batch.push(out_of_queue(next));
                continue;
            }
            match batch.is_empty() {
                true => batch.push(out_of_queue(next)),
                false => self.set_aside.push_front(next),
            }
            break;
        }
        batch
    }

    /// All that waits: no more than a full queue, and what was set aside.
    pub(super) fn take_all(&mut self) -> Vec<Submission> {
        let waiting = self.queue.len();
        let mut all: Vec<_> = std::mem::take(&mut self.set_aside).into();
        let queued = std::iter::from_fn(|| self.queue.try_recv().ok()).take(waiting);
        all.extend(queued.flat_map(Submission::apart));
        all
    }

    /// Adds to a batch what came since it was taken, as far as it fits.
    pub(super) fn join(&mut self, batch: &mut Vec<Submission>, fits: impl Fn(&Submission) -> bool) {
        while self.set_aside.len() < self.batch_commands_max {
            let Ok(next) = self.queue.try_recv() else { break };
            self.set_aside.extend(next.apart());
        }
        for next in std::mem::take(&mut self.set_aside) {
            if batch.len() < self.batch_commands_max && fits(&next) {
                batch.push(out_of_queue(next));
            } else {
                self.set_aside.push_back(next);
            }
        }
    }
}

/// Its room in the queue is for the next.
fn out_of_queue(mut submission: Submission) -> Submission {
    submission.room = None;
    submission
}
