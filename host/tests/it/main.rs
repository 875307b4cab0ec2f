//! The integration tests: one binary, one private Postgres for the run, a database for each test. The set-up is in
//! `host/testing`; a test file holds what must hold of one part.

#![expect(clippy::unwrap_used, reason = "a test says what must hold; this is the shortest way to say it")]

use galo_testing::fixture;

mod admin;
mod api;
mod backup;
mod batch;
mod batch_form;
mod bindings;
mod browser;
mod cli;
mod compile;
mod cors;
mod database;
mod dev;
mod documents;
mod doors;
mod drain;
mod encrypted;
mod failover;
mod folder;
mod guest;
mod handlers;
mod harness;
mod http;
mod idempotency;
mod install;
mod kubernetes;
mod lanes;
mod ledger;
mod listener;
mod metrics;
mod operator;
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
mod said;
mod scaffold;
mod slow;
mod sql;
mod state;
mod strict;
mod supervision;
mod tidy;
mod tidy_modules;
mod tls;
mod toolchain;
mod tutorial;
