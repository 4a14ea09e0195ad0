//! What can be promised at places above and below those that changes are scheduled for, held
//! against sums that the test makes itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::on_hand_queries::DIMENSIONS;
use super::requests::{changed, pointers};
use super::schedule::{later, scheduling, today};
use super::support::{Answer, Service};

/// Product, place (`-` is a dimension left out in the middle), on hand, and what is to come on the
/// days 0 to 3.
const POSTINGS: [(&str, &str, i64, [i64; 4]); 12] = [
    ("Bike", "1/11/red/S", 6, [1, 0, -9, 0]),
    ("Bike", "1/11/red/L", 4, [0, 0, 0, 2]),
    ("Bike", "1/11/red", 3, [-5, 0, 0, 0]),
    ("Bike", "1/11/blue/S", 0, [0, 7, 0, 0]),
    ("Bike", "1/11", 20, [0, 0, -1, 0]),
    ("Bike", "1/110/red", 2, [0, 0, 100, 0]),
    ("Bike", "1", 50, [-3, 0, 0, 0]),
    ("Bike", "", 1000, [0, -7, 0, 0]),
    ("Bike", "2/21/Red/L", 0, [-1, -1, -1, -1]),
    ("Helmet", "1/11/-/S", 8, [0, 2, 0, 0]),
    ("Helmet", "1/11", 0, [4, 0, 0, 0]),
    ("Lamp", "1/11/red", 0, [0, 0, 0, 0]),
];

fn values(place: &str) -> [&str; 4] {
    let mut parts = place.split('/').map(|part| part.trim_matches('-'));
    [(); 4].map(|()| parts.next().unwrap_or_default())
}

fn dimensions(place: &str) -> Value {
    let given = DIMENSIONS.iter().zip(place.split('/')).filter(|(_, value)| !["", "-"].contains(value));
    given.map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

async fn service() -> Service {
    let (service, today) = (Service::start().await, today().await);
    assert_eq!(service.configure(scheduling(4)).await.status, 200);
    for (index, (product, place, on_hand, days)) in POSTINGS.into_iter().enumerate() {
        for owner in ["usmf", "demf"] {
            let event = |id: &str| {
                json!({"id": format!("{owner} {id} {index}"), "organizationId": owner, "productId": product,
                       "dimensions": dimensions(place)})
            };
            let quantities = json!({"pos": {"inbound": on_hand}});
            service.grant("onhand", changed(event("in"), json!({"quantities": quantities}))).await;
            let by_date: serde_json::Map<String, Value> = (0..)
                .zip(days)
                .filter(|(_, quantity)| *quantity != 0 || product == "Lamp")
                .map(|(day, quantity)| (later(today, day), json!({"pos": {"inbound": quantity}})))
                .collect();
            let scheduled = changed(event("plan"), json!({"quantitiesByDate": by_date}));
            service.grant("onhand/changeschedule", scheduled).await;
        }
    }
    service
}

/// A record in short: product, values of the kept dimensions, on hand, what can be promised.
type Short = (String, Vec<String>, i64, Vec<i64>);

/// Product and values of the kept dimensions.
type Kept<'a> = (&'a str, Vec<&'a str>);

/// On hand, and what is to come day by day.
type Sums = (i64, [i64; 4]);

fn short(answer: &Answer) -> Vec<Short> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let of = |record: &Value| {
        let kept = record["dimensions"].as_object().unwrap();
        let values = DIMENSIONS.iter().filter_map(|name| Some(kept.get(*name)?.as_str()?.to_owned()));
        let days = record["atpQuantities"].as_object().unwrap().values();
        (
            record["productId"].as_str().unwrap().to_owned(),
            values.collect(),
            record["quantities"]["shop"]["sellable"].as_i64().unwrap(),
            days.map(|day| day["shop"]["sellable"].as_i64().unwrap()).collect(),
        )
    };
    answer.json().as_array().unwrap().iter().map(of).collect()
}

fn expected(kept: &[usize], wanted: impl Fn(&str, [&str; 4]) -> bool) -> Vec<Short> {
    let mut sums: BTreeMap<Kept<'_>, Sums> = BTreeMap::new();
    for (product, place, on_hand, days) in POSTINGS {
        let values = values(place);
        if wanted(product, values) {
            let sum = sums.entry((product, kept.iter().map(|&at| values[at]).collect())).or_default();
            sum.0 += on_hand;
            (0..4).for_each(|day| sum.1[day] += days[day]);
        }
    }
    let least = |(on_hand, days): Sums| {
        let projected = |day: usize| on_hand + days[..=day].iter().sum::<i64>();
        (0..4).map(|from| (from..4).map(projected).min().unwrap()).collect()
    };
    let record = |((product, values), sum): (Kept<'_>, Sums)| {
        (product.to_owned(), values.into_iter().map(str::to_owned).collect(), sum.0, least(sum))
    };
    sums.into_iter().map(record).collect()
}

