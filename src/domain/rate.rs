//! How much somebody may do in a second. A bucket is full at first, holds what one second gives, and
//! fills evenly; what does not fit is refused as a whole and takes nothing.
//!
//! What is kept of a bucket is one number, the moment at which it will be full again (the generic cell
//! rate algorithm): it can be exchanged without a lock, and who has taken nothing for a second needs
//! none at all. Moments are nanoseconds since any beginning.

use std::num::NonZeroU32;

/// What a full bucket takes to fill.
pub const WINDOW: u64 = 1_000_000_000;

/// How much a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

/// What somebody may send in a second; where nothing is said, anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSecond {
    /// Requests.
    pub requests: Option<Rate>,
    /// Commands: the lines of a bulk are one each.
    pub commands: Option<Rate>,
}

impl PerSecond {
    /// Whether anything is said.
    pub fn is_any(&self) -> bool {
        self.requests.is_some() || self.commands.is_some()
    }

    /// What is said here, and what is said in general where nothing is.
    pub fn or(self, general: PerSecond) -> PerSecond {
        PerSecond {
            requests: self.requests.or(general.requests),
            commands: self.commands.or(general.commands),
        }
    }
}

/// What was asked for does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// What is left.
    pub left: u32,
    /// How long until it fits, in nanoseconds; `None` when it is more than a full bucket, and never will.
    pub wait: Option<u64>,
}

impl Rate {
    /// The most that a rate can be: above it, a single one is too short to be told in nanoseconds.
    pub const MAX: u32 = 1_000_000;

    /// So much a second; none of nothing.
    pub fn new(per_second: u32) -> Option<Rate> {
        NonZeroU32::new(per_second.min(Rate::MAX)).map(Rate)
    }

    /// So much a second.
    pub fn per_second(self) -> u32 {
        self.0.get()
    }

    /// What it takes to fill so much, in nanoseconds. Rounded down, so that a full bucket takes as many
    /// single ones as it says; a rate is exceeded by one in a thousand at most by that.
    pub fn cost(self, count: u32) -> u64 {
        u64::from(count) * WINDOW / u64::from(self.per_second())
    }

    /// Takes so much of a bucket that will be full at `full_at`; answers when it will be then.
    ///
    /// # Errors
    /// When it does not fit: what there is, and when it will.
    pub fn take(self, full_at: u64, count: u32, now: u64) -> Result<u64, Exceeded> {
        let missing = full_at.saturating_sub(now) + self.cost(count);
        if count <= self.per_second() && missing <= WINDOW {
            return Ok(now + missing);
        }
        let wait = (count <= self.per_second()).then(|| missing - WINDOW);
        Err(Exceeded { left: self.left(full_at, now), wait })
    }

    /// How much is left of a bucket that will be full at `full_at`.
    pub fn left(self, full_at: u64, now: u64) -> u32 {
        let there = WINDOW.saturating_sub(full_at.saturating_sub(now));
        let about = (there * u64::from(self.per_second()) / WINDOW) as u32;
        // Costs are rounded down, so one more may fit.
        if about < self.per_second() && self.cost(about + 1) <= there { about + 1 } else { about }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32) -> Rate {
        Rate::new(per_second).unwrap()
    }

    #[test]
    fn a_full_bucket_gives_what_a_second_does_and_then_as_it_fills() {
        let three = rate(3);
        let mut full_at = 0;
        for left in [3, 2, 1] {
            assert_eq!(three.left(full_at, 5), left);
            full_at = three.take(full_at, 1, 5).unwrap();
        }
        let exceeded = three.take(full_at, 1, 5).unwrap_err();
        assert_eq!(exceeded.left, 0);
        let wait = exceeded.wait.unwrap();
        assert!((333_333_330..=333_333_333).contains(&wait), "{wait}");
        assert!(three.take(full_at, 1, 5 + wait).is_ok());
        assert!(three.take(full_at, 1, 4 + wait).is_err());
    }

    #[test]
    fn what_does_not_fit_takes_nothing_and_what_never_fits_says_so() {
        let hundred = rate(100);
        let full_at = hundred.take(0, 60, 0).unwrap();
        let exceeded = hundred.take(full_at, 50, 0).unwrap_err();
        assert_eq!(exceeded, Exceeded { left: 40, wait: Some(100_000_000) });
        assert_eq!(hundred.take(full_at, 101, 0).unwrap_err(), Exceeded { left: 40, wait: None });
        assert!(hundred.take(full_at, 40, 0).is_ok());
        assert!(Rate::new(0).is_none());
        assert_eq!(rate(u32::MAX).per_second(), Rate::MAX);
    }

    proptest! {
        /// Whatever is asked for when: what is left fits and one more does not, who waits as told is
        /// served, and in no stretch of time is more given than a full bucket and what it fills.
        #[test]
        fn no_more_is_given_than_the_rate(
            per_second in 1..=Rate::MAX,
            asked in prop::collection::vec((0..2_000_000_000_u64, 0..1_200_000_u32), 1..50),
        ) {
            let rate = rate(per_second);
            let (mut now, mut full_at, mut given) = (7_u64, 0, 0_u64);
            for (later, count) in asked {
                now += later;
                let count = count % (per_second + per_second / 4 + 2);
                let left = rate.left(full_at, now);
                prop_assert!(rate.take(full_at, left, now).is_ok());
                prop_assert!(rate.take(full_at, left + 1, now).is_err());
                match rate.take(full_at, count, now) {
                    Ok(next) => {
                        given += u64::from(count);
                        full_at = next;
                    }
                    Err(Exceeded { left: told, wait }) => {
                        prop_assert_eq!(told, left);
                        prop_assert!(left < count);
                        prop_assert_eq!(wait.is_none(), count > per_second);
                        if let Some(wait) = wait {
                            prop_assert!(rate.take(full_at, count, now + wait).is_ok());
                            prop_assert!(rate.take(full_at, count, now + wait - 1).is_err());
                        }
                    }
                }
                let filled = u128::from(now - 7) * u128::from(per_second) / u128::from(WINDOW);
                let most = (u128::from(per_second) + filled) * 1_001 / 1_000 + 1;
                prop_assert!(u128::from(given) <= most, "{} of {}", given, most);
            }
        }
    }
}
