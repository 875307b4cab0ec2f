//! A database that runs but does not serve as it should: one that became a standby, one that gives too few connections,
//! one that is far from the node or silent. Also that connections are renewed.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use galo::config::{Secret, Settings};
use galo::contract::Value;
use galo::database::{self, Database, Target};
use galo::develop::build::Profile;
use galo::develop::postgres::SUPERUSER;
use galo::metrics::Metrics;
use galo::serve;
use galo_testing::database::{DATABASE, SERVICE_ROLE};
use nix::sys::signal::Signal;
use tokio::net::TcpListener;
use tokio_postgres::NoTls;
use tokio_postgres::config::Host;

use crate::database::until_ready_is;
use crate::fixture::calling;
use crate::harness::{
    Guests, PATIENCE, TestDatabase, TestNode, checkout, connect, engine, galo, granted, handlers, settings, transacao,
};
use crate::postgres::{Far, OwnPostgres};

/// How long a node may take to recover once the database is right again.
const RIGHT_AGAIN_MAX: Duration = Duration::from_secs(5);

async fn credit(node: &TestNode) -> u16 {
    node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await.status.as_u16()
}

async fn until_credited(node: &TestNode, within: Duration) {
    let begun = Instant::now();
    while credit(node).await != 200 {
        assert!(begun.elapsed() < within, "no transaction within {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn start(url: &str, settings: &Settings) -> TestNode {
    let target = Target::parse(&Secret::new(url)).unwrap();
    TestNode { running: serve::start(settings, &target, engine()).await.unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_leaves_a_primary_that_became_a_standby() {
    // Given a node on a primary that has become a standby, when its address leads to the new primary, then transactions
    // succeed again within five seconds; before that the node is not ready.
    let mut old = OwnPostgres::start().await;
    old.stop();
    let new = old.copy();
    old.start_again();
    let node = old.node().await;
    assert_eq!(credit(&node).await, 200);

    old.become_standby();
    until_ready_is(&node, 503, Duration::from_secs(5)).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!((credit(&node).await, node.admin("/ready").await.status.as_u16()), (503, 503));
    }

    old.lead_to(&new);
    until_credited(&node, RIGHT_AGAIN_MAX).await;
    assert_eq!(node.admin("/ready").await.text(), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_the_one_that_takes_writes_is_used() {
    // Given a standby and a primary in one URL, when the primary stops and the standby is promoted, then transactions
    // succeed again within five seconds.
    let mut first = OwnPostgres::start().await;
    first.stop();
    let mut second = first.copy();
    first.become_standby();
    let url = format!(
        "host={},{} user={SERVICE_ROLE} dbname={DATABASE} target_session_attrs=read-write",
        first.host(),
        second.host()
    );
    let node = start(&url, &settings(handlers(Profile::Release))).await;
    assert_eq!(credit(&node).await, 200);

    second.stop();
    first.promote().await;
    until_credited(&node, RIGHT_AGAIN_MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_enough_for_handlers_that_only_read() {
    let mut own = OwnPostgres::start().await;
    let owner = connect(&own.url(SUPERUSER, DATABASE)).await;
    let um = "CREATE FUNCTION um() RETURNS integer STABLE LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION um() TO galo";
    owner.batch_execute(um).await.unwrap();
    drop(owner);
    own.become_standby();
    let guests = Guests::new().add("um", &calling("um"), "procedures = [\"um\"]");
    let node = start(&own.url(SERVICE_ROLE, DATABASE), &settings(guests.folder.path())).await;
    assert_eq!(node.get("/um").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_silent_does_not_hold_the_next_one_up() {
    let database = TestDatabase::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (folder, name) = place(&database);
    let port = silent.local_addr().unwrap().port();
    let url = format!("host=127.0.0.1,{folder} port={port},5432 user={SERVICE_ROLE} dbname={name}");
    let begun = Instant::now();
    let node = start(&url, &settings(handlers(Profile::Release))).await;
    // The silent host costs a second four times: for the first check, the catalogue, the calls and the batches.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(credit(&node).await, 200);
}

/// The folder of the socket, and the name of a test's database.
fn place(database: &TestDatabase) -> (String, String) {
    let config: tokio_postgres::Config = database.service_url().parse().unwrap();
    let [Host::Unix(folder)] = config.get_hosts() else { panic!("a test's database is on a unix socket") };
    (folder.display().to_string(), config.get_dbname().unwrap().to_owned())
}

async fn allow(database: &TestDatabase, connections: i32) {
    let sql = format!("ALTER DATABASE {} CONNECTION LIMIT {connections}", place(database).1);
    database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_short_serves_and_reports_it() {
    // Given a database that gives fewer connections than the pool of four, the batches, the probe and the catalogue
    // need, when a node starts, then it serves with those it has; when there are more again, then it has all of them
    // within five seconds.
    for allowed in [1, 3, 4, 5] {
        let database = TestDatabase::new().await;
        allow(&database, allowed).await;
        let node = TestNode::start(&database).await;
        for _ in 0..20 {
            assert_eq!(credit(&node).await, 200, "with {allowed} connections");
        }
        if allowed < 5 {
            // Wait until the start has closed the connection on which it queried the catalogue.
            let expected = format!("ready, with {allowed} of 5 database connections: ");
            let begun = Instant::now();
            loop {
                let ready = node.admin("/ready").await;
                if ready.status == 200 && ready.text().starts_with(&expected) {
                    break;
                }
                assert!(begun.elapsed() < RIGHT_AGAIN_MAX, "{}", ready.text());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let metrics = node.admin("/metrics").await;
            let sum = |what: &str| -> i32 {
                let name = format!("galo_pool_connections_{what}{{");
                let lines = metrics.text().lines().filter(|line| line.starts_with(&name));
                lines.map(|line| line.rsplit(' ').next().unwrap().parse::<i32>().unwrap()).sum()
            };
            assert_eq!((sum("wanted"), sum("open")), (5, allowed), "{}", metrics.text());
        }
        allow(&database, -1).await;
        let begun = Instant::now();
        while node.admin("/ready").await.text() != "ready\n" {
            assert!(begun.elapsed() < RIGHT_AGAIN_MAX, "{}", node.admin("/ready").await.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_somebody_else_has_taken_are_not_missed_by_the_rest() {
    // Given a node whose connections end one by one while the database gives no new ones, then the others serve.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    allow(&database, 0).await;
    let owner = database.owner().await;
    for left in (1..=3).rev() {
        let backends = database.backends().await;
        owner.query("SELECT pg_terminate_backend($1)", &[&backends[0]]).await.unwrap();
        // A call may have used the connection when it ended.
        until_credited(&node, Duration::from_secs(1)).await;
        for _ in 0..10 {
            let status = credit(&node).await;
            assert!(status == 200, "{status} with at least {left} connections left");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_renewed_and_no_request_notices() {
    let database = TestDatabase::new().await;
    let age = Duration::from_millis(400);
    let settings = Settings { connection_age_max: age, ..settings(handlers(Profile::Release)) };
    let node = TestNode::with(&database, settings).await;
    let first = database.backends().await;
    let begun = Instant::now();
    // The connections of the catalogue and of the probe are not renewed.
    while database.backends().await.iter().filter(|pid| first.contains(pid)).count() > 2 {
        let asked = Instant::now();
        assert_eq!(credit(&node).await, 200);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        assert!(begun.elapsed() < age + 8 * RIGHT_AGAIN_MAX, "a connection is never renewed");
    }
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_pool_whose_room_somebody_else_took_is_renewed_all_the_same() {
    // Given a database at its limit of connections, when the pool closes an old one to renew it and somebody else takes
    // the free one, then the others are renewed in their turn.
    let database = TestDatabase::new().await;
    let age = Duration::from_millis(200);
    let pool = Arc::new(Database::new(&database.target(), 3, &Metrics::new()).renewed_after(age));
    pool.start(Vec::new()).await.unwrap();
    allow(&database, 3).await;
    let looked_after = Arc::clone(&pool);
    let caretaker = tokio::spawn(async move { looked_after.look_after().await });
    // Takes the first free connection, and holds it.
    let begun = Instant::now();
    let _taken = loop {
        assert!(begun.elapsed() < PATIENCE, "no connection becomes free");
        if let Ok((client, connection)) = tokio_postgres::connect(&database.service_url(), NoTls).await {
            tokio::spawn(connection);
            break client;
        }
        tokio::task::yield_now().await;
    };
    let first = database.backends().await;
    while database.backends().await.iter().all(|pid| first.contains(pid)) {
        assert!(begun.elapsed() < PATIENCE, "the connections that are left are never renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    caretaker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_falls_silent_before_there_is_a_probe_is_found_out() {
    // Given a Postgres that falls silent before the first probe, with every connection in a call, then the pool is not
    // ready, long before a new connection could have timed out.
    let own = OwnPostgres::start().await;
    let owner = connect(&own.url(SUPERUSER, DATABASE)).await;
    let um = "CREATE FUNCTION um() RETURNS integer LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION um() TO galo";
    owner.batch_execute(um).await.unwrap();
    let url = format!("{} connect_timeout=60", own.url(SERVICE_ROLE, DATABASE));
    let pool = Arc::new(Database::new(&Target::parse(&Secret::new(url)).unwrap(), 2, &Metrics::new()));
    let um = Arc::new(pool.describe(&granted("um", None)).await.unwrap());
    pool.start(vec![Arc::clone(&um)]).await.unwrap();
    own.signal(Signal::SIGSTOP);
    let calls = join_all((0..2).map(|_| pool.call(&um, Vec::new())));
    let found_out = async {
        // Both have their connections.
        tokio::task::yield_now().await;
        let begun = Instant::now();
        tokio::select! {
            () = pool.look_after() => false,
            found = async {
                while pool.is_ready() && begun.elapsed() < PATIENCE / 2 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                !pool.is_ready()
            } => found,
        }
    };
    let (calls, found_out) = tokio::join!(calls, found_out);
    own.signal(Signal::SIGCONT);
    assert!(calls.iter().all(Result::is_err));
    assert!(found_out, "the pool is still ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_far_from_its_database_starts_and_serves() {
    // Given round trips of 60, 200 and 400 ms, when a node starts, then it serves; when the connection is cut, then a
    // request still gets a 503 within a second.
    let database = TestDatabase::new().await;
    let (folder, name) = place(&database);
    for ms in [60, 200, 400] {
        let far = Far::start(folder.as_ref(), Duration::from_millis(ms)).await;
        let url = format!("host=127.0.0.1 port={} user={SERVICE_ROLE} dbname={name}", far.port);
        let begun = Instant::now();
        let node = start(&url, &settings(handlers(Profile::Release))).await;
        println!("{ms} ms of round trip: ready after {:?}", begun.elapsed());
        for _ in 0..5 {
            assert_eq!(credit(&node).await, 200, "{ms} ms");
        }
        assert_eq!(node.admin("/ready").await.text(), "ready\n", "{ms} ms");
        // Wait for a few probes.
        tokio::time::sleep(galo::limits::POOL_PROBE_INTERVAL * 3).await;
        assert_eq!(credit(&node).await, 200, "{ms} ms");
        far.cut();
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(credit(&node).await, 503, "{ms} ms");
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
    }
    database.assert_ledger_holds().await;
}

#[tokio::test]
async fn the_connect_timeout_of_the_url_is_used() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let target = |seconds: u32| {
        let url = format!("host=127.0.0.1 port={port} user=galo dbname=x connect_timeout={seconds}");
        Target::parse(&Secret::new(url)).unwrap()
    };
    for seconds in [1, 2] {
        let begun = Instant::now();
        let error = database::apply(&target(seconds), &checkout().sql()).await.unwrap_err().to_string();
        assert!(error.ends_with(&format!("no answer within {seconds}000 ms")), "{error}");
        assert_eq!(begun.elapsed().as_secs(), u64::from(seconds));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_succeed_logs_the_first_cause_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("host=127.0.0.1 port={} user=galo dbname=x", silent.local_addr().unwrap().port());
    let mut standby = OwnPostgres::start().await;
    standby.become_standby();
    for (url, cause) in [
        (silent.clone(), "no answer yet"),
        (standby.url(SERVICE_ROLE, DATABASE), "it does not take writes: it is a standby"),
        ("host=/nowhere user=galo".to_owned(), "No such file"),
    ] {
        let mut command = galo();
        let any = "127.0.0.1:0";
        command.args(["serve", "--listen", any, "--admin", any, "--handlers"]).arg(handlers(Profile::Release));
        let mut child = command.env("DATABASE_URL", url).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = tokio::task::block_in_place(|| lines.map_while(Result::ok).find(|line| line.contains("waiting")));
        let took = begun.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        let line = line.unwrap();
        assert!(line.contains("waiting for the database") && line.contains(cause), "{line}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_the_timeouts_of_the_node_not_of_its_role() {
    let database = TestDatabase::new().await;
    let name = place(&database).1;
    for setting in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]
    {
        database.execute(&format!("ALTER ROLE galo IN DATABASE {name} SET {setting} = '100ms'")).await;
    }
    database
        .execute(
            "CREATE FUNCTION prazos() RETURNS TABLE (a text, b text, c text, d text) LANGUAGE sql AS
             $$SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
                      current_setting('idle_in_transaction_session_timeout'), current_setting('idle_session_timeout')$$;
             GRANT EXECUTE ON FUNCTION prazos() TO galo",
        )
        .await;
    let pool = Arc::new(Database::new(&database.target(), 1, &Metrics::new()));
    let prazos = Arc::new(pool.describe(&granted("prazos", None)).await.unwrap());
    pool.start(vec![Arc::clone(&prazos)]).await.unwrap();
    let rows = pool.call(&prazos, Vec::new()).await.unwrap();
    let shown = rows.values.iter().map(|value| match value {
        Value::Text(text) => text.as_str(),
        _ => "no text",
    });
    assert_eq!(shown.collect::<Vec<_>>(), ["2s", "1s", "2s", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_postgres_admits_galo_to_no_database_of_the_cluster_itself() {
    let own = OwnPostgres::start().await;
    connect(&own.url(SERVICE_ROLE, DATABASE)).await;
    for database in ["postgres", "template1"] {
        let error = tokio_postgres::connect(&own.url(SERVICE_ROLE, database), NoTls).await.err().unwrap();
        assert!(error.as_db_error().unwrap().message().contains("pg_hba.conf rejects"), "{error:?}");
    }
}
