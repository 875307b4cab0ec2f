//! What was rolled back stays so, whatever is deployed and rolled back after it, and numbers are never given twice.

use galo::config::{Settings, StateFolder};
use galo::guest::Digest;
use galo::operator::{self, Access, Deployment};
use galo::report::{Reason, RollbackOrder};
use serde_json::Value;
use tempfile::TempDir;

use crate::canary::{deployment, until_recorded_over};
use crate::fixture::{answers, marked};
use crate::harness::{Guests, TestDatabase, TestNode, settings, until};

/// A node with the handlers `x` and `y`. Its folder is scanned as a whole when `y` has become new.
struct Scanned {
    database: TestDatabase,
    guests: Guests,
    state: TempDir,
    node: TestNode,
    ticks: u32,
}

impl Scanned {
    async fn new() -> Self {
        let (database, state) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
        let guests = Guests::new().add("x", &answers(200), "").add("y", &answers(200), "");
        let node = start(&database, &guests, &state).await;
        Self { database, guests, state, node, ticks: 0 }
    }

    async fn again(self) -> Self {
        self.node.stop().await;
        let node = start(&self.database, &self.guests, &self.state).await;
        Self { node, ..self }
    }

    fn access(&self) -> Access {
        Access { admin: self.node.running.admin.clone(), token: None }
    }

    async fn put(&self, component: &[u8]) {
        self.guests.put("x", component);
        let sha256 = Digest::of(component);
        let serves = || self.node.handler("x").lineage().current.component.compiled.digest == sha256;
        until("it serves", || format!("{:?}", self.node.handler("x").refusal()), serves).await;
    }

    async fn roll_back(&self) -> String {
        let order = RollbackOrder::of(Reason { who: "ana".to_owned(), why: "wrong".to_owned() });
        operator::rollback(&self.access(), "x", &order).await.unwrap()
    }

    /// Deploys a component up to this step.
    async fn deploy(&self, component: &[u8], step: &str) {
        let differences = Some("report".to_owned());
        let deployment = Deployment { by: "request".to_owned(), differences, ..deployment(component, &[step]) };
        operator::deploy(&[self.access()], &deployment, |_| {}).await.unwrap();
    }

    /// Has the whole folder looked at again.
    async fn scan(&mut self) {
        // The first scan may have begun before it was asked for.
        for _ in 0..2 {
            self.ticks += 1;
            self.node.running.orders.scan_again();
            let number = self.node.generation("y") + 1;
            self.guests.put("y", &marked(&answers(200), u64::from(self.ticks)));
            self.node.until_generation("y", number).await;
        }
    }

    async fn serves(&self) -> (u16, u64) {
        (self.node.get("/x").await.status.as_u16(), self.node.generation("x"))
    }

    /// Waits until the state names this component as barred.
    async fn until_recorded(&self, text: &str) {
        let path = self.state.path().join("state/state.json");
        let has = || std::fs::read_to_string(&path).is_ok_and(|state| state.contains(text));
        until("it is recorded", || std::fs::read_to_string(&path).unwrap_or_default(), has).await;
    }
}

