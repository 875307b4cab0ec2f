//! Builds the handlers of a project, with Cargo or with a command of their own, and puts them with their manifest into
//! a folder that `galo serve` takes.

mod cargo;
mod command;
mod crates;
mod group;
mod inputs;
mod members;
mod missing;
mod packages;
mod project;
mod toolchain;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

pub use self::group::Cancel;
use self::packages::Packages;
pub use self::project::Project;
use self::toolchain::TARGET;
use crate::manifest::{self, Build, Entry, Manifest};
use crate::put::Handlers;

/// How handlers are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For deployment.
    Release,
    /// For development: a panic has its message, file and line.
    Development,
}

/// A project whose handlers can be built.
#[derive(Debug)]
pub struct Prepared {
    project: Project,
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    /// What Cargo reports about the crates, if there are any; or why it does not.
    packages: Option<Result<Packages, String>>,
}

/// The result of a build: the manifest, and the component of each of its handlers, or why there is none.
#[derive(Debug)]
pub struct Built {
    manifest: Arc<Manifest>,
    components: Vec<Result<PathBuf, String>>,
    /// The files that the components were made from, as far as Cargo knows them.
    pub inputs: BTreeSet<PathBuf>,
}

/// What makes the component of a handler.
enum Maker<'a> {
    Cargo,
    Command(&'a Build),
    /// Nothing: the file is there, or nothing can make it.
    Nobody,
}

/// Checks that the compiler can compile handlers, if a handler is a crate; it then has its target.
///
/// # Errors
/// When the target cannot be installed.
pub fn check_toolchain(project: &Project) -> anyhow::Result<()> {
    match project.manifest() {
        Ok(manifest) if !project.crates(&manifest).is_empty() => toolchain::prepare(&project.root),
        // A mistake in the manifest is reported by the build.
        _ => Ok(()),
    }
}

/// Reads the manifest, and has Cargo read the workspace if a handler is a crate.
///
/// # Errors
/// When the manifest is not valid, the compiler's target cannot be installed, or it was stopped.
pub fn prepare(project: &Project, cancel: &Cancel) -> anyhow::Result<Prepared> {
    let manifest = project.manifest()?;
    let mut packages = None;
    if !project.crates(&manifest).is_empty() {
        toolchain::prepare(&project.root)?;
        members::exclude(project)?;
        packages = Some(Packages::read(project, cancel).map_err(|error| format!("{error:#}")));
        ensure!(!cancel.is_requested(), "the build was stopped");
    }
    Ok(Prepared { project: project.clone(), manifest: Arc::new(manifest), packages })
}

/// Builds every handler of the manifest: with its command, or with Cargo if it is a crate. Any other component is taken
/// from the handler's folder.
///
/// # Errors
/// When the manifest is not valid, or a handler cannot be built.
pub fn handlers(project: &Project, profile: Profile, cancel: &Cancel) -> anyhow::Result<Built> {
    let built = prepare(project, cancel)?.build(profile, |_| true, cancel)?;
    match built.failures().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().as_slice() {
        [] => Ok(built),
        failures => bail!("{}", failures.join("\n")),
    }
}

impl Prepared {
    /// Builds the handlers, each as far as it can be. A command is run only if the handler is `due`; otherwise the
    /// component that it has made before is taken.
    ///
    /// # Errors
    /// When the build was stopped, or Cargo cannot be run.
    pub fn build(&self, profile: Profile, due: impl Fn(&str) -> bool, cancel: &Cancel) -> anyhow::Result<Built> {
        let Self { project, manifest, packages } = self;
        let mut crates = match packages {
            Some(Ok(packages)) => crates::build(project, manifest, packages, profile, cancel)?,
            Some(Err(why)) => crates::none(project, manifest, why),
            None => crates::Crates::default(),
        };
        let mut components = Vec::new();
        for entry in &manifest.handlers {
            let component = match maker(project, entry) {
                Maker::Cargo => {
                    let gone = || Err(format!("{} has no Cargo.toml any more", entry.name));
                    crates.components.remove(&entry.name).unwrap_or_else(gone)
                }
                Maker::Command(build) if due(&entry.name) || !entry.component.is_file() => {
                    let ran = command::run(project, entry, build, cancel);
                    ensure!(!cancel.is_requested(), "the build was stopped");
                    ran.map_err(|error| format!("{error:#}"))
                }
                Maker::Command(_) => Ok(entry.component.clone()),
                Maker::Nobody => missing::check(project, manifest, entry).map(|()| entry.component.clone()),
            };
            components.push(component);
        }
        Ok(Built { manifest: Arc::clone(manifest), components, inputs: crates.inputs })
    }

