//! Handlers in other languages than Rust: each template of `galo new --lang` builds outside of the checkout, passes the
//! same examples and gives the same answers; components composed of others serve; what does not fit is refused before
//! it is compiled.
//!
//! The templates in JavaScript and Python need a registry and some minutes, so a plain `cargo test` reports them as
//! ignored. `.ci/run` runs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use galo::config::Settings;
use galo::contract::{DatabaseError, Field, Level, Outcome, Plan, Request, Response, Rows, Value};
use galo::example;
use galo::failure::FaultKind;
use galo::guest::{Component, ComponentError, Grants};
use galo::limits::HandlerLimits;
use galo::manifest;
use galo::registry::Stage;

use crate::cli::run;
use crate::fixture::{Guest, encode_with, replying};
use crate::harness::{GALO, Guests, TestDatabase, TestNode, checkout, galo, handlers, settings, verify};

/// A project with the three templates of a language.
struct Project {
    folder: tempfile::TempDir,
    language: &'static str,
}

impl Project {
    fn new(language: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("handlers")).unwrap();
        std::fs::write(folder.path().join("galo.toml"), "# A project.\n").unwrap();
        let project = Self { folder, language };
        for arguments in [
            &["echo", "--route", "GET /echo/{z}/{a}"][..],
            &["item", "--route", "GET /item/{id}", "--procedure", "item"],
            &["total", "--route", "GET /total", "--procedure", "total"],
        ] {
            project.galo(&[&["new", "--lang", language], arguments].concat());
        }
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn galo(&self, arguments: &[&str]) -> String {
        let (success, shown, stderr) = run(galo().current_dir(self.folder.path()).args(arguments).env("GALO", GALO));
        assert!(success, "galo {arguments:?}: {shown}{stderr}");
        shown + &stderr
    }

    /// Builds the project and verifies its components as a node does. Every example passes.
    fn components(&self) -> [Component; 3] {
        self.galo(&["build", "--out", "dist"]);
        let manifest = manifest::read(&self.path("dist")).unwrap();
        let components = manifest.handlers.iter().map(|entry| {
            let bytes = std::fs::read(&entry.component).unwrap();
            // The machine may be busy.
            let limits = HandlerLimits { deadline: Duration::from_secs(2), ..entry.limits };
            let component = verify(&bytes, Grants { wasi: entry.wasi }, limits, None).unwrap();
            let examples = example::read(entry).unwrap();
            assert_eq!(examples.len(), if entry.name == "echo" { 1 } else { 3 }, "{}", entry.name);
            for example in examples {
                let checked = example.check(entry, &component, None);
                checked.unwrap_or_else(|text| panic!("{} in {}: {text}", entry.name, self.language));
            }
            component
        });
        components.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("three handlers"))
    }
}

fn request(parameters: &[(&str, &str)]) -> Request {
    let parameters = parameters.iter().map(|(name, value)| Field { name: (*name).into(), value: (*value).into() });
    Request {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        route: "GET /".into(),
        parameters: parameters.collect(),
        query: None,
        headers: Vec::new(),
        body: Vec::new(),
        id: "1".to_owned(),
        now: 0,
        config: Vec::new().into(),
        claims: None,
    }
}

fn text(response: &Response) -> (u16, String) {
    (response.status, String::from_utf8(response.body.clone()).unwrap())
}

#[track_caller]
fn reply(plan: Plan) -> (u16, String) {
    match plan {
        Plan::Reply(response) => text(&response),
        Plan::Call(call) => panic!("a call of {}", call.procedure),
    }
}

