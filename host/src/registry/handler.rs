//! One handler: its entry in the manifest, the generation that serves, the one before it, and how they are swapped. A
//! request loads the lineage once; `reload` and a rollback store a new one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::Refusal;
use super::config::Config;
use super::tally::Tally;
use crate::database::Procedure;
use crate::guest::{Aside, Component, Digest};
use crate::manifest::Entry;
use crate::metrics::{HandlerMetrics, RouteTraffic};
use crate::record::{Redaction, Ring};
use crate::repeats::Repeats;

/// A named unit of guest code with its routes.
pub struct Handler {
    /// Its entry in the manifest: name, routes, limits, grants.
    pub entry: Entry,
    /// Its routes as the manifest writes them, which requests share.
    pub routes: Vec<Arc<str>>,
    /// The procedures it may call, as the database describes them.
    pub procedures: Vec<Arc<Procedure>>,
    /// Its counters.
    pub metrics: Arc<HandlerMetrics>,
    /// What must not be recorded of its requests.
    pub redaction: Arc<Redaction>,
    /// Its records; set when the handler is put into a registry.
    pub ring: OnceLock<Arc<Ring>>,
    lineage: ArcSwap<Lineage>,
    refusal: ArcSwapOption<Refusal>,
    /// Held while a new lineage is derived from the old one; requests do not wait for it.
    changing: Mutex<()>,
    /// Another handler serves in its place.
    retired: AtomicBool,
    /// Notified when another generation serves; set when the handler is put into a registry.
    pub(super) news: OnceLock<Arc<Notify>>,
}

/// The generation of a handler that serves, and where it came from.
pub struct Lineage {
    /// The one that serves.
    pub current: Arc<Generation>,
    /// The one before it, kept for a rollback.
    pub previous: Option<Arc<Generation>>,
    /// Set when the current one serves again because the one after it was rolled back.
    pub rolled_back: Option<RolledBack>,
    /// When the current one came into service.
    pub since: Timestamp,
}

/// One verified component of a handler.
pub struct Generation {
    /// From 1, counted per handler and node.
    pub number: u64,
    /// The component.
    pub component: Component,
    /// The values that it gets with every request.
    pub config: Config,
    /// Where its slow calls run.
    pub aside: Arc<Aside>,
    /// The failures of it that were logged.
    pub repeats: Arc<Repeats>,
    /// The requests to each route of its handler.
    pub traffic: RouteTraffic,
    /// Shared with the same generation under another manifest.
    tally: Arc<Tally>,
}

/// A generation that was rolled back.
#[derive(Debug, Clone)]
pub struct RolledBack {
    /// Its number.
    pub number: u64,
    /// Its digest: it is not loaded again while the file has it and its config is the same.
    pub digest: Digest,
    /// Its config.
    pub config: Config,
    /// Its fault, or the operator's request.
    pub cause: String,
    /// When it was rolled back.
    pub at: Timestamp,
}

impl Handler {
    /// A handler that serves with this lineage.
    pub fn new(entry: Entry, procedures: Vec<Arc<Procedure>>, metrics: Arc<HandlerMetrics>, lineage: Lineage) -> Self {
        let routes = entry.routes.iter().map(|route| route.to_string().into()).collect();
        let redaction = Redaction::of(&entry);
        Self {
            entry,
            routes,
            procedures,
            metrics,
            redaction: Arc::new(redaction),
            ring: OnceLock::new(),
            lineage: ArcSwap::from_pointee(lineage),
            refusal: ArcSwapOption::empty(),
            changing: Mutex::new(()),
            retired: AtomicBool::new(false),
            news: OnceLock::new(),
        }
    }

    /// The current lineage. Load it once per request: both functions must run in the same generation.
    pub fn lineage(&self) -> Arc<Lineage> {
        self.lineage.load_full()
    }

    /// The procedure of this name, if it was granted. Grants are few, so a linear search is faster than a map.
    pub fn procedure(&self, name: &str) -> Option<&Arc<Procedure>> {
        self.procedures.iter().find(|procedure| procedure.name == name)
    }