    /// The folders of the local crates that the handlers are built from.
    pub fn crates(&self) -> BTreeSet<PathBuf> {
        match &self.packages {
            Some(Ok(packages)) => packages.folders(self.folders()),
            _ => self.folders().collect(),
        }
    }

    /// The same, and those that only their tests are built from.
    pub fn crates_of_tests(&self) -> BTreeSet<PathBuf> {
        match &self.packages {
            Some(Ok(packages)) => packages.folders_of_tests(self.folders()),
            _ => self.folders().collect(),
        }
    }

    /// The folders of the handlers that are crates.
    fn folders(&self) -> impl Iterator<Item = PathBuf> + Clone {
        self.project.crates(&self.manifest).into_iter().map(|name| self.project.handlers().join(name))
    }

    /// Leaves out the other handlers. What was read of the workspace stays.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        if let Some(manifest) = Arc::get_mut(&mut self.manifest) {
            manifest.handlers.retain(|entry| wanted(&entry.name));
        }
    }
}

impl Built {
    /// Puts the components, their examples and the manifest into a folder that `galo serve` takes, wherever that is.
    ///
    /// # Errors
    /// When a handler could not be built, or a file cannot be read or written.
    pub fn put(&self, folder: &Path) -> anyhow::Result<()> {
        let components: Result<Vec<_>, _> = self.components.iter().cloned().collect();
        Handlers::list(&self.manifest, &components.map_err(anyhow::Error::msg)?)?.put(folder).map(drop)
    }

    /// Puts what could be built into a folder of this project. The copy of the manifest there names the original, and
    /// relative files are those of the original. What could not be built stays there as it is, and handlers that are in
    /// `without` are left out of the manifest.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_copy(&self, folder: &Path, without: &BTreeSet<String>) -> anyhow::Result<()> {
        let path = &self.manifest.path;
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = text + &manifest::built(path, without.iter().map(String::as_str));
        let built = self.manifest.handlers.iter().zip(&self.components);
        let built = built.filter_map(|(entry, component)| Some((entry, component.as_deref().ok()?)));
        let built = built.filter(|(entry, _)| !without.contains(&entry.name));
        Handlers::some(&self.manifest, built, text)?.put(folder).map(drop)
    }

    /// The handlers of the manifest.
    pub fn handlers(&self) -> &[Entry] {
        &self.manifest.handlers
    }

    /// The component of each handler of the manifest, or why there is none.
    pub fn components(&self) -> &[Result<PathBuf, String>] {
        &self.components
    }

    /// The handlers that could not be built, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.manifest.handlers.iter().zip(&self.components);
        all.filter_map(|(entry, component)| Some((entry.name.as_str(), component.as_ref().err()?.as_str())))
    }
}

fn maker<'a>(project: &Project, entry: &'a Entry) -> Maker<'a> {
    match &entry.build {
        // Without its folder, the command could not even be started.
        Some(_) if !project.handlers().join(&entry.name).is_dir() => Maker::Nobody,
        Some(build) => Maker::Command(build),
        None if project.has_crate(entry) => Maker::Cargo,
        None => Maker::Nobody,
    }
}

/// Compiles the unit tests of one handler, or of all and the kit, for wasm32-wasip2. Returns the name of each crate and
/// its test program; a handler without a crate has none.
///
/// # Errors
/// When Cargo fails.
pub fn tests(project: &Project, handler: Option<&str>, cancel: &Cancel) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let manifest = project.manifest()?;
    let mut crates = project.crates(&manifest);
    match handler {
        Some(name) => crates.retain(|c| c == name),
        // Of the checkout that the kit is developed in.
        None if project.handlers().join("kit/Cargo.toml").is_file() => crates.push("galo-kit".to_owned()),
        None => {}
    }
    if crates.is_empty() {
        return Ok(Vec::new());
    }
    toolchain::prepare(&project.root)?;
    members::exclude(project)?;
    let arguments = ["test", "--no-run", "--lib", "--target", TARGET];
    let cargo::Outcome { artifacts, failed } = cargo::run(&project.root, &arguments, &crates, cancel)?;
    if let Some(failed) = failed {
        bail!(failed);
    }
    let programs = artifacts.into_iter().filter(|artifact| artifact.profile.test);
    Ok(programs.filter_map(|artifact| Some((artifact.target.name.clone(), artifact.executable?.into()))).collect())
}
