//! `galo build`: its arguments.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use galo::develop::build::{self, Cancel, Checkout, Profile};
use galo::log;

#[derive(Args)]
pub(super) struct BuildArgs {
    /// Folder for the components and the manifest
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
}

impl BuildArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let checkout = Checkout::find(Path::new("."))?;
        build::handlers(&checkout, Profile::Release, &Cancel::default())?.put(&self.out)?;
        log::print(format_args!("{}", self.out.display()));
        Ok(ExitCode::SUCCESS)
    }
}
