//! Loads the handlers of a manifest, and keeps a node's registry true to their folder while it serves: components,
//! examples, the manifest itself. A newcomer is verified first and then put live by storing one pointer; what is
//! refused changes nothing, and is tried again when its files change, or when it may have passed by itself.
//!
//! Requests do not wait for anything here, and nothing here blocks a thread that serves. Run by `serve`, for as long as
//! the node lives.

mod compiling;
mod component;
mod order;
mod retry;
mod stamp;
mod table;
mod verify;
mod watch;
mod workbench;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use self::retry::Retry;
use self::stamp::Stamp;
use self::workbench::Without;
use crate::limits;
use crate::manifest::{self, Entry};
use crate::registry::{Refusal, Stage};
use crate::request::Node;

pub use self::table::load;
pub use self::verify::read;
pub use self::watch::Watch;
pub use self::workbench::Workbench;

/// Keeps one node's registry true.
pub struct Reloader {
    node: Arc<Node>,
    folder: PathBuf,
    bench: Workbench,
    watch: Watch,
    orders: Arc<Orders>,
    manifest: Seen,
    /// The handlers of a manifest that was not taken, with their files: one of them may be what was wrong.
    refused: Vec<Entry>,
    /// The procedures must be looked up again; stays until that was done.
    database: bool,
    handlers: HashMap<String, Seen>,
}

/// What something looked like when it was last tried, and when it is tried again though it looks the same.
#[derive(Default)]
struct Seen {
    stamp: Stamp,
    retry: Retry,
    /// What the build took that it came from, while it is compiled.
    built: Option<Duration>,
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

/// What one look at the files gave.
struct Look {
    manifest: Stamp,
    handlers: Vec<Stamp>,
}

impl Reloader {
    /// A reloader of what was loaded from this folder a moment ago.
    pub fn new(node: Arc<Node>, folder: PathBuf, bench: Workbench) -> Self {
        let watch = Watch::new(vec![folder.clone()]);
        bench.tell(watch.news());
        let orders = Arc::new(Orders { news: watch.news(), ..Orders::default() });
        Self {
            node,
            folder,
            bench,
            watch,
            orders,
            // Nothing was seen yet: what changed between the first load and now is found by the first look.
            manifest: Seen::default(),
            refused: Vec::new(),
            database: false,
            handlers: HashMap::new(),
        }
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
        let mut ordered = std::mem::take(&mut *orders.database.lock().unwrap_or_else(PoisonError::into_inner));
        ordered |= self.node.database.has_changed();
        self.database |= ordered;
        let built = orders.built.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Before anything is read: what is written meanwhile makes another stamp.
        let path = self.folder.join(manifest::FILE_NAME);
        let Some(Look { manifest, .. }) = stamps(path.clone(), self.refused.clone()).await else { return };
        if ordered || self.manifest.stamp != manifest || self.manifest.retry.is_due() {
            self.manifest.stamp = manifest.first();
            self.follow_manifest(path.clone()).await;
        }
        let table = self.node.registry.table();
        let entries = table.handlers.iter().map(|handler| handler.entry.clone()).collect();
        let Some(Look { handlers, .. }) = stamps(path, entries).await else { return };
        for (handler, stamp) in table.handlers.iter().zip(handlers) {
            let seen = self.handlers.entry(handler.entry.name.clone()).or_default();
            if seen.stamp == stamp && !seen.retry.is_due() {
                continue;
            }
            seen.stamp = stamp;
            let built = built.or(seen.built.take());
            match component::follow(&self.node, &self.bench, handler, built).await {
                Ok(()) => seen.retry.passed(),
                // What else there is does not wait for it.
                Err(Without::Compiling) => {
                    seen.built = built;
                    seen.retry.soon();
                }
                Err(Without::Refused(refusal)) => {
                    // The terms are what is old: the manifest is held against the database again, and then this.
                    if refusal.stage == Stage::Procedures {
                        self.orders.procedures_changed();
                    }
                    seen.retry.after(&refusal);
                }
            }
        }
    }

    /// The manifest, all or nothing.
    async fn follow_manifest(&mut self, path: PathBuf) {
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || manifest::read(&folder)).await;
        let manifest = match read {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(refused)) => return self.refuse(Refusal::new(Stage::Manifest, refused.to_string()), Vec::new()),
            Err(panic) => return self.refuse(Refusal::new(Stage::Manifest, panic.to_string()), Vec::new()),
        };
        // Of its handlers too, before they are read: of a manifest that is refused one of them may be what changes.
        if let Some(Look { handlers, .. }) = stamps(path, manifest.handlers.clone()).await {
            self.manifest.stamp = self.manifest.stamp.first().with(&handlers);
        }
        let entries = manifest.handlers.clone();
        match table::replace(&self.node, &self.bench, &manifest, self.database).await {
            Ok(changes) => {
                if self.node.registry.refusal().is_some() {
                    tracing::info!("the manifest is taken again");
                }
                self.node.registry.note(None);
                self.database = false;
                self.manifest.retry.passed();
                // What was noted of its files is noted of each handler from here on.
                self.manifest.stamp = self.manifest.stamp.first();
                self.refused = Vec::new();
                changes.iter().for_each(|change| tracing::info!("{change}"));
                // A handler that changed with the manifest is looked at again under its new terms.
                let table = self.node.registry.table();
                let there: HashSet<_> = table.handlers.iter().map(|handler| handler.entry.name.as_str()).collect();
                let changed: HashSet<_> = changes.iter().map(table::Change::name).collect();
                self.handlers.retain(|name, _| there.contains(name.as_str()) && !changed.contains(name.as_str()));
            }
            // The old table serves, and its handlers are followed meanwhile.
            Err(Without::Compiling) => {
                self.refused = entries;
                self.manifest.retry.soon();
            }
            Err(Without::Refused(refusal)) => self.refuse(refusal, entries),
        }
    }

    fn refuse(&mut self, refusal: Refusal, entries: Vec<Entry>) {
        let registry = &self.node.registry;
        self.manifest.retry.after(&refusal);
        self.refused = entries;
        if refusal.is_news_after(registry.refusal().as_deref()) {
            tracing::error!(stage = %refusal.stage, "manifest REFUSED, the old one stays: {}", refusal.message);
            registry.note(Some(refusal));
        }
    }
}

/// What the manifest and the files of some handlers look like: of the manifest's stamp they are a part.
async fn stamps(manifest: PathBuf, entries: Vec<Entry>) -> Option<Look> {
    let look = tokio::task::spawn_blocking(move || {
        let handlers: Vec<_> = entries.iter().map(Stamp::of_handler).collect();
        Look { manifest: Stamp::of(&manifest).with(&handlers), handlers }
    });
    look.await.inspect_err(|panic| tracing::error!(%panic, "the folder could not be looked at")).ok()
}

/// Whether an entry says the same, wherever it stands in its file.
fn same_terms(old: &Entry, new: &Entry) -> bool {
    Entry { line: new.line, ..old.clone() } == *new
}
