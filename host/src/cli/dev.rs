//! `galo dev`: its arguments.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use galo::config::{AccessLog, Mistakes, Readers, Recording};
use galo::database::Target;
use galo::develop::build::Project;
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
        let project = project.find().map_err(|error| mistakes.note("dev", error)).ok();
        let folder = project.as_ref().map(|project| project.scratch().join("handlers")).unwrap_or_default();
        let defaults = Defaults { access_log: AccessLog::All, recording: Recording::one_in(1) };
        let node = node.parse(folder, defaults, mistakes);
        let (project, (mut settings, workers)) = project.zip(node)?;
        // The data are a developer's own.
        settings.readers = Readers::Loopback;
        Some(Box::new(move || {
            let galo = std::env::current_exe().context("cannot find the galo program itself")?;
            if branches || drop_branch.is_some() {
                return run_on(Some(1), at_branches(project, database, drop_branch, galo));
            }
            run_on(workers, dev::dev(Options { project, fresh, database, branch, settings }, &galo))
        }))
    }
}

/// Lists the branches, or drops one.
async fn at_branches(
    project: Project,
    database: Option<Target>,
    dropped: Option<String>,
    galo: PathBuf,
) -> anyhow::Result<Outcome> {
    let place = Place::find(&project, database, &galo).await?;
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
