//! The stack of a project that `galo init` makes, with the command that its README names.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use galo_bank::compose::{self, Compose};
use galo_testing::program;

use crate::stack::until;

/// Of the project, and so of its stack: not that of a user's own, which may run beside it.
const NAME: &str = "galo-project";

/// Taken down with its volumes and images when it is dropped.
struct Up(Compose);

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.0.run(&["logs", "--tail", "20"]).unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(std::io::stderr(), "{logs}");
        }
        // Not `--rmi all`: the base images are those of every stack.
        let images = ["node", "migrations", "handlers"].map(|image| format!("{NAME}-{image}"));
        let images: Vec<_> = ["image", "rm"].into_iter().chain(images.iter().map(String::as_str)).collect();
        let down = self.0.run(&["down", "--volumes"]).and_then(|_| compose::docker(&images));
        if let Err(error) = down {
            let _ = writeln!(std::io::stderr(), "the stack of the project is not taken down: {error:#}");
        }
    }
}

/// Runs a command of the project, in which `galo` is the one that is tested.
fn run(root: &Path, port: u16, command: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let galo = program::galo().parent().unwrap().to_owned();
    let path = std::env::join_paths([galo].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut shell = Command::new("sh");
    for name in program::foreign() {
        shell.env_remove(name);
    }
    shell.args(["-e", "-c", command]).current_dir(root).env("PATH", path);
    // The stack has the name that deploy/.env gives it.
    shell.env_remove("COMPOSE_PROJECT_NAME").env("PORT", port.to_string());
    assert!(shell.status().unwrap().success(), "{command}");
}

/// The status line and the body of a GET, on a connection of its own.
fn get(port: u16, path: &str) -> Option<String> {
    get_with(port, path, "Host: project\r\n")
}

/// The same with these headers.
fn get_with(port: u16, path: &str, headers: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub fn a_project_of_its_own_comes_up_and_swaps(compose: &Compose) {
    // Given a project outside of this repository, and the base images that are in use here,
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(NAME);
    run(folder.path(), compose.port, &format!("galo init {NAME}"));
    if let Ok(base) = fs::read_to_string(compose::folder().join(".env")) {
        let own = fs::read_to_string(root.join("deploy/.env")).unwrap();
        fs::write(root.join("deploy/.env"), own + &base).unwrap();
    }
    // when its stack is brought up, then nginx passes on what its nodes answer;
    let up = Up(compose.elsewhere(&root.join("deploy"), NAME));
    run(&root, compose.port, "deploy/up");
    let asked = || get(compose.port, "/greetings/1").unwrap_or_default();
    until("the project answers", || asked().contains("{\"text\":\"hello, world\"}"));
    let unknown = get(compose.port, "/nowhere").unwrap();
    assert!(unknown.contains("404") && unknown.contains("there is nothing here"), "{unknown}");
    // when its SQL, its handler and its manifest change, then all are live without a restart, in nginx too.
    let edit = |path: &str, from: &str, to: &str| edit(&root, path, from, to);
    edit("galo.toml", "[messages]\n", "[messages]\nmalformed_request = \"what is this\"\n");
    edit("sql/procedures/greeting.sql", "SELECT g.text", "SELECT upper(g.text)");
    edit("handlers/greeting/src/lib.rs", "Response::json(200, &row)", "Response::json(203, &row)");
    edit("handlers/greeting/examples/found.json", "\"status\": 200", "\"status\": 203");
    let before = up.0.run(&["ps", "-q"]).unwrap();
    run(&root, compose.port, "deploy/up migrate handlers");
    until("the change is live", || {
        let answer = asked();
        answer.starts_with("HTTP/1.1 203") && answer.contains("HELLO, WORLD")
    });
    for node in ["node-1", "node-2"] {
        let id = up.0.run(&["ps", "-q", node]).unwrap();
        assert!(!id.is_empty() && before.contains(&id), "{node} was restarted");
    }
    // A request without a host is one that nginx itself refuses.
    until("nginx reads its files again", || {
        get_with(compose.port, "/", "").is_some_and(|answer| answer.contains("what is this"))
    });
    secrets_reach_the_nodes(&root, compose.port);
}

/// Given a handler that returns the secrets of its config, then they are those of `secrets/`, and a file is followed.
fn secrets_reach_the_nodes(root: &Path, port: u16) {
    run(root, port, "galo new keys --route 'GET /keys' && rm handlers/keys/examples/*");
    edit(root, "handlers/keys/src/lib.rs", "request.parameters", "request.config");
    let manifest = fs::read_to_string(root.join("galo.toml")).unwrap();
    let secrets = "config = { key = { file = \"secrets/files/key\" }, name = { variable = \"SHOP_NAME\" } }\n\
                   claims = \"optional\"\n\n\
                   [token]\nsecret = { file = \"secrets/files/token\" }\nalgorithms = [\"HS256\"]\n";
    fs::write(root.join("galo.toml"), manifest + secrets).unwrap();
    let secrets = root.join("secrets/files");
    run(root, port, "umask 077 && mkdir -p secrets/files && echo SHOP_NAME=x >secrets/variables");
    fs::write(secrets.join("key"), "first\n").unwrap();
    fs::write(secrets.join("token"), [b'x'; 32]).unwrap();
    run(root, port, "chmod 600 secrets/files/* && deploy/up");
    let keys = |headers: &str| get_with(port, "/keys", &format!("Host: project\r\n{headers}")).unwrap_or_default();
    until("the secrets are there", || keys("").ends_with(r#"{"key":"first","name":"x"}"#));
    let refused = keys("Authorization: Bearer x.y.z\r\n");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    fs::write(secrets.join("new"), "second\n").unwrap();
    run(root, port, "cd secrets/files && chmod a+r new && mv new key");
    until("the changed file is followed", || keys("").ends_with(r#"{"key":"second","name":"x"}"#));
    // Others of this machine cannot read them, and git does not see them.
    let mode = fs::metadata(root.join("secrets")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    run(root, port, "git init -q . && git add -A && test -z \"$(git ls-files secrets/files secrets/variables)\"");
}

/// Replaces a text in a file of the project.
fn edit(root: &Path, path: &str, from: &str, to: &str) {
    let text = fs::read_to_string(root.join(path)).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(root.join(path), text.replace(from, to)).unwrap();
}
