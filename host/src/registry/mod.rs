//! The handlers of a node and the generations they serve with. Requests read it through two atomic pointers, one for
//! the table of all handlers and one for each handler's lineage; `reload` stores new ones, and so does a rollback.
//!
//! It verifies nothing: `reload` has verified everything that is stored here. `admin` shows it.

mod audit;
mod bars;
mod canary;
mod compared;
mod config;
mod deploy;
mod deployments;
mod generation;
mod handler;
mod lineage;
mod refusal;
mod sequential;
mod tally;
mod traffic;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::sync::Notify;

pub use self::audit::{Audit, Event, Subject, Who};
pub use self::bars::Bars;
pub use self::canary::{By, Canary, Differences, Percent, Share};
pub use self::compared::Compared;
pub use self::config::Config;
pub use self::deploy::{Deployed, Of, Restored};
pub use self::deployments::{Denied, Deployments, Order, What};
pub use self::generation::{Generation, RolledBack, Signed};
pub use self::handler::Handler;
pub use self::lineage::{Kept, Lineage, Past};
pub use self::refusal::{Refusal, Stage};
use crate::cors::Cors;
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
    /// Who did what, when and why.
    pub audit: Arc<Audit>,
    /// What operators ask for.
    pub deployments: Deployments,
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

impl Registry {
    /// A registry with its first table.
    pub fn new(table: Table, recorder: Arc<Recorder>) -> Self {
        let news = Arc::<Notify>::default();
        let registry = Self {
            table: ArcSwap::from_pointee(Table::empty()),
            refusal: ArcSwapOption::empty(),
            gone: Mutex::default(),
            audit: Arc::new(Audit::new(Arc::clone(&news))),
            deployments: Deployments::default(),
            news,
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
            handler.audited_in(&self.audit);
            let every = handler.entry.record.every;
            let ring = || self.recorder.ring(&handler.entry.name, every, &handler.redaction, &handler.metrics);
            handler.ring.get_or_init(ring);
            handler.recorder.get_or_init(|| Arc::clone(&self.recorder));
        }
        let table = Arc::new(table);
        let old = self.table.swap(Arc::clone(&table));
        for handler in &old.handlers {
            if !table.handlers.iter().any(|kept| Arc::ptr_eq(kept, handler)) {
                handler.replaced();
            }
        }
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
        self.all_gone().into_iter().find(|handler| handler.entry.name == name)
    }

    /// The handlers that have left the manifest and are still kept.
    pub fn all_gone(&self) -> Vec<Arc<Handler>> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.retain(|(since, _)| since.elapsed() < limits::HANDLER_KEPT);
        gone.iter().map(|(_, handler)| Arc::clone(handler)).collect()
    }

    /// Resolves when a table or a lineage may have changed. A change while nobody waits is remembered, once.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// Notes that a manifest was refused.
    pub fn note_refusal(&self, refusal: Refusal) {
        let why = format!("{}: {}", refusal.stage, refusal.message);
        self.audit.operated(Subject::default(), Event::Refused, &Who::folder(), &why);
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
