//! Reserve and unreserve: what each answers, what is refused, and what repeats.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use super::requests::{JSON, all, allocation, changed, consumption, event, pointers, problem, red, without};
use super::support::{Answer, Service, bicycles};

/// A reservation of red bicycles.
pub fn reservation(id: &str, quantity: impl Into<Value>) -> Value {
    let measure = json!({"quantityDataSource": "@iv", "modifier": "@softreserved"});
    changed(event(id, measure), json!({"quantity": quantity.into()}))
}

/// The same with the check off; less than 0 gives back.
fn unchecked(id: &str, quantity: i64) -> Value {
    changed(reservation(id, quantity), json!({"ifCheckAvailForReserv": false}))
}

/// The freeing of a reservation of red bicycles.
pub fn freeing(id: &str, reservation: &Value, quantity: impl Into<Value>) -> Value {
    json!({"id": id, "organizationId": "usmf", "reservationId": reservation, "dimensions": red(),
           "OffsetQty": quantity.into()})
}

impl Service {
    /// How much is reserved of the red bicycles, and how much could still be allocated.
    pub async fn reserved(&self) -> (i64, i64) {
        let address = "/api/environment/test/onhand?organizationId=usmf&productId=Bike&siteId=1&locationId=11\
                       &colorId=red&returnNegative=true";
        let records = self.get(address).await.json();
        let quantity = |name: &str| records[0]["quantities"]["@iv"][name].as_i64().unwrap();
        (quantity("@softreserved"), quantity("@available_to_allocate"))
    }
}

#[tokio::test]
async fn a_reservation_takes_what_is_available_and_its_id_gives_it_back() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("vip", "Online/VIP", 4)).await;
    let made = service.grant("onhand/reserve", reservation("order", 5)).await;
    let id = made["reservationId"].clone();
    assert!(id.as_str().is_some_and(|id| uuid::Uuid::parse_str(id).is_ok()), "{made}");
    let expected = json!({
        "id": "order", "processingStatus": "success", "message": "", "statusCode": 200,
        "eventId": made["eventId"], "version": 3, "availableToAllocate": 1, "reservationId": id,
    });
    assert_eq!(made, expected);
    let short =
        service.refuse("onhand/reserve", reservation("more", 2), "insufficient-available-to-reserve").await;
    assert_eq!((&short["requested"], &short["available"]), (&json!(2), &json!(1)));
    assert_eq!(short["limitedBy"], red());

    let freed = service.grant("onhand/unreserve", freeing("back", &id, "1.5")).await;
    let expected = json!({
        "id": "back", "processingStatus": "success", "message": "", "statusCode": 200,
        "eventId": freed["eventId"], "version": 4, "availableToAllocate": 2.5, "reservationId": id,
        "totalInvalidOffsetQtyByReservId": 0,
    });
    assert_eq!(freed, expected);
    service.grant("onhand/reserve", reservation("more", 2)).await;
    assert_eq!(service.verify().await, 5);
    service.stop().await;
}

#[tokio::test]
async fn the_quantities_form_means_the_same() {
    let service = Service::with_stock(10).await;
    let answer = service.post("onhand/reserve", reservation("order", 5)).await;
    let other = |quantities: Value| event("order", json!({"quantities": quantities}));
    let same = service.post("onhand/reserve", other(json!({"@IV": {"@SoftReserved": "5.0"}}))).await;
    assert_eq!((same.status, &same.text), (200, &answer.text));
    assert_eq!(same.header("idempotent-replayed"), Some("true"));

    let wrong = json!({"@iv": {"@softreserved": 1}, "pos": {"inbound": 1}});
    for quantities in [json!({}), json!({"@iv": {}}), wrong] {
        let problem = service.refuse("onhand/reserve", other(quantities), "invalid-request").await;
        assert_eq!(pointers(&problem), ["/quantities"]);
    }
    let both = changed(reservation("x", 1), json!({"quantities": {"@iv": {"@softreserved": 1}}}));
    let problem = service.refuse("onhand/reserve", both, "invalid-request").await;
    assert_eq!(pointers(&problem), ["/modifier", "/quantity", "/quantityDataSource"]);
    let rows = [
        ("unknown-measure", json!({"pos": {"inbound": 1}}), "/quantities/pos/inbound"),
        ("unknown-measure", json!({"web": {"a/b": 1}}), "/quantities/web/a~1b"),
        ("invalid-quantity", json!({"@iv": {"@softreserved": 0}}), "/quantities/@iv/@softreserved"),
    ];
    for (code, quantities, place) in rows {
        let problem = service.refuse("onhand/reserve", other(quantities), code).await;
        assert_eq!(pointers(&problem), [place]);
    }
    let rows = [
        ("unknown-measure", json!({"modifier": "inbound"}), "/modifier"),
        ("unknown-measure", json!({"quantityDataSource": "web"}), "/modifier"),
        ("invalid-quantity", json!({"quantity": "five"}), "/quantity"),
        ("invalid-request", json!({"ifCheckAvailForReserv": "no"}), "/ifCheckAvailForReserv"),
        ("invalid-request", json!({"modifier": null, "quantity": null}), "/modifier /quantity"),
    ];
    for (code, members, places) in rows {
        let problem = service.refuse("onhand/reserve", changed(reservation("x", 1), members), code).await;
        assert_eq!(pointers(&problem).join(" "), places);
    }
    assert_eq!(service.verify().await, 2);
    service.stop().await;
}

