//! The bodies of requests as the document shows them. The readers beside the handlers take
//! exactly these properties; a test holds the two against each other.

#![allow(dead_code, reason = "these are shapes for the document; the readers give the faults their places")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use crate::domain::quantity::Quantity;

use super::as_of::AsOf;

/// Names with values.
#[derive(ToSchema)]
pub(super) struct Names(BTreeMap<String, String>);

/// Quantities by day, data source and measure.
#[derive(ToSchema)]
pub(super) struct QuantitiesByDate(BTreeMap<String, BTreeMap<String, BTreeMap<String, Quantity>>>);

/// What can be promised, and why, by day, data source and measure.
#[derive(ToSchema)]
pub(super) struct AvailableToPromiseByDate(
    BTreeMap<String, BTreeMap<String, BTreeMap<String, AvailableToPromise>>>,
);

/// An allocation, or the return of one.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct AllocateRequest {
    /// The client's own id of the event; may come as the header Idempotency-Key instead.
    #[schema(max_length = 128)]
    id: Option<String>,
    /// Whether it is only answered what would happen, and nothing is done.
    #[schema(default = false)]
    dry_run: Option<bool>,
    /// Whether the answer is to say why, in `explanation`. An event keeps its explanation: a repeat
    /// answers what the first time did.
    #[schema(default = false)]
    explain: Option<bool>,
    /// The owner.
    #[schema(max_length = 128)]
    organization_id: String,
    /// The product.
    #[schema(max_length = 128)]
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Where.
    dimensions: Names,
    /// For whom; `targetGroups` is another name for it.
    groups: Names,
    /// How much: more than 0.
    quantity: Quantity,
    /// What it belongs to, such as an order and its line. Kept on the event, and no part of what the
    /// command means: a repeat with another is still a repeat, and leaves it as it was.
    #[schema(min_length = 1, max_length = 128)]
    reference: Option<String>,
    /// Why; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Who asked for it; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 128)]
    actor: Option<String>,
}

/// A move from one group path to another.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ReallocateRequest {
    /// The client's own id of the event; may come as the header Idempotency-Key instead.
    #[schema(max_length = 128)]
    id: Option<String>,
    /// Whether it is only answered what would happen, and nothing is done.
    #[schema(default = false)]
    dry_run: Option<bool>,
    /// Whether the answer is to say why, in `explanation`. An event keeps its explanation: a repeat
    /// answers what the first time did.
    #[schema(default = false)]
    explain: Option<bool>,
    /// The owner.
    #[schema(max_length = 128)]
    organization_id: String,
    /// The product.
    #[schema(max_length = 128)]
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Where.
    dimensions: Names,
    /// From whom.
    source_groups: Names,
    /// To whom; `targetGroups` is another name for it.
    groups: Names,
    /// How much: more than 0.
    quantity: Quantity,
    /// What it belongs to, such as an order and its line. Kept on the event, and no part of what the
    /// command means: a repeat with another is still a repeat, and leaves it as it was.
    #[schema(min_length = 1, max_length = 128)]
    reference: Option<String>,
    /// Why; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Who asked for it; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 128)]
    actor: Option<String>,
}

/// The taking of allocated stock for an order.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ConsumeRequest {
    /// The client's own id of the event; may come as the header Idempotency-Key instead.
    #[schema(max_length = 128)]
    id: Option<String>,
    /// Whether it is only answered what would happen, and nothing is done.
    #[schema(default = false)]
    dry_run: Option<bool>,
    /// Whether the answer is to say why, in `explanation`. An event keeps its explanation: a repeat
    /// answers what the first time did.
    #[schema(default = false)]
    explain: Option<bool>,
    /// The owner.
    #[schema(max_length = 128)]
    organization_id: String,
    /// The product.
    #[schema(max_length = 128)]
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Where.
    dimensions: Names,
    /// By whom; `targetGroups` is another name for it.
    groups: Names,
    /// How much: more than 0.
    quantity: Quantity,
    /// By data source and measure: where the stock is taken from, or what it is added to.
    physical_measures: Option<BTreeMap<String, BTreeMap<String, Direction>>>,
    /// What it belongs to, such as an order and its line. Kept on the event, and no part of what the
    /// command means: a repeat with another is still a repeat, and leaves it as it was.
    #[schema(min_length = 1, max_length = 128)]
    reference: Option<String>,
    /// Why; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Who asked for it; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 128)]
    actor: Option<String>,
}

/// What a consume does to a measure.
#[derive(ToSchema)]
pub(super) enum Direction {
    Addition,
    Subtraction,
}

