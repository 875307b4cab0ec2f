//! Shards: a router with the stubs of `galo shards stubs` in front of several Postgres, set up as `deploy/shards` does
//! it, and a node in front of the router.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use galo::config::Secret;
use galo::database::Target;
use galo::develop::build::Profile;
use galo::develop::postgres::SUPERUSER;
use galo::serve;
use galo_testing::database::{DATABASE, SERVICE_ROLE};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{GALO, TestNode, checkout, connect, engine, handlers, settings, transacao};
use crate::postgres::OwnPostgres;

/// Of two shards, by the hash of a client.
const OF_SHARD: [&[i32]; 2] = [&[1, 2, 5], &[3, 4]];

/// Shards, a router in front of them, and handlers whose manifest has as many partitions.
pub struct Sharded {
    pub shards: Vec<OwnPostgres>,
    router: OwnPostgres,
    handlers: TempDir,
}

impl Sharded {
    /// Two shards.
    async fn start() -> Self {
        Self::of(2).await
    }

    /// So many.
    pub async fn of(count: usize) -> Self {
        let mut shards = Vec::new();
        for number in 0..count {
            let shard = OwnPostgres::start().await;
            connect(&shard.url(SUPERUSER, DATABASE)).await.batch_execute(&part(number, count)).await.unwrap();
            shards.push(shard);
        }
        let (router, handlers) = (OwnPostgres::empty().await, sharded_handlers(count));
        let sharded = Self { shards, router, handlers };
        sharded.apply(&sharded.stubs(&[]).await.unwrap()).await;
        sharded
    }

