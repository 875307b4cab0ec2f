//! Supervises the tasks of a node. A task that ends unexpectedly is noticed, whether it returned, panicked or was
//! cancelled. If it is vital, the node is no longer live, drains and exits with a failure. If it holds no state, it is
//! restarted.
//!
//! `serve` starts the tasks and decides which are vital. `admin` shows their status.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::limits;

/// Watches the tasks of one node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Supervisor(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The running tasks by name. For a restarted task, this is the current run.
    running: Mutex<HashMap<&'static str, AbortHandle>>,
    /// Set once tasks may end.
    ending: AtomicBool,
    death: OnceLock<Death>,
    died: CancellationToken,
    restarts: AtomicU64,
}

/// A task that ended unexpectedly.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    /// The task.
    pub task: &'static str,
    /// How it ended.
    pub how: &'static str,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the task `{}` {}, and the node cannot do without it", self.task, self.how)
    }
}

impl Supervisor {
    /// Starts a vital task. If it ends unexpectedly, the node ends.
    pub fn vital(&self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let handle = self.begin(task, work);
        self.note(task, handle.abort_handle());
        handle
    }

    /// Starts a task that holds no state that a later run would need. If it ends unexpectedly, it is restarted after a
    /// pause.
    pub fn renewed<F>(&self, task: &'static str, work: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let supervisor = self.clone();
        // This run ends together with its supervising task.
        let mut run = tokio::task::JoinSet::new();
        self.note(task, run.spawn(work()));
        self.begin(task, async move {
            loop {
                let how = match run.join_next().await {
                    Some(Err(error)) if error.is_panic() => "panicked",
                    Some(Err(_)) => "was cancelled",
                    Some(Ok(())) | None => "returned",
                };
                supervisor.0.restarts.fetch_add(1, Ordering::Relaxed);
                tracing::error!(task, "a task {how}; restarting it");
                tokio::time::sleep(limits::TASK_RESTART_PAUSE).await;
                supervisor.note(task, run.spawn(work()));
            }
        })
    }

    /// The task that ended unexpectedly, if any.
    pub fn death(&self) -> Option<Death> {
        self.0.death.get().copied()
    }

    /// Resolves when a vital task has ended unexpectedly.
    pub async fn died(&self) -> Death {
        loop {
            self.0.died.cancelled().await;
            // The value is set before the signal is sent.
            if let Some(death) = self.death() {
                return death;
            }
        }
    }

    /// How often tasks were restarted.
    pub fn restarts(&self) -> u64 {
        self.0.restarts.load(Ordering::Relaxed)
    }

    /// Allows every task to end, because the node ends.
    pub fn expect_ends(&self) {
        self.0.ending.store(true, Ordering::Relaxed);
    }

    /// Cancels the current run of a task. It counts as expected only after `expect_ends`.
    pub fn cancel(&self, task: &str) {
        if let Some(run) = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).get(task) {
            run.abort();
        }
    }

    fn begin(&self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        // The alarm is created outside the task, so that a task cancelled before its first poll has one too.
        let alarm = Alarm { supervisor: self.clone(), task, how: "was cancelled" };
        tokio::spawn(async move {
            let mut alarm = alarm;
            work.await;
            alarm.how = "returned";
        })
    }

    fn note(&self, task: &'static str, run: AbortHandle) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).insert(task, run);
    }
}

/// Dropped when its task ends, for any reason.
struct Alarm {
    supervisor: Supervisor,
    task: &'static str,
    how: &'static str,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let shared = &self.supervisor.0;
        if shared.ending.load(Ordering::Relaxed) {
            return;
        }
        let how = if std::thread::panicking() { "panicked" } else { self.how };
        let death = Death { task: self.task, how };
        tracing::error!("{death}");
        // Only the first one is kept, because it is the cause.
        let _ = shared.death.set(death);
        shared.died.cancel();
    }
}

/// Runs the work of a thread until it returns. After a panic the work is restarted at once.
pub fn unending(thread: &'static str, mut work: impl FnMut()) {
    while catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
        tracing::error!(thread, "a thread panicked; restarting its work");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_end_of_a_vital_task_is_noticed() {
        for (how, end) in [("returned", 0), ("panicked", 1), ("was cancelled", 2)] {
            let supervisor = Supervisor::default();
            supervisor.vital("one", async move {
                match end {
                    0 => {}
                    1 => panic!("asked for"),
                    _ => std::future::pending().await,
                }
            });
            if end == 2 {
                supervisor.cancel("one");
            }
            let death = supervisor.died().await;
            assert_eq!((death.task, death.how), ("one", how));
        }
    }

    #[tokio::test]
    async fn an_end_that_was_asked_for_is_none() {
        let supervisor = Supervisor::default();
        let task = supervisor.vital("one", std::future::pending());
        supervisor.expect_ends();
        supervisor.cancel("one");
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(supervisor.death().is_none());
    }

    #[tokio::test]
    async fn a_renewed_task_is_begun_again_after_each_end() {
        let supervisor = Supervisor::default();
        let (sender, mut runs) = tokio::sync::mpsc::unbounded_channel();
        let task = supervisor.renewed("one", move || {
            let sender = sender.clone();
            async move {
                sender.send(()).unwrap();
                panic!("asked for");
            }
        });
        for _ in 0..2 {
            runs.recv().await.unwrap();
        }
        assert!(supervisor.restarts() >= 1 && supervisor.death().is_none());
        // The supervising task of a restarted task is vital.
        task.abort();
        assert_eq!(supervisor.died().await.how, "was cancelled");
    }

    #[test]
    fn a_thread_that_panics_goes_on() {
        let mut runs = 0;
        unending("one", || {
            runs += 1;
            assert!(runs == 3, "asked for");
        });
        assert_eq!(runs, 3);
    }
}
