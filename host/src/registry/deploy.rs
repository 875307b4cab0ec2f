//! What operators do with the generations of a handler: begin a canary, change its share, promote it, or restore a
//! generation that was kept. Each is one store of a new lineage; `reload` has verified the components.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::audit::{Event, Who};
use super::canary::{Canary, Differences, Percent, Share};
use super::compared::Counts;
use super::generation::{Generation, Signed};
use super::handler::Handler;
use super::lineage::{Kept, Lineage};
use super::sequential::Evidence;
use crate::gate::Intended;
use crate::guest::{Component, Digest};

/// A component that is to be a canary.
pub struct Deployed {
    /// It, verified.
    pub component: Signed,
    /// The component that serves, loaded once more.
    pub baseline: Component,
    /// What the handlers folder holds.
    pub over: Option<Digest>,
    /// The requests that it answers.
    pub share: Share,
    /// What an answer that differs means.
    pub differences: Differences,
    /// The differences that changed examples state.
    pub intended: Intended,
    /// The id of the deployment, if it has one.
    pub deployment: Option<String>,
}

/// Which deployment an order is of.
#[derive(Debug, Clone, Copy)]
pub enum Of<'a> {
    /// Any: a script's order has no id.
    Any,
    /// Only this one.
    Only(&'a str),
    /// This one from now on, whatever it was.
    Resumed(&'a str),
}

/// A generation that is to serve again.
pub struct Restored {
    /// It, verified, with its number.
    pub kept: Kept,
    /// Who asked for it.
    pub who: Who,
    /// Why.
    pub why: String,
}

/// Who orders something, and why.
type By<'a> = (&'a Who, &'a str);

impl Handler {
    /// Has a new generation answer a share of the requests. `beside` is the lineage that it was verified beside.
    ///
    /// # Errors
    /// Something else serves by now, or another canary does.
    pub fn begin_canary(
        &self,
        beside: &Arc<Lineage>,
        deployed: Deployed,
        who: &Who,
        why: &str,
    ) -> Result<Arc<Generation>, String> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lineage();
        if !Arc::ptr_eq(&old, beside) || self.retired.load(Ordering::Relaxed) {
            return Err("what serves was changed while the component was verified: deploy it again".to_owned());
        }
        let Deployed { component, baseline, over, share, differences, intended, deployment } = deployed;
        let config = old.current.config.clone();
        let generation = Generation::new(old.next_number(), component, config).deployed(over);
        generation.deployment.store(deployment.map(Arc::new));
        let baseline = Signed { component: baseline, signature: old.current.signature() };
        let canary = Canary {
            generation: Arc::new(generation),
            baseline: Arc::new(old.current.refitted(baseline)),
            share,
            differences,
            intended: Arc::new(intended),
            since: Timestamp::now(),
            counts: Arc::new(Counts::default()),
            evidence: Arc::new(Mutex::new(Evidence::default())),
        };
        let (generation, share) = (Arc::clone(&canary.generation), &canary.share);
        let why = format!("{} by {}: {why}", share.percent, share.by);
        self.with_canary(&old, canary);
        self.note(Event::Canary, &generation, who, &why);
        Ok(generation)
    }

    /// Changes the share of a canary. Where that stays, the times that were compared so far stay as well.
    ///
    /// # Errors
    /// This component is not a canary, or not any more, or one of another deployment.
    pub fn step(&self, digest: Digest, percent: Percent, of: Of<'_>, (who, why): By<'_>) -> Result<(), String> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lineage();
        let canary = self.canary(&old, digest, of)?;
        let generation = Arc::clone(&canary.generation);
        if canary.share.percent == percent {
            return Ok(());
        }
        self.with_canary(&old, canary.at(percent));
        self.note(Event::Step, &generation, who, &format!("{percent}: {why}"));
        Ok(())
    }

    /// Makes a canary the generation that serves. The old one is kept for a rollback, as after any swap.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn promote(&self, digest: Digest, of: Of<'_>, (who, why): By<'_>) -> Result<Arc<Generation>, String> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lineage();
        let promoted = Arc::clone(&self.canary(&old, digest, of)?.generation);
        let lineage = old.followed_by(Arc::clone(&promoted), Some(Arc::clone(self.proved(&old))));
        // What the folder holds stays barred; this one does not, because somebody deployed it again.
        let bars = old.bars.clone().without(digest, &promoted.config);
        self.clear_refusal();
        self.lineage.store(Arc::new(lineage.barring(bars)));
        self.note(Event::Promoted, &promoted, who, why);
        Ok(promoted)
    }

    /// Has a kept generation serve in place of the current one, which counts as rolled back. `beside` is as for
    /// [`Self::begin_canary`].
    ///
    /// # Errors
    /// Something else serves by now.
    pub fn restore(&self, beside: &Arc<Lineage>, restored: Restored) -> Result<Arc<Generation>, String> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lineage();
        if !Arc::ptr_eq(&old, beside) || self.retired.load(Ordering::Relaxed) {
            return Err("what serves was changed while the component was verified: try it again".to_owned());
        }
        let Restored { kept: Kept { number, component, over }, who, why } = restored;
        let current = Generation::new(number, component, old.current.config.clone()).deployed(over);
        let serving = Arc::new(current);
        let lineage = old.rolled_back_to(Arc::clone(&serving), None, old.current.rolled_back(why.clone(), None));
        if let Some(canary) = &old.canary {
            self.note(Event::Ended, &canary.generation, &who, &why);
        }
        self.note(Event::RolledBack, &old.current, &who, &why);
        self.lineage.store(Arc::new(Lineage { since: Timestamp::now(), passed_over: None, ..lineage }));
        self.note(Event::Restored, &serving, &who, &why);
        Ok(serving)
    }

    /// Notes that another handler has taken its place, and so has ended its canary.
    pub(super) fn replaced(&self) {
        if let Some(canary) = &self.lineage().canary {
            self.note(Event::Ended, &canary.generation, &Who::folder(), "the manifest was changed");
        }
    }

    /// The same lineage with this canary.
    fn with_canary(&self, old: &Lineage, canary: Canary) {
        let last = old.last.max(canary.generation.number);
        self.lineage.store(Arc::new(Lineage { canary: Some(Arc::new(canary)), last, ..old.clone() }));
    }

    fn canary<'a>(&self, lineage: &'a Lineage, digest: Digest, of: Of<'_>) -> Result<&'a Arc<Canary>, String> {
        let name = &self.entry.name;
        let canary = lineage.canary.as_ref().filter(|_| !self.retired.load(Ordering::Relaxed));
        let canary = canary.ok_or_else(|| format!("{name} has no canary"))?;
        if canary.generation.component.compiled.digest != digest {
            return Err(format!("the canary of {name} is another component"));
        }
        let generation = &canary.generation;
        match of {
            Of::Resumed(id) => generation.deployment.store(Some(Arc::new(id.to_owned()))),
            Of::Only(id) if !generation.is_of(id) => {
                return Err("another `galo deploy` has taken this deployment over".to_owned());
            }
            Of::Only(_) | Of::Any => {}
        }
        Ok(canary)
    }
}
