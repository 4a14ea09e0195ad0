//! The live feed: events as they happen, as Server-Sent Events.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

use crate::domain::access::Scope;
use crate::domain::history::Filter;
use crate::domain::name::Value;
use crate::store::alerts::{self, Told};
use crate::store::configuration::Versioned;
use crate::store::ledger::Event;
use crate::store::places::Place;
use crate::store::{self, Sight, StoreError, horizon};

use super::access::Caller;
use super::around::in_current_request;
use super::event_record::EventRecord;
use super::events::{Asked, FilterParameters, Search};
use super::feed::{CHUNKS_MAX, Chunk, LOOK_AGAIN, Live};
use super::onhand_query::Parameters;
use super::problem::{Problem, ProblemBody};
use super::stream::{Gone, Writer, channel};
use super::{App, Environment};

/// How long a client waits before it connects again.
const RETRY_MILLISECONDS: u32 = 1_000;
/// Whoever is no further behind the horizon can listen.
const NEAR: i64 = 1_000;
/// Changes of alerts that are read at once.
const ALERTS_MAX: i64 = 256;

/// Streams events as they happen: every one that the filters let through once, in the order of the
/// ledger, of whichever instance. Each is an `event: ledger`, its `id:` the event id and its `data:` the
/// event as `GET events` has it. Now and then a heartbeat comes, which is a comment and an `id:`: that of
/// the environment's last event, whether the filters let it through or not.
///
/// Alerts come too, as `event: alert`, their `data:` the `AlertMessage` that webhooks get: those that are
/// of the organization, product, dimensions and groups asked for, where no operation, actor or reference
/// is. Where there were any, an `id:` is the event id, a hyphen, and the `sequence` of the last alert's
/// change; without a hyphen there were none. `after` is about events alone: alerts begin now. What was told
/// of alerts is kept as long as closed ones.
///
/// It begins now, or behind the event id in `Last-Event-ID` or `after`. Whoever reads too slowly is
/// cut off, as everybody is when the service stops: connect again with the last id, and nothing is
/// missing. Too many streams are answered 503; one environment has three quarters of them at most.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/events/stream", tag = "history", operation_id = "streamEvents",
    params(
        Environment, FilterParameters,
        ("Last-Event-ID" = Option<String>, Header, description = "The last `id:` that was read. It goes before `after`."),
    ),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn stream(
    State(app): State<App>,
    environment: Environment,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let parameters = Parameters::read(query.as_deref());
    let begins_now = !parameters.given.iter().any(|(name, _)| name.eq_ignore_ascii_case("after"));
    let asked = Asked::read_filter(parameters)?;
    let last = headers.get("last-event-id").map(last_event).transpose()?;
    let place = app.feed.place(&environment.id).ok_or(Problem::Overloaded)?;
    let name = environment.id.as_str();
    let reading = store::read(&app.readers, Sight::Of(name), async |connection| {
        alerts::last_told(connection, name).await
    });
    let last_alert = reading.await?;
    // The feed is others' too: nobody has it begin behind what is there.
    let start = match last {
        Some((after, alert)) => Start::behind(after, alert.min(last_alert)),
        None if begins_now => Start::now(&app, name, last_alert).await?,
        None => Start::behind(asked.after, last_alert),
    };
    let versioned = app.environments.current(&environment.id).await?;
    let filter = asked.filter(&versioned.configuration)?;
    let (mut writer, reader) = channel();
    let _ = write!(writer.buffer(), "retry: {RETRY_MILLISECONDS}\n\n");
    let scope = environment.scope().cloned();
    let Environment { id: environment, caller, .. } = environment;
    let stream = Stream {
        app,
        caller,
        scope,
        environment,
        versioned,
        filter,
        after: start.after,
        passed: start.passed,
        after_alert: start.after_alert,
        _place: place,
    };
    tokio::spawn(in_current_request(stream.run(start.listening, writer)));
    let mut response = Response::new(reader.body().await?);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Who listens, and from which event on.
type Listening = (Receiver<Arc<Chunk>>, i64);

/// Where a stream begins.
struct Start {
    after: i64,
    passed: i64,
    after_alert: i64,
    /// Who begins now listens before anything else is read: whatever comes meanwhile would have to be read
    /// from the ledger by each alone.
    listening: Option<Listening>,
}

impl Start {
    fn behind(after: i64, after_alert: i64) -> Start {
        Start { after, passed: after, after_alert, listening: None }
    }

    async fn now(app: &App, environment: &str, after_alert: i64) -> Result<Start, StoreError> {
        let after = app.feed.horizon().await?;
        let listening = Some(app.feed.listen(after, after_alert));
        let own = store::read(&app.readers, Sight::Of(environment), async |connection| {
            horizon::last_id_of(connection, environment, after).await
        });
        Ok(Start { after, passed: own.await?, after_alert, listening })
    }
}

/// The event id of an `id:`, and the place in the order of what was told of alerts.
fn last_event(text: &HeaderValue) -> Result<(i64, i64), Problem> {
    let text = text.to_str().unwrap_or_default();
    let (id, alert) = text.split_once('-').unwrap_or((text, "0"));
    let number = |text: &str| text.parse().ok().filter(|number| *number >= 0);
    let last = number(id).zip(number(alert));
    last.ok_or_else(|| Problem::invalid("/Last-Event-ID", "is not the id of an event of this stream"))
}

struct Stream {
    app: App,
    caller: Option<Caller>,
    scope: Option<Scope>,
    environment: Value,
    versioned: Arc<Versioned>,
    filter: Filter,
    /// Up to where the ledger was gone through.
    after: i64,
    /// The environment's last event up to there, or what its client said: as far as anybody is told.
    passed: i64,
    /// Up to where what was told of alerts was.
    after_alert: i64,
    _place: Place,
}

/// Does something that may wait for the client, as long as what happens meanwhile is kept for it. Whoever
/// listened on and took nothing would have the ledger read for nobody.
async fn unless_behind(
    listener: &Receiver<Arc<Chunk>>,
    work: impl Future<Output = Result<(), End>>,
) -> Result<(), End> {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(LOOK_AGAIN, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) if listener.len() > CHUNKS_MAX => return Err(End::Behind),
            Err(_) => {}
        }
    }
}

