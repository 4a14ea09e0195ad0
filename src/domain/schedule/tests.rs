use time::macros::{date, datetime};

use super::*;
use crate::domain::command::{Command, Operation, ProductKey, Quantities, Request, Target};
use crate::domain::configuration::Configuration;
use crate::domain::decide::{apply, decide};
use crate::domain::document::{AllocationDocument, DataSourceDocument, Document, ScheduleDocument};
use crate::domain::name::Value;
use crate::domain::refusal::Refusal;
use crate::domain::state::Stock;

fn configuration(period_days: u16) -> Configuration {
    let pos = DataSourceDocument { measures: vec!["inbound".to_owned()], ..DataSourceDocument::default() };
    let document = Document {
        dimensions: vec!["siteId".to_owned(), "colorId".to_owned()],
        data_sources: [("pos".to_owned(), pos)].into(),
        allocation: AllocationDocument {
            groups: vec!["channel".to_owned()],
            available_to_allocate: "pos.inbound - @iv.@allocated".to_owned(),
            ..AllocationDocument::default()
        },
        schedule: ScheduleDocument { period_days, measures: Vec::new() },
        ..Document::default()
    };
    Configuration::new(document, &[]).unwrap()
}

/// Days with quantities of pos.inbound.
fn command(period_days: u16, days: &[(&str, &str)], today: Option<Date>) -> Result<Command, Refusal> {
    let value = |text| Value::parse(text).unwrap();
    let target = Target {
        id: value("1"),
        product: ProductKey {
            environment: value("shop"),
            organization: value("usmf"),
            product: value("Bike"),
        },
        dimension_data_source: None,
        dimensions: vec![("siteId".into(), "1".into()), ("colorId".into(), "red".into())],
        note: None,
    };
    let quantities = |text: &str| -> Quantities<'_> {
        vec![("pos".into(), vec![("inbound".into(), text.to_owned().into())])]
    };
    let by_day = days.iter().map(|&(day, text)| (day.into(), quantities(text))).collect();
    Command::new(&configuration(period_days), &target, &Request::ChangeSchedule { by_day, today })
}

#[test]
fn a_day_is_a_date_or_its_midnight() {
    for text in ["2022-02-01", "2022-02-01T00:00:00", "2022-02-01T00:00:00Z"] {
        assert_eq!(day(text), Some(date!(2022 - 02 - 01)), "{text}");
    }
    for text in [
        "",
        "2022-2-1",
        "2022-02-30",
        "2022-02-01T01:00:00Z",
        "20220201",
        "01.02.2022",
        "2022-02-01T00:00:00+01:00",
    ] {
        assert_eq!(day(text), None, "{text}");
    }
}

#[test]
fn a_day_ends_at_midnight_utc() {
    let micros = |time: OffsetDateTime| Timestamp((time.unix_timestamp_nanos() / 1000) as i64);
    assert_eq!(day_of(micros(datetime!(2022-02-01 23:59:59.999999 UTC))), date!(2022 - 02 - 01));
    assert_eq!(day_of(micros(datetime!(2022-02-02 00:00:00 UTC))), date!(2022 - 02 - 02));
    assert_eq!(day_of(micros(datetime!(2022-02-02 00:30:00 +01:00))), date!(2022 - 02 - 01));
}

/// Days that are given, today, how many days there are; whether they may be given.
#[test]
fn days_can_be_scheduled_for_from_today_to_the_end_of_the_period() {
    let rows = [
        ("2022-02-01", date!(2022 - 02 - 01), 7, true),
        ("2022-02-07", date!(2022 - 02 - 01), 7, true),
        ("2022-02-08", date!(2022 - 02 - 01), 7, false),
        ("2022-01-31", date!(2022 - 02 - 01), 7, false),
        ("2022-02-01", date!(2022 - 02 - 02), 7, false),
        ("2022-02-01", date!(2022 - 02 - 01), 1, true),
        ("2022-02-02", date!(2022 - 02 - 01), 1, false),
        ("2022-07-30", date!(2022 - 02 - 01), 180, true),
        ("2022-07-31", date!(2022 - 02 - 01), 180, false),
        ("2023-01-01", date!(2022 - 12 - 31), 2, true),
    ];
    for (day, today, days, fits) in rows {
        let found = command(days, &[(day, "1")], Some(today));
        assert_eq!(found.is_ok(), fits, "{day} on {today} of {days}: {found:?}");
    }
}

