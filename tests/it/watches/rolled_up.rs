//! A group path judged as a whole, held against a sum of what a query answers of its parts.

use super::*;

/// The watches, each of `Online` as a whole, with the bound at which it opens.
const RULES: [(&str, &str); 5] = [
    ("balance", r#"{"balanceAtOrBelow": 50, "clearAbove": 60}"#),
    ("percent", r#"{"percentLeftAtOrBelow": 50}"#),
    ("soon", r#"{"exhaustedWithinSeconds": 7200}"#),
    ("idle", r#"{"idleForSeconds": 3600}"#),
    ("unmet", r#"{"unmetAbove": 10, "withinSeconds": 3600}"#),
];

impl Service {
    async fn watch_whole(&self, name: &str, rule: &str) {
        let rule: Value = serde_json::from_str(rule).unwrap();
        let body = json!({"groups": {"channel": "Online"}, "rollup": true, "rule": rule});
        let made = self.put(&format!("watches/{name}"), &body).await;
        assert_eq!((made.status, made.json()), (200, changed(body, json!({"name": name}))));
    }

    /// What `Online` holds and held in all, added up from its balances.
    async fn plain(&self) -> (i64, i64) {
        let balances = self.balances(json!({"groups": {"channel": "Online"}})).await;
        let sum =
            |place: usize| balances.as_array().unwrap().iter().map(|row| row[place].as_i64().unwrap()).sum();
        (sum(1), sum(3))
    }

    /// The watches whose alerts are open.
    async fn open_watches(&self) -> Vec<String> {
        let alerts = self.read("alerts?state=open").await;
        let mut names: Vec<String> = Vec::new();
        for alert in alerts.as_array().unwrap() {
            assert_eq!((&alert["groups"], &alert["dimensions"]), (&groups("Online"), &red()), "{alert}");
            names.push(alert["watch"].as_str().unwrap().to_owned());
        }
        names.sort_unstable();
        names
    }
}

#[tokio::test]
async fn a_group_path_as_a_whole_opens_one_alert_of_the_sum_of_all_below_it() {
    let service = Service::with_stock(100_000).await;
    for (name, rule) in &RULES[..2] {
        service.watch_whole(name, rule).await;
    }
    let paths = ["Online", "Online/VIP", "Online/VIP/US", "Online/VIP/EU", "Online/Regular"];
    for (number, path) in paths.iter().enumerate() {
        service.grant("allocation/allocate", allocation(&format!("first {number}"), path, 14)).await;
    }
    service.grant("allocation/allocate", allocation("other", "Store", 1)).await;
    let (mut chance, mut is_low) = (7_u64, false);
    let mut turns = 0;
    for step in 0..40 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (path, quantity) = (paths[(chance >> 40) as usize % 5], (chance >> 50) as i64 % 14 + 1);
        let id = format!("step {step}");
        // Refused or not: what is judged is what is there then. It goes down for a time, and up again.
        let answer = match step % 10 >= 5 {
            true => service.post("allocation/allocate", allocation(&id, path, quantity)).await,
            false => service.post("allocation/consume", consumption(&id, path, quantity)).await,
        };
        assert!([200, 409].contains(&answer.status), "{}", answer.text);
        let (left, of) = service.plain().await;
        let was_low = is_low;
        is_low = if is_low { left <= 60 } else { left <= 50 };
        turns += usize::from(was_low != is_low);
        let mut expected = Vec::new();
        expected.extend(is_low.then_some("balance".to_owned()));
        expected.extend((left * 100 <= of * 50).then_some("percent".to_owned()));
        let what = format!("step {step}: {left} of {of}, {expected:?}");
        eventually(&what, async || service.open_watches().await == expected).await;
        if was_low != is_low {
            let alert = service.read("alerts?watch=balance&limit=1").await[0].clone();
            assert_eq!(alert["value"], json!(left), "{what}: {alert}");
        }
    }
    assert!(turns > 2, "it went up and down {turns} times");
    service.stop().await;
}

#[tokio::test]
async fn a_group_path_as_a_whole_is_idle_exhausted_and_in_want_by_the_sum_of_all_below_it() {
    let service = Service::with_stock(1_000).await;
    for (number, path) in ["Online/VIP/US", "Online/VIP/EU", "Online/Regular"].iter().enumerate() {
        service.grant("allocation/allocate", allocation(&format!("first {number}"), path, 50)).await;
    }
    for (name, rule) in &RULES[2..] {
        service.watch_whole(name, rule).await;
    }
    // Neither is more than 10, both are; and neither path ever held anything.
    for (path, quantity) in [("Online/Nobody", 6), ("Online/Other", 5)] {
        let asked = consumption(path, path, quantity);
        service.refuse("allocation/consume", asked, "insufficient-allocation").await;
    }
    eventually("demand was not met", async || service.open_watches().await == ["unmet"]).await;
    assert_eq!(service.read("alerts?watch=unmet").await[0]["value"], 11);
    service.make_later().await;
    eventually("nobody consumed", async || service.open_watches().await == ["idle"]).await;
    assert_eq!(service.read("alerts?watch=idle").await[0]["value"], 150);
    // What nobody consumes of is there to last, too.
    for path in ["Online/VIP/US", "Online/VIP/EU"] {
        service.grant("allocation/consume", consumption(&format!("c {path}"), path, 26)).await;
    }
    eventually("it will be gone soon", async || service.open_watches().await == ["soon"]).await;
    let alert = service.read("alerts?watch=soon").await[0].clone();
    assert!(alert["detail"].as_str().unwrap().starts_with("98 left, 52 consumed within "), "{alert}");
    service.grant("allocation/allocate", allocation("more", "Online/Regular", 100)).await;
    eventually("it will last", async || service.open_watches().await.is_empty()).await;
    let refused = json!({"rollup": true, "rule": {"balanceAtOrBelow": 1}});
    let refused = problem(&service.put("watches/all", &refused).await, "invalid-request");
    assert_eq!(pointers(&refused), ["/rollup"]);
    service.stop().await;
}
