//! The sources of a project: where its manifest, its handlers, its SQL and its scratch files are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::manifest::{self, Entry, Manifest, ProjectEntry, Refused};

/// The sources of a project.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder of `galo.toml` and `Cargo.toml`.
    pub root: PathBuf,
}

impl Project {
    /// The project that a folder is in: the nearest folder with a manifest, from it upwards.
    ///
    /// # Errors
    /// When there is none, or the manifest is that of a folder of components.
    pub fn find(from: &Path) -> anyhow::Result<Self> {
        let from = fs::canonicalize(from).with_context(|| format!("cannot open {}", from.display()))?;
        let root = from.ancestors().find(|folder| folder.join(manifest::FILE_NAME).is_file()).with_context(|| {
            format!(
                "{} is not in a project: neither it nor a folder above it has a {}; change to the folder of your \
                 project, or make one with `galo init NAME`",
                from.display(),
                manifest::FILE_NAME
            )
        })?;
        Self::open(root)
    }

    /// The project whose manifest is in this folder.
    ///
    /// # Errors
    /// When it has none, or it is that of a folder of components.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        let root = fs::canonicalize(root).with_context(|| format!("cannot open {}", root.display()))?;
        ensure!(
            root.join(manifest::FILE_NAME).is_file(),
            "{} has no {}; name the folder of a project",
            root.display(),
            manifest::FILE_NAME
        );
        ensure!(
            root.join(manifest::SOURCES).is_dir(),
            "{} has a {}, but no folder {}/: it holds components, as `galo build` writes them; change to the folder \
             of your project",
            root.display(),
            manifest::FILE_NAME,
            manifest::SOURCES
        );
        Ok(Self { root })
    }

    /// The folder of the handlers' sources.
    pub fn handlers(&self) -> PathBuf {
        self.root.join(manifest::SOURCES)
    }

    /// Reads and parses the manifest.
    ///
    /// # Errors
    /// All mistakes of the file, each with its line.
    pub fn manifest(&self) -> Result<Manifest, Refused> {
        manifest::read_project(&self.root)
    }

    /// Reads the section `[project]` of the manifest, whatever the rest of it is.
    ///
    /// # Errors
    /// The first mistake of the section.
    pub fn section(&self) -> Result<ProjectEntry, Refused> {
        manifest::read_section(&self.root)
    }

    /// The folder of migrations and procedures.
    pub fn sql(&self) -> PathBuf {
        self.root.join("sql")
    }

    /// The folder for what `galo dev` keeps in a project; git ignores it.
    pub fn scratch(&self) -> PathBuf {
        self.root.join(".galo")
    }

    /// The names of the manifest's handlers that have a crate here.
    pub(super) fn crates(&self, manifest: &Manifest) -> Vec<String> {
        manifest.handlers.iter().filter(|entry| self.has_crate(entry)).map(|entry| entry.name.clone()).collect()
    }

    /// Whether Cargo builds a handler: it has a crate, and no command of its own.
    pub(super) fn has_crate(&self, entry: &Entry) -> bool {
        entry.build.is_none() && self.handlers().join(&entry.name).join("Cargo.toml").is_file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[[handler]]\nname = \"a\"\ncomponent = \"a.wasm\"\nroute = \"GET /a\"\n";

    #[test]
    fn a_project_is_found_from_any_of_its_folders_and_its_handlers_files_are_in_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("handlers/a/src")).unwrap();
        fs::write(root.join("galo.toml"), MANIFEST).unwrap();
        for from in ["", "handlers", "handlers/a/src"] {
            assert_eq!(Project::find(&root.join(from)).unwrap().root, root, "{from}");
        }
        let manifest = Project::open(&root).unwrap().manifest().unwrap();
        assert_eq!(manifest.handlers[0].component, root.join("handlers/a/a.wasm"));
        assert_eq!(manifest.handlers[0].folder, root.join("handlers"));
        // An option names the folder itself, not one inside it.
        let inside = Project::open(&root.join("handlers")).unwrap_err().to_string();
        assert!(inside.contains("has no galo.toml"), "{inside}");
    }

    #[test]
    fn a_folder_of_components_is_not_a_project() {
        let folder = tempfile::tempdir().unwrap();
        let without = Project::find(folder.path()).unwrap_err().to_string();
        assert!(without.contains("is not in a project"), "{without}");
        fs::write(folder.path().join("galo.toml"), MANIFEST).unwrap();
        let built = Project::find(folder.path()).unwrap_err().to_string();
        assert!(built.contains("it holds components, as `galo build` writes them"), "{built}");
    }
}
