//! `galo test`: its arguments.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use galo::config::OWN_PROGRAM;
use galo::develop::test_runner;

use super::project::ProjectArgs;

#[derive(Args)]
pub(super) struct TestArgs {
    /// Handler to test; without it, all handlers and the kit
    ///
    /// A file whose name ends in .wasm is a test program, which is run with the arguments that follow. So `galo test`
    /// can be Cargo's runner for wasm32-wasip2.
    #[arg(value_name = "HANDLER")]
    what: Option<String>,
    #[command(flatten)]
    project: ProjectArgs,
    /// Arguments of the test program, as libtest takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl TestArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let galo = Path::new(OWN_PROGRAM);
        let passed = match self.what.as_deref() {
            Some(file) if file.ends_with(".wasm") => test_runner::run_program(Path::new(file), &self.arguments, galo)?,
            handler => test_runner::run_handlers(&self.project.find()?, handler, galo)?,
        };
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
