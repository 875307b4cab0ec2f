//! The faults of `galo_bank::faults`, and those that only processes can have: a standby that is promoted, answers of
//! Postgres that are cut off. And each of the tests that matter most can fail.

use galo_bank::faults::{self, Stack as _, proved};
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::proof::{Invariant, Violation};
use galo_bank::verdict;

use crate::can_fail;
use crate::cut::Cut;
use crate::postgres::{Database, Durable};
use crate::stack::{Stack, block_on};
use crate::standby::Pair;

/// Acknowledged while a standby is cut off from its primary.
const BETWEEN: u64 = 50;

/// Answers that are lost.
const CUTS: usize = 60;

/// Two nodes behind nginx, on a database of the shared cluster.
async fn shared() -> Stack {
    Stack::start(Database::shared().await).await
}

#[track_caller]
fn assert_found(invariant: Invariant, violations: &[Violation]) {
    assert!(violations.iter().any(|violation| violation.invariant == invariant), "{violations:#?}");
}

pub fn nothing_but_swaps() {
    block_on(async { faults::nothing_but_swaps(&mut shared().await).await.unwrap() });
}

pub fn a_node_is_killed_again_and_again() {
    block_on(async {
        let mut stack = shared().await;
        faults::a_node_is_killed_again_and_again(&mut stack).await.unwrap();
        let errors = stack.nginx.as_ref().unwrap().errors();
        println!("nginx turned to the other node {errors} times");
        assert!(errors > 0, "no request was on its way to a node that died");
    });
}

pub fn both_nodes_are_restarted_in_turn() {
    block_on(async { faults::both_nodes_are_restarted_in_turn(&mut shared().await).await.unwrap() });
}

pub fn a_node_hangs() {
    block_on(async { faults::a_node_hangs(&mut shared().await).await.unwrap() });
}

pub fn postgres_is_killed() {
    block_on(async {
        let (durable, database) = Durable::start().await;
        faults::postgres_is_killed(&mut Stack::durable(durable, database).await).await.unwrap();
    });
}

/// The test above can fail: a Postgres that reports a commit before it is on the disk loses what it reported.
pub fn a_postgres_that_forgets_is_caught() {
    block_on(async {
        let (durable, database) = Durable::start().await;
        database.execute("ALTER ROLE galo SET synchronous_commit = off").await;
        // With the default it writes everything down five times a second, and the moment of its death would decide.
        database.execute("ALTER SYSTEM SET wal_writer_delay = '10s'").await;
        database.execute("SELECT pg_reload_conf()").await;
        let mut stack = Stack::durable(durable, database).await;
        let fault = async |stack: &mut Stack, _: &Progress| {
            stack.kill_postgres().await?;
            stack.start_postgres().await
        };
        let (_, violations) = stack.run(Mix::default(), fault).await.unwrap();
        assert_found(Invariant::NothingLost, &violations);
    });
}

/// The primary dies, a standby that it waited for is promoted, and the address leads there.
pub fn a_standby_is_promoted() {
    block_on(async {
        let (mut pair, database) = Pair::start(Pair::synchronous()).await;
        let promote = async |stack: &mut Stack| {
            pair.promote().await;
            pair.lead(&mut stack.database);
            Ok(())
        };
        faults::outage(&mut Stack::start(database).await, promote).await.unwrap();
    });
}

/// The test above can fail: a standby that the primary does not wait for lacks what it did not hear of.
pub fn a_standby_that_lags_is_caught() {
    block_on(async {
        let (mut pair, database) = Pair::start("").await;
        let mut stack = Stack::start(database).await;
        let fault = async |stack: &mut Stack, progress: &Progress| {
            pair.cut_off().await;
            progress.until(BETWEEN).await?;
            pair.promote().await;
            pair.lead(&mut stack.database);
            Ok(())
        };
        let (_, violations) = stack.run(Mix::default(), fault).await.unwrap();
        assert_found(Invariant::NothingLost, &violations);
    });
}

pub fn nginx_is_reloaded() {
    block_on(async { faults::nginx_is_reloaded(&mut shared().await).await.unwrap() });
}

pub fn clients_leave_right_after_sending() {
    block_on(async { faults::clients_leave_right_after_sending(&mut shared().await).await.unwrap() });
}

pub fn answers_of_postgres_are_cut_off() {
    block_on(async {
        let database = Database::shared().await;
        let cut = Cut::start(&database.door(), &database.socket(), 1);
        let mut stack = Stack::start(database).await;
        let fault = async |_: &mut Stack, _: &Progress| {
            cut.answers(CUTS).await;
            Ok(())
        };
        verdict::refusals_only(&proved(&mut stack, Mix::default(), fault).await.unwrap()).unwrap();
    });
}

/// The test above can fail: without a key, what is tried again is recorded again. Only nginx tries again here.
pub fn lost_answers_without_a_key_are_caught() {
    block_on(async {
        let database = Database::shared().await;
        database.execute(&can_fail::without_keys()).await;
        let cut = Cut::start(&database.door(), &database.socket(), 1);
        let mut stack = Stack::start(database).await;
        let mix = Mix { repeated: 0, leaving: 0, ..Mix::default() };
        let fault = async |_: &mut Stack, _: &Progress| {
            cut.answers(CUTS).await;
            Ok(())
        };
        let (_, violations) = stack.run(mix, fault).await.unwrap();
        assert_found(Invariant::NothingTwice, &violations);
    });
}
