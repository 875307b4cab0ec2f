//! The handlers of a node and the generations they serve with. Requests read it through two atomic pointers, one for
//! the table of all handlers and one for each handler's lineage; `reload` stores new ones, and so does a rollback.
//!
//! It verifies nothing: `reload` has verified everything that is stored here. `admin` shows it.

mod config;
mod handler;
mod tally;
mod traffic;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::sync::Notify;

pub use self::config::Config;
pub use self::handler::{Generation, Handler, Lineage, RolledBack};
use crate::cors::Cors;
use crate::guest::{Component, Digest};
use crate::limits;
use crate::record::Recorder;
use crate::route::Routes;
use crate::token::Verifier;
use crate::wire::Messages;

/// All handlers of a node, and why the last manifest was rejected, if it was.
pub struct Registry {
    table: ArcSwap<Table>,
    refusal: ArcSwapOption<Refusal>,
    /// Handlers that have left the manifest: one that is added again continues where it was.
    gone: Mutex<Vec<(Instant, Arc<Handler>)>>,
    news: Arc<Notify>,
    recorder: Arc<Recorder>,
}

/// The handlers of one manifest. A table is immutable: another manifest makes another table.
pub struct Table {
    /// Which pages of other origins may use the node.
    pub cors: Option<Arc<Cors>>,
    /// The texts that clients get for failures.
    pub messages: Messages,
    /// Verifies the tokens of clients, if configured.
    pub token: Option<Arc<Verifier>>,
    /// Finds the handler for a request, and the place of the route among those of the handler.
    pub routes: Routes<(Arc<Handler>, usize)>,
    /// In the order of the manifest.
    pub handlers: Vec<Arc<Handler>>,
    /// When it came into service.
    pub loaded: Timestamp,
}

/// Why a manifest or a component was rejected.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The step that failed.
    pub stage: Stage,
    /// What is wrong; several lines if it shows a difference.
    pub message: String,
    /// The component, once it could be read.
    pub digest: Option<Digest>,
    /// When it was first refused.
    pub at: Timestamp,
    /// The cause may pass without a file being changed: it is tried again.
    pub passing: bool,
    /// The component that failed its examples. It fits, so recorded requests can be run on it.
    pub candidate: Option<Arc<Component>>,
}

/// The steps from a file to a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The manifest is invalid as a whole.
    Manifest,
    /// The file cannot be read.
    Read,
    /// It is not a component, or takes too much to compile.
    Compile,
    /// It is of another world, imports what it was not granted, or does not fit its limits.
    Fit,
    /// A value of its `config` cannot be read.
    Config,
    /// A granted procedure cannot be called.
    Procedures,
    /// It does not behave as its examples require.
    Examples,
    /// It decides otherwise on recorded requests, and its manifest refuses that.
    Recorded,
}

impl Registry {
    /// A registry with its first table.
    pub fn new(table: Table, recorder: Arc<Recorder>) -> Self {
        let registry = Self {
            table: ArcSwap::from_pointee(Table::empty()),
            refusal: ArcSwapOption::empty(),
            gone: Mutex::default(),
            news: Arc::default(),
            recorder,
        };
        registry.replace(table);
        registry
    }

    /// The current table.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Replaces the table, atomically.
    pub fn replace(&self, table: Table) {
        for handler in &table.handlers {
            handler.news.get_or_init(|| Arc::clone(&self.news));
            let every = handler.entry.record.every;
            let ring = || self.recorder.ring(&handler.entry.name, every, &handler.redaction, &handler.metrics);
            handler.ring.get_or_init(ring);
        }
        let table = Arc::new(table);
        let old = self.table.swap(Arc::clone(&table));
        let names: HashSet<_> = table.handlers.iter().map(|handler| handler.entry.name.as_str()).collect();
        self.recorder.retain(|name| names.contains(name));
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let left = old.handlers.iter().map(|handler| (Instant::now(), Arc::clone(handler)));
        gone.extend(left);
        gone.retain(|(_, handler)| !names.contains(handler.entry.name.as_str()));
        let over = gone.len().saturating_sub(limits::STATE_LEFT_MAX);
        gone.drain(..over);
        drop(gone);
        self.news.notify_one();
    }

    /// A handler that has left the manifest, if it is still kept.
    pub fn gone(&self, name: &str) -> Option<Arc<Handler>> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.retain(|(since, _)| since.elapsed() < limits::HANDLER_KEPT);
        gone.iter().find(|(_, handler)| handler.entry.name == name).map(|(_, handler)| Arc::clone(handler))
    }

    /// Resolves when a table or a lineage may have changed. A change while nobody waits is remembered, once.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// Notes that a manifest was refused.
    pub fn note_refusal(&self, refusal: Refusal) {
        self.refusal.store(Some(Arc::new(refusal)));
    }

    /// Notes that what was refused is gone, or was accepted after all.
    pub fn clear_refusal(&self) {
        self.refusal.store(None);
    }

    /// Why the last manifest was rejected, if it was.
    pub fn refusal(&self) -> Option<Arc<Refusal>> {
        self.refusal.load_full()
    }
}

impl Table {
    /// The table before the first manifest.
    pub fn empty() -> Self {
        Self {
            cors: None,
            messages: Messages::plain().clone(),
            token: None,
            routes: Routes::default(),
            handlers: Vec::new(),
            loaded: Timestamp::now(),
        }
    }

    /// The handler of this name.
    pub fn handler(&self, name: &str) -> Option<&Arc<Handler>> {
        self.handlers.iter().find(|handler| handler.entry.name == name)
    }
}

impl Refusal {
    /// A refusal at this moment.
    pub fn new(stage: Stage, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > limits::REFUSAL_BYTES_MAX {
            message.truncate(message.floor_char_boundary(limits::REFUSAL_BYTES_MAX));
            message.push_str(" …");
        }
        Self {
            stage,
            message,
            digest: None,
            at: Timestamp::now(),
            passing: stage == Stage::Procedures,
            candidate: None,
        }
    }

    /// The same refusal, with a cause that may pass.
    pub fn passing(self) -> Self {
        Self { passing: true, ..self }
    }

    /// Whether it differs from the one before: a mere retry is not worth logging.
    pub fn is_news_after(&self, old: Option<&Self>) -> bool {
        let same = |old: &Self| old.stage == self.stage && old.message == self.message && old.digest == self.digest;
        !old.is_some_and(same)
    }

    /// The same refusal, of a component that fits.
    pub fn of_candidate(self, candidate: Component) -> Self {
        Self { candidate: Some(Arc::new(candidate)), ..self }
    }

    /// The same refusal, of this component.
    pub fn of(self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self }
    }
}

impl Stage {
    /// Its name in the log and in `/handlers`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Read => "read",
            Self::Compile => "compile",
            Self::Fit => "fit",
            Self::Config => "config",
            Self::Procedures => "procedures",
            Self::Examples => "examples",
            Self::Recorded => "recorded",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
