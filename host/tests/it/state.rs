//! What a node remembers across restarts: what was proved, and what was rolled back.

use std::path::{Path, PathBuf};

use galo::config::{Settings, StateFolder};
use galo::guest::Digest;
use galo::registry::Stage;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::cli::{Program, run, wait_until};
use crate::fixture::{Guest, answers, marked, replying};
use crate::harness::{Guests, TestDatabase, TestNode, galo, scratch, settings, until};

/// A database, a handler x, and a folder for the state of a node.
struct Kept {
    database: TestDatabase,
    guests: Guests,
    state: PathBuf,
    _folder: TempDir,
}

impl Kept {
    async fn new() -> Self {
        let (folder, state) = scratch("state");
        let (database, guests) = (TestDatabase::new().await, Guests::new().add("x", &answers(200), ""));
        Self { database, guests, state, _folder: folder }
    }

    /// A node with this state.
    async fn node(&self) -> TestNode {
        self.node_with(&self.state).await
    }

    async fn node_with(&self, folder: &Path) -> TestNode {
        let state = StateFolder::Required(folder.to_owned());
        TestNode::with(&self.database, Settings { state, ..settings(self.guests.folder.path()) }).await
    }

    /// The program with this state.
    fn program(&self) -> Program {
        let mut command = galo();
        command.arg("serve").arg("--state").arg(&self.state);
        Program::serve_with(command, &self.database, self.guests.folder.path())
    }

