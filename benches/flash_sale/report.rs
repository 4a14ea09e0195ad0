//! Figures: medians over rounds, lines as they arrive, and the targets at the end.

use std::collections::HashMap;

use crate::load::Measured;

/// What a contestant did in a scenario: the medians of its rounds.
#[derive(Clone, Copy, Default)]
pub struct Summary {
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub refusal_rate: f64,
    pub load_us: f64,
    pub machine_us: f64,
}

impl Summary {
    pub fn of(rounds: &[Measured]) -> Summary {
        let median = |figure: &dyn Fn(&Measured) -> f64| median(rounds.iter().map(figure));
        Summary {
            rate: median(&|round| round.rate),
            p50: median(&|round| round.percentile_ms(0.5)),
            p99: median(&|round| round.percentile_ms(0.99)),
            p999: median(&|round| round.percentile_ms(0.999)),
            refusal_rate: median(&|round| round.refusal_rate),
            load_us: median(&|round| round.load_us),
            machine_us: median(&|round| round.machine_us),
        }
    }
}

/// The middle one; 0 of none.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

pub fn headline() {
    println!(
        "{:<14} {:<8} {:<20} {:>10} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8}",
        "scenario",
        "round",
        "contestant",
        "answers/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "refused/s",
        "load us",
        "all us"
    );
}

/// One line: a round, or the median of all.
pub fn line(scenario: &str, round: &str, contestant: &str, summary: &Summary) {
    let Summary { rate, p50, p99, p999, refusal_rate, load_us, machine_us } = summary;
    let refused = if *refusal_rate > 0.0 { format!("{refusal_rate:.0}") } else { "-".to_owned() };
    println!(
        "{scenario:<14} {round:<8} {contestant:<20} {rate:>10.0} {p50:>9.2} {p99:>9.2} {p999:>9.2} {refused:>10} {load_us:>8.1} {machine_us:>8.1}"
    );
}

/// One line of a round.
pub fn round_line(scenario: &str, round: usize, contestant: &str, measured: &Measured) {
    let summary = Summary::of(std::slice::from_ref(measured));
    line(scenario, &format!("{}", round + 1), contestant, &summary);
    if measured.unavailable > 0 {
        println!("{:<14} {} answers left open what had happened", "", measured.unavailable);
    }
}

/// Everything measured that the targets are about.
#[derive(Default)]
pub struct Report {
    summaries: HashMap<(&'static str, &'static str), Summary>,
    figures: HashMap<&'static str, f64>,
}

/// What a target says of a figure.
enum Limit {
    Least(f64),
    Most(f64),
}

impl Report {
    /// Keeps what a side did in a scenario.
    pub fn keep(&mut self, scenario: &'static str, side: &'static str, summary: Summary) {
        self.summaries.insert((scenario, side), summary);
    }

    /// Keeps a figure of its own.
    pub fn keep_figure(&mut self, name: &'static str, figure: f64) {
        self.figures.insert(name, figure);
    }

    pub fn of(&self, scenario: &'static str, side: &'static str) -> Option<&Summary> {
        self.summaries.get(&(scenario, side))
    }

    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// How our figure stands to theirs.
    fn ratio(&self, scenario: &'static str, figure: impl Fn(&Summary) -> f64) -> Option<f64> {
        Some(figure(self.of(scenario, "ringfence")?) / figure(self.of(scenario, "twin")?))
    }

    /// Prints every target with what was measured.
    pub fn print_targets(&self) {
        let rate = |summary: &Summary| summary.rate;
        let hot_64 = self.of("hot-64", "ringfence");
        let of_roofline = || Some(self.of("hot-256", "ringfence")?.rate / self.figure("roofline")?);
        let tail_to_their_middle = || Some(hot_64?.p99 / self.of("hot-64", "twin")?.p50);
        let two_to_one =
            || Some(self.of("two-instances", "two")?.rate / self.of("two-instances", "one")?.rate);
        let targets = [
            (
                "hot product, 64 clients: accepted/s, to the best twin's",
                Limit::Least(50.0),
                "x",
                self.ratio("hot-64", rate),
            ),
            ("hot product, 256 clients: accepted/s, of the roofline", Limit::Least(0.6), "x", of_roofline()),
            ("hot product, 64 clients: p99", Limit::Most(10.0), " ms", hot_64.map(|summary| summary.p99)),
            (
                "hot product, 64 clients: p99, to the twin's p50",
                Limit::Most(1.0),
                "x",
                tail_to_their_middle(),
            ),
            (
                "10,000 products, 64 clients: accepted/s, to the twin's",
                Limit::Least(6.0),
                "x",
                self.ratio("uniform", rate),
            ),
            (
                "one client: p50, to the twin's",
                Limit::Most(1.1),
                "x",
                self.ratio("hot-1", |summary| summary.p50),
            ),
            ("two instances, hot product: accepted/s, to one's", Limit::Least(0.7), "x", two_to_one()),
            (
                "two instances: share of the slower (no starvation)",
                Limit::Least(0.25),
                "",
                self.figure("slower share"),
            ),
            (
                "all that guards on to off: processor time of an answer",
                Limit::Most(1.05),
                "x",
                self.figure("guarded"),
            ),
            ("resident memory at 1,024 clients, highest", Limit::Most(150.0), " MiB", self.figure("memory")),
            (
                "resident memory, after ten minutes to after one",
                Limit::Most(1.1),
                "x",
                self.figure("memory growth"),
            ),
        ];
        println!("\n{:<58} {:>10} {:>12}  ", "figure", "target", "measured");
        for (name, limit, unit, measured) in targets {
            let (sign, bound) = match limit {
                Limit::Least(bound) => (">=", bound),
                Limit::Most(bound) => ("<=", bound),
            };
            let target = format!("{sign} {bound}{unit}");
            let Some(measured) = measured else {
                println!("{name:<58} {target:>12} {:>12}  not measured", "-");
                continue;
            };
            let met = match limit {
                Limit::Least(bound) => measured >= bound,
                Limit::Most(bound) => measured <= bound,
            };
            let shown = format!("{measured:.2}{unit}");
            println!("{name:<58} {target:>12} {shown:>12}  {}", if met { "met" } else { "missed" });
        }
    }
}
