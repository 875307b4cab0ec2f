//! Postgres: where it is, the pool of connections to it, the procedures that may be called, and the call itself.
//!
//! `request` calls, `reload` asks what a procedure looks like, `serve` keeps the pool warm. SQL text is made here
//! only, from names the catalogue confirmed; no guest ever sees or gives any.

mod array;
mod authentication;
mod batch;
mod call;
mod caretaker;
mod catalogue;
mod cause;
mod complete;
mod connection;
mod connections;
mod conninfo;
mod credentials;
mod description;
mod encryption;
mod exchange;
mod filling;
mod handshake;
mod keyword;
mod kind;
mod lane;
mod lanes;
mod open;
mod opener;
mod parameters;
mod passfile;
mod pool;
mod pooler;
mod procedure;
mod schema;
mod session;
mod spelling;
mod start;
mod statement;
mod structure;
mod target;
mod tls;
mod unusable;
pub mod value;
mod verifier;
mod waiter;
mod wellformed;

pub use credentials::Source;
pub use keyword::VARIABLES;
pub use parameters::Defaults;
pub use pool::Database;
pub use procedure::{Batch, Procedure};
pub use schema::{apply, create, enter};
pub use structure::{NotApplied, reapply};
pub use target::Target;
pub use unusable::{Unsupported, Unusable};
