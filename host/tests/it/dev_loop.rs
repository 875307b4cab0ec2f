//! `galo dev` while its sources are broken, moved, generated, or built by a command: what builds serves, every change
//! is noticed, and nothing is built for ever.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::cli::{Program, run, wait_until};
use crate::dev::Dev;
use crate::fixture;
use crate::handlers::Copy;
use crate::harness::{TestDatabase, one_build_at_a_time};

const EXTRATO: &str = "handlers/extrato/src/lib.rs";

/// A copy whose workspace has only the handlers: a handler that is gone is nobody else's dependency.
fn project(test: &str) -> Copy {
    let copy = Copy::new(test);
    let members = "members = [\"host\", \"host/bank\", \"host/bench\", \"host/testing\", \"handlers/*\"";
    copy.edit("Cargo.toml", |text| text.replace(members, "members = [\"handlers/*\""));
    copy
}

/// A source of the handler whose response has the header `x-made`, which no example looks at.
fn with_header(source: &str, value: &str) -> String {
    let json = "Response::json(200, &extrato)";
    let field = format!("galo_kit::Field {{ name: \"x-made\".into(), value: {value} }}");
    source.replace(json, &format!("{{ let mut response = {json}; response.headers.push({field}); response }}"))
}

/// Text that Rust refuses, at the end of a source.
fn broken(text: String) -> String {
    text + "\nfn broken() -> u8 { \"x\" }\n"
}

#[test]
fn a_broken_start_serves_what_builds_and_the_rest_when_it_is_mended() {
    let dev = Dev::of("broken-start", |copy| {
        copy.edit(EXTRATO, broken);
        // One folder that is not a crate, which Cargo takes for one.
        std::fs::create_dir(copy.path("handlers/notes")).unwrap();
        std::fs::write(copy.path("handlers/notes/README.md"), "notes").unwrap();
    });
    dev.program.wait_for("error[E0308]: mismatched types");
    dev.program.wait_for("extrato: build failed, so it does not serve yet");
    dev.program.wait_for("Cargo.toml: added \"handlers/notes\" to `exclude`");
    assert_eq!(dev.credit().status, 200);
    assert_eq!(dev.get("/clientes/1/extrato").status, 404);
    dev.copy.edit(EXTRATO, |text| text.replace("fn broken() -> u8 { \"x\" }", ""));
    dev.program.wait_for("extrato: generation 1 live — added to the manifest");
    assert_eq!(dev.get("/clientes/1/extrato").status, 200);
    dev.interrupt();
}

#[test]
fn a_start_waits_for_the_manifest_the_sql_the_secret_and_the_first_handler_and_names_the_sources() {
    let turn = one_build_at_a_time();
    let copy = Copy::new("nothing-yet");
    let root = copy.checkout.root.clone();
    let token = "\n[token]\nsecret = { file = \"secrets/files/token\" }\nalgorithms = [\"HS256\"]\n";
    copy.edit("galo.toml", |text| text + "nome = 1\n" + token);
    copy.edit("sql/procedures/1_procedures.sql", |text| text + "CREATE FUNKTION x();\n");
    copy.edit(EXTRATO, |text| text.replace("cliente não encontrado", "quem?"));
    let program = Program::start(Dev::command(&copy));
    program.wait_for(&format!("build failed: {}", root.join("galo.toml").display()));
    program.wait_for("sql/procedures/1_procedures.sql");
    program.wait_for("nothing to serve yet; waiting for a change");
    copy.edit("galo.toml", |text| text.replace("nome = 1\n", ""));
    copy.edit("sql/procedures/1_procedures.sql", |text| text.replace("CREATE FUNKTION x();\n", ""));
    // Nothing serves without the secret, which is followed before there is a folder for it.
    program.wait_for("secrets/files/token: No such file or directory");
    std::fs::create_dir_all(copy.path("secrets/files")).unwrap();
    std::fs::write(copy.path("secrets/files/token"), [b'x'; 32]).unwrap();
    // The handler whose example fails is left out, and named with its line and its sources.
    let program = program.until_ready();
    let manifest = root.join("galo.toml");
    program.wait_for(&format!(
        "{}:{}: extrato: handlers/extrato/examples/",
        manifest.display(),
        line_of(&copy, "extrato")
    ));
    program.wait_for("starting without extrato");
    assert!(!program.log().contains(".galo/handlers"), "{}", program.log());
    copy.edit(EXTRATO, |text| text.replace("quem?", "cliente não encontrado"));
    program.wait_for("extrato: generation 1 live — added to the manifest");
    Dev { program, copy, _turn: turn }.interrupt();
}

