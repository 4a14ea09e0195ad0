//! What a document of Inventory Visibility means here.

use std::collections::BTreeMap;

use super::{
    AVAILABLE_TO_ALLOCATE, AllocationConfiguration, AttributeSet, Calculation, Foreign, SystemConfiguration,
};
use crate::domain::configuration::{Configuration, PREDEFINED_SOURCE};
use crate::domain::document::{
    AllocationDocument, DataSourceDocument, Document, ReservationDocument, ScheduleDocument,
};
use crate::domain::formula::MeasureName;
use crate::domain::promise::PROMISED_MAX;
use crate::domain::refusal::{Fault, Refusal, pointer};

/// A formula under which nothing can be allocated.
const NOTHING_AVAILABLE: &str = "- @iv.@allocated";

/// What a document of Inventory Visibility means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The same in the service's own form.
    pub document: Document,
    /// What the document says and the service does otherwise.
    pub warnings: Vec<String>,
}

/// Reads a document of Inventory Visibility.
///
/// # Errors
/// Names what cannot be, at its place in that document.
pub fn read(foreign: &Foreign) -> Result<Reading, Refusal> {
    let mut reader = Reader { foreign, warnings: Vec::new(), faults: Vec::new() };
    let document = reader.document();
    if !reader.faults.is_empty() {
        return Err(Refusal::InvalidRequest(reader.faults));
    }
    let mut warnings = reader.warnings;
    let document = in_order(document, &mut warnings).map_err(in_its_words)?;
    Ok(Reading { document, warnings })
}

/// Checks a document, and writes its formulas as they are always written. A formula of a
/// reservation that protects nothing is let through, as it would be there.
fn in_order(mut document: Document, warnings: &mut Vec<String>) -> Result<Document, Refusal> {
    let was_meant = std::mem::replace(&mut document.reservation.allow_unprotected, true);
    let configuration = Configuration::new(document.clone(), &[])?;
    let unprotected = configuration.unprotected_reservations();
    document.reservation.allow_unprotected = was_meant || !unprotected.is_empty();
    if !was_meant {
        let said = unprotected.into_iter().map(|fault| {
            let Fault { pointer, detail } = fault_in_its_words(fault);
            format!("{pointer} is unprotected and was taken all the same: its formula {detail}")
        });
        warnings.extend(said);
    }
    let shown = |formula| configuration.shown(formula);
    document.allocation.available_to_allocate = shown(configuration.available_to_allocate());
    let reservations = configuration.reservations().iter();
    document.reservation.measures = reservations
        .map(|(slot, formula)| (configuration.measure_name(*slot).to_string(), shown(formula)))
        .collect();
    let calculated = configuration.calculated().iter();
    document.calculated_measures =
        calculated.map(|(name, formula)| (name.to_string(), shown(formula))).collect();
    Ok(document)
}