#[test]
fn every_wrong_day_is_named_with_the_days_that_there_are() {
    let days = [("2022-02-08", "1"), ("2022-02-03", "1"), ("soon", "1"), ("2022-02-03T00:00:00Z", "1")];
    let Err(refusal) = command(7, &days, Some(date!(2022 - 02 - 01))) else { panic!("{days:?}") };
    assert_eq!(
        refusal.to_string(),
        "/quantitiesByDate/2022-02-08 is not among the days that can be scheduled for, 2022-02-01 to 2022-02-07 (UTC); \
         /quantitiesByDate/soon must be a day such as 2026-11-23; \
         /quantitiesByDate/2022-02-03T00:00:00Z gives a day twice"
    );
    let none = command(0, &[("2022-02-01", "1")], Some(date!(2022 - 02 - 01))).unwrap_err().to_string();
    assert!(none.contains("schedule.periodDays"), "{none}");
}

/// A repeat comes later, when its days may have passed: they were right when they were first given.
#[test]
fn a_repeat_s_days_are_not_asked_for_again() {
    let days = [("2022-02-03", "5"), ("2022-02-01", "-1")];
    let first = command(7, &days, Some(date!(2022 - 02 - 01))).unwrap();
    let today = Some(date!(2022 - 02 - 02));
    assert!(command(7, &days, today).is_err());
    let by_day = Request::ChangeSchedule { by_day: Vec::new(), today };
    assert!(matches!(by_day.as_repeat(), Request::ChangeSchedule { today: None, .. }));
    let repeat = command(7, &days, None).unwrap();
    assert!(repeat.means_the_same_as(&first));
    let [(one, _), (two, _)] = &first_days(&first)[..] else { panic!("{first:?}") };
    assert_eq!((*one, *two), (date!(2022 - 02 - 01), date!(2022 - 02 - 03)), "in order");
}

fn first_days(command: &Command) -> &Days {
    match &command.operation {
        Operation::ChangeSchedule { changes } => changes,
        other => panic!("{other:?}"),
    }
}

/// Applies changes, each on a day, and answers what is scheduled.
fn applied(events: &[(Date, &[(&str, &str)])]) -> Result<Stock, Refusal> {
    let configuration = configuration(180);
    let mut stock = Stock::default();
    for &(today, days) in events {
        let command = command(180, days, Some(today))?;
        let noon = today.midnight().assume_utc() + Duration::hours(12);
        let received_at = Timestamp((noon.unix_timestamp_nanos() / 1000) as i64);
        let effects = decide(&stock, &configuration, &command, received_at)?;
        assert!(effects.movements.is_empty(), "nothing has moved");
        apply(&mut stock, &configuration, &command, effects);
        stock.check_invariants(&configuration).unwrap();
    }
    Ok(stock)
}

fn scheduled(stock: &Stock) -> String {
    let entries = stock.schedules.values().flat_map(Schedule::entries);
    entries.map(|(day, _, quantity)| format!("{day} {quantity}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn changes_of_a_day_add_up_and_what_is_nothing_is_not_kept() {
    let (first, second) = (date!(2022 - 02 - 01), date!(2022 - 02 - 03));
    let events: [(Date, &[(&str, &str)]); 4] = [
        (first, &[("2022-02-04", "10"), ("2022-02-02", "-0.5")]),
        (first, &[("2022-02-04", "-3")]),
        (first, &[("2022-02-02", "0.5")]),
        // By now the second of February has passed.
        (second, &[("2022-02-03", "1")]),
    ];
    assert_eq!(scheduled(&applied(&events[..1]).unwrap()), "2022-02-02 -0.5, 2022-02-04 10");
    assert_eq!(scheduled(&applied(&events[..2]).unwrap()), "2022-02-02 -0.5, 2022-02-04 7");
    assert_eq!(scheduled(&applied(&events[..3]).unwrap()), "2022-02-04 7");
    let stock = applied(&events).unwrap();
    assert_eq!(scheduled(&stock), "2022-02-03 1, 2022-02-04 7");
    let mut versions: Vec<(usize, u64)> =
        stock.nodes.iter().map(|(path, node)| (path.values().len(), node.version)).collect();
    versions.sort_unstable();
    assert_eq!(versions, [(0, 4), (1, 4), (2, 4)], "events count at the whole chain");
}

#[test]
fn days_that_passed_go_when_the_schedule_is_next_changed() {
    let events: [(Date, &[(&str, &str)]); 2] = [
        (date!(2022 - 02 - 01), &[("2022-02-01", "1"), ("2022-02-02", "2"), ("2022-02-03", "3")]),
        (date!(2022 - 02 - 03), &[("2022-02-09", "9")]),
    ];
    assert_eq!(scheduled(&applied(&events).unwrap()), "2022-02-03 3, 2022-02-09 9");
}

#[test]
fn a_sum_that_is_not_kept_is_refused() {
    let today = date!(2022 - 02 - 01);
    let day: &[(&str, &str)] = &[("2022-02-02", "1000000000000000")];
    let events = vec![(today, day); 1_001];
    assert!(applied(&events[..1_000]).is_ok());
    let refusal = applied(&events).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::InvalidQuantity { pointer, .. } if pointer == "/quantitiesByDate/2022-02-02"),
        "{refusal}"
    );
}
