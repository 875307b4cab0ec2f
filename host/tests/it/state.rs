//! What a node remembers across restarts: what was proved, and what was taken back.

use std::path::Path;

use galo::config::{Settings, StateFolder};
use galo::registry::Stage;
use nix::sys::signal::Signal;

use crate::cli::{Program, run, wait_until};
use crate::fixture::{Guest, marked, replying};
use crate::harness::{Guests, TestDatabase, TestNode, galo, scratch, settings, until};

fn answers(status: u16) -> Vec<u8> {
    replying(status, None, 0).component()
}

async fn node(database: &TestDatabase, guests: &Guests, state: &Path) -> TestNode {
    let state = StateFolder::Required(state.to_owned());
    TestNode::with(database, Settings { state, ..settings(guests.folder.path()) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_does_not_serve_after_a_restart() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let (_folder, state) = scratch("state");
    // Given a newcomer that was taken back, and is in the folder still,
    let first = node(&database, &guests, &state).await;
    let traps = Guest::default().component();
    guests.put("x", &traps);
    first.until_generation("x", 2).await;
    assert_eq!((first.get("/x").await.status.as_u16(), first.generation("x")), (200, 1));
    first.stop().await;
    // when the node starts again, then the one that was proved serves, with its number, and the other is barred.
    for _ in 0..2 {
        let again = node(&database, &guests, &state).await;
        assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (200, 1));
        let lineage = again.handler("x").lineage();
        let back = lineage.rolled_back.as_ref().unwrap();
        assert!(back.number == 2 && back.cause.starts_with("trap in prepare"), "{back:?}");
        again.stop().await;
    }
    // What comes next is taken, has the next number, and the proved one to fall back on.
    let again = node(&database, &guests, &state).await;
    guests.put("x", &marked(&traps, 1));
    again.until_generation("x", 3).await;
    assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (200, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_a_node_was_down_is_on_probation() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let (_folder, state) = scratch("state");
    node(&database, &guests, &state).await.stop().await;
    guests.put("x", &Guest::default().component());
    let again = node(&database, &guests, &state).await;
    assert_eq!(again.generation("x"), 2);
    assert_eq!((again.get("/x").await.status.as_u16(), again.generation("x")), (200, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_component_does_not_keep_a_node_from_starting() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let (_folder, state) = scratch("state");
    node(&database, &guests, &state).await.stop().await;
    for broken in [Some(&b"garbage"[..]), None] {
        match broken {
            Some(bytes) => guests.put("x", bytes),
            None => std::fs::remove_file(guests.folder.path().join("x.wasm")).unwrap(),
        }
        // The one that was proved serves, and the refusal is reported.
        let again = node(&database, &guests, &state).await;
        assert_eq!(again.get("/x").await.status, 200);
        let (stage, _) = again.until_refused("x").await;
        assert_eq!(stage, if broken.is_some() { Stage::Compile } else { Stage::Read });
        again.stop().await;
    }
    // Mended, it is the next generation.
    let again = node(&database, &guests, &state).await;
    guests.put("x", &answers(201));
    again.until_generation("x", 2).await;
    again.stop().await;
    // Without a state nothing else is there.
    guests.put("x", b"garbage");
    assert!(guests.refusal(&database).await.contains("not a valid component"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_one_folder_have_states_of_their_own() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let (folder, _) = scratch("state");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let (first, second) = (node(&database, &guests, &one).await, node(&database, &guests, &two).await);
    // Given a newcomer that one of the two took back,
    let traps = Guest { prepare: "(if (local.get 6) (then unreachable)) i32.const 1024", ..replying(201, None, 0) };
    guests.put("x", &traps.component());
    first.until_generation("x", 2).await;
    second.until_generation("x", 2).await;
    assert_eq!((first.get("/x?q").await.status.as_u16(), first.generation("x")), (200, 1));
    // when both are restarted, each serves what it served.
    first.stop().await;
    second.stop().await;
    let (first, second) = (node(&database, &guests, &one).await, node(&database, &guests, &two).await);
    assert_eq!((first.get("/x").await.status.as_u16(), first.generation("x")), (200, 1));
    assert_eq!((second.get("/x").await.status.as_u16(), second.generation("x")), (201, 2));
    // And one state is one node's.
    let shared = Settings { state: StateFolder::Required(one.clone()), ..settings(guests.folder.path()) };
    let refused = galo::serve::start(&shared, &database.target(), crate::harness::engine()).await.err().unwrap();
    assert!(refused.to_string().contains("another node uses the state folder"), "{refused:#}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_comes_back_after_a_restart_is_remembered() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "").add("y", &answers(200), "");
    let whole = guests.manifest();
    let (_folder, state) = scratch("state");
    let first = node(&database, &guests, &state).await;
    guests.put("y", &Guest::default().component());
    first.until_generation("y", 2).await;
    assert_eq!((first.get("/y").await.status.as_u16(), first.generation("y")), (200, 1));
    first.stop().await;
    guests.put_file("galo.toml", whole.split("[[handler]]").take(2).collect::<Vec<_>>().join("[[handler]]").as_bytes());
    let again = node(&database, &guests, &state).await;
    assert_eq!(again.get("/y").await.status, 404);
    guests.put_file("galo.toml", whole.as_bytes());
    until("y is back", String::new, || again.running.node.registry.table().handlers.len() == 2).await;
    assert_eq!((again.get("/y").await.status.as_u16(), again.generation("y")), (200, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_outlasts_a_node_that_is_killed() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    let (_folder, state) = scratch("state");
    let serve = || {
        let mut command = galo();
        command.arg("serve").arg("--state").arg(&state);
        Program::serve_with(command, &database, guests.folder.path())
    };
    let mut program = serve();
    guests.put("x", &answers(201));
    program.wait_for("generation 2 live");
    let (success, _, told) = run(galo().args(["rollback", "x", "--admin", &program.admin]));
    assert!(success, "{told}");
    wait_until("it is recorded", || {
        std::fs::read_to_string(state.join("state.json")).is_ok_and(|text| text.contains("asked for at the admin"))
    });
    program.signal(Signal::SIGKILL);
    program.wait();
    let program = serve();
    let (_, listed, _) = run(galo().args(["handlers", "--admin", &program.admin]));
    assert!(listed.contains("rolled back"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_state_does_not_last_the_start_says_so() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    // The default is not there for this user,
    let mut command = galo();
    command.arg("serve").env("HOME", "/proc/none").env_remove("XDG_STATE_HOME");
    let program = Program::serve_with(command, &database, guests.folder.path());
    let lines = program.log().lines().filter(|line| line.contains("is forgotten when this node ends")).count();
    assert_eq!(lines, 1, "{}", program.log());
    // and what was asked for is not replaced by nothing.
    let mut command = galo();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", "/proc/none", "--handlers"]);
    command.arg(guests.folder.path()).env("DATABASE_URL", database.service_url());
    let (success, _, told) = run(&mut command);
    assert!(!success && told.contains("cannot make the state folder /proc/none"), "{told}");
    // By default it lasts, for each folder and address.
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
