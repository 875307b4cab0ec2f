//! Puts handlers into a folder that nodes watch: components, their examples and the manifest. Each file is renamed into
//! place, so a reader sees the old file or the new one, whole. What is put is not verified here.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::example;
use crate::guest::Digest;
use crate::manifest::{self, Manifest};

/// What was put last, in the folder that it was put into.
const RECORD: &str = ".put";

/// The files of a manifest's handlers, in the order in which they are put.
#[derive(Debug)]
pub struct Handlers {
    /// Where each file is, and its path below the folder it is put into.
    files: Vec<(PathBuf, PathBuf)>,
    /// The folders of examples, below the folder they are put into.
    examples: Vec<PathBuf>,
}

impl Handlers {
    /// Lists the files of a manifest whose components are at these paths, in the manifest's order.
    ///
    /// # Errors
    /// When examples cannot be listed.
    pub fn list(manifest: &Manifest, components: &[PathBuf]) -> anyhow::Result<Self> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for (entry, component) in manifest.handlers.iter().zip(components) {
            // The examples first: whoever sees the component finds the examples it was built with.
            let folder = Path::new(&entry.name).join(example::FOLDER_NAME);
            for file in example::files(entry)? {
                let name = folder.join(file.file_name().context("an example has a file name")?);
                files.push((file, name));
            }
            folders.push(folder);
            let name = entry.component.file_name().context("a component has a file name")?;
            files.push((component.clone(), name.into()));
        }
        files.push((manifest.path.clone(), manifest::FILE_NAME.into()));
        Ok(Self { files, examples: folders })
    }

    /// Puts all files into a folder, and removes examples that are no longer there. Returns the paths of what changed.
    ///
    /// # Errors
    /// What cannot be read, written or removed.
    pub fn put(&self, folder: &Path) -> anyhow::Result<Vec<&Path>> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for examples in &self.examples {
            self.remove_old(folder, examples)?;
        }
        let mut changed = Vec::new();
        for (from, name) in &self.files {
            let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            if replace(&folder.join(name), &bytes)? {
                changed.push(name.as_path());
            }
        }
        Ok(changed)
    }

    /// Whether these very files were recorded in a folder as put last. A component that came there by another way since
    /// does not matter.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn were_put(&self, folder: &Path) -> anyhow::Result<bool> {
        let digest = self.digest()?.to_string();
        Ok(fs::read_to_string(folder.join(RECORD)).is_ok_and(|recorded| recorded.trim_end() == digest))
    }

    /// Records in a folder that these files were put there.
    ///
    /// # Errors
    /// When a file cannot be read, or the record not be written.
    pub fn record(&self, folder: &Path) -> anyhow::Result<()> {
        replace(&folder.join(RECORD), format!("{}\n", self.digest()?).as_bytes()).map(drop)
    }

    /// The digest of all files and their names.
    fn digest(&self) -> anyhow::Result<Digest> {
        let mut list = String::new();
        for (from, name) in &self.files {
            let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            list += &format!("{}  {}\n", Digest::of(&bytes), name.display());
        }
        Ok(Digest::of(list.as_bytes()))
    }

    fn remove_old(&self, folder: &Path, examples: &Path) -> anyhow::Result<()> {
        for old in fs::read_dir(folder.join(examples)).into_iter().flatten() {
            let old = old?;
            let name = examples.join(old.file_name());
            if !self.files.iter().any(|(_, file)| *file == name) {
                fs::remove_file(old.path()).with_context(|| format!("cannot remove {}", old.path().display()))?;
            }
        }
        Ok(())
    }
}

/// Replaces a file by renaming. Returns whether it changed: an equal file is left alone.
fn replace(to: &Path, bytes: &[u8]) -> anyhow::Result<bool> {
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    file.write_all(bytes)?;
    file.persist(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}
