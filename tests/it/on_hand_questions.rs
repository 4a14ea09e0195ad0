//! Queries of on-hand stock: the forms that they come in, wrong ones, and answers by the page.

use reqwest::Method;
use serde_json::{Value, json};

use super::on_hand_queries::{DIMENSIONS, expected, query, records, service};
use super::requests::{JSON, changed, pointers, problem, without};
use super::support::{Answer, Service};

/// Reads an address of the environment `test`.
async fn get(service: &Service, query: &str) -> Answer {
    service.get(&format!("/api/environment/test/onhand?{query}")).await
}

#[tokio::test]
async fn a_query_may_be_an_address() {
    let service = service().await;
    let rows = [
        (
            "productId=Bike&siteId=1&locationId=11&colorId=red&groupBy=colorId,sizeId",
            &["Bike"][..],
            json!({"siteId": ["1"], "locationId": ["11"], "colorId": ["red"]}),
            &["sizeId"][..],
        ),
        (
            "productId=Bike&productId=%C3%9Cnicorn&siteId=1&siteId=2",
            &["Bike", "Ünicorn"],
            json!({"siteId": ["1", "2"]}),
            &[],
        ),
        ("groupBy=sizeId,%20siteId&colorId=", &[], json!({"colorId": [""]}), &["sizeId", "siteId"]),
        (
            "PRODUCTID=Bike&SiteID=2&GROUPBY=COLORID&dimensionDataSource=POS&shopid=21",
            &["Bike"],
            json!({"siteId": ["2"], "locationId": ["21"]}),
            &["colorId"],
        ),
        ("groupBy=", &[], json!({}), &[]),
    ];
    for (address, products, filters, group_by) in rows {
        for (negative, return_negative) in
            [("&returnNegative=true", true), ("&ReturnNegative=False", false), ("", false)]
        {
            let answer = get(&service, &format!("organizationId=usmf&{address}{negative}")).await;
            let expected = expected(products, &filters, group_by, return_negative);
            assert_eq!(records(&answer), expected, "{address}{negative}");
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn names_match_in_any_letter_case_also_those_of_a_data_source() {
    let service = service().await;
    let place = json!({"siteId": ["1"], "locationId": ["11", "12"]});
    let expected = expected(&["Bike"], &place, &["colorId"], true);
    let owner = json!({"ORGANIZATIONID": ["usmf"], "productid": ["Bike"]});
    let rows = [
        json!({"FILTERS": changed(owner.clone(), json!({"SITEID": ["1"], "LocationId": ["12", "11"]})),
               "GroupByValues": ["COLORID"], "returnnegative": true}),
        json!({"filters": changed(owner.clone(), json!({"siteId": ["1"], "shopID": ["12", "11"]})),
               "dimensionDataSource": "Pos", "groupByValues": ["colorid", "ShopId"], "returnNegative": true}),
    ];
    for body in rows {
        assert_eq!(records(&service.post("onhand/indexquery", body.clone()).await), expected, "{body}");
    }
    let exact = json!({"DIMENSIONS": ["SHOPID", "siteid"], "Values": [["11", "1"], ["12", "1"]]});
    let body = json!({"filters": changed(owner, exact), "dimensionDataSource": "pos", "groupByValues": ["COLORID"],
                      "returnNegative": true});
    assert_eq!(records(&service.post("OnHand/ExactQuery/", body).await), expected);
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_query_is_told_its_place() {
    let service = service().await;
    let filters = |members: Value| query(&[], &members, &[]);
    let index = |members: Value| changed(filters(json!({})), members);
    let exact = |members: Value| {
        query(&[], &changed(json!({"dimensions": ["siteId"], "values": [["1"]]}), members), &[])
    };
    let too_many: Vec<String> = (0..5001).map(|index| index.to_string()).collect();
    let rows = [
        ("indexquery", json!([]), "invalid-request", ""),
        ("indexquery", json!({}), "invalid-request", "/filters"),
        ("indexquery", index(json!({"filters": []})), "invalid-request", "/filters"),
        ("indexquery", index(json!({"queryStock": true})), "unknown-property", "/queryStock"),
        ("indexquery", index(json!({"returnNegative": "yes"})), "invalid-request", "/returnNegative"),
        ("indexquery", index(json!({"groupByValues": "siteId"})), "invalid-request", "/groupByValues"),
        (
            "indexquery",
            index(json!({"groupByValues": ["siteId", "width"]})),
            "unknown-dimension",
            "/groupByValues/1",
        ),
        (
            "indexquery",
            index(json!({"dimensionDataSource": "erp"})),
            "invalid-request",
            "/dimensionDataSource",
        ),
        (
            "indexquery",
            index(json!({"filters": {"organizationId": ["usmf"]}})),
            "invalid-request",
            "/filters/productId",
        ),
        (
            "indexquery",
            index(json!({"filters": {"productId": []}})),
            "invalid-request",
            "/filters/organizationId",
        ),
        ("indexquery", filters(json!({"organizationId": []})), "invalid-request", "/filters/organizationId"),
        (
            "indexquery",
            filters(json!({"organizationId": ["usmf", "demf"]})),
            "invalid-request",
            "/filters/organizationId",
        ),
        (
            "indexquery",
            filters(json!({"organizationId": "usmf"})),
            "invalid-request",
            "/filters/organizationId",
        ),
        (
            "indexquery",
            filters(json!({"organizationId": [""]})),
            "invalid-request",
            "/filters/organizationId/0",
        ),
        (
            "indexquery",
            filters(json!({"productId": ["Bike", "a\nb"]})),
            "invalid-request",
            "/filters/productId/1",
        ),
        ("indexquery", filters(json!({"productId": too_many})), "invalid-request", "/filters/productId"),
        ("indexquery", filters(json!({"siteId": "1"})), "invalid-request", "/filters/siteId"),
        ("indexquery", filters(json!({"siteId": [1]})), "invalid-request", "/filters/siteId"),
        ("indexquery", filters(json!({"siteId": ["1", "a\u{0}"]})), "invalid-request", "/filters/siteId/1"),
        ("indexquery", filters(json!({"siteId": vec!["1"; 1001]})), "invalid-request", "/filters/siteId"),
        ("indexquery", filters(json!({"shopId": ["11"]})), "unknown-dimension", "/filters/shopId"),
        (
            "indexquery",
            filters(json!({"SITEID": ["1"], "siteId": ["1"]})),
            "invalid-request",
            "/filters/siteId",
        ),
        ("indexquery?limit=0", filters(json!({})), "invalid-request", "/limit"),
        ("indexquery?limit=1001", filters(json!({})), "invalid-request", "/limit"),
        ("indexquery?limit=ten", filters(json!({})), "invalid-request", "/limit"),
        ("indexquery?limit=1&limit=2", filters(json!({})), "invalid-request", "/limit"),
        ("indexquery?after=Bike", filters(json!({})), "invalid-request", "/after"),
        ("indexquery?after=%5B%22Bike%22,%221%22%5D", filters(json!({})), "invalid-request", "/after"),
        ("indexquery?siteId=1", filters(json!({})), "unknown-property", "/siteId"),
        ("exactquery", json!({}), "invalid-request", "/filters"),
        ("exactquery", filters(json!({"values": []})), "invalid-request", "/filters/dimensions"),
        ("exactquery", filters(json!({"dimensions": []})), "invalid-request", "/filters/values"),
        ("exactquery", exact(json!({"siteId": ["1"]})), "unknown-property", "/filters/siteId"),
        ("exactquery", exact(json!({"values": ["1"]})), "invalid-request", "/filters/values"),
        ("exactquery", exact(json!({"values": []})), "invalid-request", "/filters/values"),
        ("exactquery", exact(json!({"values": [["1"], ["1", "2"]]})), "invalid-request", "/filters/values/1"),
        ("exactquery", exact(json!({"dimensions": ["width"]})), "unknown-dimension", "/filters/dimensions/0"),
    ];
    for (path, body, code, place) in rows {
        let problem = service.refuse(&format!("onhand/{path}"), body.clone(), code).await;
        assert_eq!(pointers(&problem), [place], "{body}");
    }
    let rows = [
        ("", "invalid-request", "/organizationId"),
        ("organizationId=a&organizationId=b", "invalid-request", "/organizationId"),
        ("organizationId=usmf&productId=", "invalid-request", "/productId/0"),
        ("organizationId=usmf&width=1", "unknown-dimension", "/width"),
        ("organizationId=usmf&siteId=1&groupBy=siteId,width", "unknown-dimension", "/groupBy/1"),
        ("organizationId=usmf&returnNegative=1", "invalid-request", "/returnNegative"),
        ("organizationId=usmf&dimensionDataSource=erp", "invalid-request", "/dimensionDataSource"),
        ("organizationId=usmf&QueryStock=true", "unknown-dimension", "/QueryStock"),
        ("organizationId=usmf&limit=-1", "invalid-request", "/limit"),
    ];
    for (address, code, place) in rows {
        let problem = problem(&get(&service, address).await, code);
        assert_eq!(pointers(&problem), [place], "{address}");
    }
    service.stop().await;
}

/// Follows the links from page to page.
async fn pages(service: &Service, method: Method, path: &str, address: &str, body: &Value) -> Vec<Value> {
    let (mut pages, mut address) = (Vec::new(), address.to_owned());
    loop {
        let path = format!("/api/environment/test/{path}?{address}");
        let answer = service.send(method.clone(), &path, &[JSON], body.to_string()).await;
        pages.push(records(&answer));
        let Some(link) = answer.header("link") else { return pages };
        let next = link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        address = next.to_owned();
        assert!(pages.len() < 100, "no end");
    }
}

#[tokio::test]
async fn pages_together_are_the_whole_answer() {
    let service = service().await;
    // Records in the order of the hierarchy, others, and with negative ones in between.
    for (group_by, return_negative) in
        [(&DIMENSIONS[..], true), (&["sizeId"], true), (&["sizeId", "locationId"], false)]
    {
        let body = changed(query(&[], &json!({}), group_by), json!({"returnNegative": return_negative}));
        let whole = expected(&[], &json!({}), group_by, return_negative);
        let whole = whole.as_array().unwrap();
        for limit in [1, 2, 3, whole.len() - 1, whole.len(), whole.len() + 1, 1000] {
            let expected: Vec<Value> = whole.chunks(limit).map(|page| json!(page)).collect();
            let found =
                pages(&service, Method::POST, "onhand/indexquery", &format!("limit={limit}"), &body).await;
            assert_eq!(found, expected, "{limit} by {group_by:?}");
        }
        let address = format!(
            "organizationId=usmf&groupBy={}&returnNegative={return_negative}&limit=2",
            group_by.join(",")
        );
        let found = pages(&service, Method::GET, "onhand", &address, &json!({})).await;
        assert_eq!(found.concat_arrays(), json!(whole), "{address}");
    }
    let exact = json!({"dimensions": ["siteId"], "values": [["1"], ["2"]]});
    let body = query(&["Bike", "Helmet", "Lamp"], &exact, &["locationId"]);
    let found = pages(&service, Method::POST, "onhand/exactquery", "LIMIT=2", &body).await;
    let filters = json!({"siteId": ["1", "2"]});
    assert_eq!(found.concat_arrays(), expected(&["Bike", "Helmet", "Lamp"], &filters, &["locationId"], true));
    assert!(found.len() > 2);
    // Nothing has one page.
    let nothing = query(&["Nothing"], &json!({}), &[]);
    assert_eq!(pages(&service, Method::POST, "onhand/indexquery", "limit=1", &nothing).await, [json!([])]);
    service.stop().await;
}

trait Concatenated {
    fn concat_arrays(&self) -> Value;
}

impl Concatenated for Vec<Value> {
    fn concat_arrays(&self) -> Value {
        self.iter().flat_map(|page| page.as_array().unwrap().clone()).collect()
    }
}

#[tokio::test]
async fn what_may_be_left_out_of_a_query() {
    let service = service().await;
    let body = json!({"filters": {"organizationId": ["usmf"], "productId": []}});
    let expected = expected(&[], &json!({}), &[], false);
    assert_eq!(records(&service.post("onhand/indexquery", body.clone()).await), expected);
    let nulls = json!({"dimensionDataSource": null, "groupByValues": null, "returnNegative": null});
    let nulls = changed(body, nulls);
    assert_eq!(records(&service.post("onhand/indexquery", nulls.clone()).await), expected);
    service.refuse("onhand/indexquery", without(nulls, "filters"), "invalid-request").await;
    service.stop().await;
}
