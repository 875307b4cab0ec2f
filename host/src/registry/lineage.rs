//! The lineage of a handler: the generation that serves, the one before it, and what was rolled back. A lineage is
//! immutable; each change makes the next one.

use std::sync::Arc;

use jiff::Timestamp;

use super::bars::Bars;
use super::canary::Canary;
use super::config::Config;
use super::generation::{Generation, RolledBack, Signed};
use crate::guest::Digest;

/// The generation of a handler that serves, and where it came from.
#[derive(Clone)]
pub struct Lineage {
    /// The one that serves.
    pub current: Arc<Generation>,
    /// The one before it, kept for a rollback.
    pub previous: Option<Arc<Generation>>,
    /// The one that answers a share of the requests, while it is deployed.
    pub canary: Option<Arc<Canary>>,
    /// The one that was rolled back last; none after the next one went live.
    pub rolled_back: Option<RolledBack>,
    /// What is not taken from the handlers folder again.
    pub bars: Bars,
    /// The generation that the current one replaced, if that was still on probation: a rollback passes over it.
    pub passed_over: Option<u64>,
    /// When the current one came into service.
    pub since: Timestamp,
    /// The highest number that was assigned. It never falls, so no two components have the same number.
    pub(super) last: u64,
}

/// A component that an earlier run of the node kept.
pub struct Kept {
    /// The number it had.
    pub number: u64,
    /// The component.
    pub component: Signed,
    /// See [`Generation::over`].
    pub over: Option<Digest>,
}

/// What an earlier run of the node recorded beside the components.
#[derive(Default)]
pub struct Past {
    /// See [`Lineage::rolled_back`].
    pub rolled_back: Option<RolledBack>,
    /// See [`Lineage::bars`].
    pub bars: Bars,
    /// The highest number that was assigned.
    pub last: u64,
}

impl Lineage {
    /// The lineage of a new handler.
    pub fn first(component: Signed, config: Config) -> Self {
        Self::beginning(Generation::new(1, component, config), None, Past::default())
    }

    /// The lineage of a handler that an earlier run of the node served: its component and the one kept for a rollback,
    /// with the numbers they had. Both get the config of the current manifest: an earlier one is not kept.
    pub fn resumed(current: Kept, previous: Option<Kept>, past: Past, config: &Config) -> Self {
        let generation =
            |Kept { number, component, over }| Generation::new(number, component, config.clone()).deployed(over);
        Self::beginning(generation(current), previous.map(generation), past)
    }

    fn beginning(current: Generation, previous: Option<Generation>, past: Past) -> Self {
        let Past { rolled_back, bars, last } = past;
        let last = last.max(current.number);
        let (current, previous) = (Arc::new(current), previous.map(Arc::new));
        let (canary, passed_over, since) = (None, None, Timestamp::now());
        Self { current, previous, canary, rolled_back, bars, passed_over, since, last }
    }

    /// The next number to assign.
    pub(super) fn next_number(&self) -> u64 {
        self.last + 1
    }

    /// The highest number that was assigned.
    pub fn last_number(&self) -> u64 {
        self.last
    }

    /// Whether this component with this config was rolled back.
    pub fn is_barred(&self, digest: Digest, config: &Config) -> bool {
        self.bars.has(digest, config)
    }

    /// The digest that counts for the component that the handlers folder holds: its own, or that of the one that was
    /// deployed over it and serves in its place.
    pub fn effective(&self, found: Digest) -> Digest {
        if self.current.over == Some(found) { self.current.component.compiled.digest } else { found }
    }

    /// Over which component of the folder a component counts as deployed: the one that serves stays what it is.
    pub(super) fn over_of(&self, component: &Signed) -> Option<Digest> {
        let same = component.component.compiled.digest == self.current.component.compiled.digest;
        self.current.over.filter(|_| same)
    }

    /// Whether this component with this config serves.
    pub fn serves(&self, digest: Digest, config: &Config) -> bool {
        self.current.component.compiled.digest == digest && self.current.config == *config
    }

    /// The same generations under other limits and grants. Their counts and configs are kept.
    pub fn refitted(&self, current: Signed, previous: Option<Signed>) -> Self {
        let previous = self.previous.as_ref().zip(previous);
        Self {
            current: Arc::new(self.current.refitted(current)),
            previous: previous.map(|(old, component)| Arc::new(old.refitted(component))),
            canary: None,
            ..self.clone()
        }
    }

    /// A new generation with other limits and grants. They apply to the previous one as well, if it fits them; its
    /// config stays.
    pub fn succeeded_by(&self, component: Signed, config: Config, previous: Option<(&Generation, Signed)>) -> Self {
        let over = self.over_of(&component);
        let current = Arc::new(Generation::new(self.next_number(), component, config).deployed(over));
        let previous = previous.map(|(old, component)| Arc::new(old.refitted(component)));
        Self { bars: self.bars.clone().of_folder(over), ..self.followed_by(current, previous) }
    }

    /// The same, in which what the handlers folder holds is barred as it was.
    pub fn barring(self, bars: Bars) -> Self {
        Self { bars, ..self }
    }

    /// A generation that serves from now on, with the one to go back to. Nothing of the bars changes.
    pub(super) fn followed_by(&self, current: Arc<Generation>, previous: Option<Arc<Generation>>) -> Self {
        // Where a rollback does not lead to the generation that is replaced here, that has not proved itself.
        let passes = previous.as_ref().is_some_and(|previous| previous.number != self.current.number);
        Self {
            last: self.last.max(current.number),
            current,
            previous,
            canary: None,
            rolled_back: None,
            bars: self.bars.clone(),
            passed_over: passes.then_some(self.current.number),
            since: Timestamp::now(),
        }
    }

    /// What serves after a generation was rolled back.
    pub(super) fn rolled_back_to(
        &self,
        current: Arc<Generation>,
        previous: Option<Arc<Generation>>,
        back: RolledBack,
    ) -> Self {
        let bars = self.bars.clone().without(current.component.compiled.digest, &current.config).with(back.clone());
        let last = self.last.max(current.number);
        Self { current, previous, canary: None, rolled_back: Some(back), bars, last, ..self.clone() }
    }
}
