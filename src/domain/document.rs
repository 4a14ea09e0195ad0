//! The configuration as a client writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The configuration as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Configuration)]
pub struct Document {
    /// The dimension hierarchy, in order.
    pub dimensions: Vec<String>,
    /// How many dimensions, from the first, allocations and reservations must give.
    #[serde(default)]
    #[schema(required = false, default = 0)]
    pub required_dimensions: usize,
    /// The data sources by name.
    pub data_sources: BTreeMap<String, DataSourceDocument>,
    /// The allocation hierarchy and its pool.
    pub allocation: AllocationDocument,
    /// What can be reserved.
    #[serde(default)]
    #[schema(required = false)]
    pub reservation: ReservationDocument,
    /// Further calculated measures, each with its formula.
    #[serde(default)]
    #[schema(required = false)]
    pub calculated_measures: BTreeMap<String, String>,
    /// What can be scheduled, and promised.
    #[serde(default, skip_serializing_if = "ScheduleDocument::is_none")]
    #[schema(required = false)]
    pub schedule: ScheduleDocument,
}

/// A data source as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DataSource)]
pub struct DataSourceDocument {
    /// Its physical measures.
    #[serde(default)]
    #[schema(required = false)]
    pub measures: Vec<String>,
    /// Whether a consume may not modify its measures.
    #[serde(default)]
    #[schema(required = false, default = false)]
    pub read_only: bool,
    /// Its own names for dimensions.
    #[serde(default)]
    #[schema(required = false)]
    pub dimension_mappings: BTreeMap<String, String>,
}

/// The allocation hierarchy as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AllocationConfiguration)]
pub struct AllocationDocument {
    /// The groups, in order.
    #[schema(max_items = 8)]
    pub groups: Vec<String>,
    /// The formula of the common pool.
    pub available_to_allocate: String,
    /// Whether a consume may change what is available to allocate.
    #[serde(default)]
    #[schema(required = false, default = false)]
    pub allow_pool_changing_consumption: bool,
    /// Whether only products that were enabled for it can be allocated.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false, default = false)]
    pub require_enabled_products: bool,
}

/// What can be reserved, as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReservationConfiguration)]
pub struct ReservationDocument {
    /// The reservation measures, each with the formula that it is checked against.
    #[serde(default)]
    #[schema(required = false)]
    pub measures: BTreeMap<String, String>,
    /// Whether a formula may leave allocated stock unprotected.
    #[serde(default)]
    #[schema(required = false, default = false)]
    pub allow_unprotected: bool,
    /// The only dimensions that a reservation may give; without it, it may give all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Vec<String>>,
}

/// What can be scheduled and promised, as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduleConfiguration)]
pub struct ScheduleDocument {
    /// For how many days, today included, on-hand changes can be scheduled; 0 is for none.
    #[serde(default)]
    #[schema(required = false, default = 0, maximum = 180)]
    pub period_days: u16,
    /// The calculated measures of which it is told what is available to promise.
    #[serde(default)]
    #[schema(required = false, max_items = 8)]
    pub measures: Vec<String>,
}

impl ScheduleDocument {
    /// Whether it is as if it were not there.
    fn is_none(&self) -> bool {
        *self == ScheduleDocument::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}
