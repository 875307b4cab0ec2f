//! The handlers folder of `serve`, `check`, `compile` and `proxy`.

use std::path::Path;

use anyhow::ensure;
use galo::manifest;

/// Checks that a folder has a manifest; what is in it is checked where it is read.
///
/// # Errors
/// When it has none, with the remedy.
pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    let file = folder.join(manifest::FILE_NAME);
    ensure!(
        !matches!(file.try_exists(), Ok(false)),
        "{} does not exist; use the folder that `galo build` has made, or another one with a {}",
        file.display(),
        manifest::FILE_NAME
    );
    Ok(())
}

/// Checks that a folder holds components, and not the sources of a project; the rest as [`check`].
///
/// # Errors
/// As [`check`].
pub(super) fn check_built(folder: &Path) -> anyhow::Result<()> {
    ensure!(
        !holds_sources(folder),
        "{} holds the sources of handlers, and not their components; run `galo build` in the project, and use the folder \
         that it writes (dist)",
        folder.display()
    );
    check(folder)
}

/// Whether it is a project without components beside its manifest, or the folder of sources in a project.
fn holds_sources(folder: &Path) -> bool {
    if !folder.join(manifest::FILE_NAME).exists() {
        // A relative path such as `.` has no last part.
        let Ok(folder) = folder.canonicalize() else { return false };
        let above = folder.parent().is_some_and(|above| above.join(manifest::FILE_NAME).exists());
        return above && folder.ends_with(manifest::SOURCES);
    }
    let is_built = || manifest::read(folder).is_ok_and(|found| found.handlers.iter().any(|e| e.component.exists()));
    folder.join(manifest::SOURCES).is_dir() && !is_built()
}