#[tokio::test]
async fn without_the_check_more_is_reserved_than_there_is() {
    let service = Service::with_stock(3).await;
    for checked in [json!(null), json!(true)] {
        let body = changed(reservation("order", 5), json!({"ifCheckAvailForReserv": checked}));
        service.refuse("onhand/reserve", body, "insufficient-available-to-reserve").await;
    }
    let made = service.grant("onhand/reserve", unchecked("order", 5)).await;
    assert_eq!(made["availableToAllocate"], json!(-2));
    service.refuse("onhand/reserve", reservation("next", 1), "insufficient-available-to-reserve").await;
    // The check is part of what the event means.
    service.refuse("onhand/reserve", reservation("order", 5), "id-reused").await;
    assert_eq!(service.verify().await, 2);
    service.stop().await;
}

#[tokio::test]
async fn less_than_nothing_without_the_check_gives_back_and_not_below_zero() {
    let service = Service::with_stock(10).await;
    service.grant("onhand/reserve", reservation("order", 5)).await;
    let checked = service.refuse("onhand/reserve", reservation("back", -3), "invalid-quantity").await;
    assert!(checked["detail"].as_str().unwrap().contains("ifCheckAvailForReserv to false"), "{checked}");
    let back = service.post("onhand/reserve", unchecked("back", -3)).await;
    assert_eq!(back.status, 200, "{}", back.text);
    assert_eq!(back.json()["availableToAllocate"], json!(8));
    assert_eq!(back.json().get("reservationId"), None);
    assert_eq!(service.post("onhand/reserve", unchecked("back", -3)).await.text, back.text);
    let problem = service.refuse("onhand/reserve", unchecked("more", -3), "nothing-reserved").await;
    assert_eq!((&problem["requested"], &problem["available"]), (&json!(3), &json!(2)));
    let elsewhere =
        changed(unchecked("more", -1), json!({"dimensions": {"siteId": "1", "locationId": "11"}}));
    service.refuse("onhand/reserve", elsewhere, "nothing-reserved").await;
    assert_eq!(service.reserved().await, (2, 8));
    assert_eq!(service.verify().await, 3);
    service.stop().await;
}

#[tokio::test]
async fn what_does_not_remain_is_told_and_is_no_error() {
    let service = Service::with_stock(20).await;
    let one = service.grant("onhand/reserve", reservation("one", 10)).await["reservationId"].clone();
    let two = service.grant("onhand/reserve", reservation("two", 10)).await["reservationId"].clone();
    assert_ne!(one, two);
    let free = async |id: &str, reservation: &Value, quantity: i64| {
        let answer = service.grant("onhand/unreserve", freeing(id, reservation, quantity)).await;
        assert_eq!(answer["reservationId"], *reservation);
        let status = answer["processingStatus"].as_str().unwrap().to_owned();
        assert_eq!(answer["message"] == "", status == "success", "{answer}");
        (status, answer["totalInvalidOffsetQtyByReservId"].as_i64().unwrap())
    };
    assert_eq!(free("a", &one, 12).await, ("partialSuccess".to_owned(), 2));
    assert_eq!(free("b", &one, 1).await, ("partialSuccess".to_owned(), 1));
    assert_eq!(service.reserved().await, (10, 10), "the other one is not touched");
    assert_eq!(free("c", &two, 10).await, ("success".to_owned(), 0));
    // What was given back without a name is not freed again by one.
    let three = service.grant("onhand/reserve", reservation("three", 9)).await["reservationId"].clone();
    service.grant("onhand/reserve", unchecked("all of it", -9)).await;
    assert_eq!(free("d", &three, 9).await, ("partialSuccess".to_owned(), 9));
    assert_eq!(service.reserved().await, (0, 20));
    assert_eq!(service.verify().await, 9);
    service.stop().await;
}

