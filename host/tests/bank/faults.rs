//! What may happen to a stack, each under load and while handlers are swapped. In every case the ledger is proved;
//! what a client may see differs.

use galo_e2e::client::KEPT_CONNECTION_CLOSED;
use galo_e2e::history::{History, Outcome};
use galo_e2e::plan::Mix;
use galo_e2e::proof::Law;
use nix::sys::signal::Signal;
use tokio::time::{Duration, sleep};

use crate::can_fail;
use crate::cut::Cut;
use crate::postgres::{Database, Durable};
use crate::stack::{Stack, block_on, shown};

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

/// How long a client waits for its 503: limits.rs has 0.8 s for a connection.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

/// Answers that are lost.
const CUTS: usize = 60;

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
        let errors = stack.nginx.as_ref().unwrap().errors();
        println!("nginx turned to the other node {errors} times");
        assert!(errors > 0, "no request was on its way to a node that died");
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
                outage(&mut durable, stack).await;
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
        assert!(slowest.ended - slowest.sent < REFUSAL_MAX, "{slowest:?}");
        for failed in &failed {
            assert!(failed.why.contains("503 "), "{failed:?}");
            assert!(failed.sent < back + BACK_MAX, "it fails still: {failed:?}");
        }
    });
}

/// The test above can fail: a Postgres that says «committed» before it is on the disk loses what it said.
pub fn a_postgres_that_forgets_is_caught() {
    block_on(async {
        let (mut durable, database) = Durable::start().await;
        database.execute("ALTER ROLE galo SET synchronous_commit = off").await;
        let mut stack = Stack::start(database).await;
        let fault = async |stack: &mut Stack, _| outage(&mut durable, stack).await;
        let (_, violations) = stack.run(Mix::default(), fault).await;
        assert!(violations.iter().any(|violation| violation.law == Law::NothingLost), "{}", shown(&violations));
    });
}

async fn outage(durable: &mut Durable, stack: &mut Stack) {
    durable.kill();
    sleep(OUTAGE).await;
    durable.restart(&mut stack.database).await;
}

pub fn nginx_is_reloaded() {
    block_on(async {
        let mut stack = Stack::start(Database::shared().await).await;
        let history = stack
            .proved(Mix::default(), async |stack, _| {
                for _ in 0..5 {
                    stack.nginx.as_ref().unwrap().reload().await;
                    stack.until_recorded(BETWEEN).await;
                }
            })
            .await;
        // Workers that retire close idle connections, and a request may just have been on its way on one.
        let failed = history.failed();
        assert!(failed.iter().all(|failed| failed.why.contains(KEPT_CONNECTION_CLOSED)), "{failed:#?}");
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
        let cut = Cut::start(&database.door(), &database.socket(), 1);
        let mut stack = Stack::start(database).await;
        let history = stack.proved(Mix::default(), async |_, _| cut.answers(CUTS).await).await;
        for failed in history.failed() {
            assert!(failed.why.contains("503 "), "{failed:?}");
        }
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
        assert!(violations.iter().any(|violation| violation.law == Law::NothingTwice), "{}", shown(&violations));
    });
}
