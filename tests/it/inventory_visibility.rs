//! The configuration document of Inventory Visibility: taken in, answered, and what it means.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use reqwest::Method;
use ringfence::domain::configuration::Configuration;
use ringfence::domain::document::{DataSourceDocument, Document, ScheduleDocument};
use ringfence::domain::inventory_visibility::{
    self, AttributeSet, Calculation, Foreign, SystemConfiguration,
};
use serde_json::{Value, json};

use super::requests::{JSON, changed, pointers, problem, stock};
use super::reservations::reservation;
use super::support::{Answer, Service, bicycles};

const PATH: &str = "/api/environment/test/configuration/hardupdate";
const FORM: &str = "/api/environment/test/configuration?format=inventoryVisibility";

/// A document as that service's clients keep it: names in lower case, switches of every feature.
fn theirs() -> Value {
    json!({
        "environmentId": "b7f2", "configurationVersion": 12, "isUninstalled": false, "entityVersion": 1,
        "inventorySystemConfigurations": {
            "fno": {
                "dataSourceName": "fno",
                "dimensionMappings": {"inventsiteid": "siteid", "inventlocationid": "locationid", "inventbatchid": "batchid"},
                "physicalMeasures": ["onordered", "arrived"],
                "calculatedMeasures": {
                    "total": {"additionModifiers": ["fno.onordered", "pos.inbound"], "subtractionModifiers": ["pos.outbound"]}
                },
                "reservMappings": {}
            },
            "pos": {"dataSourceName": "pos", "physicalMeasures": ["inbound", "outbound"]},
            "web": {"dataSourceName": "web", "physicalMeasures": []},
            "@iv": {
                "dataSourceName": "@iv",
                "dimensionMappings": {},
                "physicalMeasures": ["@softreserved", "@allocated", "@consumed", "@cumulative_allocated", "@cumulative_consumed"],
                "calculatedMeasures": {
                    "@available_to_reserve": {
                        "additionModifiers": ["pos.inbound"], "subtractionModifiers": ["@iv.@allocated", "@iv.@softreserved"]
                    },
                    "@available_to_allocate": {
                        "additionModifiers": ["pos.inbound"], "subtractionModifiers": ["@iv.@allocated"]
                    }
                },
                "reservMappings": {"@softreserved": "@iv.@available_to_reserve"}
            }
        },
        "indexConfiguration": {
            "version": 0,
            "partitionKeyAttributes": {"setNumber": 0, "keys": ["siteid", "locationid"]},
            "indexAttributeSets": [
                {"setNumber": 2, "keys": ["colorid", "sizeid", "styleid"]}, {"setNumber": 1, "keys": ["colorid", "sizeid"]}
            ]
        },
        "partitionConfiguration": {"useProductId": true, "useDimensions": true},
        "reservConfiguration": {
            "isReservEnabled": true, "isEnabled": true, "isSetup": true, "version": 0,
            "keys": ["siteid", "locationid", "colorid"]
        },
        "allocationConfiguration": {
            "isEnabled": true, "isSetup": true, "groups": ["region", "channel", "customerGroup"],
            "groupsOrder": {"channel": "g0", "customerGroup": "g1", "region": "g2"},
            "availableToAllocateCalculation": {"pos.inbound": "addition", "@iv.@allocated": "subtraction"}
        }
    })
}

/// What it means.
fn ours() -> Value {
    json!({
        "dimensions": ["siteid", "locationid", "colorid", "sizeid", "styleid", "batchid"], "requiredDimensions": 2,
        "dataSources": {
            "fno": {
                "measures": ["onordered", "arrived"], "readOnly": false,
                "dimensionMappings": {"inventsiteid": "siteid", "inventlocationid": "locationid", "inventbatchid": "batchid"}
            },
            "pos": {"measures": ["inbound", "outbound"], "readOnly": false, "dimensionMappings": {}},
            "web": {"measures": [], "readOnly": false, "dimensionMappings": {}}
        },
        "allocation": {
            "groups": ["channel", "customerGroup", "region"], "availableToAllocate": "pos.inbound - @iv.@allocated",
            "allowPoolChangingConsumption": false
        },
        "reservation": {
            "measures": {"@iv.@softreserved": "pos.inbound - @iv.@allocated - @iv.@softreserved"},
            "allowUnprotected": false, "dimensions": ["siteid", "locationid", "colorid"]
        },
        "calculatedMeasures": {"fno.total": "fno.onordered + pos.inbound - pos.outbound"}
    })
}