/// The line of a handler's table in the manifest.
fn line_of(copy: &Copy, handler: &str) -> usize {
    let text = std::fs::read_to_string(copy.path("galo.toml")).unwrap();
    text.lines().position(|line| line == format!("name = \"{handler}\"")).unwrap()
}

#[test]
fn a_source_that_goes_back_in_time_is_built() {
    let dev = Dev::start("back-in-time");
    // Given a backup that is older than the build,
    let [source, backup] = [dev.copy.path(EXTRATO), dev.copy.path("backup.rs")];
    let examples = ["last-transactions", "no-transaction-yet"];
    let expect = |from: u16, to: u16| {
        for name in examples {
            dev.copy.edit(&format!("handlers/extrato/examples/{name}.json"), |text| {
                text.replace(&format!("\"status\": {from}"), &format!("\"status\": {to}"))
            });
        }
    };
    std::fs::copy(&source, &backup).unwrap();
    let past = SystemTime::now() - Duration::from_secs(86_400);
    std::fs::File::options().append(true).open(&backup).unwrap().set_modified(past).unwrap();
    let json = "Response::json(200, &extrato)";
    dev.copy.edit(EXTRATO, |text| text.replace(json, &format!("Response {{ status: 201, ..{json} }}")));
    expect(200, 201);
    dev.program.wait_for("extrato: generation 2 live");
    assert_eq!(dev.get("/clientes/1/extrato").status, 201);
    // when it is moved into place, then it is what serves.
    std::fs::rename(&backup, &source).unwrap();
    expect(201, 200);
    dev.program.wait_for("extrato: a source was replaced by an older file");
    dev.program.wait_for("extrato: generation 3 live");
    assert_eq!(dev.get("/clientes/1/extrato").status, 200);
    dev.interrupt();
}

#[test]
fn a_build_that_writes_beside_its_sources_is_live_and_comes_to_rest() {
    let dev = Dev::start("generated");
    // This build script runs with every build, and always writes another text.
    dev.copy.edit("handlers/extrato/build.rs", |text| {
        let write = "fn main() {\n    println!(\"cargo::rerun-if-changed=src/never\");\n    \
                     let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();\n    \
                     std::fs::write(\"src/made.rs\", format!(\"pub(crate) const MADE: &str = \\\"{}\\\";\\n\", now.as_nanos())).unwrap();";
        text.replace("fn main() {", write)
    });
    dev.copy.edit(EXTRATO, |text| {
        with_header(&text, "crate::made::MADE.into()").replace("mod render;", "mod made;\nmod render;")
    });
    dev.program.wait_for("extrato: generation 2 live");
    assert_ne!(dev.get("/clientes/1/extrato").header("x-made"), "");
    dev.program.wait_for("handlers/extrato/src/made.rs changes with every build, so it does not cause another one");
    // A change is still followed, and needs no more than one build.
    let builds = || dev.program.log().matches("Compiling extrato").count();
    let before = builds();
    let live = dev.program.log().matches("extrato: generation").count();
    dev.copy.edit("handlers/extrato/src/render.rs", |text| text + "\n");
    wait_until("the change is live", || dev.program.log().matches("extrato: generation").count() > live);
    assert!(builds() <= before + 2, "{}", dev.program.log());
    dev.interrupt();
}

