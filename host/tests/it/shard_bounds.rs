//! What a shard that is down may cost: bounds of time, each held against the same node before the shard was down, so
//! that they hold on a busy machine too.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use nix::sys::signal::Signal;
use tokio::task::block_in_place;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::database::until_status;
use crate::harness::{Connection, TestNode, transacao};
use crate::postgres::OwnPostgres;
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
    due: Instant,
    status: u16,
    retry_after: bool,
    took: Duration,
}

/// Sends requests at their pace on kept connections, whatever the answers take, until the window ends. Each connection
/// has a task of its own: what the test does meanwhile delays none.
async fn load(node: &TestNode, window: Duration) -> Vec<Answered> {
    let ends = Instant::now() + window;
    let clients = FIRST.iter().chain(&SECOND).flat_map(|client| (0..CONNECTIONS).map(move |number| (*client, number)));
    let connections = clients.map(|(client, number)| tokio::spawn(requests(node.address(), client, number, ends)));
    let connections: Vec<_> = connections.collect();
    join_all(connections).await.into_iter().flat_map(Result::unwrap).collect()
}

/// Those of one of a client's connections.
async fn requests(address: String, client: i32, number: usize, ends: Instant) -> Vec<Answered> {
    let (mut answered, mut connection) = (Vec::new(), Connection::open(&address).await);
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
            due: at,
            status: answer.status.as_u16(),
            retry_after: answer.header("retry-after") == "1",
            took: at.elapsed(),
        });
    }
    answered
}

/// A window in which every request is answered.
async fn calm(node: &TestNode, window: Duration) -> Vec<Answered> {
    let answers = load(node, window).await;
    let failed: Vec<_> = answers
        .iter()
        .enumerate()
        .filter(|(_, one)| one.status != 200)
        .map(|(n, one)| (n, one.client, one.status))
        .collect();
    if !failed.is_empty() {
        let events = node.admin("/api/events").await;
        panic!("of {} answers: {failed:?}; {}", answers.len(), events.text());
    }
    answers
}

/// How long these took that are of these clients, the shortest first.
fn took<'a>(answers: impl IntoIterator<Item = &'a Answered>, of: &[i32]) -> Vec<Duration> {
    let of_these = answers.into_iter().filter(|one| of.contains(&one.client));
    let mut took: Vec<_> = of_these.map(|one| one.took).collect();
    took.sort();
    took
}

/// So many in a thousand took at most this.
fn percentile(sorted: &[Duration], thousandths: usize) -> Duration {
    sorted[(sorted.len() * thousandths / 1000).min(sorted.len() - 1)]
}

/// A window with both shards, and one at whose beginning a Postgres is killed.
struct Pair {
    calm: Vec<Answered>,
    down: Vec<Answered>,
    killed: Instant,
}

impl Pair {
    /// Each is so long. The shard is back afterwards.
    async fn of(sharded: &mut Sharded, node: &TestNode, window: Duration) -> Self {
        let pair = Self::with_killed(&mut sharded.shards[1], node, window).await;
        let killed = pair.killed;
        for answer in &pair.down {
            let is_expected = match (answer.status, answer.retry_after) {
                (200, _) => FIRST.contains(&answer.client) || answer.due <= killed,
                (status, retry_after) => (status, retry_after) == (503, true) && SECOND.contains(&answer.client),
            };
            assert!(is_expected, "{} for client {}", answer.status, answer.client);
        }
        until_status(node, "/clientes/3/extrato", 200, Duration::from_secs(2)).await;
        pair
    }

    /// The same with a Postgres that the node may or may not know; it runs again afterwards.
    async fn with_killed(postgres: &mut OwnPostgres, node: &TestNode, window: Duration) -> Self {
        let calm = calm(node, window).await;
        let kill = async {
            sleep(PACE).await;
            block_in_place(|| postgres.signal(Signal::SIGKILL));
            Instant::now()
        };
        let (down, killed) = tokio::join!(load(node, window), kill);
        postgres.stop();
        postgres.start_again();
        Self { calm, down, killed }
    }

    /// The 99th percentile of other clients, to that with both shards.
    fn ratio(&self) -> f64 {
        let p99 = |answers| percentile(&took(answers, &FIRST), 990).as_secs_f64();
        p99(&self.down) / p99(&self.calm)
    }

