//! How many requests and commands a second a key and an environment may send: counted by each instance
//! for itself, because to ask the others would cost every request what it is to be spared. Whoever runs
//! several gives each its part.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::http::HeaderValue;

use crate::domain::rate::{Exceeded, PerSecond, Rate, WINDOW};

use super::access::Caller;
use super::around::note_rates;
use super::kept::Kept;
use super::problem::{Problem, RateExceeded};
use super::rules::{Narrowed, Rule};

/// Subjects of tokens that are counted at once; whoever is forgotten has a full bucket.
const SUBJECTS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Environments that are counted at once.
const ENVIRONMENTS_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Longest name of an environment in bytes; a longer one is none.
const NAME_BYTES_MAX: usize = 512;
/// Room for what is left of all policies, in bytes: 40 for each.
const LEFT_BYTES_MAX: usize = 160;

/// When the buckets of somebody will be full.
#[derive(Default)]
pub(super) struct Buckets {
    requests: AtomicU64,
    commands: AtomicU64,
    /// What is told of the policies that they are for: the same every time.
    told: OnceLock<HeaderValue>,
}

/// What a request is one of.
const REQUESTS: &str = "requests";

/// Counts, where a limit is set or a key may have its own.
pub(super) struct Rates {
    key: PerSecond,
    environment: PerSecond,
    /// Of who has a token: a key is kept with its own.
    subjects: Kept<Arc<Buckets>>,
    environments: Kept<Arc<Buckets>>,
    began: Instant,
}

/// The buckets that a request takes from.
struct Whose {
    key: PerSecond,
    caller: Option<Arc<Buckets>>,
    environment: Option<Arc<Buckets>>,
}

/// A policy that holds for a request.
struct Policy<'a> {
    name: &'static str,
    unit: &'static str,
    rate: Rate,
    /// When its bucket will be full.
    full_at: &'a AtomicU64,
}

impl Policy<'_> {
    /// How much of what is asked for it counts.
    fn counted(&self, requests: u32, commands: u32) -> u32 {
        if self.unit == REQUESTS { requests } else { commands }
    }

    fn take(&self, count: u32, now: u64) -> Result<(), Problem> {
        let mut exceeded = None;
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            self.rate.take(full_at, count, now).map_err(|why| exceeded = Some(why)).ok()
        });
        if taken.is_ok() {
            return Ok(());
        }
        let Exceeded { left, wait } = exceeded.unwrap_or(Exceeded { left: 0, wait: Some(WINDOW) });
        Err(Problem::RateLimited(RateExceeded {
            policy: self.name,
            unit: self.unit,
            per_second: self.rate.per_second(),
            asked: count,
            left,
            retry_after: wait.map(seconds),
        }))
    }

    /// What was taken a moment ago. The bucket may have gone on, so what was paid in is what is paid back.
    fn give_back(&self, count: u32) {
        if count == 0 {
            return;
        }
        let cost = self.rate.cost(count);
        let _ = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| Some(at.saturating_sub(cost)));
    }
}

/// All policies that hold for a request, of at most four: a key's and an environment's.
struct Policies<'a> {
    all: [Option<Policy<'a>>; 4],
    /// Where what is told of them is kept: with a caller's buckets, or else with the environment's.
    told: &'a OnceLock<HeaderValue>,
}

fn buckets(kept: &Kept<Arc<Buckets>>, name: &str) -> Arc<Buckets> {
    kept.get(name).unwrap_or_else(|| kept.renew(name, |known| known.cloned().unwrap_or_default()))
}

impl Rates {
    /// None where no limit is set, and there are no keys that may have their own.
    pub(super) fn new(auth: bool, key: PerSecond, environment: PerSecond) -> Option<Rates> {
        (auth || environment.is_any()).then(|| Rates {
            key,
            environment,
            subjects: Kept::new(SUBJECTS_MAX),
            environments: Kept::new(ENVIRONMENTS_MAX),
            began: Instant::now(),
        })
    }

    fn whose(&self, environment: &str, caller: Option<&Caller>) -> Whose {
        let key = caller.map_or_else(PerSecond::default, |caller| caller.rates().or(self.key));
        let caller = caller.filter(|_| key.is_any()).map(|caller| match caller {
            Caller::Key(known) => Arc::clone(&known.buckets),
            Caller::Token(token, _) => buckets(&self.subjects, &format!("{environment}/{}", token.name)),
        });
        let is_counted = self.environment.is_any() && environment.len() <= NAME_BYTES_MAX;
        Whose { key, caller, environment: is_counted.then(|| buckets(&self.environments, environment)) }
    }

