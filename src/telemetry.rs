//! Logs, and what is measured.

pub mod metrics;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Starts logging to standard error; `RINGFENCE_LOG` filters it as `RUST_LOG` would.
/// Standard output is left to what scripts read.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_env("RINGFENCE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_timer(SystemTime);
    // A second subscriber of the same process (a test's) changes nothing.
    let _ = if json { lines.json().try_init() } else { lines.try_init() };
}
