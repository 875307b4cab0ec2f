//! The admin address: its responses, its readiness, and who may use it.

use std::os::unix::fs::PermissionsExt as _;

use galo::config::{Settings, Token};
use galo::develop::build::Profile;
use galo::guest::Digest;
use galo::report::{NodeReport, State};
use http::Method;

use crate::cli::{Program, run};
use crate::harness::{
    Answer, GALO, TestDatabase, TestNode, galo, handlers, request, request_with, scratch, settings, transacao,
};

const TOKEN: &str = "0123456789abcdef";

/// The project's handlers, with another admin address and perhaps a token.
async fn node(database: &TestDatabase, admin: &str, token: Option<&str>) -> TestNode {
    let settings = Settings {
        admin: admin.parse().unwrap(),
        admin_token: token.map(|token| Token::new(token).unwrap()),
        ..settings(handlers(Profile::Release))
    };
    TestNode::with(database, settings).await
}

/// The status of `GET /handlers` with these headers. Checks that no answer lets another origin read it.
async fn status(node: &TestNode, headers: &[(&str, &str)]) -> u16 {
    let answer = request_with(&node.admin_address(), Method::GET, "/handlers", headers).await;
    assert_no_cors(&answer);
    answer.status.as_u16()
}

fn assert_no_cors(answer: &Answer) {
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reports_that_it_is_live_and_ready_and_what_it_serves() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    assert_eq!(node.admin("/live").await.text(), "live\n");
    assert_eq!(node.admin("/ready").await.text(), "ready\n");
    let shown = node.admin("/handlers").await;
    assert_eq!(shown.header("content-type"), "application/json");
    let shown: NodeReport = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!(shown.handlers.len(), 2);
    let component = std::fs::read(handlers(Profile::Release).join("transacoes.wasm")).unwrap();
    let transacoes = &shown.handlers[0];
    assert_eq!(
        (transacoes.name.as_str(), transacoes.routes.as_slice()),
        ("transacoes", ["POST /clientes/{id}/transacoes".to_owned()].as_slice())
    );
    assert_eq!((transacoes.generation, transacoes.state, transacoes.calls), (1, State::Live, 0));
    assert_eq!(transacoes.sha256, Digest::of(&component).to_string());
    node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await;
    assert_eq!(node.admin("/handlers").await.json()["handlers"][0]["calls"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_has_one_method_and_the_others_name_it() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    for (method, path, allow) in [
        (Method::POST, "/live", "GET, HEAD, OPTIONS"),
        (Method::DELETE, "/handlers", "GET, HEAD, OPTIONS"),
        (Method::OPTIONS, "/metrics", "GET, HEAD, OPTIONS"),
        (Method::GET, "/handlers/transacoes/rollback", "POST, OPTIONS"),
        (Method::OPTIONS, "/handlers/nobody/rollback", "POST, OPTIONS"),
    ] {
        let answer = request(&node.admin_address(), method.clone(), path, "").await;
        let status = if method == Method::OPTIONS { 204 } else { 405 };
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (status, allow), "{path}");
    }
    for path in ["/page", "/api/", "/clientes/1/extrato", "/handlers/", "/handlers/transacoes", "/live/"] {
        assert_eq!(node.admin(path).await.status, 404, "{path}");
    }
    assert_eq!(node.get("/live").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_generation_is_not_rolled_back() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    for (name, status, message) in [
        ("transacoes", 409, "transacoes has no previous generation\n"),
        ("nobody", 404, "no handler nobody\n"),
        ("a/b", 404, "no handler a/b\n"),
    ] {
        let answer = request(&node.admin_address(), Method::POST, &format!("/handlers/{name}/rollback"), "").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, message));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_refused() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let own = format!("http://{}", node.admin_address());
    assert_eq!(status(&node, &[]).await, 200);
    assert_eq!(status(&node, &[("origin", &own), ("sec-fetch-site", "same-origin")]).await, 200);
    assert_eq!(status(&node, &[("sec-fetch-site", "none")]).await, 200);
    for foreign in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(status(&node, &[foreign]).await, 403, "{foreign:?}");
        let rollback = "/handlers/transacoes/rollback";
        let answer = request_with(&node.admin_address(), Method::POST, rollback, &[foreign]).await;
        assert_eq!(answer.status, 403, "{foreign:?}");
    }
    let preflight = [("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    let answer = request_with(&node.admin_address(), Method::OPTIONS, "/handlers/x/rollback", &preflight).await;
    assert_eq!(answer.status, 403);
    assert_no_cors(&answer);
    assert!(answer.text().contains("another origin"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_pointed_at_the_node_is_refused_on_tcp_only() {
    let database = TestDatabase::new().await;
    let tcp = TestNode::start(&database).await;
    let (_folder, socket) = scratch("admin.sock");
    let unix = node(&database, &format!("unix:{}", socket.display()), None).await;
    for (host, on_tcp) in [("localhost", 200), ("[::1]:80", 200), ("127.0.0.1", 200), ("evil.example:9998", 403)] {
        assert_eq!(status(&tcp, &[("host", host)]).await, on_tcp, "{host}");
        assert_eq!(status(&unix, &[("host", host)]).await, 200, "{host}");
    }
    assert_eq!(unix.admin("/ready").await.text(), "ready\n");
    assert_eq!(status(&unix, &[("origin", "http://evil.example")]).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_everywhere_but_not_of_a_load_balancer() {
    let database = TestDatabase::new().await;
    let right = format!("Bearer {TOKEN}");
    let (_folder, socket) = scratch("admin.sock");
    for admin in ["127.0.0.1:0", "0.0.0.0:0", &format!("unix:{}", socket.display())] {
        let node = node(&database, admin, Some(TOKEN)).await;
        assert_eq!(status(&node, &[("authorization", &right)]).await, 200, "{admin}");
        for wrong in [&[][..], &[("authorization", "Bearer 0123456789abcdeF")], &[("authorization", TOKEN)]] {
            let answer = request_with(&node.admin_address(), Method::GET, "/handlers", wrong).await;
            assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"), "{wrong:?}");
            assert!(!answer.text().contains("transacoes"), "{answer:?}");
        }
        for path in ["/metrics", "/nowhere"] {
            assert_eq!(node.admin(path).await.status, 401, "{path}");
        }
        let rollback = "/handlers/nobody/rollback";
        assert_eq!(request(&node.admin_address(), Method::POST, rollback, "").await.status, 401);
        let header = [("authorization", right.as_str())];
        assert_eq!(request_with(&node.admin_address(), Method::POST, rollback, &header).await.status, 404);
        assert_eq!(node.admin("/live").await.text(), "live\n");
        assert_eq!(node.admin("/ready").await.text(), "ready\n");
        // A web page is refused even with the right token.
        let foreign = [("authorization", right.as_str()), ("origin", "http://evil.example")];
        assert_eq!(status(&node, &foreign).await, 403);
    }
}

#[test]
fn an_admin_address_that_the_network_reaches_has_a_token_or_the_node_does_not_start() {
    let (_folder, file) = scratch("token");
    let refusal = |arguments: &[&str], token: Option<&str>| {
        let mut command = galo();
        command.args(["serve", "--listen", "nowhere", "--database-url", "postgres://u@127.0.0.1:1/d"]);
        command.args(arguments);
        if let Some(token) = token {
            command.env("GALO_ADMIN_TOKEN", token);
        }
        let (success, _, stderr) = run(&mut command);
        assert!(!success && stderr.contains("--listen: `nowhere`"), "{stderr}");
        stderr
    };
    for admin in ["0.0.0.0:0", "[::]:0", "10.0.0.1:9998"] {
        let message = refusal(&["--admin", admin], None);
        assert!(message.contains("has 2 mistakes"), "{message}");
        assert!(message.contains(&format!("--admin: {admin} is reachable from other machines")), "{message}");
        let message = refusal(&["--admin", admin], Some(TOKEN));
        assert!(message.contains("has 1 mistake\n"), "{message}");
    }
    let message = refusal(&["--admin", "127.0.0.1:0"], Some("hunter2"));
    assert!(message.contains("GALO_ADMIN_TOKEN: a token has 16 to 1024 characters, this one has 7"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");

    let option = ["--admin", "0.0.0.0:0", "--admin-token-file", file.to_str().unwrap()];
    let message = refusal(&option, None);
    assert!(message.contains("--admin-token-file: ") && message.contains("No such file"), "{message}");
    for (text, mistakes) in [
        (TOKEN.to_owned(), 1),
        (format!("{TOKEN}\n"), 1),
        (format!("{TOKEN}\r\n"), 1),
        (format!("{TOKEN}\n\n"), 2),
        ("short\n".to_owned(), 2),
        ("x".repeat(4096), 2),
    ] {
        std::fs::write(&file, &text).unwrap();
        let message = refusal(&option, None);
        assert!(message.contains(&format!("has {mistakes} mistake")), "{text:?}: {message}");
    }
    std::fs::write(&file, TOKEN).unwrap();
    let message = refusal(&option, Some(TOKEN));
    assert!(message.contains("--admin-token-file: GALO_ADMIN_TOKEN is set too; use only one of them"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_its_mode_whatever_the_umask_is() {
    // Given a umask that masks no permission and one that masks all, when a node listens on sockets, then its owner's
    // group can use the one for requests, and only its owner that of the admin address.
    let database = TestDatabase::new().await;
    for umask in ["000", "027", "777"] {
        let (_folder, path) = scratch("galo.sock");
        let admin = path.with_file_name("admin.sock");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "umask \"$0\" && exec \"$@\"", umask, GALO, "serve", "--listen"]);
        command.arg(format!("unix:{}", path.display())).arg("--admin").arg(format!("unix:{}", admin.display()));
        command.arg("--handlers").arg(handlers(Profile::Release)).env("DATABASE_URL", database.service_url());
        // A folder that exists: with the umask 777 the node could not enter a cache folder that it makes itself.
        command.env("XDG_CACHE_HOME", path.parent().unwrap());
        let _program = Program::start(command).until_ready();
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&admin)), (0o660, 0o600), "umask {umask}");
    }
}
