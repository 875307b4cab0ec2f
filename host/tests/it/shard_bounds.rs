//! What a shard that is down may cost: bounds of time, each held against the same node before the shard was down, so
//! that they hold on a busy machine too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use nix::sys::signal::Signal;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

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
        let mut due = interval(PACE);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        // Not all at once.
        sleep(PACE / 20 * u32::try_from(client).unwrap() + Duration::from_millis(1) * u32::try_from(number).unwrap())
            .await;
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

/// So many in a thousand took at most this.
fn percentile(answers: &[Answered], thousandths: usize, of: &[i32]) -> Duration {
    let mut took: Vec<_> = answers.iter().filter(|one| of.contains(&one.client)).map(|one| one.took).collect();
    took.sort();
    took[(took.len() * thousandths / 1000).min(took.len() - 1)]
}

#[tokio::test(flavor = "multi_thread")]
async fn experiment() {
    let mut sharded = Sharded::of(2).await;
    let node = sharded.node().await;
    load(&node, WINDOW).await;
    for round in 0..5 {
        let calm = load(&node, WINDOW).await;
        let dead = tokio::join!(load(&node, WINDOW), async {
            sleep(Duration::from_millis(100)).await;
            sharded.shards[1].signal(Signal::SIGKILL);
        });
        let dead = dead.0;
        let later = load(&node, WINDOW).await;
        for (name, answers) in [("calm", &calm), ("dead", &dead), ("later", &later)] {
            let p = |n, of: &[i32]| percentile(answers, n, of);
            println!(
                "{round} {name}: first p50 {:?} p99 {:?} max {:?}; second p50 {:?} p99 {:?} max {:?}; {} of {} 503",
                p(500, &FIRST),
                p(990, &FIRST),
                p(1000, &FIRST),
                p(500, &SECOND),
                p(990, &SECOND),
                p(1000, &SECOND),
                answers.iter().filter(|a| a.status == 503 && a.retry_after).count(),
                answers.len()
            );
            println!(
                "   others failed {}",
                answers.iter().filter(|a| FIRST.contains(&a.client) && a.status != 200).count()
            );
        }
        sharded.shards[1].stop();
        sharded.shards[1].start_again();
        let begun = Instant::now();
        crate::database::until_status(&node, "/clientes/3/extrato", 200, Duration::from_secs(20)).await;
        println!("back after {:?}", begun.elapsed());
    }
    let _ = AtomicBool::new(false).load(Ordering::Relaxed);
}