    /// Where a component lies in the state folder.
    fn file(&self, component: &[u8]) -> PathBuf {
        self.state.join(format!("{}.wasm", Digest::of(component)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_generation_does_not_serve_after_a_restart() {
    let kept = Kept::new().await;
    // Given a newcomer that was rolled back and is still in the folder,
    let first = kept.node().await;
    let traps = Guest::default().component();
    kept.guests.put("x", &traps);
    first.until_generation("x", 2).await;
    assert_eq!((first.get("/x").await.status.as_u16(), first.generation("x")), (200, 1));
    first.stop().await;
    // when the node starts again, then the proved generation serves, with its number, and the other is barred.
    for _ in 0..2 {
        let again = kept.node().await;
        assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (200, 1));
        let lineage = again.handler("x").lineage();
        let back = lineage.rolled_back.as_ref().unwrap();
        assert!(back.number == 2 && back.cause.starts_with("trap in prepare"), "{back:?}");
        again.stop().await;
    }
    // The next component is accepted, gets the next number, and can fall back on the proved one.
    let again = kept.node().await;
    kept.guests.put("x", &marked(&traps, 1));
    again.until_generation("x", 3).await;
    assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (200, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_came_while_a_node_was_down_is_on_probation() {
    let kept = Kept::new().await;
    kept.node().await.stop().await;
    kept.guests.put("x", &Guest::default().component());
    let again = kept.node().await;
    assert_eq!(again.generation("x"), 2);
    assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (200, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_component_does_not_keep_a_node_from_starting() {
    let kept = Kept::new().await;
    kept.node().await.stop().await;
    for broken in [Some(&b"garbage"[..]), None] {
        match broken {
            Some(bytes) => kept.guests.put("x", bytes),
            None => std::fs::remove_file(kept.guests.folder.path().join("x.wasm")).unwrap(),
        }
        // The proved generation serves, and the refusal is reported.
        let again = kept.node().await;
        assert_eq!(again.get("/x").await.status, 200);
        let (stage, _) = again.until_refused("x").await;
        assert_eq!(stage, if broken.is_some() { Stage::Compile } else { Stage::Read });
        again.stop().await;
    }
    // Once corrected, it is the next generation.
    let again = kept.node().await;
    kept.guests.put("x", &answers(201));
    again.until_generation("x", 2).await;
    again.stop().await;
    // Without a state there is nothing else to serve.
    kept.guests.put("x", b"garbage");
    assert!(kept.guests.refusal(&kept.database).await.contains("not a valid component"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_was_replaced_before_it_was_kept_serves_after_a_restart() {
    // Given a first component that cannot be put into the state folder before another one has replaced it,
    let kept = Kept::new().await;
    let (right, traps) = (answers(200), Guest::default().component());
    std::fs::create_dir_all(kept.file(&right)).unwrap();
    let first = kept.node().await;
    kept.guests.put("x", &traps);
    first.until_generation("x", 2).await;
    std::fs::remove_dir(kept.file(&right)).unwrap();
    // when that is rolled back and the node starts again, then the first one serves.
    assert_eq!((first.get("/x").await.status.as_u16(), first.generation("x")), (200, 1));
    first.stop().await;
    let again = kept.node().await;
    assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (200, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_cannot_be_written_for_a_while_misses_no_component_that_may_serve_again() {
    let kept = Kept::new().await;
    let limits = "limits = { probation_calls = 1, probation_seconds = 1 }\n";
    kept.guests.put_file("galo.toml", (kept.guests.manifest() + limits).as_bytes());
    let (proved, traps) = (answers(201), Guest::default().component());
    let first = kept.node().await;
    until("the first one is kept", String::new, || kept.file(&answers(200)).is_file()).await;
    // Given two that came while the folder could not be written: one with a manifest, which was proved, and its
    // successor,
    let away = kept.state.with_extension("away");
    std::fs::rename(&kept.state, &away).unwrap();
    kept.guests.put("new", &proved);
    kept.guests.put_file("galo.toml", kept.guests.manifest().replace("x.wasm", "new.wasm").as_bytes());
    first.until_generation("x", 2).await;
    assert_eq!(first.get("/x").await.status, 201);
    let handler = first.handler("x");
    until("it is proved", String::new, || handler.fallback(&handler.lineage()).is_none()).await;
    kept.guests.put("new", &traps);
    first.until_generation("x", 3).await;
    // when it can be written again, then the node knows both after a restart.
    std::fs::rename(&away, &kept.state).unwrap();
    first.stop().await;
    assert!(kept.file(&proved).is_file() && kept.file(&traps).is_file());
    let again = kept.node().await;
    assert_eq!(again.generation("x"), 3);
    assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (201, 2));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_one_folder_have_states_of_their_own() {
    let kept = Kept::new().await;
    let (one, two) = (kept.state.join("one"), kept.state.join("two"));
    let (first, second) = (kept.node_with(&one).await, kept.node_with(&two).await);
    // Given a newcomer that one of two nodes rolled back,
    let traps = Guest {
        prepare: "(if (i32.load8_u offset=32 (local.get 0)) (then unreachable)) i32.const 1024",
        ..replying(201, None, 0)
    };
    kept.guests.put("x", &traps.component());
    first.until_generation("x", 2).await;
    second.until_generation("x", 2).await;
    assert_eq!((first.get("/x?q").await.status.as_u16(), first.generation("x")), (200, 1));
    // when both are restarted, each serves what it served.
    first.stop().await;
    second.stop().await;
    let (first, second) = (kept.node_with(&one).await, kept.node_with(&two).await);
    assert_eq!((first.get("/x").await.status.as_u16(), first.generation("x")), (200, 1));
    assert_eq!((second.get("/x").await.status.as_u16(), second.generation("x")), (201, 2));
    // A state belongs to one node.
    let shared = Settings { state: StateFolder::Required(one.clone()), ..settings(kept.guests.folder.path()) };
    let refused = galo::serve::start(&shared, &kept.database.target(), crate::harness::engine()).await.err().unwrap();
    assert!(refused.to_string().contains("another node uses the state folder"), "{refused:#}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_comes_back_after_a_restart_is_remembered() {
    let mut kept = Kept::new().await;
    kept.guests = kept.guests.add("y", &answers(200), "");
    let whole = kept.guests.manifest();
    let first = kept.node().await;
    kept.guests.put("y", &Guest::default().component());
    first.until_generation("y", 2).await;
    assert_eq!((first.get("/y").await.status.as_u16(), first.generation("y")), (200, 1));
    first.stop().await;
    kept.guests
        .put_file("galo.toml", whole.split("[[handler]]").take(2).collect::<Vec<_>>().join("[[handler]]").as_bytes());
    let again = kept.node().await;
    assert_eq!(again.get("/y").await.status, 404);
    kept.guests.put_file("galo.toml", whole.as_bytes());
    until("y is back", String::new, || again.running.node.registry.table().handlers.len() == 2).await;
    assert_eq!((again.get("/y").await.status.as_u16(), again.generation("y")), (200, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_handler_before_it_left_is_remembered_also_if_the_folder_could_not_be_written_then() {
    let mut kept = Kept::new().await;
    kept.guests = kept.guests.add("y", &answers(200), "");
    let (whole, without) = (kept.guests.manifest(), Guests::new().add("x", &answers(200), "").manifest());
    let first = kept.node().await;
    // Given a component that was rolled back, and whose handler left, while the state folder could not be written,
    let away = kept.state.with_extension("away");
    std::fs::rename(&kept.state, &away).unwrap();
    kept.guests.put("y", &Guest::default().component());
    first.until_generation("y", 2).await;
    assert_eq!((first.get("/y").await.status.as_u16(), first.generation("y")), (200, 1));
    kept.guests.put_file("galo.toml", without.as_bytes());
    until("y has left", String::new, || first.running.node.registry.table().handlers.len() == 1).await;
    std::fs::rename(&away, &kept.state).unwrap();
    first.stop().await;
    // when the node starts again and the handler comes back, then the other one still serves.
    kept.guests.put_file("galo.toml", whole.as_bytes());
    let again = kept.node().await;
    assert!(again.handler("y").lineage().rolled_back.is_some());
    assert_eq!((again.get("/y").await.status.as_u16(), again.generation("y")), (200, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_outlasts_a_node_that_is_killed() {
    let kept = Kept::new().await;
    let mut program = kept.program();
    kept.guests.put("x", &answers(201));
    program.wait_for("generation 2 live");
    let (success, _, stderr) = run(galo().args(["rollback", "x", "-m", "a test", "--admin", &program.admin]));
    assert!(success, "{stderr}");
    wait_until("it is recorded", || {
        std::fs::read_to_string(kept.state.join("state.json")).is_ok_and(|text| text.contains("\"cause\": \"a test\""))
    });
    program.signal(Signal::SIGKILL);
    program.wait();
    let program = kept.program();
    let (_, listed, _) = run(galo().args(["handlers", "--admin", &program.admin]));
    assert!(listed.contains("rolled back"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_logs_that_its_state_does_not_last() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    // The default folder is not available to this user,
    let mut command = galo();
    command.arg("serve").env("HOME", "/proc/none").env_remove("XDG_STATE_HOME");
    let program = Program::serve_with(command, &database, guests.folder.path());
    let lines = program.log().lines().filter(|line| line.contains("is forgotten when this node ends")).count();
    assert_eq!(lines, 1, "{}", program.log());
    // and a folder that was asked for is required.
    let mut command = galo();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", "/proc/none", "--handlers"]);
    command.arg(guests.folder.path()).env("DATABASE_URL", database.service_url());
    let (success, _, stderr) = run(&mut command);
    assert!(!success && stderr.contains("cannot make the state folder /proc/none"), "{stderr}");
    // By default the state lasts, for each folder and address.
    let (_folder, home) = scratch("home");
    let mut command = galo();
    command.arg("serve").env("XDG_STATE_HOME", &home);
    let program = Program::serve_with(command, &database, guests.folder.path());
    assert!(!program.log().contains("is forgotten"), "{}", program.log());
    wait_until("it is recorded", || {
        let nodes = std::fs::read_dir(home.join("galo/nodes")).into_iter().flatten().flatten();
        nodes.into_iter().any(|node| node.path().join("state.json").is_file())
    });
}
