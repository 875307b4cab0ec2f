//! What clients read about a failure: a code, and beside it the text that the manifest has for it.

use std::collections::BTreeSet;

use galo::config::Settings;
use galo::failure::Code;
use galo::wire::Messages;
use http::Method;

use crate::fixture::{Guest, replying};
use crate::harness::{Connection, Guests, TestDatabase, TestNode, checkout, request, settings, until};

/// A section with a text for every code.
fn section() -> String {
    let texts = Code::all().map(|code| format!("{0} = \"{0}: não, \\\"é\\\"\"\n", code.as_str()));
    format!("\n[messages]\n{}", texts.concat())
}

/// What a client reads in that case.
fn worded(code: Code) -> String {
    format!(r#"{{"error":"{0}","message":"{0}: não, \"é\""}}"#, code.as_str())
}

fn plain(code: Code) -> String {
    format!(r#"{{"error":"{}"}}"#, code.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_has_the_text_of_the_manifest_and_the_section_is_live() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("trap", &Guest::default().component(), "").add(
        "json",
        &replying(200, None, 0).component(),
        "content_type = \"application/json\"",
    );
    let node = TestNode::guests(&database, &guests).await;
    let large = "x".repeat(9_000);
    type Case<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a str, Code);
    let cases: [Case<'_>; 7] = [
        (Method::GET, "/nowhere", &[], "", Code::NotFound),
        (Method::DELETE, "/trap", &[], "", Code::MethodNotAllowed),
        (Method::GET, "/trap", &[("host", "a b")], "", Code::MalformedRequest),
        (Method::GET, "/trap", &[("content-encoding", "gzip")], "{}", Code::ContentEncodingUnsupported),
        (Method::GET, "/json", &[], "{}", Code::ContentTypeUnsupported),
        (Method::GET, "/trap", &[], &large, Code::BodyTooLarge),
        (Method::GET, "/trap", &[], "", Code::InternalError),
    ];
    let assert_all = async |expected: fn(Code) -> String| {
        for (method, path, headers, body, code) in &cases {
            let mut connection = Connection::open(&node.address()).await;
            let answer = connection.send_with(method.clone(), path, headers, (*body).to_owned()).await.unwrap();
            assert_eq!((answer.status, answer.text()), (code.status(), expected(*code).as_str()), "{method} {path}");
            assert_eq!(answer.header("content-type"), "application/json");
        }
    };
    let is_live = |section: &str| {
        let live = node.running.node.registry.table().messages != *Messages::plain();
        live != section.is_empty()
    };
    assert_all(plain).await;
    let manifest = guests.manifest();
    guests.put_file("galo.toml", (manifest.clone() + &section()).as_bytes());
    until("the section is live", String::new, || is_live("section")).await;
    assert_all(worded).await;
    // An invalid section changes nothing.
    guests.put_file("galo.toml", (manifest.clone() + "\n[messages]\nteapot = \"x\"\n").as_bytes());
    let (_, why) = node.until_manifest_refused().await;
    assert!(why.contains("unknown code `teapot`, expected one of malformed_request, "), "{why}");
    assert_all(worded).await;
    guests.put_file("galo.toml", manifest.as_bytes());
    until("the section is gone", String::new, || is_live("")).await;
    assert_all(plain).await;
    // The admin address answers operators and their programs, not the application's clients.
    let mut admin = Connection::open(&node.admin_address()).await;
    let answer = admin.send_with(Method::GET, "/live", &[("host", "a b")], "").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (400, plain(Code::MalformedRequest).as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_node_answers_with_the_text_of_its_manifest() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("trap", &Guest::default().component(), "");
    guests.put_file("galo.toml", (guests.manifest() + &section()).as_bytes());
    let node = TestNode::with(&database, Settings { in_flight_max: 0, ..settings(guests.folder.path()) }).await;
    let answer = request(&node.address(), Method::GET, "/trap", "").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (503, worded(Code::Unavailable).as_str()));
    assert_eq!(answer.header("retry-after"), "1");
}

#[test]
fn the_documented_codes_are_those_of_the_program() {
    let document = std::fs::read_to_string(checkout().root.join("docs/operating.md")).unwrap();
    let section = document.split("\n## Errors\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: BTreeSet<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), Code::COUNT);
    for code in Code::all() {
        let row = format!("| `{}` | {} | ", code.as_str(), code.status().as_u16());
        assert!(rows.iter().any(|line| line.starts_with(&row)), "`{row}` is missing in docs/operating.md");
    }
}
