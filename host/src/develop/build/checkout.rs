//! A checkout of the project: where its handlers, its SQL and its scratch files are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::manifest::{self, Manifest};

/// A checkout of the project.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
}

impl Checkout {
    /// Finds the checkout that a folder is in.
    ///
    /// # Errors
    /// When it is in none.
    pub fn find(from: &Path) -> anyhow::Result<Self> {
        let from = fs::canonicalize(from).with_context(|| format!("cannot open {}", from.display()))?;
        let root = from.ancestors().find(|folder| folder.join("handlers").join(manifest::FILE_NAME).is_file());
        let root = root.with_context(|| {
            format!(
                "{} is not in a checkout: neither it nor a folder above it has handlers/{}; change to the folder of \
                 your checkout",
                from.display(),
                manifest::FILE_NAME
            )
        })?;
        Ok(Self { root: root.to_owned() })
    }

    /// The folder of the handlers' sources and their manifest.
    pub fn handlers(&self) -> PathBuf {
        self.root.join("handlers")
    }

    /// The folder of the numbered SQL files.
    pub fn sql(&self) -> PathBuf {
        self.root.join("sql")
    }

    /// The folder for what `galo dev` keeps in a checkout; git ignores it.
    pub fn scratch(&self) -> PathBuf {
        self.root.join(".galo")
    }

    /// The names of the manifest's handlers that have a crate here.
    pub(super) fn crates(&self, manifest: &Manifest) -> Vec<String> {
        let names = manifest.handlers.iter().map(|entry| entry.name.clone());
        names.filter(|name| self.handlers().join(name).join("Cargo.toml").is_file()).collect()
    }
}
