//! `galo deploy`, `galo rollback` and `galo audit` as a person runs them, against nodes that are processes: the command
//! is killed in between, and a node restarts in between.

use std::path::Path;
use std::process::Command;

use galo::guest::Digest;
use http::Method;
use nix::sys::signal::Signal;

use crate::canary::folder;
use crate::cli::{Program, run, wait_until};
use crate::fixture::{Guest, answers, replying};
use crate::harness::{Answer, Connection, Guests, TestDatabase, galo, request, request_with};

/// The token of the nodes: who has none may not deploy.
const TOKEN: &str = "0123456789abcdef";

/// A command with the token.
fn as_operator(command: &mut Command) -> &mut Command {
    command.env("GALO_ADMIN_TOKEN", TOKEN)
}

/// An order to the admin address with the token.
async fn request_as_operator(admin: &str, path: &str, order: &str) -> Answer {
    let headers = [("authorization", &*format!("Bearer {TOKEN}"))];
    Connection::open(admin).await.send_with(Method::POST, path, &headers, order.to_owned()).await.unwrap()
}

/// A node with a state folder, on these addresses.
fn serve(database: &TestDatabase, guests: &Guests, state: &Path, admin: &str) -> Program {
    let mut command = galo();
    as_operator(&mut command)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", admin, "--handlers"])
        .arg(guests.folder.path());
    command.arg("--state").arg(state).env("DATABASE_URL", database.service_url());
    Program::start(command).until_ready()
}

/// Two nodes with folders of their own, and a component to deploy.
struct Pair {
    database: TestDatabase,
    guests: [Guests; 2],
    home: tempfile::TempDir,
    nodes: [Program; 2],
}

