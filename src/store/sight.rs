//! What a connection sees: the environments that it works for at the moment. The database passes rows
//! of no others, whatever a statement says (migration 0021).
//!
//! A connection that is kept is a [`Resting`]: nothing can be asked of it. To be used it must say for
//! whom, which makes it a [`Seeing`]; and what it was last told goes wherever it goes. So none can
//! serve somebody with what somebody else saw. To tell it is a round trip, which is had only when it is
//! another environment than the last.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::{StoreError, refuse_follower};

/// Environments that one connection is told of at once: of a writer, who would otherwise tell it again
/// with every batch.
const ENVIRONMENTS_MAX: usize = 64;

/// For whom a connection works.
#[derive(Clone, Copy, Debug)]
pub enum Sight<'a> {
    /// One environment.
    Of(&'a str),
    /// All of these, and perhaps those before.
    OfEach(&'a [&'a str]),
    /// All that there are: who follows the ledger, verifies it, or looks for a key.
    All,
    /// None: what is asked is of no environment.
    Nothing,
}

/// What a connection was told.
#[derive(Debug)]
enum Told {
    /// Nothing, or nobody knows.
    Unknown,
    All,
    Environments(Vec<String>),
}

impl Told {
    fn covers(&self, sight: Sight<'_>) -> bool {
        match (self, sight) {
            (_, Sight::Nothing) | (Told::All, Sight::All) => true,
            (Told::Environments(told), Sight::Of(one)) => matches!(&told[..], [only] if only == one),
            (Told::Environments(told), Sight::OfEach(each)) => {
                each.iter().all(|one| told.iter().any(|known| known == one))
            }
            _ => false,
        }
    }
}

/// A connection between two uses.
#[derive(Debug)]
pub struct Resting {
    connection: PgConnection,
    told: Told,
}

impl Resting {
    /// One that was just opened.
    pub fn new(connection: PgConnection) -> Resting {
        Resting { connection, told: Told::Unknown }
    }

    /// Opens one to the server that leads.
    ///
    /// # Errors
    /// When the database cannot be reached, or is not the one that leads.
    pub(super) async fn open(options: &PgConnectOptions) -> Result<Resting, sqlx::Error> {
        use sqlx::Connection;
        let mut connection = PgConnection::connect_with(options).await?;
        refuse_follower(&mut connection).await?;
        Ok(Resting::new(connection))
    }

    /// Whether it would see the same without being told.
    pub(super) fn covers(&self, sight: Sight<'_>) -> bool {
        self.told.covers(sight)
    }

    /// Whether it can be used: one that idled is asked first.
    pub(super) async fn is_alive(&mut self, idle_for: Duration) -> bool {
        super::is_alive(&mut self.connection, idle_for).await.unwrap_or(false)
    }

    /// Says goodbye.
    pub async fn close(self) {
        use sqlx::Connection;
        let _ = self.connection.close().await;
    }

    /// Tells it for whom it works from now on.
    ///
    /// # Errors
    /// When the database does not answer: the connection is gone then.
    pub async fn see(mut self, sight: Sight<'_>) -> Result<Seeing, StoreError> {
        if !self.told.covers(sight) {
            let told = self.next(sight);
            tell(&mut self.connection, &told).await?;
            self.told = told;
        }
        Ok(Seeing { resting: self })
    }

    fn next(&self, sight: Sight<'_>) -> Told {
        let of = |each: &[&str]| each.iter().map(|one| (*one).to_owned()).collect::<Vec<String>>();
        match (sight, &self.told) {
            (Sight::All, _) => Told::All,
            (Sight::Nothing, _) => Told::Environments(Vec::new()),
            (Sight::Of(one), _) => Told::Environments(of(&[one])),
            (Sight::OfEach(each), Told::Environments(before)) => {
                let more: Vec<&str> =
                    each.iter().copied().filter(|one| !before.iter().any(|known| known == one)).collect();
                match before.len() + more.len() {
                    ..=ENVIRONMENTS_MAX => Told::Environments([&before[..], &of(&more)].concat()),
                    _ => Told::Environments(of(each)),
                }
            }
            (Sight::OfEach(each), _) => Told::Environments(of(each)),
        }
    }
}

/// A connection that is used, by one who said for whom.
#[derive(Debug)]
pub struct Seeing {
    resting: Resting,
}

impl Seeing {
    /// Opens one for what only one does all its life.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn of(connection: PgConnection, sight: Sight<'_>) -> Result<Seeing, StoreError> {
        Resting::new(connection).see(sight).await
    }

    /// It is not used for now.
    pub fn rest(self) -> Resting {
        self.resting
    }
}

impl Deref for Seeing {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.resting.connection
    }
}

impl DerefMut for Seeing {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.resting.connection
    }
}

/// The names go as an array, which PostgreSQL itself makes the text of: no name can be taken for two.
async fn tell(connection: &mut PgConnection, told: &Told) -> Result<(), StoreError> {
    match told {
        Told::All => {
            sqlx::query_scalar!("SELECT set_config('ringfence.environments', '*', false)")
                .fetch_one(connection)
                .await?;
        }
        Told::Environments(environments) => {
            sqlx::query_scalar!(
                "SELECT set_config('ringfence.environments', $1::text[]::text, false)",
                environments
            )
            .fetch_one(connection)
            .await?;
        }
        Told::Unknown => {}
    }
    Ok(())
}
