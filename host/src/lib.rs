//! Galo: a host that runs WASM component handlers in front of Postgres.
//!
//! Start reading at [`request`]: it is the data path. ARCHITECTURE.md says which module may import which;
//! `tests/it/tidy.rs` checks it.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when the reader of a pipe has closed it; `log` does not"
)]

// Ground: imported by all, imports nothing above.
pub mod config;
pub mod contract;
pub mod drain;
pub mod events;
pub mod failure;
pub mod file;
pub mod limits;
pub mod log;
pub mod members;
pub mod metrics;
pub mod place;
pub mod repeats;
pub mod report;
pub mod signals;
pub mod supervise;

// Leaves: they do not know each other.
pub mod admission;
pub mod cors;
pub mod database;
pub mod guest;
pub mod route;
pub mod state;
pub mod token;
pub mod traces;
pub mod trust;
pub mod wire;

// The spine.
pub mod example;
pub mod gate;
pub mod manifest;
pub mod node;
pub mod record;
pub mod registry;
pub mod replay;
pub mod request;

// Long-running tasks.
pub mod admin;
pub mod listen;
pub mod reload;

// They assemble the rest.
pub mod develop;
pub mod operator;
pub mod proxy;
pub mod put;
pub mod serve;
