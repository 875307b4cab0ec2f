//! The comparison, as one command: it sets everything up, measures, and writes BENCHMARKS.md with its plots. Hidden
//! subcommands are the servers that Galo is compared with.

mod against;
mod alternate;
mod chart;
mod cluster;
mod collector;
mod compare;
mod contender;
mod costs;
mod equal;
mod feature;
mod figures;
mod growth;
mod layout;
mod load;
mod machine;
mod measure;
mod measured;
mod model;
mod options;
mod overhead;
mod peer;
mod pgbench;
mod pgo;
mod plot;
mod process;
mod programs;
mod progress;
mod report;
mod results;
mod rounds;
mod run;
mod schedule;
mod serve;
mod server;
mod shards;
mod tables;
mod wrk;

use std::process::ExitCode;

use clap::Parser as _;
use galo::develop::postgres::{GuardOptions, guard};
use options::{Command, Options};

/// As in `galo`: the native twin has to have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match &options.command {
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Postgres { data, throwaway, settings }) => {
            let (data, settings) = (data.clone(), settings.clone());
            guard(GuardOptions { data, fresh: false, throwaway: *throwaway, settings })
        }
        None => run::run(&options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("galo-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
