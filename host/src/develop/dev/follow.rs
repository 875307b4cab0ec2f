//! Follows the sources: on a change it builds the handlers again and puts them where the node looks for them, or applies
//! `sql/` again. A failure is logged and changes nothing: what was built before keeps serving, and what could not be
//! built is tried again with the next change.
//!
//! One build at a time, and the latest change wins: a build whose sources have changed is killed and starts over.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Database;
use super::outputs::Outputs;
use super::sources::Sources;
use crate::database::{self, Target};
use crate::develop::build::{self, Built, Cancel, Checkout, Prepared, Profile};
use crate::manifest::Refused;
use crate::reload::Orders;

/// The sources of a project, followed.
pub(super) struct Follower {
    checkout: Checkout,
    /// Where the node looks for components.
    folder: PathBuf,
    sources: Sources,
    outputs: Outputs,
    /// Ends the build under way.
    cancel: Cancel,
    prepared: Option<Arc<Prepared>>,
    /// The last build that was not stopped.
    built: Option<Arc<Built>>,
    /// The handlers that this run has put into the folder.
    put: BTreeSet<String>,
    /// The handlers that a start has refused.
    refused: BTreeSet<String>,
    /// Whether `sql/` was applied.
    applied: bool,
}

/// How a build ended.
enum Ended {
    Built(Built),
    /// Sources have changed; it has to start over.
    Stopped,
    Failed(anyhow::Error),
}

impl Follower {
    /// Follows from here on; changes are acted on by `run`.
    pub(super) async fn new(checkout: Checkout, folder: PathBuf, cancel: Cancel) -> Self {
        let sources = Sources::new(&checkout).await;
        Self {
            checkout,
            folder,
            sources,
            outputs: Outputs::default(),
            cancel,
            prepared: None,
            built: None,
            put: BTreeSet::new(),
            refused: BTreeSet::new(),
            applied: false,
        }
    }

    /// Builds, and puts what could be built into the folder.
    pub(super) async fn first_build(&mut self) {
        if self.build().await.is_some() {
            self.publish(Duration::ZERO, None).await;
        }
    }

    /// Builds and applies `sql/`, with every change again, until there is something to serve.
    pub(super) async fn until_servable(&mut self, database: &Database) {
        loop {
            if self.sources.changed {
                self.first_build().await;
            }
            if !self.applied {
                self.apply_first(database).await;
            }
            if self.applied && self.is_something_to_serve() {
                return;
            }
            tracing::info!("nothing to serve yet; waiting for a change");
            self.change().await;
        }
    }

    fn is_something_to_serve(&self) -> bool {
        let known = self.built.iter().flat_map(|built| built.handlers());
        known.map(|entry| &entry.name).any(|name| self.put.contains(name) && !self.refused.contains(name))
    }

