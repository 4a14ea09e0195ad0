//! The scenarios.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::arena::{Arena, Mix};
use crate::arguments::Arguments;
use crate::books::Books;
use crate::contestant::{self, Contestant, Kind, OURS};
use crate::load::{self, Load, Measured};
use crate::processor;
use crate::report::{Report, Summary, line, median, round_line};
use crate::roofline::{self, Cost};
use crate::scripts::{self, Guarded, Products, Sale};

/// Their names, in the order in which they run; the last one only when it is named.
pub const NAMES: [&str; 13] = [
    "hot-1",
    "hot-64",
    "hot-256",
    "roofline",
    "hot-1024",
    "uniform",
    "zipf",
    "scarce",
    "repeats",
    "reads",
    "two-instances",
    "guarded",
    "soak",
];

/// Clients of the scenarios that do not say otherwise.
const CLIENTS: usize = 64;
/// Clients of the echo: as many as those of the scenario that is held against the roofline.
const ECHO_CLIENTS: usize = 256;
/// Clients of what is guarded.
const GUARDED_CLIENTS: usize = 256;
const SOAK_CLIENTS: usize = 1_024;
const SOAK_MINUTES: u64 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// Runs one scenario and its gates.
pub async fn run(name: &'static str, arena: &mut Arena, arguments: &Arguments, report: &mut Report) {
    match name {
        "hot-1" => compare(name, Mix::Hot, 1, arena, arguments, report).await,
        "hot-64" => compare(name, Mix::Hot, 64, arena, arguments, report).await,
        "hot-256" => compare(name, Mix::Hot, 256, arena, arguments, report).await,
        "hot-1024" => {
            compare(name, Mix::Hot, 1_024, arena, arguments, report).await;
            let memory = arena.ringfence.contestants[0].resident_high_mib();
            println!("{name:<14} resident memory of ringfence, highest until now: {memory:.0} MiB");
            report.keep_figure("memory", memory);
        }
        "uniform" => compare(name, Mix::Uniform, CLIENTS, arena, arguments, report).await,
        "zipf" => compare(name, Mix::Zipf, CLIENTS, arena, arguments, report).await,
        "scarce" => compare(name, Mix::Scarce, CLIENTS, arena, arguments, report).await,
        "repeats" => compare(name, Mix::Repeats, CLIENTS, arena, arguments, report).await,
        "reads" => compare(name, Mix::Reads, CLIENTS, arena, arguments, report).await,
        "roofline" => measure_roofline(name, arena, arguments, report).await,
        "two-instances" => two_instances(name, arena, arguments, report).await,
        "guarded" => guarded(name, arena, arguments, report).await,
        _ => soak(name, arena, report).await,
    }
}

/// Every side in turn, with its best contestant for what the clients do.
async fn compare(
    name: &'static str,
    mix: Mix,
    clients: usize,
    arena: &mut Arena,
    arguments: &Arguments,
    report: &mut Report,
) {
    let mut all: Vec<Vec<Measured>> = arena.sides().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for (side, rounds) in arena.sides().zip(&mut all) {
            let best = side.best_for(mix, arguments).await;
            let measured = side.measure(best, mix, clients, arguments.time).await;
            round_line(name, round, &side.contestants[best].name, &measured);
            rounds.push(measured);
        }
    }
    for (side, rounds) in arena.sides().zip(&all) {
        let best = side.best_for(mix, arguments).await;
        let summary = Summary::of(rounds);
        line(name, "median", &side.contestants[best].name, &summary);
        report.keep(name, side.name, summary);
        side.books.check().await;
    }
    for other in ["before", "twin"] {
        if let (Some(ours), Some(theirs)) = (report.of(name, "ringfence"), report.of(name, other)) {
            let (rate, p50) = (ours.rate / theirs.rate, ours.p50 / theirs.p50);
            let machine = ours.machine_us / theirs.machine_us;
            println!(
                "{name:<14} ringfence to {other}: {rate:.2}x the answers a second, {p50:.3}x the p50, {machine:.3}x the processor time"
            );
        }
    }
    println!("{name:<14} the books add up");
}

