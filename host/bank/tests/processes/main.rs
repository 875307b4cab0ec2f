//! The bank test under faults: two nodes, nginx with the configuration that is deployed, Postgres; many clients; then
//! something dies. And before that: the bank test can fail.
//!
//! One test at a time: several of them measure how long an outage is felt. A run is repeated with BANK_SEED.

#![expect(clippy::unwrap_used, reason = "a test without the standard harness, which clippy does not take for a test")]

mod can_fail;
mod canaries;
mod cut;
mod doubling;
mod doubling_refused;
mod faults;
mod keyless;
mod newcomers;
mod node;
mod operator;
mod postgres;
mod repeats;
mod shadowed;
mod shards;
mod stack;
mod standby;
mod storm;

use std::io::Write as _;
use std::process::ExitCode;

use galo_testing::program;
use libtest_mimic::{Arguments, Failed, Trial};

/// A test: it fails by panicking.
type Test = fn();

/// Broken procedures that the bank test must notice; they need no proxy in front.
const CAN_FAIL: &[(&str, Test)] = &[
    ("can_fail::an_honest_procedure_has_no_violation", can_fail::an_honest_procedure_has_no_violation),
    ("can_fail::a_procedure_that_records_twice", can_fail::a_procedure_that_records_twice),
    ("can_fail::a_procedure_that_says_ok_and_records_nothing", can_fail::a_procedure_that_says_ok_and_records_nothing),
    ("can_fail::a_procedure_that_ignores_the_key", can_fail::a_procedure_that_ignores_the_key),
    ("can_fail::a_procedure_that_records_what_it_refuses", can_fail::a_procedure_that_records_what_it_refuses),
    ("can_fail::a_procedure_that_refuses_for_no_reason", can_fail::a_procedure_that_refuses_for_no_reason),
    ("can_fail::a_procedure_that_answers_a_later_saldo", can_fail::a_procedure_that_answers_a_later_saldo),
    ("can_fail::a_procedure_that_takes_another_payload", can_fail::a_procedure_that_takes_another_payload),
    ("can_fail::an_extrato_that_misses_the_newest", can_fail::an_extrato_that_misses_the_newest),
    ("can_fail::an_extrato_whose_saldo_is_of_another_moment", can_fail::an_extrato_whose_saldo_is_of_another_moment),
];

/// What may happen to a stack. Handlers are swapped during each.
const FAULTS: &[(&str, Test)] = &[
    ("faults::nothing_but_swaps", faults::nothing_but_swaps),
    ("faults::a_node_is_killed_again_and_again", faults::a_node_is_killed_again_and_again),
    ("faults::both_nodes_are_restarted_in_turn", faults::both_nodes_are_restarted_in_turn),
    ("faults::a_node_hangs", faults::a_node_hangs),
    ("faults::postgres_is_killed", faults::postgres_is_killed),
    ("faults::a_standby_is_promoted", faults::a_standby_is_promoted),
    ("faults::a_standby_that_lags_is_caught", faults::a_standby_that_lags_is_caught),
    ("faults::nginx_is_reloaded", faults::nginx_is_reloaded),
    ("faults::clients_leave_right_after_sending", faults::clients_leave_right_after_sending),
    ("faults::answers_of_postgres_are_cut_off", faults::answers_of_postgres_are_cut_off),
    ("faults::a_postgres_that_forgets_is_caught", faults::a_postgres_that_forgets_is_caught),
    ("faults::lost_answers_without_a_key_are_caught", faults::lost_answers_without_a_key_are_caught),
];

/// The same on two shards behind a router with PL/Proxy.
const SHARDS: &[(&str, Test)] = &[
    ("shards::nothing_but_swaps", shards::nothing_but_swaps),
    ("shards::a_node_is_killed_again_and_again", shards::a_node_is_killed_again_and_again),
    ("shards::both_nodes_are_restarted_in_turn", shards::both_nodes_are_restarted_in_turn),
    ("shards::a_node_hangs", shards::a_node_hangs),
    ("shards::nginx_is_reloaded", shards::nginx_is_reloaded),
    ("shards::clients_leave_right_after_sending", shards::clients_leave_right_after_sending),
    ("shards::a_shard_is_killed", shards::a_shard_is_killed),
    ("shards::a_shard_hangs", shards::a_shard_hangs),
    ("shards::a_router_is_killed", shards::a_router_is_killed),
    ("shards::answers_of_the_router_are_cut_off", shards::answers_of_the_router_are_cut_off),
    ("shards::answers_of_a_shard_are_cut_off", shards::answers_of_a_shard_are_cut_off),
    ("shards::are_doubled", doubling::under_load),
    ("shards::are_doubled_by_a_script_that_is_killed", doubling::by_a_script_that_is_killed),
    ("shards::are_doubled_although_standbys_fail", doubling::although_standbys_fail),
    ("shards::are_not_doubled_where_something_is_wrong", doubling_refused::where_something_is_wrong),
];

/// What nginx sends a second time, and what a node makes of it.
const REPEATS: &[(&str, Test)] = &[
    ("repeats::nginx_repeats_what_has_a_key_or_only_reads", repeats::nginx_repeats_what_has_a_key_or_only_reads),
    ("repeats::a_node_that_is_gone_costs_no_post", repeats::a_node_that_is_gone_costs_no_post),
    ("repeats::a_proxy_that_repeats_everything_is_caught", repeats::a_proxy_that_repeats_everything_is_caught),
    ("repeats::a_proxy_with_an_old_configuration_is_refused", repeats::a_proxy_with_an_old_configuration_is_refused),
    (
        "repeats::a_response_head_is_at_the_limit_or_is_not_sent",
        repeats::a_response_head_is_at_the_limit_or_is_not_sent,
    ),
];

/// Newcomers that are deployed, and what runs beside the requests.
const DEPLOYED: &[(&str, Test)] = &[
    (
        "canaries::bad_newcomers_are_taken_back_before_they_harm_a_client",
        canaries::bad_newcomers_are_taken_back_before_they_harm_a_client,
    ),
    (
        "canaries::an_announced_difference_reaches_its_share_until_it_is_rolled_back",
        canaries::an_announced_difference_reaches_its_share_until_it_is_rolled_back,
    ),
    (
        "storm::swaps_with_recording_shadows_and_canaries_at_once",
        storm::swaps_with_recording_shadows_and_canaries_at_once,
    ),
];

/// What takes a minute: run when it is asked for.
const LONG: &[(&str, Test)] = &[(
    "shadowed::a_hundred_thousand_posts_are_shadowed_and_the_shadow_writes_nothing",
    shadowed::a_hundred_thousand_posts_are_shadowed_and_the_shadow_writes_nothing,
)];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let nginx = program::find("nginx");
    if nginx.is_none() && !arguments.list {
        let warning = "*** nginx is not installed: the faults are NOT tested. Install it (apt-get install nginx). ***";
        // A closed stderr is not a reason to fail.
        let _ = writeln!(std::io::stderr(), "\n{warning}\n");
    }
    let trial = |(name, test): &(&str, Test)| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    let can_fail = CAN_FAIL.iter().map(trial);
    let behind_nginx = FAULTS.iter().chain(SHARDS).chain(REPEATS).chain(DEPLOYED).map(trial);
    let behind_nginx = behind_nginx.map(|trial| trial.with_ignored_flag(nginx.is_none()));
    let long = LONG.iter().map(trial).map(|trial| trial.with_ignored_flag(true));
    libtest_mimic::run(&arguments, can_fail.chain(behind_nginx).chain(long).collect()).exit_code()
}
