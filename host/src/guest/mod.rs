//! The sandbox: the engine, components that were proved to fit, and instances that live for one call.
//!
//! `reload` loads components, `request` calls them. Nothing here knows a handler, a route or a database.

pub mod aside;
pub mod cache;
pub mod command;
pub mod compile;
pub mod compiler;
pub mod component;
mod declared;
mod digest;
pub mod engine;
mod error;
mod fit;
mod form;
pub mod instance;
mod limiter;
mod room;
mod store;
pub mod wasi;

pub use aside::{Aside, Room, Slot};
pub use cache::Cache;
pub use compiler::Compiler;
pub use component::{Compiled, Component, Grants};
pub use declared::Declared;
pub use digest::Digest;
pub use engine::{Counting, Engine};
pub use error::ComponentError;
pub use store::Allowance;
