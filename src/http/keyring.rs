//! The keys in memory. A command costs a look at the map and the digest of one header; a key is read
//! when it is first used, and again when the environment's configuration has a newer version than
//! when it was read: to revoke a key makes one.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::domain::key::prefix_of;
use crate::store::keys::{self, Found};
use crate::store::{self, Readers, Sight};

use super::kept::Kept;
use super::problem::Problem;
use super::rates::Buckets;

/// Keys that are kept in memory; one that is forgotten has full buckets.
const KEPT_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Prefixes of no key that are remembered as such. They have room of their own: however many wrong
/// keys come, the right ones stay where they are.
const WRONG_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// For how long such a prefix is not looked up again.
const WRONG_TIME: Duration = Duration::from_secs(10);
/// Keys that are looked up at once, for requests that nobody knows yet whether they are allowed.
const LOOKUPS_MAX: usize = 2;
/// Longest that one waits to be looked up.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(2);

/// A key as it was when it was last read.
pub(super) struct Known {
    pub(super) found: Found,
    /// What is counted of it, however often it is read for as long as it is kept.
    pub(super) buckets: Arc<Buckets>,
}

/// Keys by their prefixes.
pub(super) struct Keyring {
    readers: Readers,
    kept: Kept<Arc<Known>>,
    wrong: Kept<Instant>,
    lookups: Semaphore,
}

impl Keyring {
    pub(super) fn new(readers: Readers) -> Keyring {
        Keyring {
            readers,
            kept: Kept::new(KEPT_MAX),
            wrong: Kept::new(WRONG_MAX),
            lookups: Semaphore::new(LOOKUPS_MAX),
        }
    }

    /// The key of a text, as it is kept or else stored; none where it is nobody's.
    pub(super) async fn find(&self, text: &str) -> Result<Option<Arc<Known>>, Problem> {
        let Some(prefix) = prefix_of(text) else { return Ok(None) };
        let known = match self.kept.get(prefix) {
            Some(known) => Some(known),
            None => Box::pin(self.look_up(prefix)).await?,
        };
        Ok(known.filter(|known| known.found.digest.is_of(text)))
    }

    async fn look_up(&self, prefix: &str) -> Result<Option<Arc<Known>>, Problem> {
        let is_wrong = |since: Instant| since.elapsed() < WRONG_TIME;
        if self.wrong.get(prefix).is_some_and(is_wrong) {
            return Ok(None);
        }
        let turn = tokio::time::timeout(LOOKUP_WAIT_MAX, self.lookups.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Problem::Overloaded) };
        // Somebody before may have looked for the same.
        if let Some(known) = self.kept.get(prefix) {
            return Ok(Some(known));
        }
        let known = self.read(prefix).await?;
        if known.is_none() {
            self.wrong.put(prefix, Instant::now());
        }
        Ok(known)
    }

    /// Reads a key anew: none when it is revoked.
    pub(super) async fn read(&self, prefix: &str) -> Result<Option<Arc<Known>>, Problem> {
        let reading =
            store::read(&self.readers, Sight::All, async |connection| keys::find(connection, prefix).await);
        let found = reading.await?.filter(|found| found.key.revoked_at.is_none());
        let Some(found) = found else {
            self.kept.remove(prefix);
            return Ok(None);
        };
        let known = self.kept.renew(prefix, |before| {
            let buckets = before.map(|known| Arc::clone(&known.buckets)).unwrap_or_default();
            Arc::new(Known { found, buckets })
        });
        Ok(Some(known))
    }
}
