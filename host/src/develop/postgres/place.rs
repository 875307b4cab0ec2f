//! Where a cluster's folder is: where it was asked for, or in `/var/tmp` when the user that runs Postgres cannot enter
//! that (a checkout in root's home). A folder there that another user may have planted is refused.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use super::account::Account;

/// Makes the folder to use. Returns it, and the user that runs Postgres in it.
pub(super) fn place(intended: &Path) -> anyhow::Result<(PathBuf, Account)> {
    fs::create_dir_all(intended).with_context(|| format!("cannot make {}", intended.display()))?;
    let account = Account::for_data(&intended.join("data"))?;
    if account == Account::Own {
        return Ok((intended.to_path_buf(), account));
    }
    // Another user passes through here to `data`, but need not read the rest.
    fs::set_permissions(intended, fs::Permissions::from_mode(0o711))?;
    if account.enters(intended) {
        return Ok((intended.to_path_buf(), account));
    }
    let elsewhere = elsewhere(intended);
    make_private(&elsewhere)?;
    tracing::info!(
        intended = %intended.display(),
        used = %elsewhere.display(),
        "keeping the data in another folder: the user that runs Postgres cannot enter the intended one"
    );
    // Removes only an empty one.
    let _ = fs::remove_dir(intended);
    let account = Account::for_data(&elsewhere.join("data"))?;
    Ok((elsewhere, account))
}

/// The folder that is used instead of one that the user that runs Postgres cannot enter.
pub(super) fn elsewhere(intended: &Path) -> PathBuf {
    let digest = Sha256::digest(intended.as_os_str().as_encoded_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    PathBuf::from(format!("/var/tmp/galo-{}-{hash}", Uid::effective()))
}

/// Makes a folder under a name that anybody can guess, or accepts the one that we made earlier.
fn make_private(path: &Path) -> anyhow::Result<()> {
    match fs::DirBuilder::new().mode(0o711).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o711))?, // Whatever the umask is.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(path)?;
            ensure!(
                found.is_dir() && found.uid() == Uid::effective().as_raw() && found.mode() & 0o022 == 0,
                "{} exists, but is not a folder that this user owns and only it can write to; remove it",
                path.display()
            );
        }
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_folder_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("galo");
        make_private(&path).unwrap();
        make_private(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(make_private(&path).is_err());
        let link = parent.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        assert!(make_private(&link).is_err());
    }
}
