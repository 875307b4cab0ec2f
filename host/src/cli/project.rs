//! The project that a command works on: the one that is named, or the one that the current folder is in.

use std::path::{Path, PathBuf};

use clap::Args;
use galo::develop::build::Project;
use galo::develop::project::other_version;

#[derive(Args)]
pub(super) struct ProjectArgs {
    /// Folder of the project [default: the nearest one with a galo.toml, from the current folder upwards]
    #[arg(long = "project", value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl ProjectArgs {
    /// The project that was named, or the one that the current folder is in.
    pub(super) fn find(&self) -> anyhow::Result<Project> {
        let project = self.locate()?;
        if let Some(version) = other_version(&project.root) {
            tracing::warn!("the project is of galo {version}, and this program is another version: run `galo upgrade`");
        }
        Ok(project)
    }

    /// Whether one was named.
    pub(super) fn is_named(&self) -> bool {
        self.folder.is_some()
    }

    /// The same, whatever version of galo it is of.
    pub(super) fn locate(&self) -> anyhow::Result<Project> {
        match &self.folder {
            Some(folder) => Project::open(folder),
            None => Project::find(Path::new(".")),
        }
    }
}

/// A path as a person writes it in the current folder: relative, if it is in there.
pub(super) fn from_here(path: PathBuf) -> PathBuf {
    let Ok(here) = std::env::current_dir() else { return path };
    match path.strip_prefix(&here) {
        Ok(inside) if inside.as_os_str().is_empty() => PathBuf::from("."),
        Ok(inside) => inside.to_owned(),
        Err(_) => path,
    }
}