struct Reader<'a> {
    foreign: &'a Foreign,
    warnings: Vec<String>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Document {
        let foreign = self.foreign;
        let partition = &foreign.partition_configuration;
        let mut partition_keys = Vec::new();
        add(&mut partition_keys, &foreign.index_configuration.partition_key_attributes.keys);
        if partition.use_product_id == Some(false) {
            self.warn(
                "/partitionConfiguration/useProductId is false, but a product is always on its own here",
            );
        }
        let dimensions = self.dimensions(&partition_keys);
        let data_sources = self.data_sources();
        let (calculated_measures, measures) = self.formulas();
        let required_dimensions = if partition.use_dimensions { partition_keys.len() } else { 0 };
        Document {
            required_dimensions,
            data_sources,
            allocation: self.allocation(),
            reservation: ReservationDocument {
                measures,
                allow_unprotected: foreign.reserv_configuration.allow_unprotected,
                dimensions: self.reservable(&partition_keys[..required_dimensions]),
            },
            schedule: self.schedule(&calculated_measures),
            calculated_measures,
            dimensions,
        }
    }

    /// That service has the measures of what is available to promise elsewhere: where the document
    /// names none, it is told of all that are calculated, as far as that many can be had.
    fn schedule(&mut self, calculated: &BTreeMap<String, String>) -> ScheduleDocument {
        let Some(schedule) = &self.foreign.schedule_configuration else { return ScheduleDocument::default() };
        let period_days = schedule.schedule_period_in_days;
        if period_days == 0 {
            return ScheduleDocument::default();
        }
        let measures = schedule
            .measures
            .clone()
            .unwrap_or_else(|| calculated.keys().take(PROMISED_MAX).cloned().collect());
        if schedule.measures.is_none() && calculated.len() > PROMISED_MAX {
            self.warn(format!(
                "/scheduleConfiguration names no measures, and what is available to promise is told of the first \
                 {PROMISED_MAX} of {} calculated ones: {}",
                calculated.len(),
                measures.join(", ")
            ));
        }
        ScheduleDocument { period_days, measures }
    }

    fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    fn fault(&mut self, pointer: String, detail: impl std::fmt::Display) {
        self.faults.push(Fault::new(pointer, detail));
    }

    /// One hierarchy of everything that the document names as a dimension: partition keys, index
    /// sets by their numbers, and whatever else stock or reservations may be given by.
    fn dimensions(&mut self, partition_keys: &[String]) -> Vec<String> {
        let foreign = self.foreign;
        let mut dimensions = partition_keys.to_vec();
        let mut sets: Vec<&AttributeSet> = foreign.index_configuration.index_attribute_sets.iter().collect();
        sets.sort_by_key(|set| set.set_number);
        sets.iter().for_each(|set| add(&mut dimensions, &set.keys));
        let schedules = foreign.schedule_configuration.iter().flat_map(|own| &own.index_attribute_sets);
        schedules.for_each(|set| add(&mut dimensions, &set.keys));
        add(&mut dimensions, &foreign.reserv_configuration.keys);
        let systems = foreign.inventory_system_configurations.values();
        for system in systems {
            add(&mut dimensions, &system.dimension_mappings.values().cloned().collect::<Vec<_>>());
        }
        for set in sets {
            let mut path = partition_keys.to_vec();
            add(&mut path, &set.keys);
            let is_prefix =
                path.len() <= dimensions.len() && path.iter().zip(&dimensions).all(|(a, b)| same(a, b));
            if !is_prefix {
                self.warn(format!(
                    "/indexConfiguration/indexAttributeSets: there is one dimension hierarchy here, {}; the set {} \
                     ({}) does not begin it, so queries by it are answered by adding up",
                    dimensions.join(", "),
                    set.set_number,
                    set.keys.join(", "),
                ));
            }
        }
        dimensions
    }

    fn data_sources(&mut self) -> BTreeMap<String, DataSourceDocument> {
        let mut sources = BTreeMap::new();
        for (name, system) in &self.foreign.inventory_system_configurations {
            let place = place_of(name);
            if !system.data_source_name.is_empty() && !same(&system.data_source_name, name) {
                let given = &system.data_source_name;
                self.warn(format!("{place}/dataSourceName is {given}; the data source is called {name}"));
            }
            if same(name, PREDEFINED_SOURCE) {
                self.own_source(&place, system);
                continue;
            }
            let source = DataSourceDocument {
                measures: system.physical_measures.clone(),
                read_only: system.read_only,
                dimension_mappings: system.dimension_mappings.clone(),
            };
            sources.insert(name.clone(), source);
        }
        sources
    }

    /// `@iv` is the same for every environment.
    fn own_source(&mut self, place: &str, system: &SystemConfiguration) {
        const OWN: [&str; 5] =
            ["@allocated", "@consumed", "@cumulative_allocated", "@cumulative_consumed", "@softreserved"];
        let others = system.physical_measures.iter().filter(|name| !OWN.iter().any(|own| same(own, name)));
        let others: Vec<&str> = others.map(String::as_str).collect();
        if !others.is_empty() {
            let others = others.join(", ");
            self.warn(format!(
                "{place}/physicalMeasures: {others} left out; {PREDEFINED_SOURCE} has only its own"
            ));
        }
        if !system.dimension_mappings.is_empty() {
            self.warn(format!("{place}/dimensionMappings left out; {PREDEFINED_SOURCE} sends no stock"));
        }
    }

    /// The calculated measures, and the formulas of the reservation measures.
    fn formulas(&mut self) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let (mut calculated, mut reservations) = (BTreeMap::new(), BTreeMap::new());
        let mut mapped = Vec::new();
        for (source, system) in &self.foreign.inventory_system_configurations {
            for (measure, target) in &system.reserv_mappings {
                let place = pointer(&pointer(&place_of(source), "reservMappings"), measure);
                match self.calculation(target) {
                    Some((found, calculation)) => {
                        let formula = self.formula(&found, calculation);
                        reservations.insert(format!("{source}.{measure}"), formula);
                        mapped.push(found);
                    }
                    None => self.fault(place, format!("names {target}, which is not a calculated measure")),
                }
            }
        }
        for (source, system) in &self.foreign.inventory_system_configurations {
            for (measure, calculation) in &system.calculated_measures {
                let place = calculation_place(source, measure);
                let is_own = same(source, PREDEFINED_SOURCE);
                if is_own && same(measure, AVAILABLE_TO_ALLOCATE) {
                    continue;
                }
                if !is_own && !measure.starts_with('@') {
                    match self.formula(&place, calculation) {
                        formula if formula.is_empty() => {
                            self.warn(format!("{place} left out; it has no modifiers"))
                        }
                        formula => _ = calculated.insert(format!("{source}.{measure}"), formula),
                    }
                } else if mapped.contains(&place) {
                    self.warn(format!(
                        "{place} is what reservations are checked against; queries of on-hand stock do not answer it"
                    ));
                } else {
                    self.warn(format!(
                        "{place} left out; names in {PREDEFINED_SOURCE} or beginning with @ are the service's own"
                    ));
                }
            }
        }
        (calculated, reservations)
    }

    /// The calculated measure of a name, with its place.
    fn calculation(&self, name: &str) -> Option<(String, &'a Calculation)> {
        let (source, measure) = name.split_once('.')?;
        let systems = &self.foreign.inventory_system_configurations;
        let (source, system) = systems.iter().find(|(own, _)| same(own, source))?;
        let (measure, calculation) = system.calculated_measures.iter().find(|(own, _)| same(own, measure))?;
        Some((calculation_place(source, measure), calculation))
    }

    fn formula(&mut self, place: &str, calculation: &Calculation) -> String {
        let added = calculation.addition_modifiers.iter().map(|term| ("additionModifiers", '+', term));
        let subtracted =
            calculation.subtraction_modifiers.iter().map(|term| ("subtractionModifiers", '-', term));
        let mut formula = String::new();
        for (property, sign, term) in added.chain(subtracted) {
            self.append(&mut formula, (sign, term), || pointer(place, property));
        }
        formula
    }

    fn append(&mut self, formula: &mut String, (sign, term): (char, &str), place: impl Fn() -> String) {
        if term.contains(['+', '-']) {
            self.fault(place(), format!("has {term:?}, which is more than one measure"));
        }
        if !(formula.is_empty() && sign == '+') {
            formula.push(sign);
        }
        formula.push_str(term);
    }

    fn allocation(&mut self) -> AllocationDocument {
        let allocation = &self.foreign.allocation_configuration;
        AllocationDocument {
            groups: self.groups(allocation),
            available_to_allocate: self.pool(allocation),
            allow_pool_changing_consumption: allocation.allow_pool_changing_consumption,
            require_enabled_products: allocation.require_enabled_products,
        }
    }

    /// The groups by their places; one without a place comes behind those that have one.
    fn groups(&mut self, allocation: &AllocationConfiguration) -> Vec<String> {
        const PLACE: &str = "/allocationConfiguration/groupsOrder";
        let mut places: Vec<(u32, &String)> = Vec::new();
        for (group, text) in &allocation.groups_order {
            let place = text.strip_prefix(['g', 'G']).and_then(|digits| digits.parse().ok()).unwrap_or(8);
            if place >= 8 {
                self.fault(pointer(PLACE, group), format!("is {text:?}; a place is one of g0 to g7"));
            } else if places.iter().any(|&(taken, _)| taken == place) {
                self.fault(pointer(PLACE, group), format!("is {text}, which is another group's place too"));
            } else if !allocation.groups.is_empty() && !allocation.groups.iter().any(|own| same(own, group)) {
                self.warn(format!("{} left out; {group} is not one of the groups", pointer(PLACE, group)));
            } else {
                places.push((place, group));
            }
        }
        if allocation.groups.is_empty() {
            places.sort();
            return places.into_iter().map(|(_, group)| group.clone()).collect();
        }
        let place_of = |group: &String| {
            places.iter().find(|(_, own)| same(own, group)).map_or(u32::MAX, |&(place, _)| place)
        };
        let mut groups = allocation.groups.clone();
        groups.sort_by_key(place_of);
        groups
    }

    /// The formula of the pool, in one of the two places that it may be in.
    fn pool(&mut self, allocation: &AllocationConfiguration) -> String {
        const PLACE: &str = "/allocationConfiguration/availableToAllocateCalculation";
        let mut formula = String::new();
        for (measure, direction) in &allocation.available_to_allocate_calculation {
            let sign = match direction.to_ascii_lowercase().as_str() {
                "addition" => '+',
                "subtraction" => '-',
                _ => {
                    let detail = format!("is {direction:?}; it must be addition or subtraction");
                    self.fault(pointer(PLACE, measure), detail);
                    continue;
                }
            };
            self.append(&mut formula, (sign, measure), || pointer(PLACE, measure));
        }
        let measure = format!("{PREDEFINED_SOURCE}.{AVAILABLE_TO_ALLOCATE}");
        let other = self.calculation(&measure);
        let other = other.map(|(place, calculation)| self.formula(&place, calculation)).unwrap_or_default();
        if formula.is_empty() && other.is_empty() {
            self.warn(format!("{PLACE} is not given, so nothing can be allocated"));
            return NOTHING_AVAILABLE.to_owned();
        }
        if formula.is_empty() {
            return other;
        }
        if !other.is_empty() && terms(&formula) != terms(&other) {
            self.warn(format!(
                "{PLACE} is the formula of {measure}, which is calculated otherwise in the data source"
            ));
        }
        formula
    }

    /// The dimensions that a reservation may give, where not all.
    fn reservable(&mut self, required: &[String]) -> Option<Vec<String>> {
        const PLACE: &str = "/reservConfiguration";
        let reservations = &self.foreign.reserv_configuration;
        if reservations.is_reserv_enabled == Some(false) {
            self.warn(format!("{PLACE}/isReservEnabled is false, but reservations are always possible here"));
        }
        if !(0..=1).contains(&reservations.version) {
            self.warn(format!("{PLACE}/version is {}; taken as 1", reservations.version));
        }
        if reservations.version != 0 || reservations.keys.is_empty() {
            return None;
        }
        let mut keys = Vec::new();
        add(&mut keys, &reservations.keys);
        let given = keys.len();
        add(&mut keys, required);
        if keys.len() > given {
            let added = keys[given..].join(", ");
            self.warn(format!("{PLACE}/keys: {added} added; a reservation must give the partition keys"));
        }
        Some(keys)
    }
}