/// Gives a handler its status from a crate beside the handlers.
fn with_crate(copy: &Copy) {
    std::fs::create_dir_all(copy.path("crates/status/src")).unwrap();
    let package = "[package]\nname = \"status\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    std::fs::write(copy.path("crates/status/Cargo.toml"), package).unwrap();
    std::fs::write(copy.path("crates/status/src/lib.rs"), "#![no_std]\npub const OK: u16 = 200;\n").unwrap();
    copy.edit("handlers/extrato/Cargo.toml", |text| {
        text.replace("[dependencies]", "[dependencies]\nstatus = { path = \"../../crates/status\" }")
    });
    copy.edit(EXTRATO, |text| text.replace("Response::json(200,", "Response::json(status::OK,"));
}

#[test]
fn a_watch_of_tests_follows_a_path_dependency() {
    let _turn = one_build_at_a_time();
    let copy = project("tested-crates");
    with_crate(&copy);
    let mut command = copy.galo();
    command.args(["test", "extrato", "last-transactions", "--watch"]);
    let mut program = Program::start(command);
    program.wait_for("result: ok");
    program.wait_for("Waiting for a change");
    copy.edit("crates/status/src/lib.rs", |text| text.replace("200", "203"));
    program.wait_for("result: FAILED");
    program.signal(Signal::SIGINT);
    assert!(program.wait().success(), "{}", program.log());
}

#[test]
fn a_path_dependency_is_followed_and_a_link_out_of_the_tree_is_not() {
    let outside = tempfile::tempdir().unwrap();
    let dev = Dev::of("crates", |copy| {
        with_crate(copy);
        symlink(outside.path(), copy.path("handlers/extrato/src/outside")).unwrap();
    });
    // A change behind the link causes no build, and one of the crate does.
    std::fs::write(outside.path().join("x.rs"), "x").unwrap();
    for name in ["last-transactions", "no-transaction-yet"] {
        dev.copy.edit(&format!("handlers/extrato/examples/{name}.json"), |text| {
            text.replace("\"status\": 200", "\"status\": 203")
        });
    }
    dev.copy.edit("crates/status/src/lib.rs", |text| text.replace("200", "203"));
    dev.program.wait_for("extrato: generation 2 live");
    assert_eq!(dev.get("/clientes/1/extrato").status, 203);
    dev.interrupt();
}

/// `galo build` in a copy: whether it succeeded, and what it printed.
fn build(copy: &Copy) -> (bool, String) {
    let (success, stdout, stderr) = run(copy.galo().arg("build"));
    (success, stdout + &stderr)
}

#[test]
fn a_handler_that_is_gone_renamed_or_has_nothing_to_build_is_named() {
    let _turn = one_build_at_a_time();
    let copy = project("gone");
    let fails = |told: &[&str]| {
        let (success, shown) = build(&copy);
        assert!(!success, "{shown}");
        told.iter().for_each(|told| assert!(shown.contains(told), "`{told}` is missing in:\n{shown}"));
    };
    let rename = |from: &str, to: &str| std::fs::rename(copy.path(from), copy.path(to)).unwrap();
    rename("handlers/extrato", "handlers/conta");
    let line = line_of(&copy, "extrato");
    fails(&[
        "extrato: the folder handlers/extrato does not exist",
        &format!("in line {line}"),
        "if it was renamed to handlers/conta, change `name` there",
    ]);
    rename("handlers/conta", "elsewhere");
    fails(&["extrato: the folder handlers/extrato does not exist", "restore the folder, or remove the handler's"]);
    rename("elsewhere", "handlers/extrato");
    copy.edit("handlers/extrato/Cargo.toml", |text| text.replace("name = \"extrato\"", "name = \"conta\""));
    fails(&["extrato: handlers/extrato/Cargo.toml names the package `conta`", "set `name = \"extrato\"` there"]);
    copy.edit("handlers/extrato/Cargo.toml", |text| text.replace("name = \"conta\"", "name = \"extrato\""));
    copy.edit("Cargo.toml", |text| text.replace("exclude = [", "exclude = [\"handlers/extrato\", "));
    fails(&["extrato: handlers/extrato is not a member of the workspace", "remove it from `exclude`"]);
    copy.edit("Cargo.toml", |text| text.replace("\"handlers/extrato\", ", ""));
    std::fs::remove_file(copy.path("handlers/extrato/Cargo.toml")).unwrap();
    fails(&["extrato: handlers/extrato has no Cargo.toml", "add `build = { command = \"...\" }`"]);
}

