//! The service as its users meet it: real HTTP, a real PostgreSQL, one database per test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![allow(unreachable_pub, reason = "the modules of one binary")]

mod allocation;
mod bad_input;
mod contract;
mod core;
mod naive;
mod paths;
mod problem_order;
mod problems;
mod quantities;
mod queries;
mod repeats;
mod requests;
mod service;
mod support;
