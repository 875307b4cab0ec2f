//! What is being compiled beside what serves: one component for each handler, the newest. A newer one takes its place
//! and ends its compiler. A look does not wait for any of them: it asks, and hears through the watch when it may ask
//! again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::guest::{Compiled, Compiler, Digest, Refusal};
use crate::limits;

/// The components that are being compiled, and what became of those that were not asked for since.
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
type Outcome = (Result<Compiled, Arc<Refusal>>, Duration);

impl Compiling {
    /// Who is told of each end.
    pub(super) fn tell(&self, news: Arc<Notify>) {
        // There is one reloader.
        let _ = self.news.set(news);
    }

    /// What became of compiling this component of a handler. Nothing yet: then it is under way, and any other component
    /// of that handler no longer is.
    pub(super) fn ask(
        self: &Arc<Self>,
        compiler: &Compiler,
        handler: &str,
        source: (Digest, Vec<u8>),
    ) -> Option<Outcome> {
        let (digest, bytes) = source;
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = jobs.get(handler).filter(|job| job.digest == digest) {
            let outcome = job.outcome.get()?.clone();
            // What may pass is tried again with the next question, not remembered.
            if outcome.0.as_ref().is_err_and(|refusal| refusal.may_pass()) {
                jobs.remove(handler);
            }
            return Some(outcome);
        }
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
        jobs.insert(handler.to_owned(), Job { digest, outcome, _task: AbortOnDropHandle::new(task) });
        None
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
