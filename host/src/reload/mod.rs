//! Loads the handlers of a manifest, and keeps a node's registry true to their folder while it serves: components,
//! examples, the manifest itself. A newcomer is verified first and then put live by storing one pointer; what is
//! refused changes nothing, and is tried again when its files change, or when it may have passed by itself.
//!
//! Requests do not wait for anything here, and nothing here blocks a thread that serves. Run by `serve`, for as long as
//! the node lives.

mod assembly;
mod change;
mod compiling;
mod component;
mod fingerprint;
mod fingerprints;
mod folder;
mod order;
mod orders;
mod record;
mod removal;
mod retry;
mod table;
mod verify;
mod watch;
mod worker;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::fingerprint::Fingerprint;
use self::fingerprints::Fingerprints;
use self::folder::aside;
use self::order::is_same_entry;
use self::orders::Asked;
use self::removal::Removal;
use self::retry::Retry;
use self::worker::Without;
use crate::limits;
use crate::manifest::{self, Entry};
use crate::node::Node;
use crate::registry::{Refusal, Stage};
use crate::state::State;

pub use self::orders::Orders;
pub use self::record::{keep, record};
pub use self::table::load;
pub use self::verify::read;
pub use self::watch::Watch;
pub use self::worker::Worker;

/// Keeps one node's registry true.
pub struct Reloader {
    node: Arc<Node>,
    folder: PathBuf,
    worker: Worker,
    watch: Watch,
    fingerprints: Fingerprints,
    orders: Arc<Orders>,
    manifest: Seen,
    /// The handlers of a manifest that was not taken, with their files: one of them may be what was wrong.
    refused: Vec<Entry>,
    /// Not because it is refused: components of it are still compiled.
    compiling: bool,
    /// The procedures must be looked up again; stays until that was done.
    database: bool,
    handlers: HashMap<String, Seen>,
    removal: Removal,
    state: Option<Arc<State>>,
}

/// What something looked like when it was last tried, and when it is tried again though it looks the same.
#[derive(Default)]
struct Seen {
    fingerprint: Fingerprint,
    retry: Retry,
    /// It was refused while a manifest was compiled that may mend it.
    withheld: bool,
    /// What the build took that it came from, while it is compiled.
    built: Option<Duration>,
}

impl Reloader {
    /// A reloader of what was loaded from this folder a moment ago.
    pub fn new(
        node: Arc<Node>,
        folder: PathBuf,
        worker: Worker,
        state: Option<Arc<State>>,
        orders: Arc<Orders>,
    ) -> Self {
        let watch = Watch::with_news(vec![folder.clone()], Arc::clone(&orders.news));
        worker.tell(Arc::clone(&orders.news));
        Self {
            node,
            folder,
            worker,
            watch,
            fingerprints: Fingerprints::default(),
            orders,
            // Nothing was seen yet: what changed between the first load and now is found by the first scan.
            manifest: Seen::default(),
            refused: Vec::new(),
            compiling: false,
            database: false,
            handlers: HashMap::new(),
            removal: Removal::default(),
            state,
        }
    }

    /// Looks whenever something may have changed. Runs until it is dropped.
    pub async fn run(mut self) {
        self.watch.renew().await;
        loop {
            self.scan().await;
            // Not every change is told, and a procedure that was missing comes without a word.
            let pause = self.removal.left().unwrap_or(limits::WATCH_INTERVAL);
            if tokio::time::timeout(pause, self.watch.changed()).await.is_err() {
                self.watch.renew().await;
            }
        }
    }

    /// Scans everything once.
    async fn scan(&mut self) {
        let orders = Arc::clone(&self.orders);
        let _whole = orders.folder.lock().await;
        let Asked { database, again, built } = orders.take();
        if again {
            self.forget().await;
        }
        let ordered = database | self.node.database.has_changed();
        self.database |= ordered;
        // Before anything is read: what is written meanwhile makes another fingerprint.
        let path = self.folder.join(manifest::FILE_NAME);
        let Some(manifest) = self.scan_manifest(&path).await else { return };
        if ordered || self.manifest.fingerprint != manifest || self.manifest.retry.is_due() || self.removal.is_due() {
            self.manifest.fingerprint = manifest.first();
            self.follow_manifest().await;
        }
        let table = self.node.registry.table();
        let entries: Vec<_> = table.handlers.iter().map(|handler| handler.entry.clone()).collect();
        let fingerprints = self.fingerprints.of(&entries).await;
        for (handler, fingerprint) in table.handlers.iter().zip(fingerprints) {
            // What does not answer is looked at again, and the others do not wait for it.
            let Some(fingerprint) = fingerprint else { continue };
            let comes = |entry: &Entry| entry.name == handler.entry.name && !is_same_entry(&handler.entry, entry);
            let withhold = self.compiling && self.refused.iter().any(comes);
            let seen = self.handlers.entry(handler.entry.name.clone()).or_default();
            if seen.fingerprint == fingerprint && !seen.retry.is_due() && (withhold || !seen.withheld) {
                continue;
            }
            seen.fingerprint = fingerprint;
            let built = built.or(seen.built.take());
            let followed = component::follow(&self.node, &self.worker, handler, built).await;
            // What is wrong under the old entry may be what the new ones are for, also those that came meanwhile.
            let refused = matches!(followed, Err(Without::Refused(_)));
            let withheld = refused && (withhold || self.is_manifest_new(&path).await);
            let seen = self.handlers.entry(handler.entry.name.clone()).or_default();
            seen.withheld = withheld;
            match followed {
                Ok(()) => seen.retry.passed(),
                // What else there is does not wait for it.
                Err(Without::Compiling) => {
                    seen.built = built;
                    seen.retry.soon();
                }
                Err(Without::Refused(refusal)) => {
                    if !withheld {
                        component::refuse(handler, &refusal);
                    }
                    // The entry is what is old: the manifest is held against the database again, and then this.
                    if refusal.stage == Stage::Procedures {
                        self.orders.procedures_changed();
                    }
                    seen.retry.after(&refusal);
                }
            }
        }
    }

