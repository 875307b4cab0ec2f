//! The bank test: many clients, each request on record, and in the end a proof of the ledger against that record.
//!
//! `load` drives a stack with the requests that `plan` makes up and `client` sends; the record is a `history`. `ledger`
//! reads what the database holds, and `proof` compares the two; an `experiment` is all of it together. `faults`
//! describes what may happen to a stack, while `swap` replaces its handlers; `verdict` is what clients may see of it,
//! and `keyless` drives a handler without a key beside the ledger. None of them knows how a stack is run: the program
//! (`main`) is pointed at one, the fault tests start one of processes (`tests/processes`) or of containers
//! (`tests/containers`).

pub mod client;
pub mod compose;
pub mod experiment;
pub mod extrato;
pub mod faults;
pub mod history;
pub mod keyless;
pub mod ledger;
pub mod load;
pub mod plan;
pub mod proof;
pub mod random;
pub mod shard_faults;
pub mod source;
pub mod swap;
mod timeline;
pub mod verdict;
