//! A writer's connection to the database: opened when needed, dropped when in doubt.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;

use crate::store::sight::Resting;
use crate::store::{self, Isolation, Seeing, Sight, StoreError};

/// How long a writer does without serializable transactions when the database has no room for them.
const UNWATCHED_TIME: Duration = Duration::from_secs(10);

pub(super) struct Link {
    options: PgConnectOptions,
    round_trip_max: Duration,
    idle: Option<Resting>,
    /// Whether the database let itself be connected to when that was last needed.
    is_up: bool,
    /// Until when transactions are read committed: the guards keep the books right, and the
    /// isolation level, their second line, cannot be had.
    unwatched_until: Option<Instant>,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions, round_trip_max: Duration) -> Link {
        Link { options, round_trip_max, idle: None, is_up: true, unwatched_until: None }
    }

    /// The connection, or a new one, which sees these environments. While it is checked out the link has none, so that an
    /// exchange that is cut off leaves nothing behind that could be used again.
    pub(super) async fn check_out(&mut self, environments: &[&str]) -> Result<Seeing, StoreError> {
        let resting = self.take().await?;
        let seeing = self.bounded(resting.see(Sight::OfEach(environments))).await;
        if let Err(StoreError::Unwatched(why)) = &seeing {
            self.do_without(why);
        }
        seeing
    }

    async fn take(&mut self) -> Result<Resting, StoreError> {
        if self.unwatched_until.is_some_and(|until| until < Instant::now()) {
            self.unwatched_until = None;
            self.idle = None;
        }
        if let Some(connection) = self.idle.take() {
            return Ok(connection);
        }
        let options = match self.unwatched_until {
            Some(_) => &store::isolated(self.options.clone(), Isolation::ReadCommitted),
            None => &self.options,
        };
        let connected = store::connect_to_leader(options, self.round_trip_max).await;
        self.is_up = !matches!(connected, Err(StoreError::Unavailable(_)));
        if let Err(StoreError::Unwatched(why)) = &connected {
            self.do_without(why);
        }
        connected.map(Resting::new)
    }

    fn do_without(&mut self, why: &str) {
        tracing::warn!(error = why, "the guards alone keep order for {UNWATCHED_TIME:?}");
        self.unwatched_until = Some(Instant::now() + UNWATCHED_TIME);
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) fn round_trip_max(&self) -> Duration {
        self.round_trip_max
    }

    /// Takes the connection back, unless the exchange left its state in doubt.
    pub(super) fn check_in<T>(&mut self, connection: Seeing, result: &Result<T, StoreError>) {
        match result {
            Err(StoreError::Unwatched(why)) => self.do_without(why),
            Err(StoreError::Unavailable(_)) => {}
            _ => self.idle = Some(connection.rest()),
        }
    }

    /// Bounds an exchange; sqlx itself waits for ever.
    pub(super) fn bounded<T>(
        &self,
        exchange: impl Future<Output = Result<T, StoreError>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let limit = self.round_trip_max;
        async move {
            let late = || Err(StoreError::Unavailable(format!("no answer within {limit:?}")));
            tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| late())
        }
    }

    pub(super) async fn close(mut self) {
        if let Some(connection) = self.idle.take() {
            let _ = tokio::time::timeout(self.round_trip_max, connection.close()).await;
        }
    }
}
