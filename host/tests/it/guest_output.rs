//! Bounds on what a guest produces: in a response, in the log, and in what an operator is shown.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use http::Method;

use crate::cli::Program;
use crate::fixture::{Guest, calling, replying, replying_headers};
use crate::harness::{Guests, TestDatabase, TestNode, request};

/// Limits that allow a guest large replies.
const GENEROUS: &str = "limits = { memory_bytes_max = 4194304, reply_bytes_max = 4194304 }";

/// The bytes of an answer, exactly as received.
fn raw(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_their_limits_are_the_guests_fault_and_no_line_repeats_them() {
    let database = TestDatabase::new().await;
    let long = "a".repeat(240_000);
    let guests = Guests::new()
        .add("many", &replying_headers(30_000, "x", ""), GENEROUS)
        .add("long_name", &replying_headers(1, &long, ""), GENEROUS)
        .add("odd_name", &replying_headers(1, &"\\1b ".repeat(700), ""), GENEROUS)
        .add("long_value", &replying_headers(1, "x", &long), GENEROUS)
        .add("procedure", &calling(&"p".repeat(200)), "");
    let names = ["many", "long_name", "odd_name", "long_value", "procedure"];
    let node = tokio::task::block_in_place(|| Program::serve(&database, guests.folder.path()));
    for name in names {
        assert_eq!(request(&node.listen, Method::GET, &format!("/{name}"), "").await.status, 500, "{name}");
        let line = tokio::task::block_in_place(|| node.wait_for(&format!("guest faulted handler=\"{name}\"")));
        assert!(line.len() < 1000, "{name}: a line of {} bytes", line.len());
    }
    assert!(!node.log().contains("panic"), "{}", node.log());
    let shown = request(&node.admin, Method::GET, "/handlers", "").await.json();
    let faults: Vec<_> =
        shown["handlers"].as_array().unwrap().iter().map(|handler| handler["faults"].clone()).collect();
    assert_eq!(faults, [1; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_with_too_many_headers_is_rescued_and_its_report_is_short() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &replying(200, None, 0).component(), GENEROUS);
    let node = TestNode::guests(&database, &guests).await;
    for (generation, bad) in [(2, replying_headers(30_000, "x", "")), (3, replying_headers(1, &" b".repeat(9000), ""))]
    {
        guests.put("x", &bad);
        node.until_generation("x", generation).await;
        assert_eq!(node.get("/x").await.status, 200);
        assert_eq!(node.generation("x"), 1);
        let shown = node.admin("/handlers").await;
        assert!(shown.body.len() < 3000, "{} bytes", shown.body.len());
        assert!(shown.json()["handlers"][0]["rolled_back"]["cause"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_allowed_fits_the_buffer_of_the_proxy() {
    let database = TestDatabase::new().await;
    // The limit is 3,072 bytes, here 64 headers of 48: a name of two, a value of 42, and four for `: ` and the line
    // end.
    let guests = Guests::new()
        .add("most", &replying_headers(64, "xy", &"v".repeat(42)), GENEROUS)
        .add("bytes", &replying_headers(1, "xy", &"v".repeat(3067)), GENEROUS)
        .add("count", &replying_headers(65, "x", "v"), GENEROUS);
    let node = TestNode::guests(&database, &guests).await;
    let address = node.address();
    let head = tokio::task::spawn_blocking(move || raw(&address, "/most")).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.matches("xy: v").count() == 64, "{head}");
    assert!(head.len() <= 4096, "a head of {} bytes", head.len());
    assert_eq!(node.get("/bytes").await.status, 500);
    assert_eq!(node.get("/count").await.status, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_steer_the_proxy_or_frame_the_message_are_refused() {
    let database = TestDatabase::new().await;
    let refused = [
        "x-accel-redirect",
        "X-Accel-Expires",
        "x-sendfile",
        "x-lighttpd-send-file",
        "x-litespeed-location",
        "x-reproxy-url",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "date",
    ];
    let mut guests = Guests::new();
    for (index, name) in refused.iter().enumerate() {
        guests = guests.add(&format!("g{index}"), &replying(200, Some((name, "1")), 0).component(), "");
    }
    let guests = guests.add("kept", &replying(200, Some(("surrogate-control", "max-age=1")), 0).component(), "");
    let node = TestNode::guests(&database, &guests).await;
    for (index, name) in refused.iter().enumerate() {
        let answer = node.get(&format!("/g{index}")).await;
        assert_eq!(answer.status, 500, "{name}");
        assert!(
            ["x-accel-redirect", "x-accel-expires", "x-sendfile"].iter().all(|name| answer.header(name).is_empty())
        );
    }
    assert_eq!(node.get("/kept").await.header("surrogate-control"), "max-age=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_failures_are_logged_once_and_then_counted() {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION falha() RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'").await;
    let guests = Guests::new().add("trap", &Guest::default().component(), "").add(
        "falha",
        &calling("falha"),
        "procedures = [\"falha\"]",
    );
    let node = tokio::task::block_in_place(|| Program::serve(&database, guests.folder.path()));
    for _ in 0..50 {
        assert_eq!(request(&node.listen, Method::GET, "/trap", "").await.status, 500);
        assert_eq!(request(&node.listen, Method::GET, "/falha", "").await.status, 500);
    }
    let count = |text: &str| node.log().lines().filter(|line| line.contains(text)).count();
    let (faulted, failed) =
        tokio::task::block_in_place(|| (node.wait_for("guest faulted again"), node.wait_for("procedure failed again")));
    assert!(faulted.contains("handler=\"trap\" generation=1 what=\"trap in prepare\" times=49"), "{faulted}");
    assert!(failed.contains("handler=\"falha\" generation=1 what=\"falha P0001\" times=49"), "{failed}");
    assert_eq!((count("guest faulted handler"), count("procedure failed handler")), (1, 1), "{}", node.log());
    let metrics = request(&node.admin, Method::GET, "/metrics", "").await;
    let counted = r#"galo_faults_total{handler="trap",kind="trap"} 50"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_logged_with_the_functions_it_was_in() {
    let database = TestDatabase::new().await;
    let mangled = "_ZN7extrato6render5total17h0123456789abcdefE";
    let items = format!("(func ${mangled} unreachable) (func $outer call ${mangled})").into();
    let guests = Guests::new().add(
        "x",
        &Guest { items, prepare: "call $outer unreachable", ..Guest::default() }.component(),
        "",
    );
    let node = tokio::task::block_in_place(|| Program::serve(&database, guests.folder.path()));
    assert_eq!(request(&node.listen, Method::GET, "/x", "").await.status, 500);
    let line = tokio::task::block_in_place(|| node.wait_for("guest faulted"));
    assert!(line.contains("backtrace=\"extrato::render::total < outer"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_without_a_reason_or_without_a_body_goes_out_as_http_has_it() {
    let database = TestDatabase::new().await;
    let guests = Guests::new()
        .add("reset", &replying(205, None, 100).component(), "")
        .add("empty", &replying(204, None, 100).component(), "")
        .add("odd", &replying(599, None, 3).component(), "");
    let node = TestNode::guests(&database, &guests).await;
    let address = node.address();
    let [reset, empty, odd] =
        tokio::task::spawn_blocking(move || ["/reset", "/empty", "/odd"].map(|path| raw(&address, path)))
            .await
            .unwrap();
    assert!(reset.starts_with("HTTP/1.1 205 Reset Content\r\n") && reset.ends_with("\r\n\r\n"), "{reset}");
    assert!(reset.contains("content-length: 0\r\n"), "{reset}");
    assert!(empty.starts_with("HTTP/1.1 204 No Content\r\n") && empty.ends_with("\r\n\r\n"), "{empty}");
    assert!(odd.starts_with("HTTP/1.1 599 \r\n"), "{odd}");
}
