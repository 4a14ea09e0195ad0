//! The pure core: every rule of the service, with no IO, no clock and no randomness. It
//! cannot fail, only refuse.

pub mod access;
pub mod activity;
pub mod analytics;
pub mod command;
pub mod configuration;
pub mod decide;
pub mod dimensions;
pub mod document;
pub mod explanation;
pub mod formula;
pub mod groups;
pub mod held;
pub mod history;
pub mod inventory_visibility;
pub mod key;
pub mod name;
pub mod promise;
pub mod proposal;
pub mod quantity;
pub mod query;
pub mod rate;
pub mod records;
pub mod refusal;
pub mod replay;
pub mod schedule;
pub mod snapshot;
pub mod state;
#[cfg(test)]
mod stories;
pub mod unmet;
pub mod watch;
pub mod webhook;
