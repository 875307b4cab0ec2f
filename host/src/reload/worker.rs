//! Compiles and verifies components off the threads that serve: with a compiler, and with one thread of low priority
//! for everything else that takes a core for a while. Nothing here changes what serves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};

use super::compiling::{Asker, Compiling, Form, Progress};
use super::folder::aside;
use super::source::Source;
use super::values;
use super::verify::{Examples, read, read_examples};
use crate::config::Sources;
use crate::gate::Gates;
use crate::guest::{Compiled, Compiler, ComponentError, Declared, Digest, Grants};
use crate::manifest::{Entry, Mistake, TokenEntry};
use crate::registry::{Config, Refusal, Stage};
use crate::state::State;
use crate::token::Verifier;
use crate::trust::{self, Trust, Untrusted};
use crate::{file, limits};

/// Compiles and verifies components. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    compiler: Compiler,
    compiling: Arc<Compiling>,
    pub(super) sources: Arc<Sources>,
    /// The keys of which one must have signed what serves, if there are any.
    pub(super) trust: Option<Arc<Trust>>,
    /// What candidates are compared on, and what came out.
    pub gates: Arc<Gates>,
    /// Sends work to one thread of low priority: verifying must not take the cores from requests.
    aside: mpsc::Sender<Work>,
}

type Work = Box<dyn FnOnce() + Send>;

/// How much of the machine the work may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// Nothing serves yet: use all cores, and wait for the compilers.
    Start,
    /// Requests are served at the same time.
    Background,
}

/// Why there is no verified component.
#[derive(Debug)]
pub(super) enum Without {
    /// It was rejected.
    Refused(Refusal),
    /// It is being compiled; the watch is notified when it has ended.
    Compiling,
}

fn unreadable(error: &file::Unreadable) -> Refusal {
    let refusal = Refusal::new(Stage::Signature, format!("its signature: {error}"));
    Refusal { passing: error.may_pass(), ..refusal }
}

impl From<Refusal> for Without {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Worker {
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(compiler: Compiler, sources: Sources, trust: Option<Arc<Trust>>) -> anyhow::Result<Self> {
        let (aside, mut queue) = mpsc::channel::<Work>(1);
        let work = move || {
            // On Linux this applies to the calling thread alone. If it fails, verifying competes with requests for the
            // cores.
            let _ = rustix::process::setpriority_process(None, limits::RELOAD_NICENESS);
            while let Some(work) = queue.blocking_recv() {
                work();
            }
        };
        let thread = std::thread::Builder::new().name("reload".to_owned()).stack_size(limits::WORKER_STACK_BYTES);
        thread.spawn(work).context("cannot start the thread that verifies")?;
        let (compiling, sources, gates) = (Arc::default(), Arc::new(sources), Arc::default());
        Ok(Self { compiler, compiling, sources, trust, gates, aside })
    }

    /// Sets the handle that is notified when something was compiled.
    pub(super) fn notify(&self, news: Arc<Notify>) {
        self.compiling.notify(news);
    }

