//! Components that are compiled while the node serves: for each handler and each asker one component, the newest. A
//! newer one replaces it and ends its compiler, unless another asker waits for the same bytes. A scan does not wait for
//! any of them: it checks their progress, and the watch wakes the next scan when one has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::guest::{Compiled, Compiler, ComponentError, Digest};
use crate::limits;
use crate::manifest::Entry;

/// The components that are being compiled, and the outcome of each until it is settled.
#[derive(Default)]
pub(super) struct Compiling {
    jobs: Mutex<Jobs>,
    places: Places,
    /// Notified when one has ended.
    news: OnceLock<Arc<Notify>>,
}

/// By the name of their handler.
type Jobs = HashMap<String, Vec<(Asker, Arc<Job>)>>;

/// How many compilers run at once.
struct Places {
    all: Arc<Semaphore>,
    /// Held by each compiler for its first moments, which it runs alone.
    turn: Arc<Semaphore>,
}

/// Who asks for the compiled form of a component. No asker ends a compiler that another one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A manifest that is to be applied.
    Manifest,
    /// A handler that serves, whose file changed.
    Component,
    /// The same manifest, for the proved component of the state.
    Kept,
    /// An operator, who deploys it.
    Deployment,
    /// A shadow, which never serves.
    Shadow,
}

impl Asker {
    /// The component that is asked for, as a refusal names it.
    pub(super) fn shown(self, entry: &Entry) -> String {
        match self {
            Self::Deployment => "the component".to_owned(),
            Self::Kept => "the proved component of the state".to_owned(),
            Self::Shadow => "the component of the shadow".to_owned(),
            Self::Manifest | Self::Component => entry.shown(&entry.component).display().to_string(),
        }
    }
}

struct Job {
    digest: Digest,
    outcome: Arc<OnceLock<Outcome>>,
    _task: AbortOnDropHandle<()>,
}

/// The result of a compiler, and the time it took.
pub(super) type Outcome = (Result<Compiled, Arc<ComponentError>>, Duration);

/// A component's compiled form, and the time until it was there.
pub(super) type Form = (Compiled, Duration);

/// The progress of a component.
pub(super) enum Progress {
    UnderWay,
    Ended(Outcome),
}

impl Compiling {
    /// Sets the handle that is notified when a compiler has ended.
    pub(super) fn notify(&self, news: Arc<Notify>) {
        // Set once: a node has one reloader, and a restarted one has the same handle.
        let _ = self.news.set(news);
    }

    /// The progress of this component of a handler; `None` when it was not begun. A compilation that another asker
    /// began is shared from here on, unless it failed: then the cause may have passed.
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

    /// Begins to compile a component of a handler. It replaces any other component of the handler that was compiled for
    /// the asker.
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

    /// Forgets the asker's components except those of the wanted handlers, and ends compilers that ran only for them.
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
