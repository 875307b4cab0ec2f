//! Handlers as their authors see them: their tests on wasm, a panic that names its location, and a handler with std.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use galo::contract::{Plan, Request};
use galo::develop::build::{self, Cancel, Profile, Project};
use galo::failure::FaultKind;
use galo::guest::{Component, ComponentError, Grants};
use galo::limits::HandlerLimits;
use tempfile::TempDir;

use crate::fixture;
use crate::harness::{GALO, Guests, TestDatabase, TestNode, checkout, galo, one_build_at_a_time, verify};

/// A copy of the checkout, to be changed. All copies build into one folder, so that no dependency is compiled twice;
/// Cargo tells their crates apart by their version.
pub struct Copy {
    pub checkout: Project,
    _folder: TempDir,
}

impl Copy {
    /// A copy for one test; its name, as part of a version, is letters and `-`.
    pub fn new(test: &str) -> Self {
        let folder = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let root = checkout().root;
        for name in [
            "Cargo.toml",
            "Cargo.lock",
            "galo.toml",
            "rust-toolchain.toml",
            "rustfmt.toml",
            "clippy.toml",
            "host",
            "handlers",
            "wit",
            "sql",
            "deploy",
        ] {
            let copied = Command::new("cp").arg("-r").arg(root.join(name)).arg(folder.path()).status().unwrap();
            assert!(copied.success());
        }
        let checkout = Project { root: folder.path().canonicalize().unwrap() };
        let copy = Self { checkout, _folder: folder };
        std::fs::create_dir(copy.path(".cargo")).unwrap();
        let config = format!("[build]\ntarget-dir = {:?}\n", target());
        std::fs::write(copy.path(".cargo/config.toml"), config).unwrap();
        copy.edit("Cargo.toml", |text| text.replace("version = \"0.1.0\"", &format!("version = \"0.1.0-{test}\"")));
        copy
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.checkout.root.join(name)
    }

    pub fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = change(text.clone());
        assert_ne!(text, changed, "{name} was not changed");
        std::fs::write(path, changed).unwrap();
    }

    /// `galo`, run in the copy. Only the holder of the turn may build: Cargo considers a component fresh although
    /// another copy has overwritten it, so each is built again.
    pub fn galo(&self) -> Command {
        self.touch();
        self.galo_beside()
    }

    /// The same, to run beside another `galo` in the copy: it leaves the sources untouched.
    pub fn galo_beside(&self) -> Command {
        let mut command = galo();
        command.current_dir(&self.checkout.root).env("CARGO_TARGET_DIR", target());
        command
    }

    /// Makes Cargo build every handler again.
    fn touch(&self) {
        for entry in std::fs::read_dir(self.path("handlers")).unwrap() {
            let source = entry.unwrap().path().join("src/lib.rs");
            if source.exists() {
                let file = std::fs::File::options().append(true).open(source).unwrap();
                file.set_modified(std::time::SystemTime::now()).unwrap();
            }
        }
    }

    /// Builds a handler and returns its component's bytes. It is built in this process, whose `CARGO_TARGET_DIR` may be
    /// the checkout's target folder: what it left there is removed, so that no later build takes it for its own.
    pub fn component(&self, name: &str, profile: Profile) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let _turn = one_build_at_a_time();
        self.touch();
        let built = build::handlers(&self.checkout, profile, &Cancel::default()).unwrap();
        built.put(folder.path()).unwrap();
        for component in built.components().iter().flatten() {
            let (place, name) = (component.parent().unwrap(), component.file_name().unwrap());
            for file in [place.join(name), place.join("deps").join(name)] {
                assert!(std::fs::remove_file(&file).is_ok() || !file.exists(), "{}", file.display());
            }
        }
        std::fs::read(folder.path().join(format!("{name}.wasm"))).unwrap()
    }
}

#[test]
fn the_component_of_a_copy_is_not_taken_for_that_of_the_checkout() {
    let built = || {
        let folder = tempfile::tempdir().unwrap();
        let _turn = one_build_at_a_time();
        build::handlers(&checkout(), Profile::Release, &Cancel::default()).unwrap().put(folder.path()).unwrap();
        std::fs::read(folder.path().join("extrato.wasm")).unwrap()
    };
    let before = built();
    let copy = Copy::new("mistaken");
    copy.edit("handlers/extrato/src/lib.rs", |text| text.replace("cliente n", "outro cliente n"));
    assert_ne!(copy.component("extrato", Profile::Release), before);
    assert_eq!(built(), before);
}

