//! Slow calls. A call that needs more than its slice runs again, from the start, on a separate thread of low priority,
//! so that a guest that loops does not keep the thread that serves others. A generation has a few such threads. While
//! all of them are taken and another call has overrun, the generation is closed: further calls are refused before they
//! cost a slice.
//!
//! Each generation of `registry` holds one. The work must be pure, because it has been run in part before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};

use crate::limits;

/// The threads of all generations together.
static THREADS: Semaphore = Semaphore::const_new(limits::SLOW_THREADS_MAX);

/// Where the slow calls of one generation run.
#[derive(Debug)]
pub struct Aside {
    slots: Arc<Semaphore>,
    /// A call overran when no slot was left. Only meaningful while no slot is left.
    wanting: AtomicBool,
    /// Calls that overran their slice.
    overruns: AtomicU64,
}

/// The state that a call finds before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// No call is slow.
    Open,
    /// Some calls are slow.
    Busy,
    /// No slot is left, and a call that needed one did not get it.
    Closed,
}

/// The right to a thread, returned when the call on it has ended.
#[derive(Debug)]
pub struct Slot {
    _of_these: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'static>,
}

impl Default for Aside {
    fn default() -> Self {
        let slots = Arc::new(Semaphore::new(limits::SLOW_CALLS_PER_GENERATION));
        Self { slots, wanting: AtomicBool::new(false), overruns: AtomicU64::new(0) }
    }
}

impl Aside {
    /// The state before a call begins: one atomic load when nothing is slow.
    pub fn room(&self) -> Room {
        match self.slots.available_permits() {
            limits::SLOW_CALLS_PER_GENERATION => Room::Open,
            0 if self.wanting.load(Ordering::Relaxed) => Room::Closed,
            _ => Room::Busy,
        }
    }

    /// Lets other tasks run before another slice of a generation that has slow calls: between two calls that overran
    /// the scheduler always takes a turn, however many begin at once.
    pub async fn turn(&self) {
        for _ in 0..limits::SLOW_TURNS_MAX {
            let before = self.overruns.load(Ordering::Relaxed);
            tokio::task::yield_now().await;
            if self.overruns.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    /// A slot for a call that overran, if there is one.
    pub fn enter(&self) -> Option<Slot> {
        self.overruns.fetch_add(1, Ordering::Relaxed);
        let of_these = Arc::clone(&self.slots).try_acquire_owned().ok();
        self.wanting.store(of_these.is_none(), Ordering::Relaxed);
        // If no thread is free, the slot is returned and the generation stays open: other generations took the threads.
        Some(Slot { _of_these: of_these?, _of_all: THREADS.try_acquire().ok()? })
    }

    /// Waits for a slot for a call that overran and cannot be refused. The calls that hold the slots end at their
    /// deadlines.
    pub async fn wait(&self, until: Instant) -> Option<Slot> {
        if let Some(slot) = self.enter() {
            return Some(slot);
        }
        let both = async {
            let of_these = Arc::clone(&self.slots).acquire_owned().await.ok()?;
            Some(Slot { _of_these: of_these, _of_all: THREADS.acquire().await.ok()? })
        };
        tokio::time::timeout_at(until.into(), both).await.ok().flatten()
    }
}

impl Slot {
    /// Runs work on a separate thread and waits for its result. Returns `None` when the thread could not be started or
    /// the work panicked. Work that nobody waits for any more runs to its end, and keeps its slot until then.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("slow".to_owned()).stack_size(limits::WORKER_STACK_BYTES);
        let started = thread.spawn(move || {
            // On Linux this applies to the calling thread alone. If it fails, slow calls compete with others for the
            // cores.
            let _ = rustix::process::setpriority_process(None, limits::SLOW_NICENESS);
            // wasmtime-wasi looks for the current runtime.
            let _inside = runtime.enter();
            let done = work();
            // Dropped before the answer is sent, so that the slot is free for a request that follows the answer.
            drop(self);
            // Fails when the client has disconnected.
            let _ = sender.send(done);
        });
        if let Err(error) = started {
            tracing::error!(%error, "cannot start a thread for a slow call");
            return None;
        }
        receiver.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_generation_is_closed_only_while_no_slot_is_left_and_more_are_wanted() {
        let aside = Aside::default();
        assert_eq!(aside.room(), Room::Open);
        let mut slots: Vec<_> = (0..limits::SLOW_CALLS_PER_GENERATION).map(|_| aside.enter().unwrap()).collect();
        // Quick calls are served beside slow ones.
        assert_eq!(aside.room(), Room::Busy);
        assert!(aside.enter().is_none());
        assert_eq!(aside.room(), Room::Closed);
        slots.pop();
        assert_eq!(aside.room(), Room::Busy);
        slots.push(aside.enter().unwrap());
        assert_eq!(aside.room(), Room::Busy);
        // A call that cannot be refused waits, but not for ever.
        assert!(aside.wait(Instant::now() + Duration::from_millis(5)).await.is_none());
        assert_eq!(aside.room(), Room::Closed);
        let (waited, ()) = tokio::join!(aside.wait(Instant::now() + Duration::from_secs(60)), async {
            tokio::task::yield_now().await;
            slots.clear();
        });
        drop(waited.unwrap());
        assert_eq!(aside.room(), Room::Open);
    }

    #[tokio::test]
    async fn work_that_panics_returns_nothing_and_frees_its_slot() {
        let aside = Aside::default();
        let slot = aside.enter().unwrap();
        assert_eq!(slot.run(|| -> u8 { panic!("on purpose") }).await, None);
        assert_eq!(aside.room(), Room::Open);
        let on = aside.enter().unwrap().run(|| std::thread::current().name().map(str::to_owned)).await;
        assert_eq!(on.flatten().as_deref(), Some("slow"));
    }
}