async fn hard_update(service: &Service, document: &Value) -> Answer {
    service.send(Method::POST, PATH, &[JSON], document.to_string()).await
}

/// The document that an update answers, and its warnings.
async fn update(service: &Service, document: &Value) -> (Value, Vec<String>) {
    let answer = hard_update(service, document).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut body = answer.json();
    let warnings = body.as_object_mut().unwrap().remove("warnings").unwrap();
    (body, serde_json::from_value(warnings).unwrap())
}

/// Their document with a part changed.
fn with(pointer: &str, part: Value) -> Value {
    let mut document = theirs();
    *document.pointer_mut(pointer).unwrap() = part;
    document
}

#[tokio::test]
async fn their_document_becomes_ours_and_comes_back() {
    let service = Service::start().await;
    let (document, warnings) = update(&service, &theirs()).await;
    assert_eq!(document, ours());
    assert_eq!(
        warnings,
        [
            "/inventorySystemConfigurations/@iv/calculatedMeasures/@available_to_reserve is what reservations are \
             checked against; queries of on-hand stock do not answer it"
        ]
    );
    let own = service.get("/api/environment/test/configuration").await;
    assert_eq!(own.json(), ours());
    let form = service.get(FORM).await;
    assert_eq!((form.status, form.header("etag")), (200, own.header("etag")));
    let expected = json!({
        "partitionKeyAttributes": {"setNumber": 0, "keys": ["siteid", "locationid"]},
        "indexAttributeSets": [{"setNumber": 1, "keys": ["colorid", "sizeid", "styleid", "batchid"]}]
    });
    assert_eq!(form.json()["indexConfiguration"], expected);
    for part in ["/inventorySystemConfigurations/@iv/calculatedMeasures", "/partitionConfiguration"] {
        assert_eq!(form.json().pointer(part), theirs().pointer(part));
    }
    let groups = &form.json()["allocationConfiguration"]["groupsOrder"];
    assert_eq!(*groups, json!({"channel": "g0", "customerGroup": "g1", "region": "g2"}));
    // What comes back means the same, and so changes nothing.
    let again = hard_update(&service, &form.json()).await;
    assert_eq!(again.header("etag"), own.header("etag"), "{}", again.text);
    service.stop().await;
}

#[tokio::test]
async fn its_clients_work_under_it() {
    let service = Service::start().await;
    let unpartitioned = with("/partitionConfiguration/useDimensions", json!(false));
    update(&service, &unpartitioned).await;
    let place = json!({"dimensions": {"SiteId": "1", "locationId": "11"}});
    service.grant("onhand", changed(stock("stock", 10), place.clone())).await;
    let allocation = json!({
        "id": "a", "organizationId": "usmf", "productId": "Bike", "dimensionDataSource": "web",
        "dimensions": {}, "groups": {"channel": "web", "customerGroup": "VIP"}, "quantity": 5
    });
    service.grant("allocation/allocate", allocation.clone()).await;
    // Stock stands in the way of another level of required dimensions, in their words.
    let refused = problem(&hard_update(&service, &theirs()).await, "configuration-in-use");
    assert_eq!(pointers(&refused), ["/partitionConfiguration/useDimensions"]);
    service.stop().await;

    let service = Service::start().await;
    update(&service, &theirs()).await;
    let refused = service.refuse("allocation/allocate", allocation, "missing-required-dimension").await;
    assert_eq!(refused["statusCode"], 500);
    service.stop().await;
}

