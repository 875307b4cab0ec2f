//! `galo test`: its arguments.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use galo::config::{Mistakes, OWN_PROGRAM};
use galo::develop::build::Checkout;
use galo::develop::test_runner::{self, Ended, Options, Selection};

use super::database;
use super::runtime::{Task, block_on};

#[derive(Args)]
pub(super) struct TestArgs {
    /// Handler to test; without it, all handlers and the kit
    ///
    /// A file whose name ends in .wasm is a test program, which is run with the arguments that follow. So `galo test`
    /// can be Cargo's runner for wasm32-wasip2.
    #[arg(value_name = "HANDLER")]
    what: Option<String>,
    /// Run only tests and examples with this text in their name; also --exact, --ignored and others of libtest
    #[arg(value_name = "NAME", allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// The same for all handlers: run only tests and examples with this text in their name
    #[arg(long, value_name = "TEXT")]
    name: Vec<String>,
    /// Test again after each change of the sources
    #[arg(long)]
    watch: bool,
    /// File to write a report to, in the format of JUnit
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Server for end-to-end examples: a Postgres URL [default: a private server]
    ///
    /// The role must be able to create databases and what `sql/` describes. The database of the URL is not changed:
    /// scratch databases are made beside it, and dropped at the end. Roles belong to the server, and stay.
    #[arg(long, env = "GALO_TEST_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
}

impl TestArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let program = self.what.as_deref().filter(|what| what.ends_with(".wasm"));
        if let Some(program) = program.map(PathBuf::from) {
            return Some(Box::new(move || {
                let passed = test_runner::run_program(&program, &self.arguments, Path::new(OWN_PROGRAM))?;
                Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }));
        }
        let database = match &self.database {
            Some(url) => Some(database::read("--database", url, mistakes)?),
            None => None,
        };
        Some(Box::new(move || {
            let Self { what: handler, arguments, name, watch, junit, .. } = self;
            let selection = Selection::parse(&arguments)?.with_names(name);
            let checkout = Checkout::find(Path::new("."))?;
            let galo = std::env::current_exe().context("cannot find the galo program itself")?;
            let options = Options { checkout, handler, selection, database, junit, watch };
            Ok(match block_on(None, test_runner::test(options, &galo))? {
                Ended::Passed => ExitCode::SUCCESS,
                Ended::Failed => ExitCode::FAILURE,
                // As a shell reports a program that ended by Ctrl-C.
                Ended::Interrupted => ExitCode::from(130),
            })
        }))
    }
}
