//! A flash sale: ringfence against a twin that runs a SERIALIZABLE transaction per request, on
//! one private PostgreSQL with full durability, in the same run, alternating. Prints medians,
//! ratios, and what became of the targets; ends with an error where the books do not add up.
//! `benches/README.md` says what each scenario is.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::float_arithmetic,
    reason = "a benchmark measures, and ends when it cannot go on"
)]
#![allow(unreachable_pub, reason = "the modules of one binary")]

mod arena;
mod arguments;
mod books;
mod connection;
mod contestant;
mod load;
mod processor;
mod report;
mod roofline;
mod scenario;
mod scripts;
mod twin;

use std::time::{Duration, Instant};

use ringfence::embedded::Embedded;
use tokio::runtime::Builder;

use arena::Arena;
use arguments::Arguments;
use report::Report;

/// As the service has it: the twin is not to lose by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Files that a process must be able to open for the largest scenario, connections above all.
const FILES: u64 = 2_048;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let many_threads = || tokio::runtime::Runtime::new().expect("a runtime");
    match arguments.get(1).map(String::as_str) {
        Some("twin") => {
            many_threads().block_on(twin::serve(&arguments[2], arguments[3].parse().expect("a number")));
        }
        Some("echo") => many_threads().block_on(roofline::serve_echo()),
        _ => {
            let arguments = Arguments::read(&scenario::NAMES);
            check_files();
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(&arguments));
        }
    }
}

/// The limit is passed on to the service, which cannot raise it by itself.
fn check_files() {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let limit = line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX);
    assert!(limit >= FILES, "a process may open {limit} files only: say `ulimit -n {FILES}` before");
}

/// How many cores others keep busy while we do nothing: they would be measured too.
async fn busy_cores() -> f64 {
    let before = processor::of_the_machine();
    tokio::time::sleep(Duration::from_secs(1)).await;
    (processor::of_the_machine() - before).as_secs_f64()
}

async fn run(arguments: &Arguments) {
    let start = Instant::now();
    let busy = busy_cores().await;
    let directory = std::env::temp_dir().join(format!("ringfence-bench-{}", std::process::id()));
    let embedded = Embedded::start(&directory).await.expect("PostgreSQL is installed");
    println!(
        "{} cores, shared by all: the service, its load (one thread), and PostgreSQL (fsync and synchronous_commit on) in {}",
        processor::count(),
        directory.display()
    );
    println!("others keep {busy:.2} cores busy; the figures mean something where that is next to nothing");
    let mut arena = Arena::open(embedded.options(), arguments).await;
    let mut report = Report::default();
    report::headline();
    for name in scenario::NAMES {
        if arguments.scenarios.iter().any(|wanted| wanted == name) {
            scenario::run(name, &mut arena, arguments, &mut report).await;
        }
    }
    arena.replay().await;
    report.print_targets();
    drop(arena);
    embedded.stop().await;
    let _ = std::fs::remove_dir_all(directory);
    println!("\nit took {:.0} s", start.elapsed().as_secs_f64());
}
