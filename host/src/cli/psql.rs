//! `galo psql`: its arguments.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use galo::config::Mistakes;
use galo::develop::psql::{self, Options};
use galo::drain::Outcome;

use super::database::DatabaseArgs;
use super::runtime::{Task, run_on};

#[derive(Args)]
pub(super) struct PsqlArgs {
    /// Branch of the database (`galo dev --branch`)
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Arguments of psql, such as `-- -c "SELECT 1"`
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl PsqlArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let Self { branch, database, arguments } = self;
        let given = match database.is_given() {
            true => Some(database.variables(mistakes)?),
            false => None,
        };
        Some(Box::new(move || {
            let galo = std::env::current_exe().context("cannot find the galo program itself")?;
            let mut status = 0;
            run_on(Some(1), async {
                status = psql::psql(Options { given, branch, arguments }, &galo).await?;
                Ok(Outcome::Graceful)
            })?;
            Ok(ExitCode::from(status))
        }))
    }
}
