//! `galo check --sql DIR`: runs an application's proofs on its database, or on every shard and across them.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use galo::config::Mistakes;
use galo::database::{Proofs, Proved, Target};
use galo::drain::Outcome;
use galo::log;
use galo::serve::Signals;

use super::database::{self, DatabaseArgs};
use super::runtime::{Task, run_on};

/// The proofs to run, once the settings are valid.
pub(super) fn task(folder: PathBuf, shards: &[String], one: &DatabaseArgs, mistakes: &mut Mistakes) -> Option<Task> {
    if !shards.len().is_power_of_two() && !shards.is_empty() {
        mistakes.note("--shard", format!("{} shards: give 1, 2, 4, ... in the order of the partitions", shards.len()));
    }
    let targets: Option<Vec<Target>> = match shards {
        [] => one.required(mistakes).map(|target| vec![target]),
        shards => shards.iter().map(|shard| database::read("--shard", shard, mistakes)).collect(),
    };
    let targets = targets?;
    Some(Box::new(move || run_on(Some(1), async { run(folder, targets).await.map(|()| Outcome::Graceful) })))
}

async fn run(folder: PathBuf, targets: Vec<Target>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let proofs = Proofs::read(&folder)?;
    let mut violations = 0;
    let proved = proofs.run(&targets, |proved| {
        violations += proved.count;
        print(proved);
    });
    tokio::select! {
        proved = proved => proved?,
        name = signals.next() => bail!("stopped by {name}"),
    }
    ensure!(violations == 0, "{violations} violations");
    log::print(format_args!("all proofs hold"));
    Ok(())
}

fn print(proved: &Proved) {
    let Proved { what, violations, count, sums } = proved;
    match count {
        0 => log::print(format_args!("{what}: holds")),
        _ => log::print(format_args!("{what}: {count} violations")),
    }
    violations.iter().for_each(|violation| log::print(format_args!("    {violation}")));
    if *count > violations.len() {
        log::print(format_args!("    and {} more", count - violations.len()));
    }
    sums.iter().for_each(|sum| log::print(format_args!("    {sum}")));
}