/// What HTTP and the database cost for each command, and what these cores could do at most.
async fn measure_roofline(name: &'static str, arena: &Arena, arguments: &Arguments, report: &mut Report) {
    let mut books = Books::create(&arena.server, "bench_roofline", Path::new(OURS)).await;
    let echo = Contestant::start(&Kind::Echo);
    let (mut https, mut loads, mut databases) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..arguments.rounds {
        let number = scripts::load_number();
        let time = Some(arguments.time);
        let load =
            Load { addresses: vec![echo.address], clients: ECHO_CLIENTS, warm_up: Duration::ZERO, time };
        let before = processor::of_the_machine();
        let parts = load::run(load, move |client| Sale::new(number, client, Products::hot())).await;
        let http = Cost::of_load(processor::of_the_machine() - before, &parts[0]);
        round_line(name, round, "echo", &parts[0]);
        let database = roofline::replay(&books, scripts::load_number(), arguments.time).await;
        books.count_accepted(database.commands);
        println!(
            "{name:<14} {:<8} HTTP {:.1} us, of them the load {:.1}; database {:.1} us a command ({:.0} commands/s in batches)",
            round + 1,
            http.us,
            parts[0].load_us,
            database.us,
            database.rate
        );
        https.push(http.us);
        loads.push(parts[0].load_us);
        databases.push(database.us);
    }
    books.check().await;
    books.replay().await;
    let [http, load, database] = [https, loads, databases].map(|costs| median(costs.into_iter()));
    let roofline = processor::count() * 1e6 / (http + database);
    println!(
        "{name:<14} {} cores / ({http:.1} us HTTP + {database:.1} us database) = {roofline:.0} commands/s; the load is {load:.1} us of it",
        processor::count()
    );
    println!(
        "{name:<14} processor time is that of the whole machine: user, system and interrupts of everybody"
    );
    report.keep_figure("roofline", roofline);
}

/// One instance, then two over the same database with the clients spread evenly.
async fn two_instances(name: &'static str, arena: &mut Arena, arguments: &Arguments, report: &mut Report) {
    let side = &mut arena.ringfence;
    let second = Contestant::start(&Kind::Ringfence {
        name: "ringfence",
        program: Path::new(OURS),
        database_url: &side.books.url,
    });
    let (mut one, mut two, mut shares, mut tails) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..arguments.rounds {
        let alone = side.measure(0, Mix::Hot, CLIENTS, arguments.time).await;
        round_line(name, round, "one instance", &alone);
        one.push(alone);
        let parts = measure_both(side.contestants[0].address, second.address, arguments.time).await;
        let both = Measured::of_all(&parts);
        side.books.count(&both);
        round_line(name, round, "two instances", &both);
        let slower = if parts[0].rate < parts[1].rate { &parts[0] } else { &parts[1] };
        round_line(name, round, "the slower of them", slower);
        shares.push(slower.rate / both.rate);
        tails.push(slower.percentile_ms(0.999));
        two.push(both);
    }
    drop(second);
    side.books.check().await;
    let (one, two) = (Summary::of(&one), Summary::of(&two));
    line(name, "median", "one instance", &one);
    line(name, "median", "two instances", &two);
    let (share, tail) = (median(shares.into_iter()), median(tails.into_iter()));
    println!(
        "{name:<14} two to one: {:.2}x; the slower has {:.0} % of the sales and a p99.9 of {tail:.1} ms",
        two.rate / one.rate,
        100.0 * share
    );
    println!("{name:<14} the books add up");
    report.keep(name, "one", one);
    report.keep(name, "two", two);
    report.keep_figure("slower share", share);
}

