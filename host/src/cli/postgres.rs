//! `galo postgres`, hidden: its arguments.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use galo::develop::postgres::{self, GuardOptions};

#[derive(Args)]
pub(super) struct PostgresArgs {
    /// Folder of the cluster; made if it does not exist
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Delete the data first
    #[arg(long)]
    fresh: bool,
    /// Flush nothing to disk, and delete the data at the end
    #[arg(long)]
    throwaway: bool,
    /// Postgres setting, which overrides that of a private cluster
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

impl PostgresArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { data, fresh, throwaway, settings } = self;
        postgres::guard(GuardOptions { data, fresh, throwaway, settings })?;
        Ok(ExitCode::SUCCESS)
    }
}