#[test]
fn a_handler_with_a_command_whose_folder_is_gone_is_named() {
    let _turn = one_build_at_a_time();
    let copy = project("command-gone");
    with_command(&copy, COPY);
    std::fs::create_dir(copy.path("handlers/greet/examples")).unwrap();
    std::fs::rename(copy.path("handlers/greet"), copy.path("handlers/hello")).unwrap();
    let (success, shown) = build(&copy);
    assert!(!success, "{shown}");
    for told in
        ["greet: the folder handlers/greet does not exist", "if it was renamed to handlers/hello, change `name`"]
    {
        assert!(shown.contains(told), "`{told}` is missing in:\n{shown}");
    }
}

#[test]
fn a_folder_of_sources_is_not_served() {
    let copy = Copy::new("sources");
    for folder in [".", "handlers"] {
        for command in [&["serve", "--handlers", folder][..], &["check", folder], &["compile", folder]] {
            let mut galo = copy.galo_beside();
            let (success, _, shown) = run(galo.args(command).env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x"));
            assert!(!success && shown.contains("run `galo build` in the project"), "{command:?}: {shown}");
        }
    }
}

/// Adds a handler without a crate: its command copies a component, and says how often it has run.
fn with_command(copy: &Copy, command: &str) {
    let folder = copy.path("handlers/greet");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(folder.join("src/greet.bytes"), fixture::answers(200)).unwrap();
    let entry = format!(
        "\n[[handler]]\nname = \"greet\"\ncomponent = \"out/greet.wasm\"\nroute = \"GET /greet\"\n\
         build = {{ command = {command:?}, watch = [\"src/**\"] }}\n"
    );
    copy.edit("galo.toml", |text| text + &entry);
}

const COPY: &str = "mkdir -p out && cp src/greet.bytes out/greet.wasm && date +%N >log.txt && echo copied";

#[test]
fn a_handler_is_built_by_its_command_and_followed_by_its_globs() {
    let dev = Dev::of("command", |copy| with_command(copy, COPY));
    dev.program.wait_for("greet | building with `mkdir -p out");
    dev.program.wait_for("greet | copied");
    assert_eq!(dev.get("/greet").status, 200);
    assert_eq!(dev.credit().status, 200);
    let source = dev.copy.path("handlers/greet/src/greet.bytes");
    std::fs::write(&source, fixture::answers(201)).unwrap();
    dev.program.wait_for("greet: generation 2 live — build ");
    assert_eq!(dev.get("/greet").status, 201);
    // Neither what it writes nor another handler runs it.
    let runs = || dev.program.log().matches("greet | building with").count();
    assert_eq!(runs(), 2, "{}", dev.program.log());
    dev.copy.edit(EXTRATO, |text| text + "\n");
    dev.program.wait_for("Compiling extrato");
    dev.copy.edit("handlers/extrato/examples/unknown-client.json", |text| text + "\n");
    // A command that fails is shown with the handler's name, and changes nothing.
    dev.copy.edit("galo.toml", |text| text.replace(COPY, "echo no such thing; exit 3"));
    dev.program.wait_for("greet | no such thing");
    dev.program.wait_for("greet: build failed; still serving the previous one: `echo no such thing; exit 3` failed");
    assert_eq!(runs(), 3, "{}", dev.program.log());
    assert_eq!(dev.get("/greet").status, 201);
    dev.interrupt();
}

#[test]
fn ctrl_c_ends_everything_that_a_build_command_has_started() {
    let _turn = one_build_at_a_time();
    let copy = Copy::new("command-stopped");
    let marker = copy.path("3600.5");
    // A process that ignores SIGTERM, in the background of another one.
    std::fs::write(copy.path("wait"), "trap '' TERM\nwhile :; do sleep 1; done\n").unwrap();
    let script = format!("sh {} {} & wait", copy.path("wait").display(), marker.display());
    with_command(&copy, &script);
    let left = || crate::dev::processes_of(&marker).len();
    for arguments in [&["build"][..], &["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]] {
        let mut command = copy.galo();
        command.args(arguments);
        let mut program = Program::start(command);
        wait_until("the command runs", || left() > 1);
        program.signal(Signal::SIGINT);
        let begun = std::time::Instant::now();
        program.wait();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        wait_until("nothing is left", || left() == 0);
    }
}

#[test]
fn a_build_puts_the_component_where_the_manifest_has_it() {
    let _turn = one_build_at_a_time();
    let copy = Copy::new("command-built");
    with_command(&copy, COPY);
    let (success, shown) = build(&copy);
    assert!(success, "{shown}");
    assert_eq!(std::fs::read(copy.path("dist/out/greet.wasm")).unwrap(), fixture::answers(200));
    assert!(copy.path("dist/extrato.wasm").is_file());
    // A command that leaves no component is named with what it should have written.
    copy.edit("galo.toml", |text| text.replace(COPY, "true"));
    std::fs::remove_file(copy.path("handlers/greet/out/greet.wasm")).unwrap();
    let (success, shown) = build(&copy);
    assert!(!success && shown.contains("greet: `true` ended without an error, but"), "{shown}");
    assert!(shown.contains("handlers/greet/out/greet.wasm does not exist"), "{shown}");
}

/// Runs a command in a user namespace of its own, which may have no instance of inotify. Root maps all users into it,
/// since Postgres's socket belongs to another one.
const DEAF: &str = r#"
if [ "$(id -u)" = 0 ]; then map='0 0 65536'; else map="0 $(id -u) 1"; fi
(
    while ! echo "$map" >"/proc/$$/uid_map"; do sleep 0.05; done
    [ "$map" = '0 0 65536' ] && echo "$map" >"/proc/$$/gid_map"
) 2>/dev/null &
# A program that is started as root of the namespace has its capabilities.
exec unshare --user sh -c '
while [ -z "$(cat /proc/self/uid_map)" ]; do sleep 0.05; done
exec sh -c "echo 0 >/proc/sys/user/max_inotify_instances && exec \"\$@\"" sh "$@"
' sh "$@"
"#;

/// The same command where the kernel reports no changes.
fn deaf(command: &Command) -> Command {
    let mut deaf = Command::new("sh");
    deaf.args(["-c", DEAF, "sh"]).arg(command.get_program()).args(command.get_args());
    deaf.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => deaf.env(name, value),
            None => deaf.env_remove(name),
        };
    }
    deaf
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_noticed_where_the_kernel_reports_none() {
    if !Command::new("unshare").args(["--user", "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("not run: this machine allows no user namespace (`unshare --user`)");
        return;
    }
    let database = TestDatabase::new().await;
    let _turn = one_build_at_a_time();
    let copy = Copy::new("deaf");
    let mut command = Dev::command(&copy);
    command.env("DATABASE_URL", database.owner_url());
    let program = Program::start(deaf(&command)).until_ready();
    program.wait_for("the kernel reports no changes of files");
    copy.edit(EXTRATO, |text| with_header(&text, "\"2\".into()"));
    program.wait_for("extrato: generation 2 live");
}