    /// Without the moment of the kill, which costs a machine CPU whatever the node does: a dozen processes end, and
    /// this test looks for them among all others.
    fn after(&self) -> impl Iterator<Item = &Answered> {
        self.down.iter().filter(|one| one.due > self.killed + Duration::from_millis(100))
    }

    /// How long refusals took.
    fn refusals(&self) -> Vec<Duration> {
        took(self.down.iter().filter(|one| one.status == 503), &SECOND)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_killed_is_not_felt_by_other_clients() {
    // Given a steady load on two shards, when one is killed, then its clients get 503 with Retry-After at once, other
    // clients get no error and wait no longer than before; when it is back, then so are its clients within 2 s, and
    // from then on without an error.
    const AT_ONCE: Duration = Duration::from_millis(50);
    const P99_MAX: f64 = 1.2;
    let mut sharded = Sharded::of(2).await;
    let node = sharded.node().await;
    load(&node, WINDOW).await;
    let (mut ratios, mut refusals) = (Vec::new(), Vec::new());
    let holds = |values: &[f64], most: f64| values.iter().filter(|value| **value <= most).count() >= HOLDS;
    while ratios.len() < ROUNDS && !(holds(&ratios, P99_MAX) && holds(&refusals, AT_ONCE.as_secs_f64())) {
        let pair = Pair::of(&mut sharded, &node, WINDOW).await;
        ratios.push(pair.ratio());
        refusals.push(percentile(&pair.refusals(), 990).as_secs_f64());
    }
    calm(&node, WINDOW).await;
    assert!(holds(&ratios, P99_MAX), "p99 of other clients, to that before: {ratios:.2?}");
    assert!(holds(&refusals, AT_ONCE.as_secs_f64()), "p99 of refusals in seconds: {refusals:.3?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for five minutes, on a machine that does nothing else"]
async fn the_bounds_are_measured() {
    // Given the same load, when the shard is killed again and again, and in turn a shard of another installation, which
    // costs the machine as much and the node nothing, then what each of them costs is printed.
    const PAIRS: usize = 20;
    const LONG: Duration = Duration::from_secs(2);
    let mut sharded = Sharded::of(2).await;
    let node = sharded.node().await;
    let mut elsewhere = Sharded::of(2).await;
    let other_node = elsewhere.node().await;
    load(&node, LONG).await;
    let (mut sharded_pairs, mut bystanders): (Vec<Pair>, Vec<Pair>) = (Vec::new(), Vec::new());
    while sharded_pairs.len() < PAIRS {
        sharded_pairs.push(Pair::of(&mut sharded, &node, LONG).await);
        // Its connections are there and have been used, and the node that is measured is as warm as before.
        load(&other_node, LONG).await;
        load(&node, LONG).await;
        let pair = Pair::with_killed(&mut elsewhere.shards[1], &node, LONG).await;
        assert!(pair.down.iter().all(|answer| answer.status == 200));
        bystanders.push(pair);
        until_status(&other_node, "/clientes/3/extrato", 200, Duration::from_secs(2)).await;
        load(&node, LONG).await;
    }
    for (killed, pairs) in [("a shard", &sharded_pairs), ("a shard of another installation", &bystanders)] {
        print(pairs, "both shards up", |pair| pair.calm.iter().collect());
        print(pairs, &format!("{killed} killed"), |pair| pair.down.iter().collect());
        print(pairs, "from 100 ms after it", |pair| pair.after().collect());
    }
    let mut refusals: Vec<_> = sharded_pairs.iter().flat_map(Pair::refusals).collect();
    refusals.sort();
    println!("{} refusals: {}", refusals.len(), figures(&refusals));
}

/// How long other clients waited, in all windows together: a window alone has too few that waited long.
fn print<'a>(pairs: &'a [Pair], when: &str, of: impl Fn(&'a Pair) -> Vec<&'a Answered>) {
    let all = took(pairs.iter().flat_map(of), &FIRST);
    println!("{} requests, {when}: {}", all.len(), figures(&all));
}

fn figures(sorted: &[Duration]) -> String {
    let [half, most, all] = [500, 990, 1000].map(|thousandths| percentile(sorted, thousandths));
    format!("p50 {half:.2?}, p99 {most:.2?}, at most {all:.2?}")
}
