//! The lines that are sent, one by one or in bulk.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::Connection;

/// Lines of a bulk, and products.
pub const LINES: usize = 5_000;

pub const CONFIGURATION: &str = r#"{
    "dimensions": ["siteId", "locationId", "colorId"], "requiredDimensions": 2,
    "dataSources": {"pos": {"measures": ["inbound"]}},
    "allocation": {"groups": ["channel"], "availableToAllocate": "pos.inbound - @iv.@softreserved - @iv.@allocated"},
    "reservation": {"measures": {"@iv.@softreserved": "pos.inbound - @iv.@softreserved - @iv.@allocated"}}}"#;

/// The head of a request, up to its length.
macro_rules! head {
    ($method:literal, $path:literal) => {
        concat!(
            $method,
            " /api/environment/bulk/",
            $path,
            " HTTP/1.1\r\nhost: ringfence\r\ncontent-type: application/json\r\ncontent-length: "
        )
    };
}
pub(crate) use head;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    OnHand,
    Reserve,
    Unreserve,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::OnHand => "onhand",
            Kind::Reserve => "reserve",
            Kind::Unreserve => "unreserve",
        }
    }

    fn heads(self) -> [&'static str; 2] {
        match self {
            Kind::OnHand => [head!("POST", "onhand"), head!("POST", "onhand/bulk")],
            Kind::Reserve => [head!("POST", "onhand/reserve"), head!("POST", "onhand/reserve/bulk")],
            Kind::Unreserve => [head!("POST", "onhand/unreserve"), head!("POST", "onhand/unreserve/bulk")],
        }
    }
}

/// Where all stock is.
const PLACE: &str =
    r#""organizationId":"usmf","dimensions":{"siteId":"1","locationId":"11","colorId":"red"}"#;

#[derive(Default)]
pub struct Lines {
    sent: u64,
    /// How many were answered, so that as many events must be in the ledger.
    pub answered: u64,
    /// Reservations that can be freed.
    reserved: VecDeque<String>,
}

impl Lines {
    /// A line under an id of its own, of the next product.
    pub fn next(&mut self, kind: Kind) -> String {
        self.sent += 1;
        let (id, product) = (self.sent, self.sent % LINES as u64);
        // Ids as clients make them fall anywhere in the index of the ledger.
        let id = format!("{:016x}-{id}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match kind {
            Kind::OnHand => {
                format!(
                    r#"{{"id":"{id}","productId":"P{product}",{PLACE},"quantities":{{"pos":{{"inbound":1000}}}}}}"#
                )
            }
            Kind::Reserve => format!(
                r#"{{"id":"{id}","productId":"P{product}",{PLACE},"quantities":{{"@iv":{{"@softreserved":1}}}}}}"#
            ),
            Kind::Unreserve => {
                let reservation = self.reserved.pop_front().expect("enough was reserved");
                format!(r#"{{"id":"{id}",{PLACE},"reservationId":"{reservation}","OffsetQty":1}}"#)
            }
        }
    }

    /// Reserves what so many lines will free.
    pub async fn prepare(&mut self, client: &mut Connection, kind: Kind, count: usize) {
        while kind == Kind::Unreserve && self.reserved.len() < count {
            self.bulk(client, Kind::Reserve).await;
        }
    }

    /// Sends a bulk, and says how long its answer took.
    pub async fn bulk(&mut self, client: &mut Connection, kind: Kind) -> Duration {
        let lines: Vec<String> = (0..LINES).map(|_| self.next(kind)).collect();
        let body = format!("[{}]", lines.join(","));
        client.body().extend_from_slice(body.as_bytes());
        let began = Instant::now();
        let answer = client.exchange(kind.heads()[1]).await;
        let took = began.elapsed();
        assert_eq!(answer.status, 200, "{}", &answer.text()[..1000.min(answer.body.len())]);
        let results: Vec<Value> = serde_json::from_slice(answer.body).expect("an array");
        assert_eq!(results.len(), LINES);
        assert!(results.iter().all(|result| result["processingStatus"] == "success"));
        if kind == Kind::Reserve {
            let ids =
                results.iter().map(|result| result["reservationId"].as_str().expect("an id").to_owned());
            self.reserved.extend(ids);
        }
        self.answered += LINES as u64;
        took
    }
}

/// Sends a line as a call of its own.
pub async fn send_one(client: &mut Connection, kind: Kind, body: &str) {
    client.body().extend_from_slice(body.as_bytes());
    let answer = client.exchange(kind.heads()[0]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
