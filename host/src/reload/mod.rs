//! Loads the handlers of a manifest, and keeps a node's registry in step with the folder while the node serves:
//! components, examples and the manifest itself. A candidate is verified first and then put live by storing one
//! pointer. A rejected one changes nothing, and is tried again when its files change or when the cause may have passed.
//!
//! Requests do not wait for anything here, and nothing here blocks a thread that serves. `serve` runs it for as long as
//! the node lives.

mod again;
mod assembly;
mod change;
mod compiling;
mod component;
mod deploy;
mod explaining;
mod fingerprint;
mod fingerprints;
mod folder;
mod gate;
mod order;
mod orders;
mod record;
mod removal;
mod resume;
mod retry;
mod shadow;
mod source;
mod table;
mod values;
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
use crate::events::Kind;
use crate::limits;
use crate::manifest::{self, Entry};
use crate::node::Node;
use crate::registry::{Refusal, Stage};
use crate::state::State;

pub use self::deploy::deploy;
pub use self::orders::Orders;
pub use self::record::{keep, record};
pub use self::shadow::shadow;
pub use self::table::load;
pub use self::verify::read;
pub use self::watch::Watch;
pub use self::worker::Worker;

/// Keeps one node's registry in step with its folder.
pub struct Reloader {
    node: Arc<Node>,
    folder: PathBuf,
    worker: Worker,
    watch: Watch,
    fingerprints: Fingerprints,
    orders: Arc<Orders>,
    manifest: Seen,
    /// The file of the keys for tokens that the manifest names, and its fingerprint when it was last read.
    keys: (Option<PathBuf>, Fingerprint),
    /// The entries of a manifest that was not applied: their files are watched too, because one may be the cause.
    refused: Vec<Entry>,
    /// The manifest was not applied because components of it are still being compiled, not because it was rejected.
    compiling: bool,
    /// The procedures must be looked up again; set until that has succeeded.
    database: bool,
    handlers: HashMap<String, Seen>,
    removal: Removal,
    state: Option<Arc<State>>,
}

/// The fingerprint of something when it was last tried, and when it is tried again though it has not changed.
#[derive(Default)]
struct Seen {
    fingerprint: Fingerprint,
    retry: Retry,
    /// It was rejected while a manifest that may fix it is being compiled.
    withheld: bool,
    /// How long the build that made it took, kept while it is compiled.
    built: Option<Duration>,
}

impl Reloader {
    /// A reloader for a registry that was loaded from this folder a moment ago.
    pub fn new(
        node: Arc<Node>,
        folder: PathBuf,
        worker: Worker,
        state: Option<Arc<State>>,
        orders: Arc<Orders>,
    ) -> Self {
        let watch = Watch::with_news(vec![folder.clone()], Arc::clone(&orders.news));
        worker.notify(Arc::clone(&orders.news));
        let again = Arc::clone(&orders);
        worker.gates.when_tried_again(move || again.scan_again());
        Self {
            node,
            folder,
            worker,
            watch,
            fingerprints: Fingerprints::default(),
            orders,
            // Empty, so that the first scan finds what has changed since the load.
            manifest: Seen::default(),
            keys: (None, Fingerprint::default()),
            refused: Vec::new(),
            compiling: false,
            database: false,
            handlers: HashMap::new(),
            removal: Removal::default(),
            state,
        }
    }

