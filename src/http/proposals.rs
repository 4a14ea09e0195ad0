//! Proposals: which reallocations would level the projected exhaustion. Nothing is applied.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::command::ProductKey;
use crate::domain::configuration::Configuration;
use crate::domain::dimensions::{DimensionPath, Pairs};
use crate::domain::groups::GroupPath;
use crate::domain::name::Value;
use crate::domain::proposal::{self, Goal, Holding, Proposal, Shares, Situation, Transfer};
use crate::domain::quantity::Quantity;
use crate::domain::refusal::{Place, Refusal};
use crate::store::configuration::Versioned;
use crate::store::situation::{self, Now};
use crate::store::{self, Sight};

use super::analytics_records::rfc3339;
use super::balances::Unanswered;
use super::body::Sent;
use super::commands::{json, read_product};
use super::form::Form;
use super::problem::{Problem, ProblemBody};
use super::running::CONFIGURATIONS_MAX;
use super::unmet::now;
use super::{App, Environment, schema};

/// The properties of a question for proposals.
pub(super) const PROPOSALS: &[&str] = &[
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "windowSeconds",
    "targetSeconds",
    "shares",
    "includePool",
];
const SHARE: &[&str] = &["groups", "share"];

/// Most balances of a stock node that proposals are made for.
const BALANCES_MAX: usize = 10_000;
/// Most shares that are declared.
const SHARES_MAX: usize = 1_000;
/// For how long demand may be counted, in seconds: up to 30 days.
const WINDOW_SECONDS: RangeInclusive<i64> = 60..=2_592_000;
/// An hour.
const WINDOW_SECONDS_DEFAULT: i64 = 3_600;
/// How far a target may be away, in seconds: up to a year.
const TARGET_SECONDS: RangeInclusive<i64> = 60..=31_536_000;
/// A day.
const TARGET_SECONDS_DEFAULT: i64 = 86_400;

/// What is proposed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Proposals)]
pub(super) struct Answer {
    /// The commands, in the order in which they are to be sent; none where nothing is to be done.
    proposals: Vec<Proposed>,
    /// How many more there would be: send these, and ask again.
    left_out: usize,
    /// What it comes to, in words.
    remark: String,
    /// What may be allocated there now.
    available_to_allocate: Quantity,
    /// How many events there were at and below the shallowest node of the chain. The commands' ids
    /// are of this state: sent again, or by somebody else who asked in it too, each is done once.
    version: u64,
    /// For how long demand was counted: the window, from a whole minute on.
    window_seconds: i64,
}

/// A command that is proposed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Proposal)]
struct Proposed {
    /// Where to send it, behind the environment: `allocation/reallocate`, `allocation/allocate` or
    /// `allocation/unallocate`.
    path: &'static str,
    /// What to send.
    body: ProposedBody,
    /// Why, with the numbers.
    reason: String,
    /// When the group path that gains by it would run dry without it (the one that loses, where it
    /// is the pool that gains); null where nothing is asked for.
    #[schema(format = DateTime)]
    exhausted_at_before: Option<String>,
    /// When it would after this command and those before it.
    #[schema(format = DateTime)]
    exhausted_at_after: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProposedCommand)]
struct ProposedBody {
    id: String,
    #[schema(value_type = String)]
    organization_id: Value,
    #[schema(value_type = String)]
    product_id: Value,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    dimensions: Place,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    source_groups: Option<Place>,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    groups: Place,
    quantity: Quantity,
    /// What is kept with the event as its reason.
    reason: &'static str,
}