#[tokio::test]
async fn what_is_not_known_is_named_and_left_out() {
    let service = Service::start().await;
    let mut document = theirs();
    document["whsConfiguration"] = json!({"isEnabled": false});
    document["reservConfiguration"]["mood"] = json!([1, {"a": null}]);
    document["allocationConfiguration"]["isEnabled"] = json!(false);
    document["indexConfiguration"]["indexAttributeSets"][0]["weight"] = json!(1);
    document["inventorySystemConfigurations"]["pos"]["color"] = json!("red");
    document["scheduleConfiguration"] = json!({"schedulePeriodInDays": 30, "indexAttributeSets": [{"setNumber": 1, "keys": ["colorid", "statusid"]}]});
    let (document, warnings) = update(&service, &document).await;
    // Schedules may be asked for by what only they name.
    let dimensions = ["siteid", "locationid", "colorid", "sizeid", "styleid", "statusid", "batchid"];
    let calculated: Vec<_> = ours()["calculatedMeasures"].as_object().unwrap().keys().cloned().collect();
    let schedule = json!({"periodDays": 30, "measures": calculated});
    assert_eq!(document, changed(ours(), json!({"dimensions": dimensions, "schedule": schedule})));
    let left_out =
        warnings.iter().filter_map(|warning| warning.strip_suffix(" left out; it has no counterpart here"));
    assert_eq!(
        left_out.collect::<Vec<_>>(),
        [
            "/inventorySystemConfigurations/pos/color",
            "/indexConfiguration/indexAttributeSets/0/weight",
            "/reservConfiguration/mood",
            "/allocationConfiguration/isEnabled: false",
            "/whsConfiguration",
        ]
    );
    let many = (0..150).map(|number| (format!("unknown{number}"), json!(1)));
    let many: Value = theirs().as_object().unwrap().clone().into_iter().chain(many).collect();
    let (_, warnings) = update(&service, &many).await;
    assert_eq!(warnings.len(), 102);
    assert!(warnings[101].starts_with("50 more properties left out"), "{}", warnings[101]);
    service.stop().await;
}

#[tokio::test]
async fn the_reservation_hierarchy_s_version_says_what_a_reservation_may_name() {
    let service = Service::start().await;
    update(&service, &theirs()).await;
    let sized = json!({"dimensions": {"siteid": "1", "locationid": "11", "colorid": "red", "sizeid": "L"}});
    service.grant("onhand", changed(stock("stock", 10), sized.clone())).await;
    let sizes = changed(reservation("a", 1), sized.clone());
    let refused = service.refuse("onhand/reserve", sizes, "invalid-request").await;
    assert_eq!(pointers(&refused), ["/dimensions/sizeid"]);
    service.grant("onhand/reserve", reservation("b", 1)).await;
    update(&service, &with("/reservConfiguration/version", json!(1))).await;
    service.grant("onhand/reserve", changed(reservation("a", 1), sized)).await;
    service.stop().await;
}

/// Writes every property's name of a document otherwise.
fn shouted(value: &Value) -> Value {
    const NAMES: [&str; 2] = ["inventorySystemConfigurations", "calculatedMeasures"];
    let Value::Object(members) = value else { return value.clone() };
    let shout = |(name, value): (&String, &Value)| match NAMES.contains(&name.as_str()) {
        // What these hold is named by the client.
        true => {
            let inner = value.as_object().unwrap().iter();
            (name.to_uppercase(), inner.map(|(name, value)| (name.clone(), shouted(value))).collect())
        }
        false if name == "dimensionMappings" || name == "reservMappings" => {
            (name.to_uppercase(), value.clone())
        }
        false if name == "groupsOrder" || name.starts_with("available") => {
            (name.to_uppercase(), value.clone())
        }
        false => (name.to_uppercase(), shouted(value)),
    };
    members.iter().map(shout).collect()
}

#[tokio::test]
async fn names_of_its_properties_match_in_any_letter_case() {
    let service = Service::start().await;
    assert_eq!(update(&service, &shouted(&theirs())).await.0, ours());
    let form = service.get("/API/environment/test/Configuration?Format=INVENTORYVISIBILITY").await;
    assert!(form.json()["indexConfiguration"].is_object());
    problem(&service.get("/api/environment/test/configuration?format=yaml").await, "invalid-request");
    problem(&service.get("/api/environment/test/configuration?form=1").await, "unknown-property");
    service.stop().await;
}

