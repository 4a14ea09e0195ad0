//! How long what was not taken waits: by chance a little less, and longer where its receiver asks.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::*;

/// A first wait that is long enough for a test to look at it.
const SLOW: [&str; 3] = ["--allow-private-webhooks", "--webhook-retry-ms", "200000"];

/// How long each product's message waits from its first attempt to the next, in milliseconds.
async fn waits(service: &Service, products: usize) -> Vec<(String, i128)> {
    let mut found = Vec::new();
    eventually("each was sent once", async || {
        found = service.deliveries("?state=pending").await;
        found.iter().filter(|delivery| delivery["attempts"] == 1).count() == products
    })
    .await;
    let wait = |delivery: &Value| {
        let time = |name: &str| OffsetDateTime::parse(delivery[name].as_str().unwrap(), &Rfc3339).unwrap();
        (time("dueAt") - time("attemptedAt")).whole_milliseconds()
    };
    let product = |delivery: &Value| delivery["message"]["data"]["productId"].as_str().unwrap().to_owned();
    found.iter().map(|delivery| (product(delivery), wait(delivery))).collect()
}

#[tokio::test]
async fn what_failed_together_is_not_sent_again_together() {
    const PRODUCTS: usize = 8;
    let service = service(&SLOW).await;
    let receiver = Receiver::answering(|_, _| 500).await;
    service.hook("one", &receiver).await;
    for number in 0..PRODUCTS {
        service.run_low(&format!("P{number}")).await;
    }
    let waits: Vec<i128> = waits(&service, PRODUCTS).await.into_iter().map(|(_, wait)| wait).collect();
    // The times are of two moments of one transaction, which a busy machine may draw out.
    assert!(waits.iter().all(|wait| (150_000..205_000).contains(wait)), "{waits:?}");
    // That eight are so close by chance happens once in a million runs.
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(most - least > 5_000, "{waits:?}");
    service.stop().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_is_given_it_for_a_day_at_most() {
    let service = service(&SLOW).await;
    let receiver = Receiver::answering(|message, _| match message.product().as_str() {
        "Busy" => 429,
        "Broken" => 500,
        _ => 503,
    })
    .await;
    let in_an_hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
    receiver.ask(move |message| match message.product().as_str() {
        "Date" => httpdate::fmt_http_date(in_an_hour),
        "Year" => "31536000".to_owned(),
        "Soon" => "1".to_owned(),
        _ => "600".to_owned(),
    });
    service.hook("one", &receiver).await;
    let products = ["Away", "Busy", "Broken", "Date", "Soon", "Year"];
    for product in products {
        service.run_low(product).await;
    }
    for (product, wait) in waits(&service, products.len()).await {
        let expected = match product.as_str() {
            "Away" | "Busy" => 600_000..605_000,
            // Who only broke asks for nothing, and who asks for less than the wait is given that.
            "Broken" | "Soon" => 150_000..205_000,
            "Date" => 3_480_000..3_605_000,
            "Year" => 86_400_000..86_405_000,
            other => panic!("{other}"),
        };
        assert!(expected.contains(&wait), "{product}: {wait}");
    }
    service.stop().await;
}
