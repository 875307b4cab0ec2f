//! `galo componentize` and `galo bindings`: what the build of a handler in another language than Rust calls.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use galo::develop::languages::{self, Language};

#[derive(Args)]
pub(super) struct ComponentizeArgs {
    /// Core module, as clang links it
    #[arg(value_name = "MODULE")]
    module: PathBuf,
    /// File for the component
    #[arg(value_name = "COMPONENT")]
    component: PathBuf,
}

#[derive(Args)]
pub(super) struct BindingsArgs {
    /// Language of the handler: `c`, `js` or `python`
    #[arg(value_name = "LANGUAGE")]
    language: String,
    /// Folder to write to; made if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ComponentizeArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let shown = |path: &Path| path.display().to_string();
        let module = std::fs::read(&self.module).with_context(|| shown(&self.module))?;
        let component = languages::componentize(&module).with_context(|| shown(&self.module))?;
        std::fs::write(&self.component, component).with_context(|| shown(&self.component))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl BindingsArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let language: Language = self.language.parse().map_err(anyhow::Error::msg)?;
        languages::write_bindings(language, &self.folder)?;
        Ok(ExitCode::SUCCESS)
    }
}
