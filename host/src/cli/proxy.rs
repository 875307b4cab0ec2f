//! `galo proxy nginx DIR`: prints the configuration of a proxy. It reads the manifest only.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use galo::{log, manifest, proxy};

use super::folder;
use super::project::ProjectArgs;

#[derive(Args)]
pub(super) struct ProxyArgs {
    /// Proxy to configure
    #[arg(value_enum)]
    proxy: Program,
    /// Folder with galo.toml [default: the project]
    #[arg(env = "GALO_HANDLERS", value_name = "DIR")]
    handlers: Option<PathBuf>,
    #[command(flatten)]
    project: ProjectArgs,
    /// Name of nginx's `upstream` block with the nodes
    #[arg(long, value_name = "NAME", default_value = "nodes")]
    upstream: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Program {
    /// A file to include in a `server` block
    Nginx,
}

impl ProxyArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { proxy: Program::Nginx, handlers, project, upstream } = self;
        let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            !upstream.is_empty() && upstream.chars().all(named),
            "--upstream: invalid name `{upstream}`; use letters, digits, `-`, `_` and `.`"
        );
        let handlers = match handlers {
            Some(folder) => folder,
            None => project.find()?.root,
        };
        folder::check(&handlers)?;
        let text = proxy::nginx(&manifest::read(&handlers)?, &upstream);
        log::print(format_args!("{}", text.trim_end()));
        Ok(ExitCode::SUCCESS)
    }
}
