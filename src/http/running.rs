//! Running commands, one or many: judged under the current configuration, submitted, answered.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode};

use crate::domain::command::Command;
use crate::domain::explanation::Explanation;
use crate::domain::name::Value;
use crate::domain::refusal::Refusal;
use crate::engine::{Failure, Receipt, Rejection, Reply};
use crate::store::configuration::{self, Versioned};
use crate::store::ledger::{self, Event};
use crate::store::{self, Sight};

use super::body::Sent;
use super::commands::{Answer, Asked, Line, LineAnswer, Unreadable, header_id, json};
use super::problem::{Problem, ProblemBody};
use super::{Environment, Shared};

/// How often commands are made again because the configuration changed meanwhile.
pub(super) const CONFIGURATIONS_MAX: usize = 4;

/// What a request is under the current configuration.
enum Judged {
    /// A command.
    Fit(Command),
    /// None any more, but it was one and was granted, under an older configuration.
    Repeat(Receipt),
    /// None.
    Wrong(Refusal),
}

/// How the body of a command is read: in an environment, with the id that a header gives.
pub(super) type Reader = for<'a> fn(&'a [u8], &Value, Option<&str>) -> Result<Asked<'a>, Problem>;

impl Shared {
    /// Reads the one command that was sent, runs it and answers it.
    pub(super) async fn run_sent(&self, sent: &Sent, read: Reader) -> Result<Response<Body>, Unreadable> {
        let header_id = header_id(&sent.headers);
        let asked = read(&sent.body, &sent.environment.id, header_id)
            .map_err(|problem| Unreadable::new(problem, &sent.body, header_id))?;
        Ok(self.run(&sent.environment, asked).await)
    }

