//! Analytics: what was done with what is set aside. What its figures mean is in `domain/analytics.rs`;
//! `analytics_question.rs` reads what is asked for, `analytics_records.rs` writes the answer.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use utoipa::IntoParams;

use crate::domain::analytics::Summary;
use crate::domain::configuration::Configuration;
use crate::store::analytics;
use crate::store::{self, Sight};

use super::analytics_question::{Asked, Bucket, Format};
use super::analytics_records::{Record, Sheet};
use super::problem::{Problem, ProblemBody};
use super::unmet::now;
use super::{App, Environment};

/// A question as an address has it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of what `Asked::read_address` reads")]
pub(super) struct QueryParameters {
    /// The owner; without it all.
    organization_id: Option<String>,
    /// The product; without it all.
    product_id: Option<String>,
    /// A dimension by its name, with the value that it must have: `siteId=1&locationId=11`. Others may
    /// have any. A group likewise, behind `group.`: `group.channel=Online`, for the group paths that have
    /// it and all below.
    #[param(style = Form, explode)]
    dimensions: Option<BTreeMap<String, String>>,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// The beginning of the range; without it a day before `to`. Like every border of a range, it is put
    /// down to the start of its minute; where it is older than 2 days to that of its hour, and where it
    /// is older than 60 days to that of its day (UTC), which is all that is kept. `from` of a record says
    /// where that is.
    #[param(format = DateTime)]
    from: Option<String>,
    /// The end of the range, which is not part of it; without it, or when it is yet to come, the end of the
    /// second that runs.
    #[param(format = DateTime)]
    to: Option<String>,
    /// Into what the range is cut: a record for each `minute` (of the last 2 days), `hour` (of the last 60
    /// days) or `day`, in UTC, also for those in which nothing was done; or, as without it, `none`: one for the whole range.
    #[param(inline)]
    bucket: Option<Bucket>,
    /// How far group paths are rolled up: depths with commas between, of which 0 is all groups together, 1
    /// the first group, and so on, each with all that is below; or `own` for every path as it holds a balance.
    #[param(default = "own", pattern = r"^(own|[0-8](,[0-8])*)$")]
    levels: Option<String>,
    /// What records are told apart by, beside group paths: of `organizationId`, `productId` and `dimensions`
    /// those wanted, with commas between. Without it by all of them; what is left out is summed over.
    #[param(default = "organizationId,productId,dimensions")]
    group_by: Option<String>,
    /// The window of the consumption rate, of what is idle and of the projection, in seconds: it ends with
    /// the range, and begins with a minute, so that it may be a little longer. A bucket is a window of its own.
    #[param(minimum = 1, maximum = 5184000, default = 3600)]
    window: Option<i64>,
    /// `csv` for comma-separated values, as the header `Accept: text/csv` asks for them too.
    #[param(inline)]
    format: Option<Format>,
    /// Most records of the answer. The header `Link` has the address of the next page, where there is one.
    #[param(minimum = 1, maximum = 10000, default = 1000)]
    limit: Option<usize>,
    /// Behind which record the answer begins: from the header `Link` of the page before.
    after: Option<String>,
}