/// Why a stream ends.
enum End {
    /// The database did not answer, or nothing more will come.
    CutOff(Problem),
    /// Who reads it fell too far behind.
    Behind,
    Gone,
}

impl From<Gone> for End {
    fn from(_: Gone) -> End {
        End::Gone
    }
}

impl<E: Into<Problem>> From<E> for End {
    fn from(error: E) -> End {
        End::CutOff(error.into())
    }
}

impl Stream {
    async fn run(mut self, listening: Option<Listening>, mut writer: Writer) {
        let (gone, stopped) = (writer.gone(), self.app.feed.stopped());
        let app = Arc::clone(&self.app);
        let revoked = app.until_revoked(self.caller.take());
        let end = tokio::select! {
            // Who reads for all stops too: that is no reason to cut anybody off.
            biased;
            () = gone => return,
            () = stopped => return writer.end().await,
            () = revoked => return writer.end().await,
            end = self.write(listening, &mut writer) => end,
        };
        // Who is behind is not waited for: the answer just ends in the middle.
        if let Err(End::CutOff(problem)) = end {
            writer.fail(problem).await;
        }
    }

    async fn write(&mut self, listening: Option<Listening>, writer: &mut Writer) -> Result<(), End> {
        writer.send().await?;
        let (listener, from) = match listening {
            Some(listening) => listening,
            None => self.approach(writer).await?,
        };
        let catching_up = async {
            self.catch_up(from, writer).await?;
            self.catch_up_alerts(writer).await
        };
        unless_behind(&listener, catching_up).await?;
        self.follow(listener, writer).await
    }

    /// Writes what is in the ledger until that is so little that what comes can be listened to meanwhile.
    async fn approach(&mut self, writer: &mut Writer) -> Result<Listening, End> {
        loop {
            let horizon = self.app.feed.horizon().await?;
            if horizon <= self.after.saturating_add(NEAR) {
                return Ok(self.app.feed.listen(self.after.min(horizon), self.after_alert));
            }
            self.catch_up(horizon, writer).await?;
        }
    }

