//! What clients send: the bodies, and who sends which.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::connection::Answer;
use crate::load::{Counted, Script};

/// The head of a request to the environment of the sale, up to its length.
macro_rules! head {
    ($method:literal, $path:literal) => {
        concat!(
            $method,
            " /api/environment/sale/",
            $path,
            " HTTP/1.1\r\nhost: ringfence\r\ncontent-type: application/json\r\ncontent-length: "
        )
    };
}
pub(crate) use head;

const ALLOCATE: &str = head!("POST", "allocation/allocate");
const CONSUME: &str = head!("POST", "allocation/consume");
const QUERY: &str = head!("POST", "allocation/query");

/// The configuration of the sale.
pub const CONFIGURATION: &str = include_str!("../sale.json");
const ORGANIZATION: &str = r#""organizationId":"usmf""#;
const DIMENSIONS: &str = r#""dimensions":{"siteId":"1","locationId":"11","colorId":"red"}"#;
const GROUPS: &str = r#""groups":{"channel":"Web","region":"London","customerGroup":"VIP"}"#;
/// The product that everybody wants.
pub const HOT: &str = "Bike";
/// How many products there are where there are many.
pub const PRODUCTS: usize = 10_000;
/// What a repeating client remembers of what it sent.
const REMEMBERED: usize = 64;

/// Numbers the loads of this run, so that no two of them send the same ids.
pub fn load_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The name of one of many products.
pub fn product(index: usize) -> String {
    format!("{HOT}-{index}")
}

/// Chance that is cheap, and the same in every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.next() as f64 / (1_u64 << 53) as f64
    }
}

/// Which products are bought.
#[derive(Clone)]
pub enum Products {
    One(Arc<str>),
    Uniform,
    /// By how likely it is that a product or one before it is bought.
    Zipf(Arc<[f64]>),
}

impl Products {
    pub fn hot() -> Products {
        Products::One(HOT.into())
    }

    /// Each product half as likely as one of half its place, and so on: Zipf's law, exponent 1.
    pub fn zipf() -> Products {
        let sums = (1..=PRODUCTS).scan(0.0, |sum, place| {
            *sum += 1.0 / place as f64;
            Some(*sum)
        });
        let sums: Vec<f64> = sums.collect();
        Products::Zipf(sums.iter().map(|sum| sum / sums[PRODUCTS - 1]).collect())
    }

    fn write_one(&self, random: &mut Random, body: &mut Vec<u8>) {
        let index = match self {
            Products::One(product) => return body.extend_from_slice(product.as_bytes()),
            Products::Uniform => random.below(PRODUCTS),
            Products::Zipf(sums) => {
                let share = random.share();
                sums.partition_point(|&sum| sum < share).min(PRODUCTS - 1)
            }
        };
        let _ = write!(body, "{HOT}-{index}");
    }
}

/// A client that buys one piece after the other.
pub struct Sale {
    load: u64,
    client: usize,
    count: u64,
    products: Products,
    random: Random,
    /// What stands after the id, and after the product: put together once, not for each request.
    after_id: String,
    after_product: String,
}

impl Sale {
    pub fn new(load: u64, client: usize, products: Products) -> Sale {
        let random = Random::new(load << 16 | client as u64);
        let after_id = format!(r#"",{ORGANIZATION},"productId":""#);
        let after_product = format!(
            r#"",{DIMENSIONS},{GROUPS},"quantity":1,"physicalMeasures":{{"pos":{{"inbound":"Subtraction"}}}}}}"#
        );
        Sale { load, client, count: 0, products, random, after_id, after_product }
    }
}

impl Script for Sale {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<&'static str> {
        self.count += 1;
        let _ = write!(body, r#"{{"id":"{}-{}-{}"#, self.load, self.client, self.count);
        body.extend_from_slice(self.after_id.as_bytes());
        self.products.write_one(&mut self.random, body);
        body.extend_from_slice(self.after_product.as_bytes());
        Some(CONSUME)
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Counted {
        match answer.status {
            200 => Counted::Accepted,
            503 => Counted::Unavailable,
            status => panic!("answered {status}: {}", answer.text()),
        }
    }
}

/// A client that goes on for a while after everything is sold.
pub struct Scarce {
    pub sale: Sale,
    /// When to stop: some time after the first refusal to anybody.
    pub end: Arc<OnceLock<Instant>>,
    pub time_after: Duration,
}

impl Script for Scarce {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<&'static str> {
        if self.end.get().is_some_and(|&end| Instant::now() >= end) {
            return None;
        }
        self.sale.next(body)
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Counted {
        if answer.status != 409 {
            return self.sale.judge(answer);
        }
        self.end.get_or_init(|| Instant::now() + self.time_after);
        Counted::Refused
    }
}

/// A client that sends every tenth request a second time, and insists on the same answer.
pub struct Repeats {
    pub sale: Sale,
    /// The latest bodies with their answers.
    sent: Vec<(Vec<u8>, Vec<u8>)>,
    /// The one that is being repeated.
    repeated: Option<usize>,
    /// The oldest, which the next is put in the place of.
    oldest: usize,
}

impl Repeats {
    pub fn new(sale: Sale) -> Repeats {
        Repeats { sale, sent: Vec::new(), repeated: None, oldest: 0 }
    }

