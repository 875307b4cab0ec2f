//! The integration tests: one binary, one private Postgres for the run, a database for each test. `harness` has all
//! the set-up; a test file holds what must hold of one part.

#![expect(clippy::unwrap_used, reason = "a test says what must hold; this is the shortest way to say it")]

mod admin;
mod api;
mod backup;
mod batch;
mod batch_form;
mod bindings;
mod cli;
mod compile;
mod database;
mod dev;
mod doors;
mod drain;
mod failover;
mod fixture;
mod folder;
mod guest;
mod handlers;
mod harness;
mod idempotency;
mod lanes;
mod ledger;
mod listener;
mod operator;
mod overload;
mod pooler;
mod postgres;
mod probation;
mod properties;
mod reload;
mod said;
mod scaffold;
mod slow;
mod sql;
mod state;
mod strict;
mod supervision;
mod tidy;
mod toolchain;
mod tutorial;