/// One product with everything on that guards it, and with all of it off: in pairs, whose ratios say
/// more than all of one held against all of the other, because the machine changes meanwhile. Each pair
/// has processes of its own: where the kernel puts the memory of one makes it faster or slower than the
/// next by some hundredths for as long as it runs.
async fn guarded(name: &'static str, arena: &mut Arena, arguments: &Arguments, report: &mut Report) {
    let side = &mut arena.ringfence;
    let collector = Contestant::start(&Kind::Echo);
    let url = side.books.url_of_service().await;
    let on_kind = Kind::Guarded { database_url: &url, collector: collector.address };
    let off_url = side.books.url.clone();
    let off_kind = Kind::Ringfence { name: side.name, program: Path::new(OURS), database_url: &off_url };
    let head = Guarded::head(&contestant::key(&side.books.url));
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds {
        side.contestants[0] = Contestant::start(&off_kind);
        let guarded = Contestant::start(&on_kind);
        let first = round % 2 == 1;
        // What is told comes when both have long started.
        for (is_told, is_on) in [(false, false), (false, true), (true, first), (true, !first)] {
            let time = if is_told { arguments.time } else { Duration::from_millis(100) };
            let measured = match is_on {
                false => side.measure(0, Mix::Hot, GUARDED_CLIENTS, time).await,
                true => measure_guarded(guarded.address, head, time).await,
            };
            if is_on {
                side.books.count(&measured);
            }
            if is_told {
                round_line(name, round, if is_on { "all on" } else { "all off" }, &measured);
                if is_on { &mut on } else { &mut off }.push(measured);
            }
        }
    }
    drop(collector);
    side.books.check().await;
    let ratio = |of: &dyn Fn(&Measured) -> f64| median(on.iter().zip(&off).map(|(on, off)| of(on) / of(off)));
    let (rate, machine) = (ratio(&|measured| measured.rate), ratio(&|measured| measured.machine_us));
    let (off, on) = (Summary::of(&off), Summary::of(&on));
    line(name, "median", "all off", &off);
    line(name, "median", "all on", &on);
    println!(
        "{name:<14} on to off, medians of the pairs: {rate:.3}x the answers a second, {machine:.3}x the processor time"
    );
    println!("{name:<14} the books add up");
    report.keep(name, "off", off);
    report.keep(name, "on", on);
    report.keep_figure("guarded", machine);
}

async fn measure_guarded(address: SocketAddr, head: &'static str, time: Duration) -> Measured {
    let load = Load {
        addresses: vec![address],
        clients: GUARDED_CLIENTS,
        warm_up: Duration::from_secs(1),
        time: Some(time),
    };
    let number = scripts::load_number();
    let before = processor::of_the_machine();
    let sale = move |client| Guarded::new(Sale::new(number, client, Products::hot()), head);
    let mut measured = Measured::of_all(&load::run(load, sale).await);
    let spent = processor::of_the_machine() - before;
    measured.machine_us = spent.as_secs_f64() * 1e6 / measured.sent.max(1) as f64;
    measured
}

async fn measure_both(first: SocketAddr, second: SocketAddr, time: Duration) -> Vec<Measured> {
    let number = scripts::load_number();
    let warm_up = Duration::from_secs(1);
    let load = Load { addresses: vec![first, second], clients: CLIENTS, warm_up, time: Some(time) };
    load::run(load, move |client| Sale::new(number, client, Products::hot())).await
}

/// Many clients for many minutes: memory must not grow.
async fn soak(name: &'static str, arena: &mut Arena, report: &mut Report) {
    let (side, start) = (&mut arena.ringfence, Instant::now());
    let time = MINUTE * SOAK_MINUTES as u32;
    let address = side.contestants[0].address;
    let number = scripts::load_number();
    let load =
        Load { addresses: vec![address], clients: SOAK_CLIENTS, warm_up: Duration::ZERO, time: Some(time) };
    let load = tokio::spawn(load::run(load, move |client| Sale::new(number, client, Products::hot())));
    let mut resident = Vec::new();
    for minute in 1..=SOAK_MINUTES {
        // A moment before the minute is over, so that the clients are still there at the last.
        let moment = start + MINUTE * minute as u32 - Duration::from_secs(1);
        tokio::time::sleep(moment.saturating_duration_since(Instant::now())).await;
        let mib = side.contestants[0].resident_mib();
        println!("{name:<14} minute {minute:>2}: {mib:.1} MiB resident");
        resident.push(mib);
    }
    let measured = Measured::of_all(&load.await.expect("a load"));
    side.books.count(&measured);
    round_line(name, 0, "ringfence", &measured);
    side.books.check().await;
    println!("{name:<14} the books add up");
    report.keep_figure("memory", side.contestants[0].resident_high_mib());
    report.keep_figure("memory growth", resident[resident.len() - 1] / resident[0]);
}
