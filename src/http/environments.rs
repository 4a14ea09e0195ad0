//! The configurations in memory.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::domain::name::Value;
use crate::store::configuration::{self, Versioned};
use crate::store::{self, Readers, Sight};

use super::kept::Kept;
use super::problem::Problem;

/// Environments whose configuration is kept in memory.
const KEPT_MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Configurations by environment, each as it was when it was last read.
///
/// What reads the database is boxed where it is awaited: it is rare, but the future of every
/// request would be as large as its.
pub(crate) struct Environments {
    readers: Readers,
    kept: Kept<(Value, Arc<Versioned>)>,
}

impl Environments {
    pub(crate) fn new(readers: Readers) -> Environments {
        Environments { readers, kept: Kept::new(KEPT_MAX) }
    }

    /// An environment's id and configuration: the kept ones, or the stored ones.
    pub(crate) async fn get(&self, environment: &str) -> Result<(Value, Arc<Versioned>), Problem> {
        if let Some(kept) = self.kept.get(environment) {
            return Ok(kept);
        }
        let id =
            Value::parse(environment).map_err(|_| Problem::UnknownEnvironment(environment.to_owned()))?;
        let versioned = Box::pin(self.read(&id)).await?;
        Ok((id, versioned))
    }

    async fn read(&self, environment: &Value) -> Result<Arc<Versioned>, Problem> {
        let reading = store::read(&self.readers, Sight::Of(environment.as_str()), async |connection| {
            configuration::read(connection, environment.as_str(), None).await
        });
        let versioned = reading.await?;
        let Some(versioned) = versioned.map(Arc::new) else {
            self.kept.remove(environment.as_str());
            return Err(Problem::UnknownEnvironment(environment.to_string()));
        };
        self.keep(environment, Arc::clone(&versioned));
        Ok(versioned)
    }

    /// The current configuration, when it is another than the given one.
    pub(crate) async fn newer_than(
        &self,
        environment: &Value,
        given: &Versioned,
    ) -> Result<Option<Arc<Versioned>>, Problem> {
        let reading = store::read(&self.readers, Sight::Of(environment.as_str()), async |connection| {
            configuration::version(connection, environment.as_str()).await
        });
        let current = reading.await?;
        if current == Some(given.version) {
            return Ok(None);
        }
        self.read(environment).await.map(Some)
    }

    /// Keeps what was just stored, or read.
    pub(crate) fn keep(&self, environment: &Value, versioned: Arc<Versioned>) {
        self.kept.put(environment.as_str(), (environment.clone(), versioned));
    }

    /// The current configuration, whatever is kept.
    pub(crate) async fn current(&self, environment: &Value) -> Result<Arc<Versioned>, Problem> {
        let (_, kept) = self.get(environment.as_str()).await?;
        Ok(self.newer_than(environment, &kept).await?.unwrap_or(kept))
    }
}
