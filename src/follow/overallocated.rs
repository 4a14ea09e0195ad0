//! Counts the over-allocated nodes of all environments, round after round, for what is measured.
//!
//! Nothing keeps that number: a change of the formula or an external correction of stock changes it without a
//! command that would. So everything is looked at, a page at a time, and twenty times as long nothing
//! is: however large the books are, it takes a twentieth of one connection, and the number is as old
//! as a round is long. Each instance counts for itself, and they need no agreement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::store::overview::{self, Place};
use crate::store::{self, Readers, Sight, StoreError, configuration};
use crate::telemetry::metrics::Metrics;

/// Nodes of a page.
const PAGE_NODES: i64 = 2_000;
/// How many times as long as a page took it rests before the next.
const REST: u32 = 20;
/// Between two rounds.
const EVERY: Duration = Duration::from_secs(15);

/// Counts, for as long as it runs.
pub async fn run(metrics: Arc<Metrics>, readers: Readers) {
    let mut is_failing = false;
    loop {
        let counted = round(&readers).await;
        match &counted {
            Ok(count) => metrics.over_allocated(*count),
            Err(error) if !is_failing => {
                tracing::warn!(%error, "over-allocated nodes could not be counted, and are tried again");
            }
            Err(_) => {}
        }
        is_failing = counted.is_err();
        tokio::time::sleep(EVERY).await;
    }
}

async fn round(readers: &Readers) -> Result<i64, StoreError> {
    let (mut count, mut environment) = (0, String::new());
    let next = |last: String| async move {
        store::read(readers, Sight::All, async |c| overview::environment_behind(c, &last).await).await
    };
    while let Some(name) = next(environment).await? {
        let mut after = None;
        loop {
            let began = Instant::now();
            let (found, place) = page(readers, &name, after.as_ref()).await?;
            count += found;
            tokio::time::sleep(began.elapsed() * REST).await;
            after = place;
            if after.is_none() {
                break;
            }
        }
        environment = name;
    }
    Ok(count)
}

async fn page(
    readers: &Readers,
    environment: &str,
    after: Option<&Place>,
) -> Result<(i64, Option<Place>), StoreError> {
    store::read(readers, Sight::Of(environment), async |connection| {
        // It may have another formula since the last page.
        let Some(of_now) = configuration::read(connection, environment, None).await? else {
            return Ok((0, None));
        };
        overview::over_allocated(connection, environment, &of_now.configuration, after, PAGE_NODES).await
    })
    .await
}
