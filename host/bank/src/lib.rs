//! The bank test: many clients, each request on record, and in the end a proof of the ledger against that record.
//!
//! `load` drives a stack with what `plan` makes up and `client` sends; what came of it is a `history`. `ledger` reads
//! what the database holds, and `proof` compares the two; all of it together is an `experiment`. `keyless` drives a
//! handler that has no key beside them. `swap` changes handlers meanwhile, and `verdict` says what clients may see of a
//! fault. Nothing here knows how a stack is run: the program (`main`) is pointed at one, the fault tests start their
//! own, of processes (`host/bank/tests/processes`) and of containers (`host/bank/tests/containers`).

pub mod client;
pub mod compose;
pub mod experiment;
pub mod history;
pub mod keyless;
pub mod ledger;
pub mod load;
pub mod plan;
pub mod proof;
pub mod random;
pub mod source;
pub mod swap;
mod timeline;
pub mod verdict;
