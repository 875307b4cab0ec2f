//! `galo dev`: its arguments.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use galo::config::{AccessLog, Mistakes, Readers, Recording};
use galo::database::Target;
use galo::develop::build::Checkout;
use galo::develop::dev::{self, Options, Place};
use galo::drain::Outcome;
use galo::log;

use super::node::{Defaults, NodeArgs};
use super::project::ProjectArgs;
use super::runtime::{Task, run_on};

#[derive(Args)]
pub(super) struct DevArgs {
    /// Discard data from earlier runs; with --branch, that of the branch
    #[arg(long)]
    fresh: bool,
    /// Serve on a copy of the database, which is made on first use
    ///
    /// It is copied as it is at that moment, once nothing is connected to it, and kept under this name.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// List the branches, and serve nothing
    #[arg(long, conflicts_with_all = ["fresh", "branch", "drop_branch"])]
    branches: bool,
    /// Drop a branch, and serve nothing
    #[arg(long, value_name = "NAME", conflicts_with_all = ["fresh", "branch"])]
    drop_branch: Option<String>,
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    node: NodeArgs,
}

impl DevArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let Self { fresh, branch, branches, drop_branch, project, node } = self;
        let database = node.database.given(mistakes);
        if fresh && branch.is_none() && node.database.is_given() {
            mistakes.note("--fresh", "cannot discard the data of the database in DATABASE_URL; empty it yourself");
        }
        let checkout = project.find().map_err(|error| mistakes.note("dev", error)).ok();
        let folder = checkout.as_ref().map(|checkout| checkout.scratch().join("handlers")).unwrap_or_default();
        let node =
            node.parse(folder, Defaults { access_log: AccessLog::All, recording: Recording::one_in(1) }, mistakes);
        let (checkout, (mut settings, workers)) = checkout.zip(node)?;
        // The data are a developer's own.
        settings.readers = Readers::Loopback;
        // What is served is a copy without the secrets and keys beside the manifest.
        settings.sources.folder = Some(checkout.root.clone());
        Some(Box::new(move || {
            let galo = std::env::current_exe().context("cannot find the galo program itself")?;
            if branches || drop_branch.is_some() {
                return run_on(Some(1), at_branches(checkout, database, drop_branch, galo));
            }
            run_on(workers, dev::dev(Options { checkout, fresh, database, branch, settings }, &galo))
        }))
    }
}

/// Lists the branches, or drops one.
async fn at_branches(
    checkout: Checkout,
    database: Option<Target>,
    dropped: Option<String>,
    galo: PathBuf,
) -> anyhow::Result<Outcome> {
    let place = Place::find(&checkout, database, &galo).await?;
    match dropped {
        Some(name) => {
            ensure!(
                dev::drop_branch(&place, &name).await?,
                "there is no branch {name}; `galo dev --branches` lists them"
            );
            log::print(format_args!("dropped {name}"));
        }
        None => {
            let branches = dev::branches(&place).await?;
            branches.iter().for_each(|branch| log::print(format_args!("{:<30} {}", branch.name, branch.size)));
            if branches.is_empty() {
                log::print(format_args!("no branches; `galo dev --branch NAME` makes one"));
            }
        }
    }
    place.close().await?;
    Ok(Outcome::Graceful)
}
