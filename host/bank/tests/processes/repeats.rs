//! What nginx sends to a second node, with the configuration that is deployed and the routes that `galo proxy nginx`
//! writes: in front of nodes that fail in every way they can and note what they get, and in front of real ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use galo::{limits, manifest, proxy};
use galo_bank::client::{Base, Client, Reuse};
use galo_bank::faults::Stack as _;
use galo_bank::keyless::{Broken, Recorded, Sent, broken};
use galo_testing::nginx::Nginx;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cut::Cut;
use crate::keyless;
use crate::node::{PATIENCE, POLL_EVERY};
use crate::postgres::Database;
use crate::stack::{Stack, block_on, front, front_socket};

/// Two routes with a key and one without, and one without that a keyed one would take, if the literal did not win.
const MANIFEST: &str = r#"
[[handler]]
name = "keyed"
component = "a.wasm"
route = "POST /keyed/{id}"
headers = ["idempotency-key", "galo-try"]
retry = "key"

[[handler]]
name = "put"
component = "a.wasm"
route = "PUT /put"
headers = ["idempotency-key", "galo-try"]
retry = "key"

[[handler]]
name = "special"
component = "a.wasm"
route = "POST /keyed/special"

[[handler]]
name = "plain"
component = "a.wasm"
route = "POST /plain"
"#;

/// How a node fails. The client names it in the header `Fails`.
const FAILS: [&str; 6] = ["closes", "dies", "garbles", "floods", "sheds", "hangs"];

/// Requests, and whether nginx may send each to a second node.
const REQUESTS: &[(&str, &str, bool)] = &[
    ("POST", "/keyed/1", true),
    ("POST", "/keyed/a%2fb", false),
    ("POST", "/keyed/special", false),
    ("POST", "/keyed/1/2", false),
    ("PUT", "/keyed/1", false),
    ("PATCH", "/keyed/1", false),
    ("DELETE", "/keyed/1", false),
    ("GET", "/keyed/1", true),
    ("PUT", "/put", true),
    ("POST", "/put", false),
    ("POST", "/plain", false),
    ("PATCH", "/plain", false),
    ("PUT", "/plain", false),
    ("DELETE", "/plain", false),
    ("PAY", "/plain", false),
    ("GET", "/plain", true),
    ("HEAD", "/plain", true),
    ("OPTIONS", "/plain", true),
];

/// The requests with a key.
fn is_keyed(method: &str, path: &str) -> bool {
    matches!((method, path), ("POST", "/keyed/1") | ("PUT", "/put"))
}

/// The heads that nodes got, by the number of the request.
type Got = Arc<Mutex<BTreeMap<usize, Vec<String>>>>;

/// Something that takes requests as a node does, and fails as the request asks it to.
struct Fake {
    socket: PathBuf,
    task: JoinHandle<()>,
}

impl Fake {
    fn start(folder: &Path, name: &str, got: &Got) -> Self {
        let socket = folder.join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let got = Arc::clone(got);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&got)));
            }
        });
        Self { socket, task }
    }
}

/// One request of a connection, and the end of it.
async fn serve(mut stream: UnixStream, got: Got) -> Option<()> {
    let head = read_head(&mut stream).await?;
    if let Some(number) = header(&head, "number").first() {
        got.lock().unwrap().entry(number.parse().unwrap()).or_default().push(head.clone());
    }
    let long = "x".repeat(limits::RESPONSE_HEAD_BYTES_MAX);
    let answer = match header(&head, "fails").first().map_or("", String::as_str) {
        "closes" => String::new(),
        "dies" => "HTTP/1.1 200 OK\r\ncontent-le".to_owned(),
        "garbles" => "HTTP/1.1 200 OK\r\nnone\0: of these\r\n\r\n".to_owned(),
        "floods" => format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nlong: {long}\r\n\r\n"),
        "sheds" => "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "hangs" => {
            // Until nginx gives it up.
            let _ = stream.read(&mut [0]).await;
            String::new()
        }
        _ => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    stream.write_all(answer.as_bytes()).await.ok()
}

