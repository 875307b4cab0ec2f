//! What a proxy in front must know, and what a node provides for it: the deployed routes, the bound on a response's
//! head, the warnings of `galo check`. How nginx behaves is tested in `host/bank/tests/processes/repeats.rs`.

use std::fs;

use galo::develop::build::Profile;
use galo::limits;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::{Program, run};
use crate::fixture::{calling, replying_headers};
use crate::harness::{Guests, TestDatabase, TestNode, checkout, galo, handlers, request_with, settings};

const KEYED: &str = "headers = [\"idempotency-key\", \"galo-try\"]\nretry = \"key\"\n";

#[test]
fn the_deployed_routes_are_those_of_the_manifest() {
    let root = checkout().root;
    let (success, written, stderr) = run(galo().args(["proxy", "nginx"]).arg(&root));
    assert!(success, "{stderr}");
    let deployed = fs::read_to_string(root.join("deploy/nginx/routes/galo.conf")).unwrap();
    assert!(written == deployed, "cargo run -p galo -- proxy nginx . >deploy/nginx/routes/galo.conf");
    for name in ["a b", "", "x;y", "{"] {
        let (success, written, stderr) = run(galo().args(["proxy", "nginx", "--upstream", name]).arg(&root));
        assert!(!success && written.is_empty() && stderr.contains("--upstream"), "{name}: {stderr}");
    }
    let (_, written, _) = run(galo().args(["proxy", "nginx", "--upstream", "api"]).arg(&root));
    assert_eq!(
        written,
        deployed
            .replace("http://nodes", "http://api")
            .replace("upstream nodes", "upstream api")
            .replace("host nodes;", "host api;")
    );
}

#[test]
fn the_proxy_takes_the_head_that_a_node_may_send() {
    let nginx = checkout().root.join("deploy/nginx");
    let read = |name: &str| fs::read_to_string(nginx.join(name)).unwrap();
    let set = |text: &str| {
        let directives = text.lines().filter_map(|line| line.trim().strip_prefix("proxy_buffer_size "));
        directives.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(set(&read("routes/galo.conf")), [format!("{}k;", limits::RESPONSE_HEAD_BYTES_MAX / 1024)]);
    assert!(set(&read("nginx.conf")).is_empty(), "the number belongs in routes/galo.conf only");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_head_is_no_longer_than_the_proxy_takes() {
    // Given as many headers as a guest may set, of as many bytes, when the answer also closes its connection, then its
    // head stays within its limit, and the host's part of it within its share.
    let count = u32::try_from(limits::RESPONSE_HEADERS_MAX).unwrap();
    let each = limits::RESPONSE_HEADERS_BYTES_MAX / limits::RESPONSE_HEADERS_MAX;
    let value = "x".repeat(each - "x-long".len() - 4);
    let database = TestDatabase::new().await;
    let guests =
        Guests::new().add("long", &replying_headers(count, "x-long", &value), "limits = { deadline_ms = 2000 }");
    let node = TestNode::with(&database, settings(guests.folder.path())).await;
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(b"GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close"), "{head}");
    let bytes = head.len() + 4;
    assert!(bytes > limits::RESPONSE_HEADERS_BYTES_MAX && bytes <= limits::RESPONSE_HEAD_BYTES_MAX, "{bytes}");
    assert!(bytes - limits::RESPONSE_HEADERS_BYTES_MAX <= limits::HOST_HEAD_BYTES_MAX, "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_calls_that_would_be_recorded_twice() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE FUNCTION act() RETURNS integer LANGUAGE sql VOLATILE AS 'SELECT 1';
             CREATE FUNCTION look() RETURNS integer LANGUAGE sql STABLE AS 'SELECT 1'",
        )
        .await;
    let guests = Guests::new().add("reads", &calling("look"), "procedures = [\"look\"]").add(
        "writes",
        &calling("act"),
        "procedures = [\"look\", \"act\"]",
    );
    let check = |manifest: &str| {
        guests.put_file("galo.toml", manifest.as_bytes());
        let (success, shown, stderr) =
            run(galo().arg("check").arg(guests.folder.path()).env("DATABASE_URL", database.service_url()));
        assert!(success, "{stderr}");
        shown.lines().filter(|line| line.starts_with("warning: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let manifest = guests.manifest();
    let post = manifest.replace("GET /writes", "POST /writes");
    for (manifest, warning) in [
        (
            manifest.clone(),
            "warning: writes (line 6): `act` may write, and browsers and proxies repeat a GET request; use POST",
        ),
        (
            post.clone(),
            "warning: writes (line 6): `act` may write, and a request that a client sends again is carried out again",
        ),
    ] {
        let warnings = check(&manifest);
        assert!(warnings.len() == 1 && warnings[0].starts_with(warning), "{warnings:?}");
    }
    for more in ["headers = [\"idempotency-key\"]\n", KEYED] {
        assert_eq!(check(&format!("{}{more}", post.trim_end_matches('\n').to_owned() + "\n")), [""; 0], "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_try_is_logged_once_with_its_remedy() {
    let database = TestDatabase::new().await;
    let mut command = galo();
    command.arg("serve").env("GALO_PROXY", "yes");
    let program = Program::serve_with(command, &database, handlers(Profile::Release));
    for _ in 0..3 {
        let answer = request_with(&program.listen, Method::GET, "/clientes/1/extrato", &[("galo-try", "a")]).await;
        let unavailable = r#"{"error":"unavailable","message":"serviço indisponível"}"#;
        assert_eq!((answer.status.as_u16(), answer.text()), (503, unavailable));
    }
    let line = program.wait_for("request of a proxy that may repeat it refused");
    assert!(line.contains("extrato") && line.contains("galo proxy nginx"), "{line}");
    assert_eq!(program.log().matches("request of a proxy that may repeat it refused").count(), 1, "{}", program.log());
}
