//! From what the manifest says of a handler to a component that may serve: read, compile, fit, procedures, examples.
//! The first step that fails is the refusal. Nothing here changes what serves.
//!
//! Called by the parent for the first load and for every reload. The steps that take time run on threads of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rayon::ThreadPool;

use crate::database::Procedure;
use crate::guest::component::compile;
use crate::guest::{Cache, Compiled, Component, Digest, Engine, Grants};
use crate::manifest::Entry;
use crate::registry::{Refusal, Stage};
use crate::{example, file, limits};

/// What components are compiled with.
#[derive(Clone)]
pub struct Workbench {
    engine: Engine,
    cache: Option<Cache>,
    /// One thread of low priority: compiling must not take the cores from requests.
    aside: Arc<ThreadPool>,
}

/// What verifying gave, and what it took.
pub(super) struct Proved {
    pub(super) component: Component,
    pub(super) times: Times,
}

/// What the steps took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) compile: Duration,
    /// The compiled form was found.
    pub(super) cached: bool,
    /// Fit, procedures and examples.
    pub(super) verify: Duration,
}

/// How much of the machine the work may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// Nothing serves yet: all cores.
    Start,
    /// Requests are served beside it.
    Aside,
}

impl Workbench {
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(engine: &Engine, cache: Option<Cache>) -> anyhow::Result<Self> {
        let aside = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "reload".to_owned())
            .start_handler(|_| {
                // On Linux this is the calling thread alone. Without it a swap is only less polite.
                let _ = rustix::process::setpriority_process(None, limits::RELOAD_NICENESS);
            })
            .build()
            .context("cannot start the thread that compiles")?;
        Ok(Self { engine: engine.clone(), cache, aside: Arc::new(aside) })
    }

    /// Runs work that takes a core for a while, off the threads that serve.
    ///
    /// # Errors
    /// When it is not done in time. It is left to end by itself; until then no other is begun.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        haste: Haste,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let bench = self.clone();
        let runtime = tokio::runtime::Handle::current();
        let task = tokio::task::spawn_blocking(move || {
            let work = || {
                // A guest with WASI looks for the runtime.
                let _inside = runtime.enter();
                work(&bench)
            };
            match haste {
                Haste::Start => work(),
                Haste::Aside => bench.aside.install(work),
            }
        });
        let limit = match haste {
            Haste::Start => limits::VERIFY_START_TIMEOUT,
            Haste::Aside => limits::VERIFY_TIMEOUT,
        };
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panic)) => Err(Refusal::new(Stage::Compile, format!("panic of the compiler: {panic}"))),
            // The machine may be busy; or the compiler is, with one that was given up before.
            Err(_) => Err(Refusal::new(Stage::Compile, format!("not verified within {} s", limit.as_secs())).passing()),
        }
    }

    /// Compiles bytes that were proved before.
    pub(super) fn compile(&self, bytes: &[u8]) -> Result<Compiled, Refusal> {
        compile(&self.engine, bytes, self.cache.as_ref())
            .map_err(|refusal| Refusal::new(Stage::Compile, refusal.to_string()).of(Digest::of(bytes)))
    }

    /// Proves the bytes of a component. Takes a core for as long as compiling takes.
    pub(super) fn prove(&self, entry: &Entry, procedures: &[Arc<Procedure>], bytes: &[u8]) -> Result<Proved, Refusal> {
        let begun = Instant::now();
        let compiled = self.compile(bytes)?;
        let (compile, begun) = (begun.elapsed(), Instant::now());
        let component = refit(&compiled, entry, procedures)?;
        let times = Times { compile, cached: compiled.cached, verify: begun.elapsed() };
        Ok(Proved { component, times })
    }
}

/// Proves a compiled component under what a manifest says.
pub(super) fn refit(compiled: &Compiled, entry: &Entry, procedures: &[Arc<Procedure>]) -> Result<Component, Refusal> {
    let digest = compiled.digest;
    let component = compiled
        .fit(Grants { wasi: entry.wasi }, entry.limits)
        .map_err(|refusal| Refusal { passing: refusal.is_late(), ..Refusal::new(Stage::Fit, refusal.to_string()) })
        .map_err(|refusal| refusal.of(digest))?;
    examples(&component, entry, procedures).map_err(|refusal| refusal.of(digest))?;
    Ok(component)
}

/// Runs the examples of a handler on a component.
pub(super) fn examples(component: &Component, entry: &Entry, procedures: &[Arc<Procedure>]) -> Result<(), Refusal> {
    let refuse = |message: String| Refusal::new(Stage::Examples, message);
    let examples = example::read(entry).map_err(|error| refuse(format!("{error:#}")))?;
    example::check_all(&examples, entry, component, Some(procedures)).map_err(refuse)
}

/// Proves a component that is only there to go back to: it did not write the examples of the one after it.
pub(super) fn refit_previous(compiled: &Compiled, entry: &Entry) -> Option<Component> {
    compiled.fit(Grants { wasi: entry.wasi }, entry.limits).ok()
}

/// Reads the file of a component.
pub(super) fn read(entry: &Entry) -> Result<Vec<u8>, Refusal> {
    let path = &entry.component;
    file::read(path, limits::COMPONENT_BYTES_MAX).map_err(|error| {
        let refusal = Refusal::new(Stage::Read, format!("{}: {error}", path.display()));
        // A file that is there and cannot be read now may be read later.
        if matches!(error, file::Unreadable::Failed(_)) { refusal.passing() } else { refusal }
    })
}
