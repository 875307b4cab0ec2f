//! `galo new`: its arguments, and what is told of the handler it made. Called by `cli`.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use galo::develop::build::Checkout;
use galo::develop::scaffold::{self, Options};
use galo::log;

#[derive(Args)]
pub(super) struct NewArgs {
    /// What the handler and its crate are called: small letters, digits, `-` and `_`
    #[arg(value_name = "NAME")]
    name: String,
    /// Where it answers: "GET /clientes/{id}/resumo"
    #[arg(long, value_name = "ROUTE")]
    route: String,
    /// The procedure it calls with the parameters of the route, each an integer; its first row is the answer
    #[arg(long, value_name = "NAME")]
    procedure: Option<String>,
}

impl NewArgs {
    /// Makes the handler and says what comes next.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, route, procedure } = self;
        let checkout = Checkout::find(Path::new("."))?;
        scaffold::new(&checkout, &Options { name: name.clone(), route: route.clone(), procedure: procedure.clone() })?;
        log::print(format_args!("\n  handlers/{name}/    the handler, its tests and its examples"));
        log::print(format_args!("  handlers/galo.toml    its place in the manifest: {route}\n\n  Next"));
        if let Some(procedure) = procedure {
            log::print(format_args!(
                "    write `{procedure}` into sql/2_procedures.sql, and its grant into sql/3_grants.sql"
            ));
        }
        log::print(format_args!("    galo test {name}\n    galo dev\n"));
        Ok(ExitCode::SUCCESS)
    }
}
