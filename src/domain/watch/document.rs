//! A watch as a client writes it, and what that means.

use std::collections::BTreeMap;

use super::{
    Bounds, Configuration, Deserialize, EXHAUSTED_WITHIN_MAX, Fault, HUNDRED, Name, Pairs, Quantity, Refusal,
    Rule, Scope, Serialize, ToSchema, Value, WINDOW, WINDOW_DEFAULT, Watch,
};

/// A watch as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Watch)]
pub struct WatchDocument {
    /// The owner; without it any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub organization_id: Option<String>,
    /// The product; without it any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub product_id: Option<String>,
    /// Dimensions with the value that each must have; others may have any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub dimensions: BTreeMap<String, String>,
    /// A group path: each balance of it and of those below it is judged by itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub groups: BTreeMap<String, String>,
    /// With `groups`: whether that path is judged as a whole instead, its balance and all below it summed
    /// up, at each stock node. False without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollup: Option<bool>,
    /// What is watched for.
    pub rule: RuleDocument,
}

/// What is watched for: exactly one of `balanceAtOrBelow`, `percentLeftAtOrBelow`,
/// `exhaustedWithinSeconds`, `overAllocated`, `idleForSeconds` and `unmetAbove`, with what belongs to
/// it. With `{"balanceAtOrBelow": 10, "clearAbove": 15}` an alert opens when 10 are left, and closes
/// when more than 15 are. What is idle needs no second bound: it opens only when nothing was consumed for
/// the whole time, so not again before that has passed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WatchRule)]
pub struct RuleDocument {
    /// A balance's `allocated` is this or less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_at_or_below: Option<Quantity>,
    /// A balance's `allocated` is so many hundredths of its `cumulativeAllocated`, or fewer: from 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_left_at_or_below: Option<Quantity>,
    /// A balance lasts so many seconds or fewer at the rate of the last `windowSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_536_000)]
    pub exhausted_within_seconds: Option<u32>,
    /// A stock node has less than nothing available to allocate: the formula of its own totals is
    /// negative. Always true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_allocated: Option<bool>,
    /// A balance holds something, and nothing of it was consumed for so long, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub idle_for_seconds: Option<u32>,
    /// More than this was refused to a group path for lack of stock, within `withinSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmet_above: Option<Quantity>,
    /// With the first three: above what value the alert closes. At least that at which it opens, which it
    /// is without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_above: Option<Quantity>,
    /// With `overAllocated`: the alert closes when this or more is available to allocate. At least 0, which it
    /// is without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_at_or_above: Option<Quantity>,
    /// With `unmetAbove`: the alert closes when this or less was refused within the time. From 0 to that
    /// above which it opens, which it is without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_at_or_below: Option<Quantity>,
    /// With `exhaustedWithinSeconds`: over what time the rate is taken, in seconds; 3,600 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub window_seconds: Option<u32>,
    /// With `unmetAbove`, which needs it: within what time, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub within_seconds: Option<u32>,
}

impl Watch {
    /// Reads a watch under a configuration.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn new(configuration: &Configuration, document: &WatchDocument) -> Result<Watch, Refusal> {
        let rule = document.rule.read()?;
        let mut scope = Scope {
            organization: value("/organizationId", document.organization_id.as_deref())?,
            product: value("/productId", document.product_id.as_deref())?,
            ..Scope::default()
        };
        if !document.groups.is_empty() {
            if !rule.is_about_balances() {
                return Err(invalid("/groups", "are of no stock node, and overAllocated watches those"));
            }
            scope.groups = Some(configuration.groups().path("/groups", &pairs(&document.groups))?);
        }
        scope.is_rolled_up = document.rollup == Some(true);
        if scope.is_rolled_up && scope.groups.is_none() {
            return Err(invalid("/rollup", "needs groups: the path that is judged as a whole"));
        }
        let path = configuration.path(None, &pairs(&document.dimensions))?;
        let is_given = |name: &Name| document.dimensions.keys().any(|given| name.matches(given));
        let names = configuration.dimensions().names().iter();
        // What was left out in the middle may have any value; what was given as empty may not.
        let given = names
            .zip(path.values())
            .enumerate()
            .filter(|(_, (name, value))| !value.as_str().is_empty() || is_given(name));
        scope.dimensions = given.map(|(place, (_, value))| (place, value.clone())).collect();
        Ok(Watch { scope, rule })
    }
}

