//! How many requests and commands a second a key and an environment may send: counted by each instance
//! for itself, because to ask the others would cost every request what it is to be spared. Whoever runs
//! several gives each its part.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use axum::http::HeaderValue;
use lru::LruCache;

use crate::domain::rate::{Exceeded, PerSecond, Rate, WINDOW};

use super::access::Caller;
use super::around::note_rates;
use super::problem::{Problem, RateExceeded};
use super::rules::{Narrowed, Rule};

/// Keys, or subjects of tokens, that are counted at once; whoever is forgotten has a full bucket.
const CALLERS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Environments that are counted at once.
const ENVIRONMENTS_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Longest name of an environment in bytes; a longer one is none.
const NAME_BYTES_MAX: usize = 512;
/// Room for what is left of a policy, in bytes.
const LEFT_BYTES: usize = 64;

/// One policy, as it is told.
#[derive(Clone, Copy)]
struct Policy {
    name: &'static str,
    unit: &'static str,
    rate: Option<Rate>,
}

/// When the buckets of somebody will be full.
#[derive(Default)]
struct Buckets {
    requests: AtomicU64,
    commands: AtomicU64,
    /// What is told of the policies that they are for: the same every time.
    told: OnceLock<HeaderValue>,
}

type Kept = Mutex<LruCache<String, Arc<Buckets>>>;

/// Counts, where a limit is set or a key may have its own.
pub(super) struct Rates {
    key: PerSecond,
    environment: PerSecond,
    callers: Kept,
    environments: Kept,
    began: Instant,
}

/// The buckets that a request takes from.
struct Whose {
    key: PerSecond,
    caller: Option<Arc<Buckets>>,
    environment: Option<Arc<Buckets>>,
}

impl Whose {
    /// Where what is told of its policies is kept: of a caller, or else of the environment.
    fn told(&self) -> Option<&OnceLock<HeaderValue>> {
        self.caller.as_ref().or(self.environment.as_ref()).map(|buckets| &buckets.told)
    }
}

fn buckets(kept: &Kept, name: &str) -> Arc<Buckets> {
    // The map is whole whenever its lock is free, also after a panic.
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(buckets) = kept.get(name) {
        return Arc::clone(buckets);
    }
    let new = Arc::<Buckets>::default();
    kept.put(name.to_owned(), Arc::clone(&new));
    new
}

impl Rates {
    /// None where no limit is set, and there are no keys that may have their own.
    pub(super) fn new(auth: bool, key: PerSecond, environment: PerSecond) -> Option<Rates> {
        (auth || environment.is_any()).then(|| Rates {
            key,
            environment,
            callers: Mutex::new(LruCache::new(CALLERS_MAX)),
            environments: Mutex::new(LruCache::new(ENVIRONMENTS_MAX)),
            began: Instant::now(),
        })
    }

