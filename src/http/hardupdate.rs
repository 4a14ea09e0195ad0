//! The configuration document of Inventory Visibility, taken in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;

use crate::domain::inventory_visibility::{
    self, AllocationConfiguration, AttributeSet, Calculation, Foreign, IndexConfiguration,
    PartitionConfiguration, ReservConfiguration, ScheduleConfiguration, SystemConfiguration,
};

use super::body::Sent;
use super::configuration::{ChangeBody, store};
use super::form::Form;
use super::problem::{Problem, ProblemBody};
use super::{App, Environment, NewEnvironment};

const DOCUMENT: &[&str] = &[
    "inventorySystemConfigurations",
    "indexConfiguration",
    "partitionConfiguration",
    "reservConfiguration",
    "allocationConfiguration",
    "scheduleConfiguration",
];
const SYSTEM: &[&str] = &[
    "dataSourceName",
    "dimensionMappings",
    "physicalMeasures",
    "calculatedMeasures",
    "reservMappings",
    "readOnly",
];
const CALCULATION: &[&str] = &["additionModifiers", "subtractionModifiers"];
const INDEX: &[&str] = &["partitionKeyAttributes", "indexAttributeSets"];
const SET: &[&str] = &["setNumber", "keys"];
const PARTITION: &[&str] = &["useProductId", "useDimensions"];
const RESERVATION: &[&str] = &["isReservEnabled", "isEnabled", "version", "keys", "allowUnprotected"];
const ALLOCATION: &[&str] = &[
    "isEnabled",
    "groups",
    "groupsOrder",
    "availableToAllocateCalculation",
    "allowPoolChangingConsumption",
    "requireEnabledProducts",
];
const SCHEDULE: &[&str] = &["isEnabled", "indexAttributeSets", "schedulePeriodInDays", "measures"];
/// Properties that say of a document what it is, and nothing of stock.
const SAYS_NOTHING: [&str; 7] = [
    "environmentId",
    "configurationVersion",
    "entityVersion",
    "isUninstalled",
    "isIndexUpgradeInProgress",
    "isSetup",
    "version",
];
/// Most properties of which it is said that they are not known.
const UNKNOWN_MAX: usize = 100;

/// A document while it is read.
struct Reader<'a> {
    form: Form<'a>,
    unknown: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Reads a part, and takes note of what is wrong with it and of what is not known.
    fn part<T: Default>(
        &mut self,
        name: &str,
        known: &'static [&'static str],
        read: impl FnOnce(&mut Reader<'a>) -> T,
    ) -> T {
        match self.form.optional_open_form(name, known) {
            Some(form) => self.within(form, |part| {
                let is_off = known.contains(&"isEnabled") && part.form.boolean("isEnabled") == Some(false);
                // Nothing of it can be switched off here.
                part.unknown.extend(is_off.then(|| format!("/{name}/isEnabled: false")));
                read(part)
            }),
            None => T::default(),
        }
    }

    fn within<T>(&mut self, form: Form<'a>, read: impl FnOnce(&mut Reader<'a>) -> T) -> T {
        let unknown = std::mem::take(&mut self.unknown);
        let mut inner = Reader { form, unknown };
        let value = read(&mut inner);
        self.unknown = inner.unknown;
        self.unknown.extend(inner.form.unknown());
        self.form.absorb(inner.form);
        value
    }

    fn texts(&mut self, name: &str) -> Vec<String> {
        let texts = self.form.optional_texts(name).unwrap_or_default();
        texts.into_iter().map(Cow::into_owned).collect()
    }

    fn systems(&mut self) -> BTreeMap<String, SystemConfiguration> {
        self.form.must_have("inventorySystemConfigurations");
        let mut systems = BTreeMap::new();
        for (name, form) in self.form.open_forms("inventorySystemConfigurations", SYSTEM) {
            let system = self.within(form, |reader| SystemConfiguration {
                data_source_name: reader
                    .form
                    .optional_text("dataSourceName")
                    .unwrap_or_default()
                    .into_owned(),
                dimension_mappings: reader.form.named_texts("dimensionMappings"),
                physical_measures: reader.texts("physicalMeasures"),
                calculated_measures: reader.calculations(),
                reserv_mappings: reader.form.named_texts("reservMappings"),
                read_only: reader.form.boolean("readOnly").unwrap_or_default(),
            });
            if systems.insert(name.clone().into_owned(), system).is_some() {
                self.form.reject("inventorySystemConfigurations", format!("gives {name} twice"));
            }
        }
        systems
    }

    fn calculations(&mut self) -> BTreeMap<String, Calculation> {
        let mut calculations = BTreeMap::new();
        for (name, form) in self.form.open_forms("calculatedMeasures", CALCULATION) {
            let calculation = self.within(form, |reader| Calculation {
                addition_modifiers: reader.texts("additionModifiers"),
                subtraction_modifiers: reader.texts("subtractionModifiers"),
            });
            if calculations.insert(name.clone().into_owned(), calculation).is_some() {
                self.form.reject("calculatedMeasures", format!("gives {name} twice"));
            }
        }
        calculations
    }

    fn set(&mut self) -> AttributeSet {
        let set_number = self.form.optional("setNumber", "a whole number").unwrap_or_default();
        AttributeSet { set_number, keys: self.texts("keys") }
    }

    fn sets(&mut self) -> Vec<AttributeSet> {
        let forms = self.form.open_items("indexAttributeSets", SET);
        forms.into_iter().map(|form| self.within(form, Reader::set)).collect()
    }
}