/// Whether two names are the same.
fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// Adds the names that are not there yet.
fn add(names: &mut Vec<String>, more: &[String]) {
    for name in more {
        if !names.iter().any(|own| same(own, name)) {
            names.push(name.clone());
        }
    }
}

/// The signed measures of a formula, in order.
fn terms(formula: &str) -> Vec<String> {
    let signed = formula.to_lowercase().replace(' ', "").replace('-', "+-");
    let mut terms: Vec<String> =
        signed.split('+').filter(|term| !term.is_empty()).map(str::to_owned).collect();
    terms.sort();
    terms
}

fn place_of(source: &str) -> String {
    pointer("/inventorySystemConfigurations", source)
}

fn calculation_place(source: &str, measure: &str) -> String {
    pointer(&pointer(&place_of(source), "calculatedMeasures"), measure)
}

/// Puts the places of a refusal in the words of Inventory Visibility's document.
pub fn in_its_words(refusal: Refusal) -> Refusal {
    let all = |faults: Vec<Fault>| faults.into_iter().map(fault_in_its_words).collect();
    match refusal {
        Refusal::InvalidRequest(faults) => Refusal::InvalidRequest(all(faults)),
        Refusal::ConfigurationInUse(faults) => Refusal::ConfigurationInUse(all(faults)),
        Refusal::UnprotectedFormula(fault) => Refusal::UnprotectedFormula(fault_in_its_words(fault)),
        other => other,
    }
}

