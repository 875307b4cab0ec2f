//! The stack of `deploy/` in each of its variants, as a user brings it up: what only the real containers show. What
//! clients see while they fail is the subject of the `containers` test, the contest's load that of `deploy/check`.
//!
//! Needs root, a Docker engine on this machine, and the images that `.ci/quick-images` makes. One variant runs at a
//! time.

#![expect(
    clippy::unwrap_used,
    reason = "a test asserts what must hold; clippy does not take a program of our own for one"
)]

mod durable;
mod project;
mod shards;
mod stack;
mod variants;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use galo_bank::compose::Compose;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::stack::Stack;

/// A test: it fails by panicking.
#[derive(Clone, Copy)]
enum Test {
    /// On the stack of compose.yaml, which the tests of this kind share.
    Durable(fn(&Stack)),
    /// On a stack that it brings up itself, in place of the one before it.
    Variant(fn(&Compose)),
}

use Test::{Durable, Variant};

/// In this order, so that the shared stack is brought up once.
const TESTS: &[(&str, Test)] = &[
    (
        "durable::settings_and_limits_are_those_of_the_files",
        Durable(durable::settings_and_limits_are_those_of_the_files),
    ),
    ("durable::handlers_come_and_go_without_a_restart", Durable(durable::handlers_come_and_go_without_a_restart)),
    ("durable::a_dump_is_restored", Durable(durable::a_dump_is_restored)),
    (
        "durable::a_deployment_reaches_both_nodes_and_outlives_their_restarts",
        Durable(durable::a_deployment_reaches_both_nodes_and_outlives_their_restarts),
    ),
    ("durable::what_nginx_refuses_is_json", Durable(durable::what_nginx_refuses_is_json)),
    ("variants::the_contests_does_not_wait_for_the_disk", Variant(variants::the_contests_does_not_wait_for_the_disk)),
    ("variants::placed_keeps_each_process_on_its_core", Variant(variants::placed_keeps_each_process_on_its_core)),
    ("variants::four_nodes_serve_without_a_restart", Variant(variants::four_nodes_serve_without_a_restart)),
    ("project::a_project_of_its_own_comes_up_and_swaps", Variant(project::a_project_of_its_own_comes_up_and_swaps)),
    (
        "shards::each_client_is_on_its_shard_and_outlives_it",
        Variant(shards::each_client_is_on_its_shard_and_outlives_it),
    ),
    ("variants::nodes_and_postgres_speak_tcp", Variant(variants::nodes_and_postgres_speak_tcp)),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let compose = if arguments.list { None } else { Some(Compose::find("galo-stack")) };
    let compose = match compose.transpose() {
        Ok(compose) => compose,
        Err(error) => {
            // A closed stderr is not a reason to fail.
            let _ = writeln!(std::io::stderr(), "\n*** The stack is NOT tested: {error:#}\n");
            return ExitCode::FAILURE;
        }
    };
    // Dropped with the last trial, which takes the stack down.
    let durable: Arc<OnceLock<Stack>> = Arc::default();
    let trial = |(name, test): &(&str, Test)| {
        let (test, compose, durable) = (*test, compose.clone(), durable.clone());
        Trial::test(*name, move || {
            let compose = compose.ok_or("there is no compose")?;
            match test {
                Durable(test) => {
                    let stack = durable.get_or_init(|| Stack::up(&compose));
                    let _logs = stack.logs_if_it_fails();
                    test(stack);
                }
                Variant(test) => test(&compose),
            }
            Ok::<(), Failed>(())
        })
    };
    libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect()).exit_code()
}