/// One row with a value of each case.
fn every_case() -> Outcome {
    let values = [
        ("n", Value::Null),
        ("b", Value::Boolean(true)),
        ("i", Value::Integer(9_007_199_254_740_993)),
        ("f", Value::Float(0.1)),
        ("x", Value::Float(f64::NEG_INFINITY)),
        ("t", Value::Text("a\"\\\n\u{1}ü".to_owned())),
        ("y", Value::Bytes(vec![0, 255, 16, 1])),
        ("at", Value::Timestamp(1_709_211_909_250_001)),
        ("ago", Value::Timestamp(-1)),
        ("j", Value::Json(r#"[1,{"a":null}]"#.to_owned())),
    ];
    let (columns, values) = values.into_iter().map(|(name, value)| (name.to_owned(), value)).unzip();
    Outcome::Rows(Rows { columns, values })
}

/// What handlers in every language answer.
fn assert_answers([echo, item, total]: &[Component; 3]) {
    let plan = echo.prepare(&request(&[("z", "1"), ("a", "\"ü")])).unwrap();
    assert_eq!(reply(plan), (200, r#"{"z":"1","a":"\"ü"}"#.to_owned()));
    let Plan::Call(call) = item.prepare(&request(&[("id", "2147483647")])).unwrap() else { panic!("a reply") };
    assert_eq!((call.procedure.as_str(), call.arguments.as_slice()), ("item", &[Value::Integer(2_147_483_647)][..]));
    for wrong in ["", "x", "-1", "01", "+1", " 1", "2147483648", "99999999999999999999"] {
        let plan = item.prepare(&request(&[("id", wrong)])).unwrap();
        assert_eq!(reply(plan), (404, r#"{"error":"not found"}"#.to_owned()), "{wrong}");
    }
    let Plan::Call(call) = total.prepare(&request(&[])).unwrap() else { panic!("a reply") };
    assert_eq!((call.procedure.as_str(), call.arguments.len()), ("total", 0));
    let response = item.respond(b"", &every_case()).unwrap().unwrap();
    let expected = r#"{"n":null,"b":true,"i":9007199254740993,"f":0.1,"x":"-Infinity","t":"a\"\\\n\u0001ü","y":"AP8QAQ==","at":"2024-02-29T13:05:09.250001Z","ago":"1969-12-31T23:59:59.999999Z","j":[1,{"a":null}]}"#;
    // C writes every control character as `\u000a`.
    let (status, body) = text(&response);
    assert_eq!((status, body.replace("\\u000a", "\\n").as_str()), (200, expected));
    assert_eq!(response.headers.len(), 1);
    // An error of the procedure is left to the host.
    let error = DatabaseError { sqlstate: "23505".to_owned(), message: "x".to_owned(), detail: None, constraint: None };
    assert_eq!(item.respond(b"", &Outcome::Error(error)).unwrap(), None);
}

/// An exception is a 500 whose cause is in the log, with the place in the author's file.
fn assert_thrown_is_logged(echo: &Component, place: &str) {
    let response = echo.respond(b"", &every_case()).unwrap().unwrap();
    assert_eq!(text(&response), (500, r#"{"error":"internal_error"}"#.to_owned()));
    let line = &response.log[0];
    assert_eq!(line.level, Level::Error);
    assert!(line.text.contains("`prepare` never calls a procedure") && line.text.contains(place), "{}", line.text);
}

#[test]
fn a_handler_in_c_passes_the_examples_and_names_the_function_that_traps() {
    let installed = Command::new("clang").args(["--print-targets"]).output();
    assert!(
        installed.is_ok() && Path::new("/usr/lib/wasm32-wasi/libc.a").exists(),
        "this test needs clang for wasm32: apt install clang lld wasi-libc libclang-rt-dev-wasm32"
    );
    let project = Project::new("c");
    let components = project.components();
    assert_answers(&components);
    // They import nothing, and fit the default limits.
    for name in ["echo", "item", "total"] {
        let bytes = std::fs::read(project.path(&format!("dist/{name}.wasm"))).unwrap();
        assert!(bytes.len() < 64 * 1024, "{name}: {}", bytes.len());
        verify(&bytes, Grants { wasi: false }, HandlerLimits::default(), None).unwrap();
    }
    let fault = components[0].respond(b"", &every_case()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
    assert_eq!(fault.backtrace.unwrap(), "exports_handler_respond < __wasm_export_exports_handler_respond");
    // A module that is not a handler is refused with the reason.
    let module = project.path("other.wasm");
    std::fs::write(&module, wat::parse_str("(module)").unwrap()).unwrap();
    let (success, _, stderr) = run(galo().arg("componentize").arg(&module).arg(project.path("never.wasm")));
    assert!(!success && stderr.contains("other.wasm: not a handler: it has to export `prepare`"), "{stderr}");
    assert!(!project.path("never.wasm").exists());
}

/// A folder that is kept between runs, for what is installed from a registry.
fn installed(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[track_caller]
fn assert_runs(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let shown = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {shown}");
}

#[test]
#[ignore = "needs node 20 and npm's registry, and takes a minute; .ci/run runs it"]
fn a_handler_in_javascript_passes_the_examples_and_logs_what_it_throws() {
    let project = Project::new("js");
    let tools = installed("languages-js");
    std::fs::copy(project.path("handlers/echo/package.json"), tools.join("package.json")).unwrap();
    // Twice, as people do: the second time npm removes a peer that nothing but componentize-js asks for.
    for _ in 0..2 {
        assert_runs(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(&tools));
    }
    for name in ["echo", "item", "total"] {
        let modules = project.path(&format!("handlers/{name}/node_modules"));
        std::os::unix::fs::symlink(tools.join("node_modules"), modules).unwrap();
    }
    let components = project.components();
    assert_answers(&components);
    assert_thrown_is_logged(&components[0], "respond@index.js:");
}

#[test]
#[ignore = "needs python3 with venv and pip's registry, and takes a minute; .ci/run runs it"]
fn a_handler_in_python_passes_the_examples_and_logs_what_it_raises() {
    let project = Project::new("python");
    let tools = installed("languages-python");
    assert_runs(Command::new("python3").args(["-m", "venv"]).arg(&tools));
    let requirements = project.path("handlers/echo/requirements.txt");
    assert_runs(Command::new(tools.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(requirements));
    for name in ["echo", "item", "total"] {
        std::os::unix::fs::symlink(&tools, project.path(&format!("handlers/{name}/.venv"))).unwrap();
    }
    let components = project.components();
    assert_answers(&components);
    assert_thrown_is_logged(&components[0], "app.py\", line ");
}

/// A handler composed with another component, whose function returns the length of a text. wasmtime's adapter between
/// the two uses the memory of both.
fn composed() -> Vec<u8> {
    let wit = std::fs::read_to_string(checkout().root.join("wit/handler.wit")).unwrap();
    let wit = format!("{wit}\nworld caller {{ import length: func(text: string) -> u32; include handler; }}");
    // The status is 200 and the length of the text, which is at 1024 and has 5 bytes.
    let Guest { items, memory, .. } = replying(200, None, 0);
    let (prepare, respond) = ("i32", "i32 ".repeat(13));
    let module = format!(
        r#"(module
            (import "$root" "length" (func $length (param i32 i32) (result i32)))
            (memory (export "memory") {memory})
            (global $top (mut i32) (i32.const 32768))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8))))
                (i32.sub (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8))))
            {items}
            (func (export "prepare") (param {prepare}) (result i32)
                (i32.store16 (i32.const 1028) (i32.add (i32.const 200) (call $length (i32.const 5120) (i32.const 5))))
                i32.const 1024)
            (func (export "respond") (param {respond}) (result i32) unreachable))"#
    );
    let handler = wasmprinter::print_bytes(encode_with(&module, &wit, "caller").unwrap()).unwrap();
    // The imports of the whole are those of the handler, up to the type of `length`.
    let body = handler.strip_prefix("(component\n").unwrap();
    let (imports, _) = body.split_at(body.find("  (type (;9;) (func (param \"text\" string)").unwrap());
    let types = ["#type2 request", "#type4 response", "#type6 plan", "#type8 outcome"];
    let types = types.map(|ty| format!("(with \"{}\" (type $\"{ty}\"))", ty.split(' ').nth(1).unwrap()));
    let composed = format!(
        r#"(component
        {imports}
        (component $other
            (core module $m (memory (export "memory") 1)
                (func (export "length") (param i32 i32) (result i32) local.get 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func (export "length") (param "text" string) (result u32)
                (canon lift (core func $i "length") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
        (instance $others (instantiate $other))
        (component $handler
        {body}
        (instance $both (instantiate $handler
            (with "galo:handler/types@2.0.0" (instance $galo:handler/types@2.0.0))
            {}
            (with "length" (func $others "length"))))
        (export "prepare" (func $both "prepare"))
        (export "respond" (func $both "respond")))"#,
        types.join("\n")
    );
    wat::parse_str(composed).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_composed_of_others_serves() {
    let database = TestDatabase::new().await;
    let component = verify(&composed(), Grants { wasi: false }, HandlerLimits::default(), None).unwrap();
    let plan = component.prepare(&request(&[])).unwrap();
    assert!(matches!(plan, Plan::Reply(Response { status: 205, .. })), "{plan:?}");
    let guests = Guests::new().add("composed", &composed(), "");
    let node = TestNode::guests(&database, &guests).await;
    for _ in 0..3 {
        assert_eq!(node.get("/composed").await.status, 205);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_it_is_compiled() {
    let database = TestDatabase::new().await;
    // As large as an engine of JavaScript, and as many core instances as no component may have.
    let large = Guest { memory: "152", items: "(table 7688 funcref)".into(), ..replying(201, None, 0) }.component();
    let crowd = format!("(component (core module $m) {})", "(core instance (instantiate $m))".repeat(65));
    let crowd = wat::parse_str(crowd).unwrap();
    let guests = Guests::new().add("large", &large, "").add("crowd", &crowd, "");
    // No compiler could be started.
    let settings = Settings { galo: PathBuf::from("/missing"), ..settings(guests.folder.path()) };
    let Err(error) = galo::serve::start(&settings, &database.target(), crate::harness::engine()).await else {
        panic!("it started")
    };
    let error = format!("{error:#}");
    for expected in [
        "large: 9961472 bytes of memory wanted, ",
        "7688 elements of tables wanted, 4096 allowed: set `limits = { memory_bytes_max = ",
        ", table_elements_max = 8192 }` in its entry",
        "crowd: 65 core instances wanted, and a component may have 64",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(!error.contains("compiler"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_entry_allows_serves_and_a_swap_over_it_is_refused() {
    let database = TestDatabase::new().await;
    let large = Guest { memory: "152", items: replying(201, None, 0).items, ..replying(201, None, 0) };
    let with_table = Guest { items: format!("{}(table 7688 funcref)", large.items).into(), ..large.clone() };
    let limits = "limits = { memory_bytes_max = 12582912 }";
    let guests = Guests::new().add("x", &large.component(), limits);
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(node.get("/x").await.status, 201);
    guests.put("x", &with_table.component());
    let (stage, message) = node.until_refused("x").await;
    assert_eq!(stage, Stage::Fit, "{message}");
    assert!(message.contains("4096 allowed: set `limits = { table_elements_max = 8192 }` in its entry"), "{message}");
    assert_eq!(node.get("/x").await.status, 201);
}

#[test]
fn what_no_instance_can_have_is_still_refused_by_the_proof() {
    // A module whose memory is declared larger than the limit, once it is known to an engine.
    let refused = verify(
        &Guest { memory: "100", ..Guest::default() }.component(),
        Grants { wasi: false },
        HandlerLimits { memory_bytes_max: 1 << 20, ..HandlerLimits::default() },
        None,
    );
    match refused.map(drop).unwrap_err() {
        ComponentError::Trial(fault) => {
            assert!(fault.detail.contains("1048576 allowed; `memory_bytes_max` in its entry raises it"), "{fault}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_refuses_what_a_node_has_no_memory_for() {
    let database = TestDatabase::new().await;
    let check = |memory: &str| {
        let folder = handlers(galo::develop::build::Profile::Release);
        let mut command = galo();
        command.arg("check").arg(folder).args(["--memory", memory]).env("DATABASE_URL", database.service_url());
        run(&mut command)
    };
    let (success, shown, stderr) = check("1G");
    assert!(
        success && shown.contains("memory: a node needs about ") && shown.contains("M of 1024M: "),
        "{shown}{stderr}"
    );
    let (success, shown, stderr) = check("8M");
    assert!(!success && shown.contains("2 handlers verified"), "{shown}{stderr}");
    assert!(stderr.contains("of memory, and a node would have 8M: ") && stderr.contains("give it more"), "{stderr}");
    let (success, _, stderr) = check("80 MB");
    assert!(!success && stderr.contains("--memory: `80 MB` is not a size"), "{stderr}");
}

#[test]
fn compile_takes_the_memory_that_it_is_given() {
    let folder = handlers(galo::develop::build::Profile::Release);
    let cache = tempfile::tempdir().unwrap();
    let compile = |memory: &str| {
        let mut command = galo();
        command.arg("compile").arg(folder).args(["--memory", memory, "--cache"]).arg(cache.path().join("cache"));
        run(&mut command)
    };
    let (success, _, stderr) = compile("16M");
    assert!(!success && stderr.contains("--memory: `16M` is too little: a compiler needs 40M"), "{stderr}");
    let (success, shown, stderr) = compile("200M");
    assert!(success && shown.contains("M of memory\n") && shown.contains("2 of 2 compiled in"), "{shown}{stderr}");
}
