//! Ringfence.
pub mod domain;
