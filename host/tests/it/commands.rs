//! The commands that work on a project, from an empty folder and from the folders of a project: which one they find,
//! and what they take from it.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::cli::{Program, run, wait_until};
use crate::dev::processes_of;
use crate::fixture::answers;
use crate::harness::{TestDatabase, galo};

/// A project with one handler, whose component is a file.
struct Own {
    folder: TempDir,
}

impl Own {
    /// `more` is text of the handler's entry, and of sections after it.
    fn new(more: &str) -> Self {
        let own = Self { folder: tempfile::tempdir().unwrap() };
        own.write("handlers/greet/greet.wasm", &answers(204));
        own.write(
            "handlers/greet/examples/a.json",
            br#"{"about": "a", "request": {"path": "/greet"}, "plan": {"reply": {"status": 204}}}"#,
        );
        let entry = "[[handler]]\nname = \"greet\"\ncomponent = \"greet.wasm\"\nroute = \"GET /greet\"\n";
        own.write("galo.toml", format!("{entry}{more}\n").as_bytes());
        own.write("sql/migrations/V7__of_the_project.sql", b"CREATE TABLE greetings ();\n");
        own
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// A command in a folder of the project.
    fn galo(&self, folder: &str, arguments: &[&str]) -> Command {
        let mut command = galo();
        command.args(arguments).current_dir(self.path(folder));
        command
    }

    fn succeeds(&self, folder: &str, arguments: &[&str], database: &TestDatabase) -> String {
        let (success, stdout, stderr) = run(self.galo(folder, arguments).env("DATABASE_URL", database.owner_url()));
        assert!(success, "{arguments:?}: {stdout}{stderr}");
        stdout + &stderr
    }
}

#[test]
fn without_a_project_every_command_that_needs_one_says_where_it_looked_and_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let here = empty.path().canonicalize().unwrap();
    for arguments in [
        &["dev"][..],
        &["build"],
        &["check"],
        &["test"],
        &["new", "x", "--route", "GET /x"],
        &["upgrade"],
        &["migrate"],
        &["psql"],
        &["proxy", "nginx"],
    ] {
        let mut command = galo();
        command.args(arguments).current_dir(&here);
        // `psql` opens this one without a project.
        if arguments != ["psql"] {
            command.env("DATABASE_URL", "host=/nowhere user=x");
        }
        let (success, stdout, stderr) = run(&mut command);
        let looked =
            format!("{} is not in a project: neither it nor a folder above it has a galo.toml", here.display());
        assert!(!success && stderr.contains(&looked), "{arguments:?}: {stdout}{stderr}");
        assert!(stderr.contains("or make one with `galo init NAME`"), "{arguments:?}: {stderr}");
        // Together with what else is missing, where that is known at once.
        if ["check", "migrate"].contains(&arguments[0]) {
            let (_, _, stderr) = run(command.env_remove("DATABASE_URL"));
            assert!(stderr.contains(&looked) && stderr.contains("DATABASE_URL: not set"), "{arguments:?}: {stderr}");
        }
        assert_eq!(std::fs::read_dir(&here).unwrap().count(), 0, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_any_folder_a_command_works_on_the_project() {
    let database = TestDatabase::new().await;
    database.execute("DROP SCHEMA galo_migrations CASCADE").await;
    let own = Own::new("");
    // Not the files of the project: those of a handler's own tests, say.
    own.write("handlers/greet/sql/migrations/V1__of_a_handler.sql", b"SELECT 1;\n");
    for folder in ["", "sql", "handlers/greet"] {
        let shown = own.succeeds(folder, &["migrate", "--dry-run"], &database);
        assert!(shown.contains("pending:    V7__of_the_project\n"), "{folder}: {shown}");
        let shown = own.succeeds(folder, &["proxy", "nginx"], &database);
        assert!(shown.contains("in front of `upstream nodes`"), "{folder}: {shown}");
        assert!(own.succeeds(folder, &["check"], &database).contains("1 handlers verified"));
        assert!(own.succeeds(folder, &["test"], &database).contains("result: ok"));
        // What is built is where the project's own files name it.
        let shown = own.succeeds(folder, &["build"], &database);
        let expected = if folder.is_empty() { "dist".to_owned() } else { own.path("dist").display().to_string() };
        assert!(shown.lines().any(|line| line == expected), "{folder}: {shown}");
        std::fs::remove_dir_all(own.path("dist")).unwrap();
    }
    assert!(!own.path("handlers/greet/dist").exists());
    // What is named is relative to where it is named.
    own.succeeds("handlers", &["build", "--out", "built"], &database);
    assert!(own.path("handlers/built/greet.wasm").is_file());
    let shown = own.succeeds("handlers", &["migrate", "--dry-run", "greet/sql"], &database);
    assert!(shown.contains("pending:    V1__of_a_handler\n"), "{shown}");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = galo();
    command.args(["migrate", "--dry-run", "--project"]).arg(own.folder.path()).current_dir(elsewhere.path());
    let (success, shown, stderr) = run(command.env("DATABASE_URL", database.owner_url()));
    assert!(success && shown.contains("V7__of_the_project"), "{shown}{stderr}");
    // An image of migrations has no project.
    std::fs::remove_file(own.path("galo.toml")).unwrap();
    assert!(own.succeeds("", &["migrate", "--dry-run"], &database).contains("V7__of_the_project"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_the_secrets_and_keys_that_the_manifest_names_beside_itself() {
    let database = TestDatabase::new().await;
    let own = Own::new(
        "config = { key = { file = \"secrets/api\" } }\nclaims = \"optional\"\n\n[token]\nsecret = { file = \
         \"secrets/token\" }\nalgorithms = [\"HS256\"]\n",
    );
    own.write("secrets/api", b"hunter2");
    own.write("secrets/token", b"0123456789abcdef0123456789abcdef");
    for folder in ["", "handlers/greet"] {
        assert!(own.succeeds(folder, &["check"], &database).contains("1 handlers verified"));
    }
    // One that is missing is named where the project has it, and so is a mistake of the manifest.
    for secret in ["secrets/api", "secrets/token"] {
        let (path, away) = (own.path(secret), own.path("away"));
        std::fs::rename(&path, &away).unwrap();
        let (success, stdout, stderr) = run(own.galo("", &["check"]).env("DATABASE_URL", database.owner_url()));
        assert!(!success && stderr.contains(&path.display().to_string()), "{stdout}{stderr}");
        assert!(stderr.contains(&format!("{}:", own.path("galo.toml").display())), "{stderr}");
        assert!(!stderr.contains(".galo/check"), "{stderr}");
        std::fs::rename(&away, &path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_check_and_what_its_build_has_started() {
    let database = TestDatabase::new().await;
    let own = Own::new("");
    let marker = own.path("3600.75");
    let script = format!("sh {} {} & wait", own.path("wait").display(), marker.display());
    own.write("wait", b"trap '' TERM\nwhile :; do sleep 1; done\n");
    let entry = std::fs::read_to_string(own.path("galo.toml")).unwrap();
    own.write("galo.toml", format!("{entry}build = {{ command = {script:?} }}\n").as_bytes());
    let mut command = own.galo("", &["check"]);
    command.env("DATABASE_URL", database.owner_url());
    let mut program = Program::start(command);
    wait_until("the command runs", || processes_of(&marker).len() > 1);
    program.signal(Signal::SIGINT);
    assert!(!program.wait().success());
    program.wait_for("stopped by SIGINT");
    wait_until("nothing is left", || processes_of(&marker).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_of_another_version_is_named_by_every_command() {
    let database = TestDatabase::new().await;
    database.execute("DROP SCHEMA galo_migrations CASCADE").await;
    let folder = tempfile::tempdir().unwrap();
    let (success, stdout, stderr) = run(galo().args(["init", "shop"]).current_dir(folder.path()));
    assert!(success, "{stdout}{stderr}");
    let lock: &Path = &folder.path().join("shop/galo.lock");
    let text = std::fs::read_to_string(lock).unwrap();
    std::fs::write(lock, text.replace(&format!("galo {}", env!("CARGO_PKG_VERSION")), "galo 0.0.9")).unwrap();
    for arguments in [&["migrate", "--dry-run"][..], &["proxy", "nginx"], &["dev", "--branches"]] {
        let mut command = galo();
        command.args(arguments).current_dir(folder.path().join("shop/handlers"));
        let (success, stdout, stderr) = run(command.env("DATABASE_URL", database.owner_url()));
        assert!(success && stderr.contains("the project is of galo 0.0.9"), "{arguments:?}: {stdout}{stderr}");
    }
}
