//! Puts files into a folder that a node may be watching.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Makes a folder hold exactly these files.
pub(super) fn mirror(files: &[PathBuf], folder: &Path) -> anyhow::Result<()> {
    if !files.is_empty() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for old in fs::read_dir(folder).into_iter().flatten() {
        let old = old?;
        if !files.iter().any(|file| file.file_name() == Some(&old.file_name())) {
            fs::remove_file(old.path()).with_context(|| format!("cannot remove {}", old.path().display()))?;
        }
    }
    files.iter().try_for_each(|file| put(file, &folder.join(file.file_name().unwrap_or_default())))
}

/// Copies a file and renames the copy: a reader sees the old file or the new one, whole. An equal file is left alone.
pub(super) fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = to.parent().context("a file is in a folder")?;
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    file.write_all(&bytes)?;
    file.persist(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}
