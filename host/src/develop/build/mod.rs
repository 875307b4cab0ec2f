//! Builds the handlers of a project with Cargo, and puts them with their manifest into a folder that `galo serve`
//! takes.

mod cargo;
mod checkout;
mod toolchain;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub use self::cargo::Cancel;
pub use self::checkout::Checkout;
use self::toolchain::TARGET;
use crate::manifest::{Entry, Manifest};
use crate::put;

/// How handlers are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For deployment.
    Release,
    /// For development: a panic has its message, file and line.
    Development,
}

/// The result of a build: the manifest, and where the component of each of its handlers is.
#[derive(Debug)]
pub struct Built {
    manifest: Manifest,
    components: Vec<PathBuf>,
}

/// Builds every handler of the manifest that has a crate in the project. A component without a crate is taken from
/// the handler's folder.
///
/// # Errors
/// When the manifest is not valid, or Cargo fails.
pub fn handlers(checkout: &Checkout, profile: Profile, cancel: &Cancel) -> anyhow::Result<Built> {
    let manifest = checkout.manifest()?;
    let components = components(checkout, &manifest, profile, cancel)?;
    Ok(Built { manifest, components })
}

impl Built {
    /// Puts the components, their examples and the manifest into a folder that `galo serve` takes.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn put(&self, folder: &Path) -> anyhow::Result<()> {
        put::Handlers::list(&self.manifest, &self.components)?.put(folder).map(drop)
    }
}

/// Installs the compiler's target if it is missing and a handler needs it.
///
/// # Errors
/// When it cannot be installed; the error has the command that installs it.
pub fn prepare(checkout: &Checkout) -> anyhow::Result<()> {
    let manifest = checkout.manifest()?;
    if checkout.crates(&manifest).is_empty() { Ok(()) } else { toolchain::prepare(&checkout.root) }
}

/// Builds the handlers of a manifest. Returns the component of each, in the order of the manifest.
///
/// # Errors
/// When Cargo fails, or a handler's crate makes no component.
pub fn components(
    checkout: &Checkout,
    manifest: &Manifest,
    profile: Profile,
    cancel: &Cancel,
) -> anyhow::Result<Vec<PathBuf>> {
    let crates = checkout.crates(manifest);
    let profile = match profile {
        Profile::Release => "handler",
        // The host's own, so that macros and build scripts that were compiled with the host are used again.
        Profile::Development => "dev",
    };
    let mut artifacts = Vec::new();
    if !crates.is_empty() {
        toolchain::prepare(&checkout.root)?;
        let arguments = ["build", "--target", TARGET, "--profile", profile];
        artifacts = cargo::run(&checkout.root, &arguments, &crates, cancel)?;
    }
    let mut built: HashMap<&str, &Path> = HashMap::new();
    for artifact in &artifacts {
        let wasm = artifact.filenames.iter().find(|file| file.extension() == Some("wasm"));
        if let Some(wasm) = wasm.filter(|_| artifact.target.is_cdylib()) {
            built.insert(&artifact.target.name, wasm.as_std_path());
        }
    }
    let component = |entry: &Entry| match crates.contains(&entry.name) {
        true => {
            let component = built.get(entry.name.replace('-', "_").as_str());
            component.map(|path| path.to_path_buf()).with_context(|| {
                format!(
                    "the crate `{0}` makes no component: add `crate-type = [\"cdylib\"]` to `[lib]` of \
                     handlers/{0}/Cargo.toml",
                    entry.name
                )
            })
        }
        false => Ok(entry.component.clone()),
    };
    manifest.handlers.iter().map(component).collect()
}

/// Compiles the unit tests of one handler, or of all and the kit, for wasm32-wasip2. Returns the name of each crate and
/// its test program; a handler without a crate has none.
///
/// # Errors
/// When Cargo fails.
pub fn tests(checkout: &Checkout, handler: Option<&str>, cancel: &Cancel) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let manifest = checkout.manifest()?;
    let mut crates = checkout.crates(&manifest);
    match handler {
        Some(name) => crates.retain(|c| c == name),
        None if checkout.handlers().join("kit/Cargo.toml").is_file() => crates.push("galo-kit".to_owned()),
        None => {}
    }
    if crates.is_empty() {
        return Ok(Vec::new());
    }
    toolchain::prepare(&checkout.root)?;
    let arguments = ["test", "--no-run", "--lib", "--target", TARGET];
    let artifacts = cargo::run(&checkout.root, &arguments, &crates, cancel)?;
    let programs = artifacts.into_iter().filter(|artifact| artifact.profile.test);
    Ok(programs.filter_map(|artifact| Some((artifact.target.name.clone(), artifact.executable?.into()))).collect())
}