#[tokio::test]
async fn a_repeat_is_answered_the_same_when_all_was_freed() {
    let service = Service::with_stock(10).await;
    let reserve = reservation("order", 5);
    let made = service.post("onhand/reserve", reserve.clone()).await;
    let id = made.json()["reservationId"].clone();
    let partial = service.post("onhand/unreserve", freeing("back", &id, 7)).await;
    let rest = service.post("onhand/unreserve", freeing("again", &id, 1)).await;
    // Another instance knows it from the books alone.
    let other = Service::start_on(service.database.clone(), &[]).await;
    for instance in [&service, &other] {
        let again = |path: &'static str, body: Value, first: &Answer| {
            let text = first.text.clone();
            async move {
                let answer = instance.post(path, body).await;
                assert_eq!((answer.status, answer.text.as_str()), (200, text.as_str()));
                assert_eq!(answer.header("idempotent-replayed"), Some("true"));
            }
        };
        again("onhand/reserve", reserve.clone(), &made).await;
        again("onhand/unreserve", freeing("back", &id, "7.000"), &partial).await;
        again("onhand/unreserve", freeing("again", &id, 1), &rest).await;
        instance.refuse("onhand/unreserve", freeing("back", &id, 6), "id-reused").await;
        instance.refuse("onhand/unreserve", freeing("order", &id, 5), "id-reused").await;
    }
    assert_eq!(service.verify().await, 4);
    other.stop().await;
    service.stop().await;
}

#[tokio::test]
async fn the_id_may_come_as_a_header() {
    let service = Service::with_stock(10).await;
    let send = async |path: &str, body: Value| {
        let path = format!("/api/environment/test/onhand/{path}");
        let headers = [JSON, ("idempotency-key", "key")];
        service.send(Method::POST, &path, &headers, without(body, "id").to_string()).await
    };
    let made = send("reserve", reservation("", 5)).await;
    assert_eq!((made.status, &made.json()["id"]), (200, &json!("key")), "{}", made.text);
    let id = made.json()["reservationId"].clone();
    problem(&send("unreserve", freeing("", &id, 5)).await, "id-reused");
    let freed = service.grant("onhand/unreserve", freeing("freed", &id, 5)).await;
    assert_eq!(freed["processingStatus"], "success");
    service.refuse("onhand/unreserve", without(freeing("x", &id, 5), "id"), "missing-id").await;
    service.refuse("onhand/reserve", without(reservation("x", 5), "id"), "missing-id").await;
    service.stop().await;
}

