//! Many at once for what is scarce: exactly the stock is given out, and the books say so.

use std::sync::Arc;

use serde_json::{Value, json};

use super::requests::{all, allocation, consumption, problem, reallocation, without};
use super::support::{Answer, Service};

const STOCK: usize = 100;
const TASKS: usize = 64;
const TURNS: usize = 4;

/// Whether a command was granted; it is refused for a shortage only.
fn is_granted(answer: &Answer) -> bool {
    if answer.status == 200 {
        return true;
    }
    let short = answer.json()["code"].as_str().unwrap().to_owned();
    assert!(["insufficient-available-to-allocate", "insufficient-allocation"].contains(&short.as_str()));
    problem(answer, &short);
    false
}

/// Allocations and consumes of a task, more than there is stock for. Answers how many of
/// each were granted.
async fn grab(service: Arc<Service>, task: usize) -> (usize, usize) {
    let group = if task.is_multiple_of(2) { "Online" } else { "Store/VIP" };
    let (mut allocated, mut consumed) = (0, 0);
    for turn in 0..TURNS {
        let allocate = allocation(&format!("a-{task}-{turn}"), group, 1);
        allocated += usize::from(is_granted(&service.post("allocation/allocate", allocate).await));
        let mut consume = consumption(&format!("c-{task}-{turn}"), group, 1);
        if turn % 2 == 1 {
            consume["physicalMeasures"] = json!({"@iv": {"@softreserved": "Addition"}});
        }
        consumed += usize::from(is_granted(&service.post("allocation/consume", consume).await));
    }
    (allocated, consumed)
}

/// The sum of a quantity over all group paths.
fn sum(balances: &Value, place: usize) -> usize {
    let balances = balances.as_array().unwrap().iter();
    balances.map(|balance| balance[place].as_u64().unwrap() as usize).sum()
}

async fn hold(service: &Service, granted: &[(usize, usize)]) {
    let allocated: usize = granted.iter().map(|granted| granted.0).sum();
    let consumed: usize = granted.iter().map(|granted| granted.1).sum();
    assert_eq!(allocated, STOCK);
    let balances = service.balances(json!({})).await;
    assert_eq!((sum(&balances, 3), sum(&balances, 4)), (STOCK, consumed), "{balances}");
    assert_eq!(sum(&balances, 1), STOCK - consumed);
    assert_eq!(service.verify().await, 1 + allocated + consumed);
}

#[tokio::test]
async fn exactly_the_stock_is_allocated_and_at_most_that_consumed() {
    let service = Arc::new(Service::with_stock(STOCK as i64).await);
    let granted = all((0..TASKS).map(|task| grab(Arc::clone(&service), task))).await;
    hold(&service, &granted).await;
    Arc::into_inner(service).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_give_out_exactly_the_stock_together() {
    let one = Arc::new(Service::with_stock(STOCK as i64).await);
    let other = Arc::new(Service::start_on(one.database.clone(), &[]).await);
    let instances = [one, other];
    let granted = all((0..TASKS).map(|task| grab(Arc::clone(&instances[task / 2 % 2]), task))).await;
    hold(&instances[0], &granted).await;
    for service in instances {
        Arc::into_inner(service).unwrap().stop().await;
    }
}

/// Hands stock from group to group, and back, over two instances: it is neither made nor lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_around_stays_the_same_in_all() {
    let one = Arc::new(Service::with_stock(STOCK as i64).await);
    let other = Arc::new(Service::start_on(one.database.clone(), &[]).await);
    one.grant("allocation/allocate", allocation("all", "Online", 10)).await;
    let instances = [one, other];
    let hand = |task: usize| {
        let service = Arc::clone(&instances[task % 2]);
        async move {
            let groups = ["Online", "Online/VIP", "Store"];
            let (from, to) = (groups[task % 3], groups[(task + 1) % 3]);
            let move_on = reallocation(&format!("r{task}"), from, to, 1 + task as i64 % 4);
            usize::from(is_granted(&service.post("allocation/reallocate", move_on).await))
        }
    };
    let granted: usize = all((0..TASKS).map(hand)).await.iter().sum();
    assert!(granted > 0);
    let balances = instances[0].balances(json!({})).await;
    assert_eq!((sum(&balances, 1), sum(&balances, 3)), (10, 10), "{balances}");
    assert_eq!(instances[1].verify().await, 2 + granted);
    let bare = without(consumption("bare", "Online", 1), "physicalMeasures");
    instances[0].refuse("allocation/consume", bare, "consumption-not-neutral").await;
    for service in instances {
        Arc::into_inner(service).unwrap().stop().await;
    }
}
