//! Runs a program in a process group of its own, so that it and everything it starts can be ended together.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
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

/// A process group while its leader is not reaped: until then its number is not given to another one.
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

    /// Waits for the end of its leader, which is not reaped. After a cancel, or when it takes too long, the group is
    /// killed.
    fn wait(&self) -> io::Result<()> {
        let begun = Instant::now();
        let mut cancelled = None;
        while !self.has_ended(WaitPidFlag::WNOHANG)? {
            if self.cancel.is_requested() {
                let since: &mut Instant = cancelled.get_or_insert_with(Instant::now);
                if since.elapsed() > limits::BUILD_KILL_AFTER {
                    signal(self.id, Signal::SIGKILL);
                }
            }
            if begun.elapsed() > limits::BUILD_TIMEOUT {
                signal(self.id, Signal::SIGKILL);
                self.has_ended(WaitPidFlag::empty())?;
                let minutes = limits::BUILD_TIMEOUT.as_secs() / 60;
                return Err(io::Error::other(format!("it did not end within {minutes} minutes, and was killed")));
            }
            std::thread::sleep(limits::BUILD_POLL);
        }
        Ok(())
    }

    fn has_ended(&self, wait: WaitPidFlag) -> io::Result<bool> {
        loop {
            match waitid(Id::Pid(self.id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | wait) {
                Ok(status) => return Ok(status != WaitStatus::StillAlive),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the output of a program that has ended is read. What still holds it open is killed after a while,
    /// or at once. A process outside of the group, such as a daemon, cannot be: its output is given up then.
    fn wait_for_output(&self, is_read: impl Fn() -> bool, given_up: &AtomicBool, at_once: bool) {
        let ended = Instant::now();
        let kill_after = if at_once { Duration::ZERO } else { limits::BUILD_KILL_AFTER };
        let mut killed = false;
        while !is_read() {
            if !killed && ended.elapsed() >= kill_after {
                signal(self.id, Signal::SIGKILL);
                killed = true;
            }
            if ended.elapsed() >= kill_after + limits::BUILD_OUTPUT_AFTER {
                given_up.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(limits::BUILD_POLL);
        }
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.cancel.groups().retain(|id| *id != self.id);
        self.cancel.0.ended.notify_all();
    }
}

/// What a program writes, up to its end; or until it is given up, as if it ended there.
pub(super) struct Output<'a> {
    pipe: PipeReader,
    given_up: &'a AtomicBool,
}

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wait = PollTimeout::try_from(limits::BUILD_POLL).map_err(io::Error::other)?;
        while !self.given_up.load(Ordering::Relaxed) {
            match poll(&mut [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)], wait) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return self.pipe.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }
}

/// Runs a program to its end while `read` reads from the pipe that it writes to. After a cancel, or when it takes too
/// long, the whole group is killed. A process that it left in the background and that holds the pipe open is ended
/// too, or not waited for if it has left the group.
///
/// # Errors
/// When the program cannot be started or waited for.
pub(super) fn run<T: Send>(
    mut command: Command,
    pipe: PipeReader,
    cancel: &Cancel,
    read: impl FnOnce(Output<'_>) -> T + Send,
) -> io::Result<(ExitStatus, T)> {
    if cancel.is_requested() {
        return Err(io::Error::other("the build was stopped"));
    }
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    // It holds the other end of the pipe.
    drop(command);
    let group = Group::new(&child, cancel)?;
    let given_up = AtomicBool::new(false);
    let (ended, read) = std::thread::scope(|scope| {
        let output = Output { pipe, given_up: &given_up };
        let reader = scope.spawn(move || read(output));
        let ended = group.wait();
        let at_once = cancel.is_requested() || ended.is_err();
        group.wait_for_output(|| reader.is_finished(), &given_up, at_once);
        (ended, reader.join())
    });
    // From here on its number may be another's.
    drop(group);
    let status = child.wait();
    if given_up.load(Ordering::Relaxed) {
        tracing::warn!(
            "the build left a process in the background that holds its output open; it still runs, and what it prints is \
             not shown"
        );
    }
    let read = read.map_err(|_| io::Error::other("the output of the build cannot be read"))?;
    ended.and(status).map(|status| (status, read))
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
        let read = |mut output: Output<'_>| {
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
    fn a_daemon_that_holds_the_output_is_not_waited_for_and_what_came_before_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let begun = Instant::now();
        // It has left the group before its parent ends.
        let daemon = format!("setsid sh -c 'echo $$ >{0}.new; mv {0}.new {0}; exec sleep 120' &", pid.display());
        let script = format!("{daemon} until [ -e {} ]; do sleep 0.01; done; echo done", pid.display());
        assert_eq!(shell(&script, &Cancel::default()), (true, "done\n".to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        // It was not a part of the build, so it lives on.
        let daemon = Pid::from_raw(std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap());
        nix::sys::signal::kill(daemon, Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_cancel_waits_for_no_daemon() {
        let cancel = Cancel::default();
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let running = std::thread::spawn({
            let (cancel, pid) = (cancel.clone(), pid.display().to_string());
            move || {
                shell(&format!("setsid sh -c 'echo $$ >{pid}.new; mv {pid}.new {pid}; exec sleep 120' & wait"), &cancel)
            }
        });
        while !pid.exists() {
            std::thread::sleep(limits::BUILD_POLL);
        }
        let begun = Instant::now();
        cancel.cancel();
        cancel.wait();
        assert!(!running.join().unwrap().0);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        let daemon = Pid::from_raw(std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap());
        nix::sys::signal::kill(daemon, Signal::SIGKILL).unwrap();
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
        assert!(run(Command::new("true"), output, &cancel, |_| ()).is_err());
    }
}
