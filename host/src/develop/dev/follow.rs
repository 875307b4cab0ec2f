//! Follows the sources while `galo dev` serves: handlers are built again and put where the node looks for them, `sql/`
//! is applied again. What fails is told and changes nothing.
//!
//! One build at a time, and the latest change wins: a build that is overtaken is killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::Options;
use crate::database::{self, Target};
use crate::develop::build::{self, Cancel, Checkout, Profile};
use crate::reload::{Orders, Watch};

/// What is followed.
pub(super) struct Follower {
    checkout: Checkout,
    folder: PathBuf,
    sources: Watch,
    sql: Watch,
    /// Ends the build under way.
    cancel: Cancel,
}

impl Follower {
    /// Watches from here on; nothing is done before `run`.
    pub(super) async fn new(options: &Options, cancel: &Cancel) -> Self {
        let root = &options.checkout.root;
        let sources = vec![options.checkout.handlers(), root.join("wit"), root.join("Cargo.toml")];
        Self {
            checkout: options.checkout.clone(),
            folder: options.settings.handlers.clone(),
            sources: Watch::new(sources).await,
            sql: Watch::new(vec![options.checkout.sql()]).await,
            cancel: cancel.clone(),
        }
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

    /// Builds until what was built is what is there.
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
                        tracing::error!("not built, what serves stays: {error:#}");
                    }
                    return;
                }
                () = self.sources.changed() => {
                    tracing::info!("changed again, the build begins anew");
                    self.cancel.cancel();
                    // Its end is awaited: two builds would wait for each other's lock.
                    let _ = build.await;
                    self.cancel.rearm();
                }
            }
        }
    }

    async fn apply(&self, owner: &Target, orders: &Orders) {
        let begun = Instant::now();
        match database::reapply(owner, &self.checkout.sql()).await {
            Ok(()) => {
                let ms = begun.elapsed().as_millis();
                tracing::info!("sql/ is applied again, in {ms} ms");
                orders.procedures_changed();
            }
            Err(error) => tracing::error!("sql/ is not applied, the database stays as it is: {error}"),
        }
    }
}
