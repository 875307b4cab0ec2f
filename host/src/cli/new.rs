//! `galo new`: its arguments, and the next steps that it prints.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use galo::develop::dev::SERVICE_ROLE;
use galo::develop::scaffold::{self, Options};
use galo::log;

use super::project::ProjectArgs;

#[derive(Args)]
pub(super) struct NewArgs {
    /// Name of the handler and its crate: lower-case letters, digits, `-` and `_`
    #[arg(value_name = "NAME")]
    name: String,
    /// Method and path of its requests, such as "GET /items/{id}"; several times for several routes
    #[arg(long, value_name = "ROUTE", required = true)]
    route: Vec<String>,
    /// Stored procedure that it calls
    ///
    /// It is called with the parameters of the path, each an integer, and its first row is the response. Without this
    /// option the handler responds without calling the database.
    #[arg(long, value_name = "NAME")]
    procedure: Option<String>,
    #[command(flatten)]
    project: ProjectArgs,
}

impl NewArgs {
    /// Makes the handler and prints the next steps.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, route, procedure, project } = self;
        let checkout = project.find()?;
        let (first, further) = route.split_first().context("a route is required")?;
        let (first, further) = (first.clone(), further.to_vec());
        let options = Options { name: name.clone(), route: first, further, procedure: procedure.clone() };
        scaffold::new(&checkout, &options)?;
        log::print(format_args!("\n  Created handlers/{name}/: the handler, its tests and its examples"));
        log::print(format_args!("  Added to galo.toml: {}\n\n  Next", route.join(", ")));
        if let Some(procedure) = procedure {
            log::print(format_args!(
                "    create `{procedure}` in a file of sql/procedures/, and grant EXECUTE on it to the role `{SERVICE_ROLE}`"
            ));
        }
        log::print(format_args!("    galo test {name}\n    galo dev\n"));
        Ok(ExitCode::SUCCESS)
    }
}
