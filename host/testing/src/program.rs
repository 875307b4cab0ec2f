//! Programs: finds those that are installed, and builds `galo` itself, so that it is up to date.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context as _, ensure};
use galo::develop::build::Project;
use tempfile::TempDir;

/// This checkout.
///
/// # Panics
/// When its folder is gone.
#[must_use]
pub fn checkout() -> Project {
    Project::find(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("this crate lies in the checkout")
}

/// Finds an installed program. Debian puts nginx into a folder that is not in a plain user's PATH, and a link to
/// pgbench of the newest Postgres into one that is.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The `galo` that is tested. Cargo names it to the tests of its own package; for those of another package it is built
/// here, once per process, into the same target folder.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn galo() -> &'static Path {
    static GALO: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::var_os("CARGO_BIN_EXE_galo").map_or_else(
            || {
                let own = std::env::current_exe().expect("this process has a program");
                // A test lies in `deps`, beside which the programs are.
                let folder = own.ancestors().find(|folder| folder.ends_with("deps")).unwrap_or(&own);
                build(&checkout(), &Built::beside(folder).expect("a test lies in a target folder"), &["galo"])
                    .expect("galo can be built")
            },
            PathBuf::from,
        )
    });
    &GALO
}

/// A command that runs `galo` without the variables of our environment that it would read.
///
/// # Panics
/// As [`galo()`].
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(galo());
    for name in foreign() {
        command.env_remove(name);
    }
    // Keeps these nodes' state out of the folder where a person's own nodes keep theirs.
    static STATES: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder can be made"));
    command.env("XDG_STATE_HOME", STATES.path());
    command
}

/// The variables of our environment that `galo` would read.
pub fn foreign() -> impl Iterator<Item = OsString> {
    let read = |name: &OsString| {
        ["GALO_", "DATABASE_URL", "PG"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
    };
    std::env::vars_os().map(|(name, _)| name).filter(read)
}

/// Where Cargo puts what it builds, and how it builds it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The folder of the programs of this profile.
    pub folder: PathBuf,
    /// The profile.
    pub profile: String,
    /// The target folder.
    pub target: PathBuf,
}

impl Built {
    /// The place of a program that Cargo built, or of the folder beside it.
    ///
    /// # Errors
    /// When it does not lie in a target folder.
    pub fn beside(program: &Path) -> anyhow::Result<Self> {
        let folder = program.parent().context("a program lies in a folder")?;
        let name = folder.file_name().and_then(|name| name.to_str()).context("the target folder has a name")?;
        let profile = if name == "debug" { "dev" } else { name }.to_owned();
        let target = folder.parent().context("a profile's folder lies in a target folder")?;
        Ok(Self { folder: folder.to_owned(), profile, target: target.to_owned() })
    }
}

/// Builds `galo` into this place, and returns where it is. Cargo resolves the features of dependencies for the packages
/// that are named; with others wasmtime would be compiled once more.
///
/// # Errors
/// What Cargo complains about.
pub fn build(checkout: &Project, place: &Built, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let mut cargo = cargo(checkout);
    // Build scripts of other packages would take these variables, which `cargo run` sets for its own package, for
    // changed ones, and everything above them would be compiled once more: six minutes.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    cargo.args(["build", "--locked", "--profile", &place.profile, "--bin", "galo", "--target-dir"]).arg(&place.target);
    for package in packages {
        cargo.args(["--package", package]);
    }
    let status = cargo.stdin(Stdio::null()).status().context("cannot run cargo; is it in PATH?")?;
    ensure!(status.success(), "galo could not be built");
    Ok(place.folder.join("galo"))
}

/// Removes what was built of `galo` in this place.
///
/// # Errors
/// What Cargo complains about.
pub fn clean(checkout: &Project, place: &Built) -> anyhow::Result<()> {
    let mut cargo = cargo(checkout);
    cargo.args(["clean", "--quiet", "--profile", &place.profile, "--package", "galo", "--target-dir"]);
    let status = cargo.arg(&place.target).stdin(Stdio::null()).status().context("cannot run cargo; is it in PATH?")?;
    ensure!(status.success(), "an earlier build of galo could not be removed");
    Ok(())
}

fn cargo(checkout: &Project) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&checkout.root);
    cargo
}
