//! `galo init` and `galo upgrade`: a project outside of this repository, from its first command to its deployment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;

use galo::config::Secret;
use galo::database::{self, Target};
use http::Method;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::cli::{Program, run, wait_until};
use crate::harness::{GALO, TestDatabase, checkout, galo, one_build_at_a_time, request};

/// A project that `galo init` has made, and the right to build it.
pub struct Own {
    pub root: PathBuf,
    folder: TempDir,
    /// None beside another one, whose test has the turn.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Own {
    /// `galo init NAME ARGUMENTS`, in an empty folder.
    pub fn init(name: &str, arguments: &[&str]) -> Self {
        let turn = one_build_at_a_time();
        let folder = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let root = folder.path().canonicalize().unwrap().join(name);
        let project = Self { root, folder, _turn: Some(turn) };
        succeeds(project.command(GALO).current_dir(project.folder.path()).args(["init", name]).args(arguments));
        project
    }

    /// A program in the project, without a network, as a person has it: `galo` is in `PATH`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = if program == GALO { galo() } else { Command::new(program) };
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let own = Path::new(GALO).parent().unwrap().to_owned();
        let path = std::env::join_paths([own].into_iter().chain(std::env::split_paths(&folders))).unwrap();
        command.current_dir(self.root.parent().filter(|_| !self.root.exists()).unwrap_or(&self.root));
        command.env("PATH", path).env("CARGO_TARGET_DIR", target()).env("CARGO_NET_OFFLINE", "true");
        // Cargo sets these for a test, and rustup would take them for ours.
        for (name, _) in std::env::vars_os() {
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn galo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(GALO);
        command.args(arguments);
        command
    }

    /// `galo dev` on free ports, ready.
    pub fn dev(&self) -> Program {
        let mut command = self.galo(&["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--cache"]);
        Program::start({
            command.arg(self.root.join(".galo/cache"));
            command
        })
        .until_ready()
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no `{from}`: {text}");
        self.write(path, &text.replace(from, to));
    }

    /// Every file that a person keeps in git, by its path.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        collect(&self.root, &self.root, &mut found);
        found
    }
}

/// The folder that all projects are built into: what they depend on is compiled once.
fn target() -> PathBuf {
    Path::new(GALO).parent().unwrap().parent().unwrap().join("projects")
}

/// The files of a folder that are kept in git.
pub fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if [".galo", "target", "dist", "Cargo.lock"].contains(&name.as_str()) {
            continue;
        }
        match path.is_dir() {
            true => collect(root, &path, found),
            false => drop(found.insert(name, fs::read_to_string(path).unwrap())),
        }
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let (success, stdout, stderr) = run(command);
    assert!(success, "{command:?}: {stdout}{stderr}");
    stdout + &stderr
}

#[track_caller]
fn fails(command: &mut Command) -> String {
    let (success, stdout, stderr) = run(command);
    assert!(!success, "{command:?}: {stdout}{stderr}");
    stderr
}

fn get(address: &str, path: &str) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(request(address, Method::GET, path, ""));
    (answer.status.as_u16(), answer.text().to_owned())
}

#[test]
fn a_refused_init_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let init = |arguments: &[&str]| fails(galo().arg("init").args(arguments).current_dir(folder.path()));
    for (arguments, expected) in [
        (&["My Shop"][..], "invalid project name `My Shop`: use at most 63 lower-case letters"),
        (&["../shop"], "invalid project name `../shop`"),
        (&["user"], "invalid project name `user`: Postgres reserves it"),
        (&["shop", "--kit", "vendor"], "--kit: `vendor` is neither `vendored` nor `registry` nor `path:FOLDER`"),
    ] {
        let stderr = init(arguments);
        assert!(stderr.contains(expected), "`{expected}` is missing in: {stderr}");
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    fs::create_dir(folder.path().join("shop")).unwrap();
    fs::write(folder.path().join("shop/notes"), "mine").unwrap();
    let stderr = init(&["shop"]);
    assert!(stderr.contains("shop already exists and is not empty"), "{stderr}");
    assert_eq!(folder.path().join("shop").read_dir().unwrap().count(), 1);
    // Outside of a project, the other commands name the remedy.
    let stderr = fails(galo().arg("upgrade").current_dir(folder.path()));
    assert!(stderr.contains("is not in a project"), "{stderr}");
}