    /// Scans whenever something may have changed. Runs until it is dropped.
    pub async fn run(mut self) {
        self.watch.renew().await;
        loop {
            self.scan().await;
            // Also scan after a pause: not every change is reported, and a missing procedure may appear without an
            // event.
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
        // The fingerprint is taken before anything is read: a later write makes a different one.
        let path = self.folder.join(manifest::FILE_NAME);
        let Some(manifest) = self.scan_manifest(&path).await else { return };
        let rotated = self.keys.1 != self.scan_keys().await;
        if ordered
            || rotated
            || self.manifest.fingerprint != manifest
            || self.manifest.retry.is_due()
            || self.removal.is_due()
        {
            self.manifest.fingerprint = manifest.first();
            self.follow_manifest().await;
        }
        let table = self.node.registry.table();
        let entries: Vec<_> = table.handlers.iter().map(|handler| handler.entry.clone()).collect();
        let fingerprints = self.fingerprints.of(&entries).await;
        for (handler, fingerprint) in table.handlers.iter().zip(fingerprints) {
            // One that does not answer is scanned again later; the others do not wait for it.
            let Some(fingerprint) = fingerprint else { continue };
            let comes = |entry: &Entry| entry.name == handler.entry.name && !is_same_entry(&handler.entry, entry);
            let withhold = self.compiling && self.refused.iter().any(comes);
            let seen = self.handlers.entry(handler.entry.name.clone()).or_default();
            if seen.fingerprint == fingerprint && !seen.retry.is_due() && (withhold || !seen.withheld) {
                continue;
            }
            seen.fingerprint = fingerprint;
            let built = built.or(seen.built.take());
            let state = self.state.as_deref();
            let followed = component::follow(&self.node, &self.worker, handler, built, state).await;
            // What is wrong under the old entry may be fixed by a new manifest, also by one that was written during the
            // scan.
            let refused = matches!(followed, Err(Without::Refused(_)));
            let withheld = refused && (withhold || self.is_manifest_new(&path).await);
            let seen = self.handlers.entry(handler.entry.name.clone()).or_default();
            seen.withheld = withheld;
            match followed {
                Ok(()) => seen.retry.passed(),
                // The other handlers do not wait for the compiler.
                Err(Without::Compiling) => {
                    seen.built = built;
                    seen.retry.soon();
                }
                Err(Without::Refused(refusal)) => {
                    if !withheld {
                        component::refuse(handler, &refusal);
                    }
                    // The handler's description of its procedures is outdated: check the manifest against the database
                    // again first.
                    if refusal.stage == Stage::Procedures {
                        self.orders.procedures_changed();
                    }
                    seen.retry.after(&refusal);
                }
            }
        }
    }

    /// The fingerprint of the manifest, with the files of its handlers while it is not applied. `None` when the folder
    /// does not answer.
    async fn scan_manifest(&mut self, path: &Path) -> Option<Fingerprint> {
        let manifest = path.to_owned();
        let fingerprint = aside(move || Fingerprint::of_manifest(&manifest)).await;
        let fingerprint =
            fingerprint.inspect_err(|cause| tracing::error!(cause, "cannot scan the handlers folder")).ok()?;
        Some(fingerprint.with(self.fingerprints.of(&self.refused).await))
    }

    /// The fingerprint of the file of the keys; the one before if it does not answer.
    async fn scan_keys(&self) -> Fingerprint {
        let Some(path) = self.keys.0.clone() else { return Fingerprint::default() };
        aside(move || Fingerprint::of(&path)).await.unwrap_or_else(|_| self.keys.1.clone())
    }

    /// Whether the manifest has changed since this scan began.
    async fn is_manifest_new(&mut self, path: &Path) -> bool {
        self.scan_manifest(path).await.is_some_and(|now| now != self.manifest.fingerprint)
    }

    /// Forgets every fingerprint, so that everything is scanned as if for the first time.
    async fn forget(&mut self) {
        self.manifest = Seen::default();
        self.handlers.clear();
        self.watch.reopen().await;
    }

    /// Applies the manifest, all or nothing.
    async fn follow_manifest(&mut self) {
        let (folder, trust) = (self.folder.clone(), self.worker.trust.clone());
        let manifest = match aside(move || manifest::read_trusted(&folder, trust.as_deref())).await {
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
        // The handlers' fingerprints are taken too, before the files are read: if the manifest is rejected, a change of
        // one of them may fix it.
        let handlers = self.fingerprints.of(&manifest.handlers).await;
        self.manifest.fingerprint = self.manifest.fingerprint.first().with(handlers);
        // So is that of the keys.
        self.keys.0 = values::keys_file(&manifest);
        self.keys.1 = self.scan_keys().await;
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
                // From here on each handler has the fingerprint of its files.
                self.manifest.fingerprint = self.manifest.fingerprint.first();
                self.refused = Vec::new();
                changes.iter().for_each(|change| change.note(&self.node));
                // A handler that changed with the manifest is scanned again under its new entry.
                let table = self.node.registry.table();
                let there: HashSet<_> = table.handlers.iter().map(|handler| handler.entry.name.as_str()).collect();
                let changed: HashSet<_> = changes.iter().map(change::Change::name).collect();
                self.handlers.retain(|name, _| there.contains(name.as_str()) && !changed.contains(name.as_str()));
            }
            // The old table keeps serving, and its handlers are still followed.
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
            let text = format!("{}: {}", refusal.stage, refusal.message);
            self.node.metrics.events.note(Kind::Refusal, None, None, text);
            registry.note_refusal(refusal);
        }
    }
}