/// Proposes what would level the projected exhaustion of the group paths at exactly these
/// dimensions: commands that are ready to be sent, in their order, each with its reason. Nothing
/// is applied; if nothing else happens, all of them will be granted.
///
/// What a group path consumed within the last `windowSeconds` and what it was refused for lack of
/// stock is its demand. Whoever has demand is to have enough for `targetSeconds`; where there is not
/// enough for that, all there is shall last equally long for all of them. What they lack is taken from the
/// pool, then from group paths without demand, then from those that have more than enough, and goes
/// first to who runs dry first. For example, with 50 in the pool, Web holding 30 and having consumed 60
/// within the hour, Store holding 40 and having consumed nothing, a target of two hours makes two
/// proposals: allocate 50 to Web (it lasts 1 h 20 min), and reallocate 40 from Store to Web (2 h).
///
/// With `shares`, what the group paths named and the pool hold is divided as declared instead; what
/// is left of the whole is the pool's.
///
/// Where all balances are whole numbers, whole numbers are moved; else millionths.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/allocation/proposals", tag = "allocation", operation_id = "proposeAllocations",
    params(Environment), request_body = schema::ProposalQuestion,
    responses((status = 200, body = Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn propose(
    State(app): State<App>,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let asked = Asked::read(&body, &environment.id)?;
    environment.check_stock(&asked.key.organization)?;
    let mut versioned = environment.versioned;
    for _ in 0..CONFIGURATIONS_MAX {
        versioned = match asked.answer(&app, &versioned).await {
            Ok(answer) => return Ok(json(StatusCode::OK, &answer)),
            Err(Unanswered::Refused(refusal)) => {
                let newer = app.environments.newer_than(&environment.id, &versioned).await?;
                newer.ok_or(Problem::from(refusal))?
            }
            Err(Unanswered::Outdated) => app.environments.current(&environment.id).await?,
            Err(Unanswered::Problem(problem)) => return Err(problem),
        };
    }
    Err(Problem::Overloaded)
}

/// A question for proposals as far as its form tells.
pub(super) struct Asked<'a> {
    key: ProductKey,
    source: Option<Cow<'a, str>>,
    dimensions: Pairs<'a>,
    window_seconds: i64,
    target_seconds: i64,
    shares: Option<GivenShares<'a>>,
    include_pool: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn read(body: &'a [u8], environment: &Value) -> Result<Asked<'a>, Problem> {
        let mut form = Form::read(body, PROPOSALS)?;
        let key = read_product(&mut form, environment);
        let source = form.optional_text("dimensionDataSource");
        let dimensions = form.pairs("dimensions");
        let window_seconds =
            seconds(&mut form, "windowSeconds", &WINDOW_SECONDS).unwrap_or(WINDOW_SECONDS_DEFAULT);
        let target_seconds = seconds(&mut form, "targetSeconds", &TARGET_SECONDS);
        let shares = read_shares(&mut form)?;
        if target_seconds.is_some() && shares.is_some() {
            form.reject("targetSeconds", "is for levelling; shares are divided whatever is asked for");
        }
        let include_pool = form.boolean("includePool").unwrap_or(true);
        form.finish()?;
        let target_seconds = target_seconds.unwrap_or(TARGET_SECONDS_DEFAULT);
        Ok(Asked { key, source, dimensions, window_seconds, target_seconds, shares, include_pool })
    }

    /// Where it asks, under a configuration, and what is to be reached.
    pub(super) fn place(&self, configuration: &Configuration) -> Result<(DimensionPath, Goal), Refusal> {
        let goal = match &self.shares {
            None => Goal::Level { target_seconds: self.target_seconds },
            Some(shares) => {
                let read = shares.iter().enumerate().map(|(index, (groups, share))| {
                    let groups = configuration.groups().path(&format!("/shares/{index}/groups"), groups)?;
                    let invalid = |reason| Refusal::InvalidQuantity {
                        pointer: format!("/shares/{index}/share"),
                        text: share.chars().take(40).collect(),
                        reason,
                    };
                    Ok((groups, Quantity::parse(share).map_err(invalid)?))
                });
                let read = read.collect::<Result<_, Refusal>>()?;
                Goal::Shares(Shares::new(read, self.include_pool)?)
            }
        };
        let path = configuration.path(self.source.as_deref(), &self.dimensions)?;
        configuration.dimensions().require(&path)?;
        Ok((path, goal))
    }

    async fn answer(&self, app: &App, versioned: &Versioned) -> Result<Answer, Unanswered> {
        let configuration = &versioned.configuration;
        let (path, goal) = self.place(configuration)?;
        let (now, most) = (now(), BALANCES_MAX as i64 + 1);
        let reading =
            store::read(&app.readers, Sight::Of(self.key.environment.as_str()), async |connection| {
                situation::read(connection, &self.key, &path, versioned, (self.window_seconds, now), most)
                    .await
            });
        let Some(found) = reading.await? else { return Err(Unanswered::Outdated) };
        if found.holdings.len() > BALANCES_MAX {
            let detail = format!("has more than {BALANCES_MAX} balances; proposals are made for fewer");
            return Err(Unanswered::Problem(Problem::invalid("/dimensions", detail)));
        }
        let Now { version, available, may_allocate, mut holdings, window_seconds } = found;
        if let Goal::Shares(shares) = &goal {
            add_missing(&mut holdings, shares);
        }
        let pool = self.include_pool.then_some(if may_allocate { available } else { Quantity::ZERO });
        let situation = Situation { hierarchy: configuration.groups(), holdings, pool, now, window_seconds };
        let proposal::Proposals { proposals, left_out, remark } = proposal::propose(&situation, &goal);
        let reason = match goal {
            Goal::Level { .. } => "proposed to level the projected exhaustion",
            Goal::Shares(_) => "proposed to divide by declared shares",
        };
        let proposed = proposals.into_iter().map(|proposal| {
            let id = proposal::id(&self.key, &path, version, &proposal);
            self.proposed(configuration, &path, id, reason, proposal)
        });
        Ok(Answer {
            proposals: proposed.collect(),
            left_out,
            remark,
            available_to_allocate: available,
            version,
            window_seconds,
        })
    }

    fn proposed(
        &self,
        configuration: &Configuration,
        path: &DimensionPath,
        id: String,
        reason: &'static str,
        proposal: Proposal,
    ) -> Proposed {
        let place = |groups: GroupPath| configuration.groups().place(groups.values());
        let (command, source_groups, groups) = match proposal.transfer {
            Transfer::FromPool { target } => ("allocation/allocate", None, place(target)),
            Transfer::ToPool { source } => ("allocation/unallocate", None, place(source)),
            Transfer::Between { source, target } => {
                ("allocation/reallocate", Some(place(source)), place(target))
            }
        };
        Proposed {
            path: command,
            body: ProposedBody {
                id,
                organization_id: self.key.organization.clone(),
                product_id: self.key.product.clone(),
                dimensions: configuration.dimensions().place(path.values()),
                source_groups,
                groups,
                quantity: proposal.quantity,
                reason,
            },
            reason: proposal.reason,
            exhausted_at_before: proposal.exhausted_at_before.map(rfc3339),
            exhausted_at_after: proposal.exhausted_at_after.map(rfc3339),
        }
    }
}

/// A number of seconds within bounds.
fn seconds(form: &mut Form<'_>, name: &str, bounds: &RangeInclusive<i64>) -> Option<i64> {
    let seconds: i64 = form.optional(name, "a whole number of seconds")?;
    if !bounds.contains(&seconds) {
        form.reject(name, format!("must be from {} to {} seconds", bounds.start(), bounds.end()));
    }
    Some(seconds)
}

type GivenShares<'a> = Vec<(Pairs<'a>, Cow<'a, str>)>;

fn read_shares<'a>(form: &mut Form<'a>) -> Result<Option<GivenShares<'a>>, Problem> {
    let Some(items) = form.optional_items("shares", SHARE)? else { return Ok(None) };
    if items.is_empty() || items.len() > SHARES_MAX {
        form.reject("shares", format!("must be from 1 to {SHARES_MAX}"));
    }
    let shares = items.into_iter().map(|mut item| {
        let share = (item.pairs("groups"), item.quantity("share"));
        form.absorb(item);
        share
    });
    Ok(Some(shares.collect()))
}

/// Who has a share and holds nothing is to get it too.
fn add_missing(holdings: &mut Vec<Holding>, shares: &Shares) {
    for groups in shares.groups() {
        if !holdings.iter().any(|holding| holding.groups == *groups) {
            holdings.push(Holding { groups: groups.clone(), ..Holding::default() });
        }
    }
}