    /// The generation before the current one, while that is on probation: until it has served for
    /// `probation_calls` calls and `probation` time.
    pub fn fallback<'a>(&self, lineage: &'a Lineage) -> Option<&'a Arc<Generation>> {
        let proved = lineage.current.tally.is_over(self.entry.limits.probation_calls, self.entry.limits.probation);
        lineage.previous.as_ref().filter(|_| !proved)
    }

    /// Puts a component and its config live as the next generation, and returns it. The one it replaces is kept for a
    /// rollback; if that was on probation itself, the one before it is kept: two quick deployments must not lose the
    /// last proved generation.
    pub fn swap(&self, component: Component, config: Config) -> Arc<Generation> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lineage();
        let next = Arc::new(Generation::new(old.last_number() + 1, component, config));
        let previous = Some(Arc::clone(self.proved(&old)));
        let (current, since) = (Arc::clone(&next), Timestamp::now());
        // Cleared first: a reader that sees the new generation must not see the refusal of an earlier candidate.
        self.refusal.store(None);
        self.lineage.store(Arc::new(Lineage { current, previous, rolled_back: None, since }));
        self.report();
        next
    }

    /// Goes back to the previous generation, if `from` still serves and there is one. Returns the one that serves now.
    /// A retired handler never rolls back; its replacement decides what serves.
    pub fn roll_back(&self, from: &Generation, cause: String) -> Option<Arc<Generation>> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lineage();
        let serves = std::ptr::eq(&raw const *old.current, from) && !self.retired.load(Ordering::Relaxed);
        let current = old.previous.clone().filter(|_| serves)?;
        let (number, digest, at) = (from.number, from.component.compiled.digest, Timestamp::now());
        let rolled_back = Some(RolledBack { number, digest, config: from.config.clone(), cause, at });
        let serving = Arc::clone(&current);
        self.lineage.store(Arc::new(Lineage { current, previous: None, rolled_back, since: at }));
        self.report();
        Some(serving)
    }

    fn report(&self) {
        if let Some(news) = self.news.get() {
            news.notify_one();
        }
    }

    /// Retires the handler in favour of a replacement, if this lineage is still current. A retired handler does not
    /// change.
    pub fn retire(&self, lineage: &Arc<Lineage>) -> bool {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let unchanged = Arc::ptr_eq(&self.lineage(), lineage);
        self.retired.store(unchanged, Ordering::Relaxed);
        unchanged
    }

    /// Undoes [`Self::retire`]: the replacement was not installed.
    pub fn stay(&self) {
        self.retired.store(false, Ordering::Relaxed);
    }

    /// The generation to go back to once the current one is replaced.
    pub fn proved<'a>(&self, lineage: &'a Lineage) -> &'a Arc<Generation> {
        self.fallback(lineage).unwrap_or(&lineage.current)
    }

    /// Notes that a candidate was refused.
    pub fn note_refusal(&self, refusal: Refusal) {
        self.refusal.store(Some(Arc::new(refusal)));
    }

    /// Notes that the rejected component is gone, or was accepted after all.
    pub fn clear_refusal(&self) {
        self.refusal.store(None);
    }

    /// Why the last candidate was rejected, if it was.
    pub fn refusal(&self) -> Option<Arc<Refusal>> {
        self.refusal.load_full()
    }
}

impl Lineage {
    /// The lineage of a new handler.
    pub fn first(component: Component, config: Config) -> Self {
        let current = Arc::new(Generation::new(1, component, config));
        Self { current, previous: None, rolled_back: None, since: Timestamp::now() }
    }

    /// The lineage of a handler that an earlier run of the node served: its component and the one kept for a rollback,
    /// with the numbers they had. Both get the config of the current manifest: an earlier one is not kept.
    pub fn resumed(
        current: (u64, Component),
        previous: Option<(u64, Component)>,
        rolled_back: Option<RolledBack>,
        config: &Config,
    ) -> Self {
        let generation = |(number, component)| Arc::new(Generation::new(number, component, config.clone()));
        Self { current: generation(current), previous: previous.map(generation), rolled_back, since: Timestamp::now() }
    }

    /// The highest number that was assigned.
    pub fn last_number(&self) -> u64 {
        let back = self.rolled_back.as_ref().map_or(0, |back| back.number);
        back.max(self.current.number)
    }

    /// Whether this component with this config was rolled back.
    pub fn is_barred(&self, digest: Digest, config: &Config) -> bool {
        self.rolled_back.as_ref().is_some_and(|back| back.digest == digest && back.config == *config)
    }

    /// Whether this component with this config serves.
    pub fn serves(&self, digest: Digest, config: &Config) -> bool {
        self.current.component.compiled.digest == digest && self.current.config == *config
    }

    /// The same generations under other limits and grants. Their counts and configs are kept.
    pub fn refitted(&self, current: Component, previous: Option<Component>) -> Self {
        let previous = self.previous.as_ref().zip(previous);
        Self {
            current: Arc::new(self.current.refitted(current)),
            previous: previous.map(|(old, component)| Arc::new(old.refitted(component))),
            rolled_back: self.rolled_back.clone(),
            since: self.since,
        }
    }

    /// A new generation with other limits and grants. They apply to the previous one as well, if it fits them; its
    /// config stays.
    pub fn succeeded_by(
        &self,
        component: Component,
        config: Config,
        previous: Option<(&Generation, Component)>,
    ) -> Self {
        let current = Arc::new(Generation::new(self.last_number() + 1, component, config));
        let previous = previous.map(|(old, component)| Arc::new(old.refitted(component)));
        Self { current, previous, rolled_back: None, since: Timestamp::now() }
    }
}

impl Generation {
    fn new(number: u64, component: Component, config: Config) -> Self {
        let (aside, repeats, traffic) = (Arc::default(), Arc::default(), RouteTraffic::default());
        Self { number, component, config, aside, repeats, traffic, tally: Arc::new(Tally::begin()) }
    }

    /// The same generation, its component under other limits and grants.
    fn refitted(&self, component: Component) -> Self {
        let (aside, repeats, tally) = (Arc::clone(&self.aside), Arc::clone(&self.repeats), Arc::clone(&self.tally));
        let (config, traffic) = (self.config.clone(), RouteTraffic::default());
        Self { number: self.number, component, config, aside, repeats, traffic, tally }
    }

    /// Counts a request that begins on it.
    pub fn called(&self) {
        self.tally.called();
    }

    /// Counts a fault of it.
    pub fn faulted(&self) {
        self.tally.faulted();
    }

    /// Requests that began on it.
    pub fn calls(&self) -> u64 {
        self.tally.calls()
    }

    /// Faults of it.
    pub fn faults(&self) -> u64 {
        self.tally.faults()
    }
}
