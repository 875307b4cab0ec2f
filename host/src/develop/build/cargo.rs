//! Runs Cargo in a process group of its own, so that it and its compilers can be killed. Its progress and its errors go
//! to the terminal as they come.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use cargo_metadata::{Artifact, Message};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::log;

/// Ends a build early, from another thread: Cargo and its compilers are killed.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requested: AtomicBool,
    /// The process group of the build under way.
    group: Mutex<Option<Pid>>,
}

impl Cancel {
    /// Ends the build under way, and any that would follow.
    pub fn cancel(&self) {
        self.0.requested.store(true, Ordering::Relaxed);
        self.kill();
    }

    /// Whether builds are to end.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// Allows builds again.
    pub fn rearm(&self) {
        self.0.requested.store(false, Ordering::Relaxed);
    }

    fn kill(&self) {
        let group = self.0.group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = *group {
            // It may just have ended by itself.
            let _ = killpg(group, Signal::SIGTERM);
        }
    }

    fn watch(&self, child: &Child) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        *self.0.group.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        if self.is_requested() {
            self.kill();
        }
        Ok(())
    }

    fn unwatch(&self) {
        *self.0.group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Runs `cargo ARGUMENTS` for some crates of a workspace. Returns what it built, fresh or not.
pub(super) fn run(
    root: &Path,
    arguments: &[&str],
    crates: &[String],
    cancel: &Cancel,
) -> anyhow::Result<Vec<Artifact>> {
    // The Cargo that runs us knows its toolchain.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(&program);
    cargo.current_dir(root).args(arguments).args(["--message-format", "json-render-diagnostics"]);
    cargo.args(crates.iter().flat_map(|name| ["--package", name]));
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().with_context(|| {
            format!("cannot run {}; install Rust with rustup (https://rustup.rs)", program.display())
        })?;
    cancel.watch(&child)?;
    let mut artifacts = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for message in Message::parse_stream(std::io::BufReader::new(stdout)) {
            match message? {
                Message::CompilerArtifact(artifact) => artifacts.push(artifact),
                Message::TextLine(line) => log::line(&line),
                _ => {}
            }
        }
    }
    let status = child.wait()?;
    cancel.unwatch();
    match status.success() {
        true => Ok(artifacts),
        false if cancel.is_requested() => bail!("the build was stopped"),
        false => bail!("the build failed ({status})"),
    }
}
