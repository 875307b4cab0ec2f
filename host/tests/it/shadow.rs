//! Shadows: a component that runs beside live requests, and what it never does.

use std::time::Duration;

use galo::develop::build::Profile;
use http::{Method, StatusCode};
use serde_json::Value as Json;

use crate::cli::{Program, run};
use crate::fixture::{Guest, answers, calling_then, marked};
use crate::harness::{Guests, PATIENCE, TestDatabase, TestNode, galo, handlers, request, scratch, transacao};

/// A node whose handler x records something with each request.
async fn acting(database: &TestDatabase) -> (Guests, TestNode) {
    database.execute("CREATE TABLE done (); GRANT INSERT ON done TO galo").await;
    let sql = "CREATE FUNCTION act() RETURNS integer LANGUAGE sql AS 'INSERT INTO done DEFAULT VALUES RETURNING 1'";
    database.execute(sql).await;
    let more = "procedures = [\"act\"]";
    let guests = Guests::new().add("x", &calling_then("act", 200).component(), more);
    let node = TestNode::guests(database, &guests).await;
    (guests, node)
}

async fn done(database: &TestDatabase) -> i64 {
    database.owner().await.query_one("SELECT count(*) FROM done", &[]).await.unwrap().get(0)
}

async fn order(node: &TestNode, handler: &str, query: &str, component: &[u8]) -> (StatusCode, String) {
    let path = format!("/handlers/{handler}/shadow{query}");
    let answer = request(&node.admin_address(), Method::POST, &path, component.to_vec()).await;
    (answer.status, answer.text().to_owned())
}

