//! What the records of an on-hand answer have beside when a query asks for ATP: what is scheduled,
//! and what can be promised. The names are those of Inventory Visibility, but for `atpByDate`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use time::Date;

use crate::domain::configuration::Configuration;
use crate::domain::formula::{Formula, MeasureName, Slot};
use crate::domain::promise::{Promise, promises};
use crate::domain::quantity::Quantity;
use crate::domain::records::{Record, Unsummable};
use crate::domain::refusal::{Fault, Refusal};
use crate::domain::schedule::{Period, Schedule, day};

/// The properties and parameters of a query that are about ATP.
pub(super) const QUERY_ATP: [&str; 3] = ["queryATP", "atpFromDate", "atpToDate"];

/// Which days are asked for.
pub(super) struct Asked {
    today: Date,
    from: Option<Date>,
    to: Option<Date>,
}

impl Asked {
    /// Reads the first and the last day that are to be shown; whatever they are, what can be
    /// promised is the same.
    pub(super) fn read(
        today: Date,
        from: Option<&str>,
        to: Option<&str>,
        mut fault: impl FnMut(&'static str, &str),
    ) -> Asked {
        let mut read = |name, text: Option<&str>| {
            let read = text.map(day);
            if read == Some(None) {
                fault(name, "must be a day such as 2026-11-23");
            }
            read.flatten()
        };
        let [_, from_name, to_name] = QUERY_ATP;
        let (from, to) = (read(from_name, from), read(to_name, to));
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            fault(to_name, "is before atpFromDate");
        }
        Asked { today, from, to }
    }

    /// The same on another day.
    pub(super) fn on(self, today: Date) -> Asked {
        Asked { today, ..self }
    }
}

/// The schedule under a configuration.
pub(super) struct Promises {
    pub(super) period: Period,
    from: Date,
    to: Date,
    measures: Vec<(MeasureName, Formula)>,
    physical: BTreeMap<Slot, MeasureName>,
    /// The measures that the formulas are made of.
    components: BTreeSet<Slot>,
}

type BySource<'a, T> = BTreeMap<&'a str, BTreeMap<&'a str, T>>;

/// By day, data source and measure.
type ByDate<'a, T> = BTreeMap<String, BySource<'a, T>>;

/// What a record has beside; [`super::schema::OnHandRecord`] shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    quantities_by_date: ByDate<'a, Quantity>,
    atp_quantities: ByDate<'a, Quantity>,
    atp_by_date: ByDate<'a, DayBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DayBody {
    on_hand: Quantity,
    scheduled_supply: Quantity,
    scheduled_demand: Quantity,
    projected_on_hand: Quantity,
    atp: Quantity,
}

impl Promises {
    /// # Errors
    /// When the environment has no days to schedule for.
    pub(super) fn new(configuration: &Configuration, asked: &Asked) -> Result<Promises, Refusal> {
        let Some(period) = configuration.schedule_period(asked.today) else {
            let detail = "cannot be told: the environment has no days to schedule for; schedule.periodDays in \
                          its configuration says how many it has";
            return Err(Refusal::InvalidRequest(vec![Fault::new("/queryATP", detail)]));
        };
        let mut physical = BTreeMap::new();
        for (source, measures) in configuration.measures() {
            let name = |measure| MeasureName { source: source.clone(), measure };
            physical.extend(measures.iter().map(|(measure, slot)| (*slot, name(measure.clone()))));
        }
        // A data source that is configured is shown as it is.
        let shown = |name: &MeasureName| {
            let source = configuration.measures().map(|(source, _)| source).find(|own| **own == name.source);
            MeasureName { source: source.unwrap_or(&name.source).clone(), measure: name.measure.clone() }
        };
        let measures: Vec<_> =
            configuration.promised().iter().map(|(name, formula)| (shown(name), formula.clone())).collect();
        let terms = measures.iter().flat_map(|(_, formula)| formula.terms());
        Ok(Promises {
            period,
            from: asked.from.unwrap_or(period.first),
            to: asked.to.unwrap_or(period.last),
            components: terms.map(|&(slot, _)| slot).collect(),
            measures,
            physical,
        })
    }

    /// What a record has beside.
    ///
    /// # Errors
    /// When a measure would grow beyond what is kept of one.
    pub(super) fn of(&self, record: &Record) -> Result<Body<'_>, Unsummable> {
        let mut body = Body {
            quantities_by_date: self.scheduled(&record.schedule),
            atp_quantities: ByDate::new(),
            atp_by_date: ByDate::new(),
        };
        for (name, formula) in &self.measures {
            let days = promises(formula, &record.sums, &record.schedule, self.period)?;
            for (day, promise) in days.into_iter().filter(|&(day, _)| self.shows(day)) {
                put(&mut body.atp_quantities, day, name, promise.available);
                put(&mut body.atp_by_date, day, name, DayBody::from(promise));
            }
        }
        Ok(body)
    }

    fn shows(&self, day: Date) -> bool {
        self.period.has(day) && (self.from..=self.to).contains(&day)
    }

    /// The days that have anything: what is scheduled, also of the measures that the formulas need,
    /// and what the formulas make of it.
    fn scheduled(&self, schedule: &Schedule) -> ByDate<'_, Quantity> {
        let mut by_date = ByDate::new();
        for (day, measures) in schedule.days().filter(|&(day, _)| self.shows(day)) {
            let slots: BTreeSet<Slot> = measures.keys().chain(&self.components).copied().collect();
            for (slot, name) in slots.into_iter().filter_map(|slot| Some((slot, self.physical.get(&slot)?))) {
                put(&mut by_date, day, name, schedule.get(day, slot));
            }
            for (name, formula) in &self.measures {
                put(&mut by_date, day, name, formula.evaluate(|slot| schedule.get(day, slot)));
            }
        }
        by_date
    }
}

fn put<'a, T>(by_date: &mut ByDate<'a, T>, day: Date, name: &'a MeasureName, value: T) {
    let day = by_date.entry(format!("{day}T00:00:00Z")).or_default();
    day.entry(name.source.as_str()).or_default().insert(name.measure.as_str(), value);
}

impl From<Promise> for DayBody {
    fn from(Promise { on_hand, supply, demand, projected, available }: Promise) -> DayBody {
        DayBody {
            on_hand,
            scheduled_supply: supply,
            scheduled_demand: demand,
            projected_on_hand: projected,
            atp: available,
        }
    }
}