fn query(filters: &Value, group_by: &[&str]) -> Value {
    let owner = json!({"organizationId": ["usmf"], "productId": []});
    json!({"filters": changed(owner, filters.clone()), "groupByValues": group_by, "queryATP": true})
}

#[tokio::test]
async fn a_place_has_what_is_scheduled_at_and_below_it() {
    let service = service().await;
    let filters = [
        json!({}),
        json!({"productId": ["Bike"]}),
        json!({"siteId": ["1"]}),
        json!({"siteId": ["1"], "locationId": ["11"]}),
        json!({"siteId": ["1"], "locationId": ["11"], "colorId": ["red", ""]}),
        json!({"colorId": ["red"]}),
        json!({"sizeId": ["S", "L"]}),
        json!({"siteId": ["1"], "sizeId": [""]}),
    ];
    let groups: [&[&str]; 6] =
        [&[], &["siteId"], &["siteId", "locationId"], &["colorId"], &["sizeId", "siteId"], &DIMENSIONS];
    let mut asked = 0;
    for filters in &filters {
        for group_by in groups {
            let is_kept =
                |at: &usize| filters.get(DIMENSIONS[*at]).is_some() || group_by.contains(&DIMENSIONS[*at]);
            let kept: Vec<usize> = (0..4).filter(is_kept).collect();
            let wanted = |product: &str, values: [&str; 4]| {
                let is_one_of = |name: &str, value: &str| {
                    filters.get(name).is_none_or(|wanted| wanted.as_array().unwrap().contains(&json!(value)))
                };
                is_one_of("productId", product) && (0..4).all(|at| is_one_of(DIMENSIONS[at], values[at]))
            };
            let found = short(&service.post("onhand/indexquery", query(filters, group_by)).await);
            // What has nothing at all is a record only where its node is read.
            let is_something =
                |record: &Short| record.2 != 0 || record.3.iter().any(|&quantity| quantity != 0);
            let found: Vec<Short> = found.into_iter().filter(is_something).collect();
            let mut expected = expected(&kept, wanted);
            expected.retain(is_something);
            asked += found.len();
            assert_eq!(found, expected, "{filters} by {group_by:?}");
        }
    }
    assert!(asked > 100, "{asked}");
    service.stop().await;
}

#[tokio::test]
async fn a_page_after_another_has_the_same_promises() {
    let service = service().await;
    let body = query(&json!({}), &DIMENSIONS);
    let whole = service.post("onhand/indexquery", body.clone()).await.json();
    let (mut pages, mut path) = (Vec::new(), "onhand/indexquery?limit=2".to_owned());
    loop {
        let answer = service.post(&path, body.clone()).await;
        pages.extend(answer.json().as_array().unwrap().clone());
        let Some(link) = answer.header("link") else { break };
        let (address, _) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        path = format!("onhand/indexquery{address}");
    }
    assert_eq!(json!(pages), whole);
    assert!(pages.len() > 8, "{whole}");
    service.stop().await;
}

/// A sum over places may be larger than what is kept of one.
#[tokio::test]
async fn what_is_too_much_to_be_added_up_is_refused() {
    let (service, today) = (Service::start().await, today().await);
    assert_eq!(service.configure(scheduling(4)).await.status, 200);
    let line = |index: i64, site: i64| {
        let most = 10_i64.pow(15);
        json!({"id": index.to_string(), "organizationId": "usmf", "productId": "Bike",
               "dimensions": {"siteId": site.to_string(), "locationId": "11"},
               "quantitiesByDate": {later(today, 1): {"pos": {"inbound": most}}, later(today, 2): {"pos": {"inbound": most}}}})
    };
    let lines: Vec<Value> = (0..501).map(|index| line(index, index % 2)).collect();
    assert_eq!(service.post("onhand/changeschedule/bulk", json!(lines)).await.status, 200);
    let by_site = service.post("onhand/indexquery", query(&json!({}), &["siteId"])).await;
    assert_eq!(by_site.status, 200, "{}", by_site.text);
    // By day it could be kept, but not what the days add up to.
    let problem = service.refuse("onhand/indexquery", query(&json!({}), &[]), "invalid-quantity").await;
    assert_eq!(pointers(&problem), ["/groupByValues"]);
    service.stop().await;
}
