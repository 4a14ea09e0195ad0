//! The configuration document of Inventory Visibility: its shape, what it means here, and the
//! configuration of an environment written in it.
//!
//! What has no counterpart there, such as a coefficient or a switch of this service, is written
//! in the same places under the names that it has here, so that nothing is lost on the way.

mod read;
mod write;

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::document::is_false;

pub use read::{Reading, in_its_words, read};
pub use write::write;

/// The measure of what is available to allocate, which every environment has.
const AVAILABLE_TO_ALLOCATE: &str = "@available_to_allocate";
/// The measure that the predefined reservation measure is checked against.
const AVAILABLE_TO_RESERVE: &str = "@available_to_reserve";

/// The configuration of an environment in the form of Inventory Visibility.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InventoryVisibilityConfiguration)]
pub struct Foreign {
    /// The data sources by name; `@iv` has the service's own measures.
    pub inventory_system_configurations: BTreeMap<String, SystemConfiguration>,
    /// The dimension hierarchy: partition keys, then index sets.
    #[schema(required = false)]
    pub index_configuration: IndexConfiguration,
    /// Which dimensions allocations and reservations must give.
    #[schema(required = false)]
    pub partition_configuration: PartitionConfiguration,
    /// Which dimensions a reservation may give.
    #[schema(required = false)]
    pub reserv_configuration: ReservConfiguration,
    /// The allocation hierarchy and its pool.
    #[schema(required = false)]
    pub allocation_configuration: AllocationConfiguration,
    /// Change schedules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_configuration: Option<ScheduleConfiguration>,
}

/// A data source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InventorySystemConfiguration)]
pub struct SystemConfiguration {
    /// Its name, once more.
    #[schema(required = false)]
    pub data_source_name: String,
    /// Its own names for dimensions.
    #[schema(required = false)]
    pub dimension_mappings: BTreeMap<String, String>,
    /// Its measures.
    #[schema(required = false)]
    pub physical_measures: Vec<String>,
    /// Its calculated measures.
    #[schema(required = false)]
    pub calculated_measures: BTreeMap<String, Calculation>,
    /// Its reservation measures, each with the calculated measure that it is checked against.
    #[schema(required = false)]
    pub reserv_mappings: BTreeMap<String, String>,
    /// Whether a consume may not modify its measures; not a property of Inventory Visibility.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false, default = false)]
    pub read_only: bool,
}

/// A calculated measure: a sum of physical measures, each `dataSource.measure`. One may have a
/// coefficient, `0.5 * pos.inspection`, which Inventory Visibility does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InventoryVisibilityCalculation)]
pub struct Calculation {
    /// What is added.
    #[schema(required = false)]
    pub addition_modifiers: Vec<String>,
    /// What is subtracted.
    #[schema(required = false)]
    pub subtraction_modifiers: Vec<String>,
}

/// The order of the dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IndexConfiguration)]
pub struct IndexConfiguration {
    /// The first dimensions.
    #[schema(required = false)]
    pub partition_key_attributes: AttributeSet,
    /// Those that follow, set by set.
    #[schema(required = false)]
    pub index_attribute_sets: Vec<AttributeSet>,
}

/// Dimensions in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IndexAttributeSet)]
pub struct AttributeSet {
    /// The place of the set among the others.
    #[schema(required = false)]
    pub set_number: i64,
    /// The dimensions.
    pub keys: Vec<String>,
}

/// What a partition is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PartitionConfiguration)]
pub struct PartitionConfiguration {
    /// Whether each product is on its own; here it always is.
    #[schema(required = false)]
    pub use_product_id: Option<bool>,
    /// Whether allocations and reservations must give the partition keys.
    #[schema(required = false)]
    pub use_dimensions: bool,
}

/// What a reservation may give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReservConfiguration)]
pub struct ReservConfiguration {
    /// Whether there are reservations; here there always are.
    #[schema(required = false)]
    pub is_reserv_enabled: Option<bool>,
    /// 0: a reservation gives no dimension beside `keys`. 1: it may give any.
    #[schema(required = false)]
    pub version: i64,
    /// The reservation hierarchy.
    #[schema(required = false)]
    pub keys: Vec<String>,
    /// Whether a formula may leave allocated stock unprotected; not a property of Inventory
    /// Visibility.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false, default = false)]
    pub allow_unprotected: bool,
}

/// The allocation hierarchy and its pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InventoryVisibilityAllocation)]
pub struct AllocationConfiguration {
    /// The groups.
    #[schema(required = false, max_items = 8)]
    pub groups: Vec<String>,
    /// The place of each group in the hierarchy, `g0` to `g7`.
    #[schema(required = false)]
    pub groups_order: BTreeMap<String, String>,
    /// The formula of the pool: measures, each with `addition` or `subtraction`.
    #[schema(required = false)]
    pub available_to_allocate_calculation: BTreeMap<String, String>,
    /// Whether a consume may change what is available to allocate; not a property of Inventory
    /// Visibility.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false, default = false)]
    pub allow_pool_changing_consumption: bool,
    /// Whether only enabled products can be allocated; not a property of Inventory Visibility.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false, default = false)]
    pub require_enabled_products: bool,
}

/// Change schedules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InventoryVisibilitySchedules)]
pub struct ScheduleConfiguration {
    /// Their dimensions, set by set.
    #[schema(required = false)]
    pub index_attribute_sets: Vec<AttributeSet>,
    /// For how many days, today included, on-hand changes can be scheduled.
    #[schema(required = false, default = 0, maximum = 180)]
    pub schedule_period_in_days: u16,
    /// The calculated measures of which it is told what is available to promise; all where this is
    /// left out. Not a property of Inventory Visibility.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 8)]
    pub measures: Option<Vec<String>>,
}
