//! The audit log: everything that an operator does to a node is an entry that says who, what, when and why, and an
//! event of the node, wherever it came from.

use galo::config::{Readers, Settings};
use galo::guest::Digest;
use http::Method;
use serde_json::Value;

use crate::cli::run;
use crate::fixture::{answers, marked};
use crate::harness::{Guests, TestDatabase, TestNode, galo, request, scratch, settings};

/// The entries of the audit log: handler, event, who and why.
async fn story(node: &TestNode) -> Vec<[String; 4]> {
    let lines = node.admin("/api/audit").await;
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert!(entry["at"].as_str().unwrap().ends_with('Z'), "{entry}");
        ["handler", "event", "who", "why"].map(|name| entry[name].as_str().unwrap_or("-").to_owned())
    };
    lines.text().lines().map(entry).collect()
}

/// Waits until the log has an entry, and returns it.
async fn entry(node: &TestNode, event: &str) -> [String; 4] {
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let story = story(node).await;
        if let Some(found) = story.iter().rfind(|entry| entry[1] == event) {
            return found.clone();
        }
        assert!(std::time::Instant::now() < deadline, "no {event}: {story:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_is_an_entry_and_an_event() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "gate = \"refuse\"");
    let node =
        TestNode::with(&database, Settings { readers: Readers::Loopback, ..settings(guests.folder.path()) }).await;
    let admin = node.admin_address();
    let told = |found: [String; 4], expected: [&str; 4]| assert_eq!(found, expected);
    // The switch of recording, with and without a name.
    let post = async |path: &str| request(&admin, Method::POST, path, "").await;
    assert_eq!(post("/api/recording?every=1&who=ana&why=looking%20closer").await.status, 200);
    told(entry(&node, "recording").await, ["-", "recording", "ana", "1 in 1 requests: looking closer"]);
    assert_eq!(node.get("/x").await.status, 200);
    crate::harness::until("it is recorded", String::new, || node.handler("x").ring.get().unwrap().count().0 == 1).await;
    // A candidate of the folder that is refused, and accepted.
    guests.put("x", &answers(201));
    node.until_refused("x").await;
    let refused = entry(&node, "refused").await;
    assert!(refused[2] == "handlers folder" && refused[3].starts_with("recorded: 1 of 1 differ"), "{refused:?}");
    let digest = Digest::of(&answers(201)).to_string();
    let ask = |arguments: &[&str]| {
        let (success, stdout, stderr) = run(galo().args(arguments).args(["--who", "bob", "--admin", &admin]));
        assert!(success, "{stdout}{stderr}");
    };
    ask(&["accept", &digest[..12], "-m", "meant so"]);
    node.until_generation("x", 2).await;
    told(entry(&node, "accepted").await, ["x", "accepted", "bob", "meant so"]);
    // A shadow that is stopped, one whose time is up, and one that is refused.
    let (_folder, file) = scratch("x.wasm");
    std::fs::write(&file, marked(&answers(201), 1)).unwrap();
    let path = file.to_str().unwrap();
    let mut shadow = crate::cli::Program::start({
        let mut command = galo();
        command.args(["shadow", "x", "--component", path, "--who", "eve", "-m", "a & b?", "--admin", &admin]);
        command
    });
    told(entry(&node, "shadow").await, ["x", "shadow", "eve", "1 in 10 requests for 600 s: a & b?"]);
    ask(&["shadow", "x", "--stop", "-m", "seen enough"]);
    told(entry(&node, "shadow ended").await, ["x", "shadow ended", "bob", "0 of 0 differ: seen enough"]);
    // Nothing was compared.
    assert!(!shadow.wait().success());
    let (success, _, stderr) = run(galo().args(["shadow", "x", "--component", path, "--for", "1s", "--admin", &admin]));
    assert!(!success && stderr.contains("no request was compared"), "{stderr}");
    told(entry(&node, "shadow ended").await, ["x", "shadow ended", "node", "0 of 0 differ: its time is up"]);
    let broken = request(&admin, Method::POST, "/handlers/x/shadow?who=eve", "broken").await;
    assert_eq!(broken.status, 202);
    let refused = async || entry(&node, "refused").await;
    while refused().await[2] != "eve" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(refused().await[3].starts_with("shadow: "), "{:?}", refused().await);
    // A rollback by curl, a discard, and a manifest that is refused and then changed.
    assert_eq!(post("/handlers/x/rollback").await.status, 200);
    told(entry(&node, "rolled back").await, ["x", "rolled back", "admin address", "requested at the admin address"]);
    assert_eq!(request(&admin, Method::DELETE, "/api/recording?handler=x&why=done", "").await.status, 200);
    let discarded = entry(&node, "records discarded").await;
    told(discarded, ["x", "records discarded", "admin address", "1 records: done"]);
    let manifest = guests.manifest();
    guests.put_file("galo.toml", format!("{manifest}\nnothing = 1\n").as_bytes());
    node.until_manifest_refused().await;
    while refused().await[0] != "-" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    guests.put_file("galo.toml", manifest.replace("GET /x", "GET /y").as_bytes());
    told(
        entry(&node, "manifest").await,
        ["x", "manifest", "handlers folder", "x: reloaded with the current manifest and database"],
    );
    // Each of them is among the events as well, with who it was.
    let events = node.admin("/api/events").await.json();
    let events: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["kind"].as_str().unwrap(), event["text"].as_str().unwrap()))
        .collect();
    for (kind, text) in [
        ("recording", "recording, by ana: 1 in 1 requests: looking closer"),
        ("accepted", "accepted, by bob: meant so"),
        ("shadow", "shadow, by eve: 1 in 10 requests for 600 s: a & b?"),
        ("shadow", "shadow ended, by bob: 0 of 0 differ: seen enough"),
        ("rollback", "generation 2 rolled back, as requested by admin address: requested at the admin address"),
        ("recording", "records discarded, by admin address: 1 records: done"),
        ("manifest", "x: reloaded with the current manifest and database"),
    ] {
        assert!(events.contains(&(kind, text)), "{kind} {text}: {events:?}");
    }
}