/// The folder Cargo builds copies into. It is not the checkout's target folder: a component's file name has no hash,
/// and Cargo would mistake a copy's component for the checkout's in the next build.
fn target() -> PathBuf {
    Path::new(GALO).parent().unwrap().parent().unwrap().join("copies")
}

fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

fn get(id: &str) -> Request {
    let parameters = vec![galo::contract::Field { name: "id".to_owned(), value: id.to_owned() }];
    Request { parameters, ..fixture::request("GET", &format!("/clientes/{id}/extrato")) }
}

#[test]
fn every_handlers_tests_pass_on_wasm() {
    let _turn = one_build_at_a_time();
    let (success, shown) = output(galo().arg("test").current_dir(&checkout().root));
    assert!(success, "{shown}");
    for name in ["transacoes", "extrato", "galo_kit"] {
        let run = shown.split(&format!("Running tests of {name} on wasm32-wasip2")).nth(1);
        let run = run.unwrap_or_else(|| panic!("{name} is missing in:\n{shown}"));
        let result = run.lines().find(|line| line.starts_with("test result: ")).unwrap();
        assert!(result.starts_with("test result: ok. ") && !result.contains(" 0 passed"), "{name}: {result}");
    }
    let summary = shown.split("Summary\n").nth(1).unwrap();
    assert!(!summary.contains(" 0 passed") && !summary.contains("not run"), "{summary}");
    assert!(summary.contains("end-to-end examples  3 passed, 0 failed\nresult: ok"), "{summary}");
}

#[test]
fn a_failing_test_fails_the_command_with_its_name_and_message_and_the_others_run() {
    let _turn = one_build_at_a_time();
    let copy = Copy::new("failing-test");
    copy.edit("handlers/extrato/src/tests.rs", |text| {
        text + "\n#[test]\nfn a_test_that_fails() {\n    assert_eq!(1 + 1, 3, \"the sum of {} is wrong\", \"one and one\");\n}\n"
    });
    let (success, shown) = output(copy.galo().args(["test", "extrato"]));
    assert!(!success, "{shown}");
    assert!(shown.contains("test tests::a_test_that_fails ... FAILED"), "{shown}");
    assert!(shown.contains("the sum of one and one is wrong"), "{shown}");
    assert!(shown.contains("handlers/extrato/src/tests.rs"), "{shown}");
    assert!(shown.contains("test tests::all_ten_are_shown ... ok"), "{shown}");
    assert!(shown.contains("1 failed;"), "{shown}");
    let (success, shown) = output(copy.galo().args(["test", "nenhum"]));
    assert!(!success && shown.contains("no handler `nenhum`; there are: transacoes, extrato"), "{shown}");
}

#[test]
fn it_serves_as_cargos_runner() {
    let _turn = one_build_at_a_time();
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(&checkout().root).args([
            "test",
            "--target",
            "wasm32-wasip2",
            "--lib",
            "-p",
            "extrato",
            "--",
        ]);
        command.args(arguments).env("CARGO_TARGET_WASM32_WASIP2_RUNNER", format!("{GALO} test"));
        output(&mut command)
    };
    let (success, shown) = cargo(&["all_ten_are_shown"]);
    assert!(success && shown.contains("test result: ok. 1 passed; 0 failed; 0 ignored;"), "{shown}");
    let (success, shown) = cargo(&["--list"]);
    assert!(success && shown.contains("tests::all_ten_are_shown: test"), "{shown}");
    let (success, shown) = cargo(&["--shuffle"]);
    assert!(!success && shown.contains("unexpected argument '--shuffle'"), "{shown}");
}

#[test]
fn a_panic_of_a_development_build_has_its_message_file_and_line() {
    let copy = Copy::new("panic");
    copy.edit("handlers/extrato/src/lib.rs", |text| {
        text.replace("        match request.decimal", "        assert!(request.body.is_empty(), \"the body of {} is odd\", request.path);\n        match request.decimal")
    });
    let line = std::fs::read_to_string(copy.path("handlers/extrato/src/lib.rs")).unwrap();
    let line = 1 + line.lines().position(|line| line.contains("is odd")).unwrap();
    let mut odd = get("1");
    odd.body = b"x".to_vec();
    let detail = |profile| {
        let bytes = copy.component("extrato", profile);
        let component = verify(&bytes, Grants { wasi: false }, HandlerLimits::default(), None).unwrap();
        assert!(matches!(component.prepare(&get("1")), Ok(Plan::Call(_))));
        let fault = component.prepare(&odd).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Trap);
        (fault.detail, fault.backtrace.unwrap())
    };
    let (message, functions) = detail(Profile::Development);
    assert!(functions.contains("prepare"), "{functions}");
    assert!(message.contains("the body of /clientes/1/extrato is odd"), "{message}");
    assert!(message.contains(&format!("handlers/extrato/src/lib.rs:{line}")), "{message}");
    // A release build has no message, but the functions on the stack are known.
    let (message, functions) = detail(Profile::Release);
    assert!(functions.contains("prepare"), "{functions}");
    assert!(!message.contains("odd") && message.contains("unreachable"), "{message}");
}

