//! What to run: `cargo bench --bench flash_sale -- [scenarios] [--rounds N] [--seconds S] [--only ringfence]
//! [--against PROGRAM]`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

#[derive(Parser)]
#[command(
    name = "flash_sale",
    about = "What a flash sale does to ringfence, and to a transaction per request"
)]
struct Given {
    /// The scenarios to run; without any, all but soak.
    scenarios: Vec<String>,
    /// Rounds of each scenario, of which the medians are taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// How long each round counts, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Whom to measure alone.
    #[arg(long, value_parser = ["ringfence"])]
    only: Option<String>,
    /// Another build of the program, which takes part too, on books of its own.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// Cargo gives it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

pub struct Arguments {
    pub scenarios: Vec<String>,
    pub rounds: usize,
    pub time: Duration,
    pub without_twin: bool,
    pub against: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line; ends the process where it is wrong. `known` are the scenarios
    /// that there are, of which the last runs only when it is named.
    pub fn read(known: &[&str]) -> Arguments {
        let given = Given::parse();
        if let Some(unknown) = given.scenarios.iter().find(|name| !known.contains(&name.as_str())) {
            eprintln!("there is no scenario {unknown}, only {}", known.join(", "));
            std::process::exit(2);
        }
        let scenarios = if given.scenarios.is_empty() {
            known[..known.len() - 1].iter().map(ToString::to_string).collect()
        } else {
            given.scenarios
        };
        Arguments {
            scenarios,
            rounds: given.rounds as usize,
            time: Duration::from_secs_f64(given.seconds),
            without_twin: given.only.is_some(),
            against: given.against,
        }
    }
}
