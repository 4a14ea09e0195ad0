//! Judges subjects by watches, and writes what is found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;

use crate::domain::command::{ProductKey, Timestamp};
use crate::domain::name::Value;
use crate::domain::state::Balance;
use crate::domain::watch::{Activity, Alert, Facts, Finding, Rule, Subject, Verdict, Watch};
use crate::store::alerts::Notice;
use crate::store::{StoreError, alerts, state, subjects};

use super::watches::{Turn, Watched};

const MINUTE: i64 = 60_000_000;
const SECOND: i64 = 1_000_000;

/// Judges subjects by all watches that are about them, and by those whose alerts of them are open.
pub(super) async fn judge(
    connection: &mut PgConnection,
    watched: &Watched,
    given: &[Subject],
    turn: Turn,
) -> Result<(), StoreError> {
    let given: BTreeSet<&Subject> = given.iter().collect();
    if given.is_empty() {
        return Ok(());
    }
    let given: Vec<&Subject> = given.into_iter().collect();
    let mut open: HashMap<Subject, BTreeMap<String, Alert>> = HashMap::new();
    for alert in alerts::open_of(connection, &watched.environment, &given).await? {
        open.entry(alert.subject.clone()).or_default().insert(alert.watch.clone(), alert);
    }
    let known = Known::read(connection, watched, &given, turn).await?;
    let mut found: Vec<(Alert, bool)> = Vec::new();
    for &subject in &given {
        let mut of_subject = open.remove(subject).unwrap_or_default();
        for (name, watch) in watched.watches.iter() {
            let alert = of_subject.remove(name);
            if alert.is_none() && !watch.is_about(subject) {
                continue;
            }
            let facts = known.facts(subject, watch);
            match (watch.judge(subject, &facts, alert.is_some()), alert) {
                (Verdict::Open(finding), _) => {
                    found.push((opened(name, watch, subject, finding, turn.now), true));
                }
                (Verdict::Close(finding), Some(alert)) => {
                    found.push((closed(alert, finding, turn.now), false));
                }
                _ => {}
            }
        }
        for alert in of_subject.into_values() {
            let finding = Finding { value: None, detail: "there is no such watch any more".to_owned() };
            found.push((closed(alert, finding, turn.now), false));
        }
    }
    write(connection, watched, found).await
}

fn opened(watch: &str, by: &Watch, subject: &Subject, finding: Finding, now: Timestamp) -> Alert {
    Alert {
        id: uuid::Uuid::nil(),
        sequence: 0,
        watch: watch.to_owned(),
        subject: subject.clone(),
        opened_at: now,
        closed_at: None,
        value: finding.value,
        threshold: by.rule.threshold(),
        detail: finding.detail,
    }
}

fn closed(alert: Alert, finding: Finding, now: Timestamp) -> Alert {
    // Instances' clocks differ a little.
    let closed_at = Some(now.max(alert.opened_at));
    Alert { closed_at, value: finding.value, detail: finding.detail, ..alert }
}

/// Numbers what was found, and writes it with the messages that tell of it.
async fn write(
    connection: &mut PgConnection,
    watched: &Watched,
    found: Vec<(Alert, bool)>,
) -> Result<(), StoreError> {
    if found.is_empty() {
        return Ok(());
    }
    let numbers = alerts::numbers(connection, found.len()).await?;
    let notices = found.into_iter().zip(numbers).map(|((alert, is_new), (sequence, id))| {
        let alert = Alert { sequence, id: if is_new { id } else { alert.id }, ..alert };
        let message = alert.clone().message(&watched.configuration);
        // A structure of strings and numbers always becomes JSON.
        let payload = serde_json::to_string(&message).unwrap_or_default();
        Notice { message_id: message.id(), alert, payload }
    });
    let notices: Vec<Notice> = notices.collect();
    alerts::write(connection, &watched.environment, &notices).await
}

/// What is known of the subjects of a page.
struct Known<'a> {
    /// Of each path by itself.
    own: Balances<'a>,
    /// Of each path as a whole.
    whole: Balances<'a>,
    available: HashMap<&'a Subject, Facts>,
}

/// Balances, and what happened to them within the windows of rules.
struct Balances<'a> {
    balances: HashMap<&'a Subject, Balance>,
    activity: HashMap<(&'a Subject, u32), Activity>,
}

