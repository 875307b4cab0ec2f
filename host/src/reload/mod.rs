//! Loads the handlers of a manifest, and keeps a node's registry true to their folder while it serves: components,
//! examples, the manifest itself. A newcomer is verified first and then put live by storing one pointer; what is
//! refused changes nothing, and is tried again when its files change.
//!
//! Requests do not wait for anything here. Run by `serve`, for as long as the node lives.

mod stamp;
mod table;
mod verify;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::stamp::Stamp;
use self::verify::{Haste, Proved, Times};
use crate::limits;
use crate::manifest::{self, Entry};
use crate::registry::{Handler, Refusal, Stage};
use crate::request::Node;

pub use self::table::load;
pub use self::verify::Workbench;
pub use self::watch::Watch;

/// Keeps one node's registry true.
pub struct Reloader {
    node: Arc<Node>,
    folder: PathBuf,
    bench: Workbench,
    watch: Watch,
    orders: Arc<Orders>,
    manifest: Stamp,
    handlers: HashMap<String, Stamp>,
}

/// What others ask of a reloader.
#[derive(Default)]
pub struct Orders {
    /// The procedures may have changed.
    database: Mutex<bool>,
    /// What the build took whose result is in the folder.
    built: Mutex<Option<Duration>>,
    /// Held by a look, and by who puts files there that belong together.
    folder: tokio::sync::Mutex<()>,
    news: Arc<Notify>,
}

impl Orders {
    /// Looks every procedure up again, and prepares their statements anew.
    pub fn procedures_changed(&self) {
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.news.notify_one();
    }

    /// Puts what a build made into the folder, which is looked at when all of it is there. The build took this long.
    /// Waits for a look under way; not for threads that serve.
    ///
    /// # Errors
    /// Those of `put`.
    pub fn publish(&self, took: Duration, put: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let _no_look = self.folder.blocking_lock();
        *self.built.lock().unwrap_or_else(PoisonError::into_inner) = Some(took);
        let done = put();
        self.news.notify_one();
        done
    }
}

impl Reloader {
    /// A reloader of what was loaded from this folder a moment ago.
    pub fn new(node: Arc<Node>, folder: PathBuf, bench: Workbench) -> Self {
        let watch = Watch::new(vec![folder.clone()]);
        let orders = Arc::new(Orders { news: watch.news(), ..Orders::default() });
        // Nothing is stamped yet: what changed between the first load and now is found by the first look.
        Self { node, folder, bench, watch, orders, manifest: Stamp::default(), handlers: HashMap::new() }
    }

    /// To ask something of it while it runs.
    pub fn orders(&self) -> Arc<Orders> {
        Arc::clone(&self.orders)
    }

    /// Looks whenever something may have changed. Runs until it is dropped.
    pub async fn run(mut self) {
        loop {
            self.look().await;
            // Not every change is told, and a procedure that was missing comes without a word.
            if tokio::time::timeout(limits::WATCH_INTERVAL, self.watch.changed()).await.is_err() {
                self.watch.renew();
            }
        }
    }

    /// One look at everything.
    async fn look(&mut self) {
        let orders = Arc::clone(&self.orders);
        let _whole = orders.folder.lock().await;
        let database = std::mem::take(&mut *self.orders.database.lock().unwrap_or_else(PoisonError::into_inner));
        let built = self.orders.built.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stamp = Stamp::of(&self.folder.join(manifest::FILE_NAME));
        let again = self.node.registry.refusal().is_some_and(|refusal| refusal.stage == Stage::Procedures);
        if database || again || stamp != self.manifest {
            self.manifest = stamp;
            self.follow_manifest(database).await;
        }
        let table = self.node.registry.table();
        self.handlers.retain(|name, _| table.handler(name).is_some());
        for handler in &table.handlers {
            let stamp = Stamp::of_handler(&handler.entry);
            let again = handler.refusal().is_some_and(|refusal| refusal.stage == Stage::Procedures);
            if again || self.handlers.get(&handler.entry.name) != Some(&stamp) {
                // Before it is read: what is written meanwhile makes another stamp.
                self.handlers.insert(handler.entry.name.clone(), stamp);
                self.follow_component(handler, built).await;
            }
        }
    }

