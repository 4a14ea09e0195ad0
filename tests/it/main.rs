//! The service as its users meet it: real HTTP, a real PostgreSQL, one database per test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![allow(unreachable_pub, reason = "the modules of one binary")]
#![allow(clippy::disallowed_methods, reason = "the rules on time and chance are the service's")]

mod access;
mod access_narrowed;
mod access_walk;
mod allocation;
mod analytics;
mod bad_input;
mod bulk;
mod configuration;
mod configuration_change;
mod console;
mod container;
mod contract;
mod core;
mod crash;
mod explanations;
mod faults;
mod feed;
mod followers;
mod history;
mod horizon;
mod hostile_input;
mod instances;
mod inventory_visibility;
mod load;
mod metrics;
mod migrations;
mod naive;
mod oidc;
mod on_hand;
mod on_hand_queries;
mod on_hand_questions;
mod on_hand_streams;
mod openapi;
mod outages;
mod partitions;
mod paths;
mod problem_order;
mod problems;
mod process;
mod products;
mod program;
mod proxy;
mod quantities;
mod queries;
mod raw;
mod readme;
mod rehearsals;
mod repeats;
mod requests;
mod reservation_bulk;
mod reservation_indexes;
mod reservation_list;
mod reservations;
mod scarcity;
mod schedule;
mod schedule_places;
mod service;
mod support;
mod tidy;
mod trust;
mod verify;