#[tokio::test]
async fn what_it_says_and_is_done_otherwise_is_a_warning() {
    let rows = [
        (
            "/inventorySystemConfigurations/@iv/calculatedMeasures/@available_to_reserve/subtractionModifiers",
            json!(["@iv.@softreserved"]),
            "/inventorySystemConfigurations/@iv/reservMappings/@softreserved is unprotected and was taken all the same: \
             its formula must subtract @iv.@allocated",
        ),
        ("/partitionConfiguration/useProductId", json!(false), "a product is always on its own here"),
        ("/reservConfiguration/isReservEnabled", json!(false), "reservations are always possible here"),
        ("/reservConfiguration/version", json!(2), "/reservConfiguration/version is 2; taken as 1"),
        ("/reservConfiguration/keys", json!(["siteid"]), "/reservConfiguration/keys: locationid added"),
        (
            "/indexConfiguration/indexAttributeSets/1/keys",
            json!(["sizeid"]),
            "the set 2 (colorid, sizeid, styleid) does not begin it",
        ),
        ("/inventorySystemConfigurations/@iv/physicalMeasures", json!(["@mine"]), "@mine left out"),
        (
            "/inventorySystemConfigurations/@iv/dimensionMappings",
            json!({"a": "siteid"}),
            "/dimensionMappings left out",
        ),
        ("/inventorySystemConfigurations/pos/dataSourceName", json!("shop"), "the data source is called pos"),
        (
            "/inventorySystemConfigurations/fno/calculatedMeasures/total",
            json!({}),
            "/fno/calculatedMeasures/total left out; it has no modifiers",
        ),
        (
            "/inventorySystemConfigurations/@iv/reservMappings",
            json!({}),
            "@available_to_reserve left out; names in @iv",
        ),
        (
            "/allocationConfiguration/groupsOrder",
            json!({"channel": "g0", "tier": "g5"}),
            "/allocationConfiguration/groupsOrder/tier left out",
        ),
        (
            "/allocationConfiguration/availableToAllocateCalculation",
            json!({"fno.arrived": "Addition", "@IV.@Allocated": "SUBTRACTION"}),
            "is the formula of @iv.@available_to_allocate, which is calculated otherwise",
        ),
    ];
    let service = Service::start().await;
    for (place, part, expected) in rows {
        let (document, warnings) = update(&service, &with(place, part)).await;
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{expected}: {warnings:#?}");
        let is_unprotected = expected.contains("unprotected");
        assert_eq!(document["reservation"]["allowUnprotected"], json!(is_unprotected), "{expected}");
    }
    let mut document = theirs();
    document["allocationConfiguration"] = json!({"groupsOrder": {"shop": "g1", "channel": "g0"}});
    let (own, warnings) = update(&service, &document).await;
    assert_eq!(own["allocation"]["groups"], json!(["channel", "shop"]));
    assert_eq!(own["allocation"]["availableToAllocate"], "pos.inbound - @iv.@allocated");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    document["inventorySystemConfigurations"]["@iv"] = json!({});
    let (own, warnings) = update(&service, &document).await;
    assert_eq!(own["allocation"]["availableToAllocate"], "- @iv.@allocated");
    assert!(warnings[0].contains("nothing can be allocated"), "{warnings:?}");
    service.stop().await;
}

#[tokio::test]
async fn the_version_of_reservations_says_whether_other_dimensions_are_possible() {
    let service = Service::start().await;
    let reservable = async |part: Value| {
        let (document, _) = update(&service, &changed(theirs(), json!({"reservConfiguration": part}))).await;
        document["reservation"]["dimensions"].clone()
    };
    let keys = json!(["locationid", "siteid"]);
    assert_eq!(reservable(json!({"version": 0, "keys": keys})).await, keys);
    assert_eq!(reservable(json!({"keys": keys})).await, keys);
    assert_eq!(reservable(json!({"version": 1, "keys": keys})).await, json!(null));
    assert_eq!(reservable(json!({"version": 0})).await, json!(null), "no hierarchy");
    service.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_at_its_place_and_nothing_is_stored() {
    let rows = [
        (
            "/inventorySystemConfigurations/pos/physicalMeasures",
            json!(["in bound"]),
            "/inventorySystemConfigurations/pos/physicalMeasures/0",
        ),
        (
            "/inventorySystemConfigurations/pos/physicalMeasures",
            json!("inbound"),
            "/inventorySystemConfigurations/pos/physicalMeasures",
        ),
        ("/inventorySystemConfigurations/pos", json!([]), "/inventorySystemConfigurations/pos"),
        (
            "/inventorySystemConfigurations/fno/calculatedMeasures/total/additionModifiers",
            json!(["pos.nothing"]),
            "/inventorySystemConfigurations/fno/calculatedMeasures/total",
        ),
        (
            "/inventorySystemConfigurations/fno/calculatedMeasures/total/additionModifiers",
            json!(["pos.inbound - pos.outbound"]),
            "/inventorySystemConfigurations/fno/calculatedMeasures/total/additionModifiers",
        ),
        (
            "/inventorySystemConfigurations/@iv/reservMappings/@softreserved",
            json!("@iv.@nothing"),
            "/inventorySystemConfigurations/@iv/reservMappings/@softreserved",
        ),
        ("/indexConfiguration/partitionKeyAttributes/keys", json!(["site id"]), "/indexConfiguration"),
        ("/indexConfiguration/indexAttributeSets/0", json!(7), "/indexConfiguration/indexAttributeSets/0"),
        (
            "/allocationConfiguration/groupsOrder/region",
            json!("g8"),
            "/allocationConfiguration/groupsOrder/region",
        ),
        (
            "/allocationConfiguration/groupsOrder/region",
            json!("g0"),
            "/allocationConfiguration/groupsOrder/region",
        ),
        (
            "/allocationConfiguration/groups",
            json!(["channel", "Channel"]),
            "/allocationConfiguration/groups/1",
        ),
        (
            "/allocationConfiguration/availableToAllocateCalculation/pos.inbound",
            json!("division"),
            "/allocationConfiguration/availableToAllocateCalculation/pos.inbound",
        ),
        ("/inventorySystemConfigurations", json!(null), "/inventorySystemConfigurations"),
    ];
    let service = Service::start().await;
    let before = service.books().await;
    for (place, part, expected) in rows {
        let refused = problem(&hard_update(&service, &with(place, part)).await, "invalid-request");
        assert!(pointers(&refused).iter().any(|pointer| pointer == expected), "{expected}: {refused:#}");
    }
    // What is allocated could be allocated again: that cannot be meant.
    let pool = json!({"pos.inbound": "addition"});
    let unprotected = with("/allocationConfiguration/availableToAllocateCalculation", pool);
    let refused = problem(&hard_update(&service, &unprotected).await, "unprotected-formula");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("/allocationConfiguration/availableToAllocateCalculation must subtract"),
        "{detail}"
    );
    problem(&service.send(Method::POST, PATH, &[JSON], "{").await, "malformed-json");
    assert_eq!(service.books().await, before);
    service.stop().await;
}

#[tokio::test]
async fn it_is_stored_as_any_other_configuration() {
    let service = Service::start().await;
    let if_match = |tag: &'static str| [JSON, ("if-match", tag)];
    let answer = service.send(Method::POST, PATH, &if_match("\"1\""), theirs().to_string()).await;
    problem(&answer, "precondition-failed");
    let first = service.send(Method::POST, PATH, &[JSON], theirs().to_string()).await;
    assert_eq!((first.status, first.header("etag")), (200, Some("\"1\"")));
    let changed_version = with("/reservConfiguration/version", json!(1)).to_string();
    let second = service.send(Method::POST, PATH, &if_match("\"1\""), changed_version).await;
    assert_eq!(second.header("etag"), Some("\"2\""));
    let place = json!({"dimensions": {"siteid": "1", "locationid": "11"}});
    service.grant("onhand", changed(stock("stock", 10), place)).await;
    // What stock is kept by cannot be taken away, and is named by its place in the document sent.
    let without = with("/inventorySystemConfigurations/pos/physicalMeasures", json!(["outbound"]));
    let without = without.to_string().replace("pos.inbound", "fno.arrived");
    let answer = service.send(Method::POST, PATH, &[JSON], without).await;
    assert_eq!(pointers(&problem(&answer, "configuration-in-use")), ["/inventorySystemConfigurations"]);
    // And what was put in our form comes in theirs.
    let service_of_bicycles = Service::start().await;
    assert_eq!(service_of_bicycles.configure(bicycles()).await.status, 200);
    let before = service_of_bicycles.get("/api/environment/test/configuration").await;
    let form = service_of_bicycles.get(FORM).await.json();
    let (document, _) = update(&service_of_bicycles, &form).await;
    assert_eq!(document["dataSources"]["fno"]["readOnly"], json!(true));
    assert_eq!(document["dimensions"], before.json()["dimensions"]);
    service.stop().await;
    service_of_bicycles.stop().await;
}

const MEASURES: [&str; 5] = ["fno.onordered", "pos.inbound", "pos.outbound", "pos.held", "@iv.@softreserved"];

/// A formula of some measures with some coefficients, and what it always subtracts.
fn formula(always: &'static [&'static str]) -> impl Strategy<Value = String> {
    let others: Vec<_> = MEASURES.into_iter().filter(|measure| !always.contains(measure)).collect();
    let signs = prop::collection::vec(select(vec!["+ ", "- ", "+ 0.5 * ", "- 2 * ", "- 0.000001 * "]), 4);
    (subsequence(others, 1..=4), signs).prop_map(move |(measures, signs)| {
        let own = always.iter().map(|measure| format!("- {measure}"));
        let terms = measures.iter().zip(signs).map(|(measure, sign)| format!("{sign}{measure}"));
        own.chain(terms).collect::<Vec<_>>().join(" ")
    })
}

