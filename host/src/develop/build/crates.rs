//! Builds the handlers that are crates, all of them with one run of Cargo. One that does not compile does not keep the
//! others from being built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use cargo_metadata::Artifact;

use super::packages::Packages;
use super::{Cancel, Profile, Project, TARGET, cargo, inputs};
use crate::manifest::{Entry, Manifest, SOURCES};

/// The component of each handler that is a crate, or why there is none; and the files that they were made from.
#[derive(Debug, Default)]
pub(super) struct Crates {
    pub(super) components: BTreeMap<String, Result<PathBuf, String>>,
    pub(super) inputs: BTreeSet<PathBuf>,
}

/// Builds every handler that is a crate.
///
/// # Errors
/// When the build was stopped, or Cargo cannot be run.
pub(super) fn build(
    project: &Project,
    manifest: &Manifest,
    packages: &Packages,
    profile: Profile,
    cancel: &Cancel,
) -> anyhow::Result<Crates> {
    let mut built = Crates::default();
    let mut names = Vec::new();
    for entry in entries(project, manifest) {
        match packages.check(project, entry) {
            Ok(()) => names.push(entry.name.clone()),
            Err(error) => drop(built.components.insert(entry.name.clone(), Err(error.to_string()))),
        }
    }
    if names.is_empty() {
        return Ok(built);
    }
    let profile = match profile {
        Profile::Release => "handler",
        // The host's own, so that macros and build scripts that were compiled with the host are used again.
        Profile::Development => "dev",
    };
    let place = ["--target", TARGET, "--profile", profile];
    let mut outcome = run(project, &place, &names, cancel)?;
    let outdated: BTreeSet<_> = outcome.artifacts.iter().flat_map(|artifact| outdated(artifact, packages)).collect();
    if !outdated.is_empty() {
        for package in &outdated {
            tracing::info!(
                "{package}: a source was replaced by an older file, which Cargo does not see; compiling again"
            );
            cargo::discard(&project.root, package, &place, cancel)?;
        }
        outcome = run(project, &place, &names, cancel)?;
    }
    for name in names {
        let artifact = outcome.artifacts.iter().find(|artifact| is_of(artifact, &name));
        let component = artifact.and_then(component);
        built.inputs.extend(component.iter().flat_map(|path| inputs::of(path)).filter(|file| !packages.is_made(file)));
        let component = component.ok_or_else(|| match &outcome.failed {
            Some(failed) => failed.clone(),
            None => format!(
                "the crate makes no component: add `crate-type = [\"cdylib\"]` to `[lib]` of {SOURCES}/{name}/Cargo.toml"
            ),
        });
        built.components.insert(name, component);
    }
    Ok(built)
}

/// No handler that is a crate can be built, for one reason.
pub(super) fn none(project: &Project, manifest: &Manifest, why: &str) -> Crates {
    let components = entries(project, manifest).map(|entry| (entry.name.clone(), Err(why.to_owned())));
    Crates { components: components.collect(), inputs: BTreeSet::new() }
}

fn entries<'a>(project: &'a Project, manifest: &'a Manifest) -> impl Iterator<Item = &'a Entry> {
    manifest.handlers.iter().filter(|entry| project.has_crate(entry))
}

/// Runs Cargo, and notes when it began to compile what was not fresh.
fn run(project: &Project, place: &[&str], names: &[String], cancel: &Cancel) -> anyhow::Result<cargo::Outcome> {
    let begun = SystemTime::now();
    let mut arguments = vec!["build", "--keep-going"];
    arguments.extend(place);
    let outcome = cargo::run(&project.root, &arguments, names, cancel)?;
    for artifact in outcome.artifacts.iter().filter(|artifact| !artifact.fresh) {
        component(artifact).into_iter().for_each(|path| inputs::compiled(&path, begun));
    }
    Ok(outcome)
}

/// The packages whose sources have gone back in time, so that Cargo took the component for a fresh one.
fn outdated(artifact: &Artifact, packages: &Packages) -> BTreeSet<String> {
    let Some(component) = component(artifact).filter(|_| artifact.fresh) else { return BTreeSet::new() };
    let files = inputs::outdated(&component, &inputs::of(&component));
    // A file outside of every package belongs to the handler that was made from it.
    let handler = artifact.manifest_path.as_std_path();
    let owner = |file: &PathBuf| packages.owner(file).or_else(|| packages.owner(handler)).map(str::to_owned);
    files.iter().filter(|file| !packages.is_made(file)).filter_map(owner).collect()
}

fn is_of(artifact: &Artifact, handler: &str) -> bool {
    artifact.target.is_cdylib() && artifact.target.name == handler.replace('-', "_")
}

fn component(artifact: &Artifact) -> Option<PathBuf> {
    let wasm = artifact.filenames.iter().find(|file| file.extension() == Some("wasm"));
    wasm.filter(|_| artifact.target.is_cdylib()).map(|path| path.as_std_path().to_owned())
}
