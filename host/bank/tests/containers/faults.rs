//! What may happen to the containers, each under load and while handlers are swapped. In every case the ledger is
//! proved; what a client may see differs, and is the same as with plain processes (`galo_bank::verdict`).

use std::time::Duration;

use galo_bank::history::Outcome;
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::verdict;
use tokio::time::sleep;

use crate::container::until;
use crate::stack::Stack;

/// Between two blows, in transactions: the next one meets a stack that works.
const BETWEEN: u64 = 50;

/// How long a node hangs: so long that an answer that waited for its end is told from one that another node gave.
const HANG: Duration = Duration::from_secs(8);

/// How long Postgres is dead before it is started again.
const OUTAGE: Duration = Duration::from_secs(2);

/// How long a load lasts that nothing happens to: two swaps and more.
const CALM: Duration = Duration::from_secs(5);

/// A fault that no client notices.
fn unnoticed(stack: &Stack, fault: impl AsyncFnOnce(&Progress)) {
    let history = stack.block_on(stack.proved(Mix::default(), fault));
    verdict::unnoticed(&history).unwrap();
}

pub fn nothing_but_swaps(stack: &Stack) {
    unnoticed(stack, async |_| sleep(CALM).await);
}

pub fn a_node_is_killed_again_and_again(stack: &Stack) {
    unnoticed(stack, async |progress| {
        for round in 0..10 {
            let node = &stack.nodes[round % 2];
            node.crash();
            stack.until_ready(node).await;
            progress.until(BETWEEN).await.unwrap();
        }
    });
}

pub fn both_nodes_are_restarted_in_turn(stack: &Stack) {
    unnoticed(stack, async |progress| {
        for round in 0..4 {
            let node = &stack.nodes[round % 2];
            node.stop();
            progress.until(BETWEEN).await.unwrap();
            node.start();
            stack.until_ready(node).await;
            progress.until(BETWEEN).await.unwrap();
        }
    });
}

pub fn a_node_hangs(stack: &Stack) {
    let history = stack.block_on(stack.proved(Mix::default(), async |_| {
        stack.nodes[0].pause();
        sleep(HANG).await;
        stack.nodes[0].unpause();
    }));
    verdict::hang(&history).unwrap();
}

pub fn postgres_is_killed(stack: &Stack) {
    let mut moments = None;
    let history = stack.block_on(stack.proved(Mix::default(), async |progress| {
        let killed = progress.elapsed();
        stack.postgres.kill();
        sleep(OUTAGE).await;
        stack.postgres.start();
        stack.until_postgres_is_back().await;
        moments = Some((killed, progress.elapsed()));
    }));
    let (killed, back) = moments.unwrap();
    verdict::outage(&history, killed, back).unwrap();
}

pub fn nginx_is_reloaded(stack: &Stack) {
    let history = stack.block_on(stack.proved(Mix::default(), async |progress| {
        for _ in 0..10 {
            let before = stack.nginx.children();
            // README.md of deploy has this command.
            stack.nginx.exec(&["nginx", "-e", "stderr", "-s", "reload"]).unwrap();
            until("new workers have taken over", || {
                !stack.nginx.children().iter().any(|worker| before.contains(worker))
            });
            progress.until(BETWEEN).await.unwrap();
        }
    }));
    verdict::reload(&history).unwrap();
}

pub fn clients_leave_right_after_sending(stack: &Stack) {
    let mix = Mix { leaving: 60, ..Mix::default() };
    let history = stack.block_on(stack.proved(mix, async |_| sleep(CALM).await));
    verdict::unnoticed(&history).unwrap();
    assert!(history.count(Outcome::Unknown) > 0, "nobody left for good");
}