/// A configuration in our own form.
fn any_document() -> impl Strategy<Value = Document> {
    let names = vec!["siteId", "locationId", "colorId", "sizeId", "batchId"];
    let switches = prop::array::uniform5(any::<bool>());
    let formulas = (
        formula(&["@iv.@allocated"]),
        formula(&["@iv.@allocated", "@iv.@softreserved"]),
        formula(&["pos.held"]),
        formula(&[]),
    );
    (
        Just(names).prop_shuffle(),
        1_usize..=5,
        0_usize..=5,
        0_usize..=3,
        switches,
        formulas,
        prop::option::of(2_usize..=5),
    )
        .prop_map(|(names, count, required, groups, switches, formulas, reservable)| {
            let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            let dimensions = texts(&names[..count]);
            let required = required.min(count);
            let mut document = Document { dimensions, required_dimensions: required, ..Document::default() };
            let source = |measures: &[&str], read_only| DataSourceDocument {
                measures: texts(measures),
                read_only,
                dimension_mappings: [("shopId".to_owned(), names[0].to_owned())].into(),
            };
            document.data_sources.insert("FNO".to_owned(), source(&["onOrdered"], switches[0]));
            document.data_sources.insert("pos".to_owned(), source(&["inbound", "outbound", "held"], false));
            if switches[1] {
                // `pos.free` is calculated where the fourth switch is on.
                let measures = if switches[3] { texts(&["pos.free"]) } else { Vec::new() };
                document.schedule = ScheduleDocument { period_days: 30, measures };
            }
            document.allocation.groups = texts(&["channel", "customerGroup", "region"][..groups]);
            document.allocation.available_to_allocate = formulas.0;
            document.allocation.allow_pool_changing_consumption = switches[1];
            document.allocation.require_enabled_products = switches[2];
            document.reservation.measures.insert("@IV.@softreserved".to_owned(), formulas.1);
            document.reservation.measures.insert("pos.held".to_owned(), formulas.2);
            document.reservation.allow_unprotected = true;
            document.reservation.dimensions = reservable.map(|count| {
                document.dimensions[..count.max(required).min(document.dimensions.len())].to_vec()
            });
            if switches[3] {
                document.calculated_measures.insert("pos.free".to_owned(), formulas.3.clone());
            }
            if switches[4] {
                document.reservation.measures.insert("pos.held".to_owned(), formulas.3);
            }
            document
        })
}

