//! Judges watches: what events touched and where demand was not met at once, and everything there is
//! page by page, where time itself may have changed it, or where a watch or a configuration is new.
//!
//! It judges what is kept, not what an event said: the balance that is there now. Whatever comes to
//! be later is touched by an event of its own, so nothing stays unjudged; what came and went between
//! two looks, 200 ms apart, is not told.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use crate::domain::command::Timestamp;
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::DimensionPath;
use crate::domain::watch::{Rule, Subject, Watch, WatchDocument};
use crate::store::configuration::{self, Versioned};
use crate::store::watches::Progress;
use crate::store::{StoreError, alerts, follow, subjects, watches};

use super::judging::judge;
use super::{Chunk, Follower};

/// Who keeps what happens to balances; the rules that go by it wait for it.
const ACTIVITY: &str = "activity";
/// Subjects that are judged at once.
const PAGE_SUBJECTS: usize = 500;
/// Most pages of one turn.
const TURN_PAGES: usize = 8;
/// Group paths that are judged at once because demand there was not met.
const UNMET_MAX: i64 = 5_000;
/// Between two looks at everything there is, where nothing asks for one, in microseconds.
const SWEEP_EVERY: i64 = 60_000_000;
/// Most watches of an environment that are judged: more than there may be.
const WATCHES_MAX: i64 = 1_000;

/// An environment that is watched.
pub(super) struct Watched {
    pub(super) environment: String,
    pub(super) configuration: Configuration,
    /// The watches by name, as far as they can be read.
    pub(super) watches: BTreeMap<String, Watch>,
}

impl Watched {
    fn has(&self, is: impl Fn(&Rule) -> bool) -> bool {
        self.watches.values().any(|watch| is(&watch.rule))
    }
}

/// The watches of all environments, in a state of theirs.
struct Known {
    state: i64,
    environments: Vec<Watched>,
}

/// Follows the ledger for the watches.
#[derive(Default)]
pub struct Watches {
    known: Option<Known>,
    sweep: Option<Sweep>,
    /// The pages that were judged when this was last known.
    pages: i64,
    /// When everything was last looked at for all rules.
    swept_at: Option<Timestamp>,
}

/// What is looked at of an environment, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Balances,
    Nodes,
    /// Group paths that something was asked of, though they may hold nothing.
    Places,
    /// What is open: also of what is kept no more, or watched no more.
    Alerts,
}

/// Where a look at everything there is has come to.
struct Sweep {
    /// Whether it is for all rules, and not only for those that time is enough for.
    is_full: bool,
    environment: usize,
    stage: Stage,
    after: Option<Subject>,
    after_alert: i64,
}

impl Follower for Watches {
    fn name(&self) -> &'static str {
        "watches"
    }

    async fn take(&mut self, connection: &mut PgConnection, chunk: Chunk) -> Result<(), StoreError> {
        let progress = watches::progress(connection).await?;
        let known = match self.known.take() {
            Some(known) if known.state == progress.state => known,
            _ => Known { state: progress.state, environments: read(connection).await? },
        };
        let is_active = follow::reached(connection, ACTIVITY).await? >= chunk.after;
        let turn = Turn { now: chunk.now, is_active };
        if chunk.until > chunk.after {
            turn.judge_touched(connection, &known, chunk).await?;
        }
        if turn.is_active {
            let unmet = subjects::unmet(connection, UNMET_MAX).await?;
            turn.judge_found(connection, &known, unmet).await?;
        }
        if !chunk.is_behind {
            self.go_on(connection, &known, progress, turn).await?;
        }
        self.known = Some(known);
        Ok(())
    }
}

/// What holds for a turn.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) now: Timestamp,
    /// Whether what happened to balances is known up to now.
    pub(super) is_active: bool,
}

