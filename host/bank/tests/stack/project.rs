//! The stack of a project that `galo init` makes, with the command that its README names.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use galo_bank::compose::{self, Compose};
use galo_testing::program;

use crate::stack::until;

/// Taken down with its volumes and images when it is dropped.
struct Up(Compose);

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.0.run(&["logs", "--tail", "20"]).unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(std::io::stderr(), "{logs}");
        }
        if let Err(error) = self.0.run(&["down", "--volumes", "--rmi", "local"]) {
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
    shell.env("COMPOSE_PROJECT_NAME", "galo-project").env("PORT", port.to_string());
    assert!(shell.status().unwrap().success(), "{command}");
}

/// The status line and the body of a GET, on a connection of its own.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: project\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub fn a_project_of_its_own_comes_up_and_swaps(compose: &Compose) {
    // Given a project outside of this repository, and the base images that are in use here,
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("shop");
    run(folder.path(), compose.port, "galo init shop");
    let base = compose::folder().join(".env");
    if base.is_file() {
        fs::copy(base, root.join("deploy/.env")).unwrap();
    }
    // when its stack is brought up, then nginx passes on what its nodes answer;
    let up = Up(compose.elsewhere(&root.join("deploy"), "galo-project"));
    run(&root, compose.port, "deploy/up");
    let asked = || get(compose.port, "/greetings/1").unwrap_or_default();
    until("the project answers", || asked().contains("{\"text\":\"hello, world\"}"));
    let unknown = get(compose.port, "/nowhere").unwrap();
    assert!(unknown.contains("404") && unknown.contains("there is nothing here"), "{unknown}");
    // when its SQL and its handler change, then both are live without a restart.
    let edit = |path: &str, from: &str, to: &str| {
        let text = fs::read_to_string(root.join(path)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(root.join(path), text.replace(from, to)).unwrap();
    };
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
}
