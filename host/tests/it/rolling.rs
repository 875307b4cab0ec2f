//! A rolling update with plain processes: nodes are replaced one after the other while clients send requests, each
//! choosing among the nodes that it knows. A client learns with a delay that a node is not ready, as from the endpoints
//! of a Kubernetes service. A node that lingers loses no request; one that does not linger loses some.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use galo::develop::build::Profile;
use http::Method;
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::cli::{Program, run};
use crate::harness::{Connection, TestDatabase, galo, handlers, request, transacao, until};

const EXTRATO: &str = "/clientes/1/extrato";

/// The nodes that clients know, and the results of their requests.
#[derive(Default)]
struct Service {
    endpoints: Mutex<Vec<String>>,
    turn: AtomicUsize,
    /// Requests that were answered 200, of each client.
    answered: [AtomicUsize; CLIENTS],
    failed: AtomicUsize,
    over: AtomicBool,
}

/// Half of them open a new connection for each request, the others keep theirs until a node closes it.
const CLIENTS: usize = 4;

impl Service {
    fn with(nodes: &[&Program]) -> Arc<Self> {
        let endpoints = Mutex::new(nodes.iter().map(|node| node.listen.clone()).collect());
        Arc::new(Self { endpoints, ..Self::default() })
    }

    /// The next node, in turn.
    fn next(&self) -> String {
        let endpoints = self.endpoints.lock().unwrap();
        endpoints[self.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len()].clone()
    }

    fn add(&self, node: &Program) {
        self.endpoints.lock().unwrap().push(node.listen.clone());
    }

    fn remove(&self, node: &Program) {
        self.endpoints.lock().unwrap().retain(|address| *address != node.listen);
    }

    fn clients(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        (0..CLIENTS).map(|number| tokio::spawn(client(Arc::clone(self), number))).collect()
    }

    /// Waits until each client has got this many more answers, or has failed as often.
    async fn rounds(&self, more: usize) {
        let done = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let before: Vec<_> = self.answered.iter().map(done).collect();
        let all = || self.answered.iter().zip(&before).all(|(now, before)| done(now) >= before + more);
        until("every client is answered", String::new, all).await;
    }
}

/// Sends requests, a read and a write in turn, until the test is over.
async fn client(service: Arc<Service>, number: usize) {
    let mut kept: Option<Connection> = None;
    while !service.over.load(Ordering::Relaxed) {
        let (method, path, body) = match service.answered[number].load(Ordering::Relaxed) % 2 {
            0 => (Method::GET, EXTRATO.to_owned(), String::new()),
            // Each client has its own row: none waits for another's.
            _ => (Method::POST, format!("/clientes/{}/transacoes", number + 1), transacao(1, "c", "x")),
        };
        let connection = match kept.take() {
            Some(connection) => Some(connection),
            None => Connection::try_open(&service.next()).await.ok(),
        };
        let answer = match connection {
            Some(mut connection) => connection.send(method, &path, body).await.ok().map(|answer| (connection, answer)),
            None => None,
        };
        match answer {
            Some((connection, answer)) if answer.status == 200 => {
                service.answered[number].fetch_add(1, Ordering::Relaxed);
                if number.is_multiple_of(2) && answer.header("connection") != "close" {
                    kept = Some(connection);
                }
            }
            _ => {
                service.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

fn node(database: &TestDatabase, linger: &str) -> Program {
    let mut command = galo();
    command.args(["serve", "--linger", linger]);
    Program::serve_with(command, database, handlers(Profile::Release))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_loses_nothing_when_nodes_linger() {
    let database = TestDatabase::new().await;
    let mut nodes = vec![node(&database, "3600"), node(&database, "3600")];
    let service = Service::with(&[&nodes[0], &nodes[1]]);
    let clients = service.clients();
    service.rounds(5).await;
    for _ in 0..2 {
        // Given a new node that is ready, when an old one gets SIGTERM,
        let new = node(&database, "3600");
        service.add(&new);
        let mut old = nodes.remove(0);
        nodes.push(new);
        old.signal(Signal::SIGTERM);
        old.wait_for("lingering: not ready, and new connections are still served");
        // then it is not ready, and reports that,
        let ready = request(&old.admin, Method::GET, "/ready", "").await;
        assert_eq!((ready.status.as_u16(), ready.text()), (503, "lingering\n"));
        assert_eq!(request(&old.admin, Method::GET, "/live", "").await.status, 200);
        // but a client that still knows it is served, and its connection is closed so that it comes back to another
        // node.
        let answer = request(&old.listen, Method::GET, EXTRATO, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
        service.rounds(10).await;
        // Once no client sends to it, it may drain.
        service.remove(&old);
        service.rounds(2).await;
        old.signal(Signal::SIGTERM);
        old.wait_for("a second signal ends the lingering");
        assert!(old.wait().success(), "{}", old.log());
        old.wait_for("drained, everything in flight was answered");
    }
    service.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(service.failed.load(Ordering::Relaxed), 0);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_fails_requests_when_nodes_do_not_linger() {
    // The failures that the test above rules out do occur here.
    let database = TestDatabase::new().await;
    let (mut old, other) = (node(&database, "0"), node(&database, "0"));
    let service = Service::with(&[&old, &other]);
    let clients = service.clients();
    service.rounds(5).await;
    old.signal(Signal::SIGTERM);
    assert!(old.wait().success());
    // Its clients learn of it later.
    service.rounds(10).await;
    service.remove(&old);
    service.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(service.failed.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lingers_for_its_configured_time_and_then_drains() {
    let database = TestDatabase::new().await;
    let mut node = node(&database, "1");
    let begun = Instant::now();
    node.signal(Signal::SIGINT);
    assert!(node.wait().success(), "{}", node.log());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    node.wait_for("drained, everything in flight was answered");
    assert!(TcpStream::connect(&node.listen).await.is_err());
}

#[test]
fn the_client_options_are_in_the_help_and_their_mistakes_are_reported_at_once() {
    let (success, help, _) = run(galo().args(["serve", "--help"]));
    assert!(success);
    for text in ["--idle-timeout", "GALO_LINGER", "--head-timeout", "--body-timeout", "--backlog", "[default: 75]"] {
        assert!(help.contains(text), "{text} is missing in:\n{help}");
    }
    let mut command = galo();
    command.args(["serve", "--database-url", "postgres://u@127.0.0.1:1/d", "--linger", "1.5", "--idle-timeout", "0"]);
    command.args(["--head-timeout", "301", "--body-timeout", "x", "--backlog", "70000"]);
    let (success, _, stderr) = run(&mut command);
    assert!(!success && stderr.contains("has 5 mistakes"), "{stderr}");
    for text in [
        "--linger: `1.5` is not a whole number from 0 to 3600",
        "--idle-timeout: `0` is not a whole number from 1 to 3600",
        "--head-timeout: `301` is not a whole number from 1 to 300",
        "--body-timeout: `x` is",
        "--backlog: `70000` is not a whole number from 1 to 65535",
    ] {
        assert!(stderr.contains(text), "{stderr}");
    }
}
