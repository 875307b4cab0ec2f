//! `galo handlers` and `galo rollback`: against a running node, against answers that no node gives, and against an
//! address without a listener.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use galo::develop::build::Profile;
use galo::limits;
use serde_json::json;

use crate::cli::{Program, run};
use crate::harness::{TestDatabase, galo, handlers, scratch};

const TOKEN: &str = "0123456789abcdef";

/// `galo ARGUMENTS --admin ADMIN`.
fn ask(admin: &str, arguments: &[&str], token: Option<&str>) -> (bool, String, String) {
    let mut command = galo();
    command.args(arguments).args(["--admin", admin]);
    if let Some(token) = token {
        command.env("GALO_ADMIN_TOKEN", token);
    }
    run(&mut command)
}

/// Answers one connection with a fixed text, whatever it asks. Returns the address and the request.
fn answering(answer: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        // A client that has read enough may close first.
        let _ = stream.write_all(answer.as_bytes());
        String::from_utf8(head).unwrap()
    });
    (address, asked)
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_are_listed_over_tcp_and_a_rollback_that_cannot_be_is_refused() {
    let database = TestDatabase::new().await;
    let node = Program::serve(&database, handlers(Profile::Release));
    let (success, table, stderr) = ask(&node.admin, &["handlers"], None);
    assert!(success, "{stderr}");
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "ROUTE", "GENERATION", "DIGEST", "STATE", "SINCE", "CALLS", "FAULTS"]);
    assert_eq!(rows[1][..4], ["transacoes", "POST", "/clientes/{id}/transacoes", "1"]);
    assert_eq!((rows[1][4].len(), rows[1][5]), (12, "live"));
    assert_eq!((rows.len(), rows[2][0]), (3, "extrato"));

    let (success, json, stderr) = ask(&node.admin, &["handlers", "--json"], None);
    assert!(success, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(report["handlers"][0]["sha256"].as_str().unwrap().starts_with(rows[1][4]));

    let listed = format!("`galo handlers --admin {}` lists the handlers and their generations\n", node.admin);
    for (name, reason) in [
        ("transacoes", format!("galo: transacoes has no previous generation; {listed}")),
        ("nobody", format!("galo: no handler nobody; {listed}")),
        ("../live", "galo: invalid handler name `../live`: use letters, digits, `-` and `_`\n".to_owned()),
    ] {
        let (success, out, stderr) = ask(&node.admin, &["rollback", name, "-m", "a test"], None);
        assert_eq!((success, out, stderr), (false, String::new(), reason));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_named_by_its_address_a_host_name_or_the_url_of_its_page() {
    let database = TestDatabase::new().await;
    let node = Program::serve(&database, handlers(Profile::Release));
    let (_, port) = node.admin.rsplit_once(':').unwrap();
    let (_folder, component) = crate::harness::scratch("x.wasm");
    std::fs::write(&component, b"x").unwrap();
    let shadow = ["shadow", "extrato", "--component", component.to_str().unwrap()];
    let local = format!("localhost:{port}");
    for admin in [local.clone(), format!("http://{local}"), format!("http://{}/", node.admin)] {
        let (success, table, stderr) = ask(&admin, &["handlers"], None);
        assert!(success && table.contains("extrato"), "{admin}: {stderr}");
        // A command for one node takes them as well; who may bring a component is another matter.
        let stderr = ask(&admin, &shadow, None).2;
        assert!(stderr.contains("refused the request"), "{admin}: {stderr}");
    }
    for (admin, reason) in [
        ("localhost", "`localhost` has no port: use localhost:9998, for example"),
        ("nowhere.invalid:1", "cannot resolve the name nowhere.invalid"),
        (
            "https://localhost:1",
            "`https://localhost:1` is neither `host:port` nor `unix:PATH`: the admin address has no TLS",
        ),
        ("localhost:1/page", "`localhost:1/page` is neither `host:port` nor `unix:PATH`"),
    ] {
        let (success, out, stderr) = ask(admin, &["handlers"], None);
        assert!(!success && out.is_empty() && stderr.contains(reason), "{admin}: {stderr}");
    }
    // A node listens on an address, and not on a URL.
    let (success, _, stderr) = crate::cli::run(galo().args(["serve", "--admin", "http://localhost:9001"]));
    assert!(!success && stderr.contains("nor `unix:PATH`, but a URL"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_token_is_asked_with_it_over_tcp_and_over_a_unix_socket() {
    let database = TestDatabase::new().await;
    let (folder, socket) = scratch("admin.sock");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    for admin in ["0.0.0.0:0", &format!("unix:{}", socket.display())] {
        let mut command = galo();
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", admin, "--handlers"]);
        command.arg(handlers(Profile::Release)).arg("--admin-token-file").arg(&file);
        command.env("DATABASE_URL", database.service_url()).env("GALO_LOG", "trace");
        let node = Program::start(command).until_ready();

        let (success, _, stderr) = ask(&node.admin, &["handlers"], None);
        assert!(!success && stderr.contains("requires a token: use --admin-token-file"), "{stderr}");
        let (success, _, stderr) = ask(&node.admin, &["handlers"], Some("fedcba9876543210"));
        assert!(!success && stderr.contains("did not accept the token"), "{stderr}");
        assert!(!stderr.contains("fedcba9876543210"), "{stderr}");
        let (success, table, stderr) = ask(&node.admin, &["handlers"], Some(TOKEN));
        assert!(success && table.contains("extrato"), "{stderr}");
        let with_file = ["handlers", "--admin-token-file", file.to_str().unwrap()];
        let (success, table, stderr) = ask(&node.admin, &with_file, None);
        assert!(success && table.contains("extrato"), "{stderr}");
        assert!(!node.log().contains(TOKEN), "the log shows the token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_token_is_asked_over_a_unix_socket_named_by_the_environment() {
    let database = TestDatabase::new().await;
    let (_folder, socket) = scratch("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let mut command = galo();
    command.args(["serve", "--listen", "127.0.0.1:0", "--handlers"]).arg(handlers(Profile::Release));
    command.env("DATABASE_URL", database.service_url()).env("GALO_ADMIN", &admin);
    let _node = Program::start(command).until_ready();
    let (success, table, stderr) = run(galo().arg("handlers").env("GALO_ADMIN", &admin));
    assert!(success && table.contains("extrato"), "{stderr}");
}

#[test]
fn an_address_without_a_node_is_reported_with_the_remedy() {
    // Bound and dropped: the kernel does not give the port to another process so soon.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (_folder, socket) = scratch("admin.sock");
    for admin in [free, format!("unix:{}", socket.display())] {
        for command in [&["handlers"][..], &["rollback", "transacoes", "-m", "a test"]] {
            let (success, out, stderr) = ask(&admin, command, None);
            assert!(!success && out.is_empty(), "{out}");
            let advice = format!("nothing listens on {admin}; start a node there, or use the admin address of one: ");
            assert!(stderr.contains(&advice), "{stderr}");
        }
    }
    let (success, _, stderr) = ask("nowhere", &["handlers"], Some("short"));
    assert!(
        !success && stderr.contains("has 2 mistakes") && stderr.contains("GALO_ADMIN_TOKEN: a token has"),
        "{stderr}"
    );
}

#[test]
fn a_rollback_names_both_generations() {
    let handler = json!({
        "name": "transacoes", "routes": ["POST /x"], "generation": 3, "sha256": "ab", "state": "live",
        "since": "2026-01-01T00:00:00.000000Z", "calls": 0, "faults": 0, "previous": null, "refused": null,
        "rolled_back": {"generation": 4, "sha256": "cd", "cause": "asked", "at": "2026-01-01T00:00:00.000000Z"},
    });
    let (admin, asked) = answering(response("200 OK", &handler.to_string()));
    let (success, out, stderr) = ask(&admin, &["rollback", "transacoes", "-m", "a test"], Some(TOKEN));
    assert!(success, "{stderr}");
    assert_eq!(out, "transacoes: rolled back from generation 4 to generation 3\n");
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("POST /handlers/transacoes/rollback HTTP/1.1\r\n"), "{asked}");
    for header in [format!("host: {admin}"), format!("authorization: Bearer {TOKEN}")] {
        assert!(asked.lines().any(|line| line == header), "{asked}");
    }
}

#[test]
fn an_answer_that_is_not_from_a_node_is_an_error_that_a_terminal_can_show() {
    for (answer, reason) in [
        (response("403 Forbidden", "\u{1b}[2Jno\nmore"), r"refused the request: \u{1b}[2Jno"),
        (response("500 Internal Server Error", "\u{9b}x"), r"answered 500 Internal Server Error: \u{9b}x; is it the"),
        (response("200 OK", "<html>"), "the answer of 127.0.0.1"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "did not answer as a node"),
        (response("200 OK", &" ".repeat(limits::OPERATOR_ANSWER_BYTES_MAX + 1)), "length limit exceeded"),
    ] {
        let (admin, asked) = answering(answer);
        let (success, out, stderr) = ask(&admin, &["handlers"], None);
        assert!(!success && out.is_empty() && stderr.contains(reason), "{stderr}");
        assert!(!stderr.trim_end().contains(char::is_control), "{stderr:?}");
        asked.join().unwrap();
    }
}

#[test]
fn a_node_that_does_not_answer_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = silent.local_addr().unwrap().to_string();
    let (success, _, stderr) = ask(&admin, &["handlers"], None);
    let reason = format!("{admin} did not answer within {} s", limits::OPERATOR_TIMEOUT.as_secs());
    assert!(!success && stderr.contains(&reason), "{stderr}");
}
