//! From a document to a configuration.

use std::collections::BTreeMap;

use super::{Configuration, DataSource, PREDEFINED_SOURCE, SOFT_RESERVED};
use crate::domain::dimensions::{DimensionHierarchy, DimensionMappings};
use crate::domain::document::{DataSourceDocument, Document, ScheduleDocument};
use crate::domain::formula::{Formula, MeasureName, Slot};
use crate::domain::groups::AllocationHierarchy;
use crate::domain::name::Name;
use crate::domain::promise::PROMISED_MAX;
use crate::domain::refusal::{Fault, Refusal, pointer};
use crate::domain::schedule::PERIOD_DAYS_MAX;

const DIMENSIONS_MAX: usize = 32;
const DATA_SOURCES_MAX: usize = 64;
/// Most physical measures that an environment may ever have had; each costs every node a place.
const MEASURES_MAX: usize = 256;
const CALCULATED_MAX: usize = 64;
const RESERVATION_MEASURES_MAX: usize = 16;
const MAPPINGS_MAX: usize = 128;
/// The predefined measures; their slots are the first, in this order.
const PREDEFINED: [&str; 5] =
    ["@allocated", "@consumed", "@cumulative_allocated", "@cumulative_consumed", "@softreserved"];

/// Makes a configuration of a document; whether its formulas protect anything is not looked at.
///
/// # Errors
/// Names every fault at once.
pub(super) fn build(document: Document, slots: &[MeasureName]) -> Result<Configuration, Refusal> {
    let mut faults = Vec::new();
    let configuration = Builder { faults: &mut faults, slots: slots.to_vec() }.build(&document);
    match configuration {
        Some(configuration) if faults.is_empty() => Ok(Configuration { document, ..configuration }),
        _ => Err(Refusal::InvalidRequest(faults)),
    }
}

/// Collects every fault of a document, so that its writer can mend all at once.
struct Builder<'a> {
    faults: &'a mut Vec<Fault>,
    slots: Vec<MeasureName>,
}