impl Turn {
    async fn judge_touched(
        self,
        connection: &mut PgConnection,
        known: &Known,
        chunk: Chunk,
    ) -> Result<(), StoreError> {
        let watched = known.environments.iter().filter(|watched| !watched.watches.is_empty());
        let names: Vec<String> = watched.map(|watched| watched.environment.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let touched = subjects::touched(connection, &names, (chunk.after, chunk.until)).await?;
        self.judge_found(connection, known, touched).await
    }

    /// Judges subjects of any environments, with all that stands and falls with them.
    async fn judge_found(
        self,
        connection: &mut PgConnection,
        known: &Known,
        found: Vec<(String, Subject)>,
    ) -> Result<(), StoreError> {
        let mut of_environments: BTreeMap<String, BTreeSet<Subject>> = BTreeMap::new();
        for (environment, subject) in found {
            of_environments.entry(environment).or_default().insert(subject);
        }
        for watched in &known.environments {
            let Some(subjects) = of_environments.remove(&watched.environment) else { continue };
            let subjects = with_chains(subjects, &watched.configuration);
            let subjects: Vec<Subject> = with_wholes(subjects, watched)
                .into_iter()
                .filter(|subject| watched.watches.values().any(|watch| watch.is_about(subject)))
                .collect();
            for page in subjects.chunks(PAGE_SUBJECTS) {
                judge(connection, watched, page, self).await?;
            }
        }
        Ok(())
    }
}

/// What changes at a node changes the totals of the nodes above it.
fn with_chains(subjects: BTreeSet<Subject>, configuration: &Configuration) -> BTreeSet<Subject> {
    let required = configuration.dimensions().required();
    let nodes = subjects.iter().filter(|subject| subject.groups.is_none()).flat_map(|subject| {
        subject
            .path
            .chain(required)
            .map(|path| Subject { path: DimensionPath::new(path.to_vec()), ..subject.clone() })
            .collect::<Vec<_>>()
    });
    let nodes: BTreeSet<Subject> = nodes.collect();
    subjects.into_iter().chain(nodes).collect()
}

/// What changes of a balance changes the paths above it that are judged as a whole.
fn with_wholes(subjects: BTreeSet<Subject>, watched: &Watched) -> BTreeSet<Subject> {
    let of = |subject| watched.watches.values().filter_map(move |watch| watch.whole(subject));
    let wholes: Vec<Subject> = subjects.iter().flat_map(of).collect();
    subjects.into_iter().chain(wholes).collect()
}

/// Reads the watches of all environments. One that cannot be read under the configuration of now,
/// because a group or dimension is gone, says nothing.
async fn read(connection: &mut PgConnection) -> Result<Vec<Watched>, StoreError> {
    let mut environments = Vec::new();
    for environment in watches::environments(connection).await? {
        let Some(Versioned { configuration, .. }) =
            configuration::read(connection, &environment, None).await?
        else {
            continue;
        };
        let mut read = BTreeMap::new();
        for kept in watches::list(connection, &environment, WATCHES_MAX).await? {
            let document =
                serde_json::from_str::<WatchDocument>(&kept.document).map_err(|error| error.to_string());
            let watch = document.and_then(|document| {
                Watch::new(&configuration, &document).map_err(|refusal| refusal.to_string())
            });
            match watch {
                Ok(watch) => _ = read.insert(kept.name, watch),
                Err(error) => {
                    tracing::warn!(environment, watch = kept.name, error, "a watch cannot be read");
                }
            }
        }
        environments.push(Watched { environment, configuration, watches: read });
    }
    Ok(environments)
}

impl Watches {
    /// Goes on looking at everything there is, as far as anything asks for it.
    async fn go_on(
        &mut self,
        connection: &mut PgConnection,
        known: &Known,
        progress: Progress,
        turn: Turn,
    ) -> Result<(), StoreError> {
        // Another instance had a turn, or the last one here was undone.
        if self.pages != progress.pages {
            self.sweep = None;
        }
        let is_new = progress.swept != known.state;
        let is_old = self.swept_at.is_none_or(|at| turn.now.0 - at.0 >= SWEEP_EVERY);
        let is_timed = known.environments.iter().any(|watched| watched.has(|rule| rule.window().is_some()));
        let sweep = match self.sweep.take() {
            Some(sweep) if sweep.is_full || !is_new => sweep,
            _ if is_new || is_old || is_timed => Sweep::new(is_new || is_old),
            _ => return Ok(()),
        };
        let is_full = sweep.is_full;
        let mut sweep = Some(sweep);
        for _ in 0..TURN_PAGES {
            sweep = match sweep {
                Some(sweep) => sweep.judge_page(connection, known, turn).await?,
                None => break,
            };
        }
        let mut next = Progress { pages: progress.pages + 1, ..progress };
        // Of what time is enough for, not everything was looked at.
        if sweep.is_none() && is_full {
            next.swept = known.state;
            self.swept_at = Some(turn.now);
        }
        watches::advance(connection, next).await?;
        self.pages = next.pages;
        self.sweep = sweep;
        Ok(())
    }
}

impl Sweep {
    fn new(is_full: bool) -> Sweep {
        Sweep { is_full, environment: 0, stage: Stage::Balances, after: None, after_alert: 0 }
    }

