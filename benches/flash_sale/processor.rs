//! What processors spent, as Linux counts it.

use std::time::Duration;

/// How long Linux's unit of processor time is, wherever it tells it to programs.
const TICK: Duration = Duration::from_millis(10);

/// What this thread spent.
pub fn of_this_thread() -> Duration {
    of_process("thread-self")
}

/// What a process spent, all its threads together.
pub fn of_process(id: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("Linux");
    // The name before the last bracket may have anything in it; user and system time are the
    // twelfth and thirteenth field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    TICK * fields.skip(11).take(2).map(ticks).sum::<u32>()
}

/// What all processors of the machine spent, by anybody: user, nice, system, irq and softirq;
/// not what they idled, waited for disks, or were taken away by a hypervisor.
pub fn of_the_machine() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").expect("Linux");
    let fields: Vec<u32> =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).map(ticks).collect();
    TICK * [0, 1, 2, 5, 6].into_iter().map(|field| fields[field]).sum::<u32>()
}

fn ticks(text: &str) -> u32 {
    text.parse().expect("a count of ticks")
}

/// How many processors there are to spend.
pub fn count() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}