fn fault_in_its_words(fault: Fault) -> Fault {
    let measure = |rest: &str, property: &str| match MeasureName::parse(rest) {
        Ok(name) => pointer(&pointer(&place_of(name.source.as_str()), property), name.measure.as_str()),
        Err(_) => "/inventorySystemConfigurations".to_owned(),
    };
    let place = fault.pointer.as_str();
    let pointer = if let Some(rest) = place.strip_prefix("/dataSources") {
        format!("/inventorySystemConfigurations{}", rest.replacen("/measures", "/physicalMeasures", 1))
    } else if let Some(rest) = place.strip_prefix("/reservation/measures/") {
        measure(rest, "reservMappings")
    } else if let Some(rest) = place.strip_prefix("/calculatedMeasures/") {
        measure(rest, "calculatedMeasures")
    } else if let Some(rest) = place.strip_prefix("/allocation/groups") {
        format!("/allocationConfiguration/groups{rest}")
    } else if place.starts_with("/allocation/availableToAllocate") {
        "/allocationConfiguration/availableToAllocateCalculation".to_owned()
    } else if place.starts_with("/reservation/dimensions") {
        "/reservConfiguration/keys".to_owned()
    } else if place.starts_with("/schedule/periodDays") {
        "/scheduleConfiguration/schedulePeriodInDays".to_owned()
    } else if let Some(rest) = place.strip_prefix("/schedule") {
        format!("/scheduleConfiguration{rest}")
    } else if place == "/requiredDimensions" {
        "/partitionConfiguration/useDimensions".to_owned()
    } else if place.starts_with("/dimensions") {
        "/indexConfiguration".to_owned()
    } else {
        return fault;
    };
    Fault { pointer, detail: fault.detail }
}
