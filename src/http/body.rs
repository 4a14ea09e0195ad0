//! What a request brings: its body read whole, within its limits of type, length and time.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use axum::response::IntoResponse;
use http_body_util::{BodyExt, Limited};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::problem::Problem;
use super::{Addressed, App, Environment, Shared};

/// Most bytes of a refused body that are still read.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// A request with its body, to the environment that its path names.
pub(super) struct Sent<E = Environment> {
    pub(super) environment: E,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// A large body's part of the room for all of them, until the answer is there: what was
    /// read of the body lives so long.
    _room: Option<OwnedSemaphorePermit>,
}

impl<E: Addressed> FromRequest<App> for Sent<E> {
    type Rejection = Response<Body>;

    /// Of who may not, no body is taken in. Of who may, the body comes first: whoever still sends it
    /// would not hear of anything else.
    async fn from_request(request: Request, app: &App) -> Result<Sent<E>, Response<Body>> {
        let (mut parts, mut body) = request.into_parts();
        let deadline = Instant::now() + app.limits.body_time_max;
        let admitted = match app.admit(&mut parts).await {
            Ok(admitted) => admitted,
            Err(problem) => {
                return Err(refused(&parts, problem, body, app.limits.body_bytes_max, deadline).await);
            }
        };
        match read(app, &parts, &mut body, deadline).await {
            Ok((body, room)) => {
                let environment = E::of(admitted, &mut parts, app).await.map_err(Problem::into_response)?;
                Ok(Sent { environment, headers: parts.headers, body, _room: room })
            }
            Err(problem) => Err(refused(&parts, problem, body, DISCARDED_BYTES_MAX, deadline).await),
        }
    }
}

async fn refused(
    parts: &Parts,
    problem: Problem,
    body: Body,
    most: usize,
    deadline: Instant,
) -> Response<Body> {
    let is_read =
        !parts.headers.contains_key(header::EXPECT) && Box::pin(discard(body, most, deadline)).await;
    let comes_again = matches!(problem, Problem::RateLimited(_));
    let mut response = problem.into_response();
    // What is left of the body after that is not waited for. Who is to come again keeps the connection.
    if !(is_read && comes_again) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads what is left of a body that is refused, and throws it away. A connection that is
/// closed over unread bytes is reset, and a client that is still sending then does not hear
/// why. (One that asked whether to send at all has not begun.)
/// Answers whether that was all of it.
async fn discard(body: Body, most: usize, deadline: Instant) -> bool {
    let mut rest = Limited::new(body, most);
    let read = async {
        loop {
            match rest.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
                None => return true,
            }
        }
    };
    tokio::time::timeout_at(deadline, read).await.unwrap_or(false)
}

async fn read(
    app: &Shared,
    parts: &Parts,
    body: &mut Body,
    deadline: Instant,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
    let limits = &app.limits;
    if !is_json(parts) {
        return Err(Problem::UnsupportedMediaType);
    }
    let is_bulk = parts.uri.path().ends_with("/bulk");
    let limit = if is_bulk { limits.bulk_body_bytes_max } else { limits.body_bytes_max };
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::PayloadTooLarge(limit));
    }
    let bytes = body.size_hint().exact().unwrap_or(limit as u64);
    // Whoever takes the room and sends nothing would keep everybody out.
    let room = match bytes > limits.small_body_bytes_max as u64 {
        true => Some(Box::pin(room(app, bytes, deadline)).await?),
        false => None,
    };
    match tokio::time::timeout_at(deadline, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok((collected.to_bytes(), room)),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::PayloadTooLarge(limit))
        }
        Ok(Err(error)) => Err(Problem::invalid("", format!("could not be read: {error}"))),
        Err(_) => Err(Problem::invalid("", format!("did not arrive within {:?}", limits.body_time_max))),
    }
}

/// Waits for the room for a large body.
async fn room(app: &Shared, bytes: u64, deadline: Instant) -> Result<OwnedSemaphorePermit, Problem> {
    // At most the limit of a body, which is a few MiB.
    let room = Arc::clone(&app.room).acquire_many_owned(bytes as u32);
    tokio::time::timeout_at(deadline, room).await.ok().and_then(Result::ok).ok_or(Problem::Overloaded)
}

fn is_json(parts: &Parts) -> bool {
    let Some(value) = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let kind = value.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}