    /// Reads requests under the current configuration. What the one in memory refuses may be
    /// right under a newer one, so a refusal is given only by the current one. The rare ways
    /// are boxed: otherwise every request's future would have room for them.
    async fn judge(
        &self,
        environment: &Value,
        versioned: &mut Arc<Versioned>,
        asked: &[&Asked<'_>],
    ) -> Result<Vec<Judged>, Problem> {
        loop {
            let commands: Vec<Result<Command, Refusal>> =
                asked.iter().map(|asked| asked.command(&versioned.configuration)).collect();
            if commands.iter().any(Result::is_err) {
                if let Some(newer) = Box::pin(self.environments.newer_than(environment, versioned)).await? {
                    *versioned = newer;
                    continue;
                }
                return Box::pin(self.find_repeats(environment, versioned, asked, commands)).await;
            }
            return Ok(commands.into_iter().flatten().map(Judged::Fit).collect());
        }
    }

    /// Holds what is refused against the ledger. What was granted once is answered for ever,
    /// also when the configuration no longer has the names that it was written in: it is
    /// read again under the configuration of its time.
    async fn find_repeats(
        &self,
        environment: &Value,
        versioned: &Versioned,
        asked: &[&Asked<'_>],
        commands: Vec<Result<Command, Refusal>>,
    ) -> Result<Vec<Judged>, Problem> {
        let refused = asked.iter().zip(&commands).filter(|(_, command)| command.is_err());
        let ids: Vec<String> = refused.map(|(asked, _)| asked.target.id.to_string()).collect();
        let (found, of_their_time) =
            store::read(&self.readers, Sight::Of(environment.as_str()), async |connection| {
                let found =
                    ledger::named(connection, environment.as_str(), &ids, &versioned.configuration).await?;
                let mut of_their_time = HashMap::new();
                for version in found.iter().map(|&(_, version)| version).collect::<BTreeSet<_>>() {
                    let read = configuration::read(connection, environment.as_str(), Some(version)).await?;
                    of_their_time.insert(version, read);
                }
                Ok((found, of_their_time))
            })
            .await?;
        let events: HashMap<_, _> =
            found.into_iter().map(|(event, version)| (event.command.id.clone(), (event, version))).collect();
        let repeat_of = |asked: &Asked<'_>, (event, version): (Event, i64)| {
            let configuration = &of_their_time.get(&version)?.as_ref()?.configuration;
            let command = Command::new(configuration, &asked.target, &asked.request.as_repeat()).ok()?;
            let receipt = Receipt { event: Arc::new(event), replayed: true };
            command.means_the_same_as(&receipt.event.command).then_some(Judged::Repeat(receipt))
        };
        let judged = asked.iter().zip(commands).map(|(asked, command)| match command {
            Ok(command) => Judged::Fit(command),
            Err(refusal) => {
                // Two lines of a bulk may repeat the same event.
                let event = events.get(&asked.target.id).cloned();
                event.and_then(|event| repeat_of(asked, event)).unwrap_or(Judged::Wrong(refusal))
            }
        });
        Ok(judged.collect())
    }

    /// Does one command, or only finds out what it would do, and answers it.
    pub(super) async fn run(&self, environment: &Environment, mut asked: Asked<'_>) -> Response<Body> {
        let id = asked.target.id.clone();
        let dry_run = asked.dry_run.unwrap_or_default();
        if let Err(problem) = environment.check_command(&mut asked) {
            return NotDone::from(problem).body(Some(id), None, dry_run).answer();
        }
        match self.run_one(environment, &asked, dry_run).await {
            Ok(receipt) => {
                let mut response = json(StatusCode::OK, &Answer::of(&receipt, dry_run));
                if receipt.replayed {
                    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
                }
                response
            }
            Err(not_done) => not_done.body(Some(id), None, dry_run).answer(),
        }
    }

    async fn run_one(
        &self,
        environment: &Environment,
        asked: &Asked<'_>,
        dry_run: bool,
    ) -> Result<Receipt, NotDone> {
        let mut versioned = Arc::clone(&environment.versioned);
        for _ in 0..CONFIGURATIONS_MAX {
            let judged = self.judge(&environment.id, &mut versioned, &[asked]).await?.pop();
            self.check_caller(environment, versioned.version, dry_run).await?;
            let command = match judged {
                Some(Judged::Fit(command)) => command,
                Some(Judged::Repeat(receipt)) => return Ok(receipt),
                Some(Judged::Wrong(refusal)) => return Err(refusal.into()),
                None => return Err(Problem::Internal.into()),
            };
            let reply = match dry_run {
                false => self.engine.submit(command, Arc::clone(&versioned))?.answer().await,
                true => Box::pin(self.rehearse(&environment.id, vec![vec![command]], &versioned))
                    .await?
                    .swap_remove(0),
            };
            match reply {
                Ok(receipts) => return Ok(receipts.into_iter().next().ok_or(Problem::Internal)?),
                Err(Rejection { failure: Failure::ConfigurationChanged, .. }) => {
                    versioned = Box::pin(self.environments.current(&environment.id)).await?;
                }
                Err(rejection) => {
                    // No bulk has allocates or consumes, so nothing else is noted.
                    if !dry_run {
                        self.note_unmet(&versioned, asked, &rejection.failure);
                    }
                    return Err(rejection.into());
                }
            }
        }
        Err(Problem::Overloaded.into())
    }

    /// Does the lines of a bulk independently of each other, or only finds out what they would do.
    pub(super) async fn run_lines(
        &self,
        environment: &Environment,
        mut lines: Vec<Line<'_>>,
        dry_run: bool,
    ) -> Result<Response<Body>, Problem> {
        environment.check_lines(&mut lines);
        let mut results: Vec<Result<Receipt, NotDone>> = lines
            .iter()
            .map(|line| {
                let problem = line.as_ref().err().map(|unreadable| unreadable.problem.clone());
                Err(problem.unwrap_or(Problem::Overloaded).into())
            })
            .collect();
        let mut open: Vec<(usize, &Asked<'_>)> =
            lines.iter().enumerate().filter_map(|(index, line)| Some((index, line.as_ref().ok()?))).collect();
        let mut versioned = Arc::clone(&environment.versioned);
        for _ in 0..CONFIGURATIONS_MAX {
            if open.is_empty() {
                break;
            }
            let asked: Vec<&Asked<'_>> = open.iter().map(|&(_, asked)| asked).collect();
            let judged = self.judge(&environment.id, &mut versioned, &asked).await?;
            self.check_caller(environment, versioned.version, dry_run).await?;
            let (mut commands, mut places) = (Vec::with_capacity(open.len()), Vec::with_capacity(open.len()));
            for (place, judged) in std::mem::take(&mut open).into_iter().zip(judged) {
                match judged {
                    Judged::Repeat(receipt) => results[place.0] = Ok(receipt),
                    Judged::Wrong(refusal) => results[place.0] = Err(refusal.into()),
                    Judged::Fit(command) => {
                        commands.push(command);
                        places.push(place);
                    }
                }
            }
            let replies = match dry_run {
                false => self.do_each(commands, &versioned).await,
                true => {
                    let units = commands.into_iter().map(|command| vec![command]).collect();
                    self.rehearse(&environment.id, units, &versioned).await?
                }
            };
            for ((index, asked), reply) in places.into_iter().zip(replies) {
                match reply {
                    Ok(receipts) => {
                        results[index] = receipts.into_iter().next().ok_or_else(|| Problem::Internal.into());
                    }
                    Err(Rejection { failure: Failure::ConfigurationChanged, .. }) => {
                        open.push((index, asked))
                    }
                    Err(rejection) => results[index] = Err(rejection.into()),
                }
            }
            if !open.is_empty() {
                versioned = self.environments.current(&environment.id).await?;
            }
        }
        let all_done = results.iter().all(Result::is_ok);
        let answers: Vec<LineAnswer> = lines
            .iter()
            .zip(&results)
            .map(|(line, result)| match result {
                Ok(receipt) => LineAnswer::Done(Box::new(Answer::of(receipt, dry_run))),
                Err(not_done) => {
                    let id = match line {
                        Ok(asked) => Some(asked.target.id.clone()),
                        Err(unreadable) => unreadable.id.clone(),
                    };
                    LineAnswer::Failed(Box::new(not_done.body(id, None, dry_run)))
                }
            })
            .collect();
        Ok(json(if all_done { StatusCode::OK } else { StatusCode::MULTI_STATUS }, &answers))
    }

    async fn do_each(&self, commands: Vec<Command>, versioned: &Arc<Versioned>) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(commands.len());
        for pending in self.engine.submit_each(commands, versioned).await {
            replies.push(pending.answer().await);
        }
        replies
    }

    /// Does all lines of a bulk or none, or only finds out what they would do, and answers the first
    /// that is refused.
    pub(super) async fn run_together(
        &self,
        environment: &Environment,
        mut lines: Vec<Line<'_>>,
        dry_run: bool,
    ) -> Result<Response<Body>, Problem> {
        environment.check_lines(&mut lines);
        let mut asked = Vec::with_capacity(lines.len());
        let mut unreadable = None;
        for line in lines {
            match line {
                Ok(line) => asked.push(line),
                Err(line) => {
                    unreadable = Some(line);
                    break;
                }
            }
        }
        match self.try_together(environment, &asked, unreadable.is_some(), dry_run).await? {
            Ok(receipts) => match unreadable {
                Some(Unreadable { problem, id, .. }) => {
                    Ok(NotDone::from(problem).body(id, Some(asked.len()), dry_run).answer())
                }
                None => {
                    let done = receipts
                        .iter()
                        .map(|receipt| LineAnswer::Done(Box::new(Answer::of(receipt, dry_run))));
                    Ok(json(StatusCode::OK, &done.collect::<Vec<_>>()))
                }
            },
            Err(rejection) => match rejection.failure {
                Failure::Refused(_) => {
                    let index = rejection.index;
                    let id = asked.get(index).map(|asked| asked.target.id.clone());
                    Ok(NotDone::from(rejection).body(id, Some(index), dry_run).answer())
                }
                failure => Err(failure.into()),
            },
        }
    }

    /// `only_judge` where the lines are not all, and so are not to be done.
    async fn try_together(
        &self,
        environment: &Environment,
        asked: &[Asked<'_>],
        only_judge: bool,
        dry_run: bool,
    ) -> Result<Result<Vec<Receipt>, Rejection>, Problem> {
        let asked: Vec<&Asked<'_>> = asked.iter().collect();
        let mut versioned = Arc::clone(&environment.versioned);
        for _ in 0..CONFIGURATIONS_MAX {
            let judged = self.judge(&environment.id, &mut versioned, &asked).await?;
            self.check_caller(environment, versioned.version, dry_run).await?;
            let mut commands = Vec::with_capacity(asked.len());
            let mut places = Vec::with_capacity(asked.len());
            let mut receipts: Vec<Option<Receipt>> = Vec::with_capacity(asked.len());
            for (index, judged) in judged.into_iter().enumerate() {
                match judged {
                    Judged::Fit(command) => {
                        commands.push(command);
                        places.push(index);
                        receipts.push(None);
                    }
                    Judged::Repeat(receipt) => receipts.push(Some(receipt)),
                    Judged::Wrong(refusal) => {
                        return Ok(Err(Rejection { index, ..Failure::Refused(refusal).into() }));
                    }
                }
            }
            if only_judge {
                return Ok(Ok(Vec::new()));
            }
            let reply = match dry_run {
                false => {
                    let pending = self.engine.submit_when_free(commands, Arc::clone(&versioned)).await?;
                    pending.answer().await
                }
                true => self.rehearse(&environment.id, vec![commands], &versioned).await?.swap_remove(0),
            };
            match reply {
                Ok(done) => {
                    places.into_iter().zip(done).for_each(|(place, receipt)| receipts[place] = Some(receipt));
                    return Ok(Ok(receipts.into_iter().flatten().collect()));
                }
                Err(Rejection { failure: Failure::ConfigurationChanged, .. }) => {
                    versioned = self.environments.current(&environment.id).await?;
                }
                Err(rejection) => {
                    let index = places.get(rejection.index).copied().unwrap_or(rejection.index);
                    return Ok(Err(Rejection { index, ..rejection }));
                }
            }
        }
        Err(Problem::Overloaded)
    }
}

/// Why a command was not done, or would not be, and how that came about.
struct NotDone {
    problem: Problem,
    explanation: Option<Box<Explanation>>,
}

impl NotDone {
    fn body(&self, id: Option<Value>, index: Option<usize>, dry_run: bool) -> ProblemBody {
        self.problem.body(id, index).of_command(self.explanation.clone(), dry_run)
    }
}

impl<P: Into<Problem>> From<P> for NotDone {
    fn from(problem: P) -> NotDone {
        NotDone { problem: problem.into(), explanation: None }
    }
}

impl From<Rejection> for NotDone {
    fn from(rejection: Rejection) -> NotDone {
        NotDone { problem: rejection.failure.into(), explanation: rejection.explanation }
    }
}
