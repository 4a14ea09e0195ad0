//! Proposals in words.

use std::fmt;

use super::plan::{Plan, Remark, Side};
use super::{Holding, Situation};
use crate::domain::quantity::Quantity;

impl Plan<'_> {
    /// What all of it comes to.
    pub(super) fn remark(&self, is_done: bool) -> String {
        match (&self.remark, is_done) {
            (Remark::NoDemand { window }, _) => {
                format!("nothing was asked for within {}, so nothing runs dry", Span(*window))
            }
            (Remark::Enough { target }, true) => {
                format!("whoever consumes has enough for {} already", Span(*target))
            }
            (Remark::Enough { target }, false) => {
                format!("with these, whoever consumes has enough for {}", Span(*target))
            }
            (Remark::Short { lasts, target }, is_done) => {
                let lasts = lasts.map_or_else(
                    || "for no foreseeable time".to_owned(),
                    |seconds| Span(seconds).to_string(),
                );
                let how = if is_done {
                    "and lasts equally long for all already"
                } else {
                    "with these, equally long for all"
                };
                format!(
                    "the {} that there is lasts {lasts} in all, {how}; {} needs more stock",
                    self.all,
                    Span(*target)
                )
            }
            (Remark::Shared, true) => "everybody has the declared share already".to_owned(),
            (Remark::Shared, false) => {
                format!("with these, the {} that there is is divided as declared", self.all)
            }
        }
    }
}

/// Why so much goes from one side to another.
pub(super) struct Reason<'a> {
    pub(super) situation: &'a Situation<'a>,
    pub(super) plan: &'a Plan<'a>,
    pub(super) source: usize,
    pub(super) target: usize,
    /// What the source and the target have before.
    pub(super) before: [i128; 2],
    pub(super) count: i128,
}

impl Reason<'_> {
    fn quantity(&self, count: i128) -> Quantity {
        Quantity::of_steps(count, self.plan.step)
    }

    fn name(&self, holding: &Holding) -> String {
        self.situation.hierarchy.place(holding.groups.values()).to_string()
    }

    fn enough(&self, count: i128, holding: &Holding) -> String {
        match self.situation.lasts(self.quantity(count), holding.demand()) {
            Some(seconds) => format!("enough for {}", Span(seconds)),
            None => "enough for any foreseeable time".to_owned(),
        }
    }

    /// `holds 30, and its share, 0.4 of 200, is 80`.
    fn of_share(&self, side: &Side<'_>, held: i128, whose: &str) -> String {
        let (held, wants, all) = (self.quantity(held), self.quantity(side.wants), self.plan.all);
        format!("holds {held}, and {whose} share, {} of {all}, is {wants}", side.share.unwrap_or_default())
    }

    fn shared(&self, source: &Side<'_>, target: &Side<'_>) -> String {
        let [of_source, of_target] = self.before;
        let count = self.quantity(self.count);
        match (source.holding, target.holding) {
            (Some(source_holding), None) => {
                let source = self.of_share(source, of_source, "its");
                format!("{} {source}: {count} go back to the pool", self.name(source_holding))
            }
            (source_holding, Some(holding)) => {
                let from = source_holding.map_or_else(
                    || format!("of the {} in the pool", self.quantity(of_source)),
                    |own| {
                        format!("of {}, which {}", self.name(own), self.of_share(source, of_source, "whose"))
                    },
                );
                format!("{} {}: {count} {from}", self.name(holding), self.of_share(target, of_target, "its"))
            }
            (None, None) => String::new(),
        }
    }

    fn levelled(&self, source: &Side<'_>, target: &Holding) -> String {
        let [of_source, of_target] = self.before;
        let from = match source.holding {
            None => format!("of the {} in the pool", self.quantity(of_source)),
            Some(own) if source.weight == 0 => {
                let (name, held) = (self.name(own), self.quantity(of_source));
                format!("of {name}, which asked for nothing in that time and holds {held},")
            }
            Some(own) => {
                let left = of_source - self.count;
                let (name, kept) = (self.name(own), self.quantity(left));
                format!("of {name}, which keeps {kept}, {},", self.enough(left, own))
            }
        };
        let refused = match target.unmet.is_zero() {
            true => String::new(),
            false => format!(", was refused {}", target.unmet),
        };
        format!(
            "{} consumed {}{refused} within {} and holds {}, {}; with {} {from} it has {}",
            self.name(target),
            target.consumed,
            Span(self.situation.window_seconds),
            self.quantity(of_target),
            self.enough(of_target, target),
            self.quantity(self.count),
            self.enough(of_target + self.count, target),
        )
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, target) = (&self.plan.sides[self.source], &self.plan.sides[self.target]);
        formatter.write_str(&match (&self.plan.remark, target.holding) {
            (Remark::Shared, _) | (_, None) => self.shared(source, target),
            (_, Some(holding)) => self.levelled(source, holding),
        })
    }
}

/// A length of time in words: its two largest units, rounded down.
pub(super) struct Span(pub(super) i64);

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
        let first = units.iter().position(|&(seconds, _)| self.0 >= seconds).unwrap_or(units.len() - 1);
        let (seconds, name) = units[first];
        write!(formatter, "{} {name}", self.0 / seconds)?;
        match units.get(first + 1).map(|&(smaller, name)| (self.0 % seconds / smaller, name)) {
            Some((count, name)) if count > 0 => write!(formatter, " {count} {name}"),
            _ => Ok(()),
        }
    }
}
