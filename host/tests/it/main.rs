//! The integration tests: one binary, one private Postgres for the run, a database for each test. `harness` has all
//! the set-up; a test file holds what must hold of one part.

#![expect(clippy::unwrap_used, reason = "a test says what must hold; this is the shortest way to say it")]

mod admin;
mod api;
mod batch;
mod batch_form;
mod cli;
mod database;
mod dev;
mod drain;
mod fixture;
mod guest;
mod handlers;
mod harness;
mod idempotency;
mod lanes;
mod ledger;
mod listener;
mod operator;
mod overload;
mod reload;
mod scaffold;
mod sql;
mod tidy;
mod tutorial;
