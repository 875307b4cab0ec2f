//! `galo shards stubs`: prints the SQL of a router in front of several shards.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use galo::config::Mistakes;
use galo::database::{self, GrantedProcedure, Router, Target};
use galo::drain::Outcome;
use galo::log;
use galo::manifest::{self, Manifest, ShardsEntry};

use super::database::DatabaseArgs;
use super::folder;
use super::project::ProjectArgs;
use super::runtime::{Task, run_on};

#[derive(Args)]
pub(super) struct ShardsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the SQL of a router: the procedures of the shards as stubs of PL/Proxy
    ///
    /// Reads the signatures of the procedures that the manifest grants from one shard, which has them already, and
    /// writes stubs of the same signatures. Apply the SQL to the database of each router as a superuser, again after
    /// each change of a procedure, of `[shards]` in galo.toml or of a shard's address.
    Stubs(StubsArgs),
}

#[derive(Args)]
struct StubsArgs {
    /// How the routers connect to each shard, in the order of the partitions: libpq's key=value pairs
    ///
    /// For example 'host=shard-0 dbname=galo passfile=/etc/galo/pgpass'. With fewer shards than partitions, partition n
    /// is on shard n modulo their number.
    #[arg(value_name = "SHARD", required = true)]
    shards: Vec<String>,
    /// Folder with galo.toml [default: the project]
    #[arg(long, env = "GALO_HANDLERS", value_name = "DIR")]
    handlers: Option<PathBuf>,
    /// File to write, instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    project: ProjectArgs,
    /// The shard that is read
    #[command(flatten)]
    database: DatabaseArgs,
}

impl ShardsArgs {
    pub(super) fn task(self, mistakes: &mut Mistakes) -> Option<Task> {
        let Command::Stubs(arguments) = self.command;
        let target = arguments.database.required(mistakes);
        for shard in &arguments.shards {
            if let Some(wrong) = wrong_with(shard) {
                mistakes.note("SHARD", wrong);
            }
        }
        let target = target?;
        Some(Box::new(move || run_on(Some(1), async { arguments.run(&target).await.map(|()| Outcome::Graceful) })))
    }
}

impl StubsArgs {
    async fn run(self, target: &Target) -> anyhow::Result<()> {
        let handlers = match self.handlers {
            Some(folder) => folder,
            None => self.project.find()?.root,
        };
        folder::check(&handlers)?;
        let manifest = manifest::read(&handlers)?;
        let Some(shards) = &manifest.shards else {
            bail!(
                "{} has no section [shards]; add one with `partitions` and `by`, the parameter that decides the shard \
                 of a call",
                manifest.path.display()
            );
        };
        let (count, most) = (self.shards.len(), shards.partitions);
        ensure!(
            count.is_power_of_two() && count <= most as usize,
            "{count} shards for {most} partitions: give 1, 2, 4, ... shards, at most {most}"
        );
        let role = manifest.project.role.clone();
        let router = Router { role, partitions: most, shards: self.shards };
        let granted = granted(&manifest, shards)?;
        ensure!(!granted.is_empty(), "{} grants no procedures, so there is nothing to stub", manifest.path.display());
        let sql = database::stubs(target, &router, &granted).await?;
        match self.out {
            Some(out) => std::fs::write(&out, sql).with_context(|| format!("cannot write {}", out.display())),
            None => {
                log::print(format_args!("{}", sql.trim_end()));
                Ok(())
            }
        }
    }
}

/// Every procedure that the manifest grants or names to explain requests, once.
fn granted(manifest: &Manifest, shards: &ShardsEntry) -> anyhow::Result<Vec<GrantedProcedure>> {
    let mut all: BTreeMap<&str, GrantedProcedure> = BTreeMap::new();
    for entry in &manifest.handlers {
        if let Some(explain) = &entry.explain {
            let partition = Some(shards.partition(explain).map_err(anyhow::Error::msg)?);
            all.entry(explain).or_insert(GrantedProcedure { partition, ..GrantedProcedure::plain(explain) });
        }
    }
    for granted in manifest.handlers.iter().flat_map(|entry| &entry.procedures) {
        let one = all.entry(&granted.name).or_insert_with(|| granted.clone());
        if one.batch.is_none() {
            one.batch.clone_from(&granted.batch);
        }
    }
    Ok(all.into_values().collect())
}

/// What is wrong with how routers are to connect to a shard.
fn wrong_with(shard: &str) -> Option<String> {
    let has = |key: &str| shard.split_whitespace().any(|pair| pair.starts_with(&format!("{key}=")));
    if shard.contains("://") || !shard.contains('=') {
        return Some(
            "not libpq's key=value pairs; PL/Proxy takes no URL: write 'host=... port=... dbname=...'".to_owned(),
        );
    }
    if has("password") {
        return Some("a password would be in the router's catalogue; use passfile=/PATH, or a user mapping".to_owned());
    }
    if has("options") || has("user") {
        return Some("`options` and `user` are set by the stubs; remove them".to_owned());
    }
    (!has("dbname")).then(|| "it names no database; add dbname=...".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_shard_is_checked() {
        assert_eq!(wrong_with("host=a port=5432 dbname=galo passfile=/etc/galo/pgpass"), None);
        for (shard, expected) in [
            ("postgres://a/galo", "PL/Proxy takes no URL"),
            ("host=a", "it names no database"),
            ("host=a dbname=galo password=x", "use passfile="),
            ("host=a dbname=galo options=-cwork_mem=1MB", "are set by the stubs"),
            ("host=a dbname=galo user=x", "are set by the stubs"),
        ] {
            let found = wrong_with(shard).unwrap();
            assert!(found.contains(expected), "{shard}: {found}");
        }
    }
}
