//! HTTP beyond GET and POST: HEAD, OPTIONS, the declared coding and type of a body, and what the log records of a
//! request. CORS is in `cors.rs`.

use galo::config::{AccessLog, Settings};
use galo::develop::build::Profile;
use galo::limits;
use http::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::{Program, run};
use crate::fixture::{Guest, calling, marked, replying};
use crate::harness::{
    Connection, Guests, TestDatabase, TestNode, galo, handlers, request, request_with, settings, transacao,
};

const EXTRATO: &str = "/clientes/1/extrato";
const TRANSACOES: &str = "/clientes/1/transacoes";

/// Sends bytes and returns everything that arrives until the node closes the connection.
async fn raw(address: &str, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_wherever_get_is_without_a_body() {
    // Given a connection, when HEAD and GET are sent in turn, then both get the same head, and only GET gets a body.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let requests = [EXTRATO, "/clientes/6/extrato", "/nada"].map(|path| (node.address(), path));
    let admin = ["/live", "/ready", "/nada"].map(|path| (node.admin_address(), path));
    for (address, path) in requests.into_iter().chain(admin) {
        let mut connection = Connection::open(&address).await;
        let head = connection.send(Method::HEAD, path, "").await.unwrap();
        let get = connection.send(Method::GET, path, "").await.unwrap();
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        for name in ["content-type", "content-length", "allow"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
    // Content that changes between the two requests has a length as well.
    for path in ["/handlers", "/metrics"] {
        let head = request(&node.admin_address(), Method::HEAD, path, "").await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{path}");
        assert!(head.header("content-length").parse::<usize>().unwrap() > 100, "{path}");
    }
    let post_only = request(&node.address(), Method::HEAD, TRANSACOES, "").await;
    assert_eq!((post_only.status.as_u16(), post_only.header("allow")), (405, "POST, OPTIONS"));
    let rollback = request(&node.admin_address(), Method::HEAD, "/handlers/extrato/rollback", "").await;
    assert_eq!((rollback.status.as_u16(), rollback.header("allow")), (405, "POST, OPTIONS"));
    // No byte of the body is on the wire either.
    let answer = raw(&node.address(), &format!("HEAD {EXTRATO} HTTP/1.0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_of_get_is_asked_for_a_get_unless_head_has_a_route() {
    // Given a guest that traps when its method does not have three letters.
    let database = TestDatabase::new().await;
    let prepare = "(if (i32.ne (i32.load offset=4 (local.get 0)) (i32.const 3)) (then unreachable)) i32.const 1024";
    let of_get = Guest { prepare, ..replying(200, None, 7) }.component();
    let guests = Guests::new().add("a", &of_get, "").add("b", &of_get, "").add("c", &of_get, "");
    guests
        .put_file("galo.toml", guests.manifest().replace("GET /b", "HEAD /a").replace("GET /c", "HEAD /c").as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(node.get("/a").await.status, 200);
    // An explicit HEAD route takes precedence and its guest sees HEAD; such a route does not answer GET.
    assert_eq!(request(&node.address(), Method::HEAD, "/a", "").await.status, 500);
    let answer = node.get("/c").await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "HEAD, OPTIONS"));
    guests.put_file("galo.toml", guests.manifest().replace("HEAD /a", "HEAD /b").as_bytes());
    crate::harness::until("HEAD /a is the GET's", String::new, || {
        node.running.node.registry.table().routes.find(&Method::HEAD, "/a").unwrap().0.0.entry.name == "a"
    })
    .await;
    let answer = request(&node.address(), Method::HEAD, "/a", "").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-length")), (200, "7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_lists_the_methods_of_a_path() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut connection = Connection::open(&node.address()).await;
    for (path, body, allow) in [(EXTRATO, "", "GET, HEAD, OPTIONS"), (TRANSACOES, "{}", "POST, OPTIONS")] {
        let answer = connection.send(Method::OPTIONS, path, body).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (204, allow), "{path}");
        assert!(answer.body.is_empty() && !answer.headers.contains_key("content-length"), "{answer:?}");
    }
    assert_eq!(connection.send(Method::OPTIONS, "/nada", "").await.unwrap().status, 404);
    assert_eq!(connection.send(Method::GET, "*", "").await.map(|answer| answer.status.as_u16()).unwrap_or(404), 404);
    let star = "OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = raw(&node.address(), star).await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains("allow: GET, HEAD, POST, OPTIONS\r\n"), "{answer}");
    let answer = raw(&node.admin_address(), star).await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains("allow: GET, HEAD, POST, OPTIONS\r\n"), "{answer}");
    // A page of another origin learns nothing more about the admin address.
    let asked = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let answer = request_with(&node.admin_address(), Method::OPTIONS, "/handlers", &asked).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_with_options_answers_it_itself() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("a", &replying(200, None, 7).component(), "");
    guests.put_file("galo.toml", guests.manifest().replace("GET /a", "OPTIONS /a").as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    let answer = request(&node.address(), Method::OPTIONS, "/a", "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 7));
    assert_eq!(node.get("/a").await.header("allow"), "OPTIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_a_content_coding_is_415_and_nothing_is_recorded() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let mut connection = Connection::open(&node.address()).await;
    for (coding, status) in [("gzip", 415), ("br", 415), ("identity, gzip", 415), ("identity", 200), ("", 200)] {
        let sent = [("content-encoding", coding)];
        let answer = connection.send_with(Method::POST, TRANSACOES, &sent, transacao(1, "c", "x")).await.unwrap();
        assert_eq!(answer.status, status, "{coding}");
        let expected = if status == 415 { "identity" } else { "" };
        assert_eq!(answer.header("accept-encoding"), expected, "{coding}");
        if status == 415 {
            let unsupported = r#"{"error":"content_encoding_unsupported","message":"corpo codificado não aceito"}"#;
            assert_eq!(answer.text(), unsupported);
        }
    }
    // Without a body there is nothing that could be encoded.
    assert_eq!(
        connection.send_with(Method::GET, EXTRATO, &[("content-encoding", "gzip")], "").await.unwrap().status,
        200
    );
    assert_eq!(database.ledger_rows(1).await, 2);
    database.assert_ledger_holds().await;
    // A client that waits for `100 Continue` does not get it.
    let head = "POST /clientes/1/transacoes HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n";
    let answer = raw(&node.address(), &format!("{head}content-encoding: gzip\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_type_is_asked_for_where_the_manifest_does_and_live() {
    let database = TestDatabase::new().await;
    let replies = replying(200, None, 0).component();
    let guests = Guests::new().add("any", &replies, "").add("json", &replies, "content_type = \"application/json\"");
    guests.put_file("galo.toml", guests.manifest().replace("GET ", "POST ").as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    let mut connection = Connection::open(&node.address()).await;
    for (path, content_type, body, status) in [
        ("/json", "application/json", "{}", 200),
        ("/json", "application/JSON; charset=utf-8", "{}", 200),
        ("/json", "text/plain", "{}", 415),
        ("/json", "application/problem+json", "{}", 415),
        ("/json", "", "{}", 415),
        ("/json", "text/plain", "", 200),
        ("/any", "text/plain", "{}", 200),
    ] {
        let sent = [("content-type", content_type)];
        let answer = connection.send_with(Method::POST, path, &sent, body).await.unwrap();
        assert_eq!(answer.status, status, "{path} {content_type}");
        assert_eq!(answer.header("accept"), if status == 415 { "application/json" } else { "" });
    }
    let answer = connection.send(Method::POST, "/json", "{}").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (415, r#"{"error":"content_type_unsupported"}"#));
    // A key that is removed from the manifest takes effect on reload, like every other change.
    guests.put_file("galo.toml", guests.manifest().replace("content_type = \"application/json\"", "").as_bytes());
    crate::harness::until("it is gone", String::new, || node.handler("json").entry.content_type.is_none()).await;
    assert_eq!(connection.send(Method::POST, "/json", "{}").await.unwrap().status, 200);
}

/// `galo serve` with these options.
fn serve(database: &TestDatabase, folder: &std::path::Path, options: &[&str]) -> Program {
    let mut command = galo();
    command.arg("serve").args(options);
    Program::serve_with(command, database, folder)
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_logged_with_the_names_of_its_request() {
    // Given a guest that traps, and one whose procedure raises, when a request carries identifiers, then the log lines
    // of its failure contain them, truncated and escaped.
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION falha() RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'").await;
    let falha = calling("falha");
    let guests = Guests::new()
        .add("trap", &Guest::default().component(), "")
        .add("falha", &falha, "procedures = [\"falha\"]")
        .add("swapped", &replying(200, None, 0).component(), "");
    let node = tokio::task::block_in_place(|| serve(&database, guests.folder.path(), &[]));
    let line = |text: &str| tokio::task::block_in_place(|| node.wait_for(text));
    let long = "x".repeat(limits::TRACE_SHOWN_BYTES_MAX + 1);
    for (path, id, text) in [("/trap", "a\"b\tc", "guest faulted"), ("/falha", &long, "procedure failed")] {
        let named = [("x-request-id", id), ("traceparent", TRACEPARENT)];
        assert_eq!(request_with(&node.listen, Method::GET, path, &named).await.status, 500);
        let line = line(text);
        let shown = if id == long { format!("\"{}…\"", &long[1..]) } else { r#""a\"b\tc""#.to_owned() };
        assert!(line.contains(&format!("request_id={shown}")), "{line}");
        assert!(line.contains(&format!("trace_id=\"{TRACE}\"")), "{line}");
    }
    guests.put("swapped", &marked(&Guest::default().component(), 1));
    line("swapped: generation 2 live");
    let named = [("x-request-id", "rescued"), ("traceparent", TRACEPARENT)];
    assert_eq!(request_with(&node.listen, Method::GET, "/swapped", &named).await.status, 200);
    let line = line("ROLLED BACK");
    assert!(line.contains("request_id=\"rescued\"") && line.contains(TRACE), "{line}");
}

/// The lines of the access log, as JSON.
fn answered(node: &Program) -> Vec<Value> {
    let log = node.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "access").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_a_line_for_each_request_whatever_the_filter_is() {
    let database = TestDatabase::new().await;
    let options = ["--access-log", "all", "--log", "galo=info", "--log-format", "json"];
    let mut command = galo();
    command.arg("serve").args(options).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--handlers"]);
    command.arg(handlers(Profile::Release)).env("DATABASE_URL", database.service_url());
    let mut node = Program::start(command);
    let ready = tokio::task::block_in_place(|| node.wait_for("\"message\":\"ready\""));
    let ready: Value = serde_json::from_str(&ready).unwrap();
    node.listen = ready["listen"].as_str().unwrap().to_owned();
    let named = [("x-request-id", "abc"), ("traceparent", TRACEPARENT), ("authorization", "hunter2")];
    let get = request_with(&node.listen, Method::GET, "/clientes/1/extrato?senha=hunter2", &named).await;
    assert_eq!(get.status, 200);
    assert_eq!(request(&node.listen, Method::HEAD, EXTRATO, "").await.status, 200);
    assert_eq!(request(&node.listen, Method::POST, TRANSACOES, "hunter2").await.status, 422);
    let long = format!("/{}", "y".repeat(limits::PATH_SHOWN_BYTES_MAX * 2));
    assert_eq!(request(&node.listen, Method::DELETE, &long, "").await.status, 404);
    let malformed = raw(&node.listen, "GET /x HTTP/1.1\r\n\r\n").await;
    assert!(malformed.starts_with("HTTP/1.1 400"), "{malformed}");
    tokio::task::block_in_place(|| node.wait_for("\"status\":400"));
    let lines = answered(&node);
    assert_eq!(lines.len(), 5, "{}", node.log());
    let [get_line, head, post, delete, bad] = lines.as_slice() else { panic!("{lines:?}") };
    let first = |name: &str| get_line[name].clone();
    assert_eq!((first("method"), first("path"), first("status")), ("GET".into(), EXTRATO.into(), 200.into()));
    assert_eq!((first("bytes"), first("handler")), (get.body.len().into(), "extrato".into()));
    assert_eq!((first("generation"), first("request_id")), (1.into(), "abc".into()));
    assert_eq!((first("trace_id"), first("message")), (TRACE.into(), "answered".into()));
    assert!(first("microseconds").as_u64().unwrap() > 0 && first("level") == "INFO", "{get_line}");
    assert_eq!((&head["method"], &head["bytes"]), (&"HEAD".into(), &0.into()));
    // One that reaches a handler without an id gets one of the node's.
    let id = |line: &Value| line["request_id"].as_str().unwrap_or_default().to_owned();
    assert!(id(head).len() > 16 && id(post).len() > 16 && id(head) != id(post), "{head} {post}");
    assert_eq!((&post["status"], &post["handler"]), (&422.into(), &"transacoes".into()));
    assert_eq!((&delete["status"], &delete["handler"], id(delete)), (&404.into(), &Value::Null, String::new()));
    assert!(delete["path"].as_str().unwrap().len() <= limits::PATH_SHOWN_BYTES_MAX + '…'.len_utf8(), "{delete}");
    assert_eq!((&bad["status"], &bad["path"]), (&400.into(), &"/x".into()));
    assert!(!node.log().contains("hunter2"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_is_off_unless_asked_for_and_may_be_of_errors_only() {
    let database = TestDatabase::new().await;
    for (options, lines) in [(&[][..], 0), (&["--access-log", "errors"], 2), (&["--access-log=errors", "--log=off"], 2)]
    {
        let mut command = galo();
        let (_folder, socket) = crate::harness::scratch("galo.sock");
        let listen = format!("unix:{}", socket.display());
        command.arg("serve").args(options).args(["--listen", &listen, "--admin", "127.0.0.1:0", "--handlers"]);
        command.arg(handlers(Profile::Release)).env("DATABASE_URL", database.service_url());
        let mut node = Program::start(command);
        crate::harness::until("it listens", || node.log(), || std::os::unix::net::UnixStream::connect(&socket).is_ok())
            .await;
        assert_eq!(request(&listen, Method::GET, EXTRATO, "").await.status, 200);
        assert_eq!(request(&listen, Method::GET, "/nada", "").await.status, 404);
        assert_eq!(request(&listen, Method::POST, TRANSACOES, "{").await.status, 422);
        // On shutdown the node writes the lines that are still queued.
        node.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(tokio::task::block_in_place(|| node.wait()).success());
        let seen = || node.log().lines().filter(|line| line.contains("answered method=")).count();
        crate::harness::until("the lines", || node.log(), || seen() == lines).await;
        assert!(!node.log().contains("status=200"), "{}", node.log());
    }
    let mut command = galo();
    command.args(["serve", "--access-log", "some"]).env("DATABASE_URL", "postgres://a@b/c");
    let (succeeded, _, stderr) = run(&mut command);
    assert!(!succeeded && stderr.contains("--access-log: `some` is neither `off` nor `errors` nor `all`"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_has_left_is_in_the_access_log_too() {
    // Given a transaction that waits for a lock, when its client disconnects, then a line is logged; when the lock is
    // released, then the transaction is recorded.
    let database = TestDatabase::new().await;
    let options = ["--access-log", "errors"];
    let node = tokio::task::block_in_place(|| serve(&database, handlers(Profile::Release), &options));
    let mut owner = database.owner().await;
    let lock = owner.transaction().await.unwrap();
    lock.execute("SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE", &[]).await.unwrap();
    let mut stream = TcpStream::connect(&node.listen).await.unwrap();
    let body = transacao(1, "c", "x");
    let head = format!("POST {TRANSACOES} HTTP/1.1\r\nhost: a\r\nx-request-id: left\r\ncontent-length: {}", body.len());
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    database.until_a_call_waits_for_a_lock().await;
    drop(stream);
    let line = tokio::task::block_in_place(|| node.wait_for("the client left before its answer"));
    assert!(line.contains("handler=\"transacoes\"") && line.contains("request_id=\"left\""), "{line}");
    lock.commit().await.unwrap();
    let rows = async || database.ledger_rows(1).await;
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while rows().await == 0 {
        assert!(std::time::Instant::now() < deadline, "it is not recorded");
    }
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sheds_answers_a_head_with_503_too() {
    let database = TestDatabase::new().await;
    let none = Settings { in_flight_max: 0, access_log: AccessLog::Errors, ..settings(handlers(Profile::Release)) };
    let node = TestNode::with(&database, none).await;
    let answer = request(&node.address(), Method::HEAD, EXTRATO, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after"), answer.body.len()), (503, "1", 0));
}
