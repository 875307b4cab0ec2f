//! Follows the sources while `galo dev` serves: on a change it builds the handlers again and puts them where the node
//! looks for them, or applies what is new in `sql/`. A failure is logged and changes nothing.
//!
//! One build at a time, and the latest change wins: a build whose sources have changed is killed and starts over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::database::migrate::Options;
use crate::database::{self, Target};
use crate::develop::build::{self, Cancel, Checkout, Profile};
use crate::manifest;
use crate::reload::{Orders, Watch};

/// The sources of a project, watched.
pub(super) struct Follower {
    checkout: Checkout,
    folder: PathBuf,
    sources: Watch,
    sql: Watch,
    /// Ends the build under way.
    cancel: Cancel,
}

impl Follower {
    /// Watches from here on; changes are acted on by `run`. `folder` is where the node looks for components.
    pub(super) async fn new(checkout: Checkout, folder: PathBuf, cancel: Cancel) -> Self {
        let mut sources = vec![checkout.handlers()];
        sources.extend(["wit", "Cargo.toml", manifest::FILE_NAME].map(|name| checkout.root.join(name)));
        let (sources, sql) = (Watch::new(sources).await, Watch::new(vec![checkout.sql()]).await);
        Self { checkout, folder, sources, sql, cancel }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, owner: Target, orders: Arc<Orders>) {
        loop {
            tokio::select! {
                () = self.sources.changed() => self.build(&orders).await,
                () = self.sql.changed() => self.apply(&owner, &orders).await,
            }
        }
    }

    /// Builds until no source has changed during the build.
    async fn build(&mut self, orders: &Arc<Orders>) {
        loop {
            let begun = Instant::now();
            let mut build = tokio::task::spawn_blocking({
                let (checkout, folder, cancel) = (self.checkout.clone(), self.folder.clone(), self.cancel.clone());
                let orders = Arc::clone(orders);
                move || {
                    let built = build::handlers(&checkout, Profile::Development, &cancel)?;
                    orders.publish(begun.elapsed(), || built.put(&folder))
                }
            });
            tokio::select! {
                built = &mut build => {
                    if let Err(error) = built.map_err(anyhow::Error::from).and_then(|built| built) {
                        tracing::error!("build failed; still serving the previous one: {error:#}");
                    }
                    return;
                }
                () = self.sources.changed() => {
                    tracing::info!("sources changed during the build; building again");
                    self.cancel.cancel();
                    // Two builds would wait for each other's lock.
                    let _ = build.await;
                    self.cancel.rearm();
                }
            }
        }
    }

    async fn apply(&self, owner: &Target, orders: &Orders) {
        let begun = Instant::now();
        let never = std::future::pending();
        match database::migrate(owner, &self.checkout.sql(), &Options::default(), never).await {
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
