//! `galo proxy nginx DIR`: writes what a proxy must know of a manifest to stdout. Asks neither components nor database.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use galo::{log, manifest, proxy};

#[derive(Args)]
pub(super) struct ProxyArgs {
    /// Which proxy
    #[arg(value_enum)]
    proxy: Program,
    /// The folder of galo.toml
    #[arg(env = "GALO_HANDLERS", value_name = "DIR")]
    handlers: PathBuf,
    /// What the proxy calls the nodes: the name of nginx's `upstream` block
    #[arg(long, value_name = "NAME", default_value = "nodes")]
    upstream: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Program {
    /// A file to be included in a `server` block
    Nginx,
}

impl ProxyArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { proxy: Program::Nginx, handlers, upstream } = self;
        let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            !upstream.is_empty() && upstream.chars().all(named),
            "--upstream: `{upstream}` cannot be the name of one"
        );
        let text = proxy::nginx(&manifest::read(&handlers)?, &upstream);
        log::print(format_args!("{}", text.trim_end()));
        Ok(ExitCode::SUCCESS)
    }
}
