//! The promises, shown by breaking the service: each test has an outside client that writes down
//! every answer, a fault or a crowd, and an audit against what was written down; and prints one line
//! of figures. The short forms run with all tests, the long ones by
//! `TRUST=long cargo test --release --locked --test it -- trust:: --test-threads 1 --nocapture`.

mod bad_commit;
mod bad_line;
mod configurations;
mod crowd;
mod disconnects;
mod faults_bounds;
mod faults_database;
mod faults_disk;
mod faults_kills;
mod faults_log;
mod faults_overload;
mod faults_sockets;
mod faults_stops;
mod faults_wire;
mod history;
mod mix;
mod model;
mod once;
mod order;
mod oversell;
mod refusals;
mod repeats;
mod unwatched;
mod wire;

pub(crate) use bad_commit::bad_commit;
pub use faults_log::Site;

/// The size of a test in the form that is asked for.
pub(crate) fn scale(short: u64, long: u64) -> u64 {
    match std::env::var("TRUST").as_deref() {
        Ok("long") => long,
        Ok(other) => panic!("TRUST is {other:?}; it is \"long\", or not set"),
        Err(_) => short,
    }
}
