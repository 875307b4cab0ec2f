//! The programs of others that a run needs, and `galo` itself, which Cargo brings up to date first. What is missing is
//! told in one line, before anything is started. Called by `run`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use galo::develop::build::Checkout;

use crate::machine;

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
        let found = ["nginx", "wrk", "pgbench", "chrt"].map(|name| (name, program(name)));
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

/// A program, where it is installed. Debian puts nginx where a plain user's PATH does not lead, and pgbench of the
/// newest Postgres behind a link in it.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// What a program says of its version, in one line, wherever it says it.
pub fn version(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let Ok(output) = output else { return "unknown".to_owned() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or("unknown").to_owned()
}

/// Builds `galo` beside this program, with the same profile, and returns where it is.
///
/// Both packages are named, so that Cargo resolves the features of their dependencies as it did for this program; of
/// `galo` alone they are others, and wasmtime would be compiled once more.
///
/// # Errors
/// What Cargo complains about; that this program was compiled with profile-guided optimisation and `galo` would
/// not be, or the reverse.
pub fn galo(checkout: &Checkout, own: &Path) -> anyhow::Result<PathBuf> {
    let (folder, profile, target) = place(own)?;
    let with_pgo =
        std::env::var("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS").is_ok_and(|f| f.contains("galo_pgo"));
    ensure!(with_pgo == machine::PGO, "run galo-bench as it was compiled: with deploy/pgo/use in front, or without");
    let mut cargo = cargo(checkout);
    // What `cargo run` told this program of its own package, a build script of another takes for news, and all above it
    // is compiled once more: six minutes.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .args(["build", "--locked", "--profile", profile, "--package", "galo", "--package", "galo-bench"])
        .args(["--bin", "galo", "--target-dir"])
        .arg(target)
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo; is it in PATH?")?;
    ensure!(status.success(), "galo could not be built");
    Ok(folder.join("galo"))
}

/// The folder of what is deployed of `nginx` or `postgres`. An older checkout, which is compared with this one, has
/// both in `deploy` itself.
pub fn deployed(checkout: &Checkout, what: &str) -> PathBuf {
    let deploy = checkout.root.join("deploy");
    let folder = deploy.join(what);
    if folder.exists() { folder } else { deploy }
}

/// As [`galo()`], where another checkout may have built its own into the same target folder: Cargo knows a package by
/// its path within the workspace, and takes the other's program for this one's when it is newer than these sources.
///
/// # Errors
/// As [`galo()`].
pub fn galo_anew(checkout: &Checkout, own: &Path) -> anyhow::Result<PathBuf> {
    let (_, profile, target) = place(own)?;
    let mut clean = cargo(checkout);
    clean.args(["clean", "--quiet", "--profile", profile, "--package", "galo", "--target-dir"]).arg(target);
    let status = clean.stdin(Stdio::null()).status().context("cannot run cargo; is it in PATH?")?;
    ensure!(status.success(), "what an earlier build of galo left could not be removed");
    galo(checkout, own)
}

/// Where this program lies, the profile that it was built with, and the target folder.
fn place(own: &Path) -> anyhow::Result<(&Path, &str, &Path)> {
    let folder = own.parent().context("a program lies in a folder")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()).context("the target folder has a name")? {
        "debug" => "dev",
        other => other,
    };
    Ok((folder, profile, folder.parent().context("a profile's folder lies in a target folder")?))
}

fn cargo(checkout: &Checkout) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&checkout.root);
    cargo
}