impl Builder<'_> {
    fn build(mut self, document: &Document) -> Option<Configuration> {
        let dimensions = self.names("/dimensions", &document.dimensions, DIMENSIONS_MAX);
        if document.required_dimensions > document.dimensions.len() {
            self.fault("/requiredDimensions", "is more than there are dimensions");
        }
        let groups =
            self.names("/allocation/groups", &document.allocation.groups, AllocationHierarchy::GROUPS_MAX);
        let sources = self.sources(&document.data_sources, &dimensions);
        let available_to_allocate = self.formula(
            "/allocation/availableToAllocate",
            &document.allocation.available_to_allocate,
            &sources,
        );
        let given = &document.reservation.measures;
        if given.len() > RESERVATION_MEASURES_MAX {
            let fault = format!("has more than {RESERVATION_MEASURES_MAX} measures");
            self.fault("/reservation/measures", fault);
        }
        let mut reservations = Vec::new();
        for (text, formula) in given.iter().take(RESERVATION_MEASURES_MAX) {
            let place = pointer("/reservation/measures", text);
            let slot = MeasureName::parse(text).and_then(|name| find(&sources, &name));
            match slot {
                Ok(slot) if slot < SOFT_RESERVED => self.fault(&place, "is moved by allocations only"),
                Ok(slot) if reservations.iter().any(|&(other, _)| other == slot) => {
                    self.fault(&place, "is given twice")
                }
                Ok(slot) => reservations
                    .extend(self.formula(&place, formula, &sources).map(|formula| (slot, formula))),
                Err(why) => self.fault(&place, why),
            }
        }
        let reservable = document.reservation.dimensions.as_deref();
        let reservable =
            reservable.map(|texts| self.reservable(texts, &dimensions, document.required_dimensions));
        let calculated = self.calculated(&document.calculated_measures, &sources);
        let promised = self.promised(&document.schedule, &calculated);
        Some(Configuration {
            document: Document::default(),
            dimensions: DimensionHierarchy::new(dimensions, document.required_dimensions),
            groups: AllocationHierarchy::new(groups),
            slots: self.slots,
            sources,
            available_to_allocate: available_to_allocate?,
            reservations,
            reservable,
            calculated,
            promised,
        })
    }

    /// The dimensions that a reservation may give, all that it must give among them.
    fn reservable(&mut self, texts: &[String], dimensions: &[Name], required: usize) -> Vec<usize> {
        const PLACE: &str = "/reservation/dimensions";
        let mut reservable = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match dimensions.iter().position(|own| own.matches(text)) {
                Some(dimension) if !reservable.contains(&dimension) => reservable.push(dimension),
                Some(_) => self.fault(&format!("{PLACE}/{index}"), "is given twice"),
                None => self.fault(&format!("{PLACE}/{index}"), "is not a dimension"),
            }
        }
        let lacking = dimensions.iter().take(required).enumerate();
        let lacking: Vec<_> = lacking.filter(|(dimension, _)| !reservable.contains(dimension)).collect();
        for (_, name) in lacking {
            self.fault(PLACE, format!("must have {name}, which every reservation must give"));
        }
        if texts.is_empty() {
            self.fault(PLACE, "must have one dimension at least; left out, a reservation may give all");
        }
        reservable
    }

    fn fault(&mut self, pointer: &str, detail: impl std::fmt::Display) {
        self.faults.push(Fault::new(pointer, detail));
    }

    fn name(&mut self, pointer: &str, text: &str, others: &[Name]) -> Option<Name> {
        match Name::parse(text) {
            Ok(name) if name.is_predefined() => {
                self.fault(pointer, "starts with @, which marks the service's own names")
            }
            Ok(name) if others.contains(&name) => self.fault(pointer, format!("gives {name} twice")),
            Ok(name) => return Some(name),
            Err(error) => self.fault(pointer, error),
        }
        None
    }

    fn names(&mut self, parent: &str, texts: &[String], most: usize) -> Vec<Name> {
        if texts.len() > most {
            self.fault(parent, format!("has {} names, at most {most} are allowed", texts.len()));
        }
        let mut names = Vec::new();
        for (index, text) in texts.iter().enumerate().take(most) {
            names.extend(self.name(&format!("{parent}/{index}"), text, &names));
        }
        names
    }

    fn sources(
        &mut self,
        documents: &BTreeMap<String, DataSourceDocument>,
        dimensions: &[Name],
    ) -> Vec<DataSource> {
        if documents.len() > DATA_SOURCES_MAX {
            self.fault("/dataSources", format!("has more than {DATA_SOURCES_MAX} data sources"));
        }
        let mut sources = vec![predefined()];
        if self.slots.is_empty() {
            let iv = &sources[0];
            self.slots = iv
                .measures
                .iter()
                .map(|(measure, _)| MeasureName { source: iv.name.clone(), measure: measure.clone() })
                .collect();
        }
        for (text, document) in documents.iter().take(DATA_SOURCES_MAX) {
            let place = pointer("/dataSources", text);
            let taken: Vec<Name> = sources.iter().map(|source| source.name.clone()).collect();
            let Some(name) = self.name(&place, text, &taken) else { continue };
            let measures = self.names(&pointer(&place, "measures"), &document.measures, MEASURES_MAX);
            let measures = measures
                .into_iter()
                .map(|measure| (measure.clone(), self.slot(MeasureName { source: name.clone(), measure })))
                .collect();
            let mappings = self.mappings(
                &pointer(&place, "dimensionMappings"),
                &document.dimension_mappings,
                dimensions,
            );
            sources.push(DataSource { name, read_only: document.read_only, mappings, measures });
        }
        if self.slots.len() > MEASURES_MAX {
            self.fault(
                "/dataSources",
                format!("brings the measures that there ever were to more than {MEASURES_MAX}"),
            );
        }
        sources
    }

    /// The slot of a measure: its old one, also after it was removed, or the next.
    fn slot(&mut self, name: MeasureName) -> Slot {
        if let Some(index) = self.slots.iter().position(|known| *known == name) {
            self.slots[index] = name;
            return Slot(index);
        }
        self.slots.push(name);
        Slot(self.slots.len() - 1)
    }

    fn mappings(
        &mut self,
        parent: &str,
        texts: &BTreeMap<String, String>,
        dimensions: &[Name],
    ) -> DimensionMappings {
        if texts.len() > MAPPINGS_MAX {
            self.fault(parent, format!("has more than {MAPPINGS_MAX} mappings"));
        }
        let mut mappings = DimensionMappings::new();
        for (external, dimension) in texts.iter().take(MAPPINGS_MAX) {
            let place = pointer(parent, external);
            let taken: Vec<Name> = mappings.iter().map(|(name, _)| name.clone()).collect();
            let Some(name) = self.name(&place, external, &taken) else { continue };
            match dimensions.iter().position(|own| own.matches(dimension)) {
                Some(index) => mappings.push((name, index)),
                None => self.fault(&place, format!("names {dimension:?}, which is not a dimension")),
            }
        }
        mappings
    }

    fn formula(&mut self, place: &str, text: &str, sources: &[DataSource]) -> Option<Formula> {
        match Formula::parse(text, |name| find(sources, name)) {
            Ok(formula) => Some(formula),
            Err(why) => {
                self.fault(place, why);
                None
            }
        }
    }

    fn calculated(
        &mut self,
        texts: &BTreeMap<String, String>,
        sources: &[DataSource],
    ) -> Vec<(MeasureName, Formula)> {
        if texts.len() > CALCULATED_MAX {
            self.fault("/calculatedMeasures", format!("has more than {CALCULATED_MAX} measures"));
        }
        let mut calculated: Vec<(MeasureName, Formula)> = Vec::new();
        for (text, formula) in texts.iter().take(CALCULATED_MAX) {
            let place = pointer("/calculatedMeasures", text);
            match MeasureName::parse(text) {
                Err(why) => self.fault(&place, why),
                Ok(name) if name.source.is_predefined() || name.measure.is_predefined() => {
                    self.fault(&place, "starts with @, which marks the service's own names");
                }
                Ok(name)
                    if find(sources, &name).is_ok() || calculated.iter().any(|(other, _)| *other == name) =>
                {
                    self.fault(&place, "is the name of another measure");
                }
                Ok(name) => {
                    calculated.extend(self.formula(&place, formula, sources).map(|formula| (name, formula)))
                }
            }
        }
        calculated
    }

    fn promised(
        &mut self,
        schedule: &ScheduleDocument,
        calculated: &[(MeasureName, Formula)],
    ) -> Vec<(MeasureName, Formula)> {
        if schedule.period_days > PERIOD_DAYS_MAX {
            let days = schedule.period_days;
            self.fault("/schedule/periodDays", format!("is {days}, at most {PERIOD_DAYS_MAX} are allowed"));
        }
        let given = &schedule.measures;
        if given.len() > PROMISED_MAX {
            let fault = format!("has {} measures, at most {PROMISED_MAX} are allowed", given.len());
            self.fault("/schedule/measures", fault);
        }
        let mut promised: Vec<(MeasureName, Formula)> = Vec::new();
        for (index, text) in given.iter().enumerate().take(PROMISED_MAX) {
            let place = format!("/schedule/measures/{index}");
            let found = MeasureName::parse(text).map(|name| calculated.iter().find(|(own, _)| *own == name));
            match found {
                Err(why) => self.fault(&place, why),
                Ok(None) => self.fault(&place, format!("is {text}, which is none of the calculatedMeasures")),
                Ok(Some((name, _))) if promised.iter().any(|(own, _)| own == name) => {
                    self.fault(&place, format!("gives {name} twice"));
                }
                Ok(Some(measure)) => promised.push(measure.clone()),
            }
        }
        promised
    }
}

fn predefined() -> DataSource {
    // The service's own names are names; the unit tests cover each of them.
    let name = |text: &str| Name::parse(text).ok();
    let measures =
        PREDEFINED.iter().filter_map(|text| name(text)).enumerate().map(|(index, name)| (name, Slot(index)));
    DataSource {
        name: name(PREDEFINED_SOURCE).unwrap_or_else(|| unreachable!("@iv is a name")),
        read_only: false,
        mappings: DimensionMappings::new(),
        measures: measures.collect(),
    }
}

fn find(sources: &[DataSource], name: &MeasureName) -> Result<Slot, String> {
    sources
        .iter()
        .find(|source| source.name == name.source)
        .and_then(|source| source.measures.iter().find(|(measure, _)| *measure == name.measure))
        .map(|&(_, slot)| slot)
        .ok_or_else(|| format!("names {name}, which is not a physical measure of a data source"))
}
