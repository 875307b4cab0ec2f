//! `galo init`: its arguments, and the next steps that it prints.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use galo::develop::project::{self, Kit};
use galo::log;

#[derive(Args)]
pub(super) struct InitArgs {
    /// Name of the project and its folder: lower-case letters, digits, `-` and `_`
    #[arg(value_name = "NAME")]
    name: String,
    /// Where the kit for authors of handlers comes from: `vendored`, `registry` or `path:FOLDER`
    ///
    /// `vendored` writes its sources into the project, so that it builds without anything published. `registry` depends
    /// on the published crates of this program's version. A path is relative to the project.
    #[arg(long, value_name = "KIT", default_value = "vendored")]
    kit: String,
}

impl InitArgs {
    /// Makes the project and prints the next steps.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let kit: Kit = self.kit.parse().map_err(anyhow::Error::msg).context("--kit")?;
        let name = &self.name;
        project::init(Path::new("."), name, &kit)?;
        log::print(format_args!("\n  Created {name}/: a handler with its tests and examples, its SQL, and a stack\n"));
        log::print(format_args!("  Next\n    cd {name}\n    galo dev\n"));
        Ok(ExitCode::SUCCESS)
    }
}