impl Pair {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let guests = [folder(&answers(200), ""), folder(&answers(200), "")];
        let home = tempfile::tempdir().unwrap();
        let nodes = [0, 1].map(|n| serve(&database, &guests[n], &home.path().join(format!("{n}")), "127.0.0.1:0"));
        Self { database, guests, home, nodes }
    }

    /// `galo deploy x X.wasm --to BOTH ARGUMENTS`.
    fn deploy(&self, component: &[u8], arguments: &[&str]) -> Command {
        let path = self.home.path().join("x.wasm");
        std::fs::write(&path, component).unwrap();
        let mut command = galo();
        as_operator(&mut command);
        let to = self.nodes.each_ref().map(|node| node.admin.clone()).join(",");
        command.args(["deploy", "x"]).arg(path).args(["--to", &to, "--who", "ana", "-m", "a test"]).args(arguments);
        command
    }

    async fn report(&self, node: usize) -> serde_json::Value {
        let report = request_with(
            &self.nodes[node].admin,
            Method::GET,
            "/handlers",
            &[("authorization", &format!("Bearer {TOKEN}"))],
        )
        .await
        .json();
        report["handlers"][0].clone()
    }

    /// Waits until the canaries have this share; none stands for no canary.
    async fn until(&self, shares: [Option<&str>; 2]) {
        let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
        loop {
            let reports = [self.report(0).await, self.report(1).await];
            if reports.each_ref().map(|report| report["canary"]["percent"].as_str()) == shares {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "still not {shares:?}: {reports:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// Answers as `answers(200)` does, but traps when there is a query.
fn traps_at_a_query() -> Vec<u8> {
    let prepare = "(if (i32.load8_u offset=32 (local.get 0)) (then unreachable)) i32.const 1024";
    Guest { prepare, ..replying(200, None, 0) }.component()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_goes_through_its_steps_and_the_audit_log_tells_the_story() {
    let pair = Pair::new().await;
    let new = traps_at_a_query();
    let steps = ["--canary", "1%,50%,100%", "--hold", "0s", "--by", "id"];
    let (success, out, stderr) = run(&mut pair.deploy(&new, &steps));
    assert!(success, "{out}{stderr}");
    for line in ["x: 1% for 0 s", "x: 50% for 0 s", "x: 100% for 0 s", "x: deployed"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    for node in 0..2 {
        assert_eq!(pair.report(node).await["sha256"], Digest::of(&new).to_string());
    }
    // The next one goes back to where it was, and says why.
    let admin = &pair.nodes[0].admin;
    let (success, _, stderr) = run(as_operator(galo().args(["rollback", "x", "--admin", admin])));
    assert!(!success && stderr.contains("--why <WHY>"), "{stderr}");
    let old = &Digest::of(&answers(200)).to_string()[..12];
    let rollback = ["rollback", "x", "--to", old, "-m", "wrong totals", "--who", "bob", "--admin", admin];
    let (success, out, stderr) = run(as_operator(galo().args(rollback)));
    assert!(success && out == "x: rolled back from generation 2 to generation 1\n", "{out}{stderr}");
    let audit = |more: &[&str]| run(as_operator(galo().args(["audit", "--admin", admin]).args(more)));
    let (success, story, stderr) = audit(&[]);
    assert!(success, "{stderr}");
    let lines: Vec<_> = story.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let digest = &Digest::of(&new).to_string()[..12];
    assert_eq!(
        lines,
        [
            format!("x: canary generation 2 {digest}  by ana: 1% by id: a test"),
            format!("x: step generation 2 {digest}  by ana: 50%: a test"),
            format!("x: step generation 2 {digest}  by ana: 100%: a test"),
            format!("x: promoted generation 2 {digest}  by ana: a test"),
            format!("x: rolled back generation 2 {digest}  by bob: wrong totals"),
        ]
    );
    let (_, json, _) = audit(&["x", "--last", "1", "--json"]);
    let entry: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&entry["who"], &entry["why"]), (&"bob".into(), &"wrong totals".into()));
    // It is on disk, and there again after a restart.
    let file = pair.home.path().join("0/audit.jsonl");
    wait_until("the audit log is written", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 5)
    });
    let Pair { database, guests, home, nodes: [mut first, _second] } = pair;
    first.signal(Signal::SIGTERM);
    first.wait();
    let again = serve(&database, &guests[0], &home.path().join("0"), "127.0.0.1:0");
    let (_, story_again, _) = run(as_operator(galo().args(["audit", "--admin", &again.admin])));
    assert_eq!(story_again, story);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_node_goes_back_all_do() {
    let pair = Pair::new().await;
    let steps = ["--canary", "100%", "--hold", "60s", "--by", "id"];
    let mut command = Program::start(pair.deploy(&traps_at_a_query(), &steps));
    pair.until([Some("100%"), Some("100%")]).await;
    // The trap is met on one of them; its client gets the old generation's answer.
    assert_eq!(request(&pair.nodes[1].listen, Method::GET, "/x/1?q", "").await.status, 200);
    assert!(!command.wait().success());
    pair.until([None, None]).await;
    command.wait_for("x: rolled back, all nodes serve the old generation");
    let reports = [pair.report(0).await, pair.report(1).await];
    for report in reports {
        assert_eq!((&report["generation"], &report["rolled_back"]["generation"]), (&1.into(), &2.into()));
        assert!(report["rolled_back"]["cause"].as_str().unwrap().contains("trap in prepare"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_command_is_killed_each_node_holds_its_step_and_decides_for_itself() {
    let pair = Pair::new().await;
    let steps = ["--canary", "50%,100%", "--hold", "60s", "--by", "id"];
    let mut command = Program::start(pair.deploy(&traps_at_a_query(), &steps));
    command.wait_for("x: 50% for 60 s");
    command.signal(Signal::SIGKILL);
    command.wait();
    for id in 0..50 {
        assert_eq!(request(&pair.nodes[0].listen, Method::GET, &format!("/x/{id}"), "").await.status, 200);
    }
    pair.until([Some("50%"), Some("50%")]).await;
    for id in 0..20 {
        assert_eq!(request(&pair.nodes[0].listen, Method::GET, &format!("/x/{id}?q"), "").await.status, 200);
    }
    pair.until([None, Some("50%")]).await;
    // The same command again goes on where the other holds, begins anew where it went back.
    let (success, out, stderr) =
        run(&mut pair.deploy(&traps_at_a_query(), &["--canary", "60%", "--hold", "0", "--by", "id"]));
    assert!(success && out.contains("stays at 60%"), "{out}{stderr}");
    pair.until([Some("60%"), Some("60%")]).await;
    // Ctrl-C says what holds.
    let steps = ["--canary", "70%,100%", "--hold", "60s", "--by", "id"];
    let mut command = Program::start(pair.deploy(&traps_at_a_query(), &steps));
    command.wait_for("x: 70% for 60 s");
    command.signal(Signal::SIGINT);
    assert!(!command.wait().success());
    command.wait_for("each node holds its step");
    pair.until([Some("70%"), Some("70%")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_serves_the_old_generation_and_the_others_follow() {
    let mut pair = Pair::new().await;
    let steps = ["--canary", "50%,100%", "--hold", "60s", "--by", "id"];
    let mut command = Program::start(pair.deploy(&traps_at_a_query(), &steps));
    command.wait_for("x: 50% for 60 s");
    let admin = pair.nodes[1].admin.clone();
    pair.nodes[1].signal(Signal::SIGKILL);
    pair.nodes[1].wait();
    pair.nodes[1] = serve(&pair.database, &pair.guests[1], &pair.home.path().join("1"), &admin);
    assert!(!command.wait().success());
    command.wait_for("it has no canary any more: it was restarted");
    pair.until([None, None]).await;
    for node in 0..2 {
        assert_eq!(pair.report(node).await["generation"], 1);
    }
}

#[test]
fn mistakes_of_a_deployment_are_reported_at_once() {
    let mut command = galo();
    command.args([
        "deploy",
        "x",
        "none.wasm",
        "--canary",
        "10%,1%",
        "--hold",
        "soon",
        "--by",
        "header:",
        "--to",
        "nowhere",
    ]);
    let (success, _, stderr) = run(command.args(["--differences", "maybe"]));
    assert!(!success && stderr.contains("has 5 mistakes"), "{stderr}");
    for mistake in [
        "steps must grow",
        "`soon` is not a time",
        "is not the name of a header",
        "`nowhere` has no port",
        "`maybe` is neither",
    ] {
        assert!(stderr.contains(mistake), "{mistake}: {stderr}");
    }
    let (success, _, stderr) = run(galo().args(["deploy", "x", "none.wasm"]));
    assert!(!success && stderr.contains("cannot read none.wasm"), "{stderr}");
}

/// A promotion as a script orders it, without an id of a deployment.
async fn promote(admin: &str, component: &[u8]) {
    let order = serde_json::json!({"sha256": Digest::of(component).to_string(), "who": "ana", "why": "a test"});
    let answer = request_as_operator(admin, "/handlers/x/canary", &order.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_died_between_two_nodes_goes_on_and_takes_both_back() {
    let pair = Pair::new().await;
    let new = traps_at_a_query();
    let steps = ["--canary", "100%", "--hold", "60s", "--by", "id"];
    let mut died = Program::start(pair.deploy(&new, &steps));
    died.wait_for("x: 100% for 60 s");
    died.signal(Signal::SIGKILL);
    died.wait();
    // It had promoted one of them.
    promote(&pair.nodes[0].admin, &new).await;
    let mut command = Program::start(pair.deploy(&new, &steps));
    command.wait_for("x: 100% for 60 s");
    assert_eq!(request(&pair.nodes[1].listen, Method::GET, "/x/1?q", "").await.status, 200);
    assert!(!command.wait().success());
    command.wait_for("x: rolled back, all nodes serve the old generation");
    for node in 0..2 {
        let report = pair.report(node).await;
        assert_eq!(report["sha256"], Digest::of(&answers(200)).to_string(), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_command_takes_a_deployment_over_and_the_first_one_takes_nothing_back() {
    let pair = Pair::new().await;
    let new = traps_at_a_query();
    let mut first = Program::start(pair.deploy(&new, &["--canary", "50%,100%", "--hold", "60s", "--by", "id"]));
    first.wait_for("x: 50% for 60 s");
    let (success, out, stderr) = run(&mut pair.deploy(&new, &["--canary", "50%,100%", "--hold", "1s", "--by", "id"]));
    assert!(success && out.contains("x: deployed"), "{out}{stderr}");
    assert!(!first.wait().success());
    first.wait_for("another `galo deploy` has taken this deployment over");
    for node in 0..2 {
        let report = pair.report(node).await;
        assert_eq!((&report["sha256"], &report["rolled_back"]), (&Digest::of(&new).to_string().into(), &().into()));
    }
    // Once more, as after a success: nothing to do is not a failure.
    let (success, out, stderr) = run(&mut pair.deploy(&new, &[]));
    assert!(success && out == "x: the nodes serve this component already\n", "{out}{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_goes_on_keeps_what_was_begun_and_repeats_no_step() {
    let pair = Pair::new().await;
    let new = traps_at_a_query();
    let mut died = Program::start(pair.deploy(&new, &["--canary", "50%,100%", "--hold", "60s", "--by", "id"]));
    died.wait_for("x: 50% for 60 s");
    died.signal(Signal::SIGKILL);
    died.wait();
    for (given, named) in
        [(&["--by", "request"][..], "--by id"), (&["--by", "id", "--differences", "report"], "--differences refuse")]
    {
        let (success, _, stderr) = run(&mut pair.deploy(&new, given));
        let remedy = format!("galo rollback x --only {} --admin", &Digest::of(&new).to_string()[..12]);
        assert!(!success && stderr.contains(named) && stderr.contains(&remedy), "{stderr}");
    }
    pair.until([Some("50%"), Some("50%")]).await;
    let more = ["--canary", "1%,50%,100%", "--hold", "0s", "--by", "id"];
    let (success, out, stderr) = run(&mut pair.deploy(&new, &more));
    assert!(success && !out.contains("x: 1% for") && out.contains("x: 50% for 0 s"), "{out}{stderr}");
    // No request came: that nothing was proved is said.
    assert!(out.contains("warning: x: no request was answered by it before it was promoted"), "{out}");
    let (_, story, _) = run(as_operator(galo().args(["audit", "x", "--admin", &pair.nodes[0].admin])));
    assert!(!story.contains("1%"), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_on_a_node_that_is_gone_is_named_with_a_remedy_that_harms_nothing_else() {
    let mut pair = Pair::new().await;
    let new = traps_at_a_query();
    let mut command = Program::start(pair.deploy(&new, &["--canary", "100%", "--hold", "60s", "--by", "id"]));
    command.wait_for("x: 100% for 60 s");
    let admin = pair.nodes[1].admin.clone();
    pair.nodes[1].signal(Signal::SIGKILL);
    pair.nodes[1].wait();
    assert_eq!(request(&pair.nodes[0].listen, Method::GET, "/x/1?q", "").await.status, 200);
    assert!(!command.wait().success());
    let digest = &Digest::of(&new).to_string()[..12];
    command.wait_for(&format!("galo rollback x --only {digest} --admin {admin} -m WHY"));
    // It has restarted without the canary, so what serves stays.
    pair.nodes[1] = serve(&pair.database, &pair.guests[1], &pair.home.path().join("1"), &admin);
    let good = crate::fixture::marked(&answers(200), 7);
    pair.guests[1].put("x", &good);
    pair.nodes[1].wait_for("live —");
    let remedy = ["rollback", "x", "--only", digest, "-m", "a test", "--admin", &admin];
    let (success, out, stderr) = run(as_operator(galo().args(remedy)));
    assert!(
        success && out == format!("x: {digest} neither serves nor is a canary, nothing was changed\n"),
        "{out}{stderr}"
    );
    assert_eq!(pair.report(1).await["sha256"], Digest::of(&good).to_string());
}

#[test]
fn a_reason_is_not_blank_and_a_digest_is_not_a_node() {
    for command in [
        &["rollback", "x", "-m", " "][..],
        &["deploy", "x", "x.wasm", "-m", ""],
        &["accept", "abcdef", "-m", ""],
        &["shadow", "x", "--stop", "-m", ""],
    ] {
        let (success, _, stderr) = run(galo().args(command).args(["--admin", "127.0.0.1:1"]));
        assert!(
            !success && stderr.contains("--why <WHY>") && stderr.contains("give a reason"),
            "{command:?}: {stderr}"
        );
    }
    let (success, _, stderr) = run(galo().args(["rollback", "x", "-m", "a", "--to", "127.0.0.1:1,127.0.0.1:2"]));
    let told = "`127.0.0.1:1,127.0.0.1:2` is not the beginning of a digest; nodes are given with --admin";
    assert!(!success && stderr.contains(told), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_named_twice_is_one_and_a_name_that_no_node_has_is_refused() {
    let pair = Pair::new().await;
    let admin = &pair.nodes[0].admin;
    let audit = |name: &str| run(as_operator(galo().args(["audit", name, "--admin", admin])));
    assert_eq!(audit("x"), (true, "no entry yet\n".to_owned(), String::new()));
    let (success, out, stderr) = audit("nope");
    assert!(!success && out.is_empty() && stderr.contains("has no handler nope; it has: x"), "{out}{stderr}");
    let (new, twice) = (traps_at_a_query(), format!("{admin},{admin}"));
    let path = pair.home.path().join("x.wasm");
    std::fs::write(&path, &new).unwrap();
    let mut command = galo();
    command.args(["deploy", "x"]).arg(&path).args(["--to", &twice, "--canary", "100%", "--hold", "0s"]);
    let (success, out, stderr) = run(as_operator(&mut command));
    assert!(success && out.matches("canary, generation 2").count() == 1, "{out}{stderr}");
    assert_eq!(pair.report(0).await["sha256"], Digest::of(&new).to_string());
}
