//! Watches: what is to be told of stock, and when. A [`Watch`] that exists is well formed under
//! the configuration that it was made with.
//!
//! A watch judges one subject at a time: a group path's balance at a stock node, or a stock node
//! itself. What it says of a subject goes by the facts and by whether an alert is open already:
//! an alert opens at one value and closes at another, so that a balance which moves to and fro
//! between them is told once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::configuration::Configuration;
use super::dimensions::{DimensionPath, Pairs};
use super::groups::GroupPath;
use super::name::{Name, Value};
use super::quantity::Quantity;
use super::refusal::{Fault, Refusal};
use super::state::Balance;

mod alert;
mod document;

pub use alert::{Alert, Kind, Message, Shown, State, written};
pub use document::{RuleDocument, WatchDocument};

/// Longest name of a watch or a webhook.
const LABEL_BYTES_MAX: usize = 64;
/// Shortest and longest time that consumption is looked at over, in seconds.
const WINDOW: (u32, u32) = (60, 30 * 86_400);
/// The time that a rate is taken over where the rule does not say.
const WINDOW_DEFAULT: u32 = 3_600;
/// Longest time to exhaustion that can be asked about, in seconds.
const EXHAUSTED_WITHIN_MAX: u32 = 365 * 86_400;
const HUNDRED: u32 = 100;

/// The name of a watch or a webhook: a word of a path, which matches in any letter case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// Reads a name.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn parse(text: &str) -> Result<Label, String> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !begins || text.len() > LABEL_BYTES_MAX || !text.bytes().all(is_part) {
            return Err(format!(
                "must be 1 to {LABEL_BYTES_MAX} letters of a to z, digits, hyphens, underscores and points, \
                 the first a letter or digit"
            ));
        }
        Ok(Label(text.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The owner.
    pub organization: Value,
    /// The product.
    pub product: Value,
    /// Where.
    pub path: DimensionPath,
    /// The group path whose balance it is; none for the stock node itself.
    pub groups: Option<GroupPath>,
}

/// Which subjects a watch judges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    organization: Option<Value>,
    product: Option<Value>,
    /// Dimensions, by their places in the hierarchy, with the value that each must have.
    dimensions: Vec<(usize, Value)>,
    /// The path at or below which a group path must be.
    groups: Option<GroupPath>,
    /// Whether that path is one subject, with all below it.
    is_rolled_up: bool,
}

impl Scope {
    fn has(&self, subject: &Subject) -> bool {
        let is = |wanted: &Option<Value>, own: &Value| wanted.as_ref().is_none_or(|wanted| wanted == own);
        let at = |place: usize| subject.path.values().get(place).map_or("", Value::as_str);
        let is_below = |wanted: &GroupPath| {
            subject.groups.as_ref().is_some_and(|groups| match self.is_rolled_up {
                true => groups == wanted,
                false => groups.values().starts_with(wanted.values()),
            })
        };
        is(&self.organization, &subject.organization)
            && is(&self.product, &subject.product)
            && self.dimensions.iter().all(|(place, value)| at(*place) == value.as_str())
            && self.groups.as_ref().is_none_or(is_below)
    }
}

/// What is watched for. Each opens at one bound and closes at or beyond another, but for what is idle:
/// that opens only when nothing was consumed for the whole time, and closes when something is. So it
/// cannot open again sooner than after that time, however things move to and fro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A balance has so much left or less.
    BalanceAtOrBelow(Bounds),
    /// A balance has so many hundredths of what was allocated left, or fewer.
    PercentLeftAtOrBelow(Bounds),
    /// A balance will last so many seconds or fewer, at the rate of a window.
    ExhaustedWithin(Bounds, u32),
    /// A balance holds something, and nothing was consumed of it for so many seconds.
    IdleFor(u32),
    /// More than `opens_above` was asked for in vain within so many seconds, until it is `clears_at` or less.
    UnmetAbove {
        /// Above what it opens.
        opens_above: Quantity,
        /// At or below what it closes: no more than that.
        clears_at: Quantity,
        /// Within what time.
        seconds: u32,
    },
    /// A stock node has less than nothing available to allocate, until this or more is.
    OverAllocated(Quantity),
}

