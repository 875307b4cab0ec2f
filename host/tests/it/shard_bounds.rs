//! What a shard that is down may cost: bounds of time, each held against the same node before the shard was down, so
//! that they hold on a busy machine too.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use nix::sys::signal::Signal;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::database::until_status;
use crate::harness::{Connection, TestNode, transacao};
use crate::shards::Sharded;

/// The clients of the first of two shards, and of the second.
const FIRST: [i32; 3] = [1, 2, 5];
const SECOND: [i32; 2] = [3, 4];

/// Connections of each client.
const CONNECTIONS: usize = 4;

/// Between two requests on a connection: far below what the machine can do, so that a queue has another cause.
const PACE: Duration = Duration::from_millis(40);

/// How long the node is looked at, with the shard and without.
const WINDOW: Duration = Duration::from_millis(1500);

/// What else a busy machine does falls into one of two windows at random, and what the node does into each.
const ROUNDS: usize = 9;

/// In so many of them the bounds hold.
const HOLDS: usize = 2;

/// An answer, and how long after it was due it came.
struct Answered {
    client: i32,
    status: u16,
    retry_after: bool,
    took: Duration,
}

/// Sends requests at their pace on kept connections, whatever the answers take, until the window ends.
async fn load(node: &TestNode, window: Duration) -> Vec<Answered> {
    let ends = Instant::now() + window;
    let clients = FIRST.iter().chain(&SECOND).flat_map(|client| (0..CONNECTIONS).map(move |number| (*client, number)));
    let connections = clients.map(|(client, number)| async move {
        let (mut answered, mut connection) = (Vec::new(), Connection::open(&node.address()).await);
        // Not all at once.
        let place = u32::try_from(client * 4 + i32::try_from(number).unwrap()).unwrap();
        let mut due = interval_at(Instant::now() + PACE * place / 24, PACE);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while Instant::now() < ends {
            let at = due.tick().await;
            let answer = if answered.len() % 10 == 0 {
                connection.send(Method::GET, &format!("/clientes/{client}/extrato"), "").await
            } else {
                let path = format!("/clientes/{client}/transacoes");
                connection.send(Method::POST, &path, transacao(1, "c", "x")).await
            };
            let answer = answer.unwrap();
            answered.push(Answered {
                client,
                status: answer.status.as_u16(),
                retry_after: answer.header("retry-after") == "1",
                took: at.elapsed(),
            });
        }
        answered
    });
    join_all(connections).await.into_iter().flatten().collect()
}

/// A window in which every request is answered. After a shard was down, one of its clients has been seen to get a 503
/// later. The cause is not known; it may be a connection of the router that its next call finds to be dead.
async fn calm(node: &TestNode) -> Vec<Answered> {
    for _ in 0..3 {
        let answers = load(node, WINDOW).await;
        let failed: Vec<_> = answers.iter().filter(|one| one.status != 200).collect();
        if failed.is_empty() {
            return answers;
        }
        let is_expected = |one: &&&Answered| one.status == 503 && one.retry_after && SECOND.contains(&one.client);
        let others: Vec<_> =
            failed.iter().filter(|one| !is_expected(one)).map(|one| (one.client, one.status)).collect();
        assert!(others.is_empty(), "{others:?}");
    }
    panic!("still 503 after three windows");
}

/// So many in a thousand took at most this.
fn percentile(answers: &[Answered], thousandths: usize, of: &[i32]) -> Duration {
    let mut took: Vec<_> = answers.iter().filter(|one| of.contains(&one.client)).map(|one| one.took).collect();
    took.sort();
    took[(took.len() * thousandths / 1000).min(took.len() - 1)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_killed_is_not_felt_by_other_clients() {
    // Given a steady load on two shards, when one is killed, then its clients get 503 with Retry-After at once, other
    // clients get no error and wait no longer than before; when it is back, then so are its clients within 2 s.
    const AT_ONCE: Duration = Duration::from_millis(50);
    const P99_MAX: f64 = 1.2;
    let mut sharded = Sharded::of(2).await;
    let node = sharded.node().await;
    load(&node, WINDOW).await;
    let (mut ratios, mut refusals) = (Vec::new(), Vec::new());
    let holds = |values: &[f64], most: f64| values.iter().filter(|value| **value <= most).count() >= HOLDS;
    while ratios.len() < ROUNDS && !(holds(&ratios, P99_MAX) && holds(&refusals, AT_ONCE.as_secs_f64())) {
        let calm = calm(&node).await;
        sharded.shards[1].signal(Signal::SIGKILL);
        let down = load(&node, WINDOW).await;
        for answer in &down {
            let expected = if FIRST.contains(&answer.client) { (200, false) } else { (503, true) };
            assert_eq!((answer.status, answer.retry_after), expected, "client {}", answer.client);
        }
        let p99 = |answers: &[Answered], of: &[i32]| percentile(answers, 990, of);
        ratios.push(p99(&down, &FIRST).as_secs_f64() / p99(&calm, &FIRST).as_secs_f64());
        refusals.push(p99(&down, &SECOND).as_secs_f64());
        sharded.shards[1].stop();
        sharded.shards[1].start_again();
        until_status(&node, "/clientes/3/extrato", 200, Duration::from_secs(2)).await;
    }
    assert!(holds(&ratios, P99_MAX), "p99 of other clients, to that before: {ratios:.2?}");
    assert!(holds(&refusals, AT_ONCE.as_secs_f64()), "p99 of refusals in seconds: {refusals:.3?}");
}
