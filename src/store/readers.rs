//! The connections for queries. A pool of others keeps a connection without what it was told to see,
//! so this is one of our own.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::sight::{Resting, Seeing, Sight};
use super::{StoreError, unanswered};

/// How old a connection gets. The database may have moved behind its name.
const AGE_MAX: Duration = Duration::from_secs(1800);
/// Waits between two tries to connect to a server that starts, or is not the one that leads yet.
const CONNECT_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The connections for queries.
#[derive(Clone, Debug)]
pub struct Readers(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    options: PgConnectOptions,
    /// Longest that one is waited for, and that one exchange may take.
    wait_max: Duration,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    resting: Resting,
    opened: Instant,
    since: Instant,
}

impl Readers {
    /// None is open yet, and at most `most` ever are at once.
    pub fn new(options: PgConnectOptions, most: u32, wait_max: Duration) -> Readers {
        // What is asked for whole or in part is not logged.
        let options = options.disable_statement_logging();
        let places = Arc::new(Semaphore::new(most as usize));
        Readers(Arc::new(Pool { options, wait_max, places, idle: Mutex::default() }))
    }

    /// How they connect.
    pub fn options(&self) -> &PgConnectOptions {
        &self.0.options
    }

    /// Longest that one is waited for.
    pub fn wait_max(&self) -> Duration {
        self.0.wait_max
    }

    /// Lets nobody have one any more, and closes those that are idle.
    pub async fn close(&self) {
        self.0.places.close();
        let idle = std::mem::take(&mut *self.0.idle());
        for one in idle {
            one.resting.close().await;
        }
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // The list is whole whenever the lock is free, also after a panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is idle: rather one that need not be told.
    fn pop(&self, sight: Sight<'_>) -> Option<Idle> {
        let mut idle = self.idle();
        let place = idle.iter().rposition(|one| one.resting.covers(sight)).or(idle.len().checked_sub(1))?;
        Some(idle.swap_remove(place))
    }

    async fn take(&self, sight: Sight<'_>) -> Result<(Resting, Instant), StoreError> {
        while let Some(Idle { mut resting, opened, since }) = self.pop(sight) {
            if opened.elapsed() < AGE_MAX && resting.is_alive(since.elapsed()).await {
                return Ok((resting, opened));
            }
        }
        let (mut wait, most) = CONNECT_AGAIN;
        loop {
            match Resting::open(&self.options).await {
                Ok(resting) => return Ok((resting, Instant::now())),
                Err(error) if is_passing(&error) => tokio::time::sleep(wait).await,
                Err(error) => return Err(StoreError::of_connecting(error)),
            }
            wait = (wait * 2).min(most);
        }
    }
}

/// Whether a server may be there, or lead, a moment later.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

/// Has an exchange over a reader's connection, for whom `sight` says. It takes no longer than one may
/// wait for the connection: sqlx itself waits for ever. A connection in doubt is not used again.
///
/// # Errors
/// When the database does not answer in time, and those of the exchange.
pub async fn read<T>(
    readers: &Readers,
    sight: Sight<'_>,
    exchange: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut reader = Reader::of(readers, sight).await?;
    let limit = readers.wait_max();
    reader.is_cut_off = true;
    let result = timeout(limit, exchange(&mut reader)).await;
    reader.is_cut_off = result.is_err();
    let result = result.unwrap_or_else(|_| Err(unanswered(limit)));
    if matches!(result, Err(StoreError::Unavailable(_))) {
        reader.discard();
    }
    result
}

/// A connection for queries, which goes back when it is dropped.
#[derive(Debug)]
pub struct Reader {
    /// There until it is dropped.
    seeing: Option<Seeing>,
    opened: Instant,
    /// Whether an exchange would not come to its end, were it dropped now: it may be in a transaction
    /// then of which sqlx knows nothing, where the beginning itself was not heard of.
    is_cut_off: bool,
    pool: Arc<Pool>,
    place: Option<OwnedSemaphorePermit>,
}

impl Reader {
    /// Takes one, for whom `sight` says.
    ///
    /// # Errors
    /// When none is free in time, or the database does not answer.
    pub async fn of(readers: &Readers, sight: Sight<'_>) -> Result<Reader, StoreError> {
        let pool = Arc::clone(&readers.0);
        let limit = pool.wait_max;
        let taking = async {
            let place = Arc::clone(&pool.places).acquire_owned().await;
            let place = place.map_err(|_| StoreError::Unavailable("the service stops".to_owned()))?;
            let (resting, opened) = pool.take(sight).await?;
            let seeing = Some(resting.see(sight).await?);
            Ok(Reader { seeing, opened, is_cut_off: false, pool: Arc::clone(&pool), place: Some(place) })
        };
        timeout(limit, taking).await.unwrap_or_else(|_| Err(unanswered(limit)))
    }

    /// Closes it: what state it is in is not known.
    pub fn discard(mut self) {
        self.seeing = None;
    }
}

impl Deref for Reader {
    type Target = PgConnection;

    #[allow(clippy::expect_used, reason = "it is taken where the reader itself is gone")]
    fn deref(&self) -> &PgConnection {
        self.seeing.as_deref().expect("a reader has its connection until it is dropped")
    }
}

impl DerefMut for Reader {
    #[allow(clippy::expect_used, reason = "it is taken where the reader itself is gone")]
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.seeing.as_deref_mut().expect("a reader has its connection until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // What was cut off in the middle is heard to its end, and closed, before its place is free.
        let (Some(mut seeing), place) = (self.seeing.take(), self.place.take()) else { return };
        let (pool, opened, is_cut_off) = (Arc::clone(&self.pool), self.opened, self.is_cut_off);
        tokio::spawn(async move {
            let is_heard = matches!(timeout(pool.wait_max, seeing.ping()).await, Ok(Ok(())));
            if is_heard && !is_cut_off && !pool.places.is_closed() {
                pool.idle().push(Idle { resting: seeing.rest(), opened, since: Instant::now() });
            }
            drop(place);
        });
    }
}
