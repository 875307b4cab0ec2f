//! Guests that misbehave: each fault costs one request a 500, or the guest is refused at the start; the node keeps
//! serving.

use galo::contract::{Field, Plan, Request};
use galo::develop::build::Profile;
use galo::failure::FaultKind;
use galo::guest::{Cache, Component, ComponentError, Grants};
use galo::limits::HandlerLimits;
use http::{Method, StatusCode};
use nix::sys::resource::{UsageWho, getrusage};

use crate::cli::Program;
use crate::fixture::{self, Guest, calling, encode_with, replying};
use crate::harness::{Answer, Guests, TestDatabase, TestNode, checkout, handlers, scratch, verify};

async fn get(address: &str, path: &str) -> Answer {
    crate::harness::request(address, Method::GET, path, "").await
}

const NO_GRANT: Grants = Grants { wasi: false };

fn request() -> Request {
    fixture::request("GET", "/x")
}

fn verified(component: &[u8]) -> Component {
    verify(component, NO_GRANT, HandlerLimits::default(), None).unwrap()
}

fn refused(component: &[u8], grants: Grants) -> ComponentError {
    match verify(component, grants, HandlerLimits::default(), None) {
        Ok(_) => panic!("the component was accepted"),
        Err(refusal) => refusal,
    }
}

fn fault(component: &[u8], limits: HandlerLimits) -> (FaultKind, String) {
    let component = verify(component, NO_GRANT, limits, None).unwrap();
    let fault = component.prepare(&request()).unwrap_err();
    (fault.kind, fault.detail)
}

#[test]
fn each_way_a_guest_fails_is_a_kind_of_fault() {
    let limits = HandlerLimits::default();
    let trap = Guest::default().component();
    let endless = Guest { prepare: "(loop (br 0)) unreachable", ..Guest::default() }.component();
    let grows = Guest { prepare: "(drop (memory.grow (i32.const 1000))) i32.const 0", ..Guest::default() }.component();
    let recursion = Guest {
        items: "(func $f (result i32) (i32.add (call $f) (call $f)))".into(),
        prepare: "call $f",
        ..Guest::default()
    };
    // A body longer than the memory: its address range is outside the guest's memory.
    let lies = replying(200, None, 1 << 20).component();
    for (component, kind, detail) in [
        (trap, FaultKind::Trap, "unreachable"),
        (endless, FaultKind::Deadline, "interrupt"),
        (grows, FaultKind::Memory, "bytes of memory wanted"),
        (recursion.component(), FaultKind::Trap, "call stack exhausted"),
        (lies, FaultKind::Malformed, "out of bounds"),
    ] {
        let (found, text) = fault(&component, limits);
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(detail), "{text}");
    }
}

#[test]
fn a_reply_over_its_limit_is_a_fault_and_one_within_it_is_not() {
    let limits = HandlerLimits { reply_bytes_max: 20_000, ..HandlerLimits::default() };
    let (kind, _) = fault(&replying(200, None, 20_001).component(), limits);
    assert_eq!(kind, FaultKind::Oversized);
    let component = verify(&replying(200, None, 10_000).component(), NO_GRANT, limits, None).unwrap();
    assert!(matches!(component.prepare(&request()), Ok(Plan::Reply(_))));
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let endless = Guest { prepare: "(loop (br 0)) unreachable", ..Guest::default() }.component();
    let deadline = std::time::Duration::from_millis(20);
    let component = verify(&endless, NO_GRANT, HandlerLimits { deadline, ..HandlerLimits::default() }, None);
    let component = component.unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(component.prepare(&request()).unwrap_err().kind, FaultKind::Deadline);
    let took = begun.elapsed();
    assert!(took >= deadline && took < deadline * 10, "{took:?}");
}

#[test]
fn nothing_survives_a_call() {
    // Given a guest that counts its calls in a static, when it is called 1,000 times, then each call is its first.
    let counter = Guest {
        items: r#"(data (i32.const 1024) "\00\00\00\00\c8\00\00\00\00\00\00\00\00\00\00\00\00\10\00\00\01\00\00\00\00\00\00\00\00\00\00\00")"#
            .into(),
        prepare: "(i32.store8 (i32.const 4096) (i32.add (i32.load8_u (i32.const 4096)) (i32.const 1))) i32.const 1024",
        ..Guest::default()
    };
    let component = verified(&counter.component());
    for _ in 0..1000 {
        match component.prepare(&request()).unwrap() {
            Plan::Reply(response) => assert_eq!(response.body, [1]),
            Plan::Call(_) => panic!("a call"),
        }
    }
}

