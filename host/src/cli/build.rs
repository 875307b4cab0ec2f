//! `galo build`: its arguments.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use galo::develop::build::{self, Cancel, Profile};
use galo::log;

use super::project::ProjectArgs;

#[derive(Args)]
pub(super) struct BuildArgs {
    /// Folder for the components and the manifest
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    #[command(flatten)]
    project: ProjectArgs,
}

impl BuildArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let checkout = self.project.find()?;
        build::handlers(&checkout, Profile::Release, &Cancel::default())?.put(&self.out)?;
        log::print(format_args!("{}", self.out.display()));
        Ok(ExitCode::SUCCESS)
    }
}