    fn remember(&mut self, answer: &Answer<'_>) {
        let place = self.oldest;
        self.sent[place].1.clear();
        self.sent[place].1.extend_from_slice(answer.body);
        self.oldest = (place + 1) % REMEMBERED;
    }
}

impl Script for Repeats {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<&'static str> {
        let repeats = !self.sent.is_empty() && self.sale.random.below(10) == 0;
        self.repeated = repeats.then(|| self.sale.random.below(self.sent.len()));
        if let Some(place) = self.repeated {
            body.extend_from_slice(&self.sent[place].0);
            return Some(CONSUME);
        }
        let head = self.sale.next(body);
        if self.sent.len() == self.oldest {
            self.sent.push(Default::default());
        }
        let kept = &mut self.sent[self.oldest].0;
        kept.clear();
        kept.extend_from_slice(body);
        head
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Counted {
        let counted = self.sale.judge(answer);
        assert!(counted == Counted::Accepted, "a repeat can only be checked where nothing fails");
        let Some(place) = self.repeated else {
            self.remember(answer);
            return counted;
        };
        assert_eq!(answer.text(), String::from_utf8_lossy(&self.sent[place].1), "the repeat of an event");
        let marked = b"\r\nidempotent-replayed: true\r\n";
        assert!(answer.head.windows(marked.len()).any(|part| part == marked), "a repeat is marked as one");
        Counted::Answered
    }
}

/// A client that mostly asks what there is.
pub struct Reads {
    pub sale: Sale,
    pub asks: bool,
}

impl Script for Reads {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<&'static str> {
        self.asks = self.sale.random.below(10) > 0;
        if !self.asks {
            return self.sale.next(body);
        }
        let _ = write!(body, r#"{{{ORGANIZATION},"productId":""#);
        self.sale.products.write_one(&mut self.sale.random, body);
        let _ = write!(body, r#"",{DIMENSIONS}}}"#);
        Some(QUERY)
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Counted {
        if !self.asks {
            return self.sale.judge(answer);
        }
        assert!(answer.status == 200 && answer.body.starts_with(b"[{"), "a balance: {}", answer.text());
        Counted::Answered
    }
}

/// A client that sets stock of its share of the many products aside.
pub struct Allocations {
    pub next: usize,
    pub step: usize,
    pub quantity: u64,
}

impl Script for Allocations {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<&'static str> {
        let index = self.next;
        self.next += self.step;
        if index >= PRODUCTS {
            return None;
        }
        body.extend_from_slice(allocation(&product(index), self.quantity).as_bytes());
        Some(ALLOCATE)
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Counted {
        assert_eq!(answer.status, 200, "{}", answer.text());
        Counted::Answered
    }
}

/// Stock of a product, as a change of what is on hand.
pub fn stock(product: &str, quantity: u64) -> String {
    format!(
        r#"{{"id":"stock of {product}",{ORGANIZATION},"productId":"{product}",{DIMENSIONS},"quantities":{{"pos":{{"inbound":{quantity}}}}}}}"#
    )
}

/// Stock of a product, set aside for the sale.
pub fn allocation(product: &str, quantity: u64) -> String {
    format!(
        r#"{{"id":"sale of {product}",{ORGANIZATION},"productId":"{product}",{DIMENSIONS},{GROUPS},"quantity":{quantity}}}"#
    )
}

/// A sale whose requests bring a key.
pub struct Guarded {
    sale: Sale,
    head: &'static str,
}

impl Guarded {
    /// The head of all requests with a key. It is kept for as long as the process runs.
    pub fn head(key: &str) -> &'static str {
        let length = "content-length: ";
        CONSUME.replace(length, &format!("authorization: Bearer {key}\r\n{length}")).leak()
    }

    pub fn new(sale: Sale, head: &'static str) -> Guarded {
        Guarded { sale, head }
    }
}

impl Script for Guarded {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<&'static str> {
        self.sale.next(body).map(|_| self.head)
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Counted {
        self.sale.judge(answer)
    }
}
