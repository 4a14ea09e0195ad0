//! Queries of on-hand stock, held against sums that the test makes itself of what was posted.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Map, Value, json};
use sqlx::{Connection, Executor, PgConnection};

use super::requests::{JSON, changed};
use super::support::{Answer, Service, bicycles};

pub const DIMENSIONS: [&str; 4] = ["siteId", "locationId", "colorId", "sizeId"];

/// What was posted of a product at a place, where `-` is a dimension left out in the middle:
/// ordered, received, sold, allocated.
type Posting = (&'static str, &'static str, [i64; 4]);

const POSTINGS: [Posting; 16] = [
    ("Bike", "1/11/red/S", [0, 6, 1, 2]),
    ("Bike", "1/11/red/L", [7, 4, 0, 0]),
    ("Bike", "1/11/red", [0, 3, 0, 5]),
    ("Bike", "1/11/blue/S", [0, 1, 0, 0]),
    ("Bike", "1/11", [20, 0, 2, 1]),
    ("Bike", "1/12/red/S", [0, 9, 9, 0]),
    ("Bike", "1/110/red", [0, 2, 0, 0]),
    ("Bike", "1", [100, 0, 0, 0]),
    ("Bike", "2/21/Red/L", [0, 5, 0, 3]),
    ("Bike", "", [1000, 0, 0, 0]),
    ("Helmet", "1/11/-/S", [0, 8, 0, 2]),
    ("Helmet", "1/11/-/L", [0, -3, 0, 0]),
    ("Helmet", "2/21/-/S", [0, 4, 5, 0]),
    ("Lamp", "2/22", [0, 1, 0, 0]),
    ("bike", "1/11/red", [0, 77, 0, 0]),
    ("Ünicorn", "2/21/red", [0, 0, 0, 0]),
];

fn values(place: &str) -> [&str; 4] {
    let mut parts = place.split('/').map(|part| part.trim_matches('-'));
    [(); 4].map(|()| parts.next().unwrap_or_default())
}

