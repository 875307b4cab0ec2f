//! Which connections are closed when all places are taken: clients that keep a node waiting lock nobody out, neither at
//! the address for requests nor at the admin address, and a connection being served is never closed for a new one.

use std::process::Command;
use std::time::{Duration, Instant};

use galo::config::Settings;
use galo::develop::build::Profile;
use galo::limits::{self, ClientTimeouts};
use galo::listen::{Listener, Reach};
use http::Method;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::cli::{Program, run, wait_until};
use crate::fixture::{Guest, replying};
use crate::harness::{
    Connection, GALO, Guests, TestDatabase, TestNode, galo, handlers, request, scratch, settings, transacao, until,
};

const EXTRATO: &str = "/clientes/1/extrato";
/// The beginning of a head.
const HEAD: &str = "GET /clientes/1/extrato HTTP/1.1\r\nhost: ga";
/// A whole head, and the first byte of the body.
const BODY: &str = "POST /clientes/1/transacoes HTTP/1.1\r\nhost: galo\r\ncontent-length: 60\r\n\r\n{";

async fn node(database: &TestDatabase, connections_max: usize) -> TestNode {
    TestNode::with(database, Settings { connections_max, ..settings(handlers(Profile::Release)) }).await
}

/// Connects clients that send this and nothing more.
async fn crowd(address: &str, count: usize, sent: &str) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        crowd.push(stream);
    }
    crowd
}

