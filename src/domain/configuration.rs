//! The configuration of an environment: its document, what the document means, and whether
//! one may follow another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dimensions::{DimensionHierarchy, DimensionMappings, Pairs};
use super::formula::{Formula, MeasureName, Slot};
use super::groups::AllocationHierarchy;
use super::name::Name;
use super::quantity::Quantity;
use super::refusal::{Fault, Refusal, pointer};

/// The data source of the predefined measures.
pub const PREDEFINED_SOURCE: &str = "@iv";
/// The predefined measures; their slots are the first, in this order.
const PREDEFINED: [&str; 5] =
    ["@allocated", "@consumed", "@cumulative_allocated", "@cumulative_consumed", "@softreserved"];
/// `@iv.@allocated`.
pub const ALLOCATED: Slot = Slot(0);
/// `@iv.@consumed`.
pub const CONSUMED: Slot = Slot(1);
/// `@iv.@cumulative_allocated`.
pub const CUMULATIVE_ALLOCATED: Slot = Slot(2);
/// `@iv.@cumulative_consumed`.
pub const CUMULATIVE_CONSUMED: Slot = Slot(3);
/// `@iv.@softreserved`, the one predefined measure that a reservation may use.
pub const SOFT_RESERVED: Slot = Slot(4);

const DIMENSIONS_MAX: usize = 32;
const DATA_SOURCES_MAX: usize = 64;
/// Most physical measures that an environment may ever have had; each costs every node a place.
const MEASURES_MAX: usize = 256;
const CALCULATED_MAX: usize = 64;
const RESERVATION_MEASURES_MAX: usize = 16;
const MAPPINGS_MAX: usize = 128;

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
}

#[derive(Clone, Debug)]
struct DataSource {
    name: Name,
    read_only: bool,
    mappings: DimensionMappings,
    measures: Vec<(Name, Slot)>,
}

/// A configuration that is consistent in itself: names resolved, formulas parsed.
#[derive(Clone, Debug)]
pub struct Configuration {
    document: Document,
    dimensions: DimensionHierarchy,
    groups: AllocationHierarchy,
    slots: Vec<MeasureName>,
    sources: Vec<DataSource>,
    available_to_allocate: Formula,
    reservations: Vec<(Slot, Formula)>,
    calculated: Vec<(MeasureName, Formula)>,
}

/// What stored data uses of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Whether there is any stock node.
    pub any_stock: bool,
    /// The most dimensions that a stock node has.
    pub dimensions: usize,
    /// The most groups that a balance has.
    pub groups: usize,
    /// The measures of which some node's own quantity is not 0.
    pub measures: Vec<Slot>,
}

impl Usage {
    /// What could be used of a configuration at most.
    pub fn all_of(configuration: &Configuration) -> Usage {
        let measures = configuration.sources.iter().flat_map(|source| &source.measures);
        Usage {
            any_stock: true,
            dimensions: configuration.dimensions.names().len(),
            groups: configuration.groups.names().len(),
            measures: measures.map(|&(_, slot)| slot).collect(),
        }
    }
}

impl Configuration {
    /// Checks a document. `slots` are the measures that the environment has had so far: each
    /// keeps its slot, also while no document lists it.
    ///
    /// # Errors
    /// Names every fault at once; a formula that protects nothing only when all else is right.
    pub fn new(document: Document, slots: &[MeasureName]) -> Result<Configuration, Refusal> {
        let mut faults = Vec::new();
        let configuration = Builder { faults: &mut faults, slots: slots.to_vec() }.build(&document);
        match configuration {
            Some(configuration) if faults.is_empty() => {
                let configuration = Configuration { document, ..configuration };
                configuration.check_protection()?;
                Ok(configuration)
            }
            _ => Err(Refusal::InvalidRequest(faults)),
        }
    }

    /// The document that this was made from.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The dimension hierarchy.
    pub fn dimensions(&self) -> &DimensionHierarchy {
        &self.dimensions
    }

    /// The allocation hierarchy.
    pub fn groups(&self) -> &AllocationHierarchy {
        &self.groups
    }

    /// Every measure that the environment has ever had, by slot.
    pub fn slots(&self) -> &[MeasureName] {
        &self.slots
    }

    /// The name of a measure.
    pub fn measure_name(&self, slot: Slot) -> &MeasureName {
        &self.slots[slot.0]
    }

    /// The formula of what is available to allocate.
    pub fn available_to_allocate(&self) -> &Formula {
        &self.available_to_allocate
    }

    /// The formula that a reservation measure is checked against.
    pub fn available_for_reservation(&self, measure: Slot) -> Option<&Formula> {
        self.reservations.iter().find(|&&(slot, _)| slot == measure).map(|(_, formula)| formula)
    }

    /// Whether what is added to a measure is a reservation: so for those that the document
    /// lists, and for the predefined one, which nothing but a reservation could undo.
    pub fn is_for_reservation(&self, measure: Slot) -> bool {
        measure == SOFT_RESERVED || self.available_for_reservation(measure).is_some()
    }

    /// The further calculated measures.
    pub fn calculated(&self) -> &[(MeasureName, Formula)] {
        &self.calculated
    }

