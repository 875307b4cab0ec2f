//! `galo dev`: its arguments.

use anyhow::Context as _;
use clap::Args;
use galo::config::{AccessLog, Mistakes};
use galo::develop::dev::{self, Options};

use super::node::NodeArgs;
use super::project::ProjectArgs;
use super::runtime::{Task, run_on};

#[derive(Args)]
pub(super) struct DevArgs {
    /// Discard data from earlier runs
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    node: NodeArgs,
}

impl DevArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let Self { fresh, project, node } = self;
        let database = node.database.given(mistakes);
        if fresh && node.database.is_given() {
            mistakes.note("--fresh", "cannot discard the data of the database in DATABASE_URL; empty it yourself");
        }
        let checkout = project.find().map_err(|error| mistakes.note("dev", error)).ok();
        let folder = checkout.as_ref().map(|checkout| checkout.scratch().join("handlers")).unwrap_or_default();
        let node = node.parse(folder, AccessLog::All, mistakes);
        let (checkout, (settings, workers)) = checkout.zip(node)?;
        Some(Box::new(move || {
            let galo = std::env::current_exe().context("cannot find the galo program itself")?;
            run_on(workers, dev::dev(Options { checkout, fresh, database, settings }, &galo))
        }))
    }
}
