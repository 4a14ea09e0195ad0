use super::*;
use crate::domain::document::Document;

fn configuration() -> Configuration {
    let document: Document = serde_json::from_str(
        r#"{"dimensions": ["siteId", "locationId", "colorId"], "requiredDimensions": 2,
            "dataSources": {"pos": {"measures": ["inbound"]}},
            "allocation": {"groups": ["channel", "tier"], "availableToAllocate": "pos.inbound - @iv.@allocated"}}"#,
    )
    .unwrap();
    Configuration::new(document, &[]).unwrap()
}

fn read(document: &str) -> Result<Watch, Refusal> {
    Watch::new(&configuration(), &serde_json::from_str(document).unwrap())
}

fn rule(rule: &str) -> Rule {
    read(&format!(r#"{{"rule": {rule}}}"#)).unwrap().rule
}

fn whole(units: i64) -> Quantity {
    Quantity::units(units)
}

fn balance(allocated: i64, of: i64) -> Balance {
    Balance { allocated: whole(allocated), cumulative_allocated: whole(of), ..Balance::default() }
}

fn subject(path: &str, groups: Option<&str>) -> Subject {
    let values = |text: &str| text.split('/').map(Value::stored).collect::<Vec<_>>();
    Subject {
        organization: Value::stored("usmf"),
        product: Value::stored("Bike"),
        path: DimensionPath::new(values(path)),
        groups: groups.map(|text| GroupPath::stored(values(text))),
    }
}

/// Judges facts one after the other, as they come, and tells what opened and what closed.
fn course(rule: Rule, facts: &[Facts]) -> String {
    let mut is_open = false;
    facts
        .iter()
        .map(|facts| match rule.judge(facts, is_open) {
            Verdict::Open(_) => {
                assert!(!std::mem::replace(&mut is_open, true), "opens twice");
                'O'
            }
            Verdict::Close(_) => {
                assert!(std::mem::replace(&mut is_open, false), "closes what is not open");
                'C'
            }
            Verdict::Nothing => '.',
        })
        .collect()
}

fn of_balances(left: &[i64]) -> Vec<Facts> {
    left.iter().map(|&left| Facts::Balance(balance(left, 100), None)).collect()
}

#[test]
fn a_balance_opens_at_its_bound_and_closes_above_the_other() {
    let with_gap = rule(r#"{"balanceAtOrBelow": 10, "clearAbove": 15}"#);
    assert_eq!(course(with_gap, &of_balances(&[100, 11, 10, 9, 10, 11, 15, 16, 11, 10])), "..O....C.O");
    let without = rule(r#"{"balanceAtOrBelow": 10}"#);
    assert_eq!(course(without, &of_balances(&[11, 10, 11, 10, 0])), ".OCO.");
    assert_eq!(course(without, &[Facts::Balance(balance(3, 5), None), Facts::Gone, Facts::Gone]), "OC.");
}

#[test]
fn a_percentage_is_of_what_was_allocated() {
    let tenth = rule(r#"{"percentLeftAtOrBelow": 10, "clearAbove": 20.5}"#);
    let of = |left, of| Facts::Balance(balance(left, of), None);
    assert_eq!(
        course(tenth, &[of(11, 100), of(10, 100), of(20, 100), of(205, 1000), of(206, 1000)]),
        ".O..C"
    );
    assert_eq!(course(tenth, &[of(0, 0), of(1, 1000), of(0, 0)]), ".OC", "of nothing there is no part");
    let Verdict::Open(finding) = tenth.judge(&of(1, 30), false) else { panic!("it is below") };
    assert_eq!(finding.value.unwrap().to_string(), "3.333333");
    assert_eq!(finding.detail, "3.333333 % left, 1 of 30; watched for 10 or less");
}

#[test]
fn exhaustion_goes_by_the_rate_of_the_window() {
    let soon = rule(r#"{"exhaustedWithinSeconds": 3600, "clearAbove": 7200, "windowSeconds": 600}"#);
    // Consumed within 10 minutes, and what is left.
    let at = |consumed, left| {
        let activity = Activity { consumed: whole(consumed), seconds: 600, ..Activity::default() };
        Facts::Balance(balance(left, 1000), Some(activity))
    };
    assert_eq!(course(soon, &[at(10, 61), at(10, 60), at(10, 120), at(10, 121)]), ".O.C");
    assert_eq!(course(soon, &[at(0, 5), at(1, 5), at(0, 5)]), ".OC", "without consumption it lasts for ever");
    assert_eq!(
        course(soon, &[at(5, 0), at(0, 0), at(0, 9)]),
        "O.C",
        "what ran dry stays so until it is filled"
    );
    assert_eq!(course(soon, &of_balances(&[0])), ".", "what is not known is not judged");
    assert_eq!(rule(r#"{"exhaustedWithinSeconds": 60}"#).window(), Some(3600));
}

#[test]
fn what_holds_something_and_is_not_consumed_is_idle() {
    let idle = rule(r#"{"idleForSeconds": 3600}"#);
    let at = |left, consumed, taken_in| {
        let activity =
            Activity { consumed: whole(consumed), taken_in: whole(taken_in), ..Activity::default() };
        Facts::Balance(balance(left, 100), Some(activity))
    };
    assert_eq!(course(idle, &[at(0, 0, 0), at(5, 1, 0), at(5, 0, 5), at(5, 0, 0)]), "...O");
    assert_eq!(course(idle, &[at(5, 0, 0), at(9, 0, 4), at(8, 1, 0)]), "O.C", "more of it is no use of it");
    assert_eq!(course(idle, &[at(5, 0, 0), at(0, 0, 0)]), "OC");
}

#[test]
fn demand_is_unmet_above_a_quantity() {
    let unmet = rule(r#"{"unmetAbove": 5, "withinSeconds": 3600}"#);
    let at = |unmet| {
        let activity = Activity { unmet: whole(unmet), ..Activity::default() };
        Facts::Balance(Balance::default(), Some(activity))
    };
    assert_eq!(course(unmet, &[at(0), at(5), at(6), at(7), at(5), at(0)]), "..O.C.");
    let with_gap = rule(r#"{"unmetAbove": 5, "clearAtOrBelow": 2, "withinSeconds": 3600}"#);
    assert_eq!(
        course(with_gap, &[at(3), at(5), at(6), at(5), at(3), at(2), at(3), at(5), at(6)]),
        "..O..C..O"
    );
    let to_none = rule(r#"{"unmetAbove": 5, "clearAtOrBelow": 0, "withinSeconds": 60}"#);
    assert_eq!(course(to_none, &[at(6), at(1), at(0)]), "O.C");
    assert_eq!(with_gap.threshold(), whole(5));
}

#[test]
fn a_node_is_over_allocated_below_nothing() {
    let over = rule(r#"{"overAllocated": true}"#);
    let at = |units| Facts::Available(whole(units));
    assert_eq!(course(over, &[at(1), at(0), at(-1), at(-5), at(0), Facts::Gone]), "..O.C.");
    let with_gap = rule(r#"{"overAllocated": true, "clearAtOrAbove": 10}"#);
    assert_eq!(course(with_gap, &[at(9), at(0), at(-1), at(0), at(9), at(10), at(0), at(-1)]), "..O..C.O");
    assert_eq!(course(with_gap, &[at(-1), at(5), Facts::Gone]), "O.C");
}

#[test]
fn only_what_a_watch_is_about_is_judged() {
    let is_about = |document: &str, path: &str, groups: Option<&str>| {
        read(document).unwrap().is_about(&subject(path, groups))
    };
    let low = r#""rule": {"balanceAtOrBelow": 1}"#;
    for (scope, path, groups, expected) in [
        ("", "1/11", "Web", true),
        (r#""organizationId": "usmf", "productId": "Bike","#, "1/11", "Web", true),
        (r#""organizationId": "other","#, "1/11", "Web", false),
        (r#""productId": "Helmet","#, "1/11", "Web", false),
        (r#""groups": {"channel": "Web"},"#, "1/11", "Web", true),
        (r#""groups": {"channel": "Web"},"#, "1/11", "Web/VIP", true),
        (r#""groups": {"channel": "Web", "tier": "VIP"},"#, "1/11", "Web", false),
        (r#""groups": {"channel": "Shop"},"#, "1/11", "Web", false),
        (r#""dimensions": {"siteId": "1"},"#, "1/11/red", "Web", true),
        (r#""dimensions": {"LOCATIONID": "11"},"#, "1/11", "Web", true),
        (r#""dimensions": {"LOCATIONID": "11"},"#, "1/12", "Web", false),
        (r#""dimensions": {"colorId": "red"},"#, "2/11/red", "Web", true),
        (r#""dimensions": {"colorId": ""},"#, "1/11/red", "Web", false),
        (r#""dimensions": {"colorId": ""},"#, "1/11", "Web", true),
    ] {
        let found = is_about(&format!("{{{scope} {low}}}"), path, Some(groups));
        assert_eq!(found, expected, "{scope} {path} {groups}");
    }
    assert!(!is_about(&format!("{{{low}}}"), "1/11", None), "a rule of balances is not about nodes");
    let over = r#"{"rule": {"overAllocated": true}}"#;
    assert!(is_about(over, "1/11", None) && !is_about(over, "1/11", Some("Web")));
    let changed = read(&format!(r#"{{"productId": "Helmet", {low}}}"#)).unwrap();
    let facts = Facts::Balance(balance(0, 1), None);
    assert!(matches!(changed.judge(&subject("1/11", Some("Web")), &facts, true), Verdict::Close(_)));
    assert_eq!(changed.judge(&subject("1/11", Some("Web")), &facts, false), Verdict::Nothing);
}

#[test]
fn a_rule_is_one_rule_with_what_belongs_to_it() {
    for (rule, place) in [
        ("{}", "/rule"),
        (r#"{"balanceAtOrBelow": 1, "overAllocated": true}"#, "/rule"),
        (r#"{"balanceAtOrBelow": -1}"#, "/rule/balanceAtOrBelow"),
        (r#"{"balanceAtOrBelow": 10, "clearAbove": 9}"#, "/rule/clearAbove"),
        (r#"{"balanceAtOrBelow": 10, "windowSeconds": 60}"#, "/rule/windowSeconds"),
        (r#"{"percentLeftAtOrBelow": 101}"#, "/rule/percentLeftAtOrBelow"),
        (r#"{"exhaustedWithinSeconds": 0}"#, "/rule/exhaustedWithinSeconds"),
        (r#"{"exhaustedWithinSeconds": 60, "windowSeconds": 59}"#, "/rule/windowSeconds"),
        (r#"{"overAllocated": false}"#, "/rule/overAllocated"),
        (r#"{"overAllocated": true, "clearAbove": 1}"#, "/rule/clearAbove"),
        (r#"{"overAllocated": true, "clearAtOrAbove": -1}"#, "/rule/clearAtOrAbove"),
        (r#"{"overAllocated": true, "clearAtOrBelow": 1}"#, "/rule/clearAtOrBelow"),
        (r#"{"balanceAtOrBelow": 1, "clearAtOrAbove": 2}"#, "/rule/clearAtOrAbove"),
        (r#"{"idleForSeconds": 60, "clearAtOrAbove": 2}"#, "/rule/clearAtOrAbove"),
        (r#"{"idleForSeconds": 59}"#, "/rule/idleForSeconds"),
        (r#"{"idleForSeconds": 2592001}"#, "/rule/idleForSeconds"),
        (r#"{"unmetAbove": 1}"#, "/rule/withinSeconds"),
        (r#"{"unmetAbove": -1, "withinSeconds": 60}"#, "/rule/unmetAbove"),
        (r#"{"unmetAbove": 5, "clearAtOrBelow": 6, "withinSeconds": 60}"#, "/rule/clearAtOrBelow"),
        (r#"{"unmetAbove": 5, "clearAtOrBelow": -1, "withinSeconds": 60}"#, "/rule/clearAtOrBelow"),
        (r#"{"unmetAbove": 5, "clearAbove": 6, "withinSeconds": 60}"#, "/rule/clearAbove"),
    ] {
        match read(&format!(r#"{{"rule": {rule}}}"#)) {
            Err(Refusal::InvalidRequest(faults)) => assert_eq!(faults[0].pointer, place, "{rule}"),
            other => panic!("{rule}: {other:?}"),
        }
    }
    let nodes = r#"{"groups": {"channel": "Web"}, "rule": {"overAllocated": true}}"#;
    assert!(matches!(read(nodes), Err(Refusal::InvalidRequest(faults)) if faults[0].pointer == "/groups"));
    let unknown = r#"{"groups": {"shop": "Web"}, "rule": {"balanceAtOrBelow": 1}}"#;
    assert!(matches!(read(unknown), Err(Refusal::UnknownGroup { .. })));
}

#[test]
fn a_name_is_a_word_of_a_path_in_any_letter_case() {
    assert_eq!(Label::parse("Low-Stock_2.a").unwrap().as_str(), "low-stock_2.a");
    for text in ["", "-a", "a/b", "a b", "ü", "a%2f", &"a".repeat(65)] {
        assert!(Label::parse(text).is_err(), "{text:?}");
    }
}