    /// Judges the next page; nothing is left when there is none.
    async fn judge_page(
        mut self,
        connection: &mut PgConnection,
        known: &Known,
        turn: Turn,
    ) -> Result<Option<Sweep>, StoreError> {
        let Some(watched) = known.environments.get(self.environment) else { return Ok(None) };
        let subjects = self.page(connection, watched).await?;
        let is_last = subjects.len() < PAGE_SUBJECTS;
        self.after = subjects.last().cloned();
        let subjects: Vec<Subject> =
            with_wholes(subjects.into_iter().collect(), watched).into_iter().collect();
        for page in subjects.chunks(PAGE_SUBJECTS) {
            judge(connection, watched, page, turn).await?;
        }
        if is_last {
            (self.after, self.after_alert) = (None, 0);
            (self.environment, self.stage) = match self.stage {
                Stage::Balances => (self.environment, Stage::Nodes),
                Stage::Nodes => (self.environment, Stage::Places),
                Stage::Places => (self.environment, Stage::Alerts),
                Stage::Alerts => (self.environment + 1, Stage::Balances),
            };
        }
        Ok(Some(self))
    }

    async fn page(
        &mut self,
        connection: &mut PgConnection,
        watched: &Watched,
    ) -> Result<Vec<Subject>, StoreError> {
        let (environment, after) = (watched.environment.as_str(), self.after.as_ref());
        let most = PAGE_SUBJECTS as i64;
        let is_full = self.is_full;
        let is_wanted = |rule: &Rule| match (self.stage, rule) {
            (Stage::Balances, Rule::ExhaustedWithin(..) | Rule::IdleFor(_)) => true,
            (Stage::Balances, Rule::BalanceAtOrBelow(_) | Rule::PercentLeftAtOrBelow(_)) => is_full,
            (Stage::Nodes, Rule::OverAllocated(_)) => is_full,
            (Stage::Places, Rule::UnmetAbove { .. }) => true,
            (stage, _) => stage == Stage::Alerts,
        };
        if self.stage != Stage::Alerts && !watched.has(is_wanted) {
            return Ok(Vec::new());
        }
        match self.stage {
            Stage::Balances => subjects::balances(connection, environment, after, most).await,
            Stage::Nodes => subjects::nodes(connection, environment, after, most).await,
            Stage::Places => subjects::places(connection, environment, after, most).await,
            Stage::Alerts => {
                let open = alerts::open_behind(connection, environment, self.after_alert, most).await?;
                self.after_alert = open.last().map_or(self.after_alert, |alert| alert.sequence);
                Ok(open.into_iter().map(|alert| alert.subject).collect())
            }
        }
    }
}
