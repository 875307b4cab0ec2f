//! Shards of the example application, set up as `deploy/shards` does it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use galo::develop::build::Project;

/// `deploy/shards/shard.sql` for one of so many shards.
///
/// # Errors
/// When the file cannot be read.
pub fn part(checkout: &Project, number: usize, shards: usize) -> anyhow::Result<String> {
    let sql = fs::read_to_string(checkout.root.join("deploy/shards/shard.sql")).context("cannot read shard.sql")?;
    let sql = sql.replace(":shards", &shards.to_string()).replace(":'shard'", &format!("'{number}'"));
    Ok(sql.replace(":shard", &number.to_string()))
}

/// Copies built handlers into a folder, which is made if there is none, with the manifest that `deploy/shards/manifest`
/// writes.
///
/// # Errors
/// When something cannot be copied, or the script fails.
pub fn handlers(checkout: &Project, built: &Path, folder: &Path, partitions: usize) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let copied = Command::new("cp").arg("-R").arg(built.join(".")).arg(folder).status()?;
    ensure!(copied.success(), "cannot copy {} to {}", built.display(), folder.display());
    let mut script = Command::new(checkout.root.join("deploy/shards/manifest"));
    let written = script.arg(partitions.to_string()).stdin(File::open(built.join("galo.toml"))?).output()?;
    ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    Ok(fs::write(folder.join("galo.toml"), written.stdout)?)
}
