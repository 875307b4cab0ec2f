//! One container of the stack, and its processes as this machine sees them.

use std::time::{Duration, Instant};

use anyhow::ensure;
use galo_bank::compose::{Compose, docker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a test waits for something to happen before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two checks of something that gives no event; each check starts a program.
pub const POLL_EVERY: Duration = Duration::from_millis(50);

/// A container.
pub struct Container {
    /// Its service in compose.yaml.
    pub name: &'static str,
    pub id: String,
}

impl Container {
    pub fn of(compose: &Compose, name: &'static str) -> anyhow::Result<Self> {
        Ok(Self { name, id: compose.run(&["ps", "-q", name])? })
    }

    /// SIGKILL to its first process, and so to all of them, past Docker: as the kernel does it when memory is short.
    /// Returns when Docker has started it again, which compose.yaml asks for (`restart`).
    pub fn crash(&self) -> anyhow::Result<()> {
        let before = self.pid();
        kill(Pid::from_raw(before), Signal::SIGKILL)?;
        until(&format!("{} runs again", self.name), || ![0, before].contains(&self.pid()));
        Ok(())
    }

    /// SIGTERM, or what the image has in its place; the drain has to be graceful.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.docker("stop")?;
        let code = self.inspect("{{.State.ExitCode}}");
        ensure!(code == "0", "the drain of {} was not graceful: it ended with {code}", self.name);
        Ok(())
    }

    /// Runs one of docker's commands for a container: `kill` leaves it dead, `pause` freezes all of its processes.
    pub fn docker(&self, command: &str) -> anyhow::Result<()> {
        docker(&[command, &self.id]).map(drop)
    }

    /// Runs a program in it.
    pub fn exec(&self, command: &[&str]) -> anyhow::Result<String> {
        docker(&[&["exec", &self.id], command].concat())
    }

    /// The children of its first process.
    pub fn children(&self) -> Vec<String> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// Its first process, or 0 while there is none.
    fn pid(&self) -> i32 {
        self.inspect("{{.State.Pid}}").parse().unwrap()
    }

    fn inspect(&self, what: &str) -> String {
        docker(&["inspect", "-f", what, &self.id]).unwrap()
    }
}

/// Waits until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(POLL_EVERY);
    }
}
