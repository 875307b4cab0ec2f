//! The bank test: many clients, each request on record, and in the end a proof of the ledger against that record.
//!
//! `load` drives a stack with what `plan` makes up and `client` sends; what came of it is a `history`. `ledger` reads
//! what the database holds, and `proof` compares the two. Nothing here knows how a stack is run: the program (`main`)
//! is pointed at one, the fault tests of the host (`host/tests/bank`) start their own.

pub mod client;
pub mod history;
pub mod ledger;
pub mod load;
pub mod plan;
pub mod proof;
pub mod random;
mod timeline;
