//! The `galo` program: parses the command line, runs it, and reports how it ended.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when the reader of a pipe has closed it; `log` does not"
)]

mod cli;

use std::process::ExitCode;

use clap::Parser as _;
use galo::log;

/// See the workspace's `Cargo.toml` for the reason.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let code = match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => report(&error),
    };
    log::flush();
    code
}

/// Prints the whole chain of causes in one line; a list of mistakes keeps its lines.
fn report(error: &anyhow::Error) -> ExitCode {
    log::line(&format!("galo: {error:#}"));
    ExitCode::FAILURE
}