    /// What `galo shards stubs` prints, or the last line of why it does not.
    async fn stubs(&self, more: &[&str]) -> Result<String, String> {
        let mut command = Command::new(GALO);
        command.args(["shards", "stubs", "--handlers"]).arg(self.handlers.path()).args(more);
        command.args(self.shards.iter().map(|shard| format!("host={} dbname={DATABASE}", shard.host())));
        let output = command.env("DATABASE_URL", self.shards[0].url(SUPERUSER, DATABASE)).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    pub async fn apply(&self, sql: &str) {
        connect(&self.router.url(SUPERUSER, DATABASE)).await.batch_execute(sql).await.unwrap();
    }

    fn target(&self) -> Target {
        Target::parse(&Secret::new(self.router.url(SERVICE_ROLE, DATABASE))).unwrap()
    }

    pub async fn node(&self) -> TestNode {
        let settings = settings(self.handlers.path());
        TestNode { running: serve::start(&settings, &self.target(), engine()).await.unwrap() }
    }

    /// The error with which a node does not start.
    async fn refusal(&self, target: &Target) -> String {
        match serve::start(&settings(self.handlers.path()), target, engine()).await {
            Ok(_) => panic!("the node started"),
            Err(error) => format!("{error:#}"),
        }
    }

    /// Rows of each client's ledger on each shard.
    async fn rows(&self) -> Vec<Vec<(i32, i64)>> {
        let sql =
            "SELECT id, (SELECT count(*) FROM rinha.transacoes WHERE cliente_id = id) FROM rinha.clientes ORDER BY 1";
        let mut rows = Vec::new();
        for shard in &self.shards {
            let owner = connect(&shard.url(SUPERUSER, DATABASE)).await;
            rows.push(owner.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect());
        }
        rows
    }
}

fn part(number: usize, shards: usize) -> String {
    galo_testing::shards::part(&checkout(), number, shards).unwrap()
}

/// The project's handlers with a manifest for so many partitions.
fn sharded_handlers(partitions: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    galo_testing::shards::handlers(&checkout(), handlers(Profile::Release), folder.path(), partitions).unwrap();
    folder
}

fn extrato(client: i32) -> String {
    format!("/clientes/{client}/extrato")
}

/// Waits until the node answers a client with this status.
async fn until_status(node: &TestNode, client: i32, status: u16, within: Duration) -> Duration {
    crate::database::until_status(node, &extrato(client), status, within).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_is_on_one_shard_and_gets_its_own_answers() {
    // Given two shards that have seeded only their own clients, when all clients send transactions at once, then each
    // is answered with its own limit, and its rows are on its shard.
    let sharded = Sharded::start().await;
    let node = sharded.node().await;
    let limits = [100_000, 80_000, 1_000_000, 10_000_000, 500_000];
    let calls = (0..400).map(|number: usize| {
        let (node, client) = (&node, number % 5);
        async move {
            let answer = node.post(&format!("/clientes/{}/transacoes", client + 1), transacao(1, "c", "x")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["limite"], limits[client]);
        }
    });
    join_all(calls).await;
    let expected: Vec<Vec<_>> = OF_SHARD.iter().map(|of| of.iter().map(|client| (*client, 80)).collect()).collect();
    assert_eq!(sharded.rows().await, expected);
    for client in 1..=5 {
        let statement = node.get(&extrato(client)).await;
        assert_eq!(statement.json()["saldo"]["total"], 80, "{}", statement.text());
    }
    assert_eq!(node.get(&extrato(6)).await.status, 404);
    let metrics = node.admin("/metrics").await.text().to_owned();
    // Batches went: fewer statements than calls.
    let statements: u64 = (0..2)
        .map(|partition| {
            let name = format!("galo_shard_statements_total{{partition=\"{partition}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse::<u64>().unwrap()
        })
        .sum();
    assert!((2..300).contains(&statements), "{statements}");
    assert_eq!(node.admin("/ready").await.text(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_shards_have_the_clients_that_their_hash_decides() {
    // Given four shards and four lanes, when all clients send transactions at once, then each client is on the shard
    // that Postgres's own hash decides and on no other, its answers are its own, and no batch was refused.
    let sharded = Sharded::of(4).await;
    let node = sharded.node().await;
    let calls = (0..400).map(|number| {
        let node = &node;
        async move { node.post(&format!("/clientes/{}/transacoes", number % 5 + 1), transacao(1, "c", "x")).await }
    });
    assert!(join_all(calls).await.iter().all(|answer| answer.status == 200));
    for client in 1..=5 {
        let statement = node.get(&extrato(client)).await;
        assert_eq!(statement.json()["saldo"]["total"], 80, "{}", statement.text());
    }
    // By `SELECT hashint4(id) & 3`: no client is on the second shard.
    assert_eq!(sharded.rows().await, [vec![(5, 80)], vec![], vec![(1, 80), (2, 80)], vec![(3, 80), (4, 80)]]);
    let metrics = node.admin("/metrics").await.text().to_owned();
    let is_there = |line: &str| assert!(metrics.lines().any(|its| its == line), "{line}");
    is_there("galo_batches_broken_total 0");
    is_there("galo_shard_statements_total{partition=\"1\"} 0");
    (0..4)
        .for_each(|partition| is_there(&format!("galo_shard_statements_failed_total{{partition=\"{partition}\"}} 0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_down_costs_its_own_clients_only() {
    // Given a node on two shards, when one is stopped, then its clients get 503 with Retry-After at once, all others
    // are served, and the node stays ready and names the shard; when it is back, then so are its clients within 2 s.
    let mut sharded = Sharded::start().await;
    let node = sharded.node().await;
    assert_eq!(node.get(&extrato(3)).await.status, 200);
    sharded.shards[1].stop();
    until_status(&node, 3, 503, Duration::from_secs(1)).await;
    down(&node).await;
    sharded.shards[1].start_again();
    until_status(&node, 3, 200, Duration::from_secs(2)).await;
    assert_eq!(node.post("/clientes/4/transacoes", transacao(5, "c", "x")).await.status, 200);
    assert_eq!(node.admin("/ready").await.text(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_hangs_costs_its_own_clients_only() {
    // Given a node on two shards, when all processes of one stop, then within a second its clients get 503 at once, and
    // meanwhile as well as later all others are served; when they continue, then its clients are served within 2 s.
    let sharded = Sharded::start().await;
    let node = sharded.node().await;
    for client in 1..=5 {
        assert_eq!(node.get(&extrato(client)).await.status, 200);
    }
    sharded.shards[1].signal(Signal::SIGSTOP);
    let hung = (0..40).map(|_| node.get("/clientes/3/extrato"));
    let others = async {
        let (begun, mut took) = (Instant::now(), Vec::new());
        while begun.elapsed() < Duration::from_millis(1200) {
            let asked = Instant::now();
            assert_eq!(node.get(&extrato(1)).await.status, 200);
            took.push(asked.elapsed());
        }
        assert_quick(took);
        down(&node).await;
    };
    let (hung, ()) = tokio::join!(join_all(hung), others);
    assert!(hung.iter().all(|answer| answer.status == 503));
    sharded.shards[1].signal(Signal::SIGCONT);
    until_status(&node, 3, 200, Duration::from_secs(2)).await;
    assert_eq!(node.post("/clientes/3/transacoes", transacao(5, "c", "x")).await.status, 200);
    // The router has ended the sessions that waited for the shard.
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'galo' AND state = 'active'";
    let owner = connect(&sharded.router.url(SUPERUSER, DATABASE)).await;
    assert_eq!(owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// Asserts that requests did not wait for anything: half of them took at most 50 ms, on a busy machine too, and none as
/// long as a call waits for a connection.
fn assert_quick(mut took: Vec<Duration>) {
    took.sort();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    assert!(median < Duration::from_millis(50) && most < Duration::from_millis(700), "{median:?}, at most {most:?}");
}

/// Asserts that the second shard is down for its clients only.
async fn down(node: &TestNode) {
    let (mut refusals, mut others) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        for client in [3, 4] {
            let asked = Instant::now();
            let answer = node.get(&extrato(client)).await;
            refusals.push(asked.elapsed());
            let other = node.post(&format!("/clientes/{client}/transacoes"), transacao(1, "c", "x")).await;
            for answer in [answer, other] {
                assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"), "{}", answer.text());
            }
        }
        let asked = Instant::now();
        assert_eq!(node.get(&extrato(1)).await.status, 200);
        others.push(asked.elapsed());
        assert_eq!(node.post("/clientes/5/transacoes", transacao(1, "c", "x")).await.status, 200);
    }
    assert_quick(refusals);
    assert_quick(others);
    let ready = node.admin("/ready").await;
    assert_eq!(ready.status, 200);
    assert!(ready.text().starts_with("ready, with shard p1 of 2 unavailable: "), "{}", ready.text());
    let metrics = node.admin("/metrics").await.text().to_owned();
    for line in ["galo_shard_up{partition=\"0\"} 1", "galo_shard_up{partition=\"1\"} 0", "galo_database_up 1"] {
        assert!(metrics.lines().any(|its| its == line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_only_reads_costs_no_connection_of_the_router() {
    // Given a node on two shards, when one refuses writes (SQLSTATE 25006), as a standby or during a move, then its
    // clients get 503 and all others are served on the same connections; when it accepts writes, then its clients are
    // served again.
    let sharded = Sharded::start().await;
    let node = sharded.node().await;
    let send = async |client: i32| node.post(&format!("/clientes/{client}/transacoes"), transacao(1, "c", "x")).await;
    for client in 1..=5 {
        assert_eq!(send(client).await.status, 200);
    }
    let router = connect(&sharded.router.url(SUPERUSER, DATABASE)).await;
    let sessions = async || {
        let rows = router.query("SELECT pid FROM pg_stat_activity WHERE usename = 'galo'", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>()
    };
    let before = sessions().await;
    let shard = connect(&sharded.shards[1].url(SUPERUSER, DATABASE)).await;
    let read_only = async |value: &str| {
        shard.batch_execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).await.unwrap();
        shard.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    let until = async |status: u16| {
        let begun = Instant::now();
        while send(3).await.status != status {
            assert!(begun.elapsed() < Duration::from_secs(2), "not {status}");
        }
    };
    read_only("on").await;
    until(503).await;
    for _ in 0..20 {
        let answer = send(4).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"), "{}", answer.text());
        assert_eq!(send(1).await.status, 200);
        assert_eq!(node.admin("/ready").await.status, 200);
    }
    let after = sessions().await;
    assert!(before.iter().all(|pid| after.contains(pid)), "{before:?} {after:?}");
    read_only("off").await;
    until(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_on_a_shard_holds_up_its_own_client_only() {
    // Given a row that a transaction on a shard has locked, when its client sends transactions, then other clients of
    // the same shard and lane are served without delay.
    let sharded = Sharded::start().await;
    let node = sharded.node().await;
    let owner = connect(&sharded.shards[0].url(SUPERUSER, DATABASE)).await;
    owner.batch_execute("BEGIN; SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE").await.unwrap();
    let locked = (0..5).map(|_| node.post("/clientes/1/transacoes", transacao(1, "c", "x")));
    let others = async {
        for _ in 0..10 {
            let asked = Instant::now();
            assert_eq!(node.post("/clientes/2/transacoes", transacao(1, "c", "x")).await.status, 200);
            assert!(asked.elapsed() < Duration::from_millis(250), "{:?}", asked.elapsed());
        }
        owner.batch_execute("ROLLBACK").await.unwrap();
    };
    let (locked, ()) = tokio::join!(join_all(locked), others);
    assert!(
        locked.iter().all(|answer| answer.status == 200),
        "{:?}",
        locked.iter().map(|a| a.status).collect::<Vec<_>>()
    );
    assert_eq!(node.admin("/ready").await.text(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_on_which_everything_waits_leaves_connections_to_the_others() {
    // Given a shard whose table is locked, when more of its clients send transactions and read than the node has
    // connections for calls, then clients of the other shard are read without delay.
    let sharded = Sharded::start().await;
    let more = "INSERT INTO rinha.clientes (id, limite) SELECT n, 100 FROM generate_series(6, 65) AS n";
    for shard in &sharded.shards {
        connect(&shard.url(SUPERUSER, DATABASE)).await.batch_execute(more).await.unwrap();
    }
    let of_second: Vec<i32> = sharded.rows().await[1].iter().map(|(client, _)| *client).collect();
    assert!(of_second.len() > 20, "{of_second:?}");
    let node = sharded.node().await;
    let owner = connect(&sharded.shards[1].url(SUPERUSER, DATABASE)).await;
    owner.batch_execute("BEGIN; LOCK TABLE rinha.clientes").await.unwrap();
    let writes = of_second.iter().take(12).map(|client| {
        let node = &node;
        async move { node.post(&format!("/clientes/{client}/transacoes"), transacao(1, "c", "x")).await }
    });
    let reads = of_second.iter().skip(12).take(8).map(|client| {
        let node = &node;
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            node.get(&extrato(*client)).await
        }
    });
    let others = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(node.get(&extrato(1)).await.status, 200);
            assert!(asked.elapsed() < Duration::from_millis(250), "{:?}", asked.elapsed());
        }
        owner.batch_execute("ROLLBACK").await.unwrap();
    };
    let (writes, _, ()) = tokio::join!(join_all(writes), join_all(reads), others);
    // Those that found a place were answered when the table was free.
    assert!(writes.iter().any(|answer| answer.status == 200));
    assert_eq!(node.admin("/ready").await.text(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_only_on_the_router_that_its_manifest_expects() {
    // Given a router of two partitions, when a manifest has four or the database is a shard, then the node does not
    // start, and says what to do.
    let mut sharded = Sharded::start().await;
    sharded.handlers = sharded_handlers(4);
    let refusal = sharded.refusal(&sharded.target()).await;
    assert!(refusal.contains("the manifest has 4 partitions, and the router"), "{refusal}");
    assert!(refusal.contains("apply the output of `galo shards stubs`"), "{refusal}");
    let refusal = sharded.refusal(&sharded.shards[1].target(SERVICE_ROLE, DATABASE)).await;
    assert!(refusal.contains("is shard 1 itself: DATABASE_URL must name a router"), "{refusal}");
    // When the stubs are made anew and applied over the old ones, then it starts: two partitions are on each shard.
    sharded.apply(&sharded.stubs(&[]).await.unwrap()).await;
    let node = sharded.node().await;
    for client in 1..=5 {
        assert_eq!(node.get(&extrato(client)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stubs_are_refused_for_what_cannot_run_on_shards() {
    let sharded = Sharded::start().await;
    let manifest = sharded.handlers.path().join("galo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    for (from, to, expected) in [
        ("[shards]\npartitions = 2\nby = \"cliente_id\"\n", "", "has no section [shards]; add one with `partitions`"),
        (
            "by = \"cliente_id\"\n",
            "by = \"cliente_id\"\nprocedures = { extrato = \"cliente\" }\n",
            "`extrato` cannot run on shards: [shards] partitions it by `cliente`, and its parameters are cliente_id",
        ),
        (
            "by = \"cliente_id\"\n",
            "by = \"cliente_id\"\nprocedures = { transacao_por_chave = \"chave_\" }\n",
            "`transacao_por_chave` cannot run on shards",
        ),
    ] {
        std::fs::write(&manifest, text.replacen(from, to, 1)).unwrap();
        let refusal = sharded.stubs(&[]).await.unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
    }
    std::fs::write(&manifest, text).unwrap();
    let owner = connect(&sharded.shards[0].url(SUPERUSER, DATABASE)).await;
    owner.batch_execute("CREATE TYPE cor AS ENUM ('a'); DROP FUNCTION cliente_existe; CREATE FUNCTION cliente_existe(cliente_id integer, c cor DEFAULT 'a', OUT existe boolean) LANGUAGE sql AS 'SELECT true'").await.unwrap();
    let refusal = sharded.stubs(&[]).await.unwrap_err();
    assert!(
        refusal.contains("its signature has the type `cor`, and a router has only the types of Postgres"),
        "{refusal}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_several_partitions_is_refused_before_anything_runs() {
    // Given the stub of a batch form, when it is called with clients of two shards, then it raises, and no shard has
    // recorded anything.
    let sharded = Sharded::start().await;
    let service = connect(&sharded.router.url(SERVICE_ROLE, DATABASE)).await;
    let call = |clients: &str| {
        format!(
            "SELECT * FROM realizar_transacoes('{{1,2}}', '{clients}', '{{1,1}}', '{{c,c}}', '{{x,x}}', '{{NULL,NULL}}')"
        )
    };
    let error = service.simple_query(&call("{1,3}")).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22023", "{error}");
    assert!(sharded.rows().await.iter().flatten().all(|(_, rows)| *rows == 0));
    service.simple_query(&call("{1,5}")).await.unwrap();
    assert_eq!(sharded.rows().await[0], [(1, 1), (2, 0), (5, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_keeps_foreign_clients_out() {
    // Given a shard, when a migration seeds clients, then those of other shards are skipped; when the service would
    // create one, then it fails.
    let sharded = Sharded::start().await;
    let shard = connect(&sharded.shards[0].url(SUPERUSER, DATABASE)).await;
    let seeded =
        shard.execute("INSERT INTO rinha.clientes (id, limite) SELECT n, 1 FROM generate_series(6, 105) AS n", &[]);
    let seeded = seeded.await.unwrap();
    let foreign = "SELECT count(*) FROM rinha.clientes WHERE hashint4(id) & 1 <> 0";
    assert!((20..80).contains(&seeded), "{seeded}");
    assert_eq!(shard.query_one(foreign, &[]).await.unwrap().get::<_, i64>(0), 0);
    shard.batch_execute("GRANT USAGE ON SCHEMA rinha TO galo; GRANT INSERT ON rinha.clientes TO galo").await.unwrap();
    let service = connect(&sharded.shards[0].url(SERVICE_ROLE, DATABASE)).await;
    let error = service.batch_execute("INSERT INTO rinha.clientes (id, limite) VALUES (3, 1)").await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("belongs to another shard"), "{error}");
    // The script runs again, as after each migration.
    shard.batch_execute(&part(0, 2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_not_made_another_one() {
    // Given shard 0 of 2, when the script is run for shard 1, or for 4 shards, as with wrong lines in SHARDS, then it
    // is refused, and no client is deleted.
    let sharded = Sharded::start().await;
    let owner = connect(&sharded.shards[0].url(SUPERUSER, DATABASE)).await;
    let of_four = part(0, 4);
    for (sql, expected) in [
        (part(1, 2), "is shard 0, and not 1: are lines of SHARDS exchanged?"),
        (of_four, "one of 2 shards, and not of 4"),
    ] {
        let error = owner.batch_execute(&sql).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains(expected), "{error}");
        owner.batch_execute("ROLLBACK").await.unwrap();
    }
    let ids: Vec<_> = sharded.rows().await[0].iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, OF_SHARD[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_router_a_manifest_with_shards_uses_one_database() {
    // Given a developer's Postgres, when a node with the same manifest starts on it, then it serves.
    let own = OwnPostgres::start().await;
    let folder = sharded_handlers(2);
    let target = own.target(SERVICE_ROLE, DATABASE);
    let node = TestNode { running: serve::start(&settings(folder.path()), &target, engine()).await.unwrap() };
    assert_eq!(node.get(&extrato(3)).await.status, 200);
    assert!(!node.admin("/metrics").await.text().contains("galo_shard_up{"));
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_run_on_every_shard_and_across_them() {
    // Given two shards with transactions, when their proofs run, then they hold and the sums are printed; when a client
    // is on both shards, then the command fails and names it.
    let sharded = Sharded::start().await;
    let node = sharded.node().await;
    for client in [1, 3, 3] {
        assert_eq!(node.post(&format!("/clientes/{client}/transacoes"), transacao(7, "c", "x")).await.status, 200);
    }
    let prove = async || {
        let mut command = Command::new(GALO);
        command.args(["check", "--sql"]).arg(checkout().root.join("sql/check"));
        for shard in &sharded.shards {
            command.arg("--shard").arg(shard.url(SUPERUSER, DATABASE));
        }
        let output = command.output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (held, told) = prove().await;
    assert!(held, "{told}");
    for expected in [
        "ledger.sql on shard 0: holds",
        "ledger.sql on shard 1: holds",
        "across/clientes.sql: holds",
        "5 keys",
        "saldo: 7 + 14 = 21",
        "transacoes: 1 + 2 = 3",
        "all proofs hold",
    ] {
        assert!(told.contains(expected), "`{expected}` is missing in: {told}");
    }
    let owner = connect(&sharded.shards[0].url(SUPERUSER, DATABASE)).await;
    let twice = "ALTER TABLE rinha.clientes DISABLE TRIGGER ALL;
                 INSERT INTO rinha.clientes (id, limite) VALUES (3, 1);
                 INSERT INTO rinha.transacoes (cliente_id, seq, valor, tipo, descricao, realizada_em, saldo_apos)
                 VALUES (1, 5, 1, 'c', 'x', now(), 8)";
    owner.batch_execute(twice).await.unwrap();
    let (held, told) = prove().await;
    assert!(!held, "{told}");
    for expected in [
        "key 3 is on shard 0, and its hash decides shard 1",
        "key 3 is on shard 0 and on shard 1",
        "gap in seq 1 5 follows seq 1",
        "violations",
    ] {
        assert!(told.contains(expected), "`{expected}` is missing in: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_sets_up_shards_and_router_and_can_be_repeated() {
    // Given three empty Postgres, when `deploy/shards/set-up` has run, then a node on the router serves each client; a
    // second run changes nothing.
    let (shards, router) = ([OwnPostgres::empty().await, OwnPostgres::empty().await], OwnPostgres::empty().await);
    let handlers = sharded_handlers(2);
    let url = |own: &OwnPostgres| own.url(SUPERUSER, DATABASE);
    for _ in 0..2 {
        let mut script = Command::new(checkout().root.join("deploy/shards/set-up"));
        script.arg(handlers.path()).env("GALO", GALO).env("ROUTERS", url(&router));
        script.env("SHARDS", format!("{}\n{}", url(&shards[0]), url(&shards[1])));
        let output = script.output().await.unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains("shard 2 of 2: migrations") && told.ends_with("done: 2 shards, 1 routers\n"), "{told}");
    }
    let sharded = Sharded { shards: Vec::from(shards), router, handlers };
    let node = sharded.node().await;
    for client in 1..=5 {
        let answer = node.post(&format!("/clientes/{client}/transacoes"), transacao(1, "c", "x")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let expected: Vec<Vec<_>> = OF_SHARD.iter().map(|of| of.iter().map(|client| (*client, 1)).collect()).collect();
    assert_eq!(sharded.rows().await, expected);
}
