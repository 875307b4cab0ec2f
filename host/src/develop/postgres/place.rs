//! Where a cluster's folder is: where it was asked for, or, when the user that postgres runs as cannot get there (a
//! checkout in root's home), in `/var/tmp`. Trusts no name there that somebody else may have planted. Called by
//! `folder`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use super::account::Account;

/// The folder to use, which exists then, and who is to run postgres in it.
pub(super) fn place(intended: &Path) -> anyhow::Result<(PathBuf, Account)> {
    fs::create_dir_all(intended).with_context(|| format!("cannot make {}", intended.display()))?;
    let account = Account::for_data(&intended.join("data"))?;
    if account == Account::Own {
        return Ok((intended.to_path_buf(), account));
    }
    // Another user passes through here to `data`, but has no business reading the rest.
    fs::set_permissions(intended, fs::Permissions::from_mode(0o711))?;
    if account.enters(intended) {
        return Ok((intended.to_path_buf(), account));
    }
    let digest = Sha256::digest(intended.as_os_str().as_encoded_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let elsewhere = PathBuf::from(format!("/var/tmp/galo-{}-{hash}", Uid::effective()));
    make_private(&elsewhere)?;
    tracing::info!(
        intended = %intended.display(),
        used = %elsewhere.display(),
        "the data is kept elsewhere, because the user that postgres runs as cannot enter the intended folder"
    );
    // Only an empty one goes; it may hold what somebody put there.
    let _ = fs::remove_dir(intended);
    let account = Account::for_data(&elsewhere.join("data"))?;
    Ok((elsewhere, account))
}

/// Makes a folder under a name that anybody could have guessed, or accepts the one that we made earlier.
fn make_private(path: &Path) -> anyhow::Result<()> {
    match fs::DirBuilder::new().mode(0o711).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o711))?, // Whatever the umask took away.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(path)?;
            ensure!(
                found.is_dir() && found.uid() == Uid::effective().as_raw() && found.mode() & 0o022 == 0,
                "{} exists, but is not a folder of ours that only we can write to; remove it",
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
