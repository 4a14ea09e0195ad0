//! The promises, held against what clients wrote down: each in a short form, which runs with all
//! tests, and in a long one: `TRUST=long cargo test --release --locked --test it -- trust::
//! --test-threads 1 --nocapture`. Each test prints one line of figures.

mod bad_commit;
mod bad_line;
mod configurations;
mod crowd;
mod disconnects;
mod history;
mod mix;
mod model;
mod once;
mod order;
mod oversell;
mod repeats;
mod wire;

/// The size of a test in the form that is asked for.
pub(crate) fn scale(short: u64, long: u64) -> u64 {
    match std::env::var("TRUST").as_deref() {
        Ok("long") => long,
        Ok(other) => panic!("TRUST is {other:?}; it is \"long\", or not set"),
        Err(_) => short,
    }
}