/// Which balances a query answers.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct AllocationQuery {
    /// The owner.
    organization_id: String,
    /// The product.
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Exactly where.
    dimensions: Names,
    /// The groups that the balances agree with; any may be left out.
    groups: Option<Names>,
    /// Whether each record holds the sum over its group path and all below it.
    rollup: Option<bool>,
    /// The point in the past that is asked about; without it, now.
    as_of: Option<AsOf>,
}

/// What is to be proposed for.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ProposalQuestion {
    /// The owner.
    organization_id: String,
    /// The product.
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Exactly where.
    dimensions: Names,
    /// For how long back demand counts.
    #[schema(default = 3600, minimum = 60, maximum = 2592000)]
    window_seconds: Option<i64>,
    /// How long whoever has demand is to have enough for. Not with `shares`.
    #[schema(default = 86400, minimum = 60, maximum = 31536000)]
    target_seconds: Option<i64>,
    /// Divides by these instead: parts of what the group paths named and the pool hold together, 1 at
    /// most in all. The pool has the rest.
    #[schema(min_items = 1, max_items = 1000)]
    shares: Option<Vec<DeclaredShare>>,
    /// Whether the pool gives too, and with `shares` has the rest; without it, shares add up to 1.
    #[schema(default = true)]
    include_pool: Option<bool>,
}

/// The part of a group path.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct DeclaredShare {
    /// Whose.
    groups: Names,
    /// From 0 to 1.
    share: Quantity,
}

/// Quantities of a group path.
#[derive(ToSchema)]
pub(super) struct AllocationQuantities {
    /// The predefined measures.
    #[schema(rename = "@iv")]
    predefined: AllocationMeasures,
}

/// The predefined measures of a group path.
#[derive(ToSchema)]
pub(super) struct AllocationMeasures {
    /// What can still be consumed.
    #[schema(rename = "@allocated")]
    allocated: Quantity,
    /// What was consumed and not settled yet.
    #[schema(rename = "@consumed")]
    consumed: Quantity,
    /// What was allocated in all, less what was given back.
    #[schema(rename = "@cumulative_allocated")]
    cumulative_allocated: Quantity,
    /// What was consumed in all.
    #[schema(rename = "@cumulative_consumed")]
    cumulative_consumed: Quantity,
}

/// A movement of stock.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OnHandChange {
    /// The client's own id of the event.
    #[schema(max_length = 128)]
    id: Option<String>,
    /// Whether it is only answered what would happen, and nothing is done.
    #[schema(default = false)]
    dry_run: Option<bool>,
    /// Whether the answer is to say why, in `explanation`. An event keeps its explanation: a repeat
    /// answers what the first time did.
    #[schema(default = false)]
    explain: Option<bool>,
    /// The owner.
    #[schema(max_length = 128)]
    organization_id: String,
    /// The product.
    #[schema(max_length = 128)]
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Where.
    dimensions: Names,
    /// By data source and measure: by how much it changes.
    quantities: BTreeMap<String, BTreeMap<String, Quantity>>,
    /// Whose `@iv.@consumed` is settled; only with that measure.
    groups: Option<Names>,
    /// What it belongs to, such as an order and its line. Kept on the event, and no part of what the
    /// command means: a repeat with another is still a repeat, and leaves it as it was.
    #[schema(min_length = 1, max_length = 128)]
    reference: Option<String>,
    /// Why; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Who asked for it; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 128)]
    actor: Option<String>,
}

/// A report of stock.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OnHandSet {
    /// The client's own id of the event.
    #[schema(max_length = 128)]
    id: Option<String>,
    /// Whether it is only answered what would happen, and nothing is done.
    #[schema(default = false)]
    dry_run: Option<bool>,
    /// Whether the answer is to say why, in `explanation`. An event keeps its explanation: a repeat
    /// answers what the first time did.
    #[schema(default = false)]
    explain: Option<bool>,
    /// The owner.
    #[schema(max_length = 128)]
    organization_id: String,
    /// The product.
    #[schema(max_length = 128)]
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Where.
    dimensions: Names,
    /// By data source and measure: how much there is.
    quantities: BTreeMap<String, BTreeMap<String, Quantity>>,
    /// When that was the case; without it, now.
    #[schema(rename = "modifiedDateTimeUTC", format = DateTime)]
    modified_date_time_utc: Option<String>,
    /// What it belongs to, such as an order and its line. Kept on the event, and no part of what the
    /// command means: a repeat with another is still a repeat, and leaves it as it was.
    #[schema(min_length = 1, max_length = 128)]
    reference: Option<String>,
    /// Why; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Who asked for it; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 128)]
    actor: Option<String>,
}

