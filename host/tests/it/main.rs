//! The integration tests: one binary, one private Postgres for the run, a database for each test. The set-up is in
//! `host/testing`; each test file covers one part.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails; `unwrap` is the shortest way to it")]

use galo_testing::fixture;

mod admin;
mod apart;
mod api;
mod backup;
mod batch;
mod batch_form;
mod bindings;
mod browser;
mod cli;
mod compile;
mod cors;
mod data;
mod database;
mod dev;
mod documents;
mod doors;
mod drain;
mod encrypted;
mod end_to_end;
mod failover;
mod folder;
mod guest;
mod guest_output;
mod handlers;
mod harness;
mod http;
mod idempotency;
mod install;
mod kubernetes;
mod lanes;
mod ledger;
mod listener;
mod memory;
mod messages;
mod metrics;
mod migrate;
mod operator;
mod outcomes;
mod overload;
mod pooler;
mod postgres;
mod postgres_types;
mod probation;
mod properties;
mod proxy;
mod put;
mod release;
mod reload;
mod rolling;
mod scaffold;
mod slow;
mod state;
mod strict;
mod supervision;
mod tidy;
mod tidy_modules;
mod tls;
mod token;
mod toolchain;
mod tutorial;
