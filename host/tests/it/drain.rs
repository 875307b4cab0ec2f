//! The end of a node: requests in flight are answered, no new ones are accepted, and the node logs how it ended.

use std::time::{Duration, Instant};

use galo::develop::build::Profile;
use galo::drain::Outcome;
use http::Method;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::Program;
use crate::harness::{Connection, TestDatabase, TestNode, handlers, request, transacao};

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_answered_with_connection_close() {
    // Given a call that waits for a lock, an idle connection and a drain, when the lock is released, then the call is
    // answered 200 with `Connection: close`, the idle one is closed, nobody can connect, and the drain was graceful.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let (address, admin) = (node.address(), node.admin_address());
    let mut idle = Connection::open(&address).await;
    idle.send(Method::GET, "/clientes/1/extrato", "").await.unwrap();
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let metrics = std::sync::Arc::clone(&node.running.node.metrics);
    let in_flight = tokio::spawn({
        let address = address.clone();
        async move { request(&address, Method::POST, "/clientes/1/transacoes", transacao(1, "c", "x")).await }
    });
    while metrics.in_flight.get() < 1 {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::spawn(node.stop());
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(idle.send(Method::GET, "/clientes/1/extrato", "").await.is_err());
    let ready = request(&admin, Method::GET, "/ready", "").await;
    assert_eq!((ready.status.as_u16(), ready.text()), (503, "draining\n"));
    lock.commit().await.unwrap();
    let answer = in_flight.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
    assert_eq!(stopped.await.unwrap(), Outcome::Graceful);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_does_not_hold_the_drain_up() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let head = "POST /clientes/1/transacoes HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The node sends 100 Continue when it waits for the body.
    let mut proceed = [0; 25];
    stream.read_exact(&mut proceed).await.unwrap();
    assert_eq!(&proceed, b"HTTP/1.1 100 Continue\r\n\r\n");
    let begun = Instant::now();
    assert_eq!(node.stop().await, Outcome::Graceful);
    assert!(begun.elapsed() < galo::limits::DRAIN_GRACE);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_the_drain_off_and_is_logged() {
    // Given a drain that waits for a call, when a second signal comes, then the program ends at once, without success.
    let database = TestDatabase::new().await;
    let mut program = Program::serve(&database, handlers(Profile::Release));
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let mut stream = TcpStream::connect(&program.listen).await.unwrap();
    let body = transacao(1, "c", "x");
    let head = format!("POST /clientes/1/transacoes HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    database.until_a_call_waits_for_a_lock().await;
    program.signal(Signal::SIGTERM);
    program.wait_for("draining");
    program.signal(Signal::SIGTERM);
    assert!(!program.wait().success());
    program.wait_for("drain cut off by a second signal");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_drains_on_sigterm_and_logs_it() {
    let database = TestDatabase::new().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut program = Program::serve(&database, handlers(Profile::Release));
        assert_eq!(request(&program.listen, Method::GET, "/clientes/1/extrato", "").await.status, 200);
        let begun = Instant::now();
        program.signal(signal);
        let status = program.wait();
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(status.success(), "{status} {}", program.log());
        program.wait_for("drained, everything in flight was answered");
    }
}
