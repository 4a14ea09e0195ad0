//! Reading a change of the schedule.

use std::borrow::Cow;

use time::Date;

use crate::domain::configuration::Configuration;
use crate::domain::refusal::{Fault, Refusal, pointer};
use crate::domain::schedule::{Days, Period, day};

use super::operation::on_hand;
use super::{Operation, Quantities, invalid};

const PLACE: &str = "/quantitiesByDate";

/// Every wrong day is named at once, and with the days that there are.
pub(super) fn change(
    configuration: &Configuration,
    by_day: &[(Cow<'_, str>, Quantities<'_>)],
    today: Option<Date>,
) -> Result<Operation, Refusal> {
    let period = today.map(|today| period(configuration, today)).transpose()?;
    let (mut days, mut faults) = (Vec::new(), Vec::new());
    for (text, quantities) in by_day {
        let place = pointer(PLACE, text);
        match day(text) {
            None => faults.push(Fault::new(place, "must be a day such as 2026-11-23")),
            Some(day) if days.iter().any(|&(other, _, _)| other == day) => {
                faults.push(Fault::new(place, "gives a day twice"));
            }
            Some(day) => {
                faults.extend(period.filter(|period| !period.has(day)).map(|period| outside(&place, period)));
                days.push((day, place, quantities));
            }
        }
    }
    if !faults.is_empty() {
        return Err(Refusal::InvalidRequest(faults));
    }
    if days.is_empty() {
        return Err(invalid(PLACE, "must give one day at least"));
    }
    days.sort_by_key(|&(day, _, _)| day);
    let read = |(day, place, quantities): (Date, String, &Quantities<'_>)| {
        Ok((day, on_hand(configuration, &place, quantities)?))
    };
    Ok(Operation::ChangeSchedule { changes: days.into_iter().map(read).collect::<Result<Days, Refusal>>()? })
}

fn period(configuration: &Configuration, today: Date) -> Result<Period, Refusal> {
    configuration.schedule_period(today).ok_or_else(|| {
        invalid(
            PLACE,
            "cannot be kept: the environment has no days to schedule for; schedule.periodDays in its \
             configuration says how many it has",
        )
    })
}

fn outside(place: &str, Period { first, last }: Period) -> Fault {
    let detail = format!("is not among the days that can be scheduled for, {first} to {last} (UTC)");
    Fault::new(place, detail)
}
