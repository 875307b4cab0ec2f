//! CORS, and the limits for pages of other origins, with the headers that browsers send. `browser.rs` uses a browser.

use std::path::{Path, PathBuf};

use galo::config::{Address, Settings};
use galo::develop::build::Profile;
use galo::failure::Code;
use galo::{manifest, proxy};
use galo_testing::nginx::{Front, Listen, Nginx};
use galo_testing::program;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::fixture::{Guest, replying};
use crate::harness::{
    Answer, Connection, Guests, TestDatabase, TestNode, checkout, handlers, request, request_with, settings, transacao,
    until,
};

const SHOP: &str = "https://shop.example";
const EVIL: &str = "https://evil.example";
const TRANSACOES: &str = "/clientes/1/transacoes";
const EXTRATO: &str = "/clientes/1/extrato";

const SECTION: &str = r#"
[cors]
origins = ["https://shop.example", "http://localhost:3000"]
headers = ["content-type", "idempotency-key"]
exposed_headers = ["x-total"]
credentials = true
max_age_seconds = 60
"#;

/// The project's handlers with another manifest, in a folder of links.
pub fn with_section(section: &str) -> Guests {
    let guests = Guests::new();
    let from = handlers(Profile::Release);
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "galo.toml" {
            std::os::unix::fs::symlink(entry.path(), guests.folder.path().join(entry.file_name())).unwrap();
        }
    }
    put_section(&guests, section);
    guests
}

fn put_section(guests: &Guests, section: &str) {
    let manifest = std::fs::read_to_string(handlers(Profile::Release).join("galo.toml")).unwrap();
    guests.put_file("galo.toml", format!("{section}\n{manifest}").as_bytes());
}

fn vary(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
}

fn assert_readable(answer: &Answer, what: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), SHOP, "{what}: {answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), "true", "{what}");
    assert_eq!(answer.header("access-control-expose-headers"), "x-total", "{what}");
    assert!(vary(answer).contains(&"origin"), "{what}");
}

