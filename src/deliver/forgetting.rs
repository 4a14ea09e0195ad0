//! Forgets what is old of alerts and their deliveries, round after round: a page at a time, and twenty
//! times as long nothing. Each instance does it for itself.

use std::time::{Duration, Instant};

use crate::store::{self, Readers, Sight, StoreError, forgetting, overview};

/// Notices of a page.
const PAGE_NOTICES: i64 = 500;
/// How many times as long as a page took it rests before the next.
const REST: u32 = 20;
/// Between two rounds.
const EVERY: Duration = Duration::from_secs(10);

/// Forgets what is older than so many days, for as long as it runs.
pub async fn run(readers: Readers, days: i32) {
    let mut is_failing = false;
    loop {
        let forgotten = round(&readers, days).await;
        if let Err(error) = &forgotten
            && !is_failing
        {
            tracing::warn!(%error, "what is old of alerts could not be forgotten, and is tried again");
        }
        is_failing = forgotten.is_err();
        tokio::time::sleep(EVERY).await;
    }
}

async fn round(readers: &Readers, days: i32) -> Result<(), StoreError> {
    let mut environment = String::new();
    let next = |last: String| async move {
        store::read(readers, Sight::All, async |c| overview::environment_behind(c, &last).await).await
    };
    while let Some(name) = next(environment).await? {
        let mut after = None;
        loop {
            let began = Instant::now();
            after = store::read(readers, Sight::Of(&name), async |connection| {
                forgetting::page(connection, &name, after, days, PAGE_NOTICES).await
            })
            .await?;
            tokio::time::sleep(began.elapsed() * REST).await;
            if after.is_none() {
                break;
            }
        }
        environment = name;
    }
    Ok(())
}