    /// What the manifest looks like, with the files of its handlers while it is not taken. Nothing when the folder does
    /// not answer.
    async fn scan_manifest(&mut self, path: &Path) -> Option<Fingerprint> {
        let manifest = path.to_owned();
        let fingerprint = aside(move || Fingerprint::of(&manifest)).await;
        let fingerprint =
            fingerprint.inspect_err(|cause| tracing::error!(cause, "cannot scan the handlers folder")).ok()?;
        Some(fingerprint.with(self.fingerprints.of(&self.refused).await))
    }

    /// Whether the manifest looks other than it did when this scan began.
    async fn is_manifest_new(&mut self, path: &Path) -> bool {
        self.scan_manifest(path).await.is_some_and(|now| now != self.manifest.fingerprint)
    }

    /// As if nothing had been seen yet.
    async fn forget(&mut self) {
        self.manifest = Seen::default();
        self.handlers.clear();
        self.watch.reopen().await;
    }

    /// The manifest, all or nothing.
    async fn follow_manifest(&mut self) {
        let folder = self.folder.clone();
        let manifest = match aside(move || manifest::read(&folder)).await {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(refused)) => {
                let refusal = Refusal::new(Stage::Manifest, refused.to_string());
                return self.refuse(Refusal { passing: refused.may_pass(), ..refusal }, Vec::new());
            }
            Err(cause) => return self.refuse(Refusal::new(Stage::Manifest, cause).passing(), Vec::new()),
        };
        if !self.removal.may(&self.node.registry.table(), &manifest, &self.manifest.fingerprint) {
            return;
        }
        // Of its handlers too, before they are read: of a manifest that is refused one of them may be what changes.
        let handlers = self.fingerprints.of(&manifest.handlers).await;
        self.manifest.fingerprint = self.manifest.fingerprint.first().with(handlers);
        let entries = manifest.handlers.clone();
        match table::replace(&self.node, &self.worker, &manifest, self.database, self.state.as_ref()).await {
            Ok(changes) => {
                if self.node.registry.refusal().is_some() {
                    tracing::info!("manifest accepted again");
                }
                self.node.registry.clear_refusal();
                self.database = false;
                self.manifest.retry.passed();
                self.compiling = false;
                // What was noted of its files is noted of each handler from here on.
                self.manifest.fingerprint = self.manifest.fingerprint.first();
                self.refused = Vec::new();
                changes.iter().for_each(|change| tracing::info!("{change}"));
                // A handler that changed with the manifest is scanned again under its new entry.
                let table = self.node.registry.table();
                let there: HashSet<_> = table.handlers.iter().map(|handler| handler.entry.name.as_str()).collect();
                let changed: HashSet<_> = changes.iter().map(change::Change::name).collect();
                self.handlers.retain(|name, _| there.contains(name.as_str()) && !changed.contains(name.as_str()));
            }
            // The old table serves, and its handlers are followed meanwhile.
            Err(Without::Compiling) => {
                self.refused = entries;
                self.compiling = true;
                self.manifest.retry.soon();
            }
            Err(Without::Refused(refusal)) => self.refuse(refusal, entries),
        }
    }

    fn refuse(&mut self, refusal: Refusal, entries: Vec<Entry>) {
        let registry = &self.node.registry;
        self.removal = Removal::default();
        self.manifest.retry.after(&refusal);
        self.refused = entries;
        self.compiling = false;
        if refusal.is_news_after(registry.refusal().as_deref()) {
            tracing::error!(stage = %refusal.stage, "manifest rejected; still serving the previous one: {}", refusal.message);
            registry.note_refusal(refusal);
        }
    }
}
