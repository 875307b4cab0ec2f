//! `galo psql`: its arguments.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use galo::config::Mistakes;
use galo::develop::psql::{self, Database, Options};
use galo::drain::Outcome;

use super::database::DatabaseArgs;
use super::project::ProjectArgs;
use super::runtime::{Task, run_on};

/// What is missing where there is neither a connection string nor a project.
const UNKNOWN: &str = "DATABASE_URL is not set, and there is no project whose database could be opened";

#[derive(Args)]
pub(super) struct PsqlArgs {
    /// Branch of the database (`galo dev --branch`)
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Arguments of psql, such as `-- -c "SELECT 1"`
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl PsqlArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let Self { branch, project, database, arguments } = self;
        let database = match database.is_given() {
            true => Database::Given(database.variables(mistakes)?),
            false => Database::Private(project.find().map_err(|error| mistakes.note(UNKNOWN, error)).ok()?),
        };
        Some(Box::new(move || {
            let galo = std::env::current_exe().context("cannot find the galo program itself")?;
            let mut status = 0;
            run_on(Some(1), async {
                status = psql::psql(Options { database, branch, arguments }, &galo).await?;
                Ok(Outcome::Graceful)
            })?;
            Ok(ExitCode::from(status))
        }))
    }
}
