//! Postgres: how to connect to it, the connection pool, the procedures that may be called, and the call itself.
//!
//! - `procedure`, `form` and `signature` describe what may be called; `catalogue/` looks up what a manifest grants
//!   (`grant`).
//! - `call` executes one call: by itself, or through `batch`, where calls wait in a `lane` (`lanes`, `waiter`, `hash`)
//!   for a shared statement; `passage` is how it went, and `answer` answers it. `exchange` sends a statement and reads
//!   its rows, `pairing` matches those of a batch to its calls.
//! - `pool` hands connections out (`connections`, `connection`, `waiting`); `health` records the state of the database.
//!   `start` fills the pool, and prepares statements anew after a reload; `caretaker` probes the database and refills
//!   the pool (`filling`, `opener`).
//! - `router` sends a call on to one of its `shards`, which `shard_watch` asks for while they are unavailable; `onward`
//!   and `trial` are about the connections between router and shards. `stubs` writes the router's SQL.
//! - `connect/` covers everything from a URL to an open connection; `value/` converts between the contract's values and
//!   Postgres types.
//! - `migrate/` applies the files of `sql/`; `databases` creates whole databases, and copies of them; `scratch`
//!   makes those of tests.
//!
//! Only this module builds SQL text, from names that the catalogue confirmed; guests never see or supply any.

mod answer;
mod batch;
mod call;
mod caretaker;
mod carried;
mod catalogue;
mod connect;
mod connection;
mod connections;
mod databases;
mod error;
mod exchange;
mod filling;
mod form;
mod grant;
pub mod hash;
mod health;
mod lane;
mod lanes;
pub mod migrate;
mod onward;
mod opener;
mod pairing;
mod passage;
mod pool;
mod procedure;
mod proofs;
mod reading;
mod router;
mod scratch;
mod shard_watch;
mod shards;
mod signature;
mod start;
mod stubs;
mod trial;
pub mod value;
mod waiter;
mod waiting;

pub use carried::Carried;
pub use catalogue::unusable::{Unsupported, Unusable};
pub use connect::credentials::{Source, variables};
pub use connect::keyword::VARIABLES;
pub use connect::parameters::Defaults;
pub use connect::target::{Peer, Target};
pub use databases::{Branch, branch, branch_name, branches, create, drop_branch, enter};
pub use grant::{Batch, GrantedProcedure, LaneCount, Partition};
pub use migrate::{apply, migrate};
pub use passage::{Batched, Passage};
pub use pool::Database;
pub use procedure::Procedure;
pub use proofs::{Proofs, Proved};
pub use scratch::{Scratch, SqlError, run_sql};
pub use stubs::{NoStubs, Router, stubs};
