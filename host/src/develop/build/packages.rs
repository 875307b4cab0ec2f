//! The packages of a project that handlers are made of, as Cargo sees them: the crate of each handler, and the local
//! crates that it depends on, wherever they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, Metadata, Node};

use super::{Cancel, Project, cargo};
use crate::manifest::{Entry, FILE_NAME, SOURCES};

/// The local packages of a project.
#[derive(Debug)]
pub(super) struct Packages {
    /// By their folder.
    local: BTreeMap<PathBuf, Package>,
    /// The folder that Cargo writes to.
    target: PathBuf,
}

#[derive(Debug)]
struct Package {
    name: String,
    /// The folders of the local packages that it is built from.
    needs: Vec<PathBuf>,
    /// And of those that only its tests are built from.
    tests_need: Vec<PathBuf>,
}

impl Packages {
    /// Has Cargo read the workspace.
    ///
    /// # Errors
    /// When Cargo cannot.
    pub(super) fn read(project: &Project, cancel: &Cancel) -> anyhow::Result<Self> {
        Self::of(cargo::metadata(&project.root, cancel)?)
    }

    fn of(metadata: Metadata) -> anyhow::Result<Self> {
        let nodes = metadata.resolve.context("Cargo does not report what depends on what")?.nodes;
        let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (&node.id, node)).collect();
        let local = metadata.packages.iter().filter(|package| package.source.is_none());
        let folders: BTreeMap<_, PathBuf> =
            local.clone().filter_map(|package| Some((&package.id, package.manifest_path.parent()?.into()))).collect();
        let needed = |node: &&Node| -> (Vec<PathBuf>, Vec<PathBuf>) {
            let local = node.deps.iter().filter_map(|needed| Some((needed, folders.get(&needed.pkg)?.clone())));
            let (builds, tests): (Vec<_>, Vec<_>) = local.partition(|(needed, _)| {
                needed.dep_kinds.is_empty()
                    || needed.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
            });
            let folders = |needed: Vec<(_, PathBuf)>| needed.into_iter().map(|(_, folder)| folder).collect();
            (folders(builds), folders(tests))
        };
        let packages = local.filter_map(|package| {
            let (needs, tests_need) = nodes.get(&package.id).map(needed).unwrap_or_default();
            Some((folders.get(&package.id)?.clone(), Package { name: package.name.to_string(), needs, tests_need }))
        });
        Ok(Self { local: packages.collect(), target: metadata.target_directory.into() })
    }

    /// Checks that a handler's crate is one that Cargo builds under the handler's name.
    ///
    /// # Errors
    /// When it is not, with the remedy.
    pub(super) fn check(&self, project: &Project, entry: &Entry) -> anyhow::Result<()> {
        let name = &entry.name;
        match self.local.get(&project.handlers().join(name)) {
            Some(package) if package.name == *name => Ok(()),
            Some(Package { name: other, .. }) => bail!(
                "{SOURCES}/{name}/Cargo.toml names the package `{other}`, but a crate has the name of its handler: set \
                 `name = \"{name}\"` there, or rename the handler to `{other}`, its folder and in {FILE_NAME}, line {}",
                entry.line
            ),
            None => bail!(
                "{SOURCES}/{name} is not a member of the workspace: add \"{SOURCES}/{name}\" to `members` in Cargo.toml, \
                 and remove it from `exclude` if it is there"
            ),
        }
    }

    /// The folders of the handlers' crates, and of the local crates that they are built from.
    pub(super) fn folders(&self, handlers: impl Iterator<Item = PathBuf>) -> BTreeSet<PathBuf> {
        let mut reached = BTreeSet::new();
        let mut left: Vec<_> = handlers.collect();
        while let Some(folder) = left.pop() {
            if let Some(package) = self.local.get(&folder)
                && reached.insert(folder)
            {
                left.extend(package.needs.iter().cloned());
            }
        }
        reached
    }

    /// The same, and those that only the tests of the handlers are built from.
    pub(super) fn folders_of_tests(&self, handlers: impl Iterator<Item = PathBuf> + Clone) -> BTreeSet<PathBuf> {
        let packages = handlers.clone().filter_map(|folder| self.local.get(&folder));
        self.folders(handlers.chain(packages.flat_map(|package| package.tests_need.iter().cloned())))
    }

    /// The package that a source file belongs to.
    pub(super) fn owner(&self, file: &Path) -> Option<&str> {
        file.ancestors().find_map(|folder| self.local.get(folder)).map(|package| package.name.as_str())
    }

    /// Whether a file is in the folder that Cargo writes to.
    pub(super) fn is_made(&self, file: &Path) -> bool {
        file.starts_with(&self.target)
    }
}