#[test]
fn bytes_that_are_not_a_component_of_the_world_are_refused() {
    let good = verified_bytes();
    let types = r#"package galo:handler@2.0.0;
        world handler { export prepare: func(request: string) -> string; export respond: func() -> string; }"#;
    let wrong_types = r#"(module (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "prepare") (param i32 i32) (result i32) unreachable)
        (func (export "respond") (result i32) unreachable))"#;
    let empty = "package galo:handler@2.0.0; world handler {}";
    let truncated = &good[..good.len() / 2];
    for (component, expected) in [
        (b"garbage".to_vec(), "not a valid component"),
        (Vec::new(), "not a valid component"),
        (truncated.to_vec(), "not a valid component"),
        (wat::parse_str("(module)").unwrap(), "a core module, not a component"),
        (encode_with(wrong_types, types, "handler").unwrap(), "not of the world"),
        (encode_with("(module)", empty, "handler").unwrap(), "not of the world"),
    ] {
        let refusal = refused(&component, NO_GRANT).to_string();
        assert!(refusal.contains(expected), "{refusal}");
    }
}

fn verified_bytes() -> Vec<u8> {
    replying(200, None, 0).component()
}

#[test]
fn an_import_that_was_not_granted_is_refused_by_name() {
    let wit = std::fs::read_to_string(checkout().root.join("wit/handler.wit")).unwrap();
    let wit =
        format!("{wit}\ninterface clock {{ now: func() -> u64; }}\nworld spy {{ import clock; include handler; }}");
    let module = format!(
        r#"(module (import "galo:handler/clock@2.0.0" "now" (func (result i64))) (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "prepare") (param {}) (result i32) unreachable)
            (func (export "respond") (param {}) (result i32) unreachable))"#,
        "i32",
        "i32 ".repeat(13)
    );
    let spy = encode_with(&module, &wit, "spy").unwrap();
    for grants in [NO_GRANT, Grants { wasi: true }] {
        let refusal = refused(&spy, grants).to_string();
        assert_eq!(refusal, "imports `galo:handler/clock@2.0.0`, which the manifest does not grant");
    }
}