    /// Whether a consume may change what is available to allocate.
    pub fn allows_pool_changing_consumption(&self) -> bool {
        self.document.allocation.allow_pool_changing_consumption
    }

    /// Whether a consume may not modify the measure.
    pub fn is_read_only(&self, measure: Slot) -> bool {
        self.sources
            .iter()
            .any(|source| source.read_only && source.measures.iter().any(|&(_, slot)| slot == measure))
    }

    /// Finds a physical measure by its names.
    pub fn measure(&self, source: &str, measure: &str) -> Option<Slot> {
        let source = self.source(source)?;
        source.measures.iter().find(|(name, _)| name.matches(measure)).map(|&(_, slot)| slot)
    }

    /// The mappings of a data source's dimension names.
    ///
    /// # Errors
    /// When there is no such data source.
    pub fn mappings(&self, source: Option<&str>) -> Result<&[(Name, usize)], Refusal> {
        let Some(name) = source else { return Ok(&[]) };
        match self.source(name) {
            Some(source) => Ok(&source.mappings),
            None => {
                Err(Refusal::InvalidRequest(vec![Fault::new("/dimensionDataSource", "is not a data source")]))
            }
        }
    }

    /// Reads a dimension path, with a data source's names where one is given.
    ///
    /// # Errors
    /// As [`DimensionHierarchy::path`].
    pub fn path(
        &self,
        source: Option<&str>,
        given: &Pairs<'_>,
    ) -> Result<super::dimensions::DimensionPath, Refusal> {
        self.dimensions.path(given, self.mappings(source)?)
    }

    fn source(&self, name: &str) -> Option<&DataSource> {
        self.sources.iter().find(|source| source.name.matches(name))
    }

    /// Whether this may replace `old` over the data that is stored.
    ///
    /// # Errors
    /// Says what stands in the way.
    pub fn check_replaces(&self, old: &Configuration, usage: &Usage) -> Result<(), Refusal> {
        let mut obstacles = Vec::new();
        let keeps = |old: &[Name], new: &[Name], used: usize| old.iter().take(used).eq(new.iter().take(used));
        if !keeps(old.dimensions.names(), self.dimensions.names(), usage.dimensions) {
            let used = shown(&old.dimensions.names()[..usage.dimensions]);
            obstacles.push(Fault::new(
                "/dimensions",
                format!("must go on starting with {used}: stock is kept by them"),
            ));
        }
        if usage.any_stock && self.dimensions.required() != old.dimensions.required() {
            let required = old.dimensions.required();
            obstacles.push(Fault::new(
                "/requiredDimensions",
                format!("must stay {required}: the totals of the stock start there"),
            ));
        }
        if !keeps(old.groups.names(), self.groups.names(), usage.groups) {
            let used = shown(&old.groups.names()[..usage.groups]);
            obstacles.push(Fault::new(
                "/allocation/groups",
                format!("must go on starting with {used}: balances are kept by them"),
            ));
        }
        for &slot in &usage.measures {
            let name = &self.slots[slot.0];
            if self.measure(name.source.as_str(), name.measure.as_str()).is_none() {
                obstacles.push(Fault::new(
                    "/dataSources",
                    format!("must go on having {name}: stock is kept in it"),
                ));
            }
        }
        if obstacles.is_empty() { Ok(()) } else { Err(Refusal::ConfigurationInUse(obstacles)) }
    }

    /// An allocation must take from the pool what it sets aside, no less and no more: the
    /// grant `q ≤ available` means nothing otherwise. A reservation must see what is
    /// allocated and what is reserved already.
    fn check_protection(&self) -> Result<(), Refusal> {
        let one = Quantity::units(1);
        let allocation = [(ALLOCATED, one), (CUMULATIVE_ALLOCATED, one)];
        let unprotected =
            |pointer: String, detail: &str| Err(Refusal::UnprotectedFormula(Fault::new(pointer, detail)));
        if self.available_to_allocate.change(&allocation) != -one {
            let detail =
                "must subtract @iv.@allocated once: what is allocated could be allocated again otherwise";
            return unprotected("/allocation/availableToAllocate".to_owned(), detail);
        }
        if self.document.reservation.allow_unprotected {
            return Ok(());
        }
        for (slot, formula) in &self.reservations {
            let place = pointer("/reservation/measures", &self.slots[slot.0].to_string());
            if formula.change(&allocation) > -one {
                let detail = "must subtract @iv.@allocated: reservations could take what is allocated otherwise \
                              (reservation.allowUnprotected says that this is meant)";
                return unprotected(place, detail);
            }
            if formula.coefficient(*slot) != -one {
                let detail = "must subtract its own measure once: what is reserved could be reserved again otherwise \
                              (reservation.allowUnprotected says that this is meant)";
                return unprotected(place, detail);
            }
        }
        Ok(())
    }
}

fn shown(names: &[Name]) -> String {
    names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ")
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
        let calculated = self.calculated(&document.calculated_measures, &sources);
        Some(Configuration {
            document: Document::default(),
            dimensions: DimensionHierarchy::new(dimensions, document.required_dimensions),
            groups: AllocationHierarchy::new(groups),
            slots: self.slots,
            sources,
            available_to_allocate: available_to_allocate?,
            reservations,
            calculated,
        })
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
