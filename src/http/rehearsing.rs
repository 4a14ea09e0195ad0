//! Dry runs: commands of which it is only asked what they would do; and what of a bulk is explained.

use std::sync::Arc;

use crate::domain::command::Command;
use crate::domain::name::Value;
use crate::engine::{Failure, Reply, rehearsal};
use crate::store::configuration::Versioned;
use crate::store::{self, Sight};

use super::Shared;
use super::commands::{Asked, Line};
use super::problem::Problem;

impl Shared {
    /// Finds out what commands would do: those of one unit are done together or not at all. Needs
    /// no writer, so also while those are overloaded. Answers as many replies as there are units.
    pub(super) async fn rehearse(
        &self,
        environment: &Value,
        units: Vec<Vec<Command>>,
        versioned: &Arc<Versioned>,
    ) -> Result<Vec<Reply>, Problem> {
        let units: Vec<Vec<Arc<Command>>> =
            units.into_iter().map(|commands| commands.into_iter().map(Arc::new).collect()).collect();
        let replies = store::read(&self.readers, Sight::Of(environment.as_str()), async |connection| {
            rehearsal::rehearse(connection, &units, versioned).await
        });
        let outdated = || units.iter().map(|_| Err(Failure::ConfigurationChanged.into())).collect();
        Ok(replies.await?.unwrap_or_else(outdated))
    }
}

/// A bulk is a dry run as a whole or not at all: a line that is done sees nothing of one that is not.
pub(super) fn is_dry_run(of_bulk: bool, lines: &[Line<'_>]) -> Result<bool, Problem> {
    let of_line = |asked: &Asked<'_>| asked.dry_run.unwrap_or(of_bulk);
    let mut said =
        lines.iter().enumerate().filter_map(|(index, line)| Some((index, of_line(line.as_ref().ok()?))));
    let Some((first, dry_run)) = said.next() else { return Ok(of_bulk) };
    match said.find(|&(_, other)| other != dry_run) {
        None => Ok(dry_run),
        Some((index, _)) => Err(Problem::invalid(
            &format!("/{index}/dryRun"),
            format!(
                "is not that of line {first}: a bulk is a dry run as a whole or not at all; ?dryRun=true makes it one"
            ),
        )),
    }
}

/// Most lines of a bulk that are explained: an explanation is a hundred times as long as its line's
/// answer, and stays in the ledger.
const EXPLAINED_MAX: usize = 100;

pub(super) fn check_explained(lines: &[Line<'_>]) -> Result<(), Problem> {
    let explained = lines.iter().filter(|line| line.as_ref().is_ok_and(|asked| asked.explain)).count();
    if explained <= EXPLAINED_MAX {
        return Ok(());
    }
    Err(Problem::invalid(
        "",
        format!("asks to explain {explained} lines; at most {EXPLAINED_MAX} of a bulk are"),
    ))
}
