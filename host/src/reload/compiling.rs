//! What is being compiled beside what serves: one component for each handler, the newest. A newer one takes its place
//! and ends its compiler. A look does not wait for any of them: it asks how far they are, and hears through the watch
//! when it may ask again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::guest::{Compiled, Compiler, Digest, Refusal};
use crate::limits;

/// The components that are being compiled, and what became of each, until it is settled.
#[derive(Default)]
pub(super) struct Compiling {
    jobs: Mutex<HashMap<String, Job>>,
    places: Places,
    /// Who looks again when one has ended.
    news: OnceLock<Arc<Notify>>,
}

/// How many compilers run at once.
struct Places {
    all: Arc<Semaphore>,
    /// The first moments of each, alone.
    turn: Arc<Semaphore>,
}

struct Job {
    digest: Digest,
    outcome: Arc<OnceLock<Outcome>>,
    _task: AbortOnDropHandle<()>,
}

/// What became of a compiler, and after what time.
pub(super) type Outcome = (Result<Compiled, Arc<Refusal>>, Duration);

/// How far a component is.
pub(super) enum Progress {
    UnderWay,
    Ended(Outcome),
}

impl Compiling {
    /// Who is told of each end.
    pub(super) fn tell(&self, news: Arc<Notify>) {
        // There is one reloader.
        let _ = self.news.set(news);
    }

    /// How far the compiling of this component of a handler is; nothing when it was not begun.
    pub(super) fn progress(&self, handler: &str, digest: Digest) -> Option<Progress> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = jobs.get(handler).filter(|job| job.digest == digest)?;
        Some(job.outcome.get().cloned().map_or(Progress::UnderWay, Progress::Ended))
    }

    /// Begins to compile a component of a handler. Any other component of it no longer is.
    pub(super) fn begin(self: &Arc<Self>, compiler: &Compiler, handler: &str, digest: Digest, bytes: Vec<u8>) {
        let outcome = Arc::new(OnceLock::new());
        let task = tokio::spawn({
            let (compiling, compiler, outcome) = (Arc::clone(self), compiler.clone(), Arc::clone(&outcome));
            async move {
                let begun = Instant::now();
                let compiled = compiling.places.compile(&compiler, digest, bytes).await.map_err(Arc::new);
                let _ = outcome.set((compiled, begun.elapsed()));
                if let Some(news) = compiling.news.get() {
                    news.notify_one();
                }
            }
        });
        let job = Job { digest, outcome, _task: AbortOnDropHandle::new(task) };
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(handler.to_owned(), job);
    }

    /// Forgets what was compiled for a handler, and ends what is under way.
    pub(super) fn settle(&self, handler: &str) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(handler);
    }

    /// The same for all handlers but some.
    pub(super) fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).retain(|handler, _| wanted(handler));
    }
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(limits::COMPILERS_MAX)), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Places {
    async fn compile(&self, compiler: &Compiler, digest: Digest, bytes: Vec<u8>) -> Result<Compiled, Refusal> {
        // Neither is ever closed.
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let _place = Arc::clone(&self.all).acquire_owned().await;
        let mut compile = std::pin::pin!(compiler.compile(digest, &bytes, limits::RELOAD_NICENESS));
        match tokio::time::timeout(limits::COMPILE_TURN, &mut compile).await {
            Ok(done) => done,
            Err(_) => {
                drop(turn);
                compile.await
            }
        }
    }
}
