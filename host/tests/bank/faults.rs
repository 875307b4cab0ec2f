//! What may happen to a stack, each under load and while handlers are swapped. In every case the ledger is proved;
//! what a client may see differs.

use std::sync::atomic::Ordering;

use galo_e2e::history::{History, Outcome};
use galo_e2e::plan::Mix;
use nix::sys::signal::Signal;
use tokio::time::{Duration, Instant, sleep};

use crate::cut::Cut;
use crate::postgres::{Database, Durable};
use crate::stack::{Stack, block_on};

/// Between two blows, in transactions: the next one meets a stack that works.
const BETWEEN: i64 = 50;

/// How long a node hangs.
const HANG: Duration = Duration::from_secs(5);

/// deploy/nginx.conf: proxy_read_timeout, after which a request goes to the other node.
const READ_TIMEOUT: Duration = Duration::from_millis(4500);

/// For a busy machine, on top of what a configuration promises.
const SLACK: Duration = Duration::from_millis(1500);

/// How long Postgres is away.
const OUTAGE: Duration = Duration::from_secs(2);

/// From the moment that Postgres takes connections again to the first answer.
const BACK_MAX: Duration = Duration::from_secs(2);

fn assert_nobody_saw_an_error(history: &History) {
    let failed = history.failed();
    assert!(
        failed.is_empty(),
        "{} requests failed, the first of them: {:#?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
}

/// A fault that no client notices.
fn unnoticed(fault: impl AsyncFnOnce(&mut Stack)) {
    block_on(async {
        let mut stack = Stack::start(Database::shared().await).await;
        let history = stack.proved(Mix::default(), async |stack, _| fault(stack).await).await;
        assert_nobody_saw_an_error(&history);
    });
}

pub fn nothing_but_swaps() {
    unnoticed(async |_| sleep(Duration::from_secs(3)).await);
}

pub fn a_node_is_killed_again_and_again() {
    unnoticed(async |stack| {
        for round in 0..10 {
            let node = &mut stack.nodes[round % 2];
            node.kill().await;
            node.restart().await;
            stack.until_recorded(BETWEEN).await;
        }
    });
}

pub fn both_nodes_are_restarted_in_turn() {
    unnoticed(async |stack| {
        for round in 0..4 {
            let node = &mut stack.nodes[round % 2];
            node.terminate().await;
            node.restart().await;
            stack.until_recorded(BETWEEN).await;
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
        assert_nobody_saw_an_error(&history);
        let slowest = history.answered().into_iter().map(|(sent, ended)| ended - sent).max().unwrap();
        println!("the slowest answer took {slowest:?}");
        assert!(slowest > READ_TIMEOUT, "nobody met the node that hung");
        assert!(slowest < READ_TIMEOUT + SLACK);
    });
}

pub fn postgres_is_killed() {
    block_on(async {
        let (mut durable, database) = Durable::start().await;
        let mut stack = Stack::start(database).await;
        let mut moments = None;
        let history = stack
            .proved(Mix::default(), async |stack, begun| {
                let killed = begun.elapsed();
                durable.kill();
                sleep(OUTAGE).await;
                durable.restart(&mut stack.database).await;
                moments = Some((killed, begun.elapsed()));
            })
            .await;
        let (killed, back) = moments.unwrap();
        let answered = history.answered();
        let first = answered.iter().map(|(_, ended)| *ended).filter(|ended| *ended > back).min().unwrap();
        println!("the first answer came {:?} after Postgres was back", first - back);
        assert!(first - back < BACK_MAX, "{:?}", first - back);
        let failed = history.failed();
        assert!(failed.iter().any(|failed| failed.sent > killed), "nobody noticed");
        let slowest = failed.iter().max_by_key(|failed| failed.ended - failed.sent).unwrap();
        println!("the slowest refusal took {:?}", slowest.ended - slowest.sent);
        assert!(slowest.ended - slowest.sent < Duration::from_secs(1) + SLACK, "{slowest:?}");
        for failed in &failed {
            assert!(failed.why.contains("503 "), "{failed:?}");
            assert!(failed.sent < back + BACK_MAX, "it fails still: {failed:?}");
        }
        // It goes after its nodes, so that their last words are not about it.
        drop(stack);
        drop(durable);
    });
}

pub fn nginx_is_reloaded() {
    unnoticed(async |stack| {
        for _ in 0..5 {
            stack.nginx.as_ref().unwrap().reload().await;
            stack.until_recorded(BETWEEN).await;
        }
    });
}

pub fn clients_leave_right_after_sending() {
    block_on(async {
        let mut stack = Stack::start(Database::shared().await).await;
        let mix = Mix { leaving: 60, ..Mix::default() };
        let history = stack.proved(mix, async |_, _| sleep(Duration::from_secs(3)).await).await;
        assert_nobody_saw_an_error(&history);
        assert!(history.count(Outcome::Unknown) > 0, "nobody left for good");
    });
}

pub fn answers_of_postgres_are_cut_off() {
    block_on(async {
        let database = Database::shared().await;
        let (door, postgres) = (database.door(), database.socket());
        let cut = Cut::start(&door, &postgres, 1);
        let mut stack = Stack::start(database).await;
        let history = stack
            .proved(Mix::default(), async |_, begun: Instant| {
                cut.cutting.store(true, Ordering::Relaxed);
                while cut.cuts.load(Ordering::Relaxed) < 30 {
                    assert!(begun.elapsed() < crate::node::PATIENCE, "nothing is cut");
                    sleep(crate::node::LOOK_EVERY).await;
                }
                cut.cutting.store(false, Ordering::Relaxed);
            })
            .await;
        println!("{} answers were cut off", cut.cuts.load(Ordering::Relaxed));
        for failed in history.failed() {
            assert!(failed.why.contains("503 "), "{failed:?}");
        }
    });
}
