//! An event once more: what is in the ledger of it is decided again, over the state of then and
//! under the configuration of then.

use std::fmt;

use super::command::{Command, Timestamp};
use super::configuration::Configuration;
use super::decide::{Outcome, apply, decide};
use super::refusal::Refusal;
use super::state::Stock;

/// A replay did not come to what is in the ledger: one of the two is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Deviation {
    /// What was granted would be refused.
    Refused(Refusal),
    /// What was answered is not what the replay answers.
    Answered {
        /// What is in the ledger.
        then: Box<Outcome>,
        /// What came out.
        now: Box<Outcome>,
    },
}

impl fmt::Display for Deviation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deviation::Refused(refusal) => write!(formatter, "is refused when it is replayed: {refusal}"),
            Deviation::Answered { then, now } if then.version != now.version => write!(
                formatter,
                "has version {}, but it is number {} in the ledger: events before it are missing or too many",
                then.version, now.version
            ),
            Deviation::Answered { then, now } => {
                write!(formatter, "was answered {then:?}, but its replay gives {now:?}")
            }
        }
    }
}

/// Applies an event once more. One that is refused changes nothing; any other changes the stock,
/// also where it answers something else.
///
/// # Errors
/// When it does not come to what was answered.
pub fn replay(
    stock: &mut Stock,
    configuration: &Configuration,
    command: &Command,
    received_at: Timestamp,
    answered: &Outcome,
) -> Result<(), Deviation> {
    let effects = decide(stock, configuration, command, received_at).map_err(Deviation::Refused)?;
    let mut outcome = apply(stock, configuration, command, effects);
    if answered.moved.is_none() {
        // It was not kept of the events of before.
        outcome.moved = None;
    }
    if outcome == *answered {
        return Ok(());
    }
    Err(Deviation::Answered { then: Box::new(answered.clone()), now: Box::new(outcome) })
}
