//! One verified component of a handler, and one that was rolled back.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;

use super::config::Config;
use super::tally::Tally;
use crate::guest::{Aside, Component, Digest};
use crate::metrics::RouteTraffic;
use crate::repeats::Repeats;

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
    /// The component that the handlers folder held when this one was deployed: it serves in its place until the folder
    /// holds another one. `None` for a component that came from the folder itself.
    pub over: Option<Digest>,
    /// Its number and its component, as a header names them: `3;sha256="0a…"` (RFC 8941).
    pub label: HeaderValue,
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

impl Generation {
    pub(super) fn new(number: u64, component: Component, config: Config) -> Self {
        let label = format!("{number};sha256=\"{}\"", component.compiled.digest);
        let label = HeaderValue::try_from(label).expect("digits and letters are a value of a header");
        Self {
            number,
            component,
            config,
            aside: Arc::default(),
            repeats: Arc::default(),
            traffic: RouteTraffic::default(),
            over: None,
            label,
            tally: Arc::new(Tally::begin()),
        }
    }

    /// The same generation, its component under other limits and grants.
    pub(super) fn refitted(&self, component: Component) -> Self {
        let (aside, repeats, tally) = (Arc::clone(&self.aside), Arc::clone(&self.repeats), Arc::clone(&self.tally));
        let (number, config, label) = (self.number, self.config.clone(), self.label.clone());
        let (over, traffic) = (self.over, RouteTraffic::default());
        Self { number, component, config, aside, repeats, traffic, over, label, tally }
    }

    /// The same, deployed over a component of the handlers folder.
    pub(super) fn deployed(self, over: Option<Digest>) -> Self {
        Self { over, ..self }
    }

    /// The same, to serve again in place of one that is rolled back. Where that was deployed over a component of the
    /// handlers folder, this one is now: the folder still holds that component, which may have been rolled back itself.
    pub(super) fn instead_of(self: Arc<Self>, from: &Self) -> Arc<Self> {
        match from.over.filter(|over| *over != self.component.compiled.digest) {
            Some(over) => Arc::new(self.refitted(self.component.clone()).deployed(Some(over))),
            None => self,
        }
    }

    /// What rolling it back leaves.
    pub(super) fn rolled_back(&self, cause: String) -> RolledBack {
        let (number, digest) = (self.number, self.component.compiled.digest);
        RolledBack { number, digest, config: self.config.clone(), cause, at: Timestamp::now() }
    }

    /// Whether a probation of so many calls and so much time has passed.
    pub(super) fn is_over(&self, calls: u64, time: Duration) -> bool {
        self.tally.is_over(calls, time)
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
