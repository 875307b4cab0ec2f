//! Handlers that change while a node serves: what goes live, what is refused, and that no request is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use galo::develop::build::Profile;
use galo::registry::Stage;
use http::Method;

use crate::cli::run;
use crate::fixture::{Guest, answers, calling, marked, replying};
use crate::handlers::Copy;
use crate::harness::{Connection, Guests, TestDatabase, TestNode, galo, handlers, request, settings, transacao, until};

/// A guest that answers with this status and nothing else.
async fn node_with(component: &[u8], more: &str) -> (TestDatabase, Guests, TestNode) {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", component, more);
    let node = TestNode::guests(&database, &guests).await;
    (database, guests, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_goes_live_however_it_came_into_the_folder() {
    let (_database, guests, node) = node_with(&answers(200), "").await;
    let path = guests.folder.path().join("x.wasm");
    // Renamed into place.
    guests.put("x", &answers(201));
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 201);
    // Overwritten in place.
    std::fs::write(&path, answers(202)).unwrap();
    node.until_generation("x", 3).await;
    assert_eq!(node.get("/x").await.status, 202);
    // Removed, and created again.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(node.until_refused("x").await.0, Stage::Read);
    assert_eq!(node.get("/x").await.status, 202);
    std::fs::write(&path, answers(203)).unwrap();
    node.until_generation("x", 4).await;
    assert!(node.handler("x").refusal().is_none());
    // A symbolic link to another file.
    let other = guests.folder.path().join("other");
    std::fs::write(&other, answers(204)).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    node.until_generation("x", 5).await;
    assert_eq!(node.get("/x").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_a_symlink_to_another_one_is_followed() {
    let database = TestDatabase::new().await;
    let old = Guests::new().add("x", &answers(200), "");
    let new = Guests::new().add("x", &answers(201), "");
    let above = tempfile::tempdir().unwrap();
    let link = above.path().join("handlers");
    std::os::unix::fs::symlink(old.folder.path(), &link).unwrap();
    let node = TestNode::with(&database, settings(&link)).await;
    let next = above.path().join("next");
    std::os::unix::fs::symlink(new.folder.path(), &next).unwrap();
    std::fs::rename(&next, &link).unwrap();
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 201);
    new.put("x", &answers(202));
    node.until_generation("x", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_are_not_a_new_generation() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "").add("y", &answers(200), "");
    let node = TestNode::guests(&database, &guests).await;
    // Handlers are scanned in the order of the manifest: once y is swapped, x has been scanned.
    for generation in 2..5 {
        guests.put("x", &answers(200));
        guests.put("y", &marked(&answers(200), generation));
        node.until_generation("y", generation).await;
        assert_eq!(node.generation("x"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_component_changes_nothing_and_a_repaired_one_goes_live() {
    let (_database, guests, node) = node_with(&answers(200), "limits = { memory_bytes_max = 65536 }\n").await;
    let good = answers(201);
    let core = wat::parse_str("(module)").unwrap();
    let other_world = wat::parse_str("(component)").unwrap();
    let import = wat::parse_str(
        r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64))))))"#,
    )
    .unwrap();
    let fat = Guest { memory: "2", ..replying(201, None, 0) }.component();
    let bomb = Guest { items: "(func $f unreachable) (start $f)".into(), ..replying(201, None, 0) }.component();
    let cases: [(&str, &[u8], Stage, &str); 8] = [
        ("garbage", b"garbage", Stage::Compile, "not a valid component"),
        ("empty", b"", Stage::Compile, "not a valid component"),
        ("truncated", &good[..good.len() / 2], Stage::Compile, "not a valid component"),
        ("core module", &core, Stage::Compile, "a core module, not a component"),
        ("wrong world", &other_world, Stage::Fit, "not of the world `galo:handler/handler@2.0`"),
        ("import", &import, Stage::Fit, "imports `wasi:clocks/wall-clock@0.2.0`, which the manifest does not grant"),
        ("memory", &fat, Stage::Fit, "131072 bytes of memory wanted, 65536 allowed"),
        ("start", &bomb, Stage::Fit, "cannot be instantiated"),
    ];
    let mut generation = 1;
    for (name, component, stage, message) in cases {
        guests.put("x", component);
        let refused = node.until_refused("x").await;
        assert_eq!(refused.0, stage, "{name}: {}", refused.1);
        assert!(refused.1.contains(message), "{name}: {}", refused.1);
        assert_eq!(node.generation("x"), generation, "{name}");
        assert!(node.get("/x").await.status.is_success(), "{name}");
        // Once corrected, it goes live without a restart, and the refusal is gone.
        generation += 1;
        guests.put("x", &marked(&good, generation));
        node.until_generation("x", generation).await;
        assert!(node.handler("x").refusal().is_none(), "{name}");
        assert_eq!(node.get("/x").await.status, 201, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_caught_half_written_is_refused_and_live_when_it_is_whole() {
    use std::io::Write as _;
    let (_database, guests, node) = node_with(&answers(200), "").await;
    let whole = answers(201);
    let mut file = std::fs::File::create(guests.folder.path().join("x.wasm")).unwrap();
    file.write_all(&whole[..whole.len() / 2]).unwrap();
    assert_eq!(node.until_refused("x").await.0, Stage::Compile);
    assert_eq!(node.get("/x").await.status, 200);
    file.write_all(&whole[whole.len() / 2..]).unwrap();
    drop(file);
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_needs_its_procedures() {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION um() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    let guests = Guests::new().add("x", &calling("um"), "procedures = [\"um\"]\n");
    let node = TestNode::guests(&database, &guests).await;
    // The right to execute it is revoked: the serving generation fails call by call, and a candidate is refused.
    database.execute("REVOKE EXECUTE ON FUNCTION um() FROM PUBLIC").await;
    guests.put("x", &marked(&calling("um"), 1));
    let (stage, message) = node.until_refused("x").await;
    assert_eq!((stage, message.as_str()), (Stage::Procedures, "the role `galo` may not execute `um`"));
    // When the right is granted again, the candidate goes live, though no file was touched.
    database.execute("GRANT EXECUTE ON FUNCTION um() TO galo").await;
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 200);
    database.execute("DROP FUNCTION um()").await;
    guests.put("x", &marked(&calling("um"), 2));
    assert_eq!(node.until_refused("x").await.1, "the database has no procedure `um`");
    // Created again with another signature: it is looked up again, and both go live together.
    database.execute("CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'").await;
    node.until_generation("x", 3).await;
    assert_eq!(node.get("/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_procedure_costs_no_connection_and_no_request() {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION um() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    let guests = Guests::new().add("um", &calling("um"), "procedures = [\"um\"]\n");
    let node = TestNode::guests(&database, &guests).await;
    let before = database.backends().await;
    database.execute("CREATE FUNCTION dois() RETURNS int LANGUAGE sql AS 'SELECT 2'").await;
    let guests = guests.add("dois", &calling("dois"), "procedures = [\"dois\"]\n");
    until("it is live", String::new, || node.running.node.registry.table().handlers.len() == 2).await;
    let answers = join_all((0..32).map(|i| node.get(if i % 2 == 0 { "/um" } else { "/dois" }))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    // The connections of the pool and the catalogue; the one that found the database may have been ending in `before`.
    let after = database.backends().await;
    let kept = before.iter().filter(|pid| after.contains(pid)).count();
    let own = settings(guests.folder.path()).pool_connections + 1;
    assert!(kept >= own, "{before:?} were there before, {after:?} are there now");
}

/// An example that expects the answer of `replying`.
fn example(status: u16) -> String {
    format!(r#"{{"request": {{"path": "/x"}}, "plan": {{"reply": {{"status": {status}}}}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_breaks_an_example_is_refused_with_the_difference() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    guests.put_file("x/examples/ok.json", example(200).as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    guests.put("x", &answers(201));
    let (stage, message) = node.until_refused("x").await;
    assert_eq!(stage, Stage::Examples);
    for line in ["x/examples/ok.json: the plan is not the expected one", "-    \"status\": 200", "+    \"status\": 201"]
    {
        assert!(message.lines().any(|shown| shown == line), "`{line}` is missing in:\n{message}");
    }
    assert_eq!(node.get("/x").await.status, 200);
    // The example may have been the mistake.
    guests.put_file("x/examples/ok.json", example(201).as_bytes());
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 201);
    // An example that the serving generation does not fulfil is reported, and that generation goes on serving.
    guests.put_file("x/examples/ok.json", example(202).as_bytes());
    assert!(node.until_refused("x").await.1.contains("-    \"status\": 202"));
    assert_eq!((node.generation("x"), node.get("/x").await.status.as_u16()), (2, 201));
    guests.put_file("x/examples/ok.json", b"{\"request\": 1}");
    until("the example is reported", String::new, || {
        node.handler("x").refusal().is_some_and(|refusal| refusal.message.contains("ok.json: not an example: "))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_loops_does_not_run_all_of_its_examples() {
    let database = TestDatabase::new().await;
    let good = replying(201, None, 0).component();
    let guests = Guests::new().add("x", &good, "limits = { deadline_ms = 500 }").add("y", &good, "");
    let node = TestNode::guests(&database, &guests).await;
    let looping = Guest { prepare: "(loop (br 0)) unreachable", ..Guest::default() }.component();
    for number in 0..60 {
        guests.put_file(&format!("x/examples/{number:02}.json"), example(201).as_bytes());
    }
    let begun = Instant::now();
    guests.put("x", &looping);
    let (stage, message) = node.until_refused("x").await;
    assert_eq!(stage, Stage::Examples);
    assert!(message.contains("examples were not run: those before them took over 2 s of CPU"), "{message}");
    // Together they would take 30 s.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    guests.put("y", &marked(&good, 2));
    node.until_generation("y", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_another_name_goes_live_with_its_examples_and_nothing_is_refused() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    guests.put_file("x/examples/ok.json", example(200).as_bytes());
    let node = TestNode::guests(&database, &guests).await;
    let manifest = guests.manifest();
    for version in 2..=3_u64 {
        let status = 199 + u16::try_from(version).unwrap();
        guests.put(&format!("x-v{version}"), &answers(status));
        guests.put_file("galo.toml", manifest.replace("x.wasm", &format!("x-v{version}.wasm")).as_bytes());
        // The serving generation does not fulfil it while the one that does is being compiled.
        guests.put_file("x/examples/ok.json", example(status).as_bytes());
        node.until_generation("x", version).await;
        assert_eq!(node.get("/x").await.status, status);
        assert_eq!(node.handler("x").metrics.refusals.get(), 0);
    }
    // A refused manifest leaves the old entry in place, and then errors under that entry are reported.
    guests.put("x-v4", b"garbage");
    guests.put_file("galo.toml", manifest.replace("x.wasm", "x-v4.wasm").as_bytes());
    guests.put_file("x/examples/ok.json", example(204).as_bytes());
    assert_eq!(node.until_refused("x").await.0, Stage::Examples);
    assert_eq!((node.generation("x"), node.get("/x").await.status.as_u16()), (3, 202));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_with_a_component_that_breaks_an_example() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("x", &answers(200), "");
    guests.put_file("x/examples/ok.json", example(201).as_bytes());
    let refusal = guests.refusal(&database).await;
    assert!(refusal.contains("x: x/examples/ok.json: the plan is not the expected one"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_is_live_and_all_or_nothing() {
    let (_database, guests, node) = node_with(&answers(200), "").await;
    let manifest = guests.manifest();
    let write = |text: &str| guests.put_file("galo.toml", text.as_bytes());
    let handlers = || node.running.node.registry.table().handlers.len();
    let second = "[[handler]]\nname = \"y\"\ncomponent = \"y.wasm\"\nroute = \"GET /y\"\n";
    // Refused: the old manifest stays.
    for (text, stage, expected) in [
        (format!("{manifest}{second}"), Stage::Manifest, "y.wasm: No such file"),
        (manifest.replace("GET /x", "GET x"), Stage::Manifest, "a path begins with `/`"),
        (
            format!("{manifest}{}", second.replace("/y", "/x").replace("y.wasm", "x.wasm")),
            Stage::Manifest,
            "is ambiguous",
        ),
        (format!("{manifest}nome = 1\n"), Stage::Manifest, "unknown field `nome`"),
        (format!("{manifest}procedures = [\"nenhuma\"]\n"), Stage::Procedures, "no procedure `nenhuma`"),
        (format!("{manifest}limits = {{ memory_bytes_max = 1 }}\n"), Stage::Manifest, "65536 to 67108864 are allowed"),
    ] {
        write(&text);
        let refused = node.until_manifest_refused().await;
        assert!(refused.0 == stage && refused.1.contains(expected), "{refused:?} for {text}");
        assert_eq!(node.get("/x").await.status, 200);
        assert_eq!(handlers(), 1);
        write(&manifest);
        until("the manifest is taken", String::new, || node.running.node.registry.refusal().is_none()).await;
    }
    // Removed: this is reported, and the old manifest stays. Components are still followed.
    std::fs::remove_file(guests.folder.path().join("galo.toml")).unwrap();
    assert!(node.until_manifest_refused().await.1.contains("No such file"));
    guests.put("x", &answers(201));
    node.until_generation("x", 2).await;
    // Added, with its component; the other handler is left alone.
    guests.put("y", &answers(202));
    write(&format!("{manifest}{second}"));
    until("y is there", String::new, || handlers() == 2).await;
    assert_eq!((node.get("/y").await.status.as_u16(), node.get("/x").await.status.as_u16()), (202, 201));
    assert_eq!((node.generation("y"), node.generation("x")), (1, 2));
    // Changed: another route, but the same generation.
    write(&format!("{manifest}{}", second.replace("GET /y", "GET /z")));
    until("z is there", String::new, || node.handler("y").entry.routes_shown() == "GET /z").await;
    assert_eq!((node.get("/z").await.status.as_u16(), node.get("/y").await.status.as_u16()), (202, 404));
    assert_eq!(node.generation("y"), 1);
    // A limit and the component that needs it arrive in either order.
    let fat = Guest { memory: "100", ..replying(203, None, 0) }.component();
    guests.put("x", &fat);
    node.until_refused("x").await;
    write(&format!("{manifest}limits = {{ memory_bytes_max = 8388608 }}\n"));
    node.until_generation("x", 3).await;
    assert_eq!(node.get("/x").await.status, 203);
    // Removed.
    assert_eq!(handlers(), 1);
    assert_eq!(node.get("/z").await.status, 404);
}

/// A guest whose `prepare` succeeds and whose `respond` traps.
fn traps_in_respond(procedure: &str) -> Vec<u8> {
    let length = procedure.len();
    let items = format!(
        r#"(data (i32.const 1024) "\01\00\00\00\00\0c\00\00\{length:02x}\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
           (data (i32.const 3072) "{procedure}")"#
    );
    Guest { prepare: "i32.const 1024", items: items.into(), ..Guest::default() }.component()
}

const COUNTING: &str = "CREATE TABLE contadas (n int);
     CREATE FUNCTION conta() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.contadas VALUES (1) RETURNING n'";

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_faults_is_rescued_and_rolled_back() {
    let (_database, guests, node) = node_with(&answers(200), "").await;
    let lies = replying(99, None, 0).component();
    let endless = Guest { prepare: "(loop (br 0)) unreachable", ..Guest::default() }.component();
    let grows = Guest { prepare: "(drop (memory.grow (i32.const 1000))) i32.const 0", ..Guest::default() }.component();
    let ungranted = calling("nenhuma");
    let mut generation = 1;
    for (bad, cause) in [
        (Guest::default().component(), "trap in prepare"),
        (lies, "malformed in prepare: status 99"),
        (endless, "deadline in prepare"),
        (grows, "memory in prepare"),
        (ungranted, "malformed in prepare: the procedure `nenhuma` is not granted"),
    ] {
        generation += 1;
        guests.put("x", &bad);
        node.until_generation("x", generation).await;
        // The client gets the right answer, and the last proved generation serves again.
        assert_eq!(node.get("/x").await.status, 200, "{cause}");
        assert_eq!(node.generation("x"), 1, "{cause}");
        let lineage = node.handler("x").lineage();
        let back = lineage.rolled_back.as_ref().unwrap();
        assert_eq!(back.number, generation);
        assert!(back.cause.starts_with(cause), "{}", back.cause);
        // A rolled-back component is not tried again while its file is there; the next one is.
        guests.put_file("unrelated", b"");
        guests.put("x", &bad);
        generation += 1;
        guests.put("x", &marked(&answers(200), generation));
        node.until_generation("x", generation).await;
        assert!(node.handler("x").lineage().rolled_back.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_call_only_respond_runs_again() {
    let database = TestDatabase::new().await;
    database.execute(COUNTING).await;
    let guests = Guests::new().add("x", &calling("conta"), "procedures = [\"conta\"]\n");
    let node = TestNode::guests(&database, &guests).await;
    guests.put("x", &traps_in_respond("conta"));
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 200);
    assert_eq!(node.generation("x"), 1);
    let count = database.owner().await.query_one("SELECT count(*) FROM contadas", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_call_are_not_shown_to_the_previous_generation() {
    let database = TestDatabase::new().await;
    database.execute(COUNTING).await;
    database.execute("CREATE FUNCTION outra() RETURNS int LANGUAGE sql AS 'SELECT 2'").await;
    let guests = Guests::new().add("x", &calling("outra"), "procedures = [\"conta\", \"outra\"]\n");
    let node = TestNode::guests(&database, &guests).await;
    guests.put("x", &traps_in_respond("conta"));
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 500);
    // It is rolled back all the same: one request is lost, not all later ones.
    assert_eq!(node.generation("x"), 1);
    assert_eq!(node.get("/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_quick_deployments_do_not_cost_the_one_that_was_proved() {
    let (_database, guests, node) = node_with(&answers(200), "").await;
    guests.put("x", &Guest::default().component());
    node.until_generation("x", 2).await;
    guests.put("x", &marked(&Guest::default().component(), 1));
    node.until_generation("x", 3).await;
    assert_eq!(node.get("/x").await.status, 200);
    assert_eq!(node.generation("x"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_comes_with_another_entry_is_on_probation_too() {
    let (_database, guests, node) = node_with(&answers(200), "").await;
    // Given a component that needs more memory than the manifest allows, when the manifest allows it, it goes live
    let fat = Guest { memory: "100", ..Guest::default() }.component();
    guests.put("x", &fat);
    node.until_refused("x").await;
    let manifest = guests.manifest();
    guests.put_file("galo.toml", format!("{manifest}limits = {{ memory_bytes_max = 8388608 }}\n").as_bytes());
    node.until_generation("x", 2).await;
    // and when it faults, the generation before it serves again, under the current manifest.
    assert_eq!(node.get("/x").await.status, 200);
    assert_eq!(node.generation("x"), 1);
    assert_eq!(node.handler("x").entry.limits.memory_bytes_max, 8_388_608);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_came_before_its_component_is_accepted_once_that_exists() {
    let (_database, guests, node) = node_with(&answers(200), "").await;
    let second = "[[handler]]\nname = \"y\"\ncomponent = \"y.wasm\"\nroute = \"GET /y\"\n";
    guests.put_file("galo.toml", format!("{}{second}", guests.manifest()).as_bytes());
    assert!(node.until_manifest_refused().await.1.contains("y.wasm"));
    guests.put("y", b"garbage");
    let registry = &node.running.node.registry;
    until("the garbage is seen", String::new, || registry.refusal().is_some_and(|r| r.message.contains("component")))
        .await;
    guests.put("y", &answers(202));
    until("the manifest is taken", String::new, || registry.refusal().is_none()).await;
    assert_eq!(node.get("/y").await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_has_changed_is_looked_up_again_by_itself() {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION um() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    let guests = Guests::new().add("x", &calling("um"), "procedures = [\"um\"]\n");
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(node.get("/x").await.status, 200);
    let procedure = || Arc::clone(node.handler("x").procedure("um").unwrap());
    let before = procedure();
    // Another parameter: the granted signature cannot be called, a call reports that, and it is looked up again.
    database
        .execute("DROP FUNCTION um(); CREATE FUNCTION um(n int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT n'")
        .await;
    guests.put("x", &marked(&calling("um"), 1));
    until("it is looked up again", String::new, || procedure() != before).await;
    // The entry is replaced before the candidate serves under it: without this wait the next candidate could take its
    // place and its number.
    node.until_generation("x", 2).await;
    // Changed back: a candidate goes live even if it was first refused under the old signature.
    database
        .execute("DROP FUNCTION um(int); CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'")
        .await;
    guests.put("x", &marked(&calling("um"), 2));
    node.until_generation("x", 3).await;
    assert_eq!(node.get("/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_kills_both_generations_rolls_nothing_back() {
    let (_database, guests, node) = node_with(&Guest::default().component(), "").await;
    guests.put("x", &marked(&Guest::default().component(), 1));
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 500);
    assert_eq!(node.generation("x"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn probation_ends() {
    let probation = "limits = { probation_calls = 3, probation_seconds = 1 }\n";
    let (_database, guests, node) = node_with(&answers(200), probation).await;
    // A guest keeps no state, so none can trap on its fourth call. Other requests prove it, and then it traps.
    let traps_on_query = Guest {
        // The seventh flat parameter (index 6) is whether there is a query.
        prepare: "(if (i32.load8_u offset=32 (local.get 0)) (then unreachable)) i32.const 1024",
        ..replying(200, None, 0)
    };
    guests.put("x", &traps_on_query.component());
    node.until_generation("x", 2).await;
    let handler = node.handler("x");
    for _ in 0..3 {
        assert_eq!(node.get("/x").await.status, 200);
        assert!(handler.fallback(&handler.lineage()).is_some());
    }
    until("its time is up", String::new, || handler.fallback(&handler.lineage()).is_none()).await;
    assert_eq!(node.get("/x?q").await.status, 500);
    assert_eq!(node.generation("x"), 2);
}

/// Clients with the contest's mix, each on one connection. Each returns its wrong answers.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(address: &str, clients: u64) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |seed: u64| {
            let (address, stop, answered) = (address.to_owned(), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                let (mut wrong, mut n) = (Vec::new(), seed * 7919);
                let mut connection = Connection::open(&address).await;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let cliente = 1 + n % 5;
                    let answer = match n % 32 {
                        0 => connection.send(Method::GET, &format!("/clientes/{cliente}/extrato"), "").await,
                        k => {
                            let body = transacao(
                                i64::try_from(n % 97).unwrap() + 1,
                                if k % 3 == 0 { "c" } else { "d" },
                                "carga",
                            );
                            connection.send(Method::POST, &format!("/clientes/{cliente}/transacoes"), body).await
                        }
                    };
                    match answer {
                        Ok(answer) if [200, 422].contains(&answer.status.as_u16()) => {}
                        Ok(answer) => wrong.push(format!("{} {}", answer.status, answer.text())),
                        Err(error) => wrong.push(error.to_string()),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                wrong
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, answered, clients }
    }

    async fn until_answered(&self, more: u64) {
        let target = self.answered.load(Ordering::Relaxed) + more;
        until("requests are answered", String::new, || self.answered.load(Ordering::Relaxed) >= target).await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert_eq!(client.await.unwrap(), Vec::<String>::new());
        }
    }
}

/// The project's handlers in a folder that a test may change.
fn rinha() -> Guests {
    let guests = Guests::new();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(handlers(Profile::Release).join("."))
        .arg(guests.folder.path())
        .status();
    assert!(copied.unwrap().success());
    guests
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_swaps_costs_no_request() {
    let database = TestDatabase::new().await;
    let guests = tokio::task::block_in_place(rinha);
    let node = TestNode::guests(&database, &guests).await;
    let names = ["transacoes", "extrato"];
    let originals = names.map(|name| std::fs::read(guests.folder.path().join(format!("{name}.wasm"))).unwrap());
    let load = Load::start(&node.address(), 32);
    let end = Instant::now() + Duration::from_secs(6);
    let mut generation = 1;
    // As many as fit into six seconds, and at least five on a starved machine.
    while Instant::now() < end || generation <= 5 {
        generation += 1;
        for (name, original) in names.iter().zip(&originals) {
            guests.put(name, &marked(original, generation));
        }
        // Every swap reaches both, and requests are served between two swaps.
        for name in names {
            node.until_generation(name, generation).await;
        }
        load.until_answered(32).await;
    }
    load.end().await;
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_traps_on_every_tenth_value_is_rolled_back_once_and_no_client_sees_it() {
    let database = TestDatabase::new().await;
    let guests = tokio::task::block_in_place(rinha);
    // A handler that passes its examples and traps on values that end in 7.
    let bad = tokio::task::block_in_place(|| {
        let copy = Copy::new("every-tenth");
        copy.edit("handlers/transacoes/src/lib.rs", |text| {
            text.replace("            Ok(transacao) => Plan::call(", "            Ok(transacao) if transacao.valor % 10 == 7 => panic!(\"seven\"),\n            Ok(transacao) => Plan::call(")
        });
        copy.component("transacoes", Profile::Release)
    });
    let node = TestNode::guests(&database, &guests).await;
    let load = Load::start(&node.address(), 32);
    load.until_answered(200).await;
    guests.put("transacoes", &bad);
    until("it is rolled back", String::new, || node.handler("transacoes").lineage().rolled_back.is_some()).await;
    load.until_answered(1000).await;
    load.end().await;
    assert_eq!(node.generation("transacoes"), 1);
    assert_eq!(node.handler("transacoes").metrics.rollbacks.get(), 1);
    database.assert_ledger_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_happened_and_goes_back() {
    let (_database, guests, node) = node_with(&answers(200), "").await;
    let admin = node.admin_address();
    let ask = |arguments: &[&str]| {
        let mut command = galo();
        command.args(arguments).args(["--admin", &admin]);
        tokio::task::block_in_place(|| run(&mut command))
    };
    let shown = async || node.admin("/handlers").await.json();
    assert_eq!(shown().await["handlers"][0]["state"], "live");
    guests.put("x", &answers(201));
    node.until_generation("x", 2).await;
    assert_eq!(node.get("/x").await.status, 201);
    let handler = shown().await["handlers"][0].clone();
    assert_eq!((&handler["state"], &handler["calls"]), (&"probation".into(), &1.into()));
    assert_eq!(handler["previous"]["generation"], 1);
    // A refused candidate is shown with its reason.
    guests.put("x", b"garbage");
    node.until_refused("x").await;
    let (success, listed, _) = ask(&["handlers"]);
    assert!(success && listed.contains("refused") && listed.contains("not a valid component"), "{listed}");
    // The rollback is immediate; a second one finds nothing to return to.
    let (success, printed, error) = ask(&["rollback", "x", "-m", "a test"]);
    assert!(success, "{error}");
    assert_eq!(printed, "x: rolled back from generation 2 to generation 1\n");
    assert_eq!(node.get("/x").await.status, 200);
    let handler = shown().await["handlers"][0].clone();
    assert_eq!((&handler["state"], &handler["rolled_back"]["generation"]), (&"live".into(), &2.into()));
    assert!(!ask(&["rollback", "x", "-m", "a test"]).0);
    // The rolled-back component stays barred; a different one goes live.
    guests.put("x", &answers(201));
    until("the refusal is gone", String::new, || node.handler("x").refusal().is_none()).await;
    assert_eq!(node.generation("x"), 1);
    guests.put("x", &answers(202));
    node.until_generation("x", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_ends_on_the_generation_it_began_with() {
    let database = TestDatabase::new().await;
    database
        .execute("CREATE FUNCTION espera() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_advisory_xact_lock(7)'")
        .await;
    let guests = Guests::new().add("x", &calling("espera"), "procedures = [\"espera\"]\n");
    let node = TestNode::guests(&database, &guests).await;
    let holder = database.owner().await;
    holder.execute("SELECT pg_advisory_lock(7)", &[]).await.unwrap();
    let address = node.address();
    let waiting = tokio::spawn(async move { request(&address, Method::GET, "/x", "").await });
    database.until_a_call_waits_for_a_lock().await;
    // After two swaps, the generation that answers is not even the previous one. Its handler also gets a new entry.
    guests.put("x", &answers(201));
    node.until_generation("x", 2).await;
    guests.put("x", &answers(202));
    node.until_generation("x", 3).await;
    let manifest = format!("{}limits = {{ deadline_ms = 90 }}\n", guests.manifest());
    guests.put_file("galo.toml", manifest.as_bytes());
    let deadline = Duration::from_millis(90);
    until("the entry has changed", String::new, || node.handler("x").entry.limits.deadline == deadline).await;
    assert_eq!(node.get("/x").await.status, 202);
    holder.execute("SELECT pg_advisory_unlock(7)", &[]).await.unwrap();
    // The generation that made the call answers 200 in `respond`.
    assert_eq!(waiting.await.unwrap().status, 200);
}
