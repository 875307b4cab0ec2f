//! The project of `dev`, `build`, `new` and `test`.

use std::path::{Path, PathBuf};

use clap::Args;
use galo::develop::build::Checkout;

#[derive(Args)]
pub(super) struct ProjectArgs {
    /// Folder of the project [default: the nearest one with a galo.toml, from the current folder upwards]
    #[arg(long = "project", value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl ProjectArgs {
    /// The project that was named, or the one that the current folder is in.
    pub(super) fn find(&self) -> anyhow::Result<Checkout> {
        match &self.folder {
            Some(folder) => Checkout::open(folder),
            None => Checkout::find(Path::new(".")),
        }
    }
}
