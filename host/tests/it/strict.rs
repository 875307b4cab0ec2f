//! What a request must be before it is served: it names its host once, its body is framed in the one way that is
//! understood, and a client that waits for `100 Continue` does not get it when the request is refused.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{TestDatabase, TestNode, transacao};

/// Sends bytes and returns everything that arrives until the node closes the connection.
async fn ask(address: &str, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer ends the connection as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

const GET: &str = "GET /clientes/1/extrato";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_its_host_once() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    for (head, status) in [
        ("HTTP/1.1\r\n", "400"),
        ("HTTP/1.1\r\nhost: a\r\nhost: a\r\n", "400"),
        ("HTTP/1.1\r\nhost: a\r\nx: y\r\nHost: b\r\n", "400"),
        ("HTTP/1.0\r\nhost: a\r\nhost: a\r\n", "400"),
        ("HTTP/1.1\r\nhost: a b\r\n", "400"),
        ("HTTP/1.1\r\nhost: a/b\r\n", "400"),
        ("HTTP/1.1\r\nhost: u@a\r\n", "400"),
        ("HTTP/1.1\r\nhost: a:b\r\n", "400"),
        // A client of HTTP/1.0, and what nginx sends by default: to an upstream by name, and to a unix socket.
        ("HTTP/1.0\r\n", "200"),
        ("HTTP/1.0\r\nHost: galo_nodes\r\nConnection: close\r\n", "200"),
        ("HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", "200"),
        ("HTTP/1.1\r\nhost:\r\nconnection: close\r\n", "200"),
        ("HTTP/1.1\r\nhost: [::1]:9999\r\nconnection: close\r\n", "200"),
    ] {
        let answer = ask(&node.address(), &format!("{GET} {head}\r\n")).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head:?}: {answer}");
        let malformed = r#"{"error":"malformed_request","message":"requisição malformada"}"#;
        assert_eq!(answer.contains(malformed), status == "400", "{head:?}: {answer}");
        // The sender of such a head may have meant another end of it: nothing more is read from the connection.
        assert!(answer.contains("connection: close") || head.contains("1.0") || status == "200", "{answer}");
    }
    // The admin address is just as strict.
    let answer = ask(&node.admin_address(), "GET /ready HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_framed_in_one_way() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let body = transacao(1, "c", "x");
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let post = |headers: &str| format!("POST /clientes/1/transacoes HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{chunked}");
    for (headers, status) in [
        ("transfer-encoding: gzip, chunked", "501"),
        ("transfer-encoding: gzip\r\ntransfer-encoding: chunked", "501"),
        ("transfer-encoding: chunked, chunked", "501"),
        ("transfer-encoding: chunked, gzip", "400"),
        ("transfer-encoding: xchunked", "400"),
        ("content-length: 1\r\ncontent-length: 2", "400"),
        ("content-length: +1", "400"),
    ] {
        let answer = ask(&node.address(), &post(headers)).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{headers:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    assert_eq!(database.ledger_rows(1).await, 0);
    // A length beside it is ignored, and what follows on the connection is not served: a proxy in front may have used
    // the length (RFC 9112, 6.3).
    for headers in
        ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let answer = ask(&node.address(), &(post(headers) + GET + " HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    }
    assert_eq!(database.ledger_rows(1).await, 2);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_refused_is_not_asked_for() {
    // Given clients that wait for `100 Continue` before they send their body, when path, method, size or head is
    // refused, then the refusal is the first and only thing that they get; otherwise they get the 100.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    for (line, headers, status) in [
        ("POST /nada", "content-length: 9", "404"),
        ("POST /clientes/1/extrato", "content-length: 9", "405"),
        ("POST /clientes/1/extrato", "transfer-encoding: chunked", "405"),
        ("POST /clientes/1/transacoes", "content-length: 1000000", "413"),
        ("POST /clientes/1/transacoes", "content-length: 9\r\nhost: b", "400"),
        ("POST /clientes/1/transacoes", "transfer-encoding: gzip, chunked", "501"),
    ] {
        let head = format!("{line} HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\n{headers}\r\n\r\n");
        let answer = ask(&node.address(), &head).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{line} {headers:?}: {answer}");
        assert!(answer.contains("connection: close") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    }
    let body = transacao(1, "c", "x");
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let length = body.len();
    let head =
        format!("POST /clientes/1/transacoes HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}");
    stream.write_all((head + "\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    database.assert_ledger_holds().await;
}
