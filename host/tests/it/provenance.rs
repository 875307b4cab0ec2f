//! A node that was given public keys serves only what one of them has signed; and the header that names what answered.

use std::path::Path;
use std::time::Duration;

use galo::config::{Settings, StateFolder};
use galo::guest::Digest;
use galo::manifest;
use galo::operator::{self, Access, Ended, Shadowing};
use galo::registry::Stage;
use galo::report::Reason;
use galo::trust::{Signer, Trust, make_keys, path_of};
use http::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::canary::{deployment, folder, until_recorded_over};
use crate::cli::run;
use crate::fixture::{Guest, answers};
use crate::harness::{Guests, TestDatabase, TestNode, engine, galo, request, settings, until};

/// A key outside of every handlers folder.
struct Key {
    home: TempDir,
}

impl Key {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        make_keys(&home.path().join("key"), None).unwrap();
        Self { home }
    }

    fn signer(&self) -> Signer {
        Signer::read(&self.home.path().join("key"), None).unwrap()
    }

    /// The signature of a component for the handler of a folder.
    fn of(&self, guests: &Guests, component: &[u8]) -> String {
        let entry = manifest::read(guests.folder.path()).unwrap().handlers.remove(0);
        let statement = entry.statement(&Digest::of(component).to_string());
        self.signer().sign(statement.as_bytes(), "test").unwrap()
    }

    /// Signs a folder as `galo sign` does.
    fn sign(&self, folder: &Path) {
        let mut command = galo();
        command.arg("sign").arg("--handlers").arg(folder).arg("--key").arg(self.home.path().join("key"));
        let (success, out, stderr) = run(&mut command);
        assert!(success && out.contains("x.wasm.minisig") && out.contains("galo.toml.minisig"), "{out}{stderr}");
    }

    fn settings(&self, guests: &Guests) -> Settings {
        let state = StateFolder::Required(self.home.path().join("state"));
        Settings { trust: Some(self.home.path().join("key.pub")), state, ..settings(guests.folder.path()) }
    }

    async fn refusal(&self, guests: &Guests, database: &TestDatabase) -> String {
        match galo::serve::start(&self.settings(guests), &database.target(), engine()).await {
            Ok(_) => panic!("the node started"),
            Err(error) => format!("{error:#}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_by_a_trusted_key_never_serves() {
    let database = TestDatabase::new().await;
    let (key, stranger, guests) = (Key::new(), Key::new(), folder(&answers(200), ""));
    // At a start: no signature, a foreign one, one of other grants, one of another manifest.
    assert!(key.refusal(&guests, &database).await.contains("it has no signature"));
    stranger.sign(guests.folder.path());
    assert!(key.refusal(&guests, &database).await.contains("which this node does not trust"));
    key.sign(guests.folder.path());
    let manifest = guests.manifest();
    guests.put_file("galo.toml", manifest.replace("GET /x", "POST /x").as_bytes());
    assert!(key.refusal(&guests, &database).await.contains("its signature does not fit"));
    let signed = key.signer().sign(guests.manifest().as_bytes(), "manifest alone").unwrap();
    guests.put_file("galo.toml.minisig", signed.as_bytes());
    let error = key.refusal(&guests, &database).await;
    assert!(error.contains("x: ") && error.contains("its signature does not fit"), "{error}");
    guests.put_file("galo.toml", manifest.as_bytes());
    key.sign(guests.folder.path());
    let node = TestNode::with(&database, key.settings(&guests)).await;
    assert_eq!(node.get("/x/1").await.status, 200);

    // While it serves: a component without its signature, then with it.
    guests.put("x", &answers(201));
    let (stage, message) = node.until_refused("x").await;
    assert!(stage == Stage::Signature && message.contains("its signature does not fit"), "{stage} {message}");
    assert_eq!(node.get("/x/1").await.status, 200);
    guests.put_file("x.wasm.minisig", key.of(&guests, &answers(201)).as_bytes());
    node.until_generation("x", 2).await;
    // A manifest that grants more.
    guests.put_file("galo.toml", manifest.replace("GET /x", "PUT /x").as_bytes());
    let (_, message) = node.until_manifest_refused().await;
    assert!(message.contains("its signature does not fit"), "{message}");
    assert_eq!(node.get("/x/1").await.status, 201);
    // One that is signed, but its component is not for these grants.
    let signed = key.signer().sign(guests.manifest().as_bytes(), "manifest alone").unwrap();
    guests.put_file("galo.toml.minisig", signed.as_bytes());
    let registry = &node.running.node.registry;
    let named =
        || registry.refusal().is_some_and(|refusal| refusal.message.contains("x.wasm: its signature does not fit"));
    until("the component is refused", || format!("{:?}", registry.refusal()), named).await;
    assert_eq!(node.get("/x/1").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_canary_nor_what_the_state_folder_has_serves_unsigned() {
    let database = TestDatabase::new().await;
    let (key, stranger, guests) = (Key::new(), Key::new(), folder(&answers(200), ""));
    key.sign(guests.folder.path());
    let node = TestNode::with(&database, key.settings(&guests)).await;
    let access = [Access { admin: node.running.admin.clone(), token: None }];
    let new = answers(201);
    for (signature, expected) in [
        (None, "signature: "),
        (Some(stranger.of(&guests, &new)), "does not trust"),
        (Some(key.of(&guests, &answers(202))), "does not fit"),
    ] {
        let mut unsigned = deployment(&new, &["100%"]);
        unsigned.signature = signature;
        let error = format!("{:#}", operator::deploy(&access, &unsigned, |_| {}).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
    let mut signed = deployment(&new, &["100%"]);
    (signed.signature, signed.differences) = (Some(key.of(&guests, &new)), Some("report".to_owned()));
    operator::deploy(&access, &signed, |_| {}).await.unwrap();
    assert_eq!(node.get("/x/1").await.status, 201);
    let state = key.home.path().join("state");
    until_recorded_over(&state).await;
    node.stop().await;
    // After a restart it serves with its signature, and not without.
    let again = TestNode::with(&database, key.settings(&guests)).await;
    assert_eq!(again.get("/x/1").await.status, 201);
    again.stop().await;
    let kept = path_of(&state.join(format!("{}.wasm", Digest::of(&new))));
    std::fs::write(&kept, stranger.of(&guests, &new)).unwrap();
    match galo::serve::start(&key.settings(&guests), &database.target(), engine()).await {
        Ok(running) => {
            let node = TestNode { running };
            assert_eq!(node.get("/x/1").await.status, 200, "the folder's, which is signed");
        }
        Err(error) => assert!(format!("{error:#}").contains("signature"), "{error:#}"),
    }
}

/// Grants more, and is signed with what the folder holds.
fn grants_more(key: &Key, guests: &Guests) {
    let manifest = guests.manifest().replace("GET /x/{id}", "PUT /x/{id}");
    guests.put_file("galo.toml", manifest.as_bytes());
    key.sign(guests.folder.path());
}

/// A node that serves the second signed component of its folder, after the first.
async fn second_of_folder(database: &TestDatabase, key: &Key, guests: &Guests) -> TestNode {
    key.sign(guests.folder.path());
    let node = TestNode::with(database, key.settings(guests)).await;
    guests.put_file("x.wasm.minisig", key.of(guests, &answers(201)).as_bytes());
    guests.put("x", &answers(201));
    node.until_generation("x", 2).await;
    node
}

/// What serves may not serve with more grants than it was signed for.
async fn serves_as_it_was_signed(node: &TestNode, status: u16) {
    let registry = &node.running.node.registry;
    let named = || registry.refusal().is_some_and(|refusal| refusal.message.contains("is signed for other grants"));
    until("the manifest is refused", || format!("{:?}", registry.refusal()), named).await;
    let put = request(&node.address(), Method::PUT, "/x/1", "").await.status.as_u16();
    assert_eq!((put, node.get("/x/1").await.status.as_u16()), (405, status));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_back_does_not_give_its_signature_to_what_serves() {
    let database = TestDatabase::new().await;
    let (key, guests) = (Key::new(), folder(&answers(200), ""));
    let node = second_of_folder(&database, &key, &guests).await;
    let order = json!({"who": "ana", "why": "wrong"}).to_string();
    let back = request(&node.admin_address(), Method::POST, "/handlers/x/rollback", order).await;
    assert_eq!((back.status.as_u16(), node.generation("x")), (200, 1));
    // A limit is not part of what is signed.
    let limited = guests.manifest().replace("\"\n\n", "\"\n") + "limits = { deadline_ms = 90 }\n";
    guests.put_file("galo.toml", limited.as_bytes());
    key.sign(guests.folder.path());
    let registry = &node.running.node.registry;
    let holds = || node.handler("x").entry.limits.deadline.as_millis() == 90;
    until("the limit holds", || format!("{:?}", registry.refusal()), holds).await;
    assert_eq!((node.get("/x/1").await.status.as_u16(), node.generation("x")), (200, 1));
    // More grants are.
    grants_more(&key, &guests);
    serves_as_it_was_signed(&node, 200).await;
    let state = key.home.path().join("state/state.json");
    until("it is recorded", String::new, || std::fs::read_to_string(&state).is_ok_and(|text| text.contains("wrong")))
        .await;
    node.stop().await;
    // After a restart, nothing may serve: the one was rolled back, and the other is signed for other grants.
    let error = key.refusal(&guests, &database).await;
    assert!(error.contains("was rolled back") && error.contains("put another component"), "{error}");
    // With the component that was proved, signed for the new grants, it starts.
    guests.put("x", &answers(200));
    key.sign(guests.folder.path());
    let again = TestNode::with(&database, key.settings(&guests)).await;
    assert_eq!(request(&again.address(), Method::PUT, "/x/1", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_for_the_grants_of_now_is_not_kept_for_a_rollback() {
    let database = TestDatabase::new().await;
    let (key, guests) = (Key::new(), folder(&answers(200), ""));
    let node = second_of_folder(&database, &key, &guests).await;
    // What the folder holds is signed for the new grants, and the generation before it is not.
    grants_more(&key, &guests);
    let granted = || node.handler("x").entry.routes[0].to_string() == "PUT /x/{id}";
    until("the grants hold", || format!("{:?}", node.running.node.registry.refusal()), granted).await;
    let order = json!({"who": "ana", "why": "wrong"}).to_string();
    let back = request(&node.admin_address(), Method::POST, "/handlers/x/rollback", order).await;
    assert_eq!((back.status.as_u16(), back.text().trim_end()), (409, "x has no previous generation"));
    assert_eq!(request(&node.address(), Method::PUT, "/x/1", "").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_fails_does_not_give_its_signature_to_what_serves() {
    let database = TestDatabase::new().await;
    let (key, guests) = (Key::new(), folder(&answers(200), ""));
    key.sign(guests.folder.path());
    let node = TestNode::with(&database, key.settings(&guests)).await;
    guests.put("x", b"garbage");
    grants_more(&key, &guests);
    serves_as_it_was_signed(&node, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_was_replaced_is_kept_with_the_signature_that_it_had_last() {
    let database = TestDatabase::new().await;
    let (old, new, guests) = (Key::new(), Key::new(), folder(&answers(200), ""));
    let (both, public) = (old.home.path().join("both.pub"), |key: &Key| key.home.path().join("key.pub"));
    let keys = [&old, &new].map(|key| std::fs::read_to_string(public(key)).unwrap());
    std::fs::write(&both, keys.concat()).unwrap();
    old.sign(guests.folder.path());
    let node = TestNode::with(&database, Settings { trust: Some(both), ..old.settings(&guests) }).await;
    let (state, away) = (old.home.path().join("state"), old.home.path().join("away"));
    let signature = path_of(&state.join(format!("{}.wasm", Digest::of(&answers(200)))));
    until("it is kept", String::new, || signature.is_file()).await;
    // Given a component that was signed again and then replaced, while the state folder could not be written,
    std::fs::rename(&state, &away).unwrap();
    let (again, traps) = (new.of(&guests, &answers(200)), Guest::default().component());
    guests.put_file("x.wasm.minisig", again.as_bytes());
    let has = || node.handler("x").lineage().current.signature().is_some_and(|signature| *signature == again);
    until("it has the new signature", String::new, has).await;
    guests.put_file("x.wasm.minisig", new.of(&guests, &traps).as_bytes());
    guests.put("x", &traps);
    node.until_generation("x", 2).await;
    std::fs::rename(&away, &state).unwrap();
    node.stop().await;
    // when the old key is not trusted any more, then a rollback leads to it all the same.
    new.sign(guests.folder.path());
    let node = TestNode::with(&database, Settings { trust: Some(public(&new)), ..old.settings(&guests) }).await;
    assert_eq!(node.generation("x"), 2);
    assert_eq!((node.get("/x/1").await.status.as_u16(), node.generation("x")), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deployed_serves_only_with_the_grants_that_it_was_signed_for() {
    let database = TestDatabase::new().await;
    // With the config that it was deployed with, and with another one.
    for config in ["1", "2"] {
        let (key, guests) = (Key::new(), folder(&answers(200), "config = { a = \"1\" }"));
        key.sign(guests.folder.path());
        let node = TestNode::with(&database, key.settings(&guests)).await;
        let access = [Access { admin: node.running.admin.clone(), token: None }];
        let mut signed = deployment(&answers(201), &["100%"]);
        signed.signature = Some(key.of(&guests, &answers(201)));
        signed.differences = Some("report".to_owned());
        operator::deploy(&access, &signed, |_| {}).await.unwrap();
        let manifest = guests.manifest().replace("a = \"1\"", &format!("a = \"{config}\""));
        guests.put_file("galo.toml", manifest.as_bytes());
        grants_more(&key, &guests);
        serves_as_it_was_signed(&node, 201).await;
        // Put into the folder, signed for them, it serves with the new grants.
        guests.put("x", &answers(201));
        key.sign(guests.folder.path());
        let registry = &node.running.node.registry;
        until("it is accepted", || format!("{:?}", registry.refusal()), || registry.refusal().is_none()).await;
        assert_eq!(request(&node.address(), Method::PUT, "/x/1", "").await.status, 201);
        // The signature that the state folder has is the new one.
        let state = key.home.path().join("state");
        let kept = path_of(&state.join(format!("{}.wasm", Digest::of(&answers(201)))));
        let trust = Trust::read(&key.home.path().join("key.pub")).unwrap();
        let statement = node.handler("x").entry.statement(&Digest::of(&answers(201)).to_string());
        let is_new = || {
            let signature = std::fs::read_to_string(&kept).ok();
            trust.check(statement.as_bytes(), signature.as_deref()).is_ok()
        };
        until("its signature is kept", || std::fs::read_to_string(&kept).unwrap_or_default(), is_new).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deployed_gets_new_grants_by_a_deployment_with_a_new_signature() {
    // Given a deployed component that is not in the folder, and a manifest that waits because it grants more, when the
    // component is deployed again with a signature for these grants, then it serves with them, also after a restart.
    let database = TestDatabase::new().await;
    let (key, stranger, guests) = (Key::new(), Key::new(), folder(&answers(200), ""));
    key.sign(guests.folder.path());
    let node = TestNode::with(&database, key.settings(&guests)).await;
    let component = key.home.path().join("new.wasm");
    std::fs::write(&component, answers(201)).unwrap();
    let deploy = |node: &TestNode| {
        let mut command = galo();
        command.args(["deploy", "x"]).arg(&component).args(["--canary", "100%", "--hold", "0s", "--by", "id"]);
        run(command.args(["--differences", "report", "-m", "a test", "--admin", &node.admin_address()]))
    };
    let sign = |signature: String| std::fs::write(path_of(&component), signature).unwrap();
    let old = key.of(&guests, &answers(201));
    sign(old.clone());
    let (success, _, stderr) = deploy(&node);
    assert!(success, "{stderr}");
    // Nothing waits: it serves already, whatever the signature is.
    assert!(deploy(&node).1.contains("serves this component already"));
    grants_more(&key, &guests);
    serves_as_it_was_signed(&node, 201).await;
    let waits = node.running.node.registry.refusal().unwrap().message.clone();
    assert!(waits.contains("sign its file for these grants and deploy that again"), "{waits}");
    // What is not signed for what waits is refused, and changes nothing.
    for (signature, reason) in [(old, "does not fit"), (stranger.of(&guests, &answers(201)), "does not trust")] {
        sign(signature);
        let (success, _, stderr) = deploy(&node);
        assert!(!success && stderr.contains("signature: ") && stderr.contains(reason), "{stderr}");
        assert_eq!(request(&node.address(), Method::PUT, "/x/1", "").await.status, 405);
    }
    sign(key.of(&guests, &answers(201)));
    let (success, out, stderr) = deploy(&node);
    assert!(success && out.contains("has its signature for the manifest that waits there"), "{out}{stderr}");
    let registry = &node.running.node.registry;
    until("it is accepted", || format!("{:?}", registry.refusal()), || registry.refusal().is_none()).await;
    assert_eq!(request(&node.address(), Method::PUT, "/x/1", "").await.status, 201);
    let audit = node.admin("/api/audit").await;
    assert!(audit.text().contains(r#""event":"signed""#), "{}", audit.text());
    // After a restart too: the state folder has the new signature.
    let kept = path_of(&key.home.path().join(format!("state/{}.wasm", Digest::of(&answers(201)))));
    let new = std::fs::read_to_string(path_of(&component)).unwrap();
    until("its signature is kept", String::new, || std::fs::read_to_string(&kept).is_ok_and(|text| text == new)).await;
    node.stop().await;
    let again = TestNode::with(&database, key.settings(&guests)).await;
    assert_eq!(request(&again.address(), Method::PUT, "/x/1", "").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_put_refuse_what_a_node_with_the_same_keys_would() {
    let database = TestDatabase::new().await;
    let (key, guests, to) = (Key::new(), folder(&answers(200), ""), tempfile::tempdir().unwrap());
    key.sign(guests.folder.path());
    let command = |what: &str| {
        let mut command = galo();
        command.arg(what).arg(guests.folder.path()).arg("--trust").arg(key.home.path().join("key.pub"));
        command.env("DATABASE_URL", database.service_url()).env("GALO_CACHE", key.home.path().join("cache"));
        if what == "put" {
            command.arg("--handlers").arg(to.path());
        }
        run(&mut command)
    };
    for what in ["check", "put"] {
        let (success, _, stderr) = command(what);
        assert!(success, "{what}: {stderr}");
    }
    // The manifest was changed after it was signed; then it is signed, but the component is not.
    let manifest = guests.manifest();
    let stale = |what: &str, named: &str| {
        let (success, out, stderr) = command(what);
        assert!(!success && (out + &stderr).contains(named), "{what}: {stderr}");
    };
    guests.put_file("galo.toml", format!("{manifest}\n# changed\n").as_bytes());
    ["check", "put"].iter().for_each(|what| stale(what, "galo.toml: its signature does not fit"));
    guests.put_file("galo.toml", manifest.as_bytes());
    guests.put_file("x.wasm.minisig", key.of(&guests, &answers(201)).as_bytes());
    ["check", "put"].iter().for_each(|what| stale(what, "x.wasm: its signature does not fit"));
    assert_eq!(std::fs::read_to_string(to.path().join("galo.toml")).unwrap(), manifest);
    // What was put without keys is not passed over as known.
    let mut unseen = galo();
    unseen.arg("put").arg(guests.folder.path()).arg("--handlers").arg(to.path());
    unseen.env("DATABASE_URL", database.service_url()).env("GALO_CACHE", key.home.path().join("cache"));
    assert!(run(&mut unseen).0);
    stale("put", "x.wasm: its signature does not fit");
    // Keys in the folder that nodes watch protect nothing.
    std::fs::copy(key.home.path().join("key.pub"), to.path().join("key.pub")).unwrap();
    key.sign(guests.folder.path());
    let mut inside = galo();
    inside.arg("put").arg(guests.folder.path()).arg("--handlers").arg(to.path()).arg("--trust");
    inside.arg(to.path().join("key.pub")).env("DATABASE_URL", database.service_url());
    let (success, _, stderr) = run(&mut inside);
    assert!(!success && stderr.contains("move them elsewhere"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_runs_only_what_is_signed() {
    let database = TestDatabase::new().await;
    let (key, stranger, guests) = (Key::new(), Key::new(), folder(&answers(200), ""));
    key.sign(guests.folder.path());
    let node = TestNode::with(&database, key.settings(&guests)).await;
    let access = Access { admin: node.running.admin.clone(), token: None };
    let component = key.home.path().join("new.wasm");
    let asked = Reason { who: "ana".to_owned(), why: "a test".to_owned() };
    std::fs::write(&component, answers(201)).unwrap();
    for (signature, expected) in [
        (None, "signature: the component of the shadow: it has no signature"),
        (Some(stranger.of(&guests, &answers(201))), "does not trust"),
        (Some(key.of(&guests, &answers(202))), "does not fit"),
    ] {
        if let Some(signature) = signature {
            std::fs::write(path_of(&component), signature).unwrap();
        }
        let shadowing =
            Shadowing::begin(&access, "x", &component, (1, Duration::from_secs(60)), asked.clone()).await.unwrap();
        let refused = shadowing.follow(std::future::pending(), false, |_| {}).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    std::fs::write(path_of(&component), key.of(&guests, &answers(201))).unwrap();
    let shadowing = Shadowing::begin(&access, "x", &component, (1, Duration::from_secs(1)), asked).await.unwrap();
    assert_eq!(shadowing.follow(std::future::pending(), false, |_| {}).await.unwrap(), Ended::Nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_do_not_lie_in_the_folder_that_they_protect() {
    let database = TestDatabase::new().await;
    let (key, guests) = (Key::new(), folder(&answers(200), ""));
    key.sign(guests.folder.path());
    let inside = guests.folder.path().join("keys.pub");
    std::fs::copy(key.home.path().join("key.pub"), &inside).unwrap();
    let settings = Settings { trust: Some(inside), ..key.settings(&guests) };
    let error = galo::serve::start(&settings, &database.target(), engine()).await.err().unwrap();
    assert!(format!("{error:#}").contains("the folder that they protect: move them elsewhere"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_names_the_generation_that_answered_if_it_is_asked_for() {
    let database = TestDatabase::new().await;
    let guests = folder(&answers(200), "");
    let with = Settings { generation_header: true, ..settings(guests.folder.path()) };
    let node = TestNode::with(&database, with).await;
    let label = |number: u32, component: &[u8]| format!("{number};sha256=\"{}\"", Digest::of(component));
    assert_eq!(node.get("/x/1").await.header("galo-generation"), label(1, &answers(200)));
    guests.put("x", &crate::fixture::Guest::default().component());
    node.until_generation("x", 2).await;
    // The new one traps, so the old one answered.
    assert_eq!(node.get("/x/1").await.header("galo-generation"), label(1, &answers(200)));
    let plain = TestNode::guests(&database, &guests).await;
    assert!(plain.get("/x/1").await.headers.get("galo-generation").is_none());
}
