//! Counting demand that was not met, where refusals are answered: whoever is granted pays nothing.

use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::activity::Minute;
use crate::domain::command::{Command, Request, Timestamp};
use crate::engine::Failure;
use crate::store::configuration::Versioned;

use super::Shared;
use super::commands::Asked;

impl Shared {
    /// Counts a request that was not done, if it was one for stock of which there was not enough.
    /// The engine has its command, so that is made once more.
    pub(super) fn note_unmet(&self, versioned: &Versioned, asked: &Asked<'_>, failure: &Failure) {
        let (Request::Allocate { .. } | Request::Consume { .. }) = &asked.request else { return };
        let Failure::Refused(refusal) = failure else { return };
        if let Ok(command) = Command::new(&versioned.configuration, &asked.target, &asked.request) {
            let mut unmet = self.unmet.lock().unwrap_or_else(PoisonError::into_inner);
            unmet.note(&command, refusal, Minute::of(now()));
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "when demand was not met is in no ledger")]
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
