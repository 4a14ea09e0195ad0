//! The follower "activity": what was done with what is set aside, by the minute.

use sqlx::PgConnection;

use crate::domain::activity::Kept;
use crate::store::{StoreError, activity, unmet};

use super::{Chunk, Follower};

/// Its name.
pub const NAME: &str = "activity";
/// Counts of unmet demand that are taken at once.
const UNMET_MAX: i64 = 5_000;
/// Places whose old rows are thinned out at once.
const THINNED_PLACES: i64 = 20;
/// How often that is done, in microseconds.
const THINS_EVERY: i64 = 1_000_000;

/// Keeps running totals of all that is done.
#[derive(Debug, Default)]
pub struct Activity {
    /// The last place whose old rows were thinned out. Where to go on is no more than a hint.
    thinned: i64,
    /// When the next are thinned out.
    thins_at: i64,
}

impl Follower for Activity {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn take(&mut self, connection: &mut PgConnection, chunk: Chunk) -> Result<(), StoreError> {
        let kept = Kept::stored_at(chunk.now);
        let mut moved = Vec::new();
        if chunk.until > chunk.after {
            moved = activity::moved(connection, (chunk.after, chunk.until), kept).await?;
        }
        moved.extend(unmet::take(connection, UNMET_MAX).await?);
        activity::keep(connection, &moved).await?;
        if !chunk.is_behind && chunk.now.0 >= self.thins_at {
            self.thins_at = chunk.now.0 + THINS_EVERY;
            let thinned = activity::thin(connection, self.thinned, THINNED_PLACES, kept).await?;
            self.thinned = thinned.unwrap_or(0);
        }
        Ok(())
    }
}
