//! `galo test`: its arguments.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use galo::config::{Mistakes, OWN_PROGRAM};
use galo::develop::test_runner::{self, Ended, Options, Selection};

use super::database;
use super::project::ProjectArgs;
use super::runtime::{Task, block_on};

#[derive(Args)]
pub(super) struct TestArgs {
    /// Handler to test [default: all of them]
    ///
    /// A file whose name ends in .wasm is a test program, which is run with the arguments that follow. So `galo test`
    /// can be Cargo's runner for wasm32-wasip2.
    #[arg(value_name = "HANDLER")]
    what: Option<String>,
    /// Run only tests and examples with one of these texts in their name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The same, for all handlers
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Run recorded requests, too: handlers/NAME/corpus.jsonl, as `galo record` writes it
    ///
    /// What is decided otherwise than when they were recorded is a failure.
    #[arg(long)]
    corpus: bool,
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
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    libtest: LibtestArgs,
}

/// What Cargo, `cargo nextest` and people give to a test program.
#[derive(Args)]
#[command(next_help_heading = "Options of libtest")]
struct LibtestArgs {
    /// Compare whole names
    #[arg(long)]
    exact: bool,
    /// Run only unit tests marked `#[ignore]`
    #[arg(long)]
    ignored: bool,
    /// Run these too
    #[arg(long)]
    include_ignored: bool,
    /// Show what tests that passed printed
    #[arg(long, alias = "no-capture", alias = "show-output")]
    nocapture: bool,
    /// List the tests of a test program
    #[arg(long)]
    list: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
    #[arg(long, short, hide = true)]
    quiet: bool,
}

impl LibtestArgs {
    /// As a test program takes them. Tests always run one at a time, and what is printed is always the same.
    fn arguments(&self) -> Vec<String> {
        let flags = [
            (self.exact, "--exact"),
            (self.ignored, "--ignored"),
            (self.include_ignored, "--include-ignored"),
            (self.nocapture, "--nocapture"),
            (self.list, "--list"),
        ];
        let mut arguments: Vec<_> = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| (*flag).to_owned()).collect();
        if let (true, Some(format)) = (self.list, &self.format) {
            arguments.extend(["--format".to_owned(), format.clone()]);
        }
        arguments
    }
}

impl TestArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let mut arguments = self.libtest.arguments();
        arguments.extend(self.names);
        let program = self.what.as_deref().filter(|what| what.ends_with(".wasm"));
        if let Some(program) = program.map(PathBuf::from) {
            return Some(Box::new(move || {
                let passed = test_runner::run_program(&program, &arguments, Path::new(OWN_PROGRAM))?;
                Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }));
        }
        let database = match &self.database {
            Some(url) => Some(database::read("--database", url, mistakes)?),
            None => None,
        };
        Some(Box::new(move || {
            let selection = Selection::parse(&arguments)?.with_names(self.name);
            let project = self.project.find()?;
            let galo = std::env::current_exe().context("cannot find the galo program itself")?;
            let (handler, junit, watch) = (self.what, self.junit, self.watch);
            let options = Options { project, handler, selection, database, junit, corpus: self.corpus, watch };
            Ok(match block_on(None, test_runner::test(options, &galo))? {
                Ended::Passed => ExitCode::SUCCESS,
                Ended::Failed => ExitCode::FAILURE,
                // As a shell reports a program that ended by Ctrl-C.
                Ended::Interrupted => ExitCode::from(130),
            })
        }))
    }
}
