//! What a guard waits for, in one queue: the end of its parent, a signal, the end of its child.

use std::io::{self, Read};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use super::stop::{self, Stop};

/// Something that a guard reacts to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The parent has ended, or a signal asks us to end.
    Leave,
    /// The child has ended. There is one at a time.
    Ended(ExitStatus),
}

/// We were asked to leave before we were ready. Not a failure.
#[derive(Debug, thiserror::Error)]
#[error("stopped while starting")]
pub(super) struct Left;

/// The queue. At most one event from each of two watchers, and one from each child, is ever in it.
pub(super) struct Events {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    running: Arc<AtomicUsize>,
}

impl Events {
    /// Begins to watch stdin and the signals. Must be called on the main thread before there is any other: a signal
    /// that one thread has not blocked ends the process.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let events = Self::new();
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        // Postgres sets a mask of its own; initdb is ended by SIGKILL if need be.
        signals.thread_block().context("cannot block signals")?;
        let (signalled, closed) = (events.sender.clone(), events.sender.clone());
        thread::spawn(move || {
            // The receiver is gone when we are leaving already.
            let _ = signals.wait().map(|_| signalled.send(Event::Leave));
        });
        thread::spawn(move || {
            // What is read means nothing; a failure to read is as good as the end.
            let mut buffer = [0; 64];
            while matches!(io::stdin().read(&mut buffer), Ok(1..)) {}
            let _ = closed.send(Event::Leave);
        });
        Ok(events)
    }

    /// The queue alone, which has only the ends of children.
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { sender, receiver, running: Arc::default() }
    }

    /// Starts a child whose end becomes an event.
    pub(super) fn spawn(&self, command: &mut Command) -> anyhow::Result<Pid> {
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let (ended, running) = (self.sender.clone(), Arc::clone(&self.running));
        running.fetch_add(1, Ordering::SeqCst);
        thread::spawn(move || {
            if let Ok(status) = child.wait() {
                running.fetch_sub(1, Ordering::SeqCst);
                // The receiver is gone when we are leaving already.
                let _ = ended.send(Event::Ended(status));
            }
        });
        Ok(pid)
    }

    /// Ends the child by one signal after the other, unless it has ended.
    pub(super) fn stop(&self, pid: Pid, stops: &[Stop]) {
        // A child that was waited for has lost its pid.
        if self.running.load(Ordering::SeqCst) > 0 {
            stop::stop(pid, stops, |bound| matches!(self.next(bound), Some(Event::Ended(_))));
        }
    }

    /// The next event, if there is one in time.
    pub(super) fn next(&self, bound: Duration) -> Option<Event> {
        self.receiver.recv_timeout(bound).ok()
    }

    /// The next event, whenever it comes.
    pub(super) fn wait(&self) -> Event {
        // We hold a sender ourselves, so the queue is never closed.
        self.receiver.recv().unwrap_or(Event::Leave)
    }
}