/// Where an alert opens, and beyond what it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    opens_at: Quantity,
    clears_above: Quantity,
}

/// What happened to a balance within the window that its rule asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// What was consumed.
    pub consumed: Quantity,
    /// What was allocated and reallocated to it.
    pub taken_in: Quantity,
    /// What was refused for lack of stock.
    pub unmet: Quantity,
    /// Over what time, in seconds: the window, and as much as there is to a whole minute.
    pub seconds: u32,
}

/// What there is to know of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Nothing is kept of it any more.
    Gone,
    /// A balance, with what happened to it where that is known already.
    Balance(Balance, Option<Activity>),
    /// What a stock node has available to allocate, by itself.
    Available(Quantity),
}

/// What a watch says of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An alert opens.
    Open(Finding),
    /// The open alert closes.
    Close(Finding),
    /// All stays as it is.
    Nothing,
}

/// What was found, for whoever reads the alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The value that was judged.
    pub value: Option<Quantity>,
    /// A sentence on it.
    pub detail: String,
}

/// What is watched for, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Which subjects are judged.
    pub scope: Scope,
    /// By which rule.
    pub rule: Rule,
}

impl Watch {
    /// Judges a subject. An alert that is open of one which is not watched any more closes.
    pub fn judge(&self, subject: &Subject, facts: &Facts, is_open: bool) -> Verdict {
        if !self.is_about(subject) {
            return close(is_open, None, "it is not watched any more".to_owned());
        }
        self.rule.judge(facts, is_open)
    }

    /// Whether it judges a group path as a whole: its balance and all below it summed up.
    pub fn is_rolled_up(&self) -> bool {
        self.scope.is_rolled_up
    }

    /// The path as a whole that a balance is a part of, where it is judged so.
    pub fn whole(&self, subject: &Subject) -> Option<Subject> {
        let path = self.scope.groups.as_ref().filter(|_| self.scope.is_rolled_up)?;
        let is_part = subject.groups.as_ref()?.values().starts_with(path.values());
        is_part.then(|| Subject { groups: Some(path.clone()), ..subject.clone() })
    }

    /// Whether it is a subject of this watch.
    pub fn is_about(&self, subject: &Subject) -> bool {
        self.rule.is_about_balances() == subject.groups.is_some() && self.scope.has(subject)
    }
}

impl Rule {
    /// Whether it judges balances; else stock nodes.
    pub fn is_about_balances(&self) -> bool {
        !matches!(self, Rule::OverAllocated(_))
    }

    /// The time that activity is asked for, in seconds.
    pub fn window(&self) -> Option<u32> {
        match *self {
            Rule::ExhaustedWithin(_, window)
            | Rule::IdleFor(window)
            | Rule::UnmetAbove { seconds: window, .. } => Some(window),
            Rule::BalanceAtOrBelow(_) | Rule::PercentLeftAtOrBelow(_) | Rule::OverAllocated(_) => None,
        }
    }

    /// The bound at which it opens an alert.
    pub fn threshold(&self) -> Quantity {
        match *self {
            Rule::BalanceAtOrBelow(bounds)
            | Rule::PercentLeftAtOrBelow(bounds)
            | Rule::ExhaustedWithin(bounds, _) => bounds.opens_at,
            Rule::IdleFor(seconds) => Quantity::units(i64::from(seconds)),
            Rule::UnmetAbove { opens_above, .. } => opens_above,
            Rule::OverAllocated(_) => Quantity::ZERO,
        }
    }

