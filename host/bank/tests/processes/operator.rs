//! `galo` as an operator runs it against the nodes of a stack.

use std::path::PathBuf;
use std::process::Stdio;

use galo::report::AuditEntry;
use galo_testing::program;
use tokio::process::{Child, Command};

use crate::node::Node;
use crate::stack::Stack;

/// What an operator deploys.
pub struct Deploy<'a> {
    pub component: &'a [u8],
    /// `20%,100%`.
    pub steps: &'a str,
    pub hold: &'a str,
    /// `refuse` or `report`.
    pub differences: &'a str,
    pub why: &'a str,
}

/// Who deploys.
pub const WHO: &str = "ana@bank";

/// The handler that is deployed.
pub const HANDLER: &str = "transacoes";

impl Deploy<'_> {
    /// Starts `galo deploy` to all nodes of a stack.
    pub fn start(&self, stack: &Stack) -> Child {
        let Self { component, steps, hold, differences, why } = self;
        let file: PathBuf = stack.folder.path().join("deployed.wasm");
        std::fs::write(&file, component).unwrap();
        let to = stack.nodes.iter().map(Node::admin_address).collect::<Vec<_>>().join(",");
        let mut command = Command::from(program::command());
        command.args(["deploy", HANDLER]).arg(file).args(["--to", &to, "--canary", steps, "--hold", hold]);
        command.args(["--by", "request", "--differences", differences, "--who", WHO, "--why", why]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// Runs it to its end.
    pub async fn run(&self, stack: &Stack) -> Ended {
        ended(self.start(stack)).await
    }
}

/// How a command has ended.
#[derive(Debug)]
pub struct Ended {
    pub success: bool,
    /// What it printed, its errors at the end.
    pub text: String,
}

/// Waits for the end of a command.
pub async fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    Ended { success: output.status.success(), text }
}

/// Runs `galo ARGUMENTS --admin NODE`, which must succeed.
pub async fn run(node: &Node, arguments: &[&str]) -> String {
    let mut command = Command::from(program::command());
    command.args(arguments).args(["--admin", &node.admin_address()]).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the audit log of a node has about a component.
pub async fn story(node: &Node, sha256: &str) -> Vec<AuditEntry> {
    let lines = run(node, &["audit", HANDLER, "--last", "1000", "--json"]).await;
    let entries = lines.lines().map(|line| serde_json::from_str::<AuditEntry>(line).unwrap());
    entries.filter(|entry| entry.sha256.as_deref() == Some(sha256)).collect()
}