    /// Writes what is in the ledger up to an event up to which it is settled.
    async fn catch_up(&mut self, until: i64, writer: &mut Writer) -> Result<(), End> {
        if until <= self.after {
            return Ok(());
        }
        self.versioned = self.app.environments.current(&self.environment).await?;
        let search = Search {
            environment: self.environment.clone(),
            versioned: Arc::clone(&self.versioned),
            filter: self.filter.clone(),
            scope: self.scope.clone(),
            newest_first: false,
        };
        let after_alert = self.after_alert;
        let write = |record: &EventRecord<'_>, buffer: &mut Vec<u8>| {
            // A structure of strings and numbers always becomes JSON.
            let shown = serde_json::to_string(record).unwrap_or_default();
            write_event((record.event_id(), after_alert), "ledger", &shown, buffer);
        };
        let written = search.write(&self.app, self.after, until, usize::MAX, writer, write).await;
        written.map_err(|problem| problem.map_or(End::Gone, End::CutOff))?;
        let name = self.environment.as_str();
        let own = store::read(&self.app.readers, Sight::Of(name), async |connection| {
            horizon::last_id_of(connection, name, until).await
        });
        self.passed = self.passed.max(own.await?);
        self.after = until;
        writer.send().await?;
        Ok(())
    }

    /// Writes what was told of alerts until now: whoever listens already misses nothing behind it.
    async fn catch_up_alerts(&mut self, writer: &mut Writer) -> Result<(), End> {
        loop {
            let reading =
                store::read(&self.app.readers, Sight::Of(self.environment.as_str()), async |connection| {
                    alerts::told(connection, self.environment.as_str(), self.after_alert, ALERTS_MAX).await
                });
            let told = reading.await?;
            told.iter().for_each(|told| self.tell(told, writer));
            if !writer.buffer().is_empty() {
                writer.send().await?;
            }
            if told.len() < ALERTS_MAX as usize {
                return Ok(());
            }
        }
    }

    fn tell(&mut self, told: &Told, writer: &mut Writer) {
        if told.sequence <= self.after_alert || told.environment != self.environment.as_str() {
            return;
        }
        self.after_alert = told.sequence;
        if self.filter.admits_alert(&told.subject) {
            write_event((self.passed, self.after_alert), "alert", &told.payload, writer.buffer());
        }
    }

    /// Writes what happens.
    async fn follow(&mut self, mut listener: Receiver<Arc<Chunk>>, writer: &mut Writer) -> Result<(), End> {
        let mut heartbeat = tokio::time::interval(self.app.limits.heartbeat_time);
        // Who was held up tells once that nothing happened.
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once.
        heartbeat.tick().await;
        loop {
            tokio::select! {
                chunk = listener.recv() => {
                    let chunk = chunk.map_err(|error| match error {
                        RecvError::Lagged(_) => End::Behind,
                        RecvError::Closed => End::CutOff(Problem::Overloaded),
                    })?;
                    self.hand_on(&chunk, writer).await?;
                }
                _ = heartbeat.tick() => {
                    let id = id((self.passed, self.after_alert));
                    let _ = write!(writer.buffer(), ": heartbeat\nid: {id}\n\n");
                }
            }
            if !writer.buffer().is_empty() {
                unless_behind(&listener, async { Ok(writer.send().await?) }).await?;
            }
        }
    }

    async fn hand_on(&mut self, chunk: &Chunk, writer: &mut Writer) -> Result<(), End> {
        let of_mine = |live: &&Live| live.row.environment() == self.environment.as_str();
        for live in chunk.events.iter().filter(of_mine) {
            if live.row.event_id() <= self.after {
                continue;
            }
            if live.row.configuration_version() > self.versioned.version {
                self.versioned = self.app.environments.current(&self.environment).await?;
            }
            self.passed = live.row.event_id();
            let (event, shown) = live.told(&self.versioned.configuration)?;
            if self.filter.admits(&event.command, event.received_at) {
                let narrowed = self.narrowed(live, event);
                let shown = narrowed.as_ref().unwrap_or(shown);
                write_event((self.passed, self.after_alert), "ledger", shown, writer.buffer());
            }
        }
        self.after = self.after.max(chunk.until);
        chunk.alerts.iter().for_each(|told| self.tell(told, writer));
        Ok(())
    }
}

impl Stream {
    /// How an event is shown to a narrowed key that may not see all of it.
    fn narrowed(&self, live: &Live, event: &Event) -> Option<String> {
        let scope = self.scope.as_ref().filter(|_| event.command.operation.groups().count() > 1)?;
        let version = live.row.configuration_version();
        let record = EventRecord::of(event, &self.versioned.configuration, version).within(Some(scope));
        // A structure of strings and numbers always becomes JSON.
        Some(serde_json::to_string(&record).unwrap_or_default())
    }
}

fn write_event(place: (i64, i64), kind: &str, shown: &str, buffer: &mut Vec<u8>) {
    // A Vec takes everything.
    let _ = write!(buffer, "id: {}\nevent: {kind}\ndata: {shown}\n\n", id(place));
}

/// Up to which event, and which change of an alert, everything was there.
fn id((event, alert): (i64, i64)) -> String {
    if alert == 0 { event.to_string() } else { format!("{event}-{alert}") }
}
