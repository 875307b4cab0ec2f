//! More requests than a node admits: they are shed quickly. Connections are in `doors.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::poll;
use galo::config::Settings;
use galo::contract::Value;
use galo::develop::build::Profile;
use galo::limits;
use http::Method;

use crate::harness::{TestDatabase, TestNode, handlers, settings, transacao};

#[tokio::test(flavor = "multi_thread")]
async fn beyond_in_flight_max_requests_are_shed_and_then_served_again() {
    // Given a node that admits 2, and 2 calls that wait for a lock, when more arrive, then they get 503 at once; when
    // the lock is released, then the 2 are answered and so is the next.
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
            let unavailable = r#"{"error":"unavailable","message":"serviço indisponível"}"#;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, unavailable));
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
    // Given as many calls as may wait behind one that waits for a lock, when a request arrives for the same row, then
    // it gets 503 at once, and counts as shed; when the lock is released, then the next one is answered.
    let database = TestDatabase::new().await;
    let node = TestNode::with(&database, settings(handlers(Profile::Release))).await;
    let inner = &node.running.node;
    let handler = {
        let table = inner.registry.table();
        let ((handler, _), _) = table.routes.find(&Method::POST, "/clientes/1/transacoes").unwrap();
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
