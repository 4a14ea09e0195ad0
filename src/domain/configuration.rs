//! The configuration of an environment: its document, what the document means, and whether
//! one may follow another.

mod builder;

use time::Date;

use super::dimensions::{DimensionHierarchy, DimensionMappings, Pairs};
use super::document::Document;
use super::formula::{Formula, MeasureName, Slot};
use super::groups::AllocationHierarchy;
use super::name::Name;
use super::quantity::Quantity;
use super::refusal::{Fault, Refusal, pointer};
use super::schedule::Period;

/// The data source of the predefined measures.
pub const PREDEFINED_SOURCE: &str = "@iv";
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
    /// The only dimensions that a reservation may give, where not all.
    reservable: Option<Vec<usize>>,
    calculated: Vec<(MeasureName, Formula)>,
    promised: Vec<(MeasureName, Formula)>,
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
        let configuration = builder::build(document, slots)?;
        configuration.check_protection()?;
        Ok(configuration)
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

    /// The reservation measures, each with the formula that it is checked against.
    pub fn reservations(&self) -> &[(Slot, Formula)] {
        &self.reservations
    }

    /// Whether a reservation may give these dimensions.
    ///
    /// # Errors
    /// Names one that it may not give, also where its value is empty.
    pub fn check_reservable(&self, source: Option<&str>, given: &Pairs<'_>) -> Result<(), Refusal> {
        let Some(reservable) = &self.reservable else { return Ok(()) };
        let mappings = self.mappings(source)?;
        let is_outside = |name: &str| {
            self.dimensions.position(name, mappings).is_some_and(|index| !reservable.contains(&index))
        };
        let Some((name, _)) = given.iter().find(|(name, _)| is_outside(name)) else { return Ok(()) };
        let known: Vec<&str> =
            reservable.iter().map(|&index| self.dimensions.names()[index].as_str()).collect();
        let detail = format!("is no dimension of reservations; they have {}", known.join(", "));
        Err(Refusal::InvalidRequest(vec![Fault::new(pointer("/dimensions", name), detail)]))
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

    /// The calculated measures of which it is told what is available to promise.
    pub fn promised(&self) -> &[(MeasureName, Formula)] {
        &self.promised
    }

    /// The days that on-hand changes can be scheduled for, where they can be.
    pub fn schedule_period(&self, today: Date) -> Option<Period> {
        Period::new(today, self.document.schedule.period_days)
    }

    /// Whether a consume may change what is available to allocate.
    pub fn allows_pool_changing_consumption(&self) -> bool {
        self.document.allocation.allow_pool_changing_consumption
    }

    /// Whether only products that were enabled for it can be allocated.
    pub fn requires_enabled_products(&self) -> bool {
        self.document.allocation.require_enabled_products
    }

    /// A formula as text: what is added, then what is subtracted, each in the order of the names.
    pub fn shown(&self, formula: &Formula) -> String {
        let [added, subtracted] = self.modifiers(formula);
        let subtracted = subtracted.iter().map(|term| format!("- {term}"));
        match added.is_empty() {
            true => subtracted.collect::<Vec<_>>().join(" "),
            false => [added.join(" + ")].into_iter().chain(subtracted).collect::<Vec<_>>().join(" "),
        }
    }

    /// What a formula adds and what it subtracts: measures, with a coefficient where it is not 1.
    pub fn modifiers(&self, formula: &Formula) -> [Vec<String>; 2] {
        let mut terms: Vec<(String, Quantity)> = formula
            .terms()
            .iter()
            .map(|&(slot, coefficient)| (self.measure_name(slot).to_string(), coefficient))
            .collect();
        terms.sort_by(|one, other| one.0.cmp(&other.0));
        let shown = |(name, coefficient): &(String, Quantity)| match coefficient.abs() {
            amount if amount == Quantity::units(1) => name.clone(),
            amount => format!("{amount} * {name}"),
        };
        let of_sign = |is_added: bool| {
            let of_it = terms.iter().filter(|(_, coefficient)| (*coefficient >= Quantity::ZERO) == is_added);
            of_it.map(shown).collect()
        };
        [of_sign(true), of_sign(false)]
    }

    /// Whether a consume may not modify the measure.
    pub fn is_read_only(&self, measure: Slot) -> bool {
        self.sources
            .iter()
            .any(|source| source.read_only && source.measures.iter().any(|&(_, slot)| slot == measure))
    }

    /// The data sources with their physical measures, the service's own first.
    pub fn measures(&self) -> impl Iterator<Item = (&Name, &[(Name, Slot)])> {
        self.sources.iter().map(|source| (&source.name, &source.measures[..]))
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
        match self.unprotected_reservations().into_iter().next() {
            Some(Fault { pointer, detail }) => {
                let detail =
                    format!("{detail} otherwise (reservation.allowUnprotected says that this is meant)");
                unprotected(pointer, &detail)
            }
            None => Ok(()),
        }
    }

    /// The reservation measures whose formulas would let stock be taken that is allocated or
    /// reserved already.
    pub fn unprotected_reservations(&self) -> Vec<Fault> {
        let one = Quantity::units(1);
        let allocation = [(ALLOCATED, one), (CUMULATIVE_ALLOCATED, one)];
        let mut faults = Vec::new();
        for (slot, formula) in &self.reservations {
            let detail = if formula.change(&allocation) > -one {
                "must subtract @iv.@allocated: reservations could take what is allocated"
            } else if formula.coefficient(*slot) != -one {
                "must subtract its own measure once: what is reserved could be reserved again"
            } else {
                continue;
            };
            faults
                .push(Fault::new(pointer("/reservation/measures", &self.slots[slot.0].to_string()), detail));
        }
        faults
    }
}

fn shown(names: &[Name]) -> String {
    names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ")
}
