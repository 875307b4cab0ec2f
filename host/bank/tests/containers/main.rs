//! The bank test on the compose stack, durable, as users run it: nginx, two nodes and Postgres in their containers,
//! with their limits. Containers are killed, stopped, frozen and restarted under load, while handlers are swapped
//! through their volume; then the ledger is proved. That answers of Postgres are cut off is tested with plain processes
//! only (`host/bank/tests/processes`): here nothing can stand between a node and the socket.
//!
//! One stack serves a run, and one test at a time has it. Needs root, a Docker engine on this machine, and the images
//! that `.ci/quick-images` makes. A run is repeated with BANK_SEED.

#![expect(clippy::unwrap_used, reason = "a test without the standard harness, which clippy does not take for a test")]

mod container;
mod faults;
mod keys;
mod stack;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use galo_bank::compose::Compose;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::stack::Stack;

/// A test: it fails by panicking.
type Test = fn(&mut Stack);

/// In this order: the quick tests come first.
const TESTS: &[(&str, Test)] = &[
    ("keys::the_same_key_gets_the_stored_answer", keys::the_same_key_gets_the_stored_answer),
    ("keys::another_payload_under_a_key_is_refused", keys::another_payload_under_a_key_is_refused),
    ("keys::a_malformed_key_is_refused", keys::a_malformed_key_is_refused),
    ("keys::a_key_that_is_sent_many_times_at_once", keys::a_key_that_is_sent_many_times_at_once),
    ("keys::an_id_of_a_client_is_no_key", keys::an_id_of_a_client_is_no_key),
    ("faults::nothing_but_swaps", faults::nothing_but_swaps),
    ("faults::a_node_is_killed_again_and_again", faults::a_node_is_killed_again_and_again),
    ("faults::both_nodes_are_restarted_in_turn", faults::both_nodes_are_restarted_in_turn),
    ("faults::a_node_hangs", faults::a_node_hangs),
    ("faults::postgres_is_killed", faults::postgres_is_killed),
    ("faults::nginx_is_reloaded", faults::nginx_is_reloaded),
    ("faults::clients_leave_right_after_sending", faults::clients_leave_right_after_sending),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let stack = if arguments.list {
        None
    } else {
        // Dropped when this function ends, however: that takes the stack down.
        match Compose::find("galo-containers").and_then(Stack::up) {
            Ok(stack) => Some(Arc::new(Mutex::new(stack))),
            Err(error) => {
                // A closed stderr is not a reason to fail in another way.
                let _ = writeln!(std::io::stderr(), "\n*** The containers are NOT tested: {error:#}\n");
                return ExitCode::FAILURE;
            }
        }
    };
    let trial = |(name, test): &(&str, Test)| {
        let (test, stack) = (*test, stack.clone());
        Trial::test(*name, move || {
            let stack = stack.ok_or("the stack is not running")?;
            // A test that failed leaves a stack that the next one may still find in order.
            test(&mut stack.lock().unwrap_or_else(PoisonError::into_inner));
            Ok::<(), Failed>(())
        })
    };
    let conclusion = libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect());
    if let Some(stack) = &stack
        && conclusion.has_failed()
    {
        stack.lock().unwrap_or_else(PoisonError::into_inner).show_logs();
    }
    conclusion.exit_code()
}