#[test]
fn a_component_of_another_version_is_served_where_it_can_be_and_otherwise_refused_by_name() {
    let wit = std::fs::read_to_string(checkout().root.join("wit/handler.wit")).unwrap();
    let module = format!(
        r#"(module (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "prepare") (param i32) (result i32) unreachable)
            (func (export "respond") (param {}) (result i32) unreachable))"#,
        "i32 ".repeat(13)
    );
    let built_for = |version: &str| {
        let wit = wit.replace("package galo:handler@2.0.0;", &format!("package galo:handler@{version};"));
        encode_with(&module, &wit, "handler").unwrap()
    };
    for version in ["2.0.0", "2.0.1", "2.0.12"] {
        verified(&built_for(version));
    }
    for (version, expected) in [
        ("1.0.0", "built for galo:handler 1.0, this host has 2.0: build it again with this version's kit"),
        ("2.1.0", "built for galo:handler 2.1, this host has 2.0: update the host"),
        ("3.0.0", "built for galo:handler 3.0, this host has 2.0: update the host"),
    ] {
        let refusal = refused(&built_for(version), NO_GRANT).to_string();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn a_component_that_does_not_fit_its_memory_is_refused() {
    let large = Guest { memory: "100", ..Guest::default() }.component();
    match refused(&large, NO_GRANT) {
        ComponentError::Trial(fault) => assert_eq!(fault.kind, FaultKind::Memory, "{}", fault.detail),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_costs_one_request_a_500_and_the_next_is_served() {
    let database = TestDatabase::new().await;
    let endless = Guest { prepare: "(loop (br 0)) unreachable", ..Guest::default() };
    let guests = Guests::new()
        .add("trap", &Guest::default().component(), "")
        .add("endless", &endless.component(), "limits = { deadline_ms = 20 }")
        .add("status", &replying(99, None, 0).component(), "")
        .add("status_high", &replying(600, None, 0).component(), "")
        .add("header", &replying(200, Some(("a b", "x")), 0).component(), "")
        .add("framing", &replying(200, Some(("content-length", "9")), 0).component(), "")
        .add("value", &replying(200, Some(("x", "\\0a")), 0).component(), "")
        .add("ungranted", &calling("extrato"), "")
        .add("arguments", &calling("extrato"), "procedures = [\"extrato\"]")
        .add("good", &replying(204, Some(("x-y", "z")), 0).component(), "");
    let node = TestNode::guests(&database, &guests).await;
    for name in ["trap", "endless", "status", "status_high", "header", "framing", "value", "ungranted", "arguments"] {
        let answer = node.get(&format!("/{name}")).await;
        assert_eq!(
            (answer.status, answer.text()),
            (StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"internal_error"}"#),
            "{name}"
        );
        let answer = node.get("/good").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-y")), (204, "z"));
    }
    let shown = node.admin("/handlers").await.json();
    let faults: Vec<_> =
        shown["handlers"].as_array().unwrap().iter().map(|handler| handler["faults"].as_i64().unwrap()).collect();
    assert_eq!(faults, [1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_handler_generation_and_cause_of_a_fault() {
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("armadilha", &Guest::default().component(), "");
    let program = Program::serve(&database, guests.folder.path());
    assert_eq!(get(&program.listen, "/armadilha").await.status, 500);
    let line = program.wait_for("guest faulted");
    for part in ["handler=\"armadilha\"", "generation=1", "phase=prepare", "kind=trap", "unreachable"] {
        assert!(line.contains(part), "{part} is missing in: {line}");
    }
}

#[test]
fn a_call_costs_no_page_fault_in_steady_state() {
    // Given a handler that has been called often, when it is called 10,000 times more, then it causes no page faults.
    let bytes = std::fs::read(handlers(Profile::Release).join("extrato.wasm")).unwrap();
    let component = verified(&bytes);
    let request = || Request { parameters: vec![Field { name: "id".to_owned(), value: "1".to_owned() }], ..request() };
    let calls = |count| {
        for _ in 0..count {
            assert!(matches!(component.prepare(&request()), Ok(Plan::Call(_))));
        }
    };
    let faults = || getrusage(UsageWho::RUSAGE_THREAD).unwrap().minor_page_faults();
    // Other tests use slots of the same pool, so a call may get a slot that it has not used: that causes a few faults.
    calls(1_000);
    let before = faults();
    calls(10_000);
    let during = faults() - before;
    assert!(during < 500, "{during} page faults in 10,000 calls");
}

#[test]
fn a_compiled_component_is_kept_and_taken_from_a_private_folder_only() {
    let (_folder, path) = scratch("cache");
    let cache = Cache::open(&path).unwrap();
    let load = |cache: &Cache, status| {
        verify(&replying(status, None, 0).component(), NO_GRANT, HandlerLimits::default(), Some(cache)).unwrap()
    };
    let files = || {
        let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    // Given a compiled component, when it is loaded again, then its file is used and not written again.
    let digest = load(&cache, 200).compiled.digest.to_string();
    let first = files();
    assert_eq!(first.len(), 1);
    let file = first.first().unwrap();
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with(&digest));
    let inode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let before = inode(file);
    load(&cache, 200);
    assert_eq!((files(), inode(file)), (first.clone(), before));
    load(&cache, 201);
    assert_eq!(files().len(), 2);
    // A file that is not a compiled component is replaced by another file, never changed in place.
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, "garbage").unwrap();
    let garbage = std::fs::File::open(file).unwrap();
    assert!(matches!(load(&cache, 200).prepare(&request()), Ok(Plan::Reply(_))));
    assert_ne!(std::fs::read(file).unwrap(), b"garbage");
    assert_eq!(std::io::read_to_string(&garbage).unwrap(), "garbage");
    // A file that others could have written is not used, even if it is valid.
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let before = inode(file);
    assert!(matches!(load(&cache, 200).prepare(&request()), Ok(Plan::Reply(_))));
    assert_eq!(inode(file), before);
    // A folder that others may write to is refused: its files are run as native code.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let error = Cache::open(&path).unwrap_err().to_string();
    assert!(error.contains("others may write to the cache folder"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_without_rows_or_arguments_reaches_respond() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "CREATE FUNCTION nada() RETURNS void LANGUAGE sql AS '';
             CREATE FUNCTION um() RETURNS integer LANGUAGE sql AS 'SELECT 1';
             GRANT EXECUTE ON FUNCTION nada(), um() TO galo",
        )
        .await;
    let guests = Guests::new().add("nada", &calling("nada"), "procedures = [\"nada\"]").add(
        "um",
        &calling("um"),
        "procedures = [\"um\"]",
    );
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(node.get("/nada").await.status, 200);
    assert_eq!(node.get("/um").await.status, 200);
}

#[test]
fn a_released_handler_imports_no_function() {
    for name in ["transacoes", "extrato"] {
        let bytes = std::fs::read(handlers(Profile::Release).join(format!("{name}.wasm"))).unwrap();
        // Without a grant, only the contract's types may be imported.
        verify(&bytes, NO_GRANT, HandlerLimits::default(), None).unwrap();
    }
}
