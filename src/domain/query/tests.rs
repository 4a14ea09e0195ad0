use super::*;
use crate::domain::document::{AllocationDocument, DataSourceDocument, Document};
use crate::domain::quantity::Quantity;

/// Four dimensions, two of them required; a shop is a location.
fn configuration() -> Configuration {
    let shops = [("shopId".to_owned(), "locationId".to_owned())].into();
    let pos = DataSourceDocument { dimension_mappings: shops, ..DataSourceDocument::default() };
    let document = Document {
        dimensions: ["siteId", "locationId", "colorId", "sizeId"].map(str::to_owned).to_vec(),
        required_dimensions: 2,
        data_sources: [("pos".to_owned(), pos)].into(),
        allocation: AllocationDocument {
            groups: vec!["channel".to_owned()],
            available_to_allocate: "0 * @iv.@consumed - @iv.@allocated".to_owned(),
            ..AllocationDocument::default()
        },
        ..Document::default()
    };
    Configuration::new(document, &[]).unwrap()
}

fn texts(list: &str) -> Vec<Cow<'_, str>> {
    match list {
        "" => Vec::new(),
        list => list.split(' ').map(|text| Cow::from(text.trim_matches('-'))).collect(),
    }
}

/// `siteId=1 2, colorId=red` and `sizeId`; `-` is the empty value.
fn each<'a>(filters: &'a str, group_by: &'a str) -> Question<'a> {
    let filters = filters.split(", ").filter_map(|filter| filter.split_once('='));
    Question {
        dimension_data_source: Some("pos".into()),
        filters: Filters::Each(filters.map(|(name, values)| (name.into(), texts(values))).collect()),
        group_by: texts(group_by),
        places: ("/filters", "/groupByValues"),
    }
}

/// `locationId siteId` and `11 1, 21 2`.
fn exact<'a>(dimensions: &'a str, rows: &'a str) -> Question<'a> {
    let values = rows.split(", ").filter(|row| !row.is_empty()).map(texts).collect();
    Question { filters: Filters::Exact { dimensions: texts(dimensions), values }, ..each("", "") }
}

fn selection(question: &Question<'_>) -> Selection {
    Selection::new(&configuration(), question).unwrap()
}

fn path(text: &str) -> Vec<Value> {
    texts(text).iter().map(|text| Value::stored(text)).collect()
}

fn something() -> Measures {
    Measures::new(vec![Quantity::units(1)])
}

fn shown(path: &[Value]) -> String {
    let values = path.iter().map(|value| if value.as_str().is_empty() { "-" } else { value.as_str() });
    format!("({})", values.collect::<Vec<_>>().join(" "))
}

/// `(1 11)` is that node, and with `+` all below it too.
fn stretches(selection: &Selection) -> String {
    let of_one = |stretch: &Stretch| shown(&stretch.from) + if stretch.from == stretch.to { "" } else { "+" };
    selection.stretches().iter().map(of_one).collect::<Vec<_>>().join(" ")
}

/// Filters, group by; kept dimensions, depth, whether the key's order is that of the records.
#[test]
fn a_record_keeps_what_is_filtered_on_and_grouped_by() {
    let rows: [(&str, &str, &[usize], usize, bool); 9] = [
        ("", "", &[], 2, true),
        ("siteId=1", "", &[0], 2, true),
        ("", "siteId", &[0], 2, true),
        ("SITEID=1, shopId=11", "", &[0, 1], 2, true),
        ("siteId=1, locationId=11", "colorId", &[0, 1, 2], 3, true),
        ("siteId=1, locationId=11", "sizeId COLORID colorId siteId", &[0, 1, 2, 3], 4, true),
        ("siteId=1, locationId=11", "sizeId", &[0, 1, 3], 4, false),
        ("colorId=red", "", &[2], 3, false),
        ("colorId=", "siteId", &[0], 2, true),
    ];
    for (filters, group_by, kept, depth, in_order) in rows {
        let selection = selection(&each(filters, group_by));
        let found = (selection.kept(), selection.depth(), selection.is_in_order());
        assert_eq!(found, (kept, depth, in_order), "{filters} by {group_by}");
    }
}

/// Only as much of a product is read as the filters on the first dimensions leave.
#[test]
fn filters_on_the_first_dimensions_say_where_to_look() {
    let rows = [
        ("", "", "()+", 0),
        ("siteId=1 2", "", "(1)+ (2)+", 0),
        ("siteId=2 1, locationId=11 12", "", "(1 11) (1 12) (2 11) (2 12)", 0),
        ("siteId=1, locationId=11", "colorId", "(1 11)+", 0),
        ("siteId=1, locationId=11, colorId=red", "", "(1 11 red)", 0),
        ("siteId=1, colorId=red", "", "(1)+", 1),
        ("colorId=red, sizeId=L", "", "()+", 2),
        // No colour is also where a path ends before it.
        ("siteId=1, locationId=11, colorId=- red", "", "(1 11) (1 11 -) (1 11 red)", 0),
        ("siteId=1, locationId=-, colorId=-", "", "(1) (1 -) (1 - -)", 0),
        ("siteId=-", "", "() (-)+", 0),
    ];
    for (filters, group_by, expected, further) in rows {
        let selection = selection(&each(filters, group_by));
        assert_eq!(stretches(&selection), expected, "{filters} by {group_by}");
        assert_eq!(selection.further_filters().count(), further, "{filters} by {group_by}");
    }
}