const GREETING: &str = "handlers/greeting/src/lib.rs";
const CI: &str = ".github/workflows/ci.yml";

/// A source is broken and mended, a procedure changed and a handler added, while `galo dev` serves.
fn develop(project: &Own) {
    let mut dev = project.dev();
    let asked = |path: &str| get(&dev.listen, path);
    assert_eq!(asked("/greetings/1"), (200, r#"{"text":"hello, world"}"#.to_owned()));
    assert_eq!(asked("/greetings/2"), (404, r#"{"error":"no such greeting"}"#.to_owned()));
    assert_eq!(asked("/").1, r#"{"error":"not_found","message":"there is nothing here"}"#);
    // The role of the project serves, and it reads no table.
    succeeds(&mut project.galo(&["psql", "--", "-c", "SET ROLE shop", "-c", "SELECT greeting(1)"]));
    let refused = fails(&mut project.galo(&["psql", "--", "-c", "SET ROLE shop", "-c", "TABLE app.greetings"]));
    assert!(refused.contains("permission denied for schema app"), "{refused}");
    project.edit(GREETING, "Some(id) =>", "Some(id) = >");
    dev.wait_for("build failed; still serving the previous one");
    assert_eq!(asked("/greetings/1").0, 200);
    project.edit(GREETING, "Some(id) = >", "Some(id) =>");
    project.edit(GREETING, "Response::json(200, &row)", "Response::json(203, &row)");
    for example in ["found", "second-greeting"] {
        project.edit(&format!("handlers/greeting/examples/{example}.json"), "\"status\": 200", "\"status\": 203");
    }
    project.edit("handlers/greeting/src/tests.rs", "(200, ", "(203, ");
    dev.wait_for("greeting: generation 2 live");
    assert_eq!(asked("/greetings/1").0, 203);
    project.edit("sql/procedures/greeting.sql", "SELECT g.text", "SELECT upper(g.text)");
    project.edit(
        "handlers/greeting/examples/second-greeting.json",
        "{\"text\": \"good evening\"}",
        "{\"text\": \"GOOD EVENING\"}",
    );
    wait_until("the procedure is replaced", || asked("/greetings/1").1 == r#"{"text":"HELLO, WORLD"}"#);
    // `galo new`, from a folder inside the project.
    let mut new = project.galo(&["new", "echo", "--route", "GET /echo/{word}"]);
    succeeds(new.current_dir(project.root.join("handlers/greeting")));
    dev.wait_for("echo: generation 1 live");
    assert_eq!(asked("/echo/x"), (200, r#"{"word":"x"}"#.to_owned()));
    dev.signal(Signal::SIGINT);
    assert!(dev.wait().success(), "{}", dev.log());
}

/// What `galo build` has made is checked and served on a database of its own.
async fn deploy(project: &Own) {
    let database = TestDatabase::new().await;
    let owner = Target::parse(&Secret::new(database.owner_url())).unwrap();
    database.execute("DROP SCHEMA galo_migrations CASCADE").await;
    database::apply(&owner, &project.root.join("sql")).await.unwrap();
    let url = database.service_url().replace("galo@", "shop@");
    let database = database.by(url);
    // The folder, or the project itself.
    for arguments in [&["check", "dist"][..], &["check"]] {
        let mut check = project.galo(arguments);
        let checked = succeeds(check.env("DATABASE_URL", database.service_url()));
        assert!(checked.contains("2 handlers verified"), "{checked}");
    }
    let node = Program::serve_with(project.galo(&["serve"]), &database, &project.root.join("dist"));
    let answer = request(&node.listen, Method::GET, "/greetings/1", "").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (203, r#"{"text":"HELLO, WORLD"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_lives_a_whole_life_outside_of_this_repository() {
    let project = tokio::task::block_in_place(|| {
        let project = Own::init("shop", &[]);
        develop(&project);
        let tested = succeeds(&mut project.galo(&["test"]));
        for expected in [
            "example found ... ok",
            "example second-greeting ... ok",
            "Running tests of echo",
            "Running tests of greeting",
        ] {
            assert!(tested.contains(expected), "`{expected}` is missing in: {tested}");
        }
        assert!(!tested.contains("galo_kit") && !tested.contains("warning:"), "{tested}");
        // It is clean by its own means, Cargo's.
        succeeds(project.command(env!("CARGO")).args(["fmt", "--all", "--check"]));
        succeeds(project.command(env!("CARGO")).args(["clippy", "--all-targets", "--", "-D", "warnings"]));
        succeeds(&mut project.galo(&["build", "--out", "dist"]));
        for file in ["galo.toml", "greeting.wasm", "greeting/examples/found.json", "echo.wasm"] {
            assert!(project.root.join("dist").join(file).is_file(), "{file}");
        }
        // In what was built, a command for sources names the remedy.
        let stderr = fails(project.galo(&["build"]).current_dir(project.root.join("dist")));
        assert!(stderr.contains("it holds components, as `galo build` writes them"), "{stderr}");
        project
    });
    deploy(&project).await;
    tokio::task::block_in_place(|| cloned(&project));
}

/// On another machine there is what is in git, and Cargo.
fn cloned(project: &Own) {
    let clone = Own { root: project.folder.path().join("clone"), folder: tempfile::tempdir().unwrap(), _turn: None };
    for (path, text) in project.files() {
        clone.write(&path, &text);
    }
    let mut cargo = clone.command(env!("CARGO"));
    cargo.env("PATH", std::env::var_os("PATH").unwrap());
    let tested = succeeds(cargo.arg("test"));
    assert!(tested.contains("test tests::a_request_becomes_one_call ... ok"), "{tested}");
    let mut cargo = clone.command(env!("CARGO"));
    succeeds(cargo.args(["build", "--target", "wasm32-wasip2", "--profile", "handler"]));
    assert!(target().join("wasm32-wasip2/handler/greeting.wasm").is_file());
}

#[test]
fn a_project_builds_with_the_kit_of_a_registry() {
    // Given a registry that has the kit of this version: Cargo is given another project's as that.
    let other = Own::init("other", &[]);
    let project = Own { root: other.folder.path().join("shop"), folder: tempfile::tempdir().unwrap(), _turn: None };
    succeeds(other.galo(&["init", "shop", "--kit", "registry"]).current_dir(other.folder.path()));
    assert!(!project.root.join("vendor").exists());
    let version = env!("CARGO_PKG_VERSION");
    assert!(project.read("Cargo.toml").contains(&format!("galo-kit = \"={version}\"\ngalo-link = \"={version}\"\n")));
    let kit = other.root.join("vendor/galo-kit");
    let patch = format!("[patch.crates-io]\ngalo-kit.path = {kit:?}\ngalo-link.path = {:?}\n", kit.join("link"));
    project.write(".cargo/config.toml", &patch);
    // The handler of the README, which derives its body's serialisation.
    let readme = fs::read_to_string(checkout().root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```rust\n").unwrap();
    succeeds(&mut project.galo(&["new", "stock", "--route", "GET /stock/{id}", "--procedure", "stock"]));
    project.write("handlers/stock/src/lib.rs", rest.split("```").next().unwrap());
    succeeds(&mut project.galo(&["build", "--out", "dist"]));
    for component in ["greeting.wasm", "stock.wasm"] {
        assert!(project.root.join("dist").join(component).is_file(), "{component}");
    }
}

/// The script of the step of the CI file that installs the program.
fn install_step(ci: &str) -> String {
    let step = ci.split("      - ").find(|step| step.starts_with("name: Install galo")).unwrap();
    let (_, script) = step.split_once("run: |\n").unwrap();
    script.lines().map(|line| line.trim_start_matches("          ").to_owned() + "\n").collect()
}

#[test]
fn the_ci_of_a_project_installs_the_program_or_names_what_to_set() {
    let project = Own::init("shop", &[]);
    let install = |releases: &str| {
        let mut shell = project.command("bash");
        // A stand-in for sudo: what it would unpack is listed.
        let script = format!("sudo() {{ tar -tzf \"$3\" \"${{@: -1}}\"; }}\n{}", install_step(&project.read(CI)));
        shell.args(["-e", "-c", &script]).env("RELEASES", releases).current_dir(project.folder.path());
        run(&mut shell)
    };
    // Without an address, the step fails with what to do: the file begins with the command.
    let (success, printed, _) = install("");
    assert!(!success && printed.contains("::error title=GALO_RELEASES is not set::"), "{printed}");
    assert!(project.read(CI).contains("#     gh variable set GALO_RELEASES --body https://"));
    // With the address of releases as `.ci/release` makes them, the program is checked and unpacked.
    let tag = concat!("v", env!("CARGO_PKG_VERSION"));
    let name = format!("galo-{tag}-x86_64-unknown-linux-gnu");
    let releases = project.folder.path().join("releases");
    let folder = releases.join(tag);
    fs::create_dir_all(folder.join(&name)).unwrap();
    fs::write(folder.join(&name).join("galo"), "").unwrap();
    let pack = format!("tar -czf {name}.tar.gz {name} && sha256sum {name}.tar.gz >{name}.tar.gz.sha256");
    succeeds(project.command("sh").args(["-c", &pack]).current_dir(&folder));
    let (success, printed, stderr) = install(&format!("file://{}", releases.display()));
    assert!(success && printed.ends_with(&format!("{name}/galo\n")), "{printed}{stderr}");
    // A broken one is refused.
    fs::write(folder.join(format!("{name}.tar.gz")), "").unwrap();
    assert!(!install(&format!("file://{}", releases.display())).0);
}

/// What `galo upgrade` prints of each file.
fn changes(printed: &str) -> Vec<(&str, &str)> {
    let lines = printed.lines().filter_map(|line| line.strip_prefix("  "));
    lines
        .map(|line| line.split(':').next().unwrap().trim().split_once(char::is_whitespace).unwrap())
        .map(|(a, b)| (a, b.trim()))
        .collect()
}

/// Makes a project look as if an older galo had made it: these texts were written then.
fn age(project: &Own, files: &[(&str, &str)]) {
    let mut lock = project.read("galo.lock").replace("galo 0.1.0", "galo 0.0.9").replace("rust 1.95.0", "rust 1.94.0");
    for (path, text) in files {
        project.write(path, text);
        let digest = galo::guest::Digest::of(text.as_bytes());
        let others = lock.lines().filter(|line| !line.ends_with(&format!(" {path}")));
        lock = others.map(|line| line.to_owned() + "\n").collect::<String>() + &format!("file {digest} {path}\n");
    }
    project.write("galo.lock", &lock);
}

#[test]
fn an_upgrade_replaces_what_nobody_changed_and_says_what_it_did() {
    let project = Own::init("shop", &[]);
    let new = project.files();
    let upgrade = |arguments: &[&str]| project.galo(&[&["upgrade"], arguments].concat());
    assert!(succeeds(&mut upgrade(&[])).contains("is of galo 0.1.0 already"));
    assert!(project.files() == new);
    // Given a project of an older version, in which a person has changed some files,
    let older = |path: &str| new[path].replace("1.95.0", "1.94.0").replace("0.1.0", "0.0.9");
    let kit = "vendor/galo-kit/src/key.rs";
    let (toolchain, ci) = ("rust-toolchain.toml", CI);
    let compose = "deploy/compose.yaml";
    age(
        &project,
        &[
            (kit, "// of 0.0.9\n"),
            ("vendor/galo-kit/src/gone.rs", "// of 0.0.9\n"),
            (toolchain, &older(toolchain)),
            (ci, &older(ci)),
            (compose, "services: {}\n"),
            ("deploy/up", "#!/bin/sh\n"),
        ],
    );
    project.edit(ci, "- run: galo test\n", "- run: galo test\n      - run: ./mine\n");
    project.edit(compose, "services: {}", "services: {mine: {}}");
    // made before there were these files,
    let lock = project.read("galo.lock");
    let of_then = |line: &&str| !line.contains(" secrets/");
    project.write("galo.lock", &lock.lines().filter(of_then).map(|line| line.to_owned() + "\n").collect::<String>());
    fs::remove_dir_all(project.root.join("secrets")).unwrap();
    fs::remove_file(project.root.join("deploy/.env")).unwrap();
    fs::remove_file(project.root.join("deploy/nginx/nginx.conf")).unwrap();
    project.write(GREETING, "// mine\n");
    // when it is tried without being carried out, then nothing changes, and commands name the remedy;
    let before = project.files();
    let (success, printed, _) = run(&mut upgrade(&["--dry-run"]));
    assert!(!success && project.files() == before, "{printed}");
    let stderr = fails(project.galo(&["new", "echo", "--route", "GET /greetings/{id}"]).env("GALO_LOG", "warn"));
    assert!(stderr.contains("the project is of galo 0.0.9") && stderr.contains("run `galo upgrade`"), "{stderr}");
    // when it is carried out, then it prints each file that changed.
    let printed = succeeds(&mut upgrade(&[]));
    assert!(printed.contains("galo 0.0.9 -> 0.1.0"), "{printed}");
    let expected = [
        ("edited", ci),
        ("beside", compose),
        ("absent", "deploy/nginx/nginx.conf"),
        ("replaced", "deploy/up"),
        ("replaced", toolchain),
        ("added", "secrets/.gitignore"),
        ("added", "secrets/README.md"),
        ("removed", "vendor/galo-kit/src/gone.rs"),
        ("replaced", kit),
    ];
    assert_eq!(changes(&printed), expected, "{printed}");
    for path in [kit, toolchain, "deploy/up"] {
        assert!(project.read(path) == new[path], "{path}");
    }
    assert_eq!(project.read(ci), new[ci].replace("- run: galo test\n", "- run: galo test\n      - run: ./mine\n"));
    assert_eq!(project.read(compose), "services: {mine: {}}\n");
    assert_eq!(project.read("deploy/compose.yaml.new"), new[compose]);
    assert_eq!(project.read(GREETING), "// mine\n");
    assert!(!project.root.join("vendor/galo-kit/src/gone.rs").exists());
    assert!(!project.root.join("deploy/nginx/nginx.conf").exists());
    // Without a file that names it, its stack keeps the name that it had, and so its data.
    assert!(!project.root.join("deploy/.env").exists());
    assert_eq!(project.read("galo.lock"), new["galo.lock"]);
}

#[test]
fn a_removed_file_is_not_a_change_of_an_upgrade() {
    let project = Own::init("shop", &[]);
    fs::remove_dir_all(project.root.join(".github")).unwrap();
    for arguments in [["upgrade"].as_slice(), &["upgrade", "--dry-run"]] {
        let printed = succeeds(&mut project.galo(arguments));
        assert_eq!(changes(&printed), [("absent", CI)], "{printed}");
        assert!(printed.contains("is of galo 0.1.0 already") && !printed.contains("git diff"), "{printed}");
    }
}

#[test]
fn an_upgrade_is_refused_as_a_whole() {
    let project = Own::init("shop", &[]);
    let refused = |expected: &str| {
        let before = project.files();
        let stderr = fails(&mut project.galo(&["upgrade"]));
        assert!(stderr.contains(expected), "`{expected}` is missing in: {stderr}");
        assert!(project.files() == before, "{expected}");
    };
    // A kit that was changed here: half of the new one would not build.
    let kit = project.read("vendor/galo-kit/src/key.rs");
    project.write("vendor/galo-kit/src/key.rs", &(kit.clone() + "// mine\n"));
    project.edit("galo.lock", "galo 0.1.0", "galo 0.0.9");
    refused("the vendored kit was changed here, and an upgrade would undo that: vendor/galo-kit/src/key.rs");
    project.write("vendor/galo-kit/src/key.rs", &kit);
    project.edit("galo.lock", "galo 0.0.9", "galo 9.0.0");
    refused("the project is of galo 9.0.0, and this program is 0.1.0: install galo 9.0.0");
    project.edit("galo.lock", "galo 9.0.0", "<<<<<<< HEAD");
    refused("line 2 is not one that galo writes; restore the file from git");
    fs::remove_file(project.root.join("galo.lock")).unwrap();
    refused("has no galo.lock: `galo init` has not made this project");
}

#[test]
fn nginx_takes_the_configuration_of_a_project() {
    let project = Own::init("shop", &[]);
    let routes = succeeds(&mut project.galo(&["proxy", "nginx", "."]));
    // Beside nginx.conf; what it writes goes into the test's folder.
    let conf = project.read("deploy/nginx/nginx.conf").replace("/tmp/", &format!("{}/", project.root.display()));
    project.write("deploy/nginx/routes.conf", &routes);
    project.write("deploy/nginx/test.conf", &conf);
    let nginx = galo_testing::program::find("nginx").expect("install nginx");
    let mut nginx = Command::new(nginx);
    succeeds(nginx.args(["-t", "-e", "stderr", "-c"]).arg(project.root.join("deploy/nginx/test.conf")));
}
