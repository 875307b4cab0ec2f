//! The listener against clients that are slow, disconnected, fast or invalid, and sockets of both kinds.

use std::time::{Duration, Instant};

use galo::config::{Address, Settings};
use galo::develop::build::Profile;
use galo::limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::fixture::{Guest, replying};
use crate::harness::{Guests, TestDatabase, TestNode, handlers, scratch, settings, transacao};

/// A complete request.
fn post(cliente: u32, body: &str) -> String {
    format!(
        "POST /clientes/{cliente}/transacoes HTTP/1.1\r\nhost: galo\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const GET: &str = "GET /clientes/1/extrato HTTP/1.1\r\nhost: galo\r\n\r\n";

/// Reads until the text holds `count` status lines and the last body has ended.
async fn read_answers(stream: &mut TcpStream, count: usize) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while text.matches("HTTP/1.1 ").count() < count || !text.ends_with('}') {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("no more after: {text}")).unwrap();
        assert!(read > 0, "closed after: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

/// Reads until the other side closes.
async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer ends the connection as well.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_many_small_packets_is_answered() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in post(1, &transacao(1, "c", "x")).bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = read_answers(&mut stream, 1).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"limite":100000,"saldo":1}"#), "{answer}");
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let body = transacao(1, "c", "x");
    let pipeline: String = (0..5).map(|_| post(1, &body)).chain([GET.to_owned()]).collect();
    stream.write_all(pipeline.as_bytes()).await.unwrap();
    let answers = read_answers(&mut stream, 6).await;
    let balances: Vec<_> = (1..=5).map(|n| answers.find(&format!("\"saldo\":{n}}}")).unwrap()).collect();
    assert!(balances.is_sorted(), "{answers}");
    assert!(answers.find("\"total\":5").unwrap() > balances[4]);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_are_read_and_bounded() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let head = "POST /clientes/1/transacoes HTTP/1.1\r\nhost: galo\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = transacao(1, "c", "x");
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let chunked = format!("{head}{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", 5, &body[..5], body.len() - 5, &body[5..]);
    stream.write_all(chunked.as_bytes()).await.unwrap();
    assert!(read_answers(&mut stream, 1).await.starts_with("HTTP/1.1 200"));
    // No length is announced, so the limit is reached while reading.
    let endless = format!("{head}{:x}\r\n{}", 1 << 20, " ".repeat(9000));
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(endless.as_bytes()).await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("connection: close"), "{answer}");
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_over_the_limit_are_431() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let long = format!("GET / HTTP/1.1\r\nhost: galo\r\nx: {}\r\n\r\n", "y".repeat(limits::HEAD_BYTES_MAX));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(limits::HEADERS_MAX + 1));
    for request in [long, many] {
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to_close(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_of_a_request_leaves_nothing_behind() {
    // Given a client that disconnects in the middle of its headers, and one in the middle of its body, when they are
    // gone, then nothing of theirs is recorded and no connection stays open.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let request = post(1, &transacao(1, "c", "x"));
    for part in [20, request.len() - 3] {
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        stream.write_all(&request.as_bytes()[..part]).await.unwrap();
        drop(stream);
    }
    let connections = &node.running.node.metrics.connections;
    let deadline = Instant::now() + Duration::from_secs(5);
    while connections.get() > 0 {
        assert!(Instant::now() < deadline, "{} connections stay open", connections.get());
        tokio::task::yield_now().await;
    }
    assert_eq!(node.get("/clientes/1/extrato").await.json()["saldo"]["total"], 0);
    assert_eq!(node.running.node.metrics.in_flight.get(), 0);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_sent_is_awaited_when_its_client_has_gone() {
    // Given a call that waits for a lock, when its client disconnects, then the call still ends and its row is
    // recorded.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(post(1, &transacao(7, "c", "x")).as_bytes()).await.unwrap();
    database.until_a_call_waits_for_a_lock().await;
    drop(stream);
    while node.running.node.metrics.connections.get() > 0 {
        tokio::task::yield_now().await;
    }
    lock.commit().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while database.ledger_rows(1).await == 0 {
        assert!(Instant::now() < deadline, "the call was lost with its client");
    }
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_one_byte_a_second_is_given_up() {
    // Given one client that drips its headers and one that drips its body, when their time is up, then both connections
    // are closed; the second gets an answer with the reason.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let head = async {
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        drip(&mut stream, GET.as_bytes()).await
    };
    let body = async {
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        let request = post(1, &transacao(1, "c", "x"));
        let body = request.find("\r\n\r\n").unwrap() + 4;
        stream.write_all(&request.as_bytes()[..body]).await.unwrap();
        drip(&mut stream, &request.as_bytes()[body..]).await
    };
    let ((head_took, head_answer), (body_took, body_answer)) = tokio::join!(head, body);
    assert_eq!(head_answer, "");
    assert!(body_answer.starts_with("HTTP/1.1 408"), "{body_answer}");
    for (took, limit) in [(head_took, limits::HEAD_TIMEOUT_DEFAULT), (body_took, limits::BODY_TIMEOUT_DEFAULT)] {
        // The node's clock may have started a moment before the test's.
        assert!(took + Duration::from_millis(50) >= limit, "{took:?} for {limit:?}");
        assert!(took < limit + Duration::from_secs(3), "{took:?} for {limit:?}");
    }
    assert_eq!(database.ledger_rows(1).await, 0);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_take_its_responses_is_given_up() {
    // Given responses that are larger than all buffers in between, when they are not read, then the connection is
    // closed.
    let database = TestDatabase::new().await;
    let large = Guest { memory: "64", ..replying(200, None, 3 << 20) }.component();
    let limits = "limits = { memory_bytes_max = 8388608, reply_bytes_max = 4194304 }";
    let guests = Guests::new().add("grande", &large, limits);
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(node.get("/grande").await.body.len(), 3 << 20);
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let begun = Instant::now();
    stream.write_all("GET /grande HTTP/1.1\r\nhost: x\r\n\r\n".repeat(8).as_bytes()).await.unwrap();
    let connections = &node.running.node.metrics.connections;
    while connections.get() == 0 {
        tokio::task::yield_now().await;
    }
    while connections.get() > 0 {
        assert!(begun.elapsed() < galo::limits::WRITE_TIMEOUT * 3, "it is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() >= galo::limits::WRITE_TIMEOUT, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_a_large_response_slowly_gets_it_whole() {
    // Given a response that is larger than the buffer of the socket, when a client takes 400 KB of it a second, then it
    // gets the end after the time that a client may take nothing.
    let database = TestDatabase::new().await;
    let large = Guest { memory: "64", ..replying(200, None, 3 << 20) }.component();
    let guests = Guests::new().add("grande", &large, "limits = { reply_bytes_max = 4194304 }");
    let (_folder, path) = scratch("galo.sock");
    let settings = Settings { listen: Address::Unix(path.clone()), ..settings(guests.folder.path()) };
    let _node = TestNode::with(&database, settings).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /grande HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    let (mut piece, mut bytes) = (vec![0; 32 * 1024], 0);
    loop {
        match stream.read(&mut piece).await.unwrap() {
            0 => break,
            read => bytes += read,
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    assert!(bytes > 3 << 20, "{bytes} bytes in {:?}", begun.elapsed());
    assert!(begun.elapsed() > limits::WRITE_TIMEOUT + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_handler_leaves_the_connection_usable() {
    // Given a POST to an unknown path, its body in a separate packet, when it has got its 404, then the next request on
    // the same connection is served.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let body = transacao(1, "c", "x");
    let request = post(1, &body).replace("transacoes", "nada");
    let (head, body) = request.split_at(request.len() - body.len());
    for part in [head, body, GET] {
        stream.write_all(part.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answers = read_answers(&mut stream, 2).await;
    assert!(answers.starts_with("HTTP/1.1 404") && answers.contains("HTTP/1.1 200"), "{answers}");
    assert!(!answers.contains("connection: close"), "{answers}");
    // An upload over every limit is answered, and then the connection is closed.
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let head = "POST /nada HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("connection: close"), "{answer}");
}

/// Sends a byte a second until the other side closes. Returns how long that took, and the answer.
async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> (Duration, String) {
    let begun = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let mut said = Vec::new();
    let closed = async {
        let _ = reader.read_to_end(&mut said).await;
    };
    let dripping = async {
        for byte in bytes {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = closed => {}
        () = dripping => {}
    }
    (begun.elapsed(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_served_replaced_when_stale_and_refused_when_live() {
    let database = TestDatabase::new().await;
    let (_folder, path) = scratch("galo.sock");
    // Given a socket file that a killed node left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let on_socket = || Settings { listen: Address::Unix(path.clone()), ..settings(handlers(Profile::Release)) };
    let node = TestNode::with(&database, on_socket()).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /clientes/1/extrato HTTP/1.1\r\nhost: galo\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // When a second node wants the same socket, then it is refused and the first one still has it.
    let error = galo::serve::start(&on_socket(), &database.target(), crate::harness::engine()).await.err().unwrap();
    assert!(format!("{error:#}").contains("another process listens on it"), "{error:#}");
    assert!(UnixStream::connect(&path).await.is_ok());
    node.stop().await;
    assert!(!path.exists());
    // A file that is not a socket is never removed.
    std::fs::write(&path, "mine").unwrap();
    let error = galo::serve::start(&on_socket(), &database.target(), crate::harness::engine()).await.err().unwrap();
    assert!(format!("{error:#}").contains("is not a socket"), "{error:#}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_refused_with_its_address() {
    let database = TestDatabase::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let settings = Settings { listen: Address::Tcp(address), ..settings(handlers(Profile::Release)) };
    let error = galo::serve::start(&settings, &database.target(), crate::harness::engine()).await.err().unwrap();
    let message = format!("{error:#}");
    assert!(message.contains(&format!("cannot listen on {address}: Address already in use")), "{message}");
}
