//! Slow calls: what needs more than its slice runs again, from the start, on a thread of its own and of low priority,
//! so that a guest that loops does not keep the thread that serves others. A generation has a few such threads; while
//! all of them are taken and yet another call overran, it is closed: what comes is refused before it costs a slice.
//!
//! Held by each generation of `registry`, used by `request`. What runs is the caller's to say; it must be pure.

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
    /// A call overran when no slot was left. It means something while none is.
    wanting: AtomicBool,
    /// Calls that overran their slice.
    overruns: AtomicU64,
}

/// What a call finds that is about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// No call is slow.
    Open,
    /// Some are.
    Busy,
    /// No slot is left, and a call that wanted one got none.
    Closed,
}

/// The right to a thread, given back when the call on it has ended.
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
    /// What a call finds that is about to begin: one atomic load when nothing is slow.
    pub fn room(&self) -> Room {
        match self.slots.available_permits() {
            limits::SLOW_CALLS_PER_GENERATION => Room::Open,
            0 if self.wanting.load(Ordering::Relaxed) => Room::Closed,
            _ => Room::Busy,
        }
    }

    /// Lets others run before another slice of a generation that has slow calls: between two that overran there is
    /// always a turn of the scheduler, however many begin at once.
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
        // Without a thread its own slot goes back, and it stays open: its calls are not what took them all.
        Some(Slot { _of_these: of_these?, _of_all: THREADS.try_acquire().ok()? })
    }

    /// A slot for a call that overran and cannot be refused, as soon as there is one. Those that hold them all end at
    /// their deadlines.
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
    /// Runs work on a thread of its own, and waits for what it gives: nothing when the thread could not be started, or
    /// the work panicked. Work that nobody waits for any more goes on to its end, and keeps its slot until then.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("slow".to_owned()).stack_size(limits::WORKER_STACK_BYTES);
        let started = thread.spawn(move || {
            // On Linux this is the calling thread alone. Without it a slow call is only less polite.
            let _ = rustix::process::setpriority_process(None, limits::SLOW_NICENESS);
            // A guest with WASI looks for the runtime.
            let _inside = runtime.enter();
            let done = work();
            // Before the answer: whoever gets it and asks again finds the slot free.
            drop(self);
            // The client may have gone.
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
        // One that cannot be refused waits, but not for ever.
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
    async fn work_that_panics_gives_nothing_and_its_slot_back() {
        let aside = Aside::default();
        let slot = aside.enter().unwrap();
        assert_eq!(slot.run(|| -> u8 { panic!("on purpose") }).await, None);
        assert_eq!(aside.room(), Room::Open);
        let on = aside.enter().unwrap().run(|| std::thread::current().name().map(str::to_owned)).await;
        assert_eq!(on.flatten().as_deref(), Some("slow"));
    }
}
