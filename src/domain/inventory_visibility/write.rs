//! A configuration in the form of Inventory Visibility. Read again, it means the same.

use super::{
    AVAILABLE_TO_ALLOCATE, AVAILABLE_TO_RESERVE, AllocationConfiguration, AttributeSet, Calculation, Foreign,
    IndexConfiguration, PartitionConfiguration, ReservConfiguration, ScheduleConfiguration,
    SystemConfiguration,
};
use crate::domain::configuration::{Configuration, PREDEFINED_SOURCE};
use crate::domain::formula::Formula;

/// The dimensions that partitions are made by there.
const PARTITION_KEYS: [&str; 2] = ["siteId", "locationId"];

/// Writes a configuration in the form of Inventory Visibility.
pub fn write(configuration: &Configuration) -> Foreign {
    let document = configuration.document();
    let mut foreign = Foreign {
        index_configuration: index(configuration),
        partition_configuration: PartitionConfiguration {
            use_product_id: Some(true),
            use_dimensions: document.required_dimensions > 0,
        },
        reserv_configuration: ReservConfiguration {
            is_reserv_enabled: Some(true),
            version: i64::from(document.reservation.dimensions.is_none()),
            keys: document.reservation.dimensions.clone().unwrap_or_default(),
            allow_unprotected: document.reservation.allow_unprotected,
        },
        allocation_configuration: allocation(configuration),
        schedule_configuration: schedule(configuration),
        ..Foreign::default()
    };
    let systems = &mut foreign.inventory_system_configurations;
    for (name, source) in &document.data_sources {
        let system = SystemConfiguration {
            data_source_name: name.clone(),
            dimension_mappings: source.dimension_mappings.clone(),
            physical_measures: source.measures.clone(),
            read_only: source.read_only,
            ..SystemConfiguration::default()
        };
        systems.insert(name.clone(), system);
    }
    if let Some((source, measures)) = configuration.measures().next() {
        let own = SystemConfiguration {
            data_source_name: source.to_string(),
            physical_measures: measures.iter().map(|(name, _)| name.to_string()).collect(),
            ..SystemConfiguration::default()
        };
        systems.insert(source.to_string(), own);
    }
    let pool = calculation(configuration, configuration.available_to_allocate());
    of(&mut foreign, PREDEFINED_SOURCE).calculated_measures.insert(AVAILABLE_TO_ALLOCATE.to_owned(), pool);
    for (name, formula) in configuration.calculated() {
        let measure = calculation(configuration, formula);
        let system = of(&mut foreign, name.source.as_str());
        system.calculated_measures.insert(name.measure.to_string(), measure);
    }
    map_reservations(&mut foreign, configuration);
    foreign
}

/// The data source of a name, in whatever letter case it is written; a new one where a calculated
/// measure is in one that has no other measures.
fn of<'a>(foreign: &'a mut Foreign, source: &str) -> &'a mut SystemConfiguration {
    let systems = &mut foreign.inventory_system_configurations;
    let known = systems.keys().find(|name| name.to_lowercase() == source.to_lowercase()).cloned();
    let name = known.unwrap_or_else(|| source.to_owned());
    let new = || SystemConfiguration { data_source_name: name.clone(), ..SystemConfiguration::default() };
    systems.entry(name.clone()).or_insert_with(new)
}

/// Each reservation measure is mapped to the calculated measure that has its formula; where there
/// is none, to one that is made for it.
fn map_reservations(foreign: &mut Foreign, configuration: &Configuration) {
    let mut made = 0;
    for (slot, formula) in configuration.reservations() {
        let wanted = calculation(configuration, formula);
        let same = foreign.inventory_system_configurations.iter().find_map(|(source, system)| {
            let (name, _) = system
                .calculated_measures
                .iter()
                .find(|(name, own)| **own == wanted && name.as_str() != AVAILABLE_TO_ALLOCATE)?;
            Some(format!("{source}.{name}"))
        });
        let target = same.unwrap_or_else(|| {
            made += 1;
            let name = match made {
                1 => AVAILABLE_TO_RESERVE.to_owned(),
                count => format!("{AVAILABLE_TO_RESERVE}_{count}"),
            };
            let target = format!("{PREDEFINED_SOURCE}.{name}");
            of(foreign, PREDEFINED_SOURCE).calculated_measures.insert(name, wanted);
            target
        });
        let measure = configuration.measure_name(*slot);
        let system = of(foreign, measure.source.as_str());
        system.reserv_mappings.insert(measure.measure.to_string(), target);
    }
}

fn calculation(configuration: &Configuration, formula: &Formula) -> Calculation {
    let [addition_modifiers, subtraction_modifiers] = configuration.modifiers(formula);
    Calculation { addition_modifiers, subtraction_modifiers }
}

fn index(configuration: &Configuration) -> IndexConfiguration {
    let dimensions = &configuration.document().dimensions;
    let is_key = |(name, key): &(&String, &str)| name.eq_ignore_ascii_case(key);
    let keys = match configuration.document().required_dimensions {
        0 => dimensions.iter().zip(PARTITION_KEYS).take_while(is_key).count(),
        required => required,
    };
    let (partition, rest) = dimensions.split_at(keys.min(dimensions.len()));
    let rest = (!rest.is_empty()).then(|| AttributeSet { set_number: 1, keys: rest.to_vec() });
    IndexConfiguration {
        partition_key_attributes: AttributeSet { set_number: 0, keys: partition.to_vec() },
        index_attribute_sets: rest.into_iter().collect(),
    }
}

fn allocation(configuration: &Configuration) -> AllocationConfiguration {
    let allocation = &configuration.document().allocation;
    let [added, subtracted] = configuration.modifiers(configuration.available_to_allocate());
    let added = added.into_iter().map(|measure| (measure, "addition".to_owned()));
    let subtracted = subtracted.into_iter().map(|measure| (measure, "subtraction".to_owned()));
    let places = allocation.groups.iter().enumerate();
    AllocationConfiguration {
        groups: allocation.groups.clone(),
        groups_order: places.map(|(place, group)| (group.clone(), format!("g{place}"))).collect(),
        available_to_allocate_calculation: added.chain(subtracted).collect(),
        allow_pool_changing_consumption: allocation.allow_pool_changing_consumption,
        require_enabled_products: allocation.require_enabled_products,
    }
}

fn schedule(configuration: &Configuration) -> Option<ScheduleConfiguration> {
    let schedule = &configuration.document().schedule;
    (schedule.period_days > 0).then(|| ScheduleConfiguration {
        index_attribute_sets: Vec::new(),
        schedule_period_in_days: schedule.period_days,
        measures: Some(schedule.measures.clone()),
    })
}