#[tokio::test]
async fn a_reservation_that_is_not_there_is_unknown() {
    let service = Service::with_stock(10).await;
    let id = service.grant("onhand/reserve", reservation("order", 5)).await["reservationId"].clone();
    let before = service.books().await;
    let body = || freeing("back", &id, 1);
    let nobody = json!("00000000-0000-0000-0000-000000000007");
    let rows = [
        json!({"reservationId": nobody}),
        json!({"reservationId": "RESERVATION_ID"}),
        json!({"reservationId": "no id ".repeat(1000)}),
        json!({"organizationId": "demf"}),
        json!({"dimensions": {"siteId": "1", "locationId": "11"}}),
        json!({"dimensions": {"siteId": "1", "locationId": "11", "colorId": "Red"}}),
    ];
    for members in rows {
        let problem =
            service.refuse("onhand/unreserve", changed(body(), members), "unknown-reservation").await;
        assert_eq!(problem["id"], "back");
        assert!(problem["detail"].as_str().unwrap().len() < 200, "{problem}");
    }
    // An id that is taken is told all the same.
    service.refuse("onhand/unreserve", freeing("order", &nobody, 1), "id-reused").await;
    let elsewhere = "/api/environment/other/configuration";
    service.send(Method::PUT, elsewhere, &[JSON], bicycles().to_string()).await;
    let elsewhere = "/api/environment/other/onhand/unreserve";
    let answer = service.send(Method::POST, elsewhere, &[JSON], body().to_string()).await;
    problem(&answer, "unknown-reservation");
    let rows = [
        ("unknown-dimension", json!({"dimensions": {"width": "1"}}), "/dimensions/width"),
        ("missing-required-dimension", json!({"dimensions": {"siteId": "1"}}), "/dimensions"),
        ("invalid-quantity", json!({"OffsetQty": 0}), "/OffsetQty"),
        ("invalid-quantity", json!({"OffsetQty": -1, "reservationId": "none"}), "/OffsetQty"),
        ("invalid-request", json!({"reservationId": 5, "OffsetQty": null}), "/OffsetQty /reservationId"),
        ("unknown-property", json!({"productId": "Bike"}), "/productId"),
    ];
    for (code, members, places) in rows {
        let problem = service.refuse("onhand/unreserve", changed(body(), members), code).await;
        assert_eq!(pointers(&problem).join(" "), places);
    }
    let place = json!({"dimensions": {"siteId": "1"}});
    service.refuse("onhand/reserve", changed(reservation("x", 1), place), "missing-required-dimension").await;
    let kept = |books: &str| books.split("ledger\n").nth(1).unwrap().to_owned();
    assert_eq!(kept(&service.books().await), kept(&before));
    service.stop().await;
}

#[tokio::test]
async fn a_consume_as_a_soft_reservation_answers_an_id_that_unreserve_takes() {
    let service = Service::with_stock(10).await;
    service.grant("allocation/allocate", allocation("vip", "Online/VIP", 8)).await;
    let sold = changed(
        consumption("sold", "Online/VIP", 3),
        json!({"physicalMeasures": {"@iv": {"@softreserved": "Addition"}}}),
    );
    let id = service.grant("allocation/consume", sold).await["reservationId"].clone();
    assert_eq!(service.reserved().await, (3, 2));
    let freed = service.grant("onhand/unreserve", freeing("cancelled", &id, 4)).await;
    assert_eq!(freed["totalInvalidOffsetQtyByReservId"], json!(1));
    assert_eq!(service.reserved().await, (0, 5));
    assert_eq!(service.verify().await, 4);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_reserve_what_there_is_and_free_what_was_reserved() {
    let one = Arc::new(Service::with_stock(10).await);
    let other = Arc::new(Service::start_on(one.database.clone(), &[]).await);
    let instance = |task: usize| Arc::clone(if task.is_multiple_of(2) { &one } else { &other });
    let answers = all((0..32).map(|task| {
        let service = instance(task);
        async move { service.post("onhand/reserve", reservation(&format!("order {task}"), 1)).await }
    }));
    let answers = answers.await;
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(made.len(), 10);
    let refused = answers.iter().filter(|answer| answer.status != 200);
    refused.for_each(|answer| drop(problem(answer, "insufficient-available-to-reserve")));
    assert_eq!(one.reserved().await, (10, 0));

    // All of them offer the first one back, and one of them succeeds.
    let id = made[0].json()["reservationId"].clone();
    let answers = all((0..16).map(|task| {
        let (service, body) = (instance(task), freeing(&format!("back {task}"), &id, 1));
        async move { service.post("onhand/unreserve", body).await.json() }
    }));
    let answers = answers.await;
    let invalid = |answer: &Value| answer["totalInvalidOffsetQtyByReservId"].as_i64().unwrap();
    assert_eq!(answers.iter().map(invalid).sum::<i64>(), 15, "{answers:#?}");
    assert_eq!(one.reserved().await, (9, 1));
    assert_eq!(one.verify().await, 1 + 10 + 16);
    drop(answers);
    Arc::into_inner(other).unwrap().stop().await;
    Arc::into_inner(one).unwrap().stop().await;
}
