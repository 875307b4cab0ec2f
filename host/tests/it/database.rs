//! A database that is unavailable, slow, changed or wrong, and the values that go to it and come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use galo::config::Settings;
use galo::contract::Value;
use galo::database::Database;
use galo::develop::build::Profile;
use galo::develop::postgres::SUPERUSER;
use galo::limits;
use galo::metrics::Metrics;
use galo_testing::database::DATABASE;
use nix::sys::signal::Signal;

use crate::fixture::calling;
use crate::harness::{Guests, TestDatabase, TestNode, checkout, connect, granted, handlers, settings, transacao};
use crate::postgres::OwnPostgres;

/// Waits until the node's answer to `GET path` has this status.
pub async fn until_status(node: &TestNode, path: &str, status: u16, within: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = node.get(path).await;
        if answer.status == status {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < within, "still {} after {within:?}", answer.status);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_falls_silent_gives_503_at_once_when_that_was_noticed() {
    // Given a Postgres whose processes are all stopped, when a probe has noticed that, then calls are refused at once,
    // and stay refused; when the processes continue, then requests are served within two seconds.
    let own = OwnPostgres::start().await;
    let node = own.node().await;
    own.signal(Signal::SIGSTOP);
    until_ready_is(&node, 503, Duration::from_secs(3)).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        assert_eq!(node.get("/clientes/1/extrato").await.status, 503);
        assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
        assert_eq!(node.admin("/ready").await.status, 503);
    }
    own.signal(Signal::SIGCONT);
    until_status(&node, "/clientes/1/extrato", 200, Duration::from_secs(2)).await;
}