/// Sends a request on a new connection, and checks that it is answered in time.
async fn served(address: &str, path: &str) {
    let begun = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(5), request(address, Method::GET, path, "")).await;
    let answer = answer.expect("the new connection is not served");
    assert_eq!(answer.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Whether the other side has closed a connection on which nothing is expected.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_out() {
    // Given more clients than a node has places, none of which sends a byte, when others come with requests, then each
    // is answered; the oldest silent connections are closed.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut silent = crowd(&node.address(), limits::CONNECTIONS_MAX_DEFAULT + 76, "").await;
    for _ in 0..5 {
        served(&node.address(), EXTRATO).await;
    }
    assert!(is_closed(&mut silent[0]).await && !is_closed(silent.last_mut().unwrap()).await);
    assert!(node.running.node.metrics.made_room.get() >= 76);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_from_the_admin_address() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let _silent = crowd(&node.admin_address(), 2 * limits::ADMIN_CONNECTIONS_MAX, "").await;
    served(&node.admin_address(), "/ready").await;
    served(&node.admin_address(), "/handlers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_go_on_keep_nobody_out() {
    // Given clients in all places that have begun a head or a body, when another client comes, then it is served.
    let database = TestDatabase::new().await;
    for begun in [HEAD, BODY] {
        let node = node(&database, 16).await;
        let _crowd = crowd(&node.address(), 16, begun).await;
        let connections = &node.running.node.metrics.connections;
        until("all places are taken", String::new, || connections.get() == 16).await;
        for _ in 0..3 {
            served(&node.address(), EXTRATO).await;
        }
    }
    assert_eq!(database.ledger_rows(1).await, 0);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_loses_its_place_is_answered() {
    let database = TestDatabase::new().await;
    let node = node(&database, 1).await;
    let mut slow = crowd(&node.address(), 1, BODY).await.remove(0);
    served(&node.address(), EXTRATO).await;
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_has_its_time_from_the_accept_and_a_later_one_does_not() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut kept = Connection::open(&node.address()).await;
    assert_eq!(kept.send(Method::GET, EXTRATO, "").await.unwrap().status, 200);
    let begun = Instant::now();
    let mut silent = TcpStream::connect(node.address()).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    let took = begun.elapsed();
    assert!(
        took >= limits::HEAD_TIMEOUT_DEFAULT - Duration::from_millis(100) && took < limits::HEAD_TIMEOUT_DEFAULT * 2,
        "{took:?}"
    );
    assert_eq!(kept.send(Method::GET, EXTRATO, "").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_idle_connection_is_closed_and_none_below_the_limit() {
    // Given three places and two clients that keep their connections, when others come and go, then both stay; when a
    // third stays and a fourth comes, then the connection whose last request is the oldest is closed.
    let database = TestDatabase::new().await;
    let node = node(&database, 3).await;
    let mut kept = [Connection::open(&node.address()).await, Connection::open(&node.address()).await];
    for _ in 0..10 {
        for connection in &mut kept {
            assert_eq!(connection.send(Method::GET, EXTRATO, "").await.unwrap().status, 200);
        }
        served(&node.address(), EXTRATO).await;
        let connections = &node.running.node.metrics.connections;
        until("it has gone", String::new, || connections.get() == 2).await;
    }
    assert_eq!(node.running.node.metrics.made_room.get(), 0);
    let mut third = Connection::open(&node.address()).await;
    assert_eq!(third.send(Method::GET, EXTRATO, "").await.unwrap().status, 200);
    served(&node.address(), EXTRATO).await;
    assert!(kept[0].send(Method::GET, EXTRATO, "").await.is_err());
    assert_eq!(kept[1].send(Method::GET, EXTRATO, "").await.unwrap().status, 200);
}

/// Waits until no more bytes arrive on connections whose answers nobody reads, because all buffers are full.
async fn until_stalled(streams: &[TcpStream]) {
    let mut buffer = vec![0; 16 << 20];
    let mut before = Vec::new();
    loop {
        let mut there = Vec::new();
        for stream in streams {
            there.push(stream.peek(&mut buffer).await.unwrap());
        }
        if there == before && there.iter().all(|bytes| *bytes > 0) {
            return;
        }
        before = there;
        // The node still fills its own buffers when those of the client are full.
        tokio::time::sleep(limits::WRITE_GRACE * 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_their_answers_are_closed_first() {
    // Given four places, one of a client that is idle between two requests, three of clients that read nothing of an
    // answer larger than all buffers, when three more come and stay, then they are served at once, and the first
    // client is still connected.
    let database = TestDatabase::new().await;
    let large = Guest { memory: "64", ..replying(200, None, 3 << 20) }.component();
    let more = "limits = { memory_bytes_max = 8388608, reply_bytes_max = 4194304 }";
    let guests = Guests::new().add("grande", &large, more).add("pequeno", &replying(200, None, 0).component(), "");
    let settings = Settings { connections_max: 4, ..settings(guests.folder.path()) };
    let node = TestNode::with(&database, settings).await;
    let mut kept = Connection::open(&node.address()).await;
    assert_eq!(kept.send(Method::GET, "/pequeno", "").await.unwrap().status, 200);
    let asking = "GET /grande HTTP/1.1\r\nhost: x\r\n\r\n".repeat(8);
    let stalled = crowd(&node.address(), 3, &asking).await;
    until_stalled(&stalled).await;
    let mut newcomers = Vec::new();
    let begun = Instant::now();
    for _ in 0..3 {
        let mut newcomer = Connection::open(&node.address()).await;
        assert_eq!(newcomer.send(Method::GET, "/pequeno", "").await.unwrap().status, 200);
        newcomers.push(newcomer);
    }
    // After WRITE_TIMEOUT the stalled clients are closed anyway, so on a machine that is too busy this is not checked.
    if begun.elapsed() < limits::WRITE_TIMEOUT / 2 {
        assert_eq!(node.running.node.metrics.made_room.get(), 3);
    }
    for connection in newcomers.iter_mut().chain([&mut kept]) {
        assert_eq!(connection.send(Method::GET, "/pequeno", "").await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_being_served_is_not_closed_for_a_new_one() {
    // Given calls in all places that wait for a lock, when more clients come, then these wait to be accepted; when the
    // lock is released, then all are answered.
    let database = TestDatabase::new().await;
    let node = node(&database, 4).await;
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let address = node.address();
    let post = |id: u32| {
        let address = address.clone();
        let path = format!("/clientes/{id}/transacoes");
        tokio::spawn(async move { request(&address, Method::POST, &path, transacao(1, "c", "x")).await.status })
    };
    let held: Vec<_> = (0..4).map(|_| post(1)).collect();
    let in_flight = &node.running.node.metrics.in_flight;
    until("all places serve", String::new, || in_flight.get() == 4).await;
    let later: Vec<_> = (0..4).map(|_| post(2)).collect();
    tokio::time::sleep(limits::ROOM_PAUSE * 5).await;
    assert!(!later.iter().any(tokio::task::JoinHandle::is_finished));
    lock.commit().await.unwrap();
    for call in held.into_iter().chain(later) {
        assert_eq!(call.await.unwrap(), 200);
    }
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_suffice_are_refused_at_the_start_with_the_remedy() {
    let database = TestDatabase::new().await;
    let serve = |files: usize, connections: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &files.to_string(), GALO, "serve"]);
        command.args(["--connections-max", connections, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.env("DATABASE_URL", database.service_url()).arg("--handlers").arg(handlers(Profile::Release));
        command
    };
    let (succeeded, _, stderr) = run(&mut serve(512, "1024"));
    assert!(!succeeded && stderr.contains("RLIMIT_NOFILE"), "{stderr}");
    assert!(stderr.contains("`ulimit -n 1") && stderr.contains("lower --connections-max to "), "{stderr}");
    let fitting = stderr.split("--connections-max to ").nth(1).unwrap().trim().to_owned();
    let fewer = (fitting.parse::<usize>().unwrap() - 2 * limits::FILES_PER_HANDLER).to_string();
    Program::start(serve(512, &fewer)).until_ready();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_limit_of_files_is_raised_as_far_as_it_may() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let database = TestDatabase::new().await;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 64 && exec \"$0\" \"$@\"", GALO, "serve"]);
    let node = Program::serve_with(command, &database, handlers(Profile::Release));
    let shown = std::fs::read_to_string(format!("/proc/{}/limits", node.pid())).unwrap();
    let line = shown.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3).unwrap(), hard.to_string(), "{line}");
    // The number of files reserved for everything but connections suffices.
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count();
    println!("{open} files are open");
    assert!(open < limits::FILES_RESERVED, "{open} files are open");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_file_descriptors_is_logged_and_closes_idle_connections_only() {
    // Given a node whose limit of open files is lowered while it runs, when 100 silent clients connect, then it logs
    // that once, closes those that have been idle longest, and serves a new client; when they are gone, it logs that.
    let database = TestDatabase::new().await;
    let mut command = galo();
    command.args(["serve", "--pool-connections", "2"]);
    let node = Program::serve_with(command, &database, handlers(Profile::Release));
    let (succeeded, _, stderr) =
        run(Command::new("prlimit").args(["--nofile=64:64", "--pid", &node.pid().to_string()]));
    assert!(succeeded, "{stderr}");
    let silent = crowd(&node.listen, 100, "").await;
    node.wait_for("cannot accept, pausing between tries");
    node.wait_for("closing the longest idle");
    let mut answer = String::new();
    let mut stream = TcpStream::connect(&node.listen).await.unwrap();
    stream.write_all(b"GET /clientes/1/extrato HTTP/1.0\r\n\r\n").await.unwrap();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    drop(silent);
    node.wait_for("accepting again");
    wait_until("it serves again", || {
        std::net::TcpStream::connect(&node.listen).is_ok_and(|mut stream| {
            let asked = std::io::Write::write_all(&mut stream, b"GET /clientes/1/extrato HTTP/1.0\r\n\r\n");
            let mut answer = String::new();
            asked.is_ok() && std::io::Read::read_to_string(&mut stream, &mut answer).is_ok() && answer.contains(" 200 ")
        })
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn client_timeouts_are_those_of_the_settings() {
    // Given a node that waits longer for heads and bodies than the default, and less for idle connections,
    let database = TestDatabase::new().await;
    let (patient, quick) = (limits::HEAD_TIMEOUT_DEFAULT + Duration::from_secs(2), Duration::from_millis(200));
    let client_timeouts = ClientTimeouts { idle: quick, head: patient, body: patient };
    let node = TestNode::with(&database, Settings { client_timeouts, ..settings(handlers(Profile::Release)) }).await;
    // when a connection is idle, then it is closed, long before the default would close it;
    let mut idle = Connection::open(&node.address()).await;
    idle.send(Method::GET, EXTRATO, "").await.unwrap();
    let connections = &node.running.node.metrics.connections;
    until("the idle one is closed", String::new, || connections.get() == 0).await;
    // when a head or a body does not come, then the node waits for the configured time.
    let client_timeouts = ClientTimeouts { head: patient, body: patient, ..ClientTimeouts::default() };
    let node = TestNode::with(&database, Settings { client_timeouts, ..settings(handlers(Profile::Release)) }).await;
    let waits = async |sent: &str| {
        // The node counts from its accept, which may come before this task goes on.
        let begun = Instant::now();
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        begun.elapsed()
    };
    let (head, body) = tokio::join!(waits(HEAD), waits(BODY));
    assert!(head >= patient && body >= patient, "{head:?} {body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_queues_as_many_connections_as_the_backlog_allows() {
    for backlog in [1, 8] {
        let (_folder, path) = scratch("backlog.sock");
        let address = format!("unix:{}", path.display()).parse().unwrap();
        let _listener = Listener::bind(&address, Reach::Owner, backlog).unwrap();
        // Nobody accepts. Connecting to a unix socket whose queue is full fails at once.
        let mut kept = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            kept.push(stream);
        }
        assert_eq!(kept.len(), backlog + 1);
    }
}
