//! The gate between examples and swap: what a candidate decides otherwise on recorded requests is reported or refused,
//! and accepted by an operator or by a changed example.

use std::time::Duration;

use galo::config::{Recording, Settings, StateFolder};
use galo::develop::build::Profile;
use galo::gate::Verdict;
use galo::registry::Stage;
use http::Method;
use serde_json::Value as Json;

use crate::cli::{Program, run};
use crate::dev::Dev;
use crate::fixture::{answers, marked, replying};
use crate::harness::{Guests, PATIENCE, TestDatabase, TestNode, galo, handlers, request, scratch, settings, until};

const REFUSE: &str = "gate = \"refuse\"";

/// An example by which `GET /x` is answered with a status.
fn example(status: u16) -> String {
    format!(r#"{{"request": {{"path": "/x"}}, "plan": {{"reply": {{"status": {status}}}}}}}"#)
}

/// A record of `GET /x` that was answered with a status.
fn line(status: u16) -> String {
    format!(
        r#"{{"format":1,"contract":"2.0","handler":"x","generation":1,"sha256":"ab","why":"sampled","request":{{"method":"GET","path":"/x","route":"GET /x","body":"","id":"1","now":0}},"plan":"reply","response":{{"status":{status},"body":""}},"times":{{"read":0,"prepare":0,"wait":0,"database":0,"respond":0,"whole":0}}}}"#
    ) + "\n"
}

async fn node(database: &TestDatabase, guests: &Guests, every: usize) -> TestNode {
    let recording = Recording::one_in(every);
    TestNode::with(database, Settings { recording, ..settings(guests.folder.path()) }).await
}

/// Sends requests to the handler x, and waits until they are recorded.
async fn requests(node: &TestNode, count: usize) {
    let ring = || node.handler("x").ring.get().unwrap().last(10_000, 0).last().map_or(0, |last| last.number);
    let before = ring();
    for _ in 0..count {
        node.get("/x").await;
    }
    until("the requests are recorded", String::new, || ring() >= before + count as u64).await;
}

/// What the gate found about the last candidate of the handler x.
fn verdict(node: &TestNode) -> Verdict {
    Verdict::clone(&node.running.node.gates.verdict("x").unwrap())
}

/// The handler x in `/handlers`.
async fn report(node: &TestNode) -> Json {
    node.admin("/handlers").await.json()["handlers"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_reported_and_without_records_nothing_has_passed() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let node = node(&database, &guests, 1).await;
    guests.put("x", &marked(&answers(200), 1));
    node.until_generation("x", 2).await;
    assert_eq!(verdict(&node).to_string(), "0 recorded");
    requests(&node, 3).await;
    guests.put("x", &marked(&answers(200), 2));
    node.until_generation("x", 3).await;
    assert_eq!(verdict(&node).to_string(), "0 of 3 differ");
    guests.put("x", &answers(201));
    node.until_generation("x", 4).await;
    let gate = report(&node).await["gate"].clone();
    assert_eq!((&gate["summary"], &gate["policy"]), (&"3 of 3 differ".into(), &"report".into()), "{gate}");
    let path = serde_json::json!([{"path": "response.status", "count": 3}]);
    assert_eq!(gate["counts"]["paths"], path, "{gate}");
    assert_eq!(gate["sha256"], report(&node).await["sha256"]);
    // Records of an earlier generation are decided again by the one that serves.
    guests.put("x", &marked(&answers(201), 1));
    node.until_generation("x", 5).await;
    assert_eq!(verdict(&node).to_string(), "0 of 3 differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_what_was_redacted_compare_two_generations() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "headers = [\"authorization\"]");
    let node = node(&database, &guests, 1).await;
    for _ in 0..2 {
        crate::harness::request_with(&node.address(), Method::GET, "/x", &[("authorization", "secret")]).await;
    }
    let ring = || node.handler("x").ring.get().unwrap().last(9, 0);
    until("the requests are recorded", String::new, || ring().len() == 2).await;
    assert!(ring()[0].line.contains("(redacted)") && !ring()[0].line.contains("secret"));
    guests.put("x", &marked(&answers(200), 1));
    node.until_generation("x", 2).await;
    assert_eq!(verdict(&node).to_string(), "0 of 2 differ");
    guests.put("x", &answers(404));
    node.until_generation("x", 3).await;
    assert_eq!(verdict(&node).to_string(), "2 of 2 differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_candidate_serves_when_it_is_accepted_and_is_remembered_after_a_restart() {
    let database = TestDatabase::new().await;
    let (_folder, state) = scratch("state");
    let guests = Guests::new().add("x", &answers(200), REFUSE);
    guests.put_file("x/corpus.jsonl", line(200).repeat(2).as_bytes());
    let start = async || {
        let state = StateFolder::Required(state.clone());
        TestNode::with(&database, Settings { state, ..settings(guests.folder.path()) }).await
    };
    let node = start().await;
    guests.put("x", &answers(201));
    let (stage, message) = node.until_refused("x").await;
    let digest = verdict(&node).digest.to_string();
    let accept = format!("`galo accept {} -m WHY`", &digest[..12]);
    assert_eq!(stage, Stage::Recorded);
    assert!(message.starts_with("2 of 2 differ\n    response.status (2)\n") && message.contains(&accept), "{message}");
    assert_eq!(node.get("/x").await.status, 200);
    // The command names what it needs, and the candidate is tried again at once.
    let ask = |arguments: &[&str]| run(galo().args(arguments).args(["--admin", &node.admin_address()]));
    let (success, _, stderr) = ask(&["accept", "abcdef0"]);
    assert!(!success && stderr.contains("no candidate with the digest abcdef0..."), "{stderr}");
    let (success, _, stderr) = ask(&["accept", "abc"]);
    assert!(!success && stderr.contains("invalid digest `abc`: use at least 6"), "{stderr}");
    let (success, stdout, stderr) = ask(&["accept", &digest[..12]]);
    assert!(success && stdout == format!("x: {digest} is accepted\n"), "{stdout}{stderr}");
    node.until_generation("x", 2).await;
    assert_eq!((node.get("/x").await.status.as_u16(), &report(&node).await["gate"]["accepted"]), (201, &true.into()));
    // The way back decides otherwise as well, so that is accepted too.
    guests.put("x", &answers(200));
    node.until_refused("x").await;
    let back = verdict(&node).digest.to_string();
    assert!(ask(&["accept", &back]).0);
    node.until_generation("x", 3).await;
    node.stop().await;
    let again = start().await;
    assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (200, 3));
    guests.put("x", &answers(201));
    again.until_generation("x", 4).await;
    guests.put("x", &answers(202));
    assert_eq!(again.until_refused("x").await.0, Stage::Recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_example_covers_what_it_states() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), REFUSE);
    guests.put_file("x/corpus.jsonl", line(200).as_bytes());
    guests.put_file("x/examples/a.json", example(200).as_bytes());
    let node = node(&database, &guests, 0).await;
    guests.put("x", &answers(201));
    assert_eq!(node.until_refused("x").await.0, Stage::Examples);
    // Given the example of the new behaviour, which the serving generation fails, then the candidate serves.
    guests.put_file("x/examples/a.json", example(201).as_bytes());
    node.until_generation("x", 2).await;
    assert_eq!(verdict(&node).to_string(), "1 of 1 differ, 1 as a changed example states");
    // An example that both pass covers nothing.
    std::fs::remove_file(guests.folder.path().join("x/examples/a.json")).unwrap();
    guests.put("x", &answers(202));
    assert_eq!(node.until_refused("x").await.0, Stage::Recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_compares_with_what_was_stored_and_a_broken_corpus_is_named() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(201), REFUSE);
    guests.put_file("x/corpus.jsonl", line(200).as_bytes());
    let refusal = guests.refusal(&database).await;
    assert!(refusal.contains("x: 1 of 1 differ\n") && refusal.contains("response.status (1)"), "{refusal}");
    guests.put_file("x/corpus.jsonl", format!("{}{{}}\n", line(201)).as_bytes());
    let refusal = guests.refusal(&database).await;
    assert!(refusal.contains("corpus.jsonl:2: not a record"), "{refusal}");
    // A corpus of which nothing can be compared shows nothing.
    guests.put_file("x/corpus.jsonl", line(201).replace("\"2.0\"", "\"9.0\"").as_bytes());
    let refusal = guests.refusal(&database).await;
    assert!(refusal.contains("no record of the corpus could be compared"), "{refusal}");
    // A value that cannot be read is a client's: the reason does not quote it.
    let outcome = r#""plan":"reply","outcome":{"rows":{"columns":["a"],"values":[{"float":"ana-0001"}]}}"#;
    guests.put_file("x/corpus.jsonl", line(201).replace("\"plan\":\"reply\"", outcome).as_bytes());
    let refusal = guests.refusal(&database).await;
    assert!(refusal.contains("1 skipped (a value in it is malformed)") && !refusal.contains("ana-0001"), "{refusal}");
    guests.put_file("x/corpus.jsonl", format!("{}{{}}\n", line(201)).as_bytes());
    // Where it is only reported, it keeps nothing from serving.
    let manifest = guests.manifest().replace(REFUSE, "gate = \"report\"");
    guests.put_file("galo.toml", manifest.as_bytes());
    let node = node(&database, &guests, 0).await;
    assert!(verdict(&node).to_string().starts_with("0 recorded; the corpus cannot be read: "), "{}", verdict(&node));
    guests.put_file("galo.toml", manifest.replace("\"report\"", "\"maybe\"").as_bytes());
    let (_, message) = node.until_manifest_refused().await;
    assert!(message.contains("`report` or `refuse`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_compares_a_redacted_corpus_with_what_the_state_kept_or_logs_that_nothing_was_compared() {
    // Given a corpus on which only two components can be compared, when a node starts that knows no other component,
    // then it serves and logs that; when its state folder has one, then the two are compared.
    let database = TestDatabase::new().await;
    let (_folder, state) = scratch("state");
    let guests = Guests::new().add("x", &answers(200), REFUSE);
    guests.put_file(
        "x/corpus.jsonl",
        line(200)
            .replace("\"body\":\"\",\"id\"", "\"body\":\"\",\"headers\":[[\"authorization\",\"(redacted)\"]],\"id\"")
            .replace("\"times\"", "\"redacted\":[\"request.headers.authorization\"],\"times\"")
            .as_bytes(),
    );
    let start = async || {
        let state = StateFolder::Required(state.clone());
        TestNode::with(&database, Settings { state, ..settings(guests.folder.path()) }).await
    };
    let nothing = "0 recorded; 1 skipped (redacted: only two components can be compared on it)";
    let node = start().await;
    assert_eq!((node.get("/x").await.status.as_u16(), verdict(&node).to_string().as_str()), (200, nothing));
    node.stop().await;
    guests.put("x", &answers(201));
    let node = start().await;
    assert_eq!(
        (node.get("/x").await.status, verdict(&node).to_string().as_str()),
        (http::StatusCode::OK, "1 of 1 differ")
    );
    let refusal = node.handler("x").refusal().unwrap();
    assert_eq!(refusal.stage, Stage::Recorded);
    node.stop().await;
    guests.put("x", &marked(&answers(200), 1));
    let node = start().await;
    assert_eq!((node.generation("x"), verdict(&node).to_string().as_str()), (2, "0 of 1 differ"));
    node.stop().await;
    // A node whose state has nothing cannot see the change.
    let (_other, fresh) = scratch("fresh");
    guests.put("x", &answers(201));
    let mut command = galo();
    command.args(["serve", "--state", fresh.to_str().unwrap()]);
    let node = Program::serve_with(command, &database, guests.folder.path());
    let logged = node.wait_for(nothing);
    assert!(logged.contains("WARN") && logged.contains("this one serves without a comparison"), "{logged}");
    assert_eq!(request(&node.listen, Method::GET, "/x", "").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corpus_of_which_nothing_can_be_compared_is_refused_whatever_the_last_requests_show() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), REFUSE);
    let node = node(&database, &guests, 1).await;
    requests(&node, 1).await;
    guests.put_file("x/corpus.jsonl", line(200).replace("\"2.0\"", "\"9.0\"").as_bytes());
    guests.put("x", &marked(&answers(200), 1));
    let (_, message) = node.until_refused("x").await;
    assert!(
        message.starts_with("0 of 1 differ") && message.contains("no record of the corpus could be compared"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_256_requests_are_compared_within_300_ms_of_cpu() {
    let database = TestDatabase::new().await;
    let guests = Guests::new();
    copy(handlers(Profile::Release), guests.folder.path());
    let node = node(&database, &guests, 1).await;
    for _ in 0..256 {
        node.get("/clientes/1/extrato").await;
    }
    let ring = || node.handler("extrato").ring.get().unwrap().last(1000, 0).len();
    until("the requests are recorded", String::new, || ring() == 256).await;
    let component = std::fs::read(guests.folder.path().join("extrato.wasm")).unwrap();
    guests.put("extrato", &marked(&component, 1));
    node.until_generation("extrato", 2).await;
    let verdict = node.running.node.gates.verdict("extrato").unwrap();
    assert_eq!(verdict.to_string(), "0 of 256 differ");
    // CPU time, so that a busy machine fails nothing.
    assert!(verdict.took < Duration::from_millis(300), "{:?}", verdict.took);
    println!("256 requests compared in {:?} of CPU", verdict.took);
}

#[test]
fn a_corpus_is_put_with_the_examples_and_removed_when_it_is_gone() {
    let guests = Guests::new().add("x", &answers(200), "");
    guests.put_file("x/corpus.jsonl", line(200).as_bytes());
    let (_folder, to) = scratch("to");
    let put = || {
        let manifest = galo::manifest::read(guests.folder.path()).unwrap();
        let components: Vec<_> = manifest.handlers.iter().map(|entry| entry.component.clone()).collect();
        galo::put::Handlers::list(&manifest, &components).unwrap().put(&to).unwrap();
    };
    put();
    assert_eq!(std::fs::read_to_string(to.join("x/corpus.jsonl")).unwrap(), line(200));
    std::fs::remove_file(guests.folder.path().join("x/corpus.jsonl")).unwrap();
    put();
    assert!(!to.join("x/corpus.jsonl").exists() && to.join("x.wasm").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_beside_the_corpus_needs_no_node_that_has_seen_it() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(201), REFUSE);
    guests.put_file("x/corpus.jsonl", line(200).as_bytes());
    let (_folder, to) = scratch("to");
    let put = || {
        let mut command = galo();
        command.args(["put", guests.folder.path().to_str().unwrap(), "--handlers", to.to_str().unwrap()]);
        run(command.env("DATABASE_URL", database.service_url()))
    };
    let (success, _, stderr) = put();
    let digest = galo::guest::Digest::of(&answers(201)).to_string();
    assert!(
        !success && stderr.contains(&digest[..12]) && stderr.contains("accepted.txt beside the corpus"),
        "{stderr}"
    );
    guests.put_file("x/accepted.txt", format!("{} ana: it is meant\n", &digest[..12]).as_bytes());
    let (success, out, stderr) = put();
    assert!(success && out.contains("x/accepted.txt"), "{out}{stderr}");
    // A node without state starts with it, and another component is refused still.
    let node = TestNode::with(&database, settings(&to)).await;
    assert_eq!(node.get("/x").await.status, 201);
    std::fs::write(to.join("x.new"), answers(202)).unwrap();
    std::fs::rename(to.join("x.new"), to.join("x.wasm")).unwrap();
    assert_eq!(node.until_refused("x").await.0, Stage::Recorded);
    let digest = galo::guest::Digest::of(&answers(202)).to_string();
    std::fs::write(to.join("x/accepted.txt"), digest).unwrap();
    node.until_generation("x", 2).await;
    // A corpus that proves nothing is refused as one that cannot be read.
    std::fs::write(to.join("x/corpus.jsonl"), line(200).replace("\"handler\":\"x\"", "\"handler\":\"y\"")).unwrap();
    std::fs::write(to.join("x.new"), answers(203)).unwrap();
    std::fs::rename(to.join("x.new"), to.join("x.wasm")).unwrap();
    let (stage, message) = node.until_refused("x").await;
    assert!(stage == Stage::Recorded && message.contains("no record of `x`, and 1 of other handlers"), "{message}");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &name),
            false => drop(std::fs::copy(entry.path(), name).unwrap()),
        }
    }
}

#[test]
fn dev_prints_which_of_the_last_requests_would_be_answered_otherwise() {
    let dev = Dev::of("gate", |_| {});
    assert_eq!(dev.get("/clientes/1/extrato").status, 200);
    dev.copy.edit("handlers/extrato/src/lib.rs", |source| {
        let json = "Response::json(200, &extrato)";
        let field = "galo_kit::Field { name: \"x-made\".into(), value: \"now\".into() }";
        source.replace(json, &format!("{{ let mut response = {json}; response.headers.push({field}); response }}"))
    });
    dev.program.wait_for("extrato: generation 2 live — build ");
    dev.program.wait_for("gate: 1 of 1 differ — response.headers");
    dev.program.wait_for("extrato: 1 of the last 1 requests would be answered otherwise");
    dev.program.wait_for("GET /clientes/1/extrato");
    dev.program.wait_for("null → \"now\"");
    // A component that fails an example is shown as well.
    dev.copy.edit("handlers/extrato/src/lib.rs", |source| {
        source.replace("Response::json(200, &extrato)", "Response::json(201, &extrato)")
    });
    dev.program.wait_for("response.status: 200 → 201");
    dev.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_node_has_counts_and_no_value() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let mut command = galo();
    command.args(["serve", "--record", "1"]);
    let node = Program::serve_with(command, &database, guests.folder.path());
    request(&node.listen, Method::GET, "/x", "").await;
    let deadline = std::time::Instant::now() + PATIENCE;
    let kept = "galo_records_kept_total{handler=\"x\"} 1";
    while !request(&node.admin, Method::GET, "/metrics", "").await.text().contains(kept) {
        assert!(std::time::Instant::now() < deadline, "the request is not recorded");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    guests.put("x", &answers(201));
    let live = node.wait_for("x: generation 2 live");
    assert!(live.contains("; gate: 1 of 1 differ — response.status (1)"), "{live}");
    // Nor a name that may be a client's.
    let named = |value| replying(201, Some(("x-ana", value)), 0).component();
    guests.put("x", &named("1"));
    node.wait_for("x: generation 3 live");
    guests.put("x", &named("2"));
    let live = node.wait_for("x: generation 4 live");
    assert!(live.contains("; gate: 1 of 1 differ — response.headers.* (1)"), "{live}");
    assert!(!node.log().contains("would be answered otherwise"), "{}", node.log());
    let (success, table, stderr) = run(galo().args(["handlers", "--admin", &node.admin]));
    assert!(
        success && table.contains("x: gate: 1 of 1 differ (") && table.contains("    response.headers.* (1)"),
        "{table}{stderr}"
    );
}