pub(super) fn read(body: &[u8]) -> Result<(Foreign, Vec<String>), Problem> {
    let mut reader = Reader { form: Form::read_open(body, DOCUMENT)?, unknown: Vec::new() };
    let foreign = Foreign {
        inventory_system_configurations: reader.systems(),
        index_configuration: reader.part("indexConfiguration", INDEX, |part| IndexConfiguration {
            partition_key_attributes: part.part("partitionKeyAttributes", SET, Reader::set),
            index_attribute_sets: part.sets(),
        }),
        partition_configuration: reader.part("partitionConfiguration", PARTITION, |part| {
            PartitionConfiguration {
                use_product_id: part.form.boolean("useProductId"),
                use_dimensions: part.form.boolean("useDimensions").unwrap_or_default(),
            }
        }),
        reserv_configuration: reader.part("reservConfiguration", RESERVATION, |part| ReservConfiguration {
            is_reserv_enabled: part.form.boolean("isReservEnabled"),
            version: part.form.optional("version", "a whole number").unwrap_or_default(),
            keys: part.texts("keys"),
            allow_unprotected: part.form.boolean("allowUnprotected").unwrap_or_default(),
        }),
        allocation_configuration: reader.part("allocationConfiguration", ALLOCATION, |part| {
            AllocationConfiguration {
                groups: part.texts("groups"),
                groups_order: part.form.named_texts("groupsOrder"),
                available_to_allocate_calculation: part.form.named_texts("availableToAllocateCalculation"),
                allow_pool_changing_consumption: part
                    .form
                    .boolean("allowPoolChangingConsumption")
                    .unwrap_or_default(),
                require_enabled_products: part.form.boolean("requireEnabledProducts").unwrap_or_default(),
            }
        }),
        schedule_configuration: reader.part("scheduleConfiguration", SCHEDULE, |part| {
            let days = part.form.optional("schedulePeriodInDays", "a whole number of days");
            let measures = part.form.optional_texts("measures");
            Some(ScheduleConfiguration {
                index_attribute_sets: part.sets(),
                schedule_period_in_days: days.unwrap_or_default(),
                measures: measures.map(|texts| texts.into_iter().map(Cow::into_owned).collect()),
            })
        }),
    };
    let mut unknown = reader.unknown;
    unknown.extend(reader.form.unknown());
    reader.form.finish()?;
    Ok((foreign, said_of(unknown)))
}

/// What is not known came from another program's settings: it is named, and nothing else.
fn said_of(mut unknown: Vec<String>) -> Vec<String> {
    unknown.retain(|place| {
        let name = place.rsplit('/').next().unwrap_or_default();
        !SAYS_NOTHING.iter().any(|own| own.eq_ignore_ascii_case(name))
    });
    let more = unknown.len().saturating_sub(UNKNOWN_MAX);
    unknown.truncate(UNKNOWN_MAX);
    let named = unknown.into_iter().map(|place| format!("{place} left out; it has no counterpart here"));
    let rest = (more > 0).then(|| format!("{more} more properties left out; they have no counterpart here"));
    named.chain(rest).collect()
}

/// Replaces the configuration by what the document of Inventory Visibility means here, or creates
/// the environment by it. What that document says and the service does otherwise is in `warnings`;
/// so is every property that has no counterpart.
#[utoipa::path(
    post, path = "/api/environment/{environmentId}/configuration/hardupdate", tag = "configuration", operation_id = "hardUpdateConfiguration",
    params(Environment, ("If-Match" = Option<String>, Header, description = "The version that the change was made for.")),
    request_body = Foreign,
    responses(
        (status = 200, body = ChangeBody<'_>, headers(("ETag" = String, description = "The new version."))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn hard_update(
    State(app): State<App>,
    Sent { environment, headers, body, .. }: Sent<NewEnvironment>,
) -> Result<Response<Body>, Problem> {
    let (foreign, unknown) = read(&body)?;
    let reading = inventory_visibility::read(&foreign)?;
    let warnings = reading.warnings.into_iter().chain(unknown).collect();
    store(&app, environment, &headers, reading.document, warnings).await.map_err(|problem| match problem {
        Problem::Refused(refusal) => inventory_visibility::in_its_words(refusal).into(),
        other => other,
    })
}
