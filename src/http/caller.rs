//! Who is asking, and what they may: so that nobody has to type in what their key is narrowed to.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::access::Role;
use crate::domain::name::Value;
use crate::domain::refusal::Place;

use super::access::Caller;
use super::commands::json;
use super::problem::ProblemBody;
use super::{Environment, schema};

/// Who is asking.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Caller)]
pub(super) struct Shown {
    /// Whose key or token it is, which their events have as `actor`; none where no key is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    name: Option<Value>,
    /// What they may.
    #[schema(value_type = schema::KeyRole)]
    role: Role,
    /// The organizations that they are narrowed to; all where there are none.
    #[schema(value_type = Vec<String>)]
    organization_ids: Vec<Value>,
    /// The group path that they are narrowed to, with what is below it; everything where there is none.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    groups: Place,
}

/// Tells who is asking, and what their key or token is narrowed to. Where no key is needed, everybody
/// is an admin.
#[utoipa::path(
    get, path = "/api/environment/{environmentId}/caller", tag = "access", operation_id = "getCaller",
    params(Environment),
    responses(
        (status = 200, body = Shown),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(environment: Environment) -> Response<Body> {
    let caller = environment.caller.as_ref();
    let scope = caller.map(|caller| caller.scope().clone()).unwrap_or_default();
    let shown = Shown {
        name: caller.map(|caller| caller.name().clone()),
        role: caller.map_or(Role::Admin, Caller::role),
        groups: scope.place(),
        organization_ids: scope.organizations.into_iter().collect(),
    };
    json(StatusCode::OK, &shown)
}
