//! The parts of a hot consume, each alone: its time by criterion, and its allocations. What
//! the database does is not in here, nor are sockets.

#![allow(
    clippy::expect_used,
    clippy::float_arithmetic,
    reason = "a benchmark measures, and ends when it cannot go on"
)]
#![allow(unreachable_pub, reason = "the modules of one binary")]

mod http;
mod in_memory;

use std::alloc::System;
use std::hint::black_box;

use criterion::Criterion;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

/// The system's allocator, which the service has too, with counters before it. They cost some
/// nanoseconds an allocation, the same in every run.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const COUNTED_RUNS: usize = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    in_memory::measure(&mut criterion);
    http::measure(&mut criterion);
    criterion.final_summary();
}

/// Prints what one run allocates, on average of many.
fn print_allocations<T>(name: &str, mut run: impl FnMut() -> T) {
    black_box(run());
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    for _ in 0..COUNTED_RUNS {
        black_box(run());
    }
    let Stats { allocations, reallocations, bytes_allocated, .. } = region.change();
    let each = |count: usize| count as f64 / COUNTED_RUNS as f64;
    println!(
        "{name}: {:.1} allocations of {:.0} bytes in all, {:.1} of them moved or grown later",
        each(allocations),
        each(bytes_allocated),
        each(reallocations)
    );
}
