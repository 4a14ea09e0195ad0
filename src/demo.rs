//! The environment `demo`: a bicycle catalogue over two sites, with stock from two data
//! sources, three allocation groups and allocations in place.

use std::sync::Arc;

use crate::app::StartError;
use crate::domain::command::{Command, ProductKey, Request, Target};
use crate::domain::document::Document;
use crate::domain::name::Value;
use crate::engine::Handle;
use crate::store::configuration::{self, Precondition, Versioned};
use crate::store::{Reader, Readers, Sight};

const ENVIRONMENT: &str = "demo";
const ORGANIZATION: &str = "usmf";

const CONFIGURATION: &str = r#"{
  "dimensions": ["siteId", "locationId", "colorId", "sizeId"], "requiredDimensions": 2,
  "dataSources": {
    "fno": {"measures": ["onhand"], "readOnly": true},
    "pos": {"measures": ["inbound", "outbound"], "dimensionMappings": {"shopId": "locationId"}}
  },
  "allocation": {
    "groups": ["channel", "region", "customerGroup"],
    "availableToAllocate": "fno.onhand + pos.inbound - pos.outbound - @iv.@softreserved - @iv.@allocated"
  },
  "reservation": {
    "measures": {"@iv.@softreserved": "fno.onhand + pos.inbound - pos.outbound - @iv.@softreserved - @iv.@allocated"}
  }
}"#;

/// Products with their colours and sizes.
const CATALOGUE: [(&str, &[&str], &[&str]); 4] = [
    ("RoadBike", &["red", "black"], &["M", "L"]),
    ("CityBike", &["red", "green"], &["M", "L"]),
    ("KidsBike", &["yellow"], &["S"]),
    ("Helmet", &[""], &["S", "M", "L"]),
];
/// Sites with their locations.
const SITES: [(&str, &[&str]); 2] = [("1", &["11", "12"]), ("2", &["21"])];
/// Group paths with what each gets of every coloured bicycle at the first location.
const ALLOCATIONS: [(&[(&str, &str)], &str); 3] = [
    (&[("channel", "Web"), ("region", "London"), ("customerGroup", "VIP")], "20"),
    (&[("channel", "Web"), ("region", "London")], "15"),
    (&[("channel", "Store")], "10"),
];

/// Sets the environment up. Done again, it changes nothing: the events have fixed ids.
///
/// # Errors
/// When the database or the engine does not do it.
pub async fn set_up(readers: &Readers, engine: &Handle) -> Result<(), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Demo(error.to_string());
    let mut connection = Reader::of(readers, Sight::Of(ENVIRONMENT)).await?;
    let stored = match configuration::read(&mut connection, ENVIRONMENT, None).await? {
        Some(stored) => stored,
        None => {
            let document: Document = serde_json::from_str(CONFIGURATION).map_err(|error| failed(&error))?;
            let change =
                configuration::replace(&mut connection, ENVIRONMENT, document, Precondition::None).await;
            change.map_err(|error| failed(&error))?.stored
        }
    };
    drop(connection);
    let stored = Arc::new(stored);
    for (target, request) in events().map_err(|error| failed(&error))? {
        let command =
            Command::new(&stored.configuration, &target, &request).map_err(|refusal| failed(&refusal))?;
        run(engine, command, &stored).await.map_err(|error| failed(&error))?;
    }
    Ok(())
}

async fn run(
    engine: &Handle,
    command: Command,
    stored: &Arc<Versioned>,
) -> Result<(), crate::engine::Failure> {
    let pending = engine.submit_when_free(vec![command], Arc::clone(stored)).await?;
    pending.answer().await.map_err(|rejection| rejection.failure)?;
    Ok(())
}

type Event = (Target<'static>, Request<'static>);

fn events() -> Result<Vec<Event>, crate::domain::name::InvalidText> {
    let mut events = Vec::new();
    for (product, colors, sizes) in CATALOGUE {
        for (site, locations) in SITES {
            for location in locations {
                for color in colors {
                    for size in sizes {
                        let place = [
                            ("siteId", site),
                            ("locationId", location),
                            ("colorId", color),
                            ("sizeId", size),
                        ];
                        let warehouse = vec![("fno".into(), vec![("onhand".into(), "40".into())])];
                        let shop = vec![("pos".into(), vec![("inbound".into(), "10".into())])];
                        events.push(event("stock", product, &place, change(warehouse))?);
                        events.push(event("delivery", product, &place, change(shop))?);
                    }
                    if *location == "11" && !color.is_empty() {
                        let place = [("siteId", site), ("locationId", location), ("colorId", color)];
                        for (groups, quantity) in ALLOCATIONS {
                            let name = format!(
                                "for-{}",
                                groups.iter().map(|(_, value)| *value).collect::<Vec<_>>().join("-")
                            );
                            let groups =
                                groups.iter().map(|&(name, value)| (name.into(), value.into())).collect();
                            events.push(event(
                                &name,
                                product,
                                &place,
                                Request::Allocate { groups, quantity: quantity.into() },
                            )?);
                        }
                    }
                }
            }
        }
    }
    Ok(events)
}

fn change(quantities: crate::domain::command::Quantities<'static>) -> Request<'static> {
    Request::ChangeOnHand { quantities, groups: None }
}

fn event(
    name: &str,
    product: &'static str,
    place: &[(&'static str, &'static str)],
    request: Request<'static>,
) -> Result<Event, crate::domain::name::InvalidText> {
    let values: Vec<&str> = place.iter().map(|&(_, value)| value).collect();
    let target = Target {
        id: Value::parse(&format!("demo-{name}-{product}-{}", values.join("-")))?,
        product: ProductKey {
            environment: Value::parse(ENVIRONMENT)?,
            organization: Value::parse(ORGANIZATION)?,
            product: Value::parse(product)?,
        },
        dimension_data_source: None,
        dimensions: place.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        note: None,
    };
    Ok((target, request))
}
