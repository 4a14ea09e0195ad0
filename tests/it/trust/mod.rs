//! The service's promises, shown by breaking it. Each test has an outside client that writes down
//! every answer, a fault, and an audit against what was written down; and prints one line of
//! figures. The short forms run with all tests, the long ones by
//! `TRUST=long cargo test --release --locked --test it -- trust:: --test-threads 1 --nocapture`.

mod faults_bounds;
mod faults_database;
mod faults_disk;
mod faults_kills;
mod faults_log;
mod faults_overload;
mod faults_sockets;
mod faults_stops;
mod faults_wire;

pub use faults_log::Site;

/// How much of something a test does: the second in the long form.
pub(crate) fn scale(short: u64, long: u64) -> u64 {
    if std::env::var_os("TRUST").is_some_and(|form| form == "long") { long } else { short }
}
