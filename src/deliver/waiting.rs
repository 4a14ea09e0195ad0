//! How long a delivery that failed waits for its next attempt.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Limits;
use super::send::Answer;

/// Longest that is waited because a receiver asks for it.
const ASKED_MAX: Duration = Duration::from_secs(86_400);

impl Limits {
    /// The wait after so many attempts: four times as long each time, up to a quarter less by chance, so
    /// that what failed together is not tried again together; and never less than was asked for.
    pub(super) fn again_in(&self, attempts: u32, asked: Option<Duration>, chance: u32) -> Duration {
        let wait = self.wait(attempts);
        let less = ((wait / 4).as_nanos() * u128::from(chance)) >> u32::BITS;
        // A quarter of the longest wait fits many times.
        let wait = wait - Duration::from_nanos(u64::try_from(less).unwrap_or_default());
        wait.max(asked.unwrap_or_default().min(ASKED_MAX))
    }

    /// The longest wait after so many attempts.
    fn wait(&self, attempts: u32) -> Duration {
        let factor = 4_u32.saturating_pow(attempts.saturating_sub(1));
        self.retry_first.saturating_mul(factor).min(self.retry_max)
    }
}

/// A number by chance. A system without any leaves all waits as they are.
pub(super) fn chance() -> u32 {
    getrandom::u32().unwrap_or_default()
}

/// For how long a receiver asks to be left alone, in seconds or until a time, where it is one that has
/// too much to do (429) or is away (503). `now` is in seconds since 1970.
pub(super) fn asked_for(answer: &Answer, now: i64) -> Option<Duration> {
    if ![429, 503].contains(&answer.status) {
        return None;
    }
    let text = answer.retry_after.as_deref()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until: SystemTime = httpdate::parse_http_date(text).ok()?;
    let now = Duration::from_secs(u64::try_from(now).ok()?);
    until.duration_since(UNIX_EPOCH).ok()?.checked_sub(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        allow_private: false,
        attempt_time_max: Duration::from_secs(15),
        retry_first: Duration::from_secs(5),
        retry_max: Duration::from_secs(3600),
        attempts_max: 12,
        poll: Duration::from_millis(200),
    };

    #[test]
    fn each_wait_is_four_times_the_one_before_up_to_the_longest() {
        let limits = LIMITS;
        let waits: Vec<u64> = (1..=7).map(|attempts| limits.wait(attempts).as_secs()).collect();
        assert_eq!(waits, [5, 20, 80, 320, 1280, 3600, 3600]);
        assert_eq!(limits.wait(u32::MAX), limits.retry_max);
    }

    #[test]
    fn chance_takes_up_to_a_quarter_of_a_wait() {
        let waits = [0, 1 << 31, u32::MAX].map(|chance| LIMITS.again_in(2, None, chance).as_millis());
        assert_eq!(waits, [20_000, 17_500, 15_000]);
        assert_eq!(LIMITS.again_in(u32::MAX, None, 0), LIMITS.retry_max);
    }

    #[test]
    fn what_a_receiver_asks_for_makes_a_wait_longer_and_never_longer_than_a_day() {
        let waits = [0, 4, 6, 86_400, u64::MAX]
            .map(|asked| LIMITS.again_in(1, Some(Duration::from_secs(asked)), 0).as_secs());
        assert_eq!(waits, [5, 5, 6, 86_400, 86_400]);
    }

    #[test]
    fn seconds_and_times_are_read_and_nothing_else() {
        // Sunday, 6 November 1994, 08:49:37.
        const NOW: i64 = 784_111_777;
        let asked = |status, text: &str| {
            let answer = Answer { status, text: String::new(), retry_after: Some(text.to_owned()) };
            asked_for(&answer, NOW).map(|asked| asked.as_secs())
        };
        for status in [429, 503] {
            assert_eq!(asked(status, " 120 "), Some(120));
            assert_eq!(asked(status, "Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        }
        assert_eq!(asked(500, "120"), None);
        assert_eq!(asked(503, "Sun, 06 Nov 1994 08:48:37 GMT"), None, "it is past");
        for text in ["", "-1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(asked(503, text), None, "{text}");
        }
    }
}
