//! What the node of `galo dev` is given: the components that could be built, and a manifest without the handlers that
//! were not built yet. A start that refuses a handler is repeated without it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::develop::build::Built;
use crate::manifest::Refused;
use crate::reload::Orders;

/// The handlers in the folder where the node looks for them.
pub(super) struct Published {
    folder: PathBuf,
    /// The last build that was not stopped.
    built: Option<Arc<Built>>,
    /// The handlers that this run has built.
    put: BTreeSet<String>,
    /// The handlers that a start has refused.
    refused: BTreeSet<String>,
    /// A start has failed for a cause that is not in a handler.
    blocked: bool,
}

impl Published {
    /// Nothing yet. `folder` is where the node looks for components.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, built: None, put: BTreeSet::new(), refused: BTreeSet::new(), blocked: false }
    }

    /// Whether no handler was built yet.
    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty()
    }

    /// Whether a start may succeed.
    pub(super) fn is_something_to_serve(&self) -> bool {
        let known = self.built.iter().flat_map(|built| built.handlers());
        let mut put = known.map(|entry| &entry.name).filter(|name| self.put.contains(*name));
        !self.blocked && put.any(|name| !self.refused.contains(name))
    }

    /// Logs what could not be built, and notes what could.
    pub(super) fn note(&mut self, built: Built) {
        let mut failed = BTreeSet::new();
        for (name, why) in built.failures() {
            match self.put.contains(name) {
                true => tracing::error!("{name}: build failed; still serving the previous one: {why}"),
                false => tracing::error!("{name}: build failed, so it does not serve yet: {why}"),
            }
            failed.insert(name);
        }
        let names = built.handlers().iter().map(|entry| entry.name.clone());
        self.put.extend(names.filter(|name| !failed.contains(name.as_str())));
        self.built = Some(Arc::new(built));
    }

    /// Puts what could be built into the folder.
    pub(super) async fn publish(&mut self, took: Duration, orders: Option<&Arc<Orders>>) {
        let Some(built) = self.built.clone() else { return };
        if orders.is_some() {
            self.refused.clear();
        }
        let names = built.handlers().iter().map(|entry| entry.name.clone());
        let without: BTreeSet<_> =
            names.filter(|name| !self.put.contains(name) || self.refused.contains(name)).collect();
        if without.len() == built.handlers().len() {
            return;
        }
        let (folder, orders) = (self.folder.clone(), orders.cloned());
        let put = tokio::task::spawn_blocking(move || {
            let put = || built.put_copy(&folder, &without);
            match orders {
                Some(orders) => orders.publish(took, put),
                None => put(),
            }
        });
        if let Err(error) = put.await.map_err(anyhow::Error::from).flatten() {
            tracing::error!("cannot put the handlers into {}: {error:#}", self.folder.display());
        }
    }

    /// Leaves out the handlers that a start refuses, so that the others serve.
    pub(super) async fn leave_out(&mut self, refused: &Refused) {
        let handlers = self.built.iter().flat_map(|built| built.handlers());
        let named = |line: usize| refused.mistakes.iter().any(|mistake| mistake.line == Some(line));
        let names: BTreeSet<_> = handlers.filter(|entry| named(entry.line)).map(|entry| entry.name.clone()).collect();
        tracing::error!("{refused}");
        match names.is_subset(&self.refused) {
            true => self.blocked = true,
            false => self.refused.extend(names),
        }
        if self.is_something_to_serve() {
            let names = self.refused.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            tracing::warn!("starting without {names}");
            self.publish(Duration::ZERO, None).await;
        }
    }

    /// Lets the node itself try what a start has refused, whenever a cause may have passed.
    pub(super) async fn try_again(&mut self, orders: &Arc<Orders>) {
        if !self.refused.is_empty() {
            self.publish(Duration::ZERO, Some(orders)).await;
        }
    }

    /// Something has changed, so a start may succeed.
    pub(super) fn forget_refusals(&mut self) {
        self.refused.clear();
        self.blocked = false;
    }
}