    /// None where nothing is limited.
    fn whose(&self, environment: &str, caller: Option<&Caller>) -> Option<Whose> {
        let key = caller.map_or_else(PerSecond::default, |caller| caller.rates().or(self.key));
        let caller = caller.filter(|_| key.is_any());
        let is_counted = self.environment.is_any() && environment.len() <= NAME_BYTES_MAX;
        (caller.is_some() || is_counted).then(|| Whose {
            key,
            caller: caller.map(|caller| buckets(&self.callers, &caller.counted_as(environment))),
            environment: is_counted.then(|| buckets(&self.environments, environment)),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Counts a request before its body is read, and the command that it is, if it is one. Of a bulk it
    /// is only looked whether there is anything left for it: its lines are counted when they are known.
    pub(super) fn admit(
        &self,
        environment: &str,
        caller: Option<&Caller>,
        rule: Option<&Rule>,
        path: &str,
    ) -> Result<(), Problem> {
        let Some(whose) = self.whose(environment, caller) else { return Ok(()) };
        let is_command = rule.is_some_and(|rule| rule.narrowed == Narrowed::Command);
        let now = self.now();
        let taken = self.take(&whose, 1, u32::from(is_command), now);
        if taken.is_ok() && is_command && path.ends_with("/bulk") {
            self.give_back(&whose, 1);
        }
        self.tell(&whose, now, taken.is_err());
        taken
    }

    /// Counts the lines of a bulk: all or none.
    pub(super) fn take_lines(
        &self,
        environment: &str,
        caller: Option<&Caller>,
        lines: usize,
    ) -> Result<(), Problem> {
        let Some(whose) = self.whose(environment, caller) else { return Ok(()) };
        let now = self.now();
        let taken = self.take(&whose, 0, u32::try_from(lines).unwrap_or(u32::MAX), now);
        self.tell(&whose, now, taken.is_err());
        taken
    }

    /// What everybody in question may have of: who it is, the policy, the bucket.
    fn policies<'a>(&self, whose: &'a Whose) -> [(Policy, Option<&'a AtomicU64>); 4] {
        let policy = |name, unit, rate| Policy { name, unit, rate };
        let (caller, environment) = (whose.caller.as_deref(), whose.environment.as_deref());
        [
            (policy("key-requests", "requests", whose.key.requests), caller.map(|of| &of.requests)),
            (policy("key-commands", "commands", whose.key.commands), caller.map(|of| &of.commands)),
            (
                policy("environment-requests", "requests", self.environment.requests),
                environment.map(|of| &of.requests),
            ),
            (
                policy("environment-commands", "commands", self.environment.commands),
                environment.map(|of| &of.commands),
            ),
        ]
    }

    /// Takes from all buckets or from none.
    fn take(&self, whose: &Whose, requests: u32, commands: u32, now: u64) -> Result<(), Problem> {
        let policies = self.policies(whose);
        for (index, (policy, bucket)) in policies.iter().enumerate() {
            let (Some(rate), Some(bucket)) = (policy.rate, bucket) else { continue };
            let count = if policy.unit == "requests" { requests } else { commands };
            if count == 0 {
                continue;
            }
            let mut exceeded = None;
            let taken = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                rate.take(full_at, count, now).map_err(|why| exceeded = Some(why)).ok()
            });
            if taken.is_ok() {
                continue;
            }
            for (before, bucket) in &policies[..index] {
                let count = if before.unit == "requests" { requests } else { commands };
                give_back(before.rate, *bucket, count);
            }
            let Exceeded { left, wait } = exceeded.unwrap_or(Exceeded { left: 0, wait: Some(WINDOW) });
            return Err(Problem::RateLimited(RateExceeded {
                policy: policy.name,
                unit: policy.unit,
                per_second: rate.per_second(),
                asked: count,
                left,
                retry_after: wait.map(seconds),
            }));
        }
        Ok(())
    }

    fn give_back(&self, whose: &Whose, commands: u32) {
        for (policy, bucket) in self.policies(whose) {
            if policy.unit == "commands" {
                give_back(policy.rate, bucket, commands);
            }
        }
    }

    /// What the answer says of the policies that hold.
    fn policies_told(&self, whose: &Whose) -> HeaderValue {
        let mut told = String::new();
        for (Policy { name, unit, rate }, bucket) in self.policies(whose) {
            let (Some(rate), Some(_)) = (rate, bucket) else { continue };
            let comma = if told.is_empty() { "" } else { ", " };
            // A String takes everything. Requests are what is counted where no unit is named.
            let _ = write!(told, "{comma}\"{name}\";q={}", rate.per_second());
            if unit != "requests" {
                let _ = write!(told, ";qu=\"{unit}\"");
            }
            told.push_str(";w=1");
        }
        // Names and numbers are a header's value.
        HeaderValue::try_from(told).unwrap_or(HeaderValue::from_static(""))
    }

    /// Has the answer say what there is, and what is left of the policy that holds its sender up first,
    /// or of all where it was `refused`. Each request pays for it, in its making and on the line.
    fn tell(&self, whose: &Whose, now: u64, refused: bool) {
        let policies = self.policies(whose);
        let counted = policies.iter().filter_map(|(policy, bucket)| {
            Some((policy.name, policy.rate?, (*bucket)?.load(Ordering::Relaxed)))
        });
        let mut left = Vec::with_capacity(LEFT_BYTES);
        match refused {
            true => counted.for_each(|counted| add_left(&mut left, counted, now)),
            // All buckets fill in the same time, so that is the one that will be full last.
            false => counted
                .reduce(|one, other| if other.2 > one.2 { other } else { one })
                .into_iter()
                .for_each(|counted| add_left(&mut left, counted, now)),
        }
        // Names and numbers are a header's value.
        if let Some(told) = whose.told()
            && !left.is_empty()
            && let Ok(left) = HeaderValue::from_maybe_shared(Bytes::from(left))
        {
            note_rates(told.get_or_init(|| self.policies_told(whose)).clone(), left);
        }
    }
}

/// Adds what is left of a policy's bucket.
fn add_left(left: &mut Vec<u8>, (name, rate, full_at): (&str, Rate, u64), now: u64) {
    let mut number = itoa::Buffer::new();
    left.extend_from_slice(if left.is_empty() { b"\"" } else { b", \"" });
    left.extend_from_slice(name.as_bytes());
    left.extend_from_slice(b"\";r=");
    left.extend_from_slice(number.format(rate.left(full_at, now)).as_bytes());
    left.extend_from_slice(b";t=");
    left.extend_from_slice(number.format(seconds(full_at.saturating_sub(now))).as_bytes());
}

/// What was taken a moment ago. The bucket may have gone on, so what was paid in is what is paid back.
fn give_back(rate: Option<Rate>, bucket: Option<&AtomicU64>, count: u32) {
    if let (Some(rate), Some(bucket)) = (rate, bucket) {
        let cost = rate.cost(count);
        let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| Some(at.saturating_sub(cost)));
    }
}

/// Whole seconds, rounded up.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(WINDOW)
}
