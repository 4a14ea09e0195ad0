//! Quantities: exact numbers in and out, whatever their spelling; nothing else is one.

use serde_json::{Value, json};

use super::requests::{allocation, changed, event, pointers, red, stock, without};
use super::support::{Answer, Service, bicycles};

/// A body with a number's text in the place of the word NUMBER.
fn with_number(body: Value, number: &str) -> String {
    body.to_string().replace("\"NUMBER\"", number)
}

/// A member's text, as it is in the body: no reader may round it.
fn raw(answer: &Answer, member: &str) -> String {
    let (_, rest) = answer.text.split_once(&format!("\"{member}\":")).unwrap();
    rest.split([',', '}']).next().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_no_quantity_is_refused_with_its_place() {
    let service = Service::with_stock(10).await;
    let before = service.books().await;
    let never = [
        "\"ten\"",
        "\"\"",
        "\" 1\"",
        "\"1 \"",
        "\"+1\"",
        "\"0x10\"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"-\"",
        "\"1,5\"",
        "\"1.\"",
        "\".5\"",
        "\"1_000\"",
        "\"１\"",
        "\"1e\"",
        "\"1/2\"",
        "1e400",
        "-1e400",
        "1e-400",
        "0.0000001",
        "\"1.0000001\"",
        "1000000000000000.000001",
        "1000000000000001",
        "-1e16",
        "\"1e99999999999999999999\"",
        "1e-99999999999999999999",
        "123456789012345678901234567890123456789012345678901234567890",
    ];
    let not_above_zero = ["0", "-0", "0.0", "0e400", "\"0\"", "-1", "\"-0.000001\"", "-1e-6"];
    for number in never.into_iter().chain(not_above_zero) {
        for path in ["allocation/allocate", "allocation/unallocate"] {
            let body = with_number(allocation("x", "Online", "NUMBER"), number);
            let problem = super::requests::problem(&service.post_text(path, body).await, "invalid-quantity");
            assert_eq!(pointers(&problem), ["/quantity"], "{number}");
            assert_eq!(problem["id"], "x");
        }
    }
    for number in never {
        let body = with_number(stock("x", "NUMBER"), number);
        let problem = super::requests::problem(&service.post_text("onhand", body).await, "invalid-quantity");
        assert_eq!(pointers(&problem), ["/quantities/pos/inbound"], "{number}");
    }
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn a_number_is_the_same_however_it_is_written() {
    let service = Service::with_stock(0).await;
    let spellings =
        ["10", "\"10\"", "10.0", "\"10.000000000\"", "1e1", "1E+1", "100e-1", "\"0010\"", "0.1e2"];
    for (index, number) in spellings.iter().enumerate() {
        let answer =
            service.post_text("onhand", with_number(stock(&index.to_string(), "NUMBER"), number)).await;
        assert_eq!(raw(&answer, "availableToAllocate"), format!("{}", (index + 1) * 10), "{number}");
    }
    service.stop().await;
}

#[tokio::test]
async fn sums_are_exact_to_the_last_digit() {
    let service = Service::with_stock(0).await;
    let steps = [
        ("0.1", "0.1"),
        ("\"0.2\"", "0.3"),
        ("-0.3", "0"),
        ("999999999999999.999999", "999999999999999.999999"),
        ("0.000001", "1000000000000000"),
        ("1000000000000000", "2000000000000000"),
        ("\"0.000001\"", "2000000000000000.000001"),
        ("-2e15", "invalid"),
        ("-1e15", "1000000000000000.000001"),
        ("-1000000000000000.0", "0.000001"),
        ("-0.000002", "-0.000001"),
        ("123456789012345", "123456789012344.999999"),
    ];
    for (index, (number, available)) in steps.iter().enumerate() {
        let body = with_number(stock(&index.to_string(), "NUMBER"), number);
        let answer = service.post_text("onhand", body).await;
        if *available == "invalid" {
            super::requests::problem(&answer, "invalid-quantity");
        } else {
            assert_eq!(raw(&answer, "availableToAllocate"), *available, "{number}: {}", answer.text);
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn balances_are_answered_and_found_exactly() {
    let service = Service::with_stock(0).await;
    service.post_text("onhand", with_number(stock("in", "NUMBER"), "999999999999999.999999")).await;
    for (id, number) in [("a", "0.1"), ("b", "0.2"), ("c", "999999999999999.699998")] {
        let answer = service
            .post_text("allocation/allocate", with_number(allocation(id, "Web", "NUMBER"), number))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        if id == "c" {
            assert_eq!(raw(&answer, "allocated"), "999999999999999.999998");
            assert_eq!(raw(&answer, "cumulativeAllocated"), "999999999999999.999998");
            assert_eq!(raw(&answer, "availableToAllocate"), "0.000001");
        }
    }
    let answer = service.post("allocation/query", without(event("", json!({})), "id")).await;
    assert_eq!(raw(&answer, "@allocated"), "999999999999999.999998");
    let answer = service
        .post_text("allocation/allocate", with_number(allocation("d", "Web", "NUMBER"), "0.000002"))
        .await;
    assert_eq!(raw(&answer, "requested"), "0.000002");
    assert_eq!(raw(&answer, "available"), "0.000001");
    assert_eq!(answer.json()["detail"].as_str().unwrap().split(',').next().unwrap(), "0.000002 asked for");
    service.stop().await;
}

#[tokio::test]
async fn a_formula_s_coefficient_keeps_every_digit() {
    let service = Service::start().await;
    let mut document = bicycles();
    document["allocation"]["availableToAllocate"] =
        json!("0.333333 * pos.inbound - 0.5 * pos.outbound - @iv.@allocated");
    assert_eq!(service.configure(document).await.status, 200);
    let outbound = changed(stock("o", 0), json!({"quantities": {"pos": {"outbound": "0.000001"}}}));
    let answer = service.post("onhand", outbound).await;
    assert_eq!(raw(&answer, "availableToAllocate"), "-0.0000005");
    let answer = service.post("onhand", stock("i", "0.000001")).await;
    assert_eq!(raw(&answer, "availableToAllocate"), "-0.000000166667");
    service.stop().await;
}

#[tokio::test]
async fn a_sum_that_cannot_be_kept_is_an_error_and_never_a_wrap() {
    let service = Service::with_stock(0).await;
    let most = 1_000_000_000_000_000_i64;
    let lines: Vec<Value> = (0..1000).map(|line| stock(&format!("line-{line}"), most)).collect();
    let answer = service.post("onhand/bulk", json!(lines)).await;
    assert_eq!(answer.status, 200);
    let last = service
        .grant("onhand", changed(stock("at-another-place", 0), json!({"dimensions": {"siteId": "2"}})))
        .await;
    assert_eq!(last["availableToAllocate"], json!(0));
    let before = service.books().await;
    service.refuse("onhand", stock("too-much", "0.000001"), "invalid-quantity").await;
    // The total above is full too, though nothing is at this size.
    let deeper = json!({"dimensions": changed(red(), json!({"sizeId": "L"}))});
    service.refuse("onhand", changed(stock("too-much", 1), deeper), "invalid-quantity").await;
    assert_eq!(service.books().await, before);
    let fewer = service.grant("onhand", stock("less", -most)).await;
    assert_eq!(fewer["availableToAllocate"], json!(999 * most));
    service.stop().await;
}
