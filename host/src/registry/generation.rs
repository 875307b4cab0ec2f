//! One verified component of a handler, and one that was rolled back.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use jiff::Timestamp;

use super::config::Config;
use super::tally::Tally;
use crate::guest::{Aside, Component, Digest};
use crate::metrics::RouteTraffic;
use crate::repeats::Repeats;

/// A component that fits an entry of a manifest, and the signature with which it may serve under that.
pub struct Signed {
    /// The component.
    pub component: Component,
    /// Its signature, if it has one.
    pub signature: Option<Arc<String>>,
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
    /// The component that the handlers folder held when this one was deployed: it serves in its place until the folder
    /// holds another one. `None` for a component that came from the folder itself.
    pub over: Option<Digest>,
    /// The id of the deployment that it is of. A command that goes on with a deployment of another one replaces it.
    pub(super) deployment: ArcSwapOption<String>,
    /// Its signature under the entry of its handler.
    signature: ArcSwapOption<String>,
    /// A signature that was handed over for an entry that it does not have yet.
    signature_to_come: ArcSwapOption<String>,
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
    /// See [`Generation::over`].
    pub over: Option<Digest>,
    /// The generation that it replaced, and that did not serve again because it was still on probation then.
    pub passed_over: Option<u64>,
}

impl Generation {
    pub(super) fn new(number: u64, component: Signed, config: Config) -> Self {
        let Signed { component, signature } = component;
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
            deployment: ArcSwapOption::empty(),
            signature: ArcSwapOption::new(signature),
            signature_to_come: ArcSwapOption::empty(),
            label,
            tally: Arc::new(Tally::begin()),
        }
    }

    /// The same generation, its component under other limits and grants.
    pub(super) fn refitted(&self, component: Signed) -> Self {
        let Signed { component, signature } = component;
        let (aside, repeats, tally) = (Arc::clone(&self.aside), Arc::clone(&self.repeats), Arc::clone(&self.tally));
        let (number, config, label) = (self.number, self.config.clone(), self.label.clone());
        let (over, traffic) = (self.over, RouteTraffic::default());
        let deployment = ArcSwapOption::new(self.deployment.load_full());
        let signature = ArcSwapOption::new(signature);
        Self {
            number,
            component,
            config,
            aside,
            repeats,
            traffic,
            over,
            deployment,
            signature,
            signature_to_come: ArcSwapOption::new(self.signature_to_come.load_full()),
            label,
            tally,
        }
    }

    /// The same, deployed over a component of the handlers folder.
    pub(super) fn deployed(self, over: Option<Digest>) -> Self {
        Self { over, ..self }
    }

    /// The same, to serve again in place of one that is rolled back. Where that was deployed over a component of the
    /// handlers folder, this one is now: the folder still holds that component, which may have been rolled back itself.
    pub(super) fn instead_of(self: Arc<Self>, from: &Self) -> Arc<Self> {
        match from.over.filter(|over| *over != self.component.compiled.digest) {
            Some(over) => {
                let same = Signed { component: self.component.clone(), signature: self.signature() };
                Arc::new(self.refitted(same).deployed(Some(over)))
            }
            None => self,
        }
    }

    /// The id of the deployment that it is of, if it was deployed.
    pub fn deployment(&self) -> Option<Arc<String>> {
        self.deployment.load_full()
    }

    /// Whether it is of this deployment.
    pub fn is_of(&self, deployment: &str) -> bool {
        self.deployment().is_some_and(|its| *its == deployment)
    }

    /// What rolling it back leaves. `passed_over` is that of the lineage.
    pub(super) fn rolled_back(&self, cause: String, passed_over: Option<u64>) -> RolledBack {
        let (number, digest, config) = (self.number, self.component.compiled.digest, self.config.clone());
        RolledBack { number, digest, config, cause, at: Timestamp::now(), over: self.over, passed_over }
    }

    /// Its signature under the entry of its handler, if it has one.
    pub fn signature(&self) -> Option<Arc<String>> {
        self.signature.load_full()
    }

    /// Notes that it was signed again, under the same entry.
    pub fn signed_again(&self, signature: Option<Arc<String>>) {
        self.signature.store(signature);
    }

    /// A signature that was handed over for an entry that it does not have yet.
    pub fn signature_to_come(&self) -> Option<Arc<String>> {
        self.signature_to_come.load_full()
    }

    /// Keeps a signature for an entry that it does not have yet.
    pub fn will_be_signed(&self, signature: Arc<String>) {
        self.signature_to_come.store(Some(signature));
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
