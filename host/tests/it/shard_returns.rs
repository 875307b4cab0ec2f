//! A shard that is back: sessions of the router that were connected to it before have dead connections, which PL/Proxy
//! finds out only from a statement that it sends over them. No client is answered with 503 for that.

use std::time::Duration;

use futures_util::future::join_all;
use galo::develop::postgres::SUPERUSER;
use galo_testing::database::{DATABASE, SERVICE_ROLE};
use http::StatusCode;
use tokio::time::{Instant, sleep};

use crate::database::until_status;
use crate::harness::{TestNode, connect, transacao};
use crate::shards::Sharded;

const READ: &str = "/clientes/3/extrato";
const WRITE: &str = "/clientes/3/transacoes";

/// So many calls of a shard that are not batched go on as many sessions of the router.
const AT_ONCE: i64 = 2;

/// The second of two shards, and a node.
struct Second {
    sharded: Sharded,
    node: TestNode,
    owner: tokio_postgres::Client,
}

impl Second {
    async fn start() -> Self {
        let sharded = Sharded::of(2).await;
        let node = sharded.node().await;
        let owner = connect(&sharded.shards[1].url(SUPERUSER, DATABASE)).await;
        Self { sharded, node, owner }
    }

    /// Reads at once: a lock holds all of them up until each has a session of its own, or until one has failed.
    async fn read_at_once(&self) -> Vec<StatusCode> {
        self.owner.batch_execute("BEGIN; LOCK TABLE rinha.clientes").await.unwrap();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND wait_event_type = 'Lock'";
        let release = async {
            let begun = Instant::now();
            let waiting = async || self.owner.query_one(waiting, &[&SERVICE_ROLE]).await.unwrap().get::<_, i64>(0);
            while waiting().await < AT_ONCE && begun.elapsed() < Duration::from_millis(500) {
                sleep(Duration::from_millis(5)).await;
            }
            self.owner.batch_execute("ROLLBACK").await.unwrap();
        };
        let (answers, ()) = tokio::join!(join_all((0..AT_ONCE).map(|_| self.node.get(READ))), release);
        answers.into_iter().map(|answer| answer.status).collect()
    }

    /// How many sessions of the service it has, other than those of questions.
    async fn sessions(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
        self.owner.query_one(sql, &[&SERVICE_ROLE]).await.unwrap().get(0)
    }

    /// Ends all sessions of the router, as an outage does, and waits until the node has noticed one and found the shard
    /// back.
    async fn interrupt(&self) {
        let sql = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = $1";
        self.owner.query_one(sql, &[&SERVICE_ROLE]).await.unwrap();
        assert_eq!(self.node.get(READ).await.status, 503);
        until_status(&self.node, READ, 200, Duration::from_secs(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connections_of_all_sessions_are_tried_before_calls_are_sent_over_them() {
    // Given several sessions of the router that are connected to a shard, for calls and for batches, when these
    // connections are lost and one call has found that out, then all calls on the other sessions are answered.
    let second = Second::start().await;
    assert!(second.read_at_once().await.iter().all(|status| *status == 200));
    assert_eq!(second.node.post(WRITE, transacao(1, "c", "x")).await.status, 200);
    assert!(second.sessions().await > AT_ONCE, "{} sessions", second.sessions().await);
    second.interrupt().await;
    let written = second.node.post(WRITE, transacao(1, "c", "x")).await;
    assert_eq!(written.status, 200, "{}", written.text());
    assert_eq!(second.read_at_once().await, [StatusCode::OK; 2]);
    assert_eq!(second.node.admin("/ready").await.text(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn stubs_of_an_earlier_version_are_served_as_before() {
    // Given a router without the function that asks over the cluster of batches, when a shard is back, then batches are
    // sent without that question.
    let second = Second::start().await;
    second.sharded.apply("DROP FUNCTION galo_shards.accepts_batches").await;
    let write = async || second.node.post(WRITE, transacao(1, "c", "x")).await.status;
    assert_eq!((write().await, second.node.get(READ).await.status), (StatusCode::OK, StatusCode::OK));
    second.interrupt().await;
    let begun = Instant::now();
    while write().await != 200 {
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