fn dimensions(place: &str) -> Value {
    let given = DIMENSIONS.iter().zip(place.split('/')).filter(|(_, value)| !["", "-"].contains(value));
    given.map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// A service on which everything was posted, and more for others.
pub async fn service() -> Service {
    let service = Service::start().await;
    for environment in ["test", "other"] {
        let path = format!("/api/environment/{environment}/configuration");
        let answer = service.send(Method::PUT, &path, &[JSON], bicycles().to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for (index, (product, place, [ordered, received, sold, allocated])) in POSTINGS.into_iter().enumerate() {
        let event = |id: &str| {
            json!({"id": format!("{id} {index}"), "organizationId": "usmf", "productId": product,
                   "dimensions": dimensions(place)})
        };
        let quantities =
            json!({"fno": {"onordered": ordered}, "pos": {"inbound": received, "outbound": sold}});
        let posted = changed(event("in"), json!({"quantities": quantities}));
        service.grant("onhand", posted.clone()).await;
        // For another owner and in another environment there is the same, in other quantities.
        let others = json!({"quantities": {"pos": {"inbound": 1_000_000}}});
        let others = changed(posted, others);
        service
            .grant(
                "onhand",
                changed(others.clone(), json!({"id": format!("x {index}"), "organizationId": "demf"})),
            )
            .await;
        let path = "/api/environment/other/onhand";
        assert_eq!(service.send(Method::POST, path, &[JSON], others.to_string()).await.status, 200);
        if allocated > 0 {
            let groups = json!({"groups": {"channel": "Online"}, "quantity": allocated});
            service.grant("allocation/allocate", changed(event("for"), groups)).await;
        }
    }
    service
}

/// The answer that what was posted adds up to: `filters` are lists of values by dimension.
pub fn expected(products: &[&str], filters: &Value, group_by: &[&str], return_negative: bool) -> Value {
    let filter = |dimension: &str| filters[dimension].as_array().filter(|values| !values.is_empty());
    let kept: Vec<usize> =
        (0..4).filter(|&at| filter(DIMENSIONS[at]).is_some() || group_by.contains(&DIMENSIONS[at])).collect();
    sums(products, &kept, return_negative, |values| {
        (0..4).all(|at| filter(DIMENSIONS[at]).is_none_or(|wanted| wanted.contains(&json!(values[at]))))
    })
}

fn sums(
    products: &[&str],
    kept: &[usize],
    return_negative: bool,
    wanted: impl Fn([&str; 4]) -> bool,
) -> Value {
    let mut sums: BTreeMap<(&str, Vec<&str>), [i64; 4]> = BTreeMap::new();
    let depth = kept.last().map_or(2, |&deepest| 2.max(deepest + 1));
    for (product, place, quantities) in POSTINGS {
        // Nothing, above what is asked for, is at no place in particular.
        if quantities == [0; 4] && place.split('/').count() < depth {
            continue;
        }
        let values = values(place);
        if wanted(values) && (products.is_empty() || products.contains(&product)) {
            let sum = sums.entry((product, kept.iter().map(|&at| values[at]).collect())).or_default();
            (0..4).for_each(|at| sum[at] += quantities[at]);
        }
    }
    let is_shown = |[ordered, received, sold, allocated]: [i64; 4]| {
        let all = [ordered, received, sold, received - sold, ordered + received - allocated];
        return_negative || all.iter().all(|&quantity| quantity >= 0)
    };
    let shown = sums.into_iter().filter(|&(_, quantities)| is_shown(quantities));
    shown.map(|((product, values), quantities)| record(product, kept, &values, quantities)).collect()
}

fn record(
    product: &str,
    kept: &[usize],
    values: &[&str],
    [ordered, received, sold, allocated]: [i64; 4],
) -> Value {
    let dimensions: Map<String, Value> =
        kept.iter().zip(values).map(|(&at, value)| (DIMENSIONS[at].to_owned(), json!(value))).collect();
    json!({
        "organizationId": "usmf", "productId": product, "dimensions": dimensions,
        "quantities": {
            "@iv": {
                "@allocated": allocated, "@consumed": 0, "@cumulative_allocated": allocated,
                "@cumulative_consumed": 0, "@softreserved": 0,
                "@available_to_allocate": ordered + received - allocated,
            },
            "fno": {"onordered": ordered},
            "pos": {"inbound": received, "outbound": sold},
            "shop": {"sellable": received - sold},
        }
    })
}

/// A query's body.
pub fn query(products: &[&str], filters: &Value, group_by: &[&str]) -> Value {
    let owner = json!({"organizationId": ["usmf"], "productId": products});
    json!({"filters": changed(owner, filters.clone()), "groupByValues": group_by, "returnNegative": true})
}

pub fn records(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Filters of every kind: none, the first dimensions, others, several values, the empty one.
fn filters() -> Vec<Value> {
    vec![
        json!({}),
        json!({"siteId": ["1"]}),
        json!({"siteId": ["1"], "locationId": ["11"]}),
        json!({"siteId": ["2", "1"], "locationId": ["21", "11", "nowhere"]}),
        json!({"siteId": ["1"], "locationId": ["11", "110"], "colorId": ["red"]}),
        json!({"siteId": ["1", "2"], "locationId": ["11", "21"], "colorId": ["", "red"]}),
        json!({"siteId": ["1"], "locationId": ["11"], "colorId": ["red"], "sizeId": ["S", ""]}),
        json!({"siteId": ["1", ""], "locationId": [""]}),
        json!({"colorId": ["red"]}),
        json!({"colorId": ["Red", "blue"], "sizeId": ["L", "S"]}),
        json!({"siteId": ["1"], "sizeId": ["S"]}),
        json!({"locationId": [], "colorId": []}),
        json!({"siteId": ["nowhere"]}),
    ]
}

#[tokio::test]
async fn every_answer_is_the_sum_of_what_was_posted() {
    let service = service().await;
    let mut answers = 0;
    for filters in filters() {
        for chosen in 0..16 {
            let group_by: Vec<&str> =
                (0..4).filter(|at| chosen >> at & 1 == 1).map(|at| DIMENSIONS[at]).collect();
            for return_negative in [true, false] {
                let body =
                    changed(query(&[], &filters, &group_by), json!({"returnNegative": return_negative}));
                let answer = service.post("onhand/indexquery", body).await;
                let expected = expected(&[], &filters, &group_by, return_negative);
                assert_eq!(records(&answer), expected, "{filters} by {group_by:?}, {return_negative}");
                answers += expected.as_array().unwrap().len();
            }
        }
    }
    assert!(answers > 1000, "{answers} records are too few to mean much");
    service.stop().await;
}

#[tokio::test]
async fn a_record_is_as_the_wire_contract_shows_it() {
    let service = service().await;
    let place = json!({"siteId": ["1"], "locationId": ["11"], "colorId": ["red"]});
    let answer = service.post("onhand/indexquery", query(&["Bike"], &place, &[])).await;
    assert_eq!(
        answer.text,
        r#"[{"organizationId":"usmf","productId":"Bike","#.to_owned()
            + r#""dimensions":{"siteId":"1","locationId":"11","colorId":"red"},"quantities":{"#
            + r#""@iv":{"@allocated":7,"@consumed":0,"@cumulative_allocated":7,"@cumulative_consumed":0,"#
            + r#""@softreserved":0,"@available_to_allocate":13},"#
            + r#""fno":{"onordered":7},"pos":{"inbound":13,"outbound":1},"shop":{"sellable":12}}}]"#
    );
    assert!(answer.header("content-length").is_some(), "a short answer is sent whole: {:?}", answer.headers);
    service.stop().await;
}

#[tokio::test]
async fn any_products_are_answered_in_order_and_all_where_none_is_named() {
    let service = service().await;
    let site = json!({"siteId": ["1", "2"]});
    let rows: [&[&str]; 6] =
        [&[], &["Bike"], &["bike"], &["Ünicorn", "Bike", "Lamp"], &["Bike", "Bike", "Nothing"], &["Nothing"]];
    for products in rows {
        for group_by in [&["locationId"][..], &["sizeId"]] {
            let answer = service.post("onhand/indexquery", query(products, &site, group_by)).await;
            assert_eq!(records(&answer), expected(products, &site, group_by, true), "{products:?}");
        }
    }
    // All are all of one owner, in one environment.
    let owner = json!({"filters": {"organizationId": ["nobody"], "productId": []}});
    assert_eq!(records(&service.post("onhand/indexquery", owner).await), json!([]));
    service.stop().await;
}

#[tokio::test]
async fn an_exact_query_answers_the_combinations_given_and_no_others() {
    let service = service().await;
    let rows = [
        (json!(["siteId", "locationId"]), json!([["1", "11"], ["2", "21"]])),
        (json!(["locationId", "siteId"]), json!([["11", "2"], ["21", "2"], ["12", "1"]])),
        (json!(["colorId", "siteId"]), json!([["red", "1"], ["Red", "2"], ["", "1"], ["red", "1"]])),
        (json!(["sizeId"]), json!([["S"], [""]])),
        (json!([]), json!([])),
    ];
    for (dimensions, combinations) in rows {
        let filtered: Vec<usize> =
            (0..4).filter(|&at| dimensions.as_array().unwrap().contains(&json!(DIMENSIONS[at]))).collect();
        let column =
            |at: usize| dimensions.as_array().unwrap().iter().position(|name| *name == DIMENSIONS[at]);
        for group_by in [&[][..], &["colorId"], &["sizeId", "siteId"]] {
            let grouped = (0..4).filter(|&at| group_by.contains(&DIMENSIONS[at]));
            let mut kept: Vec<usize> = filtered.iter().copied().chain(grouped).collect();
            kept.sort_unstable();
            kept.dedup();
            let expected = sums(&[], &kept, true, |values| {
                let row = |row: &Value| filtered.iter().all(|&at| row[column(at).unwrap()] == values[at]);
                filtered.is_empty() || combinations.as_array().unwrap().iter().any(row)
            });
            let body = query(&[], &json!({"dimensions": dimensions, "values": combinations}), group_by);
            let answer = service.post("onhand/exactquery", body).await;
            assert_eq!(records(&answer), expected, "{dimensions} {combinations} by {group_by:?}");
        }
    }
    service.stop().await;
}

async fn run_sql(service: &Service, statement: &'static str) {
    let mut connection = PgConnection::connect_with(&service.database).await.unwrap();
    connection.execute(statement).await.unwrap();
    connection.close().await.unwrap();
}

/// A total that is not the sum of what is below it shows which of the two was read.
#[tokio::test]
async fn a_prefix_of_the_hierarchy_is_one_node_s_total() {
    let service = service().await;
    run_sql(
        &service,
        "UPDATE stock_node SET total[7] = 12345 WHERE environment_id = 'test' AND organization_id = 'usmf'
         AND product_id = 'Bike' AND dimensions = '{1,11}'",
    )
    .await;
    let inbound = async |filters: Value, group_by: &[&str]| {
        let answer = records(&service.post("onhand/indexquery", query(&["Bike"], &filters, group_by)).await);
        let records = answer.as_array().unwrap().iter();
        records.map(|record| record["quantities"]["pos"]["inbound"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let location = json!({"siteId": ["1"], "locationId": ["11"]});
    assert_eq!(inbound(location.clone(), &[]).await, [12345]);
    // Above the required dimensions there are no totals but of those.
    assert_eq!(inbound(json!({"siteId": ["1"]}), &[]).await, [12345 + 9 + 2]);
    assert_eq!(inbound(location, &["colorId"]).await, [0, 1, 13]);
    service.stop().await;
}

#[tokio::test]
async fn quantities_are_exact_and_what_cannot_be_is_refused() {
    let service = service().await;
    for (id, location, quantity) in [("a", "11", "0.000001"), ("b", "12", "999999999999999.999999")] {
        let body = json!({"id": id, "organizationId": "usmf", "productId": "Dust",
                          "dimensions": {"siteId": "1", "locationId": location},
                          "quantities": {"pos": {"inbound": quantity}}});
        service.grant("onhand", body).await;
    }
    let answer = service.post("onhand/indexquery", query(&["Dust"], &json!({"siteId": ["1"]}), &[])).await;
    assert!(answer.text.contains(r#""inbound":1000000000000000,"#), "{}", answer.text);
    let answer = service.post("onhand/indexquery", query(&["Dust"], &json!({}), &["locationId"])).await;
    assert!(answer.text.contains(r#""inbound":999999999999999.999999,"#), "{}", answer.text);
    run_sql(&service, "UPDATE stock_node SET total[7] = 600000000000000000 WHERE product_id = 'Dust'").await;
    let problem =
        service.refuse("onhand/indexquery", query(&["Dust"], &json!({}), &[]), "invalid-quantity").await;
    assert!(problem["detail"].as_str().unwrap().contains("pos.inbound"), "{problem}");
    service.stop().await;
}

#[tokio::test]
async fn a_query_sees_a_configuration_that_another_instance_changed() {
    let service = service().await;
    let other = Service::start_on(service.database.clone(), &[]).await;
    let body = query(&["Lamp"], &json!({"siteId": ["2"]}), &[]);
    assert_eq!(
        records(&other.post("onhand/indexquery", body.clone()).await)[0]["quantities"].get("erp"),
        None
    );
    let mut document = bicycles();
    document["dataSources"]["erp"] = json!({"measures": ["onhand"]});
    document["calculatedMeasures"] = json!({"erp.Twice": "2 * pos.inbound"});
    document["dimensions"].as_array_mut().unwrap().push(json!("lotId"));
    assert_eq!(service.configure(document).await.status, 200);
    let lot = json!({"id": "lot", "organizationId": "usmf", "productId": "Lamp",
                     "dimensions": {"siteId": "2", "locationId": "22", "lotId": "7"},
                     "quantities": {"erp": {"onhand": 3}}});
    service.grant("onhand", lot).await;
    let record =
        records(&other.post("onhand/indexquery", changed(body, json!({"groupByValues": ["lotid"]}))).await);
    assert_eq!(record[0]["dimensions"], json!({"siteId": "2", "lotId": ""}), "{record}");
    assert_eq!(record[1]["dimensions"], json!({"siteId": "2", "lotId": "7"}), "{record}");
    assert_eq!(record[1]["quantities"]["erp"], json!({"onhand": 3, "Twice": 0}));
    assert_eq!(record[0]["quantities"]["erp"], json!({"onhand": 0, "Twice": 2}));
    assert_eq!(record[0]["quantities"].get("shop"), None, "what is no more configured is not shown");
    other.stop().await;
    service.stop().await;
}
