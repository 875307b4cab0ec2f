//! Postgres: where it is, the pool of connections to it, the procedures that may be called, and the call itself.
//!
//! `request` calls, `reload` asks what a procedure looks like, `serve` keeps the pool warm. SQL text is made here
//! only, from names the catalogue confirmed; no guest ever sees or gives any.

mod batch;
mod call;
mod caretaker;
mod complete;
mod connection;
mod connections;
mod description;
mod exchange;
mod filling;
mod lane;
mod open;
mod opener;
mod pool;
mod pooler;
mod procedure;
mod schema;
mod session;
mod start;
mod structure;
mod target;
mod unusable;
pub mod value;
mod waiter;

pub use pool::Database;
pub use procedure::{Batch, Procedure};
pub use schema::{apply, create, enter};
pub use structure::{NotApplied, reapply};
pub use target::Target;
pub use unusable::Unusable;