async fn read_head(stream: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// The values of a header.
fn header(head: &str, name: &str) -> Vec<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

/// Sends a request with what clients may not decide, and returns the status.
async fn send(front: &Path, method: &str, path: &str, more: &str) -> String {
    let mut stream = UnixStream::connect(front).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\nGalo-Try: mine\r\n\
         galo-try: mine-2\r\nX-Request-Id: mine\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Two such nodes behind nginx.
async fn fakes() -> (TempDir, [Fake; 2], Nginx, Got) {
    let folder = tempfile::tempdir().unwrap();
    let got = Got::default();
    let nodes = ["node-1.sock", "node-2.sock"].map(|name| Fake::start(folder.path(), name, &got));
    let manifest = manifest::parse(Path::new("galo.toml"), MANIFEST).unwrap();
    let sockets = nodes.each_ref().map(|node| node.socket.clone());
    let nginx = front(folder.path(), &sockets, &proxy::nginx(&manifest, "nodes")).await;
    (folder, nodes, nginx, got)
}

pub fn nginx_repeats_what_has_a_key_or_only_reads() {
    block_on(async {
        let (folder, _nodes, _nginx, got) = fakes().await;
        let all: Vec<_> = REQUESTS.iter().flat_map(|request| FAILS.map(|fails| (request, fails))).collect();
        join_all(all.iter().enumerate().map(async |(number, ((method, path, _), fails))| {
            let more = format!("Number: {number}\r\nFails: {fails}\r\n");
            // A failure is nginx's to answer, in the words of a node.
            assert_eq!(send(&front_socket(folder.path()), method, path, &more).await, "503", "{method} {path} {fails}");
        }))
        .await;
        let got = got.lock().unwrap();
        for (number, ((method, path, repeated), fails)) in all.iter().enumerate() {
            let (heads, shown) = (&got[&number], format!("{method} {path} {fails}"));
            assert_eq!(heads.len(), if *repeated { 2 } else { 1 }, "{shown}");
            let tries: Vec<_> = heads.iter().flat_map(|head| header(head, "galo-try")).collect();
            let ids: Vec<_> = heads.iter().flat_map(|head| header(head, "x-request-id")).collect();
            if is_keyed(method, path) {
                // The id is the end of it, and a client's own is removed all the same.
                assert!(ids.is_empty(), "{shown} {ids:?}");
                assert_eq!(tries.len(), 2, "{shown}");
                let id = tries[0].rsplit('-').next().unwrap();
                assert!(tries[0] == tries[1] && id.len() == 32 && id != tries[0], "{shown} {tries:?}");
            } else {
                let named = ids.len() == heads.len() && ids.iter().all(|id| *id == ids[0] && id.len() == 32);
                assert!(named && tries.is_empty(), "{shown} {ids:?} {tries:?}");
            }
        }
        // No two requests are the same try.
        let tries: Vec<_> = got.values().filter_map(|heads| header(&heads[0], "galo-try").pop()).collect();
        assert_eq!(tries.iter().collect::<std::collections::BTreeSet<_>>().len(), tries.len());
    });
}

pub fn a_node_that_is_gone_costs_no_post() {
    // What was not sent is sent to the other node, whatever it is.
    block_on(async {
        let (folder, [gone, _other], _nginx, _) = fakes().await;
        gone.task.abort();
        let _ = gone.task.await;
        for path in ["/plain", "/keyed/1"] {
            for _ in 0..4 {
                assert_eq!(send(&front_socket(folder.path()), "POST", path, "").await, "200", "{path}");
            }
        }
    });
}

/// Sends marks one after the other, until `until` holds.
async fn marks(base: Base, mut until: impl FnMut() -> bool) -> Vec<Sent> {
    let mut client = Client::new(base, Reuse::Never);
    let (mut sent, begun) = (Vec::new(), Instant::now());
    while !until() {
        assert!(begun.elapsed() < PATIENCE, "too little happens");
        let mark = format!("m{}", sent.len());
        let status = client.send_to(keyless::PATH, &mark).await.map(|(status, _)| status).ok();
        sent.push(Sent { mark, status });
    }
    sent
}

/// A request that a proxy sends twice without a key is recorded twice: the bank test can fail.
pub fn a_proxy_that_repeats_everything_is_caught() {
    block_on(async {
        let database = Database::shared().await;
        let cut = Cut::start(&database.door(), &database.socket(), 1);
        let everything = |routes: String| routes.replace("http_503;", "http_503 non_idempotent;");
        let stack = Stack::with_routes(database, everything).await;
        let (cutting, done) = (cut.answers(20), std::cell::Cell::new(false));
        let (sent, ()) = tokio::join!(marks(stack.base(), || done.get()), async {
            cutting.await;
            done.set(true);
        });
        let recorded = settled(&stack.database).await;
        let broken = broken(&sent, &recorded);
        assert!(broken.iter().any(|broken| matches!(broken, Broken::Twice(_))), "{broken:?}");
    });
}

/// What a proxy marks as sent twice, maybe, is not carried out by a route without a key, not even once.
pub fn a_proxy_with_an_old_configuration_is_refused() {
    block_on(async {
        let old = |routes: String| {
            let named = routes.replace("set $galo_try \"\";", "set $galo_try $msec-$request_id;");
            named.replace("http_503;", "http_503 non_idempotent;")
        };
        let stack = Stack::with_routes(Database::shared().await, old).await;
        let mut left = 10;
        let sent = marks(stack.base(), || {
            left -= 1;
            left < 0
        });
        let sent = sent.await;
        assert!(sent.iter().all(|sent| sent.status == Some(503)), "{sent:?}");
        assert_eq!(keyless::recorded(&stack.database).await, Recorded::default());
        // The route with a key is served.
        let mut client = Client::new(stack.base(), Reuse::Never);
        let body = r#"{"valor": 1, "tipo": "c", "descricao": "x"}"#;
        assert_eq!(client.post(1, &[], body).await.unwrap().0, 200);
    });
}

pub fn a_response_head_is_at_the_limit_or_is_not_sent() {
    block_on(async {
        let most = limits::RESPONSE_HEADERS_BYTES_MAX - "x-long".len() - 4;
        let stack = Stack::start(Database::shared().await).await;
        let folder = stack.handlers();
        let long = |bytes: usize| keyless::summing("x-long", &"x".repeat(bytes));
        for (name, component) in [("most", long(most)), ("over", long(most + 1))] {
            std::fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
        }
        keyless::add(folder, "most", "/most", "");
        keyless::add(folder, "over", "/over", "");
        stack.until_handler("over").await;
        let mut client = Client::new(stack.base(), Reuse::Never);
        assert_eq!(client.send_to("/most", "most").await.unwrap().0, 200);
        // It is carried out, and its answer is not one: a fault, which nginx does not repeat.
        assert_eq!(client.send_to("/over", "over").await.unwrap().0, 500);
        let recorded = settled(&stack.database).await;
        assert_eq!(recorded, Recorded { marks: vec!["most".to_owned(), "over".to_owned()], counted: 2 });
        assert_eq!(stack.nginx.as_ref().unwrap().errors(), 0);
    });
}

/// What is recorded when no call is under way any more.
async fn settled(database: &Database) -> Recorded {
    let begun = Instant::now();
    while database.calls_under_way().await > 0 {
        assert!(begun.elapsed() < PATIENCE, "calls do not end");
        sleep(POLL_EVERY).await;
    }
    keyless::recorded(database).await
}