    /// Runs work that takes a core for a while, off the threads that serve.
    ///
    /// # Errors
    /// When it is not done in time. The work is left to end by itself; until then no other work of this thread begins.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (done, outcome) = oneshot::channel();
        let runtime = Handle::current();
        let work = move || {
            // wasmtime-wasi looks for the current runtime.
            let _inside = runtime.enter();
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        };
        let (limit, work) = match priority {
            Priority::Start => {
                tokio::task::spawn_blocking(work);
                (limits::VERIFY_START_TIMEOUT, None)
            }
            Priority::Background => (limits::VERIFY_TIMEOUT, Some(Box::new(work) as Work)),
        };
        let outcome = async {
            if let Some(work) = work {
                // The thread ends with the last worker.
                let _ = self.aside.send(work).await;
            }
            outcome.await
        };
        match tokio::time::timeout(limit, outcome).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(_) => Err(Refusal::new(Stage::Fit, "panic while it was verified")),
            // The machine may be busy, or the thread may still run earlier work that timed out.
            Err(_) => Err(Refusal::new(Stage::Fit, format!("not verified within {} s", limit.as_secs())).passing()),
        }
    }

    /// Reads the file of a handler, and checks its signature if the node has keys.
    pub(super) async fn read(&self, priority: Priority, entry: &Entry) -> Result<Source, Refusal> {
        let asked = entry.clone();
        let read = move || {
            let path = &asked.component;
            // Before the component: who replaces both in this order is not refused for a component that is newer.
            let signature = trust::beside(path).map_err(|error| unreadable(&error))?;
            read(&asked).map(|bytes| Source::signed(bytes, signature))
        };
        let source = self.ask(priority, Stage::Read, read).await??;
        self.check(Asker::Component, entry, &source)?;
        Ok(source)
    }

    /// The component that the state folder has, if it is there, with its signature checked as that of a file.
    pub(super) async fn kept(
        &self,
        priority: Priority,
        entry: &Entry,
        state: &Arc<State>,
        sha256: &str,
    ) -> Result<Option<Source>, Refusal> {
        let (state, sha256) = (Arc::clone(state), sha256.to_owned());
        let read = move || {
            let bytes = state.component(&sha256, |bytes| Digest::of(bytes).to_string()).map_err(|error| {
                let text = format!("the proved component of the state cannot be read: {error}");
                Refusal::new(Stage::Read, text).passing()
            })?;
            let signature = state.signature(&sha256).map_err(|error| unreadable(&error))?;
            Ok(bytes.map(|bytes| Source::signed(bytes, signature)))
        };
        let source = self.ask(priority, Stage::Read, read).await??;
        source.iter().try_for_each(|source| self.check(Asker::Kept, entry, source))?;
        Ok(source)
    }

    /// Checks that one of the keys, if the node has any, has signed this component for this entry.
    pub(super) fn check(&self, asker: Asker, entry: &Entry, source: &Source) -> Result<(), Refusal> {
        let Some(trust) = &self.trust else { return Ok(()) };
        let statement = entry.statement(&source.digest.to_string());
        let refuse = |untrusted: Untrusted| {
            Refusal::new(Stage::Signature, format!("{}: {untrusted}", asker.shown(entry))).of(source.digest)
        };
        trust.check(statement.as_bytes(), source.signature()).map_err(refuse)
    }

    /// The compiled form of a component, if the cache has it.
    pub(super) fn find(&self, digest: Digest) -> Option<Compiled> {
        self.compiler.find(digest)
    }

    /// Reads the config of a handler.
    pub(super) async fn config(&self, priority: Priority, entry: &Entry) -> Result<Config, Refusal> {
        let (entry, sources) = (entry.clone(), Arc::clone(&self.sources));
        self.ask(priority, Stage::Config, move || values::config(&entry, &sources)).await?
    }

    /// Reads the keys that tokens are verified with.
    pub(super) async fn token(&self, priority: Priority, entry: &TokenEntry) -> Result<Option<Verifier>, Mistake> {
        let (line, sources) = (Some(entry.line), Arc::clone(&self.sources));
        let entry = entry.clone();
        let read = self.ask(priority, Stage::Manifest, move || values::token(&entry, &sources)).await;
        read.unwrap_or_else(|refusal| {
            Err(Mistake { outside: true, ..Mistake::new(line, format!("[token]: {}", refusal.message)) })
        })
    }

    /// Reads the examples of a handler.
    pub(super) async fn examples(&self, priority: Priority, entry: &Entry) -> Examples {
        let entry = entry.clone();
        self.ask(priority, Stage::Examples, move || read_examples(&entry)).await?
    }

    /// Calls the file system. While the node serves, one that hangs must not hold the thread that verifies.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        priority: Priority,
        stage: Stage,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        match priority {
            Priority::Start => self.run(priority, ask).await,
            Priority::Background => aside(ask).await.map_err(|cause| Refusal::new(stage, cause).passing()),
        }
    }

    /// The compiled form of a handler's component, from the cache or newly compiled. While the node serves, the
    /// compiler is not waited for.
    pub(super) async fn compile(
        &self,
        priority: Priority,
        asker: Asker,
        entry: &Entry,
        source: Source,
    ) -> Result<Form, Without> {
        let Source { digest, bytes, .. } = source;
        let what = asker.shown(entry);
        let refuse = |error: &ComponentError| {
            let refusal = Refusal::new(Stage::Compile, format!("{what}: {error}")).of(digest);
            Refusal { passing: error.may_pass(), ..refusal }
        };
        match self.compiling.progress(&entry.name, asker, digest) {
            Some(Progress::Ended((Ok(compiled), took))) => return Ok((compiled, took)),
            Some(Progress::Ended((Err(error), _))) => return Err(refuse(&error).into()),
            Some(Progress::UnderWay) => return Err(Without::Compiling),
            None => {}
        }
        let begun = Instant::now();
        let (compiler, grants, allowed) = (self.compiler.clone(), Grants { wasi: entry.wasi }, entry.limits);
        let (bytes, checked, found) = self
            .run(priority, move || {
                let declared = Declared::read(&bytes);
                let checked = declared.map_or(Ok(()), |declared| declared.check(grants, &allowed));
                let found = checked.is_ok().then(|| compiler.find(digest)).flatten();
                (bytes, checked, found)
            })
            .await?;
        checked.map_err(|error| Refusal::new(Stage::Fit, error.to_string()).of(digest))?;
        if let Some(found) = found {
            // Another component of this handler may still be compiling for the asker.
            self.settle(asker, &entry.name);
            return Ok((found, begun.elapsed()));
        }
        match priority {
            Priority::Start => match self.compiler.compile(digest, &bytes, 0).await {
                Ok(compiled) => Ok((compiled, begun.elapsed())),
                Err(error) => Err(refuse(&error).into()),
            },
            Priority::Background => {
                self.compiling.begin(&self.compiler, &entry.name, asker, digest, bytes.to_vec());
                Err(Without::Compiling)
            }
        }
    }

    /// Forgets the asker's component of a handler, and ends its compiler unless another asker waits for it.
    pub(super) fn settle(&self, asker: Asker, handler: &str) {
        self.compiling.retain(asker, |name| name != handler);
    }

    /// As `settle`, for all handlers except the wanted ones.
    pub(super) fn retain(&self, asker: Asker, wanted: impl Fn(&str) -> bool) {
        self.compiling.retain(asker, wanted);
    }
}