/// Answers what was done with what is set aside: for each group path, rolled up to any level, each
/// product and each time bucket. Group paths that hold nothing and saw nothing in the range have no
/// record.
///
/// It is counted behind the commands, which wait for none of it: an answer has everything up to the
/// event in the header `ringfence-reached`, the environment's last of about a second ago. To see one's own
/// command, ask until that is its `eventId` or more. Pages are each as of their own moment.
///
/// What the figures mean, by an example. At 12:00 `Online/VIP` has a balance of 10. Until 13:00, 30 are
/// allocated to it and 4 returned, 6 are reallocated in and 2 out, 20 are consumed, and 3 requests for 8
/// together are refused. `Online/Staff` has a balance of 5, and nothing happens there. Asked for `from`
/// 12:00, `to` 13:00 and a `window` of 3600, `Online/VIP` has:
///
/// - `allocated`, what was taken from the pool: 30. `returned`, what was given back to it: 4. `consumed`: 20.
/// - `reallocatedIn` and `reallocatedOut`, what was moved from and to other group paths: 6 and 2. Rolled up,
///   what was moved between two paths of the same record counts in both.
/// - `balance`, what may still be consumed at `to`: 10 + 30 − 4 + 6 − 2 − 20 = 20.
/// - `sellThrough`, the part that was consumed of all there was to consume, which is the balance at `from`
///   and what came, less what went elsewhere: 20 ÷ (10 + 30 + 6 − 4 − 2) = 0.5. It is null where there
///   was nothing.
/// - `consumptionRate`, consumed in an hour, over the window: 20 × 3600 ÷ 3600 = 20.
/// - `exhaustedAt`, when the balance is used up if it goes on like this: 13:00 + 20 ÷ 20 h = 14:00, in
///   whole seconds. It is null where nothing was consumed within the window.
/// - `unmetQuantity` and `unmetCount`, what consumes and allocates asked for that were refused for lack of
///   stock, and how many they were: 8 and 3. The same id counts once while an instance remembers it, among
///   its latest 8,192, and counts for ever, also if it is granted later. A crash may lose the counts of the
///   last second.
/// - `idle`, balances of which nothing was consumed within the window: 0, but 5 of `Online/Staff`; so with
///   `levels=1`, `Online` has a balance of 25, of which 5 are idle.
/// - `lastConsumedAt`, when it was last consumed before `to`, also before `from`.
///
/// Quotients are rounded to 6 places. The columns of a CSV answer are the same members, with a column for
/// each dimension and group: `dimensions.siteId`, `groups.channel`. A text there that begins with `=`, `+`,
/// `-`, `@`, a tab or a carriage return has an apostrophe before it, so that no spreadsheet takes it for a
/// formula; numbers are as they are.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/allocation/analytics", tag = "allocation", operation_id = "getAnalytics",
    params(Environment, QueryParameters),
    responses(
        (status = 200, content((Vec<Record<'_>> = "application/json"), (String = "text/csv")), headers(
            ("Link" = String, description = "The next page: `<?…>; rel=\"next\"`."),
            ("ringfence-reached" = i64, description = "The environment's last event that the answer has."),
        )),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(
    State(app): State<App>,
    environment: Environment,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let asked = Asked::read_address(query.as_deref().unwrap_or_default(), now())?;
    // Other instances change configurations too, and this has no guard that would notice.
    let versioned = app.environments.current(&environment.id).await?;
    let configuration = &versioned.configuration;
    let filters = asked.filters(configuration)?;
    let wanted = asked.wanted(environment.id.as_str(), &filters);
    let summary = asked.summary();
    let reading = store::read(&app.readers, Sight::Of(environment.id.as_str()), async |connection| {
        analytics::sum(connection, &wanted, summary).await
    });
    let (summary, reached) = reading.await?;
    let accepts_csv =
        headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/csv"));
    // To write thousands of records takes long enough that others' requests would wait for it.
    let answering = tokio::task::spawn_blocking(move || {
        answer(&asked, &summary, reached, &versioned.configuration, accepts_csv)
    });
    Ok(answering.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())))
}

/// Answers a question with its sums, which have everything up to the event `reached`.
fn answer(
    asked: &Asked,
    summary: &Summary,
    reached: i64,
    configuration: &Configuration,
    accepts_csv: bool,
) -> Response<Body> {
    let sheet = Sheet { configuration, grouping: &asked.grouping, frames: asked.frames() };
    let (records, last) = sheet.page(summary, asked.after.as_ref(), asked.limit);
    let format = asked.format.unwrap_or(if accepts_csv { Format::Csv } else { Format::Json });
    let mut response = sheet.write(&records, format);
    let headers = response.headers_mut();
    headers.insert("ringfence-reached", HeaderValue::from(reached));
    if let Some(cursor) = last
        && let Some(link) = asked.page.next(&cursor.texts().iter().map(String::as_str).collect::<Vec<_>>())
    {
        headers.insert(header::LINK, link);
    }
    response
}