fn compiled(document: &Document) -> Configuration {
    Configuration::new(document.clone(), &[]).unwrap_or_else(|refusal| panic!("{refusal}: {document:#?}"))
}

fn read(foreign: &Foreign) -> Document {
    inventory_visibility::read(foreign).unwrap_or_else(|refusal| panic!("{refusal}: {foreign:#?}")).document
}

/// A configuration in their form, with whatever may be left out or given twice.
fn any_foreign() -> impl Strategy<Value = Foreign> {
    let keys = || subsequence(vec!["siteid", "LocationId", "colorid", "sizeid"], 0..=4).prop_shuffle();
    let set = move || {
        (0_i64..4, keys()).prop_map(|(set_number, keys)| AttributeSet {
            set_number,
            keys: keys.into_iter().map(str::to_owned).collect(),
        })
    };
    let modifiers = || subsequence(vec!["POS.inbound", "pos.held", "pos.outbound"], 1..=3);
    let calculation = move || {
        (modifiers(), 0_usize..=3).prop_map(|(measures, added)| {
            let mut measures: Vec<String> = measures.into_iter().map(str::to_owned).collect();
            let subtraction_modifiers = measures.split_off(added.min(measures.len()));
            Calculation { addition_modifiers: measures, subtraction_modifiers }
        })
    };
    let measures = (calculation(), calculation(), any::<bool>());
    (set(), prop::collection::vec(set(), 0..3), set(), 0_i64..3, any::<[bool; 2]>(), measures).prop_map(
        |(partition, sets, reservable, version, [required, mapped], (free, checked, by_user))| {
            let mut foreign = Foreign::default();
            foreign.index_configuration.partition_key_attributes = partition;
            foreign.index_configuration.index_attribute_sets = sets;
            foreign.partition_configuration.use_dimensions = required;
            foreign.reserv_configuration.version = version;
            foreign.reserv_configuration.keys = reservable.keys;
            let allocation = &mut foreign.allocation_configuration;
            allocation.groups = vec!["region".to_owned(), "channel".to_owned()];
            allocation.groups_order.insert("CHANNEL".to_owned(), "G0".to_owned());
            allocation.available_to_allocate_calculation.extend(
                [("@iv.@ALLOCATED", "Subtraction"), ("Pos.Inbound", "addition")]
                    .map(|(a, b)| (a.to_owned(), b.to_owned())),
            );
            let mut pos = SystemConfiguration {
                physical_measures: ["inbound", "outbound", "held"].map(str::to_owned).to_vec(),
                ..SystemConfiguration::default()
            };
            pos.dimension_mappings.insert("shop".to_owned(), "styleid".to_owned());
            pos.calculated_measures.insert("free".to_owned(), free);
            pos.reserv_mappings.extend(mapped.then(|| ("HELD".to_owned(), "pos.FREE".to_owned())));
            let mut own = SystemConfiguration::default();
            let name = if by_user { "@checked" } else { "@available_to_reserve" };
            own.calculated_measures.insert(name.to_owned(), checked);
            own.reserv_mappings.insert("@softreserved".to_owned(), format!("@iv.{name}"));
            foreign.inventory_system_configurations.insert("pos".to_owned(), pos);
            foreign.inventory_system_configurations.insert("@IV".to_owned(), own);
            foreign
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_put_in_their_form_comes_back_as_what_means_the_same(foreign in any_foreign()) {
        let document = read(&foreign);
        prop_assert_eq!(read(&inventory_visibility::write(&compiled(&document))), document);
    }

    #[test]
    fn whatever_is_configured_can_be_written_in_their_form(document in any_document()) {
        let configuration = compiled(&document);
        let foreign = inventory_visibility::write(&configuration);
        let again = read(&foreign);
        let reread = compiled(&again);
        prop_assert_eq!(reread.slots(), configuration.slots());
        let shown = |configuration: &Configuration| {
            let formulas = configuration.reservations().iter().map(|(slot, formula)| (*slot, configuration.shown(formula)));
            let calculated = configuration.calculated().iter().map(|(name, formula)| (name.clone(), configuration.shown(formula)));
            (
                configuration.shown(configuration.available_to_allocate()),
                formulas.collect::<Vec<_>>(),
                calculated.collect::<Vec<_>>(),
            )
        };
        prop_assert_eq!(shown(&reread), shown(&configuration));
        // But for how formulas are written, nothing has changed at all.
        let mut same = again.clone();
        same.allocation.available_to_allocate = document.allocation.available_to_allocate.clone();
        same.reservation.measures = document.reservation.measures.clone();
        same.calculated_measures = document.calculated_measures.clone();
        prop_assert_eq!(same, document);
        prop_assert_eq!(inventory_visibility::write(&reread), foreign);
    }
}
