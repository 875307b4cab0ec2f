//! What components are compiled and proved with, off the threads that serve: a compiler, and one thread of low priority
//! for everything else that takes a core for a while. Nothing here changes what serves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};

use super::compiling::{Asker, Compiling, Form, Progress};
use super::folder::aside;
use super::verify::{Examples, read, read_examples};
use crate::guest::{Compiler, ComponentError, Digest};
use crate::limits;
use crate::manifest::Entry;
use crate::registry::{Refusal, Stage};

/// What components are compiled and proved with.
#[derive(Clone)]
pub struct Worker {
    compiler: Compiler,
    compiling: Arc<Compiling>,
    /// To one thread of low priority: proving must not take the cores from requests.
    aside: mpsc::Sender<Work>,
}

type Work = Box<dyn FnOnce() + Send>;

/// How much of the machine the work may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// Nothing serves yet: all cores, and what is compiled is waited for.
    Start,
    /// Requests are served beside it.
    Background,
}

/// Why there is no verified component.
#[derive(Debug)]
pub(super) enum Without {
    /// It is refused.
    Refused(Refusal),
    /// It is being compiled; the watch hears of its end.
    Compiling,
}

/// The component that the file of a handler holds.
pub(super) struct Source {
    pub(super) digest: Digest,
    bytes: Vec<u8>,
}

impl Source {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes }
    }
}

impl From<Refusal> for Without {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Worker {
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(compiler: Compiler) -> anyhow::Result<Self> {
        let (aside, mut queue) = mpsc::channel::<Work>(1);
        let work = move || {
            // On Linux this is the calling thread alone. Without it a swap is only less polite.
            let _ = rustix::process::setpriority_process(None, limits::RELOAD_NICENESS);
            while let Some(work) = queue.blocking_recv() {
                work();
            }
        };
        let thread = std::thread::Builder::new().name("reload".to_owned()).stack_size(limits::WORKER_STACK_BYTES);
        thread.spawn(work).context("cannot start the thread that verifies")?;
        Ok(Self { compiler, compiling: Arc::default(), aside })
    }

    /// Who is told when something was compiled.
    pub(super) fn tell(&self, news: Arc<Notify>) {
        self.compiling.tell(news);
    }

    /// Runs work that takes a core for a while, off the threads that serve.
    ///
    /// # Errors
    /// When it is not done in time. It is left to end by itself; until then no other is begun.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (done, outcome) = oneshot::channel();
        let runtime = Handle::current();
        let work = move || {
            // A guest with WASI looks for the runtime.
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
            // The machine may be busy; or the thread is, with one that was given up before.
            Err(_) => Err(Refusal::new(Stage::Fit, format!("not verified within {} s", limit.as_secs())).passing()),
        }
    }

    /// Reads the file of a handler.
    pub(super) async fn read(&self, priority: Priority, entry: &Entry) -> Result<Source, Refusal> {
        let entry = entry.clone();
        self.ask(priority, Stage::Read, move || read(&entry).map(Source::of)).await?
    }

    /// Reads the examples of a handler.
    pub(super) async fn examples(&self, priority: Priority, entry: &Entry) -> Examples {
        let entry = entry.clone();
        self.ask(priority, Stage::Examples, move || read_examples(&entry)).await?
    }

    /// Asks the file system. Beside what serves, one that hangs must not hold the thread that verifies.
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

    /// The compiled form of a handler's component: found, or else compiled. Beside what serves it is not waited for.
    pub(super) async fn compile(
        &self,
        priority: Priority,
        asker: Asker,
        entry: &Entry,
        source: Source,
    ) -> Result<Form, Without> {
        let Source { digest, bytes } = source;
        let what = match asker {
            Asker::Kept => "the proved component of the state".to_owned(),
            Asker::Manifest | Asker::Component => entry.component.display().to_string(),
        };
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
        let compiler = self.compiler.clone();
        if let Some(found) = self.run(priority, move || compiler.find(digest)).await? {
            // Another component of this handler may still be under way for it.
            self.settle(asker, &entry.name);
            return Ok((found, begun.elapsed()));
        }
        match priority {
            Priority::Start => match self.compiler.compile(digest, &bytes, 0).await {
                Ok(compiled) => Ok((compiled, begun.elapsed())),
                Err(error) => Err(refuse(&error).into()),
            },
            Priority::Background => {
                self.compiling.begin(&self.compiler, &entry.name, asker, digest, bytes);
                Err(Without::Compiling)
            }
        }
    }

    /// Forgets what was compiled of a handler for an asker, and ends what is under way for it alone.
    pub(super) fn settle(&self, asker: Asker, handler: &str) {
        self.compiling.retain(asker, |name| name != handler);
    }

    /// The same of all handlers but some.
    pub(super) fn retain(&self, asker: Asker, wanted: impl Fn(&str) -> bool) {
        self.compiling.retain(asker, wanted);
    }
}
