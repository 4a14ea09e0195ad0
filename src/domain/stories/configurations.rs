//! What a configuration must be.

use super::{document, slot};
use crate::domain::configuration::Configuration;
use crate::domain::document::{DataSourceDocument, Document};
use crate::domain::refusal::Refusal;

pub(super) fn changed(change: impl Fn(&mut Document)) -> Document {
    let mut document = document();
    change(&mut document);
    document
}

/// What is wrong with the document after a change, each as `pointer detail`.
fn faults(change: impl Fn(&mut Document)) -> Vec<String> {
    match Configuration::new(changed(change), &[]) {
        Ok(_) => Vec::new(),
        Err(Refusal::InvalidRequest(faults)) => faults.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

pub(super) fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

pub(super) fn pool(document: &mut Document, formula: &str) {
    document.allocation.available_to_allocate = formula.to_owned();
}

pub(super) fn reserve(document: &mut Document, measure: &str, formula: &str) {
    document.reservation.measures.insert(measure.to_owned(), formula.to_owned());
}

pub(super) fn calculate(document: &mut Document, measure: &str, formula: &str) {
    document.calculated_measures.insert(measure.to_owned(), formula.to_owned());
}

pub(super) fn source(measures: Vec<String>) -> DataSourceDocument {
    DataSourceDocument { measures, ..DataSourceDocument::default() }
}

#[test]
fn every_fault_is_named_with_its_place() {
    type Change = fn(&mut Document);
    let table: [(Change, &[&str]); 17] = [
        (|_| (), &[]),
        (|to| to.dimensions[2] = "SITEID".into(), &["/dimensions/2 gives SITEID twice"]),
        (
            |to| to.dimensions[3] = "@size".into(),
            &["/dimensions/3 starts with @, which marks the service's own names"],
        ),
        (|to| to.required_dimensions = 4, &[]),
        (|to| to.required_dimensions = 5, &["/requiredDimensions is more than there are dimensions"]),
        (|to| to.allocation.groups[2] = "".into(), &["/allocation/groups/2 must not be empty"]),
        (
            |to| to.data_sources.get_mut("iv").unwrap().measures.push("OnHand".into()),
            &["/dataSources/iv/measures/2 gives OnHand twice"],
        ),
        (
            |to| drop(to.data_sources.insert("POS".into(), source(vec![]))),
            &["/dataSources/pos gives pos twice"],
        ),
        (
            |to| drop(to.data_sources.insert("a/b".into(), source(vec![]))),
            &[
                "/dataSources/a~1b has '/'; a name is made of letters, digits and underscores, the first not a digit",
            ],
        ),
        (
            |to| {
                let mappings = &mut to.data_sources.get_mut("pos").unwrap().dimension_mappings;
                mappings.insert("SHOPID".into(), "siteId".into());
                mappings.insert("floor".into(), "level".into());
            },
            &[
                "/dataSources/pos/dimensionMappings/floor names \"level\", which is not a dimension",
                "/dataSources/pos/dimensionMappings/shopId gives shopId twice",
            ],
        ),
        (
            |to| pool(to, "iv.onhand - web.stock - @iv.@allocated"),
            &[
                "/allocation/availableToAllocate names web.stock, which is not a physical measure of a data source",
            ],
        ),
        (
            |to| pool(to, "-1000000.1 * iv.onhand"),
            &[
                "/allocation/availableToAllocate has a coefficient \"1000000.1\" that is beyond the largest coefficient, 10^6",
            ],
        ),
        (|to| pool(to, ""), &["/allocation/availableToAllocate is empty; it needs one measure at least"]),
        (
            |to| {
                reserve(to, "@iv.@consumed", "iv.onhand");
                reserve(to, "IV.SoftReserved", "iv.onhand - iv.softreserved - @iv.@allocated");
                reserve(to, "iv.nosuch", "iv.onhand");
                reserve(to, "iv.onhand", "2 * - iv.onhand");
                reserve(to, "iv.softreserved", "iv.onhand - iv.softreserved - @iv.@allocated");
            },
            &[
                "/reservation/measures/@iv.@consumed is moved by allocations only",
                "/reservation/measures/iv.nosuch names iv.nosuch, which is not a physical measure of a data source",
                "/reservation/measures/iv.onhand \"\" is not of the form dataSource.measure",
                "/reservation/measures/iv.softreserved is given twice",
            ],
        ),
        (
            |to| {
                calculate(to, "@iv.free", "iv.onhand");
                calculate(to, "IV.ONHAND", "iv.onhand");
                calculate(to, "free", "iv.onhand");
                calculate(to, "iv.Free", "iv.onhand");
                calculate(to, "iv.free", "iv.onhand");
                calculate(to, "iv.most", "iv.free");
                calculate(to, "shop.@free", "iv.onhand");
            },
            &[
                "/calculatedMeasures/@iv.free starts with @, which marks the service's own names",
                "/calculatedMeasures/IV.ONHAND is the name of another measure",
                "/calculatedMeasures/free \"free\" is not of the form dataSource.measure",
                "/calculatedMeasures/iv.free is the name of another measure",
                "/calculatedMeasures/iv.most names iv.free, which is not a physical measure of a data source",
                "/calculatedMeasures/shop.@free starts with @, which marks the service's own names",
            ],
        ),
        (
            |to| {
                let more = (0..62).map(|n| (format!("source{n}"), source(vec![])));
                to.data_sources.extend(more);
                to.allocation.groups = (0..9).map(|n| format!("group{n}")).collect();
                to.dimensions = (0..33).map(|n| format!("dimension{n}")).collect();
                to.data_sources.get_mut("pos").unwrap().dimension_mappings.clear();
            },
            &[
                "/dimensions has 33 names, at most 32 are allowed",
                "/allocation/groups has 9 names, at most 8 are allowed",
                "/dataSources has more than 64 data sources",
            ],
        ),
        (
            |to| {
                let measures = (0..247).map(|n| format!("measure{n}")).collect();
                to.data_sources.insert("more".into(), source(measures));
                (0..65).for_each(|n| calculate(to, &format!("shop.free{n}"), "iv.onhand"));
                let terms: Vec<String> = (0..65).map(|n| format!("more.measure{n}")).collect();
                pool(to, &terms.join("+"));
            },
            &[
                "/dataSources brings the measures that there ever were to more than 256",
                "/allocation/availableToAllocate has more than 64 terms",
                "/calculatedMeasures has more than 64 measures",
            ],
        ),
    ];
    for (change, expected) in table {
        assert_eq!(faults(change), expected);
    }
}

#[test]
fn what_is_at_its_limit_is_allowed() {
    let document = changed(|to| {
        to.dimensions.extend((4..32).map(|n| format!("dimension{n}")));
        to.allocation.groups = (0..8).map(|n| format!("group{n}")).collect();
        to.data_sources.extend((3..63).map(|n| (format!("source{n}"), source(vec![]))));
        to.data_sources.insert("more".into(), source((0..245).map(|n| format!("measure{n}")).collect()));
        (0..64).for_each(|n| calculate(to, &format!("shop.free{n}"), "iv.onhand"));
        let terms: Vec<String> = (0..63).map(|n| format!("more.measure{n}")).collect();
        pool(to, &format!("{} - @iv.@allocated", terms.join("+")));
    });
    let configuration = Configuration::new(document, &[]).unwrap();
    assert_eq!(configuration.slots().len(), 256);
    assert_eq!(configuration.calculated().len(), 64);
    assert_eq!(configuration.available_to_allocate().terms().len(), 64);
}

#[test]
fn a_formula_that_leaves_allocated_stock_unprotected_is_refused() {
    let check = |change: &dyn Fn(&mut Document), expected: Option<&str>| {
        let answer = Configuration::new(changed(change), &[]);
        let place = match &answer {
            Ok(_) => None,
            Err(Refusal::UnprotectedFormula(fault)) => Some(fault.to_string()),
            Err(other) => panic!("{other:?}"),
        };
        let same = match (&place, expected) {
            (Some(place), Some(expected)) => place.starts_with(expected),
            (place, expected) => place.is_none() && expected.is_none(),
        };
        assert!(same, "{place:?} instead of {expected:?}");
    };
    let of_pool = Some("/allocation/availableToAllocate must subtract @iv.@allocated once");
    for (formula, expected) in [
        ("iv.onhand - @iv.@allocated", None),
        ("iv.onhand - 0.5 * @iv.@allocated - 0.5 * @iv.@cumulative_allocated", None),
        ("iv.onhand - @iv.@cumulative_allocated + @iv.@cumulative_consumed", None),
        ("iv.onhand", of_pool),
        ("iv.onhand + @iv.@allocated", of_pool),
        ("iv.onhand - 2 * @iv.@allocated", of_pool),
        ("iv.onhand - 0.999999 * @iv.@allocated", of_pool),
        ("iv.onhand - @iv.@allocated - @iv.@cumulative_allocated", of_pool),
    ] {
        check(&|to| pool(to, formula), expected);
        let allow_it = |to: &mut Document| {
            pool(to, formula);
            to.reservation.allow_unprotected = true;
        };
        check(&allow_it, expected);
    }
    let allocated = Some("/reservation/measures/iv.softreserved must subtract @iv.@allocated");
    let itself = Some("/reservation/measures/iv.softreserved must subtract its own measure once");
    for (formula, expected) in [
        ("iv.onhand - iv.softreserved - @iv.@allocated", None),
        ("iv.onhand - iv.softreserved - 2 * @iv.@allocated", None),
        ("iv.onhand - iv.softreserved - @iv.@cumulative_allocated", None),
        ("iv.onhand - iv.softreserved", allocated),
        ("iv.onhand - iv.softreserved - 0.999999 * @iv.@allocated", allocated),
        ("iv.onhand - iv.softreserved + @iv.@allocated", allocated),
        ("iv.onhand - @iv.@allocated", itself),
        ("iv.onhand - 2 * iv.softreserved - @iv.@allocated", itself),
    ] {
        check(&|to| reserve(to, "iv.softreserved", formula), expected);
        let allow_it = |to: &mut Document| {
            reserve(to, "iv.softreserved", formula);
            to.reservation.allow_unprotected = true;
        };
        check(&allow_it, None);
    }
    // Faults come first.
    assert_eq!(faults(|to| (pool(to, "iv.onhand"), to.required_dimensions = 5).0).len(), 1);
}

#[test]
fn names_match_in_any_letter_case_and_are_shown_as_configured() {
    let written = changed(|to| {
        reserve(to, "IV.SOFTRESERVED", "IV.onhand - Iv.SoftReserved - @IV.@Allocated");
        calculate(to, "shop.Free", "pos.inbound");
    });
    let configuration = Configuration::new(written.clone(), &[]).unwrap();
    assert_eq!(configuration.document(), &written);
    let reserved = configuration.measure("iV", "softReserved").unwrap();
    assert_eq!(configuration.measure_name(reserved).to_string(), "iv.softreserved");
    assert!(configuration.available_for_reservation(reserved).is_some());
    assert!(configuration.available_for_reservation(slot(&configuration, "iv.onhand")).is_none());
    assert!(configuration.is_read_only(slot(&configuration, "fno.onhand")));
    assert!(!configuration.is_read_only(reserved));
    assert_eq!(configuration.calculated()[0].0.to_string(), "shop.Free");
    assert_eq!(configuration.measure("shop", "Free"), None);
    assert_eq!(configuration.measure("nosuch", "onhand"), None);
}

#[test]
fn the_dimensions_of_reservations_are_dimensions_and_have_the_required_ones() {
    let of = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        faults(move |to| to.reservation.dimensions = Some(names.clone()))
    };
    assert_eq!(
        of(&["siteId", "width", "SITEID"]),
        [
            "/reservation/dimensions/1 is not a dimension",
            "/reservation/dimensions/2 is given twice",
            "/reservation/dimensions must have locationId, which every reservation must give",
        ]
    );
    let none = changed(|to| {
        to.required_dimensions = 0;
        to.reservation.dimensions = Some(Vec::new());
    });
    let refusal = Configuration::new(none, &[]).unwrap_err().to_string();
    assert!(refusal.starts_with("/reservation/dimensions must have one dimension at least"), "{refusal}");
    let right = changed(|to| to.reservation.dimensions = Some(texts(["locationId", "siteId"]).to_vec()));
    assert!(Configuration::new(right, &[]).is_ok());
}