/// A handler with std that tries to read everything that it must not see.
const CURIOUS: &str = r#"//! A handler with std that looks around.
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};

struct Curious;

impl Handler for Curious {
    fn prepare(request: &Request) -> Plan {
        match request.path.as_str() {
            "/panic" => panic!("a std handler's last word"),
            "/sleep" => std::thread::sleep(Duration::from_secs(3600)),
            _ => {}
        }
        let order: Vec<_> = (0..20).map(|n| (n, n)).collect::<HashMap<_, _>>().into_keys().collect();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let variables = std::env::vars().count();
        let arguments = std::env::args().count();
        let file = std::fs::read_dir("/").is_ok() || std::fs::read("Cargo.toml").is_ok();
        let network = std::net::TcpStream::connect("127.0.0.1:5432").is_ok();
        let text = format!("{now:?} {:?} {variables} {arguments} {file} {network} {order:?}", Instant::now());
        Response { status: 200, headers: Vec::new(), body: text.into_bytes(), log: Vec::new() }.into()
    }

    fn respond(_: &[u8], _: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(Response { status: 200, headers: Vec::new(), body: Vec::new(), log: Vec::new() })
    }
}

galo_kit::export!(Curious, std);
"#;

fn curious() -> Vec<u8> {
    let copy = Copy::new("curious");
    let extrato = std::fs::read_to_string(copy.path("handlers/extrato/Cargo.toml")).unwrap();
    std::fs::create_dir_all(copy.path("handlers/curious/src")).unwrap();
    std::fs::write(copy.path("handlers/curious/Cargo.toml"), extrato.replace("\"extrato\"", "\"curious\"")).unwrap();
    std::fs::copy(copy.path("handlers/extrato/build.rs"), copy.path("handlers/curious/build.rs")).unwrap();
    std::fs::write(copy.path("handlers/curious/src/lib.rs"), CURIOUS).unwrap();
    copy.edit("galo.toml", |text| {
        text + "\n[[handler]]\nname = \"curious\"\ncomponent = \"curious.wasm\"\nroute = \"GET /curious\"\nwasi = true\n"
    });
    copy.component("curious", Profile::Release)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_with_std_works_when_wasi_is_granted_and_sees_nothing() {
    let bytes = tokio::task::block_in_place(curious);
    let verified = |wasi| verify(&bytes, Grants { wasi }, HandlerLimits::default(), None);
    match verified(false) {
        Err(ComponentError::Import(name)) => assert!(name.starts_with("wasi:"), "{name}"),
        other => panic!("{:?}", other.err()),
    }
    let component = verified(true).unwrap();
    let ask = |component: &Component, path: &str| component.prepare(&Request { path: path.to_owned(), ..get("1") });
    let seen = || match ask(&component, "/").unwrap() {
        Plan::Reply(response) => String::from_utf8(response.body).unwrap(),
        Plan::Call(_) => panic!("a call"),
    };
    // The clock is at zero, and there are no variables, arguments, files or network.
    assert!(seen().starts_with("0ns Instant"), "{}", seen());
    assert!(seen().contains(" 0 0 false false ["), "{}", seen());
    // Closed and deterministic: the same bytes every time, including the order of a HashMap.
    assert_eq!(seen(), seen());
    let fault = ask(&component, "/panic").unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.detail.contains("a std handler's last word"), "{}", fault.detail);
    // Over HTTP as well, on the workers of a node.
    let database = TestDatabase::new().await;
    let guests = Guests::new().add("curioso", &bytes, "wasi = true");
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(node.get("/curioso").await.text(), seen());
    let begun = std::time::Instant::now();
    let fault = ask(&component, "/sleep").unwrap_err();
    assert!(fault.detail.contains("cannot wait on a clock"), "{}", fault.detail);
    assert!(begun.elapsed() < std::time::Duration::from_secs(1));
}