/// The shadow of a handler in `/handlers`, once it fulfils something.
async fn until(node: &TestNode, handler: &str, holds: impl Fn(&Json) -> bool) -> Json {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let report = node.admin("/handlers").await.json();
        let handlers = report["handlers"].as_array().unwrap();
        let shadow = &handlers.iter().find(|found| found["name"] == handler).unwrap()["shadow"];
        if holds(shadow) {
            return shadow.clone();
        }
        assert!(std::time::Instant::now() < deadline, "still not: {shadow}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_posts_are_shadowed_and_not_one_row_is_written_by_it() {
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let component = std::fs::read(handlers(Profile::Release).join("transacoes.wasm")).unwrap();
    let (status, text) = order(&node, "transacoes", "?every=1&seconds=600", &marked(&component, 1)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    until(&node, "transacoes", |shadow| shadow["state"] == "running").await;
    let rows = database.ledger_rows(1).await;
    for _ in 0..300 {
        assert_eq!(node.post("/clientes/1/transacoes", transacao(1, "c", "x")).await.status, 200);
    }
    let shadow = until(&node, "transacoes", |shadow| {
        let count = |what: &Json| what.as_u64().unwrap();
        count(&shadow["counts"]["compared"]) + count(&shadow["dropped"]) == 300
    })
    .await;
    assert_eq!(shadow["counts"]["differ"], 0, "{shadow}");
    assert!(shadow["counts"]["compared"].as_u64().unwrap() > 0, "{shadow}");
    assert_eq!(database.ledger_rows(1).await - rows, 300);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_in_so_many_is_compared_by_path_and_nothing_planned_is_carried_out() {
    let database = TestDatabase::new().await;
    let (_guests, node) = acting(&database).await;
    let other = calling_then("act", 201).component();
    assert_eq!(order(&node, "x", "?every=5", &other).await.0, StatusCode::ACCEPTED);
    until(&node, "x", |shadow| shadow["state"] == "running").await;
    for _ in 0..20 {
        assert_eq!(node.get("/x").await.status, 200);
    }
    let shadow = until(&node, "x", |shadow| shadow["counts"]["compared"] == 4).await;
    let counts = serde_json::json!({"compared": 4, "differ": 4, "skipped": 0,
        "paths": [{"path": "response.status", "count": 4}]});
    assert_eq!((&shadow["counts"], &shadow["every"]), (&counts, &5.into()), "{shadow}");
    assert_eq!(done(&database).await, 20);
    // A second one is refused until the first was stopped; nothing of it serves, and nothing is recorded.
    let (status, text) = order(&node, "x", "", &other).await;
    assert!(status == StatusCode::CONFLICT && text == "x has a shadow already\n", "{text}");
    let stop = request(&node.admin_address(), Method::DELETE, "/handlers/x/shadow", "").await;
    assert_eq!(stop.status, 200);
    until(&node, "x", |shadow| shadow["state"] == "ended").await;
    let stop = request(&node.admin_address(), Method::DELETE, "/handlers/x/shadow", "").await;
    assert_eq!((stop.status, stop.text()), (StatusCode::CONFLICT, "x has no shadow\n"));
    assert_eq!((node.get("/x").await.status.as_u16(), node.generation("x")), (200, 1));
    assert!(node.handler("x").ring.get().unwrap().last(9, 0).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_verified_as_any_candidate() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "").add("y", &answers(200), "");
    let example = r#"{"request": {"path": "/x"}, "plan": {"reply": {"status": 200}}}"#;
    guests.put_file("x/examples/a.json", example.as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    for (component, told) in [(answers(201), "examples: x/examples/a.json"), (b"nothing".to_vec(), ": ")] {
        assert_eq!(order(&node, "x", "", &component).await.0, StatusCode::ACCEPTED);
        let shadow = until(&node, "x", |shadow| shadow["state"] == "refused").await;
        assert!(shadow["message"].as_str().unwrap().contains(told), "{shadow}");
    }
    // One that traps counts as different, and harms no request.
    assert_eq!(order(&node, "y", "?every=1", &Guest::default().component()).await.0, StatusCode::ACCEPTED);
    until(&node, "y", |shadow| shadow["state"] == "running").await;
    assert_eq!(node.get("/y").await.status, 200);
    let shadow = until(&node, "y", |shadow| shadow["counts"]["compared"] == 1).await;
    assert!(shadow["counts"]["differ"] == 1 && shadow["counts"]["paths"][0]["path"] == "fault", "{shadow}");
    assert_eq!(node.handler("y").lineage().current.faults(), 0);
    for (handler, query, status, told) in [
        ("nobody", "", StatusCode::NOT_FOUND, "no handler nobody"),
        ("x", "?every=0", StatusCode::BAD_REQUEST, "`every` is a whole number from 1 to"),
        ("x", "?seconds=forever", StatusCode::BAD_REQUEST, "`seconds` is a whole number from 1 to"),
    ] {
        let (got, text) = order(&node, handler, query, b"x").await;
        assert!(got == status && text.contains(told), "{got} {text}");
    }
    let got = request(&node.admin_address(), Method::GET, "/handlers/x/shadow", "").await;
    assert_eq!((got.status, got.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST, DELETE, OPTIONS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_the_counts_and_ends_with_the_shadow() {
    let database = TestDatabase::new().await;
    let (_guests, node) = acting(&database).await;
    let (_folder, file) = scratch("x.wasm");
    std::fs::write(&file, calling_then("act", 201).component()).unwrap();
    let mut command = galo();
    command.args(["shadow", "x", "--for", "3s", "--every", "1", "--admin", &node.admin_address(), "--component"]);
    let program = Program::start({
        command.arg(&file);
        command
    });
    until(&node, "x", |shadow| shadow["state"] == "running").await;
    node.get("/x").await;
    program.wait_for("x: ended: 1 of 1 differ, 0 skipped, 0 dropped");
    program.wait_for("       1  response.status");
    // What is wrong is said with the remedy.
    let file = file.to_str().unwrap();
    for (arguments, told) in [
        (&["shadow", "x", "--component", "/nowhere"][..], "cannot read the component /nowhere"),
        (&["shadow", "y", "--component", file], "no handler y; `galo handlers --admin 127.0.0.1:"),
        (&["shadow", "x", "--component", file, "--for", "10"], "--for: `10` is not a length of time: write 90s"),
        (&["shadow", "x", "--component", file, "--for", "25h"], "--for: `25h` is not from 1s to 24h"),
        (&["shadow", "x", "--component", file, "--every", "0"], "--every: `0` is not a whole number"),
        (&["shadow", "x", "--stop"], "x has no shadow"),
        (&["shadow", "x"], "--component"),
    ] {
        let (success, _, stderr) = run(galo().args(arguments).args(["--admin", &node.admin_address()]));
        assert!(!success && stderr.contains(told), "{arguments:?}: {stderr}");
    }
    // A hint is a command for this node.
    let begin = ["shadow", "x", "--component", file, "--for", "60s", "--admin", &node.admin_address()];
    let mut command = galo();
    command.args(begin);
    let program = Program::start(command);
    until(&node, "x", |shadow| shadow["state"] == "running").await;
    let (success, _, stderr) = run(galo().args(begin));
    let hint = format!("galo shadow x --stop --admin {}", node.admin_address());
    assert!(!success && stderr.contains(&format!("x has a shadow already; end it with `{hint}`")), "{stderr}");
    assert!(run(galo().args(hint.split(' ').skip(1))).0);
    program.wait_for("x: ended: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_compared_nothing_has_not_passed_and_a_refused_one_counts_nothing() {
    let database = TestDatabase::new().await;
    let (_guests, node) = acting(&database).await;
    let (_folder, file) = scratch("x.wasm");
    std::fs::write(&file, calling_then("act", 200).component()).unwrap();
    let shadow = || {
        let mut command = galo();
        command.args(["shadow", "x", "--for", "1s", "--admin", &node.admin_address(), "--component"]).arg(&file);
        run(&mut command)
    };
    let (success, out, stderr) = shadow();
    assert!(!success && out.contains("0 of 0 differ"), "{out}{stderr}");
    assert!(stderr.contains("no request was compared, so nothing is shown by it"), "{stderr}");
    std::fs::write(&file, "nothing").unwrap();
    let (success, out, stderr) = shadow();
    assert!(!success && out.contains("x: refused\n") && !out.contains("0 of 0"), "{out}{stderr}");
    assert!(stderr.contains("was refused and did not run"), "{stderr}");
}
