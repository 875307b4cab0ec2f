//! One container of the stack: what is done to it, and its processes as this machine sees them.

use std::time::{Duration, Instant};

use galo_bank::compose::{Compose, docker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a test waits for something to happen before it says that it did not.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that gives no event; a look is a program that is started.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

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

    /// SIGKILL to its first process, and so to all of them, without Docker being asked: as the kernel does it when
    /// memory is short. Returns when Docker has started it again, which compose.yaml asks for (`restart`).
    pub fn crash(&self) {
        let before = self.pid();
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        until(&format!("{} runs again", self.name), || ![0, before].contains(&self.pid()));
    }

    /// SIGKILL by Docker, which leaves it dead then.
    pub fn kill(&self) {
        docker(&["kill", &self.id]).unwrap();
    }

    /// SIGTERM, or what the image has in its place; the drain has to be graceful.
    pub fn stop(&self) {
        docker(&["stop", &self.id]).unwrap();
        assert_eq!(self.inspect("{{.State.ExitCode}}"), "0", "the drain of {} was not graceful", self.name);
    }

    pub fn start(&self) {
        docker(&["start", &self.id]).unwrap();
    }

    /// Freezes all of its processes.
    pub fn pause(&self) {
        docker(&["pause", &self.id]).unwrap();
    }

    pub fn unpause(&self) {
        docker(&["unpause", &self.id]).unwrap();
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
        std::thread::sleep(LOOK_EVERY);
    }
}
