//! The programs of others that a run needs, and `galo` itself, which Cargo brings up to date first. What is missing is
//! reported in one line, before anything is started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use galo::develop::build::Project;
use galo_testing::program::{self, Built};

use crate::pgo;

/// Where they are.
pub struct Programs {
    pub nginx: PathBuf,
    pub wrk: PathBuf,
    pub pgbench: PathBuf,
    /// Of util-linux: sets how a process is scheduled.
    pub chrt: PathBuf,
    /// This program: the other servers are subcommands of it.
    pub own: PathBuf,
}

impl Programs {
    /// Finds them.
    ///
    /// # Errors
    /// Which of them are missing.
    pub fn find() -> anyhow::Result<Self> {
        let found = ["nginx", "wrk", "pgbench", "chrt"].map(|name| (name, program::find(name)));
        let missing: Vec<_> = found.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
        let [Some(nginx), Some(wrk), Some(pgbench), Some(chrt)] = found.map(|(_, path)| path) else {
            bail!(
                "missing: {}; on Debian: apt-get install --no-install-recommends nginx wrk postgresql util-linux",
                missing.join(", ")
            );
        };
        let own = std::env::current_exe().context("cannot find this program itself")?;
        Ok(Self { nginx, wrk, pgbench, chrt, own })
    }
}

/// The version that a program prints, in one line, on whichever output.
pub fn version(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let Ok(output) = output else { return "unknown".to_owned() };
    let printed = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&printed).lines().next().unwrap_or("unknown").to_owned()
}

/// Builds `galo` beside this program, with the same profile, and returns where it is.
///
/// # Errors
/// What Cargo complains about; that this program was compiled with profile-guided optimisation and `galo` would
/// not be, or the reverse.
pub fn galo(checkout: &Project, own: &Path) -> anyhow::Result<PathBuf> {
    let with_pgo =
        std::env::var("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS").is_ok_and(|f| f.contains("galo_pgo"));
    ensure!(with_pgo == pgo::USED, "run galo-bench as it was compiled: with deploy/pgo/use in front, or without");
    // Both packages, so that the features of dependencies are those of this program.
    program::build(checkout, &Built::beside(own)?, &["galo", "galo-bench"])
}

/// The folder of what is deployed of `nginx` or `postgres`. An older checkout, which is compared with this one, has
/// both in `deploy` itself.
pub fn deployed(checkout: &Project, what: &str) -> PathBuf {
    let deploy = checkout.root.join("deploy");
    let folder = deploy.join(what);
    if folder.exists() { folder } else { deploy }
}

/// As [`galo()`], where another checkout may have built its own into the same target folder: Cargo knows a package by
/// its path within the workspace, and takes the other's program for this one's when it is newer than these sources.
///
/// # Errors
/// As [`galo()`].
pub fn galo_again(checkout: &Project, own: &Path) -> anyhow::Result<PathBuf> {
    program::clean(checkout, &Built::beside(own)?)?;
    galo(checkout, own)
}