async fn start(database: &TestDatabase, guests: &Guests, state: &TempDir) -> TestNode {
    let state = StateFolder::Required(state.path().join("state"));
    TestNode::with(database, Settings { state, ..settings(guests.folder.path()) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_folder_holds_stays_rolled_back_after_a_canary_was() {
    // Given a folder whose component was rolled back, when a canary is rolled back too, then neither a scan nor a
    // restart nor a changed manifest brings it back.
    let mut x = Scanned::new().await;
    x.put(&answers(201)).await;
    x.roll_back().await;
    x.scan().await;
    assert_eq!(x.serves().await, (200, 1));
    for status in [202, 203] {
        x.deploy(&answers(status), "50%").await;
        x.roll_back().await;
        x.scan().await;
        assert_eq!(x.serves().await, (200, 1), "after the canary {status}");
    }
    let changed = x.guests.manifest().replace("\"GET /x\"\n", "\"GET /x\"\nlimits = { deadline_ms = 90 }\n");
    x.guests.put_file("galo.toml", changed.as_bytes());
    until("it holds", String::new, || x.node.handler("x").entry.limits.deadline.as_millis() == 90).await;
    x.scan().await;
    assert_eq!(x.serves().await, (200, 1), "after the manifest");
    let mut x = x.again().await;
    x.scan().await;
    assert_eq!(x.serves().await, (200, 1), "after a restart");
    // Another component is taken, and after it the first one again: the file has changed.
    x.put(&answers(204)).await;
    x.put(&answers(201)).await;
    assert_eq!(x.serves().await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_folder_holds_stays_rolled_back_after_a_promoted_canary_was() {
    let mut x = Scanned::new().await;
    x.put(&answers(201)).await;
    x.roll_back().await;
    x.deploy(&answers(202), "100%").await;
    assert_eq!(x.serves().await.0, 202);
    x.scan().await;
    assert_eq!(x.serves().await.0, 202);
    // While it serves, the node restarts, with the component of the folder barred as before.
    x.until_recorded("\"over\"").await;
    let mut x = x.again().await;
    x.scan().await;
    assert_eq!(x.serves().await.0, 202);
    let kept = RollbackOrder {
        to: Some(Digest::of(&answers(200)).to_string()),
        ..RollbackOrder::of(Reason { who: "ana".to_owned(), why: "wrong".to_owned() })
    };
    operator::rollback(&x.access(), "x", &kept).await.unwrap();
    x.scan().await;
    assert_eq!(x.serves().await, (200, 1));
    let mut x = x.again().await;
    x.scan().await;
    assert_eq!(x.serves().await, (200, 1));
    // What was rolled back as a canary does not come in through the folder either.
    x.guests.put("x", &answers(202));
    x.scan().await;
    assert_eq!(x.serves().await, (200, 1));
    // An operator who deploys it again means it.
    x.deploy(&answers(202), "100%").await;
    x.scan().await;
    assert_eq!(x.serves().await.0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_components_have_the_same_number() {
    let x = Scanned::new().await;
    x.put(&answers(201)).await;
    x.deploy(&answers(202), "50%").await;
    // The canary was generation 3, what is rolled back after it is generation 2.
    x.roll_back().await;
    x.roll_back().await;
    assert_eq!(x.serves().await, (200, 1));
    x.deploy(&answers(203), "50%").await;
    assert_eq!(x.node.handler("x").lineage().canary.as_ref().unwrap().generation.number, 4);
    x.roll_back().await;
    x.until_recorded("\"last\": 4").await;
    // Also after a restart.
    let x = x.again().await;
    x.put(&answers(204)).await;
    assert_eq!(x.serves().await, (204, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_names_what_it_passes_over() {
    let x = Scanned::new().await;
    x.put(&answers(201)).await;
    x.put(&answers(202)).await;
    let printed = x.roll_back().await;
    assert_eq!(
        printed,
        "x: rolled back from generation 3 to generation 1; generation 2 had not finished its probation when it was \
         replaced\n"
    );
    assert_eq!(x.serves().await, (200, 1));
    x.put(&answers(203)).await;
    assert_eq!(x.roll_back().await, "x: rolled back from generation 4 to generation 1\n");
    // What serves is live, whatever was rolled back before.
    let report: Value = x.node.admin("/handlers").await.json();
    let handler = &report["handlers"][0];
    assert_eq!((&handler["state"], &handler["rolled_back"]["generation"]), (&"live".into(), &4.into()));
    let table = operator::handlers(&x.access(), operator::Listing::Table).await.unwrap();
    assert!(table.contains("live") && table.contains("x: generation 4 rolled back at"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployed_component_that_the_state_folder_lost_is_missed_aloud() {
    let mut x = Scanned::new().await;
    x.deploy(&answers(202), "100%").await;
    x.until_recorded("\"over\"").await;
    x.node.stop().await;
    let file = x.state.path().join(format!("state/{}.wasm", Digest::of(&answers(202))));
    std::fs::remove_file(file).unwrap();
    x.node = start(&x.database, &x.guests, &x.state).await;
    assert_eq!(x.serves().await.0, 200);
    let audit = x.node.admin("/api/audit").await;
    let audit = audit.text();
    let entry: Value = serde_json::from_str(audit.lines().last().unwrap()).unwrap();
    assert_eq!((&entry["event"], &entry["handler"]), (&"refused".into(), &"x".into()), "{audit}");
    assert!(entry["why"].as_str().unwrap().contains("is missing in the state folder"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_back_does_not_serve_in_place_of_a_deployed_component_that_is_lost() {
    let x = Scanned::new().await;
    x.put(&answers(201)).await;
    x.roll_back().await;
    x.deploy(&answers(202), "100%").await;
    until_recorded_over(&x.state.path().join("state")).await;
    x.node.stop().await;
    let file = x.state.path().join(format!("state/{}.wasm", Digest::of(&answers(202))));
    std::fs::remove_file(file).unwrap();
    let mut x = Scanned { node: start(&x.database, &x.guests, &x.state).await, ..x };
    x.scan().await;
    assert_eq!(x.serves().await, (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_does_not_forget_what_was_rolled_back() {
    let mut x = Scanned::new().await;
    x.put(&answers(201)).await;
    x.roll_back().await;
    x.until_recorded("\"wrong\"").await;
    x.node.stop().await;
    let path = |name: &str| x.state.path().join("state").join(name);
    std::fs::write(path("state.json"), "{\"format\": 1, \"handlers\": ").unwrap();
    x.node = start(&x.database, &x.guests, &x.state).await;
    assert_eq!(x.serves().await, (200, 1));
    x.node.stop().await;
    // Without any record it would serve what it has rolled back, so it does not start, however often it is tried.
    for name in ["state.json", "state.copy.json"] {
        std::fs::write(path(name), "garbage").unwrap();
    }
    let state = StateFolder::Required(x.state.path().join("state"));
    let settings = Settings { state, ..settings(x.guests.folder.path()) };
    for _ in 0..2 {
        let refused =
            galo::serve::start(&settings, &x.database.target(), crate::harness::engine()).await.err().unwrap();
        assert!(format!("{refused:#}").contains("what this node rolled back is not known"), "{refused:#}");
    }
}