    /// The manifest, all or nothing.
    async fn follow_manifest(&mut self, database: bool) {
        let registry = &self.node.registry;
        let replaced = match manifest::read(&self.folder) {
            Ok(manifest) => table::replace(&self.node, &self.bench, &manifest, database).await,
            Err(refused) => Err(Refusal::new(Stage::Manifest, refused.to_string())),
        };
        match replaced {
            Ok(changes) => {
                if registry.refusal().is_some() {
                    tracing::info!("the manifest is taken again");
                }
                registry.note(None);
                for change in &changes {
                    tracing::info!("{change}");
                }
                // A handler that changed with the manifest is looked at again under its new terms.
                let table = registry.table();
                self.handlers.retain(|name, _| !changes.iter().any(|change| change.concerns(name)));
                self.handlers.retain(|name, _| table.handler(name).is_some());
            }
            Err(refusal) => note(registry.refusal().as_deref(), refusal, |refusal| {
                tracing::error!(stage = %refusal.stage, "manifest REFUSED, the old one stays: {}", refusal.message);
                registry.note(Some(refusal));
            }),
        }
    }

    /// The component of one handler.
    async fn follow_component(&self, handler: &Arc<Handler>, built: Option<Duration>) {
        let refusal = match self.candidate(handler).await {
            Ok(Some(Proved { component, times })) => {
                let begun = Instant::now();
                let generation = handler.swap(component);
                let swap = begun.elapsed();
                handler.metrics.swaps.inc();
                let (name, number) = (&handler.entry.name, generation.number);
                let sha256 = generation.component.compiled.digest;
                tracing::info!(%sha256, "{name}: generation {number} live — {}", line(built, times, swap));
                return;
            }
            // What was refused is gone from the folder.
            Ok(None) => return handler.note(None),
            Err(refusal) => refusal,
        };
        note(handler.refusal().as_deref(), refusal, |refusal| {
            let (name, number) = (&handler.entry.name, handler.lineage().current.number);
            let sha256 = refusal.digest.map(|digest| digest.to_string()).unwrap_or_default();
            let Refusal { stage, message, .. } = &refusal;
            tracing::error!(%stage, sha256, "{name}: candidate REFUSED, generation {number} stays: {message}");
            handler.metrics.refusals.inc();
            handler.note(Some(refusal));
        });
    }

    /// What the folder holds for a handler, verified; nothing when that is what serves, or was taken back.
    async fn candidate(&self, handler: &Arc<Handler>) -> Result<Option<Proved>, Refusal> {
        let bytes = verify::read(&handler.entry)?;
        let digest = crate::guest::Digest::of(&bytes);
        let lineage = handler.lineage();
        if lineage.rolled_back.as_ref().is_some_and(|back| back.digest == digest) {
            return Ok(None);
        }
        let current = Arc::clone(&lineage.current);
        drop(lineage);
        let handler = Arc::clone(handler);
        if current.component.compiled.digest == digest {
            // The examples may be what changed: what serves goes on, but it is told.
            let examples = move |_: &Workbench| {
                verify::examples(&current.component, &handler.entry, &handler.procedures)
                    .map_err(|refusal| refusal.of(digest))
            };
            return self.bench.run(Haste::Aside, examples).await?.map(|()| None);
        }
        for procedure in &handler.procedures {
            let now = self.node.database.describe(&procedure.name).await;
            let refuse = |message: String| Refusal::new(Stage::Procedures, message).of(digest);
            if now.map_err(|unusable| refuse(unusable.to_string()))? != **procedure {
                return Err(refuse(format!("the procedure `{}` has changed", procedure.name)));
            }
        }
        let prove = move |bench: &Workbench| bench.prove(&handler.entry, &handler.procedures, &bytes);
        self.bench.run(Haste::Aside, prove).await?.map(Some)
    }
}

/// A refusal that was told is not told again; that it is retried is nobody's news.
fn note(old: Option<&Refusal>, new: Refusal, tell: impl FnOnce(Refusal)) {
    let same = |old: &Refusal| old.stage == new.stage && old.message == new.message && old.digest == new.digest;
    if !old.is_some_and(same) {
        tell(new);
    }
}

/// `build 1.2 s, compile 80 ms, verify 6 ms, swap 2 µs`
fn line(built: Option<Duration>, times: Times, swap: Duration) -> String {
    let build = built.map(|took| format!("build {:.1} s, ", took.as_secs_f64())).unwrap_or_default();
    let compile = if times.cached { "compiled form found in" } else { "compile" };
    let (compiled, verify) = (times.compile.as_secs_f64() * 1e3, times.verify.as_secs_f64() * 1e3);
    let swap = swap.as_secs_f64() * 1e6;
    format!("{build}{compile} {compiled:.0} ms, verify {verify:.1} ms, swap {swap:.0} µs")
}

/// Whether an entry says the same, wherever it stands in its file.
fn same_terms(old: &Entry, new: &Entry) -> bool {
    Entry { line: new.line, ..old.clone() } == *new
}