fn assert_unreadable(answer: &Answer, what: &str) {
    let headers = answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(headers.count(), 0, "{what}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_page_may_read_every_answer_of_the_listener() {
    let database = TestDatabase::new().await;
    let folder = with_section(SECTION);
    let node = TestNode::guests(&database, &folder).await;
    let large = "x".repeat(20_000);
    let good = transacao(1, "c", "x");
    type Case<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);
    let cases: [Case<'_>; 11] = [
        (Method::GET, EXTRATO, &[], "", 200),
        (Method::HEAD, EXTRATO, &[], "", 200),
        (Method::POST, TRANSACOES, &[], &good, 200),
        (Method::OPTIONS, EXTRATO, &[], "", 204),
        (Method::GET, "/clientes/6/extrato", &[], "", 404),
        (Method::GET, "/nada", &[], "", 404),
        (Method::DELETE, EXTRATO, &[], "", 405),
        (Method::POST, TRANSACOES, &[], &large, 413),
        (Method::POST, TRANSACOES, &[("content-encoding", "gzip")], &good, 415),
        (Method::POST, TRANSACOES, &[], "{", 422),
        (Method::GET, EXTRATO, &[("host", "a b")], "", 400),
    ];
    for (method, path, headers, body, status) in cases {
        let what = format!("{method} {path} {status}");
        let ask = async |origin: Option<&str>| {
            let origin = origin.map(|origin| ("origin", origin));
            let headers: Vec<_> = headers.iter().copied().chain(origin).collect();
            let mut connection = Connection::open(&node.address()).await;
            connection.send_with(method.clone(), path, &headers, body.to_owned()).await.unwrap()
        };
        let answer = ask(Some(SHOP)).await;
        assert_eq!(answer.status, status, "{what}");
        assert_readable(&answer, &what);
        let answer = ask(None).await;
        assert_unreadable(&answer, &what);
        assert_eq!(vary(&answer), ["origin"], "{what}");
        let refused = if method == Method::POST { 403 } else { status };
        let answer = ask(Some(EVIL)).await;
        assert_eq!(answer.status, refused, "{what}");
        assert_unreadable(&answer, &what);
    }
    // The admin address has no CORS headers at all.
    let answer = request_with(&node.admin_address(), Method::GET, "/live", &[("origin", SHOP)]).await;
    assert_eq!(answer.status, 403);
    assert_unreadable(&answer, "admin");
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_host_can_be_read_too_and_a_handlers_own_headers_are_replaced() {
    let database = TestDatabase::new().await;
    let own = replying(200, Some(("access-control-allow-origin", "*")), 0).component();
    let guests = Guests::new().add("trap", &Guest::default().component(), "").add("own", &own, "");
    let node = TestNode::guests(&database, &guests).await;
    // Without a section a handler's CORS headers are sent as they are.
    assert_eq!(node.get("/own").await.header("access-control-allow-origin"), "*");
    guests.put_file("galo.toml", (guests.manifest() + SECTION).as_bytes());
    until("the section is live", String::new, || node.running.node.registry.table().cors.is_some()).await;
    for (path, status) in [("/trap", 500), ("/own", 200)] {
        let answer = request_with(&node.address(), Method::GET, path, &[("origin", SHOP)]).await;
        assert_eq!(answer.status, status, "{path}");
        assert_readable(&answer, path);
        assert_unreadable(&request_with(&node.address(), Method::GET, path, &[("origin", EVIL)]).await, path);
    }
    let shedding = Settings { in_flight_max: 0, ..settings(guests.folder.path()) };
    let node = TestNode::with(&database, shedding).await;
    let answer = request_with(&node.address(), Method::GET, "/own", &[("origin", SHOP)]).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert_readable(&answer, "503");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_for_the_methods_of_its_path_and_the_section_is_live() {
    let database = TestDatabase::new().await;
    let folder = with_section(SECTION);
    let node = TestNode::guests(&database, &folder).await;
    let ask = async |path: &str, origin: &str| {
        let asked =
            [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", "x-a")];
        request_with(&node.address(), Method::OPTIONS, path, &asked).await
    };
    let answer = ask(TRANSACOES, SHOP).await;
    assert_eq!(answer.status, 204);
    assert_readable(&answer, "preflight");
    assert_eq!(answer.header("access-control-allow-methods"), "POST, OPTIONS");
    assert_eq!(answer.header("access-control-allow-headers"), "content-type, idempotency-key");
    assert_eq!(answer.header("access-control-max-age"), "60");
    assert!(vary(&answer).contains(&"access-control-request-method, access-control-request-headers"));
    let answer = ask(TRANSACOES, EVIL).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (204, "POST, OPTIONS"));
    assert_unreadable(&answer, "preflight");
    assert_eq!(ask("/nada", SHOP).await.status, 404);
    // A changed section applies at once, a removed one after a while, and an invalid one never.
    put_section(&folder, &SECTION.replace(SHOP, EVIL));
    let allows = |origin: &str| {
        let table = node.running.node.registry.table();
        let shown = format!("{:?}", table.cors);
        shown.contains(origin)
    };
    until("another origin is allowed", String::new, || allows(EVIL) && !allows(SHOP)).await;
    assert_eq!(ask(TRANSACOES, EVIL).await.header("access-control-allow-origin"), EVIL);
    put_section(&folder, &SECTION.replace("\"https://shop.example\"", "\"*\""));
    let (_, why) = node.until_manifest_refused().await;
    assert!(why.contains("browsers take no \"*\" with credentials"), "{why}");
    assert!(allows(EVIL));
    put_section(&folder, "");
    until("nobody is allowed", String::new, || node.running.node.registry.table().cors.is_none()).await;
    let answer = ask(TRANSACOES, EVIL).await;
    assert_unreadable(&answer, "no section");
    assert_eq!(vary(&answer), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_posts_nothing_unless_it_is_allowed() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let own = format!("http://{}", node.address());
    let mut connection = Connection::open(&node.address()).await;
    for (headers, status) in [
        (&[][..], 200),
        (&[("sec-fetch-site", "same-origin"), ("origin", &own)], 200),
        (&[("origin", &own)], 200),
        (&[("sec-fetch-site", "cross-site"), ("origin", EVIL)], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:1")], 403),
        (&[("origin", EVIL)], 403),
        (&[("origin", "null")], 403),
    ] {
        // A form of a page sends this type.
        let headers: Vec<_> = headers.iter().copied().chain([("content-type", "text/plain")]).collect();
        let body = transacao(1, "c", "x");
        let answer = connection.send_with(Method::POST, TRANSACOES, &headers, body).await.unwrap();
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 403 {
            let refused = r#"{"error":"origin_not_allowed","message":"origem não permitida"}"#;
            assert_eq!(answer.text(), refused);
        }
        // The request is served; only CORS decides whether the page may read the answer.
        assert_eq!(connection.send_with(Method::GET, EXTRATO, &headers, "").await.unwrap().status, 200);
    }
    assert_eq!(database.ledger_rows(1).await, 3);
    let metrics = node.admin("/metrics").await;
    assert!(metrics.text().contains(r#"handler="transacoes",code="403"} 5"#), "{}", metrics.text());
    database.assert_ledger_holds().await;
}

// ---- nginx -------------------------------------------------------------------------------------------------------

/// nginx with the deployed configuration, in front of one socket that replaces both nodes.
async fn front(guests: &Guests, node: &Path) -> (Nginx, PathBuf) {
    let (folder, deployed) = (guests.folder.path().join("nginx"), checkout().root.join("deploy/nginx"));
    let socket = folder.join("front.sock");
    let front = Front {
        program: &program::find("nginx").expect("nginx is not installed: apt-get install nginx"),
        deployed: &deployed,
        nodes: &deployed.join("upstream/nodes.conf"),
        sockets: &[node.to_owned(), node.to_owned()],
        routes: &proxy::nginx(&manifest::read(guests.folder.path()).unwrap(), "nodes"),
        workers: None,
        listen: Listen::Socket(socket.clone()),
        folder: &folder,
    };
    (Nginx::start(front).await.unwrap(), socket)
}

/// Sends bytes to nginx and returns its answer.
async fn raw(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // nginx may refuse and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_nginx_can_be_read_by_the_pages_that_are_allowed() {
    let database = TestDatabase::new().await;
    let folder = with_section(SECTION);
    // Characters with a meaning in nginx's configuration or in JSON.
    let odd = r#""o 'serviço' \\n não \"está\" $uri; {ok} # \\""#;
    let manifest = folder.manifest().replace("\"serviço indisponível\"", odd);
    assert!(manifest.contains("$uri"));
    folder.put_file("galo.toml", manifest.as_bytes());
    let socket = folder.folder.path().join("node.sock");
    let listen = Settings { listen: Address::Unix(socket.clone()), ..settings(folder.folder.path()) };
    let node = TestNode::with(&database, listen).await;
    let (nginx, front) = front(&folder, &socket).await;
    let address = nginx.listen.to_string();
    // An answer of the node has each CORS header once, and a page of the same origin may post.
    let own = [("host", "own.example:9999"), ("origin", "http://own.example:9999")];
    let mut connection = Connection::open(&address).await;
    assert_eq!(connection.send_with(Method::POST, TRANSACOES, &own, transacao(1, "c", "x")).await.unwrap().status, 200);
    let foreign = [("host", "own.example:9999"), ("origin", EVIL)];
    let answer = connection.send_with(Method::POST, TRANSACOES, &foreign, transacao(1, "c", "x")).await.unwrap();
    assert_eq!(answer.status, 403);
    let answer = request_with(&address, Method::GET, EXTRATO, &[("origin", SHOP)]).await;
    assert_readable(&answer, "through nginx");
    assert_eq!(answer.headers.get_all("access-control-allow-origin").iter().count(), 1);
    assert_eq!(vary(&answer), ["origin"]);
    assert!(raw(&front, b"GET /clientes/1/extrato HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    // When nginx refuses a request itself, it answers with the bytes that a node would send.
    let messages = node.running.node.registry.table().messages.clone();
    let of_node = request(&address, Method::GET, "/nada", "").await;
    let of_nginx = request(&address, Method::GET, "/galo/error/404", "").await;
    assert_eq!((of_node.text(), of_node.status), (of_nginx.text(), of_nginx.status));
    assert_eq!(of_node.header("content-type"), of_nginx.header("content-type"));
    assert_eq!(of_node.text(), r#"{"error":"not_found","message":"caminho desconhecido"}"#);
    let big = "x".repeat(30_000);
    let head = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n{more}connection: close\r\n");
    let refused = [
        (head("GET /galo/error/404", ""), 404),
        (head("POST /clientes/1/transacoes", "content-length: 1000000\r\n"), 413),
        (head("GET /x", "host: b\r\n"), 400),
        (head("TRACE /x", ""), 405),
        (head("POST /x", "transfer-encoding: gzip\r\n"), 501),
    ];
    let assert_error = |answer: &str, status: u16, origin: &str| {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let allowed = origin == SHOP;
        assert_eq!(answer.contains("Access-Control-Allow-Origin: https://shop.example\r\n"), allowed, "{answer}");
        assert_eq!(answer.contains("Access-Control-Allow-Credentials: true\r\n"), allowed, "{answer}");
        let code = Code::all().into_iter().find(|code| code.status() == status).unwrap();
        let body = String::from_utf8(messages.body(code).to_vec()).unwrap();
        assert!(body.contains("\"message\":") && answer.ends_with(&body), "{answer}");
        assert!(
            answer.contains("Vary: Origin\r\n") && answer.contains("Content-Type: application/json\r\n"),
            "{answer}"
        );
        assert_eq!(answer.contains("Retry-After: 1\r\n"), status == 503, "{answer}");
    };
    for origin in [SHOP, EVIL] {
        for (head, status) in &refused {
            // The origin comes first: nginx does not read the rest of a head that it refuses.
            let (line, rest) = head.split_once("\r\n").unwrap();
            assert_error(
                &raw(&front, format!("{line}\r\norigin: {origin}\r\n{rest}\r\n").as_bytes()).await,
                *status,
                origin,
            );
        }
        let long = format!("GET / HTTP/1.1\r\norigin: {origin}\r\nhost: a\r\nx: {big}\r\n\r\n");
        assert_error(&raw(&front, long.as_bytes()).await, 431, origin);
    }
    node.stop().await;
    for origin in [SHOP, EVIL] {
        let request = format!("GET {EXTRATO} HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\nconnection: close\r\n\r\n");
        assert_error(&raw(&front, request.as_bytes()).await, 503, origin);
    }
    assert_eq!(database.ledger_rows(1).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_of_an_allowed_page_reads_its_timeout() {
    let database = TestDatabase::new().await;
    let folder = with_section(SECTION);
    let node = TestNode::guests(&database, &folder).await;
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let head = format!("POST {TRANSACOES} HTTP/1.1\r\nhost: a\r\norigin: {SHOP}\r\ncontent-length: 9\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("access-control-allow-origin: https://shop"),
        "{answer}"
    );
    assert_eq!(request(&node.address(), Method::GET, EXTRATO, "").await.status, 200);
}