#[test]
fn what_is_below_a_path_lies_within_its_stretch_and_nothing_else_does() {
    let selection = selection(&each("siteId=1, locationId=11", "colorId"));
    let [Stretch { from, to }] = selection.stretches() else { panic!("{:?}", selection.stretches()) };
    for below in ["1 11", "1 11 -", "1 11 red", "1 11 \u{10FFFF}"] {
        assert!(*from <= path(below) && path(below) <= *to, "{below}");
    }
    for other in ["1", "1 10 red", "1 1", "1 11!", "1 110", "1 12", "11 1", "2 11"] {
        assert!(path(other) < *from || path(other) > *to, "{other}");
    }
    let all = Selection::new(&configuration(), &each("", "colorId")).unwrap();
    let longest = vec![Value::parse(&"\u{10FFFF}".repeat(128)).unwrap()];
    assert!(longest < all.stretches()[0].to);
}

/// Very many combinations are not looked up one by one.
#[test]
fn there_are_never_too_many_stretches() {
    let values = (0..40).map(|value| value.to_string()).collect::<Vec<_>>().join(" ");
    let filters = format!("siteId={values}, locationId={values}, colorId={values}");
    let selection = selection(&each(&filters, ""));
    assert_eq!((selection.stretches().len(), selection.further_filters().count()), (40, 2));
    assert!(
        selection.wants(&path("39 0 7"), &something(), &Schedule::default())
            && !selection.wants(&path("39 0 40"), &something(), &Schedule::default())
    );
}

#[test]
fn nodes_that_agree_with_every_filter_are_wanted() {
    let rows = [
        ("siteId=1", "(1 11) (1 12) (1)", "(2 11) (1 11 red) ()"),
        ("colorId=red -", "(1 11 red) (1 11 -) (1 11) () (2 21 red)", "(1 11 blue) (1 11 red S)"),
        ("siteId=1, sizeId=-", "(1 11 red -) (1 11 red) (1)", "(1 11 red S)"),
    ];
    for (filters, wanted, others) in rows {
        let selection = selection(&each(filters, ""));
        for (list, expected) in [(wanted, true), (others, false)] {
            for text in list.split(") (").map(|text| text.trim_matches(['(', ')'])) {
                assert_eq!(
                    selection.wants(&path(text), &something(), &Schedule::default()),
                    expected,
                    "{filters}: {text}"
                );
            }
        }
    }
}

/// A node at the depth is a place that stock was at, also when it is gone; one above with nothing
/// of its own is only on the way to others.
#[test]
fn a_node_on_the_way_to_others_is_not_wanted() {
    let (selection, nothing) = (selection(&each("", "colorId")), Measures::new(vec![Quantity::ZERO; 7]));
    for (text, expected) in [("", false), ("1", false), ("1 11", false), ("1 11 red", true), ("1 11 -", true)]
    {
        assert_eq!(selection.wants(&path(text), &nothing, &Schedule::default()), expected, "{text}");
        assert!(selection.wants(&path(text), &something(), &Schedule::default()), "{text}");
    }
}

/// Site 1 has location 11 and site 2 has 21: no more than these are asked for.
#[test]
fn an_exact_query_asks_for_combinations() {
    let exactly = selection(&exact("shopId siteId", "11 1, 21 2"));
    assert_eq!((stretches(&exactly), exactly.kept()), ("(1 11) (2 21)".to_owned(), &[0, 1][..]));
    let exactly = selection(&exact("colorId siteId", "red 1, blue 2, blue 1"));
    assert_eq!((stretches(&exactly), exactly.kept()), ("(1)+ (2)+".to_owned(), &[0, 2][..]));
    for (text, expected) in
        [("1 11 red", true), ("1 11 blue", true), ("2 11 blue", true), ("2 11 red", false)]
    {
        assert_eq!(exactly.wants(&path(text), &something(), &Schedule::default()), expected, "{text}");
    }
    let none = selection(&exact("", ""));
    assert_eq!(
        (stretches(&none), none.wants(&path("1 11"), &something(), &Schedule::default())),
        ("()+".to_owned(), true)
    );
}

#[test]
fn a_record_has_a_value_for_every_kept_dimension() {
    let selection = selection(&each("siteId=1", "colorId"));
    for (text, values) in [("1 11 red", "(1 red)"), ("1 11", "(1 -)"), ("1 11 -", "(1 -)"), ("1", "(1 -)")] {
        assert_eq!(shown(&selection.values(&path(text))), values, "{text}");
    }
}

#[test]
fn a_wrong_query_is_told_its_place() {
    let many = vec!["1"; VALUES_MAX + 1].join(" ");
    let (too_many, control) = (format!("siteId={many}"), "siteId=1 a\u{1}");
    let rows = [
        (each("width=1", ""), "/filters/width"),
        (each("siteId=1", "siteId width"), "/groupByValues/1"),
        (each("locationId=1, shopId=1", ""), "/filters/shopId"),
        (each(control, ""), "/filters/siteId/1"),
        (each(&too_many, ""), "/filters/siteId"),
        (Question { dimension_data_source: None, ..each("shopId=1", "") }, "/filters/shopId"),
        (Question { dimension_data_source: Some("erp".into()), ..each("", "") }, "/dimensionDataSource"),
        (exact("siteId width", "1 1"), "/filters/dimensions/1"),
        (exact("locationId shopId", "1 1"), "/filters/dimensions/1"),
        (exact("siteId", "1, 1 2"), "/filters/values/1"),
        (exact("siteId locationId", "1 1, 2 a\u{1}"), "/filters/values/1/1"),
        (exact("siteId", ""), "/filters/values"),
        (exact("", "1"), "/filters/values/0"),
    ];
    for (question, place) in rows {
        let found = match Selection::new(&configuration(), &question) {
            Err(Refusal::UnknownDimension { pointer, .. }) => pointer,
            Err(Refusal::InvalidRequest(faults)) => faults[0].pointer.clone(),
            other => panic!("{place}: {other:?}"),
        };
        assert_eq!(found, place);
    }
}
