//! `galo deploy`, `galo rollback` and `galo audit` as a person runs them, against nodes that are processes: the command
//! is killed in between, and a node restarts in between.

use std::path::Path;

use galo::guest::Digest;
use http::Method;
use nix::sys::signal::Signal;

use crate::canary::folder;
use crate::cli::{Program, run, wait_until};
use crate::fixture::{Guest, answers, replying};
use crate::harness::{Guests, TestDatabase, galo, request};

/// A node with a state folder, on these addresses.
fn serve(database: &TestDatabase, guests: &Guests, state: &Path, admin: &str) -> Program {
    let mut command = galo();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", admin, "--handlers"]).arg(guests.folder.path());
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
    fn deploy(&self, component: &[u8], arguments: &[&str]) -> std::process::Command {
        let path = self.home.path().join("x.wasm");
        std::fs::write(&path, component).unwrap();
        let mut command = galo();
        let to = self.nodes.each_ref().map(|node| node.admin.clone()).join(",");
        command.args(["deploy", "x"]).arg(path).args(["--to", &to, "--who", "ana", "-m", "a test"]).args(arguments);
        command
    }

    async fn report(&self, node: usize) -> serde_json::Value {
        let report = request(&self.nodes[node].admin, Method::GET, "/handlers", "").await.json();
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
    let (success, _, stderr) = run(galo().args(["rollback", "x", "--admin", admin]));
    assert!(!success && stderr.contains("--why <WHY>"), "{stderr}");
    let old = &Digest::of(&answers(200)).to_string()[..12];
    let rollback = ["rollback", "x", "--to", old, "-m", "wrong totals", "--who", "bob", "--admin", admin];
    let (success, out, stderr) = run(galo().args(rollback));
    assert!(success && out == "x: rolled back from generation 2 to generation 1\n", "{out}{stderr}");
    let audit = |more: &[&str]| run(galo().args(["audit", "--admin", admin]).args(more));
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
    let (_, story_again, _) = run(galo().args(["audit", "--admin", &again.admin]));
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
        "`nowhere` is neither",
        "`maybe` is neither",
    ] {
        assert!(stderr.contains(mistake), "{mistake}: {stderr}");
    }
    let (success, _, stderr) = run(galo().args(["deploy", "x", "none.wasm"]));
    assert!(!success && stderr.contains("cannot read none.wasm"), "{stderr}");
}
