//! More than a node takes: requests are shed quickly, connections wait outside, and running out of file descriptors is
//! survived.

use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::poll;
use galo::build::Profile;
use galo::config::Settings;
use galo::contract::Value;
use galo::limits;
use http::Method;

use crate::cli::{Program, wait_until};
use crate::harness::{Connection, GALO, TestDatabase, TestNode, handlers, settings, transacao};

#[tokio::test(flavor = "multi_thread")]
async fn beyond_in_flight_max_requests_are_shed_and_then_served_again() {
    // Given a node that admits 2, and 2 calls that wait for a lock, when more come, then they get 503 at once; when the
    // lock is gone, then the 2 are answered and so is the next.
    let database = TestDatabase::new().await;
    let node = TestNode::with(&database, Settings { in_flight_max: 2, ..settings(handlers(Profile::Release)) }).await;
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let held = async { join_all((0..2).map(|_| node.post("/clientes/1/transacoes", transacao(1, "c", "x")))).await };
    let shed = async {
        while node.running.node.metrics.in_flight.get() < 2 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        let answers = join_all((0..20).map(|_| node.get("/clientes/2/extrato"))).await;
        for answer in &answers {
            assert_eq!((answer.status.as_u16(), answer.text()), (503, r#"{"error":"indisponivel"}"#));
            assert_eq!(answer.header("retry-after"), "1");
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
        lock.commit().await.unwrap();
    };
    let (held, ()) = tokio::join!(held, shed);
    assert!(held.iter().all(|answer| answer.status == 200), "{held:?}");
    assert_eq!(node.get("/clientes/2/extrato").await.status, 200);
    assert_eq!(node.running.node.metrics.shed.get(), 20);
    assert_eq!(node.running.node.metrics.in_flight.get(), 0);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_too_many_for_its_row_is_shed_and_counted() {
    // Given as many calls as may wait behind one that waits for a lock, when a request comes for the same row, then it
    // gets 503 at once, and counts as shed; when the lock is gone, then the next one is answered.
    let database = TestDatabase::new().await;
    let node = TestNode::with(&database, settings(handlers(Profile::Release))).await;
    let inner = &node.running.node;
    let handler = {
        let table = inner.registry.table();
        let (handler, _) = table.routes.find(&Method::POST, "/clientes/1/transacoes").unwrap();
        Arc::clone(handler)
    };
    let procedure = handler.procedure("realizar_transacao").unwrap();
    let call = || {
        let arguments = [Value::Integer(1), Value::Integer(1)].into_iter();
        let arguments = arguments.chain([Value::Text("c".to_owned()), Value::Text("x".to_owned()), Value::Null]);
        Box::pin(inner.database.call(procedure, arguments.collect()))
    };
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let mut calls = vec![call()];
    assert!(poll!(&mut calls[0]).is_pending());
    database.until_a_call_waits_for_a_lock().await;
    for _ in 0..limits::KEY_CALLS_MAX {
        let mut waiting = call();
        assert!(poll!(&mut waiting).is_pending());
        calls.push(waiting);
    }
    let begun = Instant::now();
    assert_eq!(node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await.status, 503);
    assert!(begun.elapsed() < Duration::from_millis(500));
    assert_eq!(inner.metrics.shed.get(), 1);
    lock.commit().await.unwrap();
    let recorded = join_all(calls).await.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(recorded >= 1);
    assert_eq!(node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await.status, 200);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_connections_max_a_connection_waits_for_its_turn() {
    let database = TestDatabase::new().await;
    let node = TestNode::with(&database, Settings { connections_max: 1, ..settings(handlers(Profile::Release)) }).await;
    let mut first = Connection::open(&node.address()).await;
    assert_eq!(first.send(Method::GET, "/clientes/1/extrato", "").await.unwrap().status, 200);
    let address = node.address();
    let second = tokio::spawn(async move {
        Connection::open(&address).await.send(Method::GET, "/clientes/1/extrato", "").await.unwrap().status
    });
    // The first connection is still served while the second waits.
    for _ in 0..20 {
        assert_eq!(first.send(Method::GET, "/clientes/1/extrato", "").await.unwrap().status, 200);
    }
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(second.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_file_descriptors_is_survived() {
    // Given a node that may open 64 files, when 100 clients connect, then it says so once and goes on; when they have
    // gone, then it serves.
    let database = TestDatabase::new().await;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\"", GALO, "serve", "--pool-connections", "2"]);
    let node = Program::serve_with(command, &database, handlers(Profile::Release));
    let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(&node.listen).unwrap()).collect();
    node.wait_for("cannot accept, pausing between tries");
    drop(idle);
    node.wait_for("accepting again");
    wait_until("it serves again", || {
        let mut stream = TcpStream::connect(&node.listen).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /clientes/1/extrato HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.0 200")
    });
}
