//! The rules of the house that no compiler checks: how a file begins and how long it may be, and that documents match
//! the code. Those between modules are in `tidy_modules`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::checkout;

/// Names that do not describe what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "common", "types", "manager", "service", "context", "misc"];

/// Generated code; `bindings` compares it with its source.
const GENERATED: &str = "handlers/kit/src/bindings.rs";

/// Lines of a file without its unit tests.
const LINES_MAX: usize = 300;

pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    /// The text without its unit tests.
    pub fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
    }

    /// `guest` for `host/src/guest/engine.rs`.
    pub fn module(&self) -> String {
        let inside = self.path.strip_prefix(checkout().root.join("host/src")).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }
}

/// Every file of Rust in a folder.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&checkout().root.join(folder), &mut found);
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(Source { text: fs::read_to_string(&path).unwrap(), path });
        }
    }
}

#[test]
fn every_file_begins_with_its_purpose_and_is_one_idea_long() {
    let mut wrong = Vec::new();
    for folder in ["host/src", "host/tests", "host/benches", "handlers", "host/bank", "host/bench", "host/testing"] {
        for source in sources(folder) {
            let shown = source.path.display();
            if !source.text.starts_with("//! ") {
                wrong.push(format!("{shown} does not begin with `//!`"));
            }
            if source.path.ends_with(GENERATED) {
                continue;
            }
            let lines = source.code().lines().count();
            let is_test =
                source.path.components().any(|part| part.as_os_str() == "tests") || source.path.ends_with("tests.rs");
            // A list of constants, each with its reason, has no second topic to move out.
            let is_list = source.path.ends_with("host/src/limits.rs");
            if lines > LINES_MAX && !is_test && !is_list {
                wrong.push(format!("{shown} has {lines} lines"));
            }
            let stem = source.path.file_stem().unwrap().to_str().unwrap();
            if EMPTY_NAMES.contains(&stem) {
                wrong.push(format!("{shown}: the name does not describe the file"));
            }
            // rustfmt formats code, but leaves comments alone.
            let comments = source.text.lines().filter(|line| line.trim_start().starts_with("//"));
            if comments.into_iter().any(|line| line.chars().count() > 120) {
                wrong.push(format!("{shown} has a comment over 120 characters wide"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_environment_is_read_at_the_edge_only() {
    // `develop` reads Cargo, PATH and the user's folders: they locate programs and do not change the host's behaviour.
    let readers = ["cli", "develop"];
    let wrong: Vec<_> = sources("host/src")
        .into_iter()
        .filter(|source| source.code().contains("env::var") && !readers.contains(&source.module().as_str()))
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    use galo::limits::*;
    let kib = |bytes: usize| match bytes {
        mib if mib % (1 << 20) == 0 => format!("{} MiB", mib >> 20),
        kib => format!("{} KiB", kib >> 10),
    };
    let wait = |duration: std::time::Duration| match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        ms => format!("{ms} ms"),
    };
    let rows = [
        ("request body (`body_bytes_max`)", kib(BODY_BYTES_DEFAULT), kib(BODY_BYTES_CEILING)),
        ("request line and headers", format!("{}, {HEADERS_MAX} headers", kib(HEAD_BYTES_MAX)), dash()),
        ("guest memory (`memory_bytes_max`)", kib(MEMORY_BYTES_DEFAULT), kib(MEMORY_BYTES_CEILING)),
        (
            "guest time for one function (`deadline_ms`)",
            format!("{} ms", DEADLINE_DEFAULT.as_millis()),
            format!("{} ms", DEADLINE_CEILING.as_millis()),
        ),
        ("bytes one function hands back (`reply_bytes_max`)", kib(REPLY_BYTES_DEFAULT), kib(REPLY_BYTES_CEILING)),
        (
            "elements of a guest's tables (`table_elements_max`)",
            TABLE_ELEMENTS_DEFAULT.to_string(),
            TABLE_ELEMENTS_CEILING.to_string(),
        ),
        ("native stack of a guest call", kib(GUEST_STACK_BYTES), dash()),
        (
            "response headers of a guest",
            format!("{}, {RESPONSE_HEADERS_MAX} headers", kib(RESPONSE_HEADERS_BYTES_MAX)),
            dash(),
        ),
        ("origins of `[cors]`", CORS_ORIGINS_MAX.to_string(), dash()),
        (
            "answer to a preflight, in a browser (`max_age_seconds`)",
            wait(CORS_MAX_AGE_DEFAULT),
            format!("{} s", CORS_MAX_AGE_CEILING.as_secs()),
        ),
        ("slow calls of one generation", SLOW_CALLS_PER_GENERATION.to_string(), dash()),
        ("rows of one statement", kib(ROWS_BYTES_MAX), dash()),
        ("calls of one batch", BATCH_CALLS_MAX.to_string(), dash()),
        ("arguments of one batch", kib(BATCH_BYTES_MAX), dash()),
        ("calls that wait for one lane", LANE_CALLS_MAX.to_string(), dash()),
        ("lanes of one procedure (`lanes`)", "1".to_owned(), LANES_MAX.to_string()),
        ("calls that wait for one locked or slow row", KEY_CALLS_MAX.to_string(), dash()),
        ("lock that a batch waits for", wait(BATCH_LOCK_TIMEOUT), dash()),
        ("batch", wait(BATCH_STATEMENT_TIMEOUT), dash()),
        ("component", kib(usize::try_from(COMPONENT_BYTES_MAX).unwrap()), dash()),
        (
            "components that wait in memory for the state folder",
            kib(usize::try_from(STATE_HANDED_BYTES_MAX).unwrap()),
            dash(),
        ),
        (
            "core instances, memories and tables of a component",
            format!("{CORE_INSTANCES_PER_COMPONENT}, {MEMORIES_PER_COMPONENT}, {TABLES_PER_COMPONENT}"),
            dash(),
        ),
        ("handlers", HANDLERS_MAX.to_string(), dash()),
        ("routes of a handler", ROUTES_MAX.to_string(), dash()),
        ("records of a handler", format!("{RECORDS_DEFAULT}, {}", kib(RECORDS_BYTES_MAX)), dash()),
        ("records of a node", kib(RECORDS_NODE_BYTES_MAX), dash()),
        ("records that wait to be written", format!("{RECORD_QUEUE_MAX}, {}", kib(RECORD_QUEUE_BYTES_MAX)), dash()),
        ("values of a handler's `config`", format!("{CONFIG_VALUES_MAX}, {}", kib(CONFIG_BYTES_MAX)), dash()),
        (
            "keys of a JWKS file",
            format!("{TOKEN_KEYS_MAX}, {}", kib(usize::try_from(TOKEN_KEYS_BYTES_MAX).unwrap())),
            dash(),
        ),
        ("clocks that differ, for `exp` and `nbf` of a token", wait(TOKEN_LEEWAY), dash()),
        (
            "headers of a request, once begun; of a connection's first, from its accept",
            wait(HEAD_TIMEOUT_DEFAULT),
            dash(),
        ),
        ("body of a request", wait(BODY_TIMEOUT_DEFAULT), dash()),
        ("idle connection", wait(IDLE_TIMEOUT_DEFAULT), dash()),
        ("client that takes less than 64 KiB of its response", wait(WRITE_TIMEOUT), dash()),
        ("connection of the pool", wait(ACQUIRE_TIMEOUT), dash()),
        ("statement", wait(STATEMENT_TIMEOUT), dash()),
        ("outcome of a call", wait(CALL_TIMEOUT), dash()),
        ("drain", wait(DRAIN_GRACE), dash()),
        (
            "calls of a new generation on probation (`probation_calls`)",
            PROBATION_CALLS_DEFAULT.to_string(),
            PROBATION_CALLS_CEILING.to_string(),
        ),
        (
            "time of a new generation on probation (`probation_seconds`)",
            wait(PROBATION_DEFAULT),
            format!("{PROBATION_SECONDS_CEILING} s"),
        ),
        ("compiling a component, memory", kib(usize::try_from(COMPILE_MEMORY_BYTES_MAX).unwrap()), dash()),
        ("compiling a component, CPU", wait(COMPILE_CPU_MAX), dash()),
        ("compiling a component", wait(COMPILE_TIMEOUT), dash()),
        ("compilers beside what serves", COMPILERS_MAX.to_string(), dash()),
        ("verifying a candidate", wait(VERIFY_TIMEOUT), dash()),
        ("examples of a handler", EXAMPLES_MAX.to_string(), dash()),
        ("CPU time of all of them", wait(EXAMPLES_CPU_MAX), dash()),
        ("example", kib(usize::try_from(EXAMPLE_BYTES_MAX).unwrap()), dash()),
        (
            "recorded requests of a [corpus](gate.md)",
            format!("{CORPUS_RECORDS_MAX} in {}", kib(usize::try_from(CORPUS_BYTES_MAX).unwrap())),
            dash(),
        ),
    ];
    let document = fs::read_to_string(checkout().root.join("docs/operating.md")).unwrap();
    let table = document.split("## Limits").nth(1).unwrap().split("\n## ").next().unwrap();
    for (what, default, most) in &rows {
        let row = format!("| {what} | {default} | {most} |");
        assert!(table.contains(&row), "`{row}` is missing in docs/operating.md");
    }
    let shown = table.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(shown, rows.len() + 1, "a row of the limits is not checked here");
}

fn dash() -> String {
    "–".to_owned()
}

#[test]
fn each_promise_of_security_is_tested() {
    let mut tests = String::new();
    for folder in ["host/src", "host/tests", "host/bank"] {
        sources(folder).into_iter().for_each(|source| tests.push_str(&source.text));
    }
    let security = fs::read_to_string(checkout().root.join("SECURITY.md")).unwrap();
    let names = |text: &str| {
        let quoted = text.split('`').skip(1).step_by(2);
        // A test's name is a sentence; no other quoted name has this many words.
        quoted.filter(|quoted| quoted.matches('_').count() > 2).map(str::to_owned).collect::<Vec<_>>()
    };
    let missing: Vec<_> = names(&security).into_iter().filter(|name| !tests.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that do not exist: {missing:#?}");
    let promises: Vec<_> = security.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let untested: Vec<_> = promises.iter().filter(|promise| names(promise).is_empty()).collect();
    assert!(promises.len() > 10 && untested.is_empty(), "promises without a test: {untested:#?}");
    assert!(security.lines().count() <= 100, "SECURITY.md has over 100 lines");
}

/// The names of what `.ci/run` leaves out of a step and nobody has.
fn unknown_among_skipped(script: &str, modules: &str) -> Vec<String> {
    let words: Vec<_> = script.split_whitespace().collect();
    let skipped = words.windows(2).filter(|pair| pair[0] == "--skip").map(|pair| pair[1].trim_end_matches("::"));
    skipped.filter(|name| !modules.contains(&format!("mod {name};"))).map(str::to_owned).collect()
}

#[test]
fn modules_that_a_step_leaves_out_exist() {
    let read = |path: &str| fs::read_to_string(checkout().root.join(path)).unwrap();
    let modules = read("host/tests/it/main.rs") + &read("host/bank/tests/processes/main.rs");
    let script = read(".ci/run");
    assert!(script.matches("--skip ").count() > 10);
    assert_eq!(unknown_among_skipped(&script, &modules), Vec::<String>::new());
    assert_eq!(unknown_among_skipped("cargo test -- --skip tidy:: --skip tidied::", &modules), ["tidied"]);
}

#[test]
fn commands_name_the_program_they_run() {
    // The workspace has several programs, and Cargo does not choose one.
    for name in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(checkout().root.join(name)).unwrap();
        let command = |line: &&str| line.trim_start().trim_start_matches("deploy/pgo/use ").starts_with("cargo run");
        let commands: Vec<_> = text.lines().filter(command).collect();
        assert!(!commands.is_empty() && commands.iter().all(|line| line.contains(" -p ")), "{name}: {commands:#?}");
    }
}

#[test]
fn the_readme_shows_the_handler_that_the_kit_documents() {
    // The kit's example is compiled and run as its doctest.
    let kit = fs::read_to_string(checkout().root.join("handlers/kit/src/lib.rs")).unwrap();
    let example: Vec<_> = kit
        .lines()
        .skip_while(|line| *line != "//! ```")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or_default())
        .collect();
    assert!(example.len() > 20);
    let readme = fs::read_to_string(checkout().root.join("README.md")).unwrap();
    assert!(readme.contains(&example.join("\n")), "the README's handler is not the kit's");
    assert!(readme.lines().count() <= 150, "README.md has over 150 lines");
}

/// Crates with their versions and features, as Cargo resolves them.
fn resolved(arguments: &[&str]) -> std::collections::BTreeSet<String> {
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(checkout().root).args([
        "tree",
        "--locked",
        "--offline",
        "--prefix",
        "none",
        "--format",
        "{p} {f}",
    ]);
    let output = cargo.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

#[test]
fn the_two_commands_compile_the_same_crates() {
    let first = resolved(&["--package", "galo", "--edges", "normal,no-proc-macro"]);
    let tests = resolved(&["--edges", "normal,dev,no-proc-macro"]);
    assert!(first.len() > 100);
    let apart: Vec<_> = first.difference(&tests).collect();
    assert!(
        apart.is_empty(),
        "`cargo test` compiles these with other features than `cargo run -p galo`, and all above them again; \
         name the missing features in host/Cargo.toml: {apart:#?}"
    );
}