    /// What everybody in question is held to; none where nothing is limited.
    fn policies<'a>(&self, whose: &'a Whose) -> Option<Policies<'a>> {
        let (caller, environment) = (whose.caller.as_deref(), whose.environment.as_deref());
        let requests = |name, rate: Option<Rate>, of: Option<&'a Buckets>| {
            Some(Policy { name, unit: REQUESTS, rate: rate?, full_at: &of?.requests })
        };
        let commands = |name, rate: Option<Rate>, of: Option<&'a Buckets>| {
            Some(Policy { name, unit: "commands", rate: rate?, full_at: &of?.commands })
        };
        Some(Policies {
            all: [
                requests("key-requests", whose.key.requests, caller),
                commands("key-commands", whose.key.commands, caller),
                requests("environment-requests", self.environment.requests, environment),
                commands("environment-commands", self.environment.commands, environment),
            ],
            told: &caller.or(environment)?.told,
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
        let whose = self.whose(environment, caller);
        let Some(policies) = self.policies(&whose) else { return Ok(()) };
        let is_command = rule.is_some_and(|rule| rule.narrowed == Narrowed::Command);
        let now = self.now();
        let taken = policies.take(1, u32::from(is_command), now);
        if taken.is_ok() && is_command && path.ends_with("/bulk") {
            policies.give_back(0, 1);
        }
        policies.tell(now, taken.is_err());
        taken
    }

    /// Counts the lines of a bulk: all or none.
    pub(super) fn take_lines(
        &self,
        environment: &str,
        caller: Option<&Caller>,
        lines: usize,
    ) -> Result<(), Problem> {
        let whose = self.whose(environment, caller);
        let Some(policies) = self.policies(&whose) else { return Ok(()) };
        let now = self.now();
        let taken = policies.take(0, u32::try_from(lines).unwrap_or(u32::MAX), now);
        policies.tell(now, taken.is_err());
        taken
    }
}

impl Policies<'_> {
    fn each(&self) -> impl DoubleEndedIterator<Item = &Policy<'_>> {
        self.all.iter().flatten()
    }

    /// Takes from all buckets or from none.
    fn take(&self, requests: u32, commands: u32, now: u64) -> Result<(), Problem> {
        for (index, policy) in self.each().enumerate() {
            let count = policy.counted(requests, commands);
            if count > 0
                && let Err(exceeded) = policy.take(count, now)
            {
                self.each()
                    .take(index)
                    .for_each(|before| before.give_back(before.counted(requests, commands)));
                return Err(exceeded);
            }
        }
        Ok(())
    }

    fn give_back(&self, requests: u32, commands: u32) {
        self.each().for_each(|policy| policy.give_back(policy.counted(requests, commands)));
    }

    /// Has the answer say which policies there are, and what is left of the one that holds its sender up
    /// first, or of all where it was `refused`. Each request pays for it, in its making and on the line.
    fn tell(&self, now: u64, refused: bool) {
        let mut left = Left { bytes: [0; LEFT_BYTES_MAX], length: 0 };
        // All buckets fill in the same time, so it is the one that will be full last; the first of such.
        let first_up = self.each().rev().max_by_key(|policy| policy.full_at.load(Ordering::Relaxed));
        match refused {
            true => self.each().for_each(|policy| left.add(policy, now)),
            false => first_up.into_iter().for_each(|policy| left.add(policy, now)),
        }
        note_rates(self.told.get_or_init(|| self.to_header()).clone(), left.to_header());
    }

    /// What the answer says of the policies.
    fn to_header(&self) -> HeaderValue {
        let mut told = String::new();
        for Policy { name, unit, rate, .. } in self.each() {
            let comma = if told.is_empty() { "" } else { ", " };
            // A String takes everything. Requests are what is counted where no unit is named.
            let _ = write!(told, "{comma}\"{name}\";q={}", rate.per_second());
            if *unit != REQUESTS {
                let _ = write!(told, ";qu=\"{unit}\"");
            }
            told.push_str(";w=1");
        }
        // Names and numbers are a header's value.
        HeaderValue::try_from(told).unwrap_or(HeaderValue::from_static(""))
    }
}

/// What is left of policies, as a header's value says it.
struct Left {
    bytes: [u8; LEFT_BYTES_MAX],
    length: usize,
}

impl Left {
    fn add(&mut self, policy: &Policy<'_>, now: u64) {
        let full_at = policy.full_at.load(Ordering::Relaxed);
        let mut number = itoa::Buffer::new();
        self.push(if self.length == 0 { "\"" } else { ", \"" });
        self.push(policy.name);
        self.push("\";r=");
        self.push(number.format(policy.rate.left(full_at, now)));
        self.push(";t=");
        self.push(number.format(seconds(full_at.saturating_sub(now))));
    }

    fn push(&mut self, text: &str) {
        // There is room for all that four policies can say.
        debug_assert!(self.length + text.len() <= LEFT_BYTES_MAX);
        if let Some(room) = self.bytes.get_mut(self.length..self.length + text.len()) {
            room.copy_from_slice(text.as_bytes());
            self.length += text.len();
        }
    }

    fn to_header(&self) -> HeaderValue {
        // Names and numbers are a header's value.
        HeaderValue::from_bytes(&self.bytes[..self.length]).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Whole seconds, rounded up.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(WINDOW)
}
