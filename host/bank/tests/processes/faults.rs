//! What may happen to a stack, each under load and while handlers are swapped. In every case the ledger is proved;
//! what a client may see differs.

use galo_bank::history::Outcome;
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::proof::Law;
use galo_bank::verdict;
use nix::sys::signal::Signal;
use tokio::time::{Duration, sleep};

use crate::can_fail;
use crate::cut::Cut;
use crate::postgres::{Database, Durable};
use crate::stack::{Stack, block_on};
use crate::standby::Pair;

/// Between two blows, in transactions: the next one meets a stack that works.
const BETWEEN: u64 = 50;

/// How long a node hangs.
const HANG: Duration = Duration::from_secs(5);

/// How long Postgres is away.
const OUTAGE: Duration = Duration::from_secs(2);

/// Answers that are lost.
const CUTS: usize = 60;

/// A fault that no client notices.
fn unnoticed(fault: impl AsyncFnOnce(&mut Stack, &Progress)) {
    block_on(async {
        let mut stack = Stack::start(Database::shared().await).await;
        let history = stack.proved(Mix::default(), fault).await;
        verdict::unnoticed(&history).unwrap();
    });
}

pub fn nothing_but_swaps() {
    unnoticed(async |_, _| sleep(Duration::from_secs(3)).await);
}

pub fn a_node_is_killed_again_and_again() {
    unnoticed(async |stack, progress| {
        for round in 0..10 {
            let node = &mut stack.nodes[round % 2];
            node.kill().await;
            node.restart().await;
            progress.until(BETWEEN).await.unwrap();
        }
        let errors = stack.nginx.as_ref().unwrap().errors();
        println!("nginx turned to the other node {errors} times");
        assert!(errors > 0, "no request was on its way to a node that died");
    });
}

pub fn both_nodes_are_restarted_in_turn() {
    unnoticed(async |stack, progress| {
        for round in 0..4 {
            let node = &mut stack.nodes[round % 2];
            node.terminate().await;
            node.restart().await;
            progress.until(BETWEEN).await.unwrap();
        }
    });
}

pub fn a_node_hangs() {
    block_on(async {
        let mut stack = Stack::start(Database::shared().await).await;
        let history = stack
            .proved(Mix::default(), async |stack, _| {
                stack.nodes[0].signal(Signal::SIGSTOP);
                sleep(HANG).await;
                stack.nodes[0].signal(Signal::SIGCONT);
            })
            .await;
        verdict::hang(&history).unwrap();
    });
}

pub fn postgres_is_killed() {
    block_on(async {
        let (mut durable, database) = Durable::start().await;
        let mut stack = Stack::start(database).await;
        let mut moments = None;
        let history = stack
            .proved(Mix::default(), async |stack, progress| {
                let killed = progress.elapsed();
                outage(&mut durable, stack).await;
                moments = Some((killed, progress.elapsed()));
            })
            .await;
        let (killed, back) = moments.unwrap();
        verdict::outage(&history, killed, back).unwrap();
    });
}

/// The test above can fail: a Postgres that says «committed» before it is on the disk loses what it said.
pub fn a_postgres_that_forgets_is_caught() {
    block_on(async {
        let (mut durable, database) = Durable::start().await;
        database.execute("ALTER ROLE galo SET synchronous_commit = off").await;
        // With the default it writes everything down five times a second, and the moment of its death would decide.
        database.execute("ALTER SYSTEM SET wal_writer_delay = '10s'").await;
        database.execute("SELECT pg_reload_conf()").await;
        let mut stack = Stack::start(database).await;
        let fault = async |stack: &mut Stack, _: &Progress| outage(&mut durable, stack).await;
        let (_, violations) = stack.run(Mix::default(), fault).await;
        assert!(violations.iter().any(|violation| violation.law == Law::NothingLost), "{violations:#?}");
    });
}

async fn outage(durable: &mut Durable, stack: &mut Stack) {
    durable.kill();
    sleep(OUTAGE).await;
    durable.restart(&mut stack.database).await;
}

/// The primary dies, a standby that it waited for is promoted, and the address leads there.
pub fn a_standby_is_promoted() {
    block_on(async {
        let (mut pair, database) = Pair::start(Pair::synchronous()).await;
        let mut stack = Stack::start(database).await;
        let mut moments = None;
        let history = stack
            .proved(Mix::default(), async |stack, progress| {
                let killed = progress.elapsed();
                pair.promote().await;
                pair.lead(&mut stack.database);
                moments = Some((killed, progress.elapsed()));
            })
            .await;
        let (killed, back) = moments.unwrap();
        verdict::outage(&history, killed, back).unwrap();
    });
}

/// The test above can fail: a standby that the primary does not wait for lacks what it did not hear of.
pub fn a_standby_that_lags_is_caught() {
    block_on(async {
        let (mut pair, database) = Pair::start("").await;
        let mut stack = Stack::start(database).await;
        let fault = async |stack: &mut Stack, progress: &Progress| {
            pair.cut_off().await;
            progress.until(BETWEEN).await.unwrap();
            pair.promote().await;
            pair.lead(&mut stack.database);
        };
        let (_, violations) = stack.run(Mix::default(), fault).await;
        assert!(violations.iter().any(|violation| violation.law == Law::NothingLost), "{violations:#?}");
    });
}

pub fn nginx_is_reloaded() {
    block_on(async {
        let mut stack = Stack::start(Database::shared().await).await;
        let history = stack
            .proved(Mix::default(), async |stack, progress| {
                for _ in 0..5 {
                    stack.nginx.as_ref().unwrap().reload().await;
                    progress.until(BETWEEN).await.unwrap();
                }
            })
            .await;
        verdict::reload(&history).unwrap();
    });
}

pub fn clients_leave_right_after_sending() {
    block_on(async {
        let mut stack = Stack::start(Database::shared().await).await;
        let mix = Mix { leaving: 60, ..Mix::default() };
        let history = stack.proved(mix, async |_, _| sleep(Duration::from_secs(3)).await).await;
        verdict::unnoticed(&history).unwrap();
        assert!(history.count(Outcome::Unknown) > 0, "nobody left for good");
    });
}

pub fn answers_of_postgres_are_cut_off() {
    block_on(async {
        let database = Database::shared().await;
        let cut = Cut::start(&database.door(), &database.socket(), 1);
        let mut stack = Stack::start(database).await;
        let history = stack.proved(Mix::default(), async |_, _| cut.answers(CUTS).await).await;
        verdict::refusals_only(&history).unwrap();
    });
}

/// The test above can fail: without a key, what is tried again is recorded again. Nobody but nginx tries again here.
pub fn lost_answers_without_a_key_are_caught() {
    block_on(async {
        let database = Database::shared().await;
        database.execute(&can_fail::without_keys()).await;
        let cut = Cut::start(&database.door(), &database.socket(), 1);
        let mut stack = Stack::start(database).await;
        let mix = Mix { repeated: 0, leaving: 0, ..Mix::default() };
        let (_, violations) = stack.run(mix, async |_, _| cut.answers(CUTS).await).await;
        assert!(violations.iter().any(|violation| violation.law == Law::NothingTwice), "{violations:#?}");
    });
}
