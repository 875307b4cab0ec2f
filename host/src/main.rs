//! The `galo` program: parses the command line, runs it, and tells how it ended.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

/// See the workspace's `Cargo.toml` for the reason.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

/// The whole chain of causes in one line; a list of mistakes keeps its lines.
fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("galo: {error:#}");
    ExitCode::FAILURE
}