    fn judge(&self, facts: &Facts, is_open: bool) -> Verdict {
        match (*self, *facts) {
            (_, Facts::Gone) => close(is_open, None, "nothing is kept of it any more".to_owned()),
            (Rule::BalanceAtOrBelow(bounds), Facts::Balance(balance, _)) => {
                let left = balance.allocated;
                bounds.judge(left, is_open, &format!("{left} left"))
            }
            (Rule::PercentLeftAtOrBelow(bounds), Facts::Balance(balance, _)) => {
                let (left, of) = (balance.allocated, balance.cumulative_allocated);
                match left.multiple(HUNDRED).per(of) {
                    Some(percent) => {
                        bounds.judge(percent, is_open, &format!("{percent} % left, {left} of {of}"))
                    }
                    None => close(is_open, None, "nothing is allocated any more".to_owned()),
                }
            }
            (Rule::ExhaustedWithin(bounds, _), Facts::Balance(balance, Some(activity))) => {
                exhaustion(bounds, &balance, &activity, is_open)
            }
            (Rule::IdleFor(seconds), Facts::Balance(balance, Some(activity))) => {
                idleness(seconds, &balance, &activity, is_open)
            }
            (Rule::UnmetAbove { opens_above, clears_at, seconds }, Facts::Balance(_, Some(activity))) => {
                let unmet = activity.unmet;
                let is_the_case = unmet > if is_open { clears_at } else { opens_above };
                let detail = format!("{unmet} refused for lack of stock within {seconds} s");
                opens(is_the_case, is_open, Some(unmet), detail)
            }
            (Rule::OverAllocated(clears_at), Facts::Available(available)) => {
                let is_the_case = available < if is_open { clears_at } else { Quantity::ZERO };
                opens(is_the_case, is_open, Some(available), format!("{available} available to allocate"))
            }
            // What is not known yet is judged when it is.
            _ => Verdict::Nothing,
        }
    }
}

impl Bounds {
    fn judge(self, value: Quantity, is_open: bool, detail: &str) -> Verdict {
        let Bounds { opens_at, clears_above } = self;
        match is_open {
            false if value <= opens_at => open(value, format!("{detail}; watched for {opens_at} or less")),
            true if value > clears_above => {
                close(true, Some(value), format!("{detail}; clear above {clears_above}"))
            }
            _ => Verdict::Nothing,
        }
    }
}

/// How long a balance will last. One that has run dry stays so until something is there again,
/// though nothing can be consumed of it meanwhile.
fn exhaustion(bounds: Bounds, balance: &Balance, activity: &Activity, is_open: bool) -> Verdict {
    let left = balance.allocated;
    if left.is_zero() && is_open {
        return Verdict::Nothing;
    }
    let Activity { consumed, seconds: window, .. } = *activity;
    match left.multiple(window).per(consumed) {
        Some(lasts) => {
            let detail = format!(
                "{left} left, {consumed} consumed within {window} s: exhausted within {lasts} s at this rate"
            );
            bounds.judge(lasts, is_open, &detail)
        }
        None => close(is_open, None, format!("{left} left, nothing consumed within {window} s")),
    }
}

/// What only just came cannot have been idle.
fn idleness(seconds: u32, balance: &Balance, activity: &Activity, is_open: bool) -> Verdict {
    let left = balance.allocated;
    let is_idle = !left.is_zero() && activity.consumed.is_zero() && (is_open || activity.taken_in.is_zero());
    let detail = match is_idle {
        true => format!("{left} left, nothing consumed within {seconds} s"),
        false => format!("{left} left, {} consumed within {seconds} s", activity.consumed),
    };
    opens(is_idle, is_open, Some(left), detail)
}

fn opens(is_the_case: bool, is_open: bool, value: Option<Quantity>, detail: String) -> Verdict {
    match (is_the_case, is_open) {
        (true, false) => Verdict::Open(Finding { value, detail }),
        (false, true) => Verdict::Close(Finding { value, detail }),
        _ => Verdict::Nothing,
    }
}

fn open(value: Quantity, detail: String) -> Verdict {
    Verdict::Open(Finding { value: Some(value), detail })
}

fn close(is_open: bool, value: Option<Quantity>, detail: String) -> Verdict {
    if is_open { Verdict::Close(Finding { value, detail }) } else { Verdict::Nothing }
}

#[cfg(test)]
mod tests;
