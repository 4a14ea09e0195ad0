//! A writer's connection to the database: opened when needed, dropped when in doubt.

use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::store::{self, StoreError};

pub(super) struct Link {
    options: PgConnectOptions,
    round_trip_max: Duration,
    idle: Option<PgConnection>,
    /// Whether the database let itself be connected to when that was last needed.
    is_up: bool,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions, round_trip_max: Duration) -> Link {
        Link { options, round_trip_max, idle: None, is_up: true }
    }

    /// The connection, or a new one. While it is checked out the link has none, so that an
    /// exchange that is cut off leaves nothing behind that could be used again.
    pub(super) async fn check_out(&mut self) -> Result<PgConnection, StoreError> {
        match self.idle.take() {
            Some(connection) => Ok(connection),
            None => {
                let connected = store::connect_to_leader(&self.options, self.round_trip_max).await;
                self.is_up = connected.is_ok();
                connected
            }
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) fn round_trip_max(&self) -> Duration {
        self.round_trip_max
    }

    /// Takes the connection back, unless the exchange left its state in doubt.
    pub(super) fn check_in<T>(&mut self, connection: PgConnection, result: &Result<T, StoreError>) {
        if !matches!(result, Err(StoreError::Unavailable(_))) {
            self.idle = Some(connection);
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