/// The taking of stock that is not allocated, for an order. How much of which measure is said by
/// `quantityDataSource`, `modifier` and `quantity` together, or by `quantities` in their place.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ReserveRequest {
    /// The client's own id of the event; a single call may give it as the header Idempotency-Key instead.
    #[schema(max_length = 128)]
    id: Option<String>,
    /// Whether it is only answered what would happen, and nothing is done.
    #[schema(default = false)]
    dry_run: Option<bool>,
    /// Whether the answer is to say why, in `explanation`. An event keeps its explanation: a repeat
    /// answers what the first time did.
    #[schema(default = false)]
    explain: Option<bool>,
    /// The owner.
    #[schema(max_length = 128)]
    organization_id: String,
    /// The product.
    #[schema(max_length = 128)]
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Where.
    dimensions: Names,
    /// The data source of the reservation measure.
    quantity_data_source: Option<String>,
    /// The reservation measure, one that the configuration lists.
    modifier: Option<String>,
    /// How much: more than 0; or less, to give back, where `ifCheckAvailForReserv` is false.
    quantity: Option<Quantity>,
    /// The same in another form: exactly one data source with one measure.
    quantities: Option<BTreeMap<String, BTreeMap<String, Quantity>>>,
    /// Whether there must be enough available for reservation.
    #[schema(default = true)]
    if_check_avail_for_reserv: Option<bool>,
    /// What it belongs to, such as an order and its line. Kept on the event, and no part of what the
    /// command means: a repeat with another is still a repeat, and leaves it as it was.
    #[schema(min_length = 1, max_length = 128)]
    reference: Option<String>,
    /// Why; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Who asked for it; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 128)]
    actor: Option<String>,
}

/// The freeing of a reservation, or of part of it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct UnreserveRequest {
    /// The client's own id of the event; a single call may give it as the header Idempotency-Key instead.
    #[schema(max_length = 128)]
    id: Option<String>,
    /// Whether it is only answered what would happen, and nothing is done.
    #[schema(default = false)]
    dry_run: Option<bool>,
    /// Whether the answer is to say why, in `explanation`. An event keeps its explanation: a repeat
    /// answers what the first time did.
    #[schema(default = false)]
    explain: Option<bool>,
    /// The owner.
    #[schema(max_length = 128)]
    organization_id: String,
    /// The reservation, by the id that making it answered.
    reservation_id: String,
    /// Where it is.
    dimensions: Names,
    /// How much is offered back: more than 0.
    #[schema(rename = "OffsetQty")]
    offset_qty: Quantity,
    /// What it belongs to, such as an order and its line. Kept on the event, and no part of what the
    /// command means: a repeat with another is still a repeat, and leaves it as it was.
    #[schema(min_length = 1, max_length = 128)]
    reference: Option<String>,
    /// Why; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Who asked for it; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 128)]
    actor: Option<String>,
}

/// What is expected to happen to stock.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ScheduleChange {
    /// The client's own id of the event.
    #[schema(max_length = 128)]
    id: Option<String>,
    /// Whether it is only answered what would happen, and nothing is done.
    #[schema(default = false)]
    dry_run: Option<bool>,
    /// Whether the answer is to say why, in `explanation`. An event keeps its explanation: a repeat
    /// answers what the first time did.
    #[schema(default = false)]
    explain: Option<bool>,
    /// The owner.
    #[schema(max_length = 128)]
    organization_id: String,
    /// The product.
    #[schema(max_length = 128)]
    product_id: String,
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// Where.
    dimensions: Names,
    /// By day (`2026-11-23`, UTC), data source and measure: by how much it is to change.
    quantities_by_date: QuantitiesByDate,
    /// What it belongs to, such as an order and its line. Kept on the event, and no part of what the
    /// command means: a repeat with another is still a repeat, and leaves it as it was.
    #[schema(min_length = 1, max_length = 128)]
    reference: Option<String>,
    /// Why; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Who asked for it; kept on the event as `reference` is.
    #[schema(min_length = 1, max_length = 128)]
    actor: Option<String>,
}

/// Which stock a query answers, and by what dimensions.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OnHandQuery {
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// What the stock is filtered by.
    filters: OnHandFilters,
    /// Further dimensions that the records keep, beside those filtered on.
    group_by_values: Option<Vec<String>>,
    /// Whether records with a quantity below zero are answered too.
    return_negative: Option<bool>,
    /// Whether the records have what is scheduled too, and what can be promised.
    #[schema(rename = "queryATP")]
    query_atp: Option<bool>,
    /// The first day that is to be shown of it; without it, today.
    #[schema(format = Date)]
    atp_from_date: Option<String>,
    /// The last day that is to be shown of it; without it, the last that can be scheduled for.
    #[schema(format = Date)]
    atp_to_date: Option<String>,
    /// The point in the past that is asked about; without it, now.
    as_of: Option<AsOf>,
}

