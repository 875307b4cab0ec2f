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
