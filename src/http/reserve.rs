//! Reserve and unreserve.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;

use crate::domain::command::{ProductKey, Quantities, Request, ReserveForm, Target};
use crate::domain::name::Value;
use crate::domain::state::ReservationId;
use crate::store::{self, Sight, reservations};

use super::body::Sent;
use super::commands::{Asked, Unreadable, finish, header_id, read_id, read_note, read_target};
use super::form::Form;
use super::onhand::{BulkOptions, Options, read_bulk, run_bulk};
use super::problem::{Problem, ProblemBody};
use super::{App, Environment, Shared, commands, schema};

/// The properties of a reservation.
pub(super) const RESERVE: &[&str] = &[
    "id",
    "dryRun",
    "explain",
    "organizationId",
    "productId",
    "dimensionDataSource",
    "dimensions",
    "quantityDataSource",
    "modifier",
    "quantity",
    "quantities",
    "ifCheckAvailForReserv",
    "reference",
    "reason",
    "actor",
];
/// What `quantities` stands for.
const OF_ONE_MEASURE: [&str; 3] = ["quantityDataSource", "modifier", "quantity"];
/// The properties of the freeing of a reservation.
pub(super) const UNRESERVE: &[&str] = &[
    "id",
    "dryRun",
    "explain",
    "organizationId",
    "reservationId",
    "dimensions",
    "OffsetQty",
    "reference",
    "reason",
    "actor",
];

pub(super) fn read_reserve<'a>(
    body: &'a [u8],
    environment: &Value,
    header_id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    let mut form = Form::read(body, RESERVE)?;
    let target = read_target(&mut form, environment, header_id)?;
    let (quantities, reserve_form) = read_reserved(&mut form);
    let checked = form.boolean("ifCheckAvailForReserv").unwrap_or(true);
    finish(form, target, Request::Reserve { quantities, form: reserve_form, checked })
}

/// How much of which measure, in one form or the other.
fn read_reserved<'a>(form: &mut Form<'a>) -> (Quantities<'a>, ReserveForm) {
    if form.raw("quantities").is_none() {
        let (source, measure) = (form.text("quantityDataSource"), form.text("modifier"));
        let quantity = form.quantity("quantity");
        return (vec![(source, vec![(measure, quantity)])], ReserveForm::Modifier);
    }
    for name in OF_ONE_MEASURE {
        if form.raw(name).is_some() {
            form.reject(name, "is part of another form of quantities; give one of them");
        }
    }
    (form.quantities("quantities"), ReserveForm::Quantities)
}

pub(super) fn read_unreserve<'a>(
    body: &'a [u8],
    environment: &Value,
    header_id: Option<&str>,
) -> Result<Asked<'a>, Problem> {
    let mut form = Form::read(body, UNRESERVE)?;
    let id = read_id(&mut form, header_id)?;
    let organization = form.value("organizationId");
    let reservation: Cow<'a, str> = form.text("reservationId");
    let dimensions = form.pairs("dimensions");
    let quantity = form.quantity("OffsetQty");
    let note = read_note(&mut form);
    // Its product is found out by `find_products`. Where there is none, it is of the product
    // that nobody can have, and is judged as any other: refused, or told that its id is taken.
    let product = ProductKey { environment: environment.clone(), organization, product: Value::empty() };
    let target = Target { id, product, dimension_data_source: None, dimensions, note };
    finish(form, target, Request::Unreserve { reservation, quantity })
}

impl Shared {
    /// Finds out which products reservations are of, all at once. A reservation keeps its product
    /// for ever, so this needs no guard.
    async fn find_products(
        &self,
        environment: &Environment,
        mut asked: Vec<&mut Asked<'_>>,
    ) -> Result<(), Problem> {
        let named = |asked: &Asked<'_>| match &asked.request {
            Request::Unreserve { reservation, .. } => ReservationId::parse(reservation),
            _ => None,
        };
        let ids: Vec<_> = asked.iter().filter_map(|asked| named(asked)).map(|id| id.0).collect();
        let reading = store::read(&self.readers, Sight::Of(environment.id.as_str()), async |connection| {
            reservations::products(connection, &environment.id, &ids).await
        });
        let found = reading.await?;
        for asked in &mut asked {
            let owner = named(asked).and_then(|id| found.get(&id));
            if let Some((organization, product)) = owner
                && *organization == asked.target.product.organization
            {
                asked.target.product.product = product.clone();
            }
        }
        Ok(())
    }
}

/// Takes stock that is not allocated for an order, and answers the reservation's id. A negative
/// quantity with `ifCheckAvailForReserv` off gives back what was reserved without naming a
/// reservation, as far as the measure is above zero there.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/reserve", tag = "reservation", operation_id = "reserve",
    params(Environment), request_body = schema::ReserveRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn reserve(State(app): State<App>, sent: Sent) -> Result<Response<Body>, Unreadable> {
    app.run_sent(&sent, read_reserve).await
}

/// Makes many reservations at once.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/reserve/bulk", tag = "reservation", operation_id = "reserveInBulk",
    params(Environment, BulkOptions), request_body = [schema::ReserveRequest],
    responses(
        (status = 200, body = [commands::LineAnswer]), (status = 207, body = [commands::LineAnswer]),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn reserve_bulk(
    State(app): State<App>,
    options: Options,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let lines = read_bulk(&body, |line| read_reserve(line, &environment.id, None));
    run_bulk(&app, &environment, options, lines).await
}

/// Frees a reservation, or part of it. What is offered back and does not remain is told, and is
/// no error: `partialSuccess`, with the rest in `totalInvalidOffsetQtyByReservId`.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/unreserve", tag = "reservation", operation_id = "unreserve",
    params(Environment), request_body = schema::UnreserveRequest,
    responses((status = 200, body = commands::Answer), (status = "default", body = ProblemBody, content_type = "application/problem+json")),
)]
pub(super) async fn unreserve(
    State(app): State<App>,
    Sent { environment, headers, body, .. }: Sent,
) -> Result<Response<Body>, Unreadable> {
    let header_id = header_id(&headers);
    let unreadable = |problem| Unreadable::new(problem, &body, header_id);
    let mut asked = read_unreserve(&body, &environment.id, header_id).map_err(unreadable)?;
    app.find_products(&environment, vec![&mut asked]).await.map_err(unreadable)?;
    Ok(app.run(&environment, asked).await)
}

/// Frees many reservations at once.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/onhand/unreserve/bulk", tag = "reservation", operation_id = "unreserveInBulk",
    params(Environment, BulkOptions), request_body = [schema::UnreserveRequest],
    responses(
        (status = 200, body = [commands::LineAnswer]), (status = 207, body = [commands::LineAnswer]),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn unreserve_bulk(
    State(app): State<App>,
    options: Options,
    Sent { environment, body, .. }: Sent,
) -> Result<Response<Body>, Problem> {
    let mut lines = read_bulk(&body, |line| read_unreserve(line, &environment.id, None));
    if let Ok(lines) = &mut lines {
        let readable = lines.iter_mut().filter_map(|line| line.as_mut().ok());
        app.find_products(&environment, readable.collect()).await?;
    }
    run_bulk(&app, &environment, options, lines).await
}