pub async fn until_ready_is(node: &TestNode, status: u16, within: Duration) {
    let begun = Instant::now();
    while node.admin("/ready").await.status != status {
        assert!(begun.elapsed() < within, "/ready is not {status} after {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_database_gives_503_within_a_second_and_service_when_it_is_back() {
    // Given a node on its own Postgres, when Postgres stops, then every request gets a 503 within a second; when it is
    // back, then requests are served within two seconds, and nothing that was acknowledged is missing.
    let mut own = OwnPostgres::start().await;
    let node = own.node().await;
    assert_eq!(node.post("/clientes/1/transacoes", transacao(5, "c", "x")).await.status, 200);

    own.stop();
    for _ in 0..5 {
        let begun = Instant::now();
        let answers = join_all((0..10).map(|_| node.post("/clientes/1/transacoes", transacao(1, "c", "x")))).await;
        for answer in answers {
            assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"), "{}", answer.text());
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    until_ready_is(&node, 503, Duration::from_secs(2)).await;
    assert_eq!(node.admin("/ready").await.text(), "database unavailable\n");

    own.start_again();
    let took = until_status(&node, "/clientes/1/extrato", 200, Duration::from_secs(2)).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(node.admin("/ready").await.status, 200);
    assert_eq!(node.get("/clientes/1/extrato").await.json()["saldo"]["total"], 5);
    let owner = connect(&own.url(SUPERUSER, DATABASE)).await;
    assert_eq!(owner.query("SELECT FROM rinha.transacoes", &[]).await.unwrap().len(), 1);
    let check = std::fs::read_to_string(checkout().root.join("sql/check/ledger.sql")).unwrap();
    assert!(owner.query(&check, &[]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_killed_are_replaced() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    for _ in 0..3 {
        assert!(database.kill_connections().await > 0);
        until_status(&node, "/clientes/1/extrato", 200, Duration::from_secs(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_pool_gives_503_within_a_second() {
    // Given a pool of one connection that waits for a lock, and calls that wait for the connection, when one more call
    // comes, then it gets its 503 in time.
    let database = TestDatabase::new().await;
    let settings = Settings { pool_connections: 1, ..settings(handlers(Profile::Release)) };
    let node = TestNode::with(&database, settings).await;
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let held = join_all((0..4).map(|_| node.post("/clientes/1/transacoes", transacao(1, "c", "x"))));
    let late = async {
        while node.running.node.metrics.in_flight.get() < 4 {
            tokio::task::yield_now().await;
        }
        database.until_a_call_waits_for_a_lock().await;
        let begun = Instant::now();
        let answer = node.get("/clientes/2/extrato").await;
        let took = begun.elapsed();
        // A busy database is not unavailable: the node stays ready through several probes.
        while begun.elapsed() < limits::POOL_PROBE_INTERVAL * 2 {
            assert_eq!(node.admin("/ready").await.status, 200);
        }
        (answer.status.as_u16(), took)
    };
    let (held, (status, took)) = tokio::join!(held, late);
    assert_eq!(status, 503);
    assert!(took < Duration::from_secs(1), "{took:?}");
    // Postgres ended the calls that waited for the lock, and none of them is recorded.
    assert!(held.iter().all(|answer| answer.status == 503), "{held:?}");
    lock.rollback().await.unwrap();
    assert_eq!(database.ledger_rows(1).await, 0);
    assert_eq!(node.get("/clientes/2/extrato").await.status, 200);
    database.assert_ledger_holds().await;
}

/// A database with a function `um()` that the service's role may execute, and a node whose guest calls it on `/um`.
async fn um(body: &str) -> (TestDatabase, TestNode) {
    let database = TestDatabase::new().await;
    database.execute(&create(body)).await;
    let guests = Guests::new().add("um", &calling("um"), "procedures = [\"um\"]");
    let node = TestNode::guests(&database, &guests).await;
    (database, node)
}

fn create(body: &str) -> String {
    format!("CREATE FUNCTION um() RETURNS {body}; GRANT EXECUTE ON FUNCTION um() TO galo")
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_under_a_running_node_costs_no_request() {
    // Given prepared statements, when the procedure gets another result type, then Postgres refuses the old plan
    // (0A000) on every connection, and no client notices.
    let (database, node) = um("integer LANGUAGE sql AS 'SELECT 1'").await;
    for body in
        ["TABLE (a text, b bigint) LANGUAGE sql AS $$SELECT 'x', 2$$", "bigint LANGUAGE sql AS 'SELECT 3::bigint'"]
    {
        database.execute(&format!("BEGIN; DROP FUNCTION um(); {}; COMMIT", create(body))).await;
        let answers = join_all((0..16).map(|_| node.get("/um"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_changed_its_shape_is_not_called() {
    // Given a procedure that records something, when it gets a column of a type that the contract does not support,
    // then it is not called at all: a 500 must not hide a recorded call.
    let (database, node) = um("integer LANGUAGE sql AS 'SELECT 1'").await;
    database.execute("CREATE TABLE feito (x int)").await;
    let boxes = "box[] LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO feito VALUES (1); SELECT NULL::box[]'";
    database.execute(&format!("BEGIN; DROP FUNCTION um(); {}; COMMIT", create(boxes))).await;
    for _ in 0..8 {
        assert_eq!(node.get("/um").await.status, 500);
    }
    let done: i64 = database.owner().await.query_one("SELECT count(*) FROM feito", &[]).await.unwrap().get(0);
    assert_eq!(done, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_is_dropped_does_not_affect_the_others() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    database.execute("DROP FUNCTION cliente_existe(integer)").await;
    database.kill_connections().await;
    until_status(&node, "/clientes/1/extrato", 200, Duration::from_secs(2)).await;
    assert_eq!(node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await.status, 200);
    assert_eq!(node.post("/clientes/1/transacoes", "").await.status, 500);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_are_gone_are_prepared_again() {
    // Given a procedure that deallocates its connection's prepared statements (26000 for the next call), when it is
    // called repeatedly, then every call is answered.
    let (_database, node) = um("integer LANGUAGE plpgsql AS $$BEGIN DEALLOCATE ALL; RETURN 1; END$$").await;
    for _ in 0..10 {
        assert_eq!(node.get("/um").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_raises_costs_one_request_a_500() {
    let (database, node) = um("integer LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$").await;
    let answer = node.get("/um").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (500, r#"{"error":"internal_error"}"#));
    database.execute("CREATE OR REPLACE FUNCTION um() RETURNS integer LANGUAGE sql AS 'SELECT 1'").await;
    assert_eq!(node.get("/um").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_takes_too_long_is_ended_and_answered_503() {
    let (_database, node) = um("integer LANGUAGE sql AS 'SELECT 1 FROM pg_sleep(30)'").await;
    let begun = Instant::now();
    assert_eq!(node.get("/um").await.status, 503);
    let took = begun.elapsed();
    assert!(took >= galo::limits::STATEMENT_TIMEOUT && took < galo::limits::CALL_TIMEOUT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_a_call_may_have_are_a_500_and_the_node_goes_on() {
    let (database, node) =
        um("SETOF text LANGUAGE sql AS $$SELECT repeat('x', 1000) FROM generate_series(1, 2000)$$").await;
    assert_eq!(node.get("/um").await.status, 500);
    database.execute("CREATE OR REPLACE FUNCTION um() RETURNS SETOF text LANGUAGE sql AS $$SELECT 'x'$$").await;
    for _ in 0..8 {
        assert_eq!(node.get("/um").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_cannot_be_granted_is_refused_with_its_line() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE FUNCTION dois() RETURNS integer LANGUAGE sql AS 'SELECT 2';
             CREATE FUNCTION dois(integer) RETURNS integer LANGUAGE sql AS 'SELECT 2';
             CREATE FUNCTION proibida() RETURNS integer LANGUAGE sql AS 'SELECT 2';
             REVOKE ALL ON FUNCTION proibida() FROM PUBLIC;
             CREATE FUNCTION conta() RETURNS box[] LANGUAGE sql AS 'SELECT NULL::box[]';
             CREATE FUNCTION soma(box[], x box[]) RETURNS integer LANGUAGE sql AS 'SELECT 1';
             CREATE PROCEDURE faz() LANGUAGE sql AS ''",
        )
        .await;
    let names = ["nenhuma", "dois", "proibida", "conta", "soma", "faz"];
    let guests = names
        .iter()
        .fold(Guests::new(), |guests, name| guests.add(name, &calling(name), &format!("procedures = [\"{name}\"]")));
    let refusal = guests.refusal(&database).await;
    for (index, expected) in [
        "the database has no procedure `nenhuma`",
        "the procedure `dois` is overloaded: grant one of `dois()`, `dois(integer)`",
        "the role `galo` may not execute `proibida`",
        "`conta` has a column `conta` of type box[], which the contract has no value for: return it as text or jsonb",
        "`soma` has a parameter 1 of type box[], which the contract has no value for: take it as text or jsonb; \
         a parameter 2 `x` of type box[], which",
        "`faz` is not a plain function but a procedure",
    ]
    .iter()
    .enumerate()
    {
        let line = format!("galo.toml:{}: {}: {expected}", 1 + index * 5, names[index]);
        assert!(refusal.contains(&line), "`{line}` is missing in:\n{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_back_as_they_went_out() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE FUNCTION eco(a boolean, b smallint, c integer, d bigint, e real, f double precision, g text,
                 h varchar, i bytea, j timestamptz, k timestamp, l uuid, m jsonb)
             RETURNS TABLE (a2 boolean, b2 smallint, c2 integer, d2 bigint, e2 real, f2 double precision, g2 text,
                 h2 varchar, i2 bytea, j2 timestamptz, k2 timestamp, l2 uuid, m2 jsonb)
             LANGUAGE sql AS 'SELECT a, b, c, d, e, f, g, h, i, j, k, l, m';
             GRANT EXECUTE ON FUNCTION eco TO galo",
        )
        .await;
    let pool = Arc::new(Database::new(&database.target(), 1, &Metrics::new()));
    let eco = Arc::new(pool.describe(&granted("eco", None)).await.unwrap());
    pool.start(vec![Arc::clone(&eco)]).await.unwrap();
    let text = |text: &str| Value::Text(text.to_owned());
    let values = || {
        vec![
            Value::Boolean(true),
            Value::Integer(i16::MIN.into()),
            Value::Integer(i32::MAX.into()),
            Value::Integer(i64::MIN),
            Value::Float(0.5),
            Value::Float(-1.0e300),
            text("çã😀"),
            text(""),
            Value::Bytes(vec![0, 255]),
            Value::Timestamp(1_705_458_881_217_753),
            Value::Timestamp(-1),
            text("0190163d-8694-739b-aea5-966c26f8ad91"),
            Value::Json("{\"a\": 1}".to_owned()),
        ]
    };
    let shown = |values: &[Value]| format!("{values:?}");
    let rows = pool.call(&eco, values()).await.unwrap();
    assert_eq!(shown(&rows.values), shown(&values()));
    assert_eq!(rows.columns[..2], ["a2", "b2"]);
    let nulls = || (0..13).map(|_| Value::Null).collect::<Vec<_>>();
    assert_eq!(shown(&pool.call(&eco, nulls()).await.unwrap().values), shown(&nulls()));
    assert!(eco.check(&values()[1..]).unwrap_err().contains("takes 13 arguments, 12 given"));
}
