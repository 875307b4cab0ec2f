//! Runs a program in a process group of its own, so that it and everything it starts can be ended together.

use std::io::{self, PipeReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::limits;

/// Ends a build early, from another thread: its programs and everything they started are killed.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requested: AtomicBool,
    /// The process groups of the build under way.
    groups: Mutex<Vec<Pid>>,
    /// Notified when a group has ended.
    ended: Condvar,
}

impl Cancel {
    /// Ends the build under way, and any that would follow.
    pub fn cancel(&self) {
        self.0.requested.store(true, Ordering::Relaxed);
        for group in self.groups().iter() {
            signal(*group, Signal::SIGTERM);
        }
    }

    /// Whether builds are to end.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// Allows builds again.
    pub fn rearm(&self) {
        self.0.requested.store(false, Ordering::Relaxed);
    }

    /// Waits until no program of a build runs; [`Self::cancel`] comes first. A program that ignores SIGTERM is killed.
    pub fn wait(&self) {
        let timeout = limits::BUILD_KILL_AFTER + limits::BUILD_POLL;
        let running = |groups: &mut Vec<Pid>| !groups.is_empty();
        let waited = self.0.ended.wait_timeout_while(self.groups(), timeout, running);
        let (groups, _) = waited.unwrap_or_else(PoisonError::into_inner);
        groups.iter().for_each(|group| signal(*group, Signal::SIGKILL));
    }

    fn groups(&self) -> MutexGuard<'_, Vec<Pid>> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process group until it has ended.
struct Group<'a> {
    id: Pid,
    cancel: &'a Cancel,
}

impl<'a> Group<'a> {
    fn new(child: &Child, cancel: &'a Cancel) -> io::Result<Self> {
        let id = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        cancel.groups().push(id);
        // It may have been requested while the program was started.
        if cancel.is_requested() {
            signal(id, Signal::SIGTERM);
        }
        Ok(Self { id, cancel })
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.cancel.groups().retain(|id| *id != self.id);
        self.cancel.0.ended.notify_all();
    }
}

/// Runs a program to its end while `read` reads from the pipe that it writes to. After a cancel, or when it takes too
/// long, the whole group is killed. A process that it left in the background holds the pipe open, and is ended too.
///
/// # Errors
/// When the program cannot be started or waited for.
pub(super) fn run<T: Send>(
    mut command: Command,
    output: PipeReader,
    cancel: &Cancel,
    read: impl FnOnce(PipeReader) -> T + Send,
) -> io::Result<(ExitStatus, T)> {
    if cancel.is_requested() {
        return Err(io::Error::other("the build was stopped"));
    }
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    // It holds the other end of the pipe.
    drop(command);
    let group = Group::new(&child, cancel)?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read(output));
        let status = wait(&mut child, &group);
        if cancel.is_requested() || status.is_err() {
            signal(group.id, Signal::SIGKILL);
        }
        let since = Instant::now();
        while !reader.is_finished() {
            if since.elapsed() > limits::BUILD_KILL_AFTER {
                signal(group.id, Signal::SIGKILL);
            }
            std::thread::sleep(limits::BUILD_POLL);
        }
        let read = reader.join().map_err(|_| io::Error::other("the output of the build cannot be read"))?;
        Ok((status?, read))
    })
}

/// Waits for the end of the program itself.
fn wait(child: &mut Child, group: &Group<'_>) -> io::Result<ExitStatus> {
    let begun = Instant::now();
    let mut cancelled = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if group.cancel.is_requested() {
            let since: &mut Instant = cancelled.get_or_insert_with(Instant::now);
            if since.elapsed() > limits::BUILD_KILL_AFTER {
                signal(group.id, Signal::SIGKILL);
            }
        }
        if begun.elapsed() > limits::BUILD_TIMEOUT {
            signal(group.id, Signal::SIGKILL);
            child.wait()?;
            let minutes = limits::BUILD_TIMEOUT.as_secs() / 60;
            return Err(io::Error::other(format!("it did not end within {minutes} minutes, and was killed")));
        }
        std::thread::sleep(limits::BUILD_POLL);
    }
}

/// The group may just have ended by itself.
fn signal(group: Pid, signal: Signal) {
    let _ = killpg(group, signal);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::Duration;

    use super::*;

    fn shell(script: &str, cancel: &Cancel) -> (bool, String) {
        let (output, writer) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(writer);
        let read = |mut output: PipeReader| {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            text
        };
        let (status, text) = run(command, output, cancel, read).unwrap();
        (status.success(), text)
    }

    #[test]
    fn a_program_left_in_the_background_delays_nothing() {
        let begun = Instant::now();
        assert_eq!(shell("sleep 3600 & echo done", &Cancel::default()), (true, "done\n".to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_cancel_ends_the_whole_group_also_one_that_ignores_sigterm() {
        let cancel = Cancel::default();
        let running = std::thread::spawn({
            let cancel = cancel.clone();
            move || shell("trap '' TERM; sleep 3600 & wait; while :; do sleep 1; done", &cancel)
        });
        while cancel.groups().is_empty() {
            std::thread::sleep(limits::BUILD_POLL);
        }
        let group = cancel.groups()[0];
        cancel.cancel();
        cancel.wait();
        assert!(!running.join().unwrap().0);
        // An orphan is reaped a moment later.
        while killpg(group, None).is_ok() {
            std::thread::sleep(limits::BUILD_POLL);
        }
        // Nothing is started afterwards.
        let (output, _) = io::pipe().unwrap();
        assert!(run(Command::new("true"), output, &cancel, drop).is_err());
    }
}
