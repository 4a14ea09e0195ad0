//! Ringfence.
pub mod app;
pub mod demo;
pub mod domain;
pub mod embedded;
pub mod engine;
pub mod http;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod verify;