impl RuleDocument {
    fn read(&self) -> Result<Rule, Refusal> {
        let given: Vec<&str> = [
            ("balanceAtOrBelow", self.balance_at_or_below.is_some()),
            ("percentLeftAtOrBelow", self.percent_left_at_or_below.is_some()),
            ("exhaustedWithinSeconds", self.exhausted_within_seconds.is_some()),
            ("overAllocated", self.over_allocated.is_some()),
            ("idleForSeconds", self.idle_for_seconds.is_some()),
            ("unmetAbove", self.unmet_above.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        let [one] = given[..] else {
            return Err(invalid(
                "/rule",
                "must have exactly one of balanceAtOrBelow, percentLeftAtOrBelow, exhaustedWithinSeconds, \
                 overAllocated, idleForSeconds and unmetAbove",
            ));
        };
        self.check_company(one)?;
        let seconds = |name: &str, given: Option<u32>, (least, most): (u32, u32)| match given {
            Some(seconds) if (least..=most).contains(&seconds) => Ok(seconds),
            _ => Err(invalid(
                &format!("/rule/{name}"),
                &format!("must be a number of seconds from {least} to {most}"),
            )),
        };
        Ok(match one {
            "balanceAtOrBelow" => Rule::BalanceAtOrBelow(self.bounds(
                one,
                self.balance_at_or_below.unwrap_or_default(),
                None,
            )?),
            "percentLeftAtOrBelow" => {
                let percent = self.percent_left_at_or_below.unwrap_or_default();
                let most = Quantity::units(i64::from(HUNDRED));
                Rule::PercentLeftAtOrBelow(self.bounds(one, percent, Some(most))?)
            }
            "exhaustedWithinSeconds" => {
                let within = seconds(one, self.exhausted_within_seconds, (1, EXHAUSTED_WITHIN_MAX))?;
                let window = self.window_seconds.or(Some(WINDOW_DEFAULT));
                let window = seconds("windowSeconds", window, WINDOW)?;
                Rule::ExhaustedWithin(self.bounds(one, Quantity::units(i64::from(within)), None)?, window)
            }
            "idleForSeconds" => Rule::IdleFor(seconds(one, self.idle_for_seconds, WINDOW)?),
            "unmetAbove" => {
                let opens_above = at_least_zero(one, self.unmet_above.unwrap_or_default())?;
                let place = "clearAtOrBelow";
                let clears_at = at_least_zero(place, self.clear_at_or_below.unwrap_or(opens_above))?;
                if clears_at > opens_above {
                    let detail = format!("must be at most {opens_above}, above which the alert opens");
                    return Err(invalid(&format!("/rule/{place}"), &detail));
                }
                let seconds = seconds("withinSeconds", self.within_seconds, WINDOW)?;
                Rule::UnmetAbove { opens_above, clears_at, seconds }
            }
            _ if self.over_allocated == Some(true) => Rule::OverAllocated(at_least_zero(
                "clearAtOrAbove",
                self.clear_at_or_above.unwrap_or_default(),
            )?),
            _ => return Err(invalid("/rule/overAllocated", "must be true")),
        })
    }

    /// Checks that nothing is given which the rule has no use for.
    fn check_company(&self, rule: &str) -> Result<(), Refusal> {
        let bounded = ["balanceAtOrBelow", "percentLeftAtOrBelow", "exhaustedWithinSeconds"];
        for (name, is_given, fits) in [
            ("clearAbove", self.clear_above.is_some(), &bounded[..]),
            ("clearAtOrAbove", self.clear_at_or_above.is_some(), &["overAllocated"]),
            ("clearAtOrBelow", self.clear_at_or_below.is_some(), &["unmetAbove"]),
            ("windowSeconds", self.window_seconds.is_some(), &bounded[2..]),
            ("withinSeconds", self.within_seconds.is_some(), &["unmetAbove"]),
        ] {
            if is_given && !fits.contains(&rule) {
                let detail = format!("is of no use with {rule}; it goes with {}", fits.join(", "));
                return Err(invalid(&format!("/rule/{name}"), &detail));
            }
        }
        Ok(())
    }

    fn bounds(&self, name: &str, opens_at: Quantity, most: Option<Quantity>) -> Result<Bounds, Refusal> {
        let clears_above = self.clear_above.unwrap_or(opens_at);
        let place = format!("/rule/{name}");
        at_least_zero(name, opens_at)?;
        if let Some(most) = most.filter(|&most| opens_at > most) {
            return Err(invalid(&place, &format!("must be at most {most}")));
        }
        if clears_above < opens_at {
            let detail = format!("must be at least {opens_at}, at which the alert opens");
            return Err(invalid("/rule/clearAbove", &detail));
        }
        Ok(Bounds { opens_at, clears_above })
    }
}

fn at_least_zero(name: &str, quantity: Quantity) -> Result<Quantity, Refusal> {
    if quantity < Quantity::ZERO {
        return Err(invalid(&format!("/rule/{name}"), "must be 0 or more"));
    }
    Ok(quantity)
}

fn value(place: &str, text: Option<&str>) -> Result<Option<Value>, Refusal> {
    text.map(Value::parse).transpose().map_err(|error| invalid(place, &error.to_string()))
}

fn pairs(map: &BTreeMap<String, String>) -> Pairs<'_> {
    map.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn invalid(place: &str, detail: &str) -> Refusal {
    Refusal::InvalidRequest(vec![Fault::new(place, detail)])
}
