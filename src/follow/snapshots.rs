//! Takes snapshots of products, so that how things stood is told soon, however long ago it was.

use sqlx::PgConnection;

use crate::domain::snapshot::EVENTS_MIN;
use crate::store::{StoreError, snapshots};

use super::{Chunk, Follower};

/// Who takes them.
#[derive(Debug)]
pub struct Snapshots;

impl Follower for Snapshots {
    fn name(&self) -> &'static str {
        "snapshots"
    }

    async fn take(&mut self, connection: &mut PgConnection, chunk: Chunk) -> Result<(), StoreError> {
        if chunk.after == chunk.until {
            return Ok(());
        }
        snapshots::follow(connection, (chunk.after, chunk.until), EVENTS_MIN).await
    }
}
