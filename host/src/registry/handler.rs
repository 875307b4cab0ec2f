//! One handler: its entry in the manifest, its lineage, and how generations are swapped. A request loads the lineage
//! once; `reload` and a rollback store a new one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;

use super::audit::{Audit, Event, Subject, Who};
use super::config::Config;
use super::generation::{Generation, Signed};
use super::lineage::Lineage;
use super::refusal::Refusal;
use crate::database::Procedure;
use crate::events::Kind;
use crate::manifest::Entry;
use crate::metrics::HandlerMetrics;
use crate::record::{Recorder, Redaction, Ring};

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
    /// The recorder of the ring; set with it.
    pub recorder: OnceLock<Arc<Recorder>>,
    pub(super) lineage: ArcSwap<Lineage>,
    refusal: ArcSwapOption<Refusal>,
    /// Why the last deployment was refused, if it was.
    deployment: ArcSwapOption<Refusal>,
    /// Held while a new lineage is derived from the old one; requests do not wait for it.
    pub(super) changing: Mutex<()>,
    /// Another handler serves in its place.
    pub(super) retired: AtomicBool,
    /// Where it is noted that another generation serves; set when the handler is put into a registry.
    pub(super) audit: OnceLock<Arc<Audit>>,
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
            recorder: OnceLock::new(),
            lineage: ArcSwap::from_pointee(lineage),
            refusal: ArcSwapOption::empty(),
            deployment: ArcSwapOption::empty(),
            changing: Mutex::new(()),
            retired: AtomicBool::new(false),
            audit: OnceLock::new(),
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
        let proved = lineage.current.is_over(self.entry.limits.probation_calls, self.entry.limits.probation);
        lineage.previous.as_ref().filter(|_| !proved)
    }

    /// Puts a component and its config live as the next generation, and returns it. The one it replaces is kept for a
    /// rollback; if that was on probation itself, the one before it is kept: two quick deployments must not lose the
    /// last proved generation. A canary ends: what the folder holds was changed after it was deployed.
    pub fn swap(&self, component: Signed, config: Config) -> Arc<Generation> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lineage();
        let over = old.over_of(&component);
        let next = Arc::new(Generation::new(old.next_number(), component, config).deployed(over));
        let lineage = old.followed_by(Arc::clone(&next), Some(Arc::clone(self.proved(&old))));
        let bars = old.bars.clone().of_folder(over);
        // Cleared first: a reader that sees the new generation must not see the refusal of an earlier candidate.
        self.refusal.store(None);
        self.lineage.store(Arc::new(lineage.barring(bars)));
        if let Some(canary) = &old.canary {
            self.note(Event::Ended, &canary.generation, &Who::folder(), "the handlers folder was changed");
        }
        self.note(Event::Live, &next, &Who::folder(), "the handlers folder was changed");
        next
    }

    /// Goes back to the previous generation, if `from` still serves and there is one, or ends the canary if `from` is
    /// one. Returns the generation that serves now. A retired handler never rolls back; its replacement decides what
    /// serves.
    pub fn roll_back(&self, from: &Generation, who: &Who, cause: String) -> Option<Arc<Generation>> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lineage();
        let is_from = |generation: &Arc<Generation>| std::ptr::eq(&raw const **generation, from);
        if self.retired.load(Ordering::Relaxed) {
            return None;
        }
        let lineage = match &old.canary {
            Some(canary) if is_from(&canary.generation) => {
                let back = from.rolled_back(cause.clone(), None);
                old.rolled_back_to(Arc::clone(&old.current), old.previous.clone(), back)
            }
            _ => {
                let current = old.previous.clone().filter(|_| is_from(&old.current))?.instead_of(from);
                let back = from.rolled_back(cause.clone(), old.passed_over);
                Lineage { since: Timestamp::now(), passed_over: None, ..old.rolled_back_to(current, None, back) }
            }
        };
        let serving = Arc::clone(&lineage.current);
        if let Some(canary) = old.canary.as_ref().filter(|canary| !is_from(&canary.generation)) {
            self.note(Event::Ended, &canary.generation, who, "the generation beside it was rolled back");
        }
        self.lineage.store(Arc::new(lineage));
        self.note(Event::RolledBack, from, who, &cause);
        Some(serving)
    }

    /// Notes what was done with one of its generations.
    pub(super) fn note(&self, event: Event, generation: &Generation, who: &Who, why: &str) {
        // The others are counted, which notes them as well.
        if matches!(event, Event::Canary | Event::Step | Event::Ended) {
            let text = format!("{event}, generation {}, by {who}: {why}", generation.number);
            self.metrics.noted(Kind::Canary, self.lineage().current.number, &text);
        }
        if let Some(audit) = self.audit.get() {
            audit.note(&self.entry.name, event, generation, who, why);
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

    /// Has what happens to it noted in an audit log, from now on, and what was refused before.
    pub(super) fn audited_in(&self, audit: &Arc<Audit>) {
        if self.audit.set(Arc::clone(audit)).is_ok() {
            self.refusal().iter().for_each(|refusal| self.note_refused(refusal));
        }
    }

    /// Notes that a candidate of the handlers folder was refused.
    pub fn note_refusal(&self, refusal: Refusal) {
        self.note_refused(&refusal);
        self.refusal.store(Some(Arc::new(refusal)));
    }

    fn note_refused(&self, refusal: &Refusal) {
        if let Some(audit) = self.audit.get() {
            let subject = Subject { handler: Some(&self.entry.name), digest: refusal.digest };
            let why = format!("{}: {}", refusal.stage, refusal.message);
            audit.operated(subject, Event::Refused, &Who::folder(), &why);
        }
    }

    /// Notes that the rejected component is gone, or was accepted after all.
    pub fn clear_refusal(&self) {
        self.refusal.store(None);
    }

    /// Notes that a deployment was refused; `None` once another one was not.
    pub fn note_deployment(&self, refusal: Option<Refusal>) {
        self.deployment.store(refusal.map(Arc::new));
    }

    /// Why the last deployment was refused, if it was.
    pub fn refused_deployment(&self) -> Option<Arc<Refusal>> {
        self.deployment.load_full()
    }

    /// Why the last candidate was rejected, if it was.
    pub fn refusal(&self) -> Option<Arc<Refusal>> {
        self.refusal.load_full()
    }
}
