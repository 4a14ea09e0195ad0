use super::*;
use crate::domain::configuration::{ALLOCATED, SOFT_RESERVED};
use crate::domain::document::{AllocationDocument, DataSourceDocument, Document};

fn configuration() -> Configuration {
    let measures = ["inbound", "outbound"].map(str::to_owned).to_vec();
    let pos = DataSourceDocument { measures, ..DataSourceDocument::default() };
    let calculated =
        [("shop.sellable", "pos.inbound - 0.5 * pos.outbound"), ("POS.net", "pos.inbound - pos.outbound")];
    let document = Document {
        dimensions: vec!["siteId".to_owned()],
        data_sources: [("erp".to_owned(), DataSourceDocument::default()), ("pos".to_owned(), pos)].into(),
        allocation: AllocationDocument {
            groups: vec!["channel".to_owned()],
            available_to_allocate: "pos.inbound - @iv.@allocated".to_owned(),
            ..AllocationDocument::default()
        },
        calculated_measures: calculated.map(|(name, formula)| (name.to_owned(), formula.to_owned())).into(),
        ..Document::default()
    };
    Configuration::new(document, &[]).unwrap()
}

/// Quantities of the slots behind the predefined ones.
fn measures(quantities: &[i64]) -> Measures {
    let predefined = [0; SOFT_RESERVED.0 + 1];
    Measures::new(predefined.iter().chain(quantities).map(|&units| Quantity::units(units)).collect())
}

fn values(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::stored(text)).collect()
}

fn record(product: &str, of: &[&str], quantities: &[i64]) -> Record {
    Record {
        product: Value::stored(product),
        values: values(of),
        sums: measures(quantities),
        schedule: Schedule::default(),
    }
}

/// Nodes with the same product and values make one record, whichever measures each has.
#[test]
fn nodes_are_summed_up_as_they_come() {
    let nodes: [(&str, &[&str], &[i64]); 6] = [
        ("A", &["1"], &[3]),
        ("A", &["1"], &[2, 7]),
        ("A", &["2"], &[1]),
        ("B", &[""], &[4]),
        ("B", &["1"], &[5, -1]),
        ("B", &["1"], &[-8]),
    ];
    let mut records = Records::default();
    let add = |&(product, of, quantities): &(&str, &[&str], &[i64])| {
        records.add(product, values(of), measures(quantities), Schedule::default()).unwrap()
    };
    let mut found: Vec<Record> = nodes.iter().filter_map(add).collect();
    found.extend(records.finish());
    let expected = [
        record("A", &["1"], &[5, 7]),
        record("A", &["2"], &[1]),
        record("B", &[""], &[4]),
        record("B", &["1"], &[-3, -1]),
    ];
    assert_eq!(found, expected);
    assert_eq!(Records::default().finish(), None);
}

/// A record that was answered cannot be added to: nodes out of order must not go unnoticed.
#[test]
fn nodes_come_in_the_order_of_their_records() {
    for (product, of) in [("A", &["2"]), ("B", &["1"])] {
        let mut records = Records::default();
        records.add("B", values(&["2"]), measures(&[1]), Schedule::default()).unwrap();
        assert_eq!(
            records.add(product, values(of), measures(&[1]), Schedule::default()),
            Err(Unsummable::OutOfOrder)
        );
    }
}

/// A formula has room for what is kept of a measure, and for no more.
#[test]
fn a_sum_that_is_too_large_is_none() {
    let most = 1_000_000_000_000_000_000;
    let mut records = Records::default();
    records.add("A", values(&[]), measures(&[most, -most]), Schedule::default()).unwrap();
    records.add("A", values(&[]), measures(&[0, 1]), Schedule::default()).unwrap();
    let too_large = records.add("A", values(&[]), measures(&[1]), Schedule::default());
    assert_eq!(too_large, Err(Unsummable::TooLarge(Slot(SOFT_RESERVED.0 + 1))));
}

#[test]
fn every_configured_measure_is_shown_under_its_data_source() {
    let columns = Columns::new(&configuration());
    let mut sums = measures(&[10, 3]);
    sums.add(ALLOCATED, Quantity::units(4));
    let quantities = columns.quantities(&sums);
    let names = columns.names().flat_map(|(source, names)| names.map(move |name| format!("{source}.{name}")));
    let shown: Vec<String> =
        names.zip(&quantities).map(|(name, quantity)| format!("{name} {quantity}")).collect();
    let expected = [
        "@iv.@allocated 4",
        "@iv.@consumed 0",
        "@iv.@cumulative_allocated 0",
        "@iv.@cumulative_consumed 0",
        "@iv.@softreserved 0",
        "@iv.@available_to_allocate 6",
        "pos.inbound 10",
        "pos.outbound 3",
        "pos.net 7",
        "shop.sellable 8.5",
    ];
    assert_eq!(shown, expected);
    // A node that was never touched by the last measures has fewer quantities.
    assert_eq!(columns.quantities(&Measures::default()), vec![Quantity::ZERO; 10]);
}

#[test]
fn a_record_is_negative_when_anything_of_it_is() {
    let columns = Columns::new(&configuration());
    for (quantities, expected) in [([0, 0], false), ([3, 3], false), ([3, 4], true), ([0, -1], true)] {
        assert_eq!(is_negative(&columns.quantities(&measures(&quantities))), expected, "{quantities:?}");
    }
}
