//! The sandbox: the engine, components and what was proved of them, and instances, one call long.
//!
//! `reload` loads components, `request` calls them. Nothing here knows a handler, a route or a database.

pub mod aside;
pub mod cache;
pub mod command;
pub mod compile;
pub mod compiler;
pub mod component;
pub mod engine;
mod form;
pub mod instance;
mod limiter;
mod room;
pub mod wasi;

pub use aside::{Aside, Room, Slot};
pub use cache::Cache;
pub use compiler::Compiler;
pub use component::{Compiled, Component, Digest, Grants, Refusal};
pub use engine::Engine;
pub use instance::Allowance;
