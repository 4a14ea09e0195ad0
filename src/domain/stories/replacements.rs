//! When one configuration may follow another.

use super::configurations::{calculate, changed, pool, reserve, source, texts};
use super::{document, slot};
use crate::domain::configuration::{Configuration, Usage};
use crate::domain::document::Document;
use crate::domain::refusal::Refusal;

#[test]
fn a_measure_keeps_its_slot_while_it_is_gone() {
    let first = Configuration::new(document(), &[]).unwrap();
    let names: Vec<String> = first.slots().iter().map(ToString::to_string).collect();
    let user = ["fno.onordered", "fno.onhand", "iv.onhand", "iv.softreserved", "pos.inbound", "pos.outbound"];
    assert_eq!(names[5..], user);

    let removal = changed(|to| {
        to.data_sources.remove("fno");
        to.data_sources.insert("app".into(), source(texts(["seen"])));
    });
    let second = Configuration::new(removal, first.slots()).unwrap();
    assert_eq!(second.measure("fno", "onhand"), None);
    assert_eq!(second.slots()[slot(&first, "fno.onhand").0].to_string(), "fno.onhand");
    assert_eq!(second.slots()[11].to_string(), "app.seen");

    let back = changed(|to| to.data_sources.get_mut("fno").unwrap().measures = texts(["later", "ONHAND"]));
    let third = Configuration::new(back, second.slots()).unwrap();
    for measure in ["fno.onhand", "iv.onhand", "@iv.@softreserved", "pos.outbound"] {
        assert_eq!(slot(&third, measure), slot(&first, measure), "{measure}");
    }
    assert_eq!(third.slots()[12].to_string(), "fno.later");
    assert_eq!(third.measure_name(slot(&third, "fno.onhand")).to_string(), "fno.ONHAND");

    let uses_what_is_gone = changed(|to| pool(to, "app.seen - @iv.@allocated"));
    assert!(Configuration::new(uses_what_is_gone, third.slots()).is_err());
    let one_too_many: Vec<String> = (0..245).map(|n| format!("measure{n}")).collect();
    let full = changed(|to| drop(to.data_sources.insert("more".into(), source(one_too_many.clone()))));
    assert!(Configuration::new(full.clone(), &[]).is_ok());
    assert!(Configuration::new(full, second.slots()).is_err(), "what is gone counts");
}

/// What stands in the way of a change, each as `pointer detail`.
fn obstacles(usage: &Usage, change: impl Fn(&mut Document)) -> Vec<String> {
    let old = Configuration::new(document(), &[]).unwrap();
    match Configuration::new(changed(change), old.slots()).unwrap().check_replaces(&old, usage) {
        Ok(()) => Vec::new(),
        Err(Refusal::ConfigurationInUse(obstacles)) => obstacles.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn stored_data_stands_in_the_way_of_some_changes() {
    let old = Configuration::new(document(), &[]).unwrap();
    let usage = Usage {
        any_stock: true,
        dimensions: 3,
        groups: 2,
        measures: vec![slot(&old, "pos.inbound"), slot(&old, "@iv.@allocated")],
    };
    let dimensions =
        "/dimensions must go on starting with siteId, locationId, colorId: stock is kept by them";
    let required = "/requiredDimensions must stay 2: the totals of the stock start there";
    let groups =
        "/allocation/groups must go on starting with channel, customerGroup: balances are kept by them";
    let measure = "/dataSources must go on having pos.inbound: stock is kept in it";

    let everything = |to: &mut Document| {
        *to = Document {
            dimensions: texts(["color"]),
            required_dimensions: 1,
            data_sources: [("iv".to_owned(), source(texts(["onhand"])))].into(),
            ..to.clone()
        };
        to.allocation.groups = texts(["region"]);
    };
    type Change<'a> = &'a dyn Fn(&mut Document);
    let table: [(Change, &[&str]); 19] = [
        (&|to| to.dimensions.truncate(2), &[dimensions]),
        (&|to| to.dimensions.swap(1, 2), &[dimensions]),
        (&|to| to.dimensions.insert(2, "styleId".into()), &[dimensions]),
        (&|to| to.required_dimensions = 1, &[required]),
        (&|to| to.required_dimensions = 3, &[required]),
        (&|to| to.allocation.groups.truncate(1), &[groups]),
        (&|to| to.allocation.groups.swap(0, 1), &[groups]),
        (&|to| to.allocation.groups.insert(0, "company".into()), &[groups]),
        (&|to| to.data_sources.get_mut("pos").unwrap().measures = texts(["outbound"]), &[measure]),
        (&|to| drop(to.data_sources.remove("pos")), &[measure]),
        (&everything, &[dimensions, required, groups, measure]),
        // What is always possible, and what nothing uses.
        (&|to| to.dimensions.push("styleId".into()), &[]),
        (&|to| to.dimensions[3] = "styleId".into(), &[]),
        (&|to| to.allocation.groups.push("customer".into()), &[]),
        (&|to| to.allocation.groups.truncate(2), &[]),
        (&|to| drop(to.data_sources.insert("app".into(), source(texts(["seen"])))), &[]),
        (&|to| to.data_sources.get_mut("pos").unwrap().measures = texts(["INBOUND", "refund"]), &[]),
        (
            &|to| {
                pool(to, "0.5 * pos.outbound - @iv.@allocated");
                calculate(to, "shop.free", "iv.onhand");
                reserve(to, "iv.softreserved", "iv.onhand - iv.softreserved - @iv.@allocated");
            },
            &[],
        ),
        (&|to| (to.dimensions[0] = "SiteID".into(), to.allocation.groups[0] = "Channel".into()).0, &[]),
    ];
    for (change, expected) in table {
        assert_eq!(obstacles(&usage, change), expected);
    }
    assert_eq!(obstacles(&Usage::default(), everything), [""; 0], "nothing stored");
    let stock_only = Usage { any_stock: true, ..Usage::default() };
    assert_eq!(obstacles(&stock_only, everything), [required]);
}
