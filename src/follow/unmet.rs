//! Hands on the demand that was not met, as this instance counted it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::unmet::Unmet;
use crate::store::{self, Readers, Sight, StoreError, unmet};

/// How often it is handed on: a crash loses what was counted since.
const EVERY: Duration = Duration::from_secs(1);

/// Hands on what is counted, every second, until it is to stop: not in the middle, for what was taken by
/// then is counted nowhere else. Where that fails it says so once, until it does again.
pub async fn run(counted: Arc<Mutex<Unmet>>, readers: Readers, mut stopping: watch::Receiver<bool>) {
    let mut is_failing = false;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let handed_on = hand_on(&counted, &readers).await;
        if let Err(error) = &handed_on
            && !is_failing
        {
            tracing::warn!(%error, "unmet demand could not be written, and is tried again");
        }
        is_failing = handed_on.is_err();
    }
}

/// Hands on what was counted. While there is no connection to be had it is kept; but of what was sent
/// and not answered it is not known whether it is there, and rather than twice it is counted never.
///
/// # Errors
/// When the database does not answer.
pub async fn hand_on(counted: &Mutex<Unmet>, readers: &Readers) -> Result<(), StoreError> {
    if lock(counted).is_empty() {
        return Ok(());
    }
    // First, so that nothing is taken that cannot be sent.
    drop(store::Reader::of(readers, Sight::All).await?);
    let (moved, not_counted) = lock(counted).take();
    if not_counted > 0 {
        tracing::warn!(not_counted, "unmet demand of too many group paths at once: some was not counted");
    }
    store::read(readers, Sight::All, async |connection| unmet::hand_on(connection, &moved).await).await
}

fn lock(counted: &Mutex<Unmet>) -> std::sync::MutexGuard<'_, Unmet> {
    // It is whole whenever the lock is free, also after a panic.
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}