    /// Leaves out the handlers that a start refuses, so that the others serve.
    pub(super) async fn leave_out(&mut self, refused: &Refused) {
        let handlers = self.built.iter().flat_map(|built| built.handlers());
        let named = |line: usize| refused.mistakes.iter().any(|mistake| mistake.line == Some(line));
        let names: BTreeSet<_> = handlers.filter(|entry| named(entry.line)).map(|entry| entry.name.clone()).collect();
        tracing::error!("{refused}");
        match names.is_subset(&self.refused) {
            // No handler is the cause.
            true => self.put.clear(),
            false => self.refused.extend(names),
        }
        if self.is_something_to_serve() {
            let names = self.refused.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            tracing::warn!("starting without {names}");
            self.publish(Duration::ZERO, None).await;
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, owner: Target, orders: Arc<Orders>) {
        if !self.refused.is_empty() {
            // From here on the node itself tries them again, whenever a cause may have passed.
            self.publish(Duration::ZERO, Some(&orders)).await;
        }
        loop {
            if self.sources.changed {
                if let Some(took) = self.build().await {
                    self.publish(took, Some(&orders)).await;
                }
            } else if self.sources.sql_changed {
                self.apply(&owner, &orders).await;
            } else {
                self.change().await;
            }
        }
    }

    /// Waits until something has changed.
    async fn change(&mut self) {
        while !self.sources.changed && !self.sources.sql_changed {
            self.sources.stirred().await;
            let files = self.sources.scan().await;
            self.outputs.changed_between(&files);
        }
        if self.sources.changed {
            self.refused.clear();
        }
        self.forget_if_stale();
    }

    /// What Cargo reported about the crates is asked again when it may be another now.
    fn forget_if_stale(&mut self) {
        if std::mem::take(&mut self.sources.layout_changed) {
            self.prepared = None;
        }
    }

    /// Builds until no source has changed during the build that makes another one necessary. Returns how long the last
    /// one took, or `None` if it failed.
    async fn build(&mut self) -> Option<Duration> {
        loop {
            let begun = Instant::now();
            match self.attempt().await {
                Ended::Stopped => tracing::info!("sources changed during the build; building again"),
                Ended::Failed(error) => {
                    let serving = if self.put.is_empty() { "" } else { "; still serving what was built before" };
                    tracing::error!("build failed{serving}: {error:#}");
                    self.prepared = None;
                    return None;
                }
                Ended::Built(built) => {
                    if built.failures().next().is_some() {
                        self.prepared = None;
                    }
                    self.built = Some(Arc::new(built));
                    return Some(begun.elapsed());
                }
            }
        }
    }

    /// Builds once.
    async fn attempt(&mut self) -> Ended {
        self.sources.changed = false;
        let prepared = match self.prepare().await {
            Ok(prepared) => prepared,
            Err(error) => return Ended::Failed(error),
        };
        // What has changed up to here is part of this build.
        self.sources.follow(&prepared).await;
        self.sources.changed = false;
        let due = std::mem::take(&mut self.sources.due);
        let mut build = tokio::task::spawn_blocking({
            let (due, cancel) = (due.clone(), self.cancel.clone());
            move || prepared.build(Profile::Development, |name| due.contains(name), &cancel)
        });
        let mut stopped = false;
        let built = loop {
            tokio::select! {
                built = &mut build => break built,
                () = self.sources.stirred(), if !stopped => {
                    let files = self.sources.scan().await;
                    if self.outputs.changed(&files) {
                        stopped = true;
                        self.cancel.cancel();
                    }
                }
            }
        };
        if stopped {
            self.cancel.rearm();
        } else {
            // A file that was written last; it may make another build necessary.
            let files = self.sources.scan().await;
            self.outputs.changed(&files);
        }
        let (again, written) = self.outputs.ended();
        for file in written {
            tracing::warn!("{} changes with every build, so it does not cause another one", file.display());
        }
        self.sources.changed = !again.is_empty();
        self.forget_if_stale();
        match built.map_err(anyhow::Error::from).flatten() {
            Ok(built) if !stopped => {
                self.sources.built(&built, &due).await;
                Ended::Built(built)
            }
            ended => {
                self.sources.due.extend(due);
                ended.err().filter(|_| !stopped).map_or(Ended::Stopped, Ended::Failed)
            }
        }
    }

    async fn prepare(&mut self) -> anyhow::Result<Arc<Prepared>> {
        if let Some(prepared) = &self.prepared {
            return Ok(Arc::clone(prepared));
        }
        let (checkout, cancel) = (self.checkout.clone(), self.cancel.clone());
        let prepared = tokio::task::spawn_blocking(move || build::prepare(&checkout, &cancel)).await??;
        Ok(Arc::clone(self.prepared.insert(Arc::new(prepared))))
    }

    /// Puts what could be built into the folder, and logs what could not.
    async fn publish(&mut self, took: Duration, orders: Option<&Arc<Orders>>) {
        let Some(built) = self.built.clone() else { return };
        if orders.is_some() {
            self.refused.clear();
        }
        for (name, why) in built.failures() {
            match self.put.contains(name) {
                true => tracing::error!("{name}: build failed; still serving the previous one: {why}"),
                false => tracing::error!("{name}: build failed, so it does not serve yet: {why}"),
            }
        }
        let names = || built.handlers().iter().map(|entry| entry.name.clone());
        let failed: BTreeSet<_> = built.failures().map(|(name, _)| name).collect();
        self.put.extend(names().filter(|name| !failed.contains(name.as_str())));
        let without: BTreeSet<_> =
            names().filter(|name| !self.put.contains(name) || self.refused.contains(name)).collect();
        if without.len() == built.handlers().len() {
            return;
        }
        let (folder, orders) = (self.folder.clone(), orders.cloned());
        let put = tokio::task::spawn_blocking(move || {
            let put = || built.put_some(&folder, &without);
            match orders {
                Some(orders) => orders.publish(took, put),
                None => put(),
            }
        });
        if let Err(error) = put.await.map_err(anyhow::Error::from).flatten() {
            tracing::error!("cannot put the handlers into {}: {error:#}", self.folder.display());
        }
    }

    /// Applies `sql/` before anything serves.
    async fn apply_first(&mut self, database: &Database) {
        self.sources.sql_changed = false;
        match database.apply(&self.checkout.sql()).await {
            Ok(()) => self.applied = true,
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    async fn apply(&mut self, owner: &Target, orders: &Orders) {
        self.sources.sql_changed = false;
        let begun = Instant::now();
        match database::reapply(owner, &self.checkout.sql()).await {
            Ok(()) => {
                let ms = begun.elapsed().as_millis();
                tracing::info!("re-applied sql/ in {ms} ms");
                orders.procedures_changed();
            }
            Err(error) => tracing::error!("cannot apply sql/; the database is unchanged: {error}"),
        }
    }
}
