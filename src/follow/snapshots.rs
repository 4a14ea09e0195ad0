//! Takes snapshots of products, so that how things stood is told soon, however long ago it was.

use sqlx::PgConnection;

use crate::domain::snapshot::EVENTS_MIN;
use crate::store::StoreError;
use crate::store::snapshots::{self, Source};

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
        let source = if chunk.is_behind { Source::Ledger } else { Source::Books };
        snapshots::follow(connection, (chunk.after, chunk.until), source, EVENTS_MIN).await
    }
}
