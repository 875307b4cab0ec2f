//! Follows the sources: on a change it builds the handlers again and puts them where the node looks for them, or
//! applies what is new in `sql/`. A failure is logged and changes nothing: what was built before keeps serving, and
//! what could not be built is tried again with the next change.
//!
//! One build at a time, and the latest change wins: a build whose sources have changed is killed and starts over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::database::Database;
use super::publish::Published;
use crate::database::migrate::Options;
use crate::database::{self, Target};
use crate::develop::build::{self, Built, Cancel, Prepared, Profile, Project};
use crate::develop::sources::{Purpose, Sources};
use crate::manifest::ProjectEntry;
use crate::reload::Orders;

/// The sources of a project, followed.
pub(super) struct Follower {
    project: Project,
    sources: Sources,
    /// Ends the build under way.
    cancel: Cancel,
    prepared: Option<Arc<Prepared>>,
    /// What the node is given.
    pub(super) published: Published,
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
    pub(super) async fn new(project: Project, folder: PathBuf, cancel: Cancel) -> Self {
        let sources = Sources::new(&project, Purpose::Serve).await;
        Self { project, sources, cancel, prepared: None, published: Published::new(folder), applied: false }
    }

    /// Builds, and puts what could be built into the folder.
    pub(super) async fn first_build(&mut self) {
        if self.build().await.is_some() {
            self.published.publish(Duration::ZERO, None).await;
        }
    }

    /// What the manifest says about the project, as soon as it can be read.
    pub(super) async fn section(&mut self) -> ProjectEntry {
        loop {
            match self.project.section() {
                Ok(section) => return section,
                // The build reports what is wrong with it.
                Err(_) if self.sources.changed => {
                    self.first_build().await;
                    tracing::info!("nothing to serve yet; waiting for a change");
                }
                Err(_) => {
                    self.sources.stirred().await;
                    self.sources.scan().await;
                }
            }
        }
    }

    /// Builds and applies `sql/`, with every change again, until there is something to serve.
    pub(super) async fn until_servable(&mut self, database: &Database) {
        loop {
            if self.sources.changed {
                self.first_build().await;
            }
            if !self.applied || self.sources.sql_changed {
                self.apply_first(database).await;
            }
            if self.applied && self.published.is_something_to_serve() {
                return;
            }
            tracing::info!("nothing to serve yet; waiting for a change");
            self.change().await;
            // What a start has refused is tried again.
            self.published.publish(Duration::ZERO, None).await;
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, owner: Target, orders: Arc<Orders>) {
        self.published.try_again(&orders).await;
        loop {
            if self.sources.changed {
                if let Some(took) = self.build().await {
                    self.published.publish(took, Some(&orders)).await;
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
        self.sources.change().await;
        self.published.forget_refusals();
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
                    let serving = if self.published.is_empty() { "" } else { "; still serving what was built before" };
                    tracing::error!("build failed{serving}: {error:#}");
                    self.prepared = None;
                    return None;
                }
                Ended::Built(built) => {
                    if built.failures().next().is_some() {
                        self.prepared = None;
                    }
                    self.published.note(built);
                    return Some(begun.elapsed());
                }
            }
        }
    }

    /// Builds once.
    async fn attempt(&mut self) -> Ended {
        self.sources.begin().await;
        let prepared = match self.prepare().await {
            Ok(prepared) => prepared,
            Err(error) => return Ended::Failed(error),
        };
        self.sources.follow(&prepared).await;
        if self.sources.changed {
            self.forget_if_stale();
            return Ended::Stopped;
        }
        // What has changed up to here is part of this build.
        let due = std::mem::take(&mut self.sources.due);
        let mut build = tokio::task::spawn_blocking({
            let (due, cancel) = (due.clone(), self.cancel.clone());
            move || prepared.build(Profile::Development, |name| due.contains(name), &cancel)
        });
        let in_time = self.sources.during(&mut build).await;
        let stopped = in_time.is_none();
        let built = match in_time {
            Some(built) => built,
            None => {
                self.cancel.cancel();
                let stopped = build.await;
                self.cancel.rearm();
                stopped
            }
        };
        self.sources.ended(stopped).await;
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
        let (project, cancel) = (self.project.clone(), self.cancel.clone());
        let prepared = tokio::task::spawn_blocking(move || build::prepare(&project, &cancel)).await??;
        Ok(Arc::clone(self.prepared.insert(Arc::new(prepared))))
    }

    /// Applies `sql/` before anything serves.
    async fn apply_first(&mut self, database: &Database) {
        self.sources.sql_changed = false;
        let applied = database.apply(&self.project.sql()).await;
        self.applied |= applied.is_ok();
        if let Err(error) = applied {
            tracing::error!("{error:#}");
        }
    }

    async fn apply(&mut self, owner: &Target, orders: &Orders) {
        self.sources.sql_changed = false;
        let begun = Instant::now();
        let never = std::future::pending();
        match database::migrate(owner, &self.project.sql(), &Options::default(), never).await {
            Ok(applied) if applied.is_nothing() => tracing::info!("sql/ has nothing new"),
            Ok(applied) => {
                let ms = begun.elapsed().as_millis();
                tracing::info!("applied sql/ in {ms} ms: {applied}");
                orders.procedures_changed();
            }
            Err(error) => tracing::error!("cannot apply sql/; what failed has changed nothing: {error:#}"),
        }
    }
}
