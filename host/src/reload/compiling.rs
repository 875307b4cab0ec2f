//! What is being compiled beside what serves: for each handler and each asker one component, the newest. A newer one
//! takes its place and ends its compiler, unless another asker waits for the same bytes. A scan does not wait for any
//! of them: it asks how far they are, and hears through the watch when it may ask again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::guest::{Compiled, Compiler, ComponentError, Digest};
use crate::limits;

/// The components that are being compiled, and what became of each, until it is settled.
#[derive(Default)]
pub(super) struct Compiling {
    jobs: Mutex<Jobs>,
    places: Places,
    /// Who looks again when one has ended.
    news: OnceLock<Arc<Notify>>,
}

/// By the name of their handler.
type Jobs = HashMap<String, Vec<(Asker, Arc<Job>)>>;

/// How many compilers run at once.
struct Places {
    all: Arc<Semaphore>,
    /// The first moments of each, alone.
    turn: Arc<Semaphore>,
}

/// Who asks for the compiled form of a component: none of them ends what another one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A manifest that is to be taken.
    Manifest,
    /// A handler that serves, whose file changed.
    Component,
    /// The same manifest, for what the state has proved.
    Kept,
}

struct Job {
    digest: Digest,
    outcome: Arc<OnceLock<Outcome>>,
    _task: AbortOnDropHandle<()>,
}

/// What became of a compiler, and after what time.
pub(super) type Outcome = (Result<Compiled, Arc<ComponentError>>, Duration);

/// A component's compiled form, and the time until it was there.
pub(super) type Form = (Compiled, Duration);

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

    /// How far the compiling of this component of a handler is; nothing when it was not begun. What another asker began
    /// is the asker's too from here on, unless it failed: that may have passed.
    pub(super) fn progress(&self, handler: &str, asker: Asker, digest: Digest) -> Option<Progress> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.get_mut(handler)?;
        let mut same = jobs.iter().filter(|(_, job)| job.digest == digest);
        let own = same.clone().find(|(other, _)| *other == asker);
        let found = own.or_else(|| same.find(|(_, job)| !job.failed())).map(|(_, job)| Arc::clone(job))?;
        jobs.retain(|(other, _)| *other != asker);
        jobs.push((asker, Arc::clone(&found)));
        Some(found.outcome.get().cloned().map_or(Progress::UnderWay, Progress::Ended))
    }

    /// Begins to compile a component of a handler. Any other component of it that was compiled for the asker no longer
    /// is.
    pub(super) fn begin(
        self: &Arc<Self>,
        compiler: &Compiler,
        handler: &str,
        asker: Asker,
        digest: Digest,
        bytes: Vec<u8>,
    ) {
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
        let job = Arc::new(Job { digest, outcome, _task: AbortOnDropHandle::new(task) });
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.entry(handler.to_owned()).or_default();
        jobs.retain(|(other, _)| *other != asker);
        jobs.push((asker, job));
    }

    /// Forgets what was compiled for an asker, but of some handlers, and ends what is under way for it alone.
    pub(super) fn retain(&self, asker: Asker, wanted: impl Fn(&str) -> bool) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).retain(|handler, jobs| {
            if !wanted(handler) {
                jobs.retain(|(other, _)| *other != asker);
            }
            !jobs.is_empty()
        });
    }
}

impl Job {
    fn failed(&self) -> bool {
        self.outcome.get().is_some_and(|(compiled, _)| compiled.is_err())
    }
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(limits::COMPILERS_MAX)), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Places {
    async fn compile(&self, compiler: &Compiler, digest: Digest, bytes: Vec<u8>) -> Result<Compiled, ComponentError> {
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