/// Beside the owner and the products: dimensions by their names, each with the values that it may
/// have. An empty list filters nothing.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OnHandFilters {
    /// The owner.
    #[schema(min_items = 1, max_items = 1)]
    organization_id: Vec<String>,
    /// The products; all where the list is empty.
    #[schema(max_items = 5000)]
    product_id: Vec<String>,
    /// A dimension's values; the empty one is that of stock that has none.
    #[serde(flatten)]
    dimensions: BTreeMap<String, Vec<String>>,
}

/// Which stock an exact query answers, and by what dimensions.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OnHandExactQuery {
    /// The data source whose names for dimensions are used.
    dimension_data_source: Option<String>,
    /// What the stock is filtered by.
    filters: OnHandExactFilters,
    /// Further dimensions that the records keep, beside those filtered on.
    group_by_values: Option<Vec<String>>,
    /// Whether records with a quantity below zero are answered too.
    return_negative: Option<bool>,
    /// Whether the records have what is scheduled too, and what can be promised.
    #[schema(rename = "queryATP")]
    query_atp: Option<bool>,
    /// The first day that is to be shown of it; without it, today.
    #[schema(format = Date)]
    atp_from_date: Option<String>,
    /// The last day that is to be shown of it; without it, the last that can be scheduled for.
    #[schema(format = Date)]
    atp_to_date: Option<String>,
    /// The point in the past that is asked about; without it, now.
    as_of: Option<AsOf>,
}

/// The owner, the products, and the combinations of values of some dimensions.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OnHandExactFilters {
    /// The owner.
    #[schema(min_items = 1, max_items = 1)]
    organization_id: Vec<String>,
    /// The products; all where the list is empty.
    #[schema(max_items = 5000)]
    product_id: Vec<String>,
    /// The dimensions.
    dimensions: Vec<String>,
    /// The combinations, each with one value per dimension.
    #[schema(max_items = 1000)]
    values: Vec<Vec<String>>,
}

/// Stock in the answer of a query.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OnHandRecord {
    /// The owner.
    organization_id: String,
    /// The product.
    product_id: String,
    /// The dimensions filtered on or grouped by.
    dimensions: Names,
    /// By data source, every measure that is configured, and the calculated ones; in `@iv` those
    /// of allocations and reservations, and what is available to allocate.
    quantities: BTreeMap<String, BTreeMap<String, Quantity>>,
    /// Only with `queryATP`: by day (its midnight, UTC), what is scheduled, and what the measures of
    /// `schedule.measures` make of it. Days without anything are left out.
    #[schema(required = false)]
    quantities_by_date: QuantitiesByDate,
    /// Only with `queryATP`: by day, what can be promised of the measures of `schedule.measures`.
    #[schema(required = false)]
    atp_quantities: QuantitiesByDate,
    /// Only with `queryATP`: by day, how that comes about.
    #[schema(required = false)]
    atp_by_date: AvailableToPromiseByDate,
}

/// One day of a measure.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct AvailableToPromise {
    /// What is on hand now.
    on_hand: Quantity,
    /// What is to come on that day.
    scheduled_supply: Quantity,
    /// What is to leave on that day.
    scheduled_demand: Quantity,
    /// What there will be then.
    projected_on_hand: Quantity,
    /// The least that there will be from then to the last day: what can be promised.
    atp: Quantity,
}

/// A key that is asked for.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct KeyRequest {
    /// Whose it is. The events that it brings about have it as their `actor`, whatever they say.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// What it may.
    role: KeyRole,
    /// The organizations that it is narrowed to; all where there are none.
    #[schema(max_items = 100)]
    organization_ids: Option<Vec<String>>,
    /// The group path that it is narrowed to, with what is below it.
    groups: Option<Names>,
    /// For how many days it is good.
    #[schema(default = 365, minimum = 1, maximum = 3650)]
    expires_in_days: Option<i32>,
    /// Requests a second that are let in for it, instead of what the service has for all keys.
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_second: Option<u32>,
    /// Commands a second that are let in for it, instead of what the service has for all keys; each line
    /// of a bulk is one.
    #[schema(minimum = 1, maximum = 1_000_000)]
    commands_per_second: Option<u32>,
}

/// What a key may; each may also read.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum KeyRole {
    Reader,
    Consumer,
    Planner,
    Stock,
    Admin,
}

/// What an event is: the operation, by the name that the ledger has for it.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub(super) enum EventOperation {
    Allocate,
    Unallocate,
    Reallocate,
    Consume,
    Reserve,
    GiveBack,
    Unreserve,
    ChangeOnHand,
    SetOnHand,
    ChangeSchedule,
}
