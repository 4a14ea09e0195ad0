//! A problem's body: what it tells, member by member.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::explanation::Explanation;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;
use crate::domain::refusal::{Place, Refusal, Shortage};

/// A problem as RFC 9457 has it, with the members of Inventory Visibility beside.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A path of the service that explains the problem.
    #[serde(rename = "type")]
    pub(super) problem_type: String,
    /// The problem in a few words.
    pub(super) title: &'static str,
    /// The HTTP status.
    pub(super) status: u16,
    /// The problem's stable name.
    pub(super) code: &'static str,
    /// What was asked, what there was, what limited it and what to do next.
    pub(super) detail: String,
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requested: Option<Quantity>,
    /// What there was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) available: Option<Quantity>,
    /// The stock node that limited it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    pub(super) limited_by: Option<Place>,
    /// The group path that limited it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    pub(super) groups: Option<Place>,
    /// Every fault of the request, with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) errors: Vec<FaultBody>,
    /// Which line of an atomic bulk it was, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    /// The event's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) id: Option<Value>,
    /// Always `failure`.
    pub(super) processing_status: &'static str,
    /// The detail again, where clients of Inventory Visibility look for it.
    pub(super) message: String,
    /// The code that Inventory Visibility would give.
    pub(super) status_code: u16,
    /// How it came about, where a command asked for it with `explain` and was judged on the stock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Explanation>)]
    pub(super) explanation: Option<Box<Explanation>>,
    /// Only with `dryRun`, and then true: the command was not to be done in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dry_run: Option<bool>,
    /// What the header Retry-After says, where it is not what all say.
    #[serde(skip)]
    pub(super) retry_after: Option<u64>,
}

/// One fault of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Fault)]
pub(super) struct FaultBody {
    /// A JSON pointer to the place.
    pub(super) pointer: String,
    /// What is wrong there.
    pub(super) detail: String,
}

impl ProblemBody {
    /// The same of a command: with how it came about, and whether it was only asked what would happen.
    pub(in crate::http) fn of_command(
        self,
        explanation: Option<Box<Explanation>>,
        dry_run: bool,
    ) -> ProblemBody {
        ProblemBody { explanation, dry_run: dry_run.then_some(true), ..self }
    }

    pub(super) fn fill(&mut self, refusal: &Refusal) {
        let at = |pointer: &str, detail: String| vec![FaultBody { pointer: pointer.to_owned(), detail }];
        match refusal {
            Refusal::InvalidRequest(faults) | Refusal::ConfigurationInUse(faults) => {
                let bodies = faults
                    .iter()
                    .map(|fault| FaultBody { pointer: fault.pointer.clone(), detail: fault.detail.clone() });
                self.errors = bodies.collect();
            }
            Refusal::UnprotectedFormula(fault) => self.errors = at(&fault.pointer, fault.detail.clone()),
            Refusal::UnknownProperty { pointer, .. }
            | Refusal::UnknownGroup { pointer, .. }
            | Refusal::HierarchyGap { pointer, .. }
            | Refusal::UnknownDimension { pointer, .. }
            | Refusal::UnknownMeasure { pointer, .. }
            | Refusal::InvalidQuantity { pointer, .. }
            | Refusal::MissingRequiredDimension { pointer, .. } => {
                self.errors = at(pointer, self.detail.clone())
            }
            Refusal::InsufficientAvailableToAllocate(shortage)
            | Refusal::InsufficientAvailableToReserve(shortage) => {
                let Shortage { requested, available, limited_by } = shortage.clone();
                self.requested = Some(requested);
                self.available = Some(available);
                self.limited_by = Some(limited_by);
            }
            Refusal::InsufficientAllocation { requested, available, groups, .. } => {
                self.requested = Some(*requested);
                self.available = Some(*available);
                self.groups = Some(groups.clone());
            }
            Refusal::NothingReserved { requested, available } => {
                self.requested = Some(*requested);
                self.available = Some(*available);
            }
            Refusal::MissingId
            | Refusal::ReadOnlyDataSource { .. }
            | Refusal::ConsumptionNotNeutral { .. }
            | Refusal::UnknownReservation(_)
            | Refusal::ProductNotEnabled { .. }
            | Refusal::OutdatedSet { .. }
            | Refusal::IdReused { .. } => {}
        }
    }
}