impl<'a> Known<'a> {
    async fn read(
        connection: &mut PgConnection,
        watched: &Watched,
        subjects: &[&'a Subject],
        turn: Turn,
    ) -> Result<Known<'a>, StoreError> {
        let environment = Value::stored(&watched.environment);
        let key = |subject: &Subject| ProductKey {
            environment: environment.clone(),
            organization: subject.organization.clone(),
            product: subject.product.clone(),
        };
        let (mut of_balances, mut wanted) = (Vec::new(), Vec::new());
        let (mut of_nodes, mut wanted_nodes) = (Vec::new(), Vec::new());
        for &subject in subjects {
            match &subject.groups {
                Some(groups) => {
                    of_balances.push(subject);
                    wanted.push((key(subject), subject.path.clone(), groups.clone()));
                }
                None => {
                    of_nodes.push(subject);
                    wanted_nodes.push((key(subject), subject.path.clone()));
                }
            }
        }
        let balances = state::balances(connection, &wanted).await?;
        let balances = of_balances.iter().copied().zip(balances);
        let balances = balances.filter_map(|(subject, balance)| Some((subject, balance?))).collect();
        let nodes = state::nodes(connection, &wanted_nodes).await?;
        let formula = watched.configuration.available_to_allocate();
        let available = of_nodes.into_iter().zip(nodes).filter_map(|(subject, node)| {
            let total = node?.total;
            Some((subject, Facts::Available(formula.evaluate(|slot| total.get(slot)))))
        });
        let available = available.collect();
        let wholes: Vec<&Subject> =
            of_balances.iter().copied().filter(|subject| has_whole(watched, subject)).collect();
        let whole = subjects::wholes(connection, &watched.environment, &wholes).await?;
        let whole = wholes.iter().copied().zip(whole).filter_map(|(subject, whole)| Some((subject, whole?)));
        let mut own = Balances { balances, activity: HashMap::new() };
        let mut whole = Balances { balances: whole.collect(), activity: HashMap::new() };
        if turn.is_active {
            own.activity = activity(connection, watched, &of_balances, turn.now, false).await?;
            whole.activity = activity(connection, watched, &wholes, turn.now, true).await?;
        }
        Ok(Known { own, whole, available })
    }

    fn facts(&self, subject: &Subject, watch: &Watch) -> Facts {
        if subject.groups.is_none() {
            return self.available.get(subject).copied().unwrap_or(Facts::Gone);
        }
        let known = if watch.is_rolled_up() { &self.whole } else { &self.own };
        let window = watch.rule.window();
        let activity = window.and_then(|window| known.activity.get(&(subject, window)).copied());
        match (known.balances.get(subject), watch.rule) {
            (Some(&balance), _) => Facts::Balance(balance, activity),
            // Something can be asked of a group path that never held anything.
            (None, Rule::UnmetAbove { .. }) if activity.is_none_or(|activity| !activity.unmet.is_zero()) => {
                Facts::Balance(Balance::default(), activity)
            }
            (None, _) => Facts::Gone,
        }
    }
}

/// Whether a watch is about a path as a whole.
fn has_whole(watched: &Watched, subject: &Subject) -> bool {
    watched.watches.values().any(|watch| watch.is_rolled_up() && watch.is_about(subject))
}

/// Reads what happened to balances, or to paths as a whole, within the windows of the rules that are
/// about them.
async fn activity<'a>(
    connection: &mut PgConnection,
    watched: &Watched,
    subjects: &[&'a Subject],
    now: Timestamp,
    is_whole: bool,
) -> Result<HashMap<(&'a Subject, u32), Activity>, StoreError> {
    let mut wanted: BTreeSet<(&'a Subject, u32)> = BTreeSet::new();
    for watch in watched.watches.values().filter(|watch| watch.is_rolled_up() == is_whole) {
        let Some(window) = watch.rule.window() else { continue };
        let about = subjects.iter().filter(|subject| watch.is_about(subject));
        wanted.extend(about.map(|&subject| (subject, window)));
    }
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    // What is kept are whole minutes.
    let since = |window: u32| Timestamp((now.0 - i64::from(window) * SECOND).div_euclid(MINUTE) * MINUTE);
    let columns: Vec<(&Subject, Timestamp)> =
        wanted.iter().map(|&(subject, window)| (subject, since(window))).collect();
    let found = match is_whole {
        true => subjects::whole_activity(connection, &watched.environment, &columns).await?,
        false => subjects::activity(connection, &watched.environment, &columns).await?,
    };
    // A balance that came a moment ago may be one that nothing is known of yet: it is not idle.
    let with_time = wanted.into_iter().zip(found).filter_map(|((subject, window), activity)| {
        let seconds = u32::try_from((now.0 - since(window).0) / SECOND).unwrap_or(window);
        Some(((subject, window), Activity { seconds, ..activity? }))
    });
    Ok(with_time.collect())
}
