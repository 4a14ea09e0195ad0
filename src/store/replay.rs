//! Replaying the ledger: every event under the configuration of its time, and with its product
//! enabled or not as it was then. Verification and questions about the past go the same way.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::replay::replay;
use crate::domain::state::Stock;

use super::ledger::Recorded;
use super::switches::History;
use super::{StoreError, configuration};

/// Most configurations that are kept while events go by: those of one product need one after the
/// other.
const CONFIGURATIONS_MAX: usize = 16;

/// What held for the events of an environment, read as it is needed.
pub struct Rules {
    environment: String,
    /// By version; or why one cannot be used.
    configurations: HashMap<i64, Result<Configuration, String>>,
    switches: Switches,
}

enum Switches {
    OfAll(History),
    OfOne(Option<(ProductKey, History)>),
}

impl Rules {
    /// For events of any products, in the order of the ledger.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn of_all(connection: &mut PgConnection, environment: &str) -> Result<Rules, StoreError> {
        let switches = Switches::OfAll(History::read(connection, environment).await?);
        Ok(Rules { environment: environment.to_owned(), configurations: HashMap::new(), switches })
    }

    /// For events of one product after the other.
    pub fn of_each(environment: &str) -> Rules {
        let switches = Switches::OfOne(None);
        Rules { environment: environment.to_owned(), configurations: HashMap::new(), switches }
    }

    /// Applies an event once more. Answers everything that is wrong with it, in words.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replay(
        &mut self,
        connection: &mut PgConnection,
        recorded: &Recorded,
        stock: &mut Stock,
    ) -> Result<Vec<String>, StoreError> {
        let event = match &recorded.event {
            Ok(event) => event,
            Err(why) => return Ok(vec![format!("cannot be replayed: {why}")]),
        };
        let mut wrong = Vec::new();
        if u64::try_from(recorded.version) != Ok(event.outcome.version) {
            let (version, answered) = (recorded.version, event.outcome.version);
            wrong.push(format!("is stored with version {version}, but was answered {answered}"));
        }
        let version = recorded.configuration_version;
        self.know(connection, version).await?;
        let configuration = match self.configurations.get(&version) {
            Some(Ok(configuration)) => configuration,
            Some(Err(why)) => {
                wrong.push(format!("was decided under version {version} of the configuration, which {why}"));
                return Ok(wrong);
            }
            None => return Ok(wrong),
        };
        if configuration.requires_enabled_products() {
            let switches = self.switches.of(connection, &event.command.product).await?;
            stock.is_enabled = Some(switches.was_enabled(&event.command.product, version));
        }
        let replayed = replay(stock, configuration, &event.command, event.received_at, &event.outcome);
        wrong.extend(replayed.err().map(|deviation| deviation.to_string()));
        Ok(wrong)
    }

    async fn know(&mut self, connection: &mut PgConnection, version: i64) -> Result<(), StoreError> {
        if self.configurations.contains_key(&version) {
            return Ok(());
        }
        if self.configurations.len() >= CONFIGURATIONS_MAX {
            self.configurations.clear();
        }
        let read = read_configuration(connection, &self.environment, Some(version)).await?;
        self.configurations.insert(version, read.map(|versioned| versioned.configuration));
        Ok(())
    }
}

impl Switches {
    async fn of(&mut self, connection: &mut PgConnection, key: &ProductKey) -> Result<&History, StoreError> {
        let kept = match self {
            Switches::OfAll(history) => return Ok(history),
            Switches::OfOne(kept) => kept,
        };
        let kept = match kept.take() {
            Some(own) if own.0 == *key => kept.insert(own),
            _ => kept.insert((key.clone(), History::of(connection, key).await?)),
        };
        Ok(&kept.1)
    }
}

/// Reads a configuration, the current one where no version is given; or what is wrong with it.
///
/// # Errors
/// When the database does not answer.
pub async fn read_configuration(
    connection: &mut PgConnection,
    environment: &str,
    version: Option<i64>,
) -> Result<Result<configuration::Versioned, String>, StoreError> {
    match configuration::read(connection, environment, version).await {
        Ok(Some(versioned)) => Ok(Ok(versioned)),
        Ok(None) => Ok(Err("is missing".to_owned())),
        Err(StoreError::Rejected(why)) => Ok(Err(format!("cannot be used: {why}"))),
        Err(error) => Err(error),
    }
}
