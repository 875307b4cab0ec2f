//! The bank test against a running stack: drives it for a while, waits until it is quiet, proves its ledger. Ends with
//! status 1 and every violation on stderr when the proof fails.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use galo_bank::client::Base;
use galo_bank::experiment::Experiment;
use galo_bank::history::{History, Outcome};
use galo_bank::load::Load;
use galo_bank::proof::Violation;
use galo_bank::source::Source;

/// Drives a Galo stack with many clients and proves its ledger
#[derive(Parser)]
struct Options {
    /// Where the stack answers: `http://host:port` or `unix:PATH`
    #[arg(long, default_value = "http://127.0.0.1:9999")]
    url: Base,
    /// Its database, as a role that may read the tables
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: String,
    /// How long the load lasts
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Clients at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1296))]
    clients: u32,
    /// What the clients ask is made from this; the same seed on an equal ledger asks the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests that a client waited for and that may fail; more are a failure of the test
    #[arg(long, value_name = "N")]
    failures_max: Option<usize>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("galo-bank: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    println!("seed {}, {} clients, {} s", options.seed, options.clients, options.seconds);
    let experiment = Experiment {
        load: Load::new(options.url.clone(), options.clients, options.seed),
        source: Source::Url(options.database_url.clone()),
    };
    let (history, violations) = experiment
        .run(async |_| {
            tokio::time::sleep(Duration::from_secs(options.seconds)).await;
            Ok(experiment.source.clone())
        })
        .await?;
    Ok(judge(options, &history, &violations))
}

fn judge(options: &Options, history: &History, violations: &[Violation]) -> ExitCode {
    for violation in violations {
        eprintln!("violation: {violation}");
    }
    let failed = history.failed();
    for failed in &failed {
        println!("failed at {:?} after {:?}: {}", failed.sent, failed.ended.saturating_sub(failed.sent), failed.why);
    }
    let too_many = options.failures_max.is_some_and(|most| failed.len() > most);
    if too_many {
        eprintln!("{} requests failed", failed.len());
    }
    let idle = history.count(Outcome::Ok) == 0;
    if idle {
        eprintln!("not one transaction was acknowledged: nothing is proved");
    }
    if violations.is_empty() && !too_many && !idle {
        println!("the ledger holds");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
