//! What a writer asks the ledger before it tells anybody: whether a refusal is true, and what became
//! of a commit whose answer was lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::domain::name::Value;
use crate::engine::batch::root;
use crate::engine::{Failure, Submission};
use crate::store::ledger::Event;
use crate::store::{StoreError, configuration, ledger, state};

use super::{Doubtful, Writer, commands_of, environment_of, environments_of, reject};

impl Writer {
    /// A refusal is answered only when it is true: the id is not in the ledger, and the state
    /// and configuration that it rests on are still the stored ones. What was read under the
    /// locks was the stored state, whatever came after.
    pub(super) async fn confirm(
        &mut self,
        doubtful: Vec<Doubtful>,
        open: &mut Vec<Submission>,
        read_locked: bool,
    ) -> Result<(), StoreError> {
        let answer = self.ask_about(&doubtful).await;
        let (found, fresh) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                open.extend(doubtful.into_iter().map(|doubtful| doubtful.submission));
                return Err(error);
            }
        };
        let mut found = found.into_iter();
        for (doubtful, fresh) in doubtful.into_iter().zip(fresh) {
            let Doubtful { submission, rejection, version } = doubtful;
            let known: Vec<Event> = found.by_ref().take(submission.commands.len()).flatten().collect();
            let is_repeat = !known.is_empty();
            known.into_iter().for_each(|event| self.remember(Arc::new(event)));
            if fresh.configuration != submission.configuration.version {
                reject(vec![submission], &Failure::ConfigurationChanged);
            } else if is_repeat {
                open.push(submission);
            } else if fresh.version != version && !read_locked {
                self.books.forget(&submission.commands[rejection.index].product);
                open.push(submission);
            } else {
                let _ = submission.reply.send(Err(rejection));
            }
        }
        Ok(())
    }

    /// Looks up the events of all commands of refused submissions, and the versions that
    /// each refusal rests on.
    async fn ask_about(
        &mut self,
        doubtful: &[Doubtful],
    ) -> Result<(Vec<Option<Event>>, Vec<state::Freshness>), StoreError> {
        let commands: Vec<_> = doubtful
            .iter()
            .flat_map(|Doubtful { submission, .. }| {
                submission
                    .commands
                    .iter()
                    .map(|command| (&**command, &submission.configuration.configuration))
            })
            .collect();
        let roots: Vec<_> = doubtful
            .iter()
            .map(|Doubtful { submission, rejection, .. }| {
                let command = &submission.commands[rejection.index];
                (&command.product, root(command, &submission.configuration))
            })
            .collect();
        let mut connection = self
            .link
            .check_out(&environments_of(doubtful.iter().map(|doubtful| &doubtful.submission)))
            .await?;
        let exchange = async {
            let found = match ledger::find(&mut connection, &commands).await {
                // An event uses a measure that the configuration does not know yet, so the
                // versions will tell that it is outdated.
                Err(StoreError::Conflict(_)) => vec![None; commands.len()],
                found => found?,
            };
            Ok((found, state::freshness(&mut connection, &roots).await?))
        };
        let answer = self.link.bounded(exchange).await;
        self.link.check_in(connection, &answer);
        answer
    }

    /// After a failed commit: learns which events are in the ledger after all, answers how many, and sends
    /// back what was made under a configuration that is no longer the current one.
    /// An id that was in the way, but is of an erased product, is so no longer.
    pub(super) async fn look_up(
        &mut self,
        open: &mut Vec<Submission>,
        id_taken: bool,
    ) -> Result<usize, StoreError> {
        let environments: BTreeSet<Value> = open.iter().map(environment_of).collect();
        let commands: Vec<_> =
            commands_of(open).map(|(command, versioned)| (command, &versioned.configuration)).collect();
        let mut connection = self.link.check_out(&environments_of(&*open)).await?;
        let exchange = async {
            if id_taken {
                let commands: Vec<_> = commands.iter().map(|&(command, _)| command).collect();
                match ledger::free_ids(&mut connection, &commands).await {
                    // Someone else frees them.
                    Err(StoreError::Conflict(_)) => {}
                    freed => freed?,
                }
            }
            let mut versions = HashMap::new();
            for environment in environments {
                let version = configuration::version(&mut connection, environment.as_str()).await?;
                versions.insert(environment, version);
            }
            let found = match ledger::find(&mut connection, &commands).await {
                // An event uses a measure that the command's configuration does not know yet.
                Err(StoreError::Conflict(_)) => Vec::new(),
                found => found?,
            };
            Ok((versions, found))
        };
        let answer = self.link.bounded(exchange).await;
        self.link.check_in(connection, &answer);
        let (versions, found) = answer?;
        let found: Vec<Event> = found.into_iter().flatten().collect();
        let count = found.len();
        found.into_iter().for_each(|event| self.remember(Arc::new(event)));
        let outdated = |submission: &mut Submission| {
            versions.get(&environment_of(submission)).copied().flatten()
                != Some(submission.configuration.version)
        };
        reject(open.extract_if(.., outdated).collect(), &Failure::ConfigurationChanged);
        Ok(count)
    }
}
