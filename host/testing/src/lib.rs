//! Proof, not product: what the integration tests (`host/tests/it`), the benches, the bank test (`host/bank`) and the
//! comparison (`host/bench`) share.
//!
//! `program`, `http`, `nginx` and `shards` return their errors, because the comparison is a program that reports them.
//! The rest is set-up for tests and panics: a private Postgres (`database`), nodes in this process (`node`), folders of
//! handlers (`folder`) and guests that misbehave (`fixture`).

pub mod database;
pub mod engine;
pub mod fixture;
pub mod folder;
pub mod http;
pub mod nginx;
pub mod node;
pub mod program;
pub mod shards;
